"""Scores taken while training: they change nothing, nothing of them is lost, and the best checkpoint stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gantrol
from gantrol.config import from_dict, override, to_dict
from gantrol.data.writer import DatasetWriter
from gantrol.errors import CheckpointError, ConfigError, DataError, MissingExtraError
from gantrol.hub import BEST
from gantrol.metrics import Entry, features
from gantrol.metrics.evaluate import Evaluation
from gantrol.metrics.evaluation_request import Request
from gantrol.models import StyleGAN2Config
from gantrol.train import evaluation
from gantrol.train.config import TrainConfig
from gantrol.train.evaluation import BEST_NOTE, Best, EvaluationConfig, better, read_best
from gantrol.train.log import METRICS, LineFile, read_log, read_metrics
from gantrol.train.state import CHECKPOINTS
from tests.train.test_training import Recorder, newest, run, same_weights

EQT = EvaluationConfig(metrics=("eqt",), every_kimg=0.04, samples=8, batch_size=4)


@pytest.fixture
def config(config: TrainConfig) -> TrainConfig:
    """The small training in larger steps, two for each tick: what happens between steps is looked at here."""
    return replace(config, batch=20)


@pytest.fixture
def scored(config: TrainConfig) -> TrainConfig:
    """The small training with a score at every tick: at 40, 80, 120 and 160 images."""
    return replace(config, evaluation=EQT)


class FakeScores:
    """Stands in for the metrics: each evaluation takes the next of some values."""

    def __init__(self, values: list[float]) -> None:
        self.values = values
        self.requests: list[Request] = []
        self.before: Callable[[int], None] = lambda _: None
        self.after: Callable[[int], None] = lambda _: None

    def __call__(self, model: Any, data: Any, request: Request, *, progress: Any, processes: Any) -> Evaluation:
        self.requests.append(request)
        number = len(self.requests)
        self.before(number)
        progress(1, 2)
        entry = Entry(value=self.values[number - 1], unit="", name="FD-test", samples=8, seed=0)
        self.after(number)
        return Evaluation(entries={"fid": entry, "eqt": replace(entry, name="EQ-T", unit="dB")})


def fake(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> FakeScores:
    scores = FakeScores(values)
    monkeypatch.setattr(evaluation, "run_evaluation", scores)
    return scores


# ---------------------------------------------------------------------------------------------------------------------
# Lines and the best checkpoint


def test_lines_say_when_and_what(scored: TrainConfig, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    recorder = run(scored, folder)
    lines = read_metrics(folder)
    assert [line["n_img"] for line in lines] == [40, 80, 120, 160]
    entry = lines[-1]["metrics"]["eqt"]
    assert lines[-1]["kimg"] == 0.16
    assert lines[-1]["seconds"] >= 0
    assert lines[-1]["elapsed_s"] == read_log(folder)[-1]["elapsed_s"]
    assert entry["unit"] == "dB"
    assert entry["samples"] == 8
    again = gantrol.metrics.evaluate(str(folder), metrics=["eqt"], samples=8, batch_size=4)
    assert entry["value"] == pytest.approx(again["eqt"], rel=1e-6)
    told = [text for text in recorder.messages if text.startswith("metrics at ")]
    assert len(told) == 4
    assert told[0].startswith("metrics at 0.04 kimg: EQ-T ")
    assert "the best so far" in told[0]
    ticks = read_log(folder)
    assert "evaluate_s" not in ticks[0]
    assert all(tick["evaluate_s"] > 0 for tick in ticks[1:])  # spent after the line of the tick before


@pytest.mark.parametrize("kind", ["stylegan2", "conditional stylegan3"])
def test_scores_change_nothing(kind: str, config: TrainConfig, tmp_path: Path) -> None:
    metrics = ("eqt", "eqr")
    if kind == "stylegan2":  # draws noise and mixes styles
        g = StyleGAN2Config(resolution_px=16, z_dim=8, w_dim=8, channel_base=128, channel_max=8)
        config = replace(config, generator=g, loss=replace(config.loss, style_mixing_prob=0.9, pl_weight=2))
        metrics = ("sticking",)
    else:
        g, d = replace(config.generator, c_dim=2), replace(config.discriminator, c_dim=2)
        config = replace(config, generator=g, discriminator=d, use_labels=True)
    run(config, tmp_path / "without")
    settings = replace(EQT, metrics=metrics, samples=64 if kind == "stylegan2" else 8, every_kimg=0.08)
    run(replace(config, evaluation=settings), tmp_path / "with")
    assert same_weights(newest(tmp_path / "without"), newest(tmp_path / "with"))
    assert len(read_metrics(tmp_path / "with")) == 2
    assert not (tmp_path / "without" / METRICS).exists()


def test_the_schedule(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first tick of each interval, and the end; intervals shorter than a tick are ticks."""
    for every_kimg, expected in ((0.1, [120, 160]), (0.08, [80, 160]), (0.001, [40, 80, 120, 160]), (9, [160])):
        scores = fake(monkeypatch, [1.0] * 4)
        folder = tmp_path / f"{every_kimg}"
        run(replace(config, evaluation=replace(EQT, every_kimg=every_kimg)), folder)
        assert [line["n_img"] for line in read_metrics(folder)] == expected
        assert scores.requests[0].samples == 8
        assert scores.requests[0].x_flip is False


