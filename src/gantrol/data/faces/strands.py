"""Single strands: curves bound to a piece's surface, drawn as lines of points into a finished frame.

S strands of K control points each (R = S · K rows), P points drawn. What a strand is, is worked out once (`Strands`):
each control point is a fixed mix of the piece's vertices, lifted along the surface's normal and moved sideways. Per
picture that is one sparse product, of the strands that may show; control points are lit and projected, and the lines
between them are drawn one sample wide against the depth of what is already there. A strand covers its samples by a
share (`cover`): tips are wispy, and fewer, wider strands on a coarse grid cover what many fine ones do on a fine grid.

Points, directions and colours are kept one channel after the other ([3, P]): numpy is several times as fast on them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from gantrol.data.faces.camera import Camera
from gantrol.data.faces.head import FloatArray, IntArray
from gantrol.data.faces.light import Lighting
from gantrol.data.faces.raster import nearest
from gantrol.data.faces.scene import PARTS
from gantrol.data.faces.shot import Frame, Shot

_STANDS_OFF_DM = 0.15  # how far strands reach beyond the vertices that they are bound to
_BEHIND_DM = 0.25  # how deep behind what is seen a vertex may lie and its strands still show, past the horizon


@dataclass(frozen=True, kw_only=True, eq=False)
class Strands:
    """S strands of K control points, bound to vertices of one piece."""

    vertices: IntArray
    """[m] which of the n they are bound to."""
    bind: scipy.sparse.csr_matrix
    """[R, m] the mix of these that each control point is: equally many each, whose weights sum to one."""
    lift: FloatArray
    """[R] dm along the surface's normal."""
    side: FloatArray
    """[R] dm across the strand, along the surface."""
    cover: FloatArray
    """[R] share of a sample that the strand covers."""
    shade: FloatArray
    """[R] 0–1: how much light gets in between the hairs there."""
    tone: FloatArray
    """[S] brightness among its neighbours, of zero mean and about unit spread."""
    rank: FloatArray
    """[S] uniform in 0–1: strands below the share of grey are white."""

    @property
    def points(self) -> int:
        """K."""
        return len(self.lift) // len(self.tone)

    @functools.cached_property
    def homes(self) -> IntArray:
        """[K, S] of the m vertices one near each control point."""
        near = self.bind.indices.reshape(len(self.tone), self.points, -1)[:, :, 0]
        return np.ascontiguousarray(near.T, dtype=np.int64)

    @functools.cached_property
    def straight(self) -> bool:
        """Whether no point is moved sideways."""
        return not self.side.any()

    def mixed(self, chosen: IntArray, values: FloatArray) -> FloatArray:
        """The mixes of `values` [m, C] that the control points of the chosen strands [s] are: [C, s, K]."""
        count = len(chosen) * self.points
        weights, columns = (
            entries.reshape(len(self.tone), -1).take(chosen, axis=0).ravel()
            for entries in (self.bind.data, self.bind.indices)
        )
        start = np.arange(0, len(weights) + 1, max(len(weights) // max(count, 1), 1), dtype=columns.dtype)
        bind = scipy.sparse.csr_matrix((weights, columns, start), shape=(count, len(self.vertices)))
        return np.ascontiguousarray((bind @ values).T).reshape(-1, len(chosen), self.points)


def per_grid(side: int, count: int) -> int:
    """How many strands to draw on a side × side grid where `count` are drawn on 512 × 512."""
    return max(round(count * (min(side, 1024) / 512) ** 1.4), 1)


def bound(corners: IntArray, weights: NDArray[np.floating]) -> tuple[IntArray, scipy.sparse.csr_matrix]:
    """`Strands.vertices` and `Strands.bind` of control points that mix `corners` [R, k] by `weights` [R, k]."""
    vertices, column = np.unique(corners, return_inverse=True)
    start = np.arange(0, corners.size + 1, corners.shape[1])
    entries = (weights.ravel().astype(np.float32), column.ravel(), start)
    return vertices, scipy.sparse.csr_matrix(entries, shape=(len(corners), len(vertices)))


def strand_colors(tint: FloatArray, white: FloatArray, grey: float, strands: Strands, side: int) -> FloatArray:
    """The reflectance [3, S] of strands: shades of `tint` [3], and a share `grey` of them `white` [3].

    On a coarse grid each stands for several and differs less from the mean.
    """
    spread = np.float32(min(np.sqrt(side / 512), 1.0))
    warm = np.array([[0.26], [0.30], [0.34]], dtype=np.float32)
    colors = tint[:, None] * np.exp(spread * strands.tone * warm)
    turned = (strands.rank < grey) * (spread * np.float32(0.6))
    turned += np.float32(grey) * (1 - spread * np.float32(0.6))
    mixed: FloatArray = colors + (white[:, None] - colors) * turned
    return mixed


def glow(
    color: FloatArray, tangents: FloatArray, normals: FloatArray, exposed: FloatArray, light: Lighting, shine: float
) -> FloatArray:
    """Light [3, P] from hairs of `color` along `tangents` on a surface with `normals` [3, P] (Kajiya–Kay 1989).

    A fibre scatters by the sine between it and the light and mirrors along a cone; half of the scattered light is
    taken as from a matte surface, which keeps the head's roundness. `exposed` [3, P]: the share of key light, sky and
    ground that reaches them; `shine`: strength of the highlight.
    """
    scattered, mirrored = light.strands(tangents.T, normals.T)
    lit: FloatArray = light.diffuse(normals.T, exposed.T, np.float32(0.25)).T * np.float32(0.5)
    lit += light.ambient(normals.T, exposed.T).T
    lit += light.key_color[:, None] * (np.float32(0.55) * scattered * exposed[0])
    lit *= color
    gloss = mirrored * exposed[0] * np.float32(shine)
    lit += light.key_color[:, None] * gloss * (np.float32(0.21) * np.sqrt(color) + np.float32(0.02))
    return lit


def unit(vectors: FloatArray) -> FloatArray:
    """Scales vectors [3, ...] to length one."""
    x, y, z = vectors
    scaled: FloatArray = vectors / np.maximum(np.sqrt(x * x + y * y + z * z), np.float32(1e-9))
    return scaled


def _cross(a: FloatArray, b: FloatArray) -> FloatArray:
    """Cross products of vectors [3, ...]."""
    (ax, ay, az), (bx, by, bz) = a, b
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def _ways(points: FloatArray) -> FloatArray:
    """Which way curves [3, S, K] run at their control points, by central differences."""
    ways = np.empty_like(points)
    np.subtract(points[:, :, 2:], points[:, :, :-2], out=ways[:, :, 1:-1])
    np.subtract(points[:, :, 1], points[:, :, 0], out=ways[:, :, 0])
    np.subtract(points[:, :, -1], points[:, :, -2], out=ways[:, :, -1])
    return ways


def _in_view(shot: Shot, camera: Camera, frame: Frame, vertices: IntArray) -> NDArray[np.bool_]:
    """Which vertices [m] are inside the picture and not far behind what is seen there."""
    xy, depth = camera.project(shot.vertices.take(vertices, axis=0), frame.side)
    x, y = xy.T
    reach, last = _STANDS_OFF_DM / shot.spacing, frame.side - 1
    inside = (np.minimum(x, y) > -reach) & (np.maximum(x, y) < last + reach)
    column, row = np.minimum(np.maximum(xy.T, 0), last).astype(np.int64)
    seen: NDArray[np.bool_] = depth < frame.depth.take(row * frame.side + column) + np.float32(_BEHIND_DM)
    return seen & inside


def draw(
    shot: Shot,
    camera: Camera,
    frame: Frame,
    strands: Strands,
    *,
    piece: str,
    part: str,
    colors: FloatArray,
    shine: float,
    inside: float = 1.0,
) -> None:
    """Lights the strands and draws those that nothing hides.

    `piece`: what they are bound to; `part`: their name in PARTS; `colors` [3, S]: their reflectance; `shine`: strength
    of the highlight; `inside`: how bright they are where the surface turns away and shows the inner side.
    """
    used, count = strands.vertices + shot.first[piece], strands.points
    kept = np.flatnonzero(_in_view(shot, camera, frame, used).take(strands.homes).any(axis=0))
    if not len(kept):
        return

    def of_kept(values: FloatArray) -> FloatArray:
        return values.reshape(-1, count).take(kept, axis=0)

    of_vertex = [values.take(used, axis=0) for values in (shot.vertices, shot.normals, shot.light.exposure)]
    at = strands.mixed(kept, np.concatenate(of_vertex, axis=1))  # [9, s, K]
    normals, exposed = unit(at[3:6]), at[6:] * of_kept(strands.shade)
    points = at[:3] + normals * of_kept(strands.lift)
    if not strands.straight:
        points += unit(_cross(normals, _ways(at[:3]))) * of_kept(strands.side)
    xy, depth = camera.project(points.reshape(3, -1).T, frame.side)
    color, tangents = np.repeat(colors.take(kept, axis=1), count, axis=1), unit(_ways(points))
    flat_tangents, flat_normals, flat_exposed = (vectors.reshape(3, -1) for vectors in (tangents, normals, exposed))
    radiance = glow(color, flat_tangents, flat_normals, flat_exposed, shot.light, shine)
    if inside < 1:  # turned away: seen from inside
        radiance *= np.minimum(np.maximum(np.float32(0.65) + flat_normals[2] * np.float32(1.6), inside), 1)
    splat(frame, xy, depth, radiance.T, of_kept(strands.cover).ravel(), count, PARTS.index(part) + 1)


def splat(
    frame: Frame, xy: FloatArray, depth: FloatArray, radiance: FloatArray, cover: FloatArray, count: int, part: int
) -> None:
    """Draws curves of `count` points each, one sample wide, over the frame: of those at a sample the nearest.

    `xy` [R, 2] samples, `depth` [R] dm, `radiance` [R, 3], `cover` [R].
    """
    side = frame.side
    place = np.stack([xy[:, 0], xy[:, 1], depth]).reshape(3, -1, count)
    begin, way = place[:, :, :-1], place[:, :, 1:] - place[:, :, :-1]
    shown = cover.reshape(-1, count) > 0
    pieces = np.minimum(np.ceil(np.maximum(abs(way[0]), abs(way[1]))), 4 * side) * (shown[:, :-1] | shown[:, 1:])
    steps = pieces.ravel().astype(np.int64)
    owner = np.repeat(np.arange(len(steps)), steps)
    t = (np.arange(len(owner)) - (np.cumsum(steps) - steps).take(owner)).astype(np.float32) + np.float32(0.5)
    t /= pieces.ravel().take(owner)
    x, y, z = begin.reshape(3, -1).take(owner, axis=1) + way.reshape(3, -1).take(owner, axis=1) * t
    column, row = x.astype(np.int32), y.astype(np.int32)
    inside = (np.minimum(column, row) >= 0) & (np.maximum(column, row) < side)
    pixel = np.where(inside, row * side + column, 0).astype(np.int64)
    free = np.flatnonzero((z < frame.depth.take(pixel) + np.float32(0.004)) & inside)
    pixels, front = nearest(pixel.take(free), z.take(free), side * side)
    front = free.take(front)
    t, z, owner = t.take(front), z.take(front), owner.take(front)
    owner += owner // (count - 1)  # from segments to the points where they begin
    ends = np.concatenate([radiance.T, cover[None]])
    lit = ends.take(owner, axis=1)
    lit += (ends.take(owner + 1, axis=1) - lit) * t
    light, share = lit[:3], lit[3]
    below, behind = frame.cover.take(pixels), frame.radiance.take(pixels, axis=0).T
    cover_after = share + below * (1 - share)  # the "over" operator (Porter and Duff 1984): the backdrop comes later
    frame.radiance[pixels] = (behind + (light - behind) * (share / np.maximum(cover_after, np.float32(1e-6)))).T
    frame.cover[pixels] = cover_after
    mostly = np.flatnonzero(share > 0.3)
    solid = pixels.take(mostly)
    frame.depth[solid] = z.take(mostly)
    frame.part[solid] = part
