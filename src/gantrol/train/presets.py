"""Presets: complete configs with what they reproduce and what they cost.

A preset is a family (`stylegan3-t`) at a scale. `paper` has the published sizes; `base` halves the channels at low
cutoffs, as the papers' ablations do; `small` fits one modest GPU; `tiny` trains on a laptop CPU. Learning rates,
penalties and moving averages are those of the papers and of the official settings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from gantrol.errors import ConfigError, nearest
from gantrol.models import DiscriminatorConfig, GeneratorConfig
from gantrol.models.ladder import LadderConfig
from gantrol.models.stylegan2 import StyleGAN2Config
from gantrol.models.stylegan2_discriminator import StyleGAN2DiscriminatorConfig
from gantrol.models.stylegan3 import StyleGAN3Config
from gantrol.train.config import AdamConfig, LossConfig, Precision, TrainConfig
from gantrol.train.presets_baselines import BASELINE_DISCRIMINATORS, BASELINES
from gantrol.train.presets_transgan import TRANSGAN, TRANSGAN_DISCRIMINATORS
from gantrol.train.recipes import DiscriminatorPreset, Preset

MAGNITUDE_HALF_LIFE_IMG = 20_000
"""Half-life of StyleGAN3's input magnitudes, in images (paper, section 3.2)."""

LADDER_LR = 0.0025
"""Learning rate of both networks in the ladder (StyleGAN3 paper, appendix F)."""


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
    width_divisor: int
    """Networks with one published width, the TransGAN family and the baselines, divide it by this."""
    g_lr: float | None = None
    """Learning rate of the generator; None: the published one. Short trainings of small networks want more."""
    d_lr: float | None = None
    """Learning rate of the discriminator; None: the published one."""
    batch: int
    chosen_batch: int | None = None
    """What the user asks for instead of any batch of a recipe."""
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
        width_divisor=4,
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
        width_divisor=4,
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
        width_divisor=2,
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
        width_divisor=1,
        batch=32,
        kimg=25000,
        tick_kimg=4,
        sample_ticks=10,
        summary="the published sizes, up to 1024 px; 20-24 s/kimg on eight A100s at 1024 px (official code)",
    ),
}


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


def stable_precision(config: TrainConfig) -> Precision:
    """The config's precision, but bfloat16 for float16 where a network does not bound its activations.

    The StyleGAN papers train in float16 because they clamp; the other networks were published in float32.
    """
    is_clamped = all(getattr(net, "conv_clamp", None) for net in (config.generator, config.discriminator))
    return config.precision if is_clamped or config.precision != "fp16" else "bf16"


def conv_clamp(precision: Precision) -> float | None:
    """Bound on activations: float16 needs one; bfloat16 has the range of float32."""
    return 256.0 if precision == "fp16" else None


def stylegan3_gamma(resolution_px: int, batch: int) -> float:
    """R1 weight for StyleGAN3: 0.001·res²/batch, the middle of the paper's grid (γ = 2 at 256 px and batch 32)."""
    return 0.001 * resolution_px**2 / batch


def stylegan2_gamma(resolution_px: int, batch: int) -> float:
    """R1 weight for StyleGAN2: 0.0002·res²/batch (StyleGAN2-ADA's automatic rule)."""
    return 0.0002 * resolution_px**2 / batch


def magnitude_ema_beta(batch: int) -> float:
    """Decay of the input magnitudes per step."""
    return float(0.5 ** (batch / MAGNITUDE_HALF_LIFE_IMG))


def _stylegan2_d(scale: Scale, shape: DataShape, precision: Precision) -> StyleGAN2DiscriminatorConfig:
    return StyleGAN2DiscriminatorConfig(
        resolution_px=shape.resolution_px,
        channels=shape.channels,
        c_dim=shape.label_dim,
        channel_base=scale.d_channel_base,
        channel_max=scale.d_channel_max,
        conv_clamp=conv_clamp(precision),
    )


