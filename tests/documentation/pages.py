"""The pages of the documentation and the code blocks in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

FENCE = re.compile(r"(?P<before>[^\n]*)\n```(?P<language>[\w{}-]*)[^\n]*\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+) -->")


class Fence(NamedTuple):
    """A code block of a page."""

    page: Path
    line: int
    language: str
    code: str
    not_run: str
    """Why the block is not executed, from `<!-- not run: reason -->` on the line before; empty if it is."""

    @property
    def where(self) -> str:
        """Page and line, as editors take it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> Iterator[list[str]]:
        """The words of each command of a shell block; comments and continued lines are resolved."""
        for line in self.code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


def fences(pages: list[Path] = PAGES) -> Iterator[Fence]:
    """All code blocks, page by page."""
    for page in pages:
        text = "\n" + page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            found = _NOT_RUN.search(match["before"])
            line = text.count("\n", 0, match.start("code"))
            yield Fence(page, line, match["language"], match["code"], found["reason"] if found else "")


def prose(page: Path) -> str:
    """A page without its code blocks and comments."""
    text = FENCE.sub(lambda match: match["before"], "\n" + page.read_text(encoding="utf-8"))
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
