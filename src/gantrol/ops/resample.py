"""`upfirdn2d`: pad, upsample, filter and downsample images — the linear half of every alias-free layer.

Along one axis the operation is a banded matrix, M[o, i] = f[i·up + pad₀ − o·down], with f the (flipped) taps. On a CPU
the products with M are dense matrix products, which run near the machine's peak, while depthwise convolutions do not:

    y = M_y · x · M_xᵀ            (1-D taps)
    y = Σ_r M_y,r · x · M_x,rᵀ     (2-D taps, written as a short sum of separable ones by their singular values)

Its adjoint is the same operation with up and down exchanged and the taps reversed, hence derivatives of every order.

Dimensions: N batch, C channels, H W input pixels, h w output pixels, n taps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F

from gantrol.errors import ConfigError
from gantrol.ops.blocks import WIDE, Axis, Stage, planes_of, resample_in_blocks
from gantrol.ops.paths import check_implementation, is_plain, note_path, refuse_kernels, wants_kernels

Padding = int | Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """Everything about one `upfirdn2d` except its taps. Pads are at the upsampled rate; negative ones crop."""

    up: tuple[int, int] = (1, 1)
    """Upsampling factors (x, y)."""
    down: tuple[int, int] = (1, 1)
    """Downsampling factors (x, y)."""
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Left, right, top, bottom."""
    flip_filter: bool = False
    """False: convolution; True: correlation."""
    gain: float = 1.0
    """Factor on the output."""

    def pack(self) -> list[int]:
        """The integers as one flat list, the form that registered operators take."""
        return [*self.up, *self.down, *self.pads, int(self.flip_filter)]

    @classmethod
    def unpack(cls, packed: Sequence[int], gain: float) -> Resampling:
        ux, uy, dx, dy, left, right, top, bottom, flip = packed
        return cls(up=(ux, uy), down=(dx, dy), pads=(left, right, top, bottom), flip_filter=bool(flip), gain=gain)

    def output_size(self, size: tuple[int, int], taps: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the result for an input of `size` (H, W) and a filter of `taps` (n_y, n_x)."""
        left, right, top, bottom = self.pads
        padded_h = size[0] * self.up[1] + top + bottom
        padded_w = size[1] * self.up[0] + left + right
        return (padded_h - taps[0]) // self.down[1] + 1, (padded_w - taps[1]) // self.down[0] + 1

    def adjoint(self, size: tuple[int, int], taps: tuple[int, int]) -> Resampling:
        """The transposed operation: maps gradients of the output back to an input of `size` (H, W)."""
        h, w = self.output_size(size, taps)
        left, _, top, _ = self.pads
        pads = (
            taps[1] - left - 1,
            size[1] * self.up[0] - w * self.down[0] + left - self.up[0] + 1,
            taps[0] - top - 1,
            size[0] * self.up[1] - h * self.down[1] + top - self.up[1] + 1,
        )
        return replace(self, up=self.down, down=self.up, pads=pads, flip_filter=not self.flip_filter)


def taps_shape(f: torch.Tensor | None) -> tuple[int, int]:
    """(n_y, n_x) of a filter as applied to images; None is the identity."""
    if f is None:
        return 1, 1
    return (f.shape[0], f.shape[0]) if f.ndim == 1 else (f.shape[0], f.shape[1])


# ---------------------------------------------------------------------------------------------------------------------
# Matrices


@lru_cache(maxsize=4096)
def _band_index(
    size: int, taps: int, up: int, down: int, pad0: int, pad1: int, reverse: bool, device: torch.device
) -> torch.Tensor:
    """int64 [out, size]: which tap stands at M[o, i]; `taps` (a zero appended by the caller) where there is none."""
    out = (size * up + pad0 + pad1 - taps) // down + 1
    k = torch.arange(size)[None, :] * up + pad0 - torch.arange(out)[:, None] * down
    k = torch.where((k >= 0) & (k < taps), taps - 1 - k if reverse else k, taps)
    return k.to(device)


def _band_matrix(taps: torch.Tensor, index: torch.Tensor, gain: float) -> torch.Tensor:
    return F.pad(taps * gain, (0, 1))[index]


class _SeparableFactors:
    """Writes 2-D taps as Σ_r outer(a_r, b_r); remembers the factors (float64, CPU) of recent filters.

    A single row or column is its own factor: its values are not read, so that a device is not waited for.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[torch.Tensor, int, list[tuple[torch.Tensor, torch.Tensor]]]] = {}

    def __call__(self, f: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        if 1 in f.shape:
            one = f.new_ones(1)
            return [(one, f[0])] if f.shape[0] == 1 else [(f[:, 0], one)]
        known = self._known.get(id(f))
        # The entry holds the tensor, so that its id cannot be taken by another one while it is listed.
        version = 0 if f.is_inference() else f._version
        if known is not None and known[0] is f and known[1] == version:
            return known[2]
        u, s, vh = torch.linalg.svd(f.detach().double().cpu())
        rank = int((s > s[0] * 1e-8).sum())
        root = s.sqrt()
        pairs = [(u[:, r] * root[r], vh[r] * root[r]) for r in range(rank)]
        if len(self._known) >= 256:
            self._known.clear()
        self._known[id(f)] = (f, version, pairs)
        return pairs


separable_factors = _SeparableFactors()


def axis_matrices(
    f: torch.Tensor | None, r: Resampling, size: tuple[int, int], dtype: torch.dtype, device: torch.device
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """[(M_y [h, H], M_x [w, W]), …] such that the resampling of x is Σ M_y x M_xᵀ, r.gain included."""
    if f is None:
        pairs = [(torch.ones(1), torch.ones(1))]
    elif f.ndim == 1:
        pairs = [(f, f)]
    else:
        pairs = separable_factors(f)
    ny, nx = taps_shape(f)
    left, right, top, bottom = r.pads
    reverse = not r.flip_filter  # a convolution reads the taps backwards
    index_y = _band_index(size[0], ny, r.up[1], r.down[1], top, bottom, reverse, device)
    index_x = _band_index(size[1], nx, r.up[0], r.down[0], left, right, reverse, device)
    root = abs(r.gain) ** 0.5
    sign = 1.0 if r.gain >= 0 else -1.0
    return [
        (
            _band_matrix(a.to(dtype).to(device), index_y, root),
            _band_matrix(b.to(dtype).to(device), index_x, root * sign),
        )
        for a, b in pairs
    ]


def stage(
    x: torch.Tensor, f: torch.Tensor | None, r: Resampling, size: tuple[int, int], *, with_kernel: bool = False
) -> Stage:
    """The resampling of images of `size` (H, W) in x's type, as blocks of its matrices are taken from it.

    `with_kernel`: with the taps themselves, too, where they are not separable.
    """
    ny, nx = taps_shape(f)
    left, _, top, _ = r.pads
    pairs = axis_matrices(f, r, size, x.dtype, x.device)
    kernel = None
    if with_kernel and f is not None and len(pairs) > 1:
        kernel = (f if r.flip_filter else f.flip([0, 1])).to(x.device) * r.gain
    return Stage(pairs, Axis(r.up[1], r.down[1], top, ny), Axis(r.up[0], r.down[0], left, nx), kernel)


def resample(x: torch.Tensor, f: torch.Tensor | None, r: Resampling) -> torch.Tensor:
    """`upfirdn2d` of a contiguous, non-empty x [N, C, H, W] as Σ M_y x M_xᵀ; x itself where nothing is to be done."""
    if f is None and r == Resampling(flip_filter=r.flip_filter, gain=r.gain):
        return x if r.gain == 1 else x * r.gain
    banded = stage(x, f, r, (x.shape[2], x.shape[3]))
    if x.device.type == "cpu" and max(*banded.output_size, *x.shape[2:]) > WIDE:
        note_path("resample", "blocks")
        return resample_in_blocks(x, banded)
    result: torch.Tensor | None = None
    for my, mx in banded.pairs:
        # The axis that shrinks most (or grows least) goes first.
        rows_first = my.shape[0] * mx.shape[1] < my.shape[1] * mx.shape[0]
        y = torch.matmul(torch.matmul(my, x), mx.T) if rows_first else torch.matmul(my, torch.matmul(x, mx.T))
        result = y if result is None else result.add_(y)
    assert result is not None
    return result


# ---------------------------------------------------------------------------------------------------------------------
# Reference: the definition, step by step, with torch's own differentiable operations


def upfirdn2d_reference(x: torch.Tensor, f: torch.Tensor | None, r: Resampling) -> torch.Tensor:
    """The definition: zero-stuff, pad or crop, convolve each channel with the filter, keep every down-th sample."""
    n, c, h, w = x.shape
    (ux, uy), (dx, dy), (left, right, top, bottom) = r.up, r.down, r.pads
    x = x.reshape(n, c, h, 1, w, 1)
    x = F.pad(x, [0, ux - 1, 0, 0, 0, uy - 1]).reshape(n, c, h * uy, w * ux)
    x = F.pad(x, [max(left, 0), max(right, 0), max(top, 0), max(bottom, 0)])
    x = x[:, :, max(-top, 0) : x.shape[2] - max(-bottom, 0), max(-left, 0) : x.shape[3] - max(-right, 0)]
    if f is None:
        x = x * r.gain
    else:
        taps = (f * r.gain ** (f.ndim / 2) if r.gain >= 0 else f).to(x)
        if not r.flip_filter:
            taps = taps.flip(list(range(taps.ndim)))
        if taps.ndim == 2:
            x = F.conv2d(x, taps.expand(c, 1, *taps.shape), groups=c)
        else:
            x = F.conv2d(x, taps[:, None].expand(c, 1, -1, 1), groups=c)
            x = F.conv2d(x, taps[None, :].expand(c, 1, 1, -1), groups=c)
        if r.gain < 0:
            x = x * r.gain
    return x[:, :, ::dy, ::dx]


# ---------------------------------------------------------------------------------------------------------------------
# The registered operator


def _upfirdn2d(
    x: torch.Tensor, f: torch.Tensor | None, packed: list[int], gain: float, impl: str = "auto"
) -> torch.Tensor:
    r = Resampling.unpack(packed, gain)
    if x.numel() == 0:
        return x.new_empty(*x.shape[:2], *r.output_size((x.shape[2], x.shape[3]), taps_shape(f)))
    if wants_kernels(impl, x):
        from gantrol.ops.kernels.tiling import has_blocks

        if has_blocks(r, f, (x.shape[2], x.shape[3])) or refuse_kernels(impl, "a filter this long"):
            from gantrol.ops.kernels import upfirdn

            note_path("upfirdn2d", "triton")
            return upfirdn.upfirdn2d(x, f, r)
    note_path("upfirdn2d", "torch")
    x = planes_of(x).view(x.shape) if x.device.type == "cpu" else x.contiguous()
    y = resample(x, f, r)
    return y.clone() if y.data_ptr() == x.data_ptr() else y  # an operator never returns its input


_upfirdn2d_op = torch.library.custom_op("gantrol::upfirdn2d", _upfirdn2d, mutates_args=())


@_upfirdn2d_op.register_fake
def _(x: torch.Tensor, f: torch.Tensor | None, packed: list[int], gain: float, impl: str = "auto") -> torch.Tensor:
    r = Resampling.unpack(packed, gain)
    return x.new_empty(*x.shape[:2], *r.output_size((x.shape[2], x.shape[3]), taps_shape(f)))


def _upfirdn2d_setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    x, f, packed, gain, ctx.impl = inputs
    r = Resampling.unpack(packed, gain)
    ctx.adjoint = r.adjoint((x.shape[2], x.shape[3]), taps_shape(f))
    ctx.save_for_backward(f)


def _upfirdn2d_backward(ctx, grad):  # type: ignore[no-untyped-def]
    (f,) = ctx.saved_tensors
    dx = _upfirdn2d_op(grad, f, ctx.adjoint.pack(), ctx.adjoint.gain, ctx.impl)
    return dx, None, None, None, None


_upfirdn2d_op.register_autograd(_upfirdn2d_backward, setup_context=_upfirdn2d_setup)


# ---------------------------------------------------------------------------------------------------------------------
# Public functions


def parse_factors(value: int | Sequence[int]) -> tuple[int, int]:
    """A resampling factor as (x, y)."""
    x, y = (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
    if x < 1 or y < 1:
        raise ConfigError(f"resampling factor {value}: expected integers ≥ 1")
    return x, y


def parse_padding(padding: Padding) -> tuple[int, int, int, int]:
    """Padding as (left, right, top, bottom); one number pads all sides, two are (x, y)."""
    if isinstance(padding, int):
        return padding, padding, padding, padding
    values = [int(p) for p in padding]
    if len(values) == 2:
        return values[0], values[0], values[1], values[1]
    if len(values) != 4:
        raise ConfigError(f"padding {padding}: expected one, two (x, y) or four (left, right, top, bottom) integers")
    return values[0], values[1], values[2], values[3]


def check_image(x: torch.Tensor, name: str = "x") -> None:
    if x.ndim != 4 or not x.is_floating_point():
        raise ConfigError(f"{name}: expected a floating-point tensor [N, C, H, W], not {x.dtype} {tuple(x.shape)}")


def check_filter(f: torch.Tensor | None, name: str = "f") -> None:
    if f is not None and (f.ndim not in (1, 2) or not f.is_floating_point()):
        raise ConfigError(f"{name}: expected float taps [n] or [h, w], not {f.dtype} {tuple(f.shape)}")


def upfirdn2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "auto",
) -> torch.Tensor:
    """Pads, upsamples, filters and downsamples a batch of images.

    In order: insert up−1 zeros after each pixel; pad with zeros (or crop, where negative); convolve each channel with
    the filter, keeping only full overlaps; multiply by gain; keep every down-th pixel.

    Args:
        x: [N, C, H, W], any floating type.
        f: taps [n] (applied to both axes) or [h, w], float32, on any device; None is the identity.
        up, down: integer factors, or (x, y).
        padding: at the upsampled rate; a number, (x, y) or (left, right, top, bottom).
        flip_filter: False convolves, True correlates.
        gain: factor on the result.
        impl: "auto", "triton" to insist on the fused kernels, or "reference" for the plain definition.

    Returns:
        [N, C, h, w] with h = ⌊(H·up + top + bottom − n)/down⌋ + 1, of x's type. Differentiable in x, to any order.

    Raises:
        ConfigError: an argument has the wrong shape or type, or nothing is left after cropping.

    Source: StyleGAN2 and StyleGAN3; the facts in StyleGAN3's appendix D.
    """
    check_implementation(impl)
    check_image(x)
    check_filter(f)
    r = Resampling(
        up=parse_factors(up),
        down=parse_factors(down),
        pads=parse_padding(padding),
        flip_filter=flip_filter,
        gain=float(gain),
    )
    size = r.output_size((x.shape[2], x.shape[3]), taps_shape(f))
    if min(size) < 1:
        raise ConfigError(
            f"nothing is left of {tuple(x.shape[2:])} pixels after padding {r.pads} and {taps_shape(f)} taps"
        )
    if impl == "reference":
        return upfirdn2d_reference(x, f, r)
    return (_upfirdn2d if is_plain(x) else _upfirdn2d_op)(x, f, r.pack(), r.gain, impl)


def filter2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "auto",
) -> torch.Tensor:
    """Filters images at their own rate; zero padding keeps the size, `padding` comes on top. See `upfirdn2d`."""
    ny, nx = taps_shape(f)
    left, right, top, bottom = parse_padding(padding)
    pads = (left + nx // 2, right + (nx - 1) // 2, top + ny // 2, bottom + (ny - 1) // 2)
    return upfirdn2d(x, f, padding=pads, flip_filter=flip_filter, gain=gain, impl=impl)


def upsample2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    up: int | Sequence[int] = 2,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "auto",
) -> torch.Tensor:
    """Enlarges images by integer factors; sizes become H·up, `padding` comes on top. See `upfirdn2d`."""
    ux, uy = parse_factors(up)
    ny, nx = taps_shape(f)
    left, right, top, bottom = parse_padding(padding)
    pads = (
        left + (nx + ux - 1) // 2,
        right + (nx - ux) // 2,
        top + (ny + uy - 1) // 2,
        bottom + (ny - uy) // 2,
    )
    return upfirdn2d(x, f, up=up, padding=pads, flip_filter=flip_filter, gain=gain * ux * uy, impl=impl)


def downsample2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    down: int | Sequence[int] = 2,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "auto",
) -> torch.Tensor:
    """Shrinks images by integer factors; sizes become H/down, `padding` comes on top. See `upfirdn2d`."""
    dx, dy = parse_factors(down)
    ny, nx = taps_shape(f)
    left, right, top, bottom = parse_padding(padding)
    pads = (
        left + (nx - dx + 1) // 2,
        right + (nx - dx) // 2,
        top + (ny - dy + 1) // 2,
        bottom + (ny - dy) // 2,
    )
    return upfirdn2d(x, f, down=down, padding=pads, flip_filter=flip_filter, gain=gain, impl=impl)
