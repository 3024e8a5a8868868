"""The shapes of glasses: frames of tubes and bands that sit on the nose and the ears of each person, and their lenses.

Glasses are rigid: unlike cloth they do not follow the skin vertex by vertex but are placed on a face as an optician
does: moved to the nose's bridge, as wide as the temples, far enough forward to clear lashes, brows and cheeks, with
temples that end on the ears.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
from scipy.spatial import cKDTree

from gantrol.data.faces.drape import Numbers, loft
from gantrol.data.faces.head import FloatArray, IntArray, load_head
from gantrol.data.faces.scene import PARTS, Piece, canonical, head_piece

_HALF_WIDTH = 0.66  # dm from the middle to the hinges on the average head
_FORWARD, _CURVE, _TILT = (
    0.285,
    0.20,
    0.09,
)  # the plane of the lenses: its z in the middle, how it bends back, how it leans
_EAR = np.array([0.715, 0.055, -0.64])  # where a temple rests
_CLEARANCE = 0.05  # dm that lashes, brows and cheeks keep from the lenses


@dataclass(frozen=True, kw_only=True)
class Design:
    """The shape of a pair of glasses, dm."""

    center: tuple[float, float]
    """Of the lens at the image's right."""
    half: tuple[float, float]
    """Half width and half height of the lens."""
    power: float
    """Exponent of the outline: 2 is an ellipse, more is squarer."""
    top: float = 0.0
    """How much wider the lens is at its top than in its middle, and narrower at its foot."""
    wing: float = 0.0
    """How far the outer upper corner is drawn up."""
    rim: tuple[float, float] = (0.026, 0.022)
    """Half the width and half the depth of the rim."""
    tint: float = 0.0
    """Share of light that the lens takes away."""


