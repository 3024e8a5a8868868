"""Moving and turning finished images: the references that equivariance is measured against.

To translate by whole pixels is exact. Anything else resamples, and what the right answer is between samples is a
matter of definition: these are the definitions of the StyleGAN3 paper (appendix E), with windowed-sinc filters.

A rotation needs care: a square grid of pixels holds a square of frequencies, and its rotation holds the rotated
square. What both can hold is the overlap. `rotate` low-passes the image to the overlap and rotates it;
`pseudo_rotate` takes an image that was rotated already, by the generator, and low-passes it in the same way. If the
generator is equivariant, both give the same image.

Every function returns the image and a mask, 1 where no pixel from outside the image was needed, 0 elsewhere.

Dimensions: N images · C channels · H W pixels · n taps · u upsampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from gantrol.ops import filter2d

LANCZOS_LOBES = 3
"""a: lobes of the Lanczos window, on either side."""
ROTATION_SUPPORT_PX = 6
"""Half width of the filters of `rotate` and `pseudo_rotate`."""
ROTATION_UPSAMPLING = 4
"""u: rate at which a rotated image is interpolated linearly."""


def translate_integer(x: Tensor, translation: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Moves images by a whole number of pixels.

    Args:
        x: [N, C, H, W].
        translation: (x, y) in image widths and heights, right and down; rounded to pixels, half to even.

    Returns:
        Images [N, C, H, W] with zeros where nothing is known, and mask [H, W].
    """
    height, width = x.shape[2:]
    tx, ty = round(translation[0] * width), round(translation[1] * height)
    columns = slice(max(tx, 0), width + min(tx, 0))
    rows = slice(max(ty, 0), height + min(ty, 0))
    y, mask = torch.zeros_like(x), x.new_zeros(height, width)
    if abs(tx) < width and abs(ty) < height:
        y[:, :, rows, columns] = x[:, :, max(-ty, 0) : height - max(ty, 0), max(-tx, 0) : width - max(tx, 0)]
        mask[rows, columns] = 1
    return y, mask


