"""Label row -> picture: shape, pose, camera, rasterisation, materials under the light, single hairs, backdrop, medium.

Every row is rendered on its own with fixed-order arithmetic, so a picture depends on its row and its size alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces import accessories, clothes, eyes, facial_hair, hair, light, skin
from gantrol.data.faces.attributes import Row
from gantrol.data.faces.backdrop import backdrop
from gantrol.data.faces.buffers import SEGMENTS, normals, segments
from gantrol.data.faces.camera import Camera, camera
from gantrol.data.faces.head import load_head
from gantrol.data.faces.labels import complete_row
from gantrol.data.faces.palette import palette
from gantrol.data.faces.pose import HEAD_CENTER_DM, body_rotation, expressed, head_rotation, posed
from gantrol.data.faces.raster import rasterize, shrink
from gantrol.data.faces.scene import PARTS, Piece, canonical, head_piece
from gantrol.data.faces.shape import align, shape_coefficients
from gantrol.data.faces.shot import Frame, Shader, Shot
from gantrol.data.faces.styles import PARTS as STYLE_PARTS
from gantrol.data.faces.styles import Guide, paint
from gantrol.errors import ConfigError

MIN_SIZE_PX, MAX_SIZE_PX = 32, 512
_FRAME_CENTER_DM = np.array([0.0, -0.09, -0.3])  # what the camera looks at, from the middle between the eyes

_TOGETHER = {"eyes": ("eye_left", "eye_right")}
_SHADERS: dict[str, Shader] = {
    "skin": skin.shade,
    "eyes": eyes.shade_eyes,
    "teeth": eyes.shade_mouth,
    "tongue": eyes.shade_mouth,
    "lashes": eyes.shade_lashes,
    "hair": hair.shade,
    "clothes": clothes.shade,
    "glasses": accessories.shade_glasses,
    "lens": accessories.shade_lens,
    "hat": accessories.shade_hat,
}
_SHADER_OF_PART = np.array(
    [next((k for k, name in enumerate(_SHADERS) if part in (name, *_TOGETHER.get(name, ()))), -1) for part in PARTS]
)
_OVERLAYS: tuple[Callable[[Shot, Camera, Frame], None], ...] = (hair.draw_strands, facial_hair.draw_strands,
                                                                accessories.draw_lenses)  # fmt: skip
_PAINTED_AS = {"neck": "skin", "ears": "skin", "beard": "hair", "clothes": "cloth"}  # segment -> what painters call it


def sample_grid(size_px: int) -> int:
    """Side of the sample grid: 2 × 2 samples per pixel."""
    return 2 * size_px


def scene(row: Row) -> list[Piece]:
    """The head and what it wears; `lens` pieces are left to the overlay that draws them half transparent."""
    return [head_piece(), *hair.pieces(row), *clothes.pieces(row), *accessories.pieces(row)]


def set_up(row: Row, side: int) -> tuple[Shot, Camera]:
    """Everything about the picture of a complete row that does not depend on which samples see what."""
    head, pieces = load_head(), scene(row)
    neutral = head.deform(shape_coefficients(row))
    person = align(neutral, neutral)
    displacement = person - canonical()
    aligned = np.concatenate(
        [
            align(expressed(neutral, row), neutral),
            *(piece.fit(displacement) for piece in pieces[1:]),
        ]
    )
    share = np.concatenate([piece.share for piece in pieces])
    vertices = posed(aligned, share, row, center=HEAD_CENTER_DM - _FRAME_CENTER_DM)
    starts = np.cumsum([0, *(len(piece.points) for piece in pieces)])
    parts = [vertices[a:b] for a, b in itertools.pairwise(starts)]
    lens = camera(row, vertices)
    shot = Shot(
        row=row,
        pieces={piece.name: piece for piece in pieces},
        first={piece.name: int(start) for piece, start in zip(pieces, starts[:-1], strict=True)},
        vertices=vertices,
        aligned=aligned,
        normals=np.concatenate([piece.normals(part) for piece, part in zip(pieces, parts, strict=True)]),
        head_rotation=head_rotation(row),
        light=light.lighting(row, pieces, head_rotation(row), body_rotation(row)),
        look=palette(row),
        spacing=lens.extent / side,
    )
    return shot, lens


def expose(shot: Shot, lens: Camera, side: int) -> Frame:
    """Rasterises and shades the scene on a side × side grid of samples; the backdrop is black."""
    pieces = list(shot.pieces.values())
    solid = [piece for piece in pieces if piece.name != "lens"]
    triangles = np.concatenate([piece.triangles + shot.first[piece.name] for piece in solid])
    part = np.concatenate([piece.part for piece in solid])
    two_sided = np.concatenate([piece.two_sided | (piece.part == PARTS.index("lashes")) for piece in solid])
    cut = np.concatenate([np.ones(len(p.points), dtype=np.float32) if p.cut is None else p.cut for p in pieces])
    cut[: len(pieces[0].points)] = clothes.skin_cut(shot.row["clothes_style"])
    xy, depth = lens.project(shot.vertices, side)
    surface = rasterize(xy, depth, triangles, side, two_sided=two_sided, cut=cut)
    shot.carry(surface)
    seen_part = part[surface.triangle]
    radiance = np.zeros((len(seen_part), 3), dtype=np.float32)
    shaded_as = _SHADER_OF_PART.take(seen_part)
    for index, name in enumerate(_SHADERS):
        chosen = np.flatnonzero(shaded_as == index)
        if len(chosen):
            seen = surface.take(chosen)
            radiance[chosen] = _SHADERS[name](shot, seen, shot.normals_at(seen), name)
    frame = Frame(
        side=side,
        radiance=np.zeros((side * side, 3), dtype=np.float32),
        depth=np.full(side * side, np.inf, dtype=np.float32),
        cover=np.zeros(side * side, dtype=np.float32),
        part=np.zeros(side * side, dtype=np.uint8),
        surface=surface,
    )
    frame.cover[surface.pixel] = 1
    frame.radiance[surface.pixel] = radiance
    frame.depth[surface.pixel] = surface.depth
    frame.part[surface.pixel] = seen_part + 1
    for overlay in _OVERLAYS:
        overlay(shot, lens, frame)
    return frame


def render_row(row: Mapping[str, Any], size_px: int) -> NDArray[np.uint8]:
    """Renders one label row as a uint8 picture [size_px, size_px, 3]; attributes left out take their defaults."""
    if not MIN_SIZE_PX <= size_px <= MAX_SIZE_PX:
        raise ConfigError(f"size {size_px} px is impossible: portraits are {MIN_SIZE_PX} to {MAX_SIZE_PX} px")
    full, side = complete_row(row), sample_grid(size_px)
    shot, lens = set_up(full, side)
    frame = expose(shot, lens, side)
    shown = backdrop(full, side).reshape(-1, 3)
    before = np.flatnonzero(frame.cover)
    cover = frame.cover[before, None]
    shown[before] = light.encode(frame.radiance[before]) * cover + shown[before] * (1 - cover)
    picture = (shown * 255 + 0.5).astype(np.uint8).reshape(side, side, 3)
    if full["style"] == "photo":
        return shrink(picture, size_px)
    return paint(picture, full["style"], full["scene_seed"], _guide(shot, frame), size_px=size_px)


def _guide(shot: Shot, frame: Frame) -> Guide:
    """What a painter looks at besides the colours."""
    table = np.array([STYLE_PARTS.index(_PAINTED_AS.get(name, name)) for name in SEGMENTS], dtype=np.uint8)
    shape = frame.side, frame.side
    return Guide(
        depth=frame.depth.reshape(shape),
        normal=normals(shot, frame).reshape(*shape, 3),
        part=table[segments(shot, frame)].reshape(shape),
    )


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
