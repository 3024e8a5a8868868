"""Two people at once: neither sees the other's settings, and long work of one leaves the sliders of the other alone."""

from __future__ import annotations

import time

from playwright.sync_api import Browser

from tests.browser.browsing import Explore, changed_picture, tab, visitor


def test_two_visitors(browser: Browser, url: str) -> None:
    with visitor(browser, url) as (first, _), visitor(browser, url) as (second, _):
        one, other = Explore(first), Explore(second)
        one.open()
        other.open()
        start = one.picture(), one.fields()
        assert (other.picture(), other.fields()) == start
        with one.step():
            one.type("seed", "7")
            one.type("number-age", "65")
        one.at("favourite").click()
        assert (other.picture(), other.fields()) == start
        with other.step():
            other.type("number-yaw", "20")
        mine, yours = (one.picture(), one.fields()), (other.picture(), other.fields())
        assert mine[0] != yours[0]
        assert one.settings() == ["age=65"]
        assert other.settings() == ["yaw=20"]
        assert other.at("favourites").locator("button").count() == 0
        with other.step():
            other.at("undo").click()
        assert (other.picture(), other.fields()) == start
        assert other.at("undo").is_disabled()
        assert (one.picture(), one.fields()) == mine

        tab(first, "Mix")
        first.locator("#mix-frames input[type=number]").fill("240")
        first.locator("#mix-film").click()
        first.get_by_text("frames").first.wait_for()
        began = time.monotonic()
        for _ in range(5):
            with other.step():
                other.at("seed-next").click()
        assert first.locator("#mix-video video").count() == 0, f"{time.monotonic() - began:.1f} s: not beside the film"
        first.locator("#mix-film-cancel").click()
        first.locator("#mix-rows textarea, #mix-rows input").first.fill("0")
        first.locator("#mix-make").click()
        assert changed_picture(first, "mix-table", "")