def translate_fractional(x: Tensor, translation: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Moves images by any distance, with a separable Lanczos filter of 2a = 6 taps.

    Along one axis, with the distance t = ⌊t⌋ + φ in pixels, y[p] = Σ_k h_k·x[p − ⌊t⌋ − k] for k = −2 … 3, where
    h_k = sinc(k − φ)·sinc((k − φ)/a), divided by Σ h_k; x is zero outside.

    Args:
        x: [N, C, H, W].
        translation: (x, y) in image widths and heights, right and down.

    Returns:
        Images [N, C, H, W] and mask [H, W].
    """
    height, width = x.shape[2:]
    tx, ty = translation[0] * width, translation[1] * height
    y = _lanczos_matrix(height, ty, x) @ x @ _lanczos_matrix(width, tx, x).T
    mask = _lanczos_mask(height, ty, x)[:, None] * _lanczos_mask(width, tx, x)[None, :]
    return y, mask


def _lanczos_matrix(size: int, shift: float, like: Tensor) -> Tensor:
    """M [size, size] such that M·x is x moved by `shift` pixels."""
    a, whole = LANCZOS_LOBES, math.floor(shift)
    taps = torch.arange(1 - a, a + 1, dtype=torch.float64) - (shift - whole)  # k − φ
    weights = torch.sinc(taps) * torch.sinc(taps / a)
    weights = weights / weights.sum()
    index = torch.arange(size)
    k = index[:, None] - index[None, :] - whole + (a - 1)  # which tap stands at M[p, i]
    padded = F.pad(weights, (0, 1))  # the last one, zero, stands everywhere else
    matrix: Tensor = padded[torch.where((k >= 0) & (k < 2 * a), k, 2 * a)]
    return matrix.to(like)


def _lanczos_mask(size: int, shift: float, like: Tensor) -> Tensor:
    a, whole = LANCZOS_LOBES, math.floor(shift)
    index = torch.arange(size, device=like.device)
    return ((index >= whole + a) & (index < size + min(whole + 1 - a, 0))).to(like.dtype)


def rotation_matrix(angle: float) -> Tensor:
    """rot*(α) = [[cos α, sin α, 0], [−sin α, cos α, 0], [0, 0, 1]], float64: counter-clockwise as seen (x right, y
    down), the angle in radians."""
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.tensor([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def rotate(x: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """R_α: turns images [N, C, H, W] counter-clockwise by `angle` radians; returns them and the mask [H, W]."""
    return transform_affine(x, rotation_matrix(angle), support_px=ROTATION_SUPPORT_PX)


def pseudo_rotate(x: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """R*_α: filters images [N, C, H, W] that were already turned by `angle` radians as `rotate` filters the ones it
    turns; returns them and the mask [H, W]."""
    taps = bandlimit_filter(rotation_matrix(-angle), up=1, support_px=ROTATION_SUPPORT_PX, device=x.device)
    border = ROTATION_SUPPORT_PX - 1
    mask = torch.zeros_like(x[0, 0])
    mask[border : x.shape[2] - border, border : x.shape[3] - border] = 1
    return filter2d(x, taps.to(x.dtype)), mask


def transform_affine(
    x: Tensor, matrix: Tensor, *, support_px: int = 16, up: int = ROTATION_UPSAMPLING
) -> tuple[Tensor, Tensor]:
    """Moves images by an affine map: low-pass to what both grids can hold, u-fold upsampling, linear interpolation.

    Args:
        x: [N, C, H, W].
        matrix: [3, 3], maps points of the image to where they shall appear; x right, y down, the origin in the centre,
            the image one unit wide and high.
        support_px: half width of the filter.
        up: u, even.

    Returns:
        Images [N, C, H, W] and mask [H, W].

    Source: StyleGAN3 paper, appendix E.3.
    """
    images, _, height, width = x.shape
    matrix = matrix.to("cpu", torch.float64)
    taps = bandlimit_filter(matrix, up=up, support_px=support_px, device=x.device).to(x.dtype)
    fine = _upsample(x, taps, up)  # [N, C, h, w]; sample i of x lies at u·i + reach
    reach = support_px * up - 1

    inverse = torch.linalg.inv(matrix)
    rows = (torch.arange(height, dtype=torch.float64) + 0.5) / height - 0.5
    columns = (torch.arange(width, dtype=torch.float64) + 0.5) / width - 0.5
    row, column = torch.meshgrid(rows, columns, indexing="ij")
    positions, is_known = [], torch.ones(height, width, dtype=torch.bool)
    for axis, size in enumerate((width, height)):
        source = inverse[axis, 0] * column + inverse[axis, 1] * row + inverse[axis, 2]
        index = (((source + 0.5) * size) - 0.5) * up + reach  # in samples of `fine`
        positions.append((2 * index + 1) / fine.shape[3 - axis] - 1)
        # The definition pads `fine` to u·size + 2·reach, with u/2 on the left, and leaves out a border of one filter.
        nearest, border = (index + up / 2).round(), 2 * reach + 1
        is_known &= (nearest >= border) & (nearest < size * up + 2 * reach - border)
    grid = torch.stack(positions, dim=2).to(x).expand(images, -1, -1, -1)  # [N, H, W, 2]
    y = F.grid_sample(fine, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return y, is_known.to(x)


def _upsample(x: Tensor, taps: Tensor, up: int) -> Tensor:
    """[N, C, H, W] and taps [n, n], n + 1 divisible by u, to [N, C, (H + k − 1)·u, (W + k − 1)·u], k = (n + 1)/u.

    The convolution of x with u − 1 zeros between its pixels, times u². No zero is multiplied: each of the u² phases of
    the output is the convolution of x with every u-th tap.
    """
    images, channels, height, width = x.shape
    k = (taps.shape[0] + 1) // up
    phases = F.pad(taps * up**2, (0, 1, 0, 1)).view(k, up, k, up).permute(1, 3, 0, 2)  # [u, u, k, k]
    kernels = phases.flip(2, 3).reshape(up * up, 1, k, k)
    y = F.conv2d(x.reshape(-1, 1, height, width), kernels, padding=k - 1)  # [N·C, u², H + k − 1, W + k − 1]
    return F.pixel_shuffle(y, up).view(images, channels, (height + k - 1) * up, (width + k - 1) * up)


def bandlimit_filter(
    matrix: Tensor,
    *,
    up: int,
    support_px: int,
    lobes: int = LANCZOS_LOBES,
    grid_px: int = 64,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The low-pass filter whose pass band is the overlap of the pixel grid's and the transformed pixel grid's.

    With sinc2(p) = sinc(x)·sinc(y), the ideal filter of the grid, and L2 its Lanczos window, the filter is
    (sinc2 ⊛ sinc2∘A)·(L2 ⊛ L2∘A): the convolution of two ideal filters passes what both pass, the product with the
    convolved windows makes it finite. As sinc2 and L2 are separable, so are the convolutions with them.

    Args:
        matrix: A: [3, 3] or [2, 2], of which the linear part counts.
        up: u; the taps are 1/u pixels apart.
        support_px: half width of the result.
        lobes: a of the Lanczos window.
        grid_px: half width of the grid on which the convolutions are computed.
        device: where to compute.

    Returns:
        float64 [n, n], n = 2·support_px·u − 1. The taps of each of its u² phases sum to 1/u².
    """
    a = matrix.tolist()
    factors = []
    # Beyond the lobes the windows are zero, so a part of the grid is enough for them.
    for half_px, kernel in ((grid_px, torch.sinc), (min(grid_px, support_px + lobes), _lanczos(lobes))):
        circulant, axis = _convolution_matrix(half_px, support_px, up, kernel, str(device))
        xo = a[0][0] * axis[None, :] + a[0][1] * axis[:, None]
        yo = a[1][0] * axis[None, :] + a[1][1] * axis[:, None]
        factors.append(circulant @ (kernel(xo) * kernel(yo)) @ circulant.T)
    taps = factors[0] * factors[1]
    phases = F.pad(taps, (0, 1, 0, 1)).view(2 * support_px, up, 2 * support_px, up)
    phases = phases / (phases.sum(dim=(0, 2), keepdim=True) * up**2)
    size = 2 * support_px * up - 1
    return phases.reshape(size + 1, size + 1)[:size, :size].contiguous()


Kernel = Callable[[Tensor], Tensor]


@lru_cache(maxsize=8)
def _lanczos(lobes: int) -> Kernel:
    """The Lanczos window, one axis of it: sinc(x/a) where |x| < a, else 0."""
    return lambda x: torch.sinc(x / lobes) * (x.abs() < lobes)


@lru_cache(maxsize=8)
def _convolution_matrix(half_px: int, support_px: int, up: int, kernel: Kernel, device: str) -> tuple[Tensor, Tensor]:
    """The circular convolution along one axis of a grid with `kernel`, as far as the filter needs it.

    Returns:
        A matrix [2·support_px·u − 1, 2·half_px·u − 1], and the grid's positions in pixels.
    """
    reach, support = half_px * up - 1, support_px * up - 1
    grid = torch.arange(-reach, reach + 1, device=device)
    wanted = torch.arange(-support, support + 1, device=device)
    distance = (wanted[:, None] - grid[None, :] + reach) % len(grid) - reach
    return kernel(distance.to(torch.float64) / up), grid.to(torch.float64) / up
