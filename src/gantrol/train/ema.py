"""Exponential moving average of the generator's weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


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
    """average ← lerp(net, average, beta) for parameters; buffers are copied, and so are parameters of whole numbers.

    One call for all tensors of a type and device, which on CUDA is a handful of launches for a whole network: a single
    tensor of another type would make torch go through all of them one by one.
    """
    for targets, sources in _alike(average.parameters(), net.parameters()):
        if targets[0].is_floating_point() or targets[0].is_complex():
            torch._foreach_lerp_(targets, sources, 1 - beta)
        else:
            torch._foreach_copy_(targets, sources)
    for targets, sources in _alike(average.buffers(), net.buffers()):
        torch._foreach_copy_(targets, sources)


def _alike(targets: Iterable[Tensor], sources: Iterable[Tensor]) -> Iterable[tuple[list[Tensor], list[Tensor]]]:
    """Pairs of tensors in groups of one type and device."""
    groups: dict[tuple[torch.dtype, torch.device], tuple[list[Tensor], list[Tensor]]] = {}
    for target, source in zip(targets, sources, strict=True):
        group = groups.setdefault((target.dtype, target.device), ([], []))
        group[0].append(target)
        group[1].append(source)
    return groups.values()
