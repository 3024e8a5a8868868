"""Progress lines with rate and time left, for work that takes longer than about two seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_SHOW_AFTER_S = 1.0  # quick work prints nothing
_LINE_EVERY_S = 10.0  # where nobody watches: in a log or a pipe


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="cyan")


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """Yields `update(done, total)`: a bar on stderr if work lasts over a second, in a pipe a line now and then."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _live_bar(console, description) as update:
            yield update
    else:
        yield _lines(console, description)


@contextmanager
def _live_bar(console: Console, description: str) -> Iterator[Callable[[int, int], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(compact=True),
    )
    bar = Progress(*columns, console=console)
    task = bar.add_task(description, total=None)
    started = time.monotonic()
    is_shown = False

    def update(done: int, total: int) -> None:
        nonlocal is_shown
        bar.update(task, completed=done, total=total)
        if not is_shown and time.monotonic() - started > _SHOW_AFTER_S:
            bar.start()
            is_shown = True

    try:
        yield update
    finally:
        if is_shown:
            bar.stop()


def _lines(console: Console, description: str) -> Callable[[int, int], None]:
    began = last = time.monotonic()

    def update(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _LINE_EVERY_S:
            last = now
            rate = done / (now - began)
            left = f", {timedelta(seconds=round((total - done) / rate))} left" if rate > 0 else ""
            console.print(f"{description} {done}/{total}, {rate:.1f}/s{left}", highlight=False, soft_wrap=True)

    return update
