"""The tab Control: sweeps with their numbers, leakage, and one line where there are no controls."""

from __future__ import annotations

import pytest

from gantrol.errors import ConfigError
from gantrol.metrics.control_report import ControlReport, ControlScore
from gantrol.model import Model
from gantrol.studio import control
from gantrol.studio.engine import Engine
from tests.studio.tabs import built_ids


def test_a_sweep_is_a_picture_and_a_number_with_its_unit(faces: Model) -> None:
    readers = control.Readers()
    picture, line = control.sweep_view(faces, readers, "age", "0-1", 3, 0.7, None)
    assert picture.mode == "RGB"
    assert "years" in line
    assert "portraits-second" in line
    assert "6 pictures" in line
    assert readers.get() is readers.get()
    for seeds, steps, message in (("0-6", 3, "7 seeds"), ("0", 10, "steps=10"), ("", 3, "expected numbers")):
        with pytest.raises(ConfigError, match=message):
            control.sweep_view(faces, readers, "age", seeds, steps, 0.7, None)


def test_choices_are_the_controls_that_take_values(faces: Model, plain: Model) -> None:
    names = [name for _, name in control.control_choices(faces)]
    assert "azimuth" in names
    assert "smile" in names
    assert "identity" not in names
    assert "light" not in names
    assert control.control_choices(plain) == []


def test_leakage_frames_what_is_meant_to_move() -> None:
    moves = {"light.azimuth": {"light": 0.9, "age": 0.1}, "light.elevation": {"light": 0.8, "age": 0.2}}
    one = {"component_mae": (1.0, 1.0), "component_bias": (0.0, 0.0), "component_correlation": (0.9, 0.9)}
    score = ControlScore(
        name="light", unit="degrees", low=(0.0, 0.0), high=(1.0, 1.0), components=("azimuth", "elevation"), mae=1.0,
        curves=(), moves=moves, requests=20, **one,  # type: ignore[arg-type]
    )  # fmt: skip
    report = ControlReport(
        scores={"light": score}, not_measured={"wings<b>": "there are none"}, predictor_errors={}, truth="nothing",
        same_in_data={}, separability={}, disentanglement={}, spread={"light": (1.0,)}, units={}, samples=20,
        identities=2, reals=None, predictors="some", seed=0,
    )  # fmt: skip
    made = control.leakage_view(report)
    assert made.count("outline:2px") == 2
    assert "standard deviations" in made
    assert "<b>" not in made


def test_the_tab_is_built(engine: Engine) -> None:
    ids = built_ids(control.build, engine)
    assert {"control-attribute", "control-picture", "control-leakage", "control-note", "control-cancel"} <= ids
