"""The main job through the command line: train, resume, generate, film, score, look; and Ctrl-C in the middle."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gantrol
from gantrol import checkpoint
from gantrol.cli import main
from gantrol.train.log import read_log
from gantrol.train.run import read_config
from tests.apart import apart
from tests.cli.conftest import SIZE_PX, Cli, new_run


@pytest.fixture(autouse=True)
def _restore_random_state() -> Any:
    """Training seeds torch's global stream; other tests should not notice."""
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ten steps, made by the command."""
    run = tmp_path_factory.mktemp("runs") / "run"
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in new_run(dataset, run, "--seed", 3)])
    assert caught.value.code == 0
    return run


def newest(run: Path) -> Path:
    return checkpoint.newest_valid(run / "checkpoints").path


def same_weights(a: Path, b: Path) -> bool:
    """Whether the newest checkpoints of two runs hold the same tensors, bit for bit."""
    left, right = checkpoint.load(newest(a))[0], checkpoint.load(newest(b))[0]
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


# ----------------------------------------------------------------------------------------------------------------------
# Training


def test_a_run_holds_what_is_promised(trained: Path, dataset: Path) -> None:
    assert {path.name for path in trained.iterdir()} >= {"config.json", "log.jsonl", "samples", "checkpoints"}
    assert [path.name for path in sorted((trained / "checkpoints").iterdir())] == [
        f"{n_img:09d}.safetensors" for n_img in (0, 40, 80)
    ]
    assert (trained / "samples" / "reals.png").is_file()
    assert (trained / "samples" / "fakes_000000080.png").is_file()
    config, command = read_config(trained)
    assert (config.preset, config.scale, config.batch, config.kimg, config.seed) == ("stylegan3-t", "tiny", 8, 0.08, 3)
    assert (config.generator.resolution_px, config.generator.channel_max) == (SIZE_PX, 8)
    assert config.data == str(dataset)
    assert command.startswith("gantrol ")
    ticks = read_log(trained)
    assert [tick["n_img"] for tick in ticks] == [40, 80]
    for tick in ticks:
        assert tick["img_per_s"] > 0
        assert 0 <= tick["outside_share"] <= 1
        assert 0 < tick["memory_gib"] < 8
        assert all(np.isfinite(tick[name]) for name in ("loss/g", "loss/d"))


def test_the_same_seed_gives_the_same_run_and_another_one_does_not(
    cli: Cli, trained: Path, dataset: Path, tmp_path: Path
) -> None:
    assert cli(*new_run(dataset, tmp_path / "same", "--seed", 3)).status == 0
    assert same_weights(trained, tmp_path / "same")
    assert cli(*new_run(dataset, tmp_path / "other", "--seed", 4)).status == 0
    assert not same_weights(trained, tmp_path / "other")


def test_progress_and_the_next_command_are_told(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = cli(*new_run(dataset, run))
    first, last = result.err.splitlines()
    assert first.startswith("kimg 0.04/0.08 · ")
    assert last.startswith("kimg 0.08/0.08 · ")
    for part in ("img/s", "left", "G ", "D ", "R1 "):
        assert part in first
    assert f"gantrol generate {run}" in result.out


def test_resume_goes_on_where_the_run_stopped(cli: Cli, trained: Path, dataset: Path, tmp_path: Path) -> None:
    """Four steps, then --resume with the whole length, equal ten steps; a resumed run keeps its first command."""
    run = tmp_path / "run"
    assert cli(*new_run(dataset, run, "--seed", 3, "--kimg", 0.032)).status == 0
    _, command = read_config(run)
    result = cli("train", "--resume", run, "--kimg", 0.08, "--device", "cpu")
    assert result.status == 0
    assert same_weights(run, trained)
    assert [tick["n_img"] for tick in read_log(run)][-2:] == [40, 80]
    config, kept = read_config(run)
    assert (config.kimg, kept) == (0.08, command)


def test_a_run_at_its_end_stays_as_it_is(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert cli(*new_run(dataset, run)).status == 0
    before = {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}
    assert cli("train", "--resume", run).status == 0
    assert {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()} == before


@pytest.mark.parametrize(
    "option", [["--batch", 4], ["--seed", 1], ["--scale", "small"], ["--x-flip"], ["loss.r1_gamma=1"], ["--out", "x"]]
)
def test_a_resumed_run_refuses_what_it_would_ignore(cli: Cli, trained: Path, option: list[Any]) -> None:
    before = (trained / "config.json").read_bytes()
    assert "--resume takes its config from the run" in cli("train", "--resume", trained, *option).error
    assert (trained / "config.json").read_bytes() == before


def test_a_time_limit_ends_in_a_checkpoint(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = cli(*new_run(dataset, run, "--kimg", 1000, "--minutes", 0.01))
    assert result.status == 0
    stopped_at = int(newest(run).stem)
    assert 0 < stopped_at < 1_000_000
    assert cli("train", "--resume", run, "--minutes", 0.001).status == 0
    assert int(newest(run).stem) > stopped_at


def test_a_disk_that_fills_up_keeps_the_previous_checkpoint(
    cli: Cli, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Path
) -> None:
    run, fsync = tmp_path / "run", os.fsync

    def full(handle: int) -> None:
        if any((run / "checkpoints").glob("*000000080*")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        result = cli(*new_run(dataset, run, "--seed", 3))
    assert result.status == 1
    assert "000000080.safetensors: the disk is full" in result.err.splitlines()[-1]
    assert newest(run).stem == "000000040"
    assert not list(run.rglob(".*"))
    assert cli("train", "--resume", run).status == 0
    assert same_weights(run, trained)


@pytest.mark.parametrize("preset", ["stylegan3-r", "stylegan2"])
def test_every_family_trains_and_generates(cli: Cli, dataset: Path, tmp_path: Path, preset: str) -> None:
    run = tmp_path / "run"
    arguments = new_run(dataset, run, "--preset", preset, "--kimg", 0.008)
    if preset == "stylegan2":  # it has no layer schedule
        alien = ("generator.num_layers", "generator.margin_px")
        arguments = [word for word in arguments if not str(word).startswith(alien)]
    assert cli(*arguments).status == 0
    assert read_config(run)[0].preset == preset
    assert cli("generate", run, "--seeds", 0, "--grid", tmp_path / "g.png").status == 0


def test_a_class_conditional_run(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert cli(*new_run(dataset, run, "--use-labels", "--x-flip", "--kimg", 0.008)).status == 0
    assert "choose a class from 0 to 1" in cli("generate", run, "--out", tmp_path / "o").error
    assert cli("generate", run, "--out", tmp_path / "o", "--class", 1, "--seeds", 0).status == 0
    assert ["classes", "2"] in [line.split() for line in cli("info", run).out.splitlines()]


# ----------------------------------------------------------------------------------------------------------------------
# What comes after


def test_generate_from_a_run(cli: Cli, trained: Path, tmp_path: Path) -> None:
    out, grid, record = tmp_path / "o", tmp_path / "g.png", tmp_path / "g.json"
    result = cli("generate", trained, "--seeds", "0-3", "--out", out, "--grid", grid, "--json", record)
    assert result.status == 0
    assert [path.name for path in sorted(out.iterdir())] == [f"seed000{seed}.png" for seed in range(4)]
    with Image.open(out / "seed0002.png") as image:
        assert image.size == (SIZE_PX, SIZE_PX)
        expected = np.asarray(gantrol.load(trained).generate([2])[0]).astype(int)
        assert np.abs(np.asarray(image).astype(int) - expected).max() <= 1
    assert json.loads(record.read_text())["seeds"] == [0, 1, 2, 3]


def test_generate_from_an_older_checkpoint(cli: Cli, trained: Path, tmp_path: Path) -> None:
    """Any checkpoint of a run is a model of its own."""
    for n_img in (0, 80):
        model = trained / "checkpoints" / f"{n_img:09d}.safetensors"
        assert cli("generate", model, "--seeds", 0, "--out", tmp_path / str(n_img)).status == 0
    start, end = (tmp_path / str(n_img) / "seed0000.png" for n_img in (0, 80))
    assert start.read_bytes() != end.read_bytes()


def test_a_video_of_a_run(cli: Cli, trained: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    out = tmp_path / "f.mp4"
    arguments = ["--kind", "interpolate", "--seeds", "0,1", "--frames", 3, "--fps", 10, "--min-side", 32]
    assert cli("video", trained, "--out", out, *arguments, "--json", tmp_path / "f.json").status == 0
    with av.open(str(out)) as film:
        assert sum(1 for _ in film.decode(video=0)) == 6
    assert json.loads((tmp_path / "f.json").read_text())["frames"] == 6


def test_evaluate_a_run(
    cli: Cli, trained: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --data the run's own dataset is used."""
    pytest.importorskip("efficientnet_lite_pytorch")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    record = tmp_path / "e.json"
    result = cli("evaluate", trained, "--metrics", "fid", "--samples", 6, "--json", record)
    assert result.status == 0
    content = json.loads(record.read_text())
    entry = content["metrics"]["fid"]
    assert entry["value"] > 0
    assert (entry["samples"], entry["reals"]) == (6, 32)
    assert "FID" not in entry["name"]  # that name is for Inception's features
    assert content["gantrol_version"] == gantrol.__version__
    assert entry["name"] in result.out


