"""The hat of a row: its piece among the scene's, what it looks like, and what it does to the hair beneath.

Hair does not know of hats: `trim` presses a piece of hair flat where the hat lies on it and leaves out what the hat
hides, and `covered` says the same of single points.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces.attributes import Row
from gantrol.data.faces.drape import Numbers
from gantrol.data.faces.hat_shapes import CENTER, CROWN, HATS, LAST_TILT, edge_height, hat_piece, skull
from gantrol.data.faces.head import FloatArray
from gantrol.data.faces.light import decode
from gantrol.data.faces.raster import Surface
from gantrol.data.faces.scene import Piece
from gantrol.data.faces.shot import Shot, cell_noise, smooth_step

_PRESSED = 0.035  # dm that hair under a hat stands off the skull


def pieces(row: Row) -> list[Piece]:
    """The hat of a row, or nothing."""
    return [] if row["hat"] == "none" else [hat_piece(row["hat"])]


def hat_edge(row: Row) -> Callable[[FloatArray], FloatArray] | None:
    """From canonical points [P, 3] to their height in dm above the edge of the row's hat; None without hat."""
    return None if row["hat"] == "none" else functools.partial(_above, row["hat"])


def _above(name: str, points: Numbers) -> FloatArray:
    azimuth = np.arctan2(points[:, 0], points[:, 2] - CENTER[2])
    height: FloatArray = (points[:, 1] - edge_height(HATS[name], azimuth)).astype(np.float32)
    return height


def covered(points: FloatArray, row: Row) -> NDArray[np.bool_]:
    """Which canonical points [P, 3] of the hair the row's hat hides."""
    if row["hat"] == "none":
        return np.zeros(len(points), dtype=np.bool_)
    above, end = _above(row["hat"], points), HATS[row["hat"]].open_at
    hidden: NDArray[np.bool_] = (above > 0.0) & (above < (np.inf if end is None else end - 0.03))
    return hidden


def trim(piece: Piece, row: Row) -> Piece:
    """A piece of hair under the row's hat: pressed flat where the hat lies, and left out where it would not be seen."""
    return piece if row["hat"] == "none" else _trimmed(piece, row["hat"])


@functools.lru_cache(maxsize=128)
def _trimmed(piece: Piece, name: str) -> Piece:
    out = piece.points.astype(np.float64) - CENTER
    distance = np.maximum(np.sqrt((out**2).sum(1)), 1e-6)
    surface = skull_distance(out / distance[:, None])
    beneath = CENTER + out * (np.minimum(distance, surface + _PRESSED) / distance)[:, None]
    above, end = _above(name, beneath), HATS[name].open_at
    from_hat = np.maximum(-above, 0 if end is None else above - end)  # dm to where the hat lies, negative under it
    from_hat = np.maximum(from_hat, -2 * (_above(name, piece.points) + 0.35))  # hair that hangs free keeps its shape
    # below the edge hair swells again
    pressed = np.minimum(distance, surface + _PRESSED + 0.9 * np.maximum(from_hat, 0))
    points = (CENTER + out * (pressed / distance)[:, None]).astype(np.float32)
    cut = np.ones(len(points), dtype=np.float32) if piece.cut is None else piece.cut
    if end is None:
        cut = np.minimum(cut, 0.16 - above).astype(np.float32)
    return replace(piece, points=points, cut=cut)


def skull_distance(way: Numbers) -> Numbers:
    """How far the skull's form lies from its middle in directions [n, 3]: [n]; far below the skull, infinity."""
    form = skull()
    radius = np.sqrt(((form.points - CENTER) ** 2).sum(2))  # [C, R]
    columns, rings = radius.shape
    column = (np.arctan2(way[:, 0], way[:, 2]) / (2 * np.pi) * columns) % columns
    tilt = np.arccos(np.clip(way[:, 1], -1, 1))
    ring = np.clip((tilt - 0.01) / (LAST_TILT - 0.01) * (rings - 1), 0, rings - 1.001)
    c, r = np.floor(column).astype(np.int64) % columns, np.floor(ring).astype(np.int64)
    fc, fr = column - np.floor(column), ring - r
    d = (c + 1) % columns
    found = (radius[c, r] * (1 - fr) + radius[c, r + 1] * fr) * (1 - fc) + (
        radius[d, r] * (1 - fr) + radius[d, r + 1] * fr
    ) * fc
    return np.where(tilt > LAST_TILT, np.inf, found)


