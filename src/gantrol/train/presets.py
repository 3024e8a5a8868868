"""Presets: complete configs with what they reproduce and what they cost.

A preset is a family (`stylegan3-t`) at a scale. `paper` has the published sizes; `base` halves the channels at low
cutoffs, as the papers' ablations do; `small` fits one modest GPU; `tiny` trains on a laptop CPU. Learning rates,
penalties and moving averages are those of the papers and of the official settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from gantrol.errors import ConfigError, nearest
from gantrol.models import GeneratorConfig
from gantrol.models.stylegan2 import StyleGAN2Config
from gantrol.models.stylegan2_discriminator import StyleGAN2DiscriminatorConfig
from gantrol.models.stylegan3 import StyleGAN3Config
from gantrol.train.config import AdamConfig, LossConfig, Precision, TrainConfig

MAGNITUDE_HALF_LIFE_IMG = 20_000
"""Half-life of StyleGAN3's input magnitudes, in images (paper, section 3.2)."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Sizes of networks and training at one scale."""

    channel_base: int
    """Channels of the generator at cutoff or resolution 1, doubled for stylegan3-r."""
    channel_max: int
    """The most channels of one layer, doubled for stylegan3-r."""
    d_channel_base: int
    """The same for the discriminator."""
    d_channel_max: int
    latent_dim: int
    """Width of z and w."""
    sg3_layers: int
    """StyleGAN3 synthesis layers."""
    sg3_margin_px: int
    """Pixels around the canvas."""
    g_lr: float | None = None
    """Learning rate of the generator; None: the published one. Short trainings of small networks want more."""
    d_lr: float = 0.002
    """Learning rate of the discriminator."""
    batch: int
    kimg: float
    tick_kimg: float
    sample_ticks: int
    """Ticks between two grids of samples."""
    summary: str
    """What it is for and what it costs."""


