"""Avatars: rows say what is drawn, styles are those whose licence permits it, and a row is enough to draw again."""

from __future__ import annotations

import io
import json
import re
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("dicebear")
pytest.importorskip("dicebear_styles")
pytest.importorskip("resvg_py")

from gantrol.cli.data_avatars import DataAvatars, run
from gantrol.data import avatars
from gantrol.data.annotations import mirrored
from gantrol.data.avatars import drawing, labels
from gantrol.data.avatars.styles import CC0, CC_BY
from gantrol.errors import ConfigError, DataError, GantrolError, MissingExtraError

PLAIN = {"style": "open-peeps", "identity": 5, "background": [0.1, 0.2, 0.9]}
DOCS = Path(__file__).parents[2] / "docs" / "avatars.md"


@pytest.fixture(scope="module", autouse=True)
def _unvalidated_definitions() -> Any:
    """DiceBear checks each definition for up to a second; the packaged ones are good."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dicebear.validator.StyleValidator.validate", lambda data: None)
        yield
    drawing._style.cache_clear()


def picture(size_px: int = 64, **values: object) -> np.ndarray:
    return avatars.render([PLAIN | values], size_px)[0].astype(np.float64)


def read_zip(path: Path) -> tuple[list[np.ndarray], dict[str, Any]]:
    with zipfile.ZipFile(path) as archive:
        content = json.loads(archive.read("dataset.json"))
        pictures = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name, _ in content["attributes"]]
    return pictures, content


# --- the tables -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", avatars.STYLES)
def test_tables_name_what_the_package_has(name: str) -> None:
    style, definition = avatars.STYLES[name], drawing.definition(name)
    parts = {part: set(entry["variants"]) for part, entry in definition["components"].items()}
    used = {*style.own, *style.hidden, *style.recolored}
    for attribute, values in style.parts.items():
        assert attribute in avatars.ATTRIBUTES
        assert set(values) <= set(avatars.ATTRIBUTES[attribute].odds or ())
        used |= set(style.components(attribute))
        shown = [(part, drawn) for drawings in values.values() for part, names in drawings.items() for drawn in names]
        assert all(drawn in parts[part] for part, drawn in shown), (attribute, shown)
        alone = [pair for pair in shown if len(style.components(attribute)) == 1]
        assert len(alone) == len(set(alone)), f"{attribute}: a drawing shows two values"
    assert used <= set(parts)
    assert set(parts) - used <= {"animation"}, "a part is neither labelled, nor chosen by identity, nor hidden"
    own_colors = {new for _, new in style.recolored.values()}
    for attribute, colors in style.colors.items():
        assert avatars.ATTRIBUTES[attribute].kind == "color"
        assert set(colors) <= {*definition["colors"], *own_colors, "background"}


def test_only_styles_without_conditions_by_default() -> None:
    assert {avatars.STYLES[name].licence for name in avatars.DEFAULT_STYLES} == {CC0}
    assert {style.licence for style in avatars.STYLES.values()} == {CC0, CC_BY}
    assert {labels.sample_row(0, index)["style"] for index in range(100)} == set(avatars.DEFAULT_STYLES)


def test_another_licence_in_the_package_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing.definition.cache_clear()
    monkeypatch.setattr(drawing.json, "loads", lambda text: {"meta": {"license": {"name": "CC BY-NC"}}})
    with pytest.raises(DataError, match=r"'CC BY-NC', not 'CC0 1\.0'"):
        drawing.definition("lorelei")
    drawing.definition.cache_clear()


# --- rows -----------------------------------------------------------------------------------------------------------


def test_rows_are_json_and_hold_what_their_style_can_vary() -> None:
    for index in range(200):
        row = avatars.sample_row(3, index, styles=avatars.STYLES)
        assert json.loads(json.dumps(row)) == row
        assert list(row) == list(avatars.style_attributes(row["style"]))
        assert avatars.complete_row(row) == row


def test_rows_depend_on_seed_and_index_alone() -> None:
    assert avatars.sample_row(1, 2) == avatars.sample_row(1, 2)
    assert avatars.sample_row(1, 2) != avatars.sample_row(1, 3)
    assert avatars.sample_row(1, 2) != avatars.sample_row(2, 2)


def test_fixed_attributes_leave_the_others_as_they_fall() -> None:
    for index in range(20):
        free, fixed = avatars.sample_row(0, index), avatars.sample_row(0, index, fixed={"mouth": "laugh"})
        assert fixed["mouth"] == "laugh"
        assert free | {"mouth": "laugh"} == fixed


def test_values_are_drawn_as_often_as_said_and_independently() -> None:
    rows = [avatars.sample_row(0, index, styles=["lorelei"]) for index in range(1500)]
    odds = avatars.ATTRIBUTES["hair"].odds or {}
    able = avatars.STYLES["lorelei"].choices("hair")
    counts = Counter(row["hair"] for row in rows)
    for choice in able:
        assert counts[choice] / 1500 == pytest.approx(odds[choice] / sum(odds[each] for each in able), abs=0.05)
    columns = [
        [row["roll"] for row in rows],
        [row["zoom"] for row in rows],
        [row["facing"] for row in rows],
        [row["mouth"] == "smile" for row in rows],
        [row["hair"] == "long" for row in rows],
        [row["hair_color"][0] for row in rows],
        [row["skin_color"][0] for row in rows],
        [row["background"][2] for row in rows],
        [row["identity"] for row in rows],
    ]
    correlations = np.corrcoef(np.array(columns, dtype=float)) - np.eye(len(columns))
    assert abs(correlations).max() < 0.1


def test_schema_describes_every_value() -> None:
    schema = labels.schema(avatars.DEFAULT_STYLES)
    assert "eye_color" in schema
    assert "eye_color" not in labels.schema(["lorelei"])
    brows = labels.schema(["micah"])["brows"]
    assert (brows["choices"], brows["high"], brows["default"]) == (["raised", "worried"], 1, "raised")
    for index in range(100):
        for name, value in avatars.sample_row(5, index).items():
            entry = schema[name]
            assert value in entry["choices"] if "choices" in entry else True
            if entry["kind"] in ("scalar", "seed"):
                assert entry["low"] <= value <= entry["high"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hair_colour": [0, 0, 0]}, "hair_color"),
        ({"mouth": "smyle"}, "did you mean smile"),
        ({"mouth": 3}, "known: "),
        ({"hair": "covered"}, "cannot be drawn by cutouts, lorelei: choose --styles among notionists"),
        ({"eye_color": [0, 0, 1]}, "cannot be drawn by .*lorelei"),
        ({"style": "lorelei"}, "--styles"),
        ({"hair_color": [0, 0]}, "r,g,b"),
        ({"hair_color": [0, 0, 2]}, "out of range"),
        ({"hair_color": "red"}, "r,g,b"),
        ({"roll": 90}, "-20 to 20 degrees"),
        ({"roll": float("nan")}, "a number"),
        ({"facing": 0.5}, "1, -1"),
        ({"identity": 1.5}, "whole"),
        ({"identity": True}, "whole"),
    ],
)
def test_impossible_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        avatars.sample_row(0, 0, fixed=values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("styles", [["lorelai"], ["avataaars"], ["blobs"], []])
def test_impossible_styles(styles: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"CC0 1\.0 styles are used by default, CC BY 4\.0 ones when named"):
        avatars.sample_row(0, 0, styles=styles)


def test_assignments_of_the_command_line() -> None:
    assert labels.parse_assignments(["roll=10", "hair_color=1,0.5,0", "mouth=smile"]) == {
        "roll": 10.0,
        "hair_color": [1.0, 0.5, 0.0],
        "mouth": "smile",
    }
    for item in ("roll", "roll=x", "nose=big"):
        with pytest.raises(ConfigError):
            labels.parse_assignments([item])


# --- pixels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", avatars.STYLES)
def test_labels_are_visible(name: str) -> None:
    """Every value of every attribute changes the picture, and its colours are the labels' colours."""
    base = avatars.complete_row({"style": name, "identity": 3, "background": [0.0, 0.0, 1.0]})
    before = avatars.render([base], 48)[0]
    assert before.shape == (48, 48, 3)
    assert tuple(before[0, 0]) == (0, 0, 255)
    for attribute, choices in avatars.style_attributes(name).items():
        values: dict[str, Any] = {"facing": -1.0, "roll": 12.0, "zoom": 1.2, "identity": 9}
        for value in choices or [values.get(attribute, [0.0, 1.0, 0.0])]:
            if value != base[attribute]:
                after = avatars.render([base | {attribute: value}], 48)[0]
                assert (after != before).any(), f"{attribute}={value}"
                if avatars.ATTRIBUTES[attribute].kind == "color" and attribute != "eye_color":
                    assert (after == (0, 255, 0)).all(axis=2).sum() > 5, f"{attribute} is not to be seen"


