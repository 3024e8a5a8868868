"""`bias_act`: bias, activation, gain and clamp in one call.

Dimensions: N batch, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F

from gantrol.errors import ConfigError, nearest
from gantrol.ops.paths import check_implementation, is_plain, note_path, refuse_kernels, wants_kernels

PORTION_BYTES = 2**19
"""Size of what goes through all steps at once on a CPU: with its result it stays in the second-level cache."""


@dataclass(frozen=True)
class Activation:
    """A pointwise nonlinearity with the default gain that keeps the signal's magnitude."""

    function: Callable[[torch.Tensor, float], torch.Tensor]
    gain: float = 1.0
    alpha: float = 0.0
    slope: Callable[[float], float] | None = None
    """Of the negative side, given alpha, where the function is two straight pieces; a fused kernel computes these."""


ACTIVATIONS = {
    "linear": Activation(lambda x, _: x, slope=lambda _: 1.0),
    "relu": Activation(lambda x, _: F.relu(x), gain=math.sqrt(2), slope=lambda _: 0.0),
    "lrelu": Activation(F.leaky_relu, gain=math.sqrt(2), alpha=0.2, slope=lambda alpha: alpha),
    "tanh": Activation(lambda x, _: torch.tanh(x)),
    "sigmoid": Activation(lambda x, _: torch.sigmoid(x)),
    "elu": Activation(lambda x, _: F.elu(x)),
    "selu": Activation(lambda x, _: F.selu(x)),
    "softplus": Activation(lambda x, _: F.softplus(x)),
    "swish": Activation(lambda x, _: torch.sigmoid(x) * x, gain=math.sqrt(2)),
}


@torch.library.custom_op("gantrol::bias_act", mutates_args=())
def _bias_act_op(
    x: torch.Tensor, b: torch.Tensor | None, dim: int, slope: float, gain: float, clamp: float, impl: str
) -> torch.Tensor:
    """clamp(gain·lrelu(x + b)); one kernel where there is one."""
    if x.numel() == 0:
        return torch.empty_like(x)
    clamp = representable(clamp, x.dtype)
    if wants_kernels(impl, x):
        from gantrol.ops.kernels import bias_act as kernels

        note_path("bias_act", "triton")
        return kernels.bias_act(x, b, dim, slope, gain, clamp)
    note_path("bias_act", "torch")
    x = x.clone() if b is None else x + _along(b, dim, x)
    return F.leaky_relu_(x, slope).mul_(gain).clamp_(-clamp, clamp)


@torch.library.custom_op("gantrol::bias_act_sloped", mutates_args=())
def _sloped_op(z: torch.Tensor, y: torch.Tensor, slope: float, gain: float, clamp: float, impl: str) -> torch.Tensor:
    """z times the slopes of the activation that gave y: gain where y > 0, gain·slope below, 0 where y is clamped."""
    if z.numel() == 0:
        return torch.empty_like(y)
    clamp = representable(clamp, y.dtype)
    if wants_kernels(impl, z):
        from gantrol.ops.kernels import bias_act as kernels

        note_path("bias_act_sloped", "triton")
        return kernels.sloped(z, y, slope, gain, clamp)
    note_path("bias_act_sloped", "torch")
    z = torch.ops.aten.leaky_relu_backward(z * gain, y, slope, True)
    return torch.where(y.abs() < clamp, z, 0)


@_bias_act_op.register_fake
def _(x, b, dim, slope, gain, clamp, impl):  # type: ignore[no-untyped-def]
    return torch.empty_like(x)


@_sloped_op.register_fake
def _(z, y, slope, gain, clamp, impl):  # type: ignore[no-untyped-def]
    return torch.empty_like(y)


def _bias_act_setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    _, b, dim, *ctx.options = inputs
    ctx.others = [axis for axis in range(output.ndim) if axis != dim % output.ndim]
    ctx.bias_dtype = None if b is None else b.dtype
    ctx.save_for_backward(output)


def _bias_act_backward(ctx, grad):  # type: ignore[no-untyped-def]
    (y,) = ctx.saved_tensors
    dx = _sloped_op(grad, y.detach(), *ctx.options)
    db = dx.sum(ctx.others).to(ctx.bias_dtype) if ctx.bias_dtype is not None and ctx.needs_input_grad[1] else None
    return dx, db, *[None] * 5


