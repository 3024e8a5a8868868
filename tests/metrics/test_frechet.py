"""The Fréchet distance against closed forms and another implementation of the matrix square root."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from gantrol.errors import ConfigError
from gantrol.metrics.frechet import FrechetDistance


def gaussian(count: int, mean: np.ndarray, scale: np.ndarray, seed: int) -> torch.Tensor:
    """Samples whose mean and (diagonal) covariance are exactly the given ones."""
    x = np.random.default_rng(seed).standard_normal((count, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return torch.from_numpy(x * scale + mean)


def distance(real: torch.Tensor, fake: torch.Tensor, chunk: int = 1000) -> float:
    frechet = FrechetDistance(real.shape[1])
    for features, is_real in ((real, True), (fake, False)):
        for part in features.split(chunk):
            frechet.update(part, real=is_real)
    return frechet.compute()


def test_analytic_gaussians() -> None:
    """For diagonal covariances d² = Σ (μ₁ − μ₂)² + Σ (σ₁ − σ₂)²."""
    rng = np.random.default_rng(0)
    (mean1, mean2), (scale1, scale2) = rng.standard_normal((2, 6)), rng.uniform(0.5, 2, (2, 6))
    real, fake = gaussian(100, mean1, scale1, 1), gaussian(80, mean2, scale2, 2)
    expected = ((mean1 - mean2) ** 2).sum() + ((scale1 - scale2) ** 2).sum()
    assert distance(real, fake) == pytest.approx(expected, rel=1e-9)
    assert distance(real, real) == pytest.approx(0, abs=1e-6)


def test_full_covariances_agree_with_scipy() -> None:
    rng = np.random.default_rng(3)
    real, fake = (rng.standard_normal((200, 8)) @ rng.standard_normal((8, 8)) + 5 for _ in range(2))
    cov1, cov2 = np.cov(real.T), np.cov(fake.T)
    mean_term = ((real.mean(0) - fake.mean(0)) ** 2).sum()
    expected = mean_term + np.trace(cov1 + cov2 - 2 * sqrtm(cov1 @ cov2).real)
    assert distance(torch.from_numpy(real), torch.from_numpy(fake)) == pytest.approx(expected, rel=1e-8)


def test_fewer_samples_than_features_is_fine() -> None:
    x = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    assert np.isfinite(distance(x, x + 1))
    assert distance(x, x + 1) == pytest.approx(64, rel=1e-3)


def test_the_batch_size_does_not_matter() -> None:
    x, y = torch.randn(2, 50, 5, generator=torch.Generator().manual_seed(0))
    assert distance(x, y, chunk=7) == pytest.approx(distance(x, y), rel=1e-12)


def test_statistics_stand_in_for_the_real_images() -> None:
    x, y = torch.randn(2, 50, 5, generator=torch.Generator().manual_seed(0))
    first = FrechetDistance(5)
    first.update(x, real=True)
    second = FrechetDistance(5)
    second.set_real_statistics(first.real_statistics())
    second.update(y, real=False)
    assert second.compute() == distance(x, y)
    assert second.count(real=True) == 50


def test_one_image_is_not_enough() -> None:
    frechet = FrechetDistance(3)
    frechet.update(torch.zeros(2, 3), real=True)
    frechet.update(torch.zeros(1, 3), real=False)
    with pytest.raises(ConfigError, match="at least 2 generated images, got 1"):
        frechet.compute()
