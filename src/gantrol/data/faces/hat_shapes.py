"""The shapes of hats: beanie, cap, brimmed hat and headband, laid out on the skull, whose people they follow (`drape`).

Heights are measured from the hat's lower edge, which is a height per azimuth around the skull's middle.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse

from gantrol.data.faces.drape import Form, Laid, Numbers, form, loft
from gantrol.data.faces.head import IntArray
from gantrol.data.faces.scene import PARTS, Piece, canonical, head_piece

CENTER = np.array([0.0, 0.12, -0.68])  # of the skull
_COLUMNS = 48
_RINGS, LAST_TILT = 48, np.radians(128)
CROWN, VISOR, BAND = range(3)  # kinds of patch: the last of a hat's values


@dataclass(frozen=True, kw_only=True)
class Hat:
    """One kind of hat."""

    edge: tuple[tuple[float, float], ...]
    """(|azimuth| in degrees, height in dm): its lower edge."""
    open_at: float | None = None
    """dm above the edge where it ends and leaves the hair free; None covers the whole top."""


HATS: dict[str, Hat] = {
    "beanie": Hat(edge=((0, 0.43), (40, 0.36), (75, 0.14), (95, 0.05), (130, -0.20), (180, -0.34))),
    "cap": Hat(edge=((0, 0.50), (40, 0.44), (75, 0.27), (105, 0.13), (140, -0.02), (180, -0.10))),
    "brim": Hat(edge=((0, 0.50), (45, 0.46), (90, 0.32), (135, 0.18), (180, 0.10))),
    "headband": Hat(edge=((0, 0.50), (40, 0.43), (75, 0.20), (95, 0.08), (130, -0.20), (180, -0.36)), open_at=0.25),
}


@functools.cache
def skull() -> Form:
    """The form of the skull without ears: rays from its middle, from straight up to below the nape."""
    head, points = head_piece(), canonical()
    skin = head.triangles[head.part == 0]
    ear = head.values[:, 5] > 0.1
    middle = points[skin].mean(1)
    inside = head.values[:, 6] > 0.1
    nose = (abs(middle[:, 0]) < 0.3) & (middle[:, 1] < 0.15) & (middle[:, 2] > -0.2)
    skin = skin[~ear[skin].any(1) & ~inside[skin].any(1) & ~nose & (middle[:, 1] > -1.0)]
    columns = 48
    around = np.arange(columns) * (2 * np.pi / columns)
    tilt = np.linspace(0.01, LAST_TILT, _RINGS)
    level = np.sin(tilt)[None]
    up = np.broadcast_to(np.cos(tilt), (columns, _RINGS))
    way = np.stack([level * np.sin(around)[:, None], up, level * np.cos(around)[:, None]], axis=2)
    return form(np.broadcast_to(CENTER, way.shape), way, skin, bridge=0.03)


def edge_height(hat: Hat, azimuth: Numbers) -> Numbers:
    turned = np.degrees(abs((azimuth + np.pi) % (2 * np.pi) - np.pi))
    return np.interp(turned, *np.transpose(hat.edge))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Patch:
    """Part of a hat: n vertices on the skull's form."""

    laid: Laid
    points: Numbers
    triangles: IntArray
    up: Numbers
    """[n] dm above the hat's edge, along the surface."""
    kind: Numbers


def _around() -> Numbers:
    return np.arange(_COLUMNS) * (2 * np.pi / _COLUMNS)


def _at_edge(name: str, azimuth: Numbers) -> Numbers:
    """The way down the skull's form [n] to the hat's edge at azimuths [n]."""
    return skull().at_height(azimuth, edge_height(HATS[name], azimuth))


def _crown(
    name: str, hem: tuple[tuple[float, float], ...], rows: int, off: Callable[[Numbers, Numbers], Numbers]
) -> _Patch:
    """The hat's body, from its `hem` (dm up from the edge, dm off the skull; from the inside out) over the top.

    `off` gives how far it lies off the skull at (share of the way from the hem to the top, azimuth).
    """
    around = _around()
    edge = _at_edge(name, around)[:, None]
    rise = np.array(hem)
    share = np.linspace(0, 1, rows + 1)[1:]
    above = rise[-1, 0] + (edge - rise[-1, 0] - 0.012) * share
    up = np.concatenate([np.broadcast_to(rise[:, 0], (_COLUMNS, len(rise))), above], axis=1)
    lift = np.concatenate(
        [np.broadcast_to(rise[:, 1], (_COLUMNS, len(rise))), off(share[None], around[:, None])], axis=1
    )
    return _patch(around, edge - up, lift, up, closed=True)


