"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), as archives or unpacked, the Python and the binary version.

Records hold 32×32 pixels as three planes of 1,024 bytes. The Python version are pickles; they are read as data, see
`gantrol.inert_pickle`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np

from gantrol.data.sources.arrays import ArrayStore, Block, content, rows
from gantrol.data.sources.source import Part, Source, choose_parts, joined
from gantrol.data.zipstore import Store
from gantrol.errors import CheckpointError, DataError
from gantrol.inert_pickle import Budget, ByteSource, Cursor, Function, Names, Settable, Span, read_pickle

_PLANES = 3 * 32 * 32
_TEN = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")


def recognise(store: Store, split: str | None) -> Source | None:
    """The source in `store`, or None if it is not CIFAR.

    Args:
        store: the files.
        split: train (the default), test or all.

    Raises:
        DataError: it is, but damaged, incomplete, or has no such split.
    """
    files = {PurePosixPath(name).name: name for name in store.names}
    if {"batches.meta", "test_batch"} & files.keys() and _TEN[0] in files:
        found = [(part, file, _python(store, files[file], b"labels")) for part, file in _ten(files, "")]
        classes = _python_classes(store, files.get("batches.meta"), "label_names")
    elif f"{_TEN[0]}.bin" in files:
        found = [(part, file, _binary(store, files[file], 1)) for part, file in _ten(files, ".bin")]
        classes = _text_classes(store, files.get("batches.meta.txt"))
    elif {"train", "test", "meta"} <= files.keys():
        found = [(part, part, _python(store, files[part], b"fine_labels")) for part in ("train", "test")]
        classes = _python_classes(store, files.get("meta"), "fine_label_names")
    elif {"train.bin", "test.bin", "fine_label_names.txt"} <= files.keys():
        found = [(part, part, _binary(store, files[f"{part}.bin"], 2)) for part in ("train", "test")]
        classes = _text_classes(store, files.get("fine_label_names.txt"))
    else:
        return None

    blocks: list[Block] = []
    parts: dict[str, Part] = {}
    for part, file, (pixels, labels) in found:
        block = Block(
            prefix=f"{part}/{file}-",
            count=len(pixels),
            pixels=partial(_image, pixels),
        )
        before = parts.get(part, Part(names=(), labels={}))
        named = dict(zip(block.names, labels, strict=True))
        parts[part] = Part(names=before.names + block.names, labels={**(before.labels or {}), **named})
        blocks.append(block)
    return joined(ArrayStore(store, blocks), choose_parts(parts, split, "train", str(store.path)), classes)


def _image(records: np.ndarray, index: int) -> np.ndarray:
    return records[index].reshape(3, 32, 32).transpose(1, 2, 0)


def _ten(files: Mapping[str, str], suffix: str) -> Iterator[tuple[str, str]]:
    for file in _TEN:
        if file + suffix not in files:
            raise DataError(f"CIFAR-10 without {file}{suffix}: the folder or archive is incomplete")
        yield "train", file + suffix
    if f"test_batch{suffix}" in files:
        yield "test", f"test_batch{suffix}"


def _binary(store: Store, name: str, label_bytes: int) -> tuple[np.ndarray, list[int]]:
    """(uint8 [N, 3072], classes) of a binary file; its records begin with one or two labels, the last the fine one."""
    records = rows(store, name, label_bytes + _PLANES)
    return records[:, label_bytes:], [int(label) for label in records[:, label_bytes - 1]]


def _text_classes(store: Store, name: str | None) -> tuple[str, ...]:
    if name is None:
        return ()
    return tuple(bytes(content(store, name)).decode("utf-8", "replace").split())


# ----------------------------------------------------------------------------------------------------------------------
# The Python version


class _Pixels(Settable):
    """A uint8 array in a pickle: its shape, and where its bytes are."""

    data: Span
    shape: tuple[int, ...] = ()

    def set_state(self, state: Any) -> None:
        match state:
            case (int(), tuple(shape), _ByteType(), False, Span() as data):
                self.shape, self.data = shape, data
            case _:
                raise CheckpointError("it is damaged: its pixels are no plain array of bytes")


class _ByteType(Settable):
    """numpy.dtype("uint8"), the only one that these files have."""

    def set_state(self, state: Any) -> None:
        """Byte order and the like, which bytes do not have."""


def _byte_type(arguments: tuple[Any, ...]) -> _ByteType:
    if not arguments or arguments[0] != "u1":
        raise CheckpointError("it is damaged: its pixels are no bytes")
    return _ByteType()


def _latin_1(arguments: tuple[Any, ...]) -> str:
    match arguments:
        case (str(text), "latin1"):
            return text
    raise CheckpointError("it is damaged: bytes are none")


_NAMES: Names = MappingProxyType(
    {("numpy", "ndarray"): "numpy.ndarray", ("numpy", "dtype"): Function(_byte_type)}
    | {("_codecs", "encode"): Function(_latin_1)}
    | {
        (module, "_reconstruct"): Function(lambda _: _Pixels())
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    }
)


def _unpickled(store: Store, name: str) -> dict[str, Any]:
    source = ByteSource(io.BytesIO(content(store, name).tobytes()))
    try:
        value = read_pickle(Cursor(source.whole()), _NAMES, Budget())
    except CheckpointError as error:
        raise DataError(f"{store.where(name)}: is no file of CIFAR: {error}") from error
    if type(value) is not dict:
        raise DataError(f"{store.where(name)}: is no file of CIFAR: it holds a {type(value).__name__}")
    return value


def _python(store: Store, name: str, labels_key: bytes) -> tuple[np.ndarray, list[int]]:
    """(uint8 [N, 3072], classes) of a pickled batch."""
    batch = _unpickled(store, name)
    pixels, labels = batch.get("data"), batch.get(labels_key.decode())
    if not isinstance(pixels, _Pixels) or type(labels) is not list:
        raise DataError(f"{store.where(name)}: is no batch of CIFAR: it has no data or no {labels_key.decode()}")
    count = len(labels)
    fits = pixels.shape == (count, _PLANES) and pixels.data.length == count * _PLANES
    if not fits or not all(type(label) is int and label >= 0 for label in labels):
        raise DataError(f"{store.where(name)}: is damaged: {count} labels and pixels of shape {pixels.shape}")
    data = np.frombuffer(pixels.data.read(count * _PLANES), dtype=np.uint8)
    return data.reshape(count, _PLANES), labels


def _python_classes(store: Store, name: str | None, key: str) -> tuple[str, ...]:
    if name is None:
        return ()
    classes = _unpickled(store, name).get(key)
    return tuple(map(str, classes)) if type(classes) is list else ()
