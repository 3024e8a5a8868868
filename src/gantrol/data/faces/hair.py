"""Hair as geometry: a sheet of strands that starts at the crown, follows the skull at a distance and then hangs.

The sheet is a grid over azimuth (columns: strands) and the way along a strand (rows). A cut is a `Style`: how thick the
hair lies, whether it hangs, and at what height it ends at each azimuth. Ends and hairline are a field (`cut`, positive
where there is hair) that the rasteriser interpolates and clips, so they are crisp at any resolution. The sheet is made
once on the average head; `Sheet.fit` then carries it along with a person's skull.

Coordinates: the average head with the eyes' middle at the origin, dm; azimuth 0° is the face, 90° the ear, 180° nape.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gantrol.data.faces.head import FloatArray, IntArray, load_head
from gantrol.data.faces.shape import align

COLUMNS, ROWS = 96, 32
SKULL_CENTER = np.array([0.0, 0.12, -0.68])

# |azimuth| in degrees -> height in dm where natural hair begins
_HAIRLINE = (
    [0, 12, 24, 34, 44, 54, 64, 71, 78, 84, 92, 104, 112, 122, 150, 180],
    [0.66, 0.67, 0.64, 0.56, 0.40, 0.24, 0.10, -0.10, -0.16, 0.06, 0.16, 0.14, -0.25, -0.52, -0.70, -0.74],
)


def hairline(points: FloatArray) -> FloatArray:
    """Signed height in dm of canonical points [N, 3] above the natural hairline: [N]."""
    azimuth = np.degrees(np.arctan2(abs(points[:, 0]), points[:, 2] - SKULL_CENTER[2]))
    height: FloatArray = points[:, 1] - np.interp(azimuth, *_HAIRLINE).astype(np.float32)
    return height


@dataclass(frozen=True, kw_only=True)
class Style:
    """A cut."""

    side: float
    """dm that the hair stands off at the sides and the back."""
    top: float
    """dm at the top."""
    front: float = 0.0
    """dm added above the forehead."""
    hangs: bool = False
    """Leaves the skull where it is widest and falls straight down."""
    ends: tuple[tuple[float, float], ...] = ()
    """(|azimuth| in degrees, height in dm) of the lower end; empty: the hairline."""
    ragged: float = 0.02
    """dm by which neighbouring locks differ in length."""
    locks: float = 0.02
    """dm by which neighbouring locks differ in thickness."""
    curls: float = 0.0
    """dm of bumps all over."""
    taper: float = 0.25
    """dm above the hairline at which full thickness is reached; 0 keeps a blunt edge."""
    crown: tuple[float, float] = (0.0, -12.0)
    """Degrees by which the whorl lies to the image's right and to the front of the top."""
    inward: float = 0.0
    """Share by which hanging ends turn in."""
    bun: bool = False


_FOREHEAD_FREE = ((0, 0.66), (12, 0.67), (24, 0.64), (34, 0.52), (42, 0.26))
_FRINGE = ((0, 0.31), (24, 0.29), (36, 0.22), (44, 0.02))
_FRINGE_SHORT = ((0, 0.30), (30, 0.28), (42, 0.24), (54, 0.10), (66, -0.12), (78, -0.22), (90, -0.12), (104, -0.2))

