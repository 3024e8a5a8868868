"""`gantrol evaluate`: several models side by side, the files it writes, several processes, and mistakes in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gantrol.cli import main
from gantrol.data.writer import DatasetWriter
from gantrol.metrics import evaluate
from gantrol.metrics.processes import Processes
from tests.metrics.fake_features import Averages, quick_features, tiny_model, write_dataset

pytestmark = pytest.mark.usefixtures(quick_features.__name__)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models and a dataset."""
    path = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("first", "second")):
        tiny_model(seed=seed).save_pretrained(path / name)
    write_dataset(path / "d.zip")
    return path


def gantrol(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    """Status, output and what is said on stderr."""
    with pytest.raises(SystemExit) as end:
        main(["evaluate", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


QUICK = ("--samples", 20, "--features", "averages", "--device", "cpu")


def test_the_promised_call(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    data, model, out = folder / "d.zip", folder / "first", tmp_path / "s.json"
    status, shown, _ = gantrol(
        capsys, model, "--data", data, "--metrics", "fid,kid,is,pr,ppl,eqt", *QUICK, "--json", out
    )
    assert status == 0
    written = json.loads(out.read_text())
    assert list(written["metrics"]) == ["fid", "kid", "is", "is_std", "precision", "recall", "ppl", "eqt"]
    assert written["model"] == str(model)
    assert (
        written["metrics"]["recall"].items()
        >= {
            "name": "recall-Averages",
            "samples": 20,
            "reals": 24,
            "data": str(data),
            "features": "averages",
            "weights": "averages 1",
            "resampling": "none",
            "x_flip": False,
            "neighbours": 3,
            "seed": 0,
        }.items()
    )
    for entry in written["metrics"].values():
        assert entry["name"] in shown
        assert {"value", "unit", "samples", "seed"} <= entry.keys()
    expected = evaluate(model, data, ["fid", "is"], samples=20, features="averages", device="cpu")
    assert {name: written["metrics"][name]["value"] for name in expected} == expected


def test_models_side_by_side(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = [folder / "first", folder / "second", folder / "d.zip"]
    where = ("--json", tmp_path / "s.json", "--html", tmp_path / "page.html")
    status, shown, _ = gantrol(capsys, *models, "--data", folder / "d.zip", "--metrics", "fid,pr", *QUICK, *where)
    assert status == 0
    assert Averages.calls == 24 + 3 * 20  # the real images are looked at once
    written = json.loads((tmp_path / "s.json").read_text())
    assert [record["model"] for record in written["models"]] == [str(model) for model in models]
    assert [list(record["metrics"]) for record in written["models"]] == [["fid", "precision", "recall"]] * 3
    assert written["seed"] == 0
    row = next(line for line in shown.splitlines() if line.startswith("FD-Averages")).split()
    values = [record["metrics"]["fid"]["value"] for record in written["models"]]
    assert row[-3:] == [f"{value:.4g}" for value in values]
    page = (tmp_path / "page.html").read_text()
    assert str(models[1]) in page
    assert page.count("data:image/") >= 3
    assert "FD-Averages" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "fid,kidd"], "unknown metric 'kidd'; did you mean kid"),
        (["--metrics", "eqt", "--plot", "p.png"], "--plot draws the metric control"),
        (["--metrics", "fid", "--pictures", "p"], "only the metric sticking draws any"),
        (["--features", "inceptionn"], "unknown features 'inceptionn'; did you mean inception"),
        (["--max-reals", "1"], "max_reals=1"),
        (["--devices", "0"], "--devices 0: expected at least 1"),
        (["--devices", "2", "--device", "cuda:1"], "--device cuda:1 --devices 2: this machine does not have that"),
        (
            ["--metrics", "is", "--features", "blind", "--samples", "20"],
            "Blind does not give; use --features",
        ),
        (["--metrics", "fid"], "give a dataset (--data F.zip)"),
    ],
)
def test_mistakes_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    status, shown, said = gantrol(capsys, folder / "first", *arguments)
    assert (status, shown, said.count("\n")) == (1, "", 1)
    assert message in said


def test_images_of_another_size_are_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model of one resolution against a dataset of another would mostly measure the resizing."""
    other = tmp_path / "other.zip"
    with DatasetWriter(other) as writer:
        for index in range(4):
            writer.add(np.full((24, 24, 3), index, dtype=np.uint8))
    for subject in (folder / "first", folder / "d.zip"):
        status, shown, said = gantrol(capsys, subject, "--data", other, *QUICK)
        assert (status, shown, said.count("\n")) == (1, "", 1)
        assert f"{other} has images of 24 px" in said
        assert "gantrol data import" in said


def test_a_dataset_has_no_motions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--data", folder / "d.zip", "--metrics", "fid,eqt", *QUICK)
    status, _, said = gantrol(capsys, folder / "first", folder / "d.zip", *arguments)
    assert status == 1
    assert "d.zip is a dataset, and only a model can be asked for these" in said
    assert Averages.calls == 0
    assert gantrol(capsys, "--metrics", "eqt")[0] > 0
    many = ("--metrics", "sticking", "--pictures", "p")
    assert "--pictures is about one model" in gantrol(capsys, folder / "first", folder / "second", *many)[2]


@pytest.mark.slow
def test_two_devices_share_the_work_and_one_prints(folder: Path, tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("gantrol")
    if not script.exists():
        pytest.skip("the command is not installed beside this Python")
    out = tmp_path / "s.json"
    command = ["evaluate", folder / "first", "--metrics", "eqt", "--samples", 10, "--device", "cpu", "--devices", 2]
    done = subprocess.run(
        list(map(str, [script, *command, "--json", out])),
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("EQ-T") == 1
    alone = evaluate(folder / "first", metrics=["eqt"], samples=10, device="cpu")
    found = {name: entry["value"] for name, entry in json.loads(out.read_text())["metrics"].items()}
    assert found == {name: pytest.approx(value, abs=0.05) for name, value in alone.items()}


def test_only_the_first_process_tells_of_a_mistake(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank, count in ((0, 1), (1, 0)):
        monkeypatch.setattr("gantrol.cli.evaluate._join", lambda _, rank=rank: (Processes(rank, 2), "cpu"))
        status, shown, said = gantrol(capsys, folder / "d.zip", "--metrics", "eqt", "--devices", 2)
        assert (status, shown, said.count("\n")) == (1, "", count)
        assert said.count("is a dataset, and only a model") == count
