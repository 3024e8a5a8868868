"""Precision, recall, density and coverage against double loops, and in cases whose answer is known."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from gantrol.errors import ConfigError
from gantrol.metrics import neighbours
from gantrol.metrics.neighbours import density_coverage, precision_recall, squared_radii


def features(count: int, size: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def naive_distance(x: Tensor, y: Tensor) -> float:
    return float((x.double() - y.double()).square().sum())


def naive_radii(x: Tensor, k: int) -> list[float]:
    return [sorted(naive_distance(a, b) for j, b in enumerate(x) if j != i)[k - 1] for i, a in enumerate(x)]


def naive(real: Tensor, fake: Tensor, k: int) -> tuple[float, float, float, float]:
    """All four by their definitions."""
    real_radii, fake_radii = naive_radii(real, k), naive_radii(fake, k)
    d = [[naive_distance(x, y) for y in fake] for x in real]
    rows, columns = range(len(real)), range(len(fake))
    precision = sum(any(d[i][j] <= real_radii[i] for i in rows) for j in columns) / len(fake)
    recall = sum(any(d[i][j] <= fake_radii[j] for j in columns) for i in rows) / len(real)
    density = sum(d[i][j] < real_radii[i] for i in rows for j in columns) / (k * len(fake))
    coverage = sum(any(d[i][j] < real_radii[i] for j in columns) for i in rows) / len(real)
    return precision, recall, density, coverage


def measured(real: Tensor, fake: Tensor, k: int) -> tuple[float, float, float, float]:
    return *precision_recall(real, fake, neighbours=k), *density_coverage(real, fake, neighbours=k)


def with_copies(count: int, seed: int) -> Tensor:
    """Some vectors more than once."""
    x = features(count, seed=seed)
    x[5:10] = x[4]
    x[20:24] = x[:4]
    return x


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_they_are_what_their_definitions_say(monkeypatch: pytest.MonkeyPatch, k: int, offset: float) -> None:
    """In blocks of 16, with vectors of one set in the other, with copies, and far from the origin."""
    monkeypatch.setattr(neighbours, "_BLOCK", 16)
    real, fake = with_copies(40, 0), with_copies(33, 1) * 1.2
    fake[12:20] = real[12:20]
    real, fake = real + offset, fake + offset
    assert measured(real, fake, k) == pytest.approx(naive(real, fake, k), rel=1e-12)


@pytest.mark.parametrize("k", [1, 3])
def test_ties_on_a_grid(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    """Every distance occurs many times: what lies on a border must not depend on rounding."""
    monkeypatch.setattr(neighbours, "_BLOCK", 16)
    axis = 0.1 * torch.arange(6, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    fake = grid[::2] + torch.tensor([0.1, 0.0], dtype=torch.float64)
    whole_numbers = measured(torch.round(10 * grid), torch.round(10 * fake), k)
    assert measured(grid, fake, k) == whole_numbers
    assert whole_numbers == pytest.approx(naive(torch.round(10 * grid), torch.round(10 * fake), k), rel=1e-12)


def test_the_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = with_copies(70, 0), with_copies(50, 1)
    whole = measured(real, fake, 3)
    for size in (7, 69):
        monkeypatch.setattr(neighbours, "_BLOCK", size)
        monkeypatch.setattr(neighbours, "_PAIR_NUMBERS", 10 * size)
        assert measured(real, fake, 3) == whole


def test_nor_does_the_order() -> None:
    real, fake = with_copies(70, 0), with_copies(50, 1)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert measured(real, fake[order], 3) == measured(real.flip(0), fake, 3) == measured(real, fake, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_set_and_itself_are_alike_in_all_respects(dtype: torch.dtype) -> None:
    x = features(300, size=16).to(dtype) + 30
    assert precision_recall(x, x) == (1, 1)
    assert density_coverage(x, x) == (1, 1)


def test_equal_distributions_are_about_one() -> None:
    real, fake = features(2000).split(1000)
    assert min(precision_recall(real, fake)) > 0.9
    density, coverage = density_coverage(real, fake)
    assert density == pytest.approx(1, abs=0.07)
    assert coverage > 0.93  # the mean over equal sets is 1 − (½)⁵


def test_disjoint_sets_have_nothing_in_common() -> None:
    assert measured(features(50), features(50, seed=1) + 100, 3) == (0, 0, 0, 0)


def test_a_collapsed_generator_is_precise_and_recalls_little() -> None:
    real, fresh = features(800, size=8).split(400)
    collapsed = real[:4].repeat(100, 1) + 0.01 * features(400, size=8, seed=2)
    precision, recall = precision_recall(real, collapsed)
    assert precision > 0.99
    assert recall < 0.05
    _, coverage = density_coverage(real, collapsed)
    assert coverage < 0.15
    assert coverage < density_coverage(real, fresh)[1] / 3


def test_a_wild_generator_recalls_everything_and_is_not_precise() -> None:
    real = features(400, size=8)
    wild = 4 * features(400, size=8, seed=1)
    precision, recall = precision_recall(real, wild)
    assert precision < 0.1
    assert recall > 0.8
    assert density_coverage(real, wild)[0] < 0.1


def test_exact_copies_of_one_image_are_no_region() -> None:
    """The balls of a generator with one image have the radius 0: only that image is inside."""
    real = features(100)
    fake = real[7].expand(50, -1)
    assert precision_recall(real, fake) == (1, 0.01)
    _, coverage = density_coverage(real, fake)
    assert (
        coverage == sum(naive_distance(x, real[7]) < r for x, r in zip(real, naive_radii(real, 5), strict=True)) / 100
    )


def test_noise_and_collapse_rank_as_they_must() -> None:
    real, fresh = features(1200, size=8).split(600)
    noisy = [measured(real, fresh + noise * features(600, 8, 5), 5) for noise in (0, 0.7, 1.5, 4)]
    collapsed = [measured(real, fresh[:modes].repeat(600 // modes, 1), 5) for modes in (600, 100, 20, 1)]
    for better, worse in pairwise(noisy):
        assert worse[0] < better[0]
        assert worse[2] < better[2]
    for better, worse in pairwise(collapsed):
        assert worse[1] <= better[1]
        assert worse[3] < better[3]


def test_an_outlier_lifts_precision_and_not_density() -> None:
    """What density was made for: one real image far off has a ball that holds everything."""
    real = features(200, size=4)
    real[0] = 40
    fake = real[1:] + 15
    assert precision_recall(real, fake)[0] > 0.9
    assert density_coverage(real, fake)[0] < 0.3


def test_distances_do_not_cancel() -> None:
    """Neighbours at 10⁻³ from each other, 10⁶ from the origin and the others: (10⁶)² has 4 digits left for 10⁻⁶."""
    x = 1e-3 * torch.rand(20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.cat([x, x + 1e6])
    assert squared_radii(x, 3).tolist() == pytest.approx(naive_radii(x, 3), rel=1e-12)


def test_impossible_requests_are_refused() -> None:
    x = features(4)
    with pytest.raises(ConfigError, match="3 real images are too few: this metric needs at least 4"):
        precision_recall(x[:3], x)
    with pytest.raises(ConfigError, match="3 generated images are too few: this metric needs at least 4"):
        precision_recall(x, x[:3])
    with pytest.raises(ConfigError, match=r"expected \[N, 3\]"):
        density_coverage(x, x[:, :2], neighbours=2)
    with pytest.raises(ConfigError, match="neighbours=0"):
        density_coverage(x, x, neighbours=0)
