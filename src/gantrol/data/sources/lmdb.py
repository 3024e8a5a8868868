"""LMDB databases of encoded images, the form in which LSUN is published: keys are hashes, values JPEG or WebP files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gantrol.data.sources.source import Source
from gantrol.errors import DataError, require_extra


def is_lmdb(path: Path) -> bool:
    """Whether `path` is an LMDB database: its folder, or the data.mdb in it."""
    return (path.is_dir() and (path / "data.mdb").is_file()) or (path.is_file() and path.name == "data.mdb")


class LmdbStore:
    """Read access to the values of a database by their keys; keys that are no text are written in hexadecimal.

    Raises:
        MissingExtraError: the package lmdb is missing.
        DataError: the database is damaged or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        lmdb: Any = require_extra("lmdb", "readers")
        self.path = path if path.is_dir() else path.parent
        try:
            self._environment = lmdb.open(
                str(self.path), readonly=True, lock=False, readahead=False, meminit=False, max_readers=64
            )
            with self._environment.begin() as transaction:
                keys = [bytes(key) for key in transaction.cursor().iternext(keys=True, values=False)]
        except lmdb.Error as error:
            raise DataError(f"{path}: is no readable LMDB database ({error})") from error
        self._error = lmdb.Error
        self._keys = {_readable(key): key for key in keys}
        self.names = list(self._keys)  # in the order of the keys

    def read(self, name: str) -> bytes:
        """The value of a key."""
        try:
            with self._environment.begin() as transaction:
                value = transaction.get(self._keys[name])
        except self._error as error:
            raise DataError(f"{self.where(name)}: cannot be read ({error})") from error
        if value is None:
            raise DataError(f"{self.where(name)}: is gone; the database changed while it was read")
        return bytes(value)

    def peek(self, name: str, count: int) -> bytes:
        """The first `count` bytes of a value."""
        return self.read(name)[:count]

    def where(self, name: str) -> str:
        """`database: key`."""
        return f"{self.path}: {name}"

    def total_bytes(self) -> int:
        """Size of the database."""
        return (self.path / "data.mdb").stat().st_size


def open_lmdb(path: Path) -> Source:
    """All values of a database as images."""
    store = LmdbStore(path)
    if not store.names:
        raise DataError(f"{path}: is an LMDB database without entries")
    return Source(store=store, names=tuple(store.names))


def _readable(key: bytes) -> str:
    try:
        text = key.decode("ascii")
    except UnicodeDecodeError:
        return key.hex()
    return text if text.isprintable() else key.hex()
