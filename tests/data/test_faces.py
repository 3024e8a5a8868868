"""The built-in portraits: labels are exact, visible in the pixels, and enough to paint a picture again."""

from __future__ import annotations

import errno
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gantrol.data.faces as faces
import gantrol.data.faces.dataset as faces_dataset
from gantrol.data.faces import labels, pose, raster, shape
from gantrol.data.faces.head import load_head
from gantrol.errors import ConfigError, DataError, GantrolError

PLAIN = {"identity": 5, "hair_style": "short", "light_azimuth": 0.0, "background": [0.1, 0.2, 0.9]}


def picture(size_px: int = 64, **values: object) -> np.ndarray:
    return faces.render([PLAIN | values], size_px)[0].astype(np.float64)


def face_mask(image: np.ndarray) -> np.ndarray:
    """Everything that is not the blue backdrop."""
    return image[:, :, 2] - image[:, :, 0] < 60


def read_zip(path: Path) -> tuple[list[np.ndarray], dict]:
    with zipfile.ZipFile(path) as archive:
        content = json.loads(archive.read("dataset.json"))
        pictures = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name, _ in content["attributes"]]
    return pictures, content


# --- labels ---------------------------------------------------------------------------------------------------------


def test_rows_are_complete_json_and_in_range() -> None:
    for index in range(200):
        row = faces.sample_row(3, index)
        assert json.loads(json.dumps(row)) == row
        assert list(row) == list(faces.ATTRIBUTES)
        assert labels.check_row(row) == row


def test_rows_depend_on_seed_and_index_alone() -> None:
    assert faces.sample_row(1, 2) == faces.sample_row(1, 2)
    assert faces.sample_row(1, 2) != faces.sample_row(1, 3)
    assert faces.sample_row(1, 2) != faces.sample_row(2, 2)


def test_fixed_attributes_leave_the_others_as_they_fall() -> None:
    free, fixed = faces.sample_row(0, 7), faces.sample_row(0, 7, {"yaw": 30})
    assert fixed["yaw"] == 30
    assert {k: v for k, v in free.items() if k != "yaw"} == {k: v for k, v in fixed.items() if k != "yaw"}


def test_poses_are_mostly_frontal_and_attributes_independent() -> None:
    rows = [faces.sample_row(0, index) for index in range(800)]
    yaw = np.array([row["yaw"] for row in rows])
    assert abs(yaw.mean()) < 2.5
    assert 15 < yaw.std() < 20
    names = ["yaw", "pitch", "roll", "age", "smile", "light_azimuth", "skin_tone", "gender"]
    table = np.corrcoef([[row[name] for row in rows] for name in names])
    assert abs(table - np.eye(len(names))).max() < 0.13
    assert {row["hair_style"] for row in rows} == set(labels.HAIR_STYLES)


def test_every_attribute_describes_itself() -> None:
    for attribute in faces.ATTRIBUTES.values():
        schema = attribute.schema()
        json.dumps(schema)
        assert schema["help"]
        assert attribute.check(attribute.default) == attribute.default
    assert faces.ATTRIBUTES["yaw"].schema()["mirror"] == -1
    assert faces.ATTRIBUTES["age"].unit == "years"


def test_what_belongs_to_the_person_follows_the_identity() -> None:
    own = [name for name, attribute in faces.ATTRIBUTES.items() if attribute.of_identity]
    assert {"gender", "skin_tone", "eye_color", "european"} <= set(own)
    rows = [faces.sample_row(seed, seed, {"identity": 7}) for seed in range(3)]
    for name in own:
        assert rows[0][name] == rows[1][name] == rows[2][name]
    assert rows[0]["age"] != rows[1]["age"]
    assert faces.sample_row(0, 0, {"identity": 7, "gender": 1})["gender"] == 1


def test_several_pictures_of_one_person() -> None:
    rows = faces_dataset.Sampled(3, {"hat": "none"}, per_identity=3)
    seen = [rows.row(index) for index in range(7)]
    assert [row["identity"] == seen[i - i % 3]["identity"] for i, row in enumerate(seen)] == [True] * 7
    assert len({row["identity"] for row in seen}) == 3
    for name in ("gender", "skin_tone", "eye_color"):
        assert seen[0][name] == seen[1][name] == seen[2][name]
    assert len({row["yaw"] for row in seen}) == len({row["age"] for row in seen}) == 7
    assert seen[0] == faces_dataset.Sampled(3, {"hat": "none"}).row(0)
    assert "per_identity" not in faces_dataset.Sampled(3).describe()
    with pytest.raises(ConfigError, match="a person has at least 1 image"):
        faces_dataset.Sampled(per_identity=0)


