"""How far apart two sets of features are: the two measures that GAN-Control's predictors use.

N images.
"""

from __future__ import annotations

from torch import Tensor


def mean_absolute(a: Tensor, b: Tensor) -> Tensor:
    """mean |a − b| over all but the first dimension: [N, …] and [N, …] → [N]."""
    return (a - b).abs().flatten(1).mean(1)


def squared_euclidean(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖² over all but the first dimension, without root: [N, …] and [N, …] → [N]; 0 to 4 of unit vectors."""
    return (a - b).square().flatten(1).sum(1)
