"""A slice through a translation: one row of pixels of a picture that moves by a few pixels, in steps far below one.

Each line of the slice is the same row of pixels, a little later. Where the picture really moves, its details draw
slanted lines, all parallel. Where details stick to the pixel grid, they draw vertical ones and jump. The number beside
it compares each step with the first picture, moved by exactly as much with a windowed sinc.

Dimensions: T steps · C channels · H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gantrol.errors import ConfigError
from gantrol.metrics.equivariance import decibels
from gantrol.metrics.image_transforms import translate_fractional
from gantrol.model import Model
from gantrol.pictures import to_arrays
from gantrol.sample import check_movable, posed, takes_poses

MAX_STEPS = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class TranslationSlice:
    """How one picture moves."""

    picture: np.ndarray
    """uint8 [H, W, C] before it moves."""
    rows: np.ndarray
    """uint8 [T, W, C]: the row of pixels at each step."""
    row: int
    """Which row."""
    span_px: float
    """How far the picture moves to the right in all, in pixels."""
    psnr: np.ndarray
    """float64 [T]: decibels between each step and the ideally moved first picture, at a peak-to-peak range of 2."""

    @property
    def mean_psnr(self) -> float:
        """Decibels of the mean squared error over all steps but the first."""
        errors = 4.0 / 10 ** (self.psnr[1:] / 10)
        return float(10 * np.log10(4.0 / errors.mean()))


def translation_slice(
    model: Model,
    ws: Tensor,
    *,
    span_px: float = 4.0,
    steps: int = 96,
    row: int | None = None,
    batch_size: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> TranslationSlice:
    """Moves a picture to the right inside the network, and follows one row of its pixels.

    Args:
        model: one whose input can be moved.
        ws: [1, L, D].
        span_px: how far in all, in pixels.
        steps: T, from 2 to `MAX_STEPS`.
        row: which row, from the top; None: the middle one.
        batch_size: steps at a time.
        progress: called with (done, total) steps.

    Raises:
        ConfigError: the model's input cannot be moved, or a number cannot be.

    Source: the slices are those of Karras et al. 2021, figure 1 right, along a translation; the number is their
    EQ-T_frac (equation 3 and appendix E) of one picture.
    """
    check_movable(model.generator)
    size = model.generator.resolution_px
    row = size // 2 if row is None else row
    if not 2 <= steps <= MAX_STEPS or not 0 < abs(span_px) <= size / 2:
        raise ConfigError(f"{steps} steps over {span_px:g} px: expected 2 to {MAX_STEPS} over at most {size / 2:g} px")
    if not 0 <= row < size or len(ws) != 1:
        raise ConfigError(f"row {row} of {len(ws)} pictures: expected 0 to {size - 1}, of one")
    poses = np.zeros((steps, 3))  # (x, y, degrees) of each step
    poses[:, 0] = np.linspace(0, span_px / size, steps)
    at_once = batch_size if takes_poses(model.generator) else 1
    parts = []
    for start in range(0, steps, at_once):
        some = poses[start : start + at_once]
        with posed(model.generator, some):
            parts.append(model.synthesize(ws.expand(len(some), -1, -1)).float().cpu())
        if progress is not None:
            progress(start + len(some), steps)
    images = torch.cat(parts)  # [T, C, H, W]
    psnr = []
    for image, (x, _, _) in zip(images, poses, strict=True):
        wanted, mask = translate_fractional(images[:1], (float(x), 0.0))
        error = float(((image - wanted[0]).square() * mask).sum(dtype=torch.float64))
        psnr.append(decibels(error, float(mask.sum()) * len(image)))
    pixels = to_arrays(images)
    return TranslationSlice(
        picture=pixels[0], rows=pixels[:, row], row=row, span_px=float(span_px), psnr=np.array(psnr)
    )
