"""What stands before the camera: pieces of geometry, each with its triangles, its parts and how it follows the head.

A piece is made once on the average head, in canonical coordinates (the eyes' middle at the origin, dm), and then
carried along with each person's skull. A row's scene is the head and whatever it wears.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from gantrol.data.faces.head import FloatArray, IntArray, load_head
from gantrol.data.faces.pose import head_share
from gantrol.data.faces.shape import align

PARTS = ("skin", "eye_left", "eye_right", "teeth", "tongue", "lashes", "hair", "clothes", "glasses", "lens", "hat",
         "brows", "beard")  # fmt: skip
"""What a triangle is made of: the index into this is its part."""

HEAD_VALUES = ("x", "y", "z", "lips", "eyelids", "ears", "mouth_inside")
"""The per-vertex values of the head piece: canonical position and the masks of its regions."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """Geometry of n vertices and t triangles."""

    name: str
    points: FloatArray
    """[n, 3] canonical, dm."""
    triangles: IntArray
    """[t, 3] indices into the piece's own vertices, counter-clockwise seen from outside."""
    part: NDArray[np.int64]
    """[t] index into PARTS."""
    share: FloatArray
    """[n] how far a vertex follows the head's pose, not the shoulders'."""
    follow: scipy.sparse.csr_matrix | None = None
    """[n, V]: which of the head's V vertices each vertex follows; None for the head itself."""
    cut: FloatArray | None = None
    """[n] where this (interpolated) field is negative the surface is left out; None keeps all."""
    two_sided: bool = False
    """Drawn from behind too (else only lashes and hair are)."""
    values: FloatArray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    """[n, C] what the piece's shader wants interpolated."""

    def fit(self, displacement: FloatArray) -> FloatArray:
        """Carries the piece along: `displacement` [V, 3] leads from the average head to the person's: [n, 3]."""
        moved: FloatArray = self.points if self.follow is None else self.points + self.follow @ displacement
        return moved

    @functools.cached_property
    def incidence(self) -> scipy.sparse.csr_matrix:
        """[n, t] which triangles meet at a vertex."""
        corner, owner = self.triangles.ravel(), np.repeat(np.arange(len(self.triangles)), 3)
        entries = (np.ones(len(corner), dtype=np.float32), (corner, owner))
        return scipy.sparse.csr_matrix(entries, shape=(len(self.points), len(self.triangles)))

    @functools.cached_property
    def _corners(self) -> tuple[IntArray, IntArray, IntArray]:
        a, b, c = (np.ascontiguousarray(corner) for corner in self.triangles.T)
        return a, b, c

    def normals(self, vertices: FloatArray) -> FloatArray:
        """Area-weighted unit normals of the piece's vertices [n, 3]: [n, 3]."""
        a, b, c = self._corners
        edges = []
        for axis in np.ascontiguousarray(vertices.T):  # one axis at a time: numpy is slow on rows of three
            start = axis.take(a)
            edges.append((axis.take(b) - start, axis.take(c) - start))
        (ux, vx), (uy, vy), (uz, vz) = edges
        x, y, z = (self.incidence @ face for face in (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx))
        long = np.maximum(np.sqrt(x * x + y * y + z * z), np.float32(1e-9))
        return np.stack([x / long, y / long, z / long], axis=1)


def unit(vectors: FloatArray) -> FloatArray:
    """Scales rows [P, 3] to length one."""
    x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    scaled: FloatArray = vectors / np.maximum(np.sqrt(x * x + y * y + z * z), np.float32(1e-9))[:, None]
    return scaled


@functools.cache
def canonical() -> FloatArray:
    """The average head [V, 3] with the eyes' middle at the origin, dm."""
    head = load_head()
    return align(head.average, head.average).astype(np.float32)


@functools.cache
def head_piece() -> Piece:
    """The head, its eyes, teeth, tongue and lashes."""
    head, points = load_head(), canonical()
    names = PARTS[:6]
    triangles = [head.part_triangles(name) for name in names]
    return Piece(
        name="head",
        points=points,
        triangles=np.concatenate(triangles),
        part=np.repeat(np.arange(len(names)), [len(t) for t in triangles]),
        share=head_share(points),
        values=np.stack([*points.T, *(head.masks[name] for name in HEAD_VALUES[3:])], axis=1).astype(np.float32),
    )
