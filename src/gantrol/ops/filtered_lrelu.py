"""`filtered_lrelu`: the alias-free nonlinearity of StyleGAN3 (figure 4b): up-filter, leaky ReLU, down-filter.

With A the upsampling and B the downsampling operator (both linear, see `resample`),

    y = B · clamp(gain · lrelu(A (x + b)))        and        dx = Aᵀ (σ ⊙ Bᵀ dy),

where σ ∈ {gain, gain·slope, 0} is the slope at each upsampled sample. The nonlinearity is piecewise linear, so σ has no
derivative and every further derivative is again of the form B (σ ⊙ A z) or its transpose: one operator, `_sloped`,
closes the set. What is kept of the forward pass is σ: torch's operations keep the activated signal itself (on a CPU in
16 bits, infinite where it is clamped), the fused kernels (`gantrol.ops.kernels`) two bits a sample, as uint8.

Dimensions: N batch, C channels, H W input pixels, U V upsampled pixels, h w output pixels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from gantrol.errors import ConfigError
from gantrol.ops.bias_act import representable
from gantrol.ops.blocks import Place, activate_between
from gantrol.ops.paths import check_implementation, is_plain, note_path, refuse_kernels, wants_kernels
from gantrol.ops.resample import (
    Padding,
    Resampling,
    check_filter,
    check_image,
    parse_padding,
    resample,
    stage,
    taps_shape,
    upfirdn2d_reference,
)


def _stages(
    packed_up: list[int], up_gain: float, packed_down: list[int], down_gain: float
) -> tuple[Resampling, Resampling]:
    return Resampling.unpack(packed_up, up_gain), Resampling.unpack(packed_down, down_gain)


def _fuses(
    impl: str, x: torch.Tensor, fu: torch.Tensor | None, fd: torch.Tensor | None, up: Resampling, down: Resampling
) -> bool:
    """Whether the fused kernel computes this; if asked for by name, it must."""
    if not wants_kernels(impl, x):
        return False
    from gantrol.ops.kernels.tiling import has_tiles

    if has_tiles(up, fu, down, fd, (x.shape[2], x.shape[3])):
        return True
    return refuse_kernels(impl, "filters this long")


def _kept_dtype(x: torch.Tensor) -> torch.dtype:
    """Of the signal that torch's operations keep.

    On a CPU that is 16 bits: the sign is all that σ needs, and where the clamp acts infinity is kept. Fresh memory
    for the whole signal takes longer than the change of type inside the cache.
    """
    return torch.bfloat16 if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) else x.dtype


def _filtered_lrelu(
    x: torch.Tensor,
    b: torch.Tensor | None,
    fu: torch.Tensor | None,
    fd: torch.Tensor | None,
    packed_up: list[int],
    up_gain: float,
    packed_down: list[int],
    down_gain: float,
    slope: float,
    clamp: float,
    keep: bool,
    impl: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """(y, v): the result and, if `keep`, what σ is read from: the activated samples [N, C, U, V], or bits of them."""
    up, down = _stages(packed_up, up_gain, packed_down, down_gain)
    if x.numel() == 0:
        middle = up.output_size((x.shape[2], x.shape[3]), taps_shape(fu))
        y = x.new_empty(*x.shape[:2], *down.output_size(middle, taps_shape(fd)))
        return y, x.new_empty(0, dtype=_kept_dtype(x))
    if _fuses(impl, x, fu, fd, up, down):
        from gantrol.ops.kernels import filtered_lrelu as kernels

        note_path("filtered_lrelu", "triton")
        return kernels.filtered_lrelu(x, b, fu, fd, up, down, slope, clamp, keep=keep)
    if x.device.type == "cpu":
        note_path("filtered_lrelu", "blocks")
        size = (x.shape[2], x.shape[3])
        middle = up.output_size(size, taps_shape(fu))
        kept = x.new_empty((*x.shape[:2], *middle) if keep else 0, dtype=_kept_dtype(x))
        signal = kept.flatten(0, 1) if keep else None  # [N·C, U, V]
        bound = representable(clamp, x.dtype)

        def activate(block: torch.Tensor, place: Place, is_near: bool) -> None:
            if slope != 1:
                F.leaky_relu_(block, slope)
            if is_near:  # trained networks hardly ever come near the clamp
                block.clamp_(-clamp, clamp)
            if signal is not None:
                part = signal[place]
                if block.shape != part.shape:
                    block = block[:, : part.shape[1], : part.shape[2]]
                if is_near:
                    block = torch.where(block.abs() >= bound, torch.copysign(block.new_tensor(math.inf), block), block)
                part.copy_(block)

        stages = stage(x, fu, up, size), stage(x, fd, down, middle, with_kernel=not keep)
        return activate_between(x, b, *stages, activate, limit=clamp / max(slope, 1)), kept
    note_path("filtered_lrelu", "torch")
    x = (x if b is None else x + b.to(x.dtype)[:, None, None]).contiguous()
    # gain is part of the up matrices: lrelu(gain·u) = gain·lrelu(u).
    v = resample(x, fu, up)
    if v is x and b is None:
        v = x.clone()  # what follows is in place
    if slope != 1:
        F.leaky_relu_(v, slope)
    if math.isfinite(clamp):
        v.clamp_(-clamp, clamp)
    y = resample(v, fd, down)
    if not keep:
        return y, x.new_empty(0)
    return (y.clone() if y is v else y), v


_filtered_lrelu_op = torch.library.custom_op("gantrol::filtered_lrelu", _filtered_lrelu, mutates_args=())


@_filtered_lrelu_op.register_fake
def _(  # type: ignore[no-untyped-def]
    x, b, fu, fd, packed_up, up_gain, packed_down, down_gain, slope, clamp, keep, impl="auto"
):
    up, down = _stages(packed_up, up_gain, packed_down, down_gain)
    middle = up.output_size((x.shape[2], x.shape[3]), taps_shape(fu))
    y = x.new_empty(*x.shape[:2], *down.output_size(middle, taps_shape(fd)))
    if not keep:
        return y, x.new_empty(0, dtype=_kept_dtype(x))
    if _fuses(impl, x, fu, fd, up, down):
        from gantrol.ops.kernels.tiling import codes_shape

        return y, x.new_empty(codes_shape(x, middle), dtype=torch.uint8)
    return y, x.new_empty(*x.shape[:2], *middle, dtype=_kept_dtype(x))


@torch.library.custom_op("gantrol::sloped", mutates_args=())
def _sloped_op(
    z: torch.Tensor,
    v: torch.Tensor,
    fa: torch.Tensor | None,
    fb: torch.Tensor | None,
    packed_a: list[int],
    a_gain: float,
    packed_b: list[int],
    b_gain: float,
    slope: float,
    clamp: float,
) -> torch.Tensor:
    """B (σ(v) ⊙ A z), linear in z; σ(v) is 1 where v > 0, slope where v ≤ 0, and 0 where v is clamped.

    v is the signal, or the bits that the fused kernel kept of it.
    """
    a, b = _stages(packed_a, a_gain, packed_b, b_gain)
    if z.numel() == 0:
        middle = a.output_size((z.shape[2], z.shape[3]), taps_shape(fa))
        return z.new_empty(*z.shape[:2], *b.output_size(middle, taps_shape(fb)))
    if v.dtype == torch.uint8:
        from gantrol.ops.kernels import filtered_lrelu as kernels

        note_path("sloped", "triton")
        return kernels.sloped(z, v, fa, fb, a, b, slope)
    if z.device.type == "cpu":
        note_path("sloped", "blocks")
        size = (z.shape[2], z.shape[3])
        signal = v.flatten(0, 1)  # [N·C, U, V]

        def activate(block: torch.Tensor, place: Place, _is_near: bool) -> None:
            of_block = signal[place].to(z.dtype)
            if block.shape != of_block.shape:
                block = block[:, : of_block.shape[1], : of_block.shape[2]]
            if slope != 1:
                torch.ops.aten.leaky_relu_backward(block, of_block, slope, True, grad_input=block)
            if math.isfinite(clamp):
                torch.ops.aten.hardtanh_backward(block, of_block, -math.inf, math.inf, grad_input=block)

        stages = stage(z, fa, a, size), stage(z, fb, b, a.output_size(size, taps_shape(fa)))
        return activate_between(z, None, *stages, activate, limit=math.inf)
    note_path("sloped", "torch")
    z = z.contiguous()
    t = resample(z, fa, a)
    if slope != 1:
        t = torch.ops.aten.leaky_relu_backward(t, v, slope, True)
    if math.isfinite(clamp):
        bound = representable(clamp, v.dtype)
        t = torch.ops.aten.hardtanh_backward(t, v, -bound, bound)
    y = resample(t, fb, b)
    return y.clone() if y.data_ptr() == z.data_ptr() else y


@_sloped_op.register_fake
def _(z, v, fa, fb, packed_a, a_gain, packed_b, b_gain, slope, clamp):  # type: ignore[no-untyped-def]
    a, b = _stages(packed_a, a_gain, packed_b, b_gain)
    middle = a.output_size((z.shape[2], z.shape[3]), taps_shape(fa))
    return z.new_empty(*z.shape[:2], *b.output_size(middle, taps_shape(fb)))


def _save(ctx, v, first, second, fa, fb, size, slope, clamp) -> None:  # type: ignore[no-untyped-def]
    """Keeps what the transpose of B σ A needs: σ's signal and the adjoint of each stage."""
    middle = first.output_size(size, taps_shape(fa))
    ctx.first, ctx.second = second.adjoint(middle, taps_shape(fb)), first.adjoint(size, taps_shape(fa))
    ctx.slope, ctx.clamp = slope, clamp
    ctx.save_for_backward(v, fa, fb)


