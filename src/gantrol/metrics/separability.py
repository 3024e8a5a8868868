"""Whether latent groups are apart: the separability of GAN-Control, and the disentanglement score of DiscoFaceGAN.

**Separability** (Shoshan et al. 2021). P pairs of images share one group and nothing else. Of an attribute's
distances between every first and every second image, those of the pairs should be small (`same`), and smaller than that
of the nearest stranger (`nearest`), let alone of all others (`others`). The paper shows three histograms with their
20th, 50th and 80th percentiles; the score is the share of strangers that are further away than the partner: 1 is
perfect, ½ is chance.

**Disentanglement score** (Deng et al. 2020). In each of several sets of images only factor i varies. σ_j is the mean L2
distance within the sets in terms of factor j, divided by that of images in which everything varies:

    DS_i = Π_{j ≠ i} σ_i / σ_j

The factors are the paper's: identity, expression, pose and light, as far as there are readers. Larger is better; scores
of different sets of factors, or of different readers, cannot be compared.

P pairs · S sets · M images of a set · K numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gantrol.metrics.control_observer import Observer, Seen
from gantrol.metrics.control_requests import unit_direction

PERCENTILES = (20, 50, 80)
FACTORS: dict[str, tuple[str, ...]] = {
    "identity": ("identity",),
    "expression": ("expression",),
    "pose": ("yaw", "pitch", "roll"),
    "light": ("light",),
}
"""Of the disentanglement score, with the attributes that each is read from."""
SET_SIZE = 10
"""M."""
_SMALLEST = 1e-3  # a factor that moves less counts as much as this: nothing is divided by zero
_ROWS = 64  # rows of the distance matrix at a time


@dataclass(frozen=True, kw_only=True)
class Separability:
    """How far apart images are that share one group, and others."""

    score: float
    """Share of strangers that are further away than the partner."""
    same: tuple[float, ...]
    """`PERCENTILES` of the distances between partners."""
    nearest: tuple[float, ...]
    """Of those from each image to its nearest stranger."""
    others: tuple[float, ...]
    """Of those to all strangers."""
    pairs: int
    """P."""


def separability(observer: Observer, name: str, place: slice, pairs: int) -> Separability:
    """The separability of a latent group in terms of the attribute of its name.

    Args:
        observer: of a model with latent groups.
        name: of the attribute.
        place: where the group lies in z.
        pairs: P; 2·P images are made.
    """
    z = observer.latents(2 * pairs)
    first, second = z[:pairs], z[pairs:].clone()
    second[:, place] = first[:, place]
    classes = observer.classes(pairs)
    a, b = (observer.see(part, c=classes).features[name] for part in (first, second))
    return separability_of(lambda x, y: observer.distance(name, x, y), a, b)


def separability_of(distance: Callable[[Tensor, Tensor], Tensor], first: Tensor, second: Tensor) -> Separability:
    """The separability of pairs of features: `first[i]` and `second[i]` are partners.

    Args:
        distance: [N, …] and [N, …] → [N].
        first: [P, …], P ≥ 2.
        second: [P, …].
    """
    count = len(first)
    matrix = torch.empty(count, count)
    for start in range(0, count, _ROWS):
        rows = first[start : start + _ROWS]
        left = rows.repeat_interleave(count, dim=0)
        right = second.repeat(len(rows), *[1] * (second.ndim - 1))
        matrix[start : start + len(rows)] = distance(left, right).view(len(rows), count)
    same = matrix.diagonal()
    strangers = matrix[~torch.eye(count, dtype=torch.bool)].view(count, count - 1)
    further = (strangers > same[:, None]).float() + 0.5 * (strangers == same[:, None]).float()
    return Separability(
        score=float(further.double().mean()),
        same=_percentiles(same),
        nearest=_percentiles(strangers.amin(dim=1)),
        others=_percentiles(strangers),
        pairs=count,
    )


def readable_factors(attributes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The factors of the disentanglement score that these attributes allow, with the attributes of each."""
    found = {factor: tuple(part for part in parts if part in attributes) for factor, parts in FACTORS.items()}
    return {factor: parts for factor, parts in found.items() if parts}


def coordinates(seen: Seen, parts: Sequence[str]) -> Tensor:
    """Where images are in terms of a factor: its readings side by side, lights as unit vectors, or the embedding."""
    columns = []
    for name in parts:
        if name not in seen.readings:
            columns.append(seen.features[name].flatten(1).float())
        else:
            columns.append(unit_direction(seen.readings[name]) if name == "light" else seen.readings[name])
    return torch.cat(columns, dim=1)


def disentanglement(
    varied: Mapping[str, Seen], everything: Seen, factors: Mapping[str, tuple[str, ...]]
) -> dict[str, float]:
    """DS_i of each factor i that was varied.

    Args:
        varied: for factor i the images of all sets, set by set, `SET_SIZE` each, in which only i varies.
        everything: images in which everything varies: the dataset, or uncontrolled samples.
        factors: as `readable_factors` gives them; all of them are j.
    """
    whole = {j: _mean_distance(coordinates(everything, parts)[None]) for j, parts in factors.items()}
    scores = {}
    for i, seen in varied.items():
        sigma = {}
        for j, parts in factors.items():
            places = coordinates(seen, parts)
            within = _mean_distance(places.view(-1, SET_SIZE, places.shape[1]))
            sigma[j] = max(within / max(whole[j], _SMALLEST), _SMALLEST)
        scores[i] = math.prod(sigma[i] / sigma[j] for j in factors if j != i)
    return scores


def _mean_distance(points: Tensor) -> float:
    """The mean L2 distance of all pairs within sets [S, M, K]; of large sets, of their first 2,000 points."""
    return float(torch.stack([torch.pdist(part[:2000].double()).mean() for part in points]).mean())


def _percentiles(values: Tensor) -> tuple[float, ...]:
    flat = values.flatten().double()
    step = max(1, len(flat) // 1_000_000)  # torch's quantile takes no more than 16 million
    found = torch.quantile(flat[::step], torch.tensor([p / 100 for p in PERCENTILES], dtype=torch.float64))
    return tuple(float(value) for value in found)