def _sloped_setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    _, y, *ctx.options = inputs
    ctx.save_for_backward(y)


def _sloped_backward(ctx, grad):  # type: ignore[no-untyped-def]
    (y,) = ctx.saved_tensors
    return _sloped_op(grad, y, *ctx.options), *[None] * 5


_bias_act_op.register_autograd(_bias_act_backward, setup_context=_bias_act_setup)
_sloped_op.register_autograd(_sloped_backward, setup_context=_sloped_setup)


@cache
def representable(bound: float, dtype: torch.dtype) -> float:
    """The bound as values of this type reach it: 0.7 is 0.69921875 in bfloat16."""
    return float(torch.tensor(bound, dtype=dtype))


def _along(b: torch.Tensor, dim: int, x: torch.Tensor) -> torch.Tensor:
    """b in x's type, shaped to be added along axis `dim` of x."""
    return b.to(x.dtype).reshape([-1 if axis == dim % x.ndim else 1 for axis in range(x.ndim)])


def _is_last_pass(x: torch.Tensor, b: torch.Tensor | None) -> bool:
    """Whether this is a large ordinary tensor on a CPU, and nothing will ask for gradients."""
    if x.device.type != "cpu" or not is_plain(x) or x.numel() * x.element_size() <= PORTION_BYTES:
        return False
    if torch.is_grad_enabled() and b is not None and b.requires_grad:
        return False
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


def _in_portions(
    x: torch.Tensor, b: torch.Tensor | None, slope: float, gain: float, clamp: float | None
) -> torch.Tensor:
    """bias_act of x [N, C, H, W] on a CPU: all steps on what fits its cache, instead of each on all of x."""
    note_path("bias_act", "portions")
    n, c, h, w = x.shape
    y = torch.empty_like(x)
    if x.is_contiguous():
        rows, target = x.view(n * c, h * w), y.view(n * c, h * w)
        bias = None if b is None else b.to(x.dtype).repeat(n)[:, None]  # [N·C, 1]
    else:
        rows, target = (t.permute(0, 2, 3, 1).view(n * h * w, c) for t in (x, y))
        bias = None if b is None else b.to(x.dtype).expand(n * h * w, c)
    step = max(PORTION_BYTES // (rows.shape[1] * x.element_size()), 1)
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        part = target[some]
        if bias is None:
            part.copy_(rows[some])
        else:
            torch.add(rows[some], bias[some], out=part)
        if slope != 1:
            F.leaky_relu_(part, slope)
        if gain != 1:
            part.mul_(gain)
        if clamp is not None:
            part.clamp_(-clamp, clamp)
    return y


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
        impl: "auto", "triton" to insist on the fused kernel, or "reference" for torch's own operations.

    Returns:
        A tensor like x. Differentiable in x and b, to any order that the activation allows.

    Raises:
        ConfigError: an unknown activation, a bias that does not fit, or no kernel where one is insisted on.

    Source: StyleGAN2 and StyleGAN3.
    """
    if act not in ACTIVATIONS:
        raise ConfigError(f"there is no activation {act!r}; {nearest(act, ACTIVATIONS)}")
    check_implementation(impl)
    activation = ACTIVATIONS[act]
    alpha = activation.alpha if alpha is None else float(alpha)
    factor = activation.gain if gain is None else float(gain)
    bound = None if clamp is None or clamp < 0 else float(clamp)
    if b is not None and (b.ndim != 1 or not -x.ndim <= dim < x.ndim or b.shape[0] != x.shape[dim]):
        raise ConfigError(
            f"b: expected one value for each index of axis {dim} of {tuple(x.shape)}, not {tuple(b.shape)}"
        )
    if impl == "triton" or (impl == "auto" and x.is_cuda):
        if activation.slope is not None and factor > 0 and alpha >= 0:
            bound = math.inf if bound is None else bound
            return _bias_act_op(x, b, dim, activation.slope(alpha), factor, bound, impl)
        refuse_kernels(impl, f"act={act!r} with gain {factor:g} and alpha {alpha:g}")
    if impl != "reference" and activation.slope is not None and x.ndim == 4 and dim == 1 and _is_last_pass(x, b):
        return _in_portions(x, b, activation.slope(alpha), factor, bound)
    x = activation.function(x if b is None else x + _along(b, dim, x), alpha)
    if factor != 1:
        x = x * factor
    return x if bound is None else x.clamp(-bound, bound)
