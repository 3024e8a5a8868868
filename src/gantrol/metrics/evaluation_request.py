"""What an evaluation may be asked for, checked before any work is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from gantrol.control.predictors import PredictorSet
from gantrol.errors import ConfigError, nearest
from gantrol.metrics.control import SECOND, check_samples_of_control
from gantrol.metrics.equivariance import TITLES
from gantrol.metrics.features import check_features
from gantrol.metrics.sticking import check_samples

NUMBERS: dict[str, tuple[str, ...]] = {
    "fid": ("fid",),
    "fd": ("fd",),
    "kid": ("kid",),
    "is": ("is", "is_std"),
    "pr": ("precision", "recall"),
    "dc": ("density", "coverage"),
    "ppl": ("ppl",),
    **{name: (name,) for name in TITLES},
    "sticking": ("sticking_average", "sticking_strip"),
    "control": (),
}
"""Names that `evaluate` knows, and what the numbers of each are called; those of `control` depend on the model's
controls. "fid" and "fd" are the same: the Fréchet distance in the chosen features, named after them."""
METRICS = tuple(NUMBERS)
"""The names alone."""
FRECHET = ("fid", "fd")
"""Both names of the Fréchet distance."""
WITH_REALS = (*FRECHET, "kid", "pr", "dc")
"""Metrics that compare with real images; the others need no dataset."""
IN_FEATURES = (*WITH_REALS, "is")
"""Metrics that see images through a feature network; all of them together look at each image once."""
MOTIONS = tuple(TITLES)
"""Metrics that move the generator's input."""
NEIGHBOURS = {"pr": 3, "dc": 5}
"""Which nearest neighbour is the radius of a neighbourhood, as in the papers."""
INCEPTION_SPLITS = 10
"""Parts of which the Inception score is computed, for its mean and standard deviation."""

_LEAST = {"is": INCEPTION_SPLITS, "pr": NEIGHBOURS["pr"] + 1, "dc": NEIGHBOURS["dc"] + 1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of `gantrol.metrics.evaluate_entries`, where they are described.

    Raises:
        ConfigError: an unknown metric or feature network, impossible numbers, or pictures of nothing.
    """

    metrics: tuple[str, ...] = ("fid",)
    samples: int = 1000
    features: str = "efficientnet-lite0"
    seed: int = 0
    batch_size: int = 32
    x_flip: bool = False
    max_reals: int | None = None
    pictures: str | Path | None = None
    predictors: PredictorSet | str | Path = SECOND

    def __post_init__(self) -> None:
        for name in self.metrics:
            if name not in METRICS:
                raise ConfigError(f"unknown metric {name!r}; {nearest(name, METRICS)}")
        if not self.metrics:
            raise ConfigError(f"no metric was asked for; {nearest('', METRICS)}")
        check_features(self.features)
        if self.samples < 2 or self.batch_size < 1:
            raise ConfigError(
                f"samples={self.samples}, batch_size={self.batch_size}: expected at least 2 samples and a batch of 1"
            )
        if self.max_reals is not None and self.max_reals < 2:
            raise ConfigError(f"max_reals={self.max_reals}: expected at least 2 real images")
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed}: expected a whole number, 0 or more")
        self.check_images("samples", self.samples)
        if "control" in self.metrics:
            check_samples_of_control(self.samples)
        if "sticking" in self.metrics:
            check_samples(self.samples)
        elif self.pictures is not None:
            raise ConfigError(f"pictures={self.pictures}: only the metric sticking draws any; add it to the metrics")

    def asks(self, *names: str) -> bool:
        """Whether one of these metrics is asked for."""
        return not set(names).isdisjoint(self.metrics)

    def check_images(self, which: str, count: int) -> None:
        """Raises `ConfigError` if there are too few generated ("samples") or "real images" for a metric."""
        for name, least in _LEAST.items():
            if name in self.metrics and count < least and (which == "samples" or name in WITH_REALS):
                raise ConfigError(f"{name}: {count} {which} are too few; it needs at least {least}")


def check_request(
    metrics: Sequence[str], features: str, samples: int, batch_size: int, pictures: str | Path | None = None
) -> None:
    """Raises `ConfigError` for a `Request` that cannot be."""
    Request(metrics=tuple(metrics), features=features, samples=samples, batch_size=batch_size, pictures=pictures)
