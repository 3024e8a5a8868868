"""The jobs for a CUDA machine run on this one, at tiny shapes, with nothing but what is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

ABSENT = ("tyro", "lightning_fabric", "lightning", "huggingface_hub", "gradio", "av")
"""Packages that the lent machine lacks."""


def run_job(script: str, path: Path, **environment: str) -> dict[str, Any]:
    """The rows of a job, run as a script in a folder of its own."""
    for name in ABSENT:
        (path / f"{name}.py").write_text("raise ModuleNotFoundError('not on the lent machine')\n")
    inherited = {name: value for name, value in os.environ.items() if name not in ("TRITON_INTERPRET", "PYTHONPATH")}
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu" / script), "--smoke", "--json", str(path / "rows.json")]
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
