"""What DiffAugment's policies do to images, with every random number given: shifts, boxes, turns, colours.

All are linear in the images, but for colour's contrast, which is affine in them, and differentiable to any order.

Dimensions: N images, C channels, H W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from gantrol.train.augment.color import ColorMap


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


def turn_hue(images: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Turns the colours of images [N, 3, H, W] about the grey axis by the angles [N], in radians."""
    return ColorMap.identity(len(images), images.device, images.dtype).rotate_hue(angle).apply(images)


def translate(images: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Moves images [N, C, H, W] up by y and to the left by x pixels, int64 [N]; 0 comes in."""
    images = _take_rows(images, y, images.shape[2])
    return _take_rows(images.mT, x, images.shape[3]).mT


def enlarge(images: torch.Tensor, side: tuple[int, int], y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Enlarges images [N, C, H, W] to `side` (height, width) and cuts out H × W pixels from y, x on, int64 [N]."""
    height, width = images.shape[2:]
    large = F.interpolate(images, side, mode="bicubic", align_corners=False)
    return _take_rows(_take_rows(large, y, height).mT, x, width).mT


def _take_rows(images: torch.Tensor, start: torch.Tensor, count: int) -> torch.Tensor:
    """[N, C, count, W]: rows of images from `start`, int64 [N], on; 0 beyond the border."""
    n, channels, height, width = images.shape
    row = torch.arange(count, device=images.device) + start[:, None]  # [N, count]
    is_inside = ((row >= 0) & (row < height))[:, None, :, None]
    index = row.clamp(0, height - 1)[:, None, :, None].expand(n, channels, count, width)
    return images.gather(2, index) * is_inside.to(images.dtype)


def cut_box(images: torch.Tensor, y: torch.Tensor, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Sets boxes of `size` (height, width) in images [N, C, H, W] to 0, centred at rows y and columns x, int64 [N]."""
    return images * (~_box(images, y, x, size)).to(images.dtype)


def swap_box(
    images: torch.Tensor, others: torch.Tensor, y: torch.Tensor, x: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """Images [N, C, H, W] with boxes of `others` [N, C, H, W] in them, placed as in `cut_box`."""
    return torch.where(_box(images, y, x, size), others, images)


def _box(images: torch.Tensor, y: torch.Tensor, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """bool [N, 1, H, W]: the pixels of the boxes."""
    rows = torch.arange(images.shape[2], device=images.device) - y[:, None] + size[0] // 2  # [N, H] within the box
    columns = torch.arange(images.shape[3], device=images.device) - x[:, None] + size[1] // 2  # [N, W]
    in_rows, in_columns = (rows >= 0) & (rows < size[0]), (columns >= 0) & (columns < size[1])
    return in_rows[:, None, :, None] & in_columns[:, None, None, :]
