"""Other values for a generator's constant noise, while a metric looks at what a change of latents or of the input does.

StyleGAN2 adds noise to its features; in the mode "const" it is the same for every image, and kept with the weights.
Metrics that compare two images need it constant within the pair; to not depend on the one that happens to be kept,
they draw it anew every few images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from gantrol.models.protocols import Generator


def noise_buffers(generator: Generator) -> list[Tensor]:
    """The constant noise of every layer that has any, in a fixed order."""
    return [value for name, value in cast(nn.Module, generator).named_buffers() if name.endswith("noise_const")]


@contextmanager
def redrawn_noise(generator: Generator, seed: np.random.SeedSequence) -> Iterator[Callable[[int], None]]:
    """Yields a function that fills the constant noise of all layers with the i-th draw that follows from `seed`.

    Draws do not depend on those before. When the context ends, the noise is what it was.
    """
    buffers = noise_buffers(generator)
    kept = [value.clone() for value in buffers]

    def redraw(index: int) -> None:
        own = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, index))
        random = torch.Generator().manual_seed(int(own.generate_state(1, np.uint64)[0] >> 1))
        for value in buffers:
            value.copy_(torch.randn(value.shape, generator=random))

    try:
        yield redraw
    finally:
        for value, original in zip(buffers, kept, strict=True):
            value.copy_(original)
