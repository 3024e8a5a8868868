"""Label row -> picture: shape, pose, hair, rasterisation, materials, light, background.

Every row is rendered on its own with fixed-order arithmetic, so a picture depends on its row and its size alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from gantrol.data.faces import hair, light, materials
from gantrol.data.faces.head import FloatArray, IntArray, load_head
from gantrol.data.faces.labels import Row, complete_row
from gantrol.data.faces.pose import HEAD_CENTER_DM, action_coefficients, gaze_direction, head_share, posed
from gantrol.data.faces.raster import Camera, Surface, rasterize, shrink
from gantrol.data.faces.shape import align, shape_coefficients
from gantrol.errors import ConfigError

MIN_SIZE_PX, MAX_SIZE_PX = 32, 512
CAMERA = Camera(extent=2.7)
_FRAME_CENTER_DM = np.array([0.0, -0.02, -0.3])  # what the camera looks at, from the middle between the eyes

_PARTS = ("skin", "eye_left", "eye_right", "teeth", "tongue", "lashes")
_HAIR_PART = len(_PARTS)
_MASKS = ("lips", "eyelids", "ears", "mouth_inside")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is the same in every picture with one hair style: topology and per-vertex constants. N = V + H vertices."""

    triangles: IntArray
    """[T, 3]."""
    part: NDArray[np.int64]
    """[T] index into `_PARTS`, or `_HAIR_PART`."""
    two_sided: NDArray[np.bool_]
    cut: FloatArray
    """[N]."""
    share: FloatArray
    """[N] how far a vertex follows the head's pose."""
    constants: FloatArray
    """[V, 9]: canonical x y z, the four `_MASKS`, occlusion, cloth."""
    incidence: scipy.sparse.csr_matrix
    """[N, T] which triangles meet at a vertex."""
    sheet: hair.Sheet | None


@functools.cache
def _scene(style: str) -> Scene:
    head, points, sheet = load_head(), hair.canonical(), hair.sheet(style)
    triangles = [head.part_triangles(part) for part in _PARTS]
    part = np.repeat(np.arange(len(_PARTS)), [len(t) for t in triangles])
    cut = np.ones(len(points), dtype=np.float32)
    share = head_share(points)
    masks = [head.masks[name] for name in _MASKS]
    skin = np.pad(head.part == head.parts.index("skin"), (0, len(points) - len(head.part)))
    cloth = (skin & (points[:, 1] < materials.neckline(points))).astype(np.float32)
    constants = np.stack([*points.T, *masks, head.occlusion, cloth], axis=1)
    if sheet is not None:
        triangles.append(sheet.triangles + len(points))
        part = np.append(part, np.full(len(sheet.triangles), _HAIR_PART))
        cut = np.append(cut, sheet.cut)
        hang = np.clip(head_share(sheet.points), 0.75, 1)
        share = np.append(share, hang)
    joined = np.concatenate(triangles)
    corner, owner = joined.ravel(), np.repeat(np.arange(len(joined)), 3)
    ones = np.ones(len(corner), dtype=np.float32)
    return Scene(
        triangles=joined,
        part=part,
        two_sided=(part == _HAIR_PART) | (part == _PARTS.index("lashes")),
        cut=cut,
        share=share.astype(np.float32),
        constants=constants.astype(np.float32),
        incidence=scipy.sparse.csr_matrix((ones, (corner, owner)), shape=(len(cut), len(joined))),
        sheet=sheet,
    )


def _unit(vectors: FloatArray) -> FloatArray:
    """Scales rows [P, 3] to length one."""
    scaled: FloatArray = vectors / np.maximum(np.sqrt((vectors * vectors).sum(1, keepdims=True)), 1e-9)
    return scaled


def _vertex_normals(vertices: FloatArray, scene: Scene) -> FloatArray:
    """Area-weighted vertex normals [N, 3]."""
    a, b, c = (vertices.take(scene.triangles[:, k], axis=0) for k in range(3))
    u, v = b - a, c - a
    faces = np.stack(
        [
            u[:, 1] * v[:, 2] - u[:, 2] * v[:, 1],
            u[:, 2] * v[:, 0] - u[:, 0] * v[:, 2],
            u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0],
        ],
        axis=1,
    )
    return _unit(scene.incidence @ faces)


