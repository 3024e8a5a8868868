"""The diary of an import: what became of each file, so that an import that was killed goes on where it stopped.

Beside the unfinished dataset lies a text file with a line of JSON per file of the source, in the source's order, after
a first line about the whole. The unfinished dataset holds the pixels of the files that were kept, the diary everything
else that later files depend on (which pixels have been seen, how many files were left out, and why). Either may have
come further than the other when the process was killed; the shorter one counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self, TextIO

from gantrol.atomic import atomic_file, describe
from gantrol.errors import DataError

Fate = Literal["kept", "damaged", "small", "repeat"]
_FATES = ("kept", "damaged", "small", "repeat")


class Outcome(NamedTuple):
    """What became of a file."""

    fate: Fate
    """Kept; or left out as damaged, too small, or a repeat of an earlier one."""
    reason: str = ""
    """Why it was left out, in words."""
    side_px: int = 0
    """Side of its pixels, if kept."""
    digest: int = 0
    """A hash of its pixels, if kept."""
    was_enlarged: bool = False
    """Whether the original was smaller."""
    has_broken_profile: bool = False
    """Whether a colour profile had to be ignored."""


class Journal:
    """The diary at `path`; opened for writing by `with`, after what it holds was looked at.

    Raises:
        DataError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mode: str | None = None
        """The pixel type that was decided on; None in a new diary."""
        self.outcomes: list[Outcome] = []
        self._file: TextIO | None = None
        self._read()

    @property
    def kept(self) -> int:
        """How many of its files were kept."""
        return sum(outcome.fate == "kept" for outcome in self.outcomes)

    def cut(self, kept: int) -> None:
        """Forgets what came after the first `kept` files that were kept."""
        count = 0
        for index, outcome in enumerate(self.outcomes):
            if count == kept:
                del self.outcomes[index:]
                return
            count += outcome.fate == "kept"

    def begin(self, mode: str) -> None:
        """Starts to write: first what it holds, then whatever is noted."""
        self.mode = mode
        with atomic_file(self.path, DataError) as temporary:
            temporary.write_text("".join(_lines([[mode], *self.outcomes])), encoding="utf-8")
        try:
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115  (closed by __exit__)
        except OSError as problem:
            raise DataError(describe(self.path, problem)) from problem

    def note(self, outcome: Outcome) -> None:
        """Adds the next file's; it reaches the disk sooner or later."""
        assert self._file is not None
        self._file.writelines(_lines([outcome]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def _read(self) -> None:
        """Takes over a diary up to its first line that is not whole."""
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        lines = text.split("\n")[:-1]  # what follows the last line feed was cut short
        try:
            (self.mode,) = json.loads(lines[0])
            for line in lines[1:]:
                outcome = Outcome(*json.loads(line))
                if outcome.fate not in _FATES:
                    return
                self.outcomes.append(outcome)
        except (ValueError, TypeError, IndexError):
            return


def _lines(records: Iterable[object]) -> Iterable[str]:
    return (json.dumps(record, separators=(",", ":")) + "\n" for record in records)
