"""Products with banded matrices on the CPU, block by block inside its cache.

A resampling matrix is a band: an output needs only the inputs below its taps. A block of outputs therefore multiplies a
small dense block of the matrix with a slice of the signal, and the share of zeros no longer grows with the width. The
second reason for blocks is memory: the upsampled signal of an alias-free layer is many times larger than its input and
output, and here it lives only in a buffer that stays in the cache, from the product that makes it, through the
non-linearity, to the product that uses it up.

Short types have matrix units with wants of their own: large products whose sides are multiples of 32. Between two
stages they go by tiles instead: each block of rows and columns lies in a buffer of its own, padded with zeros. One
stage alone goes by whole rows: with so few products, filling the buffers costs more than it saves.

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

TILE = 160
"""The most rows and columns of a tile of the output, in short types."""

ALIGNED = 32
"""Sides of the matrices of a tile are multiples of this."""

STRIP_BYTES = 2**22
"""`CACHE_BYTES` for strips: their weights are arranged anew for each product, which pays for many planes only."""

STRIP = 72
"""The most columns that a filter that is not separable makes at a time; more would multiply more zeros."""

Place = tuple[slice, slice, slice]
"""Planes, rows and columns of the upsampled signal."""

Activate = Callable[[Tensor, Place, bool], object]
"""Changes a block of the upsampled signal in place, given its place and whether a limit is near.

