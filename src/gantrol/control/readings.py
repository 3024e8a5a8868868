"""What a generator's own images look like to predictors: latents and readings, side by side.

N images · L copies of w · D features of w · K numbers of a reading.

If only some copies of w shall be moved later, half of the images get their other copies from a second latent. Otherwise
no regression could tell what the moved copies do from what the others do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrol.control.predictors import PredictorSet
from gantrol.errors import ConfigError, DataError
from gantrol.models.protocols import Generator

_W_SAMPLES = 20_000
_W_BATCH = 1_000


class Samples(NamedTuple):
    """Latents of a generator and what predictors read from their images; float32, on the CPU."""

    moved: Tensor
    """w of the copies that shall be moved [N, D]."""
    others: Tensor | None
    """w of the other copies [N, D]; None if there are none."""
    readings: dict[str, Tensor]
    """By attribute: [N, K]."""


def sample_readings(
    generator: Generator,
    predictors: PredictorSet,
    attributes: Sequence[str],
    count: int,
    *,
    layers: Sequence[int] | None = None,
    seed: int = 0,
    batch_size: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> Samples:
    """Images of random latents, read.

    Args:
        generator: a `gantrol.models.Generator` in evaluation mode; with labels, classes are drawn at random.
        predictors: what reads; on the generator's device.
        attributes: names of what is read.
        count: N.
        layers: copies of w that shall be moved; if these are not all, every other image takes the rest from a second
            latent.
        seed: of latents and classes.
        batch_size: images at a time.
        progress: called with (done, total).

    Raises:
        ConfigError: an attribute that cannot be read.
        DataError: a reading is not a finite number.
    """
    check_readable(predictors, attributes)
    rng = torch.Generator().manual_seed(seed)
    z, c = _latents(generator, count, rng)
    second_z, _ = _latents(generator, count, rng)
    second_z[::2] = z[::2]  # every other image is mixed
    others = [] if layers is None else sorted(set(range(generator.num_ws)) - set(layers))
    all_w: list[tuple[Tensor, Tensor]] = []
    all_readings: list[dict[str, Tensor]] = []
    with torch.no_grad():
        for start in range(0, count, batch_size):
            rows = slice(start, start + batch_size)
            ws = _mapped(generator, z[rows], c, rows)
            first = second = ws[:, 0]
            if others:
                second = _mapped(generator, second_z[rows], c, rows)[:, 0]
                ws = ws.clone()
                ws[:, others] = second[:, None]
            images = generator.synthesis(ws, noise_mode="const").clamp(-1, 1).float()
            if images.shape[1] == 1:
                images = images.expand(-1, 3, -1, -1)  # predictors see colours
            features = predictors.features(images, attributes)
            all_readings.append({name: predictors.read(name, features[name]).float().cpu() for name in attributes})
            all_w.append((first.float().cpu(), second.float().cpu()))
            if progress is not None:
                progress(start + len(ws), count)
    readings = {name: torch.cat([some[name] for some in all_readings]) for name in attributes}
    for name, values in readings.items():
        if not values.isfinite().all():
            raise DataError(f"the predictor of {name!r} does not give finite numbers for this model's images")
    moved, rest = (torch.cat(some) for some in zip(*all_w, strict=True))
    return Samples(moved, rest if others else None, readings)


def check_readable(predictors: PredictorSet, attributes: Sequence[str]) -> None:
    """Raises `ConfigError` unless each of these attributes is read, as numbers, by one of the predictors."""
    predictors.require(attributes)
    for name in attributes:
        if not predictors.attributes[name].components:
            raise ConfigError(f"attribute {name!r} has distances but no readings: no direction can be fitted to it")


def sample_w(generator: Generator, seed: int, progress: Callable[[int, int], None] | None = None) -> Tensor:
    """w [20,000, D] of random latents, on the CPU, for its mean and spread; other latents than those of the images."""
    z, c = _latents(generator, _W_SAMPLES, torch.Generator().manual_seed(seed + 1))
    parts = []
    for start in range(0, _W_SAMPLES, _W_BATCH):
        rows = slice(start, start + _W_BATCH)
        with torch.no_grad():
            parts.append(_mapped(generator, z[rows], c, rows)[:, 0].cpu())
        if progress is not None:
            progress(start + _W_BATCH, _W_SAMPLES)
    return torch.cat(parts)


def _latents(generator: Generator, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """z [N, z_dim], and one-hot labels [N, c_dim] if the generator takes some."""
    z = torch.randn(count, generator.z_dim, generator=rng)
    if not generator.c_dim:
        return z, None
    return z, F.one_hot(torch.randint(generator.c_dim, (count,), generator=rng), generator.c_dim).float()


def _mapped(generator: Generator, z: Tensor, c: Tensor | None, rows: slice) -> Tensor:
    """ws [n, L, D] of latents, with these rows of the labels."""
    parameter = next(cast(nn.Module, generator).parameters())
    return generator.mapping(z.to(parameter), None if c is None else c[rows].to(parameter))
