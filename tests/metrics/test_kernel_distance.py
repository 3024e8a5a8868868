"""The kernel distance against double loops and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.kid import KernelInceptionDistance

from gantrol.errors import ConfigError
from gantrol.metrics.kernel_distance import kernel_distance, squared_mmd


def features(count: int, size: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def naive_squared_mmd(x: Tensor, y: Tensor) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    xs, ys, m = x.double().numpy(), y.double().numpy(), len(x)
    pairs = [(i, j) for i in range(m) for j in range(m)]
    within = sum(k(v[i], v[j]) for v in (xs, ys) for i, j in pairs if i != j) / (m * (m - 1))
    return within - 2 * sum(k(xs[i], ys[j]) for i, j in pairs) / m**2


class AsGiven(nn.Module):
    """Stands where torchmetrics expects a feature network: the features are computed already."""

    num_features = 8

    def forward(self, features: Tensor) -> Tensor:
        return features


def test_it_is_the_unbiased_estimate() -> None:
    x, y = features(12), features(12, seed=1) * 1.5 + 0.3
    assert squared_mmd(x, y) == pytest.approx(naive_squared_mmd(x, y), rel=1e-12)
    assert kernel_distance(x, y) == pytest.approx(naive_squared_mmd(x, y), rel=1e-12)


def test_subsets_are_drawn_without_replacement_and_averaged() -> None:
    x, y = features(20), features(9, seed=1) + 0.3
    random = np.random.default_rng(3)
    expected = [
        naive_squared_mmd(x[random.choice(20, 6, replace=False)], y[random.choice(9, 6, replace=False)])
        for _ in range(5)
    ]
    assert kernel_distance(x, y, subsets=5, subset_size=6, seed=3) == pytest.approx(np.mean(expected), rel=1e-12)


def test_torchmetrics_agrees() -> None:
    x, y = features(60), features(60, seed=1) * 1.2 + 0.3
    with pytest.warns(UserWarning, match="will save all extracted features"):
        metric = KernelInceptionDistance(AsGiven(), subsets=3, subset_size=60, sync_on_compute=False)
    metric.update(x, real=True)
    metric.update(y, real=False)
    assert kernel_distance(x, y, subsets=3, subset_size=60) == pytest.approx(float(metric.compute()[0]), abs=1e-4)


def test_it_is_zero_on_average_for_equal_distributions_of_any_size() -> None:
    """A biased estimate, with the diagonal, would be near 4·8/50 for these."""
    values = [kernel_distance(features(50, seed=2 * i), features(50, seed=2 * i + 1)) for i in range(100)]
    error = np.std(values) / 10
    assert abs(np.mean(values)) < 3 * error
    assert min(values) < 0
    assert error < 0.01


def test_identical_sets_are_about_zero() -> None:
    x = features(2000)
    assert abs(kernel_distance(x, x, subset_size=200)) < 0.01


def test_collapsed_noisy_and_shifted_sets_rank_as_they_must() -> None:
    real, fresh = features(1000).split(500)
    for worse in (
        [fresh + strength * features(500, seed=7) for strength in (0, 0.5, 1, 2)],
        [fresh + strength for strength in (0, 0.3, 0.6, 1)],
        [fresh[:count].repeat(500 // count, 1) for count in (500, 10, 2)],
    ):
        distances = [kernel_distance(real, fake, subsets=10, subset_size=300) for fake in worse]
        assert distances == sorted(distances)
        assert distances[1] > 2 * abs(distances[0])


def test_the_seed_decides() -> None:
    x, y = features(40), features(40, seed=1)
    values = [kernel_distance(x, y, subsets=3, subset_size=10, seed=seed) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_single_precision_is_enough_of_an_input() -> None:
    """The sums are float64: the same features as float32 and float64 give the same number."""
    x, y = features(300) + 50, features(300, seed=1) + 50
    assert kernel_distance(x, y) == kernel_distance(x.double(), y.double())


def test_impossible_requests_are_refused() -> None:
    x = features(5)
    with pytest.raises(ConfigError, match="1 generated images are too few: this metric needs at least 2"):
        kernel_distance(x, x[:1])
    with pytest.raises(ConfigError, match=r"expected \[N, 8\]"):
        kernel_distance(x, x[:, :4])
    with pytest.raises(ConfigError, match="subset_size=1: expected"):
        kernel_distance(x, x, subset_size=1)
