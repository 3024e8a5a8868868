"""Augmentation of the images that a discriminator sees, so that small datasets can be learnt without overfitting.

Real and generated images are augmented alike, in the generator's step too: gradients go through, twice where a gradient
penalty asks for it, and penalties are taken with respect to the images before.

    config.py       which augmentation
    ada.py          the transforms of StyleGAN2-ADA: geometry.py, color.py, corruption.py
    strength.py     how strong, by the discriminator's signs
    diffaugment.py  DiffAugment's and TransGAN's policies: pixel_operations.py
"""

from gantrol.train.augment.ada import AdaConfig, ada
from gantrol.train.augment.config import AugmentConfig
from gantrol.train.augment.diffaugment import DiffAugmentConfig, diffaugment
from gantrol.train.augment.strength import AdaptiveStrength

__all__ = ["AdaConfig", "AdaptiveStrength", "AugmentConfig", "DiffAugmentConfig", "ada", "diffaugment"]
