"""Light on the portraits: it comes from where the label says, casts shadows, and its baked table fits the geometry."""

from __future__ import annotations

import dataclasses
import functools
from importlib import resources
from typing import Any

import numpy as np
import pytest

import gantrol.data.faces as faces
from gantrol.data.faces import light, visibility
from gantrol.data.faces.labels import ATTRIBUTES, complete_row
from gantrol.data.faces.light import Lighting
from gantrol.data.faces.pose import body_rotation, head_rotation, rotation
from gantrol.data.faces.raster import rasterize
from gantrol.data.faces.render import scene
from gantrol.data.faces.scene import HEAD_VALUES, PARTS, Piece, head_piece

BALD = {"hair_style": "bald", "light_fill": 0.3, "light_softness": 0.2, "light_azimuth": 0.0, "light_elevation": 10.0}


def lit(**values: Any) -> Lighting:
    row = complete_row(BALD | values)
    return light.lighting(row, scene(row), head_rotation(row), body_rotation(row))


@functools.cache
def facing_skin() -> np.ndarray:
    """The skin that a viewer straight ahead sees: indices of its vertices."""
    head, side = head_piece(), 600
    flat = head.points[:, :2] * np.array([1, -1], dtype=np.float32)
    xy = ((flat / 4 + 0.5) * side).astype(np.float32)
    one_sided, whole = np.zeros(len(head.triangles), dtype=bool), np.ones(len(head.points), dtype=np.float32)
    surface = rasterize(xy, 5 - head.points[:, 2], head.triangles, side, two_sided=one_sided, cut=whole)
    return np.unique(surface.corners[head.part[surface.triangle] == PARTS.index("skin")])


def key_share(x: tuple[float, float], y: tuple[float, float], **values: Any) -> np.ndarray:
    """The share of the key light that the front's skin between canonical x and y (dm) sees."""
    points, skin = head_piece().points, facing_skin()
    box = np.array([x, y])
    inside = skin[(points[skin, :2] > box[:, 0]).all(1) & (points[skin, :2] < box[:, 1]).all(1)]
    assert len(inside) >= 5
    return lit(**values).exposure[inside, 0]


def cheeks(**values: Any) -> tuple[float, float]:
    """Mean brightness of the cheeks at the image's left and right, 0–255."""
    picture = faces.render([BALD | {"identity": 5, "skin_tone": 0.7} | values], 64)[0].astype(np.float64)
    return float(picture[33:40, 22:28].mean()), float(picture[33:40, 36:42].mean())


# --- the table ------------------------------------------------------------------------------------------------------


def baked() -> dict[str, Piece]:
    """Every table that the present geometry asks for, and the piece it must fit."""
    wanted = {"head": head_piece()}
    for attribute in visibility.WORN_BY:
        for choice in ATTRIBUTES[attribute].choices:
            worn = {"hair_style": "bald", "hat": "none"} | {attribute: choice}
            pieces = [piece for piece in scene(complete_row(worn)) if piece.name.startswith(("hair", "hat"))]
            if pieces:
                wanted[f"{attribute}={choice}:head"] = head_piece()
            wanted |= {f"{attribute}={choice}:{piece.name}": piece for piece in pieces}
    return wanted


def test_the_table_was_baked_for_the_present_geometry() -> None:
    tables = visibility.load_tables()
    stale = [name for name, piece in baked().items() if not tables.fits(name, piece)]
    assert not stale, f"run `python scripts/build_visibility.py`: the table does not fit {', '.join(stale)}"


def test_the_table_is_small() -> None:
    assert (resources.files("gantrol.data.faces") / visibility.ASSET).stat().st_size < 4 * 2**20  # type: ignore[attr-defined]


def test_a_table_for_other_geometry_is_not_used() -> None:
    tables, head = visibility.load_tables(), head_piece()
    assert tables.get("head", len(head.points)) is not None
    assert tables.get("head", len(head.points) + 1) is None
    assert tables.get("hair_style=none-such:head", len(head.points)) is None
    moved = dataclasses.replace(head, points=head.points + np.float32(0.05))
    assert tables.fits("head", head)
    assert not tables.fits("head", moved)


def test_hair_without_a_table_is_estimated() -> None:
    row = complete_row({"hair_style": "bob", "light_azimuth": 80.0})
    head, hair, *_ = scene(row)
    shorter = dataclasses.replace(
        hair, points=hair.points[:-1], share=hair.share[:-1], follow=None, triangles=hair.triangles[:10]
    )
    turns = (head_rotation(row), body_rotation(row))
    exposed = visibility.exposure(row, [head, shorter], light.key_direction(row), 10.0, turns)[len(head.points) :]
    assert exposed.shape == (len(shorter.points), 3)
    assert ((exposed >= 0) & (exposed <= 1)).all()
    right = shorter.points[:, 0] > 0.5
    left = shorter.points[:, 0] < -0.5
    assert exposed[right, 0].mean() > exposed[left, 0].mean() + 0.5


