"""The inception score: whether a classifier is sure of each image, and sees many classes.

    IS = exp( mean over x of KL( p(y|x) ‖ p(y) ) ),    p(y) = mean over x of p(y|x)

From 1 (nothing is recognised, or always the same) to K (all K classes alike, without any doubt). Real images have no
part in it. The images are cut into splits, in their order; the score is the mean over these.

Dimensions: N images · K classes.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from gantrol.errors import ConfigError
from gantrol.metrics.moments import check_vectors


def inception_score(probabilities: Tensor, *, splits: int = 10) -> tuple[float, float]:
    """The score's mean over the splits, and its standard deviation (1/splits, as in the official procedure).

    Args:
        probabilities: p(y|x), [N, K], in random order: a split of one class only would score 1.
        splits: parts of N/splits images each, give or take one.

    Raises:
        ConfigError: fewer images than splits, or rows that are no probabilities.

    Source: Salimans et al. 2016, "Improved Techniques for Training GANs", section 4.
    """
    if splits < 1:
        raise ConfigError(f"splits={splits}: expected at least 1")
    check_vectors(probabilities, at_least=splits, of="generated")
    if bool((probabilities < 0).any()) or bool((probabilities.sum(dim=1, dtype=torch.float32) - 1).abs().max() > 1e-2):
        raise ConfigError("an inception score takes class probabilities: numbers from 0, with the sum 1 for each image")
    bounds = [index * len(probabilities) // splits for index in range(splits + 1)]
    scores = torch.stack([_score(probabilities[a:b]) for a, b in pairwise(bounds)])
    return float(scores.mean()), float(scores.std(correction=0))


def _score(probabilities: Tensor) -> Tensor:
    """exp(mean KL) of one split [n, K]."""
    p = probabilities.to("cpu", torch.float64)
    divergence = torch.xlogy(p, p) - torch.xlogy(p, p.mean(dim=0))  # 0·log 0 = 0; [n, K]
    return divergence.sum(dim=1).mean().exp()
