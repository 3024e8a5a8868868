"""Frozen dataclasses as configuration: to and from plain JSON objects, and `field.subfield=value` overrides.

A config is checked when it is constructed (`__post_init__` raises `ConfigError`); this file only converts. Values are
coerced to the annotated types: bool, int, float, str, tuples of them, nested dataclasses, `X | None`, and unions of
config classes, which are told apart by their class variable `kind`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from gantrol.errors import ConfigError, nearest

C = TypeVar("C")


def to_dict(config: Any) -> dict[str, Any]:
    """A config as a JSON-ready object; classes with a `kind` carry it as their first key."""
    result: dict[str, Any] = {"kind": config.kind} if hasattr(config, "kind") else {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            value = to_dict(value)
        elif isinstance(value, tuple):
            value = list(value)
        result[field.name] = value
    return result


def from_dict(cls: type[C], data: Mapping[str, Any], *, where: str = "") -> C:
    """The config of class `cls` described by `data`.

    Raises:
        ConfigError: a field is unknown (the nearest names are given), or a value has the wrong type.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where or cls.__name__}: expected an object with fields, found {data!r}")
    hints = get_type_hints(cls)
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in data.items():
        if name == "kind" and "kind" not in known:
            continue
        if name not in known:
            raise ConfigError(f"there is no field {_join(where, name)!r}; {nearest(name, known)}")
        values[name] = _coerce(hints[name], value, _join(where, name))
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{where or cls.__name__}: {error}") from error


def override(config: C, assignments: Sequence[str]) -> C:
    """`config` with `field.subfield=value` assignments applied; values are JSON, or else plain text.

    Raises:
        ConfigError: an assignment has no `=`, names an unknown field, or its value does not fit.
    """
    data = to_dict(config)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"expected field=value, found {assignment!r}")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = {"none": None, "true": True, "false": False}.get(text.lower(), text)
        node = data
        *parents, last = path.split(".")
        for depth, name in enumerate([*parents, last]):
            here = ".".join([*parents, last][: depth + 1])
            if not isinstance(node, dict):
                raise ConfigError(f"{here.rpartition('.')[0]!r} has no fields, so there is no {here!r}")
            if name not in node or name == "kind":
                known = [key for key in node if key != "kind"]
                raise ConfigError(f"there is no config field {here!r}; {nearest(name, known)}")
            if depth < len(parents):
                node = node[name]
        node[last] = value
    return from_dict(type(config), data)


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _coerce(hint: Any, value: Any, where: str) -> Any:
    """`value` as the annotated type `hint`, or a ConfigError that says what was expected."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        options = get_args(hint)
        if value is None and type(None) in options:
            return None
        options = tuple(option for option in options if option is not type(None))
        if all(dataclasses.is_dataclass(option) for option in options) and len(options) > 1:
            by_kind = {option.kind: option for option in options}
            kind = value.get("kind") if isinstance(value, Mapping) else None
            if kind not in by_kind:
                raise ConfigError(f"{where}: unknown kind {kind!r}; {nearest(str(kind), by_kind)}")
            return from_dict(by_kind[kind], value, where=where)
        errors = []
        for option in options:
            try:
                return _coerce(option, value, where)
            except ConfigError as error:
                errors.append(str(error))
        raise ConfigError(errors[0])
    if origin is typing.Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{where}={value!r}: expected one of {', '.join(map(str, get_args(hint)))}")
        return value
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where=where)
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ConfigError(f"{where}={value!r}: expected a list, for example [1, 2]")
        inner = get_args(hint)
        kinds = [inner[0]] * len(value) if len(inner) == 2 and inner[1] is Ellipsis else list(inner)
        if len(kinds) != len(value):
            raise ConfigError(f"{where}={value!r}: expected {len(kinds)} values")
        return tuple(_coerce(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ConfigError(f"{where}={value}: expected a finite number")
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{where}={value!r}: expected {getattr(hint, '__name__', hint)}")