def _config(
    scale: Scale,
    shape: DataShape,
    precision: Precision,
    generator: GeneratorConfig,
    loss: LossConfig,
    *,
    g_lr: float,
    d_lr: float = 0.002,
    mbstd_group_size: int = 4,
) -> TrainConfig:
    return TrainConfig(
        preset="",
        scale="",
        generator=generator,
        discriminator=replace(_stylegan2_d(scale, shape, precision), mbstd_group_size=mbstd_group_size),
        loss=loss,
        g_adam=AdamConfig(lr=scale.g_lr or g_lr),
        d_adam=AdamConfig(lr=scale.d_lr or d_lr),
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
        magnitude_ema_beta=magnitude_ema_beta(scale.batch),
    )
    loss = LossConfig(
        r1_gamma=stylegan3_gamma(shape.resolution_px, scale.batch),
        blur_sigma_px=10.0 if is_rotation_equivariant else 0.0,
        blur_fade_kimg=scale.batch * 200 / 32,
    )
    return _config(scale, shape, precision, generator, loss, g_lr=0.0025)


def _ladder_stylegan2(
    scale: Scale,
    shape: DataShape,
    precision: Precision,
    *,
    use_fourier_input: bool = True,
    use_noise: bool = True,
) -> TrainConfig:
    """Steps A to C of the ladder: StyleGAN2, with γ and rates of the ladder's other steps."""
    plain = _stylegan2(scale, shape, precision)
    assert isinstance(plain.generator, StyleGAN2Config)
    generator = replace(plain.generator, use_fourier_input=use_fourier_input, use_noise=use_noise)
    loss = replace(plain.loss, r1_gamma=stylegan3_gamma(shape.resolution_px, scale.batch))
    return _config(scale, shape, precision, generator, loss, g_lr=LADDER_LR, d_lr=LADDER_LR, mbstd_group_size=8)


def _ladder(
    scale: Scale,
    shape: DataShape,
    precision: Precision,
    *,
    has_margin: bool = True,
    upsampling: str = "sinc",
    lrelu_upsampling: int = 2,
    use_lower_cutoffs: bool = True,
    use_input_motion: bool = True,
) -> TrainConfig:
    """Steps D to H of the ladder."""
    generator = LadderConfig(
        resolution_px=shape.resolution_px,
        channels=shape.channels,
        c_dim=shape.label_dim,
        z_dim=scale.latent_dim,
        w_dim=scale.latent_dim,
        margin_px=scale.sg3_margin_px if has_margin else 0,
        upsampling=upsampling,
        lrelu_upsampling=lrelu_upsampling,
        use_lower_cutoffs=use_lower_cutoffs,
        use_input_motion=use_input_motion,
        channel_base=scale.channel_base,
        channel_max=scale.channel_max,
        conv_clamp=conv_clamp(precision),
        magnitude_ema_beta=magnitude_ema_beta(scale.batch),
    )
    loss = LossConfig(r1_gamma=stylegan3_gamma(shape.resolution_px, scale.batch))
    return _config(scale, shape, precision, generator, loss, g_lr=LADDER_LR, d_lr=LADDER_LR)


def _published(fid: float, eqt: float | None = None, eqr: float | None = None) -> str:
    """A row of the ladder's table in the paper: 25 million images at 256 px."""
    equivariance = "" if eqt is None else f", EQ-T {eqt:.2f}, EQ-R {eqr:.2f}"
    return f"(published, FFHQ-U 256: FID {fid:.2f}{equivariance})"


