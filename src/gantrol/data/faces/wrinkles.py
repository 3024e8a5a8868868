"""Folds of the skin: creases that age cuts and that expressions make, as a relief that turns the surface's normals.

A crease is a groove along a short curve on the average head (canonical coordinates, dm). Written as a height h over
the skin, its gradient tilts the normals as the fold itself would (Blinn, "Simulation of wrinkled surfaces", 1978), so a
crease is bright on the side that faces the light and dark on the other, whichever side the light comes from.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces.attributes import Row
from gantrol.data.faces.head import FloatArray, IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Creases that come and go together; all run across the face, or all down it; mirrored to its other half."""

    creases: tuple[tuple[float, ...], ...]
    """Each (start, end, a, b, c, width, depth): from start to end in |x| (down: in y) the other coordinate is
    a + b·t + c·t², t the way from `start` (from the middle, if it crosses that); width in dm; depth relative."""
    low: tuple[float, float]
    """No crease lies outside low ≤ (|x|, y) ≤ high."""
    high: tuple[float, float]
    down: bool = False
    by_age: tuple[float, float, float] = (0.0, 1.0, 0.0)
    """They start at this age, are complete at that one, and as deep as this then."""
    by_expression: dict[str, float] = field(default_factory=dict)
    """Depth added by the weight of an expression."""
    always: float = 0.0


GROUPS: dict[str, Group] = {
    "forehead": Group(
        low=(0.0, 0.30), high=(0.50, 0.80), by_age=(34, 80, 0.50),
        by_expression={"surprised": 0.5, "brow_raise": 0.55, "afraid": 0.42, "sad": 0.2},
        creases=((-0.2, 0.44, 0.360, 0.06, -0.14, 0.018, 0.7), (-0.2, 0.40, 0.430, 0.06, -0.14, 0.020, 1.0),
                 (-0.2, 0.42, 0.505, 0.05, -0.13, 0.020, 0.9), (-0.2, 0.34, 0.585, 0.05, -0.12, 0.019, 0.7),
                 (-0.2, 0.25, 0.660, 0.04, -0.10, 0.017, 0.4))),
    "frown": Group(
        low=(0.0, 0.04), high=(0.18, 0.36), by_age=(36, 75, 0.45), down=True,
        by_expression={"angry": 0.8, "disgusted": 0.4, "afraid": 0.2, "sad": 0.15},
        creases=((0.10, 0.27, 0.050, 0.14, 0.0, 0.022, 1.0), (0.16, 0.30, 0.098, 0.25, 0.0, 0.020, 0.35))),
    "nose_bridge": Group(
        low=(0.0, -0.04), high=(0.12, 0.12), by_age=(55, 85, 0.3), by_expression={"disgusted": 0.7, "angry": 0.3},
        creases=((-0.1, 0.075, 0.045, 0.02, -0.4, 0.015, 1.0),)),
    "nose_sides": Group(
        low=(0.03, -0.16), high=(0.16, 0.08), by_expression={"disgusted": 0.8, "angry": 0.2}, down=True,
        creases=((-0.11, 0.02, 0.105, -0.35, 0.0, 0.015, 0.8), (-0.10, 0.0, 0.075, -0.35, 0.0, 0.013, 0.5))),
    "crows_feet": Group(
        low=(0.44, -0.20), high=(0.68, 0.18), by_age=(36, 75, 0.60), by_expression={"smile": 0.24, "laugh": 0.6},
        creases=((0.475, 0.63, 0.030, 0.50, 0.0, 0.017, 0.6), (0.480, 0.65, 0.000, 0.16, -0.3, 0.016, 0.8),
                 (0.475, 0.65, -0.024, -0.18, -0.5, 0.016, 0.8), (0.465, 0.62, -0.048, -0.50, 0.0, 0.017, 0.6))),
    "under_eye": Group(
        low=(0.12, -0.28), high=(0.50, -0.06), by_age=(30, 72, 0.52),
        by_expression={"laugh": 0.3, "smile": 0.15, "angry": 0.1},
        creases=((0.150, 0.44, -0.065, -0.72, 2.2, 0.022, 1.0), (0.165, 0.36, -0.110, -0.75, 1.2, 0.026, 0.55),
                 (0.20, 0.44, -0.085, -0.22, 0.8, 0.012, 0.5))),
    "lid": Group(
        low=(0.14, 0.0), high=(0.48, 0.12), by_age=(45, 80, 0.15), always=0.28,
        creases=((0.165, 0.45, 0.030, 0.52, -1.75, 0.013, 1.0),)),
    "nasolabial": Group(
        low=(0.12, -0.76), high=(0.42, -0.32), by_age=(26, 74, 0.60), down=True,
        by_expression={"smile": 0.4, "laugh": 0.45, "disgusted": 0.5, "angry": 0.15},
        creases=((-0.70, -0.365, 0.300, -0.16, -0.70, 0.034, 1.0),)),
    "marionette": Group(
        low=(0.16, -0.98), high=(0.38, -0.68), by_age=(45, 82, 0.50), by_expression={"sad": 0.3, "angry": 0.15},
        down=True, creases=((-0.92, -0.72, 0.275, -0.12, 0.0, 0.024, 1.0),)),
    "smile_brackets": Group(
        low=(0.24, -0.80), high=(0.50, -0.50), by_age=(50, 85, 0.26), by_expression={"smile": 0.1, "laugh": 0.18},
        down=True, creases=((-0.76, -0.54, 0.350, 0.35, -1.4, 0.034, 1.0),)),
    "lip_lines": Group(
        low=(0.0, -0.60), high=(0.20, -0.46), by_age=(55, 85, 0.24), by_expression={"pucker": 0.25}, down=True,
        creases=((-0.585, -0.50, 0.035, 0.09, 0.0, 0.009, 0.7), (-0.585, -0.50, 0.075, 0.08, 0.0, 0.009, 1.0),
                 (-0.585, -0.50, 0.112, 0.07, 0.0, 0.009, 0.8), (-0.585, -0.50, 0.150, 0.05, 0.0, 0.009, 0.9))),
    "chin": Group(
        low=(0.0, -0.96), high=(0.2, -0.78), by_age=(60, 85, 0.2), by_expression={"sad": 0.3, "angry": 0.25},
        creases=((-0.1, 0.15, -0.845, -0.03, -0.3, 0.026, 1.0),)),
    "neck": Group(
        low=(0.0, -1.75), high=(0.5, -1.18), by_age=(26, 80, 0.42),
        creases=((-0.1, 0.42, -1.30, 0.0, 0.16, 0.022, 1.0), (-0.1, 0.42, -1.46, 0.02, 0.2, 0.024, 0.8),
                 (-0.1, 0.40, -1.60, 0.02, 0.2, 0.022, 0.5))),
}  # fmt: skip
_DEEPEST = 1.1  # steeper folds would turn away from the viewer
_SHALLOWEST = 0.05  # no one sees these
_BACK_DM = -0.62  # behind this the skull, not the face
_BLUR_DM = 0.02  # how far a crease runs out beyond its ends


