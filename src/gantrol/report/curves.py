"""Curves: which numbers of a run are drawn together, and the data that the page's script draws them from.

A chart is a plain object: a title, a unit, the same x for all of its lines (thousands of images), the lines, perhaps
marks on single points and dashed levels. The script adds axes, the read-out, smoothing and the logarithmic scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gantrol.report.markup import Markup, tag
from gantrol.report.page import Section
from gantrol.report.run_record import RunRecord
from gantrol.train.evaluation import better

MAX_POINTS = 800
"""Ticks that a curve shows; of a longer log, means of neighbours."""
Chart = dict[str, Any]
_BOOKKEEPING = {"n_img", "kimg", "n_step", "elapsed_s"}
_SPLIT = "/"
_LABELS = {
    "img_per_s": "images/s",
    "outside_share": "share",
    "memory_gib": "main memory",
    "cuda_memory_gib": "GPU memory",
}
_ORDER = ("g", "d", "real", "fake", "same", "different", "anchor")  # so that these always have the same colours


def log_charts(record: RunRecord) -> dict[str, list[Chart]]:
    """All numbers of the log by group; every number is in exactly one chart."""
    ticks = thinned(record.ticks)
    names = list(dict.fromkeys(name for tick in record.ticks for name, value in tick.items() if _is_number(value)))
    left = [name for name in names if name not in _BOOKKEEPING]

    def take(matches: Callable[[str], bool]) -> list[str]:
        found = [name for name in left if matches(name)]
        left[:] = [name for name in left if name not in found]
        return found

    def together(title: str, unit: str, chosen: Sequence[str], **more: Any) -> list[Chart]:
        return [chart(title, unit, ticks, {name: _short(name) for name in chosen}, **more)] if chosen else []

    groups: dict[str, list[Chart]] = {}
    groups["Losses"] = [
        *together("Generator and discriminator", "loss", take(lambda name: name in ("loss/g", "loss/d"))),
        *together("Further terms", "loss", take(lambda name: name.startswith("loss/") and not name.endswith("_reg"))),
        *together(
            "Penalties",
            "before their weight, and as part of the loss",
            take(lambda name: name.startswith("penalty/") or name.endswith("_reg")),
            is_log=True,
        ),
    ]
    groups["Scores of the discriminator"] = [
        *together("Logits", "mean", take(lambda name: name.startswith("scores/"))),
        *together("Signs of logits", "mean, −1 to 1", take(lambda name: name.startswith("signs/"))),
    ]
    attributes = list(dict.fromkeys(name.split(_SPLIT)[1] for name in left if name.startswith("control/")))
    groups["Control"] = [
        *together("Loss of each attribute", "loss", take(lambda name: _control_part(name) == "loss")),
        *(
            made
            for attribute in attributes
            for made in together(
                attribute,
                "distance of what is read",
                take(lambda name, attribute=attribute: name.startswith(f"control/{attribute}/")),  # type: ignore[misc]
                levels=_thresholds(record.config, attribute),
            )
        ),
    ]
    groups["Augmentation"] = together("Strength", "p", take(lambda name: name.startswith("augment/")), low=0)
    groups["Speed and memory"] = [
        *together("Rate", "images/s", take(lambda name: name == "img_per_s"), low=0),
        *together("Where the time of a tick goes", "s", take(lambda name: name.endswith("_s")), low=0),
        *together("Memory", "GiB", take(lambda name: name.endswith("_gib")), low=0),
        *together("Time outside of steps", "share", take(lambda name: name == "outside_share"), low=0),
    ]
    groups["Others"] = [made for name in take(lambda _: True) for made in together(name, "", [name])]
    return {title: charts for title, charts in groups.items() if charts}


def metric_charts(record: RunRecord) -> list[Chart]:
    """One chart for each number of metrics.jsonl, its best value marked."""
    lines = [line for line in record.evaluations if isinstance(line.get("metrics"), dict)]
    names = list(dict.fromkeys(name for line in lines for name in line["metrics"]))
    charts = []
    for name in names:
        points = [
            (line["n_img"] / 1000, entry)
            for line in lines
            if isinstance(entry := line["metrics"].get(name), dict) and _is_number(entry.get("value"))
        ]
        if not points:
            continue
        decides = record.best is not None and record.best.metric == name
        direction = record.best.better if decides and record.best else better(name)
        values = [entry["value"] for _, entry in points]
        at = values.index(min(values) if direction == "lower" else max(values))
        unit = str(points[-1][1].get("unit", ""))
        title = str(points[-1][1].get("name", name))
        charts.append(
            {
                "title": title if title == name else f"{title} ({name})",
                "unit": "; ".join(filter(None, (unit, f"{direction} is better" if direction else ""))),
                "x": [round(kimg, 3) for kimg, _ in points],
                "lines": [{"name": name, "y": values}],
                "marks": [{"x": round(points[at][0], 3), "y": values[at], "label": "best"}] if direction else [],
                "dots": True,
                "log": False,
            }
        )
    return charts


def chart(
    title: str,
    unit: str,
    ticks: Sequence[Mapping[str, Any]],
    names: Mapping[str, str],
    *,
    levels: Sequence[Mapping[str, Any]] = (),
    is_log: bool = False,
    low: float | None = None,
) -> Chart:
    """A chart of numbers of the log.

    Args:
        title, unit: what it says above and beside.
        ticks: of the log.
        names: keys of the ticks, and what they are called in the legend.
        levels: dashed lines, `{"y": …, "label": …}`.
        is_log: begin with a logarithmic scale, where all values are positive.
        low: the y axis begins there at the latest.
    """
    lines: list[dict[str, Any]] = [
        {"name": label, "y": [_rounded(tick.get(name)) for tick in ticks]}
        for name, label in sorted(names.items(), key=lambda pair: _ORDER.index(pair[1]) if pair[1] in _ORDER else 9)
    ]
    positive = all(value > 0 for line in lines for value in line["y"] if value is not None)
    return {
        "title": title,
        "unit": unit,
        "x": [round(tick["n_img"] / 1000, 3) for tick in ticks],
        "lines": lines,
        "levels": list(levels),
        "log": is_log and positive,
        "low": low,
    }


def thinned(ticks: Sequence[Mapping[str, Any]], points: int = MAX_POINTS) -> list[dict[str, Any]]:
    """At most `points` ticks: each stands for equally many neighbours, with the mean of what they have."""
    if len(ticks) <= points:
        return [dict(tick) for tick in ticks]
    found = []
    for index in range(points):
        part = ticks[index * len(ticks) // points : (index + 1) * len(ticks) // points]
        names = dict.fromkeys(name for tick in part for name in tick)
        merged: dict[str, Any] = {}
        for name in names:
            values = [tick[name] for tick in part if _is_number(tick.get(name))]
            merged[name] = sum(values) / len(values) if values else None
        found.append(merged | {"n_img": part[-1]["n_img"]})
    return found


def curves_section(groups: Mapping[str, Sequence[Chart]]) -> Section:
    """The section of all groups; the charts themselves are drawn by the script from the data block `log-charts`."""
    tools = tag(
        "p",
        {"class": "tools"},
        tag("label", None, tag("input", {"type": "checkbox", "id": "smooth"}), " Smooth the curves"),
        tag(
            "span", {"class": "note"}, "Point at a chart, or focus it and use ← →, to read values; click names to hide."
        ),
    )
    parts: list[Markup] = [tools]
    number = 0
    for title, charts in groups.items():
        parts.append(tag("h3", None, title))
        parts.append(tag("div", {"class": "charts"}, places(charts, number)))
        number += len(charts)
    if not groups:
        parts = [tag("p", None, "The log has no ticks yet.")]
    return Section("curves", "Curves", parts)


def places(charts: Sequence[Chart], first: int, source: str = "log-charts") -> list[Markup]:
    """Where the script draws charts `first`, `first + 1`, … of the data block `source`."""
    return [
        tag(
            "figure",
            {"class": "chart", "data-source": source, "data-chart": first + index},
            tag("figcaption", None, tag("b", None, made["title"]), " ", tag("span", {"class": "note"}, made["unit"])),
        )
        for index, made in enumerate(charts)
    ]


def _thresholds(config: Mapping[str, Any], attribute: str) -> list[dict[str, Any]]:
    """The distances that the control loss asks for: pairs below one, different images above the other."""
    control = config.get("control")
    terms: Iterable[Any] = control.get("terms", ()) if isinstance(control, dict) else ()
    for term in terms:
        if isinstance(term, dict) and term.get("attribute") == attribute:
            pairs = ((term.get("tau_same"), "same: at most"), (term.get("tau_different"), "different: at least"))
            return [{"y": value, "label": label} for value, label in pairs if _is_number(value)]
    return []


def _control_part(name: str) -> str:
    return name.rpartition(_SPLIT)[2] if name.startswith("control/") else ""


def _short(name: str) -> str:
    """What a line is called in a chart whose title says the rest."""
    if name in _LABELS:
        return _LABELS[name]
    parts = name.split(_SPLIT)
    if parts[0] == "control" and len(parts) == 3:
        return parts[1] if parts[2] == "loss" else parts[2]
    return parts[-1].removesuffix("_s").removesuffix("_gib") if len(parts) == 1 else _SPLIT.join(parts[1:])


def _rounded(value: Any) -> float | None:
    return float(f"{value:.5g}") if _is_number(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
