"""Style mixing: some layers of the synthesis network follow one latent, the rest another (StyleGAN, section 3.1).

The first layers decide what is large (pose, shape), the last ones what is fine (colours, texture).

Dimensions: N batch · L copies of w, one per layer · D features · R rows · K columns · C channels · H W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from gantrol.errors import ConfigError
from gantrol.model import Model
from gantrol.pictures import to_arrays
from gantrol.sample import Look, parse_seeds, render


def parse_layers(text: str, num_ws: int) -> list[int]:
    """The layers that `0-3,6` stands for, in rising order: [0, 1, 2, 3, 6].

    Raises:
        ConfigError: the text is no list of numbers and ranges, or `check_layers` refuses them.
    """
    try:
        layers = parse_seeds(text)
    except ConfigError as error:
        raise ConfigError(f"layers {text!r}: expected numbers and ranges, for example 0-6") from error
    return check_layers(layers, num_ws)


def check_layers(layers: Sequence[int], num_ws: int) -> list[int]:
    """`layers` in rising order without repetitions.

    Raises:
        ConfigError: there is nothing to mix, none is named, or one is not a layer of the model.
    """
    if num_ws < 2:
        raise ConfigError("this model feeds its latent to one layer alone: there is nothing to mix")
    if not layers:
        raise ConfigError(f"there are no layers to mix: choose some of 0 to {num_ws - 1}")
    for layer in layers:
        if not 0 <= layer < num_ws:
            raise ConfigError(f"layer {layer}: this model has the layers 0 to {num_ws - 1}")
    return sorted(set(layers))


def coarse_layers(num_ws: int) -> list[int]:
    """The first half of the layers."""
    return list(range(num_ws // 2))


def fine_layers(num_ws: int) -> list[int]:
    """The second half of the layers; the middle one belongs to it."""
    return list(range(num_ws // 2, num_ws))


def mixed(ws: Tensor, other: Tensor, layers: Sequence[int]) -> Tensor:
    """`ws` with `layers` taken from `other`.

    Args:
        ws: [..., L, D].
        other: [..., L, D]; the leading dimensions broadcast.
        layers: indices into L.

    Returns:
        [..., L, D].
    """
    is_other = torch.zeros(ws.shape[-2], 1, dtype=torch.bool, device=ws.device)
    is_other[list(layers)] = True
    return torch.where(is_other, other, ws)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixingTable:
    """Images of a style-mixing table, uint8."""

    rows: np.ndarray
    """[R, H, W, C]: the seeds of the rows, unmixed."""
    columns: np.ndarray
    """[K, H, W, C]: the seeds of the columns, unmixed."""
    cells: np.ndarray
    """[R, K, H, W, C]: each row with the chosen layers of each column."""


def mixing_table(
    model: Model,
    rows: Sequence[int],
    columns: Sequence[int],
    layers: Sequence[int],
    *,
    look: Look | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> MixingTable:
    """Every row seed with the chosen layers of every column seed.

    Args:
        model: with at least two layers.
        rows: R seeds, which give all other layers, and the per-pixel noise.
        columns: K seeds, which give `layers`.
        layers: see above.
        look: truncation (before mixing), class, controls, noise, batch size.
        progress: called with (done, total) images; total = R + K + R·K.

    Raises:
        ConfigError: seeds, layers or look do not fit the model.
    """
    look = look or Look()
    layers = check_layers(layers, model.generator.num_ws)
    seeds = [*rows, *columns]
    r, k = len(rows), len(columns)
    if not (r and k):
        raise ConfigError("a mixing table needs at least one row and one column")
    ws = torch.cat([model.map(rows, **look.of_map), model.map(columns, **look.of_map)])  # [R + K, L, D]
    # Which seed gives most of an image, and which one gives `layers`; at the heads it is the same.
    pairs = [(i, i) for i in range(r + k)] + [(row, r + column) for row in range(r) for column in range(k)]
    parts = []
    for start in range(0, len(pairs), look.batch_size):
        some = pairs[start : start + look.batch_size]
        bases, styles = map(list, zip(*some, strict=True))
        batch = render(
            model.generator,
            mixed(ws[bases], ws[styles], layers),
            [seeds[base] for base in bases],
            noise_mode=look.noise_mode,
            dtype=model.dtype,
            replays=model.replays,
        )
        parts.append(to_arrays(batch))
        if progress is not None:
            progress(start + len(some), len(pairs))
    images = np.concatenate(parts)
    row_images, column_images, cells = np.split(images, [r, r + k])
    return MixingTable(rows=row_images, columns=column_images, cells=cells.reshape(r, k, *images.shape[1:]))
