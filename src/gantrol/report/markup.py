"""HTML that cannot be broken out of: whatever is not markup of ours is escaped, by construction.

`tag("p", {"class": "note"}, text, tag("b", name))` gives `Markup`; a plain string among its children is text, whatever
is in it. JSON goes into a script element as `data_block`, in which no `<` is left.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

_VOID = {"img", "input", "meta", "br", "link"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = Markup | str | int | float | None | Iterable["Child"]


def tag(name: str, attributes: Mapping[str, Any] | None = None, *children: Child) -> Markup:
    """An element.

    Args:
        name: of the element.
        attributes: True stands alone (`hidden`), None and False are left out, other values are escaped.
        children: markup as it is, everything else escaped; iterables are joined, None is nothing.
    """
    written = [
        f" {key}" if value is True else f' {key}="{html.escape(str(value))}"'
        for key, value in (attributes or {}).items()
        if value is not None and value is not False
    ]
    opening = f"<{name}{''.join(written)}>"
    return Markup(opening if name in _VOID else f"{opening}{join(children)}</{name}>")


def join(children: Child) -> Markup:
    """Children one after another, escaped where they are not markup."""
    if children is None:
        return Markup()
    if isinstance(children, Markup):
        return children
    if isinstance(children, str | int | float):
        return Markup(html.escape(str(children)))
    return Markup("".join(map(join, children)))


def data_block(name: str, value: Any) -> Markup:
    """A script element of the type application/json, which no text in `value` can end; NaN and infinity become null."""
    text = json.dumps(finite(value), separators=(",", ":"), allow_nan=False)  # ASCII: no U+2028 either
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(f'<script type="application/json" id="{html.escape(name)}">{text}</script>')


def finite(value: Any) -> Any:
    """`value` as JSON can hold it: None for numbers that are not finite, keys and unknown things as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def number(value: Any) -> str:
    """A number as people read it: four significant digits, thousands apart; a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """A time in words: 54 min 18 s, 3 h 20 min, 2 d 5 h."""
    if not math.isfinite(seconds) or seconds < 0:
        return "–"
    whole = round(seconds)
    for size, unit, smaller, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {part}"
    return f"{whole} s"
