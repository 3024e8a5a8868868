"""Implicit controls: an attribute is set by moving w along a straight line.

N images · L copies of w · D features of w · K numbers that can be set (an attribute has one or several).

A generator that was never trained for control still has attributes, and a linear model often tells them from w (Shen et
al. 2020, "InterFaceGAN"). With v the mean of the copies of w that shall be moved, and u that of the others,

    reading   r(w) = A·v + B·u + b                      [K]
    setting   w' = w + Σ_k t_k·d_k,   A_S·D_Sᵀ·t = y − r_S(w)

for the numbers S that are set to y: the linear readings then are y exactly. d_k is the direction of number k, scaled so
that one step changes its reading by one unit. If the directions are *conditioned*, a_j·d_k = 0 for every other reading
j: setting one attribute leaves the linear readings of all others alone. What a linear model cannot tell, it cannot set
either, which is why these controls are called implicit, and carry their held-out error.

Principal components of w and factors of the weights (`gantrol.control.pca`, `.factorization`) have the same form: their
reading is the place of w along the direction, in standard deviations from the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gantrol.control.control_set import ControlSet
from gantrol.controls import Control
from gantrol.errors import ConfigError, nearest

Source = Literal["predictor", "pca", "factorization"]
"""Where a direction comes from: readings of the images, the spread of w, or the weights."""


@dataclass(frozen=True, kw_only=True)
class Direction:
    """A control along straight lines in w: one number, or several that belong together."""

    name: str
    """What the control is called."""
    source: Source
    """Where it comes from: predictor, pca or factorization."""
    control: Control
    """Unit, range, default and components of the value."""
    is_linear: tuple[bool, ...]
    """For each number, whether w tells it well enough to set it; one that it does not tell is left as it is."""
    r2: tuple[float, ...] = ()
    """Share of each number's variance that the linear model explains in images that it was not fitted to."""
    mean_absolute_error: tuple[float, ...] = ()
    """Of the linear model in those images, in the unit."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ConfigError(f"control {self.name!r}: expected a name of letters, digits and _, for example age")
        if len(self.is_linear) != self.control.count:
            raise ConfigError(f"direction {self.name}: {self.control.count} numbers, but is_linear={self.is_linear}")


@dataclass(frozen=True, kw_only=True)
class DirectionsConfig:
    """Everything that defines a set of directions but their numbers, which are tensors."""

    kind: ClassVar[str] = "directions"

    w_dim: int
    """D."""
    num_ws: int
    """L."""
    layers: tuple[int, ...]
    """The copies of w that are moved."""
    is_conditional: bool = True
    """Whether each direction leaves the other attributes' readings alone."""
    directions: tuple[Direction, ...]
    """The controls, in the order of the rows of the tensors."""

    def __post_init__(self) -> None:
        names = [direction.name for direction in self.directions]
        if len(set(names)) != len(names) or not names:
            raise ConfigError(f"directions {', '.join(names) or '(none)'}: expected at least one, each name only once")
        if not self.layers or sorted({*self.layers} & {*range(self.num_ws)}) != list(self.layers):
            raise ConfigError(f"layers={list(self.layers)}: expected some of 0 to {self.num_ws - 1}, in rising order")

    def build(self) -> DirectionControls:
        """The module, with directions that do nothing until they are loaded or set."""
        return DirectionControls(self)


class DirectionControls(ControlSet):
    """Sets attributes by moving w along straight lines; see the module's text.

    State-dict names: `weight` A, `weight_others` B (zero if all copies are moved), `bias` b, `direction` D.

    Args:
        config: what the rows of the tensors are.
    """

    config: DirectionsConfig
    weight: Tensor
    weight_others: Tensor
    bias: Tensor
    direction: Tensor

    def __init__(self, config: DirectionsConfig) -> None:
        super().__init__()
        self.config = config
        self.controls = {direction.name: direction.control for direction in config.directions}
        self._rows: dict[str, range] = {}
        self._is_linear: list[bool] = []
        for direction in config.directions:
            start = len(self._is_linear)
            self._is_linear += direction.is_linear
            self._rows[direction.name] = range(start, len(self._is_linear))
        count = len(self._is_linear)
        for name in ("weight", "weight_others", "direction"):
            self.register_buffer(name, torch.zeros(count, config.w_dim))
        self.register_buffer("bias", torch.zeros(count))
        self._others = sorted(set(range(config.num_ws)) - set(config.layers))

    def check_fits(self, generator: Any) -> None:
        """Raises `ConfigError` unless the generator takes ws of the shape that these directions are for."""
        c = self.config
        if (generator.num_ws, generator.w_dim) != (c.num_ws, c.w_dim):
            raise ConfigError(
                f"these directions are for ws of {c.num_ws} × {c.w_dim} numbers; this {generator.config.kind} takes "
                f"{generator.num_ws} × {generator.w_dim}"
            )

    def read(self, ws: Tensor) -> Tensor:
        """What the linear models say about ws [N, L, D]: [N, K], K the numbers of all controls in their order.

        Raises:
            ConfigError: ws of another model.
        """
        c = self.config
        if ws.ndim != 3 or tuple(ws.shape[1:]) != (c.num_ws, c.w_dim):
            raise ConfigError(f"ws has shape {list(ws.shape)}: these directions are for [N, {c.num_ws}, {c.w_dim}]")
        ws = ws.to(self.weight)
        moved, others = mean_ws(ws, c.layers), mean_ws(ws, self._others)
        return moved @ self.weight.T + others @ self.weight_others.T + self.bias

    def steer(self, ws: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """ws [N, L, D] moved so that its linear readings have these values; see `ControlSet.steer`.

        Raises:
            ConfigError: a control that is not there, or ws of another model.
        """
        rows: list[int] = []
        wanted: list[Tensor] = []
        for name, value in values.items():
            if name not in self._rows:
                raise ConfigError(f"control {name!r}: there is no direction for it; {nearest(name, self._rows)}")
            numbers = value.to(self.weight).expand(len(ws), -1).unbind(dim=1)
            for row, number in zip(self._rows[name], numbers, strict=True):
                if self._is_linear[row]:
                    rows.append(row)
                    wanted.append(number)
        missing = self.read(ws)[:, rows]  # also refuses ws of another model
        if not rows:
            return ws
        missing = torch.stack(wanted, dim=1) - missing  # [N, S]
        change = missing @ self._steps(rows).T @ self.direction[rows]  # [N, D]
        is_moved = torch.zeros(self.config.num_ws, 1, dtype=ws.dtype, device=ws.device)
        is_moved[list(self.config.layers)] = 1
        return ws + change.to(ws.dtype)[:, None] * is_moved

    def _steps(self, rows: Sequence[int]) -> Tensor:
        """[S, S], which turns what is missing in these readings into steps along their directions (least squares)."""
        weight, direction = (tensor[rows].cpu().double() for tensor in (self.weight, self.direction))
        effect = weight @ direction.T  # of step j on reading i
        # As cosines, free of units, so that what counts as no effect at all does not depend on these.
        scale, reach = weight.norm(dim=1), direction.norm(dim=1)
        inverse = torch.linalg.pinv(effect / scale[:, None] / reach, rtol=1e-4)
        return (inverse / reach[:, None] / scale).to(self.weight)


def mean_ws(ws: Tensor, layers: Sequence[int]) -> Tensor:
    """The mean [N, D] of some copies of ws [N, L, D]; zeros if there are none."""
    return ws[:, list(layers)].mean(dim=1) if layers else torch.zeros_like(ws[:, 0])
