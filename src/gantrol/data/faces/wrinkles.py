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

    @functools.cached_property
    def columns(self) -> FloatArray:
        """The creases' numbers [7, k, 1]."""
        return np.array(self.creases, dtype=np.float32).T[:, :, None]


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


@functools.cache
def _cells() -> NDArray[np.uint16]:
    """Which groups reach into each cell of a grid over (|x|, y), one bit each: spares samples most comparisons."""
    x, y = np.arange(_COLUMNS) * _CELL_DM, np.arange(_ROWS) * _CELL_DM - 1.8
    table = np.zeros((_ROWS, _COLUMNS), dtype=np.uint16)
    for number, group in enumerate(GROUPS.values()):
        columns = (x > group.low[0] - _CELL_DM) & (x < group.high[0])
        rows = (y > group.low[1] - _CELL_DM) & (y < group.high[1])
        table |= np.where(rows[:, None] & columns, np.uint16(1 << number), np.uint16(0))
    return table.ravel()


def depths(row: Row) -> dict[str, float]:
    """How deep each group's creases are, from age and expression (0 = not there, 1 = a deep fold)."""
    grown = float(np.clip((row["age"] - 8) / 22, 0, 1))
    found = {}
    for name, group in GROUPS.items():
        first, last, full = group.by_age
        ramp = float(np.clip((row["age"] - first) / (last - first), 0, 1))
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
    across = np.abs(points[:, 0])
    front = np.flatnonzero((points[:, 2] > _BACK_DM) & (across < 0.7) & (points[:, 1] > -1.8) & (points[:, 1] < 0.8))
    across, up = across[front], points[front, 1]
    column, line = (
        (across * np.float32(1 / _CELL_DM)).astype(np.int32),
        ((up + 1.8) * np.float32(1 / _CELL_DM)).astype(np.int32),
    )
    groups_at = _cells().take(column + line * _COLUMNS)
    parts = []
    for number, (name, depth) in enumerate(depths(row).items()):
        group, phase = GROUPS[name], phases[number % len(phases)]
        depth *= 1 + 0.22 * float(np.sin(phase * 3))  # people differ
        if depth < _SHALLOWEST:
            continue
        near = np.flatnonzero(groups_at & np.uint16(1 << number))
        if not len(near):
            continue
        along, over = (up[near], across[near]) if group.down else (across[near], up[near])
        start, end, a, b, c, width, deep = group.columns  # [k, 1] each
        wide = np.maximum(width, np.float32(0.7 * spacing))
        t = along - (start if group.down else np.maximum(start, 0))
        off = (over - (a + (b + c * t) * t)) / wide  # [k, n]
        close = np.flatnonzero((np.abs(off) < 3.6) & (along > start - _BLUR_DM) & (along < end + _BLUR_DM))
        k, n = np.divmod(close, len(near))
        ends = np.minimum(along[n] - start[k, 0], end[k, 0] - along[n])
        strength = (np.float32(depth) * deep * width / wide)[k, 0]
        lean = (b + 2 * c * t).ravel()[close]
        parts.append((near[n], off.ravel()[close], ends, strength, lean, k * 2 + phase, np.full(len(n), group.down)))
    if not parts:
        nothing = np.zeros(0, dtype=np.float32)
        return np.zeros(0, dtype=np.int64), (nothing, nothing), nothing
    where, off, ends, strength, lean, shift, down = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    half = np.sign(points[front, 0])[where]
    way = np.where(down, up[where], across[where]) + np.float32(0.15) * half
    off += np.float32(0.3) * np.sin(way * 27 + shift)
    strength *= np.minimum((np.maximum(ends, -_BLUR_DM) + _BLUR_DM) * np.float32(1 / 0.07), 1)
    strength *= 1 + np.float32(0.35) * np.sin(way * 19 + 2 * shift)
    # a groove between two low swells: h = width · (−e^(−u²) + 0.45 e^(−u²/4.84)), u the distance in widths
    square = off * off
    groove = np.exp(-square)
    rise = 2 * strength * off * (groove - np.float32(0.093) * np.exp(square * np.float32(-1 / 4.84)))
    lean = -lean * rise
    count = len(front)
    slope_x = np.bincount(where, half * np.where(down, rise, lean), count)
    slope_y = np.bincount(where, np.where(down, lean, rise), count)
    inside = np.bincount(where, groove * strength, count)
    found = np.flatnonzero(inside > 0.004)
    slopes = slope_x[found].astype(np.float32), slope_y[found].astype(np.float32)
    return front[found], slopes, np.minimum(inside[found], 1).astype(np.float32)
