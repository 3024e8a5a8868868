"""The exact GELU, x·Φ(x), with the way back that gradient penalties take.

Φ is the distribution function of N(0, 1) and φ its density (Hendrycks & Gimpel 2016, arXiv 1606.08415):

    gelu(x)   = x·Φ(x)
    gelu'(x)  = Φ(x) + x·φ(x)
    gelu''(x) = φ(x)·(2 − x²)

torch computes the first two in one pass each. The second derivative it puts together from about ten operations, each a
pass over memory with a result of its own; on a CPU they are done here on a portion at a time that stays in its cache.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gantrol.ops.paths import note_path

PORTION_BYTES = 2**19
"""Size of what goes through all steps at once on a CPU: with two buffers it stays in the second-level cache."""


def gelu(x: Tensor) -> Tensor:
    """x·Φ(x), of any shape, as often differentiable as wanted; the second derivative on a CPU in portions."""
    if x.device.type != "cpu" or torch.compiler.is_compiling() or not (torch.is_grad_enabled() and x.requires_grad):
        return F.gelu(x)
    result: Tensor = _Gelu.apply(x)
    return result


def gelu_of_sum(x: Tensor, bias: Tensor | None) -> Tensor:
    """gelu(x + bias) in place of x, without gradients: rows [..., D] plus bias [D], some rows at a time.

    Args:
        x: contiguous; changed.
        bias: added in the type of `x`.

    Returns:
        x.
    """
    if x.numel() == 0:
        return x
    rows = x.view(-1, x.shape[-1])
    bias = None if bias is None else bias.to(x.dtype)
    for part in rows.split(max(PORTION_BYTES // (rows.shape[1] * x.element_size()), 1)):
        if bias is not None:
            part.add_(bias)
        torch.ops.aten.gelu_(part)
    return x


def gelu_second(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a·b·gelu''(x) of three tensors of one shape, computed in portions; no gradient passes through it."""
    shape = x.shape
    x, a, b = (t.detach().contiguous().view(-1) for t in (x, a, b))
    result = torch.empty_like(x)
    dtype = torch.promote_types(x.dtype, torch.float32)
    count = max(PORTION_BYTES // dtype.itemsize, 1)
    for x_, a_, b_, out in zip(*(t.split(count) for t in (x, a, b, result)), strict=True):
        square = x_.to(dtype).square()
        density = torch.mul(square, -0.5).exp_().mul_(1 / math.sqrt(2 * math.pi))
        out.copy_(density.mul_(square.neg_().add_(2)).mul_(a_).mul_(b_))
    return result.view(shape)


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.gelu(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        result: Tensor = _GeluBack.apply(grads[0], x)
        return result


class _GeluBack(torch.autograd.Function):
    """(grad, x) ↦ grad·gelu'(x)."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(grad, x)
        return torch.ops.aten.gelu_backward(grad, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (again,) = grads
        grad, x = ctx.saved_tensors
        of_grad: Tensor | None = None
        of_x: Tensor | None = None
        if torch.is_grad_enabled():  # a third derivative may follow: by torch's own composite of differentiable steps
            density = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
            if ctx.needs_input_grad[0]:
                of_grad = again * (0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * density)
            if ctx.needs_input_grad[1]:
                of_x = again * grad * density * (2 - x * x)
            return of_grad, of_x
        note_path("gelu_second", "portions")
        if ctx.needs_input_grad[0]:
            of_grad = torch.ops.aten.gelu_backward(again, x)
        if ctx.needs_input_grad[1]:
            of_x = gelu_second(x, again, grad)
        return of_grad, of_x
