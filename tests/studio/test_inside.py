"""The tab Look inside: what it shows for models that have it, and one line for those that do not."""

from __future__ import annotations

import pytest

from gantrol.errors import ConfigError
from gantrol.model import Model
from gantrol.studio import inside
from gantrol.studio.engine import Engine
from tests.studio.tabs import built_ids


def test_every_layer_has_a_thumbnail_and_can_be_enlarged(faces: Model, plain: Model) -> None:
    shown = inside.overview(faces, 0, 0.7, None)
    assert [caption for _, caption in shown][:2] == ["input", "layers.0"]
    assert shown[-1][1] == "image"
    made = inside.one_layer(faces, "layers.3", "", 0, 0.7, None)
    assert made.heat is not None
    assert "f_c = 9.51 cycles per image" in made.facts
    assert "<svg" in made.spectrum
    assert "channels 0, 1, 2" in inside.one_layer(faces, "layers.3", "0,1,2", 0, 0.7, None).facts
    small = inside.one_layer(plain, "blocks.0.conv1", "", 0, 1.0, 1)
    assert small.heat is None
    assert "too small" in small.spectrum
    for channels in ("0,1", "x", "99"):
        with pytest.raises(ConfigError, match="channels"):
            inside.one_layer(faces, "layers.3", channels, 0, 0.7, None)
    with pytest.raises(ConfigError, match="seed"):
        inside.overview(faces, -1, 0.7, None)


def test_bands_and_motion_only_where_they_are(faces: Model, plain: Model) -> None:
    assert "cycles per image" in inside.bands_view(faces)
    assert inside.bands_view(plain) == ""
    picture, line = inside.motion_view(plain, 0, 1.0, 0)
    assert picture is None
    assert "cannot be moved" in line


def test_the_sticking_test_has_pictures_and_numbers(plain: Model) -> None:
    average, strip, line = inside.sticking_view(plain.generator, 0, 60, 1)
    assert average.size == (384, 192)
    assert strip.height == 192
    assert "average" in line
    assert "strip" in line
    for count in (10, 10_000):
        with pytest.raises(ConfigError, match="samples"):
            inside.sticking_view(plain.generator, 0, count, 1)


def test_the_tab_is_built(engine: Engine) -> None:
    ids = built_ids(inside.build, engine)
    assert {"inside-layers", "inside-map", "inside-heads", "inside-cutoffs", "inside-a-motion", "inside-b-strip"} <= ids
