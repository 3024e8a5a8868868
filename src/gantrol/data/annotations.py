"""dataset.json: labels and attributes of the images, checked against the images that are there."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from gantrol.data.zipstore import Store
from gantrol.errors import DataError

FILE_NAME = "dataset.json"
MAX_CLASSES = 2**16
"""Larger class indices are taken for a mistake (image numbers as labels), not for classes."""

T = TypeVar("T")
Label = int | list[float]


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """The content of dataset.json, by image name."""

    labels: Mapping[str, Label] | None = None
    attributes: Mapping[str, dict[str, Any]] | None = None
    schema: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label_kind(self) -> str:
        """ "none", "class" or "vector"."""
        if not self.labels:
            return "none"
        return "vector" if isinstance(next(iter(self.labels.values())), list) else "class"

    @functools.cached_property
    def label_dim(self) -> int:
        """Length of a label as a vector: the largest class index plus one, or that of the vectors."""
        if not self.labels:
            return 0
        return max(len(value) if isinstance(value, list) else value + 1 for value in self.labels.values())

    def label(self, name: str) -> np.ndarray:
        """float32 [label_dim]; class indices are one-hot."""
        if not self.labels:
            return np.zeros(0, dtype=np.float32)
        value = self.labels[name]
        if isinstance(value, list):
            return np.array(value, dtype=np.float32)
        one_hot = np.zeros(self.label_dim, dtype=np.float32)
        one_hot[value] = 1
        return one_hot


def read_annotations(store: Store, image_names: Sequence[str]) -> Annotations:
    """The annotations in `store`, empty if it holds no dataset.json.

    Raises:
        DataError: the file is not valid, or its images and those of `image_names` are not the same.
    """
    if FILE_NAME not in store.names:
        return Annotations()
    where = f"{store.path}: {FILE_NAME}"
    try:
        content = json.loads(bytes(store.read(FILE_NAME)))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: is not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{where}: expected an object with `labels`")
    objects = {}
    for key in ("schema", "meta"):
        objects[key] = content.get(key) or {}
        if not isinstance(objects[key], dict):
            raise DataError(f"{where}: {key} is no object")
    for attribute, entry in objects["schema"].items():
        if not isinstance(entry, dict):
            raise DataError(f"{where}: schema of {attribute!r} is no object")
    labels: dict[str, Label] | None = _rows(content.get("labels"), "labels", image_names, where, _label)
    if labels is not None:
        check_one_kind(labels, where)
    return Annotations(
        labels=labels,
        attributes=_rows(content.get("attributes"), "attributes", image_names, where, _attributes),
        **objects,
    )


def mirrored(attributes: Mapping[str, Any], schema: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The attributes of an image after a left-right flip, by the `mirror` entries of the schema."""
    result = dict(attributes)
    for name, value in attributes.items():
        mirror = schema.get(name, {}).get("mirror")
        if isinstance(mirror, str):
            if mirror in attributes:
                result[name] = attributes[mirror]
        elif isinstance(mirror, list):
            result[name] = [factor * item for factor, item in zip(mirror, value, strict=True)]
        elif _is_finite_number(mirror):
            result[name] = [mirror * item for item in value] if isinstance(value, list) else mirror * value
    return result


def summarize(rows: Iterable[Mapping[str, Any]], schema: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the attributes of a dataset look like: ranges of numbers, counts of texts.

    Lists are summarised per element (`light[0]`) and objects per key (`expression.smile`).

    Returns:
        For each attribute {"images", "min", "mean", "max"} or {"images", "values": {text: count}}, with the
        `unit` of the schema where it has one.
    """
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in _flat("", row):
            columns.setdefault(name, []).append(value)
    result: dict[str, Any] = {}
    for name, values in columns.items():
        summary: dict[str, Any] = {"images": len(values)}
        if all(_is_finite_number(value) for value in values):
            summary |= {"min": min(values), "mean": float(np.mean(values)), "max": max(values)}
        else:
            summary["values"] = dict(Counter(str(value) for value in values).most_common())
        unit = schema.get(re.split(r"[.\[]", name)[0], {}).get("unit")
        result[name] = summary | ({"unit": unit} if unit else {})
    return result


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(f"{name}.{key}" if name else key, item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _flat(f"{name}[{index}]", item)
    else:
        yield name, value


def _rows(
    rows: Any, key: str, image_names: Sequence[str], where: str, convert: Callable[[Any], T | None]
) -> dict[str, T] | None:
    """`[[name, value], …]` as a dict; every image must have exactly one row."""
    if rows is None or rows == []:
        return None
    if not isinstance(rows, list):
        raise DataError(f"{where}: {key} is no list of [name, value]")
    known = set(image_names)
    values: dict[str, T] = {}
    for row in rows:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)):
            raise DataError(f"{where}: {key}: expected [name, value], found {_short(row)}")
        name = row[0].replace("\\", "/")
        if name not in known:
            raise DataError(f"{where}: {key} name {name}, but there is no such image")
        if name in values:
            raise DataError(f"{where}: {key} name {name} twice")
        value = convert(row[1])
        if value is None:
            raise DataError(f"{where}: {key} of {name}: cannot be {_short(row[1])}")
        values[name] = value
    if len(values) < len(known):
        missing = next(name for name in image_names if name not in values)
        raise DataError(
            f"{where}: {key} of {len(known) - len(values)} of {len(known)} images are missing, the first {missing}"
        )
    return values


def _label(value: Any) -> Label | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, list) and value and all(_is_finite_number(item) for item in value):
        return [float(item) for item in value]
    return None


def _attributes(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _is_finite_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max  # false for NaN; true integers of any length may come


def check_one_kind(labels: Mapping[str, Label], where: str) -> None:
    """Raises DataError unless all labels are classes, of a plausible number, or all are vectors of one length."""
    kinds = {name: f"a vector of {len(v)}" if isinstance(v, list) else "a class" for name, v in labels.items()}
    first, expected = next(iter(kinds.items()))
    for name, kind in kinds.items():
        if kind != expected:
            raise DataError(f"{where}: labels mix kinds: {first} has {expected}, {name} has {kind}")
    for name, value in labels.items():
        if isinstance(value, int) and value >= MAX_CLASSES:
            raise DataError(f"{where}: {name} is of class {value}, beyond the {MAX_CLASSES} that can be")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"
