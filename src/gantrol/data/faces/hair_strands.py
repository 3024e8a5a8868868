"""Growth: which single strands a cut has, on the sheet that carries them.

Strands begin anywhere on the sheet (hair emerges from hair) and run along its columns; strands of a lock come together
towards their ends; edges and tips lie at irregular distances from where the sheet ends.
"""

from __future__ import annotations

import functools
import zlib

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from gantrol.data.faces.hair_cuts import CUTS, Cut
from gantrol.data.faces.hair_sheet import Array, Patch, azimuths, ramp, sheet
from gantrol.data.faces.head import IntArray
from gantrol.data.faces.strands import Strands, bound, per_grid

_LOCK = 1.3  # columns that one lock is wide
_LONGEST_DM = 1.1
_STRANDS = 4000  # on a 512 × 512 grid
_MOST = 24000


def _control_points(cut: Cut, side: int) -> int:
    """How many control points the strands of a cut need: fewer where turns are finer than the samples."""
    length = min(cut.length or _LONGEST_DM, _LONGEST_DM)
    fine = min(side / 512, 1.0) ** 0.4
    turns = max(length / cut.curl[1] if cut.curl[0] else 0.0, length / cut.wave[1] if cut.wave[0] else 0.0)
    return max(round(float(np.clip(4 + 14 * min(length, 0.8), 3, 14) * fine + 7 * turns * fine)), 3)


