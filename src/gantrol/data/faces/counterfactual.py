"""Rows from other rows: the same picture with something changed, and strips in which one attribute runs its course."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gantrol.data.dataset import ImageDataset
from gantrol.data.faces.attributes import Row
from gantrol.data.faces.labels import ATTRIBUTES, check_row, complete_row, like_row
from gantrol.errors import ConfigError, DataError, GantrolError, nearest

_HUES = {  # colours that an attribute runs through unless it is told from where to where
    "hair_color": ("#120f0e", "#3a2a20", "#6a4c34", "#b08a58", "#d6b884", "#86401e", "#96203c", "#324696"),
    "eye_color": ("#2e1c10", "#543418", "#78542a", "#686c3c", "#56785f", "#5c82a0", "#788c98"),
}
_WHEEL = ("#8c2f2f", "#8c6a2f", "#6d8c2f", "#2f8c55", "#2f7f8c", "#2f3f8c", "#6a2f8c", "#777777")


def read_rows(source: str) -> tuple[list[Row], int | None]:
    """Label rows that a user points to, and the size in pixels that they were rendered at, where it is known.

    `source`: a dataset zip of portraits (all its rows), such a zip and an image number (`faces.zip:12`), a JSON file
    with a row or a list of rows, or the JSON text of a row. Rows that lack attributes get their defaults.

    Raises:
        DataError: nothing is there, or it holds no label rows.
        ConfigError: a row has an unknown attribute or a value out of range.
    """
    if source.lstrip().startswith("{"):
        return [_from_json(source, "--like")], None
    path, number = Path(source), None
    if not path.exists() and source.rpartition(":")[2].isdecimal():
        path, number = Path(source.rpartition(":")[0]), int(source.rpartition(":")[2])
    if path.suffix == ".json" and path.is_file():
        content = _parsed(path.read_text(encoding="utf-8"), str(path))
        rows = content if isinstance(content, list) else [content]
        return [_checked(row, str(path)) for row in rows], None
    dataset = ImageDataset(path)
    if number is not None and number >= len(dataset):
        raise DataError(f"{path}: has no image {number}, its last is {len(dataset) - 1}")
    chosen = range(len(dataset)) if number is None else [number]
    rows = [_checked(dataset.attributes(index), f"{path}: image {index}") for index in chosen]
    return rows, dataset.resolution_px


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: is not valid JSON ({error})") from error


def _from_json(text: str, where: str) -> Row:
    return _checked(_parsed(text, where), where)


def _checked(row: Any, where: str) -> Row:
    if not isinstance(row, Mapping) or not row:
        raise DataError(f"{where}: has no label row of a portrait (an object of attributes)")
    try:
        return complete_row(row)
    except GantrolError as error:
        raise ConfigError(f"{where}: {error}") from error


def changed_rows(rows: Sequence[Row], changes: Mapping[str, Any]) -> list[Row]:
    """The counterfactual of each row: see `labels.like_row`."""
    return [like_row(row, changes) for row in rows]


def parse_sweep(text: str) -> tuple[str, Any, Any]:
    """Reads `yaw`, `yaw=-40:40` or `hair_color=0,0,0:1,0.8,0.4`: (attribute, from, to); None: its whole range."""
    name, equals, span = text.partition("=")
    if name not in ATTRIBUTES:
        raise ConfigError(f"--sweep {text!r}: unknown attribute {name!r}; {nearest(name, ATTRIBUTES)}")
    if not equals:
        return name, None, None
    attribute = ATTRIBUTES[name]
    first, colon, last = span.partition(":")
    if not colon or attribute.kind == "choice":
        form = f"{name} alone: it runs through its choices" if attribute.kind == "choice" else f"{name}=FROM:TO"
        raise ConfigError(f"--sweep {text!r} must be written {form}")
    try:
        ends = [[float(part) for part in end.split(",")] for end in (first, last)]
    except ValueError:
        raise ConfigError(f"--sweep {text!r}: {span!r} is not FROM:TO in numbers") from None
    low, high = (end if attribute.kind == "color" else end[0] for end in ends)
    return name, attribute.check(low), attribute.check(high)


def sweep_values(name: str, low: Any = None, high: Any = None, steps: int = 7) -> list[Any]:
    """The values that an attribute takes in a sweep: `steps` from low to high, or all of its choices."""
    if steps < 2:
        raise ConfigError(f"steps {steps} is impossible: a sweep has at least 2")
    attribute = ATTRIBUTES[name]
    if attribute.kind == "choice":
        return list(attribute.choices)
    if low is None and attribute.kind == "color":
        colors = _HUES.get(name, _WHEEL)
        return [[round(int(color[i : i + 2], 16) / 255, 3) for i in (1, 3, 5)] for color in colors]
    if attribute.kind == "seed":
        first = 0 if low is None else int(low)
        return list(range(first, first + steps)) if high is None else [int(v) for v in np.linspace(low, high, steps)]
    start, end = (attribute.low, attribute.high) if low is None else (low, high)
    values = np.linspace(np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64), steps)
    return [np.round(value, 4).tolist() for value in values]


def swept_rows(row: Row, name: str, values: Sequence[Any]) -> list[Row]:
    """The row with one attribute set to each of the values, everything else equal."""
    full = complete_row(row)
    return [full | check_row({name: value}) for value in values]
