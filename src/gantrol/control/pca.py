"""Principal components of w: directions in which a generator's images differ most (GANSpace; Härkönen et al. 2020).

N samples · D features of w · K components.

A mapping network bends the round cloud of z into a long one of w. Its longest axes are often something that one can
name, such as pose, gender or background, although no label was ever seen; what they are is for the user to find out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gantrol.errors import ConfigError

_FLAT = 1e-6
"""A direction whose standard deviation is below this share of the largest one is taken for rounding."""


class Axes(NamedTuple):
    """Directions in w, and how far w spreads along each; float64."""

    directions: Tensor
    """[K, D], rows of length 1."""
    deviations: Tensor
    """Standard deviations [K] of w along them."""


def principal_axes(w: Tensor, count: int) -> Axes:
    """The `count` directions of largest variance, largest first; the sign makes the largest entry positive.

    Args:
        w: samples [N, D].
        count: K.

    Raises:
        ConfigError: w varies in fewer directions.

    Source: Härkönen et al. 2020, "GANSpace: Discovering Interpretable GAN Controls".
    """
    covariance = covariance_of(w)
    return _checked(leading_eigenvectors(covariance, count, "principal components"), covariance, "principal components")


def leading_eigenvectors(matrix: Tensor, count: int, what: str) -> Tensor:
    """Eigenvectors [count, D] of a symmetric matrix [D, D], largest eigenvalue first, largest entry positive.

    Raises:
        ConfigError: more are asked for than there are.
    """
    width = len(matrix)
    if not 1 <= count <= width:
        raise ConfigError(f"{count} {what}: expected 1 to {width}, the width of w")
    vectors = torch.linalg.eigh(matrix).eigenvectors.T.flip(0)[:count]
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    return vectors * largest.sign()


def axes_along(directions: Tensor, w: Tensor, what: str) -> Axes:
    """`directions` [K, D] with the spread of the samples w [N, D] along each.

    Raises:
        ConfigError: w does not vary along one of them.
    """
    return _checked(directions.double(), covariance_of(w), what)


def covariance_of(w: Tensor) -> Tensor:
    """[D, D], float64, of samples w [N, D]."""
    return torch.cov(w.detach().cpu().double().T).reshape(w.shape[1], w.shape[1])


def _checked(directions: Tensor, covariance: Tensor, what: str) -> Axes:
    deviations = ((directions @ covariance) * directions).sum(dim=1).clamp(min=0).sqrt()
    flat = deviations <= _FLAT * covariance.diagonal().max().sqrt()
    if flat.any():
        varied = int(flat.int().argmax())
        raise ConfigError(
            f"{len(directions)} {what}: w of this model varies along the first {varied} only; ask for fewer"
        )
    return Axes(directions, deviations)
