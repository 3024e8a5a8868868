"""Progress lines with rate and time left, for work that takes longer than about two seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_SHOW_AFTER_S = 1.0  # quick work prints nothing


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="cyan")


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """Yields `update(done, total)`; the bar appears on stderr once the work has lasted a second."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(compact=True),
    )
    bar = Progress(*columns, console=console, transient=not console.is_terminal)
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
