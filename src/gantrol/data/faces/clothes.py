"""The garment of a row: its piece among the scene's, and what its cloth looks like: ribs, seams, folds and sheen."""

from __future__ import annotations

import numpy as np

from gantrol.data.faces.attributes import Row
from gantrol.data.faces.garment import CLOTH, COLLAR, CUTS, STRING, above_neckline, azimuths, garment, skin_cut
from gantrol.data.faces.head import FloatArray
from gantrol.data.faces.light import decode
from gantrol.data.faces.raster import Surface
from gantrol.data.faces.scene import Piece, unit
from gantrol.data.faces.shot import Shot, cell_noise, smooth_step

__all__ = ["above_neckline", "pieces", "shade", "skin_cut"]


def pieces(row: Row) -> list[Piece]:
    """The garment of a row."""
    return [garment(row["clothes_style"])]


def _crisp(width: float, spacing: float) -> np.float32:
    """How much of a detail of `width` dm shows when samples lie `spacing` dm apart: 0–1."""
    return np.float32(min(max(width / max(spacing, 1e-6) - 1, 0.0), 1.0))


def _folds(points: FloatArray, phase: FloatArray) -> FloatArray:
    """The slope [3, P] of soft folds that hang from the shoulders."""
    x, y, z = points.T
    bend = np.sin(1.7 * y + 1.1 * x + phase[0])
    first = 5.6 * x + 2.6 * y + 1.4 * bend + phase[1]
    second = 3.1 * z - 4.3 * y + 1.9 * x - 1.1 * bend + phase[2]
    a, b = np.cos(first) * np.float32(0.6), np.cos(second) * np.float32(0.5)
    return np.array([a + 0.3 * b, 0.35 * a - 0.7 * b, 0.4 * b])


def _stitch(distance: FloatArray, spacing: float) -> FloatArray:
    """Darkening [P] at a seam `distance` dm away."""
    wide = max(0.008, 0.8 * spacing)
    line: FloatArray = np.exp(-((distance / np.float32(wide)) ** 2)) * np.float32(0.008 / wide)
    return line


def _weave(shot: Shot, points: FloatArray, edge: FloatArray, kind: FloatArray) -> FloatArray:
    """The reflectance [3, P] of cloth: ribs, seams, placket, buttons and a fine grain."""
    cut, style = CUTS[shot.row["clothes_style"]], shot.row["clothes_style"]
    base = np.minimum(np.maximum(decode(np.array(shot.row["clothes"])), 0.012), 0.85)
    bright = np.ones(len(points), dtype=np.float32)
    end = cut.band[-1][0]
    cloth = kind < CLOTH + 0.5
    if cut.rib or cut.knit:
        rib, band = np.sin(azimuths(points) * 84), edge < end
        if cut.rib:
            bright += cloth * band * (cut.rib * _crisp(0.02, shot.spacing) * rib - np.float32(0.05))
        if cut.knit:  # the collar's ribs run up the neck, the body's straight down
            all_over = np.float32(cut.knit * _crisp(0.03, shot.spacing))
            bright += all_over * np.where(band, rib, 0.7 * np.sin(points[:, 0] * 110))
    if style != "turtleneck":
        bright -= 0.55 * _stitch(edge - np.float32(end), shot.spacing) * cloth
    if style == "shirt":
        placket = cloth & (points[:, 2] > -0.9)
        bright -= 0.5 * placket * _stitch(points[:, 0] - np.float32(0.10), shot.spacing)
        bright -= 0.18 * placket * _stitch(points[:, 0] + np.float32(0.08), shot.spacing)
        rows = points[:, 1] + np.float32(1.84)
        button = np.hypot(points[:, 0], rows - np.round(rows / np.float32(0.36)) * np.float32(0.36))
        near = np.flatnonzero((button < 0.05) & placket & (points[:, 1] < -1.75))
        button = button[near]
        bright[near] += smooth_step(button, 0.05, 0.04) * (0.25 - 0.9 * smooth_step(button, 0.012, 0.006))
        bright += 0.04 * (abs(kind - COLLAR) < 0.5)
    fine = np.float32(0.10) * _crisp(0.011, shot.spacing)
    if fine:
        bright += fine * (cell_noise(points[:, 0] * 90 + points[:, 2] * 30, points[:, 1] * 90) - np.float32(0.5))
    color: FloatArray = base[:, None] * np.maximum(bright, 0.1)
    string = np.flatnonzero(kind > STRING - 0.5)
    if len(string):
        color[:, string] = np.float32(0.75) if base.mean() < 0.4 else base[:, None] * np.float32(0.4)
    return color


def shade(shot: Shot, seen: Surface, normals: FloatArray, part: str) -> FloatArray:
    """Matte cloth in soft folds."""
    cut = CUTS[shot.row["clothes_style"]]
    values = np.asfortranarray(shot.values(seen, "clothes"))
    points, edge, kind = values[:, :3], values[:, 3], values[:, 4]
    inside = normals[:, 2] < -0.25  # a silhouette's normals may point away a little
    side = np.where(inside, np.float32(-1), np.float32(1))
    phase = np.random.default_rng([shot.row["scene_seed"], 3]).uniform(0, 2 * np.pi, 3).astype(np.float32)
    depth = np.float32(cut.folds) * smooth_step(edge, cut.band[-1][0], cut.band[-1][0] + 0.4)
    depth = np.where(kind > CLOTH + 0.5, np.float32(0.10), depth)
    facing = unit((normals.T * side - _folds(points, phase) * depth).T)
    exposed = shot.exposed(seen)
    lit = (shot.light.diffuse(facing, exposed, np.float32(0.2)) + shot.light.ambient(facing, exposed)).T
    lit *= _weave(shot, points, edge, kind)
    grazing = 1 - abs(facing[:, 2])
    grazing = grazing * grazing * grazing * exposed[:, 1] * np.float32(cut.sheen)
    sheen = shot.light.sky_color + np.float32(0.3) * decode(np.array(shot.row["clothes"]))
    lit += grazing * sheen[:, None]
    if cut.gloss:
        gloss = shot.light.highlight(facing, 14.0) * exposed[:, 0] * np.float32(cut.gloss)
        lit += gloss * shot.light.key_color[:, None]
    lit *= np.where(inside, np.float32(0.5), np.float32(1))
    return lit.T
