"""Thousands of curved brush strokes at once.

A stroke is a spine that follows the direction field, swept by a row of bristles. Each is laid out on a lattice of
(along, across) points finer than the samples; every point is a fragment, and of all fragments that meet at a sample the
stroke laid last is seen. What the strokes look like (colour, bristles, grain) is decided afterwards, for the visible
samples alone.

N strokes, K knots of a spine, A × B lattice points along and across, S side of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces.styles.canvas import Canvas, FloatArray

IntArray = NDArray[np.int64]
_KNOTS = 9
_FRAGMENTS_AT_ONCE = 1 << 16  # arrays of a chunk stay in the cache
_LATTICE = 0.72  # samples between lattice points: √½ leaves no hole in a turned lattice


@dataclass(frozen=True, kw_only=True)
class Brush:
    """The size and shape of a layer's strokes, in samples."""

    width: float
    length: float
    ragged: float = 0.0
    """Share of the length by which single bristles start late and lift early."""
    round: bool = True
    """Rounded ends, or a flat brush."""
    taper: bool = False
    """Strokes thin out towards both ends, like a pen's."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The visible samples of a layer of strokes (P of them)."""

    sample: IntArray
    """[P] index into the flattened frame."""
    stroke: IntArray
    """[P] which stroke is seen."""
    along: FloatArray
    """[P] −1 (start) to 1 (end)."""
    across: FloatArray
    """[P] −1 to 1."""
    bristle: FloatArray
    """[P] −1 to 1, random per bristle of each stroke."""


def spines(canvas: Canvas, centers: FloatArray, length: float, turn: float | FloatArray = 0.0) -> FloatArray:
    """Follows the direction field both ways from `centers` [N, 2] (x, y): knots [N, K, 2] (x, y), evenly spaced.

    `turn`: radians by which the strokes cross the field.
    """
    field = canvas.directions
    scale = len(field) / canvas.side
    half = _KNOTS // 2
    step = length / (_KNOTS - 1)
    angle_cos, angle_sin = np.cos(turn), np.sin(turn)

    def heading(at: FloatArray) -> FloatArray:
        cell = np.clip((at * scale).astype(np.int32), 0, len(field) - 1)
        d = field[cell[:, 1], cell[:, 0]]
        turned = np.stack(
            [d[:, 0] * angle_cos - d[:, 1] * angle_sin, d[:, 0] * angle_sin + d[:, 1] * angle_cos], axis=1
        )
        return turned.astype(np.float32)

    knots = np.empty((len(centers), _KNOTS, 2), dtype=np.float32)
    knots[:, half] = centers
    first = heading(centers)
    for sign in (1, -1):
        at, last = centers, first * np.float32(sign)
        for k in range(1, half + 1):
            d = heading(at)
            d = d * np.where((d * last).sum(1) < 0, np.float32(-1), np.float32(1))[:, None]
            last = d * 0.6 + last * 0.4  # a loaded brush turns slowly
            last = last / np.maximum(np.sqrt((last * last).sum(1, keepdims=True)), 1e-6)
            at = at + last * np.float32(step)
            knots[:, half + sign * k] = at
    return knots


def reaches(knots: FloatArray, reference: FloatArray, tolerance: float) -> FloatArray:
    """[N, 2] how far (0–1 of the half length) each stroke runs back and forth before `reference` changes too much.

    `reference` [S, S, D]; a knot that differs from the centre by more than `tolerance` (summed over D) ends it.
    """
    side = len(reference)
    cell = np.clip(knots.astype(np.int32), 0, side - 1)
    seen = reference[cell[..., 1], cell[..., 0]]
    half = _KNOTS // 2
    like = np.abs(seen - seen[:, half : half + 1]).sum(-1) < tolerance
    forth = np.logical_and.accumulate(like[:, half + 1 :], axis=1).sum(1)
    back = np.logical_and.accumulate(like[:, half - 1 :: -1], axis=1).sum(1)
    return (np.stack([back, forth], axis=1) / half).astype(np.float32)


