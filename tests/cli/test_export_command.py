"""`gantrol export`: the file, what the command says of it, and that mistakes leave nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import gantrol
from gantrol.model import Model
from gantrol.models import WGANGPConfig
from tests.cli.conftest import Cli


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a generator of a few thousand weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = WGANGPConfig(resolution_px=16, z_dim=8, width=4, c_dim=3).build().eval()
    folder = tmp_path_factory.mktemp("models") / "small"
    return Model(generator, training={"license": "apache-2.0"}).save_pretrained(folder)


def test_export(cli: Cli, small: Path, tmp_path: Path) -> None:
    path, record_path = tmp_path / "g.pt2", tmp_path / "g.json"
    result = cli("export", small, "--format", "pt2", "--out", path, "--json", record_path)
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert f"{path}: " in lines[0]
    assert "MB, images N × 3 × 16 × 16 in [-1, 1]" in lines[0]
    assert [line.split()[0] for line in lines[1:-1]] == ["z", "c", "truncation_psi"]
    assert lines[-1].startswith("checked: its images differ by at most ")
    record = json.loads(record_path.read_text())
    assert record["difference"] < 1e-4
    assert record["size_bytes"] == path.stat().st_size
    assert record["gantrol_version"] == gantrol.__version__
    assert record["command"].startswith(f"gantrol export {small} --format pt2")
    assert [each["shape"] for each in record["inputs"]] == [["N", 8], ["N", 3], []]
    assert record["output"]["shape"] == ["N", 3, 16, 16]
    program = torch.export.load(path).module()
    images = program(z=torch.randn(4, 8), c=torch.eye(3)[[0, 1, 2, 0]], truncation_psi=torch.tensor(0.5))
    assert images.shape == (4, 3, 16, 16)

    assert "is there already" in cli("export", small, "--out", path).error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "g.bin"], "format 'bin': known: onnx, pt2"),
        (["--out", "g.pt2", "--opset", "20"], "belong to ONNX files"),
        (["--out", "g.pt2", "--truncation", "0.7"], "belong to ONNX files"),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, cli: Cli, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in cli("export", small, *arguments).error
    assert list(tmp_path.iterdir()) == []


def test_an_absent_model(cli: Cli, tmp_path: Path) -> None:
    assert "absent" in cli("export", tmp_path / "absent", "--out", tmp_path / "g.pt2").error
    assert list(tmp_path.iterdir()) == []
