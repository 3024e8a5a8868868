"""Sweeps that are read back: the values asked, the images of these values, and what is read in them."""

from __future__ import annotations

import numpy as np
import pytest

import gantrol
from gantrol.control.predictors.folder import load_predictors
from gantrol.errors import ConfigError
from gantrol.model import Model
from gantrol.sweeps import measured_sweep


@pytest.fixture(scope="module")
def faces() -> Model:
    return gantrol.load("faces", device="cpu")


def test_a_sweep_shows_and_reads_what_was_asked(faces: Model) -> None:
    calls: list[tuple[int, int]] = []
    readers = load_predictors("portraits-second")
    found = measured_sweep(
        faces, "yaw", [0, 1], steps=3, predictors=readers, progress=lambda done, total: calls.append((done, total))
    )
    assert calls == [(2, 6), (4, 6), (6, 6)]
    control = faces.controls["yaw"]
    assert found.asked == pytest.approx((control.low, (control.low + control.high) / 2, control.high))
    assert np.array_equal(found.images[:, 2], faces.generate([0, 1], {"yaw": control.high}, output="np"))
    assert found.read is not None
    assert (np.diff(found.read[:, :, 0]) > 0).all()  # the head turns as far as it is asked to
    assert 0 < found.error < 15
    lines = found.captions()
    assert len(lines) == 6
    assert lines[0][0] == "asked -32.1"
    assert lines[0][1].startswith("read -")
    assert found.picture(64).width == 3 * (64 + 4) - 4


def test_components_are_read_alone_and_colours_as_they_are(faces: Model) -> None:
    readers = load_predictors("portraits-second")
    azimuth = measured_sweep(faces, "azimuth", [0], steps=2, predictors=readers)
    assert azimuth.read is not None
    assert azimuth.read.shape == (1, 2, 1)
    colour = measured_sweep(faces, "hair_color", [0], steps=2, predictors=readers)
    assert colour.read is not None
    assert colour.read.shape == (1, 2, 3)


def test_what_cannot_be_read_says_why(faces: Model) -> None:
    found = measured_sweep(faces, "identity", [0], steps=2, predictors=load_predictors("portraits-second"))
    assert found.read is None
    assert "takes a seed" in found.note
    assert found.captions() == [["asked 0"], ["asked 1"]]
    assert np.isnan(found.error)


def test_wrong_sweeps_are_refused_in_one_line(faces: Model) -> None:
    with pytest.raises(ConfigError, match="does not have it"):
        measured_sweep(faces, "wings", [0])
    with pytest.raises(ConfigError, match="at least one"):
        measured_sweep(faces, "age", [])
    with pytest.raises(ConfigError, match="at least 2"):
        measured_sweep(faces, "age", [0], steps=1)