def test_info_of_a_run_a_model_and_a_dataset(cli: Cli, trained: Path, dataset: Path, tmp_path: Path) -> None:
    model = gantrol.load(trained).save_pretrained(tmp_path / "model")
    found = {}
    for kind, what in {"run": trained, "model": model, "zip": dataset}.items():
        record = tmp_path / f"{kind}.json"
        result = cli("info", what, "--json", record)
        assert result.status == 0
        assert kind in result.out.splitlines()[0]
        found[kind] = json.loads(record.read_text())
        assert found[kind]["gantrol_version"] == gantrol.__version__
    assert found["run"]["generator"] == found["model"]["generator"]
    assert found["run"]["parameters"] == found["model"]["parameters"]
    assert found["run"]["training"]["kimg"] == found["model"]["training"]["kimg"] == 0.08
    assert found["zip"]["images"] == 32


# ----------------------------------------------------------------------------------------------------------------------
# Ctrl-C


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def run_apart(arguments: list[str], folder: Path) -> None:
    """`gantrol …` in a process of its own, with what it says in two files."""
    with open(folder / "out", "w") as sys.stdout, open(folder / "err", "w") as sys.stderr:
        main(arguments)


def test_ctrl_c_saves_and_resume_goes_on(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    """A SIGINT while the command trains: a checkpoint, status 130, the command to go on; and going on works."""
    run = tmp_path / "run"
    arguments = [str(word) for word in new_run(dataset, run, "--kimg", 1000)]
    process = apart(run_apart, arguments, tmp_path)
    try:
        deadline = time.monotonic() + 300
        while not read_log(run) and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        process.join(300)
    finally:
        process.kill()
    out, err = ((tmp_path / name).read_text() for name in ("out", "err"))
    assert process.exitcode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == f"stopped; everything so far is saved: gantrol train --resume {run}"
    assert "Traceback" not in err
    saved = int(newest(run).stem)
    assert saved == read_log(run)[-1]["n_img"] > 0
    assert not list(run.rglob(".*"))
    assert cli("train", "--resume", run, "--kimg", (saved + 8) / 1000).status == 0
    assert int(newest(run).stem) == saved + 8
