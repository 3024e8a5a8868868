"""One attribute of a portrait: its kind, unit and range, how it is checked and how it is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gantrol.errors import ConfigError, nearest

Row = dict[str, Any]
Kind = Literal["scalar", "color", "choice", "seed"]


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """One attribute of a portrait."""

    name: str
    kind: Kind
    """scalar (a number), color ([r, g, b], sRGB in 0–1), choice (one of `choices`) or seed (an integer)."""
    unit: str
    low: float
    high: float
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    sample: Callable[[np.random.Generator, Row], Any]
    """Draws a value; may look at the attributes before it. The result is rounded and clipped by `sample_row`."""
    of_identity: bool = False
    """Drawn from the identity seed, so that it stays with the person."""
    stream: str = ""
    """Attributes with the same stream see the same random numbers, so they are drawn jointly; empty: one of its own."""
    depends: str = ""
    """What the draw depends on, for the data card; empty: independent of everything else."""
    mirror: int = 1
    """The factor that a left-right flip of the image applies to the value: -1 for a yaw."""

    def schema(self) -> dict[str, Any]:
        """The JSON-ready description stored in a dataset."""
        described = {"kind": self.kind, "unit": self.unit, "low": self.low, "high": self.high, "default": self.default}
        described |= {"help": self.help} | ({"choices": list(self.choices)} if self.choices else {})
        described |= ({"of_identity": True} if self.of_identity else {}) | (
            {"depends": self.depends} if self.depends else {}
        )
        return described | ({"mirror": self.mirror} if self.mirror != 1 else {})

    def check(self, value: Any) -> Any:
        """Returns the value in JSON-ready form, or raises ConfigError naming the attribute and what it takes."""
        if self.kind == "choice":
            if value not in self.choices:
                raise ConfigError(
                    f"{self.name}={value!r} is not one of its choices; {nearest(str(value), self.choices)}"
                )
            return value
        if self.kind == "color":
            parts = list(value) if isinstance(value, list | tuple | np.ndarray) else [value]
            numbers = [self._number(part, value) for part in parts]
            if len(numbers) != 3:
                raise ConfigError(f"{self.name}={value!r} must be three numbers r,g,b from 0 to 1")
            return numbers
        number = self._number(value, value)
        if self.kind == "seed":
            if number != int(number):
                raise ConfigError(f"{self.name}={value!r} must be a whole number")
            return int(number)
        return number

    def _number(self, part: Any, value: Any) -> float:
        if isinstance(part, bool) or not isinstance(part, int | float | np.number) or not math.isfinite(part):
            raise ConfigError(f"{self.name}={value!r} is not {'r,g,b' if self.kind == 'color' else 'a number'}")
        if not self.low <= part <= self.high:
            unit = f" {self.unit}" if self.unit else ""
            raise ConfigError(f"{self.name}={value!r} is out of range: from {self.low:g} to {self.high:g}{unit}")
        return float(part)
