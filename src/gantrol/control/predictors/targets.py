"""What a reader learns: the labels of a dataset as columns of numbers.

A target is an attribute and how it is learnt: numbers (standardised), a direction (a unit vector), a choice (one class
of several) or an embedding (which images show the same individual). Which targets there are follows from the dataset's
schema; portraits of the built-in renderer have their own list, where the light is a direction and the named expressions
are one attribute.

N images · K numbers of a reading · T columns of the labels of all targets.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gantrol.control.predictors.protocol import Attribute
from gantrol.data.annotations import mirrored
from gantrol.errors import ConfigError, DataError, nearest

TargetKind = Literal["numbers", "direction", "choice", "embedding"]
Row = Mapping[str, Any]
Schema = Mapping[str, Mapping[str, Any]]

EMBEDDING_DIM = 64
MAX_CHOICES = 256
"""Texts with more different values are taken for names, not for choices."""

EXPRESSION = ("smile", "laugh", "sad", "surprised", "angry")
_LIGHT = ("light_azimuth", "light_elevation")
_PORTRAIT_LABELS = ("identity", "age", "yaw", "pitch", "roll", "hair_color", "hair_style", *EXPRESSION, *_LIGHT)
PORTRAIT_ATTRIBUTES = ("identity", "age", "yaw", "pitch", "roll", "light", "hair_color", "expression", "style")
"""What is read from the built-in portraits unless other names are given; `style` only where there are several."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One attribute of a reader."""

    name: str
    kind: TargetKind
    sources: tuple[str, ...]
    """Labels of the dataset that it is made of."""
    components: tuple[str, ...] = ()
    """Names of the K numbers of a reading; none for an embedding."""
    unit: str = ""
    """Of a reading."""
    help: str = ""
    """What it is, as the schema says."""
    low: tuple[float, ...] = ()
    """First percentile of the training data, K numbers."""
    high: tuple[float, ...] = ()
    """99th percentile."""
    mean: tuple[float, ...] = ()
    """Of the columns in the training data, from which they are standardised; numbers only."""
    deviation: tuple[float, ...] = ()
    spread: float = 1.0
    """What a distance is divided by: the standard deviation of numbers is in `deviation` already, so 1; for a direction
    the root mean square angle from the mean direction in degrees; for a choice the mean distance of two images."""

    @property
    def columns(self) -> int:
        """Columns among the labels: K, 3 for a direction, 1 for a choice or an embedding (an index)."""
        return {"numbers": len(self.components), "direction": 3}.get(self.kind, 1)

    @property
    def outputs(self) -> int:
        """Numbers that a network gives for it: K, 3, a logit for each choice, or an embedding."""
        return {"direction": 3, "embedding": EMBEDDING_DIM}.get(self.kind, len(self.components))

    @property
    def attribute(self) -> Attribute:
        """As the predictor protocol describes it."""
        return Attribute(unit=self.unit, components=self.components, low=self.low, high=self.high, help=self.help)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels of a dataset as columns; each target has its own few."""

    values: NDArray[np.float32]
    """[N, T]: numbers in their units, directions as unit vectors, choices and individuals as indices."""
    mirrored: NDArray[np.float32]
    """[N, T] of the left-right flipped images."""
    counts: NDArray[np.bool_]
    """[N, targets]: whether the label of a target can be seen in the image at all."""


def choose_targets(rows: Sequence[Row], schema: Schema, names: Iterable[str] | None = None) -> tuple[Target, ...]:
    """The targets that a dataset offers, with the statistics of its labels.

    Args:
        rows: labels of all images.
        schema: of the dataset; may be incomplete or empty: what a label is then follows from its values.
        names: attributes to learn; by default `PORTRAIT_ATTRIBUTES` for portraits, else every number, colour and choice
            that varies, and every seed that several images share.

    Raises:
        DataError: there are no labels, or none that varies.
        ConfigError: a name that the dataset does not have, or one that cannot be learnt.
    """
    if not rows or not rows[0]:
        raise DataError("the dataset has no attributes in dataset.json: nothing can be learnt from it")
    is_portrait = all(name in rows[0] for name in _PORTRAIT_LABELS)
    known = list(dict.fromkeys([*(PORTRAIT_ATTRIBUTES if is_portrait else ()), *rows[0]]))
    if names is not None:
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            if name not in known:
                raise ConfigError(f"the dataset has no attribute {name!r}; {nearest(name, known)}")
    else:
        wanted = list(PORTRAIT_ATTRIBUTES) if is_portrait else [name for name in known if name in rows[0]]
    targets = []
    for name in wanted:
        try:
            targets.append(_target(name, rows, schema, is_portrait))
        except ConfigError:
            if names is not None:
                raise
    if not targets:
        raise DataError("no attribute of the dataset varies: nothing can be learnt from it")
    return tuple(targets)


def encode_labels(targets: Sequence[Target], rows: Sequence[Row], schema: Schema) -> Labels:
    """The labels of `rows` as columns of the targets.

    Raises:
        DataError: an image lacks one of the labels, or has another kind of value there.
    """
    flipped = [mirrored(row, schema) for row in rows]
    values, others = ([_columns(target, side) for target in targets] for side in (rows, flipped))
    counts = [[target.sources != ("hair_color",) or shows_hair_color(row) for target in targets] for row in rows]
    return Labels(
        values=np.concatenate(values, axis=1),
        mirrored=np.concatenate(others, axis=1),
        counts=np.array(counts, dtype=bool).reshape(len(rows), len(targets)),
    )


def shows_hair_color(row: Row) -> bool:
    """Whether a portrait can show its label `hair_color`: some hair, no hat over it, and not most of it grey.

    The label is the colour without the grey, and a bald head's brows are no hair.
    """
    covered = row.get("hat", "none") not in ("none", "headband")
    return row.get("hair_style") != "bald" and not covered and row.get("grey", 0.0) <= 0.5


def direction(azimuth_degrees: NDArray[np.float64], elevation_degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors [N, 3] (x to the image's right, y up, z to the viewer) of angles [N]."""
    azimuth, elevation = np.radians(azimuth_degrees), np.radians(elevation_degrees)
    across = np.cos(elevation)
    return np.stack([np.sin(azimuth) * across, np.sin(elevation), np.cos(azimuth) * across], axis=1)


