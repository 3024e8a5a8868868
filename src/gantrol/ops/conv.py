"""Convolutions with built-in resampling, and modulated convolutions (StyleGAN2 and StyleGAN3).

A modulated convolution has one weight per sample: W'_noi = s_ni W_oi, demodulated to unit norm per output channel. It
is computed as: scale the input by s, convolve once with the shared W, scale the output by the demodulation factors. The
result is the same, the batch size stays free, and no grouped convolution is needed. A single image without gradients
takes W' itself, unless W has more numbers than the image's features: two passes over them less.

Dimensions: N batch, I input channels, O output channels, H W pixels, k kernel size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from gantrol.errors import ConfigError
from gantrol.ops.paths import is_plain, note_path
from gantrol.ops.resample import Padding, check_image, parse_padding, taps_shape, upfirdn2d

_EPSILON = 1e-8  # under the roots of demodulation


def _convolve(
    x: torch.Tensor,
    w: torch.Tensor,
    *,
    stride: int = 1,
    padding: tuple[int, int] | int = 0,
    groups: int = 1,
    is_transposed: bool = False,
    flip_weight: bool = True,
) -> torch.Tensor:
    """Convolution with `flip_weight` in the field's sense: True correlates (what torch does), False truly convolves."""
    if not flip_weight and (w.shape[2] > 1 or w.shape[3] > 1):
        w = w.flip([2, 3])
    if x.device.type == "cpu" and x.dtype in (torch.bfloat16, torch.float16) and groups == 1 and x.numel() > 0:
        # With channels innermost, a CPU's matrix units compute wide layers several times as fast.
        note_path("convolution", "channels_last")
        x, w = innermost(x), w.contiguous(memory_format=torch.channels_last)
    if is_transposed:
        doubles = stride == 2 and groups == 1 and tuple(w.shape[2:]) == (3, 3)
        if doubles and x.device.type == "cpu" and x.numel() > 0 and not torch.is_grad_enabled():
            note_path("convolution", "phases")
            return _double(x, w, padding)
        return F.conv_transpose2d(x, w, stride=stride, padding=padding, groups=groups)
    return F.conv2d(x, w, stride=stride, padding=padding, groups=groups)


def _double(x: torch.Tensor, w: torch.Tensor, padding: tuple[int, int] | int) -> torch.Tensor:
    """`F.conv_transpose2d` with stride 2 of x [N, I, H, W] and w [I, O, 3, 3], as four small ordinary convolutions.

    Along an axis y_2m = w_2 x_{m-1} + w_0 x_m and y_2m+1 = w_1 x_m: even and odd pixels are convolutions of their own.
    torch's transposed convolution on a CPU runs at half the speed of those in float32, and far below it in short types.
    """
    n, _, height, width = x.shape
    w = w.transpose(0, 1)
    is_innermost = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    memory = torch.channels_last if is_innermost else torch.contiguous_format
    y = torch.empty((n, len(w), 2 * height + 1, 2 * width + 1), dtype=x.dtype, memory_format=memory)
    taps = ([2, 0], [1])  # of even and odd pixels, in the order of the inputs
    for row, of_y in enumerate(taps):
        rows = torch.cat([w[:, :, i : i + 1] for i in of_y], 2)  # an index of numbers would take five times as long
        for column, of_x in enumerate(taps):
            part = torch.cat([rows[..., i : i + 1] for i in of_x], 3).contiguous(memory_format=memory)
            y[:, :, row::2, column::2] = F.conv2d(x, part, padding=(1 - row, 1 - column))
    pad_y, pad_x = (padding, padding) if isinstance(padding, int) else padding
    return y[:, :, pad_y : y.shape[2] - pad_y, pad_x : y.shape[3] - pad_x]


def innermost(x: torch.Tensor) -> torch.Tensor:
    """x [N, C, H, W] with channels innermost in memory."""
    if x.is_contiguous(memory_format=torch.channels_last) or not x.is_contiguous() or not is_plain(x):
        return x.contiguous(memory_format=torch.channels_last)
    # torch transposes matrices tile by tile, but images number by number.
    _, c, h, w = x.shape
    out = torch.empty_like(x, memory_format=torch.channels_last)
    for target, image in zip(out, x, strict=True):
        target.permute(1, 2, 0).view(h * w, c).copy_(image.view(c, h * w).t())
    return out


