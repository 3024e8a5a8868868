"""Single strands: curves bound to a piece's surface, drawn as lines of points into a finished frame.

S strands of K control points each (R = S · K rows), P points drawn. What a strand is, is worked out once (`Strands`):
each control point is a fixed mix of the piece's vertices, lifted along the surface's normal and moved sideways. Per
picture that is one sparse product; control points are lit and projected, and the lines between them are drawn one
sample wide against the depth of what is already there. A strand covers its samples by a share (`cover`): tips are
wispy, and fewer, wider strands on a coarse grid cover what many fine ones do on a fine grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from gantrol.data.faces.camera import Camera
from gantrol.data.faces.head import FloatArray, IntArray
from gantrol.data.faces.light import Lighting
from gantrol.data.faces.scene import PARTS, unit
from gantrol.data.faces.shot import Frame, Shot


@dataclass(frozen=True, kw_only=True, eq=False)
class Strands:
    """S strands of K control points, bound to vertices of one piece."""

    vertices: IntArray
    """[m] which of the n they are bound to."""
    bind: scipy.sparse.csr_matrix
    """[R, m] the mix of these that each control point is; rows sum to one."""
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
    """The reflectance [S, 3] of strands: shades of `tint` [3], and a share `grey` of them `white` [3].

    On a coarse grid each stands for several and differs less from the mean.
    """
    spread = np.float32(min(np.sqrt(side / 512), 1.0))
    warm = np.array([0.26, 0.30, 0.34], dtype=np.float32)
    colors = tint * np.exp(spread * strands.tone[:, None] * warm)
    turned = (strands.rank < grey).astype(np.float32) * spread * np.float32(0.6)
    turned += np.float32(grey) * (1 - spread * np.float32(0.6))
    mixed: FloatArray = colors + (white - colors) * turned[:, None]
    return mixed


def glow(
    color: FloatArray, tangents: FloatArray, normals: FloatArray, exposed: FloatArray, light: Lighting, shine: float
) -> FloatArray:
    """Light [P, 3] from hairs of `color` along `tangents` on a surface with `normals` (Kajiya–Kay 1989).

    A fibre scatters by the sine between it and the light and mirrors along a cone; half of the scattered light is
    taken as from a matte surface, which keeps the head's roundness.
    """
    scattered, mirrored = light.strands(tangents, normals)
    light_in = np.float32(0.55) * (scattered * exposed[:, 0])[:, None] * light.key_color
    light_in += np.float32(0.5) * light.diffuse(normals, exposed, np.float32(0.25))
    light_in += light.ambient(normals, exposed)
    gloss = mirrored * exposed[:, 0] * np.float32(shine)
    lit: FloatArray = color * light_in
    lit += gloss[:, None] * light.key_color * (np.float32(0.21) * np.sqrt(color) + np.float32(0.02))
    return lit


def _cross(a: FloatArray, b: FloatArray) -> FloatArray:
    """Row-wise cross product of [P, 3]."""
    product: FloatArray = np.stack(
        [
            a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1],
            a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2],
            a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0],
        ],
        axis=1,
    )
    return product


def _tangents(points: FloatArray, count: int) -> FloatArray:
    """Unit tangents [R, 3] of curves with `count` control points each, by central differences."""
    curves = points.reshape(-1, count, 3)
    steps = np.empty_like(curves)
    steps[:, 1:-1] = curves[:, 2:] - curves[:, :-2]
    steps[:, 0] = curves[:, 1] - curves[:, 0]
    steps[:, -1] = curves[:, -1] - curves[:, -2]
    return unit(steps.reshape(-1, 3))


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

    `piece`: what they are bound to; `part`: their name in PARTS; `colors` [S, 3]: their reflectance; `shine`: strength
    of the highlight; `inside`: how bright they are where the surface turns away and shows the inner side.
    """
    used, count = strands.vertices + shot.first[piece], strands.points
    surface = np.concatenate(
        [of_vertex.take(used, axis=0) for of_vertex in (shot.vertices, shot.normals, shot.light.exposure)], axis=1
    )
    at = strands.bind @ surface
    normals = unit(at[:, 3:6])
    lateral = unit(_cross(normals, _tangents(at[:, :3], count)))
    points = at[:, :3] + normals * strands.lift[:, None] + lateral * strands.side[:, None]
    xy, depth = camera.project(points, frame.side)
    column, row = np.clip(xy, 0, frame.side - 1).astype(np.int32).T
    hidden = depth > frame.depth.take(row * frame.side + column) + np.float32(0.03)
    outside = (xy < -8).any(axis=1) | (xy > frame.side + 8).any(axis=1)
    kept = np.flatnonzero(~(hidden | outside).reshape(-1, count).all(axis=1))
    if not len(kept):
        return
    rows = (kept[:, None] * count + np.arange(count)).ravel()
    points = points.take(rows, axis=0)
    tangents = _tangents(points, count)
    normals = normals.take(rows, axis=0)
    exposed = at.take(rows, axis=0)[:, 6:] * strands.shade.take(rows)[:, None]
    inner = np.clip(np.float32(0.65) + normals[:, 2] * np.float32(1.6), inside, 1)  # turned away: seen from inside
    radiance = glow(np.repeat(colors.take(kept, axis=0), count, axis=0), tangents, normals, exposed, shot.light, shine)
    radiance *= inner[:, None]
    covers = strands.cover.take(rows)
    splat(frame, xy.take(rows, axis=0), depth.take(rows), radiance, covers, count, PARTS.index(part) + 1)


