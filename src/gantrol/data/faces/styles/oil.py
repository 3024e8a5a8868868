"""Oil: layers of curved strokes from a broad brush to a fine one, then light on the ridges of the paint.

After Hertzmann 1998, "Painterly rendering with curved brush strokes of multiple sizes" (SIGGRAPH): each finer layer
paints only where the picture still differs from what it should show. Bristles streak each stroke, thickness is
remembered and lit from the upper left (impasto).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces.styles.canvas import Canvas, FloatArray, blur, encoded, noise, saturated
from gantrol.data.faces.styles.strokes import Brush, at, lay, reaches, scattered, spines

# width and length in units of 1/256 of the side, and the difference that calls for the layer (0: everywhere)
_LAYERS = ((30.0, 90.0, 0.0), (15.0, 52.0, 0.03), (8.0, 28.0, 0.07), (4.2, 15.0, 0.10))
_COVERAGE = 3.2  # how many strokes of a layer lie over one another where it paints
_FINE_WIDTH, _FINE_LENGTH = 2.4, 8.0


def oil(canvas: Canvas) -> NDArray[np.uint8]:
    """Paints the canvas in oil."""
    side, unit = canvas.side, canvas.unit
    reference = saturated(canvas.clean, 1.12)
    exact = saturated(canvas.rgb, 1.08)
    what = np.concatenate([canvas.clean, 0.5 * canvas.figure[..., None]], axis=-1)
    picture = blur(reference, 3 * unit) * np.float32(0.92) + np.float32(0.03)  # the ground: a thin, blurred lay-in
    height = np.zeros((side, side), dtype=np.float32)
    for index, (width, length, threshold) in enumerate(_LAYERS):
        if width * unit < 1.6 * canvas.px and index > 1:
            continue
        rng = canvas.rng(10 + index)
        width, length = max(width * unit, 1.3 * canvas.px), max(length * unit, 4 * canvas.px)
        centers = scattered(side, (width * length / _COVERAGE) ** 0.5, rng)
        if threshold:
            lacking = blur(np.abs(picture - reference).sum(-1), width * 0.25)
            centers = centers[at(lacking, centers) > threshold]
        _stroke(
            canvas, picture, height, centers, Brush(width=width, length=length, ragged=0.22), index, reference, what
        )
    width, length = max(_FINE_WIDTH * unit, canvas.px), max(_FINE_LENGTH * unit, 3 * canvas.px)
    rng = canvas.rng(20)
    centers = scattered(side, width * 0.62, rng)
    lacking = np.abs(picture - reference).sum(-1)  # stray strokes across a contour are cut back
    centers = centers[
        (at(canvas.features, centers) > 0.35 * rng.random(len(centers)) + 0.1) | (at(lacking, centers) > 0.3)
    ]
    _stroke(canvas, picture, height, centers, Brush(width=width, length=length, ragged=0.1), 5, exact, exact)
    # the eyes and the mouth are worked over until they are right
    care = (canvas.features * np.float32(0.55 if side > 2 * 90 else 0.7))[..., None]
    picture += (exact - picture) * care
    return encoded(_lit(canvas, picture, height))


def _stroke(
    canvas: Canvas,
    picture: FloatArray,
    height: FloatArray,
    centers: FloatArray,
    brush: Brush,
    index: int,
    reference: FloatArray,
    what: FloatArray,
) -> None:
    """Paints one layer over `picture` and `height` in place."""
    if not len(centers):
        return
    rng = canvas.rng(30 + index)
    count = len(centers)
    knots = spines(canvas, centers, brush.length, rng.normal(0, 0.16, count).astype(np.float32))
    layer = lay(canvas, knots, brush, rng, reaches(knots, what, 0.14), rng.uniform(0.7, 1, count).astype(np.float32))
    color = at(reference, centers)
    # broken colour: neighbouring strokes are a little warmer, cooler, lighter or darker than one another
    jitter = rng.normal(0, 1, (count, 4)).astype(np.float32) * np.float32(0.018 if index < 4 else 0.008)
    color = color * (1 + 1.6 * jitter[:, :1]) + jitter[:, 1:]
    streak = layer.bristle * (1 - 0.5 * np.abs(layer.along))
    paint = color[layer.stroke] * (1 + np.float32(0.06 if index < 4 else 0.02) * streak)[:, None]
    picture.reshape(-1, 3)[layer.sample] = paint
    # paint is thick where the brush sets down its load, at the edges that it pushes up, and between bristles
    edge, lift = np.square(np.square(layer.across)), np.square(np.maximum(layer.along, 0))
    ridge = 0.55 + 0.30 * layer.bristle + 0.35 * edge + 0.25 * lift
    height.ravel()[layer.sample] = ridge * np.float32(np.sqrt(min(brush.width / (8 * canvas.unit), 1.6)))


def _lit(canvas: Canvas, picture: FloatArray, height: FloatArray) -> FloatArray:
    """Light from the upper left on the paint's thickness and the linen's weave."""
    unit = canvas.unit
    thread = max(1.5 * unit, 1.2 * canvas.px)
    t = np.arange(canvas.side, dtype=np.float32) * np.float32(np.pi / thread)
    weave = np.sin(t)[:, None] * np.sin(t)[None] * 0.10 + noise(canvas.side, 2 * thread, canvas.rng(40)) * 0.05
    relief = blur(height, 0.35 * canvas.px) + weave
    slope = np.zeros_like(relief)
    slope[1:, 1:] = relief[1:, 1:] - relief[:-1, :-1]
    slope = np.clip(slope * np.float32(min(0.45 + 0.27 * unit, 1.0)), -0.5, 0.5)
    slope *= 1 - 0.35 * canvas.figure - 0.35 * canvas.features  # thin on faces: ridges of paint are no wrinkles
    lit: FloatArray = picture * (1 + 0.30 * slope[..., None]) + 0.05 * np.maximum(slope, 0)[..., None]
    return lit
