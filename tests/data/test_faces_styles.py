"""Painted styles: they keep what a picture shows, and depend on the frame, the style, the seed and the guide alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gantrol.data.faces.styles import PARTS, STYLES, Guide, paint
from gantrol.data.faces.styles.canvas import Canvas, noise, simplified
from gantrol.data.faces.styles.flat import cells_of
from gantrol.data.faces.styles.strokes import Brush, lay, scattered, spines
from gantrol.errors import ConfigError

GRAY = ("ink", "charcoal")
PAINTED = tuple(style for style in STYLES if style != "photo")
COLORS = {
    "background": (0.35, 0.5, 0.75),
    "skin": (0.8, 0.6, 0.48),
    "hair": (0.42, 0.2, 0.1),
    "cloth": (0.25, 0.45, 0.3),
}


def sitter(side: int, light: float = 1.0) -> tuple[NDArray[np.uint8], Guide]:
    """A ball for a head, lit from the right (light = 1) or the left (−1), with hair, eyes, mouth and shoulders."""
    axis = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    x, y = np.broadcast_to(axis, (side, side)), np.broadcast_to(axis[:, None], (side, side))
    part = np.zeros((side, side), dtype=np.uint8)
    part[y > 0.75] = PARTS.index("cloth")
    squared = (x * x + y * y) / 0.49
    head = squared < 1
    nz = np.sqrt(np.maximum(1 - squared, 0))
    normal = np.stack([x / 0.7, -y / 0.7, nz], axis=-1).astype(np.float32) * head[..., None]
    part[head] = PARTS.index("skin")
    part[head & (y < -0.3)] = PARTS.index("hair")
    part[(abs(abs(x) - 0.25) < 0.12) & (abs(y + 0.05) < 0.06)] = PARTS.index("eyes")
    part[(abs(x) < 0.2) & (abs(y - 0.35) < 0.05)] = PARTS.index("lips")
    depth = np.where(head, 14 - nz, np.where(y > 0.75, 14.0, np.inf)).astype(np.float32)
    flow = np.where((part == PARTS.index("hair"))[..., None], np.array([0, 1], dtype=np.float32), np.float32(0))
    image = np.zeros((side, side, 3), dtype=np.float32)
    for name, color in COLORS.items():
        image[part == PARTS.index(name)] = color
    image[part == PARTS.index("eyes")] = 0.1
    image[part == PARTS.index("lips")] = (0.7, 0.25, 0.25)
    shade = np.where(head, 0.35 + 0.65 * np.clip(0.5 * nz + 0.75 * light * normal[..., 0], 0, 1), 1)
    shown = (image * shade[..., None] * 255 + 0.5).astype(np.uint8)
    return shown, Guide(depth=depth, normal=normal, part=part, flow=flow.astype(np.float32))


def mean_color(picture: NDArray[np.uint8], guide: Guide, name: str) -> NDArray[np.float64]:
    """Mean colour of a part in a finished picture of half the frame's side."""
    assert guide.part is not None
    colors: NDArray[np.float64] = picture[guide.part[::2, ::2] == PARTS.index(name)].mean(0) / 255
    return colors


@pytest.mark.parametrize("style", STYLES)
def test_same_bytes_again_and_input_untouched(style: str) -> None:
    image, guide = sitter(96)
    before = image.copy()
    first = paint(image, style, 3, guide, size_px=48)
    assert first.shape == (48, 48, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, paint(image, style, 3, guide, size_px=48))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("style", PAINTED)
def test_paints_with_any_part_of_the_guide(style: str) -> None:
    image, guide = sitter(64)
    for name in ("depth", "normal", "part", "flow"):
        assert paint(image, style, 0, Guide(**{name: getattr(guide, name)})).shape == image.shape
    assert paint(image, style, 0, None, size_px=32).shape == (32, 32, 3)


@pytest.mark.parametrize("style", PAINTED)
@pytest.mark.parametrize(("side", "size_px"), [(64, 32), (101, 51), (160, 64)])
def test_every_size(style: str, side: int, size_px: int) -> None:
    image, guide = sitter(side)
    assert paint(image, style, 1, guide, size_px=size_px).shape == (size_px, size_px, 3)


@pytest.mark.parametrize("style", PAINTED)
def test_a_flat_or_black_picture_can_be_painted(style: str) -> None:
    nothing = Guide(depth=np.full((64, 64), np.inf, dtype=np.float32), part=np.zeros((64, 64), dtype=np.uint8))
    for value in (0, 128, 255):
        with np.errstate(all="raise", under="ignore"):
            painted = paint(np.full((64, 64, 3), value, dtype=np.uint8), style, 0, nothing)
        assert painted.shape == (64, 64, 3)


@pytest.mark.parametrize("style", PAINTED)
def test_a_style_changes_the_picture_and_the_seed_the_strokes(style: str) -> None:
    image, guide = sitter(128)
    painted = [paint(image, style, seed, guide, size_px=64).astype(int) for seed in (0, 1)]
    photo = paint(image, "photo", 0, guide, size_px=64).astype(int)
    assert abs(painted[0] - photo).mean() > 2
    if style not in ("pixel", "cartoon"):  # these two leave nothing to chance
        assert abs(painted[0] - painted[1]).mean() > 0.5


@pytest.mark.parametrize("style", [style for style in PAINTED if style not in GRAY])
def test_parts_keep_their_colours(style: str) -> None:
    image, guide = sitter(256)
    painted, photo = (paint(image, name, 5, guide, size_px=128) for name in (style, "photo"))
    for name in COLORS:
        shown, meant = mean_color(painted, guide, name), mean_color(photo, guide, name)
        assert list(np.argsort(shown)) == list(np.argsort(meant)), name
        assert abs(shown - meant).max() < 0.17, name
    light = [mean_color(painted, guide, name).mean() for name in ("skin", "hair")]
    assert light[0] > light[1] + 0.12


