"""One HTML document from its sections: the style and the script are inline, and nothing is ever fetched.

The content security policy in its head allows exactly one script, by its hash, pictures that are part of the page, and
no connection: even if a hostile name found a way around the escaping, it could neither run nor send anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from gantrol import __version__
from gantrol.report.markup import Child, Markup, join, tag


class Section(NamedTuple):
    """A part of the page with a heading of its own."""

    anchor: str
    """What links to it say."""
    title: str
    body: Child
    is_open: bool = True
    """Whether it is shown at once; others are opened by a click."""


def document(title: str, header: Child, sections: Sequence[Section], data: Child = ()) -> str:
    """The whole page.

    Args:
        title: of the browser's tab, any text.
        header: what stands above the sections.
        sections: from top to bottom.
        data: `data_block`s that the script reads.
    """
    assets = files("gantrol.report") / "assets"
    style = (assets / "page.css").read_text(encoding="utf-8")
    script = (assets / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    )
    head = tag(
        "head",
        None,
        tag("meta", {"charset": "utf-8"}),
        tag("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        tag("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        tag("meta", {"name": "color-scheme", "content": "light dark"}),
        tag("meta", {"name": "generator", "content": f"gantrol {__version__}"}),
        tag("title", None, title),
        tag("style", None, Markup(style)),
    )
    links = [tag("a", {"href": f"#{section.anchor}"}, section.title) for section in sections]
    body = tag(
        "body",
        None,
        tag("a", {"class": "skip", "href": "#content"}, "Skip to the content"),
        tag("header", None, header, tag("nav", {"aria-label": "Sections"}, links)),
        tag("main", {"id": "content"}, map(_section, sections)),
        tag("footer", None, f"Written by gantrol {__version__}. This page is one file and needs no network."),
        data,
        tag("script", None, Markup(script)),
    )
    return f'<!DOCTYPE html>\n<html lang="en">{join((head, body))}</html>\n'


def _section(section: Section) -> Markup:
    heading = tag("h2", None, section.title)
    if section.is_open:
        return tag("section", {"id": section.anchor}, heading, section.body)
    return tag("section", {"id": section.anchor}, tag("details", None, tag("summary", None, heading), section.body))


def facts(rows: Sequence[tuple[str, Child]]) -> Markup:
    """A list of names with what they are."""
    return tag("dl", {"class": "facts"}, (tag("div", None, tag("dt", None, k), tag("dd", None, v)) for k, v in rows))


def command(text: str) -> Markup:
    """A command line with a button that copies it."""
    button = tag("button", {"type": "button", "class": "copy", "data-copy": text}, "Copy")
    return tag("div", {"class": "command"}, tag("code", None, text), button)


def table(head: Sequence[Child], rows: Sequence[Sequence[Child]], caption: str = "") -> Markup:
    """A table that scrolls sideways where the screen is narrow; the first column names the row."""
    top = tag("tr", None, (tag("th", {"scope": "col"}, cell) for cell in head))
    body = [
        tag("tr", None, tag("th", {"scope": "row"}, row[0]), (tag("td", None, cell) for cell in row[1:]))
        for row in rows
    ]
    label = tag("caption", None, caption) if caption else None
    return tag(
        "div",
        {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": caption or "Table"},
        tag("table", None, label, tag("thead", None, top), tag("tbody", None, body)),
    )
