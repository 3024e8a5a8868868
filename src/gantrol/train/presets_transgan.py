"""Presets of the TransGAN family: version 1 in four sizes, version 2 for six data sets.

Version 1 (February 2021) is described by a size and takes its grids from the data; version 2 (NeurIPS 2021) by a data
set, whose side it must have. The published schedules count passes over the data: of 50 000 images for CIFAR-10,
105 000 for STL-10 and 202 599 for CelebA. They are told in images at the scale `paper`; below it, as shares of the
training, as if that were 200 passes long. Version 2's layouts for 64 and 128 px were not published: ours leave out
upper stages of the one for 256 px.

Source: TransGAN (Jiang et al. 2021), both versions; our specification notes, TransGAN, sections 1.3 to 1.9, 2.2 to 2.6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from gantrol.errors import ConfigError
from gantrol.models import (
    TransGANConfig,
    TransGANDiscriminatorConfig,
    transgan_v1,
    transgan_v1_discriminator,
    transgan_v2,
    transgan_v2_discriminator,
)
from gantrol.train.augment import AugmentConfig, DiffAugmentConfig
from gantrol.train.config import AdamConfig, LossConfig, Precision, TrainConfig
from gantrol.train.cotrain import CoTrainConfig
from gantrol.train.locality import LocalityConfig
from gantrol.train.recipes import DiscriminatorPreset, Preset, Recipe

if TYPE_CHECKING:
    from gantrol.train.presets import DataShape, Scale

LAYOUTS = {
    "transgan-cifar10": ("cifar10", 32),
    "transgan-stl10": ("stl10", 48),
    "transgan-64": ("64", 64),
    "transgan-128": ("128", 128),
    "transgan-church256": ("church-256", 256),
    "transgan-celebahq256": ("celebahq-256", 256),
}
"""Layout of version 2, and the side of its images, by preset."""

PASS_KIMG = {32: 50.0, 48: 105.0, 64: 202.599}
"""Thousands of images in one pass over CIFAR-10, STL-10 and CelebA, by the side of their images."""

NARROWEST = 3
"""Features that the last stage keeps at least; a norm over fewer has nothing left to say."""

SHORT_PASSES = 200
"""Passes of a training below the scale `paper`, as its schedules see it."""

_ADAM = AdamConfig(lr=1e-4, beta1=0.0, beta2=0.99)
_LOSS = LossConfig(r1_gamma=0.0).named("wgan-gp-eps")


def _augment(policy: str) -> AugmentConfig:
    """A policy with TransGAN's larger shifts and rarer boxes."""
    diffaugment = DiffAugmentConfig(policy=policy, translation_ratio=0.2, cutout_prob=0.3)
    return AugmentConfig(name="diffaugment", diffaugment=diffaugment)


V1_RECIPE = Recipe(
    loss=_LOSS,
    adam=_ADAM,
    batch=32,
    n_critic=5,
    g_steps=500_000,
    ema_beta=0.999,
    clip_norm=5.0,
    augment=_augment("translation,cutout,color"),
)
"""Version 1 on CIFAR-10; STL-10 and CelebA halve the batch."""

V2_RECIPE = replace(
    V1_RECIPE,
    batch=64,
    n_critic=4,
    ema_beta=0.995,
    augment=_augment("translation,erase_ratio,color"),
)
"""Version 2 on LSUN church at 256 px; ours for 64 and 128 px too."""

# The published averages of CIFAR-10 and STL-10 count a batch of D, of a half-life of min(500 kimg, ramp · images), once
# per step of G: in images shown, both are n_critic times as long.
_V2_RECIPES = {
    "cifar10": replace(
        V2_RECIPE,
        ema_beta=None,
        ema_half_life_kimg=4 * 500.0,
        ema_ramp_up=4 * 0.1,
        augment=_augment("translation,cutout,color"),
    ),
    "stl10": replace(
        V2_RECIPE,
        batch=32,
        n_critic=5,
        ema_beta=None,
        ema_half_life_kimg=5 * 500.0,
        ema_ramp_up=5 * 0.05,
        augment=_augment("translation,stl_erase_ratio,color"),
    ),
    "celebahq-256": replace(V2_RECIPE, augment=_augment("filter,translation,erase_ratio,color,hue")),
}


def _v1_schedules(recipe: Recipe, scale: Scale, resolution_px: int) -> Recipe:
    """`recipe` with version 1's co-training and its window of attention, which widens and goes away."""
    widths = (8, 12, 16, 20) if resolution_px >= 64 else (4, 6, 8, 10)
    passes = (5, 10, 15, 20) if resolution_px >= 64 else (22, 32, 42, 60)
    is_paper = scale.width_divisor == 1
    unit = PASS_KIMG.get(resolution_px, PASS_KIMG[32]) if is_paper else 1 / SHORT_PASSES
    until = round(110 * unit, 3)
    return replace(
        recipe,
        cotrain=CoTrainConfig(
            weight=50.0,
            until_kimg=until if is_paper else None,
            until_share=None if is_paper else until,
        ),
        locality=LocalityConfig(
            window="raster_band",
            schedule=tuple((round(count * unit, 3), width) for count, width in zip(passes, widths, strict=True)),
            unit="kimg" if is_paper else "share",
        ),
    )


def _depth(published: int, scale: Scale) -> int:
    """Blocks of a stage at a scale: the published ones, or half of them at `small` and `tiny`, rounded up."""
    return published if scale.width_divisor <= 2 else (published + 1) // 2


