"""The training loop: read a batch, take a step; once per tick write the log, a checkpoint and samples."""

from __future__ import annotations

import gc
import math
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from gantrol import checkpoint
from gantrol.atomic import sweep, write_json
from gantrol.data.dataset import ImageDataset
from gantrol.data.loader import batches
from gantrol.errors import CheckpointError, ConfigError, DataError, TrainingError
from gantrol.metrics.processes import Processes
from gantrol.models import ControllableGenerator
from gantrol.sample import latents
from gantrol.train.config import TrainConfig
from gantrol.train.control import load_objective
from gantrol.train.dataset_record import check_record, write_record
from gantrol.train.determinism import determinism
from gantrol.train.evaluation import Evaluator, check_evaluation, open_reals
from gantrol.train.health import Health, check_finite, check_weights
from gantrol.train.log import RunLog, read_log
from gantrol.train.memory import describe_answer, is_out_of_memory, with_smaller_micro_batch
from gantrol.train.run import GRID_COLUMNS, GRID_ROWS, SAMPLES, run_lock, save_fakes, save_pairs, save_reals
from gantrol.train.state import CHECKPOINTS, TrainState, seed_step
from gantrol.train.steps import DTYPES, Stats, Trainer
from gantrol.train.together import Together
from gantrol.train.transfer import INIT, Source, start_from

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_OUT_OF_TIME, _STOPPED = 1, 2
"""Why a training ends before its length is reached: processes agree on the highest."""


class Reporter(Protocol):
    """Where a training tells how far it is."""

    def step(self, n_img: int, total_img: int, img_per_s: float) -> None:
        """Called after every step."""

    def tick(self, tick: dict[str, Any]) -> None:
        """Called once per tick with what went to the log."""

    def message(self, text: str) -> None:
        """Something that the user should know."""


