"""Several models side by side: what `gantrol evaluate --html` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gantrol import __version__
from gantrol.report.embedded_pictures import embed
from gantrol.report.markup import Child, Markup, data_block, finite, number, tag
from gantrol.report.metrics_section import depends_on
from gantrol.report.page import Section, document, table
from gantrol.train.evaluation import better

_PICTURES_BYTES = 6 * 2**20


def comparison_page(rows: Sequence[Mapping[str, Any]]) -> str:
    """A page that compares models: a table with the best of each column marked, pictures, and the numbers as JSON.

    Args:
        rows: for each model {"model": its name, "metrics": entries by name as `evaluate --json` has them, "picture": a
            PIL picture of its images, or None}.

    Returns:
        One HTML document, which needs nothing else.
    """
    models = [str(row["model"]) for row in rows]
    entries = [{str(name): dict(entry) for name, entry in row["metrics"].items()} for row in rows]
    names = list(dict.fromkeys(name for found in entries for name in found))
    sections = [Section("numbers", "Numbers", [_numbers(models, entries, names), _warnings(entries, names)])]
    pictures = _pictures(rows)
    if pictures:
        sections.append(Section("pictures", "Pictures", tag("div", {"class": "pictures"}, pictures)))
    sections.append(Section("details", "What the numbers depend on", _details(models, entries, names)))
    plain = finite([{"model": m, "metrics": e} for m, e in zip(models, entries, strict=True)])
    note = tag("p", None, "The same numbers for programs. ", tag("button", {"type": "button", "data-copy-from": "rows"},
               "Copy JSON"))  # fmt: skip
    sections.append(Section("json", "JSON", [note, tag("pre", {"id": "json-text"})], is_open=False))
    title = f"{len(models)} models compared" if len(models) != 1 else f"{models[0]} measured"
    kind = tag("p", {"class": "kind"}, f"An evaluation · gantrol {__version__}")
    return document(f"{title} · gantrol", [kind, tag("h1", None, title)], sections, data_block("rows", plain))


def _numbers(models: Sequence[str], entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Markup:
    """Models × metrics; the best of each column is marked, and a bar shows each number against the largest."""
    head: list[Child] = ["model"]
    columns = []
    for name in names:
        shown = next(found[name] for found in entries if name in found)
        direction = _direction(name, shown)
        arrow = {"lower": "↓", "higher": "↑", None: ""}[direction]
        title = str(shown.get("name", name))
        head.append([title, " ", tag("abbr", {"title": f"{direction} is better"}, arrow) if arrow else None, tag("br"),
                     tag("span", {"class": "note"}, str(shown.get("unit", "")))])  # fmt: skip
        columns.append([_value(found.get(name)) for found in entries])
    cells: list[list[Child]] = [[model] for model in models]
    for name, values in zip(names, columns, strict=True):
        known = [value for value in values if value is not None]
        shown = next(found[name] for found in entries if name in found)
        direction = _direction(name, shown)
        best = (min if direction == "lower" else max)(known) if known and direction else None
        largest = max((abs(value) for value in known), default=0.0)
        for row, value in zip(cells, values, strict=True):
            row.append(_cell(value, value is not None and value == best and len(models) > 1, largest))
    return table(head, cells, "The best of each column is marked ★" if len(models) > 1 else "")


def _cell(value: float | None, is_best: bool, largest: float) -> Markup:
    share = 100 * max(value, 0.0) / largest if value is not None and largest > 0 else 0.0
    bar = tag("span", {"class": "bar", "aria-hidden": "true"}, tag("span", {"style": f"width:{share:.1f}%"}))
    text = tag("b", {"class": "best"}, f"{number(value)} ★") if is_best else number(value)
    return tag("div", {"class": "cell"}, text, bar)


def _details(models: Sequence[str], entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Markup:
    rows: list[list[Child]] = [
        [str(found[name].get("name", name)), model, number(_value(found[name])), str(found[name].get("unit", "")),
         depends_on(found[name])]
        for name in names
        for model, found in zip(models, entries, strict=True)
        if name in found
    ]  # fmt: skip
    return table(("number", "model", "value", "unit", "depends on"), rows, "Numbers compare where these agree")


def _warnings(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Markup | None:
    """Where two models were not measured alike."""
    said = []
    for name in names:
        found = [entry[name] for entry in entries if name in entry]
        for key in ("samples", "reals", "features", "resampling", "x_flip", "seed"):
            if len({str(entry.get(key)) for entry in found}) > 1:
                said.append(f"{found[0].get('name', name)}: {key.replace('_', ' ')} is not the same for all models")
    return tag("ul", {"class": "warnings"}, [tag("li", None, text) for text in said]) if said else None


def _pictures(rows: Sequence[Mapping[str, Any]]) -> list[Markup]:
    shown = [(str(row["model"]), row["picture"]) for row in rows if row.get("picture") is not None]
    figures = []
    embedded = embed([picture for _, picture in shown], _PICTURES_BYTES)
    for (model, _), found in zip(shown, embedded, strict=False):
        attributes = {
            "src": found.uri,
            "width": found.width_px * found.enlargement,
            "height": found.height_px * found.enlargement,
            "class": "pixels" if found.enlargement > 1 else None,
            "alt": f"Images of {model}",
        }
        caption = tag("figcaption", None, tag("b", None, model))
        figures.append(tag("figure", {"class": "frames"}, caption, tag("img", attributes)))
    return figures


def _direction(name: str, entry: Mapping[str, Any]) -> str | None:
    said = entry.get("better")
    return said if said in ("lower", "higher") else better(name)


def _value(entry: Mapping[str, Any] | None) -> float | None:
    value = finite(entry.get("value")) if entry is not None else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
