"""The Fréchet distance against closed forms, a matrix square root, and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from gantrol.errors import ConfigError
from gantrol.metrics.frechet import frechet_distance
from gantrol.metrics.moments import Moments


def gaussian(count: int, mean: np.ndarray, scale: np.ndarray, seed: int) -> Tensor:
    """Samples whose mean and (diagonal, 1/N) covariance are exactly the given ones."""
    x = np.random.default_rng(seed).standard_normal((count, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T, ddof=0))).T
    return torch.from_numpy(x * scale + mean)


def correlated(count: int, size: int, seed: int) -> Tensor:
    """Features with a spectrum that falls off, as those of networks do."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((size, size)) * np.arange(1, size + 1)[:, None] ** -0.7
    return torch.from_numpy(rng.standard_normal((count, size)) @ mixing + rng.standard_normal(size))


def moments_of(features: Tensor, chunk: int = 1000) -> Moments:
    moments = Moments(features.shape[1])
    for part in features.split(chunk):
        moments.update(part)
    return moments


def distance(real: Tensor, fake: Tensor, *, ddof: int = 0, chunk: int = 1000) -> float:
    return frechet_distance(moments_of(real, chunk), moments_of(fake, chunk), ddof=ddof)


class AsGiven(nn.Module):
    """Stands where torchmetrics expects a feature network: the features are computed already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def of_torchmetrics(real: Tensor, fake: Tensor) -> float:
    metric = FrechetInceptionDistance(AsGiven(real.shape[1]), sync_on_compute=False)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return float(metric.compute())


def test_analytic_gaussians() -> None:
    """For diagonal covariances d² = Σ (μ₁ − μ₂)² + Σ (σ₁ − σ₂)²."""
    rng = np.random.default_rng(0)
    (mean1, mean2), (scale1, scale2) = rng.standard_normal((2, 6)), rng.uniform(0.5, 2, (2, 6))
    real, fake = gaussian(100, mean1, scale1, 1), gaussian(80, mean2, scale2, 2)
    expected = ((mean1 - mean2) ** 2).sum() + ((scale1 - scale2) ** 2).sum()
    assert distance(real, fake) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("count", "size"), [(500, 32), (20, 64)])
def test_identical_sets_are_at_zero_and_both_directions_agree(count: int, size: int) -> None:
    x, y = correlated(count, size, 0), correlated(count + 30, size, 1)
    spread = float(moments_of(x).covariance().trace())
    assert distance(x, x) == pytest.approx(0, abs=1e-6 * spread)
    assert distance(x, y) == pytest.approx(distance(y, x), rel=1e-9)


def test_it_is_that_of_the_square_root_with_official_covariances() -> None:
    real, fake = correlated(300, 24, 0), correlated(200, 24, 1)
    cov1, cov2 = (np.cov(x.T.numpy(), ddof=0) for x in (real, fake))
    mean_term = float((real.mean(0) - fake.mean(0)).square().sum())
    expected = mean_term + np.trace(cov1 + cov2 - 2 * sqrtm(cov1 @ cov2).real)
    assert distance(real, fake) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [300, 40])
def test_with_unbiased_covariances_it_is_that_of_torchmetrics(count: int) -> None:
    real, fake = correlated(count, 64, 0), correlated(count - 5, 64, 1)
    assert distance(real, fake, ddof=1) == pytest.approx(of_torchmetrics(real, fake), rel=1e-4)
    assert distance(real, fake, ddof=1) > distance(real, fake)


def test_fewer_images_than_features() -> None:
    """A shift alone leaves the covariances equal, of whatever rank: d² = |shift|²."""
    x = correlated(20, 64, 0)
    assert distance(x, x + 1) == pytest.approx(64, rel=1e-9)


def test_different_ranks_in_different_places() -> None:
    """Orthogonal subspaces have no common root: d² is the sum of both traces."""
    x, y = torch.zeros(2, 30, 40, dtype=torch.float64)
    x[:, :10], y[:, 10:35] = correlated(30, 10, 0), correlated(30, 25, 1)
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    expected = float(x.square().sum() + y.square().sum()) / 30
    assert distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_a_collapsed_set() -> None:
    """All generated images are one, in the middle: what is missing is all of the real spread."""
    real = correlated(100, 16, 0)
    fake = real.mean(dim=0).expand(50, -1)
    assert distance(real, fake) == pytest.approx(float(moments_of(real).covariance().trace()), rel=1e-9)


def test_collapsed_noisy_and_shifted_sets_rank_as_they_must() -> None:
    real, fresh = correlated(2000, 16, 0).split(1000)
    noise = torch.randn(1000, 16, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    for worse in (
        [fresh + strength * noise for strength in (0, 0.5, 1, 2)],
        [fresh + strength for strength in (0, 0.5, 1, 2)],
        [fresh[:count].repeat(1000 // count, 1) for count in (1000, 20, 5, 1)],
    ):
        distances = [distance(real, fake) for fake in worse]
        assert distances == sorted(distances)
        assert distances[1] > 2 * distances[0]


def test_the_batch_size_does_not_matter() -> None:
    x, y = torch.randn(2, 50, 5, generator=torch.Generator().manual_seed(0))
    assert distance(x, y, chunk=7) == pytest.approx(distance(x, y), rel=1e-11)


def test_single_features_and_constant_ones_are_fine() -> None:
    zeros, ones = torch.zeros(3, 4), torch.ones(3, 4)
    assert distance(zeros, zeros) == 0
    assert distance(zeros, ones) == pytest.approx(4)
    assert distance(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [4.0]])) == pytest.approx(1 + 1)


def test_too_few_images_and_unlike_features_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2 generated images, got 1"):
        distance(torch.zeros(2, 3), torch.zeros(1, 3))
    with pytest.raises(ConfigError, match="3 features of real images, but 4 of generated ones"):
        distance(torch.zeros(2, 3), torch.zeros(2, 4))
