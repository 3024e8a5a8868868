"""Trainings whose batch can be split, and what a training does with it, as numbers that can be compared."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from gantrol.config import override
from gantrol.control.calibration import Thresholds
from gantrol.data.dataset import ImageDataset
from gantrol.data.loader import batches
from gantrol.models import (
    AutoGANConfig,
    StyleGAN2Config,
    StyleGAN2DiscriminatorConfig,
    StyleGAN3Config,
    TransGANConfig,
    TransGANDiscriminatorConfig,
    TransGANScale,
    TransGANStage,
)
from gantrol.train.augment.diffaugment import DiffAugmentConfig
from gantrol.train.config import AdamConfig, AugmentConfig, LossConfig, TrainConfig
from gantrol.train.control import controllable, load_objective
from gantrol.train.loop import all_labels
from gantrol.train.state import TrainState, seed_step
from gantrol.train.steps import Trainer

STEPS = 1
RATE = 0.01
"""Of plain gradient descent, in place of Adam, whose first steps are signs and enlarge what rounding leaves."""


def base(data: str, **changes: Any) -> TrainConfig:
    small = {"resolution_px": 16, "channel_base": 128, "channel_max": 8}
    pairs = {"mbstd_group_size": 2}  # so that a part of 2 images holds a whole group
    config = TrainConfig(
        preset="test",
        scale="test",
        generator=StyleGAN3Config(z_dim=8, w_dim=8, num_layers=4, margin_px=4, conv_clamp=None, **small),
        discriminator=StyleGAN2DiscriminatorConfig(**small, **pairs),
        loss=LossConfig(r1_gamma=0.1, r_interval=2),
        g_adam=AdamConfig(lr=0.0025),
        d_adam=AdamConfig(lr=0.002),
        data=data,
        batch=8,
        kimg=0.16,
    )
    return replace(config, **changes)


def stylegan3(data: str, _: str) -> TrainConfig:
    return base(data)


def adaptive(data: str, _: str) -> TrainConfig:
    """ADA with noise, whose strength follows the signs of all processes."""
    config = override(base(data), ["augment.name=ada", "augment.ada.p=0.5", "augment.ada.interval=1"])
    return override(config, ["augment.ada.adapt_kimg=0.1", "augment.ada.noise=1", "augment.ada.cutout=1"])


def stylegan2(data: str, _: str) -> TrainConfig:
    """With path lengths, mixed styles, noise, labels and R2."""
    generator = StyleGAN2Config(resolution_px=16, z_dim=8, w_dim=8, c_dim=2, channel_base=128, channel_max=8)
    d = replace(base(data).discriminator, c_dim=2)
    loss = LossConfig(r1_gamma=0.1, r2_gamma=0.1, r_interval=2, pl_weight=2.0, pl_interval=1, style_mixing_prob=0.9)
    return base(data, generator=generator, discriminator=d, loss=loss, use_labels=True)


def transgan(data: str, _: str) -> TrainConfig:
    """With its noise, gradient penalty, drift, co-training, augmentation and more fakes than reals."""
    stages = (
        TransGANStage(side=4, channels=64, depth=1, upsampling="none"),
        TransGANStage(side=8, channels=16, depth=1),
        TransGANStage(side=16, channels=4, depth=1),
    )
    scales = (TransGANScale(patch_px=2, channels=12, depth=1), TransGANScale(patch_px=4, channels=4, depth=1))
    config = base(
        data,
        generator=TransGANConfig(resolution_px=16, z_dim=8, stages=stages, heads=2, mlp_ratio=1),
        discriminator=TransGANDiscriminatorConfig(
            resolution_px=16, scales=scales, heads=2, mlp_ratio=1, relative_position=True, noise=True
        ),
        loss=LossConfig().named("wgan-gp-eps"),
        augment=AugmentConfig(
            name="diffaugment", diffaugment=DiffAugmentConfig(policy="color,translation,cutout,hue,rand_erase_ratio")
        ),
        g_batch_factor=2,
    )
    return override(config, ["cotrain.weight=50"])


def compared(data: str, _: str) -> TrainConfig:
    """Losses that compare with means over the batch."""
    loss = LossConfig(name="relativistic-average", mode_seeking_weight=0.1, r1_gamma=0.1, r_interval=2)
    return base(data, loss=loss)


def controlled(data: str, readers: str) -> TrainConfig:
    """Pairs that share a latent group."""
    thresholds = {"age": Thresholds(same=0.01, different=0.5), "yaw": Thresholds(same=0.02, different=0.6)}
    return controllable(base(data), thresholds, predictors=readers, predictors_sha256="")


def batch_normalised(data: str, _: str) -> TrainConfig:
    """Batch norm has the statistics of a pass: this one is not equal."""
    return base(data, generator=AutoGANConfig(resolution_px=16, z_dim=8, width=8))


Case = Callable[[str, str], TrainConfig]
EQUAL: tuple[Case, ...] = (stylegan3, adaptive, stylegan2, transgan, compared, controlled)


@dataclass(frozen=True)
class Outcome:
    """What a few steps did."""

    gradients: list[torch.Tensor]
    """Of each optimiser step, all parameters in one vector."""
    state: dict[str, torch.Tensor]
    """Everything a checkpoint would hold, without the optimisers."""
    stats: dict[str, float]
    """Of the last step, of the whole batch."""

    def distance(self, other: Outcome) -> float:
        """The largest difference of a gradient, a tensor of the state, or a scalar of the log.

        In units of the largest number in it, or of 1 for scalars, which may be differences of large numbers.
        """
        pairs = [*zip(self.gradients, other.gradients, strict=True)]
        pairs += [(self.state[name], value) for name, value in other.state.items()]
        scalars = (abs(self.stats[name] - value) / max(abs(value), 1.0) for name, value in other.stats.items())
        return max(*(relative(a, b) for a, b in pairs), *scalars)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """The difference that 95 % of the numbers keep to, or a hundredth of the largest, in units of the largest number.

    Where an activation is nearly 0, rounding decides on which side of the kink of a leaky ReLU it lies, and that is a
    step in the gradient of a gradient penalty: measured up to 10⁻⁴. Wrong rows would change nearly all numbers, by
    about 1.
    """
    scale = max(a.abs().max().item(), b.abs().max().item(), 1e-3)
    differences = (a.double() - b.double()).abs().reshape(-1) / scale
    return max(differences.quantile(0.95).item(), differences.max().item() / 100)


def train_some(config: TrainConfig, rank: int = 0, world_size: int = 1, steps: int = STEPS) -> Outcome:
    """Some steps with plain gradient descent in place of Adam."""
    dataset = ImageDataset(config.data, use_labels=config.use_labels)
    state = TrainState(config, "cpu")
    with torch.no_grad():
        for name, parameter in state.g.named_parameters():
            if "noise_strength" in name:
                parameter.fill_(0.3)  # it begins at 0, and would hide the noise
    share = config.batch // world_size
    trainer = Trainer(
        config,
        state,
        batch_share=share,
        rank=rank,
        world_size=world_size,
        all_reduce=mean_of_all if world_size > 1 else None,
        all_gather=gather_all if world_size > 1 else None,
        label_pool=all_labels(dataset, torch.device("cpu")) if config.use_labels else None,
        control=load_objective(config.control, "cpu", torch.float32),
    )
    gradients: list[torch.Tensor] = []
    for opt in (state.g_opt, state.d_opt):
        replace_step(opt, gradients)
    stream = batches(
        dataset, batch_size=share, rank=rank, world_size=world_size, groups=trainer.share.groups, seed=config.seed
    )
    for number in range(steps):
        seed_step(config.seed, 0, number)
        stats = trainer.step(next(stream))
    stream.close()  # type: ignore[attr-defined]
    tensors = {name: value for name, value in state.tensors().items() if "_opt." not in name}
    return Outcome(
        gradients,
        {name: value.detach().clone() for name, value in tensors.items() if value.is_floating_point()},
        # `diversity` is a diagnosis of one pass
        {k: float(v) for k, v in trainer.mean_over_processes(stats).items() if not k.startswith("diversity/")},
    )


def replace_step(opt: torch.optim.Optimizer, gradients: list[torch.Tensor]) -> None:
    """Plain gradient descent, limited in size, that writes down what it was given."""

    @torch.no_grad()
    def step(*_: Any) -> None:
        parameters = [p for group in opt.param_groups for p in group["params"] if p.grad is not None]
        flat = torch.cat([p.grad.reshape(-1) for p in parameters])
        gradients.append(flat.clone())
        rate = RATE / max(float(flat.abs().max()), 1.0)
        for p in parameters:
            p -= rate * p.grad

    opt.step = step  # type: ignore[method-assign,assignment]


def mean_of_all(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    dist.all_reduce(x)
    return x / dist.get_world_size()


def gather_all(x: torch.Tensor) -> torch.Tensor:
    found = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(found, x)
    return torch.stack(found)


def main(rank: int, port: int, data: Path, readers: Path, out: Path, world_size: int = 2) -> None:
    """What one of the processes does: all train every case together; the first writes how far that is from alone."""
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=world_size, timeout=timedelta(seconds=120))
    found: dict[str, Any] = {}
    for case in EQUAL:
        config = case(str(data), str(readers))
        several = train_some(config, rank, world_size)
        accumulated = train_some(replace(config, micro_batch=2), rank, world_size)
        others = [None] * world_size
        digest = sum(value.double().sum().item() for value in several.state.values())
        dist.all_gather_object(others, digest)
        if rank == 0:
            one = train_some(config)
            found[case.__name__] = {
                "distance": one.distance(several),
                "accumulated": one.distance(accumulated),
                "same_everywhere": len(set(others)) == 1,
            }
    if rank == 0:
        out.write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()
