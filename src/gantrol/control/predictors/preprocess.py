"""From a generator's image to what a published network was trained on: crop, resize, normalise.

The networks of GAN-Control (Shoshan et al. 2021) differ in the order of these steps, in the interpolation and in the
range of values, so each predictor composes them itself. Every step is differentiable with respect to the images.

N images · C channels · H W pixels.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gantrol.errors import ConfigError

OFFICIAL_SIZE = 512
"""Pixels of the images for which the paper's crops are given."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def centre_crop(images: Tensor, side: int) -> Tensor:
    """The middle of each image, [N, C, H, W] → [N, C, H′, W′].

    Args:
        images: of any size.
        side: of the crop in an image of 512 × 512 pixels. At another size the crop covers the same share of the image,
            rounded to whole pixels: 480 is the middle 480 of 512, 240 of 256, and 60 of 64.

    Raises:
        ConfigError: the side is not from 1 to 512.
    """
    if not 1 <= side <= OFFICIAL_SIZE:
        raise ConfigError(
            f"crop={side!r}: expected the side in an image of {OFFICIAL_SIZE} pixels, 1 to {OFFICIAL_SIZE}"
        )
    height, width = images.shape[-2:]
    rows, columns = (max(round(size * side / OFFICIAL_SIZE), 1) for size in (height, width))
    top, left = (height - rows) // 2, (width - columns) // 2
    return images[..., top : top + rows, left : left + columns]


def resize(
    images: Tensor, side: int, *, mode: Literal["bilinear", "bicubic"] = "bilinear", align_corners: bool = True
) -> Tensor:
    """Images [N, C, H, W] at side × side pixels, without antialiasing; bicubic results are not clamped.

    Args:
        images: of any size; those that have the size already come back as they are.
        side: pixels.
        mode: of interpolation; bicubic has a = −0.75.
        align_corners: corner pixels stay corner pixels, so that the step is (size − 1) / (side − 1).
    """
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, size=(side, side), mode=mode, align_corners=align_corners)


def to_unit(images: Tensor) -> Tensor:
    """From [-1, 1] to [0, 1]."""
    return (images + 1) / 2


def imagenet(images01: Tensor) -> Tensor:
    """RGB in [0, 1] less ImageNet's mean, by its standard deviation, per channel: [N, 3, H, W] → the same shape."""
    mean, std = (
        torch.tensor(values, dtype=images01.dtype, device=images01.device).view(3, 1, 1)
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return (images01 - mean) / std


def to_bgr(images: Tensor) -> Tensor:
    """RGB to BGR and back: the channels of [N, 3, H, W] in reverse order."""
    return images.flip(1)
