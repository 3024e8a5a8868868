"""The same seed gives the same bits, whatever reads the data; what a device cannot promise is said."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gantrol.train.config import TrainConfig
from gantrol.train.determinism import determinism
from tests.train.test_training import newest, run, same_weights


def test_readers_and_caches_change_nothing(config: TrainConfig, tmp_path: Path) -> None:
    config = replace(config, kimg=0.048, deterministic=True, threads=1)
    run(config, tmp_path / "a")
    run(replace(config, workers=3, cache="off"), tmp_path / "b")
    assert same_weights(newest(tmp_path / "a"), newest(tmp_path / "b"))
    run(replace(config, kimg=0.024), tmp_path / "c")
    run(replace(config, workers=2, cache="on"), tmp_path / "c", is_resumed=True)
    assert same_weights(newest(tmp_path / "a"), newest(tmp_path / "c"))


def test_torch_is_as_before_afterwards(config: TrainConfig) -> None:
    threads = torch.get_num_threads()
    with determinism(replace(config, deterministic=True, threads=threads + 1), print):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
        assert torch.get_num_threads() == threads + 1
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == threads
    with determinism(config, print):
        assert not torch.are_deterministic_algorithms_enabled()


def test_operations_that_cannot_be_are_named_once(config: TrainConfig) -> None:
    said: list[str] = []
    with determinism(replace(config, deterministic=True), said.append):
        for _ in range(2):  # one that torch has no deterministic form of, on any device
            torch.zeros(4).put_(torch.tensor([0, 0]), torch.ones(2))
        with pytest.raises(UserWarning, match="other"):
            warnings.warn("other", UserWarning, stacklevel=1)
    assert len(said) == 1
    assert said[0].startswith("not deterministic on this device: put_;")
