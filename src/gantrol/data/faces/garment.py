"""The shapes of garments: cloth laid over neck and shoulders, cut out at the neckline, with a hem, a collar or a hood.

A garment is a few patches on one form around the neck. Each patch is a profile, a list of (way down from the edge, dm
off the skin), swept around the neck, so it follows every body and pose as the skin beneath it does.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse

from gantrol.data.faces.drape import Form, Laid, Numbers, form, loft
from gantrol.data.faces.head import FloatArray, IntArray
from gantrol.data.faces.scene import PARTS, Piece, canonical, head_piece

_AXIS_Z = -0.9  # the neck's axis in canonical coordinates
_COLUMNS, _BODY_ROWS = 60, 8
CLOTH, COLLAR, HOOD, STRING = range(4)  # kinds of patch: the last of a garment's values

Profile = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One kind of garment."""

    edge: tuple[tuple[float, float], ...]
    """(|azimuth| in degrees, height in dm): the neckline, from the throat to the nape."""
    band: Profile
    """(way down from the edge, dm off the skin) of the hem, from its inside out."""
    hang: float = 0.055
    """dm that the cloth lies off the skin below the band."""
    rib: float = 0.0
    """Depth of the ribs of the band."""
    knit: float = 0.0
    """Depth of ribs all over."""
    sheen: float = 0.05
    """Light that the fibres scatter at grazing angles."""
    gloss: float = 0.0
    folds: float = 0.16


_HEM: Profile = ((0.015, -0.03), (0.0, 0.012), (0.0, 0.034), (0.014, 0.046), (0.05, 0.05), (0.1, 0.048), (0.118, 0.036))
_PLAIN: Profile = ((0.012, -0.03), (0.0, 0.012), (0.0, 0.028), (0.012, 0.036), (0.05, 0.036))
_ROLL: Profile = ((0.06, -0.03), (0.0, 0.02), (-0.03, 0.05), (-0.02, 0.085), (0.04, 0.105), (0.16, 0.11), (0.27, 0.105),
                  (0.31, 0.085), (0.30, 0.05), (0.34, 0.035))  # fmt: skip
_CREW = ((0, -1.47), (30, -1.44), (60, -1.38), (90, -1.31), (135, -1.22), (180, -1.17))

CUTS: dict[str, Cut] = {
    "crew": Cut(edge=_CREW, band=_HEM, rib=0.16),
    "v_neck": Cut(
        edge=((0, -1.95), (8, -1.86), (15, -1.79), (30, -1.67), (45, -1.58), (60, -1.5), (90, -1.38), (180, -1.22)),
        band=_HEM,
        rib=0.10,
    ),
    "scoop": Cut(
        edge=((0, -1.84), (20, -1.80), (40, -1.71), (60, -1.63), (90, -1.53), (135, -1.46), (180, -1.42)),
        band=_PLAIN,
        hang=0.045,
        gloss=0.02,
    ),
    "shirt": Cut(
        edge=((0, -1.72), (10, -1.60), (20, -1.50), (40, -1.42), (90, -1.34), (180, -1.2)),
        band=_PLAIN,
        sheen=0.02,
        gloss=0.03,
        folds=0.22,
    ),
    "turtleneck": Cut(edge=((0, -1.24), (45, -1.22), (90, -1.15), (180, -1.04)), band=_ROLL, knit=0.2, sheen=0.09),
    "hoodie": Cut(
        edge=((0, -1.56), (60, -1.45), (90, -1.36), (180, -1.2)),
        band=_HEM,
        hang=0.06,
        sheen=0.12,
        folds=0.22,
    ),
}


def azimuths(points: FloatArray) -> FloatArray:
    """Azimuths [P] of canonical points [P, 3] around the neck, in radians."""
    around: FloatArray = np.arctan2(points[:, 0], points[:, 2] - np.float32(_AXIS_Z))
    return around


def _edge_height(cut: Cut, azimuth: Numbers) -> Numbers:
    turned = np.degrees(abs((azimuth + np.pi) % (2 * np.pi) - np.pi))
    return np.interp(turned, *np.transpose(cut.edge))


def above_neckline(points: FloatArray, style: str) -> FloatArray:
    """Signed height in dm of canonical points [P, 3] on the skin above the garment's edge: [P]."""
    height: FloatArray = (points[:, 1] - _edge_height(CUTS[style], azimuths(points))).astype(np.float32)
    return height


