"""The metrics that need the model itself, not just its images: they move its input or latents, or set its controls."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantrol.data.dataset import ImageDataset
from gantrol.errors import CheckpointError, ConfigError
from gantrol.metrics.control import measure_control
from gantrol.metrics.control_report import ControlReport
from gantrol.metrics.entry import Entry, control_entries
from gantrol.metrics.equivariance import GROUP as EQUIVARIANCE_GROUP
from gantrol.metrics.equivariance import TITLES, check_movable, decibels, error_sums
from gantrol.metrics.evaluation_request import IN_FEATURES, MOTIONS, NUMBERS, Request
from gantrol.metrics.image_sources import draw_labels, open_reals
from gantrol.metrics.networks import lpips, vgg16
from gantrol.metrics.path_length import GROUP as PATH_GROUP
from gantrol.metrics.path_length import central_mean, check_path_length, path_distances
from gantrol.metrics.perceptual import ImageEmbedding, load_embedding
from gantrol.metrics.processes import Processes
from gantrol.metrics.sticking import Progress, sticking, sticking_pictures
from gantrol.model import Model
from gantrol.pictures import enlarge, enlargement_factor, save_image, to_pil

Data = ImageDataset | str | Path | None
Found = tuple[dict[str, Entry], ControlReport | None]

PICTURES = ("sticking_average.png", "sticking_strip.png")
"""What `sticking` draws where it is asked to."""
_PICTURE_PX = 256  # pictures are enlarged to about this


def check_defined(subject: Model | ImageDataset, request: Request) -> None:
    """Raises `ConfigError` unless all metrics that are asked for are defined for a model, or for a dataset."""
    if isinstance(subject, ImageDataset):
        others = [name for name in request.metrics if name not in IN_FEATURES]
        if others:
            raise ConfigError(
                f"{', '.join(others)}: {subject.path} is a dataset, and only a model can be asked for these; "
                f"datasets are compared by {', '.join(IN_FEATURES)}"
            )
        return
    motions = [name for name in request.metrics if name in MOTIONS]
    if motions:
        check_movable(subject.generator, motions)
    if request.asks("ppl"):
        check_path_length(subject.generator, samples=request.samples, batch_size=request.batch_size)


def sticking_entries(model: Model, data: Data, request: Request, progress: Progress | None) -> Found:
    """The two numbers of `sticking`, and its pictures if they are wanted."""
    options: dict[str, Any] = {
        "seed": request.seed,
        "c": _labels(model, data, request),
        "batch_size": request.batch_size,
        "dtype": model.dtype,
    }
    found = sticking(model.generator, samples=request.samples, **options, progress=progress)
    if request.pictures is not None:
        for name, pixels in zip(PICTURES, sticking_pictures(model.generator, found.angle, **options), strict=True):
            factor = enlargement_factor(pixels.shape[:2], _PICTURE_PX)
            save_image(Path(request.pictures) / name, enlarge(to_pil(pixels), factor))
    return {
        name: Entry(
            value=value,
            unit="share",
            name=name.replace("_", " "),
            samples=request.samples,
            seed=request.seed,
            angle_rad=found.angle,
        )
        for name, value in zip(NUMBERS["sticking"], (found.average, found.strip), strict=True)
    }, None


def equivariance_entries(
    model: Model, data: Data, request: Request, processes: Processes, progress: Progress | None
) -> dict[str, Entry]:
    """Those of EQ-T, EQ-T_frac and EQ-R that are asked for; each process moves its share of the images."""
    motions = [name for name in request.metrics if name in MOTIONS]
    labels = _labels(model, data, request)
    parts = processes.gather(
        lambda: error_sums(
            model.generator,
            motions,
            _share(processes, request.samples, EQUIVARIANCE_GROUP),
            samples=request.samples,
            seed=request.seed,
            c=labels,
            batch_size=request.batch_size,
            progress=progress,
        )
    )
    common: dict[str, Any] = {"samples": request.samples, "seed": request.seed}

    def entries() -> dict[str, Entry]:
        totals = {name: torch.stack([part[name] for part in parts]).sum(dim=0) for name in motions}
        return {
            name: Entry(value=decibels(*total.tolist()), unit="dB", name=TITLES[name], **common)
            for name, total in totals.items()
        }

    return processes.on_first(entries)


def path_length_entries(
    model: Model, data: Data, request: Request, processes: Processes, progress: Progress | None
) -> dict[str, Entry]:
    """`ppl`: in W, at the ends of paths, ε = 10⁻⁴; each process takes its share of the steps."""
    embedding = path_length_embedding(model.device)
    labels = _labels(model, data, request)
    parts = processes.gather(
        lambda: path_distances(
            model.generator,
            embedding,
            _share(processes, request.samples, PATH_GROUP),
            seed=request.seed,
            c=labels,
            batch_size=request.batch_size,
            progress=progress,
        )
    )

    def entries() -> dict[str, Entry]:
        entry = Entry(
            value=central_mean(torch.cat(parts)),
            unit="squared distance/ε²",
            name="PPL" if embedding.name == lpips.LpipsEmbedding.name else f"PPL-{embedding.name}",
            samples=request.samples,
            seed=request.seed,
            features=embedding.name,
        )
        return {"ppl": entry}

    return processes.on_first(entries)


def path_length_embedding(device: torch.device) -> ImageEmbedding:
    """LPIPS on VGG-16, which the published PPL is measured in, if its weights are on this machine; else the best that
    needs none.

    Raises:
        CheckpointError: both files of weights are there, and one is damaged.
    """
    if vgg16.WEIGHTS.find() is None:
        return load_embedding("auto", device)
    try:
        return load_embedding("lpips-vgg", device)
    except CheckpointError:
        if lpips.WEIGHTS.find() is not None:
            raise
        return load_embedding("auto", device)  # VGG-16 is here for its features, without what LPIPS adds


def control_entries_of(model: Model, data: Data, request: Request, progress: Progress | None) -> Found:
    """The numbers of all controls, and the report that they come from."""
    report = measure_control(
        model,
        request.predictors,
        data=data,
        samples=request.samples,
        seed=request.seed,
        batch_size=request.batch_size,
        progress=progress,
    )
    return control_entries(report), report


SHARED: dict[tuple[str, ...], Callable[[Model, Data, Request, Processes, Progress | None], dict[str, Entry]]] = {
    MOTIONS: equivariance_entries,
    ("ppl",): path_length_entries,
}
"""Which function measures which metrics; all processes call it together."""
WHOLE: dict[tuple[str, ...], Callable[[Model, Data, Request, Progress | None], Found]] = {
    ("sticking",): sticking_entries,
    ("control",): control_entries_of,
}
"""The same for those that one process measures by itself; the first of them belongs to the first process, which is the
one that writes."""


def _share(processes: Processes, samples: int, group: int) -> range:
    """The samples of this process: whole groups, but for the last one."""
    groups = processes.share(math.ceil(samples / group))
    return range(groups.start * group, min(groups.stop * group, samples))


def _labels(model: Model, data: Data, request: Request) -> Tensor | None:
    """Labels [samples, c_dim] of a conditional model: those of `data` if that is given, else classes at random."""
    is_drawn = model.generator.c_dim > 0 and data is not None
    dataset = open_reals(data, model, use_labels=True) if is_drawn else None
    return draw_labels(model, dataset, request.samples, request.seed)
