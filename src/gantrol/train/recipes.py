"""Recipes: what a paper trained with, in the units of this library, and how it shrinks to smaller scales.

Papers count steps and epochs; here everything counts real images. With B images per step of D and n steps of D per
step of G, S steps of G show S·n·B images, and an average that keeps β per step of G has its half-life after
n·B·ln 2/(1 − β) images, nearly.

At the scale `paper` a recipe is as published: batch, length and moving average too. Below it learning rates, losses and
penalties stay, widths and lengths shrink, and the average follows the images seen, so that a short training has one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from gantrol.models import DiscriminatorConfig, GeneratorConfig
from gantrol.train.augment import AugmentConfig
from gantrol.train.config import AdamConfig, LossConfig, Precision, TrainConfig
from gantrol.train.cotrain import CoTrainConfig
from gantrol.train.locality import LocalityConfig

if TYPE_CHECKING:
    from gantrol.train.presets import DataShape, Scale


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A family of networks with its training recipe."""

    reproduces: str
    """Paper and configuration."""
    make: Callable[[Scale, DataShape, Precision], TrainConfig]
    """The complete config at a scale, for data of a shape, in a precision."""


@dataclass(frozen=True, kw_only=True)
class DiscriminatorPreset:
    """A discriminator that can stand in any preset."""

    reproduces: str
    """Paper and configuration."""
    make: Callable[[Scale, DataShape, Precision], DiscriminatorConfig]
    """Its config at a scale, for data of a shape, in a precision."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A published training."""

    loss: LossConfig
    """Objective with its penalties."""
    adam: AdamConfig
    """Optimiser of both networks."""
    batch: int
    """Images per step of D."""
    n_critic: int
    """Steps of D per step of G."""
    g_batch_factor: int = 2
    """Fakes in a step of G per real image in one of D."""
    g_steps: int
    """Length in steps of G."""
    ema_beta: float | None = None
    """What the moving average keeps per step of G; 0 for none; None: `ema_half_life_kimg` says."""
    ema_half_life_kimg: float | None = None
    """Half-life of an average that counts images instead."""
    ema_ramp_up: float | None = None
    """The half-life is at most this share of the images seen."""
    clip_norm: float | None = None
    """Largest norm of the gradients."""
    lr_decay: Literal["none", "linear"] = "none"
    """Whether learning rates fall to 0."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Augmentation of what D sees."""
    cotrain: CoTrainConfig = field(default_factory=CoTrainConfig)
    """Super-resolution beside the adversarial task."""
    locality: LocalityConfig = field(default_factory=LocalityConfig)
    """Window of the attention at the start."""
    x_flip: bool = True
    """Also show every image mirrored."""

    @property
    def kimg(self) -> float:
        """Length in thousands of real images."""
        return self.g_steps * self.n_critic * self.batch / 1000

    @property
    def half_life_kimg(self) -> float:
        """Half-life of the moving average in thousands of real images."""
        if self.ema_half_life_kimg is not None:
            return self.ema_half_life_kimg
        steps = math.log(0.5) / math.log(self.ema_beta) if self.ema_beta else 1.0
        return steps * self.n_critic * self.batch / 1000

    def config(
        self,
        scale: Scale,
        shape: DataShape,
        precision: Precision,
        generator: GeneratorConfig,
        discriminator: DiscriminatorConfig,
    ) -> TrainConfig:
        """The complete config of this recipe at a scale."""
        is_paper = scale.width_divisor == 1
        published_batch = self.batch if is_paper else min(self.batch, scale.batch)
        return TrainConfig(
            preset="",
            scale="",
            generator=generator,
            discriminator=discriminator,
            loss=self.loss,
            g_adam=self.adam,
            d_adam=self.adam,
            augment=self.augment,
            cotrain=self.cotrain,
            locality=self.locality,
            x_flip=self.x_flip,
            use_labels=shape.label_dim > 0,
            batch=scale.chosen_batch or published_batch,
            n_critic=self.n_critic,
            g_batch_factor=self.g_batch_factor,
            clip_norm=self.clip_norm,
            lr_decay=self.lr_decay,
            kimg=self.kimg if is_paper else min(self.kimg, scale.kimg),
            tick_kimg=scale.tick_kimg,
            sample_ticks=scale.sample_ticks,
            ema_beta=self.ema_beta if is_paper or self.ema_beta == 0 else None,
            ema_half_life_kimg=self.half_life_kimg,
            ema_ramp_up=self.ema_ramp_up if is_paper else 0.05,
            precision=precision,
        )


def shrunk(published: int, scale: Scale, multiple: int = 1) -> int:
    """A published width at a scale: divided by the scale's divisor, as a multiple of `multiple`, at least one of it."""
    return max(published // scale.width_divisor // multiple, 1) * multiple
