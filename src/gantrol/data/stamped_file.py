"""A file of the dataset, read at any place by any number of threads, that must stay as it was when it was opened.

A training reads its dataset for days. Were the file mapped into memory, somebody who shortens it would kill the process
(SIGBUS), and somebody who overwrites it would mix two datasets unseen. So every read asks the system whether size and
time of modification are still the same, which costs about two microseconds, and then reads with `pread`, which moves no
shared position: threads and forked processes use one descriptor.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, NamedTuple

from gantrol.errors import DataError

REMEDY = "put the old file back and `--resume`, or start a new run"


class Stamp(NamedTuple):
    """By what a changed file is known."""

    bytes: int
    modified_ns: int


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp in what `os.stat` says."""
    return Stamp(status.st_size, status.st_mtime_ns)


def check_stamp(path: str | os.PathLike[str], expected: Stamp) -> None:
    """Raises DataError if the file is gone, or another than when its stamp was taken."""
    try:
        found = stamp_of(os.stat(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read any more ({error.strerror or error}); {REMEDY}") from error
    if found != expected:
        raise DataError(f"{path}: has changed since it was opened; {REMEDY}")


class StampedFile:
    """Random access to a file that must not change; picklable, and safe in threads and forked or spawned processes.

    Raises:
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stamp = stamp_of(os.stat(path))
        self._lock = threading.Lock()
        self._descriptor: int | None = None

    def read_at(self, start: int, count: int) -> bytes:
        """`count` bytes from `start`, fewer at the end of the file; raises DataError if the file has changed."""
        check_stamp(self.path, self.stamp)
        if not 0 <= start < self.stamp.bytes:
            return b""
        count = min(count, self.stamp.bytes - start)  # a table of contents may claim anything
        descriptor = self._descriptor
        try:
            if descriptor is None:
                descriptor = self._open()
            return _read_at(descriptor, start, count, self._lock)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read any more ({error.strerror or error}); {REMEDY}") from error

    def check(self) -> None:
        """Raises DataError if the file has changed."""
        check_stamp(self.path, self.stamp)

    def _open(self) -> int:
        with self._lock:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            return self._descriptor

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None, "_lock": None}  # another process opens its own

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            os.close(self._descriptor)  # type: ignore[arg-type]


def _read_at(descriptor: int, start: int, count: int, lock: threading.Lock) -> bytes:
    if hasattr(os, "pread"):
        data = os.pread(descriptor, count, start)
        while len(data) < count and (more := os.pread(descriptor, count - len(data), start + len(data))):
            data += more  # one call gives at most 2 GiB
        return data
    with lock:  # Windows: the position is shared
        os.lseek(descriptor, start, os.SEEK_SET)
        return os.read(descriptor, count)