def hat_color(row: Row) -> FloatArray:
    """Linear reflectance [3] of the hat: the garment's colour, toned."""
    rng = np.random.default_rng([row["scene_seed"], 4])
    color = np.clip(decode(np.array(row["clothes"])), 0.015, 0.7)
    grey = np.full(3, color.mean(), dtype=np.float32)
    toned = (color + (grey - color) * np.float32(rng.uniform(0, 0.5))) * np.float32(rng.uniform(0.45, 1.1))
    return np.clip(toned, 0.012, 0.6).astype(np.float32)


def _seam(distance: FloatArray, spacing: float) -> FloatArray:
    """Darkening [P] at a seam `distance` dm away."""
    wide = max(0.007, 0.8 * spacing)
    line: FloatArray = np.exp(-((distance / np.float32(wide)) ** 2)) * np.float32(0.007 / wide)
    return line


def _cloth(shot: Shot, values: FloatArray) -> FloatArray:
    """The reflectance [P, 3] of the hat."""
    name, color = shot.row["hat"], hat_color(shot.row)
    x, y, z, up, kind = values.T
    azimuth = np.arctan2(x, z - np.float32(CENTER[2]))
    bright = np.ones(len(x), dtype=np.float32)
    grain = cell_noise(x * 80 + z * 31, y * 80 + z * 17) - np.float32(0.5)
    bright += np.float32(0.12 * np.clip(0.012 / shot.spacing - 1, 0, 1)) * grain
    if name == "beanie":
        visible = np.float32(np.clip(0.035 / shot.spacing - 1, 0, 1))
        ribs = np.sin(azimuth * 66) * smooth_step(up, 1.5, 0.7)
        rows = np.sin(up * 190 + 2 * np.cos(azimuth * 66)) * np.float32(0.4 * np.clip(0.014 / shot.spacing - 1, 0, 1))
        bright += visible * np.float32(0.20) * (ribs + rows) - 0.45 * _seam(up - np.float32(0.315), shot.spacing * 2)
    elif name == "cap":
        crown = np.flatnonzero(kind < CROWN + 0.5)
        turn = azimuth[crown] * np.float32(3 / np.pi)
        across = np.hypot(x[crown], z[crown] - np.float32(CENTER[2])) * np.float32(np.pi / 3)
        shadow = np.exp(np.maximum(up[crown], 0) * np.float32(-20)) * (abs(turn) < 1.1)  # of the peak, on what it joins
        seams = 0.5 * _seam(abs(turn - np.round(turn)) * across, shot.spacing)
        bright[crown] -= seams + 0.35 * _seam(up[crown] - np.float32(0.07), shot.spacing) + 0.3 * shadow
        peak = np.flatnonzero(kind > CROWN + 0.5)
        reach = np.clip(-up[peak], 0, 1)  # 0 where it is sewn on, 1 at its edge
        rows = abs((reach * np.float32(6)) % 1 - 0.5) * np.float32(0.11)
        bright[peak] -= 0.22 * _seam(rows, shot.spacing) + 0.4 * np.exp(reach * np.float32(-10)) + np.float32(0.12)
        bright[peak] -= 0.45 * _seam((reach - 1) * np.float32(0.6), shot.spacing)
        if shot.row["scene_seed"] % 3 == 0:  # two-tone
            bright[peak] *= np.float32(0.35)
    elif name == "brim":
        ribbon = (kind < CROWN + 0.5) & (up < 0.135)
        color = np.where(ribbon[:, None], color * np.float32(0.22) + np.float32(0.006), color)
        bright -= 0.25 * _seam(up + np.float32(0.41), shot.spacing)
    else:
        bright += 0.05 * np.sin(up * 120) * np.float32(np.clip(0.02 / shot.spacing - 1, 0, 1))
    cloth: FloatArray = color * np.maximum(bright, 0.08)[:, None]
    return cloth


def shade(shot: Shot, seen: Surface, normals: FloatArray, part: str) -> FloatArray:
    """Wool, cotton or felt; the hat's inside is darker."""
    inside = normals[:, 2] < -0.25
    facing = np.where(inside[:, None], -normals, normals)
    exposed = shot.exposed(seen)
    lit = _cloth(shot, shot.values(seen, "hat")) * (
        shot.light.diffuse(facing, exposed, np.float32(0.25)) + shot.light.ambient(facing, exposed)
    )
    fuzz = np.float32(0.10 if shot.row["hat"] in ("beanie", "headband") else 0.05)
    grazing = 1 - abs(facing[:, 2])
    lit += (fuzz * grazing * grazing * grazing * exposed[:, 1])[:, None] * shot.light.sky_color
    shaded: FloatArray = lit * np.where(inside, np.float32(0.55), np.float32(1))[:, None]
    return shaded
