"""The examinations of the portraits: their measures against known answers; the detectors themselves are not needed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import detectors, portraits, readability

from gantrol.data import DatasetWriter, ImageDataset
from gantrol.data.faces import ATTRIBUTES, sample_row
from gantrol.data.faces.pose import rotation
from gantrol.errors import DataError, MissingExtraError


def face(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """The landmarks [468, 3] that are looked at, of a plain head in a pose, in MediaPipe's axes."""
    at = {33: (-3, 3, 0), 263: (3, 3, 0), 234: (-5, 1, -6), 454: (5, 1, -6), 10: (0, 8, -1), 2: (0, -1, -1)}
    at |= {152: (0, -6, 0), 50: (-3, 0, 1), 280: (3, 0, 1), 13: (0, -3, 1), 14: (0, -4, 1), 61: (-2, -3, 0)}
    at |= {291: (2, -3, 0), 159: (-2, 4, 0), 145: (-2, 3, 0), 386: (2, 4, 0), 374: (2, 3, 0), 133: (-1, 3, 0)}
    points = np.zeros((468, 3))
    for index, place in (at | {362: (1, 3, 0)}).items():
        points[index] = rotation(yaw, pitch, roll) @ np.array(place, dtype=float)
    return points * [1, -1, -1]


@pytest.mark.parametrize("pose", [(0, 0, 0), (40, 0, 0), (-30, 12, 5), (20, -20, -18), (0, 25, 25)])
def test_head_angles_recovers_the_pose_in_the_labels_directions(pose: tuple[float, float, float]) -> None:
    assert detectors.head_angles(face(*pose)) == pytest.approx(pose, abs=1e-6)


def test_measure_face_sees_the_brighter_cheek_and_the_mouth() -> None:
    picture = np.zeros((80, 80, 3), dtype=np.uint8)
    picture[:, 40:] = 200  # light from the image's right
    points = face() * 4 + [40, 40, 0]
    plain = detectors.measure_face(points, picture)
    assert plain["light_azimuth"] > 1
    assert detectors.measure_face(points, picture[:, ::-1])["light_azimuth"] < -1
    points[14, 1] += 8
    assert detectors.measure_face(points, picture)["mouth_open"] > plain["mouth_open"]


def test_associations_names_what_failures_go_with() -> None:
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = [
        {"identity": 7, "yaw": float(yaw), "hat": str(rng.choice(["none", "cap"])), "clothes": list(rng.random(3))}
        for yaw in rng.normal(0, 20, 300)
    ]
    turned = np.array([abs(row["yaw"]) > 25 for row in rows])
    assert next(iter(detectors.associations(rows, turned))) == "|yaw|"
    under_caps = detectors.associations(rows, np.array([row["hat"] == "cap" for row in rows]), top=2)
    assert under_caps == {"hat = cap": 1.0, "hat = none": -1.0}


def test_misses_are_drawn(tmp_path: Path) -> None:
    rows = [sample_row(0, index) for index in range(3)]
    pictures = np.zeros((3, 32, 32, 3), dtype=np.uint8)
    detectors.draw_misses(tmp_path / "misses.png", rows, pictures, [[], [[1, 1, 9, 9]], [[1, 1, 9, 9], [2, 2, 9, 9]]])
    assert (tmp_path / "misses.png").stat().st_size > 100


def test_an_absent_detector_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match="opencv-python-headless<5"):
        detectors.detector("cv2")
    assert portraits.main(["detect", "--only", "cascade"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_targets_are_the_labels_and_a_unit_vector_to_the_light() -> None:
    row = sample_row(0, 3) | {"light_azimuth": 90.0, "light_elevation": 0.0}
    columns = dict(zip(readability.COLUMNS, readability.targets(row), strict=True))
    assert columns["age"] == row["age"]
    assert columns["hair_g"] == row["hair_color"][1]
    assert [columns[f"light_{axis}"] for axis in "xyz"] == pytest.approx([1, 0, 0], abs=1e-9)
    up = np.array([readability.targets(row | {"light_azimuth": -20.0, "light_elevation": 40.0})])[:, readability.LIGHT]
    assert readability.azimuths(up) == pytest.approx([-20])
    assert readability.elevations(up) == pytest.approx([40])
    assert readability.angles(up, 3 * up) == pytest.approx([0], abs=1e-5)


def test_hidden_hair_does_not_count() -> None:
    row = {"hair_style": "bob", "hat": "none", "grey": 0.1}
    assert readability.shows_hair_color(row)
    for hidden in ({"hair_style": "bald"}, {"hat": "beanie"}, {"grey": 0.9}):
        assert not readability.shows_hair_color(row | hidden)


def write(path: Path, seed: int, count: int, size_px: int = 32) -> Path:
    """Pictures that show two labels plainly: hair colour above, and the light's side as a bright bar."""
    schema = {name: attribute.schema() for name, attribute in ATTRIBUTES.items()}
    with DatasetWriter(path, schema=schema, meta={"generator": "test", "seed": seed}) as writer:
        for index in range(count):
            row = sample_row(seed, index, {"hair_style": "bob"})
            picture = np.full((size_px, size_px, 3), 90, dtype=np.uint8)
            picture[: size_px // 2] = np.round(np.array(row["hair_color"]) * 255)
            bar = round((0.5 + 0.4 * row["light_azimuth"] / 90) * (size_px - 1))
            picture[size_px // 2 :, bar - 1 : bar + 2] = 250
            writer.add(picture, attributes=row)
    return path


def test_readability_learns_what_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known, other = write(tmp_path / "a.zip", 0, 128), write(tmp_path / "b.zip", 1, 64)
    record = tmp_path / "result.json"
    sizes = ["--images", "128", "--held-out", "64", "--epochs", "8", "--json", str(record)]
    assert portraits.main(["readability", str(known), str(other), *sizes]) in (0, 2)  # age cannot be read here
    found = json.loads(record.read_text(encoding="utf-8"))
    readings = {each["label"]: each for each in found["readings"]}
    assert readings["light_azimuth"]["correlation"] > 0.6
    assert readings["hair_color"]["correlation"] > 0.6
    assert abs(readings["age"]["correlation"]) < 0.5
    assert readings["light direction"]["mean_error"] < readings["light direction"]["guessing"]
    assert "light_azimuth" in capsys.readouterr().out


def test_readability_refuses_acquaintances_and_too_few(tmp_path: Path) -> None:
    examples = readability.load(ImageDataset(write(tmp_path / "a.zip", 0, 64)), 64)
    with pytest.raises(DataError, match="64 identities are in both"):
        readability.readability(examples, examples, epochs=1)
    with pytest.raises(DataError, match="has 64 images, not 65"):
        readability.load(ImageDataset(tmp_path / "a.zip"), 65)


def test_a_flip_changes_the_side_of_light_and_pose() -> None:
    mean, deviation = torch.zeros(11), torch.ones(11)
    wanted, pixels = torch.arange(1.0, 12).repeat(64, 1), torch.zeros(64, 3, 32, 32, dtype=torch.uint8)
    pixels[..., 24:] = 255
    moved, answers = readability._augmented(pixels, wanted, mean, deviation)
    is_flipped = moved[:, 0, 16, 2] > 0
    assert 0 < int(is_flipped.sum()) < 64
    changed = (answers != wanted).any(0)
    assert [name for name, each in zip(readability.COLUMNS, changed, strict=True) if each] == ["yaw", "roll", "light_x"]
    assert torch.equal((answers != wanted)[:, 1], is_flipped)
