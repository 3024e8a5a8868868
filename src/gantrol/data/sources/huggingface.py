"""Hugging Face datasets: one on the hub (`hf:owner/name`), one saved with `save_to_disk`, or Parquet files.

Only data is read: the package `datasets` has dropped loading scripts, and nothing else of a repository is executed. The
first image column is taken, and the first class label becomes the label; `#IMAGE` or `#IMAGE,LABEL` after the name
chooses others: `hf:owner/name:config#face,identity`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gantrol.data.annotations import Annotations
from gantrol.data.sources.source import Source
from gantrol.errors import DataError, nearest, require_extra

PREFIX = "hf:"


def split_columns(source: str) -> tuple[str, str, str]:
    """(source, column of images, column of labels) of `source#IMAGE,LABEL`; "" for a column that is not named."""
    bare, _, columns = source.partition("#")
    image, _, label = columns.partition(",")
    return bare, image.strip(), label.strip()


def is_chosen(source: str) -> bool:
    """Whether a text is the path of a saved dataset with columns after it."""
    bare, image, label = split_columns(source)
    return bool(image or label) and not Path(source).exists() and is_saved(Path(bare))


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
        source: `hf:owner/name` (with `:config` after it where there are several), or a path; either with
            `#IMAGE,LABEL` after it.
        split: by default train, or the only one.

    Raises:
        MissingExtraError: the package datasets is missing.
        DataError: it cannot be loaded, has no such split or column, or no images.
    """
    datasets: Any = require_extra("datasets", "readers")
    if source.startswith(PREFIX) or is_chosen(source):
        source, image_column, label_column = split_columns(source)
    else:
        image_column = label_column = ""
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
    column = _choose(image_column, images, source, "column of images") or images[0]
    # Undecoded, so that our own reader, with its limits, sees the file itself.
    store = TableStore(Path(source), table.cast_column(column, datasets.Image(decode=False)), column)
    label_column = _choose(label_column, [name for name in features if name not in images], source, "column of labels")
    if not label_column:
        label_column = next((name for name in features if isinstance(features[name], datasets.ClassLabel)), "")
    labels, classes = _labels(table, label_column, getattr(features.get(label_column), "names", None), source)
    return Source(
        store=store,
        names=tuple(store.names),
        annotations=Annotations(labels=None if labels is None else dict(zip(store.names, labels, strict=True))),
        classes=classes,
    )


def _choose(wanted: str, known: list[str], source: str, what: str) -> str:
    if wanted and wanted not in known:
        raise DataError(f"{source}: has no {what} {wanted!r}; {nearest(wanted, known)}")
    return wanted


def _labels(table: Any, column: str, names: list[str] | None, source: str) -> tuple[list[int] | None, tuple[str, ...]]:
    """Classes of the rows and their names; None where rows are unlabelled (-1 or nothing), or without a column.

    Whole numbers are classes as they are; texts are numbered in alphabetical order.
    """
    if not column:
        return None, ()
    values = list(table[column])
    if any(value is None or value == -1 for value in values):
        return None, ()
    if all(isinstance(value, str) for value in values):
        classes = tuple(sorted(set(values)))
        index = {name: number for number, name in enumerate(classes)}
        return [index[value] for value in values], classes
    if not all(isinstance(value, int) and value >= 0 for value in values):
        raise DataError(f"{source}: the column {column} holds no classes (whole numbers or texts)")
    return [int(value) for value in values], tuple(names or ())


def _choose_split(found: Any, split: str | None, source: str) -> Any:
    names = list(found.keys())
    wanted = split or ("train" if "train" in names else names[0])
    if wanted not in names:
        raise DataError(f"{source}: has no split {wanted!r}; {nearest(wanted, names)}")
    return found[wanted]
