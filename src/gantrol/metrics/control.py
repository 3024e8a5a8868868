"""Whether a model does what its controls say: how precisely, and at whose expense.

Values are requested, images made, and a second set of predictors, one that had no part in making the model, reads back
what came out. Nothing is corrected for the predictors' own errors; with a labelled dataset these are measured as well
(`predictor_mae`) and stand beside.

- *Error* and *correlation* of asked and read values, at random values of a new identity each.
- *Curves*: mean and standard deviation of the reading at each value of a sweep, over the same identities.
- *Leakage*: how far every other attribute moves meanwhile: the mean absolute difference of its readings at two values
  of the sweep, in standard deviations of that attribute over the dataset (or over uncontrolled samples). Of attributes
  that have only distances, like the identity: the mean distance, relative to that of different uncontrolled samples.
- *Separability* of latent groups and the *disentanglement score*: see `gantrol.metrics.separability`.

How a model is controlled makes no difference: linear directions, look-ups and latent groups are measured alike.

I identities of a sweep · G values of a sweep · K numbers of a value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantrol.control.predictors import PredictorSet
from gantrol.control.predictors.errors_table import errors_from_dict
from gantrol.control.predictors.folder import load_predictors, read_manifest
from gantrol.controls import Control
from gantrol.data.dataset import ImageDataset
from gantrol.errors import ConfigError, nearest
from gantrol.metrics.control_observer import Observer, Seen, labelled_values, same_in_dataset
from gantrol.metrics.control_report import ControlReport, ControlScore, Curve, OwnError
from gantrol.metrics.control_requests import Requests, Sweep, correlation
from gantrol.metrics.separability import (
    SET_SIZE,
    disentanglement,
    readable_factors,
    separability,
)
from gantrol.metrics.sticking import Counter, Progress
from gantrol.model import Model

SECOND = "portraits-second"
"""The bundled second set of predictors."""
SWEEP_POINTS = 9
"""G."""
MAX_PAIRS = 1000
"""Pairs for the separability, as in the paper."""
MAX_REALS = 5000
"""Images of the dataset that are looked at."""
_STILL = 1e-6  # a spread below this is none


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """All images that will be made, known before the first one is."""

    samples: int
    requests: Mapping[str, Requests]
    sweeps: Sequence[Sweep]
    groups: Mapping[str, slice]
    varied: Sequence[str]
    reals: Sequence[int]

    @property
    def identities(self) -> int:
        return max(2, self.samples // 10)

    @property
    def pairs(self) -> int:
        return max(2, min(MAX_PAIRS, self.samples // 2))

    @property
    def set_images(self) -> int:
        return SET_SIZE * max(2, self.samples // SET_SIZE)

    @property
    def total(self) -> int:
        controlled = self.samples * (1 + len(self.requests)) + self.identities * SWEEP_POINTS * len(self.sweeps)
        grouped = 2 * self.pairs * len(self.groups) + self.set_images * len(self.varied)
        return controlled + grouped + len(self.reals)


def measure_control(
    model: Model,
    predictors: PredictorSet | str | Path = SECOND,
    *,
    data: ImageDataset | str | Path | None = None,
    samples: int = 1000,
    seed: int = 0,
    batch_size: int = 32,
    requests: Mapping[str, Control] | None = None,
    progress: Progress | None = None,
) -> ControlReport:
    """Measures all controls of a model that take values.

    Args:
        model: with controls.
        predictors: the second set: a folder, a bundled name, or the modules.
        data: real images: for the spread of each attribute, and, where they are labelled, for the predictors' own error
            and for the colours that are asked for. Without it, uncontrolled samples take their place.
        samples: random requests of each control; sweeps are made for a tenth as many identities.
        seed: chooses identities and requests.
        batch_size: images at a time.
        requests: which controls to measure over which ranges, to compare models whose own ranges differ; None: all of
            the model's own.
        progress: called with (done, total) images.

    Returns:
        The numbers; controls that could not be measured are named with the reason.

    Raises:
        ConfigError: the model has no controls, one in `requests` is not among them, or there are too few samples.
        DataError: the dataset cannot be read.
        CheckpointError: the predictors cannot be loaded.
    """
    if not model.controls:
        raise ConfigError(
            "this model has no controls to measure: `gantrol control directions` or `gantrol control fit` adds them"
        )
    check_samples_of_control(samples)
    known = {name: control for name, control in model.controls.items() if not control.part_of}
    wanted = known if requests is None else requests
    for name in wanted:
        if name not in known:
            raise ConfigError(f"control {name!r}: this model does not have it; {nearest(name, known)}")
    readers = predictors if isinstance(predictors, PredictorSet) else load_predictors(predictors)
    dataset = ImageDataset(data) if isinstance(data, str | Path) else data
    plan, refused = _plan(model, readers, wanted, dataset, samples, seed)
    observer = Observer(model, readers, batch_size=batch_size, seed=seed, counter=Counter(progress, plan.total))

    free = observer.see(observer.latents(samples), c=observer.classes(samples))
    real = None if dataset is None else observer.see_dataset(dataset, plan.reals)
    scale = _Scale(observer, free, free if real is None else real)
    truth = {} if dataset is None else _truth(dataset, plan.reals, observer)
    if real is not None and truth:
        errors, where = _predictor_errors(plan.requests, real, truth), "the labelled dataset"
    else:
        errors, where = _known_errors(predictors), "the images that were held out when it was trained"

    scores = {}
    for name, request in plan.requests.items():
        examples = request.pick(truth.get(name, scale.reference.readings[name]))
        scores[name] = _score(observer, request, plan, seed, examples[examples.isfinite().all(dim=1)], scale)
    groups = {name: separability(observer, name, place, plan.pairs) for name, place in plan.groups.items()}
    return ControlReport(
        scores=scores,
        not_measured=refused,
        predictor_errors=errors,
        truth=where,
        same_in_data=_same_in_data(observer, dataset, plan.reals, real),
        separability=groups,
        disentanglement=_disentanglement(observer, plan, scale.reference, seed),
        spread={name: tuple(value.tolist()) for name, value in scale.spread.items()},
        units={name: attribute.unit for name, attribute in observer.attributes.items()},
        samples=samples,
        identities=plan.identities,
        reals=None if dataset is None else len(plan.reals),
        predictors=str(predictors) if isinstance(predictors, str | Path) else "given as modules",
        seed=seed,
    )


def check_samples_of_control(samples: int) -> None:
    """Raises `ConfigError` if there are too few samples for two sets of the disentanglement score."""
    if samples < 2 * SET_SIZE:
        raise ConfigError(f"samples={samples}: the metric control needs {2 * SET_SIZE} or more")


def _plan(
    model: Model,
    readers: PredictorSet,
    wanted: Mapping[str, Control],
    dataset: ImageDataset | None,
    samples: int,
    seed: int,
) -> tuple[_Plan, dict[str, str]]:
    """What will be measured, and why the rest will not."""
    attributes = readers.attributes
    requests: dict[str, Requests] = {}
    refused: dict[str, str] = {}
    for name, control in wanted.items():
        if control.kind == "seed":
            refused[name] = "it takes a seed, not a value; see how far it moves when others are swept"
        elif name not in attributes:
            refused[name] = "the second predictors do not read it"
        elif not attributes[name].components:
            refused[name] = "the second predictors have distances for it, but no readings"
        else:
            try:
                requests[name] = Requests.of(name, control, attributes[name])
            except ConfigError as error:
                refused[name] = str(error)
    slices = getattr(model.generator.mapping, "slices", {})
    groups = {name: place for name, place in slices.items() if name in attributes}
    refused |= {
        name: "a latent group that the second predictors do not read"
        for name in slices
        if name not in attributes and name not in refused and name != "other"
    }
    varied = [
        factor
        for factor, parts in readable_factors(list(attributes)).items()
        if all(part in groups for part in parts) or all(part in requests for part in parts)
    ]
    reals: list[int] = []
    if dataset is not None:
        order = np.random.default_rng(seed).permutation(len(dataset))[:MAX_REALS]
        reals = sorted(int(row) for row in order)
    sweeps = [sweep for request in requests.values() for sweep in request.sweeps(SWEEP_POINTS)]
    plan = _Plan(samples=samples, requests=requests, sweeps=sweeps, groups=groups, varied=varied, reals=reals)
    return plan, refused


class _Scale:
    """What counts as one unit of movement, for each attribute."""

    def __init__(self, observer: Observer, free: Seen, reference: Seen) -> None:
        self.reference = reference
        self.spread = {name: reading.std(dim=0) for name, reading in reference.readings.items()}
        """Standard deviation [K] of readings."""
        self.between = {
            name: float(observer.distance(name, feature, feature.roll(1, 0)).mean())
            for name, feature in free.features.items()
            if name not in free.readings
        }
        """Mean distance of different samples, for embeddings."""


def _score(
    observer: Observer, request: Requests, plan: _Plan, seed: int, examples: Tensor, scale: _Scale
) -> ControlScore:
    """Everything about one control."""
    name, count = request.name, plan.samples
    values, asked = request.draw(count, seed, examples)
    seen = observer.see(observer.latents(count), {name: values}, observer.classes(count))
    read = request.pick(seen.readings[name])
    off = request.difference(read, values)
    parts = range(len(request.components))
    curves: list[Curve] = []
    moves: dict[str, dict[str, float]] = {}
    for sweep in plan.sweeps:
        if sweep.control == name:
            seen = _see_sweep(observer, sweep, plan.identities)
            curves += _curves(request, sweep, seen)
            moves[sweep.title] = _movements(observer, seen, plan.identities, scale)
    return ControlScore(
        name=name,
        unit=request.control.unit,
        low=tuple(request.low.tolist()),
        high=tuple(request.high.tolist()),
        components=request.components,
        mae=request.error(read, values, asked),
        component_mae=tuple(float(off[asked[:, k], k].abs().mean()) for k in parts),
        component_bias=tuple(float(off[asked[:, k], k].mean()) for k in parts),
        component_correlation=tuple(correlation(values[:, k], read[:, k]) for k in parts),
        curves=tuple(curves),
        moves=moves,
        requests=count,
    )


def _see_sweep(observer: Observer, sweep: Sweep, identities: int) -> Seen:
    """The images of a sweep, identity by identity: I·G of them."""
    points = len(sweep.values)
    z = observer.latents(identities).repeat_interleave(points, dim=0)
    classes = observer.classes(identities)
    classes = None if classes is None else classes.repeat_interleave(points, dim=0)
    return observer.see(z, {sweep.control: sweep.values.repeat(identities, 1)}, classes)


def _curves(request: Requests, sweep: Sweep, seen: Seen) -> list[Curve]:
    """The identity lines of the components that move."""
    points = len(sweep.values)
    read = request.pick(seen.readings[sweep.control]).view(-1, points, len(request.components))  # [I, G, K]
    off = request.difference(read, sweep.values)
    return [
        Curve(
            component=request.components[k],
            sweep=sweep.title,
            asked=tuple(sweep.values[:, k].tolist()),
            mean=tuple(read[:, :, k].mean(dim=0).tolist()),
            std=tuple(read[:, :, k].std(dim=0).tolist()),
            mae=tuple(off[:, :, k].abs().mean(dim=0).tolist()),
        )
        for k in sweep.moving
    ]


def _movements(observer: Observer, seen: Seen, identities: int, scale: _Scale) -> dict[str, float]:
    """How far each attribute moves between two values of a sweep, the same identity at both; in units of `scale`."""
    points = len(seen) // identities
    low, high = torch.tril_indices(points, points, -1)
    moves: dict[str, float] = {}
    for name, reading in seen.readings.items():
        table = reading.view(identities, points, -1)  # [I, G, K]
        change = (table[:, low] - table[:, high]).abs().mean(dim=(0, 1))  # [K]
        varies = scale.spread[name] > _STILL
        moves[name] = float((change / scale.spread[name])[varies].mean()) if varies.any() else float("nan")
    for name, between in scale.between.items():
        features = seen.features[name].unflatten(0, (identities, points))  # [I, G, …]
        along = observer.distance(name, features[:, low].flatten(0, 1), features[:, high].flatten(0, 1))
        moves[name] = float(along.mean()) / between if between > _STILL else float("nan")
    return moves


def _truth(dataset: ImageDataset, rows: Sequence[int], observer: Observer) -> dict[str, Tensor]:
    """The labels [N, K] of a dataset, for each attribute that has any."""
    found = {}
    for name, attribute in observer.attributes.items():
        if attribute.components:
            labels = labelled_values(dataset, rows, name, attribute)
            if labels is not None:
                found[name] = labels
    return found


def _predictor_errors(requests: Mapping[str, Requests], real: Seen, truth: Mapping[str, Tensor]) -> dict[str, OwnError]:
    """Mean absolute error of the predictors themselves on labelled images: of each value and of its components."""
    errors = {}
    for name, request in requests.items():
        if name in truth:
            known = truth[name].isfinite().all(dim=1)
            read, label = (request.pick(table[name][known]) for table in (real.readings, truth))
            everything = torch.ones(label.shape, dtype=torch.bool)
            errors[name] = OwnError(request.error(read, label, everything), len(label))
            each = request.difference(read, label).abs().mean(dim=0)
            for component, value in zip(request.components, each.tolist(), strict=True):
                if len(request.components) > 1:
                    errors[f"{name}.{component}"] = OwnError(value, len(label))
    return errors


def _known_errors(predictors: PredictorSet | str | Path) -> dict[str, OwnError]:
    """The errors that a folder of predictors tells of itself, if it does."""
    if isinstance(predictors, PredictorSet):
        return {}
    rows = errors_from_dict(read_manifest(predictors).get("about", {}).get("errors", []))
    return {row.attribute: OwnError(row.error, row.images) for row in rows}


def _same_in_data(
    observer: Observer, dataset: ImageDataset | None, rows: Sequence[int], real: Seen | None
) -> dict[str, float]:
    """For each embedding that the dataset labels, how far apart images of one label are."""
    if dataset is None or real is None:
        return {}
    names = [name for name, attribute in observer.attributes.items() if not attribute.components]
    found = {name: same_in_dataset(observer, dataset, rows, real, name) for name in names}
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _disentanglement(observer: Observer, plan: _Plan, everything: Seen, seed: int) -> dict[str, float]:
    """The score of each factor that can be varied alone: by its latent groups, or else by its controls."""
    factors = readable_factors(list(observer.attributes))
    varied: dict[str, Any] = {}
    for factor in plan.varied:
        drawn = observer.latents(plan.set_images)
        z = drawn[::SET_SIZE].repeat_interleave(SET_SIZE, dim=0)
        classes = observer.classes(plan.set_images)
        classes = None if classes is None else classes[::SET_SIZE].repeat_interleave(SET_SIZE, dim=0)
        values = None
        if all(part in plan.groups for part in factors[factor]):
            for part in factors[factor]:
                z[:, plan.groups[part]] = drawn[:, plan.groups[part]]
        else:
            values = {part: plan.requests[part].draw(len(z), seed + 1)[0] for part in factors[factor]}
        varied[factor] = observer.see(z, values, classes)
    return disentanglement(varied, everything, factors) if len(factors) > 1 else {}
