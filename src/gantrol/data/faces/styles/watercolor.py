"""Watercolour: transparent washes glazed over one another on rough white paper.

Works in optical density (−log of reflectance), where glazes add up, as in Kubelka–Munk mixing of thin layers (Curtis et
al. 1997, "Computer-generated watercolor", SIGGRAPH, whose effects these are: edge darkening, flow, granulation,
backruns, glazing) without simulating the fluid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces.styles.canvas import (
    Canvas,
    FloatArray,
    blur,
    brightness,
    encoded,
    noise,
    ramp,
    saturated,
    simplified,
)

_PAPER = np.array([0.985, 0.975, 0.945], dtype=np.float32)
_GLAZES = (0.10, 0.28, 0.50, 0.80, 1.25, 1.9)  # densities at which the painter lays the next wash


def watercolor(canvas: Canvas) -> NDArray[np.uint8]:
    """Paints the canvas in watercolour."""
    side, unit, px = canvas.side, canvas.unit, canvas.px
    rng = canvas.rng(50)
    wobble = max(1.6 * unit, 0.7 * px)  # no hand follows a border exactly
    shifted = _displaced(canvas.clean, noise(side, 22 * unit, rng, 2) * wobble, noise(side, 22 * unit, rng, 2) * wobble)
    soft = simplified(shifted, max(2.2 * unit, 0.8 * px))
    wet = blur(soft, 7 * unit)
    # wet in wet: away from the features, parts of a wash run into their neighbours
    run = ramp(noise(side, 60 * unit, rng, 2), 0.15, 1.1) * (1 - canvas.features) * 0.55
    soft = soft + (wet - soft) * run[..., None]
    density = -np.log(np.clip(saturated(soft, 1.25) * 0.93 + 0.07, 0.04, 1))
    depth = brightness(density)
    glazed = _glazes(canvas, depth * (1 + 0.07 * noise(side, 26 * unit, rng, 3)))
    tone = 0.35 * depth + 0.65 * glazed
    density = density * (tone / np.maximum(depth, 0.05))[..., None]

    # pigment pools in the paper's hollows (granulation) and drifts in broad, uneven blooms
    grain = noise(side, max(3.2 * unit, 2.2 * px), rng, 2)
    bloom = noise(side, 56 * unit, rng, 3) * (1 - 0.55 * canvas.figure)
    density *= (1 + 0.13 * grain + 0.14 * bloom * (1 - 0.7 * canvas.features))[..., None]
    density *= _coverage(canvas, rng)[..., None]

    # the last, smallest brush: dark accents of eyes, mouth, brows and nostrils, painted on dry paper
    detail = -np.log(np.clip(saturated(canvas.rgb, 1.15), 0.05, 1))
    accent = np.clip(brightness(detail) - blur(depth, 3 * unit), 0, 1.6)
    density += (detail - density) * (canvas.features * 0.62)[..., None]
    density += (0.5 * accent * (0.15 + 0.5 * canvas.features))[..., None]
    relief = 1 + 0.035 * (grain - np.roll(grain, 1, axis=(0, 1)))  # raking light on the paper
    return encoded(_PAPER * np.exp(-density) * relief[..., None])


def _displaced(picture: FloatArray, dx: FloatArray, dy: FloatArray) -> FloatArray:
    """Samples `picture` at (x + dx, y + dy), nearest sample."""
    side = len(picture)
    index = np.arange(side, dtype=np.float32)
    x = np.clip(index + dx + 0.5, 0, side - 1).astype(np.int32)
    y = np.clip(index[:, None] + dy + 0.5, 0, side - 1).astype(np.int32)
    moved: FloatArray = picture.reshape(side * side, -1).take(y * side + x, axis=0)
    return moved


def _glazes(canvas: Canvas, depth: FloatArray) -> FloatArray:
    """Densities [S, S] built up in flat washes whose borders dry darker."""
    total = np.zeros_like(depth)
    below = 0.0
    for k, level in enumerate(_GLAZES):
        wash = ramp(depth, level - 0.035, level + 0.035)
        if k < 4:  # pigment is carried to the border of a drying wash; a later one is too dark to show it
            inner = blur(wash, 1.9 * canvas.unit + 0.4 * canvas.px)
            wash = wash * (0.86 + 0.75 * (1 - inner))
        after = _GLAZES[k + 1] if k + 1 < len(_GLAZES) else 2.6
        amount = (level + after) / 2 - below
        below = (level + after) / 2
        total += np.float32(amount) * wash
    return total


def _coverage(canvas: Canvas, rng: np.random.Generator) -> FloatArray:
    """[S, S] 0–1: the wash ends unevenly before the sheet does, and white gaps stay between some parts."""
    side, unit = canvas.side, canvas.unit
    index = np.arange(side, dtype=np.float32)
    border = np.minimum(index, side - 1 - index)
    border = np.minimum(border[:, None], border[None]) / unit
    ragged = border + 4.5 * noise(side, 40 * unit, rng, 3)
    sheet = ramp(ragged, 2.0, 4.0)
    edge = 1 + 0.45 * ramp(-ragged, -8, -3)
    gap = blur(canvas.outlines, max(0.8 * unit, 0.5 * canvas.px)) * ramp(noise(side, 40 * unit, rng, 2), 0.0, 0.5)
    covered: FloatArray = sheet * edge * (1 - np.minimum(gap * 1.6, 0.7) * (1 - canvas.features))
    return np.maximum(covered, 0.04)
