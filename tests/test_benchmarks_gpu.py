"""The jobs for a CUDA machine run on this one, at tiny shapes, with nothing but what is there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.gpu import training_runs
from benchmarks.gpu.ladder import config_of

from gantrol import checkpoint
from gantrol.errors import CheckpointError

ROOT = Path(__file__).resolve().parent.parent

ABSENT = ("tyro", "lightning_fabric", "lightning", "huggingface_hub", "gradio", "av")
"""Packages that the lent machine lacks."""


needs_time = pytest.mark.skipif("GANTROL_ALL_JOBS" not in os.environ, reason="takes a minute: set GANTROL_ALL_JOBS=1")


def run_job(script: str, path: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    """The rows of a job, run as a script in a folder of its own."""
    for name in ABSENT:
        (path / f"{name}.py").write_text("raise ModuleNotFoundError('not on the lent machine')\n")
    inherited = {name: value for name, value in os.environ.items() if name not in ("TRITON_INTERPRET", "PYTHONPATH")}
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu" / script), "--smoke", "--json", str(path / "rows.json")]
    command += ["--device", "cpu", *arguments]
    environment |= {"PYTHONPATH": str(path), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=path, env=inherited | environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    found = json.loads((path / "rows.json").read_text())
    assert found["machine"]["torch"]
    assert [name for name in found["rows"] if name not in done.stdout] == []
    return found["rows"]


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed (extra dev, Linux only)")
def test_kernels(tmp_path: Path) -> None:
    rows = run_job("kernels.py", tmp_path, TRITON_INTERPRET="1")
    for name, row in rows.items():
        assert "error" not in row, f"{name}: {row['error']}"
        assert {"both_ms_ours", "both_x_torch", "floor_ms", "errors"} <= set(row)
    assert {name.split()[0] for name in rows} == {"T-8", "SG2"}


def test_training_throughput(tmp_path: Path) -> None:
    rows = run_job("training_throughput.py", tmp_path)
    (row,) = rows.values()
    assert row["images_per_s"] > 0
    assert sum(count for name, count in row["paths"].items() if name.startswith("filtered_lrelu.")) > 0


def test_attention(tmp_path: Path) -> None:
    rows = run_job("attention.py", tmp_path)
    assert len(rows) == 4
    for row in rows.values():
        assert {"kernel", "both_ms_ours", "both_x_definition"} <= set(row)


def test_generation(tmp_path: Path) -> None:
    (row,) = run_job("generation.py", tmp_path).values()
    assert row["largest_difference"] == 0
    assert row["ways"]["synthesis.eager"] == 3


def test_against_official(tmp_path: Path) -> None:
    """Ours alone: the published code is no part of the project."""
    rows = run_job("against_official.py", tmp_path, "--runs", str(tmp_path / "runs"))
    assert {"fid", "eqt", "img_per_s", "kimg"} <= set(rows["ours"])


@needs_time
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("ladder.py", {"ladder-a", "stylegan3-t"}),
        ("transgan.py", {"TransGAN augmented, co-trained, local"}),
        ("faces.py", {"phase one", "this model", "the bundle"}),
    ],
)
def test_long_jobs(script: str, expected: set[str], tmp_path: Path) -> None:
    rows = run_job(script, tmp_path, "--runs", str(tmp_path / "runs"))
    assert set(rows) == expected
    assert [row for row in rows.values() if "error" in row] == []


# ---------------------------------------------------------------------------------------------------------------------
# Carrying a training away


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder as far as carrying goes."""
    folder = tmp_path / "here" / "a-run"
    (folder / "checkpoints").mkdir(parents=True)
    tensors = {"x": torch.randn(1000, generator=torch.Generator().manual_seed(0))}
    checkpoint.save(folder / "checkpoints" / "000000008.safetensors", tensors, {"n_img": 8})
    (folder / "config.json").write_text("{}")
    (folder / "log.jsonl").write_text('{"kimg": 0.008}')
    return folder


def test_a_training_goes_on_elsewhere(tmp_path: Path) -> None:
    """After a step, for want of time, it is carried away; there it goes on, and is scored."""
    data = training_runs.dataset_of(None, is_smoke=True)
    config = config_of("ladder-a", data, scale="tiny", kimg=0.008, batch=4, device="cpu")
    here, there, place = tmp_path / "here" / "a", tmp_path / "there", tmp_path / "carried"
    assert not training_runs.advance(here, config, "cpu", minutes=1e-9)
    assert training_runs.n_img(here) == 4
    assert training_runs.carry_out(here, place)
    assert training_runs.carry_in(place, there) == "a"
    assert training_runs.advance(there / "a", config, "cpu", minutes=5)
    assert training_runs.described(there / "a")["kimg"] == 0.008
    assert training_runs.advance(there / "a", config, "cpu", minutes=0)


def test_a_run_travels_in_pieces(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_runs, "PIECE_BYTES", 1000)
    monkeypatch.setattr(training_runs, "MOST_PIECES", 8)
    place, runs = tmp_path / "carried", tmp_path / "there"
    assert training_runs.carry_in(place, runs) is None
    assert training_runs.carry_out(run, place)
    assert max(file.stat().st_size for file in place.glob("checkpoint.*")) == 1000
    assert training_runs.carry_in(place, runs) == "a-run"
    for name in ("config.json", "log.jsonl", "checkpoints/000000008.safetensors"):
        assert (runs / "a-run" / name).read_bytes() == (run / name).read_bytes()
    assert training_runs.n_img(runs / "a-run") == 8
    shutil.rmtree(runs)
    (place / "checkpoint.1").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="damaged"):
        training_runs.carry_in(place, runs)
    (place / "checkpoint.1").unlink()
    with pytest.raises(CheckpointError, match="a piece is missing"):
        training_runs.carry_in(place, runs)
    monkeypatch.setattr(training_runs, "MOST_PIECES", 2)
    assert not training_runs.carry_out(run, place)
