"""How resampling is cut into tiles whose filters are small matrices, all alike.

Along one axis, `upfirdn2d` is y[o] = Σ_i f[i·up + pad − o·down]·x[i] (see `gantrol.ops.resample`). Outputs are taken in
*blocks*. A block reads a *window* of a few inputs, and because blocks start at multiples of up/gcd(up, down), every
block of the image relates to its window by the same small matrix

    A[k, b] = f[k·up + phase − b·down],          k of the window, b of the block.

Sixteen samples of the usual 2× upsampling with 12 taps need 14 inputs: a 16×16 matrix, the size that tensor cores
multiply. The downsampling after a nonlinearity reads samples that are on the chip already, where windows cannot
overlap; it is one matrix for the tile,

    D[o, m] = f[m − lead − o·down].

Dimensions of a tile: B slots of a block · K inputs of a window · M slots of upsampled samples · O slots of outputs; all
are powers of two, so some slots are empty. Filters with two axes are sums of separable ones: a matrix per term.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from gantrol.ops.resample import Resampling, separable_factors, taps_shape

SMALLEST = 16
"""Tensor cores multiply nothing smaller."""

LARGEST_WINDOW = 128
"""Longer windows have longer filters than kernels are worth having for."""


def power_of_two(value: int) -> int:
    """The smallest power of two that is not below `value`, and not below what tensor cores take."""
    return max(SMALLEST, 1 << (value - 1).bit_length())


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a resampling."""

    up: int
    down: int
    pad: int
    taps: int
    size_in: int
    size_out: int


