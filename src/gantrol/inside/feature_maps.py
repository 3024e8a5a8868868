"""Feature maps: what the layers of a synthesis network compute on the way to an image, as pictures and spectra.

A map has dozens of channels and a screen has three. Its first three principal components over the pixels are the three
pictures that keep most of its variance; single channels can be chosen instead.

Dimensions: N images · C channels · S side of a map in pixels · P = S² · L copies of w · D features of w.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gantrol.errors import ConfigError, nearest
from gantrol.metrics.spectra import Spectrum, average_power_spectrum
from gantrol.model import Model
from gantrol.models import stylegan2, stylegan3
from gantrol.models.autogan import Cell
from gantrol.models.fourier_input import FourierInput
from gantrol.models.transformer import EncoderBlock
from gantrol.models.wgan_gp import UpBlock

_KINDS = (
    FourierInput,
    stylegan2.SynthesisLayer,
    stylegan2.ToRGB,
    stylegan3.SynthesisLayer,
    EncoderBlock,
    Cell,
    UpBlock,
)
"""The modules that count as layers: each makes a map of the image plane."""
_TAIL = 0.01
"""Share of the pixels that may saturate at either end, so that one outlier does not turn the rest grey."""
_MIN_SPECTRUM_PX = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureMap:
    """The output of one layer for one image."""

    layer: str
    """The layer's name within the synthesis network."""
    values: Tensor
    """float32 [C, S, S] on the CPU, margin included."""
    margin_px: int = 0
    """Pixels around the canvas, per side; only alias-free generators have some."""
    cutoff: float | None = None
    """f_c in cycles per image, the band that the layer may use; None for layers without filters."""

    @property
    def canvas(self) -> Tensor:
        """[C, s, s]: the part that becomes the image; s is the sampling rate in samples per image width."""
        m = self.margin_px
        return self.values[:, m : self.values.shape[1] - m, m : self.values.shape[2] - m]

    def spectrum(self) -> Spectrum:
        """The average power spectrum of the canvas over its channels; frequencies in cycles per image.

        Each channel is taken less its mean, and all are divided by one standard deviation, so that 0 dB is the power of
        white noise as strong as the map.

        Raises:
            ConfigError: the map is smaller than 8 px or constant.
        """
        x = self.canvas
        if x.shape[1] < _MIN_SPECTRUM_PX:
            raise ConfigError(
                f"{self.layer}: a map of {x.shape[1]} px is too small for a spectrum; choose a later layer"
            )
        x = x - x.mean(dim=(1, 2), keepdim=True)
        std = float(x.square().mean().sqrt())
        return average_power_spectrum([x[None]], mean=0.0, std=std, name=self.layer)


@dataclass(frozen=True, kw_only=True, eq=False)
class Components:
    """The first principal components of a feature map over its pixels."""

    pictures: Tensor
    """float32 [K, S, S], strongest first, each of mean 0; unsigned up to a convention."""
    shares: tuple[float, ...]
    """Of each the share of the map's variance, 0 to 1."""


def layer_modules(generator: Any) -> dict[str, nn.Module]:
    """The layers of a generator's synthesis network by name, from the input to the image."""
    return {name: module for name, module in generator.synthesis.named_modules() if isinstance(module, _KINDS)}


def feature_maps(model: Model, ws: Tensor, layers: Sequence[str] | None = None) -> dict[str, FeatureMap]:
    """The outputs of some layers while one image is rendered, without gradients.

    Args:
        model: any.
        ws: [1, L, D].
        layers: names as in `layer_modules`; None for all.

    Returns:
        By layer, in the order of the network.

    Raises:
        ConfigError: there is no layer of a name, or ws are of several images.
    """
    known = layer_modules(model.generator)
    for name in layers or ():
        if name not in known:
            raise ConfigError(f"there is no layer {name!r}; {nearest(name, known)}")
    if len(ws) != 1:
        raise ConfigError(f"ws of {len(ws)} images: feature maps are those of one")
    found: dict[str, FeatureMap] = {}

    def reader(name: str) -> Any:
        def read(module: nn.Module, _args: Any, output: Any) -> None:
            found[name] = _feature_map(name, module, output)

        return read

    hooks = [known[name].register_forward_hook(reader(name)) for name in (known if layers is None else layers)]
    try:
        with torch.no_grad():
            model.generator.synthesis(ws.to(model.device), noise_mode="const", dtype=model.dtype)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: found[name] for name in known if name in found}


