"""Charts as SVG, for places where the page's script does not run: the same objects that `curves` makes, drawn once.

Text and axes take the colour of the text around them (`currentColor`), so a chart fits light and dark pages. Nothing in
it can be broken out of: all names go through `tag`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gantrol.report.markup import Markup, number, tag

COLOURS = ("#1874cd", "#d63e2a", "#148c62", "#e8920c", "#9248b0", "#78543c", "#009eb3", "#8a8f98")
"""Of the lines, in order; further ones take them again, dashed."""
_LEFT_PX, _RIGHT_PX, _TOP_PX, _BOTTOM_PX = 52, 14, 12, 40
_LEGEND_ROW_PX = 18
_CHARACTER_PX = 6.4  # of the legend's text, about


def svg_chart(
    chart: Mapping[str, Any], *, x_label: str = "kimg", width_px: int = 460, height_px: int = 220, dots: bool = False
) -> Markup:
    """A chart with its title, axes, legend, marks and dashed levels, as a `figure`.

    Args:
        chart: `title`, `unit` (beside the title), `x` [K], `lines` of `name` and `y` [K] (None where nothing is known);
            perhaps `marks` (`x`, `y`, `label`), `levels` (`y`, `label`), `verticals` (`x`, `label`), `log`
            (logarithmic y) and `low` (y begins there at the latest).
        x_label: what x is, with its unit.
        width_px: of the drawing, legend included; the page may scale it.
        height_px: of the plotting area with its axes.
        dots: draw every point as well.

    Returns:
        An HTML figure; for a chart without a single value its title alone.
    """
    lines = [(str(line["name"]), list(line["y"])) for line in chart["lines"]]
    is_log = bool(chart.get("log"))
    levels = [(float(level["y"]), str(level.get("label", ""))) for level in chart.get("levels", ())]
    values = [y for _, ys in lines for y in ys if _is_shown(y, is_log)]
    caption = tag("figcaption", None, tag("b", None, chart["title"]), " ", tag("span", None, chart.get("unit", "")))
    xs = [float(x) for x in chart["x"]]
    if not values or not xs:
        return tag("figure", {"class": "svg-chart"}, caption, tag("p", None, "no values yet"))
    values += [y for y, _ in levels if _is_shown(y, is_log)]
    if chart.get("low") is not None and not is_log:
        values.append(float(chart["low"]))
    low, high = _span(min(values), max(values), is_log)
    left, right = _span(min(xs), max(xs), False, padding=0.0)
    plot_w, plot_h = width_px - _LEFT_PX - _RIGHT_PX, height_px - _TOP_PX - _BOTTOM_PX

    def across(x: float) -> float:
        return round(_LEFT_PX + (x - left) / (right - left) * plot_w, 1)

    def down(y: float) -> float:
        share = (math.log10(y) - low) / (high - low) if is_log else (y - low) / (high - low)
        return round(_TOP_PX + (1 - min(max(share, 0.0), 1.0)) * plot_h, 1)

    bottom = _TOP_PX + plot_h
    parts = _axes(across, down, (left, right), (low, high), is_log, plot_w, bottom, x_label)
    for vertical in chart.get("verticals", ()):
        x = across(float(vertical["x"]))
        parts.append(_line(x, _TOP_PX, x, bottom, dash="4 3", opacity=0.8))
        is_late = x > _LEFT_PX + 0.8 * plot_w
        label = str(vertical.get("label", ""))
        parts.append(_text(x + (-4 if is_late else 4), _TOP_PX + 10, label, anchor="end" if is_late else "start"))
    for y, label in levels:
        parts.append(_line(_LEFT_PX, down(y), _LEFT_PX + plot_w, down(y), dash="5 4", opacity=0.8))
        parts.append(_text(_LEFT_PX + plot_w - 2, down(y) - 4, label, anchor="end"))
    for index, (_, ys) in enumerate(lines):
        parts += _curve(index, [(across(x), down(y)) if _is_shown(y, is_log) else None for x, y in zip(xs, ys)], dots)  # noqa: B905
    for mark in chart.get("marks", ()):
        x, y = across(float(mark["x"])), down(float(mark["y"]))
        parts.append(tag("circle", {"cx": x, "cy": y, "r": 4, "fill": "none", "stroke": "currentColor"}))
        parts.append(_text(x, y - 8, f"{mark.get('label', '')} {number(float(mark['y']))}".strip()))
    legend, legend_px = _legend([name for name, _ in lines], width_px, height_px) if len(lines) > 1 else ([], 0)
    drawing = tag(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width_px} {height_px + legend_px}",
            "width": "100%",
            "style": f"max-width:{width_px}px;display:block",
            "role": "img",
            "aria-label": f"{chart['title']} ({chart.get('unit', '')}) by {x_label}",
            "font-size": 11,
            "font-family": "system-ui, sans-serif",
        },
        parts,
        legend,
    )
    return tag("figure", {"class": "svg-chart", "style": "margin:0"}, caption, drawing)


def _axes(
    across: Callable[[float], float],
    down: Callable[[float], float],
    x_span: tuple[float, float],
    y_span: tuple[float, float],
    is_log: bool,
    plot_w: float,
    bottom: float,
    x_label: str,
) -> list[Markup]:
    parts = []
    for tick in ticks(*x_span, 6):
        parts.append(_line(across(tick), _TOP_PX, across(tick), bottom, opacity=0.13))
        parts.append(_text(across(tick), bottom + 15, number(tick)))
    for tick in decades(*y_span) if is_log else ticks(*y_span, 4):
        parts.append(_line(_LEFT_PX, down(tick), _LEFT_PX + plot_w, down(tick), opacity=0.13))
        parts.append(_text(_LEFT_PX - 6, down(tick) + 4, number(tick), anchor="end"))
    parts.append(_line(_LEFT_PX, bottom, _LEFT_PX + plot_w, bottom, opacity=0.6))
    parts.append(_line(_LEFT_PX, _TOP_PX, _LEFT_PX, bottom, opacity=0.6))
    parts.append(_text(_LEFT_PX + plot_w / 2, bottom + 32, x_label, opacity=0.75))
    return parts


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers from `low` to `high`."""
    rough = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = min((magnitude * factor for factor in (1, 2, 2.5, 5, 10)), key=lambda value: abs(value - rough))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def decades(low: float, high: float) -> list[float]:
    """Round numbers from 10**low to 10**high for a logarithmic axis: powers of ten, and 2 and 5 times these if few."""
    places = range(math.floor(low), math.ceil(high) + 1)
    for factors in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        found = [factor * 10.0**place for place in places for factor in factors]
        found = [tick for tick in found if low - 1e-9 <= math.log10(tick) <= high + 1e-9]
        if len(found) >= 3:
            return found[:: math.ceil(len(found) / 8)]
    return [10.0**low, 10.0**high]