def lay(
    canvas: Canvas,
    knots: FloatArray,
    brush: Brush,
    rng: np.random.Generator,
    reach: FloatArray | None = None,
    widths: FloatArray | None = None,
) -> Layer:
    """Lays strokes [N, K, 2] in order; `reach` [N, 2] from `reaches`, `widths` [N] in 0–1 of the brush's width."""
    side = canvas.side
    count = len(knots)
    n_along = max(int(np.ceil(brush.length / _LATTICE)) + 1, 3)
    n_across = max(int(np.ceil(brush.width / _LATTICE)) + 1, 2)
    u = np.linspace(-1, 1, n_along, dtype=np.float32)
    v = ((np.arange(n_across) + 0.5) / n_across * 2 - 1).astype(np.float32)
    half_width = np.full(n_along, 1.0, dtype=np.float32)
    if brush.taper:
        half_width = np.sqrt(np.maximum(1 - u * u, 0)) * 0.85 + 0.15
    knot_u = np.linspace(-1, 1, _KNOTS, dtype=np.float32)
    right = np.clip(np.searchsorted(knot_u, u, side="left"), 1, _KNOTS - 1)
    share = (u - knot_u[right - 1]) / (knot_u[right] - knot_u[right - 1])

    # bristles as wide as a pixel of the finished picture: finer ones would be averaged away
    bristles = max(round(brush.width / max(canvas.px, 1.0)), 1)
    hair = np.arange(n_across) * bristles // n_across
    bristle, start, end = (rng.random((count, bristles)).astype(np.float32)[:, hair] for _ in range(3))
    bristle = bristle * 2 - 1
    start, end = 1 - brush.ragged * start, 1 - brush.ragged * end
    if brush.round and not brush.taper:
        cap = min(brush.width / brush.length, 1.0)  # a round end takes half a width of the length
        rounding = 1 - cap * (1 - np.sqrt(1 - v * v))
        start, end = start * rounding, end * rounding
    if reach is not None:
        # a stroke never shrinks below its own width: it stays a dab
        least = min(brush.width / brush.length, 1.0) * 0.6
        start, end = start * np.maximum(reach[:, :1], least), end * np.maximum(reach[:, 1:], least)

    margin = int(np.ceil((brush.length + brush.width) / 2)) + 2  # no stroke reaches further beyond the frame
    wide = side + 2 * margin
    owner = np.full(wide * wide, -1, dtype=np.int32)
    cells = n_along * n_across
    assert count * cells < 2**31
    chunk = max(_FRAGMENTS_AT_ONCE // cells, 1)
    for first in range(0, count, chunk):
        some = slice(first, first + chunk)
        a, b = knots[some, right - 1], knots[some, right]
        spine = a + (b - a) * share[:, None] + np.float32(margin)  # [n, A, 2]
        tangent = b - a
        tangent *= half_width[:, None] / np.maximum(np.sqrt((tangent * tangent).sum(-1, keepdims=True)), 1e-6)
        reaching = v * np.float32(brush.width / 2)  # [B]
        if widths is not None:
            reaching = (reaching * widths[some, None])[:, None]  # [n, 1, B]
        x = (spine[..., 0, None] - tangent[..., 1, None] * reaching).astype(np.int32)  # [n, A, B]
        y = (spine[..., 1, None] + tangent[..., 0, None] * reaching).astype(np.int32)
        y *= wide
        y += x
        inside = (u[:, None] <= end[some, None]) & (u[:, None] >= -start[some, None])
        kept = np.flatnonzero(inside)
        owner[y.ravel().take(kept)] = (kept + first * cells).astype(np.int32)  # of equals, the last is kept
    owner = owner.reshape(wide, wide)[margin : margin + side, margin : margin + side].ravel()
    sample = np.flatnonzero(owner >= 0)
    seen = owner[sample]
    stroke, cell = np.divmod(seen, cells)
    along, across = np.divmod(cell, n_across)
    return Layer(
        sample=sample,
        stroke=stroke,
        along=u[along],
        across=v[across],
        bristle=bristle[stroke, across],
    )


def scattered(side: int, spacing: float, rng: np.random.Generator) -> FloatArray:
    """Jittered grid of centres [N, 2] (x, y) about `spacing` samples apart, in random order."""
    cells = max(round(side / spacing), 1)
    grid = np.stack(np.meshgrid(np.arange(cells), np.arange(cells), indexing="xy"), axis=-1).reshape(-1, 2)
    points = (grid + rng.random((cells * cells, 2))) * (side / cells)
    return points[rng.permutation(len(points))].astype(np.float32)


def at(values: FloatArray, points: FloatArray) -> FloatArray:
    """Values [S, S, ...] at points [N, 2] (x, y)."""
    cell = np.clip(points.astype(np.int32), 0, len(values) - 1)
    picked: FloatArray = values[cell[:, 1], cell[:, 0]]
    return picked
