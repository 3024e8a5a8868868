"""Camera and rasteriser: triangles to the visible surface samples of a square image, vectorised in numpy.

The scene is sampled at 2 × 2 to 4 × 4 points per pixel and the image shrunk with a Lanczos filter (`shrink`), so that
no detail above the pixel rate is left: these images train alias-free generators.

V vertices, T triangles, F fragments (triangle × sample point), P visible samples, S side of the sample grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gantrol.data.faces.head import FloatArray, IntArray

# every triangle is evaluated on the smallest of these boxes that holds it; the largest exceeds every sample grid
_BOX_SIDES = [1, 2, 3, 4, *(side << k for k in range(9) for side in (6, 8))]


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera on the z axis that looks along −z at the origin."""

    distance: float = 14.0
    """dm from the origin: a portrait lens's distance, little distortion."""
    extent: float = 3.3
    """dm that the image's side spans in the plane z = 0."""

    def project(self, vertices: FloatArray, side: int) -> tuple[FloatArray, FloatArray]:
        """Projects vertices [V, 3] in dm to sample coordinates [V, 2] (y down) and depth [V] (greater is farther)."""
        depth = self.distance - vertices[:, 2]
        scale = (self.distance / depth) * (side / self.extent)
        xy = np.stack([vertices[:, 0] * scale + side / 2, side / 2 - vertices[:, 1] * scale], axis=1)
        return xy.astype(np.float32), depth.astype(np.float32)


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

    def take(self, chosen: IntArray) -> Surface:
        """Some of the samples."""
        return Surface(
            pixel=self.pixel[chosen],
            corners=self.corners.take(chosen, axis=0),
            weights=self.weights.take(chosen, axis=0),
            triangle=self.triangle[chosen],
        )

    def interpolate(self, values: FloatArray, first: int = 0) -> FloatArray:
        """Interpolates per-vertex values [V, C] at the samples: [P, C]; row 0 of `values` is vertex `first`."""
        corners = self.corners - first if first else self.corners
        out = values.take(corners[:, 0], axis=0) * self.weights[:, :1]  # take: several times faster than indexing
        out += values.take(corners[:, 1], axis=0) * self.weights[:, 1:2]
        out += values.take(corners[:, 2], axis=0) * self.weights[:, 2:]
        return out


