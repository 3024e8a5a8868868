"""Geometry of the augmentation: one affine map per image, applied with one resampling.

Bilinear sampling alone would blur and alias. The image is upsampled ×2 with the orthogonal wavelet filter sym6,
sampled on a grid of twice the size, and downsampled ×2 with the same filter reversed; where the map is the identity,
the two filters cancel and the image comes back as it was. Outside, the image goes on mirrored, up to its own width.

How far a map looks outside depends on random numbers that live on the device. To read them would be to wait for it, so
all of the mirrored surroundings are there every time. They cost little: mirroring and upsampling are one matrix,

    upsampled = U_yᵀ · x · U_x

Source: StyleGAN2-ADA (Karras et al. 2020), appendix B; our specification notes, section 4.4.
Dimensions: N images, C channels, H W pixels, h w pixels after upsampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F

from gantrol.ops import downsample2d, setup_filter, upsample2d

SYM6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466),
    *(0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578),
    *(0.0017677118642428036, -0.007800708325034148),
)
"""Low-pass taps of the wavelet sym6 (Daubechies 1992)."""

BORDER_PX = 6
"""Pixels per side that the sampling grid is larger than the image: what the downsampling filter reaches."""


@dataclass(frozen=True)
class Affine:
    """N maps x ↦ A·x + b from output to input pixels, the origin at the image's centre, stored by A's columns.

    An operation on the image is undone on the way from output to input: each method multiplies the map with the
    inverse of its operation from the right, so that the operations act on the image in the order of the calls.
    """

    column_x: torch.Tensor
    """[N, 2]"""
    column_y: torch.Tensor
    """[N, 2]"""
    offset: torch.Tensor
    """[N, 2], in pixels."""

    @classmethod
    def identity(cls, count: int, device: torch.device, dtype: torch.dtype) -> Affine:
        columns = torch.eye(2, device=device, dtype=dtype).expand(count, 2, 2)
        return cls(columns[:, 0], columns[:, 1], torch.zeros(count, 2, device=device, dtype=dtype))

    def scale(self, x: torch.Tensor, y: torch.Tensor) -> Affine:
        """Enlarges the images by the factors x and y, each [N]."""
        return Affine(self.column_x / x[:, None], self.column_y / y[:, None], self.offset)

    def rotate(self, angle: torch.Tensor) -> Affine:
        """Turns the images anticlockwise by the angles [N], in radians."""
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        column_x, column_y = self.column_x, self.column_y
        return Affine(column_x * cos + column_y * sin, column_y * cos - column_x * sin, self.offset)

    def translate(self, x: torch.Tensor, y: torch.Tensor) -> Affine:
        """Moves the images to the right by x and down by y pixels, each [N]."""
        moved = self.column_x * x[:, None] + self.column_y * y[:, None]
        return Affine(self.column_x, self.column_y, self.offset - moved)


def resample_affine(images: torch.Tensor, affine: Affine) -> torch.Tensor:
    """The images seen through the maps: y(p) = x(A·p + b), alias-free.

    Args:
        images: [N, C, H, W], float32 or float64.
        affine: N maps of the same type and device.

    Returns:
        [N, C, H, W]. Differentiable in the images, to any order; not in the maps.
    """
    height, width = images.shape[2:]
    up_x = _mirroring_upsampler(width, images.dtype, images.device)  # [W, w]
    up_y = up_x if height == width else _mirroring_upsampler(height, images.dtype, images.device)  # [H, h]
    x = torch.matmul(up_y.T, torch.matmul(images, up_x))  # [N, C, h, w]

    # The same map between upsampled pixels: scaled by 2, and half a pixel on, where upsampling puts the samples …
    column_x, column_y = affine.column_x, affine.column_y
    offset = 2 * affine.offset + (column_x + column_y) / 2 - 0.5
    # … and between coordinates from −1 to 1, as the sampler wants them: [N, 2, 3].
    grid_h, grid_w = 2 * (height + BORDER_PX), 2 * (width + BORDER_PX)
    theta = torch.stack([column_x * grid_w, column_y * grid_h, offset * 2], dim=2)
    theta = torch.stack([theta[:, 0] / x.shape[3], theta[:, 1] / x.shape[2]], dim=1)
    grid = F.affine_grid(theta, [len(images), images.shape[1], grid_h, grid_w], align_corners=False)

    x = sample_bilinear(x, grid)  # [N, C, 2(H+6), 2(W+6)]
    return downsample2d(x, _taps(images.device), padding=-BORDER_PX, flip_filter=True)


@lru_cache(maxsize=16)
def _taps(device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):
        return setup_filter(SYM6, device=device)


@lru_cache(maxsize=16)
def _mirroring_upsampler(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """[size, 6·size − 4]: the matrix that mirrors a row by size − 1 pixels on both sides and upsamples it ×2.

    A linear operation's matrix is what it makes of the identity.
    """
    with torch.inference_mode(False):
        rows = torch.eye(size, dtype=dtype, device=device)[None, None]  # [1, 1, size, size]
        rows = F.pad(rows, [size - 1, size - 1, 0, 0], mode="reflect")  # [1, 1, size, 3·size − 2]
        taps = _taps(device)[None, :]  # as a row: it acts on one axis
        return upsample2d(rows, taps, up=(2, 1))[0, 0].contiguous()


def sample_bilinear(images: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Bilinear samples [N, C, h, w] of images [N, C, H, W] at grid [N, h, w, 2] (x, y from −1 to 1); 0 outside.

    Differentiable in the images to any order, which torch's own `grid_sample` is not; the grid gets no gradient.
    """
    result: torch.Tensor = _Sampling.apply(images, grid)
    return result


# Sampling is linear in the image, so its derivative is the adjoint, and the derivative of that is sampling again.


class _Sampling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(grid)
        ctx.size = images.shape[2:]
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (grid,) = ctx.saved_tensors
        return _SamplingAdjoint.apply(gradient, grid, ctx.size), None


class _SamplingAdjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: torch.Tensor, grid: torch.Tensor, size: torch.Size) -> torch.Tensor:
        ctx.save_for_backward(grid)
        images = gradient.new_empty([*gradient.shape[:2], *size])  # only its shape matters
        bilinear, zeros = 0, 0
        result, _ = torch.ops.aten.grid_sampler_2d_backward(
            gradient, images, grid, bilinear, zeros, align_corners=False, output_mask=[True, False]
        )
        return result

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return _Sampling.apply(gradient, grid), None, None
