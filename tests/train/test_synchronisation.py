"""A training step never waits for the device: by torch's own check on CUDA, elsewhere by what asks for values."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gantrol.data.loader import Batch
from gantrol.models import StyleGAN2Config
from gantrol.ops.paths import record_paths
from gantrol.train.config import AugmentConfig, TrainConfig
from gantrol.train.state import TrainState
from gantrol.train.steps import Trainer

WAITING = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "equal", "unique", "_unique2"}
"""Operators whose result the processor needs before it can go on."""

CPU_ONLY = {"gantrol.ops.blocks"}
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


def stylegan3(config: TrainConfig) -> TrainConfig:
    return config


def blurred(config: TrainConfig) -> TrainConfig:
    """Configuration R's blur of what the discriminator sees."""
    return replace(config, loss=replace(config.loss, blur_sigma_px=1.0, blur_fade_kimg=1.0))


def augmented(config: TrainConfig) -> TrainConfig:
    return replace(config, augment=AugmentConfig(name="ada"))


def stylegan2(config: TrainConfig) -> TrainConfig:
    """With path lengths and mixed styles."""
    generator = StyleGAN2Config(resolution_px=16, z_dim=8, w_dim=8, channel_base=128, channel_max=8)
    loss = replace(config.loss, pl_weight=2.0, pl_interval=2, style_mixing_prob=0.9)
    return replace(config, generator=generator, loss=loss)


Change = Callable[[TrainConfig], TrainConfig]
CASES = pytest.mark.parametrize(
    "change", [stylegan3, blurred, augmented, stylegan2], ids=lambda change: change.__name__
)


def trainer_and_batch(config: TrainConfig, device: str) -> tuple[Trainer, Batch]:
    torch.manual_seed(0)
    trainer = Trainer(config, TrainState(config, device), batch_share=config.batch)
    images = torch.randint(0, 256, (config.batch, 3, 16, 16), dtype=torch.uint8, device=device)
    return trainer, Batch(images=images, labels=torch.zeros(config.batch, 0, device=device), indices=())


@CASES
def test_a_step_asks_for_no_value(change: Change, config: TrainConfig, waits: Waits) -> None:
    """From the second step on: the first makes filters and other things that stay."""
    trainer, batch = trainer_and_batch(change(config), "cpu")
    trainer.step(batch)
    waits.found.clear()
    with waits:
        for _ in range(4):  # one of them with every regulariser
            trainer.step(batch)
    assert waits.found == Counter()


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA machine")
@CASES
def test_a_step_on_cuda_never_waits(change: Change, config: TrainConfig) -> None:
    trainer, batch = trainer_and_batch(replace(change(config), precision="fp16"), "cuda")
    for _ in range(5):
        trainer.step(batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with record_paths() as paths:
            for _ in range(4):
                trainer.step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert paths
    assert {path for path in paths if not path.endswith(".triton")} == set()