def test_the_best_checkpoint_stays(scored: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a model, its weights are those of its moment, and pruning does not touch it."""
    fake(monkeypatch, [3.0, 1.0, 2.0, 5.0])
    folder = tmp_path / "run"
    settings = replace(EQT, metrics=("fid",), best_is="lower")
    run(replace(scored, evaluation=settings, keep_checkpoints=4), folder)
    best = read_best(folder)
    assert best == Best(metric="fid", value=1.0, better="lower", n_img=80, kimg=0.08)
    assert same_weights(folder / BEST, folder / CHECKPOINTS / "000000080.safetensors")
    assert json.loads((folder / BEST_NOTE).read_text())["entry"]["name"] == "FD-test"

    fake(monkeypatch, [3.0, 1.0, 2.0, 5.0])
    run(replace(scored, evaluation=settings, keep_checkpoints=1), tmp_path / "pruned")
    assert [path.stem for path in (tmp_path / "pruned" / CHECKPOINTS).glob("*")] == ["000000160"]
    assert same_weights(tmp_path / "pruned" / BEST, folder / BEST)
    model = gantrol.load(str(tmp_path / "pruned" / BEST), device="cpu")
    assert model.training["kimg"] == 0.08
    assert len(model.generate([0, 1])) == 2
    with pytest.raises(CheckpointError, match="is a file, not a model"):
        gantrol.load(str(shutil.copy(folder / BEST, tmp_path / BEST)))


def test_higher_may_be_better(scored: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, [3.0, 1.0, float("nan"), 2.0])
    run(replace(scored, evaluation=replace(EQT, metrics=("fid", "eqt"), best="eqt")), tmp_path / "run")
    best = read_best(tmp_path / "run")
    assert best is not None
    assert (best.metric, best.value, best.n_img) == ("eqt", 3.0, 40)
    assert read_metrics(tmp_path / "run")[2]["metrics"]["eqt"]["value"] is None
    assert [better(name) for name in ("fid", "kid", "ppl", "control/age/mae")] == ["lower"] * 4
    assert [better(name) for name in ("is", "precision", "coverage", "eqt_frac")] == ["higher"] * 4
    assert better("is_std") is None


def test_a_disk_without_links_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    (tmp_path / "a").write_bytes(b"weights")
    evaluation.keep_checkpoint(tmp_path / "a", tmp_path / "linked")
    evaluation.keep_checkpoint(tmp_path / "a", tmp_path / "linked")  # the same file again
    assert (tmp_path / "linked").samefile(tmp_path / "a")
    monkeypatch.setattr(os, "link", refuse)
    evaluation.keep_checkpoint(tmp_path / "a", tmp_path / "copied")
    assert (tmp_path / "copied").read_bytes() == b"weights"
    assert not (tmp_path / "copied").samefile(tmp_path / "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "copied", "linked"]


# ---------------------------------------------------------------------------------------------------------------------
# Breaks


class Killed(BaseException):
    """What a kill looks like from within."""


def scores_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without what the clock says."""
    return [{name: line[name] for name in ("n_img", "kimg", "metrics")} for line in read_metrics(folder)]


@pytest.mark.parametrize("killed_at", [1, 2, 3])
def test_a_kill_neither_repeats_nor_loses_lines(
    killed_at: int, scored: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed during an evaluation: the checkpoint is there, its score is not, and comes when the run goes on."""
    run(scored, tmp_path / "whole")
    measure, calls = evaluation.evaluate_state, []

    def kill(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == killed_at:
            raise Killed
        return measure(*arguments)

    monkeypatch.setattr(evaluation, "evaluate_state", kill)
    folder = tmp_path / "parts"
    with pytest.raises(Killed):
        run(scored, folder)
    run(scored, folder, is_resumed=True)
    assert scores_of(folder) == scores_of(tmp_path / "whole")
    assert [tick["n_img"] for tick in read_log(folder)] == [40, 80, 120, 160]
    assert read_best(folder) == read_best(tmp_path / "whole")
    assert same_weights(folder / BEST, tmp_path / "whole" / BEST)


def test_lines_beyond_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.write_text('{"n_img": 40, "a": 1}\n{"n_img": 80}\nnull\n{"other": 1}\n{"n_img": 120}\n{"n_img": 1')
    lines = LineFile(path, 80)
    lines.append({"n_img": 100})
    assert [line["n_img"] for line in read_metrics(tmp_path)] == [40, 80, 100]


def test_a_stop_gives_an_evaluation_up(scored: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during an evaluation does not wait for it; the run that goes on begins with it."""
    scores = fake(monkeypatch, [1.0] * 5)
    scores.before = lambda number: os.kill(os.getpid(), signal.SIGINT) if number == 2 else None
    recorder = run(scored, tmp_path / "run")
    assert [line["n_img"] for line in read_metrics(tmp_path / "run")] == [40]
    assert "given up" in recorder.messages[-1]
    assert newest(tmp_path / "run").stem == "000000080"
    run(scored, tmp_path / "run", is_resumed=True)
    assert [line["n_img"] for line in read_metrics(tmp_path / "run")] == [40, 80, 120, 160]
    assert len(scores.requests) == 5


# ---------------------------------------------------------------------------------------------------------------------
# What goes wrong


def test_what_cannot_be_measured_is_refused_before_the_first_step(
    scored: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(match: str, config: TrainConfig = scored, error: type[Exception] = ConfigError, **changes: Any) -> None:
        folder = tmp_path / "refused"
        shutil.rmtree(folder, ignore_errors=True)
        with pytest.raises(error, match=match) as caught:
            run(replace(config, evaluation=replace(config.evaluation, **changes)), folder)
        assert "\n" not in str(caught.value)
        assert not (folder / CHECKPOINTS).exists()

    g = StyleGAN2Config(resolution_px=16, z_dim=8, w_dim=8, channel_base=128, channel_max=8)
    refused("cannot be moved", replace(scored, generator=g))
    refused("fdi", metrics=("fdi",))
    refused("controls are fitted", metrics=("control",), samples=40)
    refused("evaluation.best=fid: it is not measured", best="fid")
    refused("evaluation.best_is", metrics=("is",), best="is_std", samples=20)
    refused("inceptoin", metrics=("fid",), features="inceptoin")
    with DatasetWriter(tmp_path / "other.zip") as writer:
        writer.add(np.zeros((8, 8, 3), dtype=np.uint8))
    refused("other.zip has 8 px", data=str(tmp_path / "other.zip"))
    refused("gone.zip", data=str(tmp_path / "gone.zip"), error=DataError)

    def missing(*_: object) -> None:
        raise MissingExtraError("this needs the Python package 'x', which is not installed: pip install 'gantrol[m]'")

    monkeypatch.setattr(features, "load_features", missing)
    refused("pip install", metrics=("fid",), error=MissingExtraError)


def test_values_that_cannot_be() -> None:
    for changes in ({"every_kimg": -1}, {"metrics": ()}, {"samples": 0}, {"seed": -1}, {"batch_size": 0}):
        with pytest.raises(ConfigError, match=f"evaluation.{next(iter(changes))}"):
            EvaluationConfig(**changes)


def test_overrides_reach_it(config: TrainConfig) -> None:
    changed = override(config, ["evaluation.metrics=fid,eqt", "evaluation.every_kimg=5", "evaluation.samples=1000"])
    assert changed.evaluation.metrics == ("fid", "eqt")
    assert changed.evaluation.every_kimg == 5
    assert override(config, ["evaluation.metrics=eqt"]).evaluation.metrics == ("eqt",)
    assert override(config, ['evaluation.metrics=["eqt"]']).evaluation.metrics == ("eqt",)
    assert from_dict(TrainConfig, to_dict(changed)) == changed


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), MemoryError(), RuntimeError("a\nb")])
def test_a_failing_evaluation_does_not_end_the_training(
    problem: Exception, scored: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = fake(monkeypatch, [2.0, 1.0, 3.0, 4.0])

    def fail_once(number: int) -> None:
        if number == 2:
            raise problem

    scores.after = fail_once
    recorder = run(scored, tmp_path / "run")
    assert [line["n_img"] for line in read_metrics(tmp_path / "run")] == [40, 120, 160]
    (said,) = [text for text in recorder.messages if "not measured" in text]
    assert said.startswith("metrics at 0.08 kimg: not measured, the training goes on; ")
    assert "\n" not in said
    assert [tick["n_img"] for tick in read_log(tmp_path / "run")] == [40, 80, 120, 160]
    assert len(scores.requests) == 4


def test_a_dataset_that_goes_away_is_said(scored: TrainConfig, tmp_path: Path) -> None:
    data = Path(shutil.copy(scored.data, tmp_path / "heldout.zip"))

    class Remover(Recorder):
        def tick(self, tick: dict[str, Any]) -> None:
            data.unlink(missing_ok=True)

    from lightning_fabric import Fabric

    from gantrol.train.loop import train
    from gantrol.train.run import create_run

    config = replace(scored, evaluation=replace(EQT, data=str(data), every_kimg=0.16))
    recorder = Remover()
    create_run(tmp_path / "run", config, "test")
    assert train(config, tmp_path / "run", Fabric(accelerator="cpu", devices=1), recorder)
    assert "heldout.zip" in recorder.messages[-1]
    assert read_metrics(tmp_path / "run") == []
    assert not (tmp_path / "run" / BEST).exists()


def test_a_damaged_note_is_no_obstacle(tmp_path: Path) -> None:
    for text in ("", "[]", '{"metric": "eqt"}'):
        (tmp_path / BEST_NOTE).write_text(text)
        assert read_best(tmp_path) is None
