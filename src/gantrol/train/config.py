"""Everything that defines a training. A preset makes one (see `presets`), the run folder keeps it as `config.json`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from gantrol.errors import ConfigError, nearest
from gantrol.models import DiscriminatorConfig, GeneratorConfig
from gantrol.train.augment import AugmentConfig
from gantrol.train.losses import LOSSES

Precision = Literal["fp32", "bf16", "fp16"]


def _require(condition: bool, field: str, value: Any, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{field}={value}: expected {expected}")


@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    """Adam, in the form that the StyleGAN papers use it."""

    lr: float = 0.002
    """Learning rate, before the correction for lazy regularisation."""
    beta1: float = 0.0
    """Decay of the first moment."""
    beta2: float = 0.99
    """Decay of the second moment."""
    eps: float = 1e-8
    """Added to the root of the second moment."""

    def __post_init__(self) -> None:
        _require(self.lr > 0, "lr", self.lr, "a positive number")
        _require(0 <= self.beta1 < 1, "beta1", self.beta1, "a number from 0 to 1")
        _require(0 <= self.beta2 < 1, "beta2", self.beta2, "a number from 0 to 1")
        _require(self.eps > 0, "eps", self.eps, "a positive number")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The adversarial loss and its regularisers."""

    name: str = "non-saturating"
    """Adversarial loss: `non-saturating` or `relativistic`."""
    r1_gamma: float = 1.0
    """Weight γ of the gradient penalty on reals, (γ/2)·‖∇D‖²; 0 turns it off."""
    r2_gamma: float = 0.0
    """Weight γ of the gradient penalty on fakes; 0 turns it off."""
    r_interval: int = 16
    """Steps between two evaluations of the gradient penalties, which are scaled up to match (lazy regularisation)."""
    pl_weight: float = 0.0
    """Weight of the path length penalty; 0 turns it off."""
    pl_interval: int = 4
    """Steps between two evaluations of the path length penalty."""
    pl_batch_shrink: int = 2
    """The path length penalty uses the batch divided by this."""
    style_mixing_prob: float = 0.0
    """Probability that a generated batch mixes two latents at a random layer."""
    blur_sigma_px: float = 0.0
    """Standard deviation of the blur before the discriminator at the start; 0 for none."""
    blur_fade_kimg: float = 200.0
    """Thousands of images over which that blur fades away."""

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise ConfigError(f"there is no loss {self.name!r}; {nearest(self.name, LOSSES)}")
        for name in ("r1_gamma", "r2_gamma", "pl_weight", "blur_sigma_px", "blur_fade_kimg"):
            _require(getattr(self, name) >= 0, f"loss.{name}", getattr(self, name), "0 or more")
        for name in ("r_interval", "pl_interval", "pl_batch_shrink"):
            _require(getattr(self, name) >= 1, f"loss.{name}", getattr(self, name), "1 or more")
        probability = self.style_mixing_prob
        _require(0 <= probability <= 1, "loss.style_mixing_prob", probability, "a number from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole training: networks, losses, optimisers, data and bookkeeping."""

    preset: str
    """The preset that this config started from."""
    scale: str
    """The scale of the preset."""
    generator: GeneratorConfig
    """The generator."""
    discriminator: DiscriminatorConfig
    """The discriminator."""
    loss: LossConfig
    """Adversarial loss and regularisers."""
    g_adam: AdamConfig
    """Optimiser of the generator."""
    d_adam: AdamConfig
    """Optimiser of the discriminator."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Augmentation of what the discriminator sees."""
    data: str = ""
    """Dataset zip or folder."""
    x_flip: bool = False
    """Also show every image mirrored."""
    skip_bad: bool = False
    """Leave damaged images out instead of stopping; part of the config, because it changes the order of the data."""
    use_labels: bool = False
    """Train a class-conditional model from the dataset's labels."""
    batch: int = 32
    """Images per step, over all devices."""
    micro_batch: int | None = None
    """Images per forward pass and device; gradients are accumulated. null: all of a device's share at once."""
    kimg: float = 25000.0
    """Length of the training in thousands of real images shown."""
    ema_half_life_kimg: float = 10.0
    """Half-life of the generator's moving average, in thousands of images."""
    ema_ramp_up: float | None = 0.05
    """The half-life is at most this share of the images seen so far; null: no ramp."""
    precision: Precision = "fp32"
    """Type of the layers that may use a lower precision."""
    seed: int = 0
    """Of weights, latents and data order."""
    tick_kimg: float = 4.0
    """Thousands of images between two log lines and checkpoints."""
    sample_ticks: int = 10
    """Ticks between two grids of samples."""
    keep_checkpoints: int = 3
    """How many of the newest checkpoints stay on disk."""
    workers: int = 2
    """Threads that read and decode images."""

    def __post_init__(self) -> None:
        _require(self.batch >= 1, "batch", self.batch, "1 or more")
        if self.micro_batch is not None:
            _require(self.micro_batch >= 1, "micro_batch", self.micro_batch, "1 or more")
        _require(0 <= self.kimg < math.inf, "kimg", self.kimg, "a number, 0 or more")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        _require(self.ema_half_life_kimg > 0, "ema_half_life_kimg", self.ema_half_life_kimg, "a positive number")
        _require(self.tick_kimg > 0, "tick_kimg", self.tick_kimg, "a positive number")
        for name in ("sample_ticks", "keep_checkpoints", "workers"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        g, d = self.generator, self.discriminator
        for name in ("resolution_px", "channels", "c_dim"):
            if getattr(g, name) != getattr(d, name):
                raise ConfigError(f"generator.{name}={getattr(g, name)} but discriminator.{name}={getattr(d, name)}")
        self.augment.check_images(g.resolution_px, g.channels)