def _patch(azimuth: Numbers, way: Numbers, off: Numbers, up: Numbers, *, closed: bool, kind: int = CROWN) -> _Patch:
    """A patch over columns at `azimuth` [c] and rows that run upwards: `way`, `off`, `up` are [c, r]."""
    laid = skull().lay(np.repeat(azimuth, way.shape[1]), way.ravel(), off.ravel())
    triangles = loft(*way.shape, closed=closed)[:, ::-1]
    return _Patch(
        laid=laid, points=laid.points, triangles=triangles, up=up.ravel(), kind=np.full(way.size, float(kind))
    )


def _beanie() -> list[_Patch]:
    hem = (
        (0.05, 0.01),
        (0.0, 0.05),
        (-0.012, 0.085),
        (0.015, 0.12),
        (0.10, 0.128),
        (0.22, 0.128),
        (0.30, 0.115),
        (0.315, 0.08),
    )

    def off(share: Numbers, azimuth: Numbers) -> Numbers:  # slack at the top
        slack: Numbers = 0.075 + 0.14 * share**2.5 + 0.012 * np.sin(5 * azimuth + 3 * share)
        return slack

    return [_crown("beanie", hem, 11, off)]


def _cap() -> list[_Patch]:
    hem = ((0.03, 0.01), (0.0, 0.045), (0.012, 0.065), (0.06, 0.07))

    def off(share: Numbers, azimuth: Numbers) -> Numbers:
        front = np.clip(np.cos(azimuth), 0, 1) ** 1.5  # stiff panels stand up in front
        bulge = np.sin(np.pi * np.clip(share, 0, 1))
        stiff: Numbers = 0.075 + 0.03 * bulge + 0.10 * front * bulge**1.2 + 0.02 * share
        return stiff

    return [_crown("cap", hem, 12, off), _visor()]


def _visor() -> _Patch:
    """The peak of a cap: upper side, rim and lower side."""
    around = np.radians(np.linspace(-66, 66, 25))
    root = skull().lay(around, _at_edge("cap", around) - 0.01, np.full(25, 0.06))
    length = 0.66 * np.clip(np.cos(around * (np.pi / 2) / np.radians(67)), 0, 1) ** 0.55
    reach = np.array([0, 0.2, 0.45, 0.7, 0.9, 1.0, 1.012, 1.0, 0.7, 0.3, 0])
    under = np.array([0, 0, 0, 0, 0, 0, 0.012, 0.024, 0.024, 0.024, 0.02])
    out = length[:, None] * reach
    bend = 0.30 * root.points[:, :1] ** 2 * np.minimum(reach, 1)
    step = np.stack([0.10 * np.sin(around)[:, None] * out, -0.34 * out - bend - under, 0.95 * out], axis=2)
    points = root.points[:, None] + step
    repeat = np.repeat(np.arange(25), len(reach))
    laid = Laid(
        points=root.points[repeat], normals=root.normals[repeat], follow=root.follow[repeat], share=root.share[repeat]
    )
    triangles = loft(25, len(reach), closed=False)
    up = np.broadcast_to(-reach, (25, len(reach))).ravel()
    return _Patch(
        laid=laid, points=points.reshape(-1, 3), triangles=triangles, up=up, kind=np.full(len(repeat), float(VISOR))
    )