def axes(r: Resampling, f: Tensor | None, size: tuple[int, int]) -> tuple[Axis, Axis]:
    """(y, x) of a resampling of images of `size` (H, W)."""
    taps, out = taps_shape(f), r.output_size(size, taps_shape(f))
    y, x = (
        Axis(up=r.up[i], down=r.down[i], pad=r.pads[2 * i], taps=taps[1 - i], size_in=size[1 - i], size_out=out[1 - i])
        for i in (1, 0)
    )
    return y, x


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Blocks of outputs of one axis, and the windows that they read."""

    axis: Axis
    block: int
    """Slots B of a block."""
    used: int
    """Outputs of a block; the slots behind them are empty."""
    window: int
    """Inputs K of a window."""
    phase: int
    """Of the first output of a block against its first input."""

    @classmethod
    def of(cls, axis: Axis, *, start: int = 0, align: int = 1) -> Blocks | None:
        """The cheapest blocks that start at `start` + multiples of `align`; None if every window is too long."""
        granule = math.lcm(align, axis.up // math.gcd(axis.up, axis.down))
        found = []
        for block in {power_of_two(granule), 2 * power_of_two(granule)}:
            used = block // granule * granule
            phase = (axis.pad - start * axis.down) % axis.up
            window = power_of_two(((used - 1) * axis.down + axis.taps - 1 - phase) // axis.up + 1)
            if window <= LARGEST_WINDOW:
                products = window * (window / used + 1)  # per output, both axes being like this one
                found.append((products, cls(axis=axis, block=block, used=used, window=window, phase=phase)))
        return min(found, key=lambda pair: pair[0])[1] if found else None

    @property
    def step(self) -> int:
        """Inputs from one window to the next."""
        return self.inputs(self.used)

    def inputs(self, outputs: int) -> int:
        """How far the first input moves when the first output moves by `outputs`, a multiple of the granule."""
        return outputs * self.axis.down // self.axis.up

    def first_input(self, output: int) -> int:
        """The input at which the window of a block that starts at `output` starts."""
        return (output * self.axis.down - self.axis.pad + self.phase) // self.axis.up

    def matrix(self, taps: Tensor) -> Tensor:
        """A [K, B]."""
        k, b = torch.arange(self.window)[:, None], torch.arange(self.block)[None, :]
        return _gather(taps, k * self.axis.up + self.phase - b * self.axis.down, b < self.used)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One axis of a tile of `filtered_lrelu`: blocks of upsampled samples, and the outputs made of them."""

    blocks: Blocks
    down: Axis
    count: int
    """Blocks in the tile."""
    outputs: int
    """Outputs in the tile."""
    lead: int
    """Samples before the first one that the first output reads: codes of four samples share a byte."""

    @classmethod
    def of(cls, up: Axis, down: Axis, slots: int) -> Tile | None:
        """A tile with so many slots M of upsampled samples; None if it is too small."""
        lead = -down.pad % 4
        blocks = Blocks.of(up, start=-down.pad - lead, align=4)
        if blocks is None or blocks.block > slots:
            return None
        count = slots // blocks.block
        room = (count * blocks.used - lead - down.taps) // down.down + 1
        granule = math.lcm(4, up.up)
        granule //= math.gcd(granule, down.down)  # tiles, too, start in phase and at whole bytes
        outputs = room // granule * granule
        if outputs < 1:
            return None
        return cls(blocks=blocks, down=down, count=count, outputs=outputs, lead=lead)

    @property
    def slots(self) -> int:
        """Slots M."""
        return self.count * self.blocks.block

    @property
    def output_slots(self) -> int:
        """Slots O."""
        return power_of_two(self.outputs)

    @property
    def first_sample(self) -> int:
        """The upsampled sample at which the first tile starts."""
        return -self.down.pad - self.lead

    @property
    def samples(self) -> int:
        """Upsampled samples from one tile to the next."""
        return self.outputs * self.down.down

    @property
    def tiles(self) -> int:
        return -(-self.down.size_out // self.outputs)

    def matrix(self, taps: Tensor) -> Tensor:
        """D [O, M]."""
        o, m = torch.arange(self.output_slots)[:, None], torch.arange(self.slots)[None, :]
        within = m % self.blocks.block
        sample = m // self.blocks.block * self.blocks.used + within
        return _gather(taps, sample - self.lead - o * self.down.down, within < self.blocks.used)


SLOTS = (32, 64, 128)
"""Sizes of tiles: slots M of upsampled samples along one axis."""

SURE_SLOTS = 64
"""The size that has a launch in every type."""


def tiles(
    up: Resampling, fu: Tensor | None, down: Resampling, fd: Tensor | None, size: tuple[int, int]
) -> list[dict[int, Tile]]:
    """The possible tiles of `filtered_lrelu` on images of `size`: by their slots, along y and along x."""
    if up.down != (1, 1) or down.up != (1, 1):
        return [{}, {}]
    firsts = axes(up, fu, size)
    seconds = axes(down, fd, (firsts[0].size_out, firsts[1].size_out))
    return [_axis_tiles(first, second) for first, second in zip(firsts, seconds, strict=True)]


@lru_cache(maxsize=1024)
def _axis_tiles(up: Axis, down: Axis) -> dict[int, Tile]:
    tried = ((slots, Tile.of(up, down, slots)) for slots in SLOTS)
    return {slots: tile for slots, tile in tried if tile is not None}


def has_tiles(up: Resampling, fu: Tensor | None, down: Resampling, fd: Tensor | None, size: tuple[int, int]) -> bool:
    """Whether the kernel of `filtered_lrelu` can do this."""
    return all(SURE_SLOTS in possible for possible in tiles(up, fu, down, fd, size))


def has_blocks(r: Resampling, f: Tensor | None, size: tuple[int, int]) -> bool:
    """Whether the kernel of `upfirdn2d` can do this."""
    return all(Blocks.of(axis) is not None for axis in axes(r, f, size))


CODES_PER_BYTE = 4


def codes_shape(x: Tensor, middle: tuple[int, int]) -> tuple[int, int, int, int]:
    """The shape of the bits kept of upsampled samples [N, C, U, V]: uint8 [N, C, U, ⌈V/4⌉]."""
    return x.shape[0], x.shape[1], middle[0], -(-middle[1] // CODES_PER_BYTE)


def _gather(taps: Tensor, index: Tensor, is_used: Tensor) -> Tensor:
    """taps[index], zero outside of the filter and in empty slots."""
    is_tap = (index >= 0) & (index < len(taps)) & is_used
    return torch.where(is_tap, taps[index.clamp(0, len(taps) - 1)], 0.0)


# ---------------------------------------------------------------------------------------------------------------------
# Matrices on the device, made once for a filter


Shape = Callable[[Tensor], Tensor]
_known: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
_no_filter = torch.ones(1)


def term_matrices(
    f: Tensor | None, r: Resampling, y: Shape, x: Shape, key: tuple[Any, ...], like: Tensor
) -> tuple[Tensor, Tensor]:
    """Matrices of both axes of every term of a filter, in the type and on the device of `like`.

    Args:
        f: taps, or None.
        r: gives the direction of the taps and the gain, which goes half to each axis.
        y, x: make a matrix of the taps of one axis, in the order in which they meet the inputs.
        key: everything that `y` and `x` depend on.

    Returns:
        Two tensors [terms, rows, columns].
    """
    f = _no_filter if f is None else f
    version = 0 if f.is_inference() else f._version
    known: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = _known.setdefault(f, {})
    key = (*key, r.gain, r.flip_filter, version, like.dtype, like.device)
    if key not in known:
        root = abs(r.gain) ** 0.5
        order = [] if r.flip_filter else [0]
        pairs = [(a.flip(order) * root, b.flip(order) * math.copysign(root, r.gain)) for a, b in _terms(f, like.dtype)]
        known[key] = _send([y(a) for a, _ in pairs], like), _send([x(b) for _, b in pairs], like)
    return known[key]


def _send(matrices: list[Tensor], like: Tensor) -> Tensor:
    """The matrices as one tensor in the type and on the device of `like`, without waiting for the device."""
    together = torch.stack(matrices).to(like.dtype)
    return together.pin_memory().to(like.device, non_blocking=True) if like.is_cuda else together


def _terms(f: Tensor, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Separable terms of a filter, float64; those that the type's rounding hides are left out."""
    if f.ndim == 1:
        taps = f.detach().double().cpu()
        return [(taps, taps)]
    pairs = separable_factors(f)
    sizes = [float(a.norm() * b.norm()) for a, b in pairs]
    return [pair for pair, size in zip(pairs, sizes, strict=True) if size > sizes[0] * torch.finfo(dtype).eps / 4]
