"""Where a dataset's files are: inside a zip, or in a folder. Both answer `names` and `read(name)`.

`ZipStore` reads the zip's directory once, and then each member with one call, from any number of threads and worker
processes at once. Nothing is ever unpacked to the disk. Both stores notice when a file is no longer the one that they
opened.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from gantrol.data.stamped_file import Stamp, StampedFile, check_stamp, stamp_of
from gantrol.errors import DataError

MAX_MEMBER_BYTES = 2**30
"""A compressed member that claims to be larger is refused."""

_LOCAL_HEADER_BYTES = 30


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


class CheckedStore(Store, Protocol):
    """A store that knows whether its files are still those that it opened."""

    def check(self, name: str) -> None:
        """Raises DataError if the file that holds `name` has changed since it was opened."""

    def fingerprint(self) -> str:
        """A digest of what the store holds, from names, sizes and check sums or times; no content is read."""


def digest(rows: Iterable[tuple[object, ...]]) -> str:
    """Sixteen hexadecimal digits that stand for the rows."""
    state = hashlib.sha256()
    for row in rows:
        state.update(repr(row).encode())
    return state.hexdigest()[:16]


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
            self._file = StampedFile(self.path)
            with zipfile.ZipFile(self.path) as archive:
                # Not info.is_dir(), which fails for a name that is empty or begins with a zero byte.
                listing = [info for info in archive.infolist() if info.filename and not info.filename.endswith("/")]
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

    def read(self, name: str) -> bytes | memoryview:
        """The content of a member, checked against its checksum.

        Raises:
            DataError: there is no such member, it is damaged, encrypted or compressed by something else than
                deflate, or the zip has changed since it was opened.
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
        if member.is_encrypted:
            raise DataError(f"{where}: is encrypted")
        wanted = member.stored_bytes
        if count is not None and member.method == zipfile.ZIP_STORED:
            wanted = min(wanted, count)
        # The local header repeats the name, and may have a longer extra field than the zip's directory says.
        guess = _LOCAL_HEADER_BYTES + len(name.encode()) + wanted
        data = memoryview(self._file.read_at(member.header_at, guess))
        if len(data) < _LOCAL_HEADER_BYTES or data[:4] != b"PK\x03\x04":
            raise DataError(f"{where}: the zip is damaged here (no local header)")
        name_bytes, extra_bytes = struct.unpack("<HH", data[26:_LOCAL_HEADER_BYTES])
        start = _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
        if start + wanted > guess:
            data = memoryview(self._file.read_at(member.header_at, start + wanted))
        stored = data[start : start + wanted]
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
        return self._file.stamp.bytes

    def check(self, name: str) -> None:
        """Raises DataError if the zip has changed since it was opened."""
        self._file.check()

    def fingerprint(self) -> str:
        """A digest of names, sizes and check sums; a copy of the zip has the same."""
        return digest((name, member.bytes, member.crc) for name, member in self._members.items())


class FolderStore:
    """The files under a folder, sub-folders included; symbolic links to folders are not followed."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._stamps = {name: self._stamp(name) for name in sorted(self._walk())}
        self.names = list(self._stamps)

    def _walk(self) -> Iterator[str]:
        def refuse(error: OSError) -> None:
            raise DataError(f"{error.filename}: cannot be read ({error.strerror or error})") from error

        for folder, _, files in os.walk(self.path, onerror=refuse):
            base = os.path.relpath(folder, self.path)
            for file in files:
                name = (file if base == "." else os.path.join(base, file)).replace(os.sep, "/")
                if not is_ignored(name):
                    yield name

    def _stamp(self, name: str) -> Stamp:
        try:
            return stamp_of(os.stat(self.path / name))
        except OSError:
            return Stamp(-1, 0)  # a link that leads nowhere: reading it says so, if anybody does

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            DataError: it cannot be read, or has changed since the folder was opened.
        """
        return self._content(name, -1)

    def peek(self, name: str, count: int) -> bytes:
        """The first `count` bytes of a file."""
        return self._content(name, count)

    def _content(self, name: str, count: int) -> bytes:
        path = self.path / name
        try:
            with open(path, "rb", buffering=0) as file:
                if stamp_of(os.fstat(file.fileno())) != self._stamps.get(name):
                    check_stamp(path, self._stamps.get(name, Stamp(-1, 0)))
                return file.read(count) or b""
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error

    def where(self, name: str) -> str:
        """The path of a file."""
        return str(self.path / name)

    def total_bytes(self) -> int:
        """Sum of the sizes of all files."""
        return sum(max(stamp.bytes, 0) for stamp in self._stamps.values())

    def check(self, name: str) -> None:
        """Raises DataError if a file has changed since the folder was opened."""
        check_stamp(self.path / name, self._stamps[name])

    def fingerprint(self) -> str:
        """A digest of names, sizes and times of modification; copy a folder with its times to keep it."""
        return digest((name, *stamp) for name, stamp in self._stamps.items())


def is_ignored(name: str) -> bool:
    """Whether a path is clutter that systems leave behind: hidden files and `__MACOSX`."""
    return any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in name.split("/"))
