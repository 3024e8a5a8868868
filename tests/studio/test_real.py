"""The tab Real picture: projected, edited with what was moved and only that, and given back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gantrol.errors import ConfigError
from gantrol.model import Model
from gantrol.pictures import to_arrays
from gantrol.studio import real
from gantrol.studio.control import Readers
from gantrol.studio.engine import Engine
from gantrol.studio.long_work import Job
from tests.studio.tabs import built_ids


@pytest.fixture(scope="module")
def found(faces: Model) -> real.Found:
    picture = faces.generate([7], {"yaw": 0.0})[0].resize((80, 60))
    options = {"readers": Readers("portraits"), "features": "pyramid", "kind": None, "seed": 0}
    return real.find(faces, picture, "faces", space="w+", steps=12, tuning=3, **options)  # type: ignore[arg-type]


def test_unmoved_sliders_give_the_projection_itself(faces: Model, found: real.Found) -> None:
    drawn = found.draw(faces, found.starts)
    assert found.tuned is not None
    assert np.array_equal(drawn, to_arrays(found.projection.render(found.tuned))[0])
    assert real.likeness(found, found.target) == 100
    assert 5 < real.likeness(found, drawn) < 60


def test_a_moved_slider_sets_its_control_and_no_other(faces: Model, found: real.Found) -> None:
    names = [knob.label for knob in real.knobs(faces)]
    at = names.index("smile (0-1)")
    settings = list(found.starts)
    settings[at] = real.knobs(faces)[at].high
    values = real.moved_values(faces, found.starts, settings)
    assert list(values) == ["expression"]
    assert isinstance(values["expression"], tuple)
    assert values["expression"][0] == faces.controls["smile"].high
    first = names.index("laugh (0-1)")
    assert values["expression"][1:] == tuple(found.starts[first : first + 4])  # the rest stays what was read
    assert not np.array_equal(found.draw(faces, settings), found.draw(faces, found.starts))
    beyond = [1e9] * len(settings)
    assert found.draw(faces, beyond).shape == found.target.shape  # limits hold, whatever a page sends


def test_starts_are_read_and_lie_on_the_sliders_steps(faces: Model, found: real.Found) -> None:
    for knob, start in zip(real.knobs(faces), found.starts, strict=True):
        assert knob.low <= start <= knob.high
        steps = (start - knob.low) / knob.step
        assert abs(steps - round(steps)) < 1e-6 or start == knob.high


def test_projection_reports_and_refuses(faces: Model, plain: Model) -> None:
    class Log(Job):
        def __init__(self) -> None:
            super().__init__()
            self.steps: list[tuple[int, int]] = []

        def show(self, done: int, total: int, picture: object) -> None:
            self.steps.append((done, total))

    log = Log()
    picture = Image.new("L", (20, 30), 90)
    options = {"space": "w", "tuning": 0, "seed": 0, "readers": Readers(), "features": "pyramid"}
    made = real.find(plain, picture, "plain", steps=10, kind=1, job=log, **options)  # type: ignore[arg-type]
    assert made.starts == ()
    assert log.steps[-1] == (10, 10)
    assert made.draw(plain, ()).shape == (16, 16, 3)
    with pytest.raises(ConfigError, match="steps=9999"):
        real.find(plain, picture, "plain", steps=9999, kind=1, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="conditional"):
        real.find(plain, picture, "plain", steps=10, kind=None, **options)  # type: ignore[arg-type]


def test_the_tab_is_built(engine: Engine) -> None:
    ids = built_ids(real.build, engine)
    assert {"real-upload", "real-target", "real-result", "real-project", "real-slider-0", "real-download"} <= ids
