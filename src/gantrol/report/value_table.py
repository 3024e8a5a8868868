"""Tables in HTML: plain ones, and heat maps whose cells are coloured by their value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gantrol.report.markup import Markup, tag

_RAMP = ((255, 255, 255), (253, 219, 168), (241, 105, 72), (124, 32, 122))
_CELL = "padding:3px 9px;text-align:right;white-space:nowrap;border:0;border-bottom:1px solid rgba(128,128,128,.25);"


def value_table(columns: Sequence[str], rows: Sequence[Sequence[str]], units: Sequence[str] = ()) -> Markup:
    """A table of text: the first column is the name of the row, the others are set to the right.

    Args:
        columns: their names.
        rows: of as many cells each.
        units: of the columns, beneath their names; empty for none.
    """
    head = [
        tag(
            "th",
            {"style": _CELL + ("text-align:left" if index == 0 else "")},
            name,
            tag("br") if units and units[index] else None,
            tag("small", {"style": "font-weight:normal;opacity:.7"}, units[index]) if units else None,
        )
        for index, name in enumerate(columns)
    ]
    body = [
        tag(
            "tr",
            None,
            (
                tag("th" if k == 0 else "td", {"style": _CELL + ("text-align:left" if k == 0 else "")}, cell)
                for k, cell in enumerate(row)
            ),
        )
        for row in rows
    ]
    return _table(tag("tr", None, head), body)


def heat_table(
    matrix: Mapping[str, Mapping[str, float]],
    *,
    corner: str = "",
    full: float = 1.0,
    own: Mapping[str, str] | None = None,
) -> Markup:
    """A matrix of numbers, each cell coloured from white (0) to purple (`full` and more).

    Args:
        matrix: by row and column; what is missing or NaN is a dash.
        corner: what stands above the names of the rows.
        full: the value of the darkest colour.
        own: for each row the column that is framed, because it is meant to be large.
    """
    columns = list(dict.fromkeys(name for row in matrix.values() for name in row))
    head = [
        tag("th", {"style": _CELL + ("text-align:left" if not k else "")}, name)
        for k, name in enumerate([corner, *columns])
    ]
    body = []
    for name, row in matrix.items():
        cells = [_heat_cell(row.get(column, math.nan), full, (own or {}).get(name) == column) for column in columns]
        body.append(tag("tr", None, tag("th", {"style": _CELL + "text-align:left"}, name), cells))
    return _table(tag("tr", None, head), body)


def _heat_cell(value: float, full: float, is_own: bool) -> Markup:
    if not math.isfinite(value):
        return tag("td", {"style": _CELL + "opacity:.5"}, "–")
    red, green, blue = _colour(value / full)
    ink = "#212529" if red + green + blue > 380 else "#fff"
    frame = "outline:2px solid #212529;outline-offset:-2px;" if is_own else ""
    return tag("td", {"style": f"{_CELL}background:rgb({red},{green},{blue});color:{ink};{frame}"}, f"{value:.2f}")


def _colour(share: float) -> tuple[int, int, int]:
    place = min(max(share, 0.0), 1.0) * (len(_RAMP) - 1)
    index = min(int(place), len(_RAMP) - 2)
    part = place - index
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(_RAMP[index], _RAMP[index + 1], strict=True))
    return red, green, blue


def _table(head: Markup, body: Sequence[Markup]) -> Markup:
    style = "border:0;border-collapse:collapse;font-size:.9em;font-variant-numeric:tabular-nums"
    table = tag("table", {"style": style}, tag("thead", None, head), tag("tbody", None, body))
    return tag("div", {"style": "overflow-x:auto"}, table)
