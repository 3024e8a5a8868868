"""Between the tabs and gradio: importing it late, files for the browser, and errors of users as a line on the page."""

from __future__ import annotations

import functools
import html
import inspect
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any, TypeVar

from gantrol.errors import GantrolError, require_extra

F = TypeVar("F", bound=Callable[..., Any])


def gradio() -> Any:
    """The module gradio; every tab asks for it inside `build`, so that importing gantrol stays quick.

    Raises:
        MissingExtraError: the extra `studio` is not installed.
    """
    return require_extra("gradio", "studio")


def asset(name: str) -> str:
    """The text of a file in `assets`, which runs or shows in the browser."""
    return files("gantrol.studio").joinpath("assets", name).read_text(encoding="utf-8")


def guarded(handler: F) -> F:
    """The same event handler, whose `GantrolError`s appear as one line on the page.

    Any other exception is a defect of ours: its traceback stays in the terminal, and the page says only that something
    went wrong. Handlers that yield, to show progress, may be given too.
    """

    @functools.wraps(handler)
    def call(*values: Any) -> Any:
        try:
            return handler(*values)
        except GantrolError as error:
            raise as_toast(error) from error

    @functools.wraps(handler)
    def steps(*values: Any) -> Iterator[Any]:
        try:
            yield from handler(*values)
        except GantrolError as error:
            raise as_toast(error) from error

    return steps if inspect.isgeneratorfunction(handler) else call  # type: ignore[return-value]


def as_toast(error: GantrolError) -> Exception:
    """The exception that gradio shows on the page for a while, without a traceback in the terminal."""
    message = html.escape(" ".join(str(error).split()), quote=False)  # a file may be called <img …>
    toast: Exception = gradio().Error(message, duration=8, print_exception=False, title="Not possible")
    return toast
