"""Statistics of real images, kept between evaluations under a key made of everything they depend on.

The files are in `$XDG_CACHE_HOME/gantrol/statistics` (usually `~/.cache/gantrol/statistics`) and may be deleted at any
time. A damaged file or an unwritable folder costs time, never correctness.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from gantrol import checkpoint
from gantrol.data.dataset import ImageDataset
from gantrol.errors import CheckpointError, DataError


def dataset_digest(dataset: ImageDataset) -> str:
    """A digest of a dataset's content and of the images chosen: equal for copies, different after any change.

    A zip is known by the names, sizes and check sums in its directory, a folder by the bytes of its files.

    Raises:
        DataError: the dataset cannot be read.
    """
    path = dataset.path
    digest = hashlib.blake2b(json.dumps([dataset.names, dataset.x_flip]).encode(), digest_size=20)
    try:
        if path.is_dir():
            for file in sorted(file for file in path.rglob("*") if file.is_file()):
                content = hashlib.blake2b(file.read_bytes(), digest_size=20).hexdigest()
                digest.update(f"{file.relative_to(path).as_posix()}\0{content}\n".encode())
        else:
            with zipfile.ZipFile(path) as archive:
                for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
                    digest.update(f"{entry.filename}\0{entry.file_size}\0{entry.CRC}\n".encode())
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as a dataset: {error}") from error
    return digest.hexdigest()


def load_statistics(key: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The statistics kept under `key`, or None."""
    try:
        return checkpoint.load(_file(key))[0]
    except CheckpointError:
        return None


def keep_statistics(key: Mapping[str, Any], statistics: Mapping[str, Tensor]) -> None:
    """Keeps statistics under `key`, if there is a place to."""
    with suppress(CheckpointError):
        checkpoint.save(_file(key), statistics, {"key": dict(key)})


def _file(key: Mapping[str, Any]) -> Path:
    name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=20).hexdigest()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "gantrol" / "statistics" / f"{name}.safetensors"
