"""Whether a training is well: finite numbers, a discriminator that says something, images that differ.

Once per tick the means of what was logged are looked at; nothing is measured for it beyond two numbers per step,
`diversity/real` and `diversity/fake`. Numbers that are not finite end the training at its last good checkpoint. The
other findings are said, once when they begin, and stand in the log line as `health`; the training goes on, because they
are signs and not proofs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantrol import checkpoint
from gantrol.errors import CheckpointError, TrainingError
from gantrol.train.config import TrainConfig
from gantrol.train.state import CHECKPOINTS, TrainState

PATIENCE_TICKS = 5
"""So many ticks on end must show a sign before it is said."""
BLIND_GAP = 0.01
"""The discriminator says nothing: its mean logits on real and generated images differ by less than this."""
WON_SIGN = 0.98
"""The discriminator has won: the mean signs of its logits are beyond ± this on real and generated images."""
COLLAPSE_RATIO = 0.2
"""The generator's modes have collapsed: its images differ by less than this share of what real ones differ by …"""
HEALTHY_RATIO = 0.4
"""… after they once differed by at least this share, or after `SETTLED_KIMG`."""
SETTLED_KIMG = 20.0
"""Thousands of images after which every generator's images should differ."""
REPLACED_SHARE = 0.1
"""Gradients are bad if values that are not finite had to be replaced in more than this share of a tick's steps."""

_CENTRED = ("non-saturating", "saturating", "hinge")
_SIDE_PX = 16

ADVICE = {
    "discriminator-collapse": (
        "the discriminator tells real from generated images no more (mean logits {real:.3f} and {fake:.3f}) for "
        "{ticks} ticks: lower loss.r1_gamma or raise d_adam.lr, and begin again from an earlier checkpoint"
    ),
    "discriminator-won": (
        "the discriminator tells all images apart (mean signs {real:+.2f} and {fake:+.2f}) for {ticks} ticks, which "
        "leaves the generator little to learn from: with few images --augment ada, else raise loss.r1_gamma"
    ),
    "mode-collapse": (
        "generated images differ {ratio:.0%} as much as real ones for {ticks} ticks, a sign of mode collapse: begin "
        "again from an earlier checkpoint with a lower g_adam.lr, a higher loss.r1_gamma or loss.mode_seeking_weight"
    ),
    "bad-gradients": (
        "gradients that are not finite were replaced in {share:.0%} of the steps for {ticks} ticks: lower the learning "
        "rates, or train with --precision fp32"
    ),
}


def diversity(images: Tensor) -> Tensor:
    """How much images [N, C, H, W] differ from each other: the standard deviation over N of each value, averaged.

    They are averaged down to 16 pixels at most before, so that noise in details does not count.
    """
    side = min(_SIDE_PX, images.shape[2])
    small = torch.nn.functional.adaptive_avg_pool2d(images.detach().float(), side)  # [N, C, side, side]
    return small.std(dim=0, correction=0).mean()


class Health:
    """Looks at ticks and says what is wrong, once when it begins.

    Args:
        config: of the training.
        ticks: log lines so far, if it is resumed.
    """

    def __init__(self, config: TrainConfig, ticks: Iterable[Mapping[str, Any]] = ()) -> None:
        self._config = config
        self._lasts = dict.fromkeys(ADVICE, 0)
        self._was_diverse = False
        for tick in ticks:
            self.observe(tick)

    def observe(self, tick: Mapping[str, Any]) -> dict[str, str]:
        """What the newest tick shows, by name, each with a text if it is to be said now, else with an empty one."""
        found = {}
        for name, numbers in self._signs(tick).items():
            self._lasts[name] = 0 if numbers is None else self._lasts[name] + 1
            if numbers is not None and self._lasts[name] >= PATIENCE_TICKS:
                is_new = self._lasts[name] == PATIENCE_TICKS
                text = ADVICE[name].format(ticks=self._lasts[name], **numbers)
                found[name] = f"{tick['n_img'] / 1000:g} kimg: {text}" if is_new else ""
        return found

    def _signs(self, tick: Mapping[str, Any]) -> dict[str, dict[str, float] | None]:
        """The numbers behind each sign that this tick shows, None for those that it does not."""
        return {
            "discriminator-collapse": self._blind(tick),
            "discriminator-won": self._won(tick),
            "mode-collapse": self._collapsed(tick),
            "bad-gradients": self._replaced(tick),
        }

    def _blind(self, tick: Mapping[str, Any]) -> dict[str, float] | None:
        real, fake = tick.get("scores/real"), tick.get("scores/fake")
        if real is None or fake is None or abs(real - fake) >= BLIND_GAP:
            return None
        return {"real": real, "fake": fake}

    def _won(self, tick: Mapping[str, Any]) -> dict[str, float] | None:
        real, fake = tick.get("signs/real"), tick.get("signs/fake")
        if self._config.loss.name not in _CENTRED or real is None or fake is None:
            return None  # the logits of the other losses have no zero in the middle
        return {"real": real, "fake": fake} if real > WON_SIGN and fake < -WON_SIGN else None

    def _collapsed(self, tick: Mapping[str, Any]) -> dict[str, float] | None:
        real, fake = tick.get("diversity/real"), tick.get("diversity/fake")
        if not real or fake is None:
            return None
        ratio = fake / real
        self._was_diverse |= ratio >= HEALTHY_RATIO
        is_judged = self._was_diverse or tick["n_img"] >= SETTLED_KIMG * 1000
        return {"ratio": ratio} if is_judged and ratio < COLLAPSE_RATIO else None

    def _replaced(self, tick: Mapping[str, Any]) -> dict[str, float] | None:
        share = max((tick.get(f"gradient/replaced_{net}", 0.0) for net in "gd"), default=0.0)
        return {"share": share} if share > REPLACED_SHARE else None


def check_finite(values: Mapping[str, Tensor], state: TrainState, folder: Path) -> None:
    """Raises TrainingError if one of the scalars is NaN or infinite. Waits for the device."""
    bad = [name for name, value in values.items() if not math.isfinite(value.item())]
    if bad:
        _stop(bad[0], state, folder)


def check_weights(state: TrainState, folder: Path) -> None:
    """Raises TrainingError if a weight is NaN or infinite, so that no checkpoint ever holds one. Waits once."""
    tensors = {
        f"{prefix}.{name}": value
        for prefix, net in (("g", state.g), ("d", state.d), ("g_ema", state.g_ema))
        for name, value in net.state_dict().items()
        if value.is_floating_point() and value.numel()
    }
    largest = torch.stack([value.float() for value in torch._foreach_norm(list(tensors.values()), math.inf)])
    if not bool(largest.isfinite().all()):
        _stop(next(name for name, value in tensors.items() if not bool(value.isfinite().all())), state, folder)


def _stop(name: str, state: TrainState, folder: Path) -> None:
    try:
        newest = checkpoint.newest_valid(folder / CHECKPOINTS).path
    except CheckpointError:
        newest = Path("none")
    raise TrainingError(
        f"{name} is not finite near {state.n_img / 1000:.2f} kimg; the last good checkpoint is {newest}. "
        "Lower g_adam.lr and d_adam.lr or raise the penalty (loss.r1_gamma or loss.gp_weight), and train again"
    )
