"""`gantrol train --metrics` and `gantrol report`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gantrol.train.log import read_metrics
from tests.cli.conftest import Cli, new_run


def test_a_scored_training_and_its_page(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    quick = ["evaluation.samples=8", "evaluation.batch_size=4"]
    done = cli(*new_run(dataset, run, "--metrics", "eqt, eqr", "--metrics-every", 0.04, *quick))
    assert done.status == 0, done.err
    assert [line["n_img"] for line in read_metrics(run)] == [40, 80]
    assert "metrics at 0.04 kimg: EQ-T " in done.err
    saved = json.loads((run / "config.json").read_text())["evaluation"]
    assert saved["metrics"] == ["eqt", "eqr"]
    assert saved["every_kimg"] == 0.04
    assert "complete" in (run / "report.html").read_text()

    written = cli("report", run, "--out", tmp_path / "page.html")
    assert written.status == 0, written.err
    assert str(tmp_path / "page.html") in written.out
    best = cli("generate", run / "best.safetensors", "--seeds", "0", "--out", tmp_path / "images", "--device", "cpu")
    assert best.status == 0, best.err


def test_mistakes_are_one_line(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert "fdi" in cli(*new_run(dataset, run, "--metrics", "fdi")).error
    assert not run.exists()
    assert "--metrics-every 0" in cli(*new_run(dataset, run, "--metrics-every", 0)).error
    assert "holds no run" in cli("report", tmp_path).error
    assert "--max-mib" in cli("report", tmp_path, "--max-mib", 0).error


def test_a_page_that_cannot_be_written_is_one_line(
    cli: Cli, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk\nis full")

    monkeypatch.setattr("gantrol.report.write_report", fail)
    done = cli(*new_run(dataset, tmp_path / "run"))
    assert done.status == 0, done.err
    assert "report.html was not written: the disk is full" in done.err
