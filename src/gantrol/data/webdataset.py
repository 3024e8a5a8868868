"""WebDataset: samples as neighbouring files of a tar that share a name up to its first dot.

    00000000.cls        3                           class index, where there are classes
    00000000.json       {"age": 41.5}               attributes, where there are any
    00000000.label.json [0.1, 0.9]                  a label that is a vector
    00000000.npz                                    arrays that belong to the image
    00000000.png                                    the image, last: a sample that ends with it is whole
    00000001.cls
    …

Such tars are read by the package webdataset and whatever follows its conventions (`wds.WebDataset(…).decode("rgb")`),
and theirs are read here: classes from `.cls`, attributes from `.json`, and `.txt` as the attribute `text`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from gantrol.atomic import describe, sync
from gantrol.data import images
from gantrol.data.annotations import MAX_CLASSES, Annotations, Label
from gantrol.data.writer import Taken
from gantrol.data.zipstore import Store
from gantrol.errors import DataError

_BLOCK = 512
_MAX_SIDECAR_BYTES = 2**24


def sample_name(number: int, ending: str) -> str:
    """The name of image `number` in a tar."""
    return f"{number:08d}.{ending}"


def split_name(name: str) -> tuple[str, str]:
    """(key, ending) of a file: the path up to the first dot of its last part, and what follows in lower case."""
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    return folder + slash + stem, ending.lower()


class TarWriter:
    """One shard; used as a `DatasetWriter`, but only by way of `ShardWriter`.

    Args:
        path: the tar to write.
        first_index: number of its first image.
        resume_token: as for `DatasetWriter`.
        resume_limit: go on from at most so many images.
    """

    def __init__(self, path: Path, *, first_index: int, resume_token: str, resume_limit: int) -> None:
        self.path = path
        self.count = 0
        self._first_index = first_index
        self._resume_limit = resume_limit
        self._partial = path.with_name(f".{path.name}.{resume_token}.part")
        self._recovered: list[images.Header] = []
        self._file: BinaryIO | None = None
        self._session = self._open()

    @property
    def recovered(self) -> int:
        """How many images of an earlier attempt are there, inside the `with` block."""
        return len(self._recovered)

    def __enter__(self) -> Self:
        self._session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._session.__exit__(kind, error, traceback)

    def recovered_header(self, index: int) -> images.Header | None:
        """The header of image `index` of this file if it was recovered, otherwise None."""
        return self._recovered[index] if index < self.recovered else None

    def put(self, taken: Taken) -> str:
        """Appends what an `Intake` has let through; returns its name."""
        name = sample_name(self._first_index + self.count, taken.ending)
        if taken.data is not None:
            key = split_name(name)[0]
            if isinstance(taken.label, int):
                self._write(f"{key}.cls", str(taken.label).encode())
            elif taken.label is not None:
                self._write(f"{key}.label.json", _json(taken.label))
            if taken.attributes is not None:
                self._write(f"{key}.json", _json(taken.attributes))
            if taken.attachment is not None:
                self._write(f"{key}.npz", taken.attachment)
            self._write(name, taken.data)
        self.count += 1
        return name

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        try:
            with open(self._partial, "r+b" if self._partial.exists() else "w+b") as self._file:
                self._recover(self._file)
                yield
                self._file.write(bytes(2 * _BLOCK))  # the end of a tar
                self._file.flush()
                os.fsync(self._file.fileno())
            os.replace(self._partial, self.path)
            sync(self.path.parent)
        except OSError as problem:
            raise DataError(describe(self.path, problem)) from problem
        finally:
            self._file = None
            with contextlib.suppress(OSError):
                if self._partial.stat().st_size == 0:
                    self._partial.unlink()

    def _recover(self, file: BinaryIO) -> None:
        """Finds the samples that are whole and cuts off what follows."""
        end = 0
        for name, data, after in _whole_files(file):
            if len(self._recovered) == self._resume_limit:
                break
            if name.endswith((".png", ".webp")):
                try:  # a power cut may leave a file of the right length with nothing in it
                    images.decode(data, name)
                except DataError:
                    break
                self._recovered.append(images.probe(data, name))
                end = after
        file.seek(end)
        file.truncate()

    def _write(self, name: str, data: bytes) -> None:
        assert self._file is not None
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o644
        self._file.write(member.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % _BLOCK))


def _whole_files(file: BinaryIO) -> Iterator[tuple[str, bytes, int]]:
    """(name, content, where the next begins) of the files of a tar, to the first that is not whole."""
    while True:
        try:
            member = tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "strict")
        except (tarfile.HeaderError, ValueError):
            return
        data = file.read(member.size)
        padding = file.read(-member.size % _BLOCK)
        if len(data) < member.size or len(padding) < -member.size % _BLOCK:
            return
        yield member.name, data, file.tell()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def read_samples(store: Store, image_names: Sequence[str]) -> Annotations:
    """Labels and attributes of the images from the files beside them.

    Args:
        store: the files of tars.
        image_names: the images; those of one sample share its label.

    Raises:
        DataError: a class is no whole number, a json is none, or only some samples have a label.
    """
    beside: dict[str, dict[str, str]] = {split_name(name)[0]: {} for name in image_names}
    for name in store.names:
        key, ending = split_name(name)
        if ending in _READERS and key in beside:
            beside[key][ending] = name
    labels: dict[str, Label] = {}
    attributes: dict[str, dict[str, Any]] = {}
    for image in image_names:
        files = beside[split_name(image)[0]]
        found: dict[str, Any] = {ending: _READERS[ending](store, name) for ending, name in files.items()}
        if "cls" in found or "label.json" in found:
            labels[image] = found["cls"] if "cls" in found else found["label.json"]
        values = found.get("json", {})
        attributes[image] = values | ({"text": found["txt"]} if "txt" in found else {})
    if labels and len(labels) < len(image_names):
        missing = next(image for image in image_names if image not in labels)
        raise DataError(f"{store.where(missing)}: has no .cls, but {next(iter(labels))} has one: label all or none")
    return Annotations(labels=labels or None, attributes=attributes if any(attributes.values()) else None)


def _read(store: Store, name: str) -> str:
    data = store.read(name)
    if len(data) > _MAX_SIDECAR_BYTES:
        raise DataError(f"{store.where(name)}: has {len(data):,} bytes, more than is read beside an image")
    return bytes(data).decode("utf-8", "replace")


def _read_class(store: Store, name: str) -> int:
    text = _read(store, name).strip()
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) >= MAX_CLASSES:
        raise DataError(f"{store.where(name)}: {text[:40]!r} is no class index from 0 to {MAX_CLASSES - 1}")
    return int(text)


def _read_json(store: Store, name: str) -> Any:
    try:
        return json.loads(_read(store, name))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{store.where(name)}: is not valid JSON ({error})") from error


def _read_attributes(store: Store, name: str) -> dict[str, Any]:
    content = _read_json(store, name)
    return content if isinstance(content, dict) else {"json": content}


def _read_vector(store: Store, name: str) -> list[float]:
    content = _read_json(store, name)
    is_vector = (
        isinstance(content, list)
        and content
        and all(type(item) in (int, float) and math.isfinite(item) for item in content)
    )
    if not is_vector:
        raise DataError(f"{store.where(name)}: is no list of numbers")
    return [float(item) for item in content]


_READERS: dict[str, Callable[[Store, str], Any]] = {
    "cls": _read_class,
    "json": _read_attributes,
    "label.json": _read_vector,
    "txt": _read,
}
