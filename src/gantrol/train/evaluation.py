"""Measuring while training: the averaged generator is scored on a schedule, and the best checkpoint is kept.

RUN/metrics.jsonl            one line per evaluation: when, how long it took, the entries as `evaluate --json` has them
RUN/best.safetensors         the checkpoint that scored best so far: a model, and safe from `keep_checkpoints`
RUN/best.json                which number decided, its value, and when

All processes of a training share the work; the first one writes. The schedule is a function of the number of images,
so a resumed run evaluates what the run without a break evaluates. Scores are taken after the checkpoint and the log
line of their tick are on the disk, and leave the random state alone: with and without them the weights are the same
bit for bit.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gantrol.atomic import atomic_file, write_json
from gantrol.data.dataset import ImageDataset
from gantrol.errors import ConfigError, TrainingError, nearest
from gantrol.hub import BEST
from gantrol.metrics import features
from gantrol.metrics.equivariance import TITLES
from gantrol.metrics.evaluate import check_defined, run_evaluation
from gantrol.metrics.evaluation_request import IN_FEATURES, NUMBERS, Request
from gantrol.metrics.processes import Processes
from gantrol.model import Model
from gantrol.train.log import METRICS, LineFile, read_metrics

if TYPE_CHECKING:
    from gantrol.train.config import TrainConfig
    from gantrol.train.state import TrainState

BEST_NOTE = "best.json"
Entries = dict[str, dict[str, Any]]
"""Numbers by name, each with what it depends on."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured while training, and how often. It has no influence on the weights."""

    metrics: tuple[str, ...] = ("fid",)
    """Names as `gantrol evaluate --metrics` takes them; on the command line by commas."""
    every_kimg: float = 0.0
    """Thousands of images between two evaluations, each at the next tick, and one at the end; 0: none at all."""
    samples: int = 1000
    """Generated images."""
    features: str = "efficientnet-lite0"
    """Feature network of the metrics that have one."""
    data: str = ""
    """Dataset to compare with; empty: the one that is trained on."""
    max_reals: int | None = None
    """Compare with so many real images, drawn by the seed; null: all of them."""
    seed: int = 0
    """Chooses the generated images: the same ones each time."""
    batch_size: int = 32
    """Images at a time; changes speed and memory only."""
    best: str = ""
    """The number that decides which checkpoint is kept as the best; empty: the first that is measured."""
    best_is: Literal["auto", "lower", "higher"] = "auto"
    """Which of its values are better; auto knows it of every metric of gantrol."""

    def __post_init__(self) -> None:
        if not 0 <= self.every_kimg < math.inf:
            raise ConfigError(f"evaluation.every_kimg={self.every_kimg}: expected a number, 0 or more")
        if not self.metrics:
            raise ConfigError("evaluation.metrics is empty: name one, or turn it off with evaluation.every_kimg=0")
        for name in ("samples", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"evaluation.{name}={getattr(self, name)}: expected 1 or more")
        if self.max_reals is not None and self.max_reals < 2:
            raise ConfigError(f"evaluation.max_reals={self.max_reals}: expected 2 or more, or null")
        if self.seed < 0:
            raise ConfigError(f"evaluation.seed={self.seed}: expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best evaluation so far, as RUN/best.json has it."""

    metric: str
    """Name of the number that decides."""
    value: float
    """Its value."""
    better: Literal["lower", "higher"]
    """Which values are better."""
    n_img: int
    """Images shown until then."""
    kimg: float
    """The same in thousands."""

    def is_beaten_by(self, value: float) -> bool:
        """Whether `value` is strictly better."""
        return value < self.value if self.better == "lower" else value > self.value


def read_best(folder: Path) -> Best | None:
    """What RUN/best.json says; None if there is none, or it cannot be read."""
    try:
        data = json.loads((folder / BEST_NOTE).read_text(encoding="utf-8"))
        return Best(**{name: data[name] for name in ("metric", "value", "better", "n_img", "kimg")})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def better(metric: str) -> Literal["lower", "higher"] | None:
    """Whether lower or higher values of a number of `gantrol.metrics` are better; None if neither is."""
    if metric.rpartition("/")[2] in _NEITHER or "/separability/" in metric:
        return None
    is_higher = metric.rpartition("/")[2] in _HIGHER or metric.startswith("control/ds/")
    return "higher" if is_higher else "lower"


_HIGHER = frozenset(("is", "precision", "recall", "density", "coverage", *TITLES, "correlation", "separability"))
_NEITHER = frozenset(("is_std", "same_in_data", "predictor_mae"))


class EvaluationStopped(Exception):
    """The training was asked to stop during an evaluation, which is done again when it goes on."""


class Evaluator:
    """Evaluates a run on its schedule. All processes of a training have one, and call it alike.

    Args:
        config: of the training, with `evaluation.every_kimg` above 0.
        folder: of the run.
        n_img: where the training begins or goes on; lines of metrics.jsonl beyond are dropped.
        processes: those that share the work.
    """

    def __init__(self, config: TrainConfig, folder: Path, n_img: int, processes: Processes) -> None:
        self._config = config
        self._folder = folder
        self._processes = processes
        self._lines = LineFile(folder / METRICS, n_img) if processes.is_first else None
        self._best = read_best(folder)
        done = [line["n_img"] for line in read_metrics(folder)] if processes.is_first else []
        self._last_n_img = processes.on_first(lambda: max(done, default=0))

    def is_due(self, n_img: int, *, is_tick: bool, is_end: bool) -> bool:
        """Whether to evaluate after `n_img` images: once per interval, at the first tick in it, and at the end."""
        every_img = max(math.ceil(self._config.evaluation.every_kimg * 1000), 1)
        is_new = n_img // every_img > self._last_n_img // every_img
        return (is_tick and is_new) or (is_end and n_img > self._last_n_img)

    def evaluate(self, state: TrainState, checkpoint: Path, is_stopping: Callable[[], bool] = lambda: False) -> str:
        """Evaluates, writes the line, keeps the checkpoint if it is the best; returns what to tell the user.

        Nothing that goes wrong here ends the training: the text says it instead.

        Args:
            state: of the training.
            checkpoint: the file that holds it.
            is_stopping: asked as the evaluation goes on; once it says yes, the evaluation is given up.
        """
        self._last_n_img = state.n_img  # also after a failure: the next try is when the next one is due
        where = f"metrics at {state.n_img / 1000:g} kimg"

        def check(_done: int, _total: int) -> None:
            if is_stopping():
                raise EvaluationStopped

        began = time.perf_counter()
        try:
            entries = evaluate_state(self._config, state, self._processes, check)
            seconds = time.perf_counter() - began
            is_best = self._write(state, checkpoint, entries, seconds)
        except EvaluationStopped:
            return f"{where}: given up, because the training stops; it is done when the run goes on"
        except Exception as error:  # a full disk, a dataset that has gone, no memory: the training is worth more
            reason = " ".join(str(error).split()) or type(error).__name__
            return f"{where}: not measured, the training goes on; {reason}"
        numbers = " · ".join(dict.fromkeys(map(describe_entry, entries.values())))
        return f"{where}: {numbers}{' · the best so far' if is_best else ''} · {seconds:.1f} s"

    def _write(self, state: TrainState, checkpoint: Path, entries: Entries, seconds: float) -> bool:
        """The best checkpoint first, then the line, which says that all is done; whether it is the best so far."""
        if self._lines is None:
            return False
        is_best = self._keep_if_best(state, checkpoint, entries)
        self._lines.append(
            {
                "n_img": state.n_img,
                "kimg": state.n_img / 1000,
                "elapsed_s": round(state.elapsed_s, 3),
                "seconds": round(seconds, 3),
                "metrics": entries,
            }
        )
        return is_best

    def _keep_if_best(self, state: TrainState, checkpoint: Path, entries: Entries) -> bool:
        """Keeps the checkpoint of `state` if its score is the best so far; whether it is."""
        settings = self._config.evaluation
        metric = settings.best or next(iter(entries))
        value = entries[metric]["value"] if metric in entries else None
        if value is None:  # it could not be measured this time
            return False
        best = self._best if self._best is not None and self._best.metric == metric else None
        if best is not None and (self._folder / BEST).exists() and not best.is_beaten_by(value):
            return best.n_img == state.n_img
        direction = better(metric) or "lower" if settings.best_is == "auto" else settings.best_is
        found = Best(metric=metric, value=value, better=direction, n_img=state.n_img, kimg=state.n_img / 1000)
        keep_checkpoint(checkpoint, self._folder / BEST)
        note = {**asdict(found), "entry": entries[metric], "checkpoint": checkpoint.name}
        write_json(self._folder / BEST_NOTE, note, TrainingError)
        self._best = found
        return True


def keep_checkpoint(checkpoint: Path, target: Path) -> None:
    """Makes `target` the same file in one step: a second name of it, or a copy where the disk has no such thing."""
    with atomic_file(target, TrainingError) as temporary:
        try:
            os.link(checkpoint, temporary)
        except OSError:
            temporary.unlink(missing_ok=True)
            shutil.copyfile(checkpoint, temporary)


def describe_entry(entry: dict[str, Any]) -> str:
    """A number in a few words; those of a control report by their whole names."""
    value = entry["value"]
    unit = f" {entry['unit']}" if entry.get("unit") in ("dB", "deg") else ""
    return f"{entry['name']} {'not measured' if value is None else f'{value:.4g}'}{unit}"


def evaluate_state(
    config: TrainConfig,
    state: TrainState,
    processes: Processes | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Entries:
    """The entries of the averaged generator by name, as `evaluate --json` writes them; no random state changes.

    Raises:
        GantrolError: as for `gantrol.metrics.evaluate_entries`.
    """
    request = _request(config)
    model = Model(state.g_ema, training={"data": config.data})
    found = run_evaluation(model, open_reals(config), request, processes=processes, progress=progress)
    return {name: entry.to_dict() for name, entry in found.entries.items()}


def open_reals(config: TrainConfig) -> ImageDataset:
    """The images that the generated ones are compared with."""
    path = config.evaluation.data or config.data
    return ImageDataset(path, use_labels=config.use_labels, skip_bad=config.skip_bad)


def check_evaluation(config: TrainConfig, generator: Any) -> None:
    """Refuses, before the first step, what could never be measured of this generator.

    Raises:
        ConfigError: an unknown metric, or one that is not defined for this generator.
        CheckpointError: the weights of the feature network are missing.
        MissingExtraError: the feature network needs an extra that is not installed.
    """
    settings = config.evaluation
    request = _request(config)
    if request.asks("control"):
        raise ConfigError(
            "evaluation.metrics: control measures a model whose controls are fitted, which comes after the training; "
            "leave it out, and use gantrol evaluate --metrics control then"
        )
    check_defined(Model(generator), request)
    if request.asks(*IN_FEATURES):
        features.load_features(settings.features, "cpu")  # whatever it lacks is said now
    known = [number for name in settings.metrics for number in NUMBERS[name]]
    if settings.best and settings.best not in known:
        raise ConfigError(f"evaluation.best={settings.best}: it is not measured; {nearest(settings.best, known)}")
    if settings.best and settings.best_is == "auto" and better(settings.best) is None:
        raise ConfigError(f"evaluation.best={settings.best}: is lower or higher better? Set evaluation.best_is")


def _request(config: TrainConfig) -> Request:
    settings = config.evaluation
    return Request(
        metrics=settings.metrics,
        samples=settings.samples,
        features=settings.features,
        seed=settings.seed,
        batch_size=settings.batch_size,
        x_flip=config.x_flip,
        max_reals=settings.max_reals,
    )
