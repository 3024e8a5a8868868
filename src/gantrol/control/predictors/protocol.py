"""What a predictor is: a frozen network that reads named attributes from images.

A predictor does its own cropping, resizing and normalising. From images it makes *features*, one tensor per attribute
(logits, an embedding, numbers); from features come the *distance* that the contrastive loss uses, and the *reading* in
the attribute's unit. All three are differentiable with respect to the images.

N images · C channels · H W pixels · K numbers of a reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gantrol.errors import ConfigError, nearest


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """Something that can be seen in an image, and how it is told in numbers."""

    unit: str
    """Of a reading, for example "years"."""
    components: tuple[str, ...] = ()
    """Names of the K numbers of a reading; one that stands alone is called `value`. None: an embedding, which has
    distances but no reading."""
    low: tuple[float, ...] = ()
    """The lowest sensible reading, K numbers."""
    high: tuple[float, ...] = ()
    """The highest."""
    help: str = ""
    """What it is, and which direction is positive."""

    def __post_init__(self) -> None:
        if not len(self.low) == len(self.high) == len(self.components):
            raise ConfigError(f"attribute ({self.unit}): low and high need one number for each of {self.components}")


class Predictor(nn.Module):
    """Reads one attribute or several; subclasses implement `forward` and, where these do not fit, the rest.

    Attributes:
        attributes: what it reads, by name.
    """

    attributes: Mapping[str, Attribute]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features [N, …] of each attribute from images [N, C, H, W] in [-1, 1], RGB, of any size."""
        raise NotImplementedError

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """How far apart two sets of features of an attribute are, [N, …] and [N, …] → [N], 0 or more."""
        raise NotImplementedError

    def pairwise(self, name: str, features: Tensor) -> Tensor:
        """Distances between all images of a batch: features [N, …] → [N, N], symmetric."""
        count = len(features)
        rows, columns = torch.tril_indices(count, count, -1, device=features.device)
        lower = torch.zeros(count, count, dtype=features.dtype, device=features.device)
        lower = lower.index_put((rows, columns), self.distance(name, features[rows], features[columns]))
        return lower + lower.T

    def read(self, name: str, features: Tensor) -> Tensor:
        """What the features say, in the attribute's unit: [N, …] → [N, K]."""
        raise NotImplementedError


class PredictorSet(nn.Module):
    """Several predictors as one; frozen, in evaluation mode.

    Args:
        predictors: in order of precedence: an attribute that two of them read is read by the first.
    """

    def __init__(self, predictors: Iterable[Predictor]) -> None:
        super().__init__()
        self.predictors = nn.ModuleList(predictors)
        self._reads: dict[str, Predictor] = {}
        for predictor in self.predictors:
            assert isinstance(predictor, Predictor)
            for name in predictor.attributes:
                self._reads.setdefault(name, predictor)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> PredictorSet:
        """Stays in evaluation mode, whatever it is part of."""
        return super().train(False)

    @property
    def attributes(self) -> dict[str, Attribute]:
        """All that can be read, by name."""
        return {name: predictor.attributes[name] for name, predictor in self._reads.items()}

    def require(self, names: Iterable[str]) -> None:
        """Raises `ConfigError` unless each of these attributes is read by one of the predictors."""
        for name in names:
            if name not in self._reads:
                raise ConfigError(f"no predictor reads {name!r}; {nearest(name, self._reads)}")

    def features(self, images: Tensor, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Features of these attributes (all by default) from images [N, C, H, W] in [-1, 1].

        Each network runs once, however many attributes it reads.

        Raises:
            ConfigError: no predictor reads one of them.
        """
        wanted = list(self._reads) if names is None else list(names)
        self.require(wanted)
        found: dict[str, Tensor] = {}
        for predictor in dict.fromkeys(self._reads[name] for name in wanted):
            every = predictor(images)
            found |= {name: every[name] for name in wanted if self._reads[name] is predictor}
        return found

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Distances [N] of two sets of features [N, …] of an attribute."""
        self.require([name])
        return self._reads[name].distance(name, a, b)

    def pairwise(self, name: str, features: Tensor) -> Tensor:
        """Distances [N, N] between all images of a batch."""
        self.require([name])
        return self._reads[name].pairwise(name, features)

    def read(self, name: str, features: Tensor) -> Tensor:
        """Readings [N, K] in the attribute's unit.

        Raises:
            ConfigError: there is no such attribute, or it is an embedding, which cannot be read.
        """
        self.require([name])
        if not self.attributes[name].components:
            raise ConfigError(f"attribute {name!r} has distances but no readings")
        return self._reads[name].read(name, features)


def are_probabilities(readings: Tensor) -> bool:
    """Whether readings [N, K] are the probabilities of K choices, of which one holds."""
    return readings.shape[1] > 1 and bool((readings >= 0).all() & ((readings.sum(dim=1) - 1).abs() < 1e-3).all())
