"""Brows, stubble and beard: a soft painted base on the skin, and short strands bound to the face over it.

Where they grow is written in canonical coordinates, so they move with every expression. The brows are the person's:
their height, arch and thickness come from the identity seed, and only slowly thin out and turn grey.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces import hair
from gantrol.data.faces.attributes import Row
from gantrol.data.faces.camera import Camera
from gantrol.data.faces.head import FloatArray, IntArray
from gantrol.data.faces.scene import HEAD_VALUES, PARTS, canonical, head_piece
from gantrol.data.faces.shape import identity_rng
from gantrol.data.faces.shot import Frame, Shot, mix, smooth_step, strand_noise
from gantrol.data.faces.strands import Strands, bound, draw, per_grid, strand_colors

Array = NDArray[np.float64]
_NAMED = 0.3  # painted brows that cover this much are brows, not skin
_BROW_STRANDS = 760  # both, on a 512 × 512 grid
_BROW_BEGIN, _BROW_SPAN = 0.105, 0.415  # dm from the middle of the face, and along it
_FINE_DM = 0.016  # between samples: on coarser grids brows are painted without single hairs
_CELL = 0.02  # dm: of the table that finds the triangle at a point of the brows

# z -> height below which a beard grows on the cheeks: from the ear's front, along the cheek, to the corner of the mouth
_CHEEK_LINE = ([-0.66, -0.56, -0.48, -0.38, -0.22, -0.05, 0.08, 0.16, 0.4],
               [0.02, -0.08, -0.27, -0.43, -0.51, -0.53, -0.50, -0.47, -0.43])  # fmt: skip


def brow_color(row: Row) -> FloatArray:
    """Linear reflectance [3]: as the hair without its white, darker and never fully dyed."""
    color = hair.pigment(row)
    brows: FloatArray = (0.4 * color + 0.6 * color.mean()) * 0.24 + np.array([0.018, 0.011, 0.008], dtype=np.float32)
    return brows


def _brow_tint(shot: Shot) -> FloatArray:
    """The brows' reflectance [3] on this skin: darker than it."""
    color = brow_color(shot.row)
    return color * np.float32(min(1.0, 0.45 * float(shot.look.skin.mean()) / float(color.mean())))


def _brow_shape(row: Row) -> tuple[float, float, float]:
    """Height of the brows' middle line, half their thickness and their arch, dm."""
    return _brow_shape_of(row["identity"], row["gender"])


@functools.lru_cache(maxsize=64)
def _brow_shape_of(identity: int, gender: float) -> tuple[float, float, float]:
    rng = identity_rng(identity, 2)
    height = 0.214 + rng.normal(0, 0.012) - 0.012 * gender
    thickness = (0.030 + 0.015 * gender) * np.exp(rng.normal(0, 0.16))
    arch = 0.040 - 0.020 * gender + rng.normal(0, 0.008)
    return float(height), float(thickness), float(arch)


