"""The tab Explore: what each control changes, and what it leaves alone; dragging, undoing, keeping."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

import gantrol
from gantrol.studio.app import TABS
from gantrol.studio.explore import png_bytes
from gantrol.studio.state import own_controls, start
from tests.browser.browsing import Explore

SHARED = {"truncation", "move"}
"""What a model without controls follows as well; and what no attribute of the command's --set is."""


def others(fields: dict[str, str], widget: str) -> dict[str, str]:
    """The settings of all other widgets."""
    return {name: value for name, value in fields.items() if not name.startswith(f"{widget}/")}


def test_it_opens_on_the_bundled_faces(explore: Explore) -> None:
    page = explore.page
    assert page.title() == "gantrol studio"
    titles = [page.get_by_role("tab", name=title, exact=True).count() for title in TABS.values()]
    assert titles == [1] * len(TABS)
    assert "seed 0 · drawn in" in explore.status()
    faces = gantrol.load("faces")
    assert explore.picture() == png_bytes(start("faces", faces).picture(faces))
    widths = page.evaluate("() => [...document.querySelectorAll('.gs-picture')].map((img) => img.naturalWidth)")
    assert widths == [32, 16]


def test_each_control_changes_the_picture_and_nothing_else(explore: Explore) -> None:
    page = explore.page
    free, plain, fields = explore.picture(), explore.picture(1), explore.fields()
    pictures, seen = {free}, set[str]()
    widgets = page.locator(".gs-explore [data-widget]").evaluate_all("all => all.map((one) => one.dataset.widget)")
    for widget in widgets:
        row = page.locator(f'.gs-explore [data-widget="{widget}"]')
        row.scroll_into_view_if_needed()
        for grip in row.locator('.gs-pad, input[type="range"], input[type="color"]').all():
            with explore.step():
                match grip.get_attribute("type"):
                    case "range":
                        grip.press("End" if grip.input_value() == grip.get_attribute("min") else "Home")
                    case "color":
                        row.locator(".gs-swatch").last.click()
                    case _:
                        explore.drag(grip, [(0.5, 0.5), (0.8, 0.3)])
            assert explore.picture() not in pictures, widget
            pictures.add(explore.picture())
            assert explore.picture(1) == plain or widget in SHARED, widget
            assert explore.fields() != fields
            assert others(explore.fields(), widget) == others(fields, widget)
            seen |= {word.partition("=")[0] for word in explore.settings()}
            with explore.step():
                explore.at("undo").click()
            assert (explore.picture(), explore.fields()) == (free, fields), widget
    known = own_controls(gantrol.load("faces"))
    assert seen - {"--translate"} == {name for name, control in known.items() if control.kind != "seed"}


def test_a_control_is_let_go(explore: Explore) -> None:
    free, fields = explore.picture(), explore.fields()
    assert explore.at("reset-roll").is_hidden()
    with explore.step():
        explore.type("number-roll", "9")
    assert explore.settings() == ["roll=9"]
    with explore.step():
        explore.at("reset-roll").click()
    assert (explore.picture(), explore.fields(), explore.settings()) == (free, fields, [])


def test_a_slider_is_dragged(explore: Explore) -> None:
    before, fields, steps = explore.picture(), explore.fields(), explore.steps
    slider = explore.at("control-age")
    with explore.step():
        explore.drag(slider, [(0.4, 0.5), (0.6, 0.5), (0.98, 0.5), (0.8, 0.5)])
    assert explore.steps - steps >= 2  # it follows while it is dragged
    age = float(slider.input_value())
    low, high = (float(slider.get_attribute(end) or "nan") for end in ("min", "max"))
    assert abs((age - low) / (high - low) - 0.8) < 0.05
    assert explore.at("number-age").input_value() == slider.input_value()
    assert explore.settings() == [f"age={age:g}"]
    with explore.step():
        explore.at("undo").click()  # one drag is one step of the history
    assert explore.picture() == before
    assert explore.fields() == fields


