"""Exponential moving average of the generator's weights."""

from __future__ import annotations

import torch
from torch import nn


def ema_beta(batch: int, n_img: int, half_life_kimg: float, ramp_up: float | None) -> float:
    """The decay for one step of the generator: 0.5^(batch / half-life).

    Args:
        batch: images shown since its last step, over all devices.
        n_img: images seen before this step.
        half_life_kimg: half-life in thousands of images.
        ramp_up: the half-life is at most this share of the images seen so far; None turns the ramp off.

    Source: StyleGAN2 paper, appendix B; our specification notes, section 4.2.
    """
    half_life = half_life_kimg * 1000
    if ramp_up is not None:
        half_life = min(half_life, n_img * ramp_up)
    return float(0.5 ** (batch / max(half_life, 1e-8)))


@torch.no_grad()
def update_ema(average: nn.Module, net: nn.Module, beta: float) -> None:
    """average ← lerp(net, average, beta) for parameters; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - beta)
    targets, sources = list(average.buffers()), list(net.buffers())
    if targets:
        torch._foreach_copy_(targets, sources)