class StopRequest:
    """Set by SIGINT or SIGTERM; the loop then finishes its step and writes a checkpoint."""

    def __init__(self) -> None:
        self.is_set = False

    @contextmanager
    def watch(self) -> Iterator[StopRequest]:
        """Catches the signals while the block runs. A second Ctrl-C stops at once. Only the main thread can listen."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return

        def handle(number: int, _frame: Any) -> None:
            if self.is_set and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.is_set = True

        previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def train(
    config: TrainConfig,
    folder: Path,
    fabric: Fabric,
    reporter: Reporter,
    *,
    is_resumed: bool = False,
    max_minutes: float | None = None,
    source: Source | None = None,
) -> bool:
    """Trains until `config.kimg` thousand images have been shown, in the run folder `folder`.

    Args:
        config: of the training; RUN/config.json already holds it.
        folder: the run folder.
        fabric: launched; says devices and processes.
        reporter: is told about progress.
        is_resumed: continue from the newest valid checkpoint, or from the start if none was ever written.
        max_minutes: stop after this time, with a checkpoint; None: no limit.
        source: the model that a training with `config.init` starts from; not needed once there is a checkpoint.

    Returns:
        True if the training reached its end or its time limit, False if a signal stopped it (the state is saved).

    Raises:
        DataError: the dataset cannot be read.
        ConfigError: the dataset and the config do not fit, or nothing of the source fits.
        CheckpointError: no valid checkpoint to resume from, or the state cannot be written.
        TrainingError: a loss or weight is not finite, the newest checkpoint is from before; the memory does not suffice
            for the smallest micro-batch; or another process trains in `folder`.
    """
    if config.batch % fabric.world_size:
        raise ConfigError(f"batch={config.batch}: expected a multiple of the {fabric.world_size} processes")
    ends_at = math.inf if max_minutes is None else time.monotonic() + max_minutes * 60
    with run_lock(folder) if fabric.is_global_zero else nullcontext(), determinism(config, reporter.message):
        while True:
            try:
                return _train(config, folder, fabric, reporter, is_resumed=is_resumed, ends_at=ends_at, source=source)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                config = _answer_out_of_memory(config, folder, fabric, reporter, error)
            is_resumed = True
            gc.collect()  # only here, out of the except block, is the memory of the failed try free
            if fabric.device.type == "cuda":
                torch.cuda.empty_cache()


def _answer_out_of_memory(
    config: TrainConfig, folder: Path, fabric: Fabric, reporter: Reporter, error: Exception
) -> TrainConfig:
    """The config to go on with; several processes cannot go back to a checkpoint together, so they end."""
    where = str(fabric.device) if fabric.world_size == 1 else f"process {fabric.global_rank} on {fabric.device}"
    config = with_smaller_micro_batch(config, folder, config.batch // fabric.world_size, where, error)
    if fabric.world_size > 1:
        raise TrainingError(
            f"{where} is out of memory: {folder} now has micro_batch={config.micro_batch}; "
            f"continue with gantrol train --resume {folder}"
        ) from error
    reporter.message(describe_answer(config, where))
    return config


def _train(
    config: TrainConfig,
    folder: Path,
    fabric: Fabric,
    reporter: Reporter,
    *,
    is_resumed: bool,
    ends_at: float,
    source: Source | None,
) -> bool:
    """One try of `train`, until `time.monotonic()` says `ends_at`."""
    world_size = fabric.world_size
    if fabric.device.type == "cuda":
        torch.backends.cudnn.benchmark = not config.deterministic
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    dataset = open_dataset(config)
    if dataset.skipped:
        reporter.message(f"damaged images left out: {len(dataset.skipped)}, the first: {dataset.skipped[0].reason}")
    control = load_objective(config.control, fabric.device, DTYPES[config.precision])
    state = TrainState(config, fabric.device)
    if config.evaluation.every_kimg > 0:
        check_evaluation(config, state.g_ema)
        check_fits(open_reals(config), config)
    is_resumed = is_resumed and any((folder / CHECKPOINTS).glob(checkpoint.PATTERN))  # else killed before the first one
    if is_resumed:
        check_record(folder, dataset)
        newest = checkpoint.newest_valid(folder / CHECKPOINTS)
        for skipped in newest.skipped:
            reporter.message(f"{skipped} is damaged; using an older one")
            if fabric.is_global_zero:
                with suppress(OSError):  # out of the way, or it would count as one of those to keep
                    skipped.rename(f"{skipped}.damaged")
        state.load(newest.path)
    elif config.init:
        _initialise(config, state, source, folder, fabric, reporter)
    if fabric.is_global_zero:
        for place in (folder, folder / SAMPLES, folder / CHECKPOINTS):
            sweep(place)
    log = RunLog(folder, state.n_img, state.tick) if fabric.is_global_zero else None
    health = Health(config, read_log(folder)) if fabric.is_global_zero else None
    processes = Processes(fabric.global_rank, world_size)
    evaluator = Evaluator(config, folder, state.n_img, processes) if config.evaluation.every_kimg > 0 else None
    labels = all_labels(dataset, fabric.device) if config.use_labels else None
    trainer = Trainer(
        config,
        state,
        batch_share=config.batch // world_size,
        rank=fabric.global_rank,
        world_size=world_size,
        all_gather=fabric.all_gather if world_size > 1 else None,  # type: ignore[arg-type]
        all_reduce=(lambda x: fabric.all_reduce(x, reduce_op="mean")) if world_size > 1 else None,  # type: ignore[return-value,arg-type]
        label_pool=labels,
        control=control,
    )
    z = latents(range(GRID_COLUMNS * GRID_ROWS), config.generator.z_dim)
    c = labels[torch.arange(len(z)) % len(labels)] if labels is not None else None
    if fabric.is_global_zero and not is_resumed:
        write_record(folder, dataset)
        save_reals(folder, dataset)
        save_samples(folder, state, z, c)
        state.save(folder, config)
    total_img = math.ceil(config.kimg * 1000)
    tick_img = max(math.ceil(config.tick_kimg * 1000), 1)

    def are_samples_due(before: int) -> bool:
        """Whether samples belong to the tick that ends here, `before` being the images shown before the last step."""
        n_tick = state.n_img // tick_img
        return before // tick_img != n_tick and n_tick % config.sample_ticks == 0

    if fabric.is_global_zero and is_resumed and state.n_img > 0:  # killed between a checkpoint and its samples
        is_due = are_samples_due(state.n_img - config.batch) or state.n_img >= total_img
        if is_due and not (folder / SAMPLES / f"fakes_{state.n_img:09d}.png").exists():
            save_samples(folder, state, z, c)

    stream = batches(
        dataset,
        batch_size=config.batch // world_size,
        start_img=state.n_img,
        seed=config.seed,
        rank=fabric.global_rank,
        world_size=world_size,
        groups=trainer.share.groups,
        workers=config.workers,
        cache=config.cache,
        device=fabric.device,
    )
    started, previous_s = time.monotonic(), state.elapsed_s
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}
    clock = Clock()
    stop = StopRequest()

    def evaluate(before: int) -> None:
        """Evaluates if it is time to, `before` being the images shown before the last step."""
        is_tick, is_end = before // tick_img != state.n_img // tick_img, state.n_img >= total_img
        if evaluator is None or is_stopping() or not evaluator.is_due(state.n_img, is_tick=is_tick, is_end=is_end):
            return
        path = folder / CHECKPOINTS / f"{state.n_img:09d}.safetensors"
        with clock.measure("evaluate_s"):
            reporter.message(evaluator.evaluate(state, path, is_stopping))

    def is_stopping() -> bool:
        """Whether to stop at once; several processes do so together, after a step."""
        return stop.is_set and world_size == 1

    is_stopped = False
    remedy = f"what was saved is whole: gantrol train --resume {folder}"
    try:
        with stop.watch(), Together(processes, remedy) as together:
            evaluate(state.n_img - config.batch)  # if the run was broken off between a checkpoint and its evaluation
            while state.n_img < total_img and not is_stopping():
                with clock.measure("data_s"):
                    try:
                        batch = next(stream)
                    except DataError:  # the dataset has gone: what was learnt from it has not
                        if fabric.is_global_zero:
                            check_weights(state, folder)
                            state.save(folder, config)
                        raise
                with clock.measure("step_s"):
                    seed_step(config.seed, 0, state.n_step)  # one stream for all processes: see gantrol.ops.parts
                    before = state.n_img
                    stats = trainer.step(batch)
                    accumulate(sums, counts, stats)
                    if fabric.device.type == "cpu":
                        check_finite(stats, state, folder)  # elsewhere once per tick: looking means waiting
                state.elapsed_s = previous_s + time.monotonic() - started
                reporter.step(state.n_img, total_img, clock.rate(config.batch))
                is_out_of_time = time.monotonic() > ends_at
                wish = together.highest(_STOPPED if stop.is_set else _OUT_OF_TIME if is_out_of_time else 0)
                is_stopped = wish == _STOPPED
                is_last = state.n_img >= total_img or wish > 0
                is_tick = before // tick_img != state.n_img // tick_img
                if is_tick or is_last:
                    sums = trainer.mean_over_processes(sums)
                    if state.strength is not None:
                        state.strength.merge(trainer.all_reduce)
                    means = {name: (value / counts[name]).item() for name, value in sums.items()}
                    check_finite(sums, state, folder)
                    check_weights(state, folder)
                    tick = describe_tick(config, state, means, clock, fabric.device)
                    findings = health.observe(tick) if health is not None else {}
                    if findings:
                        tick["health"] = list(findings)
                    with clock.measure("save_s"):
                        if fabric.is_global_zero:
                            state.save(folder, config, tick)
                        if are_samples_due(before) or is_last:
                            save_samples(folder, state, z, c, processes)
                    tick |= describe_tick(config, state, means, clock, fabric.device)
                    if log is not None:
                        log.write(tick)
                    reporter.tick(tick)
                    for text in filter(None, findings.values()):
                        reporter.message(text)
                    sums.clear()
                    counts.clear()
                    clock.restart()
                    evaluate(before)
                if is_last:
                    break
    finally:
        stream.close()
        if log is not None:
            log.close()
    return not (is_stopped or is_stopping())


def _initialise(
    config: TrainConfig, state: TrainState, source: Source | None, folder: Path, fabric: Fabric, reporter: Reporter
) -> None:
    """Takes over the weights of the model that the config names, and writes down which."""
    if source is None:
        raise CheckpointError(f"{folder} begins from {config.init}, which was not given to this training")
    if source.sha256 != config.init_sha256:
        raise CheckpointError(
            f"{config.init} has changed since {folder} was made from it and nothing was saved: start a new run"
        )
    transfer = start_from(source, state)
    if fabric.is_global_zero:
        write_json(folder / INIT, transfer.to_dict(), TrainingError)
    reporter.message(transfer.describe())


def save_samples(
    folder: Path, state: TrainState, z: torch.Tensor, c: torch.Tensor | None, processes: Processes | None = None
) -> None:
    """With latent groups the matrix of pairs; then the grid of samples, whose file says that both are there."""
    if isinstance(state.g_ema, ControllableGenerator):
        save_pairs(folder, state.g_ema, z, state.n_img, processes)
    save_fakes(folder, state.g_ema, z, c, state.n_img, processes=processes)


def open_dataset(config: TrainConfig) -> ImageDataset:
    """The dataset of a config, checked against its networks."""
    dataset = ImageDataset(config.data, use_labels=config.use_labels, x_flip=config.x_flip, skip_bad=config.skip_bad)
    check_fits(dataset, config)
    return dataset


def check_fits(dataset: ImageDataset, config: TrainConfig) -> None:
    """Raises ConfigError unless the images and labels are what the networks of the config take."""
    g = config.generator
    found = (dataset.resolution_px, dataset.channels, dataset.label_dim if config.use_labels else 0)
    if found != (g.resolution_px, g.channels, g.c_dim):
        raise ConfigError(
            f"{dataset.path} has {found[0]} px, {found[1]} channels and {found[2]} labels, "
            f"but the generator has {g.resolution_px} px, {g.channels} channels and {g.c_dim} labels"
        )


def all_labels(dataset: ImageDataset, device: torch.device) -> torch.Tensor:
    """float32 [M, label_dim]: the labels of all images, from which fakes draw theirs."""
    return torch.stack([torch.from_numpy(dataset.label(index)) for index in range(len(dataset))]).to(device)


def accumulate(sums: dict[str, torch.Tensor], counts: dict[str, int], stats: Stats) -> None:
    """Adds one step's scalars to the tick's, on the device."""
    for name, value in stats.items():
        sums[name] = sums[name] + value if name in sums else value
        counts[name] = counts.get(name, 0) + 1


def describe_tick(
    config: TrainConfig, state: TrainState, means: dict[str, float], clock: Clock, device: torch.device
) -> dict[str, Any]:
    """What goes to the log for one tick; times in seconds, memory in GiB."""
    spent = clock.spent
    wall = max(clock.wall_s(), 1e-9)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tick: dict[str, Any] = {
        "n_img": state.n_img,
        "kimg": state.n_img / 1000,
        "n_step": state.n_step,
        "elapsed_s": round(state.elapsed_s, 3),
        "img_per_s": round(clock.steps * config.batch / wall, 3),
        "outside_share": round(1 - spent.get("step_s", 0.0) / wall, 4),
        "memory_gib": round(peak / (2**30 if sys.platform == "darwin" else 2**20), 3),
        **{name: round(value, 4) for name, value in spent.items()},
    }
    if state.strength is not None:
        tick["augment/p"] = state.strength.p.item()
    if device.type == "cuda":
        tick["cuda_memory_gib"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 3)
    return tick | means


class Clock:
    """Where the time of a tick goes: waiting for data, stepping, saving, and evaluating what the tick before left."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.spent: dict[str, float] = {}
        self.steps = 0
        self._began = time.perf_counter()

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - began
        self.steps += name == "step_s"

    def wall_s(self) -> float:
        """Seconds since the tick began, without evaluations, which say nothing about the speed of the training."""
        return time.perf_counter() - self._began - self.spent.get("evaluate_s", 0.0)

    def rate(self, batch: int) -> float:
        """Images per second since the tick began."""
        return self.steps * batch / max(self.wall_s(), 1e-9)