SCALES = {
    "tiny": Scale(
        channel_base=1024,
        channel_max=64,
        d_channel_base=2048,
        d_channel_max=128,
        latent_dim=64,
        sg3_layers=6,
        sg3_margin_px=6,
        g_lr=0.006,
        d_lr=0.004,
        batch=16,
        kimg=80,
        tick_kimg=1,
        sample_ticks=2,
        summary="32 px on two CPU cores in about an hour",
    ),
    "small": Scale(
        channel_base=8192,
        channel_max=256,
        d_channel_base=8192,
        d_channel_max=256,
        latent_dim=256,
        sg3_layers=10,
        sg3_margin_px=10,
        batch=32,
        kimg=5000,
        tick_kimg=4,
        sample_ticks=10,
        summary="64-128 px on one modest GPU",
    ),
    "base": Scale(
        channel_base=16384,
        channel_max=512,
        d_channel_base=16384,
        d_channel_max=512,
        latent_dim=512,
        sg3_layers=14,
        sg3_margin_px=10,
        batch=32,
        kimg=25000,
        tick_kimg=4,
        sample_ticks=10,
        summary="256 px as in the paper's ablations; 50 s/kimg on one A100 (official code)",
    ),
    "paper": Scale(
        channel_base=32768,
        channel_max=512,
        d_channel_base=32768,
        d_channel_max=512,
        latent_dim=512,
        sg3_layers=14,
        sg3_margin_px=10,
        batch=32,
        kimg=25000,
        tick_kimg=4,
        sample_ticks=10,
        summary="the published sizes, up to 1024 px; 20-24 s/kimg on eight A100s at 1024 px (official code)",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A family of networks with its training recipe."""

    reproduces: str
    """Paper and configuration."""
    make: Callable[[Scale, DataShape, Precision], TrainConfig]
    """The complete config at a scale, for data of a shape, in a precision."""


@dataclass(frozen=True, kw_only=True)
class DataShape:
    """What a config has to know about its dataset."""

    resolution_px: int
    channels: int = 3
    label_dim: int = 0


def choose_precision(device_type: str) -> Precision:
    """What `--precision auto` means on a kind of device.

    The published float16 on CUDA; bfloat16 on CPUs that multiply matrices of it (AMX), where a step takes about half
    the time; float32 elsewhere.
    """
    if device_type == "cuda":
        return "fp16"
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16" if device_type == "cpu" and capabilities.get("amx_bf16") else "fp32"


def conv_clamp(precision: Precision) -> float | None:
    """Bound on activations: float16 needs one; bfloat16 has the range of float32."""
    return 256.0 if precision == "fp16" else None


def stylegan3_gamma(resolution_px: int, batch: int) -> float:
    """R1 weight for StyleGAN3: 0.001·res²/batch, the middle of the paper's grid (γ = 2 at 256 px and batch 32)."""
    return 0.001 * resolution_px**2 / batch


def stylegan2_gamma(resolution_px: int, batch: int) -> float:
    """R1 weight for StyleGAN2: 0.0002·res²/batch (StyleGAN2-ADA's automatic rule)."""
    return 0.0002 * resolution_px**2 / batch


def _config(
    scale: Scale,
    shape: DataShape,
    precision: Precision,
    generator: GeneratorConfig,
    loss: LossConfig,
    g_lr: float,
) -> TrainConfig:
    discriminator = StyleGAN2DiscriminatorConfig(
        resolution_px=shape.resolution_px,
        channels=shape.channels,
        c_dim=shape.label_dim,
        channel_base=scale.d_channel_base,
        channel_max=scale.d_channel_max,
        conv_clamp=conv_clamp(precision),
    )
    return TrainConfig(
        preset="",
        scale="",
        generator=generator,
        discriminator=discriminator,
        loss=loss,
        g_adam=AdamConfig(lr=scale.g_lr or g_lr),
        d_adam=AdamConfig(lr=scale.d_lr),
        batch=scale.batch,
        kimg=scale.kimg,
        tick_kimg=scale.tick_kimg,
        sample_ticks=scale.sample_ticks,
        ema_half_life_kimg=scale.batch * 10 / 32,
        use_labels=shape.label_dim > 0,
        precision=precision,
    )


def _stylegan2(scale: Scale, shape: DataShape, precision: Precision) -> TrainConfig:
    generator = StyleGAN2Config(
        resolution_px=shape.resolution_px,
        channels=shape.channels,
        c_dim=shape.label_dim,
        z_dim=scale.latent_dim,
        w_dim=scale.latent_dim,
        channel_base=scale.channel_base,
        channel_max=scale.channel_max,
        conv_clamp=conv_clamp(precision),
    )
    loss = LossConfig(r1_gamma=stylegan2_gamma(shape.resolution_px, scale.batch), pl_weight=2.0, style_mixing_prob=0.9)
    return _config(scale, shape, precision, generator, loss, g_lr=0.002)


def _stylegan3(scale: Scale, shape: DataShape, precision: Precision, *, is_rotation_equivariant: bool) -> TrainConfig:
    width = 2 if is_rotation_equivariant else 1
    generator = StyleGAN3Config(
        resolution_px=shape.resolution_px,
        channels=shape.channels,
        c_dim=shape.label_dim,
        z_dim=scale.latent_dim,
        w_dim=scale.latent_dim,
        num_layers=scale.sg3_layers,
        margin_px=scale.sg3_margin_px,
        channel_base=scale.channel_base * width,
        channel_max=scale.channel_max * width,
        conv_kernel=1 if is_rotation_equivariant else 3,
        use_radial_filters=is_rotation_equivariant,
        conv_clamp=conv_clamp(precision),
        magnitude_ema_beta=0.5 ** (scale.batch / MAGNITUDE_HALF_LIFE_IMG),
    )
    loss = LossConfig(
        r1_gamma=stylegan3_gamma(shape.resolution_px, scale.batch),
        blur_sigma_px=10.0 if is_rotation_equivariant else 0.0,
        blur_fade_kimg=scale.batch * 200 / 32,
    )
    return _config(scale, shape, precision, generator, loss, g_lr=0.0025)


PRESETS = {
    "stylegan2": Preset(
        reproduces="StyleGAN2 (Karras et al. 2020), skip generator, residual discriminator", make=_stylegan2
    ),
    "stylegan3-t": Preset(
        reproduces="Alias-Free GAN (Karras et al. 2021), configuration T: translation equivariance",
        make=lambda scale, shape, precision: _stylegan3(scale, shape, precision, is_rotation_equivariant=False),
    ),
    "stylegan3-r": Preset(
        reproduces="Alias-Free GAN (Karras et al. 2021), configuration R: translation and rotation equivariance",
        make=lambda scale, shape, precision: _stylegan3(scale, shape, precision, is_rotation_equivariant=True),
    ),
}


def preset(
    name: str, scale: str, shape: DataShape, *, batch: int | None = None, precision: Precision = "fp32"
) -> TrainConfig:
    """The complete config of preset `name` at `scale` for data of `shape`.

    Args:
        name: one of `PRESETS`.
        scale: one of `SCALES`.
        shape: of the dataset.
        batch: images per step if not the scale's; what depends on it (γ, half-lives) follows.
        precision: number type of the layers that may use a lower one.

    Raises:
        ConfigError: unknown preset or scale, with the nearest names; or a size that the networks cannot have.
    """
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}; {nearest(name, PRESETS)}")
    if scale not in SCALES:
        raise ConfigError(f"there is no scale {scale!r}; {nearest(scale, SCALES)}")
    if batch is not None and batch < 1:
        raise ConfigError(f"batch={batch}: expected 1 or more")
    sizes = SCALES[scale] if batch is None else replace(SCALES[scale], batch=batch)
    return replace(PRESETS[name].make(sizes, shape, precision), preset=name, scale=scale)