def _brow_line(t: NDArray[np.floating], row: Row) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Height of the middle line and half the thickness at place t (0 inner end, 1 tail)."""
    height, thickness, arch = _brow_shape(row)
    bend, late = (t - 0.60) / 0.55, np.minimum(np.maximum((t - 0.45) / 0.55, 0), 1)
    line = (height + arch) - arch * bend * bend - 0.02 * np.minimum(np.maximum(t - 0.75, 0), 1)
    wide = 0.85 + 0.5 * t * (0.6 - t) - 0.75 * late * np.sqrt(late)
    return line, thickness * np.minimum(np.maximum(wide, 0.30), 1.2)


def brow_mask(points: FloatArray, row: Row, *, alone: bool = False) -> FloatArray:
    """Coverage 0–1 of the painted brows at canonical points [P, 3].

    They are the base of single hairs or, `alone`, stand for the hairs too, which reach farther than it.
    """
    edge, begin, full, end = (1.70, -0.12, 0.12, 1.15) if alone else (1.30, -0.06, 0.22, 1.05)
    t = (abs(points[:, 0]) - _BROW_BEGIN) / _BROW_SPAN
    line, width = _brow_line(t, row)
    off = abs(points[:, 1] - line) / width
    ends = smooth_step(t, begin, full) * smooth_step(t, end, 0.80)
    mask: FloatArray = smooth_step(off, edge, 0.25) * ends * (points[:, 2] > -0.5)
    return mask


def beard_mask(points: NDArray[np.floating], beard: str) -> NDArray[np.floating]:
    """How densely a beard grows at canonical points [P, 3], 0–1; the lips are left out elsewhere."""
    if beard == "none":
        return np.zeros(len(points), dtype=np.float32)
    x, y, z = abs(points[:, 0]), points[:, 1], points[:, 2]
    lip = smooth_step(y, -0.665, -0.60) * smooth_step(y, -0.445, -0.475) * smooth_step(x, 0.30, 0.235)
    lip *= smooth_step(y + 0.30 * np.clip(x - 0.10, 0, 1), -0.455, -0.485) * (z > 0.0)
    if beard == "moustache":
        return lip
    bare = np.exp(-(((x - 0.14) / 0.055) ** 2) - ((y + 0.86) / 0.05) ** 2)  # beside the tuft under the lower lip
    chin = smooth_step(y, -0.775, -0.84) * smooth_step(y, -1.22, -1.10) * (1 - 0.8 * bare)
    if beard == "goatee":
        wide = 0.275 - 0.10 * smooth_step(y, -0.95, -1.12)
        around = smooth_step(abs(x - 0.265), 0.055, 0.025) * smooth_step(y, -0.50, -0.56) * smooth_step(y, -0.95, -0.85)
        return np.maximum(lip, np.maximum(chin * smooth_step(x - wide, 0.04, -0.04), around) * (z > -0.25))
    line = np.interp(z, *_CHEEK_LINE)
    cheeks = smooth_step(y - line, 0.06, -0.10) * smooth_step(y, -1.30, -1.12) * smooth_step(z, -0.66, -0.60)
    mouth = smooth_step(x, 0.30, 0.24) * smooth_step(y, -0.84, -0.79) * smooth_step(y, -0.52, -0.57) * (z > 0.05)
    return np.maximum(lip, cheeks * (1 - mouth) * (1 - 0.8 * bare * (z > 0.1)))


_BASE = {"stubble": 0.34, "moustache": 0.5, "goatee": 0.55, "short": 0.6, "full": 0.75}


def _beard_tint(shot: Shot) -> FloatArray:
    """The beard's reflectance [3] without its white hairs: a little darker and redder than the hair's."""
    color = hair.pigment(shot.row) * np.array([0.80, 0.70, 0.62], dtype=np.float32) + np.float32(0.004)
    return color * np.float32(min(1.0, 0.6 * float(shot.look.skin.mean()) / float(color.mean())))


def _beard_grey(row: Row) -> float:
    return float(row["grey"] ** 0.75)


def paint(color: FloatArray, points: FloatArray, masks: dict[str, FloatArray], shot: Shot) -> FloatArray:
    """Paints what lies between the strands over skin reflectance `color` [P, 3] at canonical `points` [P, 3]."""
    beard = shot.row["beard"]
    if beard != "none":
        near = np.flatnonzero((points[:, 1] < 0.05) & (points[:, 1] > -1.32) & (points[:, 2] > -0.68))
        at = points[near]
        patchy = 1 + 0.25 * strand_noise(at[:, 0] * 30 + at[:, 2] * 22, at[:, 1], shot.spacing * 30)
        cover = beard_mask(at, beard) ** 1.3 * (1 - masks["lips"][near]) * (1 - masks["mouth_inside"][near]) * patchy
        white = hair.WHITE * np.float32(0.8)
        base = _beard_tint(shot) * np.float32(0.85)
        base += (white - base) * np.float32(_beard_grey(shot.row))
        color[near] = mix(color[near], base, (_BASE[beard] * np.clip(cover, 0, 1)).astype(np.float32))
    near = _near_brows(points)
    at = points.take(near, axis=0)
    tint = _brow_tint(shot)
    tint += (hair.WHITE - tint) * np.float32(0.25 * shot.row["grey"])
    alone = _alone(shot)
    dense, dark = (0.90, 0.85) if alone else (0.78, 1.0)
    cover = brow_mask(at, shot.row, alone=alone) * np.float32(dense)
    color[near] = mix(color.take(near, axis=0), tint * np.float32(dark), cover)
    return color


def _alone(shot: Shot) -> bool:
    """Whether brows are painted without single hairs, which are finer than the samples."""
    return shot.spacing > _FINE_DM


def _near_brows(points: FloatArray) -> IntArray:
    """Which of the canonical points [P, 3] lie where brows may grow."""
    x, y, z = points.T
    return np.flatnonzero((abs(y - np.float32(0.22)) < 0.16) & (abs(x) < 0.66) & (z > -0.5))


@functools.cache
def _skin_triangles() -> IntArray:
    """The triangles [t, 3] of the skin."""
    piece = head_piece()
    return piece.triangles[piece.part == 0]


@functools.cache
def _brow_table() -> tuple[IntArray, int]:
    """For each cell of a grid over x in ±0.8, y in 0…0.5 the frontmost triangle [w · h], and the width w."""
    points, triangles = canonical().astype(np.float64), _skin_triangles()
    middle = points[triangles].mean(axis=1)
    front = triangles[(middle[:, 2] > -0.6) & (middle[:, 1] > -0.1) & (middle[:, 1] < 0.6)]
    wide, high = round(1.6 / _CELL), round(0.5 / _CELL)
    x, y = np.meshgrid((np.arange(wide) + 0.5) * _CELL - 0.8, (np.arange(high) + 0.5) * _CELL)
    spots = np.stack([x.ravel(), y.ravel()], axis=1)
    weights = _flat_weights(spots[:, None], front[None])  # [cells, t, 3]
    return front[weights.min(axis=2).argmax(axis=1)], wide


def _flat_weights(spots: Array, triangles: IntArray) -> Array:
    """Barycentric weights [..., 3] of points [..., 2] in triangles [..., 3], all seen from the front."""
    a, b, c = (canonical()[triangles[..., k], :2].astype(np.float64) for k in range(3))
    u, v, w = b - a, c - a, spots - a
    area = u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
    area = np.where(abs(area) < 1e-9, 1e-9, area)
    s = (w[..., 0] * v[..., 1] - w[..., 1] * v[..., 0]) / area
    t = (u[..., 0] * w[..., 1] - u[..., 1] * w[..., 0]) / area
    return np.stack([1 - s - t, s, t], axis=-1)


@functools.lru_cache(maxsize=8)
def _brows(identity: int, gender: float, age: float, count: int) -> Strands:
    """Both brows of a person: short strands, upright at the inner end, along the arch, downward at the tail."""
    points = 4
    rng = np.random.default_rng([23, identity])
    person: Row = {"identity": identity, "gender": gender}
    draws = rng.random((8, 3 * _BROW_STRANDS))[:, :count]
    place, across, mirror, long, swing, weight, rank, rise = draws
    t = 0.97 * place**1.15
    line, width = _brow_line(t, person)
    off = (across + draws[3] - 1) * 1.05  # denser in the middle
    mirrored = np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
    angle = np.interp(t, [0, 0.10, 0.30, 0.55, 0.75, 1.0], [88, 72, 42, 14, -14, -34]) - 24 * off + 24 * (swing - 0.5)
    length = (0.050 + 0.035 * long) * np.interp(t, [0, 0.15, 0.5, 1.0], [0.75, 1.0, 1.0, 0.55]) * (1 + 0.15 * gender)
    step = np.linspace(-0.4, 0.6, points)
    bend = np.radians(angle[:, None] - 16 * (step - 0.1))
    x = _BROW_BEGIN + _BROW_SPAN * t[:, None] + length[:, None] * step * np.cos(bend)
    y = (line + off * width)[:, None] + length[:, None] * step * np.sin(bend)
    x = x * mirrored[:, None]
    table, wide = _brow_table()
    cell_x = np.clip((x + 0.8) / _CELL, 0, wide - 1).astype(np.int64)
    cell_y = np.clip(y / _CELL, 0, len(table) // wide - 1).astype(np.int64)
    corners = table[cell_y * wide + cell_x]
    weights = _flat_weights(np.stack([x, y], axis=-1), corners)
    old = np.clip((age - 45) / 40, 0, 1)
    grown = (weight > 0.40 * old) & (place > 0.03 * mirror)
    s = np.linspace(0, 1, points)
    cover = grown[:, None] * (0.66 - 0.40 * s**2) * (0.85 + 0.15 * gender)
    lift = 0.004 + (0.006 + 0.010 * rise)[:, None] * np.sin(np.pi * s * 0.6)
    vertices, bind = bound(corners.reshape(-1, 3), weights.reshape(-1, 3))
    return Strands(
        vertices=vertices,
        bind=bind,
        lift=lift.ravel().astype(np.float32),
        side=np.zeros(lift.size, dtype=np.float32),
        cover=cover.ravel().astype(np.float32),
        shade=np.full(lift.size, 0.95, dtype=np.float32),
        tone=(2 * (swing - 0.5) + 1.5 * (long - 0.5)).astype(np.float32),
        rank=rank.astype(np.float32),
    )


# beard -> strands on a 512 × 512 grid, control points, length dm, how much they stand off
_GROWTH = {"stubble": (2600, 2, 0.020, 0.45), "moustache": (700, 4, 0.105, 0.30), "goatee": (1300, 4, 0.105, 0.35),
           "short": (2800, 3, 0.060, 0.40), "full": (3200, 5, 0.190, 0.50)}  # fmt: skip


@functools.lru_cache(maxsize=16)
def _beard(beard: str, count: int) -> Strands:
    """The strands of a beard: downward on the cheeks, outward under the nose, hanging where they are long."""
    _, points, longest, stiff = _GROWTH[beard]
    rng = np.random.default_rng([29, len(beard)])
    home, triangles = canonical().astype(np.float64), _skin_triangles()
    u, v = home[triangles[:, 1]] - home[triangles[:, 0]], home[triangles[:, 2]] - home[triangles[:, 0]]
    flat = np.cross(u, v)
    near = home[triangles].mean(axis=1)
    area = np.linalg.norm(flat, axis=1) * (beard_mask(near, beard) + 0.02) * (near[:, 2] > -0.7) * (near[:, 1] < 0.1)
    share = area.cumsum()
    tries = 6 * _GROWTH[beard][0]
    owner = np.searchsorted(share, rng.random(tries) * share[-1])
    b, c = rng.random((2, tries))
    b, c = np.where(b + c > 1, 1 - b, b), np.where(b + c > 1, 1 - c, c)
    weights = np.stack([1 - b - c, b, c], axis=1)
    corners = triangles[owner]
    root = np.einsum("pk,pkc->pc", weights, home[corners])
    masks = head_piece().values[:, [HEAD_VALUES.index("lips"), HEAD_VALUES.index("mouth_inside")]]
    lips = np.einsum("pk,pkc->pc", weights, masks[corners]).max(axis=1)
    accepted = (beard_mask(root, beard) * (1 - lips) ** 2 > 0.15 + 0.75 * rng.random(tries)) & (lips < 0.4)
    kept = np.flatnonzero(accepted)[:count]
    root, corners, weights, owner = root[kept], corners[kept], weights[kept], owner[kept]
    size = len(kept)

    normal = flat[owner] / np.linalg.norm(flat[owner], axis=1, keepdims=True)
    outward = np.sign(root[:, 0]) * _leaning(root)
    flow = np.stack([outward, np.full(size, -1.0), 0.35 * (root[:, 1] < -1.0) - 0.12], axis=1)
    flow += 0.22 * rng.standard_normal((size, 3))
    flow -= normal * (flow * normal).sum(axis=1, keepdims=True)
    flow /= np.maximum(np.linalg.norm(flow, axis=1, keepdims=True), 1e-6)
    length = longest * rng.uniform(0.6, 1.0, size)
    if longest > 0.08:  # longest at the chin, short towards the cheeks and the nose
        length *= np.interp(root[:, 1], [-1.05, -0.75, -0.45, 0.0], [1.0, 0.62, 0.40, 0.22])
    t = np.linspace(0, 1, points)
    path = (
        t[None, :, None] * flow[:, None] * np.sqrt(1 - stiff**2)
        + (t * (1 - 0.45 * t))[None, :, None] * stiff * normal[:, None]
    )
    if longest > 0.08:
        path[:, :, 1] -= 0.40 * t**2
    path = path * length[:, None, None]
    lift = np.maximum((path * normal[:, None]).sum(axis=2), 0.002 + 0.010 * t * (longest > 0.03))
    # the rest along the triangle's plane, as a mix of its edges: it follows every stretch of the skin
    e, f = u[owner], v[owner]
    ee, ef, ff = (e * e).sum(1), (e * f).sum(1), (f * f).sum(1)
    pe, pf = np.einsum("pkc,pc->pk", path, e), np.einsum("pkc,pc->pk", path, f)
    det = (ee * ff - ef * ef)[:, None]
    on_e, on_f = (pe * ff[:, None] - pf * ef[:, None]) / det, (pf * ee[:, None] - pe * ef[:, None]) / det
    mixed = weights[:, None] + np.stack([-on_e - on_f, on_e, on_f], axis=2)
    cover = np.broadcast_to(0.85 - 0.55 * t**2, lift.shape) * (0.55 if beard == "stubble" else 1.0)
    vertices, bind = bound(np.repeat(corners, points, axis=0), mixed.reshape(-1, 3))
    return Strands(
        vertices=vertices,
        bind=bind,
        lift=lift.ravel().astype(np.float32),
        side=np.zeros(lift.size, dtype=np.float32),
        cover=cover.ravel().astype(np.float32),
        shade=np.broadcast_to(0.62 + 0.42 * t, lift.shape).ravel().astype(np.float32),
        tone=rng.standard_normal(size).astype(np.float32),
        rank=rng.random(size).astype(np.float32),
    )


def _leaning(root: Array) -> Array:
    """How far strands lean to the side: under the nose and on the cheeks, not at the chin."""
    x, y = abs(root[:, 0]), root[:, 1]
    lip = (y > -0.66) & (x < 0.32) & (root[:, 2] > 0)
    lean: Array = np.where(lip, 0.35 + 3.0 * x, -0.10 * (x < 0.4))
    return lean


@functools.cache
def _brow_vertices() -> NDArray[np.bool_]:
    """Which vertices of the head lie where brows may grow."""
    found = np.zeros(len(canonical()), dtype=np.bool_)
    found[_near_brows(canonical())] = True
    return found


def _name_brows(shot: Shot, frame: Frame) -> None:
    """Makes samples of skin on which brows are painted samples of the brows."""
    surface, first = frame.surface, shot.first["head"]
    skin = np.flatnonzero(frame.part.take(surface.pixel) == 1 + PARTS.index("skin"))
    near = skin[_brow_vertices().take(surface.corners[:, 0].take(skin) - first)]
    corners = canonical().take(surface.corners.take(near, axis=0) - first, axis=0)
    points = np.einsum("pk,pkc->pc", surface.weights.take(near, axis=0), corners)
    grown = near[brow_mask(points, shot.row, alone=True) > _NAMED]
    frame.part[surface.pixel.take(grown)] = 1 + PARTS.index("brows")


def _draw_brows(shot: Shot, camera: Camera, frame: Frame) -> None:
    """Draws single hairs of the brows."""
    row = shot.row
    brows = _brows(row["identity"], row["gender"], row["age"], per_grid(frame.side, _BROW_STRANDS))
    colors = strand_colors(_brow_tint(shot) * np.float32(0.9), hair.WHITE, 0.3 * row["grey"], brows, frame.side)
    draw(shot, camera, frame, brows, piece="head", part="brows", colors=colors, shine=0.25)


def draw_strands(shot: Shot, camera: Camera, frame: Frame) -> None:
    """Draws single hairs of brows and beard over the rendered frame, behind whatever is nearer."""
    row = shot.row
    if _alone(shot):
        _name_brows(shot, frame)
    else:
        _draw_brows(shot, camera, frame)
    if row["beard"] != "none":
        grown = _beard(row["beard"], per_grid(frame.side, _GROWTH[row["beard"]][0]))
        colors = strand_colors(_beard_tint(shot), hair.WHITE, _beard_grey(row), grown, frame.side)
        draw(shot, camera, frame, grown, piece="head", part="beard", colors=colors, shine=0.5)
