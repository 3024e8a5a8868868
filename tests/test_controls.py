"""Controls: what they accept, clamp and refuse."""

from __future__ import annotations

from typing import Any

import pytest

import gantrol
from gantrol.controls import Control
from gantrol.errors import ConfigError

YAW = Control(unit="degrees", low=-30.0, high=30.0, default=0.0, help="turns to the image's right")
HAIR = Control("r,g,b", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.3, 0.2, 0.1), "colour")


def test_the_package_offers_the_class() -> None:
    assert gantrol.Control is Control


def test_values_are_numbers_or_fixed_numbers_of_them() -> None:
    assert (YAW.components, HAIR.components) == (1, 3)
    assert YAW.check("yaw", -20) == -20.0
    assert HAIR.check("hair_color", [0, 0.5, 1]) == (0.0, 0.5, 1.0)
    assert YAW.clamp(99.0) == 30.0
    assert HAIR.clamp((2.0, 0.5, -1.0)) == (1.0, 0.5, 0.0)


@pytest.mark.parametrize(
    ("control", "value", "message"),
    [
        (YAW, 31, "'x': 31 is out of range; expected -30 to 30 \\(degrees\\)"),
        (YAW, "left", "'x': expected a number \\(degrees\\), found 'left'"),
        (YAW, "20", "expected a number"),
        (YAW, float("nan"), "expected a number"),
        (YAW, (1.0, 2.0), "expected a number"),
        (YAW, None, "expected a number"),
        (HAIR, 0.5, "expected 3 numbers \\(r,g,b\\), found 0.5"),
        (HAIR, (0.1, 0.2, 1.2), "0.1,0.2,1.2 is out of range; expected 0,0,0 to 1,1,1"),
    ],
)
def test_other_values_are_refused_in_one_line(control: Control, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        control.check("x", value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "limits", [(0.0, 1.0, 2.0), (1.0, 0.0, 0.5), (0.0, (1.0, 1.0), 0.0), (0.0, float("inf"), 0.0), ((), (), ())]
)
def test_limits_must_fit_together(limits: tuple[Any, Any, Any]) -> None:
    low, high, default = limits
    with pytest.raises(ConfigError, match=r"^control"):
        Control("", low, high, default, "")


def test_clamp_refuses_what_is_no_value() -> None:
    with pytest.raises(ConfigError, match="expected 3 finite numbers"):
        HAIR.clamp(0.5)
