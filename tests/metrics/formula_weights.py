"""Weights that follow from their names: a network can be tested without its file, and gives the same anywhere."""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch
from torch import Tensor, nn


def formula_weights(module: nn.Module) -> dict[str, Tensor]:
    """A value for everything in the state of `module`, of a size that keeps activations near 1."""
    return {name: _formula(name, tuple(value.shape)) for name, value in module.state_dict().items()}


def formula_images(count: int, size: int) -> Tensor:
    """uint8 [count, 3, size, size]."""
    i = np.arange(count * 3 * size * size)
    values = np.floor((np.sin(i * 0.37) + np.sin(i * 0.0113)) * 60 + 128).astype(np.uint8)
    return torch.from_numpy(values).view(count, 3, size, size)


def _formula(name: str, shape: tuple[int, ...]) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    i = np.arange(math.prod(shape), dtype=np.float64) + zlib.crc32(name.encode()) % 100003
    unit = np.modf(np.sin(i * 12.9898) * 43758.5453)[0]  # in (−1, 1)
    if name.endswith("running_var"):
        values = 1 + 0.5 * unit
    elif name.endswith("bn.weight"):
        values = 1 + 0.2 * unit
    elif name.endswith(("bias", "running_mean")):
        values = 0.1 * unit
    else:
        values = unit * math.sqrt(6 / math.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32)).view(shape)
