"""What a training does when the memory does not suffice: the same steps in smaller parts.

A batch is split into micro-batches whose gradients are added up, which gives the gradient of the whole batch (see
`steps`). The training goes back to its newest checkpoint, which is at most a tick away and mostly at the first step,
and goes on from there as a run with that `micro_batch` from then on would have; the number is written into
RUN/config.json, so that a resumed run knows it.

Only errors can be answered. A CPU with overcommitted memory gives none: there the system kills the process, and
`gantrol train --dry-run` says beforehand what is needed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch

from gantrol.errors import TrainingError
from gantrol.train.config import TrainConfig
from gantrol.train.run import read_config, write_config

_SIGNS = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory could not be had, on whatever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def smaller_micro_batch(config: TrainConfig, batch_share: int) -> int | None:
    """About half of what a pass of the networks sees now; None if the mathematics does not allow less.

    Groups of the minibatch standard deviation stay whole, and so do the pairs of control and of mode seeking.

    Args:
        config: of the training.
        batch_share: images per step on this process.
    """
    now = min(config.micro_batch or math.inf, batch_share * config.g_batch_factor)
    grain = 1
    if getattr(config.discriminator, "mbstd_channels", 0):
        grain = min(getattr(config.discriminator, "mbstd_group_size", None) or batch_share, batch_share)
    if config.control.terms or config.loss.mode_seeking_weight > 0:
        grain = math.lcm(grain, 2)
    size = int(now) // 2 // grain * grain
    if size == 0 and grain < now:
        size = grain
    return size or None


def with_smaller_micro_batch(
    config: TrainConfig, folder: Path, batch_share: int, where: str, error: BaseException
) -> TrainConfig:
    """The config of a training that ran out of memory, with a smaller micro-batch, also in RUN/config.json.

    Args:
        config: that did not fit.
        folder: of the run.
        batch_share: images per step on this process.
        where: what ran out, for the message.
        error: that said so.

    Raises:
        TrainingError: there is no smaller one.
    """
    size = smaller_micro_batch(config, batch_share)
    if size is None:
        raise TrainingError(
            f"{where} is out of memory, and {config.micro_batch or batch_share} images at a time are the fewest that "
            "these losses allow: choose a smaller --batch, --scale or resolution, or --precision bf16; "
            "gantrol train --dry-run tells what is needed"
        ) from error
    config = replace(config, micro_batch=size)
    write_config(folder, config, read_config(folder)[1])
    return config


def describe_answer(config: TrainConfig, where: str) -> str:
    """What to tell the user about a smaller micro-batch."""
    passes = math.ceil(config.batch / (config.micro_batch or config.batch))
    return (
        f"{where} is out of memory: going on from the newest checkpoint with micro_batch={config.micro_batch}, "
        f"a batch of {config.batch} in {passes} parts or more: the same gradients, added up; slower, and "
        "remembered for --resume"
    )
