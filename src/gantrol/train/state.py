"""All that a training has to remember, as one object that turns into a file and back.

Random numbers need no memory: each step draws from a stream that is a function of (seed, step), see `seed_step`, and
the order of the data is a function of (seed, number of images). The counters therefore hold the random state and the
data cursor, and a run that continues from a checkpoint does what it would have done without the break.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gantrol import __version__, checkpoint
from gantrol.config import to_dict
from gantrol.errors import CheckpointError
from gantrol.models.mapped_generator import MappedGenerator
from gantrol.train.augment import AdaptiveStrength
from gantrol.train.config import AdamConfig, TrainConfig
from gantrol.train.cotrain import CoTraining

CHECKPOINTS = "checkpoints"


def seed_step(seed: int, stream: int, step: int) -> None:
    """Starts torch's random stream of one step; all processes of a training take stream 0, see `gantrol.ops.parts`."""
    torch.manual_seed(int(np.random.SeedSequence([seed, stream, step]).generate_state(1, np.uint64)[0] >> 1))


def build_adam(
    net: nn.Module, adam: AdamConfig, lazy_interval: int | None, beside: Iterable[nn.Parameter] = ()
) -> torch.optim.Adam:
    """Adam over the trainable parameters, corrected for a regulariser that runs every `lazy_interval` steps.

    Args:
        net: whose trainable parameters it optimises.
        adam: rates and decays.
        lazy_interval: I; None for no regulariser.
        beside: further parameters.

    Source: StyleGAN2 paper, appendix B: with c = I/(I+1), the rate becomes c·lr and the decays βᶜ.
    """
    c = 1.0 if lazy_interval is None else lazy_interval / (lazy_interval + 1)
    parameters = [p for p in net.parameters() if p.requires_grad] + list(beside)
    # One pass over weight, gradient and both averages, and on CUDA a few launches for all parameters.
    is_fusable = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    betas = (adam.beta1**c, adam.beta2**c)
    opt = torch.optim.Adam(parameters, lr=adam.lr * c, betas=betas, eps=adam.eps, fused=is_fusable)
    for group in opt.param_groups:
        group["initial_lr"] = group["lr"]
    return opt


def scale_learning_rate(opt: torch.optim.Optimizer, share: float) -> None:
    """Sets the learning rate of an optimiser of `build_adam` to a share of that at the start."""
    for group in opt.param_groups:
        group["lr"] = group["initial_lr"] * share


