"""`gantrol generate`, `evaluate` and `info`, from their options to their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tyro
from PIL import Image

from gantrol import metrics
from gantrol.cli import evaluate, generate, info
from gantrol.cli.looks import parse_controls
from gantrol.data.writer import DatasetWriter
from gantrol.errors import CheckpointError, ConfigError, GantrolError
from gantrol.model import Model
from gantrol.models import StyleGAN3Config

COMMANDS: dict[str, tuple[Any, Any]] = {
    "generate": (generate.Generate, generate.run),
    "evaluate": (evaluate.Evaluate, evaluate.run),
    "info": (info.Info, info.run),
}


def gantrol(command: str, *arguments: object) -> None:
    options, run = COMMANDS[command]
    run(tyro.cli(options, args=[str(argument) for argument in arguments]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"num_layers": 3, "channel_base": 64, "channel_max": 4, "z_dim": 4, "w_dim": 4}
    model = Model(StyleGAN3Config(resolution_px=16, **sizes).build().eval(), training={"kimg": 3})
    return model.save_pretrained(tmp_path_factory.mktemp("models") / "tiny")


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def write_dataset(path: Path, count: int = 6) -> Path:
    rng = np.random.default_rng(0)
    with DatasetWriter(path) as writer:
        for _ in range(count):
            writer.add(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        gantrol(command, "--help")
    assert caught.value.code == 0
    assert f"Example: gantrol {command}" in " ".join(capsys.readouterr().out.split())


def test_generate_writes_one_picture_per_seed(folder: Path, tmp_path: Path) -> None:
    out, grid, record = tmp_path / "out", tmp_path / "grid.png", tmp_path / "r.json"
    gantrol("generate", folder, "--seeds", "0-2,7", "--out", out, "--grid", grid, "--json", record, "--batch", 3)
    assert sorted(path.name for path in out.iterdir()) == [f"seed{seed:04d}.png" for seed in (0, 1, 2, 7)]
    model = Model.from_pretrained(folder, device="cpu")
    expected = np.asarray(model.generate([7])[0]).astype(int)
    assert np.abs(pixels(out / "seed0007.png").astype(int) - expected).max() <= 1
    assert pixels(grid).shape == (32, 32, 3)
    content = json.loads(record.read_text())
    assert content["seeds"] == [0, 1, 2, 7]
    assert content["files"][3] == {"seed": 7, "file": str(out / "seed0007.png")}
    assert content["gantrol_version"]
    gantrol("generate", folder, "--seeds", "0", "--out", out, "--format", "webp")  # an existing folder is fine
    assert (out / "seed0000.webp").exists()


def test_generate_passes_every_option_on(folder: Path, tmp_path: Path) -> None:
    arguments = ["--truncation", 0.5, "--truncation-cutoff", 2, "--rotate", -10, "--noise", "none"]
    gantrol("generate", folder, "--seeds", 1, "--out", tmp_path, "--translate=-0.1,0.2", "--device", "cpu", *arguments)
    model = Model.from_pretrained(folder)
    expected = model.generate(
        [1], truncation_psi=0.5, truncation_cutoff=2, translate=(-0.1, 0.2), rotate=-10, noise_mode="none"
    )
    np.testing.assert_array_equal(pixels(tmp_path / "seed0001.png"), np.asarray(expected[0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x", "--set", "age=60", "yaw=-20"], "'age': this model has no controls"),
        (["--out", "x", "--set", "age"], "expected name=value"),
        (["--out", "x", "--seeds", "1-"], "expected numbers and ranges"),
        (["--out", "x", "--translate", "1"], "expected X,Y"),
        (["--out", "x", "--class", "1"], "no classes"),
        (["--out", "x", "--batch", "0"], "--batch 0"),
        (["--out", "x", "--truncation-cutoff", "6"], "truncation cutoff 6: expected 0 to 5"),
        (["--grid", "x.tiff"], "x.tiff: pictures are written as"),
        ([], "--out DIR"),
    ],
)
def test_generate_refuses_in_one_line_and_writes_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message) as caught:
        gantrol("generate", folder, *arguments)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_control_values_are_numbers_lists_or_words() -> None:
    parsed = parse_controls(("age=60", "hair_color=0.1,0.2,0.3", "expression=smile"))
    assert parsed == {"age": 60.0, "hair_color": (0.1, 0.2, 0.3), "expression": "smile"}


def test_evaluate_writes_named_numbers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = write_dataset(tmp_path / "d.zip")
    gantrol("evaluate", folder, "--data", data, "--samples", 4, "--seed", 2, "--json", tmp_path / "e.json")
    content = json.loads((tmp_path / "e.json").read_text())
    entry = content["metrics"]["fid"]
    assert entry["value"] == metrics.evaluate(folder, data, samples=4, seed=2)["fid"]
    assert (entry["name"], entry["samples"], entry["reals"]) == ("FD-EfficientNet-Lite0", 4, 6)
    assert entry["unit"]
    assert (content["model"], content["seed"]) == (str(folder), 2)
    assert content["gantrol_version"]
    assert "FD-EfficientNet-Lite0" in capsys.readouterr().out


def test_evaluate_checks_before_it_works(folder: Path) -> None:
    with pytest.raises(ConfigError, match="unknown metric 'kidd'"):
        gantrol("evaluate", folder, "--metrics", "fid,kidd")
    with pytest.raises(ConfigError, match="--data"):
        gantrol("evaluate", folder)


def test_info_shows_models_and_datasets(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gantrol("info", folder, "--json", tmp_path / "i.json")
    shown = capsys.readouterr().out
    assert "stylegan3, 16 px RGB" in shown
    assert "3 thousand images" in shown
    content = json.loads((tmp_path / "i.json").read_text())
    assert content["generator"]["resolution_px"] == 16
    assert content["parameters"]["discriminator"] is None

    gantrol("info", write_dataset(tmp_path / "d.zip"), "--json", tmp_path / "d.json")
    assert "6 png" in capsys.readouterr().out
    assert json.loads((tmp_path / "d.json").read_text())["images"] == 6
    with pytest.raises(CheckpointError, match="no model"):
        gantrol("info", tmp_path / "absent")
    with pytest.raises(GantrolError, match="does not exist"):
        gantrol("info", tmp_path / "absent.zip")
