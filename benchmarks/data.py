"""Data: images per second of one reading thread, of the loader, and of the portrait renderer."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from benchmarks.timing import Benchmark, Effort, Row, measure
from gantrol.data.dataset import ImageDataset
from gantrol.data.loader import batches
from gantrol.data.shards import Layout, open_writer
from gantrol.data.writer import DatasetWriter

BATCH = 16
WORKERS = 2
READ_PX = 64
FASTEST_PRESETS = ("stylegan2", "transgan-v1-s")
"""Presets whose steps take least; the data must come three times as fast as either consumes it."""


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
    return [
        Benchmark(group="Data", name=f"one thread {READ_PX} px", run=partial(read, effort)),
        *loaders,
        Benchmark(group="Data", name="data per training", run=partial(against_training, effort)),
        Benchmark(group="Data", name="portraits 64 px", run=partial(render, effort)),
    ]


def smooth_pictures(count: int, size_px: int) -> Iterator[np.ndarray]:
    """Soft RGB blobs, which compress about as well as photographs do."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        coarse = rng.integers(0, 256, (size_px // 8, size_px // 8, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((size_px, size_px), Image.Resampling.BICUBIC))
        yield (smooth.astype(np.int16) + rng.integers(-3, 4, smooth.shape)).clip(0, 255).astype(np.uint8)


def as_png(image: np.ndarray, level: int) -> bytes:
    """A PNG as other tools write it, with rows that are predicted from their neighbours."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


def read(effort: Effort) -> list[Row]:
    """Reads and decodes image after image in one thread, from each kind of file that a dataset can be."""
    count = 512 if effort.is_quick else 2048
    pictures = list(smooth_pictures(count, READ_PX))
    kinds: list[tuple[str, str, Layout, Callable[[np.ndarray], np.ndarray | bytes]]] = [
        ("a zip of our PNGs", "ours.zip", "zip", lambda image: image),
        ("a zip of uncompressed PNGs of Pillow", "level0.zip", "zip", partial(as_png, level=0)),
        ("a zip of deflated PNGs", "level6.zip", "zip", partial(as_png, level=6)),
        ("shards of zips", "shards", "shards", lambda image: image),
        ("WebDataset shards", "webdataset", "webdataset", lambda image: image),
    ]
    rows = []
    for title, name, layout, encode in kinds:
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / name
            with open_writer(path, layout=layout, shard_images=count // 4) as writer:
                for image in pictures:
                    writer.add(encode(image))
            dataset = ImageDataset(path)
            of_thread: list[float] = []

            def epoch(dataset: ImageDataset = dataset, of_thread: list[float] = of_thread) -> None:
                began = time.thread_time()
                for index in range(len(dataset)):
                    dataset.pixels(index)
                of_thread.append(time.thread_time() - began)

            timing = measure(epoch, effort)
        details = {"timing": timing, "images_per_s_of_processor_time": count / min(of_thread), "goal_at_least": 3000}
        rows.append(
            Row(
                name=f"one thread reads {title}, {READ_PX} px",
                value=count / timing.median_s,
                unit="images/s",
                details=details,
            )
        )
    return rows


def against_training(effort: Effort) -> list[Row]:
    """Images per second of the loader without its cache, over those that the fastest training steps consume here."""
    from benchmarks.training import SIZE_PX, train_steps  # which needs `write_noise`

    loader = load(SIZE_PX, "off", effort)[0].value
    rows = []
    for name in FASTEST_PRESETS:
        consumed = train_steps(name, "fp32", effort)[0].value
        rows.append(
            Row(
                name=f"data loaded per image that tiny {name} trains on, {SIZE_PX} px",
                value=loader / consumed,
                unit="×",
                details={"loader_images_per_s": loader, "training_images_per_s": consumed, "goal_at_least": 3},
            )
        )
    return rows


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
            stream.close()
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
