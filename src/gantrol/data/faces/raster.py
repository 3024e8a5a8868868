"""Rasteriser: triangles to the visible surface samples of a square image, vectorised in numpy.

The scene is sampled at 2 × 2 to 4 × 4 points per pixel and the image shrunk with a Lanczos filter (`shrink`), so that
no detail above the pixel rate is left: these images train alias-free generators.

V vertices, T triangles, F fragments (triangle × sample point), P visible samples, S side of the sample grid. A triangle
is cut into spans (triangle × sample row), a span into fragments, and each sample keeps its nearest fragment.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from PIL import Image

from gantrol.data.faces.head import FloatArray, IntArray

_HALF_OPEN = 0.5005  # sample centres lie at 0.5; a thousandth more closes the seam between neighbouring triangles
_NOTHING = np.uint64(0x7F800000) << np.uint64(32)  # infinitely far


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The visible samples of a scene."""

    pixel: IntArray
    """[P] index into the flattened sample grid, each at most once."""
    corners: IntArray
    """[P, 3] vertex indices of the triangle seen."""
    weights: FloatArray
    """[P, 3] barycentric weights."""
    triangle: IntArray
    """[P] index of the triangle seen."""
    depth: FloatArray
    """[P] dm from the camera."""
    carried: dict[str, FloatArray] = field(default_factory=dict, repr=False)
    """name -> [P, C] what has been interpolated at the samples already."""
    _mixers: dict[tuple[int, int], scipy.sparse.csr_matrix] = field(default_factory=dict, repr=False)
    """The weights as matrices, by the range of vertices they mix."""

    def take(self, chosen: IntArray) -> Surface:
        """Some of the samples."""
        return Surface(
            pixel=self.pixel[chosen],
            corners=self.corners.take(chosen, axis=0),
            weights=self.weights.take(chosen, axis=0),
            triangle=self.triangle[chosen],
            depth=self.depth[chosen],
            carried={name: values.take(chosen, axis=0) for name, values in self.carried.items()},
        )

    def interpolate(self, values: FloatArray, first: int = 0) -> FloatArray:
        """Interpolates per-vertex values [V, C] at the samples: [P, C]; row 0 of `values` is vertex `first`."""
        mixer = self._mixers.get((first, len(values)))
        if mixer is None:
            place = (self.corners.ravel() - first).astype(np.int32)
            start = np.arange(0, len(place) + 1, 3, dtype=np.int32)
            shape = len(self.pixel), len(values)
            mixer = scipy.sparse.csr_matrix((self.weights.ravel(), place, start), shape=shape)
            self._mixers[first, len(values)] = mixer
        mixed: FloatArray = mixer @ values  # in one thread and a fixed order, and faster than indexing
        return mixed