@functools.cache
def skin_cut(style: str) -> FloatArray:
    """A `Piece.cut` for the head [V]: negative on skin that the garment surely covers, so that none pokes through."""
    points = canonical()
    height = np.where(points[:, 1] < -1.0, above_neckline(points, style) + 0.10, 1)
    return height.astype(np.float32)


@functools.cache
def _torso() -> Form:
    """The form of neck and shoulders: rays that start level at the neck, rise to the shoulders, and end level."""
    head, points = head_piece(), canonical()
    skin = head.triangles[head.part == 0]
    middle = points[skin].mean(1)
    skin = skin[(points[skin][:, :, 1].min(1) < -0.9) & ~((middle[:, 2] > -0.1) & (middle[:, 1] > -1.4))]
    columns, rings = 48, 40
    around = np.arange(columns) * (2 * np.pi / columns)
    down = np.linspace(0, 1, rings)
    top = -1.07 - 0.11 * np.cos(around)
    rise = np.radians(42) * np.sin(np.pi * down**0.9)
    origin = np.zeros((columns, rings, 3))
    origin[:, :, 1] = top[:, None] + (-2.5 - top[:, None]) * (1 - (1 - down) ** 1.6)
    origin[:, :, 2] = _AXIS_Z
    level = np.broadcast_to(np.cos(rise), (columns, rings))
    way = [level * np.sin(around)[:, None], np.broadcast_to(np.sin(rise), level.shape), level * np.cos(around)[:, None]]
    return form(origin, np.stack(way, axis=2), skin, bridge=0.09)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Patch:
    """Part of a garment: n vertices on the form."""

    laid: Laid
    points: FloatArray
    triangles: IntArray
    edge: FloatArray
    """[n] dm from the garment's edge."""
    kind: int


def _sweep(azimuth: Numbers, way: Numbers, off: Numbers, *, closed: bool, kind: int) -> _Patch:
    """A patch over a grid of columns × rows; `azimuth`, `way` from the form's top and `off` are [columns, rows]."""
    laid = _torso().lay(azimuth.ravel(), way.ravel(), off.ravel())
    edge = (way - way[:, :1]).ravel().astype(np.float32)
    return _Patch(laid=laid, points=laid.points, triangles=loft(*way.shape, closed=closed), edge=edge, kind=kind)


def _cloth(cut: Cut) -> _Patch:
    """The garment itself: its hem, then cloth over the shoulders and straight down."""
    around = np.arange(_COLUMNS) * (2 * np.pi / _COLUMNS)
    top = _torso().at_height(around, _edge_height(cut, around))
    last = _torso().at_height(around, np.full(_COLUMNS, -2.48))
    band = np.array(cut.band)
    down = np.linspace(0, 1, _BODY_ROWS + 1)[1:] ** 1.5
    rest = (last - top - band[-1, 0])[:, None] * down
    way = top[:, None] + np.concatenate(
        [np.broadcast_to(band[:, 0], (_COLUMNS, len(band))), band[-1, 0] + rest], axis=1
    )
    off = np.broadcast_to(np.concatenate([band[:, 1], cut.hang + 0.03 * down]), way.shape)
    patch = _sweep(np.broadcast_to(around[:, None], way.shape), way, off, closed=True, kind=CLOTH)
    points = patch.points.reshape(_COLUMNS, -1, 3).copy()
    points[:, -1] += (points[:, -1] - [0, 0, _AXIS_Z]) * np.array([0.4, 0, 0.4], dtype=np.float32)
    points[:, -1, 1] -= 0.9  # below the form the cloth hangs, wide enough for the arms
    edge = patch.edge.reshape(_COLUMNS, -1) - np.float32(band[1, 0] - band[0, 0])
    return replace(patch, points=points.reshape(-1, 3), edge=edge.ravel())


