"""A training step never waits for the device.

Three watches: torch's own on CUDA; on the CPU whatever asks for values; and on the "meta" device, whose tensors have
none, so that asking is an error, whatever is copied there from the processor's memory, which waits as well.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gantrol.checkpoint import sha256_of
from gantrol.control.anchors import Anchor
from gantrol.control.objective import ControlTerm
from gantrol.data.loader import Batch
from gantrol.models import StyleGAN2Config, TransGANConfig
from gantrol.models.transgan import TransGANStage
from gantrol.ops.paths import record_paths
from gantrol.train.config import AugmentConfig, LossConfig, TrainConfig
from gantrol.train.control import ControlConfig, ReconstructionConfig, controllable, load_objective
from gantrol.train.cotrain import CoTrainConfig
from gantrol.train.locality import LocalityConfig
from gantrol.train.state import TrainState
from gantrol.train.steps import DTYPES, Trainer
from tests.train.test_control import THRESHOLDS, untrained_readers
from tests.train.test_recipe import DISCRIMINATOR

WAITING = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "equal", "unique", "_unique2"}
"""Operators whose result the processor needs before it can go on."""

CPU_ONLY = {"gantrol.ops.blocks", "gantrol.control.pairs"}
"""Modules whose tensors are on the CPU wherever the training is."""

WAITING_METHODS = ("cpu", "numpy", "tolist", "item", "__bool__")
"""Ways to values that on the CPU run no operator."""


class Waits(TorchDispatchMode):
    """Counts what would make the processor wait for a device, if the tensors were there."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITING:
            self.found[name] += 1
        if name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        ):
            self.found[f"{name} by a mask"] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    found = Waits()
    for name in WAITING_METHODS:
        monkeypatch.setattr(torch.Tensor, name, counted(getattr(torch.Tensor, name), f"Tensor.{name}", found.found))
    return found


def counted(method: Callable[..., Any], name: str, counts: Counter[str]) -> Callable[..., Any]:
    """The method, counting its calls, except by what computes on the CPU only."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if sys._getframe(1).f_globals.get("__name__") not in CPU_ONLY:
            counts[name] += 1
        return method(*args, **kwargs)

    return call


class Copies(TorchDispatchMode):
    """Counts copies between the processor's memory and another device's that wait, outside of operators of ours.

    Those may be given filters from anywhere: what they make of them stays on the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
        if (
            func.namespace != "gantrol"
            and not (kwargs or {}).get("non_blocking")
            and len({x.device.type for x in tensors if x.ndim > 0}) > 1
        ):
            self.found[str(func)] += 1
        return result


Change = Callable[[TrainConfig, Path], TrainConfig]


def stylegan3(config: TrainConfig, folder: Path) -> TrainConfig:
    return config


def blurred(config: TrainConfig, folder: Path) -> TrainConfig:
    """Configuration R's blur of what the discriminator sees."""
    return replace(config, loss=replace(config.loss, blur_sigma_px=1.0, blur_fade_kimg=1.0))


def augmented(config: TrainConfig, folder: Path) -> TrainConfig:
    return replace(config, augment=AugmentConfig(name="ada"))


def stylegan2(config: TrainConfig, folder: Path) -> TrainConfig:
    """With path lengths and mixed styles."""
    generator = StyleGAN2Config(resolution_px=16, z_dim=8, w_dim=8, channel_base=128, channel_max=8)
    loss = replace(config.loss, pl_weight=2.0, pl_interval=2, style_mixing_prob=0.9)
    return replace(config, generator=generator, loss=loss)


def accumulated(config: TrainConfig, folder: Path) -> TrainConfig:
    return replace(config, micro_batch=4, clip_norm=1.0)


def relativistic(config: TrainConfig, folder: Path) -> TrainConfig:
    return replace(config, loss=replace(config.loss, name="relativistic-average", mode_seeking_weight=1.0))


def transgan(config: TrainConfig, folder: Path) -> TrainConfig:
    """Windows, relative positions, noise; WGAN-GP, DiffAugment, super-resolution, a local start of the attention."""
    generator = TransGANConfig(
        resolution_px=16,
        z_dim=8,
        stages=(
            TransGANStage(side=4, channels=32, depth=1, upsampling="none"),
            TransGANStage(side=8, channels=32, depth=1, upsampling="bicubic"),
            TransGANStage(side=16, channels=8, depth=1, window=8, upsampling="smooth_pixelshuffle"),
        ),
        heads=2,
        mlp_ratio=1,
        relative_position=True,
        noise=True,
    )
    return replace(
        config,
        generator=generator,
        discriminator=DISCRIMINATOR,
        loss=LossConfig().named("wgan-gp-eps"),
        augment=AugmentConfig(name="diffaugment"),
        cotrain=CoTrainConfig(weight=1.0),
        locality=LocalityConfig(window="window_2d", schedule=((0.032, 1),)),  # over before the steps are
    )


