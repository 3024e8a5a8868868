"""CelebA (Liu et al. 2015): aligned photographs with forty yes-or-no attributes, identities, and a split.

The images are a folder or archive of JPEGs; `list_attr_celeba.txt` (or .csv), `identity_CelebA.txt` and
`list_eval_partition.txt` are found beside or above them. The attributes become booleans of dataset.json.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from gantrol.data.annotations import Annotations
from gantrol.data.images import IMPORT_SUFFIXES
from gantrol.data.sources.source import Source
from gantrol.data.zipstore import FolderStore, Store
from gantrol.errors import DataError, nearest

_ATTRIBUTES = ("list_attr_celeba.txt", "list_attr_celeba.csv")
_IDENTITIES = ("identity_CelebA.txt",)
_PARTITION = ("list_eval_partition.txt", "list_eval_partition.csv")
_SPLITS = {"train": "0", "valid": "1", "test": "2"}


def recognise(store: Store, split: str | None) -> Source | None:
    """The source in `store`, or None if no list of CelebA's attributes belongs to it.

    Args:
        store: the files.
        split: all (the default, as in TransGAN), train, valid or test.

    Raises:
        DataError: the lists are damaged or do not fit the images.
    """
    table = _find(store, _ATTRIBUTES)
    if table is None:
        return None
    names = tuple(name for name in store.names if name.lower().endswith(IMPORT_SUFFIXES))
    header, rows = _table(*table)
    identities = _pairs(store, _IDENTITIES)
    partition = _pairs(store, _PARTITION)
    if split not in (None, "all"):
        if split not in _SPLITS:
            raise DataError(f"{store.path}: has no split {split!r}; {nearest(str(split), [*_SPLITS, 'all'])}")
        if not partition:
            raise DataError(f"{store.path}: {_PARTITION[0]} is missing, which says what belongs to {split}")
        names = tuple(name for name in names if partition.get(PurePosixPath(name).name) == _SPLITS[split])
    attributes: dict[str, dict[str, Any]] = {}
    for name in names:
        base = PurePosixPath(name).name
        if base not in rows:
            raise DataError(f"{store.where(name)}: is not in {table[0]}")
        attributes[name] = dict(zip(header, rows[base], strict=True))
        if identities:
            attributes[name]["identity"] = int(identities.get(base, "-1"))
    schema = {column: {"unit": "", "help": column.replace("_", " ").lower()} for column in header}
    return Source(store=store, names=names, annotations=Annotations(attributes=attributes, schema=schema))


def _find(store: Store, wanted: tuple[str, ...]) -> tuple[str, str] | None:
    """(place, text) of the first of the wanted files: in the store, or near a folder of images."""
    for name in store.names:
        if PurePosixPath(name).name in wanted:
            return store.where(name), bytes(store.read(name)).decode("utf-8", "replace")
    if isinstance(store, FolderStore):
        folder = store.path.resolve()
        for place in (folder.parent, folder.parent / "Anno", folder.parent / "Eval", folder.parent.parent / "Anno"):
            for file in wanted:
                path = Path(place / file)
                if path.is_file():
                    return str(path), path.read_text("utf-8", "replace")
    return None


def _table(where: str, text: str) -> tuple[list[str], dict[str, list[bool]]]:
    """The names of the attributes, and their values by file name."""
    lines = [line for line in text.splitlines() if line.strip()]
    if where.endswith(".csv"):
        cells = list(csv.reader(lines))
        header, body = cells[0][1:], cells[1:]
    else:  # the first line is the number of images
        start = 1 if lines and lines[0].strip().isdigit() else 0
        header, body = lines[start].split() if len(lines) > start else [], [line.split() for line in lines[start + 1 :]]
    rows: dict[str, list[bool]] = {}
    for row in body:
        if len(row) != len(header) + 1 or not {value.strip() for value in row[1:]} <= {"1", "-1", "0"}:
            raise DataError(f"{where}: the row of {row[0] if row else '?'} is not {len(header)} times 1 or -1")
        rows[row[0]] = [value.strip() == "1" for value in row[1:]]
    if not header or not rows:
        raise DataError(f"{where}: holds no attributes")
    return header, rows


def _pairs(store: Store, wanted: tuple[str, ...]) -> dict[str, str]:
    found = _find(store, wanted)
    return dict(_split_lines(*found)) if found is not None else {}


def _split_lines(where: str, text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        cells = line.replace(",", " ").split()
        if len(cells) == 2 and cells[1].lstrip("-").isdigit():
            yield cells[0], cells[1]