def splat(
    frame: Frame, xy: FloatArray, depth: FloatArray, radiance: FloatArray, cover: FloatArray, count: int, part: int
) -> None:
    """Draws curves of `count` points each, one sample wide, over the frame: of those at a sample the nearest.

    `xy` [R, 2] samples, `depth` [R] dm, `radiance` [R, 3], `cover` [R].
    """
    first = np.arange(len(depth)).reshape(-1, count)[:, :-1].ravel()
    x, y = xy[:, 0], xy[:, 1]
    x0, y0 = x.take(first), y.take(first)
    dx, dy = x.take(first + 1) - x0, y.take(first + 1) - y0
    pieces = np.minimum(np.ceil(np.maximum(abs(dx), abs(dy))), 4 * frame.side).astype(np.int32)
    pieces *= (cover.take(first) > 0) | (cover.take(first + 1) > 0)
    begins = np.cumsum(pieces) - pieces
    owner = np.repeat(np.arange(len(first), dtype=np.int32), pieces)
    t = (np.arange(len(owner), dtype=np.int32) - begins.take(owner) + np.float32(0.5)) / pieces.take(owner)
    t = t.astype(np.float32)
    column = (x0.take(owner) + dx.take(owner) * t).astype(np.int32)
    row = (y0.take(owner) + dy.take(owner) * t).astype(np.int32)
    z0 = depth.take(first)
    z = z0.take(owner) + (depth.take(first + 1) - z0).take(owner) * t
    pixel = row * frame.side + column
    pixel[(column < 0) | (column >= frame.side) | (row < 0) | (row >= frame.side)] = 0
    shown = np.flatnonzero((z < frame.depth.take(pixel) + np.float32(0.004)) & (pixel > 0))
    pixel, z = pixel.take(shown), z.take(shown)
    nearest = np.full(frame.side**2, np.inf, dtype=np.float32)
    np.minimum.at(nearest, pixel, z)
    best = np.flatnonzero(z == nearest.take(pixel))
    winner = np.full(frame.side**2, -1, dtype=np.int32)
    winner[pixel.take(best)] = best  # of equals, the last
    samples = np.flatnonzero(winner >= 0)
    front = winner.take(samples)
    chosen = shown.take(front)
    t, a = t.take(chosen), first.take(owner.take(chosen))
    share = cover.take(a) * (1 - t) + cover.take(a + 1) * t
    light = radiance.take(a, axis=0)
    light += (radiance.take(a + 1, axis=0) - light) * t[:, None]
    below = frame.cover.take(samples)
    cover_after = share + below * (1 - share)  # the "over" operator (Porter and Duff 1984): the backdrop comes later
    behind = frame.radiance.take(samples, axis=0)
    frame.radiance[samples] = behind + (light - behind) * (share / np.maximum(cover_after, np.float32(1e-6)))[:, None]
    frame.cover[samples] = cover_after
    mostly = np.flatnonzero(share > 0.3)
    frame.depth[samples[mostly]] = z.take(front[mostly])
    frame.part[samples[mostly]] = part
