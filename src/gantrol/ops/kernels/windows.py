"""The first half of every resampling kernel: a tile of the image through the matrices of `tiling`.

Dimensions: K inputs of a window · B slots of a block · Y X blocks of the tile per axis.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor


def addressable(x: Tensor) -> Tensor:
    """x, copied where its strides within a plane are too long for the 32-bit arithmetic of the kernels."""
    return x if x.stride(2) * x.shape[2] + x.stride(3) * x.shape[3] < 2**31 else x.contiguous()


@triton.jit
def filter_windows(  # type: ignore[no-untyped-def]
    x_ptr,
    height,
    width,
    stride_h,
    stride_w,
    bias,
    y0,
    x0,
    step_y,
    step_x,
    ay_ptr,
    ax_ptr,
    TERMS: tl.constexpr,
    COUNT_Y: tl.constexpr,
    WINDOW_Y: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    COUNT_X: tl.constexpr,
    WINDOW_X: tl.constexpr,
    BLOCK_X: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Σ_terms A_xᵀ (x + bias) A_y of one plane, float32 and transposed: [X·B, Y·B].

    Overlapping windows are read more than once; the cache serves all reads but the first.
    """
    rows = tl.arange(0, COUNT_Y * WINDOW_Y)
    columns = tl.arange(0, COUNT_X * WINDOW_X)
    rows = y0 + rows // WINDOW_Y * step_y + rows % WINDOW_Y
    columns = x0 + columns // WINDOW_X * step_x + columns % WINDOW_X
    is_inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None, :]
    pointers = x_ptr + rows[:, None] * stride_h + columns[None, :] * stride_w
    x = tl.load(pointers, mask=is_inside, other=0.0)  # [Y·K, X·K]
    dtype = x.dtype
    x = tl.where(is_inside, x.to(tl.float32) + bias, 0.0).to(dtype)  # the padding stays zero
    x = tl.reshape(x, [COUNT_Y * WINDOW_Y * COUNT_X, WINDOW_X])
    ax_offsets = tl.arange(0, WINDOW_X)[:, None] * BLOCK_X + tl.arange(0, BLOCK_X)[None, :]
    ay_offsets = tl.arange(0, WINDOW_Y)[:, None] * BLOCK_Y + tl.arange(0, BLOCK_Y)[None, :]
    result = tl.zeros([COUNT_X * BLOCK_X * COUNT_Y, BLOCK_Y], dtype=tl.float32)
    for term in tl.static_range(TERMS):
        ax = tl.load(ax_ptr + term * WINDOW_X * BLOCK_X + ax_offsets)
        ay = tl.load(ay_ptr + term * WINDOW_Y * BLOCK_Y + ay_offsets)
        t = tl.dot(x, ax, input_precision=PRECISION).to(dtype)  # [Y·K·X, B]
        t = tl.reshape(t, [COUNT_Y, WINDOW_Y, COUNT_X * BLOCK_X])
        t = tl.reshape(tl.permute(t, [2, 0, 1]), [COUNT_X * BLOCK_X * COUNT_Y, WINDOW_Y])
        result = tl.dot(t, ay, acc=result, input_precision=PRECISION)  # [X·B·Y, B]
    return tl.reshape(result, [COUNT_X * BLOCK_X, COUNT_Y * BLOCK_Y])