def rasterize(
    xy: FloatArray, depth: FloatArray, triangles: IntArray, side: int, *, two_sided: NDArray[np.bool_], cut: FloatArray
) -> Surface:
    """Finds what each sample of a side × side grid sees (z-buffer).

    `xy` [V, 2] and `depth` [V], which must be positive, come from `camera.Camera.project`; `two_sided` [T] marks
    triangles drawn from behind too; where the interpolated `cut` [V] is negative the surface is transparent. Attributes
    are interpolated linearly on the screen: at a portrait's distance and with triangles of millimetres, perspective
    changes them by less than 1 %.
    """
    x, y = np.ascontiguousarray(xy[:, 0]), np.ascontiguousarray(xy[:, 1])
    corner = [np.ascontiguousarray(column) for column in triangles.T]
    x0, x1, x2, y0, y1, y2 = (axis.take(ends) for axis in (x, y) for ends in corner)
    # y points down, so a triangle that is counter-clockwise from outside has a negative area here when it faces us
    doubled = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    solid = cut > 0
    facing = np.flatnonzero(
        ((doubled < -1e-9) | (two_sided & (doubled > 1e-9)))
        & (solid.take(corner[0]) | solid.take(corner[1]) | solid.take(corner[2]))
    )
    x0, x1, x2, y0, y1, y2 = (values.take(facing) for values in (x0, x1, x2, y0, y1, y2))
    top = np.maximum(np.ceil(np.minimum(np.minimum(y0, y1), y2) - 0.5), 0)
    bottom = np.minimum(np.floor(np.maximum(np.maximum(y0, y1), y2) - 0.5), side - 1)
    left = np.maximum(np.ceil(np.minimum(np.minimum(x0, x1), x2) - _HALF_OPEN), 0)
    right = np.minimum(np.floor(np.maximum(np.maximum(x0, x1), x2) - (1 - _HALF_OPEN)), side - 1)
    near = np.flatnonzero((bottom >= top) & (right >= left))  # the others lie between the samples
    drawn = facing.take(near)
    x0, x1, x2, y0, y1, y2, top, bottom = (values.take(near) for values in (x0, x1, x2, y0, y1, y2, top, bottom))
    doubled = doubled.take(drawn)
    corners = triangles.take(drawn, axis=0)

    # The barycentric weights are linear on the screen: b = b_x · (X − x0) + b_y · (Y − y0) (+ 1 for the first corner).
    b1_x, b1_y = (y2 - y0) / doubled, (x0 - x2) / doubled
    b2_x, b2_y = (y0 - y1) / doubled, (x1 - x0) / doubled

    owner, row, first, width = _spans((b1_x, b2_x), (b1_y, b2_y), (x0, y0), (top, bottom), side)
    down = (row + np.float32(0.5)).astype(np.float32) - y0.take(owner)

    # One entry per fragment.
    span = np.repeat(np.arange(len(owner)), width)
    column = np.arange(len(span)) - (np.cumsum(width) - width - first).take(span)
    pixel = (row * side).take(span) + column
    d0, d1, d2 = (depth.take(corner) for corner in corners.T)
    z_x, z_y = (d1 - d0) * b1_x + (d2 - d0) * b2_x, (d1 - d0) * b1_y + (d2 - d0) * b2_y
    step = z_x.take(owner)
    z = step.take(span) * column.astype(np.float32)
    z += (d0.take(owner) + z_y.take(owner) * down + step * (np.float32(0.5) - x0.take(owner))).take(span)

    clipped = np.minimum(np.minimum(cut.take(corners[:, 0]), cut.take(corners[:, 1])), cut.take(corners[:, 2])) <= 0
    partly = np.flatnonzero(clipped.take(owner).take(span)) if clipped.any() else clipped[:0]
    if len(partly):
        tri = owner.take(span.take(partly))
        c0, c1, c2 = (cut.take(corner) for corner in corners.T)
        c_x, c_y = (c1 - c0) * b1_x + (c2 - c0) * b2_x, (c1 - c0) * b1_y + (c2 - c0) * b2_y
        across = column.take(partly) + np.float32(0.5) - x0.take(tri)
        field = c0.take(tri) + c_x.take(tri) * across + c_y.take(tri) * down.take(span.take(partly))
        z[partly[field <= 0]] = np.inf

    seen_pixel, seen = nearest(pixel, z.astype(np.float32), side * side)
    span = span.take(seen)
    owner, down = owner.take(span), down.take(span)
    across = (column.take(seen) + np.float32(0.5)).astype(np.float32) - x0.take(owner)
    b1 = b1_x.take(owner) * across + b1_y.take(owner) * down
    b2 = b2_x.take(owner) * across + b2_y.take(owner) * down
    return Surface(
        pixel=seen_pixel,
        corners=corners.take(owner, axis=0),
        weights=np.stack([1 - b1 - b2, b1, b2], axis=1).astype(np.float32),
        triangle=drawn.take(owner),
        depth=z.take(seen).astype(np.float32),
    )


