"""Data: images per second of the loader and of the portrait renderer."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.timing import Benchmark, Effort, Row, measure
from gantrol.data.dataset import ImageDataset
from gantrol.data.loader import batches
from gantrol.data.writer import DatasetWriter

BATCH = 16
WORKERS = 2


def benchmarks(effort: Effort) -> list[Benchmark]:
    """The loader with and without its cache, and the renderer."""
    sizes = (32,) if effort.is_quick else (32, 256)
    caches: tuple[Literal["on", "off"], ...] = ("on", "off")
    loaders = [
        Benchmark(
            group="Data",
            name=f"loader {size_px} px cache {cache}",
            run=partial(load, size_px, cache, effort),
        )
        for size_px in sizes
        for cache in caches
    ]
    return [*loaders, Benchmark(group="Data", name="portraits 64 px", run=partial(render, effort))]


def write_noise(path: Path, *, count: int, size_px: int) -> Path:
    """A dataset of RGB noise: uncompressed PNG takes as long for noise as for pictures."""
    rng = np.random.default_rng(0)
    with DatasetWriter(path) as writer:
        for _ in range(count):
            writer.add(rng.integers(0, 256, (size_px, size_px, 3), dtype=np.uint8))
    return path


def load(size_px: int, cache: Literal["on", "off"], effort: Effort) -> list[Row]:
    """Times batches from the loader while nothing else wants the processor."""
    count = 1024 if size_px <= 64 else 256
    with tempfile.TemporaryDirectory() as temporary:
        dataset = ImageDataset(write_noise(Path(temporary) / "noise.zip", count=count, size_px=size_px))
        stream = batches(dataset, batch_size=BATCH, workers=WORKERS, cache=cache)

        def epoch() -> None:
            for _ in range(count // BATCH):
                next(stream)

        try:
            timing = measure(epoch, effort)  # the call that does not count fills the cache
        finally:
            stream.close()  # type: ignore[attr-defined]
    images = count // BATCH * BATCH
    what = "decoded images in memory" if cache == "on" else "decoding each time"
    return [
        Row(
            name=f"loader, {size_px} px, {WORKERS} threads, {what}",
            value=images / timing.median_s,
            unit="images/s",
            details={"timing": timing, "batch": BATCH},
        )
    ]


def render(effort: Effort) -> list[Row]:
    """Renders a dataset of portraits; the start of the worker processes is told apart."""
    from gantrol.data.faces import make_dataset

    count = 128 if effort.is_quick else 512
    moments: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as temporary:
        began = time.perf_counter()
        make_dataset(
            Path(temporary) / "faces.zip",
            count,
            64,
            workers=WORKERS,
            progress=lambda done, _: moments.append((done, time.perf_counter())),
        )
        total_s = time.perf_counter() - began
    (first, after_first), (last, at_end) = moments[0], moments[-1]
    details = {"count": count, "total_s": total_s, "start_s": after_first - began}
    return [
        Row(
            name=f"portraits, 64 px, {WORKERS} processes, once they run",
            value=(last - first) / (at_end - after_first),
            unit="images/s",
            details=details,
        ),
        Row(name=f"portraits, start until the first {first}", value=after_first - began, unit="s", details=details),
    ]
