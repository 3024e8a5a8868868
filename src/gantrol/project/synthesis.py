"""Images of a synthesis network some of whose buffers are replaced, differentiably; and the steps of a search.

What a projection finds besides w lives in buffers of the network: the noise of each layer, and the transform of the
Fourier input. `torch.func.functional_call` puts tensors in their place for one call, through which gradients flow, and
leaves the network as it is.

Dimensions: N batch · L copies of w · D width of w · C channels · H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

TRANSFORM = "input.transform"
"""The buffer of a synthesis network with a `FourierInput` that moves and turns the image."""

_NOISE = "noise_const"


class Step(NamedTuple):
    """Where an optimisation stands."""

    done: int
    """Steps so far, from 1."""
    total: int
    """Steps in all."""
    image: Tensor
    """float32 [1, C, H, W], the image whose loss was measured (its w still carries the exploring noise)."""


Observer = Callable[[Step], None]
"""Called after every step: for films of the search."""


def follow(steps: Iterator[Step], observe: Observer | None, progress: Callable[[int, int], None] | None) -> None:
    """Goes through all steps, telling whoever wants to know."""
    for step in steps:
        if observe is not None:
            observe(step)
        if progress is not None:
            progress(step.done, step.total)


def synthesize(synthesis: Any, ws: Tensor, buffers: Mapping[str, Tensor]) -> Tensor:
    """Maps ws [N, L, D] to float32 images [N, C, H, W], not clamped, with `buffers` in the place of the network's."""
    call = functional_call(synthesis, dict(buffers), (ws,), {"noise_mode": "const", "dtype": torch.float32})
    return cast(Tensor, call)


def noise_buffers(synthesis: nn.Module) -> dict[str, Tensor]:
    """The constant noise [r, r] of each layer, by its name; empty for a network without noise."""
    return {name: value for name, value in synthesis.named_buffers() if name.split(".")[-1] == _NOISE}


def can_be_moved(synthesis: nn.Module) -> bool:
    """Whether the network's input can be transformed."""
    return hasattr(getattr(synthesis, "input", None), "set_transform")


def inverse_transform(pose: Tensor) -> Tensor:
    """What `FourierInput.transform` holds for a picture that is turned, then moved; differentiable.

    With the rotation R and the translation t of `gantrol.models.make_transform`, p ↦ R·p + t: p ↦ Rᵀ·p − Rᵀ·t.

    Args:
        pose: (x, y, angle) [3]: image widths, right and down; radians, counter-clockwise as seen.

    Returns:
        [3, 3].
    """
    x, y, angle = pose.unbind()
    cos, sin, zero, one = torch.cos(angle), torch.sin(angle), torch.zeros_like(x), torch.ones_like(x)
    entries = [cos, -sin, sin * y - cos * x, sin, cos, -sin * x - cos * y, zero, zero, one]
    return torch.stack(entries).view(3, 3)