def principal_components(values: Tensor, count: int = 3) -> Components:
    """The first principal components of a map over its pixels.

    With the map as P points in C dimensions, these are the projections on the eigenvectors of its covariance. The sign
    of each is the one that makes its largest weight positive, so that the same map always gives the same picture.

    Args:
        values: [C, S, S].
        count: K; fewer come back where the map has fewer channels.
    """
    points = values.flatten(1).double()  # [C, P]
    points = points - points.mean(dim=1, keepdim=True)
    variances, vectors = torch.linalg.eigh(points @ points.T / points.shape[1])  # rising
    vectors = vectors.flip(1)[:, :count]  # [C, K]
    largest = vectors.abs().argmax(dim=0)
    vectors = vectors * vectors[largest, torch.arange(vectors.shape[1])].sign()
    total = float(variances.clamp(min=0).sum())
    shares = variances.flip(0)[:count].clamp(min=0) / (total or 1.0)
    pictures = (vectors.T @ points).view(-1, *values.shape[1:]).float()
    return Components(pictures=pictures, shares=tuple(shares.tolist()))


def as_rgb(values: Tensor, channels: Sequence[int] | None = None) -> np.ndarray:
    """A map as a picture: its first three principal components, or one to three channels, as red, green and blue.

    The components share one scale, as a weak one is weak; channels, whose units differ, have one each. Mid-grey is the
    mean; the outermost hundredth of the values saturates.

    Args:
        values: [C, S, S].
        channels: numbers of channels, one (grey) or three; None for principal components.

    Returns:
        uint8 [S, S, 3].

    Raises:
        ConfigError: a channel that is not there, or not one or three.
    """
    if channels is None:
        planes = principal_components(values).pictures
        scale = _half_range(planes).expand(len(planes))
    else:
        count = len(values)
        if len(channels) not in (1, 3) or any(not 0 <= channel < count for channel in channels):
            raise ConfigError(f"channels {list(channels)}: expected one or three of 0 to {count - 1}")
        planes = values[list(channels)]
        planes = planes - planes.mean(dim=(1, 2), keepdim=True)
        scale = torch.stack([_half_range(plane) for plane in planes])
    shown = (planes / scale[:, None, None]).clamp(-1, 1) * 127.5 + 127.5
    if len(shown) == 1:
        shown = shown.expand(3, -1, -1)
    elif len(shown) == 2:  # a map of two channels has two components
        shown = torch.cat([shown, torch.full_like(shown[:1], 127.5)])
    pixels: np.ndarray = shown.round().to(torch.uint8).permute(1, 2, 0).numpy()
    return pixels


def _half_range(planes: Tensor) -> Tensor:
    """What is shown as full strength: the magnitude that all but the outermost values stay below."""
    sizes = planes.abs().flatten()
    return torch.quantile(sizes, 1 - 2 * _TAIL).clamp_min(1e-12) if len(sizes) < 2**24 else sizes.max()


def _feature_map(name: str, module: nn.Module, output: Any) -> FeatureMap:
    x: Tensor = output if isinstance(output, Tensor) else output[0]
    if x.ndim == 3:  # tokens [1, S², D], row by row
        side = math.isqrt(x.shape[1])
        x = x.transpose(1, 2).unflatten(2, (side, side))
    values = x[0].detach().float().cpu()
    margin, cutoff = 0, None
    if isinstance(module, stylegan3.SynthesisLayer):
        spec = module.spec
        margin, cutoff = max(0, (spec.out_size_px - spec.out_sampling_rate) // 2), spec.out_cutoff
    elif isinstance(module, FourierInput):
        margin, cutoff = max(0, (module.size_px - round(module.sampling_rate)) // 2), float(module.bandwidth)
    return FeatureMap(layer=name, values=values, margin_px=margin, cutoff=cutoff)