def _generator(scale: Scale, make: Callable[[int], TransGANConfig]) -> TransGANConfig:
    """The generator that `make` returns for a width divisor, as narrow as the scale asks or its last stage allows."""
    divisor = scale.width_divisor
    while True:
        try:
            config = make(divisor)
            if divisor == 1 or config.stages[-1].channels >= NARROWEST:
                break
        except ConfigError:  # this divisor leaves fractions
            if divisor == 1:
                raise
        divisor //= 2
    stages = (replace(stage, depth=_depth(stage.depth, scale)) for stage in config.stages)
    return replace(config, stages=tuple(stages))


def _discriminator(scale: Scale, published: TransGANDiscriminatorConfig) -> TransGANDiscriminatorConfig:
    """A discriminator with the depths of a scale."""
    scales = (
        replace(part, depth=_depth(part.depth, scale), global_depth=_depth(part.global_depth, scale))
        for part in published.scales
    )
    return replace(published, scales=tuple(scales), last_depth=_depth(published.last_depth, scale))


def _v1_d(scale: Scale, shape: DataShape, _: Precision) -> TransGANDiscriminatorConfig:
    published = transgan_v1_discriminator(
        resolution_px=shape.resolution_px,
        width_divisor=scale.width_divisor,
        channels=shape.channels,
        c_dim=shape.label_dim,
    )
    return _discriminator(scale, published)


def _v2_d(scale: Scale, shape: DataShape, _: Precision, *, layout: str | None = None) -> TransGANDiscriminatorConfig:
    """The discriminator of a layout, or of the one for the data's side."""
    by_side = {32: "cifar10", 48: "stl10", 64: "64", 128: "128", 256: "church-256"}
    layout = layout or by_side.get(shape.resolution_px)
    if layout is None:
        sides = ", ".join(map(str, by_side))
        raise ConfigError(
            f"transgan-v2 has no discriminator for {shape.resolution_px} px, only for {sides}: "
            "import the data with --size at one of them, or take --d transgan-v1"
        )
    published = transgan_v2_discriminator(
        layout, width_divisor=scale.width_divisor, channels=shape.channels, c_dim=shape.label_dim
    )
    return _discriminator(scale, published)


def _v1(scale: Scale, shape: DataShape, precision: Precision, *, size: str) -> TrainConfig:
    if shape.resolution_px not in PASS_KIMG:
        sides = ", ".join(map(str, PASS_KIMG))
        raise ConfigError(
            f"transgan-v1-{size} makes images of {sides} px, but the data has {shape.resolution_px} px: "
            "import it with --size at one of them, or choose another preset"
        )
    generator = _generator(
        scale,
        lambda divisor: transgan_v1(
            size,
            resolution_px=shape.resolution_px,
            width_divisor=divisor,
            channels=shape.channels,
            c_dim=shape.label_dim,
        ),
    )
    recipe = V1_RECIPE if shape.resolution_px == 32 else replace(V1_RECIPE, batch=16)
    recipe = _v1_schedules(recipe, scale, shape.resolution_px)
    return recipe.config(scale, shape, precision, generator, _v1_d(scale, shape, precision))


def _v2(scale: Scale, shape: DataShape, precision: Precision, *, name: str) -> TrainConfig:
    layout, side_px = LAYOUTS[name]
    if shape.resolution_px != side_px:
        others = [other for other, (_, side) in LAYOUTS.items() if side == shape.resolution_px]
        advice = f"choose {' or '.join(others)}" if others else f"import it with --size {side_px}"
        raise ConfigError(f"{name} makes images of {side_px} px, but the data has {shape.resolution_px} px: {advice}")
    generator = _generator(
        scale,
        lambda divisor: transgan_v2(layout, width_divisor=divisor, channels=shape.channels, c_dim=shape.label_dim),
    )
    recipe = _V2_RECIPES.get(layout, V2_RECIPE)
    return recipe.config(scale, shape, precision, generator, _v2_d(scale, shape, precision, layout=layout))


_V1_RESULTS = {
    "s": "published: CIFAR-10 IS 8.22, FID 18.58",
    "m": "published: CIFAR-10 IS 8.36, FID 16.27",
    "l": "published: CIFAR-10 IS 8.50, FID 14.46",
    "xl": "published: CIFAR-10 IS 8.64, FID 11.89",
}
_V2_RESULTS = {
    "transgan-cifar10": "CIFAR-10, 32 px (published: IS 9.02, FID 9.26)",
    "transgan-stl10": "STL-10, 48 px (published: IS 10.43, FID 18.28)",
    "transgan-64": "64 px; a layout of ours",
    "transgan-128": "128 px; a layout of ours (published, of another: CelebA FID 5.28)",
    "transgan-church256": "LSUN church, 256 px (published: FID 8.94)",
    "transgan-celebahq256": "CelebA-HQ, 256 px (published: FID 10.28)",
}

TRANSGAN = {
    **{
        f"transgan-v1-{size}": Preset(
            reproduces=f"TransGAN (Jiang et al. 2021), version 1, size {size.upper()} ({result})",
            make=partial(_v1, size=size),
        )
        for size, result in _V1_RESULTS.items()
    },
    **{
        name: Preset(reproduces=f"TransGAN (Jiang et al. 2021), version 2, {result}", make=partial(_v2, name=name))
        for name, result in _V2_RESULTS.items()
    },
}
"""Presets by name."""

TRANSGAN_DISCRIMINATORS = {
    "transgan-v1": DiscriminatorPreset(reproduces="TransGAN's first: patches of 4 px, a [cls] token", make=_v1_d),
    "transgan-v2": DiscriminatorPreset(
        reproduces="TransGAN's second: patches of several sizes; for 32, 48, 64, 128 and 256 px", make=_v2_d
    ),
}
"""Discriminators by the name that `--d` takes."""
