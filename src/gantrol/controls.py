"""Controls: what a controllable model takes by value, and which values make sense.

`Model.controls` maps a name to one of these; it is empty for a model that was not made controllable. A value is written
in the way that is easiest at hand:

    age=60                          a number
    hair_color=(0.8, 0.3, 0.1)      several numbers
    expression={"smile": 0.8}       some of the named ones; the others get their default
    expression="smile:0.8,angry:0.2"    the same as text; "smile" alone is as much of it as there is
    smile=0.8                       a named one by itself
    identity=7                      a seed
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gantrol.errors import ConfigError, nearest

Value = float | tuple[float, ...]
"""A number, or several where one attribute takes several: r,g,b of a colour, azimuth and elevation of a light."""

_MAX_SEED = 2**32 - 1

_ROUNDING = 1e-6  # what a value may be outside, as a share of the range, without a word


class ControlWarning(UserWarning):
    """A value lies outside the range of its control, and the nearest one is taken instead."""


@dataclass(frozen=True)
class Control:
    """An attribute that a controllable model takes by value: one number, a fixed count of them, or a seed.

    Raises:
        ConfigError: the limits, the default and the components do not fit together.
    """

    unit: str
    """What the value is measured in, for example "degrees"."""
    low: Value
    """The lowest value that makes sense: where the control was fitted, the lowest seen."""
    high: Value
    """The highest value that makes sense."""
    default: Value
    """A typical value, from which a slider starts. An attribute that is not set follows from the image's seed."""
    help: str
    """What the control does, and which direction is positive."""
    components: tuple[str, ...] = ()
    """Names of the numbers, where they have names: smile, laugh, … of an expression."""
    kind: Literal["value", "seed"] = "value"
    """`seed`: the value is a seed, and the attribute becomes that of the image with this seed."""
    is_implicit: bool = False
    """Found in a generator that was not trained for control: more of it may change besides the attribute."""
    part_of: str = ""
    """The control of which this is one component; empty: it stands for itself."""

    def __post_init__(self) -> None:
        low, high, default = (_numbers(value) for value in (self.low, self.high, self.default))
        if low is None or high is None or default is None or not len(low) == len(high) == len(default) > 0:
            raise ConfigError(
                f"control: low={self.low!r}, high={self.high!r} and default={self.default!r} must be finite numbers, "
                "equally many of each"
            )
        if not all(a <= b <= c and a < c for a, b, c in zip(low, default, high, strict=True)):
            raise ConfigError(f"control: expected low ≤ default ≤ high, found {self.low}, {self.default}, {self.high}")
        if self.components and (len(self.components) != len(low) or len(set(self.components)) != len(low)):
            raise ConfigError(f"control: {len(low)} numbers, but the components {', '.join(self.components)}")

    @property
    def count(self) -> int:
        """How many numbers make one value."""
        return len(self.low) if isinstance(self.low, tuple) else 1

    def check(self, name: str, value: Any) -> Value:
        """The value as numbers within the range.

        Args:
            name: what the control is called, for messages.
            value: a number; a sequence of `count` numbers; or, where the numbers have names, a mapping of some of the
                names to numbers, or text like "smile:0.8,angry:0.2" or "smile". A whole number for a seed.

        Warns:
            ControlWarning: the value lies outside `low` … `high`; the nearest one is returned.

        Raises:
            ConfigError: it is none of these, has the wrong number of components, or is not finite.
        """
        numbers = self._named(name, value) if isinstance(value, Mapping | str) else _numbers(value)
        if numbers is None or len(numbers) != self.count:
            raise ConfigError(f"control {name!r}: expected {self._wanted()}, found {value!r}")
        if self.kind == "seed":
            if not (numbers[0].is_integer() and 0 <= numbers[0] <= _MAX_SEED):
                raise ConfigError(
                    f"control {name!r}: expected a seed, a whole number of 0 to {_MAX_SEED}, found {value}"
                )
            return int(numbers[0])
        within = self._clamped(numbers)
        spans = zip(numbers, within, _several(self.low), _several(self.high), strict=True)
        if any(abs(x - y) > _ROUNDING * (high - low) for x, y, low, high in spans):
            warn_clamped(name, self, shown(numbers), shown(within))
        return self._value(within)

    def clamp(self, value: Value) -> Value:
        """The nearest value within `low` … `high`, component by component.

        Raises:
            ConfigError: `value` has the wrong number of components, or is not finite.
        """
        numbers = _numbers(value)
        if numbers is None or len(numbers) != self.count:
            raise ConfigError(f"expected {self.count} finite numbers ({self.unit}), found {value!r}")
        return self._value(self._clamped(numbers))

    def _named(self, name: str, value: Mapping[str, Any] | str) -> tuple[float, ...] | None:
        """The numbers of a mapping or a text; None if this control's numbers have no names."""
        if not self.components:
            return None
        given = _parsed(name, value) if isinstance(value, str) else dict(value)
        for component in given:
            if component not in self.components:
                raise ConfigError(f"control {name!r}: it has no {component!r}; {nearest(component, self.components)}")
        numbers = []
        for component, high, default in zip(self.components, _several(self.high), _several(self.default), strict=True):
            asked = given.get(component, default)
            number = (high,) if asked is None else _numbers(asked)
            if number is None or len(number) != 1:
                raise ConfigError(f"control {name!r}: expected a number for {component}, found {asked!r}")
            numbers.append(number[0])
        return tuple(numbers)

    def _wanted(self) -> str:
        if self.kind == "seed":
            return "a seed"
        wanted = "a number" if self.count == 1 else f"{self.count} numbers"
        if self.components and self.count > 1:
            wanted += f", or some of {', '.join(self.components)}, as {self.components[0]}:{_several(self.high)[0]:g}"
        return f"{wanted} ({self.unit})" if self.unit else wanted

    def _clamped(self, numbers: tuple[float, ...]) -> tuple[float, ...]:
        limits = zip(numbers, _several(self.low), _several(self.high), strict=True)
        return tuple(min(max(x, low), high) for x, low, high in limits)

    def _value(self, numbers: tuple[float, ...]) -> Value:
        return numbers if isinstance(self.low, tuple) else numbers[0]


