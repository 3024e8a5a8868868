"""Hair as geometry: sheets of strands that start at the parting, follow the skull at a distance and then hang.

A sheet is a grid over columns (neighbouring strands) and rows (the way along them); it is opaque and gives single
strands (`hair_strands`) a surface to grow on. Where a cut ends is a field, positive where there is hair: the rasteriser
clips the sheet a little before it, the strands go on to it and beyond. Sheets are made once on the average head and
follow the skull of each person.
"""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, median_filter
from scipy.spatial import cKDTree

from gantrol.data.faces.hair_cuts import CUTS, HAIRLINE, Cut
from gantrol.data.faces.head import FloatArray, IntArray, load_head
from gantrol.data.faces.scene import canonical

COLUMNS, ROWS = 96, 32
SKULL_CENTER = np.array([0.0, 0.12, -0.68])
_STEPS = 72
_DROP_DM = 2.6
_BALD_AXIS = np.array([0.0, 0.78, 0.62])  # from the skull's centre to the middle of what goes bald first
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One grid of hair: C columns × R rows."""

    points: Array
    """[C, R, 3] dm."""
    roots: Array
    """[C, R, 3] where on the head each point belongs."""
    cut: Array
    """[C, R] dm to the nearest end; positive where there is hair."""
    closed: bool = False
    """A knot: strands wind along it anywhere, without roots or ends."""
    seam: int = -1
    """Column after which the grid is torn (the face looks out there); −1: whole."""

    @functools.cached_property
    def along(self) -> Array:
        """[C, R] dm along the columns from their beginning."""
        steps = np.linalg.norm(np.diff(self.points, axis=1), axis=2)
        return np.concatenate([np.zeros((len(steps), 1)), steps.cumsum(1)], axis=1)

    def triangles(self) -> IntArray:
        """[t, 3] two per cell, counter-clockwise seen from outside."""
        columns, rows = self.points.shape[:2]
        c, r = np.meshgrid(np.delete(np.arange(columns - 1), self.seam if self.seam >= 0 else []), np.arange(rows - 1),
                           indexing="ij")  # fmt: skip
        a = (c * rows + r).ravel()
        b = a + rows
        return np.concatenate([np.stack([a, a + 1, b], axis=1), np.stack([b, a + 1, b + 1], axis=1)])


def ramp(x: Array, low: float, high: float) -> Array:
    """0 at `low`, 1 at `high`, smooth between and constant beyond."""
    t = np.clip((x - low) / (high - low), 0, 1)
    eased: Array = t * t * (3 - 2 * t)
    return eased


def azimuths(points: NDArray[np.floating]) -> Array:
    """|azimuth| in degrees of points [..., 3] around the head."""
    degrees: Array = np.degrees(np.arctan2(abs(points[..., 0]), points[..., 2] - SKULL_CENTER[2]))
    return degrees


def above_hairline(points: NDArray[np.floating], bald: float = 0.0) -> Array:
    """Signed distance in dm of canonical points [..., 3] from the edge of what hair covers; positive inside.

    `bald`: degrees around the top of the forehead that have lost theirs.
    """
    above: Array = points[..., 1] - np.interp(azimuths(points), *np.transpose(HAIRLINE))
    if bald:
        way = points - SKULL_CENTER
        lean = (way * _BALD_AXIS).sum(-1) / np.maximum(np.sqrt((way**2).sum(-1)), 1e-6)
        above = np.minimum(above, 0.85 * (np.arccos(np.clip(lean, -1, 1)) - np.radians(bald)))
    return above


@functools.cache
def _skull() -> tuple[cKDTree, IntArray, Array, cKDTree, Array]:
    """Skull vertices as a tree of directions from SKULL_CENTER, their indices, distances; the ears' tree, distances."""
    head, points = load_head(), canonical().astype(np.float64)
    skin = np.append(head.part == head.parts.index("skin"), np.zeros(len(points) - len(head.part), dtype=bool))
    side = abs(points[:, 0]) > 0.60
    x, y, z = points.T
    ears = skin & (
        (head.masks["ears"] > 0.2) | (side & (y < 0.12) & (y > -0.55) & (z < -0.5) & (z > -1.05) & (abs(x) > 0.70))
    )
    nose = (abs(x) < 0.3) & (y < 0.15) & (z > -0.2)
    chosen = np.flatnonzero(skin & ~ears & ~nose & (y > -1.0) & (head.masks["mouth_inside"] < 0.1))
    offset = points - SKULL_CENTER
    radius = np.linalg.norm(offset, axis=1)
    way = offset / radius[:, None]
    return cKDTree(way[chosen]), chosen, radius[chosen], cKDTree(way[ears]), radius[ears]