The block is contiguous; with what is only padding it may have more rows and columns than the place has.
"""


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


class _Span(NamedTuple):
    """One side of a tile: outputs of an axis, the inputs that they read, and the matrices between (one per term)."""

    outputs: slice
    inputs: slice
    matrices: list[Tensor]  # [outputs, inputs], both padded with zeros

    @property
    def size(self) -> int:
        """Of the inputs, without padding."""
        return self.inputs.stop - self.inputs.start


def _spans(axis: Axis, matrices: Sequence[Tensor], outputs: Sequence[slice], size: int) -> list[_Span]:
    """A span for each of `outputs`, with as many inputs as the longest needs; outputs are padded to `size`."""
    inputs = [axis.inputs(some, matrices[0].shape[1]) for some in outputs]
    width = _aligned(max(some.stop - some.start for some in inputs))
    found = []
    for rows, columns in zip(outputs, inputs, strict=True):
        padding = (0, width - (columns.stop - columns.start), 0, size - (rows.stop - rows.start))
        found.append(_Span(rows, columns, [F.pad(m[rows, columns], padding) for m in matrices]))
    return found


def _aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def _even_steps(size: int, most: int) -> list[slice]:
    """Steps of at most so many, as equal as they can be: what is left over would be padded to a whole one."""
    return _steps(size, -(-size // -(-size // most)))


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
    padded = _aligned(max(inputs.stop - inputs.start for _, inputs in blocks))
    taps = F.pad(stage.kernel, (0, 1))
    found = []
    for outputs, inputs in blocks:
        column = torch.arange(inputs.start, inputs.start + padded)
        k = column * stage.x.up + stage.x.pad - torch.arange(outputs.start, outputs.stop)[:, None] * stage.x.down
        k = torch.where((k >= 0) & (k < stage.x.taps) & (column < inputs.stop), k, stage.x.taps)
        weight = taps[:, k].permute(1, 2, 0)[:, :, None].to(dtype)  # [w', V', 1, n_y]
        found.append(_Strip(outputs, inputs, weight.contiguous(memory_format=torch.channels_last)))
    return found


class _Bands:
    """A stage by bands of rows: what belongs to a band is cut from the matrices once, for up to `at_once` planes."""

    def __init__(self, stage: Stage, bands: Sequence[slice], columns: list[_Columns], at_once: int) -> None:
        height, self.width = stage.pairs[0][0].shape[1], stage.pairs[0][1].shape[1]
        self.columns = columns
        self.inputs = [stage.y.inputs(rows, height) for rows in bands]
        self.left = [
            [my[rows, inputs].expand(at_once, -1, -1) for my, _ in stage.pairs]
            for rows, inputs in zip(bands, self.inputs, strict=True)
        ]
        self.between = stage.pairs[0][0].new_empty(at_once * max(left[0].shape[1] for left in self.left) * self.width)
        self.takes_all = len(columns) == 1 and columns[0].inputs == slice(0, self.width)

    def __call__(self, band: int, x: Tensor, first_row: int, targets: Sequence[Tensor]) -> None:
        """Rows of the output from x [P', H', W], whose first row is `first_row` of H.

        `targets` [P'·rows, w'] are one for each block of columns.
        """
        inputs, planes = self.inputs[band], len(x)
        if inputs.stop - inputs.start != x.shape[1]:
            x = x[:, inputs.start - first_row : inputs.stop - first_row]
        for term, left in enumerate(self.left[band]):
            rows = planes * left.shape[1]
            t = self.between[: rows * self.width].view(rows, self.width)
            torch.bmm(left if planes == len(left) else left[:planes], x, out=t.view(planes, -1, self.width))
            for cols, target in zip(self.columns, targets, strict=True):
                part = t if self.takes_all else t[:, cols.inputs]
                if term == 0:
                    torch.mm(part, cols.matrices[term], out=target)
                else:
                    target.addmm_(part, cols.matrices[term])

    def into(self, band: int, x: Tensor, first_row: int, out: Tensor) -> None:
        """Rows of the output into out [P', rows, w], which need not be contiguous."""
        y = out if out.is_contiguous() else torch.empty(out.shape, dtype=out.dtype)
        flat = y.view(-1, y.shape[2])
        self(band, x, first_row, [flat] if self.takes_all else [flat[:, cols.outputs] for cols in self.columns])
        if y is not out:
            out.copy_(y)


def _row_step(stage: Stage, dtype: torch.dtype) -> int:
    """Output rows of a block, so that neither the zeros of the y-axis nor the rows that two blocks share cost much."""
    rows, width = stage.output_size
    if _is_short(dtype):
        return rows if rows * width * dtype.itemsize <= CACHE_BYTES // 2 else 64
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
    return max(-low.item(), high.item())  # both are NaN then


def resample_in_blocks(x: Tensor, stage: Stage) -> Tensor:
    """Applies one stage to x [N, C, H, W], not empty."""
    n, c = x.shape[:2]
    height, width = stage.output_size
    planes = planes_of(x)
    out = x.new_empty(n * c, height, width)
    step = _row_step(stage, x.dtype)
    at_once = min(max(CACHE_BYTES // (step * width * x.element_size()), 1), n * c)
    steps = _steps(height, step)
    bands = _Bands(stage, steps, _columns(stage, x.dtype), at_once)
    for some in _steps(n * c, at_once):
        for band, rows in enumerate(steps):
            bands.into(band, planes[some], 0, out[some, rows])
    return out.view(n, c, height, width)


def activate_between(
    x: Tensor, b: Tensor | None, first: Stage, second: Stage, activate: Activate, *, limit: float
) -> Tensor:
    """second(activate(first(x + b))).

    Args:
        x: [N, C, H, W], not empty.
        b: bias [C], or None.
        first: from H W to U V.
        second: from U V to h w.
        activate: called with each block of the signal between the two; what y does not depend on may never come, rows
            and columns may come twice.
        limit: `activate` is told whether the signal could reach this magnitude; infinity: it never can.

    Returns:
        y [N, C, h, w].
    """
    n, c = x.shape[:2]
    u, v = first.output_size
    height, width = second.output_size
    planes = planes_of(x)
    bias = None if b is None else b.to(x.dtype).repeat(n)[:, None, None]
    out = x.new_empty(n * c, height, width)
    if _is_short(x.dtype):
        run = _activate_in_strips if _convolves(second, x.dtype) else _activate_in_tiles
        run(planes, bias, first, second, activate, limit, out)
        return out.view(n, c, height, width)
    steps = _steps(height, _row_step(second, x.dtype))
    middles = [second.y.inputs(rows, u) for rows in steps]
    longest = max(middle.stop - middle.start for middle in middles)
    at_once = min(max(CACHE_BYTES // (longest * v * x.element_size()), 1), n * c)
    ups = _Bands(first, middles, _columns(first, x.dtype), at_once)
    downs = _Bands(second, steps, _columns(second, x.dtype), at_once)
    gain = peak_gain(first)
    buffer = x.new_empty(at_once * longest * v)
    for some in _steps(n * c, at_once):
        part = planes[some] if bias is None else planes[some] + bias[some]
        is_near = _is_near(part, gain, limit)
        for band, (rows, middle) in enumerate(zip(steps, middles, strict=True)):
            signal = buffer[: len(part) * (middle.stop - middle.start) * v].view(len(part), -1, v)
            ups.into(band, part, 0, signal)
            activate(signal, (some, middle, slice(0, v)), is_near)
            downs.into(band, signal, middle.start, out[some, rows] if len(steps) > 1 else out[some])
    return out.view(n, c, height, width)


def _is_near(part: Tensor, gain: float, limit: float, bias: Tensor | None = None) -> bool:
    """Whether `limit` could be reached by a signal that this part of the input, plus bias, makes; true of NaN."""
    if limit == math.inf:
        return False
    highest = peak(part) + (0 if bias is None else peak(bias))
    return not highest * gain * 1.05 < limit  # a margin for the rounding of short types


class _Products:
    """Σ M_y · x · M_xᵀ of tiles, up to `at_once` planes at a time, by the matrices of spans of rows and columns."""

    def __init__(self, rows: Sequence[_Span], columns: Sequence[_Span], at_once: int) -> None:
        # torch copies a matrix that is only expanded for each product anew.
        self.left = [[m.expand(at_once, -1, -1).contiguous() for m in span.matrices] for span in rows]
        self.right = [[m.T.contiguous() for m in span.matrices] for span in columns]
        left, right = self.left[0][0], self.right[0][0]
        self.between = left.new_empty(at_once, left.shape[1], right.shape[0])

    def __call__(self, row: int, column: int, x: Tensor, out: Tensor) -> None:
        """The tile at this row and column of tiles, from x [P', H', W'] into out [P', h', w'], both contiguous."""
        t = self.between[: len(x)]
        for term, (left, right) in enumerate(zip(self.left[row], self.right[column], strict=True)):
            torch.bmm(left[: len(x)], x, out=t)
            if term == 0:
                torch.mm(t.flatten(0, 1), right, out=out.flatten(0, 1))
            else:
                out.flatten(0, 1).addmm_(t.flatten(0, 1), right)


class _Tile:
    """A buffer for the tiles of an image, zero where a tile is smaller than the largest one."""

    def __init__(self, like: Tensor, rows: Sequence[_Span], columns: Sequence[_Span], at_once: int) -> None:
        self.memory = like.new_zeros(at_once, rows[0].matrices[0].shape[1], columns[0].matrices[0].shape[1])
        self.filled = (0, 0)

    def take(self, planes: Tensor, bias: Tensor | None, rows: _Span, columns: _Span) -> Tensor:
        """The inputs of these spans, plus bias [P', 1, 1]."""
        if self.filled != (rows.size, columns.size):
            self.memory.zero_()
            self.filled = (rows.size, columns.size)
        tile = self.memory[: len(planes)]
        target, image = tile[:, : rows.size, : columns.size], planes[:, rows.inputs, columns.inputs]
        if bias is None:
            target.copy_(image)
        else:
            torch.add(image, bias, out=target)
        return tile


def _activate_in_tiles(
    planes: Tensor, bias: Tensor | None, first: Stage, second: Stage, activate: Activate, limit: float, out: Tensor
) -> None:
    """`activate_between` of planes [P, H, W] into out [P, h, w], tile by tile."""
    note_path("filtered_lrelu", "tiles")
    sides = []
    for before, after, of, size in ((first.y, second.y, 0, out.shape[1]), (first.x, second.x, 1, out.shape[2])):
        outputs = _even_steps(size, TILE)
        down = _spans(after, [pair[of] for pair in second.pairs], outputs, outputs[0].stop)
        middle = down[0].matrices[0].shape[1]
        up = _spans(before, [pair[of] for pair in first.pairs], [span.inputs for span in down], middle)
        sides.append((up, down))
    (up_rows, down_rows), (up_columns, down_columns) = sides
    u, v = down_rows[0].matrices[0].shape[1], down_columns[0].matrices[0].shape[1]
    at_once = min(max(CACHE_BYTES // (u * v * planes.element_size()), 1), len(planes))
    tile = _Tile(planes, up_rows, up_columns, at_once)
    ups, downs = _Products(up_rows, up_columns, at_once), _Products(down_rows, down_columns, at_once)
    between = planes.new_empty(at_once, u, v)
    made = planes.new_empty(at_once, down_rows[0].outputs.stop, down_columns[0].outputs.stop)
    gain = peak_gain(first)
    for some in _steps(len(planes), at_once):
        part, added = planes[some], None if bias is None else bias[some]
        is_near = _is_near(part, gain, limit, added)
        for i, row in enumerate(down_rows):
            for j, column in enumerate(down_columns):
                signal, y = between[: len(part)], made[: len(part)]
                ups(i, j, tile.take(part, added, up_rows[i], up_columns[j]), signal)
                activate(signal, (some, row.inputs, column.inputs), is_near)
                downs(i, j, signal, y)
                target = out[some, row.outputs, column.outputs]
                target.copy_(y[:, : target.shape[1], : target.shape[2]])


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
    ups = _Bands(first, [middle for _, middle in bands], columns, at_once)
    for some in _steps(len(planes), at_once):
        part = planes[some] if bias is None else planes[some] + bias[some]
        is_near = _is_near(part, gain, limit)
        for band, (rows, middle) in enumerate(bands):
            length = middle.stop - middle.start
            signals = [strip[: len(part) * length * width].view(-1, width) for strip in buffer]
            ups(band, part, 0, signals)
            for strip, signal in zip(strips, signals, strict=True):
                signal = signal.view(len(part), length, width)
                activate(signal, (some, middle, strip.inputs), is_near)
                image = signal.permute(0, 2, 1)[:, :, None]  # [P', width, 1, U'], channels innermost
                y = F.conv2d(image, strip.weight, stride=(1, second.y.down))  # [P', w', 1, rows]
                out[some, rows, strip.outputs] = y[:, :, 0].transpose(1, 2)
