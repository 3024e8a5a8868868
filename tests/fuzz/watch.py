"""What reading a stranger's file must not do, noticed while it happens: run programs, write elsewhere, take memory.

Python reports such deeds to audit hooks before they are done, also those of C code that uses the interpreter. A hook
cannot be removed, so there is one, which looks only while somebody watches.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile", "subprocess.Popen",
    "pty.spawn", "socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request", "webbrowser.open",
    "pickle.find_class",
)  # fmt: skip
"""Programs, networks, and pickles read by Python's own machine."""

_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink",
            "os.chmod", "os.chown", "os.truncate")  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Deed(BaseException):
    """Something forbidden; no `except Exception` on the way hides it."""


class _Watch:
    folder: str | None = None
    thread: int = 0
    is_installed = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    folder = _Watch.folder
    if folder is None or threading.get_ident() != _Watch.thread:
        return
    if event in FORBIDDEN:
        raise Deed(f"{event}{arguments!r:.200}")
    if event == "open":
        path, mode, flags = (*arguments, None, None)[:3]
        writes = bool(flags & _WRITES) if isinstance(flags, int) else bool(set(str(mode or "r")) & set("wax+"))
        if writes and isinstance(path, str | bytes | os.PathLike):
            _check_inside(path, event)
    elif event in _CHANGES:
        for path in arguments[:2]:
            if isinstance(path, str | bytes | os.PathLike):
                _check_inside(path, event)


def _check_inside(path: str | bytes | os.PathLike[Any], event: str) -> None:
    assert _Watch.folder is not None
    real = os.path.realpath(os.fsdecode(path))
    if not (real + os.sep).startswith(_Watch.folder + os.sep) and real not in (os.devnull,):
        raise Deed(f"{event} outside the folder: {real}")


@contextlib.contextmanager
def watched(folder: Path, memory: int = 1 << 30) -> Iterator[None]:
    """While it lasts this thread may change files in `folder` alone, start nothing, and take `memory` more bytes.

    Raises:
        Deed: when something else is tried.
        MemoryError: from the allocation that is too much (Linux).
    """
    if not _Watch.is_installed:
        sys.addaudithook(_hook)
        _Watch.is_installed = True
    limits = resource.getrlimit(resource.RLIMIT_AS)
    status = Path("/proc/self/statm")
    if status.exists():
        taken = int(status.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + memory, limits[1]))
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    _Watch.folder, _Watch.thread = os.path.realpath(folder), threading.get_ident()
    try:
        yield
    finally:
        _Watch.folder = None
        tempfile.tempdir = before
        resource.setrlimit(resource.RLIMIT_AS, limits)
