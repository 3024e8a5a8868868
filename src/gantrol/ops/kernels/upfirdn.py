"""`upfirdn2d` as one kernel: windows of the input times small matrices (see `tiling`)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gantrol.ops.kernels.autotune import Launch, best_launch
from gantrol.ops.kernels.tiling import Blocks, axes, term_matrices
from gantrol.ops.kernels.windows import addressable, filter_windows
from gantrol.ops.resample import Resampling, taps_shape

LAUNCHES = (
    Launch(tile_y=64, tile_x=64, warps=4),
    Launch(tile_y=32, tile_x=64, warps=4),
    Launch(tile_y=32, tile_x=32, warps=4),
    Launch(tile_y=64, tile_x=128, warps=8),
)


@triton.jit
def upfirdn_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    y_ptr,
    ay_ptr,
    ax_ptr,
    channels,
    height,
    width,
    stride_n,
    stride_c,
    stride_h,
    stride_w,
    out_height,
    out_width,
    tiles_y,
    tiles_x,
    first_y,
    first_x,
    step_y,
    step_x,
    TERMS: tl.constexpr,
    COUNT_Y: tl.constexpr,
    WINDOW_Y: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    USED_Y: tl.constexpr,
    COUNT_X: tl.constexpr,
    WINDOW_X: tl.constexpr,
    BLOCK_X: tl.constexpr,
    USED_X: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One tile of one plane."""
    tile = tl.program_id(0)
    plane = (tile // (tiles_y * tiles_x)).to(tl.int64)
    tile_y, tile_x = tile // tiles_x % tiles_y, tile % tiles_x
    result = filter_windows(
        x_ptr + plane // channels * stride_n + plane % channels * stride_c,
        height,
        width,
        stride_h,
        stride_w,
        0.0,
        first_y + tile_y * COUNT_Y * step_y,
        first_x + tile_x * COUNT_X * step_x,
        step_y,
        step_x,
        ay_ptr,
        ax_ptr,
        TERMS,
        COUNT_Y,
        WINDOW_Y,
        BLOCK_Y,
        COUNT_X,
        WINDOW_X,
        BLOCK_X,
        PRECISION,
    )
    slots_y = tl.arange(0, COUNT_Y * BLOCK_Y)
    slots_x = tl.arange(0, COUNT_X * BLOCK_X)
    rows = (tile_y * COUNT_Y + slots_y // BLOCK_Y) * USED_Y + slots_y % BLOCK_Y
    columns = (tile_x * COUNT_X + slots_x // BLOCK_X) * USED_X + slots_x % BLOCK_X
    is_row = (slots_y % BLOCK_Y < USED_Y) & (rows < out_height)
    is_column = (slots_x % BLOCK_X < USED_X) & (columns < out_width)
    pointers = (y_ptr + plane * out_height * out_width) + columns[:, None] + rows[None, :] * out_width
    tl.store(pointers, result.to(y_ptr.dtype.element_ty), mask=is_column[:, None] & is_row[None, :])


def upfirdn2d(x: Tensor, f: Tensor | None, r: Resampling) -> Tensor:
    """`gantrol.ops.upfirdn2d` of a non-empty x [N, C, H, W] in any memory layout, for which there are blocks."""
    x = addressable(x)
    n, c, h, w = x.shape
    axis_y, axis_x = axes(r, f, (h, w))
    by, bx = Blocks.of(axis_y), Blocks.of(axis_x)
    assert by is not None
    assert bx is not None
    y = torch.empty(n, c, axis_y.size_out, axis_x.size_out, dtype=x.dtype, device=x.device)
    ay, ax = term_matrices(f, r, by.matrix, bx.matrix, (by, bx), x)

    def run(launch: Launch) -> None:
        count_y, count_x = max(launch.tile_y // by.block, 1), max(launch.tile_x // bx.block, 1)
        tiles_y, tiles_x = (-(-b.axis.size_out // (k * b.used)) for b, k in ((by, count_y), (bx, count_x)))
        upfirdn_kernel[(n * c * tiles_y * tiles_x,)](
            x,
            y,
            ay,
            ax,
            c,
            h,
            w,
            *x.stride(),
            axis_y.size_out,
            axis_x.size_out,
            tiles_y,
            tiles_x,
            by.first_input(0),
            bx.first_input(0),
            by.step,
            bx.step,
            TERMS=len(ax),
            COUNT_Y=count_y,
            WINDOW_Y=by.window,
            BLOCK_Y=by.block,
            USED_Y=by.used,
            COUNT_X=count_x,
            WINDOW_X=bx.window,
            BLOCK_X=bx.block,
            USED_X=bx.used,
            PRECISION="tf32x3",
            num_warps=launch.warps,
        )

    key = ("upfirdn2d", x.dtype, n * c, (h, w), r.pack(), taps_shape(f), len(ax))
    with torch.cuda.device_of(x):
        run(best_launch(key, LAUNCHES, run, x.device))
    return y
