"""Scores a model: against a dataset, for what its images do when its input moves, or for what its controls do.

Generated images follow the rules of the field: z ~ N(0, 1), no truncation, labels drawn from the dataset, uint8 by
truncation where a feature network looks at them. The real side is the whole dataset. The same seed gives the same
number, whatever the batch size and the number of processes, up to the rounding of sums.

The equivariance metrics, `sticking`, `ppl` and the Inception score need no dataset. If one is given, the labels of a
conditional model are drawn from it, else every class is as likely as another.

The work is spread over these files:

evaluation_request.py   what may be asked for
image_sources.py        generated and real images, row by row
feature_sets.py         what a feature network makes of them; reference_cache.py keeps that of the real ones
feature_metrics.py      the metrics that are computed from it
model_metrics.py        the metrics that need the model itself
processes.py            several processes share the work
undisturbed.py          and nothing else notices
entry.py                the numbers
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gantrol.control.predictors import PredictorSet
from gantrol.data.dataset import ImageDataset
from gantrol.metrics.control import SECOND
from gantrol.metrics.control_report import ControlReport
from gantrol.metrics.entry import Entry, control_entries
from gantrol.metrics.evaluation_request import IN_FEATURES, METRICS, NUMBERS, Request, check_request
from gantrol.metrics.feature_metrics import feature_entries
from gantrol.metrics.image_sources import open_subject
from gantrol.metrics.model_metrics import PICTURES, SHARED, WHOLE, check_defined
from gantrol.metrics.processes import Processes
from gantrol.metrics.sticking import Progress
from gantrol.metrics.undisturbed import undisturbed
from gantrol.model import Model

__all__ = [
    "METRICS",
    "PICTURES",
    "Entry",
    "Evaluation",
    "Request",
    "check_defined",
    "check_request",
    "control_entries",
    "evaluate",
    "evaluate_entries",
    "open_subject",
    "part_of",
    "run_evaluation",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `run_evaluation` finds."""

    entries: dict[str, Entry]
    """By number, in the order in which the metrics were asked for."""
    control: ControlReport | None = None
    """With `control`, all about each control."""


