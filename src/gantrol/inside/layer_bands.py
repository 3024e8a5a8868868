"""What each layer of an alias-free generator may represent: its sampling rate, cutoff and stopband.

This is the table behind figure 4 of the StyleGAN3 paper: cutoffs f_c and stopbands f_t grow geometrically towards the
output, and at every layer f_t stays within s/2, the highest frequency that its samples can hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gantrol.models.stylegan3 import SynthesisLayer


@dataclass(frozen=True, kw_only=True)
class LayerBand:
    """One layer: rates in samples and frequencies in cycles per image width."""

    layer: str
    """The layer's name within the synthesis network."""
    channels: int
    size_px: int
    """Side of its map, margins included."""
    sampling_rate: int
    """s: samples per image width."""
    cutoff: float
    """f_c."""
    stopband: float
    """f_t = f_c + f_h."""
    up: int
    """Factor from the input to the rate of the non-linearity."""
    down: int
    """And from there to the output."""
    is_critically_sampled: bool
    """Whether f_c is s/2, so that the filter cuts into what the samples could hold."""

    @property
    def nyquist(self) -> float:
        """s/2."""
        return self.sampling_rate / 2

    @property
    def headroom(self) -> float:
        """How far f_t stays below s/2, in octaves; negative where it does not."""
        return math.log2(self.nyquist / self.stopband)


COLUMNS = ("layer", "channels", "size", "sampling rate", "cutoff", "stopband", "half the rate", "up, down")
UNITS = ("", "", "px", "samples/image", "cycles/image", "cycles/image", "cycles/image", "×")
"""Of `band_rows`."""


def layer_bands(generator: Any) -> list[LayerBand]:
    """The layers of a StyleGAN3, or of a step of its ladder from D on; empty for generators without such a schedule."""
    bands = []
    for name, module in generator.synthesis.named_modules():
        if isinstance(module, SynthesisLayer):
            spec = module.spec
            bands.append(
                LayerBand(
                    layer=name,
                    channels=spec.out_channels,
                    size_px=spec.out_size_px,
                    sampling_rate=spec.out_sampling_rate,
                    cutoff=spec.out_cutoff,
                    stopband=spec.out_cutoff + spec.out_half_width,
                    up=spec.up,
                    down=spec.down,
                    is_critically_sampled=spec.is_critically_sampled,
                )
            )
    return bands


def band_rows(bands: Sequence[LayerBand]) -> list[tuple[str, ...]]:
    """The table: `COLUMNS` for each layer, in `UNITS`."""
    return [
        (
            band.layer,
            f"{band.channels}",
            f"{band.size_px}",
            f"{band.sampling_rate}",
            f"{band.cutoff:.2f}" + (" (critical)" if band.is_critically_sampled else ""),
            f"{band.stopband:.2f}",
            f"{band.nyquist:g}",
            f"{band.up}, {band.down}",
        )
        for band in bands
    ]