_CELL_DM, _COLUMNS, _ROWS = 0.02, 40, 140
_LOWEST = -1.8  # y where the grid of cells begins
_REACH = 3.6  # how far a crease and the swells beside it reach, in its width


@dataclass(frozen=True, kw_only=True, eq=False)
class _Creases:
    """The k creases of all groups: columns [k] of their numbers, as in `Group.creases`."""

    numbers: FloatArray
    """[8, k] start, end, a, b, c, width, depth, and where t is 0."""
    axis: IntArray
    """0 for those that run across the face, 1 for those that run down it."""
    group: IntArray
    """Index into GROUPS."""
    place: FloatArray
    """Each one's index in its group: how its waver differs from theirs."""


@functools.cache
def _creases() -> _Creases:
    groups = list(GROUPS.values())
    down = np.array([group.down for group in groups for _ in group.creases])
    numbers = np.array([crease for group in groups for crease in group.creases], dtype=np.float32).T
    origin = np.where(down, numbers[0], np.maximum(numbers[0], 0))
    return _Creases(
        numbers=np.concatenate([numbers, origin[None]]),
        axis=down.astype(np.int64),
        group=np.repeat(np.arange(len(groups)), [len(group.creases) for group in groups]),
        place=np.concatenate([np.arange(len(group.creases), dtype=np.float32) for group in groups]),
    )


@functools.cache
def _cells(widest: float) -> NDArray[np.uint32]:
    """Which creases reach into each cell of a grid over (|x|, y), one bit each: spares samples most comparisons.

    `widest` is what a crease finer than that is widened to, dm.
    """
    creases = _creases()
    x, y = (np.arange(_COLUMNS) + 0.5) * _CELL_DM, (np.arange(_ROWS) + 0.5) * _CELL_DM + _LOWEST
    table = np.zeros((_ROWS, _COLUMNS), dtype=np.uint32)
    for number, (start, end, a, b, c, width, _, origin) in enumerate(creases.numbers.T):
        group = list(GROUPS.values())[creases.group[number]]
        inside = (abs(y - (group.low[1] + group.high[1]) / 2) < (group.high[1] - group.low[1] + _CELL_DM) / 2)[:, None]
        inside = inside & (abs(x - (group.low[0] + group.high[0]) / 2) < (group.high[0] - group.low[0] + _CELL_DM) / 2)
        along, over = (y[:, None], x) if group.down else (x, y[:, None])
        t, half = along - origin, _CELL_DM / 2
        reach = _REACH * max(width, widest) + half * (1 + abs(b + 2 * c * t) + abs(c) * _CELL_DM)
        inside &= abs(over - (a + (b + c * t) * t)) < reach
        inside &= (along > start - _BLUR_DM - half) & (along < end + _BLUR_DM + half)
        table |= np.where(inside, np.uint32(1 << number), np.uint32(0))
    return table.ravel()


