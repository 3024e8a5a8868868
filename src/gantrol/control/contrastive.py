"""The contrastive loss of an attribute (GAN-Control, section 3.2, equations 2 and 3).

N images of a batch. With D the distance of an attribute and two thresholds τ⁺ < τ⁻, pairs that share the attribute's
sub-vector shall be at most τ⁺ apart, and all others at least τ⁻:

    L = 1/|P| Σ_P max(D − τ⁺, 0) + 1/|Q| Σ_Q max(τ⁻ − D, 0)

P are the pairs that share this group. Q are all other pairs of the batch, those that share another group among them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gantrol.errors import ConfigError


class ContrastiveTerms(NamedTuple):
    """The loss of one attribute and what it is made of; scalars."""

    loss: Tensor
    """L."""
    same: Tensor | None
    """Mean distance of the pairs that share the group; None if there are none in this batch."""
    different: Tensor
    """Mean distance of all other pairs."""


def contrastive_terms(distances: Tensor, same: Tensor, tau_same: float, tau_different: float) -> ContrastiveTerms:
    """The contrastive loss of one attribute.

    Args:
        distances: [N, N], symmetric; each pair is counted once.
        same: int64 [P, 2] on the CPU, rows of the pairs that share the attribute's group, each once, as `PairPlan.rows`
            gives them.
        tau_same: τ⁺, up to which the distance of such a pair costs nothing.
        tau_different: τ⁻, from which the distance of any other pair costs nothing.

    Raises:
        ConfigError: the distances are no square of at least two images.
    """
    count = len(distances)
    if distances.shape != (count, count) or count < 2:
        raise ConfigError(f"distances have shape {list(distances.shape)}: expected [N, N] of at least 2 images")
    # Weights instead of a selection, whose size the processor would have to wait for.
    weights = torch.zeros(2, count, count)
    weights[1] = torch.ones(count, count).tril(-1)
    low, high = same.sort(dim=1).values.unbind(1)
    weights[0, high, low] = 1
    weights[1, high, low] = 0
    others = count * (count - 1) // 2 - len(same)
    is_near, is_other = _send(weights, distances).unbind()
    different = (distances * is_other).sum() / others if others else distances.new_full([], torch.nan)
    loss = ((tau_different - distances).clamp(min=0) * is_other).sum() / max(others, 1)
    if not len(same):
        return ContrastiveTerms(loss, None, different)
    near = (distances * is_near).sum() / len(same)
    return ContrastiveTerms(loss + ((distances - tau_same).clamp(min=0) * is_near).sum() / len(same), near, different)


def _send(values: Tensor, like: Tensor) -> Tensor:
    """Values of the CPU in the type and on the device of `like`, without waiting for it."""
    values = values.to(like.dtype)
    return (values.pin_memory() if like.is_cuda else values).to(like.device, non_blocking=True)
