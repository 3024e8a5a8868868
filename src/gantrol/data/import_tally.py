"""What has become of the files of an import so far: counted, compared with each other, and listed where left out."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from gantrol.atomic import atomic_file
from gantrol.data.dataset import Skipped
from gantrol.data.import_journal import Outcome
from gantrol.data.zipstore import Store
from gantrol.errors import DataError


@dataclass
class Tally:
    """What has become of the files so far."""

    names: tuple[str, ...]
    store: Store
    skips_repeats: bool
    looked_at: int = 0
    side_px: int = 0
    enlarged: int = 0
    broken_profiles: int = 0
    too_small: int = 0
    repeats: int = 0
    damaged: list[Skipped] = field(default_factory=list)
    left_out: list[Skipped] = field(default_factory=list)
    seen: dict[int, int] = field(default_factory=dict)
    """Hash of the pixels → number of the file; about 150 bytes an image."""

    def judge(self, outcome: Outcome) -> Outcome:
        """What becomes of the next file, given the earlier ones.

        Raises:
            DataError: its size differs from theirs, and none was asked for.
        """
        if outcome.fate != "kept":
            return outcome
        where, side = self.store.where(self.names[self.looked_at]), outcome.side_px
        if self.side_px not in (0, side):
            raise DataError(
                f"{printable(where)}: gives {side}×{side} pixels, but the images before it "
                f"{self.side_px}×{self.side_px}: choose one size for all with --size"
            )
        first = self.seen.get(outcome.digest)
        if first is None or not self.skips_repeats:
            return outcome
        return Outcome("repeat", printable(f"{where}: has the same pixels as {self.names[first]}"))

    def enter(self, outcome: Outcome) -> None:
        """Counts the next file."""
        name = self.names[self.looked_at]
        if outcome.fate == "kept":
            self.repeats += outcome.digest in self.seen
            self.seen.setdefault(outcome.digest, self.looked_at)
            self.side_px = outcome.side_px
            self.enlarged += outcome.was_enlarged
            self.broken_profiles += outcome.has_broken_profile
        else:
            self.left_out.append(Skipped(name, outcome.reason))
            self.too_small += outcome.fate == "small"
            self.repeats += outcome.fate == "repeat"
            if outcome.fate == "damaged":
                self.damaged.append(self.left_out[-1])
        self.looked_at += 1


def write_list(out: Path, left_out: list[Skipped], store: Store) -> Path | None:
    """Writes what was left out beside the dataset, a line each: name, tab, reason."""
    path = out.with_name(f"{out.name}.skipped.txt")
    if not left_out:
        with contextlib.suppress(OSError):  # that of a dataset that is replaced
            path.unlink()
        return None
    with atomic_file(path, DataError) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for name, reason in left_out:
            file.write(f"{printable(name)}\t{reason.removeprefix(printable(store.where(name)) + ': ')}\n")
    return path


def printable(text: str) -> str:
    """`text` on one line: line feeds, other controls and bytes that are no UTF-8 become escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
