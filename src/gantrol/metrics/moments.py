"""Mean and covariance of feature vectors, as they stream in.

Whatever the parts in which they come, and wherever these were counted, n vectors x_i are summed up by

    n,   μ = Σ x_i / n,   S = Σ (x_i − μ)(x_i − μ)ᵀ

and two such sums, a and b with δ = μ_b − μ_a, are joined without looking at the vectors again:

    n = n_a + n_b,   μ = μ_a + δ·n_b/n,   S = S_a + S_b + δδᵀ·n_a·n_b/n

Unlike Σ x and Σ x xᵀ, these lose no digits where the mean is large beside the spread.

Source: Chan, Golub & LeVeque 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances",
equations 2.1.

Dimensions: N images · D features.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gantrol.errors import CheckpointError, ConfigError


class Moments:
    """Count, mean and covariance of vectors, in float64 on the CPU.

    Args:
        num_features: D.
    """

    def __init__(self, num_features: int) -> None:
        self.count = 0
        self.mean = torch.zeros(num_features, dtype=torch.float64)
        self._scatter = torch.zeros(num_features, num_features, dtype=torch.float64)  # S

    @property
    def num_features(self) -> int:
        """D."""
        return len(self.mean)

    def update(self, features: Tensor) -> None:
        """Adds features [N, D] of any device and type; N may be 0.

        Raises:
            ConfigError: another number of features, or one that is not finite.
        """
        x = check_vectors(features, num_features=self.num_features).detach().to("cpu", torch.float64)
        if not len(x):
            return
        mean = x.mean(dim=0)
        shift = self._join(len(x), mean)
        rows = torch.cat([x - mean, shift[None]])  # S grows by the outer products of these: one pass over D·D numbers
        self._scatter.addmm_(rows.T, rows)

    def merge(self, other: Moments) -> None:
        """Adds what another one has seen. The order of merging changes the rounding only.

        Raises:
            ConfigError: another number of features.
        """
        if other.num_features != self.num_features:
            raise ConfigError(f"moments of {other.num_features} features cannot join those of {self.num_features}")
        if not other.count:
            return
        scatter = other._scatter.clone() if other is self else other._scatter
        shift = self._join(other.count, other.mean)
        self._scatter.addr_(shift, shift).add_(scatter)

    def _join(self, count: int, mean: Tensor) -> Tensor:
        """Moves count and mean on; returns δ·√(n_a·n_b/n) [D]."""
        total = self.count + count
        delta = mean - self.mean
        shift = delta * (self.count * count / total) ** 0.5
        self.mean = self.mean + delta * (count / total)
        self.count = total
        return shift

    def covariance(self, ddof: int = 0) -> Tensor:
        """S/(n − ddof), float64 [D, D].

        Args:
            ddof: 0 for the covariance of these vectors, as official FID tools have it; 1 for the unbiased estimate of
                that of the population.

        Raises:
            ConfigError: there are no more than `ddof` vectors.
        """
        if self.count <= ddof:
            raise ConfigError(f"a covariance needs at least {ddof + 1} images, got {self.count}")
        return self._scatter / (self.count - ddof)

    def state(self) -> dict[str, Tensor]:
        """Copies of `count` [], `mean` [D] and `scatter` [D, D] (S), to be kept for `from_state`."""
        return {"count": torch.tensor(self.count), "mean": self.mean.clone(), "scatter": self._scatter.clone()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Moments:
        """What `state` was taken of.

        Raises:
            CheckpointError: it is no such state.
        """
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        size = shapes.get("mean", (0,))[:1]
        if shapes != {"count": (), "mean": size, "scatter": size * 2}:
            raise CheckpointError(f"these are no moments of features, but tensors {shapes}: compute them anew")
        moments = cls(*size)
        moments.count = int(state["count"])
        moments.mean = state["mean"].to("cpu", torch.float64, copy=True)
        moments._scatter = state["scatter"].to("cpu", torch.float64, copy=True)
        return moments


def check_vectors(features: Tensor, *, at_least: int = 0, num_features: int | None = None, of: str = "some") -> Tensor:
    """The features [N, D] as they are, if they can be measured.

    Args:
        features: N vectors.
        at_least: N must not be smaller.
        num_features: what D must be; None: anything.
        of: which images these are, for the message.

    Raises:
        ConfigError: another shape, or a number that is not finite.
    """
    if features.ndim != 2 or num_features not in (None, features.shape[1]):
        wanted = "D" if num_features is None else num_features
        raise ConfigError(f"features of {of} images have shape {list(features.shape)}: expected [N, {wanted}]")
    if len(features) < at_least:
        raise ConfigError(f"{len(features)} {of} images are too few: this metric needs at least {at_least}")
    if not bool(features.isfinite().all()):
        raise ConfigError(f"features of {of} images are not finite: the images, or the feature network, are broken")
    return features