STYLES: dict[str, Style] = {
    "short": Style(side=0.07, top=0.15, front=0.02),
    "quiff": Style(side=0.05, top=0.24, front=0.14, taper=0.10, locks=0.03),
    "side_part": Style(side=0.09, top=0.19, front=0.05, taper=0.16, locks=0.025, crown=(28, 10)),
    "bangs": Style(side=0.12, top=0.16, taper=0, ragged=0.045, ends=(*_FRINGE_SHORT, (120, -0.6), (180, -0.82))),
    "bob": Style(
        side=0.15,
        top=0.17,
        hangs=True,
        ends=(*_FOREHEAD_FREE, (48, -0.30), (54, -0.86), (180, -0.9)),
        ragged=0.05,
        taper=0.12,
        crown=(14, 6),
        inward=0.14,
    ),
    "long": Style(
        side=0.13,
        top=0.15,
        hangs=True,
        ends=(*_FOREHEAD_FREE, (49, -0.40), (55, -1.9), (180, -2.2)),
        ragged=0.05,
        taper=0.12,
        crown=(0, 14),
        inward=-0.15,
    ),
    "long_bangs": Style(
        side=0.13,
        top=0.16,
        hangs=True,
        ends=(*_FRINGE, (50, -0.7), (56, -1.9), (180, -2.2)),
        ragged=0.05,
        taper=0,
        inward=-0.12,
    ),
    "afro": Style(side=0.31, top=0.28, taper=0.34, curls=0.045, locks=0, ragged=0.03),
    "bun": Style(side=0.045, top=0.055, taper=0.2, locks=0.006, crown=(0, -45), bun=True),
}


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The hair of one cut on the average head: H vertices."""

    points: FloatArray
    """[H, 3] dm."""
    cut: FloatArray
    """[H] positive where there is hair: dm from the nearest end."""
    strand: FloatArray
    """[H] which strand, in turns around the head."""
    along: FloatArray
    """[H] dm along the strand from the crown."""
    follow: scipy.sparse.csr_matrix
    """[H, V]: which skull vertices each hair vertex follows."""
    triangles: IntArray
    """[t, 3] indices into the sheet's own vertices."""
    before: IntArray
    """[H] the vertex one row up the strand."""
    after: IntArray
    """[H] the vertex one row down the strand."""

    def fit(self, displacement: FloatArray) -> FloatArray:
        """Carries the sheet along with the skull: `displacement` [V, 3] leads from the average to the person."""
        moved: FloatArray = self.points + self.follow @ displacement
        return moved


@functools.cache
def canonical() -> FloatArray:
    """The average head [V, 3] with the eyes' middle at the origin, dm."""
    head = load_head()
    return align(head.average, head.average).astype(np.float32)


@functools.cache
def _skull() -> tuple[cKDTree, IntArray, FloatArray]:
    """Skull vertices as a tree of directions from SKULL_CENTER, their indices and their distances."""
    head, points = load_head(), canonical()
    body = np.arange(len(points)) < len(head.part)
    skin = body & (
        np.pad(head.part, (0, len(points) - len(head.part)), constant_values=255) == head.parts.index("skin")
    )
    side = abs(points[:, 0]) > 0.60
    ears = (head.masks["ears"] > 0.2) | (side & (points[:, 1] < 0.12) & (points[:, 1] > -0.55) & (points[:, 2] < -0.5)
                                         & (points[:, 2] > -1.05) & (abs(points[:, 0]) > 0.70))  # fmt: skip
    nose = (abs(points[:, 0]) < 0.3) & (points[:, 1] < 0.15) & (points[:, 2] > -0.2)
    chosen = np.flatnonzero(skin & ~ears & ~nose & (points[:, 1] > -1.0) & (head.masks["mouth_inside"] < 0.1))
    offset = points[chosen] - SKULL_CENTER
    radius = np.linalg.norm(offset, axis=1)
    return cKDTree(offset / radius[:, None]), chosen, radius.astype(np.float32)


def _smooth_noise(rng: np.random.Generator, columns: int, knots: int) -> NDArray[np.float64]:
    """Periodic noise in −1…1 over `columns` places, with `knots` independent values around."""
    values = rng.uniform(-1, 1, knots)
    return np.interp(np.arange(columns) / columns * knots, np.arange(knots + 1), np.append(values, values[0]))