def _brim() -> list[_Patch]:
    """A felt hat: its crown is blocked, not draped, with a crease on top; then the brim all around."""
    around = _around()
    edge = _at_edge("brim", around)
    base = skull().lay(around, edge, np.full(_COLUMNS, 0.06))
    # (share of the base ring's width, share of the way up)
    rows = [(0.985, -0.03), (1.0, 0.0), (0.99, 0.14), (0.975, 0.28), (0.95, 0.45), (0.915, 0.64), (0.87, 0.82),
            (0.80, 0.94), (0.70, 1.0), (0.56, 1.01), (0.38, 1.0), (0.2, 0.99), (0.02, 0.985)]  # fmt: skip
    middle = base.points.mean(0)
    width, share = np.array(rows).T
    points = middle + (base.points[:, None] - middle) * np.stack([width, np.ones_like(width), width], axis=1)
    points[:, :, 1] = base.points[:, None, 1] * (1 - share) + share * (1.21 + 0.05 * np.cos(around)[:, None] * width)
    high = np.clip(share - 0.3, 0, 1)
    points[:, :, 1] -= 0.16 * high**2 * np.exp(-((points[:, :, 0] / 0.15) ** 2))  # the crease
    pinch = np.exp(-(((abs(np.degrees((around + np.pi) % (2 * np.pi) - np.pi)) - 32) / 16) ** 2))[:, None]
    points[:, :, [0, 2]] -= (points[:, :, [0, 2]] - middle[[0, 2]]) * (0.13 * pinch * np.clip(share, 0, 1) ** 1.5)[
        :, :, None
    ]
    up = np.broadcast_to(share * 0.75, points.shape[:2])
    crown = _of_base(base, points, up, CROWN)
    reach = np.array([0, 0.12, 0.26, 0.37, 0.43, 0.437, 0.43, 0.22, -0.02])
    under = np.array([0, 0, 0, 0, 0, 0.01, 0.02, 0.02, 0.02])
    away = np.stack([np.sin(around), np.zeros(_COLUMNS), np.cos(around)], axis=1)[:, None] * reach[:, None]
    curl = (
        0.11 * abs(np.sin(around)) ** 3
        + 0.07 * np.clip(-np.cos(around), 0, 1) ** 2
        - 0.07 * np.clip(np.cos(around), 0, 1)
    )
    away[:, :, 1] = curl[:, None] * (np.clip(reach, 0, 1) / 0.43) ** 1.7 - under
    brim = _of_base(
        base, base.points[:, None] + away, np.broadcast_to(-np.clip(reach, 0.001, 1), away.shape[:2]), VISOR
    )
    return [crown, replace(brim, triangles=brim.triangles[:, ::-1])]


def _of_base(base: Laid, points: Numbers, up: Numbers, kind: int) -> _Patch:
    """A patch whose columns each follow one point of a ring: `points` [c, r, 3], rows from the ring on."""
    repeat = np.repeat(np.arange(len(base.points)), points.shape[1])
    laid = Laid(
        points=base.points[repeat], normals=base.normals[repeat], follow=base.follow[repeat], share=base.share[repeat]
    )
    triangles = loft(*points.shape[:2], closed=True)[:, ::-1]
    return _Patch(
        laid=laid, points=points.reshape(-1, 3), triangles=triangles, up=up.ravel(), kind=np.full(up.size, float(kind))
    )


def _headband() -> list[_Patch]:
    around = _around()
    wide = HATS["headband"].open_at or 0.0
    rows = np.array([(0.02, 0.0), (0.0, 0.03), (0.008, 0.062), (0.05, 0.074), (0.125, 0.078), (0.2, 0.074),
                     (0.242, 0.062), (wide, 0.03), (wide - 0.02, 0.0)])  # fmt: skip
    up = np.broadcast_to(rows[:, 0], (_COLUMNS, len(rows)))
    off = np.broadcast_to(rows[:, 1], up.shape)
    return [_patch(around, _at_edge("headband", around)[:, None] - up, off, up, closed=True, kind=BAND)]


_MAKERS: dict[str, Callable[[], list[_Patch]]] = {"beanie": _beanie, "cap": _cap, "brim": _brim, "headband": _headband}


@functools.cache
def hat_piece(name: str) -> Piece:
    """A hat on the average head."""
    patches = _MAKERS[name]()
    first = np.cumsum([0, *(len(patch.points) for patch in patches)])
    triangles = np.concatenate([patch.triangles + start for patch, start in zip(patches, first, strict=False)])
    points = np.concatenate([patch.points for patch in patches]).astype(np.float32)
    up, kind = (np.concatenate([getattr(patch, of) for patch in patches])[:, None] for of in ("up", "kind"))
    return Piece(
        name="hat",
        points=points,
        triangles=triangles,
        part=np.full(len(triangles), PARTS.index("hat")),
        share=np.ones(len(points), dtype=np.float32),
        follow=scipy.sparse.vstack([patch.laid.follow for patch in patches]).tocsr(),
        two_sided=True,
        values=np.concatenate([points, up, kind], axis=1).astype(np.float32),
    )
