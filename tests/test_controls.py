"""Controls: what they accept, clamp and refuse."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import gantrol
from gantrol.controls import Control, ControlWarning, seed_control, settle, shown, with_parts
from gantrol.errors import ConfigError

YAW = Control(unit="degrees", low=-30.0, high=30.0, default=0.0, help="turns to the image's right")
HAIR = Control("r,g,b", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.3, 0.2, 0.1), "colour", components=("r", "g", "b"))
FACE = Control("0-1", (0.0, 0.0), (0.9, 1.0), (0.0, 0.1), "face", components=("smile", "angry"))
PLAIN = Control("", (0.0, 0.0), (1.0, 1.0), (0.0, 0.0), "numbers without names")
WHO = seed_control("who it is")
ALL = with_parts({"yaw": YAW, "hair_color": HAIR, "expression": FACE, "identity": WHO})


def test_the_package_offers_the_class() -> None:
    assert gantrol.Control is Control


def test_values_are_numbers_or_fixed_numbers_of_them() -> None:
    assert (YAW.count, HAIR.count) == (1, 3)
    assert YAW.check("yaw", -20) == -20.0
    assert HAIR.check("hair_color", [0, 0.5, 1]) == (0.0, 0.5, 1.0)
    assert YAW.clamp(99.0) == 30.0
    assert HAIR.clamp((2.0, 0.5, -1.0)) == (1.0, 0.5, 0.0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"smile": 0.8}, (0.8, 0.1)),
        ({}, (0.0, 0.1)),
        ("smile:0.8,angry:0.2", (0.8, 0.2)),
        (" smile : 0.5 ", (0.5, 0.1)),
        ("smile", (0.9, 0.1)),  # as much as there is
        ((0.2, 0.3), (0.2, 0.3)),
    ],
)
def test_named_numbers_are_given_by_name(value: Any, expected: tuple[float, ...]) -> None:
    assert FACE.check("expression", value) == expected


def test_seeds_are_whole_numbers() -> None:
    assert WHO.check("identity", 7.0) == 7
    assert WHO.check("identity", 2**32 - 1) == 2**32 - 1
    for value in (7.5, -1, 2**32):
        with pytest.raises(ConfigError, match="'identity': expected a seed"):
            WHO.check("identity", value)


@pytest.mark.parametrize(
    ("control", "value", "expected", "message"),
    [
        (YAW, 31, 30.0, "'x': 31 is out of its range of -30 to 30 \\(degrees\\); 30 is taken"),
        (YAW, -1e9, -30.0, "-1e\\+09 is out of its range"),
        (
            HAIR,
            (0.1, 0.2, 1.2),
            (0.1, 0.2, 1.0),
            "0.1,0.2,1.2 is out of its range of 0,0,0 to 1,1,1 \\(r,g,b\\); 0.1,0.2,1",
        ),
        (FACE, "smile:2", (0.9, 0.1), "2,0.1 is out of its range of 0,0 to 0.9,1"),
    ],
)
def test_values_out_of_range_are_clamped_with_a_warning(
    control: Control, value: Any, expected: Any, message: str
) -> None:
    with pytest.warns(ControlWarning, match=message) as caught:
        assert control.check("x", value) == expected
    assert "\n" not in str(caught[0].message)


def test_rounding_is_no_reason_to_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert YAW.check("yaw", 30.000001) == 30.0


@pytest.mark.parametrize(
    ("control", "value", "message"),
    [
        (YAW, "left", "'x': expected a number \\(degrees\\), found 'left'"),
        (YAW, "20", "expected a number"),
        (YAW, {"yaw": 20}, "expected a number"),
        (YAW, float("nan"), "expected a number"),
        (YAW, (1.0, 2.0), "expected a number"),
        (YAW, None, "expected a number"),
        (PLAIN, 0.5, "expected 2 numbers, found 0.5"),
        (PLAIN, "a:1", "expected 2 numbers, found 'a:1'"),
        (HAIR, 0.5, "expected 3 numbers, or some of r, g, b, as r:1 \\(r,g,b\\), found 0.5"),
        (FACE, {"smyle": 1}, "'x': it has no 'smyle'; did you mean smile"),
        (FACE, "smile:much", "expected name:number, as smile:0.8, found 'smile:much'"),
        (FACE, {"smile": "much"}, "expected a number for smile, found 'much'"),
        (WHO, "me", "expected a seed, found 'me'"),
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


def test_components_must_be_as_many_as_numbers() -> None:
    for components in (("r", "g"), ("r", "g", "g")):
        with pytest.raises(ConfigError, match="3 numbers, but the components"):
            Control("", (0.0,) * 3, (1.0,) * 3, (0.0,) * 3, "", components=components)


def test_clamp_refuses_what_is_no_value() -> None:
    with pytest.raises(ConfigError, match="expected 3 finite numbers"):
        HAIR.clamp(0.5)


def test_components_with_a_word_for_a_name_are_controls_too() -> None:
    assert list(ALL) == ["yaw", "hair_color", "expression", "identity", "smile", "angry"]
    assert (ALL["smile"].low, ALL["smile"].high, ALL["smile"].default) == (0.0, 0.9, 0.0)
    assert ALL["smile"].part_of == "expression"
    taken = with_parts({"smile": YAW, "expression": FACE})
    assert taken["smile"] is YAW
    assert list(taken) == ["smile", "expression", "angry"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"smile": 0.8}, {"expression": (0.8, 0.1)}),
        ({"smile": 0.8, "expression": {"angry": 0.5}}, {"expression": (0.8, 0.5)}),
        ({"expression": "smile:0.2", "angry": 0, "smile": 0.4}, {"expression": (0.4, 0.0)}),
        ({"yaw": 5, "identity": 3}, {"yaw": 5.0, "identity": 3}),
    ],
)
def test_a_component_overrides_its_control(values: dict[str, Any], expected: dict[str, Any]) -> None:
    assert settle(ALL, values) == expected


def test_unknown_controls_are_refused() -> None:
    with pytest.raises(ConfigError, match="'smle': this model does not have it; did you mean smile"):
        settle(ALL, {"smle": 1})


def test_values_are_shown_as_people_write_them() -> None:
    assert shown((0.1, 1.0)) == "0.1,1"
    assert shown("x") == "'x'"