def controlled(config: TrainConfig, folder: Path) -> TrainConfig:
    """Pairs that share an attribute, told apart by predictors."""
    untrained_readers(folder)
    plain = ControlConfig(predictors=str(folder), terms=(ControlTerm(attribute="age"),))
    objective = load_objective(plain, "cpu", torch.float32)
    assert objective is not None
    sha256 = sha256_of(objective.predictors.state_dict())
    return controllable(config, THRESHOLDS, predictors=str(folder), predictors_sha256=sha256)


def anchored(config: TrainConfig, folder: Path) -> TrainConfig:
    """The same with an anchor, and reconstruction beside everything else."""
    anchor = Anchor(attribute="age", quantiles=((-1.0, 0.0, 1.0),), factor=((1.0,),), spread=(1.0,))
    config = controlled(config, folder)
    control = replace(config.control, anchors=(anchor,), reconstruction=ReconstructionConfig(weight=1.0))
    return replace(config, control=control)


def drawn_again(config: TrainConfig, folder: Path) -> TrainConfig:
    """The phase of reconstruction alone."""
    config = anchored(config, folder)
    alone = ReconstructionConfig(weight=1.0, alone_kimg=100.0)
    return replace(config, control=replace(config.control, reconstruction=alone))


CASES = pytest.mark.parametrize(
    "change",
    [
        stylegan3,
        blurred,
        augmented,
        stylegan2,
        accumulated,
        relativistic,
        transgan,
        controlled,
        anchored,
        drawn_again,
    ],
    ids=lambda change: change.__name__,
)


def trainer_and_batch(config: TrainConfig, device: str) -> tuple[Trainer, Batch]:
    torch.manual_seed(0)
    control = load_objective(config.control, torch.device(device), DTYPES[config.precision])
    trainer = Trainer(config, TrainState(config, device), batch_share=config.batch, control=control)
    images = torch.randint(0, 256, (config.batch, 3, 16, 16), dtype=torch.uint8, device=device)
    return trainer, Batch(images=images, labels=torch.zeros(config.batch, 0, device=device), indices=())


@CASES
def test_a_step_asks_for_no_value(change: Change, config: TrainConfig, tmp_path: Path, waits: Waits) -> None:
    """From the second step on: the first makes filters and other things that stay."""
    trainer, batch = trainer_and_batch(change(config, tmp_path / "readers"), "cpu")
    trainer.step(batch)
    waits.found.clear()
    with waits:
        for _ in range(4):  # one of them with every regulariser
            trainer.step(batch)
    assert waits.found == Counter()


@pytest.mark.parametrize("change", [augmented, stylegan2, transgan, anchored], ids=lambda change: change.__name__)
def test_a_step_needs_no_values(change: Change, config: TrainConfig, tmp_path: Path) -> None:
    """It runs where there are none, and sends none there."""
    trainer, batch = trainer_and_batch(replace(change(config, tmp_path / "readers"), batch=4), "meta")
    trainer.step(batch)
    trainer.state.n_step = 0  # when every regulariser is due
    with Copies() as copies:
        trainer.step(batch)
    assert copies.found == Counter()


def test_the_watch_sees_waiting(waits: Waits) -> None:
    x = torch.ones(3)
    with waits:
        x.sum().item()
        x.tolist()
        x.cpu()
        x[x > 0].sum()
        if x.sum() > 1:
            pass
    assert {"Tensor.item", "Tensor.tolist", "Tensor.cpu", "index by a mask", "Tensor.__bool__"} <= set(waits.found)


def test_the_watch_sees_copies() -> None:
    with Copies() as copies:
        torch.ones(3).to("meta")
        torch.ones(3, device="meta").sum()
    assert copies.found == Counter({"aten._to_copy.default": 1})
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.ones(3, device="meta").sum().item()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA machine")
@CASES
def test_a_step_on_cuda_never_waits(change: Change, config: TrainConfig, tmp_path: Path) -> None:
    config = replace(change(config, tmp_path / "readers"), precision="fp16")
    trainer, batch = trainer_and_batch(config, "cuda")
    for _ in range(5):
        trainer.step(batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with record_paths() as paths:
            for _ in range(4):
                trainer.step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    slow = {path for path in paths if path.endswith((".torch", ".reference", ".math"))}
    assert slow == set(), "a fast path was not taken"
    assert paths
