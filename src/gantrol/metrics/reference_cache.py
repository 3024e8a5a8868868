"""Statistics of real images, kept between evaluations under a key made of everything they depend on.

The files are in `$XDG_CACHE_HOME/gantrol/statistics` (usually `~/.cache/gantrol/statistics`) and may be deleted at any
time. Each carries a digest of all its bytes and the key it was made for: a damaged, exchanged or outdated file, or an
unwritable folder, costs time, never correctness.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from gantrol import checkpoint
from gantrol.data.dataset import ImageDataset
from gantrol.errors import CheckpointError, DataError

MAX_BYTES = 512 * 2**20
"""Larger statistics are not kept."""


def dataset_digest(dataset: ImageDataset) -> str:
    """A digest of a dataset's content and of the images chosen: different after any change.

    A folder of images is known by their bytes, other datasets by `ImageDataset.fingerprint`: zips by the names, sizes
    and check sums in their directories, so that copies have the same, and tars by their time as well.

    Raises:
        DataError: an image cannot be read.
    """
    digest = hashlib.blake2b(json.dumps([dataset.names, dataset.x_flip]).encode(), digest_size=20)
    if not (dataset.path / dataset.names[0]).is_file():
        digest.update(dataset.fingerprint().encode())
        return digest.hexdigest()
    for name in dataset.names:
        try:
            digest.update(hashlib.blake2b((dataset.path / name).read_bytes(), digest_size=20).digest())
        except OSError as error:
            raise DataError(f"{dataset.path / name} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def load_statistics(key: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The statistics kept under `key`, or None."""
    try:
        statistics, metadata = checkpoint.load(_file(key))
    except CheckpointError:
        return None
    return statistics if metadata.get("key") == _plain(key) else None


def keep_statistics(key: Mapping[str, Any], statistics: Mapping[str, Tensor]) -> None:
    """Keeps statistics under `key`, if there is a place for them and they have no more than `MAX_BYTES`."""
    if sum(value.numel() * value.element_size() for value in statistics.values()) <= MAX_BYTES:
        with suppress(CheckpointError):
            checkpoint.save(_file(key), statistics, {"key": _plain(key)})


def _plain(key: Mapping[str, Any]) -> Any:
    """The key as JSON gives it back."""
    return json.loads(json.dumps(dict(key)))


def _file(key: Mapping[str, Any]) -> Path:
    name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=20).hexdigest()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "gantrol" / "statistics" / f"{name}.safetensors"
