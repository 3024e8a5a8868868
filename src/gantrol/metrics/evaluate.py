"""Scores a model against a dataset.

Generated images follow the rules of the field: z ~ N(0, 1), no truncation, labels drawn from the dataset, uint8 by
truncation. The real side is the whole dataset. The same seed gives the same number, whatever the batch size, up to
the rounding of sums.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantrol import sample
from gantrol.data.dataset import ImageDataset
from gantrol.errors import ConfigError, nearest
from gantrol.metrics.features import FeatureNetwork, check_features, load_features
from gantrol.metrics.frechet import FrechetDistance
from gantrol.metrics.reference_cache import dataset_digest, keep_statistics, load_statistics
from gantrol.model import Model, load
from gantrol.pictures import to_uint8

Progress = Callable[[int, int], None]

METRICS = ("fd", "fid")
"""Names that `evaluate` knows. Both mean the Fréchet distance in the chosen features: "fid" is what users ask for, but
the number is named after its features and is no FID unless those are the Inception network's."""


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
    reals: int
    """Real images, flipped copies included."""
    features: str
    """The feature network."""
    resampling: str
    """How images were resized for it."""
    x_flip: bool
    """Whether the real side includes each image flipped."""
    seed: int
    """Of the generated images."""


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
    progress: Progress | None = None,
) -> dict[str, float]:
    """Scores a model; see `evaluate_entries`, which says in full what the numbers are.

    Returns:
        One float per metric, under the names that were asked for.
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
    progress: Progress | None = None,
) -> dict[str, Entry]:
    """Scores a model against a dataset, with everything that the numbers depend on.

    Args:
        model: a `Model`, or MODEL as `gantrol.load` takes it.
        data: the real images; by default the dataset that the model was trained on, if it is still there.
        metrics: names out of `METRICS`.
        samples: generated images; a Fréchet distance of few samples is too high, so compare equal numbers only.
        features: the feature network, "efficientnet-lite0".
        seed: chooses the generated images.
        batch_size: images at a time.
        x_flip: include the real images flipped left-right.
        progress: called with (done, total) images.

    Raises:
        ConfigError: an unknown metric or feature network, too few samples, or labels that do not fit the model.
        DataError: the dataset cannot be read.
        MissingExtraError: the extra `metrics` is not installed.
    """
    check_request(metrics, features, samples, batch_size)
    model = model if isinstance(model, Model) else load(model)
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
    report = _Counter(progress, total)
    if kept is None:
        _add_reals(distance, network, dataset, model.device, batch_size, x_flip, report)
        keep_statistics(key, distance.real_statistics())
    else:
        distance.set_real_statistics(kept)
    for images in generated(model, samples, seed, batch_size, dataset if is_conditional else None):
        distance.update(network(images), real=False)
        report.add(len(images))

    entry = Entry(
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
    return dict.fromkeys(metrics, entry)


def check_request(metrics: Sequence[str], features: str, samples: int, batch_size: int) -> None:
    """Raises `ConfigError` for an unknown metric or feature network, or for impossible numbers."""
    for name in metrics:
        if name not in METRICS:
            raise ConfigError(f"unknown metric {name!r}; {nearest(name, METRICS)}")
    if not metrics:
        raise ConfigError(f"no metric was asked for; {nearest('', METRICS)}")
    check_features(features)
    if samples < 2 or batch_size < 1:
        raise ConfigError(f"samples={samples}, batch_size={batch_size}: expected at least 2 samples and a batch of 1")


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
    report: _Counter,
) -> None:
    for start in range(0, len(dataset), batch_size):
        rows = range(start, min(start + batch_size, len(dataset)))
        images = torch.stack([torch.from_numpy(dataset.pixels(index)) for index in rows]).to(device)
        distance.update(network(images), real=True)
        if x_flip:
            distance.update(network(images.flip(3)), real=True)
        report.add(len(images))


class _Counter:
    """Counts up to `total` and passes it on."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def add(self, count: int) -> None:
        self.done += count
        if self.progress is not None:
            self.progress(self.done, self.total)
