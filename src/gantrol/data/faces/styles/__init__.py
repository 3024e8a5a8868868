"""Painted portraits: the same labelled person re-rendered in another medium.

A style changes how a picture is made, never what it shows: pose, expression, light and colours stay those of the label
row (ink and charcoal give up colour). A painting depends on the frame, the style, the seed and the guide alone.

canvas.py      what every technique starts from: colours, contours, features, the direction field
strokes.py     thousands of curved brush strokes at once
oil.py         layered strokes, impasto
watercolor.py  washes of density on paper
drawing.py     ink, charcoal, pastel
flat.py        cartoon, pixel art
dots.py        pointillism, mosaic
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gantrol.data.faces.styles.canvas import PARTS, Canvas, Guide
from gantrol.data.faces.styles.dots import mosaic, pointillism
from gantrol.data.faces.styles.drawing import charcoal, ink, pastel
from gantrol.data.faces.styles.flat import cartoon, pixel
from gantrol.data.faces.styles.oil import oil
from gantrol.data.faces.styles.watercolor import watercolor
from gantrol.errors import ConfigError, nearest

__all__ = ["PARTS", "STYLES", "Guide", "paint"]


def _photo(canvas: Canvas) -> NDArray[np.uint8]:
    return canvas.image


_TECHNIQUES: dict[str, Callable[[Canvas], NDArray[np.uint8]]] = {
    "photo": _photo,
    "oil": oil,
    "watercolor": watercolor,
    "ink": ink,
    "pastel": pastel,
    "charcoal": charcoal,
    "pixel": pixel,
    "cartoon": cartoon,
    "pointillism": pointillism,
    "mosaic": mosaic,
}

STYLES: tuple[str, ...] = tuple(_TECHNIQUES)


def paint(
    image: NDArray[np.uint8], style: str, seed: int, guide: Guide | None = None, *, size_px: int | None = None
) -> NDArray[np.uint8]:
    """Re-renders a photo-like picture in a style.

    `image`: uint8 [S, S, 3] sRGB, the renderer's supersampled frame (S about twice the finished side; strokes have hard
    edges there, which shrinking smooths). `style`: one of `STYLES`. `seed`: ≥ 0, places strokes, grain and blooms; the
    same seed gives counterfactuals of one person the same paper. `guide`: what the renderer knows of the frame, or None
    to take contours and directions from the picture. `size_px`: side of the result, by default S; line widths and grain
    are never finer than its pixels.

    Returns uint8 [size_px, size_px, 3]. Raises ConfigError for an unknown style, a negative seed, a picture that is not
    square RGB bytes, or a guide of another side.
    """
    if style not in _TECHNIQUES:
        raise ConfigError(f"style {style!r} is unknown: {nearest(style, STYLES)}")
    if seed < 0:
        raise ConfigError(f"style seed {seed} is impossible: give 0 or more")
    if image.ndim != 3 or image.shape[0] != image.shape[1] or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ConfigError(f"a picture of shape {image.shape}, {image.dtype} cannot be painted: give uint8 [S, S, 3]")
    guide = guide or Guide()
    for name, buffer in vars(guide).items():
        if buffer is not None and buffer.shape[:2] != image.shape[:2]:
            raise ConfigError(f"guide.{name} has shape {buffer.shape}, the picture {image.shape}: give both one side")
    size_px = len(image) if size_px is None else size_px
    painted = _TECHNIQUES[style](Canvas(image, guide, size_px, seed))
    if len(painted) == size_px:
        return painted
    shrunk = Image.fromarray(painted).resize((size_px, size_px), Image.Resampling.LANCZOS)
    return np.asarray(shrunk, dtype=np.uint8)