PRESETS = {
    "stylegan2": Preset(
        reproduces="StyleGAN2 (Karras et al. 2020), skip generator, residual discriminator", make=_stylegan2
    ),
    "ladder-a": Preset(
        reproduces=f"Alias-Free GAN's ladder, A: StyleGAN2 {_published(5.14)}",
        make=partial(_ladder_stylegan2, use_fourier_input=False),
    ),
    "ladder-b": Preset(
        reproduces=f"Alias-Free GAN's ladder, B: Fourier features as input {_published(4.79, 16.23, 10.81)}",
        make=_ladder_stylegan2,
    ),
    "ladder-c": Preset(
        reproduces=f"Alias-Free GAN's ladder, C: no noise inputs {_published(4.54, 15.81, 10.84)}",
        make=partial(_ladder_stylegan2, use_noise=False),
    ),
    "ladder-d": Preset(
        reproduces=f"Alias-Free GAN's ladder, D: simplified generator {_published(5.21, 19.47, 10.41)}",
        make=partial(
            _ladder,
            has_margin=False,
            upsampling="bilinear",
            lrelu_upsampling=1,
            use_lower_cutoffs=False,
            use_input_motion=False,
        ),
    ),
    "ladder-e": Preset(
        reproduces=f"Alias-Free GAN's ladder, E: boundaries and upsampling {_published(6.02, 24.62, 10.97)}",
        make=partial(_ladder, lrelu_upsampling=1, use_lower_cutoffs=False, use_input_motion=False),
    ),
    "ladder-f": Preset(
        reproduces=f"Alias-Free GAN's ladder, F: filtered non-linearities {_published(6.35, 30.60, 10.81)}",
        make=partial(_ladder, use_lower_cutoffs=False, use_input_motion=False),
    ),
    "ladder-g": Preset(
        reproduces=f"Alias-Free GAN's ladder, G: non-critical sampling {_published(4.78, 43.90, 10.84)}",
        make=partial(_ladder, use_input_motion=False),
    ),
    "ladder-h": Preset(
        reproduces=f"Alias-Free GAN's ladder, H: transformed Fourier features {_published(4.64, 45.20, 10.61)}",
        make=_ladder,
    ),
    "stylegan3-t": Preset(
        reproduces="Alias-Free GAN (Karras et al. 2021), configuration T: translation equivariance "
        + _published(4.62, 63.01, 13.12),
        make=partial(_stylegan3, is_rotation_equivariant=False),
    ),
    "stylegan3-r": Preset(
        reproduces="Alias-Free GAN (Karras et al. 2021), configuration R: translation and rotation equivariance "
        + _published(4.50, 66.65, 40.48),
        make=partial(_stylegan3, is_rotation_equivariant=True),
    ),
    **TRANSGAN,
    **BASELINES,
}

DISCRIMINATOR_PRESETS = {
    "stylegan2": DiscriminatorPreset(reproduces="StyleGAN2's residual discriminator", make=_stylegan2_d),
    **TRANSGAN_DISCRIMINATORS,
    **BASELINE_DISCRIMINATORS,
}
"""What `--d` takes: any of them can stand in any preset, which keeps its losses, optimisers and schedules."""


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
    return replace(PRESETS[name].make(_sizes(scale, batch), shape, precision), preset=name, scale=scale)


def discriminator_config(
    name: str, scale: str, shape: DataShape, *, batch: int | None = None, precision: Precision = "fp32"
) -> DiscriminatorConfig:
    """The config of discriminator `name`, to stand in any preset; arguments and errors as those of `preset`.

    Put in place of a preset's discriminator, it is trained as that one would be: `replace(config, discriminator=…)`.
    """
    if name not in DISCRIMINATOR_PRESETS:
        raise ConfigError(f"there is no discriminator {name!r}; {nearest(name, DISCRIMINATOR_PRESETS)}")
    return DISCRIMINATOR_PRESETS[name].make(_sizes(scale, batch), shape, precision)


def _sizes(scale: str, batch: int | None) -> Scale:
    if scale not in SCALES:
        raise ConfigError(f"there is no scale {scale!r}; {nearest(scale, SCALES)}")
    if batch is None:
        return SCALES[scale]
    if batch < 1:
        raise ConfigError(f"batch={batch}: expected 1 or more")
    return replace(SCALES[scale], batch=batch, chosen_batch=batch)