def evaluate(
    model: Model | ImageDataset | str | Path,
    data: ImageDataset | str | Path | None = None,
    metrics: Sequence[str] = ("fid",),
    *,
    samples: int = 1000,
    features: str = "efficientnet-lite0",
    seed: int = 0,
    batch_size: int = 32,
    x_flip: bool = False,
    max_reals: int | None = None,
    pictures: str | Path | None = None,
    predictors: PredictorSet | str | Path = SECOND,
    device: str = "auto",
    processes: Processes | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Scores a model; see `evaluate_entries`, which says in full what the numbers are.

    Returns:
        One float per metric, under the names that were asked for. Some give several: `is` also `is_std`, `pr`
        `precision` and `recall`, `dc` `density` and `coverage`, `sticking` two, and `control` many, under names like
        `control/age/mae` (NaN for a control that cannot be measured).
    """
    entries = evaluate_entries(
        model,
        data,
        metrics,
        samples=samples,
        features=features,
        seed=seed,
        batch_size=batch_size,
        x_flip=x_flip,
        max_reals=max_reals,
        pictures=pictures,
        predictors=predictors,
        device=device,
        processes=processes,
        progress=progress,
    )
    return {name: entry.value for name, entry in entries.items()}


def evaluate_entries(
    model: Model | ImageDataset | str | Path,
    data: ImageDataset | str | Path | None = None,
    metrics: Sequence[str] = ("fid",),
    *,
    samples: int = 1000,
    features: str = "efficientnet-lite0",
    seed: int = 0,
    batch_size: int = 32,
    x_flip: bool = False,
    max_reals: int | None = None,
    pictures: str | Path | None = None,
    predictors: PredictorSet | str | Path = SECOND,
    device: str = "auto",
    processes: Processes | None = None,
    progress: Progress | None = None,
) -> dict[str, Entry]:
    """Scores a model, with everything that the numbers depend on.

    Global random states, and the generator's mode, are afterwards what they were before: a training may evaluate the
    model it trains, and gets the number that the saved model gets.

    Args:
        model: a `Model`, or MODEL as `gantrol.load` takes it; or a dataset, whose images stand for generated ones:
            `samples` of them at random, or all if it has no more. Only the metrics in features are defined for that.
        data: the real images; by default the dataset that the model was trained on, if it is still there. Only
            distances to real images need it; `control` takes spreads from it, and labels if it has any, where it is
            given.
        metrics: names out of `METRICS`.
        samples: generated images (of `ppl`: pairs); most numbers of few samples are biased, so compare equal numbers
            only.
        features: the feature network, a name or the path of one's own: see `gantrol.metrics.features`.
        seed: chooses the generated images, and how they are moved.
        batch_size: images at a time.
        x_flip: include the real images flipped left-right.
        max_reals: take so many real images, chosen by the seed, before any flipping; None: all.
        pictures: folder in which `sticking` writes its two pictures, `PICTURES`; made if absent.
        predictors: a second set for `control`, which had no part in making the model: a folder, a bundled name, or the
            modules.
        device: where a model that is given by name, or a dataset, is evaluated: as for `gantrol.load`.
        processes: those that share the work, all of which call this; the results are the same in each of them.
        progress: called with (done, total) images; several kinds of metrics count the same samples once each.

    Returns:
        An entry for each number, in the order asked for, under the names that `evaluate` lists.

    Raises:
        ConfigError: an unknown metric or feature network, too few images, images of another size than the model's,
            labels that do not fit it, or a metric that is not defined for it.
        DataError: a dataset cannot be read, or a picture cannot be written.
        CheckpointError: the model cannot be read.
        MissingExtraError: the extra `metrics` is not installed.
    """
    request = Request(
        metrics=tuple(metrics),
        samples=samples,
        features=features,
        seed=seed,
        batch_size=batch_size,
        x_flip=x_flip,
        max_reals=max_reals,
        pictures=pictures,
        predictors=predictors,
    )
    subject = open_subject(model, device)
    return run_evaluation(subject, data, request, device=device, processes=processes, progress=progress).entries


def run_evaluation(
    subject: Model | ImageDataset,
    data: ImageDataset | str | Path | None,
    request: Request,
    *,
    device: str = "auto",
    processes: Processes | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """What `evaluate_entries` does, with all there is to tell about controls."""
    processes = processes or Processes()
    model = subject if isinstance(subject, Model) else None
    check_defined(subject, request)
    is_model = model is not None
    in_features = request.asks(*IN_FEATURES)
    shared = [measure for kind, measure in SHARED.items() if is_model and request.asks(*kind)]
    whole = [measure for kind, measure in WHOLE.items() if is_model and request.asks(*kind)]
    count = in_features + len(shared) + len(whole)
    reports = iter([part_of(progress, index, count, request.samples) for index in range(count)])
    numbers: dict[str, Entry] = {}
    control: ControlReport | None = None
    with undisturbed(model):
        if in_features:
            numbers |= feature_entries(
                subject, data, request, device=device, processes=processes, progress=next(reports)
            )
        if model is not None:
            for measure in shared:
                numbers |= measure(model, data, request, processes, next(reports))
            for entries, report in processes.deal([partial(one, model, data, request, next(reports)) for one in whole]):
                numbers |= entries
                control = control or report
    names = {name: NUMBERS[name] for name in request.metrics}
    if "control" in names:
        names["control"] = tuple(name for name in numbers if name.startswith("control/"))
    return Evaluation(entries={name: numbers[name] for part in names.values() for name in part}, control=control)


def part_of(progress: Progress | None, index: int, count: int, worth: int) -> Progress | None:
    """What the index-th of `count` pieces of work reports to; each counts for `worth`, unless it is alone."""
    if progress is None or count == 1:
        return progress
    return lambda done, total: progress(worth * index + worth * done // max(total, 1), worth * count)
