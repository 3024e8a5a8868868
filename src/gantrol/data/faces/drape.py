"""Cloth over skin: a smooth grid over part of the body, found with rays, on which garments and hats are laid out.

A `Form` is made of rays from a point inside the body. Every node of its grid knows which skin triangle it hit, so
whatever is laid out on the form follows each person's body and pose as the skin beneath it does.

Coordinates are canonical (the average head, eyes' middle at the origin, dm); azimuth 0 is the front, π/2 the image's
right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from gantrol.data.faces.head import FloatArray, IntArray
from gantrol.data.faces.scene import canonical, head_piece, unit

Numbers = NDArray[np.floating]
"""Floats of any width: garments are laid out once, in double precision, and stored in single."""

_SMOOTHING_PASSES = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class Form:
    """A grid of C azimuths (closed) × R rings on the skin; rings run from the top (0) down."""

    points: FloatArray
    """[C, R, 3]."""
    normals: FloatArray
    """[C, R, 3] smooth and outward."""
    binding: scipy.sparse.csr_matrix
    """[C · R, V] each node as a weighted mean of the head's vertices."""
    share: FloatArray
    """[C, R] how far a node follows the head, not the shoulders."""
    way: FloatArray
    """[C, R] dm down the surface from the first ring."""

    def at_height(self, azimuth: Numbers, height: Numbers) -> Numbers:
        """The way down [n] to where each azimuth [n] has a height [n]."""
        return self._search(azimuth, -self.points[:, :, 1], -np.asarray(height, dtype=np.float32), self.way)

    def lay(self, azimuth: Numbers, way: Numbers, off: Numbers) -> Laid:
        """Places points at azimuths [n], ways down [n] and distances off the skin [n]."""
        ring = self._search(azimuth, self.way, way, np.broadcast_to(np.arange(self.way.shape[1]), self.way.shape))
        columns, rings = self.way.shape
        column = (np.asarray(azimuth) / (2 * np.pi) * columns) % columns
        c, r = np.floor(column).astype(np.int64), np.minimum(np.floor(ring).astype(np.int64), rings - 2)
        fc, fr = column - c, ring - r
        nodes = np.stack([(c + i) % columns * rings + r + j for i in (0, 1) for j in (0, 1)], axis=1)  # [n, 4]
        weights = np.stack([(fc if i else 1 - fc) * (fr if j else 1 - fr) for i in (0, 1) for j in (0, 1)], axis=1)
        entries = (weights.ravel().astype(np.float32), (np.repeat(np.arange(len(nodes)), 4), nodes.ravel()))
        mean = scipy.sparse.csr_matrix(entries, shape=(len(nodes), columns * rings))
        normals = unit(mean @ self.normals.reshape(-1, 3))
        return Laid(
            points=(mean @ self.points.reshape(-1, 3) + normals * np.asarray(off)[:, None]).astype(np.float32),
            normals=normals.astype(np.float32),
            follow=(mean @ self.binding).tocsr(),
            share=(mean @ self.share.ravel()).astype(np.float32),
        )

    def _search(self, azimuth: Numbers, rising: FloatArray, target: Numbers, wanted: NDArray[Any]) -> Numbers:
        """Where `rising` [C, R] first reaches `target` [n] on the way down each azimuth [n]: `wanted` [C, R] there."""
        columns = len(rising)
        column = (np.asarray(azimuth) / (2 * np.pi) * columns) % columns
        c = np.floor(column).astype(np.int64)
        f = (column - c)[:, None]
        values = rising[c] * (1 - f) + rising[(c + 1) % columns] * f
        found = wanted[c] * (1 - f) + wanted[(c + 1) % columns] * f
        below = np.maximum.accumulate(values, axis=1) >= np.asarray(target)[:, None]
        after = np.where(below.any(1), below.argmax(1), values.shape[1] - 1).clip(1)
        i = np.arange(len(c))
        low, high = values[i, after - 1], values[i, after]
        t = np.clip((target - low) / np.maximum(high - low, 1e-6), 0, 1)
        return found[i, after - 1] * (1 - t) + found[i, after] * t


@dataclass(frozen=True, kw_only=True, eq=False)
class Laid:
    """n points laid out on a form."""

    points: FloatArray
    """[n, 3]."""
    normals: FloatArray
    """[n, 3] of the form beneath."""
    follow: scipy.sparse.csr_matrix
    """[n, V]."""
    share: FloatArray
    """[n]."""


