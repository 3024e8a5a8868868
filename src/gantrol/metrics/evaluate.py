"""Scores a model: against a dataset, for what its images do when its input moves, or for what its controls do.

Generated images follow the rules of the field: z ~ N(0, 1), no truncation, labels drawn from the dataset, uint8 by
truncation where a feature network looks at them. The real side is the whole dataset. The same seed gives the same
number, whatever the batch size, up to the rounding of sums.

The equivariance metrics and `sticking` need no dataset. If one is given, the labels of a conditional model are drawn
from it, else every class is as likely as another.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantrol import sample
from gantrol.control.predictors import PredictorSet
from gantrol.data.dataset import ImageDataset
from gantrol.errors import ConfigError, nearest
from gantrol.metrics.control import SECOND, check_samples_of_control, measure_control
from gantrol.metrics.control_report import ControlReport
from gantrol.metrics.equivariance import TITLES, check_movable, equivariance
from gantrol.metrics.features import FeatureNetwork, check_features, load_features
from gantrol.metrics.frechet import FrechetDistance
from gantrol.metrics.reference_cache import dataset_digest, keep_statistics, load_statistics
from gantrol.metrics.sticking import Counter, Progress, check_samples, sticking, sticking_pictures
from gantrol.model import Model, load
from gantrol.pictures import enlarge, enlargement_factor, save_image, to_pil, to_uint8

FRECHET = ("fd", "fid")
"""Both mean the Fréchet distance in the chosen features: "fid" is what users ask for, but the number is named after its
features and is no FID unless those are the Inception network's."""
METRICS = (*FRECHET, *TITLES, "sticking", "control")
"""Names that `evaluate` knows."""
STICKING_NAMES = ("sticking_average", "sticking_strip")
"""The two numbers of `sticking`."""
PICTURES = ("sticking_average.png", "sticking_strip.png")
"""What `sticking` draws where it is asked to."""
_PICTURE_PX = 256  # pictures are enlarged to about this


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One number with all that is needed to compare it to another one."""

    value: float
    """The number."""
    unit: str
    """What it is measured in."""
    name: str
    """What it is, for people: a distance is named after its features."""
    samples: int
    """Generated images."""
    seed: int
    """Of the generated images."""
    reals: int | None = None
    """Real images, flipped copies included; None where a number does not depend on any. The same holds below."""
    features: str | None = None
    """The feature network."""
    resampling: str | None = None
    """How images were resized for it."""
    x_flip: bool | None = None
    """Whether the real side includes each image flipped."""
    angle_rad: float | None = None
    """Size of a neighbourhood of `sticking`."""
    predictors: str | None = None
    """The second set of predictors, which reads what `control` asked for."""
    note: str | None = None
    """Why a number could not be measured; its value is NaN then."""

    def to_dict(self) -> dict[str, Any]:
        """The fields that mean something here, by name; a value that could not be measured is None."""
        fields = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return fields if math.isfinite(self.value) else fields | {"value": None}


def evaluate(
    model: Model | str | Path,
    data: ImageDataset | str | Path | None = None,
    metrics: Sequence[str] = ("fid",),
    *,
    samples: int = 1000,
    features: str = "efficientnet-lite0",
    seed: int = 0,
    batch_size: int = 32,
    x_flip: bool = False,
    pictures: str | Path | None = None,
    predictors: PredictorSet | str | Path = SECOND,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Scores a model; see `evaluate_entries`, which says in full what the numbers are.

    Returns:
        One float per metric, under the names that were asked for; `sticking` gives two, and `control` many, under names
        like `control/age/mae` (NaN for a control that cannot be measured).
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
        pictures=pictures,
        predictors=predictors,
        progress=progress,
    )
    return {name: entry.value for name, entry in entries.items()}


def evaluate_entries(
    model: Model | str | Path,
    data: ImageDataset | str | Path | None = None,
    metrics: Sequence[str] = ("fid",),
    *,
    samples: int = 1000,
    features: str = "efficientnet-lite0",
    seed: int = 0,
    batch_size: int = 32,
    x_flip: bool = False,
    pictures: str | Path | None = None,
    predictors: PredictorSet | str | Path = SECOND,
    progress: Progress | None = None,
) -> dict[str, Entry]:
    """Scores a model, with everything that the numbers depend on.

    Args:
        model: a `Model`, or MODEL as `gantrol.load` takes it.
        data: the real images; by default the dataset that the model was trained on, if it is still there. Only the
            Fréchet distances need it; `control` takes spreads from it, and labels if it has any, where it is given.
        metrics: names out of `METRICS`.
        samples: generated images; a Fréchet distance of few samples is too high, so compare equal numbers only.
        features: the feature network, "efficientnet-lite0".
        seed: chooses the generated images, and how they are moved.
        batch_size: images at a time.
        x_flip: include the real images flipped left-right.
        pictures: folder in which `sticking` writes its two pictures, `PICTURES`; made if absent.
        predictors: a second set for `control`, which had no part in making the model: a folder, a bundled name, or the
            modules.
        progress: called with (done, total) images; several kinds of metrics count the same samples once each.

    Returns:
        An entry for each metric, in the order asked for; `sticking` gives `sticking_average` and `sticking_strip`, and
        `control` those of `control_entries`.

    Raises:
        ConfigError: an unknown metric or feature network, too few samples, labels that do not fit the model, or a
            metric that is not defined for it.
        DataError: the dataset cannot be read, or a picture cannot be written.
        MissingExtraError: the extra `metrics` is not installed.
    """
    check_request(metrics, features, samples, batch_size, pictures)
    model = model if isinstance(model, Model) else load(model)
    motions = [name for name in metrics if name in TITLES]
    if motions:
        check_movable(model.generator, motions)

    kinds = [kind for kind in (FRECHET, tuple(TITLES), ("sticking",), ("control",)) if set(kind) & set(metrics)]
    labels = _labels(model, data, samples, seed) if {*TITLES, "sticking"} & set(metrics) else None
    found: dict[str, Entry] = {}
    for index, kind in enumerate(kinds):
        report = _part_of(progress, index, len(kinds), samples)
        if kind == FRECHET:
            entry = _frechet(model, data, samples, features, seed, batch_size, x_flip, report)
            found |= dict.fromkeys(FRECHET, entry)
        elif kind == ("control",):
            options: dict[str, Any] = {"samples": samples, "seed": seed, "batch_size": batch_size}
            found |= control_entries(measure_control(model, predictors, data=data, **options, progress=report))
        elif kind == ("sticking",):
            found |= _sticking(model, samples, seed, labels, batch_size, pictures, report)
        else:
            values = equivariance(
                model.generator,
                motions,
                samples=samples,
                seed=seed,
                c=labels,
                batch_size=batch_size,
                progress=report,
            )
            for name, value in values.items():
                found[name] = Entry(value=value, unit="dB", name=TITLES[name], samples=samples, seed=seed)
    several = {"sticking": STICKING_NAMES, "control": tuple(name for name in found if name.startswith("control/"))}
    names = [part for name in metrics for part in several.get(name, (name,))]
    return {name: found[name] for name in names}


def _part_of(progress: Progress | None, index: int, count: int, samples: int) -> Progress | None:
    """What the index-th of `count` kinds of metrics reports to; each is worth `samples` images, unless it is alone."""
    if progress is None or count == 1:
        return progress
    return lambda done, total: progress(samples * index + samples * done // max(total, 1), samples * count)


def _frechet(
    model: Model,
    data: ImageDataset | str | Path | None,
    samples: int,
    features: str,
    seed: int,
    batch_size: int,
    x_flip: bool,
    progress: Progress | None,
) -> Entry:
    """The Fréchet distance between generated and real images."""
    is_conditional = model.generator.c_dim > 0
    dataset = _open(data, model, use_labels=is_conditional)
    network = load_features(features, model.device)
    distance = FrechetDistance(network.num_features)

    reals = len(dataset) * (1 + x_flip)
    key = {
        "statistics": 1,
        "dataset": dataset_digest(dataset),
        "features": network.version,
        "x_flip": x_flip,
    }
    kept = load_statistics(key)
    total = samples + (0 if kept else len(dataset))
    report = Counter(progress, total)
    if kept is None:
        _add_reals(distance, network, dataset, model.device, batch_size, x_flip, report)
        keep_statistics(key, distance.real_statistics())
    else:
        distance.set_real_statistics(kept)
    for images in generated(model, samples, seed, batch_size, dataset if is_conditional else None):
        distance.update(network(images), real=False)
        report.add(len(images))

    return Entry(
        value=distance.compute(),
        unit="squared feature units",
        name=f"FD-{network.title}",
        samples=samples,
        reals=reals,
        features=features,
        resampling=network.resampling,
        x_flip=x_flip,
        seed=seed,
    )


def _sticking(
    model: Model,
    samples: int,
    seed: int,
    labels: Tensor | None,
    batch_size: int,
    pictures: str | Path | None,
    progress: Progress | None,
) -> dict[str, Entry]:
    """The two numbers of `sticking`, and its pictures if they are wanted."""
    options: dict[str, Any] = {"seed": seed, "c": labels, "batch_size": batch_size, "dtype": model.dtype}
    found = sticking(model.generator, samples=samples, **options, progress=progress)
    if pictures is not None:
        for name, pixels in zip(PICTURES, sticking_pictures(model.generator, found.angle, **options), strict=True):
            factor = enlargement_factor(pixels.shape[:2], _PICTURE_PX)
            save_image(Path(pictures) / name, enlarge(to_pil(pixels), factor))
    return {
        name: Entry(
            value=value, unit="share", name=name.replace("_", " "), samples=samples, seed=seed, angle_rad=found.angle
        )
        for name, value in zip(STICKING_NAMES, (found.average, found.strip), strict=True)
    }


def control_entries(report: ControlReport) -> dict[str, Entry]:
    """The numbers of a control report as entries, for example `control/age/mae` and `control/age/leakage/yaw`."""
    return {
        name: Entry(**number._asdict(), seed=report.seed, predictors=report.predictors)
        for name, number in report.numbers().items()
    }


def check_request(
    metrics: Sequence[str], features: str, samples: int, batch_size: int, pictures: str | Path | None = None
) -> None:
    """Raises `ConfigError` for an unknown metric or feature network, impossible numbers, or pictures of nothing."""
    for name in metrics:
        if name not in METRICS:
            raise ConfigError(f"unknown metric {name!r}; {nearest(name, METRICS)}")
    if not metrics:
        raise ConfigError(f"no metric was asked for; {nearest('', METRICS)}")
    check_features(features)
    if samples < 2 or batch_size < 1:
        raise ConfigError(f"samples={samples}, batch_size={batch_size}: expected at least 2 samples and a batch of 1")
    if "control" in metrics:
        check_samples_of_control(samples)
    if "sticking" in metrics:
        check_samples(samples)
    elif pictures is not None:
        raise ConfigError(f"pictures={pictures}: only the metric sticking draws any; add it to the metrics")


def generated(model: Model, samples: int, seed: int, batch_size: int, labels: ImageDataset | None) -> Any:
    """The images to judge, uint8 [n, C, H, W] batch by batch: no truncation, labels drawn from the dataset.

    Raises:
        ConfigError: the labels of the dataset do not fit the model.
    """
    image_seeds, label_seed = np.random.SeedSequence(seed).spawn(2)
    seeds = [int(value) for value in image_seeds.generate_state(samples)]
    c = None if labels is None else _drawn_labels(model, labels, samples, label_seed)
    batches = sample.image_batches(
        model.generator, seeds, c=c, noise_mode="random", batch_size=batch_size, dtype=model.dtype
    )
    return map(to_uint8, batches)


def _labels(model: Model, data: ImageDataset | str | Path | None, samples: int, seed: int) -> Tensor | None:
    """Labels [samples, c_dim] for metrics that need no dataset; None for an unconditional model."""
    c_dim = model.generator.c_dim
    if c_dim == 0:
        return None
    label_seed = np.random.SeedSequence(seed).spawn(2)[1]
    if data is not None:
        return _drawn_labels(model, _open(data, model, use_labels=True), samples, label_seed)
    classes = np.random.default_rng(label_seed).integers(c_dim, size=samples)
    return torch.nn.functional.one_hot(torch.from_numpy(classes), c_dim).to(torch.float32)


def _drawn_labels(model: Model, dataset: ImageDataset, samples: int, seed: np.random.SeedSequence) -> Tensor:
    c_dim = model.generator.c_dim
    if dataset.label_dim != c_dim:
        raise ConfigError(f"the labels of {dataset.path} have length {dataset.label_dim}, the model takes {c_dim}")
    indices = np.random.default_rng(seed).integers(len(dataset), size=samples)
    return torch.from_numpy(np.stack([dataset.label(int(index)) for index in indices]))


def _open(data: ImageDataset | str | Path | None, model: Model, *, use_labels: bool) -> ImageDataset:
    if isinstance(data, ImageDataset):
        return data
    if data is None:
        known = model.training.get("data")
        if not isinstance(known, str) or not known or not Path(known).exists():
            raise ConfigError("this model does not come with its training images: give a dataset (--data F.zip)")
        data = known
    return ImageDataset(data, use_labels=use_labels)


def _add_reals(
    distance: FrechetDistance,
    network: FeatureNetwork,
    dataset: ImageDataset,
    device: torch.device,
    batch_size: int,
    x_flip: bool,
    report: Counter,
) -> None:
    for start in range(0, len(dataset), batch_size):
        rows = range(start, min(start + batch_size, len(dataset)))
        images = torch.stack([torch.from_numpy(dataset.pixels(index)) for index in rows]).to(device)
        distance.update(network(images), real=True)
        if x_flip:
            distance.update(network(images.flip(3)), real=True)
        report.add(len(images))