def _transpose(ctx, grad):  # type: ignore[no-untyped-def]
    v, fa, fb = ctx.saved_tensors
    first, second = ctx.first, ctx.second
    return _sloped_op(
        grad, v.detach(), fb, fa, first.pack(), first.gain, second.pack(), second.gain, ctx.slope, ctx.clamp
    )


def _filtered_lrelu_setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    x, b, fu, fd, packed_up, up_gain, packed_down, down_gain, slope, clamp, *_ = inputs
    up, down = _stages(packed_up, up_gain, packed_down, down_gain)
    _save(ctx, output[1], up, down, fu, fd, (x.shape[2], x.shape[3]), slope, clamp)
    ctx.set_materialize_grads(False)  # of the kept signal nobody asks for one: no zeros of its size
    ctx.bias_dtype = None if b is None else b.dtype


def _filtered_lrelu_backward(ctx, grad, _grad_v):  # type: ignore[no-untyped-def]
    if grad is None:
        return (None,) * 12
    dx = _transpose(ctx, grad)
    db = dx.sum([0, 2, 3]).to(ctx.bias_dtype) if ctx.bias_dtype is not None and ctx.needs_input_grad[1] else None
    return dx, db, *[None] * 10


def _sloped_setup(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    z, v, fa, fb, packed_a, a_gain, packed_b, b_gain, slope, clamp = inputs
    a, b = _stages(packed_a, a_gain, packed_b, b_gain)
    _save(ctx, v, a, b, fa, fb, (z.shape[2], z.shape[3]), slope, clamp)


def _sloped_backward(ctx, grad):  # type: ignore[no-untyped-def]
    return _transpose(ctx, grad), *[None] * 9


_filtered_lrelu_op.register_autograd(_filtered_lrelu_backward, setup_context=_filtered_lrelu_setup)
_sloped_op.register_autograd(_sloped_backward, setup_context=_sloped_setup)


def filtered_lrelu_reference(
    x: torch.Tensor,
    fu: torch.Tensor | None,
    fd: torch.Tensor | None,
    b: torch.Tensor | None,
    up: Resampling,
    down: Resampling,
    gain: float,
    slope: float,
    clamp: float | None,
) -> torch.Tensor:
    """The definition, step by step (StyleGAN3 paper, section 3.1 and appendix D)."""
    if b is not None:
        x = x + b.to(x.dtype)[:, None, None]
    x = upfirdn2d_reference(x, fu, up)
    x = F.leaky_relu(x, slope) * gain
    if clamp is not None:
        x = x.clamp(-clamp, clamp)
    return upfirdn2d_reference(x, fd, down)


def filtered_lrelu(
    x: torch.Tensor,
    fu: torch.Tensor | None = None,
    fd: torch.Tensor | None = None,
    b: torch.Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    gain: float = 2**0.5,
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
    impl: str = "auto",
) -> torch.Tensor:
    """Leaky ReLU evaluated at a higher sampling rate, between an up- and a down-sampling filter.

    In order: add the bias; upsample by `up` with filter fu and gain up²; pad or crop; leaky ReLU; multiply by gain;
    clamp; filter with fd; keep every down-th pixel.

    Args:
        x: [N, C, H, W], any floating type.
        fu, fd: taps [n] (separable) or [h, w], float32, on any device; None is the identity.
        b: bias [C] added before the upsampling, so that padding stays zero; or None.
        up, down: integer factors.
        padding: at the upsampled rate; a number, (x, y) or (left, right, top, bottom); negative crops.
        gain: factor after the leaky ReLU, > 0.
        slope: of the negative side, ≥ 0.
        clamp: bound on the magnitude of the upsampled signal after gain, or None.
        flip_filter: False convolves, True correlates.
        impl: "auto", "triton" to insist on the fused kernel, or "reference" for the plain definition.

    Returns:
        [N, C, h, w] of x's type, h = ⌊(H·up + top + bottom − (n_u−1) − (n_d−1) + down − 1)/down⌋.
        Differentiable in x and b, to any order; the gradient is zero where the clamp acts.

    Raises:
        ConfigError: an argument has the wrong shape, type or range, or nothing is left after cropping.

    Source: StyleGAN3 paper, section 3.1 and appendix D.
    """
    check_implementation(impl)
    check_image(x)
    check_filter(fu, "fu")
    check_filter(fd, "fd")
    if b is not None and b.shape != (x.shape[1],):
        raise ConfigError(f"b: expected one bias for each of the {x.shape[1]} channels, not shape {tuple(b.shape)}")
    if up < 1 or down < 1:
        raise ConfigError(f"up={up}, down={down}: expected integers ≥ 1")
    if gain <= 0 or slope < 0 or (clamp is not None and clamp < 0):
        raise ConfigError(f"gain={gain}, slope={slope}, clamp={clamp}: expected gain > 0, slope ≥ 0 and clamp ≥ 0")
    first = Resampling(up=(up, up), pads=parse_padding(padding), flip_filter=flip_filter, gain=float(up * up))
    second = Resampling(down=(down, down), flip_filter=flip_filter)
    middle = first.output_size((x.shape[2], x.shape[3]), taps_shape(fu))
    if min(middle) < 1 or min(second.output_size(middle, taps_shape(fd))) < 1:
        raise ConfigError(f"nothing is left of {tuple(x.shape[2:])} pixels after padding {first.pads} and filtering")
    if impl == "reference":
        return filtered_lrelu_reference(x, fu, fd, b, first, second, gain, slope, clamp)
    keep = torch.is_grad_enabled() and (x.requires_grad or (b is not None and b.requires_grad))
    bound = math.inf if clamp is None else float(clamp)
    run = _filtered_lrelu if not keep and is_plain(x) else _filtered_lrelu_op
    y, _ = run(
        x, b, fu, fd, first.pack(), first.gain * gain, second.pack(), second.gain, float(slope), bound, keep, impl
    )
    return y