def test_pads_are_dragged(explore: Explore) -> None:
    explore.drag(explore.at("pad-pose"), [(0.5, 0.5), (0.75, 0.5), (1.2, -0.2)])  # past the edge: the farthest value
    pose = explore.at("number-yaw"), explore.at("number-pitch")
    assert [field.input_value() for field in pose] == [field.get_attribute("max") for field in pose]
    explore.drag(explore.at("pad-light"), [(0.5, 0.5), (0.1, 0.5)])
    assert float(explore.at("number-azimuth").input_value()) < 0
    with explore.step():
        explore.drag(explore.at("pad-move"), [(0.5, 0.5), (0.75, 0.5)])
    assert float(explore.at("number-right").input_value()) == 0.25
    assert float(explore.at("number-down").input_value()) == 0
    assert "--translate=0.25,0" in explore.settings()
    before = explore.picture()
    with explore.step():
        explore.drag(explore.at("pad-rotate"), [(0.5, 0.5), (-1.5, 1.5), (-2.3, 3.3)])
    assert 30 < float(explore.at("number-rotate").input_value()) < 120
    assert explore.picture() != before
    with explore.step():
        explore.at("reset-move").click()
    before = explore.picture()
    with explore.step():
        explore.drag(explore.at("picture-0"), [(0.5, 0.5), (0.6, 0.7)])
    moved = [float(explore.at(f"number-{axis}").input_value()) for axis in ("right", "down")]
    assert [round(part, 2) for part in moved] == [0.1, 0.2]
    assert explore.picture() != before


def test_arrow_keys_move_a_pad(explore: Explore) -> None:
    with explore.step():
        explore.at("pad-move").press("ArrowRight")
        explore.at("pad-move").press("Shift+ArrowDown")
    assert [explore.at(f"number-{axis}").input_value() for axis in ("right", "down")] == ["0.01", "0.1"]


def test_undo_and_redo(explore: Explore) -> None:
    states = [(explore.picture(), explore.fields())]
    for press in (lambda: explore.at("seed-next").click(), lambda: explore.type("number-age", "60")):
        with explore.step():
            press()
        states.append((explore.picture(), explore.fields()))
    with explore.step():
        explore.type("truncation", "0.5")
    with explore.step():
        explore.at("undo").click()
    assert (explore.picture(), explore.fields()) == states[2]
    with explore.step():
        explore.page.keyboard.press("Control+z")
    assert (explore.picture(), explore.fields()) == states[1]
    with explore.step():
        explore.at("undo").click()
    assert (explore.picture(), explore.fields()) == states[0]
    with explore.step():
        explore.page.keyboard.press("Control+Shift+Z")
    with explore.step():
        explore.at("redo").click()
    assert (explore.picture(), explore.fields()) == states[2]
    with explore.step():
        explore.type("seed", "9")  # a new step: what was undone is gone
    assert explore.at("redo").is_disabled()


def test_seeds(explore: Explore) -> None:
    seen = set()
    for name in ("seed-next", "seed-next", "seed-previous", "seed-random"):
        with explore.step():
            explore.at(name).click()
        seen.add(explore.picture())
        assert explore.at("picture-0").get_attribute("data-seed") == explore.at("seed").input_value()
    assert len(seen) == 3
    with explore.step():
        explore.type("seed", "99999999999")
    assert explore.at("seed").input_value() == str(2**32 - 1)


@pytest.mark.parametrize("kept", ["identity", "other"])
def test_a_part_of_a_seed_is_locked(explore: Explore, kept: str) -> None:
    switch = explore.at("lock-identity" if kept == "identity" else "keep-other")
    label = explore.page.locator(".gs-switch", has=switch)
    with explore.step():
        explore.type("seed", "3")
    person = explore.picture()
    with explore.step():
        label.click()
    assert explore.picture() == person
    with explore.step():
        explore.at("seed-next").click()
    locked = explore.picture()
    assert explore.settings() == [f"{kept}=3"]
    with explore.step():
        label.click()
    assert explore.settings() == []
    assert len({person, locked, explore.picture()}) == 3


def test_favourites_stay_in_the_browser(explore: Explore) -> None:
    with explore.step():
        explore.type("seed", "11")
    with explore.step():
        explore.type("number-expression-smile", "0.4")
    kept = explore.picture()
    explore.at("favourite").click()
    explore.open()
    assert explore.picture() != kept
    thumb = explore.at("favourites").locator("button").first
    with explore.step():
        thumb.click()
    assert explore.picture() == kept
    explore.page.get_by_label("forget favourite 1").click()
    assert explore.at("favourites").locator("button").count() == 0


def test_a_model_is_hidden_and_comes_back(explore: Explore) -> None:
    page = explore.page
    both = Image.open(BytesIO(explore.picture())).size, Image.open(BytesIO(explore.picture(1))).size
    assert both == ((32, 32), (16, 16))
    with explore.step():
        page.locator(".gs-chip").nth(1).click()
    assert explore.at("picture-1").count() == 0
    with explore.step():
        page.locator(".gs-chip").nth(1).click()
    assert explore.at("picture-1").count() == 1


def test_a_telephone(explore: Explore) -> None:
    page = explore.page
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1240, "height": 900})
