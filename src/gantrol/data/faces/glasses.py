"""The glasses of a row: frames of acetate or metal, and lenses that are drawn over the finished picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gantrol.data.faces.attributes import Row
from gantrol.data.faces.camera import Camera
from gantrol.data.faces.head import FloatArray
from gantrol.data.faces.light import decode
from gantrol.data.faces.raster import Surface, rasterize
from gantrol.data.faces.scene import PARTS, Piece
from gantrol.data.faces.shot import Frame, Shot, cell_noise, smooth_step
from gantrol.data.faces.spectacles import DESIGNS, pair

# linear reflectance of frames, how glossy they are and whether they mirror in their own colour
_ACETATE = {
    "black": (0.012, 0.012, 0.013),
    "tortoise": (0.11, 0.045, 0.016),
    "navy": (0.018, 0.028, 0.075),
    "red": (0.20, 0.018, 0.022),
    "green": (0.022, 0.06, 0.04),
    "grey": (0.16, 0.165, 0.17),
}
_METAL = {
    "gold": (0.50, 0.34, 0.14),
    "silver": (0.45, 0.46, 0.48),
    "gunmetal": (0.09, 0.09, 0.10),
    "copper": (0.42, 0.21, 0.13),
}
_TORTOISE_DARK = np.array([0.012, 0.007, 0.005], dtype=np.float32)


def pieces(row: Row) -> list[Piece]:
    """The glasses of a row: a frame and its lenses, or nothing."""
    return [] if row["glasses"] == "none" else list(pair(row["glasses"]))


def frame_material(row: Row) -> tuple[str, FloatArray, bool]:
    """Name, linear reflectance [3] and whether it is metal: what the row's frame is made of."""
    rng = np.random.default_rng([row["identity"], row["scene_seed"], 5])
    metal = row["glasses"] == "thin" or (row["glasses"] in ("round", "sunglasses") and rng.random() < 0.45)
    of = _METAL if metal else _ACETATE
    odds = np.array([0.34, 0.28, 0.22, 0.16] if metal else [0.36, 0.26, 0.12, 0.10, 0.06, 0.10])
    name = list(of)[rng.choice(len(of), p=odds)]
    return name, np.array(of[name], dtype=np.float32), metal


def shade(shot: Shot, seen: Surface, normals: FloatArray, part: str) -> FloatArray:
    """Glossy acetate, plain or tortoise, or metal."""
    name, color, metal = frame_material(shot.row)
    exposed = np.minimum(shot.exposed(seen) * 1.25, 1)
    reflectance = color[:, None]
    if name == "tortoise":
        x, y, z = shot.values(seen, "glasses").T
        blotch = np.sin(19 * x + 4 * np.sin(13 * y + 2)) * np.sin(23 * (y + z) + 3 * np.sin(11 * x))
        dark = smooth_step(blotch + 0.3 * (cell_noise(x * 60, y * 60 + z * 40) - 0.5), -0.25, 0.35)
        reflectance = reflectance + (_TORTOISE_DARK - color)[:, None] * dark
    lit = (shot.light.diffuse(normals, exposed, np.float32(0.1)) + shot.light.ambient(normals, exposed)).T
    lit *= reflectance * np.float32(0.55 if metal else 1.0)
    mirror = reflectance * np.float32(1.6) if metal else np.float32(0.22)
    gloss = shot.light.highlight(normals, 40.0) * exposed[:, 0]
    lit += mirror * gloss * shot.light.key_color[:, None]
    sky = np.minimum(np.maximum(normals[:, 1], 0), 1) * exposed[:, 1]
    lit += sky * shot.light.sky_color[:, None] * (reflectance if metal else np.float32(0.05))
    return lit.T


def shade_lens(shot: Shot, seen: Surface, normals: FloatArray, part: str) -> FloatArray:
    """What the lenses mirror: the sky, and a soft streak of the key light."""
    u, v = shot.values(seen, "lens").T
    toward = shot.head_rotation.T @ shot.light.key.astype(np.float64)
    along = np.float32(0.75) * u + np.float32(0.66) * v - np.float32(np.clip(1.1 * toward[0], -0.7, 0.7))
    streak = np.exp(-((along / np.float32(0.22)) ** 2)) + 0.5 * np.exp(-(((along - 0.42) / np.float32(0.08)) ** 2))
    grazing = (1 - np.minimum(abs(normals[:, 2]), 1)) ** np.float32(3)
    upper = smooth_step(v, -0.6, 1.0)
    sky = (0.035 + 0.05 * upper + 0.35 * grazing)[:, None] * shot.light.sky_color
    mirrored: FloatArray = sky + (0.055 * streak * max(float(toward[2]), 0.15))[:, None] * shot.light.key_color
    return mirrored


def draw_lenses(shot: Shot, camera: Camera, frame: Frame) -> None:
    """Draws the lenses over the frame: what lies behind is a little darker, or a lot, and mirrored light is added."""
    if "lens" not in shot.pieces:
        return
    piece, first = shot.pieces["lens"], shot.first["lens"]
    xy, depth = camera.project(shot.vertices[shot.slice("lens")], frame.side)
    count = len(piece.triangles)
    surface = rasterize(xy, depth, piece.triangles, frame.side, two_sided=np.ones(count, dtype=np.bool_),
                        cut=np.ones(len(piece.points), dtype=np.float32))  # fmt: skip
    tint = np.float32(DESIGNS[shot.row["glasses"]].tint)
    behind = frame.part[surface.pixel] == 0
    nearer = np.flatnonzero((surface.depth < frame.depth[surface.pixel]) & ~(behind & (tint == 0)))
    if not len(nearer):
        return
    seen = replace(surface.take(nearer), corners=surface.corners[nearer] + first)
    under = frame.radiance[seen.pixel]
    open_air = frame.part[seen.pixel] == 0  # beside the cheek: a dark lens hides the backdrop
    under[open_air] = decode(np.array(shot.row["background"]))
    passed = np.full(len(nearer), 0.93, dtype=np.float32)
    if tint:
        passed = 1 - tint * (
            np.float32(1.03) - np.float32(0.14) * smooth_step(shot.values(seen, "lens")[:, 1], 0.6, -1.0)
        )
        frame.part[seen.pixel[open_air]] = 1 + PARTS.index("lens")
        frame.cover[seen.pixel[open_air]] = 1
    mirrored = shade_lens(shot, seen, shot.normals_at(seen), "lens") * np.float32(0.6 if tint else 1.0)
    frame.radiance[seen.pixel] = under * passed[:, None] + mirrored