class TrainState:
    """Networks, optimisers and counters of a training.

    Attributes:
        g, d: the networks that learn.
        g_ema: the moving average of g, the network to use.
        g_opt, d_opt: their optimisers.
        cotrain: what co-training adds to g, learnt with g's optimiser; None without co-training.
        n_img: real images shown so far, over all devices; also the data cursor.
        n_step: steps done so far; with the seed, also the random state.
        pl_mean: running mean of path lengths, a scalar on the device.
        strength: of the augmentation `ada`, with what it is steered by; None for other augmentations.
        elapsed_s: seconds of training so far, over all sessions.
        tick: the log line of the checkpoint that was loaded, if it has one.
    """

    def __init__(self, config: TrainConfig, device: torch.device | str) -> None:
        seed_step(config.seed, 0, -1 + 2**32)  # a stream that no training step uses
        self.g: MappedGenerator = config.generator.build().to(device)
        self.d: nn.Module = config.discriminator.build().to(device)
        self.g_ema: MappedGenerator = copy.deepcopy(self.g).eval().requires_grad_(False)
        loss = config.loss
        self.cotrain = CoTraining(config.cotrain, self.g).to(device) if config.cotrain.weight > 0 else None
        lazy_interval = loss.pl_interval if loss.pl_weight > 0 else None
        beside = () if self.cotrain is None else self.cotrain.parameters()
        self.g_opt = build_adam(self.g, config.g_adam, lazy_interval, beside)
        has_penalty = loss.r1_gamma > 0 or loss.r2_gamma > 0
        self.d_opt = build_adam(self.d, config.d_adam, loss.r_interval if has_penalty and loss.r_interval > 1 else None)
        self.n_img = 0
        self.n_step = 0
        self.pl_mean = torch.zeros([], device=device)
        augment = config.augment
        self.strength = AdaptiveStrength(augment.ada, config.batch, device) if augment.name == "ada" else None
        self.elapsed_s = 0.0
        self.tick: dict[str, Any] | None = None

    def _nets(self) -> Iterator[tuple[str, nn.Module]]:
        yield from (("g", self.g), ("d", self.d), ("g_ema", self.g_ema))
        if self.cotrain is not None:
            yield "cotrain", self.cotrain

    def _optimisers(self) -> Iterator[tuple[str, torch.optim.Adam, dict[str, nn.Parameter]]]:
        of_g, of_d = dict(self.g.named_parameters()), dict(self.d.named_parameters())
        if self.cotrain is not None:
            of_g |= {f"cotrain.{key}": p for key, p in self.cotrain.named_parameters()}
        for name, opt, parameters in (("g_opt", self.g_opt, of_g), ("d_opt", self.d_opt, of_d)):
            held = {id(p) for group in opt.param_groups for p in group["params"]}
            yield name, opt, {key: p for key, p in parameters.items() if id(p) in held}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor of the state, by a dotted name."""
        result = {"pl_mean": self.pl_mean}
        if self.strength is not None:
            result |= {f"strength.{name}": value for name, value in self.strength.tensors().items()}
        for prefix, net in self._nets():
            result |= {f"{prefix}.{name}": value for name, value in net.state_dict().items()}
        for prefix, opt, parameters in self._optimisers():
            for name, parameter in parameters.items():
                for key, value in opt.state.get(parameter, {}).items():
                    result[f"{prefix}.{key}.{name}"] = value
        return result

    def save(self, folder: Path, config: TrainConfig, tick: Mapping[str, Any] | None = None) -> Path:
        """Writes `folder`/checkpoints/<images>.safetensors, atomically, and removes checkpoints beyond the last few.

        Args:
            folder: of the run.
            config: of the training.
            tick: the line that is about to go to the log; a process killed before that finds it here.
        """
        path = folder / CHECKPOINTS / f"{self.n_img:09d}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {
            "gantrol_version": __version__,
            "n_img": self.n_img,
            "n_step": self.n_step,
            "elapsed_s": self.elapsed_s,
            "config": to_dict(config),
            "tick": None if tick is None else dict(tick),
        }
        checkpoint.save(path, self.tensors(), metadata)
        checkpoint.keep_last(path.parent, config.keep_checkpoints)
        return path

    def load(self, path: Path) -> None:
        """Takes over the state written to `path`.

        Raises:
            CheckpointError: the file is damaged, or belongs to other networks.
        """
        tensors, metadata = checkpoint.load(path)
        for prefix, net in self._nets():
            own = {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(f"{prefix}.")}
            try:
                net.load_state_dict(own)
            except RuntimeError as error:
                reason = str(error).splitlines()[-1].strip()
                raise CheckpointError(f"{path} does not fit this config: {prefix}: {reason}") from error
        for prefix, opt, parameters in self._optimisers():
            for name, parameter in parameters.items():
                state: dict[str, Any] = {}
                for key in ("step", "exp_avg", "exp_avg_sq"):
                    value = tensors.get(f"{prefix}.{key}.{name}")
                    if value is not None:
                        # Adam's step counter stays where Adam keeps it: beside the parameter if fused.
                        is_beside = key != "step" or opt.defaults["fused"]
                        state[key] = value.clone().to(parameter.device if is_beside else "cpu")
                if state:
                    opt.state[parameter] = state
        self.pl_mean = tensors["pl_mean"].clone().to(self.pl_mean.device)
        if self.strength is not None:
            try:
                self.strength.load({name: tensors[f"strength.{name}"] for name in self.strength.tensors()})
            except KeyError as error:
                raise CheckpointError(f"{path} does not fit this config: it lacks {error.args[0]}") from error
        self.n_img = int(metadata["n_img"])
        self.n_step = int(metadata["n_step"])
        self.elapsed_s = float(metadata["elapsed_s"])
        self.tick = metadata.get("tick")
