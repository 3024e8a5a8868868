"""Tar archives as a store of files; nothing of them is unpacked under its own name.

An uncompressed archive is read where it lies. A compressed one is first expanded into a nameless temporary file, which
the system removes when the process ends, however it ends.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import mmap
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from gantrol.data.stamped_file import StampedFile
from gantrol.data.zipstore import digest, is_ignored
from gantrol.errors import DataError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
"""Names of files that are read as tar archives."""

_OPENERS: dict[bytes, Callable[[Path], IO[bytes]]] = {
    b"\x1f\x8b": lambda path: cast("IO[bytes]", gzip.GzipFile(path)),
    b"BZh": lambda path: cast("IO[bytes]", bz2.BZ2File(path)),
    b"\xfd7zXZ": lambda path: cast("IO[bytes]", lzma.LZMAFile(path)),  # noqa: SIM115
}
_PIECE = 1 << 20
_SPARE_BYTES = 1 << 30
_BLOCK = 512


class TarStore:
    """Random access to the regular files of a tar archive; picklable, and safe in threads and forked processes.

    Raises:
        DataError: the file is no tar archive, is cut short, holds a path that leaves it, or does not fit on the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._expanded: mmap.mmap | None = None  # of a compressed archive
        try:
            self._file = StampedFile(path)
            opener = _opener(path)
            with open(path, "rb") if opener is None else _expand(path, opener) as plain:
                self._members = _members(path, plain)
                size = os.fstat(plain.fileno()).st_size
                if opener is not None:
                    self._expanded = _map(plain)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
        except (EOFError, lzma.LZMAError, zlib.error, tarfile.TarError, ValueError) as error:
            raise DataError(f"{path}: is no tar archive, or is cut short ({error}): fetch it again") from error
        for name, (at, length) in self._members.items():
            if at + length > size:
                raise DataError(f"{path}: is cut short (in {name}): fetch it again")
        self.names = sorted(self._members)

    def read(self, name: str) -> bytes | memoryview:
        """The content of a file; raises DataError if the archive has changed since it was opened."""
        return self.peek(name, self._members[name][1])

    def peek(self, name: str, count: int) -> bytes | memoryview:
        """The first `count` bytes of a file."""
        at, length = self._members[name]
        if self._expanded is not None:
            return memoryview(self._expanded)[at : at + min(count, length)]
        return self._file.read_at(at, min(count, length))

    def where(self, name: str) -> str:
        """`archive: file`."""
        return f"{self.path}: {name}"

    def total_bytes(self) -> int:
        """Size of the archive."""
        return self._file.stamp.bytes

    def check(self, name: str) -> None:
        """Raises DataError if the archive has changed since it was opened."""
        self._file.check()

    def fingerprint(self) -> str:
        """A digest of names and sizes, and of size and time of the archive, for a tar has no check sums."""
        return digest([self._file.stamp, *((name, *self._members[name]) for name in self.names)])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_expanded": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        opener = _opener(self.path)
        if opener is not None:  # another process expands its own
            self._file.check()
            with _expand(self.path, opener) as plain:
                self._expanded = _map(plain)


def _opener(path: Path) -> Callable[[Path], IO[bytes]] | None:
    with open(path, "rb") as file:
        start = file.read(6)
    return next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)


def _map(file: IO[bytes]) -> mmap.mmap:
    """The nameless file in memory: nobody else can change it, and the map outlives the open file."""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _members(path: Path, file: IO[bytes]) -> dict[str, tuple[int, int]]:
    """Offset and length of each regular file; links and devices are left out."""
    found = _plain_members(file)
    if found is None:
        found = {}
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if not member.isreg() or is_ignored(name):
                    continue
                if member.sparse is not None:
                    raise DataError(
                        f"{path}: {name} is stored as a sparse file: pack the archive again without --sparse"
                    )
                found[name] = (member.offset_data, member.size)
    for name in found:
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise DataError(f"{path}: holds the path {name!r}, which leaves the archive")
    return found


def _plain_members(file: IO[bytes]) -> dict[str, tuple[int, int]] | None:
    """The members of a tar of plain files and folders, ten times as fast as `tarfile`; None for any other."""
    found: dict[str, tuple[int, int]] = {}
    file.seek(0)
    at = 0
    while len(header := file.read(_BLOCK)) == _BLOCK:
        if not header[0]:
            return None if header.strip(b"\0") or not found else found  # the end is marked by zeros
        kind, size = header[156:157], header[124:135].strip(b" \0")
        total = sum(header) - sum(header[148:156]) + 8 * 32
        try:
            is_sound = total == int(header[148:156].strip(b" \0"), 8)
            length = int(size, 8)
            name = header[:100].rstrip(b"\0").decode("ascii")
        except ValueError:
            return None
        if not is_sound or header[345] or b"\0" in header[:100].rstrip(b"\0"):
            return None
        if kind in (b"0", b"\0"):
            name = name.removeprefix("./")
            if not is_ignored(name):
                found[name] = (at + _BLOCK, length)
        elif kind != b"5":
            return None
        at += _BLOCK + length + -length % _BLOCK
        file.seek(at)
    return None


def _expand(path: Path, opener: Callable[[Path], IO[bytes]]) -> IO[bytes]:
    """The archive without compression, in a temporary file that has no name."""
    target = tempfile.TemporaryFile()  # noqa: SIM115  (closed by the caller)
    folder = tempfile.gettempdir()
    with opener(path) as source:
        while piece := source.read(_PIECE):
            if shutil.disk_usage(folder).free < _SPARE_BYTES:
                raise DataError(f"{path}: expands to more than {folder} can hold: point TMPDIR at a larger disk")
            target.write(piece)
    target.flush()
    return target
