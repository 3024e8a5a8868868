"""Writing files and folders so that they are either whole or absent.

Everything is written beside its destination under a hidden temporary name, brought to the disk (`fsync`) and
then renamed, which POSIX guarantees to be atomic. A full disk, an exception or Ctrl-C removes the temporary
and leaves an older file of the same name as it was; after SIGKILL or a power cut only the hidden temporary
can remain.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gantrol.errors import GantrolError


@contextmanager
def atomic_file(path: str | Path, error: type[GantrolError] = GantrolError) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path` (made if absent); on success it becomes `path`.

    Args:
        path: the file to write; an existing one is replaced in one step.
        error: the class raised in place of an `OSError`, with one line that names the file and the reason.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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

    Replacing takes two renames (old away, new in place): if the machine stops exactly between them, the old
    folder survives under its hidden name.
    """
    path = Path(path).absolute()
    token = secrets.token_hex(4)
    temporary, retired = (path.with_name(f".{path.name}.{token}.{suffix}") for suffix in ("tmp", "old"))
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for written in sorted(temporary.rglob("*")):
            sync(written)
        sync(temporary)
        if path.exists():
            os.replace(path, retired)
        try:
            os.replace(temporary, path)
        except OSError:
            if retired.exists():
                os.replace(retired, path)
            raise
        sync(path.parent)
        shutil.rmtree(retired, ignore_errors=True)
    except OSError as problem:
        raise error(describe(path, problem)) from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: str | Path, content: Any, error: type[GantrolError] = GantrolError) -> None:
    """Writes `content` as indented JSON, whole or not at all."""
    with atomic_file(path, error) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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
    return f"cannot write {path}: {problem.strerror or problem}; choose another place or fix its permissions"