def rasterize(
    xy: FloatArray, depth: FloatArray, triangles: IntArray, side: int, *, two_sided: NDArray[np.bool_], cut: FloatArray
) -> Surface:
    """Finds what each sample of a side × side grid sees (z-buffer).

    `xy` [V, 2] and `depth` [V] come from `Camera.project`; `two_sided` [T] marks triangles drawn from behind too; where
    the interpolated `cut` [V] is negative the surface is transparent. Attributes are interpolated linearly on the
    screen: at a portrait's distance and with triangles of millimetres, perspective changes them by less than 1 %.
    """
    x, y = xy[:, 0], xy[:, 1]
    i, j, k = triangles.T
    # y points down, so a triangle that is counter-clockwise from outside has a negative area here when it faces us
    doubled = (x[j] - x[i]) * (y[k] - y[i]) - (x[k] - x[i]) * (y[j] - y[i])
    drawn = np.flatnonzero(
        ((doubled < -1e-9) | (two_sided & (doubled > 1e-9))) & ((cut[i] > 0) | (cut[j] > 0) | (cut[k] > 0))
    )
    corners = triangles.take(drawn, axis=0)
    x0, x1, x2 = (x[corners[:, n]] for n in range(3))
    y0, y1, y2 = (y[corners[:, n]] for n in range(3))
    left = np.maximum(np.ceil(np.minimum(np.minimum(x0, x1), x2) - 0.5), 0).astype(np.int32)
    right = np.minimum(np.floor(np.maximum(np.maximum(x0, x1), x2) - 0.5), side - 1).astype(np.int32)
    top = np.maximum(np.ceil(np.minimum(np.minimum(y0, y1), y2) - 0.5), 0).astype(np.int32)
    bottom = np.minimum(np.floor(np.maximum(np.maximum(y0, y1), y2) - 0.5), side - 1).astype(np.int32)
    extent = np.where((right < left) | (bottom < top), 0, np.maximum(right - left, bottom - top) + 1)

    # The barycentric weights are linear on the screen: b1 = b1_x · column + b1_y · row + b1_0, from the corner of
    # the triangle's bounding box; likewise b2. Boxes are evaluated in groups of like size.
    inverse = 1 / doubled[drawn]
    b1_x, b1_y = (y2 - y0) * inverse, (x0 - x2) * inverse
    b2_x, b2_y = (y0 - y1) * inverse, (x1 - x0) * inverse
    from_x, from_y = left.astype(np.float32) + 0.5 - x0, top.astype(np.float32) + 0.5 - y0
    b1_0, b2_0 = from_x * b1_x + from_y * b1_y, from_x * b2_x + from_y * b2_y
    fragments = []
    smaller = 0
    for box in _BOX_SIDES:
        group = np.flatnonzero((extent <= box) & (extent > smaller))
        smaller = box
        if not len(group):
            continue
        step = np.arange(box, dtype=np.float32)
        c1 = (b1_0[group, None] + b1_y[group, None] * step)[:, :, None] + b1_x[group, None, None] * step
        c2 = (b2_0[group, None] + b2_y[group, None] * step)[:, :, None] + b2_x[group, None, None] * step
        least = np.minimum(c1, c2)
        hit = np.flatnonzero(np.minimum(least, 1 - c1 - c2, out=least) >= 0)
        which, cell = np.divmod(hit, box * box)
        row, column = np.divmod(cell, box)
        owner = group.take(which)
        column += left.take(owner)
        row += top.take(owner)
        pixel = np.where((column < side) & (row < side), row * side + column, -1)
        fragments.append((owner, pixel, c1.ravel().take(hit), c2.ravel().take(hit)))
    if not fragments:
        nothing = np.zeros(0, dtype=np.int64)
        none = np.zeros((0, 3))
        return Surface(pixel=nothing, corners=none.astype(np.int64), weights=none.astype(np.float32), triangle=nothing)
    owner, pixel, b1, b2 = (np.concatenate(arrays) for arrays in zip(*fragments, strict=True))

    depths, cuts = depth.take(corners), cut.take(corners)  # [T, 3]
    edges = [depths[:, 0], *(depths[:, 1:] - depths[:, :1]).T, cuts[:, 0], *(cuts[:, 1:] - cuts[:, :1]).T]
    edges_of = np.stack(edges, axis=1).take(owner, axis=0)  # [F, 6]
    z = edges_of[:, 0] + edges_of[:, 1] * b1 + edges_of[:, 2] * b2
    opaque = np.flatnonzero((edges_of[:, 3] + edges_of[:, 4] * b1 + edges_of[:, 5] * b2 > 0) & (pixel >= 0))
    pixel, owner, b1, b2, z = (array.take(opaque) for array in (pixel, owner, b1, b2, z))
    nearest = np.full(side * side, np.inf, dtype=np.float32)
    np.minimum.at(nearest, pixel, z)
    seen = np.flatnonzero(z == nearest.take(pixel))
    winner = np.full(side * side, -1)
    winner[pixel[seen]] = seen  # of equals, the last
    seen = winner[winner >= 0]
    owner, b1, b2 = owner[seen], b1[seen], b2[seen]
    return Surface(
        pixel=pixel[seen].astype(np.int64),
        corners=corners.take(owner, axis=0),
        weights=np.stack([1 - b1 - b2, b1, b2], axis=1).astype(np.float32),
        triangle=drawn[owner],
    )


def shrink(image: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Shrinks a square image [S, S, 3] to size_px with a Lanczos-3 low-pass filter (in fixed point)."""
    small = Image.fromarray(image).resize((size_px, size_px), Image.Resampling.LANCZOS)
    return np.asarray(small, dtype=np.uint8)
