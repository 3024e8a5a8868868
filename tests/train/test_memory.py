"""A training that runs out of memory goes on in smaller parts, and is the training that these parts make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gantrol.errors import TrainingError
from gantrol.models import StyleGAN2DiscriminatorConfig
from gantrol.train.config import TrainConfig
from gantrol.train.memory import describe_answer, is_out_of_memory, smaller_micro_batch
from gantrol.train.run import read_config
from gantrol.train.steps import Trainer
from tests.train.test_training import newest, run, same_weights


def with_groups(config: TrainConfig, size: int | None, channels: int = 1) -> TrainConfig:
    """The config with other groups of the minibatch standard deviation."""
    assert isinstance(config.discriminator, StyleGAN2DiscriminatorConfig)
    d = replace(config.discriminator, mbstd_group_size=size, mbstd_channels=channels)
    return replace(config, discriminator=d)


@pytest.fixture
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device whose memory holds four images of the discriminator's pass."""
    plain = Trainer.discriminate

    def discriminate(self: Trainer, images: torch.Tensor, *more: Any, **options: Any) -> torch.Tensor:
        if len(images) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return plain(self, images, *more, **options)

    monkeypatch.setattr(Trainer, "discriminate", discriminate)


def test_it_goes_on_in_smaller_parts(config: TrainConfig, tmp_path: Path, few_at_a_time: None) -> None:
    config = replace(config, kimg=0.08)
    recorder = run(config, tmp_path / "run")
    assert [message for message in recorder.messages if "micro_batch=4, a batch of 8 in 2 parts" in message]
    run(replace(config, micro_batch=4), tmp_path / "chosen")
    assert same_weights(newest(tmp_path / "run"), newest(tmp_path / "chosen"))
    assert read_config(tmp_path / "run")[0].micro_batch == 4  # what --resume will take
    assert not any("memory" in message for message in run(replace(config, micro_batch=4), tmp_path / "b").messages)


def test_in_the_middle_of_a_run(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the newest checkpoint on, as if that had been resumed with the smaller micro-batch."""
    plain, spent = Trainer.d_main, []

    def d_main(self: Trainer, real: torch.Tensor, *more: Any) -> Any:
        if len(real) > 4 and self.state.n_img == 64:
            spent.append(self.state.n_img)
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return plain(self, real, *more)

    monkeypatch.setattr(Trainer, "d_main", d_main)
    config = replace(config, kimg=0.08)
    run(config, tmp_path / "run")
    assert spent == [64]
    run(replace(config, kimg=0.04), tmp_path / "chosen")
    run(replace(config, micro_batch=4), tmp_path / "chosen", is_resumed=True)
    assert same_weights(newest(tmp_path / "run"), newest(tmp_path / "chosen"))


def test_what_cannot_be_split_further_is_said(config: TrainConfig, tmp_path: Path, few_at_a_time: None) -> None:
    config = with_groups(config, 8)
    with pytest.raises(TrainingError, match=r"out of memory, and 8 images at a time are the fewest.*--dry-run"):
        run(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("batch", "micro", "group", "expected"),
    [(16, None, 4, 8), (16, 8, 4, 4), (16, 4, 4, None), (12, None, 4, 4), (32, None, None, None), (6, None, 8, None)],
)
def test_groups_stay_whole(
    config: TrainConfig, batch: int, micro: int | None, group: int | None, expected: int | None
) -> None:
    changed = replace(with_groups(config, group), batch=batch, micro_batch=micro)
    assert smaller_micro_batch(changed, batch) == expected


def test_without_groups_one_image_is_enough(config: TrainConfig) -> None:
    config = with_groups(config, None, channels=0)
    sizes, found = [], smaller_micro_batch(config, 8)
    while found is not None:
        sizes.append(found)
        found = smaller_micro_batch(replace(config, micro_batch=found), 8)
    assert sizes == [4, 2, 1]


def test_what_was_done_is_said_in_one_line(config: TrainConfig) -> None:
    text = describe_answer(replace(config, batch=16, micro_batch=4), "cuda:0")
    assert text.startswith("cuda:0 is out of memory")
    assert "micro_batch=4, a batch of 16 in 4 parts or more: the same gradients" in text


def test_only_memory_counts() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(KeyboardInterrupt())