def _vertices(row: Row, scene: Scene) -> tuple[FloatArray, FloatArray]:
    """All vertices posed [N, 3], and the aligned, unposed ones [N, 3]."""
    head = load_head()
    neutral = head.deform(shape_coefficients(row))
    aligned = align(neutral + head.act(action_coefficients(row)), neutral)
    if scene.sheet is not None:
        strands = scene.sheet.fit(align(neutral, neutral) - hair.canonical())
        aligned = np.concatenate([aligned, strands])
    return posed(aligned, scene.share, row) + (HEAD_CENTER_DM - _FRAME_CENTER_DM), aligned


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One picture being shaded: everything that the materials and the light need to know."""

    row: Row
    scene: Scene
    vertices: FloatArray
    """[N, 3] posed, dm."""
    aligned: FloatArray
    """[N, 3] in the head's own axes, dm."""
    normals: FloatArray
    """[N, 3] of the posed vertices."""
    key: FloatArray
    """[3] towards the key light."""
    look: materials.Palette
    spacing: float
    """dm between neighbouring samples: detail finer than this is left out."""


def _shade(shot: Shot, surface: Surface) -> FloatArray:
    """Linear radiance [P, 3] of the visible samples."""
    part = shot.scene.part[surface.triangle]
    radiance = np.zeros((len(part), 3), dtype=np.float32)
    for index, name in enumerate((*_PARTS, "hair")):
        chosen = np.flatnonzero(part == index)
        if len(chosen):
            seen = surface.take(chosen)
            radiance[chosen] = _SHADERS[name](shot, seen, _unit(seen.interpolate(shot.normals)), name)
    return radiance


def _shade_skin(shot: Shot, seen: Surface, normals: FloatArray, part: str) -> FloatArray:
    constants = seen.interpolate(shot.scene.constants[:, :9])
    masks = {name: constants[:, 3 + k] for k, name in enumerate(_MASKS)}
    color = materials.skin(constants[:, :3], masks, shot.look, shot.row, shot.spacing)
    bare = constants[:, 8] < 0.5
    open_sky = constants[:, 7] * (1 - 0.8 * masks["mouth_inside"])
    shine = light.highlight(normals, shot.key, 18.0) * (0.045 + 0.10 * masks["lips"]) * bare * open_sky
    mirrored: FloatArray = shine[:, None] * light.KEY_COLOR
    direct = light.diffuse(normals, shot.key, light.SKIN_WRAP) * (open_sky**0.7)[:, None]
    color *= direct + light.ambient(normals, open_sky)
    color += mirrored
    return color


def _shade_eye(shot: Shot, seen: Surface, normals: FloatArray, part: str) -> FloatArray:
    center = shot.aligned[load_head().joints["l-eye" if part == "eye_left" else "r-eye"]]
    color = materials.eye(_unit(seen.interpolate(shot.aligned) - center), gaze_direction(shot.row), shot.look)
    open_sky = seen.interpolate(shot.scene.constants[:, 7:8])[:, 0]
    soft = light.diffuse(normals, shot.key, np.float32(0.45)) * 0.85 + light.ambient(
        normals, np.minimum(open_sky * 1.5, 1)
    )
    glint = light.highlight(normals, shot.key, 220.0) * 1.2 + light.highlight(normals, shot.key, 20.0) * 0.04
    lit: FloatArray = color * soft * np.clip(open_sky * 2.2, 0.45, 1)[:, None] + glint[:, None]
    return lit


def _shade_mouth(shot: Shot, seen: Surface, normals: FloatArray, part: str) -> FloatArray:
    depth = materials.smooth_step(seen.interpolate(shot.scene.constants[:, 2:3])[:, 0], -0.25, 0.16)
    soft = light.diffuse(normals, shot.key, np.float32(0.5)) * 0.6 + light.ambient(normals, np.ones_like(depth))
    lit: FloatArray = materials.MOUTH_COLORS[part] * soft * (0.12 + 0.75 * depth)[:, None]
    return lit


def _shade_lashes(shot: Shot, seen: Surface, normals: FloatArray, part: str) -> FloatArray:
    return np.broadcast_to(shot.look.brows * np.float32(0.25), normals.shape)