DESIGNS: dict[str, Design] = {
    "round": Design(center=(0.318, -0.035), half=(0.230, 0.220), power=2.0, rim=(0.018, 0.016)),
    "square": Design(center=(0.330, -0.035), half=(0.258, 0.185), power=4.5, top=0.05, rim=(0.027, 0.022)),
    "thin": Design(center=(0.326, -0.040), half=(0.252, 0.165), power=3.2, top=0.03, rim=(0.010, 0.010)),
    "cat_eye": Design(center=(0.326, -0.030), half=(0.246, 0.165), power=2.5, top=0.07, wing=0.125, rim=(0.027, 0.022)),
    "sunglasses": Design(
        center=(0.332, -0.050), half=(0.266, 0.215), power=3.4, top=0.10, rim=(0.026, 0.022), tint=0.90
    ),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Worn(Piece):
    """Rigid geometry that is placed on a face."""

    back: FloatArray
    """[n] 0 at the front, 1 where the temples rest on the ears."""

    def fit(self, displacement: FloatArray) -> FloatArray:
        """Places the glasses on the person: `displacement` [V, 3] leads from the average head to the person's."""
        spots, average = _spots(), canonical()
        bridge, right, left = (displacement.take(of, axis=0).mean(0) for of in (spots.bridge, *spots.ears))
        sides = average[spots.temples, 0] + displacement[spots.temples, 0]
        wide = max(float(abs(sides).max()) + 0.025, 0.9 * _HALF_WIDTH) / _HALF_WIDTH
        x, y, z = (average.take(spots.face, axis=0) + displacement.take(spots.face, axis=0)).T
        need = float((z - _plane(x / np.float32(wide), y - bridge[1])).max()) + _CLEARANCE
        stretch = wide, 0.5 + 0.5 * wide, 1.0
        forward = 0.0, float(bridge[1]), max(need, float(bridge[2]) - 0.02)
        placed = []
        for axis, at in enumerate(self._columns):
            front = at * np.float32(stretch[axis]) + np.float32(forward[axis])
            ears = at + np.where(self._columns[0] > 0, right[axis], left[axis])
            placed.append(front + (ears - front) * self.back)
        return np.stack(placed, axis=1)

    @functools.cached_property
    def _columns(self) -> FloatArray:
        """[3, n] the points, one axis after the other."""
        return np.ascontiguousarray(self.points.T)


@dataclass(frozen=True, kw_only=True)
class _Spots:
    """The vertices of the head that glasses are measured on."""

    bridge: IntArray
    temples: IntArray
    face: IntArray
    ears: tuple[IntArray, IntArray]


@functools.cache
def _spots() -> _Spots:
    head, points = load_head(), canonical()
    x, y, z = points.T
    body = np.arange(len(points)) < len(head.part)
    parts = np.pad(head.part, (0, len(points) - len(head.part)), constant_values=255)
    skin = body & (parts == head.parts.index("skin"))
    front = skin & (head.masks["mouth_inside"] < 0.1)
    lashes = parts == head.parts.index("lashes")
    # below y = −0.2 a cheek may touch the rim, as cheeks do
    near = (abs(x) > 0.16) & (abs(x) < 0.60) & (y > -0.20) & (y < 0.27) & (z > -0.2)
    return _Spots(
        bridge=np.flatnonzero(front & (abs(x) < 0.06) & (abs(y - 0.02) < 0.06) & (z > 0.15)),
        temples=np.flatnonzero(skin & (abs(y - 0.05) < 0.09) & (z > -0.55) & (z < -0.05)),
        face=np.flatnonzero((front | lashes) & near),
        ears=(
            np.flatnonzero(skin & (np.hypot(x - _EAR[0], y - 0.0) < 0.10) & (abs(z + 0.64) < 0.08)),
            np.flatnonzero(skin & (np.hypot(x + _EAR[0], y - 0.0) < 0.10) & (abs(z + 0.64) < 0.08)),
        ),
    )


def _plane(x: Numbers, y: Numbers) -> Numbers:
    """The z of the surface that the lenses lie in."""
    return _FORWARD - _CURVE * x * x + _TILT * y


def outline(design: Design, count: int) -> Numbers:
    """The edge [count, 2] of the lens at the image's right, around its centre, counter-clockwise from its outer end."""
    turn = np.arange(count) * (2 * np.pi / count)
    cos, sin = np.cos(turn), np.sin(turn)
    radius = (abs(cos) ** design.power + abs(sin) ** design.power) ** (-1 / design.power)
    x, y = radius * cos, radius * sin
    lifted = design.wing * np.clip(x, 0, 1) ** 2 * np.clip(0.35 + y, 0, 1.2)
    return np.stack([design.half[0] * x * (1 + design.top * y) + 0.3 * lifted, design.half[1] * y + lifted], axis=1)


def _tube(path: Numbers, out: Numbers, half: tuple[float, float] | Numbers, closed: bool) -> tuple[Numbers, IntArray]:
    """A tube along `path` [m, 3]: its profile is an ellipse with half axes `half` along `out` [m, 3] and across it."""
    ahead = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    if not closed:
        ahead[[0, -1]] = path[1] - path[0], path[-1] - path[-2]
    ahead /= np.sqrt((ahead**2).sum(1, keepdims=True))
    out = out - ahead * (out * ahead).sum(1, keepdims=True)
    out /= np.sqrt((out**2).sum(1, keepdims=True))
    side = np.cross(ahead, out)
    sides = 6
    turn = np.arange(sides) * (2 * np.pi / sides) + np.pi / 6
    u, v = np.broadcast_to(half, (len(path), 2)).T[:, :, None, None]
    ring = path[:, None] + u * np.cos(turn)[:, None] * out[:, None] + v * np.sin(turn)[:, None] * side[:, None]
    triangles = loft(sides, len(path), closed=True)  # over a grid stored side by side
    points = ring.transpose(1, 0, 2).reshape(-1, 3)
    if closed:
        grid = np.arange(sides * len(path)).reshape(sides, len(path))
        last, first = grid[:, -1], grid[:, 0]
        after = np.roll(np.arange(sides), -1)
        seam = [np.stack([last, first, last[after]], axis=1), np.stack([last[after], first, first[after]], axis=1)]
        triangles = np.concatenate([triangles, *seam])
    return points, triangles[:, ::-1]


def _on_plane(xy: Numbers, forward: float = 0.0) -> Numbers:
    return np.concatenate([xy, (_plane(xy[:, 0], xy[:, 1]) + forward)[:, None]], axis=1)


def _front(design: Design) -> list[tuple[Numbers, IntArray]]:
    """The rims, and the bridge between them."""
    edge = outline(design, 40)
    width, depth = design.rim
    tubes = []
    for mirror in (1, -1):
        around = (edge + design.center) * [mirror, 1]
        outward = np.concatenate([edge / np.hypot(*edge.T)[:, None] * [mirror, 1], np.zeros((len(edge), 1))], axis=1)
        tubes.append(_tube(_on_plane(around), outward, (width, depth), True))
    inner = (edge + design.center)[np.argmin(edge[:, 0] - 0.25 * edge[:, 1])]
    across = np.linspace(-1, 1, 9)
    arch = np.stack([across * (inner[0] - 0.3 * width), inner[1] + 0.02 + 0.035 * (1 - across**2)], axis=1)
    thick = (max(0.8 * width, 0.012), max(0.9 * depth, 0.012))
    tubes.append(_tube(_on_plane(arch, 0.006), np.tile([0.0, 1.0, 0.0], (9, 1)), thick, False))
    return tubes


def _temples(design: Design) -> list[tuple[Numbers, IntArray, Numbers]]:
    """The two temples with how far back each vertex lies, 0–1."""
    edge = outline(design, 40) + design.center
    at = edge[3 if not design.wing else 4]
    hinge = np.array([_HALF_WIDTH, at[1] + 0.015, _plane(at[0], at[1]) - 0.06])
    corner = np.array([at[0], at[1], _plane(at[0], at[1])])
    bends = [corner, 0.4 * corner + 0.6 * hinge + np.array([0, 0.004, 0.022]), hinge]
    bends += [0.75 * hinge + 0.25 * _EAR + np.array([0.025, 0, 0]), 0.4 * hinge + 0.6 * _EAR + np.array([0.015, 0, 0])]
    bends += [
        _EAR + np.array(way)
        for way in ((0, 0, 0), (-0.005, -0.03, -0.12), (-0.02, -0.13, -0.22), (-0.03, -0.24, -0.28))
    ]
    path = np.array(bends)
    back = np.array([0, 0, 0, 0.25, 0.6, 1, 1, 1, 1.0])
    height = min(max(design.rim[0] * 1.05, 0.013), 0.03)
    half = np.stack(
        [height * np.array([0.9, 1, 1, 0.95, 0.85, 0.75, 0.75, 0.75, 0.7]), np.full(9, min(0.014, height))], axis=1
    )
    tubes = []
    for mirror in (1, -1):
        points, triangles = _tube(path * [mirror, 1, 1], np.tile([0.0, 1.0, 0.0], (9, 1)), half, False)
        tubes.append((points, triangles, np.tile(back, len(points) // 9)))
    return tubes


def _lens(design: Design) -> tuple[Numbers, IntArray, Numbers]:
    """Both lenses: points, triangles and (u, v) on the lens, −1…1, u to the image's right."""
    edge = outline(design, 40)
    points: list[Numbers] = []
    triangles: list[IntArray] = []
    place: list[Numbers] = []
    for mirror in (1, -1):
        rings = np.array([0.0, 0.4, 0.75, 1.0])
        flat = (edge[None] * rings[:, None, None] + design.center) * [mirror, 1]  # [rings, 40, 2]
        bulge = 0.02 * (1 - rings**2)[:, None].repeat(40, 1)
        lens = _on_plane(flat.reshape(-1, 2)) + np.stack([np.zeros(160), np.zeros(160), bulge.ravel()], axis=1)
        points.append(lens.reshape(4, 40, 3).transpose(1, 0, 2).reshape(-1, 3))
        local = (edge[:, None] / design.half * rings[None, :, None]) * [mirror, 1]
        place.append(local.reshape(-1, 2))
        faces = loft(40, 4, closed=True)
        triangles.append((faces if mirror > 0 else faces[:, ::-1]) + 160 * len(triangles))
    return np.concatenate(points), np.concatenate(triangles), np.concatenate(place)


def _follow(points: Numbers) -> scipy.sparse.csr_matrix:
    """Which skin each vertex lies over [n, V]: what falls on that skin falls on the glasses."""
    head = head_piece()
    skin = np.unique(head.triangles[head.part == 0])
    skin = skin[head.values[skin, 6] < 0.1]
    distance, index = cKDTree(canonical()[skin]).query(points, k=4)
    weight = 1 / (distance + 0.02)
    weight /= weight.sum(1, keepdims=True)
    entries = (weight.ravel().astype(np.float32), (np.repeat(np.arange(len(points)), 4), skin[index].ravel()))
    return scipy.sparse.csr_matrix(entries, shape=(len(points), len(canonical())))


@functools.cache
def pair(name: str) -> tuple[Worn, Worn]:
    """The frame and the lenses of a kind of glasses."""
    design = DESIGNS[name]
    tubes = [(points, triangles, np.zeros(len(points))) for points, triangles in _front(design)] + _temples(design)
    first = np.cumsum([0, *(len(points) for points, _, _ in tubes)])
    points = np.concatenate([points for points, _, _ in tubes])
    triangles = np.concatenate([faces + start for (_, faces, _), start in zip(tubes, first, strict=False)])
    frame = Worn(
        name="glasses",
        points=points.astype(np.float32),
        triangles=triangles,
        part=np.full(len(triangles), PARTS.index("glasses")),
        share=np.ones(len(points), dtype=np.float32),
        follow=_follow(points),
        values=points.astype(np.float32),
        back=np.concatenate([back for _, _, back in tubes]).astype(np.float32),
    )
    points, triangles, place = _lens(design)
    lens = replace(
        frame,
        name="lens",
        points=points.astype(np.float32),
        triangles=triangles,
        part=np.full(len(triangles), PARTS.index("lens")),
        share=np.ones(len(points), dtype=np.float32),
        follow=_follow(points),
        values=place.astype(np.float32),
        back=np.zeros(len(points), dtype=np.float32),
        two_sided=True,
    )
    return frame, lens