def _spans(
    b_x: tuple[FloatArray, FloatArray],
    b_y: tuple[FloatArray, FloatArray],
    origin: tuple[FloatArray, FloatArray],
    rows: tuple[FloatArray, FloatArray],
    side: int,
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Cuts triangles into spans: for each its triangle, its sample row, its first column and its number of columns.

    `b_x`, `b_y` [T] are the slopes of the second and third corner's weights, `origin` [T] the place of the first
    corner, `rows` [T] the first and last sample row that the triangle can meet.

    A weight is zero along one edge. On a sample row, two of the edges bound the triangle from one side and one from the
    other; a horizontal edge bounds nothing, the rows do. A bound is X − x0 = slope · (Y − y0) + offset.
    """
    (x0, y0), (top, bottom) = origin, rows
    across = np.stack([-b_x[0] - b_x[1], *b_x])
    down = np.stack([-b_y[0] - b_y[1], *b_y])
    level = abs(across) < 1e-7
    steep = np.where(level, np.float32(1), across)
    slope, offset = (-down / steep).astype(np.float32), np.zeros_like(across)
    offset[0] = -1 / steep[0]
    height = (bottom - top).astype(np.int64) + 1
    owner: IntArray = np.repeat(np.arange(len(height)), height)
    row = np.arange(len(owner)) - np.repeat(np.cumsum(height) - height - top.astype(np.int64), height)
    y = (row + np.float32(0.5)).astype(np.float32) - y0.take(owner)
    far = np.float32(4 * side)
    ends = []
    for used, none, tighter in ((across > 0, -far, np.maximum), (across < 0, far, np.minimum)):
        slopes, offsets = _bounds(slope, offset, ~level & used, none)
        lines = [s.take(owner) * y + o.take(owner) for s, o in zip(slopes, offsets, strict=True)]
        ends.append(tighter(*lines) + x0.take(owner))
    first = np.maximum(np.ceil(ends[0] - _HALF_OPEN), 0).astype(np.int64)
    last = np.minimum(np.floor(ends[1] - (1 - _HALF_OPEN)), side - 1).astype(np.int64)
    hit = np.flatnonzero(last >= first)
    return owner.take(hit), row.take(hit), first.take(hit), (last - first).take(hit) + 1


def _bounds(
    slope: FloatArray, offset: FloatArray, used: NDArray[np.bool_], none: np.float32
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Of three edges [3, T], the one or two that are used, as two (the one twice; `none` where there is none)."""
    slopes, offsets = [], []
    for first, second, third in ((0, 1, 2), (2, 1, 0)):
        slopes.append(np.where(used[first], slope[first], np.where(used[second], slope[second], slope[third])))
        offsets.append(np.where(used[first], offset[first], np.where(used[second], offset[second], offset[third])))
    empty = np.flatnonzero(~used.any(0))
    for bound, value in ((slopes, 0), (offsets, none)):
        for array in bound:
            array[empty] = value
    return slopes, offsets


def nearest(pixel: IntArray, depth: FloatArray, count: int) -> tuple[IntArray, IntArray]:
    """Which of F fragments each of `count` samples shows: the samples [P] that show any, in order, and theirs [P].

    `pixel` [F] is the sample that each lies at, `depth` [F] its distance, float32: positive, or infinite where there is
    nothing. The bits of positive numbers are ordered as they are: depth and fragment number are packed into one word,
    and of the words at a sample the least is kept.
    """
    word = depth.view(np.uint32).astype(np.uint64)
    word <<= np.uint64(32)
    word |= np.arange(len(word), dtype=np.uint64)
    least = np.full(count, _NOTHING, dtype=np.uint64)
    np.minimum.at(least, pixel, word)
    sample = np.flatnonzero(least < _NOTHING)
    return sample, (least.take(sample) & np.uint64(0xFFFFFFFF)).astype(np.int64)


def shrink(image: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Shrinks a square image [S, S, 3] to size_px with a Lanczos-3 low-pass filter (in fixed point)."""
    small = Image.fromarray(image).resize((size_px, size_px), Image.Resampling.LANCZOS)
    return np.asarray(small, dtype=np.uint8)
