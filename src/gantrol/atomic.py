"""Writing files and folders so that they are either whole or absent.

Everything is written beside its destination under a hidden temporary name, brought to the disk (`fsync`) and
then renamed, which POSIX guarantees to be atomic. A full disk, an exception or Ctrl-C removes the temporary
and leaves an older file of the same name as it was; after SIGKILL or a power cut only the hidden temporary
can remain. Its name tells the process that wrote it, so that whoever writes the same file next removes it.
"""

from __future__ import annotations

import ctypes
import errno
import glob
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gantrol.errors import GantrolError

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<host>[0-9a-f]{4})-(?P<process>\d+)-[0-9a-f]{8}\.tmp")
_AT_CWD, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


@contextmanager
def atomic_file(path: str | Path, error: type[GantrolError] = GantrolError) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path` (made if absent); on success it becomes `path`.

    Args:
        path: the file to write; an existing one is replaced in one step.
        error: the class raised in place of an `OSError`, with one line that names the file and the reason.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(path)
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as problem:
        raise error(describe(path, problem)) from problem
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_folder(path: str | Path, error: type[GantrolError] = GantrolError) -> Iterator[Path]:
    """Yields a temporary folder beside `path`; on success it becomes `path`, replacing a folder of that name.

    Linux exchanges the two in one step. Elsewhere replacing takes two renames (old away, new in place): if the machine
    stops exactly between them, the old folder survives under its hidden name.
    """
    path = Path(path).absolute()
    temporary = _temporary(path)
    retired = temporary.with_suffix(".old")
    try:
        temporary.mkdir(parents=True)
        _remove_orphans(path)
        yield temporary
        for written in sorted(temporary.rglob("*")):
            sync(written)
        sync(temporary)
        if not (path.exists() and exchange(temporary, path)):
            _replace_folder(temporary, path, retired)
        sync(path.parent)
        shutil.rmtree(retired, ignore_errors=True)
    except OSError as problem:
        raise error(describe(path, problem)) from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(temporary: Path, path: Path, retired: Path) -> None:
    """Puts a folder in the place of another, which goes to `retired` if there is one."""
    if path.exists():
        os.replace(path, retired)
    try:
        os.replace(temporary, path)
    except OSError:
        if retired.exists():
            os.replace(retired, path)
        raise


def write_json(path: str | Path, content: Any, error: type[GantrolError] = GantrolError) -> None:
    """Writes `content` as indented JSON, whole or not at all."""
    with atomic_file(path, error) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def exchange(a: Path, b: Path) -> bool:
    """Gives two files or folders each other's names in one step; whether this system and disk can do that."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError):  # a C library older than glibc 2.28
        return False
    return bool(renameat2(_AT_CWD, os.fsencode(a), _AT_CWD, os.fsencode(b), _EXCHANGE) == 0)


def _temporary(path: Path) -> Path:
    """A hidden name beside `path` that no other process and no other call has."""
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _host() -> str:
    """Four digits that stand for this machine."""
    return hashlib.blake2b(platform.node().encode(), digest_size=2).hexdigest()


def _remove_orphans(path: Path) -> None:
    """Removes what processes of this machine that are no more left of `path`."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        found = _TEMPORARY.fullmatch(left.name)
        if found and found["name"] == path.name and found["host"] == _host() and not _is_alive(int(found["process"])):
            _remove(left)


def _is_alive(process: int) -> bool:
    """Whether there is a process of this number; to be on the safe side also where that cannot be asked."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove(left: Path) -> None:
    """Removes a file or folder if that is possible."""
    if left.is_dir():
        shutil.rmtree(left, ignore_errors=True)
    else:
        with suppress(OSError):
            left.unlink()


def sweep(folder: Path) -> list[Path]:
    """Removes all hidden temporaries in `folder`, and returns them.

    Only for a folder that no other process writes into: a temporary that is being written looks the same.
    """
    left = [path for path in folder.glob(".*.tmp") if _TEMPORARY.fullmatch(path.name)]
    for path in left:
        _remove(path)
    return left


def sync(path: Path) -> None:
    """Brings a file, or the entries of a folder, to the disk."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return  # Windows cannot open folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def describe(path: Path, problem: OSError) -> str:
    """What went wrong with writing `path`, in one line, and what to do next."""
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot write {path}: the disk is full; free some space or choose another folder, then repeat"
    if problem.errno == errno.EFBIG:
        return f"cannot write {path}: {problem.strerror}; raise `ulimit -f` or choose another disk"
    return f"cannot write {path}: {problem.strerror or problem}; choose another place or fix its permissions"
