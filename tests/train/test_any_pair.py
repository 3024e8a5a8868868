"""Presets, and every generator with every discriminator: they build, every parameter learns, two steps go well."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from gantrol import checkpoint
from gantrol.config import from_dict, to_dict
from gantrol.data.dataset import DatasetWriter, ImageDataset
from gantrol.data.loader import Batch
from gantrol.errors import ConfigError
from gantrol.model import load
from gantrol.models import TransGANConfig
from gantrol.train.config import LOSS_NAMES, TrainConfig
from gantrol.train.loop import train
from gantrol.train.presets import (
    DISCRIMINATOR_PRESETS,
    PRESETS,
    SCALES,
    DataShape,
    discriminator_config,
    preset,
    stable_precision,
)
from gantrol.train.run import create_run
from gantrol.train.state import CHECKPOINTS, TrainState
from gantrol.train.steps import Trainer

GENERATORS = ("stylegan2", "stylegan3-t", "transgan-v1-s", "transgan-cifar10", "autogan-a", "wgan-gp")
NARROW_G: dict[str, dict[str, Any]] = {
    "stylegan2": {"channel_base": 64, "channel_max": 4, "z_dim": 8, "w_dim": 8},
    "stylegan3": {"channel_base": 64, "channel_max": 4, "z_dim": 8, "w_dim": 8, "num_layers": 4, "margin_px": 4},
    "ladder": {"channel_base": 64, "channel_max": 4, "z_dim": 8, "w_dim": 8, "margin_px": 4},
    "autogan": {"width": 4, "z_dim": 8},
    "wgan-gp": {"width": 4, "z_dim": 8},
}
NARROW_D: dict[str, dict[str, Any]] = {
    "stylegan2": {"channel_base": 64, "channel_max": 4},
    "autogan-d": {"width": 4},
    "wgan-gp-d": {"width": 4},
}


SIDES_PX = {
    "transgan-stl10": 48,
    "transgan-64": 64,
    "transgan-128": 128,
    "transgan-church256": 256,
    "transgan-celebahq256": 256,
}


def side_px(name: str) -> int:
    """A side of images that a preset takes."""
    return SIDES_PX.get(name, 32)


def shrinkage(resolution_px: int) -> int:
    """What sides are divided by in these tests: the layouts stay, with 2×2 tokens or more at the start."""
    return 4 if resolution_px >= 128 else 2


def narrow_transgan(config: Any) -> dict[str, Any]:
    """One block where there are any, few features (4 in G's last stage, 12 in D), smaller grids and windows."""
    factor = shrinkage(config.resolution_px)

    def window(published: int | None) -> int | None:
        return published if published is None or published <= 4 else published // factor

    if isinstance(config, TransGANConfig):
        last = config.stages[-1].channels
        stages = [
            replace(
                stage,
                side=stage.side // factor,
                channels=4 * stage.channels // last,
                depth=min(stage.depth, 1),
                window=window(stage.window),
            )
            for stage in config.stages
        ]
        common: dict[str, Any] = {"stages": tuple(stages), "z_dim": 8}
    else:
        scales = [
            replace(
                scale,
                channels=12 // len(config.scales),
                depth=min(scale.depth, 1),
                global_depth=1,
                window=window(scale.window),
            )
            for scale in config.scales
        ]
        common = {"scales": tuple(scales), "last_depth": 1}
    return common | {"mlp_ratio": 1}


def narrow(config: TrainConfig) -> TrainConfig:
    """The config with small networks and a small batch: what depends on neither stays."""
    g, d = config.generator, config.discriminator
    side: dict[str, Any] = {"resolution_px": g.resolution_px // shrinkage(g.resolution_px)}
    return replace(
        config,
        generator=replace(g, **(NARROW_G.get(g.kind) or narrow_transgan(g)), **side),
        discriminator=replace(d, **(NARROW_D.get(d.kind) or narrow_transgan(d)), **side),
        batch=4 if g.resolution_px < 128 else 1,
        micro_batch=None,
        precision="fp32",
    )


def images(count: int, resolution_px: int) -> Batch:
    pixels = torch.randint(0, 256, (count, 3, resolution_px, resolution_px), dtype=torch.uint8)
    return Batch(images=pixels, labels=torch.zeros(count, 0), indices=tuple(range(count)))


def steps(config: TrainConfig, count: int = 2) -> TrainState:
    """The state after so many steps; fails if a number is not finite or a network stood still."""
    torch.manual_seed(0)
    state = TrainState(config, "cpu")
    before = {name: value.clone() for name, value in state.tensors().items()}
    trainer = Trainer(config, state, batch_share=config.batch)
    stats: dict[str, Any] = {}
    for _ in range(count):
        stats |= trainer.step(images(config.batch, config.generator.resolution_px))
    assert {"loss/g", "loss/d"} <= set(stats)
    assert all(value.isfinite() for value in stats.values()), stats
    after = state.tensors()
    for net in ("g.", "d.", "g_ema."):
        assert any(name.startswith(net) and not torch.equal(before[name], after[name]) for name in before), net
    return state


# ----------------------------------------------------------------------------------------------------------------------
# Presets


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", PRESETS)
def test_presets_build_at_every_scale(name: str, scale: str) -> None:
    """The config is whole, goes through JSON, and names sizes that its networks can have."""
    config = preset(name, scale, DataShape(resolution_px=side_px(name)))
    assert (config.preset, config.scale) == (name, scale)
    assert from_dict(TrainConfig, to_dict(config)) == config
    if scale == "tiny":
        with torch.device("meta"):  # shapes without numbers
            config.generator.build()
            config.discriminator.build()
    assert preset(name, scale, DataShape(resolution_px=side_px(name)), batch=12).batch == 12


@pytest.mark.parametrize("name", PRESETS)
def test_every_parameter_of_a_preset_learns(name: str) -> None:
    torch.manual_seed(0)
    config = narrow(preset(name, "tiny", DataShape(resolution_px=side_px(name))))
    g, d = config.generator.build(), config.discriminator.build()
    logits = d(g(torch.randn(4, g.z_dim), noise_mode="random"))
    torch.nn.functional.softplus(logits).sum().backward()
    for net in (g, d):
        assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", PRESETS)
def test_presets_train(name: str) -> None:
    config = narrow(preset(name, "tiny", DataShape(resolution_px=side_px(name))))
    steps(replace(config, n_critic=1), count=1)


@pytest.mark.parametrize(
    ("name", "resolution_px", "batch", "n_critic", "kimg"),
    [
        ("wgan-gp", 32, 64, 5, 32_000),
        ("autogan-a", 32, 64, 5, 16_000),
        ("transgan-v1-xl", 32, 32, 5, 80_000),
        ("transgan-v1-l", 48, 16, 5, 40_000),
        ("transgan-v1-xl", 64, 16, 5, 40_000),
        ("transgan-cifar10", 32, 64, 4, 128_000),
        ("transgan-stl10", 48, 32, 5, 80_000),
        ("transgan-church256", 256, 64, 4, 128_000),
        ("transgan-celebahq256", 256, 64, 4, 128_000),
    ],
)
def test_paper_scale_is_as_published(name: str, resolution_px: int, batch: int, n_critic: int, kimg: float) -> None:
    config = preset(name, "paper", DataShape(resolution_px=resolution_px))
    assert (config.batch, config.n_critic, config.kimg, config.g_batch_factor) == (batch, n_critic, kimg, 2)
    half_life_steps = {0.0: 1, 0.995: 138, 0.999: 693, None: 500_000 / batch}[config.ema_beta]
    assert round(config.ema_half_life_kimg * 1000 / (batch * n_critic)) == round(half_life_steps)


def test_what_a_baseline_recipe_says() -> None:
    config = preset("wgan-gp", "paper", DataShape(resolution_px=32))
    loss, adam = config.loss, config.g_adam
    assert (loss.name, loss.gp_weight, loss.drift_weight, loss.r1_gamma) == ("wgan", 10.0, 0.0, 0.0)
    assert (adam.lr, adam.beta1, adam.beta2, config.lr_decay, config.ema_beta) == (2e-4, 0.0, 0.9, "linear", 0.0)
    config = preset("autogan-b", "paper", DataShape(resolution_px=32))
    assert (config.loss.name, config.loss.gp_weight, config.ema_beta, config.x_flip) == ("hinge", 0.0, 0.999, True)


def test_what_the_transgan_recipes_say() -> None:
    """The published tables: both optimisers, the clip, augmentation, co-training and the window of attention."""
    config = preset("transgan-v1-s", "paper", DataShape(resolution_px=32))
    assert (config.loss.name, config.loss.gp_weight, config.loss.drift_weight) == ("wgan", 10.0, 1e-3)
    assert config.g_adam == config.d_adam
    assert (config.d_adam.lr, config.d_adam.beta1, config.d_adam.beta2) == (1e-4, 0.0, 0.99)
    assert (config.clip_norm, config.lr_decay, config.x_flip, config.ema_beta) == (5.0, "none", True, 0.999)
    augment = config.augment.diffaugment
    assert (config.augment.name, augment.policy) == ("diffaugment", "translation,cutout,color")
    assert (augment.translation_ratio, augment.cutout_prob) == (0.2, 0.3)
    assert (config.cotrain.weight, config.cotrain.entry_stage, config.cotrain.until_kimg) == (50.0, 2, 5500.0)
    assert config.locality.schedule == ((1100.0, 4), (1600.0, 6), (2100.0, 8), (3000.0, 10))
    config = preset("transgan-v1-xl", "paper", DataShape(resolution_px=64))
    assert [width for _, width in config.locality.schedule] == [8, 12, 16, 20]
    assert config.locality.schedule[0][0] == pytest.approx(5 * 202.599)
    config = preset("transgan-v1-s", "tiny", DataShape(resolution_px=32))
    assert (config.locality.unit, config.cotrain.until_share) == ("share", 0.55)
    config = preset("transgan-celebahq256", "paper", DataShape(resolution_px=256))
    assert config.augment.diffaugment.policy == "filter,translation,erase_ratio,color,hue"
    assert (config.cotrain.weight, config.locality.window, config.ema_beta) == (0.0, "none", 0.995)
    config = preset("transgan-stl10", "paper", DataShape(resolution_px=48))
    assert (config.ema_ramp_up, config.augment.diffaugment.policy) == (0.25, "translation,stl_erase_ratio,color")


def test_data_of_another_size() -> None:
    with pytest.raises(ConfigError, match="transgan-stl10 makes images of 48 px, but the data has 64 px: choose tra"):
        preset("transgan-stl10", "tiny", DataShape(resolution_px=64))
    with pytest.raises(ConfigError, match=r"transgan-64 makes .* the data has 512 px: import it with --size 64"):
        preset("transgan-64", "tiny", DataShape(resolution_px=512))
    with pytest.raises(ConfigError, match="transgan-v1-m makes images of 32, 48, 64 px, but the data has 128 px"):
        preset("transgan-v1-m", "tiny", DataShape(resolution_px=128))
    with pytest.raises(ConfigError, match="transgan-v2 has no discriminator for 96 px"):
        discriminator_config("transgan-v2", "tiny", DataShape(resolution_px=96))
    with pytest.raises(ConfigError, match="resolution_px=48: expected a power of two"):
        discriminator_config("stylegan2", "tiny", DataShape(resolution_px=48))


def test_automatic_precision() -> None:
    """Float16 only where both networks clamp."""
    shape = DataShape(resolution_px=32)
    assert stable_precision(preset("stylegan2", "tiny", shape, precision="fp16")) == "fp16"
    assert stable_precision(preset("transgan-v1-s", "tiny", shape, precision="fp16")) == "bf16"
    assert stable_precision(preset("autogan-a", "tiny", shape, precision="fp32")) == "fp32"


# ----------------------------------------------------------------------------------------------------------------------
# Any with any


@pytest.mark.parametrize(("g", "d"), list(itertools.product(GENERATORS, DISCRIMINATOR_PRESETS)))
def test_every_pair_trains(g: str, d: str) -> None:
    shape = DataShape(resolution_px=32)
    config = preset(g, "tiny", shape)
    swapped = replace(config, discriminator=discriminator_config(d, "tiny", shape))
    assert replace(swapped, discriminator=config.discriminator) == config
    steps(replace(narrow(swapped), n_critic=2))


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_every_loss_trains(loss: str) -> None:
    config = narrow(preset("autogan-a", "tiny", DataShape(resolution_px=32)))
    steps(replace(config, loss=config.loss.named(loss), n_critic=1))


def test_labels_reach_every_pair() -> None:
    shape = DataShape(resolution_px=32, label_dim=3)
    for g, d in itertools.product(GENERATORS, DISCRIMINATOR_PRESETS):
        config = replace(preset(g, "tiny", shape), discriminator=discriminator_config(d, "tiny", shape))
        assert config.use_labels
        assert (config.generator.c_dim, config.discriminator.c_dim) == (3, 3)


def test_unknown_names() -> None:
    shape = DataShape(resolution_px=32)
    with pytest.raises(ConfigError, match="no discriminator 'autogen'; did you mean autogan"):
        discriminator_config("autogen", "tiny", shape)
    with pytest.raises(ConfigError, match="no scale 'huge'"):
        discriminator_config("autogan", "huge", shape)
    with pytest.raises(ConfigError, match="batch=0"):
        discriminator_config("autogan", "tiny", shape, batch=0)


# ----------------------------------------------------------------------------------------------------------------------
# A whole run


class Silent:
    """A reporter that says nothing."""

    def step(self, n_img: int, total_img: int, img_per_s: float) -> None:
        return None

    def tick(self, tick: dict[str, Any]) -> None:
        return None

    def message(self, text: str) -> None:
        return None


def run(config: TrainConfig, folder: Path, *, is_resumed: bool = False) -> None:
    if not is_resumed:
        create_run(folder, config, "test")
    train(config, folder, Fabric(accelerator="cpu", devices=1), Silent(), is_resumed=is_resumed)


@pytest.fixture(scope="module")
def stl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 images of 24 px: no power of two, like the 48 px of STL-10."""
    path = tmp_path_factory.mktemp("data") / "stl.zip"
    rng = np.random.default_rng(0)
    with DatasetWriter(path) as writer:
        for _ in range(16):
            writer.add(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    return path


def test_batch_norm_and_spectral_norm_resume_exactly(stl: Path, tmp_path: Path) -> None:
    """6 steps equal 3 steps, a break and 3 more, in every tensor; and the model loads."""
    assert ImageDataset(stl).resolution_px == 24
    config = narrow(preset("autogan-c", "tiny", DataShape(resolution_px=48)))
    config = replace(config, data=str(stl), n_critic=2, kimg=0.024, tick_kimg=0.012, workers=1)
    run(config, tmp_path / "whole")
    run(replace(config, kimg=0.012), tmp_path / "broken")
    run(config, tmp_path / "broken", is_resumed=True)
    ends = [checkpoint.load(tmp_path / name / CHECKPOINTS / "000000024.safetensors")[0] for name in ("whole", "broken")]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert any(name.startswith("d.") and name.endswith(".u") for name in ends[0])
    model = load(tmp_path / "whole", device="cpu")
    alone = model.generate([3], output="pt")
    torch.testing.assert_close(model.generate([1, 2, 3], output="pt")[2:], alone)
