"""Where the images of an evaluation come from: a generator, or a dataset; bytes, row by row.

Whoever asks for rows a … b gets the same images as anyone else: they do not depend on batches or processes.

Dimensions: N images · n of a batch · C channels · H W pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gantrol import sample
from gantrol.data.dataset import ImageDataset
from gantrol.errors import ConfigError
from gantrol.hub import CONFIG
from gantrol.model import Model, load
from gantrol.pictures import to_uint8

_READERS = 8  # threads that decode; more do not help, as the interpreter's lock is taken in between


class ImageSource(Protocol):
    """N images."""

    def __len__(self) -> int:
        """N."""

    def batches(self, rows: range, batch_size: int) -> Iterator[Tensor]:
        """The images of these rows, uint8 [n, C, H, W] batch by batch."""


class GeneratedImages:
    """What a model draws: z ~ N(0, 1), no truncation, random noise.

    Args:
        model: any.
        samples: N.
        seed: chooses latents and noise.
        labels: [N, c_dim] for a conditional model, see `draw_labels`.
    """

    def __init__(self, model: Model, samples: int, seed: int, labels: Tensor | None = None) -> None:
        self.model = model
        image_seeds = np.random.SeedSequence(seed).spawn(2)[0]  # the second one draws labels
        self._seeds = [int(value) for value in image_seeds.generate_state(samples)]
        self._labels = labels

    def __len__(self) -> int:
        return len(self._seeds)

    def batches(self, rows: range, batch_size: int) -> Iterator[Tensor]:
        """The images of these rows, uint8 [n, C, H, W] batch by batch."""
        chosen = slice(rows.start, rows.stop)
        batches = sample.image_batches(
            self.model.generator,
            self._seeds[chosen],
            c=None if self._labels is None else self._labels[chosen],
            noise_mode="random",
            batch_size=batch_size,
            dtype=self.model.dtype,
        )
        return map(to_uint8, batches)


class StoredImages:
    """The images of a dataset, decoded ahead of their use.

    Args:
        dataset: any.
        limit: take so many of its images, at random; None: all.
        seed: of that choice.
        x_flip: after them, each image flipped left-right; a dataset that has flipped copies already gets no others.
    """

    def __init__(self, dataset: ImageDataset, *, limit: int | None = None, seed: int = 0, x_flip: bool = False) -> None:
        self.dataset = dataset
        self._rows = random_rows(len(dataset), limit, seed)
        self.x_flip = x_flip or dataset.x_flip
        self._adds_flips = x_flip and not dataset.x_flip

    def __len__(self) -> int:
        return len(self._rows) * (1 + self._adds_flips)

    def batches(self, rows: range, batch_size: int) -> Iterator[Tensor]:
        """The images of these rows, uint8 [n, C, H, W] batch by batch.

        Raises:
            DataError: an image cannot be read.
        """
        with ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1)) as pool:
            coming: Iterator[Tensor] | None = None
            for start in range(rows.start, rows.stop, batch_size):
                following = pool.map(self._image, range(start, min(start + batch_size, rows.stop)))
                if coming is not None:
                    yield torch.stack(list(coming))
                coming = following
            if coming is not None:
                yield torch.stack(list(coming))

    def _image(self, row: int) -> Tensor:
        image = torch.from_numpy(self.dataset.pixels(int(self._rows[row % len(self._rows)])))
        return image if row < len(self._rows) else image.flip(2)


def open_subject(model: Model | ImageDataset | str | Path, device: str = "auto") -> Model | ImageDataset:
    """What is evaluated: a model, or a dataset whose images stand for generated ones.

    Raises:
        CheckpointError, DataError: it cannot be read.
    """
    if isinstance(model, Model | ImageDataset):
        return model
    path = Path(model).expanduser()
    if path.suffix.lower() == ".zip" or (path.is_dir() and not (path / CONFIG).is_file()):
        return ImageDataset(path)
    return load(model, device=device)


def open_reals(
    data: ImageDataset | str | Path | None, subject: Model | ImageDataset, *, use_labels: bool = False
) -> ImageDataset:
    """The dataset to compare with: `data`, or the one that a model was trained on.

    Raises:
        ConfigError: none is given, and none is known.
        DataError: it cannot be read.
    """
    if isinstance(data, ImageDataset):
        return data
    if data is None:
        if isinstance(subject, ImageDataset):
            raise ConfigError(f"{subject.path} is compared with what? give a second dataset (--data F.zip)")
        known = subject.training.get("data")
        if not isinstance(known, str) or not known or not Path(known).exists():
            raise ConfigError("this model does not come with its training images: give a dataset (--data F.zip)")
        data = known
    return ImageDataset(data, use_labels=use_labels)


def random_rows(count: int, limit: int | None, seed: int) -> np.ndarray:
    """int64 [n], rising: `limit` of `count` rows at random, or all if there are no more."""
    if limit is None or count <= limit:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:limit])


def draw_labels(model: Model, dataset: ImageDataset | None, samples: int, seed: int) -> Tensor | None:
    """Labels [samples, c_dim] of random items of a dataset; without one, classes, each as likely as another.

    Returns:
        float32, or None for a model without labels.

    Raises:
        ConfigError: the labels of the dataset do not fit the model.
    """
    c_dim = model.generator.c_dim
    if c_dim == 0:
        return None
    random = np.random.default_rng(np.random.SeedSequence(seed).spawn(2)[1])  # the first one draws images
    if dataset is None:
        classes = torch.from_numpy(random.integers(c_dim, size=samples))
        return torch.nn.functional.one_hot(classes, c_dim).to(torch.float32)
    if dataset.label_dim != c_dim:
        raise ConfigError(f"the labels of {dataset.path} have length {dataset.label_dim}, the model takes {c_dim}")
    indices = random.integers(len(dataset), size=samples)
    return torch.from_numpy(np.stack([dataset.label(int(index)) for index in indices]))
