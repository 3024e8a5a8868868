"""Tables on the screen that lose nothing: a name is never cut because a terminal is narrow or there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def print_table(table: Table, *, is_folded: bool = False) -> None:
    """Prints a table to stdout in its natural width, whatever that of the terminal.

    Args:
        table: names and numbers, which have to stay whole.
        is_folded: its cells hold sentences: a terminal folds them to its width, a file or pipe gets them unbroken.
    """
    from rich.console import Console

    console = Console(highlight=False)
    if not (is_folded and console.is_terminal):
        natural = console.measure(table, options=console.options.update(width=10_000)).maximum
        console = Console(highlight=False, width=max(console.width, natural))
    with console.capture() as printed:
        console.print(table)
    for line in printed.get().splitlines():
        print(line.rstrip())