def _shade_hair(shot: Shot, seen: Surface, normals: FloatArray, part: str) -> FloatArray:
    sheet, spacing = shot.scene.sheet, shot.spacing
    assert sheet is not None
    first = len(shot.vertices) - len(sheet.points)
    strands = shot.vertices[first:]
    values = np.concatenate(
        [strands[sheet.after] - strands[sheet.before], sheet.strand[:, None], sheet.along[:, None]], axis=1
    )
    values = seen.interpolate(values, first=first)
    tangents, strand, along = _unit(values[:, :3]), values[:, 3], values[:, 4]
    away = normals[:, 2] < 0  # the inner side of the sheet
    facing = np.where(away[:, None], -normals, normals)
    color = materials.hair_strands(strand, along, shot.look, spacing)
    scattered, mirrored = light.strand_light(tangents, facing, shot.key)
    sky = light.ambient(facing, np.ones_like(strand))
    lit = color * (
        0.55 * scattered[:, None] * light.KEY_COLOR + 0.5 * light.diffuse(facing, shot.key, np.float32(0.25)) + sky
    )
    gloss = mirrored * np.maximum(0.35 + 0.25 * materials.strand_noise(strand * 260, along, spacing * 52), 0)
    shaded: FloatArray = lit + gloss[:, None] * (0.25 * color + 0.035)
    curly = hair.STYLES[shot.row["hair_style"]].curls > 0  # between curls one sees more hair, not the dark inside
    return shaded * np.where(away & (not curly), np.float32(0.30), np.float32(1.0))[:, None]


_SHADERS: dict[str, Callable[[Shot, Surface, FloatArray, str], FloatArray]] = {
    "skin": _shade_skin,
    "eye_left": _shade_eye,
    "eye_right": _shade_eye,
    "teeth": _shade_mouth,
    "tongue": _shade_mouth,
    "lashes": _shade_lashes,
    "hair": _shade_hair,
}


def _background(row: Row, side: int) -> FloatArray:
    """Display colours [side, side, 3]: the backdrop's colour, brighter around the head and towards the light."""
    axis = ((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1)[None]
    x, y = axis, axis.T
    glow = 0.10 - 0.13 * (x * x + y * y) + 0.05 * x * np.float32(np.sin(np.radians(row["light_azimuth"])))
    color = np.array(row["background"], dtype=np.float32)
    backdrop: FloatArray = np.clip(color * (1 + glow[:, :, None]), 0, 1)
    return backdrop


def sample_grid(size_px: int) -> int:
    """Side of the sample grid: 2 × 2 samples per pixel, up to 4 × 4 in small pictures (they hide more detail)."""
    return max(2 * size_px, size_px + 96)


def render_row(row: Mapping[str, Any], size_px: int) -> NDArray[np.uint8]:
    """Renders one label row as a uint8 picture [size_px, size_px, 3]; attributes left out take their defaults."""
    if not MIN_SIZE_PX <= size_px <= MAX_SIZE_PX:
        raise ConfigError(f"size {size_px} px is impossible: portraits are {MIN_SIZE_PX} to {MAX_SIZE_PX} px")
    full = complete_row(row)
    side = sample_grid(size_px)
    scene = _scene(full["hair_style"])
    vertices, aligned = _vertices(full, scene)
    xy, depth = CAMERA.project(vertices, side)
    surface = rasterize(xy, depth, scene.triangles, side, two_sided=scene.two_sided, cut=scene.cut)
    image = _background(full, side).reshape(-1, 3)
    shot = Shot(
        row=full,
        scene=scene,
        vertices=vertices,
        aligned=aligned,
        normals=_vertex_normals(vertices, scene),
        key=light.key_direction(full),
        look=materials.palette(full),
        spacing=CAMERA.extent / side,
    )
    image[surface.pixel] = light.encode(_shade(shot, surface))
    shown = (image * 255 + 0.5).astype(np.uint8).reshape(side, side, 3)
    return shrink(shown, size_px)


def render(rows: Sequence[Mapping[str, Any]], size_px: int) -> NDArray[np.uint8]:
    """Renders label rows as square RGB pictures.

    `rows`: mappings from attribute name to value, as `sample_row` returns them; what a row leaves out takes its default
    from `ATTRIBUTES`. `size_px`: 32 to 512. Returns uint8 [N, size_px, size_px, 3]. Raises ConfigError for an unknown
    attribute, a value out of range or an impossible size.
    """
    pictures = np.empty((len(rows), size_px, size_px, 3), dtype=np.uint8)
    for picture, row in zip(pictures, rows, strict=True):
        picture[:] = render_row(row, size_px)
    return pictures