def test_weights_of_lights_sum_to_one_and_point_the_right_way() -> None:
    ways = visibility.directions(512)
    np.testing.assert_allclose(np.linalg.norm(ways, axis=1), 1, atol=1e-6)
    assert np.linalg.norm(ways.mean(0)) < 1e-3
    toward = np.array([0.6, 0.0, 0.8], dtype=np.float32)
    for weights in (
        visibility.lobe(toward, 8, 512),
        visibility.lobe(toward, 35, 512),
        visibility.hemisphere(toward, 512),
    ):
        assert weights.sum() == pytest.approx(1, abs=1e-5)
        middle = (weights[:, None] * ways).sum(0)
        assert middle @ toward / np.linalg.norm(middle) > 0.995


# --- shadows --------------------------------------------------------------------------------------------------------


def test_the_nose_casts_its_shadow_on_the_far_side() -> None:
    for azimuth, sign in ((-55.0, 1), (55.0, -1)):
        near = key_share((-0.32, -0.2) if sign > 0 else (0.2, 0.32), (-0.45, -0.2), light_azimuth=azimuth)
        far = key_share((0.2, 0.32) if sign > 0 else (-0.32, -0.2), (-0.45, -0.2), light_azimuth=azimuth)
        assert near.mean() > 0.9
        assert far.mean() < 0.6
        assert far.min() < 0.15


def test_chin_and_brow_cast_shadows_under_high_light() -> None:
    neck = (-0.35, 0.35), (-1.45, -1.12)
    assert key_share(*neck, light_elevation=0.0).mean() > 0.8
    assert key_share(*neck, light_elevation=70.0).mean() < 0.2
    sockets = (0.12, 0.28), (-0.02, 0.07)
    assert key_share(*sockets, light_elevation=10.0).mean() > 0.85
    assert key_share(*sockets, light_elevation=75.0).mean() < 0.55


def test_the_nose_shades_the_upper_lip_unless_light_comes_from_below() -> None:
    under_nose = (-0.10, 0.10), (-0.54, -0.47)
    assert key_share(*under_nose, light_elevation=-30.0).mean() > 0.8
    assert key_share(*under_nose, light_elevation=70.0).mean() < 0.3


def test_softness_widens_the_penumbra() -> None:
    box = (0.0, 0.5), (-0.6, 0.0)
    widths = []
    for softness in (0.0, 0.5, 1.0):
        share = key_share(*box, light_azimuth=-60.0, light_softness=softness)
        widths.append(((share > 0.15) & (share < 0.85)).mean())
    assert widths[0] < widths[1] < widths[2]


def test_hair_and_hats_shade_the_face() -> None:
    forehead = (-0.3, 0.3), (0.15, 0.30)
    assert key_share(*forehead, light_elevation=60.0).mean() > 0.75
    assert key_share(*forehead, light_elevation=60.0, hair_style="bangs").mean() < 0.6
    cheek = (0.3, 0.6), (-0.6, -0.2)
    bare = key_share(*cheek, light_azimuth=80.0, hair_style="bald").mean()
    assert key_share(*cheek, light_azimuth=80.0, hair_style="long").mean() < bare
    for hat in ("cap", "brim"):
        row = complete_row(BALD | {"hat": hat})
        assert any(piece.name == "hat" for piece in scene(row))
        assert key_share(*forehead, light_elevation=60.0, hat=hat).mean() < 0.4


def test_shadows_turn_with_the_light_not_with_the_head() -> None:
    """Head and lamp turned together leave the head's own shadows as they were."""
    firm = head_piece().share > 0.9999
    still = lit(light_azimuth=-40.0, light_elevation=0.0).exposure[: len(firm), 0]
    turned = lit(light_azimuth=-10.0, light_elevation=0.0, yaw=30.0).exposure[: len(firm), 0]
    np.testing.assert_allclose(turned[firm], still[firm], atol=2e-3)
    assert abs(lit(light_azimuth=-40.0, light_elevation=0.0, yaw=30.0).exposure[: len(firm), 0] - still).max() > 0.5
    toward = rotation(30.0, 0.0, 0.0) @ light.key_direction(
        complete_row({"light_azimuth": -40.0, "light_elevation": 0.0})
    )
    np.testing.assert_allclose(
        toward, light.key_direction(complete_row({"light_azimuth": -10.0, "light_elevation": 0.0})), atol=1e-6
    )