def test_a_mirrored_label_is_the_mirrored_picture() -> None:
    row = avatars.complete_row(PLAIN | {"roll": 9.0, "hair": "tied"})
    twin = mirrored(row, labels.schema(["open-peeps"]))
    assert (twin["facing"], twin["roll"]) == (-1, -9)
    left, right = avatars.render([row, twin], 64).astype(float)
    assert abs(left - right[:, ::-1]).mean() < 1.0
    assert abs(left - right).mean() > 10


def test_zoom_and_roll_do_what_they_say() -> None:
    def skin_and_hair(image: np.ndarray) -> np.ndarray:
        return image[:, :, 2] - image[:, :, 0] < 100

    small, large = skin_and_hair(picture(zoom=0.8)), skin_and_hair(picture(zoom=1.2))
    assert large.sum() > 1.5 * small.sum()
    for facing in (1.0, -1.0):
        upright = Image.fromarray(picture(facing=facing).astype(np.uint8))
        turned = [np.asarray(upright.rotate(angle), dtype=float)[16:48, 16:48] for angle in (-15, 15)]
        clockwise, other = (abs(picture(facing=facing, roll=15.0)[16:48, 16:48] - image).mean() for image in turned)
        assert clockwise < 0.5 * other


def test_identity_keeps_everything_else() -> None:
    options = [avatars.options(avatars.complete_row(PLAIN | {"mouth": mouth})) for mouth in ("smile", "frown")]
    changed = {key for key in options[0] if options[0][key] != options[1][key]}
    assert changed == {"expressionVariant"}


