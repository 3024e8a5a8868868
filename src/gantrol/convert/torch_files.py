"""Files of `torch.save` in both of its formats, read without running anything: values with tensors left in the file.

The zip format (torch ≥ 1.6) has a pickle `NAME/data.pkl` and one member `NAME/data/KEY` for each storage, stored and
not compressed. The older one is a row of pickles (a magic number, the protocol, the machine, the value, the keys)
followed by each storage as its number of elements and its values. In both, the pickle names a storage by a persistent
id.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import torch

from gantrol.convert.stored_tensor import Storage
from gantrol.errors import CheckpointError
from gantrol.inert_pickle import Budget, Cursor, Names, Span, read_pickle, shown

ZIP_START = b"PK\x03\x04"
OLD_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first pickle of the older format: its magic number 0x1950a86a20f9469cfc6c."""
_PROTOCOL = 1001

_MAX_DIRECTORY_BYTES = 4 << 20
_LOCAL_HEADER_BYTES = 30


def read_torch_file(span: Span, names: Names, budget: Budget) -> Any:
    """The value that `torch.save` wrote to `span`.

    Args:
        span: the whole file.
        names: all that its pickle may ask for, see `gantrol.convert.allowed_names`.
        budget: see `gantrol.inert_pickle.reader`.

    Raises:
        CheckpointError: it is damaged, cut short, compressed, or asks for anything else.
    """
    start = span.part(0, min(span.length, len(OLD_START))).read(len(OLD_START))
    if start.startswith(ZIP_START):
        return _read_zip(span, names, budget)
    if start == OLD_START:
        return _read_old(span, names, budget)
    raise CheckpointError("it holds data that torch.save did not write")


def _storage_finder(storages: dict[str, Storage]) -> Callable[[Any], Storage]:
    """A function from persistent id ('storage', class, key, device, elements, …) to storage, which it registers."""

    def find(identity: Any) -> Storage:
        if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
            raise CheckpointError("it refers to data in a way that torch.save does not")
        dtype, key, numel = identity[1], identity[2], identity[4]
        is_view = len(identity) == 6 and identity[5] is not None  # torch < 0.4
        if not isinstance(dtype, torch.dtype) or type(key) is not str or type(numel) is not int or is_view:
            raise CheckpointError("it refers to data in a way that torch.save does not")
        storage = storages.setdefault(key, Storage(dtype, numel))
        if storage.dtype != dtype or storage.numel != numel or numel < 0:
            raise CheckpointError("it is damaged: two descriptions of the same data differ")
        return storage

    return find


def _read_old(span: Span, names: Names, budget: Budget) -> Any:
    cursor = Cursor(span)
    cursor.step_over(len(OLD_START))
    protocol, machine = read_pickle(cursor, {}, budget), read_pickle(cursor, {}, budget)
    if protocol != _PROTOCOL or type(machine) is not dict or machine.get("little_endian") is not True:
        raise CheckpointError("it holds tensors of another kind of machine or version of torch")
    storages: dict[str, Storage] = {}
    value = read_pickle(cursor, names, budget, _storage_finder(storages))
    keys = read_pickle(cursor, {}, budget)
    is_list = type(keys) is list and all(type(key) is str for key in keys)
    if not is_list or sorted(keys) != sorted(storages):
        raise CheckpointError("it is damaged: the tensors and their data do not belong together")
    for key in keys:
        storage = storages[key]
        if int.from_bytes(cursor.read(8), "little") != storage.numel:
            raise CheckpointError("it is damaged: a tensor's data has another size than the tensor")
        storage.span = cursor.step_over(storage.numel * storage.dtype.itemsize)
    return value


def _read_zip(span: Span, names: Names, budget: Budget) -> Any:
    try:
        with zipfile.ZipFile(_SpanFile(span)) as archive:
            members = {member.filename: member for member in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise CheckpointError(
            "it is cut short or damaged, fetch it again: its table of contents cannot be read"
        ) from error
    budget.take_opcodes(500 + 5 * len(members))  # about the time that this took
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise CheckpointError("it is a zip, but none that torch.save wrote")
    folder = pickles[0].removesuffix("data.pkl")
    order = members.get(f"{folder}byteorder")
    if order is not None and _content(span, order).read(16) != b"little":
        raise CheckpointError("it holds tensors of another kind of machine")
    storages: dict[str, Storage] = {}
    value = read_pickle(Cursor(_content(span, members[pickles[0]])), names, budget, _storage_finder(storages))
    for key, storage in storages.items():
        member = members.get(f"{folder}data/{key}")
        if member is None:
            raise CheckpointError(f"it is damaged: it lacks the data {shown(key)}")
        storage.span = _content(span, member).part(0, storage.numel * storage.dtype.itemsize)
    return value


def _content(span: Span, member: zipfile.ZipInfo) -> Span:
    """The bytes of a member, which lie in the file as they are."""
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 or member.file_size != member.compress_size:
        raise CheckpointError("it is compressed or encrypted, which torch.save never does")
    header = span.part(member.header_offset, _LOCAL_HEADER_BYTES).read(_LOCAL_HEADER_BYTES)
    names_length = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return span.part(member.header_offset + _LOCAL_HEADER_BYTES + names_length, member.file_size)


class _SpanFile(io.RawIOBase):
    """A span as the file that `zipfile` wants, which refuses a table of contents of absurd size."""

    def __init__(self, span: Span) -> None:
        super().__init__()
        self._span = span
        self._position = 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = max(0, offset + (0, self._position, self._span.length)[whence])
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._span.length - self._position)
        count = left if size is None or size < 0 else min(size, left)
        data = self._span.part(self._position, count).read(_MAX_DIRECTORY_BYTES) if count else b""
        self._position += count
        return data