def test_creases_and_the_mouth_are_darker_than_the_forehead() -> None:
    head, exposure = head_piece(), lit().exposure
    forehead = (abs(head.points[:, 0]) < 0.3) & (abs(head.points[:, 1] - 0.5) < 0.15) & (head.points[:, 2] > -0.3)
    teeth = np.unique(head.triangles[head.part == PARTS.index("teeth")])
    deep = head.values[:, HEAD_VALUES.index("mouth_inside")] > 0.8
    for light_index in (1, 2):
        assert exposure[np.flatnonzero(forehead), light_index].mean() > 0.9
        assert exposure[teeth, light_index].mean() < 0.75
        assert exposure[np.flatnonzero(deep), light_index].mean() < 0.35


@pytest.mark.parametrize("index", range(12))
def test_exposure_is_a_share_and_repeats(index: int) -> None:
    row = faces.sample_row(9, index)
    pieces = scene(row)
    first, again = (light.lighting(row, pieces, head_rotation(row), body_rotation(row)).exposure for _ in range(2))
    assert first.shape == (sum(len(piece.points) for piece in pieces), 3)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert first.min() >= 0
    assert first.max() <= 1
    assert first.tobytes() == again.tobytes()


# --- the picture ----------------------------------------------------------------------------------------------------


def test_light_from_one_side_brightens_that_cheek() -> None:
    left, right = cheeks(light_azimuth=-70.0)
    assert left > 1.5 * right
    left, right = cheeks(light_azimuth=70.0)
    assert right > 1.5 * left
    left, right = cheeks(light_azimuth=0.0)
    assert abs(left - right) < 0.08 * left


def test_fill_raises_the_dark_side() -> None:
    ratios = []
    for fill in (0.0, 0.5, 1.0):
        bright, dark = cheeks(light_azimuth=-70.0, light_fill=fill)
        ratios.append(dark / bright)
    assert ratios[0] < ratios[1] < ratios[2]
    assert ratios[2] > 0.7


def test_light_from_the_side_never_blackens_a_face() -> None:
    for fill in (0.0, 0.5):
        frontal = np.mean(cheeks(light_fill=fill))
        for azimuth in (-90.0, 90.0):
            assert np.mean(cheeks(light_azimuth=azimuth, light_fill=fill)) > 0.3 * frontal
            assert min(cheeks(light_azimuth=azimuth, light_fill=fill)) > 12


def test_warmth_colours_the_key_light_and_tints_the_fill_the_other_way() -> None:
    cool, neutral, warm = (lit(light_warmth=w) for w in (-1.0, 0.0, 1.0))
    ratio = [one.key_color[0] / one.key_color[2] for one in (cool, neutral, warm)]
    assert ratio[0] < 0.85 * ratio[1] < 0.85 * 0.85 * ratio[2]
    assert cool.sky_color[0] / cool.sky_color[2] > warm.sky_color[0] / warm.sky_color[2]


def test_highlights_of_a_window_are_wider_and_weaker() -> None:
    tilt = np.radians(np.arange(60.0)).astype(np.float32)
    normals = np.stack([np.sin(tilt), np.zeros_like(tilt), np.cos(tilt)], axis=1)
    lamp = lit(light_softness=0.0, light_elevation=0.0).highlight(normals, 40.0)
    window = lit(light_softness=1.0, light_elevation=0.0).highlight(normals, 40.0)
    assert lamp[0] > window[0] > 0.2
    assert window[25] > 2 * lamp[25]
    assert (np.diff(lamp) <= 1e-6).all()


def test_the_tone_curve_rises_and_keeps_mid_tones() -> None:
    linear = np.linspace(0, 6, 4001, dtype=np.float32)
    shown = light.encode(linear)
    assert shown[0] == 0
    assert (np.diff(shown) >= 0).all()
    assert shown.max() <= 1
    assert light.encode(np.ones(1, dtype=np.float32))[0] < 0.93  # white skin in full light keeps its shape
    middle = np.linspace(0.15, 0.65, 20, dtype=np.float32)
    np.testing.assert_allclose(light.encode(light.decode(middle)), middle, atol=0.015)
    picture = np.random.default_rng(0).random((300, 200, 3)).astype(np.float32)
    assert light.encode(picture).shape == picture.shape
    assert light.encode(picture)[123, 45, 1] == light.encode(picture[123:124, 45:46, 1:2])[0, 0, 0]