def _span(low: float, high: float, is_log: bool, padding: float = 0.04) -> tuple[float, float]:
    """The limits of an axis, in decades if it is logarithmic; never empty."""
    if is_log:
        low, high = math.log10(low), math.log10(high)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        room = abs(low) * 0.1 or 1.0
        return low - room, high + room
    room = padding * (high - low)
    return low - (room if low != 0 else 0), high + room


def _is_shown(value: Any, is_log: bool) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return is_number and (value > 0 or not is_log)


def _curve(index: int, points: Sequence[tuple[float, float] | None], dots: bool) -> list[Markup]:
    """A line that is broken where a value is missing."""
    colour = COLOURS[index % len(COLOURS)]
    pieces: list[list[str]] = [[]]
    for point in points:
        if point is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{point[0]},{point[1]}")
    drawn = []
    for piece in pieces:
        if len(piece) > 1:
            dash = "6 4" if index >= len(COLOURS) else None
            shape = {"points": " ".join(piece), "fill": "none", "stroke": colour, "stroke-width": 1.8}
            drawn.append(tag("polyline", shape | {"stroke-linejoin": "round", "stroke-dasharray": dash}))
        if dots or len(piece) == 1:
            for x, y in (place.split(",") for place in piece):
                drawn.append(tag("circle", {"cx": x, "cy": y, "r": 2.6, "fill": colour}))
    return drawn


def _legend(names: Sequence[str], width_px: int, top_px: int) -> tuple[list[Markup], int]:
    """Names with their colours, in as many rows as they take, and the height of these."""
    parts: list[Markup] = []
    x, row = float(_LEFT_PX), 0
    for index, name in enumerate(names):
        shown = name if len(name) <= 40 else f"{name[:38]}…"
        taken = 22 + len(shown) * _CHARACTER_PX + 14
        if x + taken > width_px and x > _LEFT_PX:
            x, row = float(_LEFT_PX), row + 1
        y = top_px + row * _LEGEND_ROW_PX + 6
        colour, dash = COLOURS[index % len(COLOURS)], "6 4" if index >= len(COLOURS) else None
        parts.append(_line(x, y, x + 16, y, colour=colour, width=2.5, dash=dash))
        parts.append(_text(x + 21, y + 4, shown, anchor="start"))
        x += taken
    return parts, (row + 1) * _LEGEND_ROW_PX + 4


def _line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    *,
    colour: str = "currentColor",
    width: float = 1.0,
    opacity: float | None = None,
    dash: str | None = None,
) -> Markup:
    shape = {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "stroke": colour, "stroke-width": width}
    return tag("line", shape | {"stroke-opacity": opacity, "stroke-dasharray": dash})


def _text(x: float, y: float, text: str, *, anchor: str = "middle", opacity: float | None = None) -> Markup:
    place = {"x": round(x, 1), "y": round(y, 1), "text-anchor": anchor, "fill": "currentColor"}
    return tag("text", place | {"fill-opacity": opacity}, text)
