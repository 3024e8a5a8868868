"""The data card of a dataset: where it comes from, what its attributes range over, and which of them go together.

What goes together in the data, a model learns as one; so the card lists every pair of attributes whose association is
more than chance. The association of two attributes is the largest absolute correlation between any of their columns: a
number is one column, a colour three, a choice one 0/1 column per value; seeds have no order and are left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gantrol.data.dataset import ImageDataset
from gantrol.data.images import describe
from gantrol.errors import DataError

_CHANCE = 4.5
"""Standard errors: below, a correlation is put down to chance (thousands of column pairs are looked at)."""
_MAX_CHOICES = 32


def data_card(dataset: ImageDataset) -> str:
    """The card as Markdown. Raises DataError: the dataset has no attributes."""
    rows = [dataset.attributes(index) for index in range(len(dataset.names))]
    if not rows[0]:
        raise DataError(f"{dataset.path}: has no attributes, so there is nothing to describe")
    names = [name for name in rows[0] if all(name in row for row in rows)]
    shape = describe(dataset.resolution_px, dataset.channels)
    lines = [f"# Data card: {dataset.name}", "", f"{len(rows)} images, {shape}.", ""]
    lines += [f"- {key}: `{json.dumps(value, ensure_ascii=False)}`" for key, value in dataset.meta.items()]
    lines += ["", "## Attributes", "", "| attribute | unit | values | drawn |", "| --- | --- | --- | --- |"]
    for name in names:
        schema = dataset.schema.get(name, {})
        values = _describe([row[name] for row in rows])
        lines.append(f"| `{name}` | {schema.get('unit', '')} | {values} | {drawn(schema)} |")
    lines += ["", "## What goes together", ""]
    pairs = associations(rows, names, dataset.schema)
    if pairs:
        lines += ["| attribute | with | correlation |", "| --- | --- | --- |"]
        lines += [f"| `{a}` | `{b}` | {r:.2f} |" for a, b, r in pairs]
        lines += ["", "All other pairs are within chance."]
    else:
        lines += ["No pair of attributes is associated by more than chance."]
    return "\n".join(lines) + "\n"


def drawn(schema: Mapping[str, Any]) -> str:
    """How an attribute is drawn, in words."""
    words = ["with the identity"] if schema.get("of_identity") else []
    words += [f"depends on {schema['depends']}"] if schema.get("depends") else []
    return "; ".join(words) or "independently"


def _describe(values: Sequence[Any]) -> str:
    if isinstance(values[0], list):
        table = np.array(values, dtype=np.float64)
        return f"mean {_list(table.mean(0))}, sd {_list(table.std(0))}"
    if isinstance(values[0], str):
        counts = Counter(values).most_common()
        shown = ", ".join(f"{value} {count / len(values):.1%}" for value, count in counts[:_MAX_CHOICES])
        return shown + (", …" if len(counts) > _MAX_CHOICES else "")
    numbers = np.array(values, dtype=np.float64)
    if all(isinstance(value, int) for value in values):
        return f"{len(set(values))} different, {min(values)} to {max(values)}"
    zero = (numbers == 0).mean()
    some = f", 0 in {zero:.0%}" if zero > 0.02 else ""
    return f"{numbers.min():.3g} to {numbers.max():.3g}, mean {numbers.mean():.3g}, sd {numbers.std():.3g}{some}"


def _list(values: np.ndarray) -> str:
    return ",".join(f"{value:.2f}" for value in values)


def associations(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], schema: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, str, float]]:
    """(attribute, attribute, association) of the pairs above chance, strongest first."""
    columns: list[np.ndarray] = []
    owners: list[int] = []
    for place, name in enumerate(names):
        if schema.get(name, {}).get("kind") == "seed":
            continue
        for column in _columns([row[name] for row in rows]):
            if column.std() > 1e-9:
                columns.append((column - column.mean()) / column.std())
                owners.append(place)
    if len(columns) < 2:
        return []
    table = np.stack(columns)
    strength = abs(table @ table.T) / len(rows)
    best: dict[tuple[int, int], float] = {}
    for i, j in zip(*np.nonzero(strength > _CHANCE / np.sqrt(len(rows))), strict=True):
        pair = owners[i], owners[j]
        if pair[0] < pair[1]:
            best[pair] = max(best.get(pair, 0.0), float(strength[i, j]))
    ordered = sorted(best.items(), key=lambda item: -item[1])
    return [(names[a], names[b], value) for (a, b), value in ordered]


def _columns(values: Sequence[Any]) -> list[np.ndarray]:
    if isinstance(values[0], str):
        kinds = [value for value, _ in Counter(values).most_common(_MAX_CHOICES)]
        return [np.array([value == kind for value in values], dtype=np.float64) for kind in kinds]
    table = np.array(values, dtype=np.float64)
    return list(table.T) if table.ndim == 2 else [table]
