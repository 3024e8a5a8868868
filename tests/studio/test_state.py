"""What decides a picture, what repeats it, and what is refused."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gantrol.cli import main
from gantrol.controls import Control
from gantrol.errors import ConfigError
from gantrol.model import Model
from gantrol.studio.explore import png_bytes
from gantrol.studio.state import Shown, drawn_together, own_controls, start
from gantrol.studio.widgets import HAIR, axis, describe, step_of

FULL = Shown(
    model="faces",
    seed=7,
    truncation=0.65,
    controls={"age": 61.3, "light": (-20.0, 10.5), "hair_color": (0.3, 0.2, 0.1), "identity": 3},
    translate=(-0.1, 0.05),
    rotate=-12.0,
)


def test_the_command_writes_the_same_bytes(faces: Model, tmp_path: Path) -> None:
    file = tmp_path / "a b.png"
    words = shlex.split(FULL.command(str(file)))
    assert words[0] == "gantrol"
    with pytest.raises(SystemExit) as end:
        main(words[1:])
    assert end.value.code == 0
    assert file.read_bytes() == png_bytes(FULL.picture(faces))


def test_the_command_of_a_conditional_model_in_an_odd_place(plain: Model, tmp_path: Path) -> None:
    folder = tmp_path / "my model"
    plain.save_pretrained(folder)
    shown = start(str(folder), plain)
    assert shown.class_index == 0
    with pytest.raises(SystemExit) as end:
        main(shlex.split(shown.command(str(tmp_path / "x.png")))[1:])
    assert end.value.code == 0
    assert (tmp_path / "x.png").read_bytes() == png_bytes(shown.picture(plain))


def test_the_python_makes_the_same_bytes(faces: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(FULL.python(), "shown", "exec"), {})
    assert Path("seed0007.png").read_bytes() == png_bytes(FULL.picture(faces))


def test_commands_say_what_matters_only() -> None:
    assert Shown(model="faces", seed=3).command("x.png") == "gantrol generate faces --seeds 3 --grid x.png"
    text = Shown(model="faces", seed=3).python()
    assert "truncation_psi=1.0" in text
    assert not any(word in text for word in ("rotate", "translate", "controls", "class"))


def test_json_there_and_back() -> None:
    text = json.dumps(FULL.to_json())
    assert Shown.from_json(text) == FULL
    assert Shown.from_json({**json.loads(text), "command": "…", "python": "…"}) == FULL
    assert Shown.from_json({"model": "m"}) == Shown(model="m")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("[", "cannot be read as JSON"),
        ("[" * 100_000, "too long"),
        ("[" * 60_000, "cannot be read as JSON"),
        ([], "no description"),
        (None, "no description"),
        ({}, "no description"),
        ({"model": 7}, "no description"),
        ({"model": "m", "format": "gantrol-run"}, "'gantrol-run'"),
        ({"model": "m", "sed": 3}, r"no 'sed'; did you mean seed\?"),
        ({"model": "m", "seed": -1}, "seed '-1'"),
        ({"model": "m", "seed": 2**32}, "expected a whole number"),
        ({"model": "m", "seed": 1.5}, "expected a whole number"),
        ({"model": "m", "seed": True}, "expected a whole number"),
        ({"model": "m", "truncation": "0.5"}, "truncation"),
        ({"model": "m", "truncation": float("nan")}, "truncation"),
        ({"model": "m", "truncation": 1e9}, "truncation"),
        ({"model": "m", "translate": 3}, "translate"),
        ({"model": "m", "translate": [0, float("inf")]}, "translate"),
        ({"model": "m", "translate": [0, 0, 0]}, "translate"),
        ({"model": "m", "rotate": None}, "rotate"),
        ({"model": "m", "class_index": "cat"}, "class"),
        ({"model": "m", "controls": [1]}, "controls"),
        ({"model": "m", "controls": {str(n): 1 for n in range(100)}}, "controls"),
        ({"model": "m", "controls": {"hair_color": "/etc/passwd.png"}}, "hair_color"),
        ({"model": "m", "controls": {"age": {"x": 1}}}, "age"),
        ({"model": "m", "controls": {"age": [1, "x.png"]}}, "age"),
        ({"model": "m", "controls": {"age": []}}, "age"),
        ({"model": "m", "controls": {"age; rm -rf": 3}}, "expected a number"),
        ({"model": "m", "controls": {"age": list(range(1000))}}, "age"),
    ],
)
def test_nonsense_is_refused_in_one_line(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        Shown.from_json(data)
    assert "\n" not in str(error.value)


def test_nonsense_is_not_repeated_at_length() -> None:
    long = "x" * 5000
    for field in ({"controls": {"hair_color": [0.5, long]}}, {"truncation": long}, {"translate": [long, 0]}):
        with pytest.raises(ConfigError) as caught:
            Shown.from_json({"model": "faces", **field})
        assert len(str(caught.value)) < 300


def test_a_model_gets_what_it_can_do(faces: Model, plain: Model) -> None:
    wild = Shown.from_json(
        {
            "model": "faces",
            "controls": {"age": 900, "light": [1, 2, 3], "nose": 3, "identity": 5, "yaw": -5},
            "rotate": 30,
            "class_index": 9,
        }
    )
    ours = wild.fitted("faces", faces)
    assert ours.controls == {"age": faces.controls["age"].high, "identity": 5, "yaw": -5}
    assert (ours.rotate, ours.class_index) == (30, None)
    theirs = wild.fitted("plain", plain)
    assert (theirs.model, theirs.controls, theirs.rotate, theirs.class_index) == ("plain", {}, 0.0, 2)
    assert theirs.picture(plain).size == (16, 16)


def test_identity_is_kept_while_the_seed_changes(faces: Model) -> None:
    """The sub-vector of identity is that of the locked seed, the others are those of the new one."""
    locked = Shown(model="faces", seed=1).with_identity(1)
    assert locked.identity == 1
    moved = Shown(model="faces", seed=2).with_identity(1)
    assert faces.control_set is not None
    part = faces.control_set.slices["identity"]  # type: ignore[union-attr, index]
    kept, new, free = (
        faces.map([shown.seed], controls=shown.controls) for shown in (locked, moved, Shown(model="faces", seed=2))
    )
    assert np.allclose(kept[..., part], new[..., part], atol=1e-6)  # type: ignore[index]
    others = [i for i in range(new.shape[-1]) if not part.start <= i < part.stop]  # type: ignore[union-attr]
    assert np.allclose(free[..., others], new[..., others], atol=1e-6)
    assert not np.allclose(kept[..., others], new[..., others], atol=1e-3)
    assert moved.with_identity(None) == Shown(model="faces", seed=2)
    assert png_bytes(locked.picture(faces)) == png_bytes(Shown(model="faces", seed=1).picture(faces))


def test_a_picture_is_what_generate_makes(faces: Model) -> None:
    drawn = FULL.picture(faces)
    assert isinstance(drawn, Image.Image)
    expected = faces.generate([7], FULL.controls, truncation_psi=0.65, translate=(-0.1, 0.05), rotate=-12.0)[0]
    assert drawn.tobytes() == expected.tobytes()


# ----------------------------------------------------------------------------------------------------------------------
# Widgets


def test_pictures_of_several_people_drawn_together(faces: Model, plain: Model) -> None:
    """Each is the one drawn alone: seeds, controls, truncations, places and classes of their own."""
    many = [
        Shown(model="faces", seed=1, controls={"age": 60.0}),
        Shown(model="faces", seed=2, controls={"yaw": -15.0, "identity": 9}, truncation=0.5),
        Shown(model="faces", seed=3, translate=(0.1, 0.0), rotate=20.0),
        Shown(model="faces", seed=1, controls={"hair_color": (0.2, 0.1, 0.1)}, rotate=-5.0),
    ]
    classes = [Shown(model="plain", seed=seed, class_index=seed % 3) for seed in range(4)]
    for model, shown in ((faces, many), (plain, classes)):
        together = drawn_together(model, [one.fitted(one.model, model) for one in shown])
        alone = [one.fitted(one.model, model).picture(model) for one in shown]
        for mine, reference in zip(together, alone, strict=True):
            assert np.abs(np.asarray(mine, np.int16) - np.asarray(reference, np.int16)).max() <= 1
    assert len({picture.tobytes() for picture in together}) == 4
    assert drawn_together(faces, many[:1])[0].tobytes() == many[0].picture(faces).tobytes()


def test_every_control_has_one_widget(faces: Model, plain: Model) -> None:
    widgets = describe([plain, faces])
    by_name = {widget["name"]: widget for widget in widgets}
    assert [widget["kind"] for widget in widgets][-2:] == ["seed", "seed"]
    assert by_name["identity"]["is_identity"]
    assert not by_name["other"]["is_identity"]
    assert [entry["control"] for entry in by_name["pose"]["axes"]] == ["yaw", "pitch"]
    assert [entry["name"] for entry in by_name["light"]["axes"]] == ["azimuth", "elevation"]
    assert by_name["hair_color"]["kind"] == "colour"
    assert set(by_name["hair_color"]["swatches"]) == set(HAIR)
    assert by_name["age"]["axes"][0]["unit"] == "years"
    set_by = {entry["control"] for widget in widgets for entry in widget.get("axes", [])}
    set_by |= {widget["name"] for widget in widgets if widget["kind"] in ("seed", "colour")}
    assert set_by == set(own_controls(faces))
    assert describe([plain]) == []
    json.dumps(widgets)


@pytest.mark.parametrize(("low", "high", "step"), [(17.1, 75.4, 0.1), (-56.4, 56.9, 0.5), (0, 1, 0.005), (0, 900, 1)])
def test_steps(low: float, high: float, step: float) -> None:
    assert step_of(low, high) == step
    described = axis("x", Control(unit="degrees", low=low, high=high, default=(low + high) / 2, help=""))
    assert low <= described["low"] < described["start"] < described["high"] <= high
    assert round(described["low"] / step, 6) == round(described["low"] / step)
    assert described["unit"] == "°"


def test_a_pad_takes_two_controls_of_one_number_each() -> None:
    class Two:
        controls = {  # noqa: RUF012
            "yaw": Control(unit="degrees", low=-30.0, high=30.0, default=0.0, help="y"),
            "light": Control(unit="degrees", low=(-1.0, -1.0), high=(1.0, 1.0), default=(0.0, 0.0), help="l"),
        }

    kinds = {widget["name"]: widget["kind"] for widget in describe([Two()])}  # type: ignore[list-item]
    assert kinds == {"yaw": "sliders", "light": "sliders"}
