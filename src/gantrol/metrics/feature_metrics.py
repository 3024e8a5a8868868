"""The metrics that compare images through a feature network: FID, KID, Inception score, precision and recall, density
and coverage. All that are asked for share one look at each image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gantrol.data.dataset import ImageDataset
from gantrol.device import choose_device
from gantrol.errors import ConfigError
from gantrol.metrics.entry import Entry
from gantrol.metrics.evaluation_request import FRECHET, INCEPTION_SPLITS, NEIGHBOURS, WITH_REALS, Request
from gantrol.metrics.feature_sets import MAX_KEPT, FeatureSet, Known, Needs, observe_all
from gantrol.metrics.features import FeatureNetwork, load_features
from gantrol.metrics.frechet import frechet_distance
from gantrol.metrics.image_sources import (
    GeneratedImages,
    ImageSource,
    StoredImages,
    draw_labels,
    open_reals,
    random_rows,
)
from gantrol.metrics.inception_score import inception_score
from gantrol.metrics.kernel_distance import kernel_distance
from gantrol.metrics.neighbours import density_coverage, precision_recall
from gantrol.metrics.processes import Processes
from gantrol.metrics.sticking import Counter, Progress
from gantrol.model import Model

MAX_NEIGHBOURS = 200_000
"""Real images among which neighbours are looked for, at random, as in the official tools."""


def feature_entries(
    subject: Model | ImageDataset,
    data: ImageDataset | str | Path | None,
    request: Request,
    *,
    device: str = "auto",
    processes: Processes | None = None,
    progress: Progress | None = None,
) -> dict[str, Entry]:
    """Those of the metrics in features that are asked for, by number.

    Args:
        subject: a model, or a dataset whose images stand for generated ones: `request.samples` at random, or all.
        data: the real images, as for `open_reals`; not needed for the Inception score alone.
        request: metrics, features, samples and the rest.
        device: where a dataset is looked at; a model is looked at where it is.
        processes: which share the work.
        progress: called with (done, total) images.

    Raises:
        ConfigError: too few images, images of another size, labels that do not fit the model, or a network without
            classes for `is`.
        DataError: a dataset cannot be read.
    """
    processes = processes or Processes()
    place = subject.device if isinstance(subject, Model) else choose_device(device)
    is_conditional = isinstance(subject, Model) and subject.generator.c_dim > 0
    dataset: ImageDataset | None = None
    if request.asks(*WITH_REALS) or (is_conditional and data is not None):
        dataset = open_reals(data, subject, use_labels=is_conditional)
    if dataset is not None and request.asks(*WITH_REALS):
        _check_size(subject, dataset)
    fakes = _fakes(subject, dataset, request)
    reals: StoredImages | None = None
    if dataset is not None and request.asks(*WITH_REALS):
        reals = StoredImages(dataset, limit=request.max_reals, seed=request.seed, x_flip=request.x_flip)
        if len(reals) < 2:
            raise ConfigError(f"{dataset.path}: 1 real image is too few; distances need at least 2")
        request.check_images("real images", len(reals))
    request.check_images("samples", len(fakes))
    network = _network(request.features, place, processes)
    if request.asks("is") and not network.num_classes:
        raise ConfigError(
            f"is: the Inception score takes probabilities of classes, which {network.title} does not give; "
            "use --features inception or efficientnet-lite0"
        )

    needs = Needs(moments=request.asks(*FRECHET), features=request.asks("kid", "pr", "dc"))
    options: dict[str, Any] = {"device": place, "batch_size": request.batch_size, "seed": request.seed}
    options |= {"processes": processes}
    known = Known(reals, network, request.max_reals, request.seed, needs) if reals is not None else None
    is_known = known is None or processes.on_first(known.look_up)
    counter = Counter(progress, len(fakes) + (0 if is_known or reals is None else len(reals)))
    if known is not None and reals is not None and not is_known:
        known.keep(observe_all(reals, network, needs, **options, counter=counter))
    needs = needs._replace(probabilities=request.asks("is"))
    fake = observe_all(fakes, network, needs, **options, counter=counter)
    real = None if known is None else known.found
    return processes.on_first(lambda: _entries(request, network, reals, real, fake, place))


def _check_size(subject: Model | ImageDataset, dataset: ImageDataset) -> None:
    """Raises `ConfigError` unless generated and real images have one size: networks see sharpness first of all."""
    size_px = subject.resolution_px if isinstance(subject, ImageDataset) else subject.generator.resolution_px
    if size_px != dataset.resolution_px:
        what = str(subject.path) if isinstance(subject, ImageDataset) else "the model"
        raise ConfigError(
            f"{dataset.path} has images of {dataset.resolution_px} px, {what} of {size_px} px: give images of one "
            f"size, for example those of gantrol data import {dataset.path} --size {size_px} --out F.zip"
        )


def _network(features: str, device: torch.device, processes: Processes) -> FeatureNetwork:
    """The feature network; the first process has fetched its weights, if need be, before the others look for them."""
    made: list[FeatureNetwork] = []
    processes.on_first(lambda: made.append(load_features(features, device)))
    return made[0] if made else load_features(features, device)


def _fakes(subject: Model | ImageDataset, dataset: ImageDataset | None, request: Request) -> ImageSource:
    """The images to judge."""
    if isinstance(subject, ImageDataset):
        return StoredImages(subject, limit=request.samples, seed=request.seed)
    labels = draw_labels(subject, dataset, request.samples, request.seed)
    return GeneratedImages(subject, request.samples, request.seed, labels)


def _entries(
    request: Request,
    network: FeatureNetwork,
    reals: StoredImages | None,
    real: FeatureSet | None,
    fake: FeatureSet | None,
    device: torch.device,
) -> dict[str, Entry]:
    """The numbers, in the first process, which has both sets."""
    assert fake is not None
    of_features: dict[str, Any] = {
        "samples": fake.count,
        "seed": request.seed,
        "features": request.features,
        "weights": network.version,
        "resampling": network.resampling,
    }
    found: dict[str, Entry] = {}
    if request.asks("is"):
        assert fake.probabilities is not None
        mean, std = inception_score(fake.probabilities, splits=INCEPTION_SPLITS)
        name = "IS" if network.is_official else f"IS-{network.title}"
        found["is"] = Entry(value=mean, unit="classes", name=name, **of_features)
        found["is_std"] = Entry(value=std, unit="classes", name=f"{name} std", **of_features)
    if real is None or reals is None:
        return found
    of_both = {**of_features, "data": str(reals.dataset.path), "reals": len(reals), "x_flip": reals.x_flip}
    if request.asks(*FRECHET):
        assert real.moments is not None
        assert fake.moments is not None
        entry = Entry(
            value=frechet_distance(real.moments, fake.moments),
            unit="squared feature units",
            name="FID" if network.is_official else f"FD-{network.title}",
            **of_both,
        )
        found |= dict.fromkeys(FRECHET, entry)
    if not request.asks("kid", "pr", "dc"):
        return found
    assert real.features is not None
    assert fake.features is not None
    place = device if device.type == "cuda" else torch.device("cpu")  # others have no float64, or no memory
    all_reals, judged = real.features.to(place), fake.features.to(place)
    if request.asks("kid"):
        found["kid"] = Entry(
            value=kernel_distance(all_reals, judged, seed=request.seed),
            unit="squared kernel units",
            name="KID" if network.is_official else f"KD-{network.title}",
            **of_both | {"reals": min(len(reals), MAX_KEPT)},
        )
    near = all_reals[torch.from_numpy(random_rows(len(all_reals), MAX_NEIGHBOURS, request.seed))]
    for metric, measure, names in (
        ("pr", precision_recall, ("precision", "recall")),
        ("dc", density_coverage, ("density", "coverage")),
    ):
        if request.asks(metric):
            values = measure(near, judged, neighbours=NEIGHBOURS[metric])
            for name, value in zip(names, values, strict=True):
                found[name] = Entry(
                    value=value,
                    unit="share" if name != "density" else "neighbourhoods",
                    name=f"{name}-{network.title}",
                    **of_both | {"reals": len(near), "neighbours": NEIGHBOURS[metric]},
                )
    return found
