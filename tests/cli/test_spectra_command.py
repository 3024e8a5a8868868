"""`gantrol spectra`, from its arguments to its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gantrol.metrics.spectra import Spectrum
from gantrol.model import Model
from gantrol.models import StyleGAN3Config

from .conftest import SIZE_PX, Cli


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"num_layers": 3, "channel_base": 64, "channel_max": 4, "z_dim": 4, "w_dim": 4}
    generator = StyleGAN3Config(resolution_px=SIZE_PX, output_scale=4.0, **sizes).build().eval()
    return Model(generator).save_pretrained(tmp_path_factory.mktemp("models") / "squares")


def test_a_picture_files_and_a_summary(cli: Cli, dataset: Path, model: Path, tmp_path: Path) -> None:
    out, npz, record = tmp_path / "new" / "spectra.png", tmp_path / "npz", tmp_path / "s.json"
    common = ["--device", "cpu", "--samples", 10, "--seed", 3]
    done = cli("spectra", dataset, model, "--out", out, "--npz", npz, "--json", record, *common)
    assert done.status == 0, done.err
    for word in ("1–2", "2–4", "4–8", "mean", "std", "spectra.png"):
        assert word in done.out
    with Image.open(out) as picture:
        assert picture.size[0] == 1280
    # The dataset and the model have one name: the second file gets a number.
    assert sorted(path.name for path in npz.iterdir()) == ["squares-2.npz", "squares.npz"]
    content = json.loads(record.read_text())
    assert (content["image_size_px"], content["seed"], content["picture"]) == (SIZE_PX, 3, str(out))
    first, second = content["sources"]
    assert (first["source"], second["source"]) == (str(dataset), str(model))
    assert first["samples"] == second["samples"] == 10
    assert first["mean"] == second["mean"]
    assert (first["interpolation"], first["beta"], first["npz"]) == (4, 8, str(npz / "squares.npz"))
    assert [octave["to"] for octave in first["octaves"]] == [2, 4, 8]
    kept = Spectrum.load(npz / "squares-2.npz")
    assert kept.octaves()[-1][2] == second["octaves"][-1]["level_db"]

    # The same again, bit for bit; and the same picture from the files.
    again = tmp_path / "again.png"
    assert cli("spectra", dataset, model, "--out", again, *common).status == 0
    assert again.read_bytes() == out.read_bytes()
    drawn = tmp_path / "drawn.png"
    assert cli("spectra", npz / "squares.npz", npz / "squares-2.npz", "--out", drawn).status == 0
    assert drawn.read_bytes() == out.read_bytes()


def test_every_option_has_an_effect(cli: Cli, dataset: Path, model: Path, tmp_path: Path, pictures: Path) -> None:
    def made(*more: object) -> tuple[bytes, dict[str, Any]]:
        out, record = tmp_path / "a.png", tmp_path / "a.json"
        common = ["--device", "cpu", "--samples", 8, *([] if "--angle" in more else ["--angle", "0"])]
        done = cli("spectra", model, pictures, "--out", out, "--json", record, *common, *more)
        assert done.status == 0, done.err
        return out.read_bytes(), json.loads(record.read_text())

    picture, summary = made()
    for change in (
        ["--seed", 5],
        ["--samples", 9],
        ["--stats", dataset],
        ["--angle", "90,radial"],
        ["--interpolation", 2],
        ["--beta", 4],
        ["--smooth", 0],
    ):
        changed, described = made(*change)
        assert changed != picture, change
        assert described["sources"] != summary["sources"] or change[0] in ("--angle", "--smooth"), change
    _, described = made("--batch", 3)
    for one, other in zip(summary["sources"], described["sources"], strict=True):
        assert [octave["level_db"] for octave in one["octaves"]] == pytest.approx(
            [octave["level_db"] for octave in other["octaves"]], abs=0.1
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["DATA", "--out", "a.gif"], "--out a.gif: the picture's name ends in"),
        (["DATA", "--out", "a.png", "--angle", "up"], "slices 'up'"),
        (["--out", "a.png"], "spectra of what"),
        (["DATA", "--out", "a.png", "--samples", "0"], "expected at least 1"),
        (["DATA", "--out", "a.png", "--smooth", "-1"], "smooth=-1"),
        (["absent.zip", "--out", "a.png"], "absent.zip"),
        (["absent.npz", "--out", "a.png"], "absent.npz: there is no such file"),
        (["absent/model/here", "--out", "a.png"], "no model 'absent/model/here'"),
        (["DATA", "--out", "a.png", "--device", "tpu"], "device 'tpu'"),
    ],
)
def test_mistakes_take_one_line(
    cli: Cli, dataset: Path, tmp_path: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("spectra", *(dataset if argument == "DATA" else argument for argument in arguments))
    assert done.status == 1
    assert message in done.error
    assert list(tmp_path.iterdir()) == []


def test_unequal_sizes_take_one_line(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "large.npz", spectrum=np.ones((64, 64)), image_size=32)
    done = cli("spectra", dataset, tmp_path / "large.npz", "--out", tmp_path / "a.png")
    assert "large.npz has 32 px, but" in done.error.replace("large has", "large.npz has")
    assert not (tmp_path / "a.png").exists()
