"""What `--dry-run` says, against a training."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gantrol.train.config import TrainConfig
from gantrol.train.forecast import forecast, sorts_of_steps
from gantrol.train.log import read_log
from gantrol.train.steps import Trainer
from tests.cli.conftest import Cli, cli, dataset, new_run
from tests.train.test_training import newest, run

__all__ = ["cli", "dataset"]


def test_it_is_about_right(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints within 10 %, memory within a half, the time within a factor of 3."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)  # whatever else this machine does meanwhile
    config = replace(config, kimg=0.2, tick_kimg=0.1, keep_checkpoints=2)
    found = forecast(config, "cpu")
    recorder = run(config, tmp_path / "run")
    tick = read_log(tmp_path / "run")[-1]
    size = newest(tmp_path / "run").stat().st_size
    assert found.checkpoint_bytes == pytest.approx(size, rel=0.1)
    kept = sum(path.stat().st_size for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert kept <= found.disk_bytes <= 2.5 * kept
    assert found.memory_bytes / 2**30 == pytest.approx(tick["memory_gib"], rel=0.5)
    steps_s = sum(each["step_s"] for each in recorder.ticks)
    assert 1 / 3 < found.seconds / steps_s < 3
    assert found.seconds == pytest.approx(found.seconds_per_kimg * 0.2)


def test_each_sort_of_step_has_its_share(config: TrainConfig) -> None:
    loss = replace(config.loss, r1_gamma=1.0, r_interval=4, pl_weight=2.0, pl_interval=2)
    shares = sorts_of_steps(replace(config, loss=loss))
    assert shares == {0: 0.25, 1: 0.5, 2: 0.25}
    critic = sorts_of_steps(replace(config, n_critic=5, loss=replace(loss, r1_gamma=0.0, pl_weight=0.0)))
    assert critic == {0: 0.8, 4: 0.2}


def test_what_does_not_fit_is_tried_in_parts(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Trainer.discriminate

    def discriminate(self: Trainer, images: torch.Tensor, *more: Any, **options: Any) -> torch.Tensor:
        if len(images) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, images, *more, **options)

    monkeypatch.setattr(Trainer, "discriminate", discriminate)
    assert forecast(config, "cpu").micro_batch == 4


def test_the_command_writes_nothing(cli: Cli, dataset: Path, tmp_path: Path) -> None:
    result = cli(*new_run(dataset, tmp_path / "run", "--dry-run"))
    assert result.status == 0
    assert [line.split()[0] for line in result.out.splitlines()] == ["parameters", "memory", "time", "disk"]
    assert not (tmp_path / "run").exists()
