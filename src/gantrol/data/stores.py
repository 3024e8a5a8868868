"""What a path leads to: a folder or zip of images, tars, or shards of a dataset; and what is written beside the images.

faces.zip                           a zip
photos/                             a folder of images
faces/00000.zip …                   a folder of zips: shards of one dataset, each with its own dataset.json
faces/00000.tar …                   a folder of tars: WebDataset
faces-00000.tar                     a single tar
faces/{00000..00012}.tar            chosen shards of a folder
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gantrol.data.annotations import FILE_NAME, Annotations, Label, check_one_kind, read_annotations
from gantrol.data.images import IMPORT_SUFFIXES
from gantrol.data.shards import INDEX_NAME, read_index
from gantrol.data.tarstore import SUFFIXES as TAR_SUFFIXES
from gantrol.data.tarstore import TarStore
from gantrol.data.webdataset import read_samples
from gantrol.data.zipstore import CheckedStore, FolderStore, Store, ZipStore, digest
from gantrol.errors import DataError

_SHARD_SUFFIXES = (".zip", *TAR_SUFFIXES)
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MAX_SHARDS = 100_000


def open_store(path: str | os.PathLike[str]) -> CheckedStore:
    """The store at `path`: see the head of this file.

    Raises:
        DataError: there is nothing, or something else.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        shards = _braces(path)
        if shards:
            return ShardStore(path, shards)
        raise DataError(f"{path}: does not exist; expected a dataset zip, a folder of images, or shards")
    return _open_file(path)


def exists(path: Path) -> bool:
    """Whether there is anything at `path`, or it is a pattern of shards that `open_store` reads."""
    return path.exists() or _RANGE.search(str(path)) is not None


def _open_file(path: Path) -> ZipStore | TarStore:
    return TarStore(path) if path.name.lower().endswith(TAR_SUFFIXES) else ZipStore(path)


def _open_folder(path: Path) -> CheckedStore:
    index = read_index(path)
    if index is not None:
        return ShardStore(path, _indexed(path, index), index)
    folder = FolderStore(path)
    shards = [name for name in folder.names if "/" not in name and name.lower().endswith(_SHARD_SUFFIXES)]
    if not shards or any(name.lower().endswith(IMPORT_SUFFIXES) for name in folder.names):
        return folder
    return ShardStore(path, [path / name for name in shards])


def _indexed(folder: Path, index: Mapping[str, Any]) -> list[Path]:
    """The shards that index.json lists, which must be there in the size that it says."""
    shards: list[Path] = []
    try:
        listed = [(str(record["file"]), int(record["bytes"])) for record in index["shards"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder / INDEX_NAME}: is damaged: copy it again") from error
    for file, size in listed:
        path = folder / file
        if path.name != file or not path.is_file():
            raise DataError(f"{path}: is missing, but {INDEX_NAME} lists it: copy it again")
        if path.stat().st_size != size:
            raise DataError(f"{path}: has {path.stat().st_size:,} bytes instead of {size:,}: copy it again")
        shards.append(path)
    return shards


def _braces(path: Path) -> list[Path]:
    """`{000..012}` in a path as all its paths, with the zeros of the first number; [] without braces."""
    pieces = _RANGE.split(str(path))
    if len(pieces) == 1:
        return []
    choices = []
    for first, last in zip(pieces[1::3], pieces[2::3], strict=True):
        if not 0 <= int(last) - int(first) < _MAX_SHARDS:
            raise DataError(f"{path}: {{{first}..{last}}} is no range of up to {_MAX_SHARDS:,} shards")
        choices.append([f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)])
    found = []
    for numbers in itertools.product(*choices):
        text = "".join(itertools.chain.from_iterable(zip(pieces[::3], (*numbers, ""), strict=True)))
        if not os.path.isfile(text):
            raise DataError(f"{text}: does not exist, but {path} names it")
        found.append(Path(text))
    return found


class _Place(NamedTuple):
    shard: CheckedStore
    name: str


class ShardStore:
    """Several zips or tars as one store; files that have the same name in two shards get the shard's name before it.

    Args:
        path: how errors name the whole.
        shards: the files, in order.
        index: index.json, if there is one.
    """

    def __init__(self, path: Path, shards: Sequence[Path], index: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self.index = index or {}
        self.shards = [_open_file(shard) for shard in shards]
        counts = Counter(name for shard in self.shards for name in shard.names if name != FILE_NAME)
        is_unique = not counts or max(counts.values()) == 1
        places = {
            name if is_unique else f"{shard.path.name}/{name}": _Place(shard, name)
            for shard in self.shards
            for name in shard.names
            if name != FILE_NAME
        }
        self._places = dict(sorted(places.items()))
        self.names = list(self._places)

    def read(self, name: str) -> bytes | memoryview:
        """The content of a file."""
        shard, inner = self._place(name)
        return shard.read(inner)

    def peek(self, name: str, count: int) -> bytes | memoryview:
        """The first `count` bytes of a file."""
        shard, inner = self._place(name)
        return shard.peek(inner, count)

    def where(self, name: str) -> str:
        """`shard: file`."""
        shard, inner = self._place(name)
        return shard.where(inner)

    def total_bytes(self) -> int:
        """Sum of the sizes of the shards."""
        return sum(shard.total_bytes() for shard in self.shards)

    def check(self, name: str) -> None:
        """Raises DataError if the shard that holds `name` has changed since it was opened."""
        shard, inner = self._place(name)
        shard.check(inner)

    def fingerprint(self) -> str:
        """A digest of the shards' own."""
        return digest((shard.path.name, shard.fingerprint()) for shard in self.shards)

    def annotations(self, image_names: Sequence[str]) -> Annotations:
        """Labels and attributes of all shards.

        Raises:
            DataError: those of a shard are invalid, or only some shards have any.
        """
        outer: dict[int, dict[str, str]] = {id(shard): {} for shard in self.shards}
        for name in image_names:
            shard, inner = self._places[name]
            outer[id(shard)][inner] = name
        labels: dict[str, Label] = {}
        attributes: dict[str, dict[str, Any]] = {}
        schema, meta = dict(self.index.get("schema") or {}), dict(self.index.get("meta") or {})
        for shard in self.shards:
            names = outer[id(shard)]
            part = stored_annotations(shard, list(names))
            labels |= {names[inner]: label for inner, label in (part.labels or {}).items()}
            attributes |= {names[inner]: values for inner, values in (part.attributes or {}).items()}
            schema, meta = schema or dict(part.schema), meta or dict(part.meta)
        for what, found in (("labels", labels), ("attributes", attributes)):
            missing = next((name for name in image_names if name not in found), None) if found else None
            if missing is not None:
                raise DataError(f"{self.where(missing)}: has no {what}, but images of other shards have")
        if labels:
            check_one_kind(labels, str(self.path))
        return Annotations(labels=labels or None, attributes=attributes or None, schema=schema, meta=meta)

    def _place(self, name: str) -> _Place:
        place = self._places.get(name)
        if place is None:
            raise DataError(f"{self.path}: {name}: is in no shard")
        return place


def stored_annotations(store: Store, image_names: Sequence[str]) -> Annotations:
    """Labels and attributes of the images of any store: of dataset.json, or of WebDataset's files beside the images.

    Raises:
        DataError: they are invalid, or do not fit the images.
    """
    if isinstance(store, ShardStore):
        return store.annotations(image_names)
    if isinstance(store, TarStore) and FILE_NAME not in store.names:
        return read_samples(store, image_names)
    return read_annotations(store, image_names)