def _collar() -> _Patch:
    """A shirt's collar: a stand around the neck, folded over into two leaves whose tips point down in front."""
    around = np.radians(np.linspace(13, 347, 49))
    front = abs((np.degrees(around) + 180) % 360 - 180)  # 0 at the throat, 180 at the nape
    base = _torso().at_height(around, _edge_height(CUTS["shirt"], around))
    fold = _torso().at_height(around, np.interp(front, [13, 30, 60, 90, 180], [-1.44, -1.36, -1.26, -1.19, -1.07]))
    tip = np.interp(front, [13, 24, 45, 75, 180], [0.50, 0.46, 0.36, 0.31, 0.33])
    swing = np.radians(17) * np.clip((70 - front) / 57, 0, 1) ** 1.5 * np.where(np.degrees(around) < 180, 1, -1)
    # per row: share of the way from the base to the fold, dm down the leaf as a share of its length, dm off the skin
    rows = [(0, 0.0, 0.02), (0.6, 0.0, 0.045), (1, 0.0, 0.055), (1, -0.05, 0.075), (1, 0.0, 0.098), (1, 0.22, 0.115),
            (1, 0.6, 0.12), (1, 0.96, 0.105), (1, 1.0, 0.09), (1, 0.97, 0.06)]  # fmt: skip
    way = np.stack([base + (fold - base) * up + tip * down for up, down, _ in rows], axis=1)
    turned = np.stack([around + swing * max(down, 0) for _, down, _ in rows], axis=1)
    off = np.broadcast_to([off for _, _, off in rows], way.shape)
    return _sweep(turned, way, off, closed=False, kind=COLLAR)


def _hood() -> _Patch:
    """A hood that lies on the shoulders: a thick roll behind the neck that thins out towards the throat."""
    around = np.radians(np.linspace(20, 340, 33))
    front = abs((np.degrees(around) + 180) % 360 - 180)
    size = np.interp(front, [20, 45, 90, 140, 180], [0.22, 0.50, 0.85, 1.0, 1.05])[:, None]
    size = size * (1 + 0.07 * np.sin(around * 5 + 0.6))[:, None]
    top = _torso().at_height(around, _edge_height(CUTS["hoodie"], around))[:, None]
    rows = np.array([(0.05, 0.03), (-0.02, 0.06), (-0.10, 0.12), (-0.12, 0.20), (-0.05, 0.27), (0.08, 0.31),
                     (0.24, 0.29), (0.38, 0.21), (0.46, 0.11), (0.48, 0.02)])  # fmt: skip
    off = 0.02 + rows[:, 1] * size
    way = np.maximum(top + rows[:, 0] * size, 0.0)
    return _sweep(np.broadcast_to(around[:, None], way.shape), way, off, closed=False, kind=HOOD)


def _strings() -> list[_Patch]:
    """The two cords of a hood."""
    patches = []
    for side in (-1, 1):
        around = np.radians(side * np.linspace(21, 12, 9))
        top = _torso().at_height(around, _edge_height(CUTS["hoodie"], around))
        laid = _torso().lay(around, top + np.linspace(0.03, 0.75, 9), np.full(9, 0.095))
        turn = np.arange(6) * (2 * np.pi / 6)
        across = np.array([np.cos(around), np.zeros(9), -np.sin(around)]).T
        ring = 0.024 * (
            np.cos(turn)[None, :, None] * across[:, None] + np.sin(turn)[None, :, None] * laid.normals[:, None]
        )
        points = (laid.points[:, None] + ring).transpose(1, 0, 2).reshape(-1, 3).astype(np.float32)
        repeat = np.tile(np.arange(9), 6)
        spread = Laid(points=points, normals=laid.normals[repeat], follow=laid.follow[repeat], share=laid.share[repeat])
        patches.append(_Patch(laid=spread, points=points, triangles=loft(6, 9, closed=True)[:, ::-1],
                              edge=np.zeros(len(points), dtype=np.float32), kind=STRING))  # fmt: skip
    return patches


@functools.cache
def garment(style: str) -> Piece:
    """The garment of a style on the average body."""
    patches = [_cloth(CUTS[style])]
    if style == "shirt":
        patches.append(_collar())
    elif style == "hoodie":
        patches += [_hood(), *_strings()]
    first = np.cumsum([0, *(len(patch.points) for patch in patches)])
    triangles = np.concatenate([patch.triangles + start for patch, start in zip(patches, first, strict=False)])
    points = np.concatenate([patch.points for patch in patches])
    kind = np.repeat([patch.kind for patch in patches], np.diff(first))
    edge = np.concatenate([patch.edge for patch in patches])
    return Piece(
        name="clothes",
        points=points,
        triangles=triangles,
        part=np.full(len(triangles), PARTS.index("clothes")),
        share=np.concatenate([patch.laid.share for patch in patches]),
        follow=scipy.sparse.vstack([patch.laid.follow for patch in patches]).tocsr(),
        two_sided=True,
        values=np.concatenate([points, edge[:, None], kind[:, None]], axis=1).astype(np.float32),
    )
