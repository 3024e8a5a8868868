"""How well a reader reads: errors on images of individuals that it has never seen, as they are and disturbed.

Each error stands beside that of guessing, which answers the same for every image: the training labels' median (for a
direction their mean, for a choice the most frequent). An embedding is examined by verification: of two images, do they
show the same individual?

N images · K numbers of a reading · P pairs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from gantrol.control.predictors.learning import Examples, blurred
from gantrol.control.predictors.reader import Reader
from gantrol.control.predictors.targets import Target
from gantrol.errors import DataError

FloatArray = NDArray[np.float64]
Progress = Callable[[int, int], None]

BATCH = 256


def _blurred(images: Tensor) -> Tensor:
    return blurred(images, torch.full((len(images),), images.shape[-1] / 64))


def _noisy(images: Tensor) -> Tensor:
    return images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))


def _shifted(images: Tensor) -> Tensor:
    by = max(round(images.shape[-1] / 32), 1)
    return F.pad(images, [by, 0, by, 0], mode="replicate")[:, :, :-by, :-by]


def _halved(images: Tensor) -> Tensor:
    return F.interpolate(F.avg_pool2d(images, 2), images.shape[2:], mode="bilinear")


DISTURBANCES: dict[str, Callable[[Tensor], Tensor]] = {
    "blurred": _blurred,
    "noisy": _noisy,
    "shifted": _shifted,
    "halved": _halved,
}
"""What is done to images of 64 px: a Gaussian blur of 1 px; noise of 0.1, where images lie in [-1, 1]; a move of 2 px
to the right and down; half the resolution, brought back bilinearly."""


@dataclass(frozen=True, kw_only=True)
class ReadingError:
    """How well one attribute, or one component of it, is read."""

    attribute: str
    """Name, with components as `expression.smile`."""
    unit: str
    error: float
    """Mean absolute error; of a direction the mean angle; of a choice the share of wrong answers; of an embedding the
    share of pairs that are mistaken, half of which show one individual."""
    guessing: float
    """The same if every image gets the same answer."""
    correlation: float | None
    """Pearson's r, for several components the mean; for an embedding the area under the ROC curve; none for choices."""
    images: int
    """Images whose label counts (an embedding: pairs)."""
    disturbed: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """The error on disturbed images, by name of the disturbance."""


def examine(
    reader: Reader, held_out: Examples, known: Examples | None = None, progress: Progress | None = None
) -> list[ReadingError]:
    """The error table of a reader.

    Args:
        reader: in evaluation mode.
        held_out: images that it was not trained on.
        known: those that it was trained on, from which guesses are made and strangers are checked; by default the
            guesses come from `held_out` itself.
        progress: called with (images read, images to read).

    Returns:
        Rows in the reader's order of attributes; components follow their attribute.

    Raises:
        DataError: as `check_held_out` does.
    """
    check_held_out(reader.config.targets, held_out, known)
    labels = held_out.labels(reader.config.targets)
    learnt = labels if known is None else known.labels(reader.config.targets)
    variants = {"": None, **DISTURBANCES}
    total, found = len(variants) * len(held_out), {}
    for number, (name, disturb) in enumerate(variants.items()):
        found[name] = _features(reader, held_out.pixels, disturb)
        if progress is not None:
            progress((number + 1) * len(held_out), total)
    rows: list[ReadingError] = []
    column = 0
    for number, target in enumerate(reader.config.targets):
        columns = slice(column, column + target.columns)
        column += target.columns
        seen = labels.counts[:, number]
        truth, usual = labels.values[seen, columns], learnt.values[learnt.counts[:, number], columns]
        tables = {
            name: list(_rows(reader, target, features[target.name][torch.from_numpy(seen)], truth, usual))
            for name, features in found.items()
        }
        for place, row in enumerate(tables[""]):
            disturbed = {name: tables[name][place].error for name in DISTURBANCES}
            rows.append(dataclasses.replace(row, disturbed=disturbed))
    return rows


def table_lines(rows: Sequence[ReadingError]) -> list[list[str]]:
    """The table as text, heading first: attribute, unit, error, guessing, r, and a column per disturbance."""
    names = list(rows[0].disturbed) if rows else []
    lines = [["attribute", "unit", "error", "guessing", "r", *names]]
    for row in rows:
        correlation = "" if row.correlation is None else f"{row.correlation:.2f}"
        numbers = [row.error, row.guessing]
        disturbed = [f"{row.disturbed[name]:.3g}" for name in names]
        lines.append([row.attribute, row.unit, *(f"{number:.3g}" for number in numbers), correlation, *disturbed])
    return lines


def errors_to_dict(rows: Sequence[ReadingError]) -> list[dict[str, Any]]:
    """As JSON objects, numbers to four significant digits."""
    return [{key: _shortened(value) for key, value in dataclasses.asdict(row).items()} for row in rows]


def errors_from_dict(data: Sequence[Mapping[str, Any]]) -> list[ReadingError]:
    """From JSON objects as `errors_to_dict` makes them."""
    return [ReadingError(**row) for row in data]


def check_held_out(targets: Sequence[Target], held_out: Examples, known: Examples | None = None) -> None:
    """Raises `DataError` unless these images can be used to examine what is (or will be) trained on `known`.

    They need the labels of all targets, other individuals than those of `known`, and for an embedding two images of one
    individual and more than one individual.
    """
    labels = held_out.labels(targets)
    column = 0
    for target in targets:
        individual = labels.values[:, column]
        column += target.columns
        if target.kind != "embedding":
            continue
        source = target.sources[0]
        strangers = {row.get(source) for row in held_out.rows}
        shared = strangers & ({row.get(source) for row in known.rows} if known is not None else set())
        if shared:
            raise DataError(
                f"{held_out.source}: {len(shared)} values of {source!r} are in the training data, too; hold out a "
                "dataset made with another --seed"
            )
        if len(strangers) < 2 or not len(_pairs_of_one(individual)):
            raise DataError(
                f"{held_out.source}: {target.name!r} cannot be examined without several individuals and several images "
                "of each (gantrol data faces --per-identity 4)"
            )


