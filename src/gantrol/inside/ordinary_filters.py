"""What the filters of an alias-free generator are good for: the same weights with ordinary resampling in their place.

StyleGAN3 lets its non-linearity work at a higher rate, between two low-pass filters that keep every layer's signal
within its band. `with_ordinary_filters` replaces them by what networks mostly do: repeat each sample to go up, average
neighbours to go down. Everything else is the same, so what is seen beside the original (steps of whole pixels when the
picture moves by parts of one, grids, contrasts that come and go) is aliasing. The weights were trained with the
filters: it is a demonstration, not a fair rival.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from gantrol.errors import ConfigError
from gantrol.model import Model
from gantrol.models.stylegan3 import SynthesisLayer


def has_filters(generator: Any) -> bool:
    """Whether the generator has layers with low-pass filters on both sides of the non-linearity."""
    return any(layer.down_filter is not None for layer in _layers(generator))


def with_ordinary_filters(model: Model) -> Model:
    """A copy of an alias-free model whose layers resample by repetition and averaging; the model is left as it is.

    The replacements are box filters of `up` and `down` taps, in the middle of as many taps as there were, so that
    nothing shifts.

    Raises:
        ConfigError: the model has no such filters.
    """
    if not has_filters(model.generator):
        raise ConfigError(f"a {model.config.kind} model has no low-pass filters to replace; load a stylegan3")
    generator = copy.deepcopy(model.generator)
    for layer in _layers(generator):
        if layer.up_filter is not None:
            layer.up_filter = _box(layer.up_filter, layer.spec.up)
        if layer.down_filter is not None:
            layer.down_filter = _box(layer.down_filter, layer.spec.down)
    return Model(generator, control_set=model.control_set, training=model.training, dtype=model.dtype)


def _layers(generator: Any) -> list[SynthesisLayer]:
    return [module for module in generator.synthesis.modules() if isinstance(module, SynthesisLayer)]


def _box(taps: Tensor, width: int) -> Tensor:
    """As many taps as `taps` [n] or [n, n], of which the middle ones average `width` samples."""
    count = taps.shape[-1]
    width += (count - width) % 2  # an even filter has no single tap in its middle
    line = torch.zeros(count, dtype=taps.dtype, device=taps.device)
    start = (count - width) // 2
    line[start : start + width] = 1 / width
    return line if taps.ndim == 1 else torch.outer(line, line)