def seed_control(help: str) -> Control:
    """A control that takes a seed."""
    return Control(unit="seed", low=0, high=_MAX_SEED, default=0, help=help, kind="seed")


def with_parts(controls: Mapping[str, Control]) -> dict[str, Control]:
    """`controls`, and after them the components that have a word for a name, each as a control of its own.

    So `smile=0.8` does for `expression="smile:0.8"`, and `azimuth` can be swept alone. Single letters (r, g, b), names
    that are taken, and those that several controls have (none of `glasses` and `beard`) stay with their control.
    """
    parts: dict[str, Control] = {}
    seen = Counter(component for control in controls.values() for component in control.components)
    for name, control in controls.items():
        if control.kind == "seed" or control.count < 2:
            continue
        numbers = zip(control.components, *map(_several, (control.low, control.high, control.default)), strict=False)
        for component, low, high, default in numbers:
            is_word = len(component) > 1 and component.isidentifier()
            if is_word and component not in controls and seen[component] == 1:
                parts[component] = dataclasses.replace(
                    control,
                    low=low,
                    high=high,
                    default=default,
                    help=f"{component} of {name}",
                    components=(),
                    part_of=name,
                )
    return {**controls, **parts}


def settle(controls: Mapping[str, Control], values: Mapping[str, Any]) -> dict[str, Value]:
    """Checked values by control, with those of components put into the control that they are part of.

    A component that is given beside its control has the last word.

    Args:
        controls: those of a model, as `with_parts` makes them.
        values: what was asked for, by name; see `Control.check`.

    Raises:
        ConfigError: a name that is not among the controls, or a value that does not fit.
    """
    for name in values:
        if name not in controls:
            raise ConfigError(f"control {name!r}: this model does not have it; {nearest(name, controls)}")
    checked = {name: controls[name].check(name, value) for name, value in values.items()}
    settled = {name: value for name, value in checked.items() if not controls[name].part_of}
    for name, value in checked.items():
        whole = controls[name].part_of
        if whole:
            numbers = list(_several(settled.get(whole, controls[whole].default)))
            numbers[controls[whole].components.index(name)] = _several(value)[0]
            settled[whole] = tuple(numbers)
    return settled


def warn_clamped(name: str, control: Control, asked: str, taken: str) -> None:
    """Issues the `ControlWarning` of a value outside the range."""
    unit = f" ({control.unit})" if control.unit else ""
    message = (
        f"control {name!r}: {asked} is out of its range of {shown(control.low)} to {shown(control.high)}{unit}; "
        f"{taken} is taken"
    )
    warnings.warn(message, ControlWarning, stacklevel=3)


def shown(value: Any) -> str:
    """A value as people write it: 30, or 0.1,0.2,0.3."""
    numbers = _numbers(value)
    return ",".join(f"{number:g}" for number in numbers) if numbers is not None else repr(value)


def _parsed(name: str, text: str) -> dict[str, float | None]:
    """The numbers that "smile:0.8,angry:0.2" gives to names; None where a name stands alone."""
    found: dict[str, float | None] = {}
    for part in text.split(","):
        component, colon, number = (piece.strip() for piece in part.partition(":"))
        try:
            found[component] = float(number) if colon else None
        except ValueError as error:
            raise ConfigError(f"control {name!r}: expected name:number, as smile:0.8, found {part!r}") from error
    return found


def _several(value: Value) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


def _numbers(value: Any) -> tuple[float, ...] | None:
    """One number or a sequence of numbers as floats; None for anything else, infinities included."""
    is_sequence = isinstance(value, Sequence) and not isinstance(value, str)
    try:
        numbers = tuple(float(number) for number in (value if is_sequence else (value,)))
    except (TypeError, ValueError):
        return None
    is_text = isinstance(value, str) or (is_sequence and any(isinstance(number, str) for number in value))
    return None if is_text or not all(map(math.isfinite, numbers)) else numbers
