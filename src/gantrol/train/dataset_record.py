"""RUN/data.json: which dataset a run is trained with, so that it is not continued with another unnoticed."""

from __future__ import annotations

import json
from pathlib import Path

from gantrol.atomic import write_json
from gantrol.data.dataset import ImageDataset
from gantrol.errors import CheckpointError, DataError, TrainingError

DATA = "data.json"


def write_record(folder: Path, dataset: ImageDataset) -> None:
    """Writes down the dataset of a run."""
    record = {"path": str(dataset.path), "images": len(dataset.names), "fingerprint": dataset.fingerprint()}
    write_json(folder / DATA, record, TrainingError)


def check_record(folder: Path, dataset: ImageDataset) -> None:
    """Raises DataError if the dataset is not the one that the run in `folder` was begun with; older runs do not say."""
    path = folder / DATA
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        fingerprint, count = str(record["fingerprint"]), int(record["images"])
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"cannot read {path}: {error}; delete it to continue without comparing datasets"
        ) from error
    if dataset.fingerprint() != fingerprint:
        now = len(dataset.names)
        how = f"has {now} images instead of {count}" if now != count else "holds other files"
        raise DataError(
            f"{dataset.path}: {how}: it has changed since {folder} was begun; put the old dataset back, "
            f"or begin a new run with --init {folder}"
        )
