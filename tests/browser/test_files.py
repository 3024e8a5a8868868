"""Downloads that can be repeated, files that are opened again, and files that are nonsense."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gantrol.studio.access import UPLOAD_BYTES
from tests.browser.browsing import Explore, Watch, tab, toast, upload


def download(explore: Explore, name: str, folder: Path) -> Path:
    with explore.page.expect_download() as found:
        explore.at(f"download-{name}").click()
    path = folder / found.value.suggested_filename
    found.value.save_as(path)
    return path


def test_what_is_downloaded_is_repeated_by_its_command_and_its_python(
    explore: Explore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with explore.step():
        explore.type("seed", "42")
        explore.type("number-age", "55")
        explore.at("swatch-hair_color-red").click()
        explore.type("number-rotate", "-12")
        explore.type("number-right", "0.05")
    picture, described = download(explore, "png", tmp_path), download(explore, "json", tmp_path)
    assert (picture.name, described.name) == ("seed0042.png", "seed0042.json")
    assert picture.read_bytes() == explore.picture()
    explore.at("repeat").click()
    command = explore.at("command").inner_text()
    assert command == json.loads(described.read_text())["command"]
    (tmp_path / "again").mkdir()
    monkeypatch.chdir(tmp_path / "again")
    subprocess.run([sys.executable, "-m", *shlex.split(command)], check=True, capture_output=True, timeout=300)
    assert Path(picture.name).read_bytes() == picture.read_bytes()
    Path(picture.name).unlink()
    exec(explore.at("python").inner_text(), {})
    assert Path(picture.name).read_bytes() == picture.read_bytes()
    explore.at("repeat").click()

    fields = explore.fields()
    explore.fresh()
    assert explore.fields() != fields
    with explore.step():
        explore.at("open-json").set_input_files(described)
    assert explore.picture() == picture.read_bytes()
    assert explore.fields() == fields


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "JSON"),
        ('{"model": "faces", "seed": "../../etc/passwd"}', "seed"),
        ('{"model": "faces", "colour": 1}', "a picture has no 'colour'"),
        ("0" * 70_000, "too large"),
    ],
    ids=["cut", "text for a number", "unknown", "huge"],
)
def test_a_json_file_that_is_none(explore: Explore, tmp_path: Path, content: str, message: str) -> None:
    before = explore.picture(), explore.fields()
    file = tmp_path / "broken.json"
    file.write_text(content)
    explore.at("open-json").set_input_files(file)
    explore.page.wait_for_selector("#explore-status.gs-error")
    assert message in explore.status()
    assert len(explore.status().splitlines()) == 1
    assert (explore.picture(), explore.fields()) == before
    with explore.step():
        explore.at("seed-next").click()  # it lives on, and the message goes
    assert "drawn in" in explore.status()


@pytest.mark.parametrize("kind", ["broken", "huge"])
def test_a_picture_that_is_none(explore: Explore, watch: Watch, tmp_path: Path, kind: str) -> None:
    page = explore.page
    file = tmp_path / f"{kind}.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(UPLOAD_BYTES + 1 if kind == "huge" else 1000))
    tab(page, "Real picture")
    upload(page, "real-upload", file)
    text = toast(page)
    assert re.search("16|size" if kind == "huge" else r"broken\.png", text), text
    assert "Traceback" not in text
    watch.forgive("413" if kind == "huge" else "nothing")
    if kind == "broken":
        page.locator("#real-upload").get_by_label("Clear").click()
    tab(page, "Explore")
    with explore.step():
        explore.at("seed-next").click()