def _target(name: str, rows: Sequence[Row], schema: Schema, is_portrait: bool) -> Target:
    """The target `name` with statistics; ConfigError if it cannot be learnt from these rows."""
    if is_portrait and name == "light" and "light" not in rows[0]:
        return _direction_target(rows)
    if is_portrait and name == "expression" and "expression" not in rows[0]:
        help_ = "weights of the named expressions; none of them: neutral"
        return _numbers_target(name, EXPRESSION, EXPRESSION, "0-1", help_, rows)
    entry = schema.get(name, {})
    kind = entry.get("kind") or _guess_kind(rows[0].get(name))
    unit, help_ = str(entry.get("unit") or ""), str(entry.get("help") or "")
    if kind == "seed":
        return _embedding_target(name, help_, rows)
    if kind == "choice":
        return _choice_target(name, entry, rows)
    if kind == "color":
        return _numbers_target(name, ("r", "g", "b"), (name,), unit or "sRGB 0-1", help_, rows)
    if kind == "scalar":
        return _numbers_target(name, ("value",), (name,), unit, help_, rows)
    if kind == "vector":
        return _numbers_target(name, tuple(map(str, range(len(rows[0][name])))), (name,), unit, help_, rows)
    raise ConfigError(f"attribute {name!r} is neither a number, a colour, a choice nor a seed: it cannot be learnt")


def _guess_kind(value: Any) -> str:
    """What a label without a schema is, by its value."""
    if isinstance(value, str | bool):
        return "choice"
    if isinstance(value, int | float):
        return "scalar"
    return "vector" if isinstance(value, list) and value else "unknown"


def _numbers_target(
    name: str, components: tuple[str, ...], sources: tuple[str, ...], unit: str, help_: str, rows: Sequence[Row]
) -> Target:
    plain = Target(
        name=name,
        kind="numbers",
        sources=sources,
        components=components,
        unit=unit,
        help=help_,
        low=(0.0,) * len(components),
        high=(1.0,) * len(components),
    )
    seen = [row for row in rows if sources != ("hair_color",) or shows_hair_color(row)] or rows
    values = _columns(plain, seen).astype(np.float64)
    deviation = values.std(axis=0)
    if not (deviation > 1e-6).any():
        raise ConfigError(f"attribute {name!r} has the same value in every image: it cannot be learnt")
    low, high = np.percentile(values, [1, 99], axis=0)
    return Target(
        name=name,
        kind="numbers",
        sources=sources,
        components=components,
        unit=unit,
        help=help_,
        low=_rounded(low),
        high=_rounded(high),
        mean=_rounded(values.mean(axis=0)),
        deviation=_rounded(np.maximum(deviation, 1e-3 * deviation.max())),
    )


