"""Products with banded matrices on the CPU, block by block inside its cache.

A resampling matrix is a band: an output needs only the inputs below its taps. A block of outputs therefore multiplies a
small dense block of the matrix with a slice of the signal, and the share of zeros no longer grows with the width. The
second reason for blocks is memory: the upsampled signal of an alias-free layer is many times larger than its input and
output, and here it lives only in a buffer that stays in the cache, from the product that makes it, through the
non-linearity, to the product that uses it up.

Dimensions: P planes (images · channels) · H W input pixels · U V upsampled pixels · h w output pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gantrol.ops.paths import note_path

CACHE_BYTES = 2**20
"""Size of the buffer for the signal between two stages; larger than a share of the second-level cache does not pay."""

WIDE = 160
"""Axes with up to so many outputs are one block: the matrix products lose less to zeros than to smallness."""

STRIP_BYTES = 2**22
"""`CACHE_BYTES` for strips: their weights are arranged anew for each product, which pays for many planes only."""

STRIP = 72
"""The most columns that a filter that is not separable makes at a time; more would multiply more zeros."""

Activate = Callable[[Tensor, slice, slice, bool], object]
"""Changes a block [P', U', V] of the upsampled signal in place, given its planes, rows and whether a limit is near."""


class Axis(NamedTuple):
    """How the outputs of one axis lie above its inputs: output o reads inputs i with 0 ≤ i·up + pad − o·down < taps."""

    up: int
    down: int
    pad: int
    taps: int

    def inputs(self, outputs: slice, size: int) -> slice:
        """Those of `size` inputs that these outputs read; never empty."""
        first = -((self.pad - outputs.start * self.down) // self.up)
        last = ((outputs.stop - 1) * self.down - self.pad + self.taps - 1) // self.up
        first = min(max(first, 0), size - 1)
        return slice(first, min(max(last, first), size - 1) + 1)


class Stage(NamedTuple):
    """A resampling: x ↦ Σ_r M_y,r · x · M_x,rᵀ."""

    pairs: Sequence[tuple[Tensor, Tensor]]
    """[(M_y [h, H], M_x [w, W]), …]"""
    y: Axis
    x: Axis
    kernel: Tensor | None = None
    """The taps [n_y, n_x] in the order in which they meet the inputs, gain included, if they are not separable."""

    @property
    def output_size(self) -> tuple[int, int]:
        """(h, w)."""
        return self.pairs[0][0].shape[0], self.pairs[0][1].shape[0]


class _Columns(NamedTuple):
    """A block of the x-axis: which columns it makes from which, and by which matrices (one per term of the sum)."""

    outputs: slice
    inputs: slice
    matrices: list[Tensor]  # [W', w'] each


def _is_short(dtype: torch.dtype) -> bool:
    """Short types have matrix units that want large blocks, and zeros cost them little."""
    return dtype in (torch.bfloat16, torch.float16)


def _steps(size: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def _columns(stage: Stage, dtype: torch.dtype) -> list[_Columns]:
    width, size = stage.pairs[0][1].shape
    # Each block of outputs reads as many inputs as lie below it: blocks that are equally wide on the finer side.
    step = width if width <= WIDE or _is_short(dtype) else max(128 // stage.x.down, 32)
    found = []
    for outputs in _steps(width, step):
        inputs = stage.x.inputs(outputs, size)
        found.append(_Columns(outputs, inputs, [mx[outputs, inputs].T.contiguous() for _, mx in stage.pairs]))
    return found


class _Strip(NamedTuple):
    """Some columns of the output of a filter that is not separable, and the columns of its input that they read."""

    outputs: slice
    inputs: slice
    weight: Tensor  # [w', V', 1, n_y], channels innermost; V' is a multiple of 32, the same for all, zero beyond inputs


def _convolves(stage: Stage, dtype: torch.dtype) -> bool:
    """Whether this second stage goes by strips: short types, taps that are not separable, no zeros inserted."""
    return stage.kernel is not None and _is_short(dtype) and stage.y.up == 1 and stage.y.pad == 0


def _strips(stage: Stage, dtype: torch.dtype) -> list[_Strip]:
    """Along x each row of the taps is a band of its own, M_k [w, W]; along y they are the taps of a convolution.

    y[o] = Σ_k M_k x[o·down + k]: with columns as channels that is one convolution with a kernel of n_y × 1, which the
    matrix units of a CPU compute without a copy of the signal.
    """
    assert stage.kernel is not None
    width, size = stage.pairs[0][1].shape
    count = -(-width // STRIP)
    blocks = [(outputs, stage.x.inputs(outputs, size)) for outputs in _steps(width, -(-width // count))]
    padded = -(-max(inputs.stop - inputs.start for _, inputs in blocks) // 32) * 32
    taps = F.pad(stage.kernel, (0, 1))
    found = []
    for outputs, inputs in blocks:
        column = torch.arange(inputs.start, inputs.start + padded)
        k = column * stage.x.up + stage.x.pad - torch.arange(outputs.start, outputs.stop)[:, None] * stage.x.down
        k = torch.where((k >= 0) & (k < stage.x.taps) & (column < inputs.stop), k, stage.x.taps)
        weight = taps[:, k].permute(1, 2, 0)[:, :, None].to(dtype)  # [w', V', 1, n_y]
        found.append(_Strip(outputs, inputs, weight.contiguous(memory_format=torch.channels_last)))
    return found


def _apply(stage: Stage, columns: list[_Columns], x: Tensor, first_row: int, rows: slice, out: Tensor) -> None:
    """Rows of the stage's output from x [P', H', W], whose first row is `first_row` of H, into out [P'·rows, w]."""
    _apply_to(stage, columns, x, first_row, rows, [out[:, cols.outputs] for cols in columns])


def _apply_to(
    stage: Stage, columns: list[_Columns], x: Tensor, first_row: int, rows: slice, targets: list[Tensor]
) -> None:
    """`_apply` with a target [P'·rows, w'] for each block of columns."""
    inputs = stage.y.inputs(rows, stage.pairs[0][0].shape[1])
    part = x[:, inputs.start - first_row : inputs.stop - first_row]
    for term, (my, _) in enumerate(stage.pairs):
        block = my[rows, inputs].expand(len(x), -1, -1)
        t = torch.bmm(block, part).flatten(0, 1)  # [P'·rows, W]
        for cols, target in zip(columns, targets, strict=True):
            if term == 0:
                torch.mm(t[:, cols.inputs], cols.matrices[term], out=target)
            else:
                target.addmm_(t[:, cols.inputs], cols.matrices[term])


def _row_step(stage: Stage, plane_bytes: int, dtype: torch.dtype) -> int:
    """Output rows of a block, so that neither the zeros of the y-axis nor the rows that two blocks share cost much."""
    rows = stage.output_size[0]
    if _is_short(dtype):
        return rows if plane_bytes <= CACHE_BYTES // 2 else 64
    return rows if rows * stage.y.down <= WIDE else 64 // stage.y.down


def planes_of(x: Tensor) -> Tensor:
    """x [N, C, H, W] as contiguous planes [P, H, W]."""
    n, c, h, w = x.shape
    if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
        return x.reshape(n * c, h, w).contiguous()
    # torch transposes matrices tile by tile, but images with channels innermost number by number.
    out = torch.empty((n, c, h * w), dtype=x.dtype)
    for target, image in zip(out, x, strict=True):
        target.copy_(image.permute(1, 2, 0).view(h * w, c).t())
    return out.view(n * c, h, w)


def peak_gain(stage: Stage) -> float:
    """The most by which a stage can enlarge a signal: |Σ M_y x M_xᵀ| ≤ this · max |x|."""
    return sum(float(my.abs().sum(1).amax() * mx.abs().sum(1).amax()) for my, mx in stage.pairs)


def peak(x: Tensor) -> float:
    """The largest magnitude in x; NaN if there is one."""
    low, high = torch.aminmax(x)
    return math.nan if low.isnan() else max(-low.item(), high.item())


def resample_in_blocks(x: Tensor, stage: Stage) -> Tensor:
    """Applies one stage to x [N, C, H, W], not empty."""
    n, c = x.shape[:2]
    height, width = stage.output_size
    planes = planes_of(x)
    out = x.new_empty(n * c, height, width)
    columns = _columns(stage, x.dtype)
    step = _row_step(stage, height * width * x.element_size(), x.dtype)
    at_once = max(CACHE_BYTES // (step * width * x.element_size()), 1)
    for some in _steps(n * c, at_once):
        for rows in _steps(height, step):
            _into(out[some, rows], stage, columns, planes[some], 0, rows)
    return out.view(n, c, height, width)


def _into(out: Tensor, stage: Stage, columns: list[_Columns], x: Tensor, first_row: int, rows: slice) -> None:
    """`_apply` into out [P', rows, w], which need not be contiguous."""
    if out.is_contiguous():
        _apply(stage, columns, x, first_row, rows, out.view(-1, out.shape[2]))
    else:
        buffer = torch.empty(out.shape, dtype=out.dtype)
        _apply(stage, columns, x, first_row, rows, buffer.view(-1, out.shape[2]))
        out.copy_(buffer)


def activate_between(
    x: Tensor, b: Tensor | None, first: Stage, second: Stage, activate: Activate, *, limit: float, keep: bool
) -> tuple[Tensor, Tensor | None]:
    """second(activate(first(x + b))).

    Args:
        x: [N, C, H, W], not empty.
        b: bias [C], or None.
        first: from H W to U V.
        second: from U V to h w.
        activate: called with each block of the signal between the two; rows may come twice unless it is kept.
        limit: `activate` is told whether the signal could reach this magnitude; infinity: it never can.
        keep: whether the activated signal is returned.

    Returns:
        y [N, C, h, w], and the activated signal [N, C, U, V] or None.
    """
    n, c = x.shape[:2]
    u, v = first.output_size
    height, width = second.output_size
    planes = planes_of(x)
    bias = None if b is None else b.to(x.dtype).repeat(n)[:, None, None]
    out = x.new_empty(n * c, height, width)
    if not keep and _convolves(second, x.dtype):
        _activate_in_strips(planes, bias, first, second, activate, limit, out)
        return out.view(n, c, height, width), None
    kept = x.new_empty(n * c, u, v) if keep else None
    up_columns, down_columns = _columns(first, x.dtype), _columns(second, x.dtype)
    plane_bytes = u * v * x.element_size()
    row_step = _row_step(second, plane_bytes, x.dtype)
    if keep and plane_bytes <= CACHE_BYTES // 4:
        row_step = height
    bands = [(rows, second.y.inputs(rows, u)) for rows in _steps(height, row_step)]
    longest = max(middle.stop - middle.start for _, middle in bands)
    at_once = min(max(CACHE_BYTES // (longest * v * x.element_size()), 1), n * c)
    if kept is not None and len(bands) > 1:
        at_once = 1  # a part of several planes is no matrix
    gain = peak_gain(first)
    buffer = x.new_empty(0 if keep else at_once * longest * v)

    for some in _steps(n * c, at_once):
        part = planes[some] if bias is None else planes[some] + bias[some]
        is_near = _is_near(part, gain, limit)
        if kept is not None:
            for rows in [slice(0, u)] if len(bands) == 1 else _steps(u, 64):
                _apply(first, up_columns, part, 0, rows, kept[some, rows].view(-1, v))
            signal = kept[some]
            activate(signal, some, slice(0, u), is_near)
            for rows, middle in bands:
                _into(out[some, rows], second, down_columns, signal[:, middle], middle.start, rows)
            continue
        for rows, middle in bands:
            signal = buffer[: len(part) * (middle.stop - middle.start) * v].view(len(part), -1, v)
            _apply(first, up_columns, part, 0, middle, signal.view(-1, v))
            activate(signal, some, middle, is_near)
            _into(out[some, rows], second, down_columns, signal, middle.start, rows)
    return out.view(n, c, height, width), None if kept is None else kept.view(n, c, u, v)


def _is_near(part: Tensor, gain: float, limit: float) -> bool:
    """Whether `limit` could be reached by a signal that this part of the input makes; true of NaN."""
    return limit < math.inf and not peak(part) * gain * 1.05 < limit  # a margin for the rounding of short types


def _activate_in_strips(
    planes: Tensor, bias: Tensor | None, first: Stage, second: Stage, activate: Activate, limit: float, out: Tensor
) -> None:
    """`activate_between` of planes [P, H, W] into out [P, h, w], the second stage as a convolution of strips."""
    note_path("filtered_lrelu", "strips")
    dtype, (height, _), (u, _) = planes.dtype, second.output_size, first.output_size
    strips = _strips(second, dtype)
    width = strips[0].weight.shape[1]
    columns = []  # the same strips as outputs of the first stage
    for strip in strips:
        inputs, zeros = first.x.inputs(strip.inputs, planes.shape[2]), width - (strip.inputs.stop - strip.inputs.start)
        matrices = [F.pad(mx[strip.inputs, inputs].T, (0, zeros)) for _, mx in first.pairs]
        columns.append(_Columns(strip.outputs, inputs, matrices))
    gain, size = peak_gain(first), len(strips) * width * planes.element_size()
    bands = [(rows, second.y.inputs(rows, u)) for rows in _steps(height, height if u * size <= STRIP_BYTES else 64)]
    longest = max(middle.stop - middle.start for _, middle in bands)
    at_once = min(max(STRIP_BYTES // (longest * size), 1), len(planes))
    buffer = planes.new_empty(len(strips), at_once * longest * width)
    for some in _steps(len(planes), at_once):
        part = planes[some] if bias is None else planes[some] + bias[some]
        is_near = _is_near(part, gain, limit)
        for rows, middle in bands:
            length = middle.stop - middle.start
            signals = [strip[: len(part) * length * width].view(-1, width) for strip in buffer]
            _apply_to(first, columns, part, 0, middle, signals)
            for strip, signal in zip(strips, signals, strict=True):
                signal = signal.view(len(part), length, width)
                activate(signal, some, middle, is_near)
                image = signal.permute(0, 2, 1)[:, :, None]  # [P', width, 1, U'], channels innermost
                y = F.conv2d(image, strip.weight, stride=(1, second.y.down))  # [P', w', 1, rows]
                out[some, rows, strip.outputs] = y[:, :, 0].transpose(1, 2)
