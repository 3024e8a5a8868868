"""Metrics: images per second from a dataset to the statistics that the Fréchet distance compares.

The number that counts is of 5,000 images in one go, under a minute on two cores, which `--full` measures; other efforts
take fewer images, say how many, and extrapolate nothing.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from benchmarks.data import write_noise
from benchmarks.timing import Benchmark, Effort, Row
from gantrol.data.dataset import ImageDataset
from gantrol.metrics.features import load_features
from gantrol.metrics.moments import Moments

BATCH = 64
SIZE_PX = 64
COUNTS = {"quick": 256, "default": 1000, "full": 5000}
"""Images by effort."""


def benchmarks(effort: Effort) -> list[Benchmark]:
    """The statistics of a dataset, in the features that need no download."""
    return [
        Benchmark(
            group="Metrics",
            name=f"statistics {SIZE_PX} px efficientnet-lite0",
            run=partial(statistics, "efficientnet-lite0", COUNTS[effort.name]),
        )
    ]


def statistics(features: str, count: int) -> list[Row]:
    """Times one pass over a dataset: reading, features, mean and covariance; the network is loaded and warm."""
    network = load_features(features)
    with tempfile.TemporaryDirectory() as temporary:
        dataset = ImageDataset(write_noise(Path(temporary) / "noise.zip", count=count, size_px=SIZE_PX))
        network(_images(dataset, 0, BATCH))
        began, worked = time.perf_counter(), time.process_time()
        moments = Moments(network.num_features)
        for start in range(0, count, BATCH):
            moments.update(network(_images(dataset, start, min(start + BATCH, count))))
        moments.covariance()
        passed_s, worked_s = time.perf_counter() - began, time.process_time() - worked
    assert moments.count == count
    what = f"statistics of {count:,} images, {SIZE_PX} px, {network.title}"
    details = {"images": count, "seconds": passed_s, "processor_seconds": worked_s, "batch": BATCH}
    return [
        Row(name=what, value=passed_s, unit="s", details=details),
        Row(name=f"{what}, rate", value=count / passed_s, unit="images/s", details=details),
    ]


def _images(dataset: ImageDataset, first: int, behind: int) -> torch.Tensor:
    """uint8 [n, 3, H, W]."""
    return torch.stack([torch.from_numpy(dataset.pixels(index)) for index in range(first, behind)])
