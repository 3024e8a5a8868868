"""The kernel inception distance (KID): whether two sets of features could come from the same distribution.

    MMD² = mean of k(x, x′) over x ≠ x′  +  mean of k(y, y′) over y ≠ y′  −  2 · mean of k(x, y)
    k(x, y) = (x·y/D + 1)³

This estimate has no bias, whatever the number of images: for equal distributions it is 0 on average, and negative half
of the time. (The Fréchet distance is never negative, and grows as images get fewer.) As usual, it is the average over
random subsets, which are all of one size.

Dimensions: N real images · M generated images · D features · m images of a subset.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gantrol.errors import ConfigError
from gantrol.metrics.moments import check_vectors


def kernel_distance(real: Tensor, fake: Tensor, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0) -> float:
    """The mean MMD² of random subsets, each drawn without replacement; as it is, not in thousandths.

    Args:
        real: features [N, D], N ≥ 2.
        fake: features [M, D], M ≥ 2.
        subsets: how many are drawn from both.
        subset_size: m, at most; fewer where there are fewer images.
        seed: chooses the subsets, together with the order of the rows.

    Raises:
        ConfigError: fewer than two images, different numbers of features, or impossible numbers of subsets.

    Source: Bińkowski et al. 2018, "Demystifying MMD GANs", section 4 and equation 4.
    """
    if subsets < 1 or subset_size < 2:
        raise ConfigError(f"subsets={subsets}, subset_size={subset_size}: expected at least 1 subset of 2 images")
    check_vectors(real, at_least=2, of="real")
    check_vectors(fake, at_least=2, num_features=real.shape[1], of="generated")
    size = min(subset_size, len(real), len(fake))
    if size == len(real) == len(fake):
        subsets = 1  # all of them would be the same
    random = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        x, y = (
            vectors[torch.from_numpy(random.choice(len(vectors), size, replace=False)).to(vectors.device)]
            for vectors in (real, fake)
        )
        values.append(squared_mmd(x, y))
    return float(np.mean(values))


def squared_mmd(x: Tensor, y: Tensor) -> float:
    """The unbiased MMD² of features x [m, D] and y [m, D], m ≥ 2, in float64."""
    if x.device.type == "mps":  # which has no float64
        x, y = x.cpu(), y.cpu()
    x, y = x.to(torch.float64), y.to(torch.float64)
    m = len(x)
    within = sum(_kernel(v, v).sum() - _kernel_of_itself(v).sum() for v in (x, y))
    return float(within / (m * (m - 1)) - 2 * _kernel(x, y).mean())


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """k of all pairs, [m, m]."""
    return (x @ y.T).div_(x.shape[1]).add_(1).pow_(3)


def _kernel_of_itself(x: Tensor) -> Tensor:
    """k(x, x) of each vector, [m]: the diagonal of `_kernel(x, x)`."""
    return (x.square().sum(dim=1) / x.shape[1] + 1) ** 3
