"""Low-pass filter design for alias-free resampling.

Frequencies are in cycles per image width, so that a sampling rate equals a canvas width in pixels (StyleGAN3 paper,
section 2). Filters are designed in float64 and returned in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gantrol.errors import ConfigError


def kaiser_beta(attenuation_db: float) -> float:
    """The shape β of the Kaiser window that attenuates its stop band by so many dB (Kaiser 1974)."""
    a = attenuation_db
    if a > 50:
        return 0.1102 * (a - 8.7)
    return 0.5842 * (a - 21) ** 0.4 + 0.07886 * (a - 21) if a > 21 else 0.0


def design_lowpass_filter(
    numtaps: int, cutoff: float, width: float, fs: float, radial: bool = False
) -> torch.Tensor | None:
    """A Kaiser-windowed sinc (separable) or jinc (radial) low-pass filter with unit gain at DC.

    Args:
        numtaps: number of taps n per axis; 1 means no filter.
        cutoff: cutoff frequency f_c, where the response has fallen to one half.
        width: width Δ of the transition band, twice the half-width f_h.
        fs: sampling rate that the filter runs at.
        radial: circularly symmetric 2-D filter instead of a separable one.

    Returns:
        float32 [n], or [n, n] if radial, summing to 1; None for numtaps = 1.

    Raises:
        ConfigError: numtaps < 1, or odd and > 1 with radial (the jinc is not sampled at 0).

    Source: StyleGAN3 paper, appendix C.1; Kaiser's attenuation formula A = 2.285 (n−1) π Δ/(fs/2) + 7.95.
    """
    if numtaps < 1:
        raise ConfigError(f"numtaps={numtaps}: expected at least 1")
    if numtaps == 1:
        return None
    attenuation_db = 2.285 * (numtaps - 1) * np.pi * (width / (fs / 2)) + 7.95
    window = np.kaiser(numtaps, kaiser_beta(attenuation_db))  # [n]
    x = (np.arange(numtaps) - (numtaps - 1) / 2) / fs  # [n] tap positions in image widths
    if not radial:
        taps = np.sinc(2 * cutoff * x) * window
    else:
        if numtaps % 2:
            raise ConfigError(f"numtaps={numtaps}: a radial filter needs an even number of taps")
        from scipy.special import j1  # here, because it takes long to import

        r = np.hypot(*np.meshgrid(x, x))  # [n, n]
        taps = j1(2 * cutoff * np.pi * r) / (np.pi * r) * np.outer(window, window)
    return torch.as_tensor(taps / taps.sum(), dtype=torch.float32)


def setup_filter(
    f: torch.Tensor | Sequence[float] | float | None,
    device: torch.device | str | None = None,
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1,
    separable: bool | None = None,
) -> torch.Tensor:
    """Prepares FIR taps for `upfirdn2d`.

    Args:
        f: taps [n] or [h, w], a number, or None for the identity.
        device: where the result lives.
        normalize: scale the taps to sum 1.
        flip_filter: reverse the taps.
        gain: total gain on a 2-D signal; a 1-D filter, applied on both axes, is scaled by its square root.
        separable: keep a 1-D filter 1-D. Default: when it has 8 taps or more; shorter ones become 2-D.

    Returns:
        float32 [n] (separable) or [h, w].
    """
    taps = torch.as_tensor(1.0 if f is None else f, dtype=torch.float32)
    if taps.ndim > 2 or taps.numel() == 0:
        raise ConfigError(f"a filter has 1 or 2 axes and at least one tap, not shape {tuple(taps.shape)}")
    if taps.ndim == 0:
        taps = taps[None]
    if separable is None:
        separable = taps.ndim == 1 and taps.numel() >= 8
    if taps.ndim == 1 and not separable:
        taps = torch.outer(taps, taps)
    if normalize:
        taps = taps / taps.sum()
    if flip_filter:
        taps = taps.flip(list(range(taps.ndim)))
    return (taps * gain ** (taps.ndim / 2)).to(device=device)
