"""Runs whose anchors are laid out as an older version did end in one line, not in a shape error."""

from __future__ import annotations

import pytest
import torch

from gantrol.control.anchors import Anchor
from gantrol.control.objective import ControlTerm
from gantrol.errors import CheckpointError
from gantrol.train.control import ControlConfig, load_objective


def anchor(attribute: str, count: int) -> Anchor:
    eye = tuple(tuple(float(i == j) for j in range(count)) for i in range(count))
    return Anchor(attribute=attribute, quantiles=((0.0, 1.0),) * count, factor=eye, spread=(1.0,) * count)


def config(*anchors: Anchor) -> ControlConfig:
    terms = tuple(ControlTerm(attribute=name, tau_same=0.1, tau_different=0.9) for name in ("age", "light"))
    return ControlConfig(predictors="portraits", terms=terms, anchors=anchors)


@pytest.mark.parametrize(
    ("attribute", "count", "reads"), [("light", 3, "2"), ("age", 2, "1"), ("other", 9, "2 or 6 or 8")]
)
def test_another_layout_is_refused(attribute: str, count: int, reads: str) -> None:
    message = (
        rf"^control\.anchors: '{attribute}' is anchored in {count} numbers, but this gantrol reads {reads}: [^\n]*$"
    )
    with pytest.raises(CheckpointError, match=message):
        load_objective(config(anchor(attribute, count)), "cpu", torch.float32)


def test_the_layout_of_today_is_taken() -> None:
    anchors = (anchor("age", 1), anchor("light", 2), anchor("other", 6))
    objective = load_objective(config(*anchors), "cpu", torch.float32)
    assert objective is not None
    assert set(objective.anchors) == {"age", "light", "other"}
