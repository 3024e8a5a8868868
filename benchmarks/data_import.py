"""Import: photographs per second from JPEG files of 512 px to a dataset of 64 px."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.timing import Benchmark, Effort, Row
from gantrol.data.prepare import import_images

PHOTOS, PHOTO_PX, SIZE_PX = 400, 512, 64
WORKERS = 2


def benchmarks(effort: Effort) -> list[Benchmark]:
    """One import with as many workers as the promise names, and one that counts processor time."""
    count = 100 if effort.is_quick else PHOTOS
    return [Benchmark(group="Data", name="import photos", run=partial(measure_import, count, effort))]


def write_photos(folder: Path, count: int) -> None:
    """JPEGs of quality 90 that compress like photographs: smooth noise of four scales, and a little grain."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    layers = [
        np.stack(
            [
                np.asarray(
                    Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)).resize(
                        (PHOTO_PX, PHOTO_PX), Image.Resampling.BICUBIC
                    ),
                    dtype=np.float32,
                )
                / cells**0.5
                for _ in range(4)
            ]
        )
        for cells in (4, 16, 64, 256)
    ]
    grain = rng.normal(0, 5, (PHOTO_PX, PHOTO_PX, 3)).astype(np.float32)
    for number in range(count):
        choice = [number // 4**scale % 4 for scale in range(len(layers))]
        photo = sum(layer[index] for layer, index in zip(layers, choice, strict=True)) + np.roll(grain, number, axis=0)
        photo = (photo - photo.min()) / (photo.max() - photo.min()) * 255
        Image.fromarray(photo.astype(np.uint8)).save(folder / f"{number:04d}.jpg", quality=90)


def measure_import(count: int, effort: Effort) -> list[Row]:
    """Clock time with two workers, and processor time per photograph with one, which other programs hardly change."""
    with tempfile.TemporaryDirectory() as temporary:
        photos, out = Path(temporary) / "photos", Path(temporary) / "out.zip"
        write_photos(photos, count)
        size = sum(path.stat().st_size for path in photos.iterdir()) // count
        wall_s, processor_s = [], []
        for _ in range(effort.min_runs):
            began = time.perf_counter()
            import_images(photos, out, size_px=SIZE_PX, workers=WORKERS, overwrite=True)
            wall_s.append(time.perf_counter() - began)
            began = time.process_time()
            import_images(photos, out, size_px=SIZE_PX, workers=1, overwrite=True)
            processor_s.append(time.process_time() - began)
    details = {"photos": count, "bytes_per_photo": size, "seconds": wall_s, "processor_seconds": processor_s}
    what = f"import, JPEG {PHOTO_PX} px to {SIZE_PX} px"
    return [
        Row(name=f"{what}, {WORKERS} threads", value=count / min(wall_s), unit="photos/s", details=details),
        Row(
            name=f"{what}, processor time of one thread",
            value=1000 * min(processor_s) / count,
            unit="ms/photo",
            details=details,
        ),
    ]
