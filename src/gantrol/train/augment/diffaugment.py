"""DiffAugment: a short list of differentiable augmentations, applied to every image that the discriminator sees.

    color        brightness +U(−0.5, 0.5), then saturation ×U(0, 2), then contrast ×U(0.5, 1.5)
    translation  a shift by whole pixels; what comes in is mid-grey (0)
    cutout       a box of mid-grey, its centre anywhere, cut off by the border
    hue          a rotation of the colours about the grey axis (of TransGAN, not of the original list)

Source: DiffAugment (Zhao et al. 2020), section 3; TransGAN (Jiang et al. 2021), section 3.3, for its ratios and the
coin per batch; our specification notes, baselines, section 5.
Dimensions: N images, C channels, H W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from gantrol.errors import ConfigError, nearest
from gantrol.models.config_checks import check, check_unit_interval
from gantrol.train.augment.color import ColorMap

OPERATIONS = ("color", "translation", "cutout", "hue")


@dataclass(frozen=True, kw_only=True)
class DiffAugmentConfig:
    """Which augmentations, in which order, and how strong."""

    policy: str = "color,translation,cutout"
    """Any of `color`, `translation`, `cutout`, `hue`, separated by commas; they act in this order."""
    translation_ratio: float = 0.125
    """Largest shift, in image widths; TransGAN: 0.2."""
    cutout_ratio: float = 0.5
    """Side of the box, in image widths."""
    cutout_prob: float = 1.0
    """Probability that a batch is cut, one coin for all of its images; TransGAN: 0.3."""
    hue_prob: float = 0.5
    """Probability that an image's hue is turned."""

    def __post_init__(self) -> None:
        for name in self.operations():
            if name not in OPERATIONS:
                raise ConfigError(f"there is no augmentation {name!r}; {nearest(name, OPERATIONS)}")
        check(self, "policy", len(self.operations()) > 0, f"names from {', '.join(OPERATIONS)}")
        check_unit_interval(self, "translation_ratio", "cutout_ratio", "cutout_prob", "hue_prob")

    def operations(self) -> list[str]:
        """The names of the policy, in order."""
        return [name.strip() for name in self.policy.split(",") if name.strip()]


def diffaugment(images: torch.Tensor, config: DiffAugmentConfig) -> torch.Tensor:
    """Augments images, each with its own random numbers, from torch's global stream of their device.

    Args:
        images: [N, C, H, W], about −1 to 1, any floating type.
        config: the policy.

    Returns:
        [N, C, H, W]. Differentiable in the images, to any order.
    """
    n, (height, width) = len(images), images.shape[2:]
    for name in config.operations():
        if name == "color":
            images = change_color(images, *images.new_empty(3, n).uniform_().unbind())
        elif name == "translation":
            y, x = (_whole_numbers(images, -_round(side, config), _round(side, config)) for side in (height, width))
            images = translate(images, y, x)
        elif name == "cutout":
            box_h, box_w = (int(side * config.cutout_ratio + 0.5) for side in (height, width))
            y = _whole_numbers(images, 0, height - box_h % 2)
            x = _whole_numbers(images, 0, width - box_w % 2)
            is_cut = images.new_empty([]).uniform_() < config.cutout_prob
            images = torch.where(is_cut, cut_box(images, y, x, (box_h, box_w)), images)
        elif images.shape[1] == 3:
            angle, coin = images.new_empty(2, n).uniform_().unbind()
            images = turn_hue(images, (angle * 2 - 1) * math.pi * (coin < config.hue_prob))
    return images


def _round(side: int, config: DiffAugmentConfig) -> int:
    return int(side * config.translation_ratio + 0.5)


def _whole_numbers(images: torch.Tensor, lowest: int, highest: int) -> torch.Tensor:
    """int64 [N], one per image, each from lowest to highest."""
    return torch.randint(lowest, highest + 1, [len(images)], device=images.device)


def change_color(
    images: torch.Tensor, brightness: torch.Tensor, saturation: torch.Tensor, contrast: torch.Tensor
) -> torch.Tensor:
    """Brightness, saturation and contrast of images [N, C, H, W] by random numbers from 0 to 1, each [N]."""
    brightness, saturation, contrast = (u[:, None, None, None] for u in (brightness, saturation, contrast))
    x = images + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)  # [N, 1, H, W]
    x = grey + (x - grey) * (saturation * 2)
    level = x.mean([1, 2, 3], keepdim=True)  # [N, 1, 1, 1]
    return level + (x - level) * (contrast + 0.5)


def translate(images: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Moves images [N, C, H, W] up by y and to the left by x pixels, int64 [N]; 0 comes in."""
    images = _shift_rows(images, y)
    return _shift_rows(images.mT, x).mT


def _shift_rows(images: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    height = images.shape[2]
    row = torch.arange(height, device=images.device) + by[:, None]  # [N, H]
    is_inside = ((row >= 0) & (row < height))[:, None, :, None]
    index = row.clamp(0, height - 1)[:, None, :, None].expand(images.shape)
    return images.gather(2, index) * is_inside.to(images.dtype)


def cut_box(images: torch.Tensor, y: torch.Tensor, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Sets boxes of `size` (height, width) in images [N, C, H, W] to 0, centred at rows y and columns x, int64 [N]."""
    rows = torch.arange(images.shape[2], device=images.device) - y[:, None] + size[0] // 2  # [N, H] within the box
    columns = torch.arange(images.shape[3], device=images.device) - x[:, None] + size[1] // 2  # [N, W]
    in_rows, in_columns = (rows >= 0) & (rows < size[0]), (columns >= 0) & (columns < size[1])
    is_kept = ~(in_rows[:, None, :, None] & in_columns[:, None, None, :])
    return images * is_kept.to(images.dtype)


def turn_hue(images: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Turns the colours of images [N, 3, H, W] about the grey axis by the angles [N], in radians."""
    return ColorMap.identity(len(images), images.device, images.dtype).rotate_hue(angle).apply(images)