def depths(row: Row) -> dict[str, float]:
    """How deep each group's creases are, from age and expression (0 = not there, 1 = a deep fold)."""
    grown = min(max((row["age"] - 8) / 22, 0.0), 1.0)
    found = {}
    for name, group in GROUPS.items():
        first, last, full = group.by_age
        ramp = min(max((row["age"] - first) / (last - first), 0.0), 1.0)
        moved = sum(weight * max(float(row[part]), 0.0) for part, weight in group.by_expression.items())
        moved *= 0.35 + 0.65 * grown + 0.3 * ramp  # plump young skin folds less
        found[name] = min(group.always + full * ramp + moved, _DEEPEST)
    return found


def relief(
    points: FloatArray, row: Row, phases: FloatArray, spacing: float
) -> tuple[IntArray, tuple[FloatArray, FloatArray], FloatArray]:
    """The creases at canonical `points` [P, 3] seen at a sample distance of `spacing` dm.

    `phases` [16] are the person's: they make lines waver. Returns the n samples near a crease [n], the height's slope
    there along the head's x and y axes (each [n]) and how far into a groove each lies, 0–1 [n].
    """
    creases = _creases()
    start, end, a, b, c, width, deep, origin = creases.numbers
    phase = phases[: len(GROUPS)]
    depth = np.array(list(depths(row).values()), dtype=np.float32) * (1 + np.float32(0.22) * np.sin(phase * 3))
    depth = depth.take(creases.group)
    wide = np.maximum(width, np.float32(0.7 * spacing))
    visible = np.flatnonzero(depth >= _SHALLOWEST)
    bits = np.uint32(1) << visible.astype(np.uint32)

    column = np.minimum(np.abs(points[:, 0]) * np.float32(1 / _CELL_DM), _COLUMNS - 1).astype(np.int32)
    line = np.minimum(np.maximum((points[:, 1] - np.float32(_LOWEST)) * np.float32(1 / _CELL_DM), 0), _ROWS - 1)
    reached = _cells(0.7 * 2.0 ** np.ceil(np.log2(spacing))).take(column + line.astype(np.int32) * _COLUMNS)
    near = np.flatnonzero(reached & np.bitwise_or.reduce(bits))
    near = near[points[near, 2] > _BACK_DM]
    if not len(near):
        nothing = np.zeros(0, dtype=np.float32)
        return near, (nothing, nothing), nothing
    count = len(near)
    half = np.sign(points[near, 0])
    place = np.concatenate([half * points[near, 0], points[near, 1]])  # |x| of all, then y of all
    pairs = np.flatnonzero((reached[near] & bits[:, None]) != 0)  # of a crease and a sample
    which = pairs // count
    which, where = visible[which], pairs - which * count
    on = where + creases.axis[which] * count  # the index into `place` along a crease, and across it
    beside = 2 * where + count - on
    along, over = place[on], place[beside]
    t = along - origin[which]
    bend = c[which] * t
    off = (over - (a[which] + (b[which] + bend) * t)) / wide[which]
    ends = np.minimum(along - start[which], end[which] - along)
    close = np.flatnonzero((np.abs(off) < _REACH) & (ends > -_BLUR_DM))
    which, where, on, beside = which[close], where[close], on[close], beside[close]
    off, ends, lean = off[close], ends[close], b[which] + 2 * bend[close]

    way = along[close] + np.float32(0.15) * half[where]
    shift = (2 * creases.place + phase[creases.group])[which]
    off += np.float32(0.3) * np.sin(way * 27 + shift)
    strength = (depth * deep * width / wide)[which] * np.minimum((ends + _BLUR_DM) * np.float32(1 / 0.07), 1)
    strength *= 1 + np.float32(0.35) * np.sin(way * 19 + 2 * shift)
    # a groove between two low swells: h = width · (−e^(−u²) + 0.45 e^(−u²/4.84)), u the distance in widths
    square = off * off
    groove = np.exp(-square)
    rise = 2 * strength * off * (groove - np.float32(0.093) * np.exp(square * np.float32(-1 / 4.84)))
    slopes = np.bincount(np.concatenate([beside, on]), np.concatenate([rise, -lean * rise]), 2 * count)
    inside = np.bincount(where, groove * strength, count)
    found = np.flatnonzero(inside > 0.004)
    slope_x, slope_y = (half * slopes[:count])[found].astype(np.float32), slopes[count:][found].astype(np.float32)
    return near[found], (slope_x, slope_y), np.minimum(inside[found], 1).astype(np.float32)
