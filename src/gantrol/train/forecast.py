"""What a training will take, measured on a few steps that are thrown away: `gantrol train --dry-run`.

The steps are real ones, on the first images of the dataset and on the device of the training. Losses that are due only
now and then (R1, path length) make some steps dearer than others, so one step of each sort is timed and weighted by how
often it comes. Nothing is written.
"""

from __future__ import annotations

import io
import math
import resource
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from gantrol.data.dataset import ImageDataset
from gantrol.data.loader import CACHE_BYTES, Batch, batches
from gantrol.errors import TrainingError
from gantrol.pictures import image_grid, to_arrays
from gantrol.train.config import TrainConfig
from gantrol.train.control import load_objective
from gantrol.train.loop import all_labels, open_dataset
from gantrol.train.memory import is_out_of_memory, smaller_micro_batch
from gantrol.train.run import GRID_COLUMNS, GRID_ROWS, PAIR_COLUMNS
from gantrol.train.state import TrainState, seed_step
from gantrol.train.steps import DTYPES, Trainer

_LONG_S = 5.0  # a step that takes so long is timed once
_MAX_CYCLE = 10_000
_HEADER_BYTES, _LINE_BYTES = 160, 900  # of a tensor in a checkpoint, of a tick in the log: about


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a training takes."""

    g_parameters: int
    """Numbers that the generator learns."""
    d_parameters: int
    """Numbers of the discriminator, frozen ones left out."""
    memory_bytes: int
    """Most memory at a time: of the process on a CPU, with the images that it keeps; of the device elsewhere."""
    seconds_per_kimg: float
    """Time of the steps for a thousand real images; reading, saving and scores come on top."""
    seconds: float
    """The same for what is left of the training."""
    checkpoint_bytes: int
    """Size of one checkpoint."""
    disk_bytes: int
    """What the run folder will have grown to at the most."""
    micro_batch: int | None
    """Images per pass of the networks with which it fits into the memory; None: a batch at once."""


def forecast(config: TrainConfig, device: torch.device | str, *, world_size: int = 1, n_img: int = 0) -> Forecast:
    """Takes a few steps of a training and tells from them what all of it takes.

    Args:
        config: of the training.
        device: on which each process trains; memory and time are those of one process.
        world_size: processes.
        n_img: images that have been shown already.

    Raises:
        DataError, ConfigError: as a training does.
        TrainingError: the memory does not suffice for the fewest images at a time.
    """
    device = torch.device(device)
    share = max(config.batch // world_size, 1)
    while True:
        try:
            return _forecast(config, device, share, n_img)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            size = smaller_micro_batch(config, share)
            if size is None:
                raise TrainingError(
                    f"{device} has not enough memory for this training: choose a smaller --batch, --scale or "
                    "resolution, or --precision bf16"
                ) from error
            config = replace(config, micro_batch=size)


def _forecast(config: TrainConfig, device: torch.device, share: int, n_img: int) -> Forecast:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    dataset = open_dataset(config)
    state = TrainState(config, device)
    trainer = Trainer(
        config,
        state,
        batch_share=share,
        label_pool=all_labels(dataset, device) if config.use_labels else None,
        control=load_objective(config.control, device, DTYPES[config.precision]),
    )
    stream = batches(dataset, batch_size=share, seed=config.seed, workers=1, device=device, prefetch=1)
    batch = next(stream)
    stream.close()
    step_s = _seconds_per_step(trainer, batch, n_img)
    seconds_per_kimg = step_s * 1000 / config.batch
    checkpoint_bytes = sum(t.numel() * t.element_size() + _HEADER_BYTES for t in state.tensors().values())
    return Forecast(
        g_parameters=sum(p.numel() for p in state.g.parameters()),
        d_parameters=sum(p.numel() for p in state.d.parameters()),
        memory_bytes=_memory_bytes(config, dataset, device),
        seconds_per_kimg=seconds_per_kimg,
        seconds=seconds_per_kimg * max(config.kimg - n_img / 1000, 0),
        checkpoint_bytes=checkpoint_bytes,
        disk_bytes=_disk_bytes(config, dataset, checkpoint_bytes),
        micro_batch=config.micro_batch,
    )


class _Sort(NamedTuple):
    """Which losses a step has."""

    has_g: bool
    has_pl: bool
    has_r: bool
    has_gp: bool


def _sort_of(config: TrainConfig, step: int) -> _Sort:
    loss = config.loss
    n_g_step, since = divmod(step, config.n_critic)
    has_g = since == config.n_critic - 1
    return _Sort(
        has_g=has_g,
        has_pl=has_g and loss.pl_weight > 0 and n_g_step % loss.pl_interval == 0,
        has_r=(loss.r1_gamma > 0 or loss.r2_gamma > 0) and step % loss.r_interval == 0,
        has_gp=loss.gp_weight > 0 and step % loss.gp_interval == 0,
    )


def sorts_of_steps(config: TrainConfig) -> dict[int, float]:
    """A step of each sort, by its number, and the share of all steps that are of its sort."""
    loss = config.loss
    cycle = min(math.lcm(config.n_critic * loss.pl_interval, loss.r_interval, loss.gp_interval), _MAX_CYCLE)
    sorts = [_sort_of(config, step) for step in range(cycle)]
    return {sorts.index(sort): count / cycle for sort, count in Counter(sorts).items()}


def _seconds_per_step(trainer: Trainer, batch: Batch, n_img: int) -> float:
    state, config = trainer.state, trainer.config
    # In the middle of what is left: what happens only at the start or the end counts little.
    middle = (n_img + max(int(config.kimg * 1000), n_img)) // 2
    shares = sorts_of_steps(config)

    def seconds(step: int) -> float:
        state.n_step, state.n_img = step, middle
        seed_step(config.seed, 0, step)
        began = time.perf_counter()
        stats = trainer.step(batch)
        stats[next(iter(stats))].item()  # waits for the device
        return time.perf_counter() - began

    mean = 0.0
    for step, share in sorted(shares.items()):
        first = seconds(step)  # also finds algorithms and allocates memory
        mean += share * (first if first > _LONG_S else min(seconds(step) for _ in range(2)))
    return mean


def _memory_bytes(config: TrainConfig, dataset: ImageDataset, device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    images = len(dataset.names) * dataset.channels * dataset.resolution_px**2
    is_kept = config.cache == "on" or (config.cache == "auto" and images <= CACHE_BYTES)
    return peak + (images if is_kept else 0)


def _disk_bytes(config: TrainConfig, dataset: ImageDataset, checkpoint_bytes: int) -> int:
    """Checkpoints, one more while it is written, the best one, pictures of samples, log lines."""
    checkpoints = config.keep_checkpoints + 1 + (config.evaluation.every_kimg > 0)
    ticks = math.ceil(config.kimg / config.tick_kimg)
    sheets = ticks // config.sample_ticks + 2
    images = GRID_COLUMNS * GRID_ROWS + PAIR_COLUMNS * len(getattr(config.generator, "groups", ()))
    return checkpoints * checkpoint_bytes + (sheets * images + 48) * _png_bytes(dataset) + ticks * _LINE_BYTES


def _png_bytes(dataset: ImageDataset) -> int:
    """Of one image in a sheet, as real ones compress."""
    count = min(len(dataset), GRID_COLUMNS)
    file = io.BytesIO()
    image_grid(to_arrays(torch.stack([dataset[index][0] for index in range(count)])), count).save(file, "png")
    return file.tell() // count