def _spans(patch: Patch, cut: Cut, draws: Array) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Column, begin and end (dm along the column) of strands, and whether each ends where the hair ends.

    `draws` [7, S] are uniform in 0–1.
    """
    along, field = patch.along, patch.cut
    columns, rows = field.shape
    ends = np.array([_crossing(a, f) for a, f in zip(along, field, strict=True)])
    steps = patch.points[1:, :-1] - patch.points[:-1, :-1], patch.points[:-1, 1:] - patch.points[:-1, :-1]
    area = np.linalg.norm(np.cross(*steps), axis=2) * (np.maximum(field[1:, :-1], field[:-1, :-1]) > -0.02)
    if patch.seam >= 0:
        area[patch.seam] = 0
    share = area.ravel().cumsum()
    cell = np.searchsorted(share, draws[0] * share[-1])
    column, row = np.divmod(cell, area.shape[1])
    u = np.clip(column + draws[1], 0, columns - 1.001)
    total, end = np.interp(u, np.arange(columns), along[:, -1]), np.interp(u, np.arange(columns), ends)
    begin = (row + draws[2]) / (rows - 1) * total
    length = (cut.length or _LONGEST_DM) * (0.55 + 0.45 * draws[3])
    if patch.closed:
        return u, begin, begin + length, np.zeros(len(u), dtype=bool)
    back = azimuths(patch.roots[column, row]) < cut.combed  # runs from the hairline to the parting
    # free ends thin out beyond the sheet's edge; along the hairline single roots begin well before it
    beyond = 0.25 - 0.9 * draws[4] ** 2 if cut.ends else 0.6 - 1.3 * draws[4] ** 0.7
    tip = end + min(cut.inset, 0.2) * beyond
    edge = back & (draws[5] < 0.25)
    begin = np.where(edge, end - 0.08 + 0.12 * draws[6], np.minimum(begin, tip - 0.02))
    stop = np.where(back, np.maximum(begin - length, 0.02), np.minimum(begin + length, tip))
    return u, begin, stop, ~back & (stop > tip - 1e-6)


def _crossing(along: Array, field: Array) -> float:
    """Where along a column its hair ends."""
    inside = np.flatnonzero(field > 0)
    if not len(inside):
        return 0.0
    last = int(inside[-1])
    if last + 1 == len(field):
        return float(along[-1])
    t = field[last] / (field[last] - field[last + 1])
    return float(along[last] + t * (along[last + 1] - along[last]))


def _grow(patch: Patch, cut: Cut, seed: int, count: int, points: int) -> dict[str, Array]:
    """`count` strands on one patch: column and row [count, points] of control points, and what `Strands` holds.

    A smaller count gives the first of the same strands.
    """
    columns, rows = patch.cut.shape
    rng = np.random.default_rng([11, seed])
    draw = rng.random((4, 4096))
    draws, bell = rng.random((_MOST, 14))[:count].T, rng.standard_normal((_MOST, 4))[:count].T
    u, begin, stop, tipped = _spans(patch, cut, draws[:7])
    t = np.linspace(0, 1, points)
    s = begin[:, None] + (stop - begin)[:, None] * t
    lock = np.floor(u / _LOCK)
    of_lock = (lock.astype(np.int64) * 37 + np.floor(begin / 0.45).astype(np.int64) * 11) & 4095
    center = (lock + 0.2 + 0.6 * draw[0, lock.astype(np.int64) & 4095]) * _LOCK
    way = u[:, None] + (center - u)[:, None] * (cut.clump * (0.5 + 0.5 * draws[7]))[:, None] * t**1.3
    if patch.closed:
        way = way % (columns - 1)
        total = np.interp(u, np.arange(columns), patch.along[:, -1])
        s = s % total[:, None] if cut.knot == "bun" else np.minimum(s, total[:, None])
    elif patch.seam >= 0:
        left = (u < patch.seam + 0.5)[:, None]
        way = np.clip(way, np.where(left, 0, patch.seam + 1), np.where(left, patch.seam, columns - 1))
    way = np.clip(way, 0, columns - 1.001)
    total = np.interp(way.ravel(), np.arange(columns), patch.along[:, -1]).reshape(way.shape)
    row = np.clip(s / total * (rows - 1), 0, rows - 1.001)

    stray = draws[8] < cut.stray
    # locks arch over the surface; only true ends, and the strays, stand off it
    rise = cut.lift * (0.5 * draw[1, of_lock] + 0.5 * draws[9] ** 1.5)
    off = np.where(
        stray, (0.3 + 0.7 * draws[10]) * (cut.lift + 0.04), np.where(tipped | patch.closed, 0.6, 0.25) * rise
    )
    lift = -0.005 + rise[:, None] * np.sin(np.pi * t) + off[:, None] * t**1.5
    swing = bell[:2, :, None] * np.where(stray, 1.5, 1.0)[:, None] * cut.mess
    side = swing[0] * t + swing[1] * np.sin(np.pi * t * 1.5) * 0.7
    phase = 2 * np.pi * (draw[2, of_lock] + (0.3 if cut.clump == 0 else 0.05) * bell[2])[:, None]
    if cut.wave[0]:
        phase = 2 * np.pi * (0.06 * u + 0.06 * bell[2])[:, None]
        side = side + cut.wave[0] * ramp(s, 0.25, 0.9) * np.sin(2 * np.pi * s / cut.wave[1] + phase)
        lift = lift + 0.4 * cut.wave[0] * ramp(s, 0.25, 0.9) * (1 + np.cos(2 * np.pi * s / cut.wave[1] + phase))
    if cut.curl[0]:
        turn = 2 * np.pi * s / cut.curl[1] + phase
        radius = cut.curl[0] * (0.6 + 0.55 * draws[11])[:, None]
        side, lift = side + radius * np.sin(turn), lift + radius * (0.7 + np.cos(turn))
    if patch.seam >= 0:  # wisps beside the face
        near = np.abs(u - patch.seam - 0.5) < 3
        toward = np.where(u < patch.seam + 0.5, 1.0, -1.0) * near * draws[12] ** 3 * 0.07
        side = side + toward[:, None] * np.sin(np.pi * t) ** 2 * ramp(s, 0.15, 0.5)

    emerges = ramp(np.broadcast_to(t, s.shape), 0.0, 0.18)
    thin = np.where(tipped, 0.75 * ramp(t, 0.7, 1.0)[:, None], 0.45 * ramp(t, 0.4, 1.0)[:, None]).T
    cover = (0.15 + 0.8 * emerges) * (1 - thin)
    cover = cover * np.where(stray, 0.4, 1.0)[:, None]
    cover = cover * (0.55 if cut.bristles else 1.0)
    if cut.bald:  # thin where it has begun to go
        inside = map_coordinates(patch.cut, [way.ravel(), row.ravel()], order=1).reshape(way.shape)
        cover = cover * (0.25 + 0.75 * ramp(inside, 0.0, 0.22))
    depth = np.clip(lift / max(float(rise.mean()) + 0.6 * cut.curl[0], 1e-3), 0, 1)
    shade = np.clip(0.72 + 0.34 * depth, 0, 1.08)
    tone = 0.65 * bell[3] + 0.75 * (draw[3, of_lock] - 0.5) * 2
    return {"column": way, "row": row, "lift": lift, "side": side, "cover": cover, "shade": shade, "tone": tone,
            "rank": draws[13]}  # fmt: skip


@functools.lru_cache(maxsize=32)
def strands(name: str, side: int) -> Strands:
    """The strands of the cut called `name` for a side × side grid of samples, bound to its sheet."""
    made, cut = sheet(name), CUTS[name]
    assert made is not None
    count, points = min(per_grid(side, round(_STRANDS * cut.density)), _MOST), _control_points(cut, side)
    weights = [1.0, *(0.35 if cut.knot == "tail" else 0.22 for _ in made.patches[1:])]
    grown, corners, mixes, first = [], [], [], 0
    for patch, weight in zip(made.patches, weights, strict=True):
        share = max(round(count * weight / sum(weights)), 1)
        one = _grow(patch, cut, zlib.crc32(name.encode()) + first, share, points)
        grown.append(one)
        corner, mix = _bilinear(one["column"], one["row"], patch.cut.shape[1])
        corners.append(corner + first)
        mixes.append(mix)
        first += patch.cut.size

    def joined(field: str) -> NDArray[np.float32]:
        return np.concatenate([one[field].ravel() for one in grown]).astype(np.float32)

    vertices, bind = bound(np.concatenate(corners), np.concatenate(mixes))
    return Strands(
        vertices=vertices,
        bind=bind,
        lift=joined("lift"),
        side=joined("side"),
        cover=joined("cover"),
        shade=joined("shade"),
        tone=joined("tone"),
        rank=joined("rank"),
    )


def _bilinear(column: Array, row: Array, rows: int) -> tuple[IntArray, Array]:
    """The grid corners [R, 4] around fractional columns and rows of R points, and their weights."""
    column, row = column.ravel(), row.ravel()
    c, r = np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)
    a, b = column - c, row - r
    corner = c * rows + r
    index = np.stack([corner, corner + 1, corner + rows, corner + rows + 1], axis=1)
    return index, np.stack([(1 - a) * (1 - b), (1 - a) * b, a * (1 - b), a * b], axis=1)
