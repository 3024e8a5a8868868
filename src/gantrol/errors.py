"""Errors that users see: one line that names what is wrong and says what to do next.

The command line prints the message of any `GantrolError` and exits with status 1; every other exception is a defect
of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

_MAX_SHOWN = 100  # characters


class GantrolError(Exception):
    """Base of all errors caused by input, files or the machine rather than by a defect of the program."""


class ConfigError(GantrolError):
    """A preset, field, value or option that cannot be."""


class DataError(GantrolError):
    """A dataset or image that cannot be read, or one that does not fit what it is used for."""


class CheckpointError(GantrolError):
    """A model, run or checkpoint that is missing, damaged or does not fit."""


class TrainingError(GantrolError):
    """Training cannot go on (for example: the loss is not finite)."""


class MissingExtraError(GantrolError):
    """An optional dependency is not installed."""


def require_extra(module: str, extra: str) -> ModuleType:
    """Imports `module`; if it is absent, raises one line that names the extra which brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"this needs the Python package {module!r}, which is not installed: pip install 'gantrol[{extra}]'"
        ) from error


def in_brief(value: object) -> str:
    """`repr(value)` as an error message shows it: not at length, as it may come from a stranger's file."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that ends an error message: the known names closest to `name`, or all of them if none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(close) + "?"
    return "known: " + ", ".join(names)
