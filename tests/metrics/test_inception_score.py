"""The inception score of known probabilities, and against torchmetrics."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.inception import InceptionScore

from gantrol.errors import ConfigError
from gantrol.metrics.inception_score import inception_score


def logits(count: int = 200, classes: int = 6, seed: int = 0) -> Tensor:
    return 2 * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))


class AsGiven(nn.Module):
    """Stands where torchmetrics expects a network: the logits are computed already."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits


def naive_score(rows: list[list[float]]) -> float:
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    total = sum(p * math.log(p / q) for row in rows for p, q in zip(row, means, strict=True) if p > 0)
    return math.exp(total / len(rows))


def test_sure_of_every_class_scores_their_number() -> None:
    """And zeros, of which 0·log 0 = 0, make no NaN."""
    p = torch.eye(7).repeat(20, 1)
    assert inception_score(p) == pytest.approx((7, 0), abs=1e-12)


def test_no_opinion_and_no_variety_both_score_one() -> None:
    unsure = torch.full((50, 4), 0.25)
    always_the_same = torch.tensor([[0.0, 1.0, 0.0]]).repeat(50, 1)
    for p in (unsure, always_the_same):
        assert inception_score(p) == pytest.approx((1, 0), abs=1e-12)


def test_splits_are_consecutive_and_may_differ_by_one() -> None:
    p = logits(23).softmax(dim=1).double()
    bounds = [0, 7, 15, 23]
    scores = [naive_score(p[a:b].tolist()) for a, b in pairwise(bounds)]
    mean, std = inception_score(p, splits=3)
    assert mean == pytest.approx(sum(scores) / 3, rel=1e-12)
    assert std == pytest.approx(math.sqrt(sum((s - mean) ** 2 for s in scores) / 3), rel=1e-9)


@pytest.mark.parametrize("splits", [2, 10])
def test_torchmetrics_agrees(splits: int) -> None:
    """It shuffles first, and divides the variance by splits − 1."""
    x = logits()
    with pytest.warns(UserWarning, match="will save all extracted features"):
        metric = InceptionScore(AsGiven(), splits=splits, sync_on_compute=False)
    metric.update(x)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        order = torch.randperm(len(x))
        torch.manual_seed(5)
        mean, std = metric.compute()
    ours = inception_score(x[order].softmax(dim=1), splits=splits)
    assert ours[0] == pytest.approx(float(mean), abs=1e-4)
    assert ours[1] * math.sqrt(splits / (splits - 1)) == pytest.approx(float(std), abs=1e-4)


def test_doubt_and_missing_classes_rank_as_they_must() -> None:
    x = 4 * logits(1000)
    doubtful = [inception_score((x / heat).softmax(dim=1))[0] for heat in (1, 2, 4, 8)]
    assert doubtful == sorted(doubtful, reverse=True)
    p = x.softmax(dim=1)
    collapsed = [inception_score(p[p.argmax(dim=1) < seen][:100])[0] for seen in (6, 4, 2, 1)]
    assert collapsed == sorted(collapsed, reverse=True)
    assert collapsed[-1] < 1.5


def test_half_precision_is_counted_in_double() -> None:
    p = logits(1000).softmax(dim=1).half()
    assert inception_score(p)[0] == pytest.approx(inception_score(p.double())[0], rel=1e-12)


def test_what_are_no_probabilities_is_refused() -> None:
    with pytest.raises(ConfigError, match="takes class probabilities"):
        inception_score(logits())
    with pytest.raises(ConfigError, match="takes class probabilities"):
        inception_score(torch.ones(20, 3))
    with pytest.raises(ConfigError, match="9 generated images are too few: this metric needs at least 10"):
        inception_score(torch.eye(9))
    with pytest.raises(ConfigError, match="splits=0"):
        inception_score(torch.eye(9), splits=0)