def conv2d_resample(
    x: torch.Tensor,
    w: torch.Tensor,
    f: torch.Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
    impl: str = "auto",
) -> torch.Tensor:
    """Convolution with optional up- or downsampling around it; the FIR filter acts once, on whichever side is larger.

    Args:
        x: [N, I, H, W].
        w: [O, I/groups, k, k].
        f: low-pass taps from `setup_filter`, or None.
        up, down: integer factors.
        padding: with respect to the upsampled image; a number, (x, y) or (left, right, top, bottom).
        groups: of the convolution.
        flip_weight: True correlates with w (torch's conv2d), False convolves.
        flip_filter: as in `upfirdn2d`.
        impl: of the filtering, as in `upfirdn2d`.

    Returns:
        [N, O, h, w]: with "same" padding k//2, h = H·up/down. Differentiable in x and w, to any order.

    Raises:
        ConfigError: wrong shapes or factors.

    Source: StyleGAN2; `docs/stylegan2.md` lists the orders of operations.
    """
    check_image(x)
    if w.ndim != 4 or w.shape[1] * groups != x.shape[1]:
        raise ConfigError(f"w: expected [O, {x.shape[1] // groups}, k, k], not {tuple(w.shape)}")
    if up < 1 or down < 1:
        raise ConfigError(f"up={up}, down={down}: expected integers ≥ 1")
    kh, kw = w.shape[2], w.shape[3]
    fh, fw = taps_shape(f)
    left, right, top, bottom = parse_padding(padding)
    # The filter shifts the grid; these paddings centre it again.
    if up > 1:
        left, right = left + (fw + up - 1) // 2, right + (fw - up) // 2
        top, bottom = top + (fh + up - 1) // 2, bottom + (fh - up) // 2
    if down > 1:
        left, right = left + (fw - down + 1) // 2, right + (fw - down) // 2
        top, bottom = top + (fh - down + 1) // 2, bottom + (fh - down) // 2
    pads = (left, right, top, bottom)

    if kh == kw == 1 and up == 1 and down > 1:  # 1×1 commutes with resampling: convolve at the lower rate
        x = upfirdn2d(x, f, down=down, padding=pads, flip_filter=flip_filter, impl=impl)
        return _convolve(x, w, groups=groups, flip_weight=flip_weight)
    if kh == kw == 1 and up > 1 and down == 1:
        x = _convolve(x, w, groups=groups, flip_weight=flip_weight)
        return upfirdn2d(x, f, up=up, padding=pads, flip_filter=flip_filter, gain=up**2, impl=impl)
    if up == 1 and down > 1:  # filter, then a strided convolution computes only the pixels that are kept
        x = upfirdn2d(x, f, padding=pads, flip_filter=flip_filter, impl=impl)
        return _convolve(x, w, stride=down, groups=groups, flip_weight=flip_weight)
    if up > 1:  # a strided transposed convolution inserts the zeros; then filter
        if groups == 1:
            w = w.transpose(0, 1)
        else:
            o, i = w.shape[0], w.shape[1]
            w = w.reshape(groups, o // groups, i, kh, kw).transpose(1, 2).reshape(groups * i, o // groups, kh, kw)
        left, right, top, bottom = left - (kw - 1), right - (kw - up), top - (kh - 1), bottom - (kh - up)
        trim_x = max(min(-left, -right), 0)
        trim_y = max(min(-top, -bottom), 0)
        x = _convolve(
            x,
            w,
            stride=up,
            padding=(trim_y, trim_x),
            groups=groups,
            is_transposed=True,
            flip_weight=not flip_weight,
        )
        pads = (left + trim_x, right + trim_x, top + trim_y, bottom + trim_y)
        x = upfirdn2d(x, f, padding=pads, flip_filter=flip_filter, gain=up**2, impl=impl)
        if down > 1:
            x = upfirdn2d(x, f, down=down, flip_filter=flip_filter, impl=impl)
        return x
    if left == right and top == bottom and left >= 0 and top >= 0:
        return _convolve(x, w, padding=(top, left), groups=groups, flip_weight=flip_weight)
    x = upfirdn2d(x, None, padding=pads, impl=impl)
    return _convolve(x, w, groups=groups, flip_weight=flip_weight)


def demodulation(w: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """[N, O] factors (Σ_{i,k,k} (s_ni W_oi)² + ε)^−½ that bring each per-sample filter to unit norm.

    Source: StyleGAN2 paper, equation 3.
    """
    energy = w.square().sum([2, 3])  # [O, I]
    return (s.square() @ energy.T + _EPSILON).rsqrt()


def modulated_weights(w: torch.Tensor, s: torch.Tensor, d: torch.Tensor | None) -> torch.Tensor:
    """The weights [O, I, k, k] of the one sample that styles s [1, I] and demodulation d [1, O] are of."""
    factors = s[0] if d is None else d[0][:, None] * s[0]  # [O, I] or [I]
    return w * factors[..., None, None]


def _takes_weights(x: torch.Tensor, w: torch.Tensor) -> bool:
    """Whether to modulate the weights rather than the signal: for one sample, where no gradient follows."""
    if torch.is_grad_enabled() or x.shape[0] != 1 or x.dtype == torch.float16:  # half precision needs its guards
        return False
    # Few pixels below many channels have fewer numbers than the weights between them.
    if w.numel() > (w.shape[0] + w.shape[1]) * x.shape[2] * x.shape[3]:
        return False
    note_path("modulated_conv2d", "weights")
    return True


def _check_modulation(x: torch.Tensor, w: torch.Tensor, s: torch.Tensor) -> None:
    check_image(x)
    if w.ndim != 4 or w.shape[1] != x.shape[1]:
        raise ConfigError(f"w: expected [O, {x.shape[1]}, k, k], not {tuple(w.shape)}")
    if s.shape != (x.shape[0], x.shape[1]):
        raise ConfigError(
            f"s: expected one style for each sample and channel {tuple(x.shape[:2])}, not {tuple(s.shape)}"
        )


def modulated_conv2d(
    x: torch.Tensor,
    w: torch.Tensor,
    s: torch.Tensor,
    demodulate: bool = True,
    padding: int | tuple[int, int] = 0,
    input_gain: torch.Tensor | None = None,
) -> torch.Tensor:
    """StyleGAN3's modulated convolution.

    With demodulation the weights are first scaled to unit rms per output channel and the styles to unit rms over the
    whole batch (both cancel; they keep half precision in range).

    Args:
        x: [N, I, H, W]; the convolution runs in its type, the factors are computed in w's and s's.
        w: [O, I, k, k].
        s: styles [N, I].
        demodulate: scale each sample's filters to unit norm.
        padding: zeros around x, a number or (y, x).
        input_gain: factor on x after demodulation: a scalar, [I] or [N, I]; or None.

    Returns:
        [N, O, h, w]. Differentiable in x, w, s and input_gain, to any order.

    Source: StyleGAN3 paper, section 3.2 and appendix D; demodulation: StyleGAN2 paper, equations 1–3.
    """
    _check_modulation(x, w, s)
    d: torch.Tensor | None = None
    if _takes_weights(x, w):
        if demodulate:  # the scales of w and s cancel but in ε: one pass over w instead of four
            energy = w.square().sum([2, 3])  # [O, I]
            floor = energy.mean(1) / w[0, 0].numel() * s.square().mean() * _EPSILON
            d = (s.square() @ energy.T + floor).rsqrt()
        if input_gain is not None:
            s = s * input_gain.expand(s.shape)
        return _convolve(x, modulated_weights(w, s, d).to(x.dtype), padding=padding)
    if demodulate:
        w = w * w.square().mean([1, 2, 3], keepdim=True).rsqrt()
        s = s * s.square().mean().rsqrt()
        d = demodulation(w, s)  # [N, O]
        if x.dtype == torch.float16:  # sums over I·k² inputs must stay below 65504
            fan_in = w[0].numel() ** 0.5
            w, d = w / fan_in, d * fan_in
    if input_gain is not None:
        if input_gain.ndim == 0 and d is not None:
            d = d * input_gain
        else:
            s = s * input_gain.expand(s.shape)
    y = _convolve(x * s.to(x.dtype)[:, :, None, None], w.to(x.dtype), padding=padding)  # [N, O, h, w]
    return y if d is None else y * d.to(x.dtype)[:, :, None, None]


def modulated_conv2d_resample(
    x: torch.Tensor,
    w: torch.Tensor,
    s: torch.Tensor,
    *,
    noise: torch.Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    f: torch.Tensor | None = None,
    demodulate: bool = True,
    flip_weight: bool = True,
    impl: str = "auto",
) -> torch.Tensor:
    """StyleGAN2's modulated convolution: with resampling, and with additive noise after demodulation.

    Args:
        x: [N, I, H, W]; the convolution runs in its type.
        w: [O, I, k, k].
        s: styles [N, I].
        noise: added to the result, broadcastable to [N, O, h, w]; or None.
        up, down, padding, f, flip_weight, impl: see `conv2d_resample`.
        demodulate: scale each sample's filters to unit norm.

    Returns:
        [N, O, h, w]. Differentiable in x, w, s and noise, to any order.

    Source: StyleGAN2 paper, section 2.2, equations 1–3.
    """
    _check_modulation(x, w, s)
    d: torch.Tensor | None = None
    if demodulate:
        if x.dtype == torch.float16:  # overflow guard: both factors cancel in d
            w = w * (1 / (w[0].numel() ** 0.5 * w.abs().amax([1, 2, 3], keepdim=True)))
            s = s / s.abs().amax(1, keepdim=True)
        d = demodulation(w, s)
    if _takes_weights(x, w):
        w, d = modulated_weights(w, s, d), None
    else:
        x = x * s.to(x.dtype)[:, :, None, None]
    x = conv2d_resample(x, w.to(x.dtype), f, up=up, down=down, padding=padding, flip_weight=flip_weight, impl=impl)
    if d is not None:
        x = x * d.to(x.dtype)[:, :, None, None]
    if noise is not None:
        # Without gradients nobody else has seen x, and fresh memory of its size costs more than the sum.
        x = x.add_(noise.to(x.dtype)) if is_plain(x) and not torch.is_grad_enabled() else x + noise.to(x.dtype)
    return x
