"""Augmentations that are neither geometry nor colour: random gains per frequency band, noise, cutout.

Source: StyleGAN2-ADA (Karras et al. 2020), appendix B; our specification notes, section 4.4.
Dimensions: N images, C channels, H W pixels, B = 4 bands, T = 43 taps.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F

BANDS = 4
"""Octaves of the filter bank, the lowest first."""

BAND_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)
"""Share of each band in the power of a natural picture, 1/f; gains are normalised so that they keep the power."""

FILTER_REACH_PX = 21
"""Pixels per side that the filters of the bank reach; an image must be larger than this."""

_ROOT_3 = 3**0.5
_SYM2 = tuple(tap / (4 * 2**0.5) for tap in (1 - _ROOT_3, 3 - _ROOT_3, 3 + _ROOT_3, 1 + _ROOT_3))


@lru_cache(maxsize=16)
def band_filters(device: torch.device, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """[B, T] symmetric filters that share the spectrum out between four octaves and sum to the unit impulse."""
    with torch.inference_mode(False):
        low = torch.tensor(_SYM2, dtype=torch.float64)  # [4]
        high = low * torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
        low, high = (_convolve(taps[None], taps.flip(0))[0] / 2 for taps in (low, high))  # [7] autocorrelations
        bank = torch.eye(BANDS, 1, dtype=torch.float64)  # [B, 1] all in the lowest band
        for band in range(1, BANDS):
            bank = torch.stack([bank, torch.zeros_like(bank)], dim=2).flatten(1)[:, :-1]  # zeros between the taps
            bank = _convolve(bank, low)
            start = (bank.shape[1] - len(high)) // 2
            bank[band, start : start + len(high)] += high
        return bank.to(dtype).to(device)


def _convolve(rows: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    """Full convolution of rows [R, A] with taps [B]: [R, A + B − 1]."""
    return F.conv1d(rows[:, None], taps.flip(0)[None, None], padding=len(taps) - 1)[:, 0]


def band_gains(log2_gains: torch.Tensor) -> torch.Tensor:
    """[N, B] factors per band from log₂ gains [N, B] drawn independently; each draw is made to keep the power."""
    gains = torch.ones_like(log2_gains)
    for band in range(BANDS):
        factor = log2_gains[:, band].exp2()  # [N]
        share = BAND_POWER[band]
        norm = (share * factor.square() + (1 - share)).sqrt()
        others = torch.ones_like(log2_gains)
        others[:, band] = factor
        gains = gains * others / norm[:, None]
    return gains


def filter_bands(images: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
    """The images [N, C, H, W], each with its own gains [N, B] per frequency band; mirrored at the border."""
    n, c, height, width = images.shape
    taps = gains @ band_filters(images.device, images.dtype)  # [N, T]
    taps = taps.repeat_interleave(c, dim=0)[:, None]  # [N·C, 1, T], the filter of each plane
    x = F.pad(images, [FILTER_REACH_PX] * 4, mode="reflect").reshape(1, n * c, height + 42, width + 42)
    x = F.conv2d(x, taps[:, :, None, :], groups=n * c)  # [1, N·C, H+42, W]
    x = F.conv2d(x, taps[:, :, :, None], groups=n * c)  # [1, N·C, H, W]
    return x.reshape(images.shape)


def cut_out(images: torch.Tensor, x: torch.Tensor, y: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """The images [N, C, H, W] with a box set to 0: its centre x, y and size in image widths, each [N]."""
    height, width = images.shape[2:]
    columns = (torch.arange(width, device=images.device, dtype=images.dtype) + 0.5) / width
    rows = (torch.arange(height, device=images.device, dtype=images.dtype) + 0.5) / height
    half = size[:, None] / 2
    is_beside = (columns - x[:, None]).abs() >= half  # [N, W]
    is_above = (rows - y[:, None]).abs() >= half  # [N, H]
    return images * (is_beside[:, None, None, :] | is_above[:, None, :, None]).to(images.dtype)
