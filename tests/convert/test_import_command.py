"""`gantrol import`: what it prints and writes, and when it does not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import tyro

import gantrol
from gantrol.cli.import_checkpoint import ImportCheckpoint, run
from gantrol.errors import CheckpointError
from tests.convert.official_pickles import TINY_2, TINY_D, TINY_R, shaken, snapshot, write


def command(*arguments: object) -> None:
    """Runs the command as the shell would."""
    run(tyro.cli(ImportCheckpoint, args=[str(argument) for argument in arguments]))


@pytest.fixture
def pickle_2(tmp_path: Path) -> Path:
    """A conditional StyleGAN2 with its discriminator."""
    d = shaken(dataclasses.replace(TINY_D, c_dim=3))
    return write(tmp_path / "official.pkl", snapshot(shaken(TINY_2), d))


def test_prints_what_was_found_and_what_to_do_next(
    pickle_2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, record = tmp_path / "a model", tmp_path / "found.json"
    command(pickle_2, "--out", out, "--json", record)
    printed = capsys.readouterr().out
    model = gantrol.load(out)
    count = sum(parameter.numel() for parameter in model.generator.parameters())
    assert "NVIDIA StyleGAN pickle, G_ema" in printed
    assert f"StyleGAN2 (skip), 16 px RGB, {count:,} parameters" in printed
    assert "3 classes" in printed
    assert "the blocks of 8 to 16 px" in printed
    assert "cats.zip" in printed
    assert "keep the one they were published under" in printed
    assert printed.splitlines()[-1].startswith("next: gantrol generate '")
    assert "--class 0" in printed

    found = json.loads(record.read_text())
    assert found["parameters"]["generator"] == count
    assert found["generator"]["kind"] == "stylegan2"
    assert found["gantrol_version"] == gantrol.__version__
    assert found["training"]["sha256"] in printed.replace("\n", "").replace(" ", "")


def test_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "r.pkl", snapshot(shaken(TINY_R, 1), shaken(TINY_D), shaken(TINY_R, 2)))
    command(path, "--out", tmp_path / "m", "--weights", "raw", "--no-discriminator")
    printed = capsys.readouterr().out
    assert "NVIDIA StyleGAN pickle, G\n" in printed
    assert "StyleGAN3-R, 32 px RGB" in printed
    assert "15 of 15 layers" in printed
    assert gantrol.load(tmp_path / "m").discriminator is None


def test_nothing_is_overwritten_unasked(pickle_2: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    command(pickle_2, "--out", out)
    before = (out / "generator.safetensors").read_bytes()
    write(pickle_2, snapshot(shaken(TINY_2, 5)))
    with pytest.raises(CheckpointError, match="exists already: choose another name or --overwrite it"):
        command(pickle_2, "--out", out)
    assert (out / "generator.safetensors").read_bytes() == before
    command(pickle_2, "--out", out, "--overwrite")
    assert (out / "generator.safetensors").read_bytes() != before
    assert not (out / "discriminator.safetensors").exists()

    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="holds other files"):
        command(pickle_2, "--out", full, "--overwrite")
    assert (full / "thesis.txt").read_text() == "mine"


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.pkl").write_bytes(b"cos\nsystem\n(S'touch x'\ntR.")
    with pytest.raises(CheckpointError, match=r"asks for os\.system, which no network needs"):
        command(tmp_path / "bad.pkl", "--out", tmp_path / "m")
    assert not (tmp_path / "m").exists()
