"""The Fréchet distance between two sets of features, each summarised by a Gaussian.

    d² = |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2·(Σ₁Σ₂)^½)          (Heusel et al. 2017, equation 6)

The eigenvalues of Σ₁Σ₂ are those of the symmetric LᵀΣ₂L, where Σ₁ = LLᵀ: real, and never negative. So the trace of the
square root is the sum of their roots, and needs no root of a matrix that is not symmetric, which loses half of all
digits, or comes out complex, where a covariance has no full rank. It never has with fewer images than features.

Dimensions: D features · R rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gantrol.errors import ConfigError
from gantrol.metrics.moments import Moments


def frechet_distance(real: Moments, fake: Moments, *, ddof: int = 0) -> float:
    """The distance d² between the Gaussians of real and generated features: 0 if they are equal, else more.

    Args:
        real: moments of at least two real images.
        fake: moments of at least two generated images, with as many features.
        ddof: covariances are divided by N − ddof: 0 as official FID tools do, 1 as torchmetrics does.

    Raises:
        ConfigError: fewer than two images on either side, or different numbers of features.

    Source: Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium".
    """
    for moments, which in ((real, "real"), (fake, "generated")):
        if moments.count < 2:
            raise ConfigError(f"a Fréchet distance needs at least 2 {which} images, got {moments.count}")
    if real.num_features != fake.num_features:
        raise ConfigError(f"{real.num_features} features of real images, but {fake.num_features} of generated ones")
    # The distance is symmetric. N images span N − 1 dimensions: with L of the fewer ones, LᵀΣL is small and has no
    # eigenvalues that are zero but for rounding.
    fewer, more = sorted((real, fake), key=lambda moments: moments.count)
    first, second = fewer.covariance(ddof), more.covariance(ddof)
    shift = (real.mean - fake.mean).square().sum()
    return max(0.0, float(shift + first.trace() + second.trace() - 2 * _trace_of_root(first, second)))


def _trace_of_root(first: Tensor, second: Tensor) -> Tensor:
    """tr (Σ₁Σ₂)^½ of covariances [D, D]."""
    factor = _factor(first)  # [D, R]
    products = torch.linalg.eigvalsh(factor.T @ second @ factor)  # [R]
    return products.clamp(min=0).sqrt().sum()


def _factor(covariance: Tensor) -> Tensor:
    """L [D, R] with Σ = LLᵀ: Cholesky's, or where Σ has no full rank, that of its eigenvectors (ten times as slow)."""
    factor, failed_at = torch.linalg.cholesky_ex(covariance)
    if not int(failed_at):
        return factor
    values, vectors = torch.linalg.eigh(covariance)  # [D] ascending, [D, D]
    is_real = values > values[-1] * len(values) * torch.finfo(values.dtype).eps  # not just rounding
    return vectors[:, is_real] * values[is_real].sqrt()
