"""Hair of a row: its sheet among the scene's pieces, its colour, painted roots, shading and single strands."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from gantrol.data.faces import hair_strands, hats
from gantrol.data.faces.attributes import Row
from gantrol.data.faces.camera import Camera
from gantrol.data.faces.hair_cuts import CUTS
from gantrol.data.faces.hair_sheet import SKULL_CENTER, above_hairline, azimuths, sheet
from gantrol.data.faces.head import FloatArray
from gantrol.data.faces.light import decode
from gantrol.data.faces.pose import head_share
from gantrol.data.faces.raster import Surface
from gantrol.data.faces.scene import PARTS, Piece
from gantrol.data.faces.shot import Frame, Shot, mix, smooth_step, strand_noise
from gantrol.data.faces.strands import Strands, draw, glow, strand_colors, unit

WHITE = np.array([0.44, 0.43, 0.41], dtype=np.float32)  # 0.69 on the display: white hair is not paper


def hairline(points: FloatArray) -> FloatArray:
    """Signed height in dm of canonical points [N, 3] above the natural hairline: [N]."""
    return above_hairline(points).astype(np.float32)


def pigment(row: Row) -> FloatArray:
    """Linear reflectance [3] of the hairs that are not white."""
    return _pigment(*row["hair_color"])


@functools.lru_cache(maxsize=64)
def _pigment(*shown: float) -> FloatArray:
    color: FloatArray = (decode(np.array(shown)) * 0.9 + 0.006).astype(np.float32)
    color.flags.writeable = False
    return color


def hair_color(row: Row) -> FloatArray:
    """Linear reflectance [3] of the row's hair, its white hairs mixed in."""
    color = pigment(row)
    return color + (WHITE - color) * np.float32(row["grey"])


@functools.cache
def _piece(name: str) -> Piece | None:
    made = sheet(name)
    if made is None:
        return None
    return Piece(
        name="hair",
        points=made.points,
        triangles=made.triangles,
        part=np.full(len(made.triangles), PARTS.index("hair")),
        share=np.clip(head_share(made.points), 0.75, 1).astype(np.float32),
        follow=made.follow,
        cut=made.cut,
        two_sided=True,
        values=np.stack([made.strand, made.along, made.tips, *made.points.T], axis=1),
    )


def pieces(row: Row) -> list[Piece]:
    """The hair of a row; nothing for the bald."""
    piece = _piece(row["hair_style"])
    return [] if piece is None else [hats.trim(piece, row)]


def paint_scalp(color: FloatArray, points: FloatArray, masks: dict[str, FloatArray], shot: Shot) -> FloatArray:
    """Paints roots, and the shade of the hair, over skin reflectance `color` [P, 3] at canonical `points` [P, 3]."""
    name = shot.row["hair_style"]
    if name == "bald":
        return color
    cut = CUTS[name]
    fringe = bool(cut.ends) and not cut.gate
    _, y, z = points.T
    near = np.flatnonzero(((y > 0.17) | (z < -0.1)) & (y > -0.8) & (z < 0.4))  # the others lie well below the hairline
    usual = above_hairline(points.take(near, axis=0))
    close = np.flatnonzero(usual > (-0.3 if fringe else -0.16))
    near = near.take(close)
    at = points.take(near, axis=0)
    above: FloatArray = (above_hairline(at, cut.bald) if cut.bald else usual.take(close)).astype(np.float32)
    turn = np.arctan2(at[:, 0], at[:, 2] - np.float32(SKULL_CENTER[2]))
    grain = strand_noise(turn * 26, above, shot.spacing * 26)  # as irregular as tufts of roots
    cover = smooth_step(above + np.float32(0.035) * grain, -0.05, 0.22 if cut.bald else 0.08) * (
        1 - masks["ears"][near]
    )
    roots = hair_color(shot.row) * 0.7 + shot.look.skin * 0.06
    painted = mix(color.take(near, axis=0), roots, cover * np.float32(0.70 if cut.bristles else 0.92))
    if fringe:  # the hair's own shade on the forehead
        below = at[:, 1] - np.interp(azimuths(at), *np.transpose(cut.ends)).astype(np.float32)
        painted *= (
            1 - np.float32(0.35) * (smooth_step(below, -0.14, 0.02) * (at[:, 2] > -0.4) * (at[:, 1] > -0.2))[:, None]
        )
    elif not cut.bristles:  # hair shades the skin that it hangs over
        painted *= 1 - 0.25 * (smooth_step(above, -0.16, 0.0) * (above < 0.02))[:, None]
    color[near] = painted
    return color


