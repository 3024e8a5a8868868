"""The tabs beside Explore: what one does there first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

import gantrol
from tests.browser.browsing import changed_picture, choose, enter, picture_of, tab, toast, upload
from tests.browser.conftest import tick


def test_mix(page: Page) -> None:
    tab(page, "Mix")
    enter(page, "mix-rows", "0,1")
    enter(page, "mix-columns", "2")
    page.locator("#mix-make").click()
    coarse = picture_of(page, "mix-table")
    page.get_by_label("fine layers").first.check()
    page.locator("#mix-make").click()
    changed_picture(page, "mix-table", coarse)

    strip = picture_of(page, "mix-strip")
    enter(page, "mix-keyframes", "5,6")
    changed_picture(page, "mix-strip", strip)
    enter(page, "mix-frames", "8")
    pytest.importorskip("av")
    page.locator("#mix-film").click()
    page.wait_for_function("document.querySelector('#mix-video video')?.duration > 0")


def test_mix_says_what_does_not_fit(page: Page) -> None:
    tab(page, "Mix")
    enter(page, "mix-rows", "0-99")
    page.locator("#mix-make").click()
    assert "give at most 8" in toast(page)


def test_look_inside(page: Page) -> None:
    tab(page, "Look inside")
    last = picture_of(page, "inside-map")
    choose(page, "inside-layer", "layers.2")
    earlier = changed_picture(page, "inside-map", last)
    assert "cutoff" in page.locator("#inside-facts").inner_text()
    page.locator("#inside-layers button").nth(4).click()  # the fifth thumbnail: the input comes first
    page.wait_for_function("document.querySelector('#inside-layer input').value === 'layers.3'")
    earlier = changed_picture(page, "inside-map", earlier)
    enter(page, "inside-channels", "0")
    one = changed_picture(page, "inside-map", earlier)
    enter(page, "inside-seed", "4")
    changed_picture(page, "inside-map", one)
    assert page.locator("#inside-spectrum svg").count() == 1
    tab(page, "Attention")
    assert page.locator("#inside-attention-note").is_visible()  # a StyleGAN3 has none
    tab(page, "Cutoffs")
    assert page.locator("#inside-cutoffs tbody tr").count() > 3
    tab(page, "Feature maps")


def test_control(page: Page) -> None:
    tab(page, "Control")
    enter(page, "control-seeds", "0")
    enter(page, "control-steps", "2")
    page.locator("#control-sweep").click()
    first = picture_of(page, "control-picture")
    assert "mean absolute difference" in page.locator("#control-error").inner_text()
    choose(page, "control-attribute", "yaw")
    page.locator("#control-sweep").click()
    changed_picture(page, "control-picture", first)
    page.wait_for_function("document.querySelector('#control-error').innerText.startsWith('yaw')")


def test_real_picture(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "somebody.png"
    portrait = gantrol.load("faces").generate([8], truncation_psi=0.5, output="np")[0]
    Image.fromarray(np.asarray(portrait)).resize((80, 80)).save(file)
    tab(page, "Real picture")
    upload(page, "real-upload", file)
    picture_of(page, "real-target")
    enter(page, "real-steps", "10")
    page.locator("#real-project").click()
    page.locator("#real-slider-0").wait_for()
    found = picture_of(page, "real-result")
    assert "dB like the picture" in page.locator("#real-facts").inner_text()
    slider = page.locator("#real-slider-0 input[type=range]")
    start = slider.input_value()
    slider.press("End")
    edited = changed_picture(page, "real-result", found)
    page.locator("#real-reset").click()
    changed_picture(page, "real-result", edited)
    page.wait_for_function(
        "start => document.querySelector('#real-slider-0 input[type=range]').value === start", arg=start
    )
    page.locator("#real-files").click()
    page.locator("#real-download a").nth(1).wait_for()
    with page.expect_download() as download:
        page.locator("#real-download a[download='picture.png']").first.click()
    with Image.open(download.value.path()) as saved:
        assert saved.size == (32, 32)


def test_runs(page: Page, run_folder: Path) -> None:
    tab(page, "Runs")
    first = picture_of(page, "runs-fakes")
    assert "1 of 4 kimg (25%)" in page.locator("#runs-facts").inner_text()
    assert page.locator("#runs-curves svg").count() >= 1
    tick(run_folder, 4000)  # the page follows
    page.get_by_text("4 of 4 kimg (100%)").wait_for()
    changed_picture(page, "runs-fakes", first)
    assert "complete" in page.locator("#runs-facts").inner_text()
