"""What an evaluation returns: numbers that say what they are."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from gantrol.metrics.control_report import ControlReport


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One number with all that is needed to compare it to another one."""

    value: float
    """The number."""
    unit: str
    """What it is measured in."""
    name: str
    """What it is, for people: a number that depends on features is named after them, unless they are the official."""
    samples: int
    """Generated images."""
    seed: int
    """Of all draws."""
    data: str | None = None
    """The dataset; None where a number does not depend on any. The same holds for all that follows."""
    reals: int | None = None
    """Real images, flipped copies included."""
    x_flip: bool | None = None
    """Whether the real side includes each image flipped."""
    features: str | None = None
    """The feature network."""
    weights: str | None = None
    """Version of the network: its weights and all that is done to an image before."""
    resampling: str | None = None
    """How images were resized for it."""
    neighbours: int | None = None
    """Which nearest neighbour is the radius of an image's neighbourhood."""
    angle_rad: float | None = None
    """Size of a neighbourhood of `sticking`."""
    predictors: str | None = None
    """The second set of predictors, which reads what `control` asked for."""
    note: str | None = None
    """Why a number could not be measured; its value is NaN then."""

    def to_dict(self) -> dict[str, Any]:
        """The fields that mean something here, by name; a value that could not be measured is None."""
        fields = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return fields if math.isfinite(self.value) else fields | {"value": None}


def control_entries(report: ControlReport) -> dict[str, Entry]:
    """The numbers of a control report as entries, for example `control/age/mae` and `control/age/leakage/yaw`."""
    return {
        name: Entry(**number._asdict(), seed=report.seed, predictors=report.predictors)
        for name, number in report.numbers().items()
    }