def _ramp(x: NDArray[np.floating], low: float, high: float) -> NDArray[np.float64]:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _strand_paths(style: Style, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points [COLUMNS + 1, ROWS, 3] of the strands and where each is rooted on the skull, same shape."""
    tree, _, radii = _skull()
    steps = 64
    theta = np.linspace(0.02, np.radians(150), steps)
    azimuth = np.linspace(-np.pi, np.pi, COLUMNS + 1)
    way = np.stack(
        [
            np.sin(theta)[None] * np.sin(azimuth)[:, None],
            np.broadcast_to(np.cos(theta), (COLUMNS + 1, steps)),
            np.sin(theta)[None] * np.cos(azimuth)[:, None],
        ],
        axis=2,
    )
    right, ahead = np.radians(style.crown)
    lean_x = np.array([[np.cos(right), np.sin(right), 0], [-np.sin(right), np.cos(right), 0], [0, 0, 1]])
    lean_z = np.array([[1, 0, 0], [0, np.cos(ahead), -np.sin(ahead)], [0, np.sin(ahead), np.cos(ahead)]])
    way = way @ (lean_x @ lean_z).T  # the whorl's pole is leaned, the skull stays
    distance, index = tree.query(way.reshape(-1, 3), k=6)
    weight = 1 / (distance + 0.03) ** 2
    radius = ((radii[index] * weight).sum(1) / weight.sum(1)).reshape(COLUMNS + 1, steps)
    skull = SKULL_CENTER + way * radius[:, :, None]

    lock = _smooth_noise(rng, COLUMNS, 41)
    lock = np.append(lock, lock[0])[:, None]
    upward = _ramp(skull[:, :, 1], 0.1, 0.9)
    forward = _ramp(skull[:, :, 2], -0.6, 0.1) * upward
    thick = style.side + (style.top - style.side) * upward + style.front * forward + style.locks * lock
    if style.taper:
        above = hairline(skull.reshape(-1, 3).astype(np.float32)).reshape(thick.shape)
        thick = 0.015 + (thick - 0.015) * _ramp(above, -0.02, style.taper)
    paths = SKULL_CENTER + way * (radius + thick)[:, :, None]
    if style.hangs:
        _let_hang(paths, skull, theta, style.inward)
    if style.curls:
        bump = rng.uniform(-1, 1, (COLUMNS, steps))
        bump = np.concatenate([bump, bump[:1]], axis=0)
        paths += way * (style.curls * bump * _ramp(theta, 0.05, 0.3))[:, :, None]
    return _evenly_spaced(paths, skull)


def _let_hang(
    paths: NDArray[np.float64], roots: NDArray[np.float64], theta: NDArray[np.float64], inward: float
) -> None:
    """Lets strands [columns, steps, 3] fall straight down from where they reach farthest out; changes both arrays."""
    reach = np.hypot(paths[:, :, 0], paths[:, :, 2] - SKULL_CENTER[2])
    reach = np.where(theta < np.radians(60), reach, np.maximum.accumulate(reach, axis=1))
    for column, row in enumerate(reach):
        leave = int(np.argmax(row >= row.max() - 1e-3))
        drop = np.linspace(0, 2.6, len(theta) - leave)
        turn = 1 - inward * _ramp(drop, 0.2, 1.1)
        start = paths[column, leave] - SKULL_CENTER
        paths[column, leave:] = SKULL_CENTER + start * np.stack([turn, np.ones_like(turn), turn], axis=1)
        paths[column, leave:, 1] -= drop
        roots[column, leave:] = roots[column, leave]


def _lengths(paths: NDArray[np.float64]) -> NDArray[np.float64]:
    """The way along each strand [columns, steps, 3] up to each of its points: [columns, steps]."""
    steps = np.linalg.norm(np.diff(paths, axis=1), axis=2)
    return np.concatenate([np.zeros((len(paths), 1)), steps.cumsum(1)], axis=1)


def _evenly_spaced(
    paths: NDArray[np.float64], roots: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Resamples strands and their roots to ROWS points of equal distance along the strand."""
    even, even_roots = np.empty((len(paths), ROWS, 3)), np.empty((len(paths), ROWS, 3))
    for column, length in enumerate(_lengths(paths)):
        at = np.linspace(0, length[-1], ROWS)
        for axis in range(3):
            even[column, :, axis] = np.interp(at, length, paths[column, :, axis])
            even_roots[column, :, axis] = np.interp(at, length, roots[column, :, axis])
    return even, even_roots


def _bun() -> tuple[NDArray[np.float64], IntArray, int]:
    """A knot of hair: points [b, 3] and triangles; columns run around a horizontal axis."""
    around, across = 20, 12
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, around + 1), np.linspace(0.05, np.pi - 0.05, across), indexing="ij")
    ball = np.stack([np.cos(v), np.sin(v) * np.cos(u), np.sin(v) * np.sin(u)], axis=2)
    points = np.array([0.0, 1.10, -0.98]) + ball * np.array([0.36, 0.30, 0.30])
    return points.reshape(-1, 3), _grid_triangles(around + 1, across), across