def test_expressions_come_one_or_two_at_a_time() -> None:
    rows = [faces.sample_row(1, index) for index in range(600)]
    used = [sum(row[name] != 0 for name in labels.EXPRESSIONS) for row in rows]
    assert set(used) == {0, 1, 2}
    assert 0.2 < np.mean(np.array(used) == 0) < 0.4
    for name in labels.EXPRESSIONS:
        assert sum(row[name] != 0 for row in rows) > 15


def test_beards_and_grey_hair_come_with_age() -> None:
    rows = [faces.sample_row(2, index) for index in range(600)]
    assert all(row["gender"] > 0.55 and row["age"] > 18 for row in rows if row["beard"] != "none")
    assert all(row["grey"] == 0 for row in rows if row["age"] < 18)
    assert np.mean([row["grey"] for row in rows if row["age"] > 65]) > 0.4


def test_a_counterfactual_changes_what_is_set_alone() -> None:
    row = faces.sample_row(0, 5)
    turned = labels.like_row(row, {"yaw": 30})
    assert {name for name in row if row[name] != turned[name]} == {"yaw"}
    other = labels.like_row(row, {"identity": 12, "skin_tone": 0.9})
    changed = {name for name in row if row[name] != other[name]}
    assert changed <= {"identity"} | {name for name, a in faces.ATTRIBUTES.items() if a.of_identity}
    assert other["skin_tone"] == 0.9
    assert other["gender"] == faces.sample_row(9, 9, {"identity": 12})["gender"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"yawn": 3}, "unknown attribute 'yawn'; did you mean yaw"),
        ({"yaw": 90}, "yaw=90 is out of range: from -45 to 45 degrees"),
        ({"age": "old"}, "age='old' is not a number"),
        ({"smile": float("nan")}, "not a number"),
        ({"hair_color": [1, 0]}, "three numbers"),
        ({"hair_color": [2, 0, 0]}, "out of range"),
        ({"hair_style": "mohwak"}, "not one of its choices"),
        ({"identity": 1.5}, "whole number"),
    ],
)
def test_impossible_values_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        faces.sample_row(0, 0, values)
    assert "\n" not in str(caught.value)


def test_assignments_of_the_command_line() -> None:
    parsed = labels.parse_assignments(["yaw=30", "hair_color=0.8,0.2,0.1", "hair_style=bob", "identity=7"])
    assert parsed == {"yaw": 30.0, "hair_color": [0.8, 0.2, 0.1], "hair_style": "bob", "identity": 7}
    for item, message in [("yaw", "name=value"), ("yaw=left", "takes a number"), ("yaw=1,2", "yaw"), ("jaw=1", "yaw")]:
        with pytest.raises(ConfigError, match=message):
            labels.parse_assignments([item])


# --- geometry -------------------------------------------------------------------------------------------------------


def test_the_asset_is_compact_and_licensed() -> None:
    folder = Path(faces.__file__).parent / "assets"
    assert (folder / "head.safetensors").stat().st_size < 8 * 2**20
    assert "CC0" in (folder / "LICENSE.md").read_text()
    head = load_head()
    assert len(head.action_names) == 52
    assert head.triangles.max() < len(head.part)


def test_rotation_signs() -> None:
    nose, crown = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
    assert (pose.rotation(20, 0, 0) @ nose)[0] > 0.3  # to the image's right
    assert (pose.rotation(0, 20, 0) @ nose)[1] > 0.3  # up
    assert (pose.rotation(0, 0, 20) @ crown)[0] > 0.3  # clockwise
    matrix = pose.rotation(31, -12, 9)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)


def test_heads_are_aligned_whatever_their_age() -> None:
    top, chin = load_head().extremes
    head = load_head()
    for age in (6, 30, 85):
        neutral = head.deform(shape.shape_coefficients(labels.complete_row({"age": age, "identity": 3})))
        aligned = shape.align(neutral, neutral)
        assert aligned[top, 1] - aligned[chin, 1] == pytest.approx(shape.HEAD_HEIGHT_DM, abs=1e-4)
        eyes = aligned[[head.joints["l-eye"], head.joints["r-eye"]]].mean(0)
        np.testing.assert_allclose(eyes, 0, atol=1e-4)


