"""Configs: JSON and back, overrides from the command line, and errors that name the field."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gantrol.config import from_dict, override, to_dict
from gantrol.errors import ConfigError
from gantrol.models import GENERATORS
from gantrol.train.config import TrainConfig
from gantrol.train.presets import PRESETS, SCALES, DataShape, preset
from gantrol.train.presets_transgan import LAYOUTS


@dataclass(frozen=True, kw_only=True)
class Square:
    kind: ClassVar[str] = "square"
    side_px: int = 4

    def __post_init__(self) -> None:
        if self.side_px < 1:
            raise ConfigError(f"side_px={self.side_px}: expected 1 or more")


@dataclass(frozen=True, kw_only=True)
class Disc:
    kind: ClassVar[str] = "disc"
    radius: float = 1.0
    side_px: int = 2


@dataclass(frozen=True, kw_only=True)
class Pen:
    """Has no kind: its class follows from the field."""

    width: float = 0.5
    colours: tuple[int, ...] = (0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    shape: Square | Disc
    pen: Pen = Pen()
    title: str = ""
    layers: int | None = None
    origin: tuple[int, float] = (0, 0.0)
    is_filled: bool = False
    style: Literal["flat", "shaded"] = "flat"


@dataclass(frozen=True, kw_only=True)
class Album:
    """A tuple of configs."""

    pages: tuple[Drawing, ...] = ()
    frame: Literal["none", "thin"] = "thin"


DRAWING = Drawing(shape=Disc(radius=2))

finite = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**63) + 1, 2**63 - 1)
drawings = st.builds(
    Drawing,
    shape=st.builds(Square, side_px=st.integers(1, 2**63 - 1)) | st.builds(Disc, radius=finite, side_px=whole),
    pen=st.builds(Pen, width=finite, colours=st.lists(whole).map(tuple)),
    title=st.text(),
    layers=st.none() | whole,
    origin=st.tuples(whole, finite),
    is_filled=st.booleans(),
    style=st.sampled_from(["flat", "shaded"]),
)


def through_json(config: Any) -> Any:
    """The config after a trip through a file."""
    return from_dict(type(config), json.loads(json.dumps(to_dict(config))))


# ----------------------------------------------------------------------------------------------------------------------
# There and back


@settings(deadline=None)  # a busy machine may take its time
@given(drawings)
def test_json_round_trip(drawing: Drawing) -> None:
    assert through_json(drawing) == drawing


@settings(deadline=None)  # a busy machine may take its time
@given(drawings, drawings)
def test_overriding_every_field_gives_the_other(start: Drawing, goal: Drawing) -> None:
    """Any config can be reached from any other of the same kinds by assignments alone."""
    data = to_dict(goal)
    shape, pen = data.pop("shape"), data.pop("pen")
    assignments = [f"{name}={json.dumps(value)}" for name, value in data.items()]
    assignments += [f"pen.{name}={json.dumps(value)}" for name, value in pen.items()]
    assignments.append(f"shape={json.dumps(shape)}")
    assert override(start, assignments) == goal


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("scale", SCALES)
def test_every_preset_survives_its_file(name: str, scale: str) -> None:
    side_px = LAYOUTS[name][1] if name in LAYOUTS else 64
    config = preset(name, scale, DataShape(resolution_px=side_px, channels=1, label_dim=3))
    data = to_dict(config)
    assert data["generator"]["kind"] in GENERATORS  # what tells the classes apart is in the file
    assert through_json(config) == config
    assert override(config, []) == config


def test_fields_may_be_left_out() -> None:
    assert from_dict(Drawing, {"shape": {"kind": "square"}}) == Drawing(shape=Square())


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ConfigError, match="shape"):
        from_dict(Drawing, {})


# ----------------------------------------------------------------------------------------------------------------------
# Overrides


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("title=plain words", "title", "plain words"),
        ("title=a=b", "title", "a=b"),
        ("title=", "title", ""),
        ('title="3"', "title", "3"),
        ("layers=3", "layers", 3),
        ("layers=3.0", "layers", 3),
        ("layers=null", "layers", None),
        ("layers=None", "layers", None),
        ("is_filled=true", "is_filled", True),
        ("is_filled=False", "is_filled", False),
        ("pen.width=2", "pen.width", 2.0),
        ("pen.width=1e-3", "pen.width", 1e-3),
        ("pen.colours=[1, 2]", "pen.colours", (1, 2)),
        ("pen.colours=[]", "pen.colours", ()),
        ("origin=[1,2]", "origin", (1, 2.0)),
        ("shape.radius=5", "shape.radius", 5.0),
        ("style=shaded", "style", "shaded"),
    ],
)
def test_override_sets_one_value(assignment: str, path: str, value: Any) -> None:
    changed: Any = override(DRAWING, [assignment])
    for name in path.split("."):
        changed = getattr(changed, name)
    assert changed == value
    assert type(changed) is type(value)


def test_later_overrides_win_and_the_original_stays() -> None:
    assert override(DRAWING, ["layers=1", "layers=2"]).layers == 2
    assert DRAWING.layers is None


def test_another_kind_comes_with_its_own_fields() -> None:
    changed = override(DRAWING, ['shape={"kind": "square", "side_px": 9}'])
    assert changed.shape == Square(side_px=9)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("layers", "expected field=value, found 'layers'"),
        ("titel=x", r"no config field 'titel'; did you mean title\?"),
        ("pen.widht=1", r"no config field 'pen.widht'; did you mean width\?"),
        ("zzz=1", "no config field 'zzz'; known: is_filled, layers, origin, pen, shape, style, title"),
        ("title.length=1", "'title' has no fields, so there is no 'title.length'"),
        ("shape.kind=square", "no config field 'shape.kind'"),
        ("shape.raduis=1", r"no config field 'shape.raduis'; did you mean radius"),
        ("layers=three", "layers='three': expected int"),
        ("layers=1.5", "layers=1.5: expected int"),
        ("layers=true", "layers=True: expected int"),
        ("is_filled=1", "is_filled=1: expected bool"),
        ("pen.width=wide", "pen.width='wide': expected float"),
        ("pen.width=NaN", "pen.width=nan: expected a finite number"),
        ("pen.width=-Infinity", "pen.width=-inf: expected a finite number"),
        ("pen.width=null", "pen.width=None: expected float"),
        ("pen.colours=7", "pen.colours=7: expected a list"),
        ('pen.colours=["red"]', "pen.colours='red': expected int"),
        ("origin=[1]", r"origin=\[1\]: expected 2 values"),
        ("title=3", "title=3: expected str"),
        ("style=bold", "style='bold': expected one of flat, shaded"),
        ("pen=3", "pen: expected an object with fields, found 3"),
        ('pen={"inc": 1}', "no field 'pen.inc'; known: colours, width"),
        ('shape={"kind": "sqare"}', r"shape: unknown kind 'sqare'; did you mean square\?"),
        ("shape=3", "shape: unknown kind"),
    ],
)
def test_a_wrong_override_is_one_line_that_names_the_field(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        override(DRAWING, [assignment])
    assert "\n" not in str(caught.value)


def test_the_class_checks_what_was_set() -> None:
    with pytest.raises(ConfigError, match="side_px=0: expected 1 or more"):
        override(Drawing(shape=Square()), ["shape.side_px=0"])


@settings(deadline=None)  # a busy machine may take its time
@given(st.text(alphabet="ab.=[]{}\"'1e,- ", max_size=12))
def test_no_override_ends_in_anything_but_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        override(DRAWING, [text])


def test_overrides_of_a_training() -> None:
    config = preset("stylegan3-t", "tiny", DataShape(resolution_px=32))
    changed = override(config, ["generator.channel_max=24", "loss.r1_gamma=0.5", "micro_batch=4", "ema_ramp_up=none"])
    assert isinstance(changed, TrainConfig)
    assert (changed.generator.channel_max, changed.loss.r1_gamma, changed.micro_batch) == (24, 0.5, 4)
    assert changed.ema_ramp_up is None
    assert changed.discriminator == config.discriminator
    with pytest.raises(ConfigError, match=r"generator\.resolution_px=64 but discriminator\.resolution_px=32"):
        override(config, ["generator.resolution_px=64"])
    with pytest.raises(ConfigError, match="no loss 'relativistc'; did you mean relativistic"):
        override(config, ["loss.name=relativistc"])
    other = to_dict(preset("stylegan2", "tiny", DataShape(resolution_px=32)))["generator"]
    assert override(config, [f"generator={json.dumps(other)}"]).generator.kind == "stylegan2"


def test_tuples_of_configs() -> None:
    album = Album(pages=(DRAWING, Drawing(shape=Square())))
    assert from_dict(Album, json.loads(json.dumps(to_dict(album)))) == album
    changed = override(album, ["pages.1.shape.side_px=7", "pages.0.title=first", "frame=none"])
    assert changed.pages[1].shape == Square(side_px=7)
    assert (changed.pages[0].title, changed.frame) == ("first", "none")
    assert override(album, ["pages=[]"]).pages == ()
    for assignment, message in {
        "pages.2.title=x": "there is no config field 'pages.2'; the items are numbered 0 to 1",
        "pages.one.title=x": "there is no config field 'pages.one'; the items are numbered 0 to 1",
        "pages.1.titel=x": "there is no config field 'pages.1.titel'; did you mean title",
        "pages.1.layers=many": "pages.1.layers='many': expected int",
    }.items():
        with pytest.raises(ConfigError) as error:
            override(album, [assignment])
        assert message in str(error.value)