def _direction_target(rows: Sequence[Row]) -> Target:
    angles = np.array([[float(row[name]) for name in _LIGHT] for row in rows])
    vectors = direction(angles[:, 0], angles[:, 1])
    middle = vectors.mean(axis=0)
    cosine = np.clip(vectors @ (middle / max(float(np.linalg.norm(middle)), 1e-9)), -1, 1)
    spread = float(np.sqrt((np.degrees(np.arccos(cosine)) ** 2).mean()))
    if spread < 1e-3:
        raise ConfigError("attribute 'light' has the same value in every image: it cannot be learnt")
    low, high = np.percentile(angles, [1, 99], axis=0)
    return Target(
        name="light",
        kind="direction",
        sources=_LIGHT,
        components=("azimuth", "elevation"),
        unit="degrees",
        help="where the key light stands: azimuth > 0 at the image's right, elevation > 0 above",
        low=_rounded(low),
        high=_rounded(high),
        spread=round(spread, 4),
    )


def _choice_target(name: str, entry: Mapping[str, Any], rows: Sequence[Row]) -> Target:
    found = Counter(str(row.get(name)) for row in rows)
    if not 2 <= len(found) <= MAX_CHOICES:
        raise ConfigError(f"attribute {name!r} has {len(found)} different values: 2 to {MAX_CHOICES} can be learnt")
    order = [str(choice) for choice in entry.get("choices") or ()]
    choices = tuple([choice for choice in order if choice in found] + sorted(set(found) - set(order)))
    return Target(
        name=name,
        kind="choice",
        sources=(name,),
        components=choices,
        unit="probability",
        help=str(entry.get("help") or ""),
        low=(0.0,) * len(choices),
        high=(1.0,) * len(choices),
        spread=round(1 - sum((count / len(rows)) ** 2 for count in found.values()), 6),
    )


def _embedding_target(name: str, help_: str, rows: Sequence[Row]) -> Target:
    found = Counter(row.get(name) for row in rows)
    shared = sum(count for count in found.values() if count > 1)
    if len(found) < 2 or shared < len(rows) / 2:
        raise ConfigError(
            f"attribute {name!r}: most of its values are in one image only; learning it takes several images of each "
            "(gantrol data faces --per-identity 4)"
        )
    return Target(name=name, kind="embedding", sources=(name,), help=help_)


def _columns(target: Target, rows: Sequence[Row]) -> NDArray[np.float32]:
    """The label columns [N, columns] of one target."""
    try:
        if target.kind == "choice":
            index = {choice: number for number, choice in enumerate(target.components)}
            # a choice that never occurred in training counts as none
            values = np.array([[index.get(str(row[target.sources[0]]), -1)] for row in rows], dtype=np.float64)
        elif target.kind == "embedding":
            order: dict[Any, int] = {}
            values = np.array(
                [[order.setdefault(row[target.sources[0]], len(order))] for row in rows], dtype=np.float64
            )
        else:
            values = np.array([_flat(row, target.sources) for row in rows], dtype=np.float64)
            if target.kind == "direction":
                values = direction(values[:, 0], values[:, 1])
        if values.shape != (len(rows), target.columns) or not np.isfinite(values).all():
            raise ValueError
    except KeyError as error:
        raise DataError(f"an image has no label {error}, which {target.name!r} is made of") from error
    except (TypeError, ValueError) as error:
        raise DataError(
            f"attribute {target.name!r}: an image has other values than {target.columns} finite numbers"
        ) from error
    return values.astype(np.float32)


def _flat(row: Row, sources: Sequence[str]) -> list[float]:
    """The numbers of some labels in a row."""
    numbers: list[float] = []
    for source in sources:
        value = row[source]
        numbers += [float(part) for part in value] if isinstance(value, list) else [float(value)]
    return numbers


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Numbers to six significant digits, as they are stored."""
    return tuple(float(f"{value:.6g}") if math.isfinite(value) else 0.0 for value in values)
