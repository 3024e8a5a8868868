"""`gantrol video` and `gantrol mix`, from their options to their files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gantrol.model import Model
from gantrol.models import StyleGAN2Config, StyleGAN3Config
from tests.cli.conftest import Cli

av = pytest.importorskip("av")

SIZES: dict[str, Any] = {"channel_base": 64, "channel_max": 4, "z_dim": 4, "w_dim": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = Model(StyleGAN3Config(resolution_px=16, num_layers=3, **SIZES).build().eval())
    return model.save_pretrained(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A StyleGAN2 with two classes: it cannot be moved."""
    torch.manual_seed(0)
    model = Model(StyleGAN2Config(resolution_px=16, c_dim=2, mapping_layers=2, **SIZES).build().eval())
    return model.save_pretrained(tmp_path_factory.mktemp("models") / "conditional")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    with av.open(str(path)) as film:
        yield film


def frame_count(path: Path) -> int:
    with opened(path) as film:
        return sum(1 for _ in film.decode(video=0))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_video_writes_a_loop(cli: Cli, folder: Path, tmp_path: Path) -> None:
    out, record = tmp_path / "loop.mp4", tmp_path / "loop.json"
    arguments = ["--seeds", "0-3", "--grid", "2x1", "--frames", 3, "--fps", 10, "--json", record]
    assert cli("video", folder, "--out", out, *arguments).status == 0
    assert frame_count(out) == 6
    with opened(out) as film:
        assert (film.streams.video[0].width, film.streams.video[0].height) == (512, 256)
    content = json.loads(record.read_text())
    assert content["seeds"] == [[[0, 1], [2, 3]]]
    assert (content["frames"], content["duration_s"]) == (6, 0.6)


@pytest.mark.parametrize(
    ("arguments", "frames"),
    [
        (["--kind", "translate", "--frames", "9", "--path", "y", "--reach", "0.2"], 9),
        (["--kind", "translate", "--seconds", "0.5", "--fps", "20", "--grid", "2x2"], 10),
        (["--kind", "turn", "--frames", "8", "--seeds", "5"], 8),
        (["--kind", "sweep", "--sweep", "truncation=0:1", "rotate=0:360", "--frames", "8"], 8),
        (["--kind", "sweep", "--sweep", "translate_x=-0.2:0.2", "--frames", "8"], 8),
        (["--kind", "style-mix", "--seeds", "0-2", "--frames", "4", "--layers", "3,4"], 8),
        (["--kind", "interpolate", "--seeds", "0-2", "--seconds", "0.7", "--fps", "10"], 7),
    ],
)
def test_every_kind_has_as_many_frames_as_it_was_told(
    cli: Cli, folder: Path, tmp_path: Path, arguments: list[str], frames: int
) -> None:
    result = cli("video", folder, "--out", tmp_path / "a.mp4", "--truncation", 0.8, *arguments)
    assert result.status == 0, result.err
    assert f"{frames} frames" in result.out
    assert frame_count(tmp_path / "a.mp4") == frames


def test_the_strip_shows_eight_frames_of_the_film(cli: Cli, folder: Path, tmp_path: Path) -> None:
    strip, record = tmp_path / "s.png", tmp_path / "r.json"
    arguments = ["--kind", "translate", "--frames", 16, "--seeds", 3, "--enlargement", "nearest", "--device", "cpu"]
    result = cli("video", folder, "--out", tmp_path / "a.mp4", *arguments, "--strip", strip, "--json", record)
    assert result.status == 0, result.err
    shown = pixels(strip)
    assert shown.shape == (96, 8 * 96 + 7 * 2, 3)
    moved = Model.from_pretrained(folder, device="cpu").generate([3], translate=(0.0, 0.1), output="np")[0]
    third = shown[::6, 2 * 98 : 2 * 98 + 96 : 6]  # a quarter round the circle
    assert np.abs(third.astype(int) - moved).max() <= 1
    content = json.loads(record.read_text())
    assert (content["path"], content["reach"], content["reach_unit"]) == ("circle", 0.1, "image widths")
    assert content["strip"] == str(strip)


def test_style_mix_defaults_to_the_finer_half_and_four_seeds(cli: Cli, folder: Path, tmp_path: Path) -> None:
    record = tmp_path / "r.json"
    result = cli("video", folder, "--out", tmp_path / "a.mp4", "--kind", "style-mix", "--frames", 1, "--json", record)
    assert result.status == 0, result.err
    content = json.loads(record.read_text())
    assert (content["seeds"], content["moving_seeds"], content["layers"]) == ([[0]], [1, 2, 3, 4], [2, 3, 4])