def form(origin: NDArray[np.float64], way: NDArray[np.float64], triangles: IntArray, bridge: float) -> Form:
    """Casts rays from `origin` [C, R, 3] along `way` [C, R, 3] to the skin `triangles` [t, 3], seen from inside.

    Column c has azimuth c · 360° / C and its rays lie in one upright plane. Of several triangles that a ray meets the
    nearest counts. `bridge` is how far, in dm, the form may lie off the skin to span its hollows.
    """
    columns, rings, _ = way.shape
    corners = canonical()[triangles].astype(np.float64)
    hit, weight = [], []
    for column in range(columns):
        turn = column * 2 * np.pi / columns
        from_plane = (corners[:, :, 0] - origin[column, 0, 0]) * np.cos(turn)
        from_plane -= (corners[:, :, 2] - origin[column, 0, 2]) * np.sin(turn)
        near = np.flatnonzero((from_plane.min(1) < 0.02) & (from_plane.max(1) > -0.02))
        best, share = _cast(origin[column], way[column], corners[near])
        hit.append(triangles[near[best]])
        weight.append(share)
    rows = np.repeat(np.arange(columns * rings), 3)
    entries = (np.concatenate(weight).ravel().astype(np.float32), (rows, np.concatenate(hit).ravel()))
    binding = scipy.sparse.csr_matrix(entries, shape=(columns * rings, len(canonical())))
    skin = (binding @ canonical()).reshape(columns, rings, 3).astype(np.float64)
    points = skin.copy()
    for _ in range(_SMOOTHING_PASSES):  # a cloth: tight over what stands out, straight over what lies in
        points = _smoothed(points)
        normals = _normals(points)
        points += np.clip(_along(skin - points, normals), 0, None)[:, :, None] * normals
    normals = _normals(points)
    points = skin + normals * np.clip(_along(points - skin, normals), 0, bridge)[:, :, None]
    steps = np.sqrt((np.diff(points, axis=1) ** 2).sum(2))
    return Form(
        points=points.astype(np.float32),
        normals=normals.astype(np.float32),
        binding=binding,
        share=(binding @ head_piece().share).reshape(columns, rings).astype(np.float32),
        way=np.concatenate([np.zeros((columns, 1)), steps.cumsum(1)], axis=1).astype(np.float32),
    )


def _cast(
    origin: NDArray[np.float64], way: NDArray[np.float64], corners: NDArray[np.float64]
) -> tuple[IntArray, NDArray[np.float64]]:
    """The triangle [n] of `corners` [t, 3, 3] that each ray (`origin`, `way` [n, 3]) leaves through, and its weights.

    The weights [n, 3] come from Plücker's side products of the ray and the triangle's edges. A ray that slips through a
    gap takes the triangle that it misses least.
    """
    after, before = np.roll(corners, -1, axis=1), np.roll(corners, -2, axis=1)
    moment, edge = np.cross(after, before), before - after  # [t, 3, 3]: of the edge opposite to each corner
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    level = np.einsum("ti,ti->t", normal, corners[:, 0])
    side = np.einsum("ni,tki->ntk", way, moment) + np.einsum("ni,tki->ntk", np.cross(origin, way), edge)
    total = side.sum(2)  # way · normal: positive where the ray leaves
    safe = np.maximum(total, 1e-9)
    distance = (level - np.einsum("ni,ti->nt", origin, normal)) / safe
    missed = np.clip(-(side / safe[:, :, None]).min(2) - 1e-6, 0, None)
    best = np.where((total > 1e-9) & (distance > 0), distance + 50 * missed, np.inf).argmin(1)
    share = np.clip(np.take_along_axis(side, best[:, None, None], axis=1)[:, 0], 0, None)
    return best, share / np.maximum(share.sum(1, keepdims=True), 1e-9)


def _smoothed(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each node [C, R, 3] moved halfway to the mean of its four neighbours; the first and last rings slide along."""
    up = np.concatenate([grid[:, :1], grid[:, :-1]], axis=1)
    down = np.concatenate([grid[:, 1:], grid[:, -1:]], axis=1)
    return grid * 0.5 + 0.125 * (np.roll(grid, 1, axis=0) + np.roll(grid, -1, axis=0) + up + down)


def _normals(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Outward unit normals of a grid [C, R, 3]."""
    around = np.roll(grid, -1, axis=0) - np.roll(grid, 1, axis=0)
    normals = np.cross(np.gradient(grid, axis=1), around)
    return normals / np.maximum(np.sqrt((normals**2).sum(2, keepdims=True)), 1e-9)


def _along(vectors: NDArray[np.float64], normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Products [C, R] of two grids of vectors."""
    return np.einsum("cri,cri->cr", vectors, normals)


def loft(columns: int, rows: int, *, closed: bool) -> IntArray:
    """Triangles over a grid stored column by column: azimuth rises over its columns, its rows run down."""
    last = columns if closed else columns - 1
    c, r = np.meshgrid(np.arange(last), np.arange(rows - 1), indexing="ij")
    a = (c * rows + r).ravel()
    b = ((c + 1) % columns * rows + r).ravel()
    return np.concatenate([np.stack([a, a + 1, b], axis=1), np.stack([b, a + 1, b + 1], axis=1)])
