"""Imports published code from a folder for as long as it is called, on a machine without CUDA.

Nothing of that code is part of gantrol, and nothing of it is changed: packages that it imports but that the measured
networks do not use are replaced by empty ones where they are absent.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from gantrol.errors import GantrolError

_imported: set[Path] = set()


@contextlib.contextmanager
def importable(folder: Path, needed: str, absent: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """Makes the code in `folder` importable while the block lasts; its modules stay until another folder's come.

    Args:
        folder: the published code.
        needed: a file in it by which it is recognised.
        absent: what stands in for packages that are not installed: their names and contents.

    Raises:
        GantrolError: it is not there, or cannot be imported.
    """
    if not (folder / needed).is_file():
        raise GantrolError(f"{folder}: has no {needed}: give the folder of the published code")
    folder = folder.resolve()
    for other in _imported - {folder}:  # two repositories have packages of the same names
        for name, module in list(sys.modules.items()):
            origin = getattr(module, "__file__", None)
            if origin and Path(origin).is_relative_to(other):
                del sys.modules[name]
    _imported.add(folder)
    sys.path.insert(0, str(folder))
    for name, content in absent.items():
        if name not in sys.modules and ("." in name or find_spec(name) is None):
            module = ModuleType(name)
            module.__dict__.update(content)
            sys.modules[name] = module
    try:
        yield
    except ImportError as error:
        raise GantrolError(f"{folder}: cannot be imported: {error}") from error
    finally:
        sys.path.remove(str(folder))