def _features(reader: Reader, pixels: Tensor, disturb: Callable[[Tensor], Tensor] | None) -> dict[str, Tensor]:
    parts: list[dict[str, Tensor]] = []
    with torch.inference_mode():
        for part in pixels.split(BATCH):
            images = part.float() / 127.5 - 1
            parts.append(reader(images if disturb is None else disturb(images)))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _rows(
    reader: Reader, target: Target, features: Tensor, truth: NDArray[np.float32], usual: NDArray[np.float32]
) -> Iterator[ReadingError]:
    """The rows of one attribute from features [N, outputs], its labels [N, columns] and the training labels."""
    if target.kind == "embedding":
        yield _verification(target, features, truth[:, 0])
        return
    if target.kind == "choice":
        known = truth[:, 0] >= 0
        answers = features.argmax(1).numpy()
        frequent = np.bincount(usual[usual[:, 0] >= 0, 0].astype(np.int64)).argmax()
        yield ReadingError(
            attribute=target.name,
            unit="wrong",
            error=_mean(answers[known] != truth[known, 0]),
            guessing=_mean(truth[known, 0] != frequent),
            correlation=None,
            images=int(known.sum()),
        )
        return
    right, typical = truth.astype(np.float64), usual.astype(np.float64)
    found = reader.read(target.name, features).double().numpy()
    if target.kind == "direction":
        guess = typical.mean(0)
        yield ReadingError(
            attribute=target.name,
            unit=target.unit,
            error=_mean(_angles(right, features.double().numpy())),
            guessing=_mean(_angles(right, np.broadcast_to(guess, right.shape))),
            correlation=_mean([correlation(right[:, k], features[:, k].double().numpy()) for k in range(3)]),
            images=len(right),
        )
        right, typical = _azimuth_elevation(right), _azimuth_elevation(typical)
    else:
        yield _plain_row(target, target.name, right, found, typical)
    if len(target.components) > 1 and target.components != ("r", "g", "b"):
        for k, component in enumerate(target.components):
            part = slice(k, k + 1)
            yield _plain_row(target, f"{target.name}.{component}", right[:, part], found[:, part], typical[:, part])


def _plain_row(target: Target, name: str, right: FloatArray, found: FloatArray, typical: NDArray[Any]) -> ReadingError:
    return ReadingError(
        attribute=name,
        unit=target.unit,
        error=_mean(np.abs(found - right)),
        guessing=_mean(np.abs(np.median(typical, axis=0) - right)),
        correlation=_mean([correlation(right[:, k], found[:, k]) for k in range(right.shape[1])]),
        images=len(right),
    )


def _verification(target: Target, features: Tensor, individual: NDArray[np.float32]) -> ReadingError:
    """Distances of all pairs of one individual, against as many pairs of two."""
    same = _pairs_of_one(individual)
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(individual), size=(8 * len(same) + 512, 2))
    other = drawn[individual[drawn[:, 0]] != individual[drawn[:, 1]]][: len(same)]
    near, far = (
        np.sort((features[pairs[:, 0]] - features[pairs[:, 1]]).square().sum(1).double().numpy())
        for pairs in (same, other)
    )
    closer = np.searchsorted(far, near, side="left") / len(far)  # share of the others that lie closer than each pair
    # with the threshold at each same pair's distance: same pairs above it, and others up to it
    missed = np.arange(len(near) - 1, -1, -1) / len(near)
    mistaken = (missed + np.searchsorted(far, near, side="right") / len(far)) / 2
    return ReadingError(
        attribute=target.name,
        unit="pairs wrong",
        error=float(mistaken.min()),
        guessing=0.5,
        correlation=1 - float(closer.mean()),
        images=len(near) + len(far),
    )


def _pairs_of_one(individual: NDArray[np.float32]) -> NDArray[np.int64]:
    """int64 [P, 2]: every two rows of one individual [N]."""
    order = np.argsort(individual, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(individual[order])) + 1)
    pairs = [np.stack([group[i] for i in np.triu_indices(len(group), 1)], axis=1) for group in groups if len(group) > 1]
    return np.concatenate(pairs) if pairs else np.zeros((0, 2), dtype=np.int64)


def correlation(a: FloatArray, b: FloatArray) -> float:
    """Pearson's r; 0 where one of the two does not vary or there is nothing to compare."""
    if not a.size:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else 0.0


def _angles(a: FloatArray, b: FloatArray) -> FloatArray:
    """Degrees between vectors [N, 3]: [N]."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine: FloatArray = (a * b).sum(1) / np.maximum(lengths, 1e-9)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def _azimuth_elevation(directions: FloatArray) -> FloatArray:
    """Degrees [N, 2] of directions [N, 3] (x right, y up, z to the viewer)."""
    x, y, z = directions.T
    return np.degrees(np.stack([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))], axis=1))


def _mean(values: Any) -> float:
    """The mean, 0 of nothing."""
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()) if array.size else 0.0


def _shortened(value: Any) -> Any:
    """Numbers to four significant digits, in dictionaries, too."""
    if isinstance(value, Mapping):
        return {key: _shortened(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