def _radius(way: Array) -> tuple[Array, Array]:
    """Distance of the skull, and of whatever of the ears lies outside of it, along unit directions [..., 3]."""
    tree, _, radii, ears, ear_radii = _skull()
    flat = way.reshape(-1, 3)
    distance, index = tree.query(flat, k=6)
    weight = 1 / (distance + 0.03) ** 2
    skull = ((radii[index] * weight).sum(1) / weight.sum(1)).reshape(way.shape[:-1])
    distance, index = ears.query(flat, k=8)
    ear = (ear_radii[index] * (distance < 0.14)).max(1).reshape(skull.shape)
    return skull, np.maximum(skull, ear)


def _directions(cut: Cut) -> tuple[Array, Array]:
    """Unit directions [C, _STEPS, 3] along which the columns run, and the azimuth [C] where they end."""
    half = np.linspace(cut.gate, 180, COLUMNS // 2 + 1)
    azimuth = np.concatenate([-half[::-1], half if cut.gate else half[1:]])
    place = ramp(abs(azimuth), cut.gate + (8 if cut.gate else 20), 125)[:, None]
    ends = [np.array(point) - SKULL_CENTER for point in cut.parting]
    start = ends[0] / np.linalg.norm(ends[0]) * (1 - place) + ends[1] / np.linalg.norm(ends[1]) * place
    start /= np.linalg.norm(start, axis=1, keepdims=True)

    def way(azimuth: Array, theta: Array) -> Array:
        a, t = np.radians(azimuth), np.radians(theta)
        return np.stack([np.sin(t) * np.sin(a), np.cos(t), np.sin(t) * np.cos(a)], axis=1)

    middle = way(
        np.sign(azimuth) * np.maximum(abs(azimuth), cut.gate + 5), np.where(abs(azimuth) < cut.gate + 60, 62.0, 72.0)
    )
    end = way(azimuth, np.full(len(azimuth), 150.0))
    t = np.linspace(0.0, 1.0, _STEPS)[None, :, None] ** 1.2
    path = (1 - t) ** 2 * start[:, None] + 2 * t * (1 - t) * middle[:, None] + t * t * end[:, None]
    return path / np.linalg.norm(path, axis=2, keepdims=True), azimuth


def _let_hang(paths: Array, roots: Array, inward: float, seam: int) -> None:
    """Lets columns [C, T, 3] fall straight down from about where they reach farthest out; changes both arrays."""
    reach = np.hypot(paths[:, :, 0], paths[:, :, 2] - SKULL_CENTER[2])
    widest = (reach >= reach.max(axis=1, keepdims=True) - 2e-3).argmax(axis=1).astype(np.float64)
    for side in [slice(0, seam + 1), slice(seam + 1, None)] if seam >= 0 else [slice(None)]:  # neighbours fall alike
        widest[side] = gaussian_filter(median_filter(widest[side], 13, mode="nearest"), 4, mode="nearest")
    for column, leave in enumerate(widest.round().astype(np.int64)):
        drop = np.linspace(0, _DROP_DM, paths.shape[1] - leave)
        turn = 1 - inward * ramp(drop, 0.2, 1.1)
        start = paths[column, leave] - SKULL_CENTER
        paths[column, leave:] = SKULL_CENTER + start * np.stack([turn, np.ones_like(turn), turn], axis=1)
        paths[column, leave:, 1] -= drop
        roots[column, leave:] = roots[column, leave]


def _cap(name: str) -> Patch:
    """The hair on the head."""
    cut, seam = CUTS[name], COLUMNS // 2 if CUTS[name].gate else -1
    rng = np.random.default_rng([7, zlib.crc32(name.encode())])
    way, azimuth = _directions(cut)
    skull, with_ears = _radius(way)
    roots = SKULL_CENTER + way * skull[:, :, None]
    upward, ahead = ramp(roots[:, :, 1], 0.1, 0.9), ramp(roots[:, :, 2], -0.6, 0.1)
    thick = cut.side + (cut.top - cut.side) * upward + cut.front * ahead * upward
    noise = gaussian_filter(rng.standard_normal(thick.shape), (1.6, 2.5), mode=("wrap", "nearest"))
    if cut.globe:
        thick = np.maximum(thick, cut.globe * (0.93 + 0.10 * way[:, :, 1]) - skull)
    thick = thick + cut.bumps * noise / noise.std()
    above = above_hairline(roots, cut.bald)
    if cut.gate:  # hair rises beside the parting
        turned = np.arccos(np.clip((way * way[:, :1]).sum(2), -1, 1))
        flat = 0.25 if cut.parted else 0.6
        thick *= flat + (1 - flat) * ramp(turned, 0.0, 0.22)
    if cut.gate:  # what frames the face lies close to it
        edge = ramp(abs(azimuth)[:, None] - cut.gate, 0, 16) + ramp(-roots[:, :, 1], -0.2, 0.3)
        thick *= 0.30 + 0.70 * np.minimum(edge, 1)
    if cut.taper and not cut.hangs:
        even = gaussian_filter(above, (4, 1), mode=("wrap", "nearest")) if cut.globe else above
        thick = 0.012 + (thick - 0.012) * ramp(np.minimum(even, above + 0.15), -0.02, cut.taper)
    covers_ears = cut.hangs or bool(cut.ends)
    if covers_ears:
        pushed = gaussian_filter(np.maximum(with_ears + 0.045 - skull - thick, 0), (2, 2), mode=("wrap", "nearest"))
        thick = thick + np.minimum(pushed * 1.35, 0.3)
    paths = SKULL_CENTER + way * (skull + thick)[:, :, None]
    if cut.hangs:
        _let_hang(paths, roots, cut.inward, seam)
    field = paths[:, :, 1] - np.interp(azimuths(paths), *np.transpose(cut.ends)) if cut.ends else above
    lengths = gaussian_filter(rng.standard_normal(len(paths)), 0.7, mode="wrap")
    field = field + (cut.ragged if cut.ends else 0.0) * lengths[:, None]
    even = [_evenly_spaced(*column) for column in zip(paths, roots, field, strict=True)]
    points, rooted, fields = (np.stack(arrays) for arrays in zip(*even, strict=True))
    return Patch(points=points, roots=rooted, cut=fields, seam=seam)


def _evenly_spaced(path: Array, roots: Array, field: Array) -> tuple[Array, Array, Array]:
    """Resamples a column [T, 3], with its roots and its field, to ROWS points from start to a little beyond its end."""
    kept = min(int(np.flatnonzero(field > -0.25)[-1]) + 2, len(path)) if (field > -0.25).any() else len(path)
    length = np.append(0, np.linalg.norm(np.diff(path[:kept], axis=0), axis=1).cumsum())
    at = np.linspace(0, length[-1], ROWS)

    def sample(values: Array) -> Array:
        return np.stack([np.interp(at, length, values[:kept, axis]) for axis in range(values.shape[1])], axis=1)

    return sample(path), sample(roots), sample(field[:, None])[:, 0]


def _bun() -> Patch:
    """A coil on the top of the back of the head: columns from its tip to its foot, rows around it."""
    around, across = 29, 12
    axis = np.array([0.0, 0.80, -0.60])
    right, up = np.array([1.0, 0.0, 0.0]), np.cross(axis, [1.0, 0.0, 0.0])
    v, u = np.meshgrid(np.linspace(np.pi - 0.15, 0.12, across), np.linspace(0, 2 * np.pi, around), indexing="ij")
    u = u + 0.9 * v  # strands wind
    wide = 0.27 * (1 + 0.05 * np.sin(3 * u + 2 * v))
    ball = (
        (np.sin(v) * np.cos(u) * wide)[..., None] * right
        + (np.sin(v) * np.sin(u) * wide)[..., None] * up
        + (np.cos(v) * 0.22)[..., None] * axis
    )
    points = np.array([0.0, 1.13, -1.18]) + ball
    return Patch(points=points, roots=np.broadcast_to([0.0, 1.0, -1.1], points.shape), cut=np.ones(points.shape[:2]),
                 closed=True)  # fmt: skip


def _tail() -> Patch:
    """A tail that leaves the back of the head, swings to one side and falls behind the shoulder."""
    line = np.array([[0, 0.84, -1.34], [0.02, 0.97, -1.60], [0.10, 0.90, -1.82], [0.30, 0.45, -1.95],
                     [0.50, -0.20, -1.80], [0.66, -0.9, -1.50], [0.72, -1.6, -1.32], [0.72, -2.1, -1.30]])  # fmt: skip
    radius = np.array([0.07, 0.12, 0.17, 0.22, 0.24, 0.22, 0.17, 0.10])
    fine = np.linspace(0, len(line) - 1, 90)
    path = np.stack([np.interp(fine, np.arange(len(line)), line[:, k]) for k in range(3)], axis=1)
    path = gaussian_filter(path, (4, 0), mode="nearest")
    wide = gaussian_filter(np.interp(fine, np.arange(len(line)), radius), 4, mode="nearest")
    length = np.append(0, np.linalg.norm(np.diff(path, axis=0), axis=1).cumsum())
    at = np.linspace(0, length[-1], ROWS)
    path = np.stack([np.interp(at, length, path[:, k]) for k in range(3)], axis=1)
    wide = np.interp(at, length, wide)
    ahead = np.gradient(path, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    right = np.cross(ahead, np.cross([1.0, 0.0, 0.0], ahead))
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    up = np.cross(right, ahead)
    u = np.linspace(0, 2 * np.pi, 25)[:, None, None]
    flat = 1 + 0.10 * np.sin(5 * u[..., 0] + at * 2)
    points = path + (np.cos(u) * right + np.sin(u) * 0.8 * up) * (wide * flat)[..., None]
    return Patch(points=points, roots=np.broadcast_to([0.0, 0.84, -1.34], points.shape),
                 cut=np.broadcast_to(1.0 - 0.0 * at, points.shape[:2]).copy(), closed=True)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Sheet:
    """The hair of one cut on the average head: H vertices in one or two patches."""

    patches: tuple[Patch, ...]
    points: FloatArray
    """[H, 3] dm."""
    cut: FloatArray
    """[H] positive where the sheet is drawn."""
    strand: FloatArray
    """[H] which strand, in turns around the head."""
    along: FloatArray
    """[H] dm along the strand from the parting."""
    tips: FloatArray
    """[H] dm to the end of the hair."""
    follow: scipy.sparse.csr_matrix
    """[H, V]: which head vertices each hair vertex follows."""
    triangles: IntArray
    """[t, 3] indices into the sheet's own vertices."""
    before: IntArray
    """[H] the vertex one row up the strand."""
    after: IntArray
    """[H] the vertex one row down the strand."""


@functools.cache
def sheet(name: str) -> Sheet | None:
    """The hair of a cut; None where nothing grows."""
    if name not in CUTS:
        return None
    cut = CUTS[name]
    patches = (_cap(name), *{"": (), "bun": (_bun(),), "tail": (_tail(),)}[cut.knot])
    firsts = np.cumsum([0, *(patch.cut.size for patch in patches)])
    points = np.concatenate([patch.points.reshape(-1, 3) for patch in patches])
    roots = np.concatenate([patch.roots.reshape(-1, 3) for patch in patches])
    row = np.concatenate([np.tile(np.arange(patch.cut.shape[1]), len(patch.cut)) for patch in patches])
    last = np.concatenate([np.full(patch.cut.size, patch.cut.shape[1] - 1) for patch in patches])
    tree, chosen, _, _, _ = _skull()
    way = roots - SKULL_CENTER
    distance, index = tree.query(way / np.linalg.norm(way, axis=1, keepdims=True), k=8)
    weight = 1 / (distance + 0.05) ** 2
    weight /= weight.sum(1, keepdims=True)
    entries = (weight.ravel().astype(np.float32), (np.repeat(np.arange(len(points)), 8), chosen[index].ravel()))
    field = np.concatenate([patch.cut.ravel() for patch in patches])
    inset = np.concatenate([np.full(patch.cut.size, 0.0 if patch.closed else cut.inset) for patch in patches])
    return Sheet(
        patches=patches,
        points=points.astype(np.float32),
        cut=(field - inset).astype(np.float32),
        strand=np.concatenate(
            [np.repeat(np.linspace(0, len(p.cut) / COLUMNS, len(p.cut)), p.cut.shape[1]) for p in patches]
        ).astype(np.float32),
        along=np.concatenate([patch.along.ravel() for patch in patches]).astype(np.float32),
        tips=field.astype(np.float32),
        follow=scipy.sparse.csr_matrix(entries, shape=(len(points), len(canonical()))),
        triangles=np.concatenate([p.triangles() + first for p, first in zip(patches, firsts[:-1], strict=True)]),
        before=np.arange(len(points)) - (row > 0),
        after=np.arange(len(points)) + (row < last),
    )
