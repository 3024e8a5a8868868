"""Tar archives as a store of files; nothing of them is unpacked under its own name.

An uncompressed archive is memory-mapped where it lies. A compressed one is first expanded into a nameless temporary
file, which the system removes when the process ends, however it ends.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import mmap
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, cast

from gantrol.data.zipstore import is_ignored
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


class TarStore:
    """Random access to the regular files of a tar archive.

    Raises:
        DataError: the file is no tar archive, is cut short, holds a path that leaves it, or does not fit on the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with open(path, "rb") as file:
                start = file.read(6)
            opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
            with open(path, "rb") if opener is None else _expanded(path, opener) as plain:
                self._size = path.stat().st_size
                self._members = _members(path, plain)
                self._map = mmap.mmap(plain.fileno(), 0, access=mmap.ACCESS_READ)  # outlives the open file
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
        except (EOFError, lzma.LZMAError, zlib.error, tarfile.TarError, ValueError) as error:
            raise DataError(f"{path}: is no tar archive, or is cut short ({error}): fetch it again") from error
        for name, (at, length) in self._members.items():
            if at + length > len(self._map):
                raise DataError(f"{path}: is cut short (in {name}): fetch it again")
        self.names = sorted(self._members)

    def read(self, name: str) -> memoryview:
        """The content of a file."""
        at, length = self._members[name]
        return memoryview(self._map)[at : at + length]

    def peek(self, name: str, count: int) -> memoryview:
        """The first `count` bytes of a file."""
        return self.read(name)[:count]

    def where(self, name: str) -> str:
        """`archive: file`."""
        return f"{self.path}: {name}"

    def total_bytes(self) -> int:
        """Size of the archive."""
        return self._size


def _members(path: Path, file: IO[bytes]) -> dict[str, tuple[int, int]]:
    """Offset and length of each regular file; links and devices are left out."""
    found: dict[str, tuple[int, int]] = {}
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if not member.isreg() or is_ignored(name):
                continue
            if name.startswith("/") or ".." in PurePosixPath(name).parts:
                raise DataError(f"{path}: holds the path {name!r}, which leaves the archive")
            if member.sparse is not None:
                raise DataError(f"{path}: {name} is stored as a sparse file: pack the archive again without --sparse")
            found[name] = (member.offset_data, member.size)
    return found


def _expanded(path: Path, opener: Callable[[Path], IO[bytes]]) -> IO[bytes]:
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
