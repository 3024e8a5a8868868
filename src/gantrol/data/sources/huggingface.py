"""Hugging Face datasets: one on the hub (`hf:owner/name`), one saved with `save_to_disk`, or Parquet files.

Only data is read: the package `datasets` has dropped loading scripts, and nothing else of a repository is executed. The
first image column is taken, and the first class label becomes the label.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gantrol.data.annotations import Annotations
from gantrol.data.sources.source import Source
from gantrol.errors import DataError, nearest, require_extra

PREFIX = "hf:"


def is_saved(path: Path) -> bool:
    """Whether `path` is a dataset on the disk that this file reads."""
    if path.is_dir():
        return (path / "dataset_dict.json").is_file() or (
            (path / "dataset_info.json").is_file() and (path / "state.json").is_file()
        )
    return path.suffix.lower() == ".parquet"


class TableStore:
    """Read access to the encoded images of a table's column."""

    def __init__(self, path: Path, table: Any, column: str) -> None:
        self.path = path
        self._table = table
        self._column = column
        self.names = [f"{row:08d}" for row in range(len(table))]

    def read(self, name: str) -> bytes:
        """The encoded image of a row."""
        cell = self._table[int(name)][self._column]
        if isinstance(cell, dict) and cell.get("bytes") is not None:
            return bytes(cell["bytes"])
        place = cell.get("path") if isinstance(cell, dict) else None
        if not place or not Path(place).is_file():
            raise DataError(f"{self.where(name)}: has no image")
        return Path(place).read_bytes()

    def peek(self, name: str, count: int) -> bytes:
        """The first `count` bytes of it."""
        return self.read(name)[:count]

    def where(self, name: str) -> str:
        """`dataset: row`."""
        return f"{self.path}: row {int(name)}"

    def total_bytes(self) -> int:
        """Size of the table in memory or on the disk."""
        return int(self._table.data.nbytes)


def open_huggingface(source: str, split: str | None) -> Source:
    """The images and labels of a dataset.

    Args:
        source: `hf:owner/name` (with `:config` after it where there are several), or a path.
        split: by default train, or the only one.

    Raises:
        MissingExtraError: the package datasets is missing.
        DataError: it cannot be loaded, has no such split, or no images.
    """
    datasets: Any = require_extra("datasets", "readers")
    try:
        if source.startswith(PREFIX):
            name, _, config = source.removeprefix(PREFIX).partition(":")
            found = datasets.load_dataset(name, config or None)
        elif Path(source).is_dir():
            found = datasets.load_from_disk(source)
        else:
            found = datasets.load_dataset("parquet", data_files=source)
    except Exception as error:  # the package raises whatever its many back ends raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{source}: cannot be loaded as a Hugging Face dataset ({reason})") from error
    table = _choose_split(found, split, source) if hasattr(found, "keys") else found
    features = table.features
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if not images:
        raise DataError(f"{source}: has no column of images, only {', '.join(features)}")
    classes = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    # Undecoded, so that our own reader, with its limits, sees the file itself.
    store = TableStore(Path(source), table.cast_column(images[0], datasets.Image(decode=False)), images[0])
    labels = None
    if classes:
        values = list(table[classes[0]])
        if all(value is not None and value >= 0 for value in values):  # -1 and nothing: unlabelled
            labels = dict(zip(store.names, map(int, values), strict=True))
    return Source(
        store=store,
        names=tuple(store.names),
        annotations=Annotations(labels=labels),
        classes=tuple(features[classes[0]].names) if labels else (),
    )


def _choose_split(found: Any, split: str | None, source: str) -> Any:
    names = list(found.keys())
    wanted = split or ("train" if "train" in names else names[0])
    if wanted not in names:
        raise DataError(f"{source}: has no split {wanted!r}; {nearest(wanted, names)}")
    return found[wanted]
