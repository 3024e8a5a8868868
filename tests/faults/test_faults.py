"""A few faults at random places in the normal suite; `make faults` has many more, of every subject."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gantrol.atomic import atomic_file, atomic_folder, exchange, sweep
from gantrol.errors import TrainingError
from gantrol.train.log import RunLog, read_log
from gantrol.train.run import run_lock

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, audits and limits as on Linux")


@linux
@pytest.mark.parametrize(("subject", "others"), [("StyleGAN2", 0), ("import, zip", 1)])
def test_nothing_is_lost(subject: str, others: int) -> None:
    """Killed at a call, in a write and at a moment; the import also on a full disk, a read-only one, by a mad clock."""
    amounts = ["--kills", "1", "--others", str(others), "--cuts", "0"]
    command = [sys.executable, "-m", "tests.faults", *amounts, "--only", subject]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_one_process_trains_in_a_folder(tmp_path: Path) -> None:
    with run_lock(tmp_path), pytest.raises(TrainingError, match="another process"), run_lock(tmp_path):
        pass
    with run_lock(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_tick_that_did_not_reach_the_log_comes_from_the_checkpoint(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 0)
    for n_img in (40, 80):
        log.write({"n_img": n_img, "loss/g": 1.0})
    RunLog(tmp_path, 80, {"n_img": 80, "loss/g": 2.0})
    assert [line["loss/g"] for line in read_log(tmp_path)] == [1.0, 1.0]
    RunLog(tmp_path, 120, {"n_img": 120, "loss/g": 3.0})
    assert [line["n_img"] for line in read_log(tmp_path)] == [40, 80, 120]


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".config.json.0a1b-123-0123abcd.tmp").touch()
    kept = [tmp_path / name for name in ("config.json", ".mine.tmp", "x.0a1b-123-0123abcd.tmp")]
    for path in kept:
        path.touch()
    assert [path.name for path in sweep(tmp_path)] == [".config.json.0a1b-123-0123abcd.tmp"]
    assert sorted(tmp_path.iterdir()) == sorted(kept)


@linux
def test_who_writes_next_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    """Temporaries of processes that are no more, and only of the same name."""
    code = """
import os, pathlib, sys
from gantrol.atomic import atomic_file, atomic_folder
here = pathlib.Path(sys.argv[1])
with atomic_file(here / "a") as half, atomic_folder(here / "b") as folder:
    half.touch()
    (folder / "inside").touch()
    os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_file(tmp_path / "a") as mine:
        mine.touch()
        with atomic_file(tmp_path / "a") as other:  # of a process that lives
            other.touch()
            assert mine.exists()
    with atomic_folder(tmp_path / "b"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@linux
def test_folders_are_exchanged_in_one_step(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this disk cannot do that")
    assert (tmp_path / "a" / "b").exists()
    assert not exchange(tmp_path / "a", tmp_path / "none")
    with atomic_folder(tmp_path / "a") as fresh:
        (fresh / "new").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
