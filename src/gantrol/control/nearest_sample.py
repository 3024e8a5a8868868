"""The plainest way to control a generator: look up a sample that already is what was asked for.

A table holds w and the readings of many samples. A request is answered with the w of one of them, all of it: nothing is
blended, and nothing of the given image is kept but what the choice respects. It is a baseline. What it does for the
asked attribute is nearly the best that the generator can do at all; what it costs is the person.

The choice has two steps. Asking for the closest reading alone would throw everything else away where it need not be, as
many samples are about as close. So the `candidates` closest ones are found first, and of these the one whose *other*
readings are closest to those of the given w. These are estimated from w by ridge regression on the table, since a
control set sees w and no image. All readings are compared in standard deviations.

N images · L copies of w · D features of w · R rows of the table · K numbers of all readings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gantrol.control.control_set import ControlSet
from gantrol.control.predictors import Attribute
from gantrol.control.ridge import ridge
from gantrol.controls import Control
from gantrol.errors import ConfigError, nearest

_EXTREMES = 0.01  # share of the table beyond each end of a control's range


@dataclass(frozen=True, kw_only=True)
class TableColumn:
    """An attribute of the table; one number, or several."""

    name: str
    """Of the attribute, and of its control."""
    control: Control
    """Unit, and the range that the table covers."""


@dataclass(frozen=True, kw_only=True)
class NearestSampleConfig:
    """Everything that defines a look-up but its table."""

    kind: ClassVar[str] = "nearest"

    w_dim: int
    """D."""
    rows: int
    """R."""
    columns: tuple[TableColumn, ...]
    """The attributes, in the order of the table's numbers."""
    candidates: int = 10
    """Samples closest to the request among which the other attributes decide."""

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names) or not names:
            raise ConfigError(f"columns {', '.join(names) or '(none)'}: expected at least one, each name only once")
        if not 1 <= self.candidates <= self.rows:
            raise ConfigError(f"candidates={self.candidates}: expected 1 to {self.rows}, the rows of the table")

    def build(self) -> NearestSample:
        """The module, with an empty table."""
        return NearestSample(self)


class NearestSample(ControlSet):
    """Sets attributes by looking up a sample; see the module's text.

    State-dict names: `w` [R, D], `readings` [R, K], `deviation` [K], and the regression `weight` [K, D], `bias` [K].

    Args:
        config: sizes and columns of the table.
    """

    config: NearestSampleConfig
    w: Tensor
    readings: Tensor
    deviation: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, config: NearestSampleConfig) -> None:
        super().__init__()
        self.config = config
        self.controls = {column.name: column.control for column in config.columns}
        self._places: dict[str, slice] = {}
        total = 0
        for column in config.columns:
            self._places[column.name] = slice(total, total + column.control.count)
            total += column.control.count
        self.register_buffer("w", torch.zeros(config.rows, config.w_dim))
        self.register_buffer("readings", torch.zeros(config.rows, total))
        self.register_buffer("deviation", torch.ones(total))
        self.register_buffer("weight", torch.zeros(total, config.w_dim))
        self.register_buffer("bias", torch.zeros(total))

    def choose(self, w: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """Rows of the table, int64 [N], for given w [N, D] and wanted values [N, K_k] or [1, K_k].

        Raises:
            ConfigError: a control that is not there, or w of another model.
        """
        if w.ndim != 2 or w.shape[1] != self.config.w_dim:
            raise ConfigError(f"w has shape {list(w.shape)}: this table is for [N, {self.config.w_dim}]")
        target = w.to(self.weight) @ self.weight.T + self.bias  # [N, K]
        is_asked = torch.zeros(target.shape[1], dtype=torch.bool, device=target.device)
        for name, value in values.items():
            if name not in self._places:
                raise ConfigError(f"control {name!r}: the table has no such column; {nearest(name, self._places)}")
            target[:, self._places[name]] = value.to(target)
            is_asked[self._places[name]] = True
        table, target = self.readings / self.deviation, target / self.deviation
        exact = "donot_use_mm_for_euclid_dist"  # the fast way confuses close neighbours
        missed = torch.cdist(target[:, is_asked], table[:, is_asked], compute_mode=exact)  # [N, R]
        if is_asked.all():
            return missed.argmin(dim=1)
        shortlist = missed.topk(self.config.candidates, largest=False).indices  # [N, candidates]
        others = (table[:, ~is_asked][shortlist] - target[:, None, ~is_asked]).norm(dim=-1)
        return shortlist.gather(1, others.argmin(dim=1, keepdim=True))[:, 0]

    def steer(self, ws: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """ws [N, L, D] replaced by the w of the chosen samples, in all copies; see `ControlSet.steer`.

        Raises:
            ConfigError: a control that is not there, or ws of another model.
        """
        if not values:
            return ws
        rows = self.choose(ws.mean(dim=1), values)
        return self.w[rows].to(ws.dtype)[:, None].repeat(1, ws.shape[1], 1)


def nearest_sample(
    w: Tensor, readings: Mapping[str, Tensor], attributes: Mapping[str, Attribute], *, candidates: int = 10
) -> NearestSample:
    """A look-up in a table of samples.

    Args:
        w: float [R, D], without truncation.
        readings: by attribute [R, K_k], what the first predictors read from the images of w.
        attributes: unit and component names of each.
        candidates: see `NearestSampleConfig`; of a smaller table all of it.

    Raises:
        ConfigError: fewer than two rows, other counts of readings, or an attribute that never varies.
    """
    columns = []
    for name, values in readings.items():
        attribute = attributes[name]
        if values.shape != (len(w), len(attribute.components)) or len(w) < 2:
            raise ConfigError(
                f"readings of {name!r} have shape {list(values.shape)}: expected "
                f"[{len(w)}, {len(attribute.components)}], one row for each of at least 2 samples"
            )
        columns.append(TableColumn(name=name, control=_control(name, attribute, values)))
    config = NearestSampleConfig(
        w_dim=w.shape[1], rows=len(w), columns=tuple(columns), candidates=min(candidates, len(w))
    )
    module = config.build()
    table = torch.cat([readings[column.name].float() for column in columns], dim=1)
    fit = ridge(w, table)
    with torch.no_grad():
        module.w.copy_(w)
        module.readings.copy_(table)
        module.deviation.copy_(table.std(dim=0).clamp(min=1e-6))
        module.weight.copy_(fit.weight)
        module.bias.copy_(fit.bias)
    return module.eval().requires_grad_(False)


def _control(name: str, attribute: Attribute, values: Tensor) -> Control:
    """The range that the table covers, rare extremes apart."""
    ends = torch.quantile(values.double(), torch.tensor([_EXTREMES, 1 - _EXTREMES], dtype=torch.float64), dim=0)
    low, high = (tuple(float(f"{number:.4g}") for number in row.tolist()) for row in ends)
    if any(a >= b for a, b in zip(low, high, strict=True)):
        raise ConfigError(f"attribute {name!r} is the same in every sample: there is nothing to look up")
    middle = values.double().mean(dim=0).tolist()
    default = tuple(min(max(float(f"{x:.4g}"), a), b) for x, a, b in zip(middle, low, high, strict=True))
    is_single = len(attribute.components) == 1
    return Control(
        unit=attribute.unit,
        low=low[0] if is_single else low,
        high=high[0] if is_single else high,
        default=default[0] if is_single else default,
        help=f"{attribute.help} (implicit: the whole image becomes that of a sample)".strip(),
        components=() if is_single else attribute.components,
        is_implicit=True,
    )
