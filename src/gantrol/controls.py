"""Controls: what a controllable model takes by value, and which values make sense.

`Model.controls` maps a name to one of these; it is empty for a model that was not trained for control.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gantrol.errors import ConfigError

Value = float | tuple[float, ...]
"""A number, or several where one attribute takes several: r,g,b of a colour, azimuth and elevation of a light."""


@dataclass(frozen=True)
class Control:
    """An attribute that a controllable model takes by value: one number, or a fixed count of them.

    Raises:
        ConfigError: the limits and the default do not fit together.
    """

    unit: str
    """What the value is measured in, for example "degrees"."""
    low: Value
    """The lowest value that makes sense."""
    high: Value
    """The highest value that makes sense."""
    default: Value
    """The value when none is given."""
    help: str
    """What the control does, and which direction is positive."""

    def __post_init__(self) -> None:
        low, high, default = (_numbers(value) for value in (self.low, self.high, self.default))
        if low is None or high is None or default is None or not len(low) == len(high) == len(default) > 0:
            raise ConfigError(
                f"control: low={self.low!r}, high={self.high!r} and default={self.default!r} must be finite numbers, "
                "equally many of each"
            )
        if not all(a <= b <= c and a < c for a, b, c in zip(low, default, high, strict=True)):
            raise ConfigError(f"control: expected low ≤ default ≤ high, found {self.low}, {self.default}, {self.high}")

    @property
    def components(self) -> int:
        """How many numbers make one value."""
        return len(self.low) if isinstance(self.low, tuple) else 1

    def check(self, name: str, value: Any) -> Value:
        """The value as numbers, if it is one of this control.

        Args:
            name: what the control is called, for the message.
            value: a number, or a sequence of `components` numbers.

        Raises:
            ConfigError: it has the wrong number of components, is not finite, or lies outside `low` … `high`.
        """
        numbers = _numbers(value)
        if numbers is None or len(numbers) != self.components:
            wanted = "a number" if self.components == 1 else f"{self.components} numbers"
            raise ConfigError(f"control {name!r}: expected {wanted} ({self.unit}), found {value!r}")
        if self._clamped(numbers) != numbers:
            raise ConfigError(
                f"control {name!r}: {_shown(value)} is out of range; expected {_shown(self.low)} to "
                f"{_shown(self.high)} ({self.unit})"
            )
        return self._value(numbers)

    def clamp(self, value: Value) -> Value:
        """The nearest value within `low` … `high`, component by component.

        Raises:
            ConfigError: `value` has the wrong number of components, or is not finite.
        """
        numbers = _numbers(value)
        if numbers is None or len(numbers) != self.components:
            raise ConfigError(f"expected {self.components} finite numbers ({self.unit}), found {value!r}")
        return self._value(self._clamped(numbers))

    def _clamped(self, numbers: tuple[float, ...]) -> tuple[float, ...]:
        low, high = _numbers(self.low), _numbers(self.high)
        assert low is not None
        assert high is not None
        return tuple(min(max(x, a), b) for x, a, b in zip(numbers, low, high, strict=True))

    def _value(self, numbers: tuple[float, ...]) -> Value:
        return numbers if isinstance(self.low, tuple) else numbers[0]


def _numbers(value: Any) -> tuple[float, ...] | None:
    """One number or a sequence of numbers as floats; None for anything else, infinities included."""
    is_sequence = isinstance(value, Sequence) and not isinstance(value, str)
    try:
        numbers = tuple(float(number) for number in (value if is_sequence else (value,)))
    except (TypeError, ValueError):
        return None
    is_text = isinstance(value, str) or (is_sequence and any(isinstance(number, str) for number in value))
    return None if is_text or not all(map(math.isfinite, numbers)) else numbers


def _shown(value: Any) -> str:
    numbers = _numbers(value)
    return ",".join(f"{number:g}" for number in numbers) if numbers is not None else repr(value)
