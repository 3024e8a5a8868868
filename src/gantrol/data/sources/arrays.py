"""Raw pixels as a store of images, so that an import treats them like files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gantrol.data import images
from gantrol.data.zipstore import FolderStore, Store
from gantrol.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Block:
    """A run of images in one array."""

    prefix: str
    """How their names begin."""
    count: int
    """How many there are."""
    pixels: Callable[[int], np.ndarray]
    """Index → uint8 [H, W] or [H, W, 3]."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its images."""
        return tuple(f"{self.prefix}{index:08d}.png" for index in range(self.count))


class ArrayStore:
    """A `Store` whose files are made when they are read: uncompressed PNGs of the blocks' pixels."""

    def __init__(self, store: Store, blocks: list[Block]) -> None:
        self.path: Path = store.path
        self._store = store
        self._at = {name: (block, index) for block in blocks for index, name in enumerate(block.names)}
        self.names = list(self._at)

    def read(self, name: str) -> bytes:
        """The image as a PNG."""
        block, index = self._at[name]
        return images.encode(np.ascontiguousarray(block.pixels(index)))

    def peek(self, name: str, count: int) -> bytes:
        """The beginning of that PNG."""
        return self.read(name)[:count]

    def where(self, name: str) -> str:
        """`path: part and number of the image`."""
        return f"{self.path}: {name.removesuffix('.png')}"

    def total_bytes(self) -> int:
        """Size of what the images come from."""
        return self._store.total_bytes()


def content(store: Store, name: str) -> np.ndarray:
    """The bytes of a file as uint8 [N], mapped instead of read where the store allows it.

    Raises:
        DataError: the file cannot be read.
    """
    if isinstance(store, FolderStore):
        try:
            if (store.path / name).stat().st_size == 0:
                return np.zeros(0, np.uint8)
            return np.memmap(store.path / name, dtype=np.uint8, mode="r")
        except OSError as error:
            raise DataError(f"{store.where(name)}: cannot be read ({error.strerror or error})") from error
    return np.frombuffer(store.read(name), dtype=np.uint8)


def rows(store: Store, name: str, row_bytes: int) -> np.ndarray:
    """A file of equally long records as uint8 [N, row_bytes].

    Raises:
        DataError: its length is no multiple of a record's, or it is empty.
    """
    data = content(store, name)
    if len(data) == 0 or len(data) % row_bytes:
        raise DataError(
            f"{store.where(name)}: {len(data):,} bytes are not a whole number of records of {row_bytes:,} bytes: "
            "the file is cut short or something else"
        )
    return data.reshape(-1, row_bytes)
