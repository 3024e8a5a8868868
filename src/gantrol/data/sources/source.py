"""What an import asks of a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gantrol.data.annotations import Annotations, Label
from gantrol.data.zipstore import Store
from gantrol.errors import DataError, nearest


@dataclass(frozen=True, kw_only=True)
class Source:
    """Images that can be read by name, and what is known about them."""

    store: Store
    """Reads the encoded images."""
    names: tuple[str, ...]
    """The images, in the order of the dataset to be made."""
    annotations: Annotations = field(default_factory=Annotations)
    """Labels and attributes by name."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of their indices."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a published dataset."""

    names: tuple[str, ...]
    """Its images."""
    labels: Mapping[str, Label] | None = None
    """Their labels; None if it has none."""


def choose_parts(parts: Mapping[str, Part], split: str | None, default: str, where: str) -> tuple[Part, ...]:
    """The parts that `--split` asks for: one by its name, or `all`.

    Raises:
        DataError: there is no such part.
    """
    wanted = split or default
    if wanted == "all":
        return tuple(parts.values())
    if wanted not in parts:
        raise DataError(f"{where}: has no split {wanted!r}; {nearest(wanted, [*parts, 'all'])}")
    return (parts[wanted],)


def joined(store: Store, parts: tuple[Part, ...], classes: tuple[str, ...] = ()) -> Source:
    """One source of several parts; it has labels only if all of them have."""
    names = tuple(name for part in parts for name in part.names)
    has_labels = all(part.labels is not None for part in parts)
    labels = {name: label for part in parts for name, label in (part.labels or {}).items()} if has_labels else None
    return Source(
        store=store, names=names, annotations=Annotations(labels=labels), classes=classes if has_labels else ()
    )
