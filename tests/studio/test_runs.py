"""The tab Runs: a run while it grows, a folder of runs, and files that are not there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantrol.config import to_dict
from gantrol.errors import CheckpointError, ConfigError, DataError
from gantrol.hub import RUN_FORMAT
from gantrol.model import Model
from gantrol.studio import runs
from gantrol.studio.engine import Engine
from gantrol.train.presets import DataShape, preset
from tests.studio.tabs import built_ids


def tick(folder: Path, n_img: int) -> None:
    """Adds what a training writes at one tick."""
    line = {
        "n_img": n_img,
        "n_step": n_img // 16,
        "elapsed_s": n_img / 10,
        "img_per_s": 10.0,
        "loss/g": 1.5,
        "loss/d": 2,
    }
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    pixels = np.full((32, 64, 3), n_img % 250, np.uint8)
    Image.fromarray(pixels).save(folder / "samples" / f"fakes_{n_img:09d}.png")
    os.utime(folder / "samples", ns=(n_img, n_img))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "several" / "first <b>"
    (folder / "samples").mkdir(parents=True)
    config = to_dict(preset("stylegan3-t", "tiny", DataShape(resolution_px=16, channels=3)))
    config = {"format": RUN_FORMAT, "format_version": 1, **config, "kimg": 4}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_view_follows_the_training(run: Path) -> None:
    watcher = runs.Watcher([run.parent])
    (name,) = watcher.find()
    with pytest.raises(CheckpointError, match="wait for its first tick"):
        watcher.look(name)
    tick(run, 1000)
    first, view = watcher.look(name)
    assert view.moments == (1000,)
    assert "1 of 4 kimg (25%)" in view.state
    assert "about 5 min 0 s left" in view.state
    assert "<b>" not in view.state.split("</b>")[0].removeprefix('<p id="runs-facts"><b>')
    assert "Losses" in view.curves
    assert "<svg" in view.curves["Losses"]
    assert watcher.look(name)[1] is view  # nothing is read twice
    tick(run, 4000)
    second, view = watcher.look(name)
    assert second != first
    assert view.moments == (1000, 4000)
    assert "complete" in view.state


def test_a_cut_line_and_a_cut_picture_are_borne(run: Path) -> None:
    tick(run, 1000)
    with (run / "log.jsonl").open("a") as file:
        file.write('{"n_img": 20')
    view = runs.view(run)
    assert "1 of 2 lines cannot be read" in view.state
    view.fakes[1000].write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="cannot be read"):
        runs.picture(view.fakes[1000])
    assert runs.picture(None) is None


def test_small_samples_are_enlarged(run: Path) -> None:
    tick(run, 1000)
    found = runs.picture(runs.view(run).fakes[1000])
    assert found is not None
    assert found.size == (768, 384)


def test_runs_are_found_in_folders_and_named_apart(tmp_path: Path, run: Path) -> None:
    assert runs.run_folders([run, run.parent, tmp_path / "nowhere"]) == [run, run]
    watcher = runs.Watcher([])
    with pytest.raises(ConfigError, match="no training has begun"):
        watcher.look("")
    with pytest.raises(ConfigError, match="there is no run 'x'"):
        watcher.look("x")


def test_the_tab_is_built_with_and_without_runs(engine: Engine, plain: Model, run: Path) -> None:
    assert "runs-note" in built_ids(runs.build, engine)
    with Engine({"plain": plain}, runs=[run]) as other:
        assert {"runs-run", "runs-fakes", "runs-curves", "runs-follow"} <= built_ids(runs.build, other)
