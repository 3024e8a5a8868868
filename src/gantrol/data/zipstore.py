"""Where a dataset's files are: inside a zip, or in a folder. Both answer `names` and `read(name)`.

`ZipStore` reads the zip's directory once and slices members out of a memory map, so that reading a stored
image costs no system call and any number of threads and worker processes can read at once. Nothing is ever
unpacked to the disk.
"""

from __future__ import annotations

import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

from gantrol.errors import DataError

MAX_MEMBER_BYTES = 2**30
"""A compressed member that claims to be larger is refused."""


class Store(Protocol):
    """Read access to named files."""

    path: Path
    names: list[str]
    """Sorted paths, with forward slashes."""

    def read(self, name: str) -> bytes | memoryview:
        """The content of one file."""

    def peek(self, name: str, count: int) -> bytes | memoryview:
        """The first `count` bytes of a file (all, if it is shorter), without checking the rest."""

    def where(self, name: str) -> str:
        """How errors name a file."""

    def total_bytes(self) -> int:
        """Size on the disk."""


def open_store(path: str | os.PathLike[str]) -> Store:
    """The store at `path`: a folder or a zip.

    Raises:
        DataError: there is nothing, or something else.
    """
    path = Path(path)
    if os.path.isdir(path):
        return FolderStore(path)
    if not os.path.exists(path):
        raise DataError(f"{path}: does not exist; expected a dataset zip or a folder of images")
    return ZipStore(path)


class _Member(NamedTuple):
    header_at: int
    """Offset of the local header, which the content follows."""
    stored_bytes: int
    bytes: int
    crc: int
    method: int
    is_encrypted: bool


class ZipStore:
    """Random access to the members of a zip; picklable, and safe in threads and in forked or spawned
    processes.

    Raises:
        DataError: the file is no zip, is cut short, or holds a path that leaves the archive.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                listing = [info for info in archive.infolist() if not info.is_dir()]
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror or error})") from error
        except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError) as error:
            raise DataError(
                f"{self.path}: not a zip, or one that was cut short ({error}); "
                "expected a dataset zip or a folder of images"
            ) from error
        self._members: dict[str, _Member] = {}
        for info in sorted(listing, key=lambda info: info.filename):
            if is_ignored(info.filename):
                continue
            if info.filename.startswith("/") or ".." in PurePosixPath(info.filename).parts:
                raise DataError(f"{self.path}: holds the path {info.filename!r}, which leaves the archive")
            if info.filename in self._members:
                raise DataError(f"{self.path}: holds {info.filename} twice")
            self._members[info.filename] = _Member(
                info.header_offset,
                info.compress_size,
                info.file_size,
                info.CRC,
                info.compress_type,
                bool(info.flag_bits & 1),
            )
        self.names = list(self._members)
        self._stamp = _stamp(self.path)
        self._map: mmap.mmap | None = None

    def read(self, name: str) -> bytes | memoryview:
        """The content of a member, checked against its checksum.

        Raises:
            DataError: there is no such member, it is damaged, encrypted or compressed by something else than
                deflate, or the zip was replaced since it was opened.
        """
        data, member = self._content(name, None)
        if len(data) != member.bytes or zlib.crc32(data) != member.crc:
            raise DataError(f"{self.where(name)}: damaged (its checksum does not match)")
        return data

    def peek(self, name: str, count: int) -> bytes | memoryview:
        """The first `count` bytes of a member; the checksum is not looked at."""
        return self._content(name, count)[0]

    def where(self, name: str) -> str:
        """`archive: member`."""
        return f"{self.path}: {name}"

    def _content(self, name: str, count: int | None) -> tuple[bytes | memoryview, _Member]:
        where = self.where(name)
        member = self._members.get(name)
        if member is None:
            raise DataError(f"{where}: there is no such member")
        view = memoryview(self._mapped())
        header = view[member.header_at : member.header_at + 30]
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise DataError(f"{where}: the zip is damaged here (no local header)")
        if member.is_encrypted:
            raise DataError(f"{where}: is encrypted")
        name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])  # may differ from the zip's directory
        start = member.header_at + 30 + name_bytes + extra_bytes
        stored = view[start : start + member.stored_bytes]
        if member.method == zipfile.ZIP_STORED:
            return stored[:count], member
        if member.method != zipfile.ZIP_DEFLATED:
            raise DataError(
                f"{where}: is compressed by method {member.method}; pack the zip again with deflate or none"
            )
        if member.bytes > MAX_MEMBER_BYTES:
            raise DataError(f"{where}: claims {member.bytes} bytes, more than {MAX_MEMBER_BYTES}")
        try:  # one byte more than claimed is enough to see that a member claims too little
            return zlib.decompressobj(-15).decompress(stored, member.bytes + 1 if count is None else count), member
        except zlib.error as error:
            raise DataError(f"{where}: damaged ({error})") from error

    def total_bytes(self) -> int:
        """Size of the zip."""
        return self._stamp[0]

    def _mapped(self) -> mmap.mmap:
        if self._map is None:
            try:
                with open(self.path, "rb") as file:
                    if _stamp(self.path) != self._stamp:
                        raise DataError(f"{self.path}: has changed since it was opened")
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except OSError as error:
                raise DataError(f"{self.path}: cannot be read any more ({error.strerror or error})") from error
        return self._map

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}  # a map belongs to one process; the next opens its own


class FolderStore:
    """The files under a folder, sub-folders included; symbolic links to folders are not followed."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.names = sorted(self._walk())

    def _walk(self) -> Iterator[str]:
        def refuse(error: OSError) -> None:
            raise DataError(f"{error.filename}: cannot be read ({error.strerror or error})") from error

        for folder, _, files in os.walk(self.path, onerror=refuse):
            base = os.path.relpath(folder, self.path)
            for file in files:
                name = (file if base == "." else os.path.join(base, file)).replace(os.sep, "/")
                if not is_ignored(name):
                    yield name

    def read(self, name: str) -> bytes:
        """The content of a file; raises DataError if it cannot be read."""
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise DataError(f"{self.where(name)}: cannot be read ({error.strerror or error})") from error

    def peek(self, name: str, count: int) -> bytes:
        """The first `count` bytes of a file."""
        try:
            with open(self.path / name, "rb") as file:
                return file.read(count)
        except OSError as error:
            raise DataError(f"{self.where(name)}: cannot be read ({error.strerror or error})") from error

    def where(self, name: str) -> str:
        """The path of a file."""
        return str(self.path / name)

    def total_bytes(self) -> int:
        """Sum of the sizes of all files."""
        return sum((self.path / name).stat().st_size for name in self.names)


def is_ignored(name: str) -> bool:
    """Whether a path is clutter that systems leave behind: hidden files and `__MACOSX`."""
    return any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in name.split("/"))


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
