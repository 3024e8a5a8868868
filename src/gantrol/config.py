"""Frozen dataclasses as configuration: to and from plain JSON objects, and `field.subfield=value` overrides.

A config is checked when it is constructed (`__post_init__` raises `ConfigError`); this file only converts. Values are
coerced to the annotated types: bool, int, float, str, nested dataclasses, tuples of any of these, `X | None`, and
unions of config classes, which are told apart by their class variable `kind`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from gantrol.errors import ConfigError, in_brief, nearest

C = TypeVar("C")

_MAX_INT = 2**63 - 1


def to_dict(config: Any) -> dict[str, Any]:
    """A config as a JSON-ready object; classes with a `kind` carry it as their first key."""
    result: dict[str, Any] = {"kind": config.kind} if hasattr(config, "kind") else {}
    for field in dataclasses.fields(config):
        result[field.name] = _plain(getattr(config, field.name))
    return result


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def from_dict(cls: type[C], data: Mapping[str, Any], *, where: str = "") -> C:
    """The config of class `cls` described by `data`.

    Raises:
        ConfigError: a field is unknown (the nearest names are given), or a value has the wrong type.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where or cls.__name__}: expected an object with fields, found {in_brief(data)}")
    hints = get_type_hints(cls)
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in data.items():
        if name == "kind" and "kind" not in known:
            continue
        if name not in known:
            raise ConfigError(f"there is no field {in_brief(_join(where, name))}; {nearest(name, known)}")
        values[name] = _coerce(hints[name], value, _join(where, name))
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{where or cls.__name__}: {error}") from error


def override(config: C, assignments: Sequence[str]) -> C:
    """`config` with `field.subfield=value` assignments applied; values are JSON, or else plain text.

    The items of a tuple are named by their number: `stages.0.depth=3`.

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
        node: Any = data
        *parents, last = path.split(".")
        for depth, name in enumerate([*parents, last]):
            here = ".".join([*parents, last][: depth + 1])
            if isinstance(node, list):
                if not name.isdecimal() or int(name) >= len(node):
                    items = f"the items are numbered 0 to {len(node) - 1}" if node else "the list is empty"
                    raise ConfigError(f"there is no config field {here!r}; {items}")
            elif not isinstance(node, dict):
                raise ConfigError(f"{here.rpartition('.')[0]!r} has no fields, so there is no {here!r}")
            elif name not in node or name == "kind":
                known = [key for key in node if key != "kind"]
                raise ConfigError(f"there is no config field {here!r}; {nearest(name, known)}")
            key = int(name) if isinstance(node, list) else name
            if depth < len(parents):
                node = node[key]
            else:
                node[key] = value
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
                raise ConfigError(f"{where}: unknown kind {in_brief(kind)}; {nearest(str(kind), by_kind)}")
            return from_dict(by_kind[kind], value, where=where)
        errors = []
        for option in options:
            try:
                return _coerce(option, value, where)
            except ConfigError as error:
                errors.append(str(error))
        raise ConfigError(errors[0])
    if origin is typing.Literal:
        if value is None and "none" in get_args(hint):
            return "none"  # what `override` makes of `field=none`
        if value not in get_args(hint):
            raise ConfigError(f"{where}={in_brief(value)}: expected one of {', '.join(map(str, get_args(hint)))}")
        return value
    if hint is str and value is None:
        return "none"  # the same
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where=where)
    if origin is tuple:
        if isinstance(value, str) and get_args(hint) == (str, Ellipsis):
            value = [item.strip() for item in value.split(",") if item.strip()]  # metrics=fid,kid
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ConfigError(f"{where}={in_brief(value)}: expected a list, for example [1, 2]")
        inner = get_args(hint)
        kinds = [inner[0]] * len(value) if len(inner) == 2 and inner[1] is Ellipsis else list(inner)
        if len(kinds) != len(value):
            raise ConfigError(f"{where}={in_brief(value)}: expected {len(kinds)} values")
        # Numbers are told apart by the whole list; objects need their place in it.
        places = [f"{where}.{i}" if isinstance(item, Mapping) else where for i, item in enumerate(value)]
        return tuple(_coerce(*item) for item in zip(kinds, value, places, strict=True))
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ConfigError(f"{where}={value}: expected a finite number")
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if hint is int and isinstance(value, int) and abs(value) > _MAX_INT:
        raise ConfigError(f"{where}={in_brief(value)}: expected a whole number of at most 63 bits")
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{where}={in_brief(value)}: expected {getattr(hint, '__name__', hint)}")
