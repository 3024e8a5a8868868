"""Networks that classify a number into bins: what number their logits say, and which of the two a distance compares.

N images · B bins of a number.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from gantrol.errors import ConfigError

DistanceOf = Literal["logits", "units"]
"""What a distance compares: the logits, as the paper does, or the readings. The first rewards a predictor that is
confident, whatever it says; the second is a difference in degrees or years, and so are the thresholds of the loss."""


def check_distance(distance: str) -> DistanceOf:
    """The same word, if it is one of `DistanceOf`.

    Raises:
        ConfigError: it is not.
    """
    for known in get_args(DistanceOf):
        if distance == known:
            return known
    raise ConfigError(f"distance={distance!r}: choose 'logits' (the paper's) or 'units' (of the readings)")


def expected_bin(logits: Tensor) -> Tensor:
    """Σ p_b · b, with p the softmax over the last dimension, from 0 to B − 1: […, B] → […]."""
    return logits.softmax(-1) @ torch.arange(logits.shape[-1], dtype=logits.dtype, device=logits.device)
