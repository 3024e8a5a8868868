"""A zip that is being written and survives an interruption: what was finished can be read back and gone on from.

A zip's directory comes last, so a file that was cut short has none; but every stored member is preceded by a header
with its size and check sum, which is enough to find the members that are whole.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gantrol.atomic import describe, sync
from gantrol.errors import DataError

try:
    import fcntl
except ImportError:  # Windows: two writers of one file are not noticed
    fcntl = None  # type: ignore[assignment]

_HEADER = struct.Struct("<4s5H3I2H")  # signature, version, flags, method, time, date, crc, two sizes, two lengths


@contextmanager
def resumable_file(path: Path, partial: Path) -> Iterator[tuple[BinaryIO, Iterator[tuple[str, bytes]]]]:
    """Yields a new file to write a zip into, and the whole members of an earlier attempt.

    On success the file becomes `path`. On any failure it stays as `partial`, if it holds anything, and a later call
    with the same names yields its members; they must be read to the end, and written anew, before others are added.
    Raises DataError: it cannot be written, or another process is writing it.
    """
    fresh = partial.with_name(partial.name + "~")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(fresh, "wb") as file:
            _lock(file, path)
            yield file, _members_then_replace(partial, fresh)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync(path.parent)
    except OSError as problem:
        kept = f"; what was finished is kept: the same command continues from {partial}" if partial.exists() else ""
        raise DataError(describe(path, problem) + kept) from problem
    finally:
        for left in (fresh, partial):
            with suppress(OSError):
                if left == fresh or left.stat().st_size == 0:
                    left.unlink()


def _members_then_replace(partial: Path, fresh: Path) -> Iterator[tuple[str, bytes]]:
    """The members of the earlier attempt; once all are copied, the new file takes its place."""
    if partial.exists():
        with open(partial, "rb") as file:
            _lock(file, partial)
            yield from whole_members(file)
    os.replace(fresh, partial)


def whole_members(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the stored members of a zip, from its beginning to the first one that is not whole."""
    while True:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return
        signature, _, _, method, _, _, crc, stored, size, name_bytes, extra_bytes = _HEADER.unpack(header)
        name = file.read(name_bytes)
        if signature != b"PK\x03\x04" or method != zipfile.ZIP_STORED or stored != size or len(name) < name_bytes:
            return
        file.seek(extra_bytes, os.SEEK_CUR)
        content = file.read(size)
        if len(content) < size or zlib.crc32(content) != crc:
            return
        yield name.decode(), content


@contextmanager
def locked_folder(folder: Path, path: Path) -> Iterator[None]:
    """Makes `folder`, which becomes `path`, and keeps other writers out of it; raises DataError if one is there."""
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, path)
        yield
    finally:
        os.close(handle)


def _lock(file: BinaryIO | int, path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(f"{path}: another process is writing it") from None
