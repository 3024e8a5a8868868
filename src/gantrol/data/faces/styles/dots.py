"""Pointillism and mosaic: pictures of separate touches of pure colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

from gantrol.data.faces.styles.canvas import Canvas, FloatArray, blur, encoded, noise, resized, saturated
from gantrol.data.faces.styles.strokes import Brush, at, lay, scattered, spines

_MOVES = 3  # rounds in which the stones of a mosaic make room for one another
_PRIMED = np.array([0.93, 0.91, 0.86], dtype=np.float32)


def pointillism(canvas: Canvas) -> NDArray[np.uint8]:
    """Paints the canvas in dots of divided colour that mix in the eye (after Seurat)."""
    side, unit, px = canvas.side, canvas.unit, canvas.px
    rng = canvas.rng(90)
    reference = saturated(canvas.clean, 1.25)
    exact = saturated(canvas.rgb, 1.15)
    picture = _PRIMED + (blur(reference, 4 * unit) - _PRIMED) * np.float32(0.75)
    for width, source, step in ((6.2, reference, 0.72), (4.6, reference, 0.80), (2.6, exact, 0.62)):
        fine = width < 4
        size = max(width * unit, (1.0 if fine else 1.9) * px)
        centers = scattered(side, size * step, rng)
        if fine:
            centers = centers[at(canvas.features, centers) > 0.25]
        if not len(centers):
            continue
        color = at(source, centers)
        # each dot leans to a hue of its own; warm and cool ones balance, so that the eye sees the colour meant
        lean = rng.normal(0, 1, (len(centers), 3)).astype(np.float32)
        lean -= lean.mean(1, keepdims=True)
        color = color + lean * np.float32(0.03 if fine else 0.07) * (0.35 + color.max(1, keepdims=True))
        widths = rng.uniform(0.78, 1, len(centers)).astype(np.float32)
        knots = spines(canvas, centers, size)
        layer = lay(canvas, knots, Brush(width=size, length=size), rng, widths=widths)
        light = 1 + 0.07 * (layer.along * 0.4 - layer.across**2 + 0.4)
        picture.reshape(-1, 3)[layer.sample] = color[layer.stroke] * light[:, None]
    picture = picture + (exact - picture) * (canvas.features * np.float32(0.45))[..., None]
    return encoded(picture)


def mosaic(canvas: Canvas) -> NDArray[np.uint8]:
    """Sets the canvas in small stones that turn with the form, with grout between (after Hausner 2001, SIGGRAPH).

    A Voronoi diagram in the square metric of each stone's direction, moved to its centroids a few times.
    """
    side, unit, px = canvas.side, canvas.unit, canvas.px
    rng = canvas.rng(95)
    size = max(6.4 * unit, 3.0 * px)
    centers = scattered(side, size, rng)
    field = canvas.directions
    work = min(side, 160)  # where the stones lie is found on a smaller grid
    scale = work / side
    for _ in range(_MOVES):
        owner, _, _ = _stones(centers * np.float32(scale), field, work)
        flat = owner.ravel()
        free = 1 - 0.9 * _small(canvas.outlines, work).ravel()  # stones keep off the contours
        index = np.arange(work, dtype=np.float32) + 0.5
        weight = np.bincount(flat, weights=free, minlength=len(centers))
        x = np.bincount(flat, weights=free * np.tile(index, work), minlength=len(centers))
        y = np.bincount(flat, weights=free * np.repeat(index, work), minlength=len(centers))
        moved = np.stack([x, y], axis=1) / np.maximum(weight, 1e-3)[:, None] / scale
        centers = np.where((weight > 1)[:, None], moved, centers).astype(np.float32)
    owner, first, second = _stones(centers, field, side)
    flat = owner.ravel()
    count = np.maximum(np.bincount(flat, minlength=len(centers)), 1)
    source = saturated(canvas.rgb, 1.2).reshape(-1, 3)
    color = np.stack(
        [np.bincount(flat, weights=source[:, k], minlength=len(centers)) / count for k in range(3)], axis=1
    )
    color = color * rng.normal(1.04, 0.06, (len(centers), 1)) + rng.normal(0, 0.012, (len(centers), 3))
    stone = color.astype(np.float32)[owner]
    tilt = rng.normal(0, 0.05, len(centers)).astype(np.float32)[owner]
    gap = max(0.55 * unit, 0.30 * px)
    inside = np.clip((second - first) / (2 * gap) - 0.35, 0, 1)
    stone = stone * (1 + tilt + 0.05 * noise(side, 2 * px, rng))[..., None]
    grout = np.float32(0.04) + 0.50 * blur(canvas.clean, 3 * unit)
    picture = grout + (stone - grout) * inside[..., None]
    exact = saturated(canvas.rgb, 1.15)
    care = canvas.features * (0.3 + 0.25 * inside)
    return encoded(picture + (exact - picture) * care[..., None])


def _small(values: FloatArray, side: int) -> FloatArray:
    """The largest value under each cell of a smaller grid [side, side]."""
    if len(values) == side:
        return values
    return np.minimum(resized(values, side, Image.Resampling.BOX) * np.float32(len(values) / side), 1)


def _stones(centers: FloatArray, field: FloatArray, side: int) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
    """For each sample [S, S]: the stone it belongs to, and its distance to that one and to the next."""
    heading = at(field, centers * np.float32(len(field) / side))
    half = (side + 1) // 2
    _, near = cKDTree(centers).query(_grid(half) * 2, k=6)  # candidates are the same for 2 × 2 samples
    near = np.minimum(near, len(centers) - 1).reshape(half, 1, half, 1, 6)
    index = np.arange(2 * half, dtype=np.float32) + 0.5
    dx = index.reshape(1, 1, -1, 2, 1) - centers[near, 0]
    dy = index.reshape(-1, 2, 1, 1, 1) - centers[near, 1]
    c, s = heading[near, 0], heading[near, 1]
    distance = np.maximum(np.abs(c * dx + s * dy), np.abs(c * dy - s * dx))
    distance = distance.reshape(2 * half, 2 * half, 6)[:side, :side]
    best = distance.argmin(-1)[..., None]
    two = np.partition(distance, 1, axis=-1)[..., :2]
    near = np.broadcast_to(near, (half, 2, half, 2, 6)).reshape(2 * half, 2 * half, 6)[:side, :side]
    return np.take_along_axis(near, best, -1)[..., 0].astype(np.int64), two[..., 0], two[..., 1]


def _grid(side: int) -> FloatArray:
    """Centres [side², 2] (x, y) of the cells of a grid, row by row."""
    index = np.arange(side, dtype=np.float32) + 0.5
    return np.stack(np.meshgrid(index, index, indexing="xy"), axis=-1).reshape(-1, 2)
