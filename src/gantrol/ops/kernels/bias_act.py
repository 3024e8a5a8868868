"""`bias_act` as one kernel, for activations of two straight pieces: linear, relu and lrelu.

The result tells the slope: its sign and its distance to the clamp. So the result is all that the backward pass keeps,
and the second derivative is the first one again.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


@triton.jit
def bias_act_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    bias_ptr,
    of_ptr,
    y_ptr,
    count,
    stride,
    channels,
    slope,
    gain,
    clamp,
    BLOCK: tl.constexpr,
    IS_WIDE: tl.constexpr,
):
    """clamp(gain·lrelu(x + bias)), or, where `of_ptr` is an earlier result, x times its slopes."""
    block = tl.program_id(0)
    if IS_WIDE:  # only then: divisions of 64 bits are slow
        block = block.to(tl.int64)
    offsets = block * BLOCK + tl.arange(0, BLOCK)
    is_inside = offsets < count
    v = tl.load(x_ptr + offsets, mask=is_inside, other=0.0).to(tl.float32)
    if bias_ptr is not None:
        v += tl.load(bias_ptr + offsets // stride % channels, mask=is_inside, other=0.0).to(tl.float32)
    if of_ptr is None:
        v = tl.where(v > 0, v, v * slope) * gain
        v = tl.minimum(tl.maximum(v, -clamp), clamp)
    else:
        of = tl.load(of_ptr + offsets, mask=is_inside, other=0.0).to(tl.float32)
        v = tl.where(tl.abs(of) < clamp, tl.where(of > 0, v, v * slope) * gain, 0.0)
    tl.store(y_ptr + offsets, v.to(y_ptr.dtype.element_ty), mask=is_inside)


def bias_act(x: Tensor, b: Tensor | None, dim: int, slope: float, gain: float, clamp: float) -> Tensor:
    """clamp(gain·lrelu(x + b)), in the memory layout of x where that has no gaps."""
    y = torch.empty_like(x)
    _run(_like(x, y), b, None, y, dim, slope, gain, clamp)
    return y


def sloped(z: Tensor, y: Tensor, slope: float, gain: float, clamp: float) -> Tensor:
    """z times the slopes of the activation that gave y."""
    result = torch.empty_like(y)
    _run(_like(z, y), None, y, result, 0, slope, gain, clamp)
    return result


def _like(x: Tensor, y: Tensor) -> Tensor:
    """x in the memory layout of y."""
    return x if x.stride() == y.stride() else torch.empty_like(y).copy_(x)


def _run(
    x: Tensor, b: Tensor | None, of: Tensor | None, y: Tensor, dim: int, slope: float, gain: float, clamp: float
) -> None:
    stride, channels = (x.stride(dim), x.shape[dim]) if b is not None else (1, 1)
    count = x.numel()
    with torch.cuda.device_of(x):
        bias_act_kernel[(triton.cdiv(count, BLOCK),)](
            x, b, of, y, count, stride, channels, slope, gain, clamp, BLOCK=BLOCK, IS_WIDE=count > 2**31 - BLOCK
        )
