"""From a dataset to batches on the device, ahead of the training.

Images are decoded by threads (Pillow decodes outside the interpreter's lock), so no process is started, no shared
memory needed, and what a batch holds depends on its position alone: any number of workers gives the same batches, and a
resumed training continues with the batch that it would have seen. Small datasets are decoded once and kept in memory;
their files are still looked at with each batch, so that a dataset that is edited during the training is noticed.

Only uint8 crosses the bus: pinned memory → asynchronous copy. Scaling to [-1, 1] is the training step's.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from gantrol.data.dataset import ImageDataset
from gantrol.data.sampler import ShuffledSampler

CACHE_BYTES = 2**30
"""With `cache="auto"`, decoded datasets smaller than this stay in memory."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one training step sees of the dataset."""

    images: torch.Tensor
    """uint8 [N, C, H, W], on the device."""
    labels: torch.Tensor
    """float32 [N, label_dim], on the device."""
    indices: tuple[int, ...]
    """Which items of the dataset these are; `dataset.attributes(i)` has the rest."""


def batches(
    dataset: ImageDataset,
    *,
    batch_size: int,
    start_img: int = 0,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    groups: int = 1,
    workers: int = 0,
    device: torch.device | str = "cpu",
    prefetch: int = 2,
    cache: Literal["auto", "on", "off"] = "auto",
) -> Generator[Batch, None, None]:
    """Batches without end, in the order of `ShuffledSampler`.

    Args:
        dataset: what to read.
        batch_size: images per batch and process; one step of all processes consumes `world_size ·
            batch_size`.
        start_img: images that all processes together have consumed before.
        seed: of the order.
        rank: this process among `world_size`.
        world_size: processes that train together; they never see the same position.
        groups: images that a process gets together, a divisor of `batch_size`: see `ShuffledSampler.rank_indices`.
        workers: decoding threads; 0 is one thread as well, which works while the training step runs.
        device: where the batches go.
        prefetch: batches kept ready beyond the one that each worker is making.
        cache: keep decoded images in memory; "auto" does if they fit into `CACHE_BYTES`.

    Raises:
        DataError: from the iteration, when a damaged image comes up, or a file has changed since it was opened.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size}")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} of {world_size}")
    return _batches(
        _Reader(dataset, cache),
        ShuffledSampler(len(dataset), seed),
        batch_size,
        start_img,
        rank,
        world_size,
        groups,
        max(workers, 1),
        torch.device(device),
        max(workers, 1) + prefetch,
    )


def _batches(
    reader: _Reader,
    sampler: ShuffledSampler,
    batch_size: int,
    position: int,
    rank: int,
    world_size: int,
    groups: int,
    threads: int,
    device: torch.device,
    depth: int,
) -> Generator[Batch, None, None]:
    """Keeps `depth` batches in the making and yields them in order."""
    is_cuda = device.type == "cuda"
    if is_cuda and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())

    def use_device() -> None:
        if is_cuda:  # or pinning in a new thread would open a context on the first GPU
            torch.cuda.set_device(device)

    def make(indices: list[int]) -> Batch:
        images, labels = reader.read(indices)
        tensors = torch.from_numpy(images), torch.from_numpy(labels)
        if is_cuda:
            tensors = tensors[0].pin_memory(), tensors[1].pin_memory()
        return Batch(images=tensors[0], labels=tensors[1], indices=tuple(indices))

    pool = ThreadPoolExecutor(threads, thread_name_prefix="gantrol-loader", initializer=use_device)
    pending: deque[Future[Batch]] = deque()
    try:
        while True:
            while len(pending) < depth:
                indices = sampler.rank_indices(position, batch_size, rank, world_size, groups)
                pending.append(pool.submit(make, indices))
                position += batch_size * world_size
            batch = pending.popleft().result()
            if device.type != "cpu":
                batch = replace(
                    batch,
                    images=batch.images.to(device, non_blocking=True),
                    labels=batch.labels.to(device, non_blocking=True),
                )
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


class _Reader:
    """Images and labels by index; with a cache, each image is decoded once.

    Threads share the cache without a lock: two may decode the same image, and then both write the same bytes.
    """

    def __init__(self, dataset: ImageDataset, cache: Literal["auto", "on", "off"]) -> None:
        self._dataset = dataset
        self._count = len(dataset.names)
        side = dataset.resolution_px
        self._shape = (dataset.channels, side, side)
        self._cache: np.ndarray | None = None
        if cache == "on" or (cache == "auto" and self._count * math.prod(self._shape) <= CACHE_BYTES):
            self._cache = np.empty((self._count, *self._shape), dtype=np.uint8)  # memory is taken as it fills
            self._is_cached = np.zeros(self._count, dtype=bool)

    def read(self, indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [N, C, H, W] and float32 [N, label_dim]."""
        labels = np.stack([self._dataset.label(index) for index in indices])
        if self._cache is None:
            found = np.empty((len(indices), *self._shape), dtype=np.uint8)
            for place, index in enumerate(indices):
                self._dataset.pixels(index, out=found[place])
            return found, labels
        self._dataset.check_unchanged(indices)
        wanted = np.array(indices)
        originals = wanted % self._count
        for original in originals[~self._is_cached[originals]]:
            self._dataset.pixels(int(original), out=self._cache[original])
            self._is_cached[original] = True
        result = self._cache[originals]
        is_flipped = wanted >= self._count
        result[is_flipped] = result[is_flipped][..., ::-1]
        return result, labels
