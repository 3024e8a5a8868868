"""Streaming mean and covariance against those of all vectors at once."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from gantrol.errors import CheckpointError, ConfigError
from gantrol.metrics.moments import Moments, check_vectors


def vectors(count: int = 60, size: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moments_of(features: Tensor, chunk: int = 1000) -> Moments:
    moments = Moments(features.shape[1])
    for part in features.split(chunk):
        moments.update(part)
    return moments


@pytest.mark.parametrize("ddof", [0, 1])
def test_they_are_those_of_numpy(ddof: int) -> None:
    x = vectors()
    moments = moments_of(x)
    assert moments.count == 60
    np.testing.assert_allclose(moments.mean, x.mean(dim=0), rtol=1e-13)
    np.testing.assert_allclose(moments.covariance(ddof), np.cov(x.T.numpy(), ddof=ddof), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("chunk", [1, 7, 59])
def test_the_batch_size_does_not_matter(chunk: int) -> None:
    x = vectors()
    whole, parts = moments_of(x), moments_of(x, chunk)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(parts.covariance(), whole.covariance(), rtol=1e-12, atol=1e-14)


def test_the_order_of_merging_does_not_matter() -> None:
    parts = vectors().split([10, 1, 30, 19])
    whole = moments_of(torch.cat(parts))
    for order in permutations(range(4)):
        merged = Moments(5)
        for index in order:
            merged.merge(moments_of(parts[index]))
        assert merged.count == 60
        np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(merged.covariance(), whole.covariance(), rtol=1e-12, atol=1e-14)


def test_merging_leaves_the_other_alone_and_takes_itself_and_nothing() -> None:
    x = vectors()
    one, other = moments_of(x), moments_of(x[:20])
    before = other.state()
    one.merge(other)
    other.merge(Moments(5))
    assert all(torch.equal(value, before[name]) for name, value in other.state().items())
    other.merge(other)
    assert other.count == 40
    np.testing.assert_allclose(other.covariance(), moments_of(x[:20]).covariance(), rtol=1e-13)


def test_a_large_mean_costs_no_digits() -> None:
    """Sums of squares would lose all of them: (10⁸)² has no place for a 1 in float64."""
    x = vectors(1000)
    far = (x + 1e8) - 1e8  # what of x survives that
    np.testing.assert_allclose(moments_of(x + 1e8, 7).covariance(), moments_of(far).covariance(), rtol=1e-6, atol=1e-8)


def test_single_precision_is_counted_in_double() -> None:
    x = vectors(5000).float() + 100
    np.testing.assert_allclose(moments_of(x, 64).mean, x.double().mean(dim=0), rtol=1e-14)
    assert moments_of(x).covariance().dtype == torch.float64


def test_the_state_is_a_copy_and_comes_back() -> None:
    moments = moments_of(vectors())
    state = moments.state()
    again = Moments.from_state(state)
    moments.update(vectors(3))
    again.update(vectors(3))
    assert again.count == moments.count == 63
    assert torch.equal(again.mean, moments.mean)
    assert torch.equal(again.covariance(1), moments.covariance(1))
    assert int(state["count"]) == 60


def test_other_tensors_are_no_state() -> None:
    state = moments_of(vectors()).state()
    for broken in (
        {},
        {"mean": state["mean"]},
        state | {"scatter": torch.zeros(4, 4)},
        state | {"sum": torch.zeros(5)},
    ):
        with pytest.raises(CheckpointError, match="no moments of features"):
            Moments.from_state(broken)


def test_bad_features_are_refused() -> None:
    moments = Moments(5)
    moments.update(torch.zeros(0, 5))
    assert moments.count == 0
    with pytest.raises(ConfigError, match=r"shape \[2, 4\]: expected \[N, 5\]"):
        moments.update(torch.zeros(2, 4))
    with pytest.raises(ConfigError, match="not finite"):
        moments.update(torch.full((2, 5), torch.nan))
    with pytest.raises(ConfigError, match="4 features cannot join those of 5"):
        moments.merge(Moments(4))
    with pytest.raises(ConfigError, match="at least 2 images, got 0"):
        moments.covariance(ddof=1)
    with pytest.raises(ConfigError, match="3 real images are too few: this metric needs at least 4"):
        check_vectors(torch.zeros(3, 2), at_least=4, of="real")
