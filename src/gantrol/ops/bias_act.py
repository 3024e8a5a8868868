"""`bias_act`: bias, activation, gain and clamp in one call.

Dimensions: N batch, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from gantrol.errors import ConfigError, nearest


@dataclass(frozen=True)
class Activation:
    """A pointwise nonlinearity with the default gain that keeps the signal's magnitude."""

    function: Callable[[torch.Tensor, float], torch.Tensor]
    gain: float = 1.0
    alpha: float = 0.0


ACTIVATIONS = {
    "linear": Activation(lambda x, _: x),
    "relu": Activation(lambda x, _: F.relu(x), gain=math.sqrt(2)),
    "lrelu": Activation(lambda x, alpha: F.leaky_relu(x, alpha), gain=math.sqrt(2), alpha=0.2),
    "tanh": Activation(lambda x, _: torch.tanh(x)),
    "sigmoid": Activation(lambda x, _: torch.sigmoid(x)),
    "elu": Activation(lambda x, _: F.elu(x)),
    "selu": Activation(lambda x, _: F.selu(x)),
    "softplus": Activation(lambda x, _: F.softplus(x)),
    "swish": Activation(lambda x, _: torch.sigmoid(x) * x, gain=math.sqrt(2)),
}


def bias_act(
    x: torch.Tensor,
    b: torch.Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    impl: str = "auto",
) -> torch.Tensor:
    """Adds a bias, applies an activation, scales and clamps, in this order.

    Args:
        x: any shape, any floating type.
        b: bias of size x.shape[dim], or None.
        dim: the axis of x that b belongs to.
        act: one of `ACTIVATIONS`.
        alpha: slope of "lrelu"; None takes 0.2.
        gain: factor after the activation; None takes the activation's default.
        clamp: bound on the magnitude of the result, or None.
        impl: "auto" or "reference"; torch's own operations are both.

    Returns:
        A tensor like x. Differentiable in x and b, to any order that the activation allows.

    Raises:
        ConfigError: an unknown activation, or a bias that does not fit.

    Source: StyleGAN2 and StyleGAN3.
    """
    if act not in ACTIVATIONS:
        raise ConfigError(f"there is no activation {act!r}; {nearest(act, ACTIVATIONS)}")
    if impl not in ("auto", "reference"):
        raise ConfigError(f"impl={impl!r}: expected 'auto' or 'reference'")
    activation = ACTIVATIONS[act]
    if b is not None:
        if b.ndim != 1 or not -x.ndim <= dim < x.ndim or b.shape[0] != x.shape[dim]:
            raise ConfigError(
                f"b: expected one value for each index of axis {dim} of {tuple(x.shape)}, not {tuple(b.shape)}"
            )
        x = x + b.to(x.dtype).reshape([-1 if axis == dim % x.ndim else 1 for axis in range(x.ndim)])
    x = activation.function(x, activation.alpha if alpha is None else float(alpha))
    factor = activation.gain if gain is None else float(gain)
    if factor != 1:
        x = x * factor
    if clamp is not None and clamp >= 0:
        x = x.clamp(-clamp, clamp)
    return x