def test_classes_and_noise_reach_the_film(cli: Cli, conditional: Path, tmp_path: Path) -> None:
    more = [
        "--kind",
        "sweep",
        "--sweep",
        "truncation=0:1",
        "--frames",
        2,
        "--noise",
        "random",
        "--truncation-cutoff",
        2,
    ]
    assert cli("video", conditional, "--out", tmp_path / "a.mp4", "--class", 1, *more).status == 0
    assert frame_count(tmp_path / "a.mp4") == 2
    message = cli("video", conditional, "--out", tmp_path / "b.mp4", *more).error
    assert "choose a class from 0 to 1" in message
    assert not (tmp_path / "b.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "turns"], "--kind turns: unknown; did you mean turn or translate?"),
        (["--grid", "3"], "expected columns x rows"),
        (["--grid", "3x1"], "8 seeds do not divide among 3x1 cells"),
        (["--frames", "0"], "expected at least 1"),
        (["--fps", "0"], "--fps 0"),
        (["--seconds", "0"], "--seconds 0: expected at least one frame"),
        (["--seconds", "1", "--frames", "1"], "give one of them"),
        (["--kind", "turn", "--seeds", "0-2"], "takes 1 of them, --seeds has 3"),
        (["--kind", "turn", "--grid", "2x2", "--seeds", "0-2"], "takes 4 of them, --seeds has 3"),
        (["--kind", "turn", "--layers", "1"], "--layers belongs to --kind style-mix; this is --kind turn"),
        (["--sweep", "yaw=-30:30"], "--sweep belongs to --kind sweep"),
        (["--kind", "sweep"], "what shall change?"),
        (["--kind", "sweep", "--sweep", "yaw"], "expected name=from:to"),
        (["--kind", "sweep", "--sweep", "yaw=-30:30"], "no controls; what it can sweep: truncation, translate_x,"),
        (["--kind", "style-mix", "--layers", "0-6"], "layer 5: this model has the layers 0 to 4"),
        (["--kind", "style-mix", "--seeds", "0"], "needs a second latent"),
        (["--strip", "x.gif"], "x.gif: pictures are written as"),
        (["--truncation-cutoff", "-1"], "truncation cutoff -1: expected 0 to 5"),
        (["--set", "age=60"], "'age': this model has no controls"),
    ],
)
def test_video_refuses_in_one_line(cli: Cli, folder: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    assert message in cli("video", folder, "--out", tmp_path / "a.mp4", *arguments).error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["--kind", "turn"], ["--kind", "translate"], ["--kind", "sweep", "--sweep", "rotate=0:360"]]
)
def test_what_cannot_be_moved_is_refused(cli: Cli, conditional: Path, tmp_path: Path, arguments: list[str]) -> None:
    message = cli("video", conditional, "--out", tmp_path / "a.mp4", "--class", 0, *arguments).error
    assert "a stylegan2 model cannot be translated or rotated" in message
    assert list(tmp_path.iterdir()) == []


def test_mix_writes_a_table_with_heads(cli: Cli, folder: Path, tmp_path: Path) -> None:
    out, record = tmp_path / "grid.png", tmp_path / "r.json"
    arguments = ["--rows", "0,1", "--cols", "5-7", "--layers", "0-2", "--truncation", 0.7, "--device", "cpu"]
    result = cli("mix", folder, *arguments, "--out", out, "--json", record)
    assert result.status == 0, result.err
    assert "2 x 3 mixes, layers 0,1,2 of 5" in result.out
    table = pixels(out).astype(int)
    assert table.shape == (16 * 3 + 2, 16 * 4 + 2, 3)
    model = Model.from_pretrained(folder, device="cpu")
    for row, seed in enumerate((0, 1)):
        head = model.generate([seed], truncation_psi=0.7, output="np")[0]
        assert np.abs(table[18 + 16 * row : 34 + 16 * row, :16] - head).max() <= 1
    for column, seed in enumerate((5, 6, 7)):
        head = model.generate([seed], truncation_psi=0.7, output="np")[0]
        assert np.abs(table[:16, 18 + 16 * column : 34 + 16 * column] - head).max() <= 1
    content = json.loads(record.read_text())
    assert (content["rows"], content["cols"], content["layers"]) == ([0, 1], [5, 6, 7], [0, 1, 2])
    assert content["gantrol_version"]


def test_mix_takes_classes_and_noise(cli: Cli, conditional: Path, tmp_path: Path) -> None:
    more = ["--rows", 0, "--cols", 1, "--class", 1, "--noise", "none", "--truncation-cutoff", 1]
    assert cli("mix", conditional, *more, "--out", tmp_path / "a.jpg").status == 0
    assert pixels(tmp_path / "a.jpg").shape == (34, 34, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "0", "--cols", "1", "--layers", "0-6", "--out", "g.png"], "layer 5: this model has the layers"),
        (["--rows", "0", "--cols", "1", "--layers", "x", "--out", "g.png"], "layers 'x': expected numbers"),
        (["--rows", "0-", "--cols", "1", "--out", "g.png"], "expected numbers and ranges"),
        (["--rows", "0", "--cols", "1", "--out", "g.tiff"], "g.tiff: pictures are written as"),
        (["--rows", "0", "--cols", "1", "--class", "1", "--out", "g.png"], "no classes"),
        (["--rows", "0", "--cols", "1", "--batch", "0", "--out", "g.png"], "batch size 0"),
    ],
)
def test_mix_refuses_in_one_line(
    cli: Cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in cli("mix", folder, *arguments).error
    assert list(tmp_path.iterdir()) == []