def _grid_triangles(columns: int, rows: int) -> IntArray:
    """Two triangles per cell of a grid stored column by column."""
    c, r = np.meshgrid(np.arange(columns - 1), np.arange(rows - 1), indexing="ij")
    a = (c * rows + r).ravel()
    b = a + rows
    return np.concatenate([np.stack([a, a + 1, b], axis=1), np.stack([b, a + 1, b + 1], axis=1)])


@functools.cache
def sheet(name: str) -> Sheet | None:
    """The hair of a cut; None for cuts without volume (bald, buzz)."""
    if name not in STYLES:
        return None
    style = STYLES[name]
    rng = np.random.default_rng(7)  # locks belong to the cut, not to the person
    paths, roots = _strand_paths(style, rng)
    points, rooted = paths.reshape(-1, 3), roots.reshape(-1, 3)
    azimuth = np.degrees(np.arctan2(abs(points[:, 0]), points[:, 2] - SKULL_CENTER[2]))
    ends = np.interp(azimuth, *np.transpose(style.ends)) if style.ends else np.interp(azimuth, *_HAIRLINE)
    ragged = 0.6 * _smooth_noise(rng, COLUMNS, 60) + 0.6 * _smooth_noise(rng, COLUMNS, 19)
    # the hairline is even and lies a little behind the painted roots; free ends are ragged
    free = _ramp(np.interp(azimuth, *_HAIRLINE) - ends, 0.05, 0.3)
    cut = points[:, 1] - ends - 0.025 * (1 - free) + style.ragged * free * np.repeat(np.append(ragged, ragged[0]), ROWS)
    strand = np.repeat(np.linspace(0, 1, COLUMNS + 1), ROWS)
    along = _lengths(paths).ravel()
    triangles = _grid_triangles(COLUMNS + 1, ROWS)
    rows = np.tile(np.arange(ROWS), COLUMNS + 1)
    before = np.arange(len(points)) - (rows > 0)
    after = np.arange(len(points)) + (rows < ROWS - 1)
    if style.bun:
        knot, knot_triangles, across = _bun()
        n, row = len(points), np.tile(np.arange(across), len(knot) // across)
        triangles = np.concatenate([triangles, knot_triangles + n])
        before = np.concatenate([before, np.arange(len(knot)) + n - (row > 0)])
        after = np.concatenate([after, np.arange(len(knot)) + n + (row < across - 1)])
        points, rooted = (
            np.concatenate([points, knot]),
            np.concatenate([rooted, np.tile([[0, 1.06, -0.9]], (len(knot), 1))]),
        )
        cut = np.concatenate([cut, np.ones(len(knot))])
        strand = np.concatenate([strand, np.repeat(np.linspace(0, 0.5, len(knot) // across), across)])
        along = np.concatenate([along, row * 0.08])
    tree, chosen, _ = _skull()
    way = rooted - SKULL_CENTER
    distance, index = tree.query(way / np.linalg.norm(way, axis=1, keepdims=True), k=8)
    weight = 1 / (distance + 0.05) ** 2
    weight /= weight.sum(1, keepdims=True)
    entries = (weight.ravel().astype(np.float32), (np.repeat(np.arange(len(points)), 8), chosen[index].ravel()))
    return Sheet(
        points=points.astype(np.float32),
        cut=cut.astype(np.float32),
        strand=strand.astype(np.float32),
        along=along.astype(np.float32),
        follow=scipy.sparse.csr_matrix(entries, shape=(len(points), len(canonical()))),
        triangles=triangles,
        before=before,
        after=after,
    )
