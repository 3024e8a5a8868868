"""What is asked of a control when it is measured, and how far a reading is from what was asked.

Values are asked in two ways. *At random* within the range, a new identity each: the error and the correlation. On a
*sweep*, the same identities at every value: the identity line, the leakage, and whether the person stays.

    value                       at random                   sweeps                       error
    one number                  uniform                     from low to high             absolute
    direction                   both angles uniform         each angle alone, the other  angle between the directions
    (azimuth, elevation)                                    at its default
    colour (r, g, b)            colours that occur          all three together           absolute, mean of the channels
    weights (all other values   one of them uniform, the    each alone, the others at    absolute, of the one that is
    of several numbers)         others at their default     their default                asked

N requests · K numbers of a value · G values of a sweep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from gantrol.control.predictors import Attribute
from gantrol.controls import Control
from gantrol.errors import ConfigError

Shape = Literal["number", "direction", "colour", "weights"]

_SHAPES: dict[tuple[str, ...], Shape] = {("azimuth", "elevation"): "direction", ("r", "g", "b"): "colour"}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Values of one control, from low to high."""

    control: str
    """The control's name."""
    component: str | None
    """The component that moves alone; None: there is only one, or all move together."""
    moving: tuple[int, ...]
    """Numbers of the components that move."""
    values: Tensor
    """float32 [G, K]."""

    @property
    def title(self) -> str:
        """`age`, or `light.azimuth`."""
        return self.control if self.component is None else f"{self.control}.{self.component}"


@dataclass(frozen=True, kw_only=True)
class Requests:
    """One control together with what its reader says about the numbers of its value."""

    name: str
    """The control's name."""
    control: Control
    """Unit and range."""
    components: tuple[str, ...]
    """Names of the K numbers."""
    columns: tuple[int, ...]
    """Where these numbers stand in a reading."""

    @classmethod
    def of(cls, name: str, control: Control, attribute: Attribute) -> Requests:
        """The requests of a control that is read back as `attribute`; numbers that have names are matched by name.

        Raises:
            ConfigError: the reading lacks a number of the value.
        """
        read = attribute.components
        if control.components and set(control.components) <= set(read):
            columns = tuple(read.index(component) for component in control.components)
        elif control.count == len(read):
            columns = tuple(range(len(read)))
        else:
            asked = ", ".join(control.components) or f"{control.count} numbers"
            raise ConfigError(f"the second predictors read {', '.join(read)}, the control takes {asked}")
        return cls(name=name, control=control, components=tuple(read[k] for k in columns), columns=columns)

    def pick(self, readings: Tensor) -> Tensor:
        """The numbers of the value [N, K] in readings of the attribute."""
        return readings[:, list(self.columns)]

    @property
    def shape(self) -> Shape:
        """What kind of value this is; it decides what is asked, and what an error is."""
        return _SHAPES.get(self.components, "number" if len(self.components) == 1 else "weights")

    @property
    def low(self) -> Tensor:
        """float32 [K]."""
        return _row(self.control.low)

    @property
    def high(self) -> Tensor:
        """float32 [K]."""
        return _row(self.control.high)

    @property
    def default(self) -> Tensor:
        """float32 [K]."""
        return _row(self.control.default)

    # Asking -----------------------------------------------------------------------------------------------------------

    def sweeps(self, points: int) -> list[Sweep]:
        """Values from the low end of the range to the high one, `points` equal steps apart."""
        count = len(self.components)
        part = torch.linspace(0, 1, points)[:, None]  # [G, 1]
        line = self.low + (self.high - self.low) * part  # [G, K]
        if self.shape in ("number", "colour"):
            return [Sweep(control=self.name, component=None, moving=tuple(range(count)), values=line)]
        found = []
        for index, component in enumerate(self.components):
            values = self.default.repeat(points, 1)
            values[:, index] = line[:, index]
            found.append(Sweep(control=self.name, component=component, moving=(index,), values=values))
        return found

    def draw(self, count: int, seed: int, examples: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Values at random within the range; they follow from the control's name and the seed.

        Args:
            count: N.
            seed: of the draw.
            examples: float32 [E, K], values that occur, for colours: a box of r, g and b is full of colours that no
                hair has, and of which no error could be told. They are brought into the range. None: uniform.

        Returns:
            The values, float32 [N, K], and which components each request asks for, bool [N, K].
        """
        rng = np.random.default_rng([seed, crc32(self.name.encode())])
        uniform = torch.from_numpy(rng.random((count, len(self.components)))).float()
        values = self.low + (self.high - self.low) * uniform
        asked = torch.ones(values.shape, dtype=torch.bool)
        if self.shape == "colour" and examples is not None and len(examples):
            values = examples[torch.from_numpy(rng.integers(len(examples), size=count))]
            values = values.clamp(self.low, self.high)
        elif self.shape == "weights":
            chosen = torch.from_numpy(rng.integers(len(self.components), size=count))
            asked = torch.nn.functional.one_hot(chosen, len(self.components)).bool()
            values = torch.where(asked, values, self.default)
        return values, asked

    # Comparing --------------------------------------------------------------------------------------------------------

    def difference(self, read: Tensor, wanted: Tensor) -> Tensor:
        """Reading minus wanted value, [N, K]; of azimuths the short way round."""
        result = read - wanted
        if self.shape == "direction":
            result[..., 0] = (result[..., 0] + 180) % 360 - 180
        return result

    def error(self, read: Tensor, wanted: Tensor, asked: Tensor) -> float:
        """The mean error of readings [N, K] in the control's unit, over what was asked: see the table above."""
        if self.shape == "direction":
            return float(angle_between(read, wanted).mean())
        return float(self.difference(read, wanted).abs()[asked].mean())


def angle_between(a: Tensor, b: Tensor) -> Tensor:
    """Degrees between directions given as (azimuth, elevation) in degrees: [N, 2] and [N, 2] → [N]."""
    first, second = unit_direction(a.double()), unit_direction(b.double())
    # The tangent keeps small angles, of which the cosine loses half the digits.
    crossed = torch.linalg.cross(first, second).norm(dim=-1)
    return torch.atan2(crossed, (first * second).sum(dim=-1)).rad2deg().to(a.dtype)


def unit_direction(angles: Tensor) -> Tensor:
    """Azimuth and elevation in degrees [N, 2] as unit vectors [N, 3]: to the image's right, up, towards the viewer."""
    azimuth, elevation = angles.deg2rad().unbind(-1)
    return torch.stack([azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()], dim=-1)


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's coefficient of two rows of numbers [N]; NaN where one of them never varies."""
    first, second = (x.double() - x.double().mean() for x in (a, b))
    scale = first.norm() * second.norm()
    return float((first * second).sum() / scale) if scale > 1e-9 * len(a) else float("nan")


def _row(value: float | tuple[float, ...]) -> Tensor:
    return torch.tensor(value if isinstance(value, tuple) else (value,), dtype=torch.float32)
