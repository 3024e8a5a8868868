"""Datasets: the zip that trainings read, what makes one of other images, and the loader that feeds a training."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gantrol.data.dataset import ImageDataset
    from gantrol.data.loader import Batch, batches
    from gantrol.data.prepare import ImportReport, import_images
    from gantrol.data.sampler import ShuffledSampler
    from gantrol.data.shards import open_writer
    from gantrol.data.writer import DatasetWriter

__all__ = [
    "Batch",
    "DatasetWriter",
    "ImageDataset",
    "ImportReport",
    "ShuffledSampler",
    "batches",
    "import_images",
    "open_writer",
]

# Resolved when first used: the renderer's worker processes import this package and must not pay for torch.
_HOMES = {
    "Batch": "loader",
    "DatasetWriter": "writer",
    "ImageDataset": "dataset",
    "ImportReport": "prepare",
    "ShuffledSampler": "sampler",
    "batches": "loader",
    "import_images": "prepare",
    "open_writer": "shards",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
