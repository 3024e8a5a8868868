"""Clothes, glasses, hats and backdrops of the portraits: worn as on people, and never where they do not belong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from gantrol.data.faces import accessories, clothes, garment, hair, hat_shapes, render, spectacles
from gantrol.data.faces.attributes import Row
from gantrol.data.faces.backdrop import backdrop
from gantrol.data.faces.hats import hat_color, skull_distance
from gantrol.data.faces.head import load_head
from gantrol.data.faces.labels import BACKGROUNDS, CLOTHES, GLASSES, HATS, complete_row, sample_row
from gantrol.data.faces.raster import Surface
from gantrol.data.faces.render import expose, set_up
from gantrol.data.faces.scene import PARTS, Piece, canonical
from gantrol.data.faces.shot import Frame, Shot

PLAIN: Row = {"identity": 11, "hair_style": "buzz", "background": [0.1, 0.2, 0.9], "clothes": [0.2, 0.6, 0.3]}
POSES: tuple[Row, ...] = (
    {},
    {"yaw": 45.0, "pitch": 25.0, "weight": 0.0, "age": 85.0},
    {"yaw": -45.0, "roll": 25.0, "weight": 1.0, "age": 6.0},
    {"roll": -25.0, "pitch": -25.0, "weight": 1.0, "age": 85.0},
    {"yaw": 30.0, "roll": 25.0, "pitch": -25.0, "weight": 0.0, "age": 6.0},
)


def exposed(size_px: int = 48, **values: Any) -> tuple[Shot, Frame]:
    row = complete_row(PLAIN | values)
    shot, lens = set_up(row, 2 * size_px)
    return shot, expose(shot, lens, 2 * size_px)


def samples(shot: Shot, frame: Frame, part: str) -> Surface:
    """The samples whose nearest triangle is of one part."""
    surface = frame.surface
    piece = next(p for p in shot.pieces.values() if (p.part == PARTS.index(part)).any())
    first = shot.first[piece.name]
    own = (surface.corners[:, 0] >= first) & (surface.corners[:, 0] < first + len(piece.points))
    return surface.take(np.flatnonzero(own & (frame.part[surface.pixel] == 1 + PARTS.index(part))))


@pytest.mark.parametrize(("attribute", "choices"), [("clothes_style", CLOTHES), ("glasses", GLASSES), ("hat", HATS)])
def test_every_choice_shows_and_differs(attribute: str, choices: tuple[str, ...]) -> None:
    pictures = [
        render([PLAIN | {attribute: choice, "yaw": 30.0, "focal_length": 35.0}], 64)[0].astype(float)
        for choice in choices
    ]
    for i, first in enumerate(pictures):
        for second in pictures[:i]:
            changed = abs(first - second).max(2)
            assert (changed > 16).sum() > 12


@pytest.mark.parametrize("style", CLOTHES)
def test_no_skin_below_the_neckline(style: str) -> None:
    for pose in POSES:
        shot, frame = exposed(clothes_style=style, **pose)
        points = shot.values(samples(shot, frame, "skin"), "head")[:, :3]
        points = points[points[:, 1] < -1.15]  # below the chin
        assert len(samples(shot, frame, "clothes").pixel) > 10
        # a hem stands off the skin, and one looks down behind it
        assert (clothes.above_neckline(points, style) < -0.13).sum() <= 3


def test_covered_skin_can_be_cut_away() -> None:
    cut = clothes.skin_cut("crew")
    points = canonical()
    assert (cut[points[:, 1] > -1.0] > 0).all()
    assert (cut[points[:, 1] < -2.0] < 0).all()


@pytest.mark.parametrize("pose", POSES)
def test_the_garment_closes_at_the_foot_of_the_picture(pose: Row) -> None:
    _, frame = exposed(clothes_style="scoop", focal_length=35.0, **pose)
    last = frame.part.reshape(frame.side, frame.side)[-1]
    worn = np.flatnonzero(last == 1 + PARTS.index("clothes"))
    assert (last[worn[0] : worn[-1] + 1] != 0).all()


def _lens_heights(shot: Shot, points: np.ndarray) -> np.ndarray:
    """How far the lenses lie before points [n, 3] of the head, in its own axes; only of those behind a lens."""
    lens = shot.aligned[shot.slice("lens")]
    offset = points[:, None, :2] - lens[None, :, :2]
    away = (offset**2).sum(2)
    near = np.sqrt(away.min(1)) < 0.05
    return lens[away.argmin(1), 2][near] - points[near, 2]


@pytest.mark.parametrize("name", [name for name in GLASSES if name != "none"])
def test_glasses_stay_before_eyes_and_lashes(name: str) -> None:
    head = load_head()
    eyes = np.flatnonzero(np.isin(head.part, [head.parts.index(part) for part in ("eye_left", "eye_right", "lashes")]))
    for index in range(20):
        row = complete_row(sample_row(31, index, {"glasses": name}))
        shot, _ = set_up(row, 64)
        gap = _lens_heights(shot, shot.aligned[eyes])
        assert len(gap) > 50
        assert gap.min() > 0
        frame = shot.aligned[shot.slice("glasses")]
        assert 1.2 < np.ptp(frame[:, 0]) < 1.9  # as wide as a face, dm


@pytest.mark.parametrize("yaw", [-45.0, -20.0, 0.0, 20.0, 45.0])
def test_lenses_let_the_iris_through_and_sunglasses_do_not(yaw: float) -> None:
    def eye_light(glasses: str) -> np.ndarray:
        _, frame = exposed(glasses=glasses, yaw=yaw, clothes_style="crew")
        return np.where(np.isin(frame.part, eyes)[:, None], frame.radiance, np.nan)

    eyes = [1 + PARTS.index("eye_left"), 1 + PARTS.index("eye_right")]
    bare, thin, dark = (eye_light(name) for name in ("none", "thin", "sunglasses"))
    assert np.nanmean(thin) == pytest.approx(np.nanmean(bare), rel=0.3)
    both = np.isfinite(bare[:, 0]) & np.isfinite(thin[:, 0])
    assert both.sum() > 0.75 * np.isfinite(bare[:, 0]).sum()  # a thin rim covers little of the eyes
    assert np.corrcoef(bare[both].ravel(), thin[both].ravel())[0, 1] > 0.85
    assert np.nanmean(dark) < 0.4 * np.nanmean(bare)


def test_glasses_and_hats_are_functions_of_the_row() -> None:
    first, second = (render([PLAIN | {"glasses": "square", "hat": "cap"}], 48) for _ in range(2))
    assert np.array_equal(first, second)
    rows = [complete_row(PLAIN | {"glasses": "square", "hat": "cap", "scene_seed": seed}) for seed in range(12)]
    assert len({accessories.frame_material(row)[0] for row in rows}) > 2
    assert len({tuple(hat_color(row)) for row in rows}) == 12


@pytest.mark.parametrize("hat", [hat for hat in HATS if hat != "none"])
@pytest.mark.parametrize("style", ["short", "afro", "long", "bun", "bangs"])
def test_hair_lies_flat_under_a_hat(hat: str, style: str) -> None:
    row = complete_row(PLAIN | {"hat": hat, "hair_style": style})
    (piece,) = hair.pieces(complete_row(row | {"hat": "none"}))
    trimmed = accessories.trim(piece, row)
    assert accessories.trim(piece, row) is trimmed
    edge = accessories.hat_edge(row)
    assert edge is not None
    assert trimmed.cut is not None
    hidden = accessories.covered(trimmed.points, row) & (trimmed.cut > 0)
    if hidden.any():  # the hat lies 0.06 dm and more off the skull
        out = trimmed.points[hidden] - hat_shapes.CENTER
        distance = np.sqrt((out**2).sum(1))
        assert (distance < skull_distance(out / distance[:, None]) + 0.055).all()
    low = edge(piece.points) < -0.7
    assert np.array_equal(trimmed.points[low], piece.points[low])  # what hangs free keeps its shape
    if hat != "headband":
        assert (trimmed.cut[edge(trimmed.points) > 0.25] <= 0).all()


def test_no_hat_changes_no_hair() -> None:
    row = complete_row(PLAIN)
    piece = Piece(name="hair", points=np.ones((1, 3), dtype=np.float32), triangles=np.zeros((0, 3), dtype=np.int64),
                  part=np.zeros(0, dtype=np.int64), share=np.ones(1, dtype=np.float32))  # fmt: skip
    assert accessories.trim(piece, row) is piece
    assert accessories.hat_edge(row) is None
    assert not accessories.covered(piece.points, row).any()


def test_few_triangles() -> None:
    for style in CLOTHES:
        assert len(garment.garment(style).triangles) <= 2500
    for name in spectacles.DESIGNS:
        assert sum(len(piece.triangles) for piece in spectacles.pair(name)) <= 2500
    for name in hat_shapes.HATS:
        assert len(hat_shapes.hat_piece(name).triangles) <= 2000


def _border(shown: np.ndarray) -> np.ndarray:
    edge = len(shown) // 6
    parts = (shown[:edge], shown[:, :edge], shown[:, -edge:])
    return np.concatenate([part.reshape(-1, 3) for part in parts]).mean(0)


def _shrunk(shown: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray((shown * 255).astype(np.uint8)).resize((32, 32), Image.Resampling.HAMMING), float)


@pytest.mark.parametrize("style", BACKGROUNDS)
def test_the_backdrop_has_the_labelled_colour_at_every_size(style: str) -> None:
    for index in range(20):
        row = sample_row(8, index, {"background_style": style})
        shown = backdrop(row, 128)
        assert shown.dtype == np.float32
        assert shown.min() >= 0
        assert shown.max() <= 1
        assert np.array_equal(shown, backdrop(row, 128))
        assert abs(_border(shown) - row["background"]).max() < 0.15
    small, large = (_shrunk(backdrop(row, side)) for side in (64, 256))
    assert abs(small - large).mean() < 2.5


@pytest.mark.parametrize("style", [style for style in BACKGROUNDS if style != "plain"])
def test_the_scene_seed_arranges_the_backdrop(style: str) -> None:
    rows = [complete_row({"background_style": style, "scene_seed": seed}) for seed in (1, 2)]
    assert abs(backdrop(rows[0], 64) - backdrop(rows[1], 64)).mean() > 0.01


def test_the_backdrop_is_brighter_on_the_light_s_side() -> None:
    left, right = (backdrop(complete_row({"light_azimuth": azimuth}), 64) for azimuth in (-80.0, 80.0))
    assert (right - left)[:, 48:].mean() > 0.02 > -0.02 > (right - left)[:, :16].mean()