@pytest.mark.parametrize("style", STYLES)
def test_light_falls_from_the_same_side(style: str) -> None:
    for light in (-1.0, 1.0):
        image, guide = sitter(256, light)
        assert guide.part is not None
        tone = paint(image, style, 2, guide, size_px=128).mean(-1)
        skin = guide.part[::2, ::2] == PARTS.index("skin")
        left, right = tone[:, :64][skin[:, :64]].mean(), tone[:, 64:][skin[:, 64:]].mean()
        assert light * (right - left) > 12


@pytest.mark.parametrize("style", GRAY)
def test_drawings_have_no_hue(style: str) -> None:
    image, guide = sitter(128)
    drawn = paint(image, style, 0, guide).astype(int)
    assert (drawn.max(-1) - drawn.min(-1)).max() < 30
    assert drawn.max() - drawn.min() > 120


def test_pixel_art_is_made_of_square_cells_of_few_colours() -> None:
    image, guide = sitter(256)
    art = paint(image, "pixel", 0, guide, size_px=128)
    assert len(np.unique(art.reshape(-1, 3), axis=0)) <= 20
    cells = art.reshape(64, 2, 64, 2, 3)
    np.testing.assert_array_equal(cells, np.broadcast_to(cells[:, :1, :, :1], cells.shape))


@pytest.mark.parametrize(
    ("size_px", "cells"), [(32, 32), (64, 32), (100, 50), (128, 64), (256, 64), (512, 64), (127, 63)]
)
def test_cells_of_pixel_art(size_px: int, cells: int) -> None:
    assert cells_of(size_px) == cells


def test_the_paper_stays_when_the_sitter_moves() -> None:
    """The same seed places the same grain, so that counterfactuals differ where the person does."""
    image, guide = sitter(128)
    other, lit = sitter(128, -1.0)
    first, second = (paint(frame, "watercolor", 9, g, size_px=64) for frame, g in ((image, guide), (other, lit)))
    np.testing.assert_array_equal(first[:6], second[:6])


@pytest.mark.parametrize(
    ("style", "hint"), [("watercolour", "did you mean watercolor"), ("oils", "did you mean oil"), ("zzz", "known: ")]
)
def test_unknown_style(style: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        paint(np.zeros((64, 64, 3), dtype=np.uint8), style, 0)


def test_impossible_input() -> None:
    image, guide = sitter(64)
    with pytest.raises(ConfigError, match="seed -1"):
        paint(image, "oil", -1, guide)
    with pytest.raises(ConfigError, match="uint8"):
        paint(image[:40], "oil", 0)
    with pytest.raises(ConfigError, match=r"guide\.depth"):
        paint(image, "oil", 0, Guide(depth=np.zeros((32, 32), dtype=np.float32)))


class TestStrokes:
    @staticmethod
    def canvas(side: int = 128) -> Canvas:
        """Horizontal stripes: directions run along x."""
        stripes = (np.sin(np.arange(side) / 5)[:, None, None] * 90 + 128).astype(np.uint8)
        return Canvas(np.broadcast_to(stripes, (side, side, 3)).copy(), Guide(), side, 0)

    def test_spines_follow_the_picture(self) -> None:
        knots = spines(self.canvas(), np.array([[64, 64], [50, 80]], dtype=np.float32), 40.0)
        assert abs(np.ptp(knots[..., 0], axis=1) - 40).max() < 2
        assert np.ptp(knots[..., 1], axis=1).max() < 6

    def test_area_and_order(self) -> None:
        canvas = self.canvas()
        x = np.linspace(-20, 20, 9, dtype=np.float32) + 64
        knots = np.stack([np.stack([x, np.full(9, y, dtype=np.float32)], axis=-1) for y in (60, 64)])
        layer = lay(canvas, knots, Brush(width=10, length=40, round=False), canvas.rng(0))
        seen = np.full((128, 128), -1)
        seen.ravel()[layer.sample] = layer.stroke
        assert abs((seen == 1).sum() - 400) < 50  # the one laid last is whole
        assert abs((seen == 0).sum() - 160) < 50
        assert (seen[61:67, 50:78] == 1).all()  # without holes
        assert abs(layer.across).max() <= 1

    def test_strokes_may_leave_the_frame(self) -> None:
        canvas = self.canvas(64)
        corners = np.array([[0, 0], [63.9, 63.9], [0, 63.9]], dtype=np.float32)
        layer = lay(canvas, spines(canvas, corners, 60.0), Brush(width=20, length=60), canvas.rng(0))
        assert layer.sample.min() >= 0
        assert layer.sample.max() < 64 * 64
        assert set(layer.stroke) == {0, 1, 2}

    def test_scattered_points_fill_the_frame(self) -> None:
        points = scattered(100, 10.0, np.random.default_rng(0))
        cells = (points // 10).astype(int)
        assert len({tuple(cell) for cell in cells}) == len(points) == 100


def test_simplified_keeps_borders_and_calms_areas() -> None:
    rng = np.random.default_rng(0)
    image = np.where(np.arange(64) < 32, 0.2, 0.8)[None, :, None] + rng.normal(0, 0.03, (64, 64, 3))
    smooth = simplified(image.astype(np.float32), 4.0)
    assert smooth[:, 4:29].std() < 0.015
    assert smooth[:, 30].mean() < 0.3
    assert smooth[:, 33].mean() > 0.7


def test_noise_has_unit_range() -> None:
    values = noise(64, 8.0, np.random.default_rng(0))
    assert values.shape == (64, 64)
    assert -1.4 < values.min() < -0.5
    assert 0.5 < values.max() < 1.4
