"""`gantrol project`: the files it writes, and that it writes all of them or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gantrol.cli import project as command
from gantrol.model import Model, load
from gantrol.models import StyleGAN3Config
from gantrol.project import Projection
from tests.cli.conftest import Cli, picture

QUICK = ("--steps", 4, "--starts", 2, "--features", "pyramid", "--device", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"num_layers": 3, "channel_base": 64, "channel_max": 4, "z_dim": 4, "w_dim": 4}
    model = Model(StyleGAN3Config(resolution_px=16, margin_px=2, **sizes).build().eval(), training={"kimg": 3})
    return model.save_pretrained(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.fromarray(picture(1, 40)[:, :30]).save(path)
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_the_folder_holds_everything(cli: Cli, folder: Path, image: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    out, record = tmp_path / "out", tmp_path / "r.json"
    result = cli("project", folder, image, "--out", out, "--tune", 3, "--json", record, "--seed", 3, *QUICK)
    assert result.status == 0, result.err
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["target.png", "projected.png", "tuned.png", "projection.safetensors", "progress.mp4", "report.json", "model"]
    )
    report = json.loads(record.read_text())
    assert report == json.loads((out / "report.json").read_text())
    assert report["seed"] == 3
    assert set(report["psnr"]) == {"start", "projected", "tuned"}
    assert len(report["losses_by_step"]["perceptual"]) == 4
    assert f"{report['psnr']['projected']:.1f} dB" in result.out
    with av.open(str(out / "progress.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 4 + 3 + 30

    projection = Projection.load(out / command.LATENT)
    for model, name in (
        (load(folder, device="cpu"), "projected.png"),
        (load(out / "model", device="cpu"), "tuned.png"),
    ):
        shown = ((projection.render(model)[0].permute(1, 2, 0) + 1) * 127.5).round().numpy()
        assert np.abs(shown - pixels(out / name)).max() <= 1
    assert pixels(out / "target.png").shape == (16, 16, 3)
    assert projection.psnr == report["psnr"]["projected"]


def test_a_second_time_needs_overwrite(cli: Cli, folder: Path, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["project", folder, image, "--out", out, "--no-video", *QUICK]
    assert cli(*arguments).status == 0
    assert not (out / "progress.mp4").exists()
    first = (out / command.LATENT).read_bytes()
    assert "--overwrite" in cli(*arguments).error
    assert cli(*arguments, "--overwrite").status == 0
    assert (out / command.LATENT).read_bytes() == first  # the same seed
    (out / command.LATENT).unlink()
    assert "is no projection" in cli(*arguments, "--overwrite").error


def test_ctrl_c_leaves_nothing(
    cli: Cli, folder: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gantrol.project.Tuner.run", interrupted)
    before = sorted(tmp_path.rglob("*"))
    result = cli("project", folder, image, "--out", tmp_path / "out", "--tune", 2, "--no-video", *QUICK)
    assert result.status == 130
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--crop", "none"], "30×40 is not square"),
        (["--features", "vgg"], "unknown features 'vgg'"),
        (["--class", 1], "no classes"),
        (["--tune", -1], "--tune -1"),
        (["--steps", 0], "steps=0"),
    ],
)
def test_mistakes_are_one_line(
    cli: Cli, folder: Path, image: Path, tmp_path: Path, arguments: list[object], message: str
) -> None:
    out = tmp_path / "out"
    assert message in cli("project", folder, image, "--out", out, "--no-video", *QUICK, *arguments).error
    assert not out.exists()


def test_without_the_extra_the_film_can_be_left_out(
    cli: Cli, folder: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    error = cli("project", folder, image, "--out", tmp_path / "out", *QUICK).error
    assert "gantrol[video]" in error
    assert "--no-video" in error
    assert cli("project", folder, image, "--out", tmp_path / "out", "--no-video", *QUICK).status == 0
