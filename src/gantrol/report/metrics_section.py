"""What was measured: each number over time, and a table with everything that it depends on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gantrol.report.curves import Chart, places
from gantrol.report.markup import Child, Markup, duration, number, tag
from gantrol.report.page import Section, table
from gantrol.report.run_record import RunRecord
from gantrol.train.evaluation import better

_SHOWN = ("value", "unit", "name")


def metrics_section(record: RunRecord, charts: list[Chart]) -> Section:
    """The numbers of metrics.jsonl; charts are those of `metric_charts`, the data block is called `metric-charts`."""
    if not record.evaluations:
        how = "gantrol train … --metrics fid --metrics-every 5 measures while it trains, gantrol evaluate afterwards."
        return Section("metrics", "Metrics", tag("p", None, f"Nothing was measured during this training. {how}"))
    parts: list[Child] = []
    if record.best is not None:
        best = record.best
        parts.append(
            tag("p", None, "Best: ", tag("b", None, f"{best.metric} {number(best.value)}"), f" at {best.kimg:g} kimg",
                ", kept as ", tag("code", None, "best.safetensors"), ".")
        )  # fmt: skip
    parts.append(tag("div", {"class": "charts"}, places(charts, 0, "metric-charts")))
    parts.append(_table(record))
    spent = sum(line.get("seconds", 0) for line in record.evaluations if isinstance(line.get("seconds"), int | float))
    parts.append(tag("p", {"class": "note"}, f"{len(record.evaluations)} evaluations took {duration(spent)} in all."))
    return Section("metrics", "Metrics", parts)


def _table(record: RunRecord) -> Markup:
    """A row for each number of the newest evaluation, beside its best value."""
    newest = record.evaluations[-1]
    rows: list[list[Child]] = []
    for name, entry in newest.get("metrics", {}).items():
        if not isinstance(entry, dict):
            continue
        decides = record.best if record.best is not None and record.best.metric == name else None
        direction = decides.better if decides else better(name)
        kimg, value = best_of(record, name, direction) if direction else (None, None)
        rows.append(
            [
                str(entry.get("name", name)),
                number(entry.get("value")),
                tag("span", {"class": "best"}, f"{number(value)} at {number(kimg)} kimg") if direction else "–",
                str(entry.get("unit", "")),
                direction or "–",
                depends_on(entry),
            ]
        )
    head = ("number", f"at {newest['n_img'] / 1000:g} kimg", "best", "unit", "better", "depends on")
    return table(head, rows, "The newest evaluation")


def best_of(record: RunRecord, name: str, direction: str) -> tuple[float | None, float | None]:
    """(kimg, value) of the best measurement of a number; (None, None) if there is none."""
    found = []
    for line in record.evaluations:
        entry = line.get("metrics", {}).get(name)
        value = entry.get("value") if isinstance(entry, dict) else None
        if isinstance(value, int | float):
            found.append((value if direction == "lower" else -value, line["n_img"] / 1000, value))
    if not found:
        return None, None
    _, kimg, value = min(found)
    return kimg, value


def depends_on(entry: Mapping[str, Any]) -> Markup:
    """Everything in an entry but its value: samples, seed, features, …"""
    rest = [(key, value) for key, value in entry.items() if key not in _SHOWN]
    return tag(
        "span",
        {"class": "depends"},
        (tag("span", None, f"{key.replace('_', ' ')} ", tag("b", None, _text(value)), " ") for key, value in rest),
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(_text, value)) if isinstance(value, list | tuple) else number(value)
