"""Which augmentation a training uses, part of its config."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from gantrol.train.augment.ada import AdaConfig
from gantrol.train.augment.diffaugment import DiffAugmentConfig

TRANSFER_ADAPT_KIMG = 100.0
"""Thousands of images over which p can rise by 1 in a training that begins from another model."""


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Augmentation of all images that the discriminator sees, real and generated."""

    name: Literal["none", "ada", "diffaugment"] = "none"
    """`ada`: strength adapts to the discriminator; `diffaugment`: a fixed policy; `none`."""
    ada: AdaConfig = field(default_factory=AdaConfig)
    """Transforms and adaptive strength of `ada`."""
    diffaugment: DiffAugmentConfig = field(default_factory=DiffAugmentConfig)
    """Policy of `diffaugment`."""

    def for_transfer(self) -> AugmentConfig:
        """This config with the faster adaptation that trainings want which begin from another model."""
        return replace(self, ada=replace(self.ada, adapt_kimg=TRANSFER_ADAPT_KIMG))

    def check_images(self, resolution_px: int, channels: int) -> None:
        """Raises ConfigError for images that the chosen augmentation cannot take."""
        if self.name == "ada":
            self.ada.check_images(resolution_px, channels)
        elif self.name == "diffaugment":
            self.diffaugment.check_images(resolution_px)
