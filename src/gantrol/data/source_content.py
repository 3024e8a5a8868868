"""The content of a file of a stranger, read with care: no pipe is waited for, no bomb inflated, no end unlimited."""

from __future__ import annotations

import os
import stat

from gantrol.data import foreign_images
from gantrol.data.stores import ShardStore
from gantrol.data.tarstore import TarStore
from gantrol.data.zipstore import FolderStore, Store, ZipStore
from gantrol.errors import DataError

MAX_FILE_BYTES = 2**30
"""Larger files are not read: an image of `images.MAX_PIXELS` is smaller in every format."""
_HEAD_BYTES = 256


def image_content(store: Store, name: str) -> bytes | memoryview:
    """The content of a file that may be an image; files that cannot be one are not read to the end, or at all.

    Raises:
        DataError: it cannot be read, is no regular file, too large, or of a kind that is no image.
    """
    where = store.where(name)
    foreign_images.refuse_by_name(name, where)
    if isinstance(store, FolderStore):
        return _regular_file(os.path.join(store.path, name), where)
    if isinstance(store, ZipStore):  # a bomb is recognised by its beginning, before it is inflated
        foreign_images.check_kind(bytes(store.peek(name, _HEAD_BYTES)), where)
    return store.read(name)


def check_archive(store: Store, name: str) -> None:
    """Raises DataError if an archive was replaced while it is read: then nothing that follows can be trusted."""
    if isinstance(store, ZipStore | TarStore | ShardStore):
        store.check(name)


def _regular_file(path: str, where: str) -> bytes:
    """The content of a regular file. Pipes, sockets and devices are refused: reading them may take for ever."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DataError(f"{where}: is no regular file but a pipe, socket, folder or device")
            if status.st_size > MAX_FILE_BYTES:
                raise DataError(f"{where}: has {status.st_size:,} bytes; more than {MAX_FILE_BYTES:,} are not read")
            head = file.read(_HEAD_BYTES)
            foreign_images.check_kind(head, where)
            return head + file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror or error})") from error


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # without it, opening a pipe waits for its writer