def test_identity_is_plausible_and_repeatable() -> None:
    head = load_head()
    average = shape.align(head.average, head.average)
    people = []
    for identity in range(12):
        neutral = head.deform(shape.shape_coefficients(labels.complete_row({"identity": identity, "age": 25})))
        people.append(shape.align(neutral, neutral))
    face = (average[:, 1] > -1.0) & (average[:, 2] > -0.3)
    away = [np.linalg.norm(person - average, axis=1)[face].max() for person in people]
    assert max(away) < 0.5  # dm: nobody is a caricature
    assert np.linalg.norm(people[0] - people[1], axis=1)[face].mean() > 0.01


def test_rasterizer_covers_a_triangle_once_and_keeps_the_nearer() -> None:
    xy = np.array([[2, 2], [2, 14], [14, 2], [0, 0], [0, 16], [16, 0]], dtype=np.float32)
    depth = np.array([5, 5, 5, 9, 9, 9], dtype=np.float32)
    triangles = np.array([[0, 1, 2], [3, 4, 5]])
    drawn = {"two_sided": np.zeros(2, dtype=bool), "cut": np.ones(6, dtype=np.float32)}
    seen = raster.rasterize(xy, depth, triangles, 16, **drawn)
    assert len(np.unique(seen.pixel)) == len(seen.pixel)
    assert (seen.triangle == 0).sum() == pytest.approx(72, abs=8)  # half of 12 × 12
    np.testing.assert_allclose(seen.weights.sum(1), 1, atol=1e-5)
    centers = np.stack([seen.pixel % 16 + 0.5, seen.pixel // 16 + 0.5], axis=1)
    np.testing.assert_allclose(seen.interpolate(xy), centers, atol=1e-3)
    assert len(raster.rasterize(xy, depth, triangles[:, ::-1], 16, **drawn).pixel) == 0  # from behind
    drawn["cut"] = np.array([1, 1, -1, -1, -1, -1], dtype=np.float32)
    assert 0 < len(raster.rasterize(xy, depth, triangles, 16, **drawn).pixel) < 72
    assert len(raster.rasterize(xy + 100, depth, triangles, 16, **drawn).pixel) == 0  # outside


# --- labels in the pixels -------------------------------------------------------------------------------------------


def test_pictures_do_not_depend_on_their_neighbours() -> None:
    rows = [faces.sample_row(0, index) for index in range(3)]
    together = faces.render(rows, 32)
    assert together.shape == (3, 32, 32, 3)
    assert together.dtype == np.uint8
    for row, image in zip(rows, together, strict=True):
        np.testing.assert_array_equal(faces.render([row], 32)[0], image)


def test_the_head_is_centred_and_fills_the_picture() -> None:
    mask = face_mask(picture())
    columns = np.flatnonzero(mask[:45].any(0))
    rows = np.flatnonzero(mask.any(1))
    assert abs(columns.mean() - 31.5) < 2
    assert 3 <= rows[0] <= 14
    assert rows[-1] == 63


def test_yaw_turns_the_face_and_mirrors() -> None:
    right, left = picture(yaw=35), picture(yaw=-35)
    unturned = picture()
    assert abs(right - left[:, ::-1]).mean() < 0.35 * abs(right - unturned).mean() + 4
    tip = [picture(yaw=yaw, hair_style="bald", skin_tone=0.9)[28:44].sum(2) for yaw in (-35, 35)]
    assert abs(tip[0] - tip[1]).mean() > 15


def test_roll_is_clockwise() -> None:
    def lean(image: np.ndarray) -> float:
        mask = face_mask(image)
        upper, lower = np.flatnonzero(mask[10:16].any(0)).mean(), np.flatnonzero(mask[36:42].any(0)).mean()
        return float(upper - lower)

    assert lean(picture(roll=20)) > 4
    assert lean(picture(roll=-20)) < -4


def test_light_brightens_its_side() -> None:
    for azimuth in (-70.0, 70.0):
        image = picture(light_azimuth=azimuth, hair_style="bald")[20:44]
        mask = face_mask(picture(hair_style="bald"))[20:44]
        side = np.broadcast_to(np.arange(64) > 31, mask.shape)
        difference = image.mean(2)[mask & side].mean() - image.mean(2)[mask & ~side].mean()
        assert difference * np.sign(azimuth) > 25
    above, below = picture(light_elevation=70.0), picture(light_elevation=-30.0)
    assert (above - below)[12:24, 24:40].mean() > (above - below)[40:52, 24:40].mean() + 10


def test_hair_colour_changes_the_hair_alone() -> None:
    dark, red = picture(hair_color=[0.05, 0.05, 0.05]), picture(hair_color=[0.8, 0.2, 0.1])
    change = abs(dark - red).mean(2)
    assert change[10:14, 26:38].mean() > 40  # the top of the head
    assert change[34:44, 24:40].mean() < 3  # the cheeks
    assert change[:, :4].max() == 0  # the backdrop


@pytest.mark.parametrize(
    ("name", "low", "high", "where"),
    [
        ("age", 10, 80, (slice(20, 56), slice(16, 48))),
        ("gender", 0.0, 1.0, (slice(20, 56), slice(16, 48))),
        ("weight", 0.0, 1.0, (slice(30, 60), slice(8, 56))),
        ("smile", 0.0, 1.0, (slice(38, 52), slice(20, 44))),
        ("mouth_open", 0.0, 1.0, (slice(38, 56), slice(20, 44))),
        ("pucker", 0.0, 1.0, (slice(38, 52), slice(20, 44))),
        ("laugh", 0.0, 1.0, (slice(38, 52), slice(20, 44))),
        ("sad", 0.0, 1.0, (slice(38, 52), slice(20, 44))),
        ("surprised", 0.0, 1.0, (slice(18, 52), slice(16, 48))),
        ("disgusted", 0.0, 1.0, (slice(28, 48), slice(18, 46))),
        ("afraid", 0.0, 1.0, (slice(18, 52), slice(16, 48))),
        ("wink", -1.0, 1.0, (slice(24, 36), slice(16, 48))),
        ("brow_raise", 0.0, 1.0, (slice(18, 32), slice(16, 48))),
        ("angry", 0.0, 1.0, (slice(18, 34), slice(16, 48))),
        ("eyes_closed", 0.0, 1.0, (slice(24, 36), slice(16, 48))),
        ("gaze_yaw", -25, 25, (slice(24, 36), slice(16, 48))),
        ("gaze_pitch", -20, 20, (slice(24, 36), slice(16, 48))),
        ("pitch", -20, 20, (slice(10, 60), slice(16, 48))),
        ("skin_tone", 0.1, 0.9, (slice(32, 44), slice(20, 44))),
        ("identity", 1, 2, (slice(20, 56), slice(16, 48))),
    ],
)
def test_an_attribute_is_visible_where_it_belongs(name: str, low: float, high: float, where: tuple) -> None:
    change = abs(picture(**{name: low}) - picture(**{name: high})).mean(2)
    assert change[where].mean() > 1.0
    assert change[where].max() > 15


@pytest.mark.parametrize("name", ["eye_color", "clothes", "background"])
def test_a_colour_changes_the_picture(name: str) -> None:
    shown = {"identity": 4}  # a neck short enough to show the clothes
    change = abs(picture(**shown, **{name: [0.1, 0.1, 0.1]}) - picture(**shown, **{name: [0.9, 0.7, 0.2]}))
    assert change.max() > 20


def test_small_pictures_are_the_large_ones_shrunk() -> None:
    large = Image.fromarray(picture(128).astype(np.uint8)).resize((32, 32), Image.Resampling.LANCZOS)
    assert abs(np.asarray(large, dtype=np.float64) - picture(32)).mean() < 3  # the same scene, band-limited


@pytest.mark.parametrize("size_px", [16, 31, 513])
def test_impossible_sizes_are_refused(size_px: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="32 to 512 px"):
        faces.render([PLAIN], size_px)
    with pytest.raises(ConfigError, match="32 to 512 px"):
        faces.make_dataset(tmp_path / "f.zip", 1, size_px)


# --- datasets -------------------------------------------------------------------------------------------------------


def test_same_bytes_whatever_the_number_of_workers(tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    for workers in (1, 2):
        faces.make_dataset(
            tmp_path / f"{workers}.zip", 20, 32, seed=4, workers=workers, progress=lambda *done: progress.append(done)
        )
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    assert progress == [(done, 20) for done in range(1, 21)] * 2


def test_a_dataset_is_rendered_again_from_its_labels(tmp_path: Path) -> None:
    path = tmp_path / "f.zip"
    faces.make_dataset(path, 4, 32, seed=9, workers=1, fixed={"yaw": 10})
    pictures, content = read_zip(path)
    rows = [row for _, row in content["attributes"]]
    np.testing.assert_array_equal(faces.render(rows, 32), np.stack(pictures))
    assert rows[2] == faces.sample_row(9, 2, {"yaw": 10})
    assert content["schema"]["yaw"]["unit"] == "degrees"
    assert content["meta"]["seed"] == 9


class Interrupted(Exception):
    """Stands for Ctrl-C, SIGKILL or a full disk."""


def test_an_interrupted_run_continues_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(done: int, total: int) -> None:
        if done >= 8:
            raise Interrupted

    whole, path = tmp_path / "whole.zip", tmp_path / "f.zip"
    faces.make_dataset(whole, 20, 32, seed=3, workers=1)
    with pytest.raises(Interrupted):
        faces.make_dataset(path, 20, 32, seed=3, workers=1, progress=interrupt)
    assert not path.exists()
    (kept,) = tmp_path.glob(".f.zip.*.part")
    kept.write_bytes(kept.read_bytes()[:-100])  # as if it had been killed while it wrote
    rendered_again: list[int] = []
    monkeypatch.setattr(faces_dataset, "_portrait", counted(faces_dataset._portrait, rendered_again))
    faces.make_dataset(path, 20, 32, seed=3, workers=1)
    assert rendered_again == list(range(7, 20))
    assert path.read_bytes() == whole.read_bytes()
    assert sorted(tmp_path.iterdir()) == [path, whole]


def counted(render: Callable, seen: list[int]) -> Callable:
    def portrait(rows: faces_dataset.Rows, index: int, *more: object) -> faces_dataset.Portrait:
        seen.append(index)
        return render(rows, index, *more)

    return portrait


def test_what_was_finished_makes_a_smaller_dataset(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise Interrupted

    path = tmp_path / "f.zip"
    with pytest.raises(Interrupted):
        faces.make_dataset(path, 20, 32, workers=1, progress=interrupt)
    with pytest.raises(Interrupted):  # another recipe does not go on from there
        faces.make_dataset(path, 20, 32, workers=1, seed=1, progress=interrupt)
    assert len(list(tmp_path.glob(".f.zip.*.part"))) == 2
    faces.make_dataset(path, 1, 32, workers=1)
    assert len(read_zip(path)[0]) == 1


def test_a_full_disk_says_that_the_work_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> faces_dataset.Portrait:
        raise OSError(errno.ENOSPC, "No space left on device")

    good = faces_dataset._portrait
    monkeypatch.setattr(
        faces_dataset, "_portrait", lambda rows, index, *more: (full if index else good)(rows, index, *more)
    )
    with pytest.raises(DataError, match=r"disk is full.*the same command continues"):
        faces.make_dataset(tmp_path / "f.zip", 4, 32, workers=1)
    monkeypatch.undo()
    faces.make_dataset(tmp_path / "f.zip", 4, 32, workers=1)
    assert len(read_zip(tmp_path / "f.zip")[0]) == 4


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "f.zip"
    path.write_bytes(b"mine")
    with pytest.raises(DataError, match="exists"):
        faces.make_dataset(path, 1, 32)
    assert path.read_bytes() == b"mine"
    faces.make_dataset(path, 1, 32, overwrite=True)
    assert len(read_zip(path)[0]) == 1


@pytest.mark.parametrize("wrong", [{"count": 0}, {"seed": -1}, {"workers": 0}, {"fixed": {"hair": 1}}])
def test_impossible_datasets_are_refused(wrong: dict, tmp_path: Path) -> None:
    with pytest.raises(GantrolError) as caught:
        faces.make_dataset(**({"out": tmp_path / "f.zip", "count": 1, "size_px": 32} | wrong))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_command_renders_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gantrol.cli.data_faces import DataFaces, run

    run(DataFaces(count=2, size=32, out=tmp_path / "f.zip", workers=1, set=("hair_style=bald", "age=70")))
    rows = [row for _, row in read_zip(tmp_path / "f.zip")[1]["attributes"]]
    assert [row["hair_style"] for row in rows] == ["bald", "bald"]
    assert "2 portraits" in capsys.readouterr().out