def _inside(name: str) -> float:
    """How bright the inner side of the hair is: dark under long hair; between curls one sees more hair."""
    cut = CUTS[name]
    return 1.0 if cut.curl[0] else 0.36 if cut.hangs else 0.65


def shade(shot: Shot, seen: Surface, normals: FloatArray, part: str) -> FloatArray:
    """The sheet: what one sees between the single strands, darker than they and with fine streaks along the flow."""
    name = shot.row["hair_style"]
    made, cut = sheet(name), CUTS[name]
    assert made is not None
    vertices, piece = shot.vertices[shot.slice("hair")], shot.pieces["hair"]
    ways = vertices.take(made.after, axis=0) - vertices.take(made.before, axis=0)
    mixed = seen.interpolate(np.concatenate([ways, piece.values], axis=1), first=shot.first["hair"])
    at = np.ascontiguousarray(mixed.T)
    tangents, (strand, along, _, x, y, z) = unit(at[:3]), at[3:]
    away = normals[:, 2] < 0  # the inner side of the sheet
    facing = np.ascontiguousarray(normals.T)
    facing = np.where(away, -facing, facing)
    bright = 0.80 + 0.36 * strand_noise(strand * 260, along, shot.spacing * 52)
    color = hair_color(shot.row)[:, None] * np.maximum(bright, 0.25)
    if cut.curl[0]:  # tufts
        tufts = (
            np.sin(x * 23 + 2 * np.sin(y * 17))
            * np.sin(y * 21 + 2 * np.sin(z * 19))
            * np.sin(z * 25 + 2 * np.sin(x * 15))
        )
        color *= 1 + np.float32(0.32) * tufts
    if cut.parted:  # the scalp shows through, along an uneven line
        uneven = np.float32(0.010) * np.sin(strand * 260) * np.sin(strand * 97 + 1)
        scalp = shot.look.skin[:, None] * np.float32(0.42)
        color = scalp + (color - scalp) * smooth_step(along + uneven, 0.0, 0.026)
    exposed = np.ascontiguousarray(shot.exposed(seen).T)
    shaded = glow(color, tangents, facing, exposed, shot.light, 0.6)
    shaded *= np.where(away, np.float32(_inside(name)), np.float32(1.0))
    return shaded.T


@functools.lru_cache(maxsize=32)
def _strands(name: str, hat: str, side: int) -> Strands:
    """The strands of a cut as far as the hat leaves them free."""
    grown, piece = hair_strands.strands(name, side), _piece(name)
    if hat == "none" or piece is None:
        return grown
    hidden = hats.covered(grown.bind @ piece.points[grown.vertices], {"hat": hat})
    return replace(grown, cover=np.where(hidden, np.float32(0), grown.cover))


def draw_strands(shot: Shot, camera: Camera, frame: Frame) -> None:
    """Draws single strands over the rendered frame, behind whatever is nearer."""
    row, name = shot.row, shot.row["hair_style"]
    if "hair" not in shot.pieces:
        return
    grown = _strands(name, row["hat"], frame.side)
    colors = strand_colors(pigment(row), WHITE, row["grey"], grown, frame.side)
    draw(shot, camera, frame, grown, piece="hair", part="hair", colors=colors, shine=1.0, inside=_inside(name))
