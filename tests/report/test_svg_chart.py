"""Charts and tables that need no script: well-formed, escaped, and true to their numbers."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from gantrol.report.svg_chart import decades, svg_chart, ticks
from gantrol.report.value_table import heat_table, value_table

HOSTILE = "</svg><script>alert(1)</script>\"'&"


def tree(markup: str) -> ET.Element:
    return ET.fromstring(f"<x>{re.sub('<br>', '<br/>', markup)}</x>")


def test_points_lie_where_the_axes_say() -> None:
    made = tree(svg_chart({"title": "t", "unit": "u", "x": [0, 1, 2], "lines": [{"name": "a", "y": [0.0, 5.0, 10.0]}]}))
    line = next(element for element in made.iter() if element.tag.endswith("polyline"))
    points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    xs, ys = zip(*points, strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert ys[0] > ys[2]
    labels = [element.text for element in made.iter() if element.tag.endswith("text")]
    assert {"0", "2.5", "5", "7.5", "10", "kimg"} <= set(labels)


def test_gaps_break_lines_and_nothing_at_all_says_so() -> None:
    broken = svg_chart({"title": "t", "x": [0, 1, 2, 3], "lines": [{"name": "a", "y": [1.0, None, math.nan, 2.0]}]})
    assert broken.count("<polyline") == 0
    assert broken.count("<circle") == 2
    assert "no values yet" in svg_chart({"title": "t", "x": [0], "lines": [{"name": "a", "y": [None]}]})
    assert "no values yet" in svg_chart({"title": "t", "x": [], "lines": []})
    flat = svg_chart({"title": "t", "x": [0, 1], "lines": [{"name": "a", "y": [3.0, 3.0]}]})
    assert "nan" not in flat
    log = svg_chart({"title": "t", "x": [0, 1], "log": True, "lines": [{"name": "a", "y": [0.0, 100.0]}]})
    assert "<circle" in log


def test_names_cannot_break_out() -> None:
    chart = {
        "title": HOSTILE, "unit": HOSTILE, "x": [0, 1],
        "lines": [{"name": HOSTILE, "y": [1, 2]}, {"name": "b", "y": [2, 1]}],
        "marks": [{"x": 0, "y": 1, "label": HOSTILE}], "levels": [{"y": 1, "label": HOSTILE}],
        "verticals": [{"x": 1, "label": HOSTILE}],
    }  # fmt: skip
    made = svg_chart(chart, x_label=HOSTILE, dots=True)
    assert "<script" not in made
    tree(made)
    assert "<script" not in value_table([HOSTILE], [[HOSTILE]], [HOSTILE])
    assert "<script" not in heat_table({HOSTILE: {HOSTILE: 1.0}}, corner=HOSTILE)


def test_ticks_are_round_and_within() -> None:
    assert ticks(0, 10, 4) == [0, 2.5, 5, 7.5, 10]
    assert ticks(-1, 1, 4) == [-1, -0.5, 0, 0.5, 1]
    assert decades(0, 3) == [1, 10, 100, 1000]
    assert decades(math.log10(2), math.log10(20)) == [2, 5, 10, 20]
    assert len(decades(-30, 30)) <= 8


def test_heat_tables_frame_their_own_and_leave_gaps() -> None:
    made = heat_table({"a": {"x": 0.0, "y": 2.0}, "b": {"y": math.nan}}, own={"a": "x"})
    assert made.count("outline:2px") == 1
    assert made.count("–") == 2
    assert "rgb(255,255,255)" in made
    assert "rgb(124,32,122)" in made
    tree(made)
    tree(value_table(["a", "b"], [["1", "2"]], ["", "px"]))
