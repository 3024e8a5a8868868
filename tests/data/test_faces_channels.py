"""Depth, normals, segmentation and landmarks agree with the picture and with one another; counterfactuals stay put."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from gantrol.data.faces import render, sample_row
from gantrol.data.faces.channels import CHANNELS, SEGMENTS, render_channels
from gantrol.data.faces.counterfactual import parse_sweep, sweep_values, swept_rows
from gantrol.data.faces.labels import ATTRIBUTES, complete_row, like_row
from gantrol.errors import ConfigError

SIZE_PX = 64
PERSON = {"identity": 4, "age": 30, "hair_style": "short", "skin_tone": 0.8, "gender": 0.4}


def channels(**values: object) -> dict[str, np.ndarray]:
    return render_channels(PERSON | values, SIZE_PX)


def segment(found: dict[str, np.ndarray], *names: str) -> np.ndarray:
    return np.isin(found["segmentation"], [SEGMENTS.index(name) for name in names])


def test_shapes_and_types() -> None:
    found = channels()
    assert tuple(found) == CHANNELS
    assert {name: (array.shape, array.dtype) for name, array in found.items()} == {
        "depth": ((SIZE_PX, SIZE_PX), np.float16),
        "normals": ((SIZE_PX, SIZE_PX, 3), np.int8),
        "segmentation": ((SIZE_PX, SIZE_PX), np.uint8),
        "landmarks": ((68, 2), np.float32),
    }
    assert tuple(render_channels(PERSON, SIZE_PX, ["landmarks"])) == ("landmarks",)


def test_channels_agree_about_the_backdrop() -> None:
    found = channels(yaw=20.0)
    behind = segment(found, "background")
    np.testing.assert_array_equal(behind, np.isinf(found["depth"].astype(np.float32)))
    length = np.linalg.norm(found["normals"].astype(np.float64), axis=2)
    assert (length[behind] == 0).all()
    assert abs(length[~behind] - 127).max() < 2


def test_the_parts_lie_where_they_belong() -> None:
    found = channels(beard="full", gender=1.0, clothes_style="crew", mouth_open=1.0)
    rows = {name: np.nonzero(segment(found, name))[0].mean() for name in
            ("hair", "brows", "eyes", "lips", "beard", "neck", "clothes") if segment(found, name).any()}  # fmt: skip
    assert list(rows) == sorted(rows, key=rows.__getitem__)
    assert {"hair", "eyes", "lips", "clothes"} <= set(rows)
    assert segment(found, "mouth").sum() > 5
    assert segment(channels(hat="beanie"), "hat").sum() > 100
    assert segment(channels(glasses="square"), "glasses").sum() > 10


def test_normals_face_the_camera_and_depth_is_nearest_at_the_nose() -> None:
    found = channels(yaw=0.0)
    skin = segment(found, "skin")
    assert (found["normals"][skin][:, 2] >= -15).mean() > 0.99
    left, right = skin.copy(), skin.copy()
    left[:, SIZE_PX // 2 :], right[:, : SIZE_PX // 2] = False, False
    assert found["normals"][right][:, 0].mean() > 10 > -10 > found["normals"][left][:, 0].mean()
    depth = np.where(skin, found["depth"].astype(np.float32), np.inf)
    nose = found["landmarks"][30]
    y, x = np.unravel_index(depth.argmin(), depth.shape)
    assert abs(np.array([x, y]) - nose).max() < 5


def test_landmarks_follow_the_pose() -> None:
    still, turned = channels()["landmarks"], channels(yaw=30.0)["landmarks"]
    assert turned[30, 0] - still[30, 0] > 4  # the nose moves to the right
    tilted = channels(roll=20.0)["landmarks"]
    eyes = tilted[42:48].mean(0) - tilted[36:42].mean(0)
    assert np.degrees(np.arctan2(eyes[1], eyes[0])) == pytest.approx(20, abs=4)


def test_aligned_framing_puts_eyes_and_mouth_on_fixed_places() -> None:
    places = []
    for index in range(6):
        row = sample_row(0, index, {"framing": "aligned", "yaw": 0, "pitch": 0, "mouth_open": 0})
        points = render_channels(row, SIZE_PX, ["landmarks"])["landmarks"]
        places.append([points[36:42].mean(0), points[42:48].mean(0)])
    spread = np.array(places).std(0)
    assert spread.max() < 2.5  # px of 64
    assert abs(np.array(places)[:, 0, 1] - np.array(places)[:, 1, 1]).max() < 2  # level


def test_unknown_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown channel 'normal'; did you mean normals"):
        render_channels(PERSON, SIZE_PX, ["normal"])


@pytest.mark.parametrize("change", [{"smile": 1.0}, {"age": 70}, {"yaw": 30.0}, {"eye_color": [0.1, 0.4, 0.8]}])
def test_a_counterfactual_differs_only_where_it_must(change: dict) -> None:
    row = complete_row(PERSON | {"background_style": "city", "scene_seed": 3})
    other = like_row(row, change)
    before, after = render([row, other], SIZE_PX).astype(int)
    a, b = (render_channels(each, SIZE_PX, ["segmentation"]) for each in (row, other))
    behind = segment(a, "background") & segment(b, "background")
    # away from outlines: stray hairs reach 4 px farther, and the shrinking filter 3 px
    inner = ~scipy.ndimage.binary_dilation(~behind, iterations=8)
    assert inner.sum() > 300
    np.testing.assert_array_equal(before[inner], after[inner])
    if not {"age", "yaw"} & set(change):  # a turned neck moves the collar, another age the shoulders
        cloth = segment(a, "clothes") & segment(b, "clothes")
        assert abs(before - after)[cloth].mean() < 0.5


def test_sweeps_change_one_attribute() -> None:
    row = sample_row(0, 3)
    for name in ATTRIBUTES:
        rows = swept_rows(row, name, sweep_values(name, steps=3))
        assert len({str(each[name]) for each in rows}) == len(rows) >= 2
        assert all({**each, name: None} == {**row, name: None} for each in rows)


def test_sweeps_are_read() -> None:
    assert parse_sweep("yaw") == ("yaw", None, None)
    assert parse_sweep("yaw=-20:30") == ("yaw", -20, 30)
    assert sweep_values("yaw", -20, 30, 3) == [-20, 5, 30]
    assert parse_sweep("hair_color=0,0,0:1,1,1")[2] == [1, 1, 1]
    assert sweep_values("hair_color", [0, 0, 0], [1, 0.5, 1], 3)[1] == [0.5, 0.25, 0.5]
    assert sweep_values("hat") == list(ATTRIBUTES["hat"].choices)