def test_impossible_pictures() -> None:
    for size in (15, 1025):
        with pytest.raises(ConfigError, match="16 to 1024 px"):
            avatars.render([PLAIN], size)
    with pytest.raises(ConfigError, match="names its style"):
        avatars.render([{"mouth": "smile"}], 32)
    with pytest.raises(ConfigError, match="cannot be drawn by open-peeps"):
        avatars.render([PLAIN | {"eyes": "closed"}], 32)
    assert avatars.render([], 32).shape == (0, 32, 32, 3)


# --- datasets -------------------------------------------------------------------------------------------------------


def test_a_dataset_is_rendered_again_from_its_labels(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    make = avatars.make_dataset
    styles = ["lorelei", "micah"]
    make(tmp_path / "a.zip", 6, 32, seed=4, styles=styles, progress=lambda done, total: seen.append((done, total)))
    make(tmp_path / "b.zip", 6, 32, seed=4, styles=styles)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert seen[-1] == (6, 6)
    pictures, content = read_zip(tmp_path / "a.zip")
    rows = [row for _, row in content["attributes"]]
    assert rows == [avatars.sample_row(4, index, styles=styles) for index in range(6)]
    np.testing.assert_array_equal(avatars.render(rows, 32), pictures)
    make(tmp_path / "more.zip", 8, 32, seed=4, styles=styles)
    assert read_zip(tmp_path / "more.zip")[1]["attributes"][:6] == content["attributes"]


def test_a_dataset_says_under_which_licences_it_is(tmp_path: Path) -> None:
    avatars.make_dataset(tmp_path / "a.zip", 1, 16, styles=["micah"], fixed={"mouth": "smile"})
    meta = read_zip(tmp_path / "a.zip")[1]["meta"]
    assert list(meta["styles"]) == ["micah"]
    licence = meta["styles"]["micah"]
    assert licence["license"]["name"] == "CC BY 4.0"
    assert licence["license"]["url"].startswith("https://creativecommons.org/")
    assert "Micah Lanier" in licence["license"]["text"]
    assert licence["creator"]["name"] == "Micah Lanier"
    assert licence["changes"] == "framed"
    assert meta["fixed"] == {"mouth": "smile"}
    assert set(meta["packages"]) == {"dicebear-core", "dicebear-styles", "resvg-py"}


def test_impossible_datasets(tmp_path: Path) -> None:
    out = tmp_path / "a.zip"
    cases: list[tuple[int, int, dict[str, Any]]] = [
        (0, 32, {}),
        (1, 8, {}),
        (1, 32, {"seed": -1}),
        (1, 32, {"styles": ["x"]}),
    ]
    for count, size_px, keywords in cases:
        with pytest.raises(ConfigError):
            avatars.make_dataset(out, count, size_px, **keywords)
    assert not out.exists()
    out.write_bytes(b"mine")
    with pytest.raises(DataError, match="exists already"):
        avatars.make_dataset(out, 1, 32, styles=["lorelei"])
    assert out.read_bytes() == b"mine"


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(MissingExtraError, match=r"gantrol\[avatars\]"):
        avatars.make_dataset(tmp_path / "a.zip", 1, 32)
    with pytest.raises(MissingExtraError, match=r"gantrol\[avatars\]"):
        avatars.render([PLAIN], 32)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.zip"
    run(DataAvatars(count=2, size=32, out=out, styles="lorelei, micah", set=("mouth=smile", "roll=0")))
    assert "2 avatars of 32×32 px (lorelei, micah)" in capsys.readouterr().out
    rows = [row for _, row in read_zip(out)[1]["attributes"]]
    assert [(row["mouth"], row["roll"]) for row in rows] == [("smile", 0.0)] * 2
    with pytest.raises(GantrolError, match="did you mean lorelei"):
        run(DataAvatars(count=2, size=32, out=out, styles="loreley", overwrite=True))


# --- documentation --------------------------------------------------------------------------------------------------


def test_the_tables_in_the_documentation_are_true() -> None:
    text = DOCS.read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    rows = {match[1]: row for row in cells if (match := re.fullmatch(r"`([\w-]+)`", row[0]))}
    assert set(rows) == {*avatars.STYLES, *avatars.ATTRIBUTES}
    for name, style in avatars.STYLES.items():
        meta = drawing.definition(name)["meta"]
        own = [f"`{each}`" for each in avatars.style_attributes(name) if each in {*style.parts, *style.colors}]
        expected = [f"`{name}`", style.licence, meta["creator"]["name"], ", ".join(own), style.changes]
        assert rows[name] == expected, "| " + " | ".join(expected) + " |"
    for name, attribute in avatars.ATTRIBUTES.items():
        if attribute.kind == "choice" and name != "style":
            values = ", ".join(attribute.odds or ())
        else:
            values = {"style": "below", "facing": "-1 or 1", "identity": "0 to 2³¹ − 1"}.get(
                name, f"{attribute.low:g} to {attribute.high:g}" if attribute.kind == "scalar" else "r,g,b from 0 to 1"
            )
        unit = {"choice": "word", "seed": "seed", "color": "sRGB"}.get(attribute.kind, attribute.unit)
        expected = [f"`{name}`", unit, values, attribute.help]
        assert rows[name] == expected, "| " + " | ".join(expected) + " |"
