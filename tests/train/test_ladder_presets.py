"""The presets of the ladder: each changes what its step is about and nothing else."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from gantrol.config import to_dict
from gantrol.train.presets import PRESETS, SCALES, DataShape, preset

LADDER = [f"ladder-{step}" for step in "abcdefgh"]
SIMPLER = {  # what step D takes away from StyleGAN2
    "discriminator.mbstd_group_size": (8, 4),
    "loss.pl_weight": (2.0, 0.0),
    "loss.style_mixing_prob": (0.9, 0.0),
    "generator.mapping_layers": (8, 2),
    "generator.kind": ("stylegan2", "ladder"),
}
CHANGES: dict[str, dict[str, tuple[Any, Any]]] = {
    "ladder-b": {"generator.use_fourier_input": (False, True)},
    "ladder-c": {"generator.use_noise": (True, False)},
    "ladder-e": {"generator.margin_px": (0, 10), "generator.upsampling": ("bilinear", "sinc")},
    "ladder-f": {"generator.lrelu_upsampling": (1, 2)},
    "ladder-g": {"generator.use_lower_cutoffs": (False, True)},
    "ladder-h": {"generator.use_input_motion": (False, True)},
}


def _flat(name: str, scale: str = "base", resolution_px: int = 256, batch: int | None = None) -> dict[str, Any]:
    """Every field of a preset by its path."""
    flat: dict[str, Any] = {}

    def add(path: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, part in value.items():
                add(f"{path}.{key}" if path else key, part)
        else:
            flat[path] = value

    add("", to_dict(preset(name, scale, DataShape(resolution_px=resolution_px), batch=batch)))
    return flat


@pytest.mark.parametrize(("before", "after"), list(itertools.pairwise(LADDER)))
def test_each_step_changes_one_thing(before: str, after: str) -> None:
    a, b = _flat(before), _flat(after)
    shared = {key: (a[key], b[key]) for key in a.keys() & b.keys() if a[key] != b[key]}
    shared.pop("preset")
    if after == "ladder-d":  # another kind of generator: what both have agrees but for this
        assert shared == SIMPLER
    else:
        assert a.keys() == b.keys()
        assert shared == CHANGES[after]


def test_the_setting_of_the_ablation() -> None:
    """FFHQ-U at 256 px: batch 64, γ = 1, both rates 0.0025, half-life of the average 20 000 images, 2¹⁴ channels."""
    for name in LADDER:
        config = _flat(name, batch=64)
        assert config["loss.r1_gamma"] == pytest.approx(1.024)
        assert (config["g_adam.lr"], config["d_adam.lr"]) == (0.0025, 0.0025)
        assert config["ema_half_life_kimg"] == 20
        assert (config["generator.channel_base"], config["generator.channel_max"]) == (2**14, 512)
        assert config["loss.blur_sigma_px"] == 0
        if name >= "ladder-d":
            assert config["generator.magnitude_ema_beta"] == 0.5 ** (64 / 20_000)
            assert config["generator.output_scale"] == 0.25


def test_a_scale_treats_all_steps_alike() -> None:
    """Where a scale sets rates, widths and margins, every step has them: small trainings can be compared."""
    tiny = SCALES["tiny"]
    for name in [*LADDER, "stylegan3-t"]:
        config = _flat(name, "tiny", 32)
        assert (config["g_adam.lr"], config["d_adam.lr"]) == (tiny.g_lr, tiny.d_lr)
        assert config["batch"] == tiny.batch
        assert config["generator.channel_base"] == tiny.channel_base
        assert config["loss.r1_gamma"] == pytest.approx(0.001 * 32**2 / tiny.batch)
        if name >= "ladder-e":
            assert config["generator.margin_px"] == tiny.sg3_margin_px


def test_presets_say_what_was_published() -> None:
    for name in [*LADDER, "stylegan3-t", "stylegan3-r"]:
        assert "(published, FFHQ-U 256: FID " in PRESETS[name].reproduces
        assert ("EQ-T" in PRESETS[name].reproduces) == (name != "ladder-a")
