"""`filtered_lrelu` as one kernel: upsampling, activation and downsampling of a tile without leaving the chip.

Forward, the kernel writes two bits for each upsampled sample: negative, clamped. Every derivative is then the same
kernel with the two resamplings transposed and exchanged, reading the bits instead of looking at the signal (see
`gantrol.ops.filtered_lrelu`). The bits of four neighbours along x share a byte.

Dimensions: M slots of upsampled samples · O slots of outputs, per axis y and x (see `tiling`). Tiles are transposed, x
first: the products come out that way.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from gantrol.ops.kernels.autotune import Launch, best_launch
from gantrol.ops.kernels.tiling import codes_shape, term_matrices, tiles
from gantrol.ops.kernels.windows import addressable, filter_windows
from gantrol.ops.resample import Resampling, taps_shape

LAUNCHES = (
    Launch(tile_y=64, tile_x=64, warps=4),
    Launch(tile_y=128, tile_x=64, warps=8),
    Launch(tile_y=128, tile_x=128, warps=8),
    Launch(tile_y=32, tile_x=32, warps=4),
)

TILE_BYTES = 2**15
"""Upsampled samples of a tile at most; the shared memory that a tile takes is two to four times as much."""

IGNORE, WRITE, READ = 0, 1, 2  # what is done with the bits


@triton.jit
def filtered_lrelu_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    bias_ptr,
    y_ptr,
    codes_ptr,
    ay_ptr,
    ax_ptr,
    dy_ptr,
    dx_ptr,
    channels,
    height,
    width,
    stride_n,
    stride_c,
    stride_h,
    stride_w,
    middle_height,
    middle_width,
    out_height,
    out_width,
    tiles_y,
    tiles_x,
    first_input_y,
    first_input_x,
    inputs_y,
    inputs_x,
    step_y,
    step_x,
    first_sample_y,
    first_sample_x,
    samples_y,
    samples_x,
    outputs_y,
    outputs_x,
    slope,
    clamp,
    MODE: tl.constexpr,
    UP_TERMS: tl.constexpr,
    DOWN_TERMS: tl.constexpr,
    COUNT_Y: tl.constexpr,
    WINDOW_Y: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    USED_Y: tl.constexpr,
    OUT_Y: tl.constexpr,
    COUNT_X: tl.constexpr,
    WINDOW_X: tl.constexpr,
    BLOCK_X: tl.constexpr,
    USED_X: tl.constexpr,
    OUT_X: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One tile of one plane."""
    M_Y: tl.constexpr = COUNT_Y * BLOCK_Y
    M_X: tl.constexpr = COUNT_X * BLOCK_X
    tile = tl.program_id(0)
    plane = (tile // (tiles_y * tiles_x)).to(tl.int64)
    tile_y, tile_x = tile // tiles_x % tiles_y, tile % tiles_x
    bias = 0.0
    if bias_ptr is not None:
        bias = tl.load(bias_ptr + plane % channels).to(tl.float32)
    v = filter_windows(
        x_ptr + plane // channels * stride_n + plane % channels * stride_c,
        height,
        width,
        stride_h,
        stride_w,
        bias,
        first_input_y + tile_y * inputs_y,
        first_input_x + tile_x * inputs_x,
        step_y,
        step_x,
        ay_ptr,
        ax_ptr,
        UP_TERMS,
        COUNT_Y,
        WINDOW_Y,
        BLOCK_Y,
        COUNT_X,
        WINDOW_X,
        BLOCK_X,
        PRECISION,
    )  # [M_x, M_y]

    slots_y = tl.arange(0, M_Y)
    slots_x = tl.arange(0, M_X)
    offset_y = slots_y // BLOCK_Y * USED_Y + slots_y % BLOCK_Y
    sample_y = first_sample_y + tile_y * samples_y + offset_y
    sample_x = first_sample_x + tile_x * samples_x + slots_x // BLOCK_X * USED_X + slots_x % BLOCK_X
    is_row = (slots_y % BLOCK_Y < USED_Y) & (sample_y >= 0) & (sample_y < middle_height)
    is_column = (slots_x % BLOCK_X < USED_X) & (sample_x >= 0) & (sample_x < middle_width)

    groups = tl.arange(0, M_X // 4) * 4  # the first slots of four that share a byte
    offset_g = groups // BLOCK_X * USED_X + groups % BLOCK_X
    sample_g = first_sample_x + tile_x * samples_x + offset_g
    is_group = (groups % BLOCK_X < USED_X) & (sample_g >= 0) & (sample_g < middle_width)
    shifts = (tl.arange(0, 4) * 2)[None, :, None]
    bytes_per_row = (middle_width + 3) // 4
    plane_codes_ptr = codes_ptr + plane * middle_height * bytes_per_row
    code_pointers = plane_codes_ptr + sample_y[None, :] * bytes_per_row + (sample_g // 4)[:, None]  # [M_x/4, M_y]

    if MODE == 2:  # READ
        packed = tl.load(code_pointers, mask=is_group[:, None] & is_row[None, :], other=0).to(tl.int32)
        codes = tl.reshape((packed[:, None, :] >> shifts) & 3, [M_X, M_Y])
        v = tl.where(codes >= 2, 0.0, tl.where(codes == 1, v * slope, v))
    else:
        is_negative = v <= 0
        v = tl.where(is_negative, v * slope, v)
        if MODE == 1:  # WRITE
            codes = is_negative.to(tl.int32) + 2 * (tl.abs(v) >= clamp).to(tl.int32)
            packed = tl.sum(tl.reshape(codes, [M_X // 4, 4, M_Y]) << shifts, axis=1)
            # Neighbouring tiles compute some samples twice; each byte has one that writes it.
            is_own_row = (offset_y < samples_y) | (tile_y == tiles_y - 1)
            is_own_group = (offset_g < samples_x) | (tile_x == tiles_x - 1)
            is_own = (is_group & is_own_group)[:, None] & (is_row & is_own_row)[None, :]
            tl.store(code_pointers, packed.to(tl.uint8), mask=is_own)
        v = tl.minimum(tl.maximum(v, -clamp), clamp)
    dtype = y_ptr.dtype.element_ty
    v = tl.where(is_column[:, None] & is_row[None, :], v, 0.0).to(dtype)

    o_y = tl.arange(0, OUT_Y)
    o_x = tl.arange(0, OUT_X)
    result = tl.zeros([OUT_X, OUT_Y], dtype=tl.float32)
    for term in tl.static_range(DOWN_TERMS):
        dy = tl.load(dy_ptr + term * OUT_Y * M_Y + slots_y[:, None] + o_y[None, :] * M_Y)  # [M_y, O_y]
        dx = tl.load(dx_ptr + term * OUT_X * M_X + o_x[:, None] * M_X + slots_x[None, :])  # [O_x, M_x]
        q = tl.dot(v, dy, input_precision=PRECISION).to(dtype)  # [M_x, O_y]
        result = tl.dot(dx, q, acc=result, input_precision=PRECISION)  # [O_x, O_y]

    row, column = tile_y * outputs_y + o_y, tile_x * outputs_x + o_x
    is_stored = ((o_x < outputs_x) & (column < out_width))[:, None] & ((o_y < outputs_y) & (row < out_height))[None, :]
    pointers = (y_ptr + plane * out_height * out_width) + column[:, None] + row[None, :] * out_width
    tl.store(pointers, result.to(dtype), mask=is_stored)


def filtered_lrelu(
    x: Tensor,
    b: Tensor | None,
    fu: Tensor | None,
    fd: Tensor | None,
    up: Resampling,
    down: Resampling,
    slope: float,
    clamp: float,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """(y, bits): `down`·clamp(lrelu(`up`·(x + b))), and the bits of the slopes, empty without `keep`.

    Args:
        x: non-empty [N, C, H, W] in any memory layout.
        b: [C], or None.
        fu, fd: taps, or None.
        up, down: the resamplings, for which there are tiles; the gain of the activation is part of `up`.
        slope, clamp: of the activation.
        keep: write the bits.
    """
    middle = up.output_size((x.shape[2], x.shape[3]), taps_shape(fu))
    codes = torch.empty(codes_shape(x, middle) if keep else 0, dtype=torch.uint8, device=x.device)
    return _run(x, b, codes, fu, fd, up, down, slope, clamp, WRITE if keep else IGNORE), codes


def sloped(
    z: Tensor,
    codes: Tensor,
    fa: Tensor | None,
    fb: Tensor | None,
    a: Resampling,
    b: Resampling,
    slope: float,
) -> Tensor:
    """`b`·(σ ⊙ `a`·z), with the slopes σ that `filtered_lrelu` kept as bits."""
    return _run(z, None, codes, fa, fb, a, b, slope, 0.0, READ)


def _run(
    x: Tensor,
    bias: Tensor | None,
    codes: Tensor,
    fu: Tensor | None,
    fd: Tensor | None,
    up: Resampling,
    down: Resampling,
    slope: float,
    clamp: float,
    mode: int,
) -> Tensor:
    x = addressable(x)
    n, c, h, w = x.shape
    middle = up.output_size((h, w), taps_shape(fu))
    out = down.output_size(middle, taps_shape(fd))
    y = torch.empty(n, c, *out, dtype=x.dtype, device=x.device)
    tiles_y, tiles_x = tiles(up, fu, down, fd, (h, w))
    launches = tuple(
        launch
        for launch in LAUNCHES
        if launch.tile_y in tiles_y
        and launch.tile_x in tiles_x
        and launch.tile_y * launch.tile_x * x.element_size() <= TILE_BYTES
    )

    def run(launch: Launch) -> None:
        ty, tx = tiles_y[launch.tile_y], tiles_x[launch.tile_x]
        by, bx = ty.blocks, tx.blocks
        ay, ax = term_matrices(fu, up, by.matrix, bx.matrix, (by, bx), x)
        dy, dx = term_matrices(fd, down, ty.matrix, tx.matrix, (ty, tx), x)
        filtered_lrelu_kernel[(n * c * ty.tiles * tx.tiles,)](
            x,
            bias,
            y,
            codes,
            ay,
            ax,
            dy,
            dx,
            c,
            h,
            w,
            *x.stride(),
            *middle,
            *out,
            ty.tiles,
            tx.tiles,
            by.first_input(ty.first_sample),
            bx.first_input(tx.first_sample),
            by.inputs(ty.samples),
            bx.inputs(tx.samples),
            by.step,
            bx.step,
            ty.first_sample,
            tx.first_sample,
            ty.samples,
            tx.samples,
            ty.outputs,
            tx.outputs,
            slope,
            clamp,
            MODE=mode,
            UP_TERMS=len(ax),
            DOWN_TERMS=len(dx),
            COUNT_Y=ty.count,
            WINDOW_Y=by.window,
            BLOCK_Y=by.block,
            USED_Y=by.used,
            OUT_Y=ty.output_slots,
            COUNT_X=tx.count,
            WINDOW_X=bx.window,
            BLOCK_X=bx.block,
            USED_X=bx.used,
            OUT_X=tx.output_slots,
            PRECISION="tf32x3",
            num_warps=launch.warps,
        )

    shapes = (*up.pack(), *down.pack(), *taps_shape(fu), *taps_shape(fd))
    key = ("filtered_lrelu", x.dtype, n * c, (h, w), mode, shapes)
    with torch.cuda.device_of(x):
        run(best_launch(key, launches, run, x.device))
    return y
