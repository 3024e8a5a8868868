"""Average power spectra of datasets, models and files, standardised alike so that they can be compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from gantrol import sample
from gantrol.data.dataset import ImageDataset
from gantrol.device import choose_device
from gantrol.errors import ConfigError
from gantrol.hub import CONFIG
from gantrol.metrics.spectra import Spectrum, average_power_spectrum, check_transform, mean_std
from gantrol.model import Model, load
from gantrol.pictures import to_uint8

Progress = Callable[[int, int], None]
Source = Model | ImageDataset | Spectrum


def power_spectra(
    sources: Sequence[Source | str | Path],
    *,
    stats: ImageDataset | str | Path | None = None,
    samples: int = 1000,
    seed: int = 0,
    interpolation: int = 4,
    beta: float = 8.0,
    batch_size: int = 32,
    device: str = "auto",
    progress: Progress | None = None,
) -> list[Spectrum]:
    """Spectra that can be compared: of equal resolution, standardised alike.

    Mean and std are those of `stats` if it is given, else of the first source that is a dataset or a spectrum made
    before; where there are only models, each has its own. Spectra made before stay as they are.

    Args:
        sources: datasets (zip, folder), models (all that `gantrol.load` takes), spectra (npz), as objects or paths.
        stats: a dataset.
        samples: images per source: generated, or drawn from a dataset that has more.
        seed: image i of a model comes from the seed `seed + i` (latent, noise and a class at random); also chooses
            what is drawn from a dataset.
        interpolation: see `gantrol.metrics.spectra.average_power_spectrum`, as for `beta`.
        beta: see there.
        batch_size: images at a time; changes speed and memory only.
        device: where models are loaded and spectra computed, as for `gantrol.load`.
        progress: called with (done, total) images.

    Returns:
        A spectrum for each source, in their order, named as they were given.

    Raises:
        ConfigError: no sources, unequal resolutions, an argument that cannot be.
        CheckpointError, DataError: a source cannot be read.
    """
    check_transform(interpolation, beta)
    if samples < 1 or batch_size < 1:
        raise ConfigError(f"samples={samples}, batch_size={batch_size}: expected at least 1 of each")
    if not 0 <= seed <= sample.MAX_SEED + 1 - samples:
        raise ConfigError(f"seed {seed}: expected a whole number from 0 to 2^32 less the samples")
    chosen = choose_device(device)
    opened = [_open(source, device) for source in sources]
    names = [_name(source) for source in sources]
    check_equal_resolution(names, [_resolution(source) for source in opened])
    reference = ImageDataset(stats) if isinstance(stats, str | Path) else stats

    made = [source for source in (*opened, reference) if source is not None and not isinstance(source, Spectrum)]
    total = sum(samples if isinstance(source, Model) else min(samples, len(source)) for source in made)
    done = 0

    def images_of(source: Model | ImageDataset) -> Iterator[Tensor]:
        nonlocal done
        read = _generated if isinstance(source, Model) else _stored
        for images in read(source, samples, seed, batch_size):  # type: ignore[arg-type]
            yield images
            done += len(images)
            if progress is not None:
                progress(done, total)

    mean: float | None = None
    std: float | None = None
    order = list(range(len(opened)))
    if reference is not None:
        mean, std = mean_std(images_of(reference))
    else:  # the first source that is no model comes first: the others share its mean and std
        order.sort(key=lambda index: isinstance(opened[index], Model))
    found: dict[int, Spectrum] = {}
    for index in order:
        source = opened[index]
        if isinstance(source, Spectrum):
            found[index] = source
        else:
            found[index] = average_power_spectrum(
                images_of(source),
                mean=mean,
                std=std,
                interpolation=interpolation,
                beta=beta,
                device="cpu" if chosen.type == "mps" else chosen,  # Apple's GPUs have no float64
                name=names[index],
            )
        if mean is None and not isinstance(source, Model) and math.isfinite(found[index].mean):
            mean, std = found[index].mean, found[index].std
    return [found[index] for index in range(len(opened))]


def check_equal_resolution(names: Sequence[str], sizes_px: Sequence[int]) -> None:
    """Raises `ConfigError` if there are no sources, or their images differ in size."""
    if not names:
        raise ConfigError("spectra of what? name datasets, models or .npz files")
    for name, size in zip(names, sizes_px, strict=True):
        if size != sizes_px[0]:
            raise ConfigError(
                f"{name} has {size} px, but {names[0]} has {sizes_px[0]} px: spectra are compared at one resolution; "
                "draw them one by one, or bring a dataset to the other's size with `gantrol data import --size`"
            )


def _open(source: Source | str | Path, device: str) -> Source:
    if isinstance(source, Model | ImageDataset | Spectrum):
        return source
    path = Path(source)
    if path.suffix.lower() == ".npz":
        return Spectrum.load(path)
    if path.suffix.lower() == ".zip" or (path.is_dir() and not (path / CONFIG).is_file()):
        return ImageDataset(path)
    return load(source, device=device)


def _name(source: Source | str | Path) -> str:
    if isinstance(source, Model):
        return f"{source.config.kind} model"
    return source.name if isinstance(source, ImageDataset | Spectrum) else str(source)


def _resolution(source: Source) -> int:
    if isinstance(source, Spectrum):
        return source.image_size_px
    return source.resolution_px if isinstance(source, ImageDataset) else cast(int, source.generator.resolution_px)


def _stored(dataset: ImageDataset, samples: int, seed: int, batch_size: int) -> Iterator[Tensor]:
    """The images of a dataset, uint8 [n, C, S, S]; `samples` of them at random, in order, if there are more."""
    rows = np.arange(len(dataset))
    if len(rows) > samples:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:samples])
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        yield torch.stack([torch.from_numpy(dataset.pixels(int(index))) for index in batch])


def _generated(model: Model, samples: int, seed: int, batch_size: int) -> Iterator[Tensor]:
    """Images of a model without truncation, uint8 [n, C, S, S]; each one's latent, noise and class follow from its own
    seed."""
    seeds = list(range(seed, seed + samples))
    c_dim = model.generator.c_dim
    classes = [int(np.random.default_rng(one).integers(c_dim)) for one in seeds] if c_dim else None
    c = sample.class_labels(model.generator, classes, samples)
    batches = sample.image_batches(
        model.generator, seeds, c=c, noise_mode="random", batch_size=batch_size, dtype=model.dtype
    )
    return map(to_uint8, batches)
