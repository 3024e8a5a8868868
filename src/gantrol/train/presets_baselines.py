"""Presets of the convolutional baselines that TransGAN is measured against: WGAN-GP and AutoGAN.

The published trainings are those of CIFAR-10 at 32 px; other sizes keep the recipe. Two things are left out: the noise
of 1/128 that WGAN-GP's code adds to the images, and AutoGAN's architecture search.

Source: Gulrajani et al. 2017; Gong et al. 2019; our specification notes, baselines, sections 1 and 2.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gantrol.models import AutoGANConfig, AutoGANDiscriminatorConfig, WGANGPConfig, WGANGPDiscriminatorConfig
from gantrol.train.config import AdamConfig, LossConfig, Precision, TrainConfig
from gantrol.train.recipes import DiscriminatorPreset, Preset, Recipe, shrunk

if TYPE_CHECKING:
    from gantrol.train.presets import DataShape, Scale

LATENT_DIM = 128
"""Width of z in all baselines, at every scale."""

_ADAM = AdamConfig(lr=2e-4, beta1=0.0, beta2=0.9)

WGAN_GP_RECIPE = Recipe(
    loss=LossConfig(r1_gamma=0.0).named("wgan-gp"),
    adam=_ADAM,
    batch=64,
    n_critic=5,
    g_steps=100_000,
    ema_beta=0.0,
    lr_decay="linear",
    x_flip=False,
)
"""100 000 steps of G, learning rates falling to 0, no average of G."""

AUTOGAN_RECIPE = Recipe(
    loss=LossConfig(name="hinge", r1_gamma=0.0),
    adam=_ADAM,
    batch=64,
    n_critic=5,
    g_steps=50_000,
    ema_beta=0.999,
)
"""Hinge loss and spectral normalisation, 50 000 steps of G: 320 passes over CIFAR-10."""


def _wgan_gp_d(scale: Scale, shape: DataShape, _: Precision) -> WGANGPDiscriminatorConfig:
    return WGANGPDiscriminatorConfig(
        resolution_px=shape.resolution_px,
        channels=shape.channels,
        c_dim=shape.label_dim,
        width=shrunk(128, scale, 4),
    )


def _autogan_d(scale: Scale, shape: DataShape, _: Precision) -> AutoGANDiscriminatorConfig:
    return AutoGANDiscriminatorConfig(
        resolution_px=shape.resolution_px,
        channels=shape.channels,
        c_dim=shape.label_dim,
        width=shrunk(128, scale, 4),
    )


def _wgan_gp(scale: Scale, shape: DataShape, precision: Precision) -> TrainConfig:
    generator = WGANGPConfig(
        resolution_px=shape.resolution_px,
        channels=shape.channels,
        c_dim=shape.label_dim,
        z_dim=LATENT_DIM,
        width=shrunk(128, scale, 4),
    )
    return WGAN_GP_RECIPE.config(scale, shape, precision, generator, _wgan_gp_d(scale, shape, precision))


def _autogan(scale: Scale, shape: DataShape, precision: Precision, *, architecture: str) -> TrainConfig:
    generator = AutoGANConfig(
        resolution_px=shape.resolution_px,
        channels=shape.channels,
        c_dim=shape.label_dim,
        z_dim=LATENT_DIM,
        width=shrunk(256, scale, 4),
        architecture=architecture,
    )
    return AUTOGAN_RECIPE.config(scale, shape, precision, generator, _autogan_d(scale, shape, precision))


BASELINES = {
    "wgan-gp": Preset(reproduces="WGAN-GP (Gulrajani et al. 2017), residual networks of CIFAR-10", make=_wgan_gp),
    **{
        f"autogan-{name}": Preset(
            reproduces=f"AutoGAN (Gong et al. 2019), architecture {name.upper()} of its search",
            make=partial(_autogan, architecture=name),
        )
        for name in ("a", "b", "c")
    },
}
"""Presets by name."""

BASELINE_DISCRIMINATORS = {
    "wgan-gp": DiscriminatorPreset(reproduces="WGAN-GP's residual critic without normalisation", make=_wgan_gp_d),
    "autogan": DiscriminatorPreset(reproduces="AutoGAN's: the same with spectral normalisation", make=_autogan_d),
}
"""Discriminators by the name that `--d` takes."""
