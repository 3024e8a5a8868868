"""What the tests and the screenshots need of a browser: where it is, pages that are watched, and the tab Explore."""

from __future__ import annotations

import base64
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page, Playwright

TIMEOUT_MS = 60_000
"""How long to wait for anything: a busy machine is slow, and a wait that is over costs nothing."""
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def chromium() -> str | None:
    """The path of a Chromium on this machine: `GANTROL_CHROMIUM`, or the system's; None if there is none."""
    named = os.environ.get("GANTROL_CHROMIUM")
    return next(filter(None, map(shutil.which, [named] if named else _NAMES)), None)


def launch(playwright: Playwright) -> Browser:
    """A browser without a window. It runs what only we serve, so that its sandbox, which root cannot have, may go."""
    return playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"])


LEFT = ("AbortError: BodyStreamBuffer was aborted", "Unexpected error Connection errored out")
"""What gradio says on the console when a page is reloaded while its stream of events is open."""


class Watch:
    """Everything that goes wrong in a visitor's pages: errors on the console, exceptions, requests to elsewhere.

    Args:
        context: the visitor, before a page is opened.
        url: of the studio, the only place where anything may be asked for.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.problems: list[str] = []
        self._url = url
        context.on("console", self._heard)
        context.on("weberror", lambda error: self.problems.append(f"exception: {error.error}"))
        context.on("request", self._asked)

    def _heard(self, message: Any) -> None:
        if message.type == "error" and not message.text.startswith(LEFT):
            self.problems.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((f"{self._url}/", "data:", f"blob:{self._url}/")):
            self.problems.append(f"request to {request.url}")

    def forgive(self, part: str) -> list[str]:
        """Takes out, and returns, what was expected."""
        expected = [problem for problem in self.problems if part in problem]
        self.problems = [problem for problem in self.problems if part not in problem]
        return expected


@contextmanager
def visitor(browser: Browser, url: str, **options: Any) -> Iterator[tuple[Page, Watch]]:
    """Somebody with a browser of their own who has opened the studio; what went wrong fails at the end."""
    options = {"viewport": {"width": 1240, "height": 900}, **options}
    context = browser.new_context(base_url=url, reduced_motion="reduce", **options)
    context.set_default_timeout(TIMEOUT_MS)
    try:
        watch = Watch(context, url)
        page = context.new_page()
        yield page, watch
        assert watch.problems == []
    finally:
        context.close()


class Explore:
    """The tab Explore of a page, as its user sees it."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self) -> None:
        """Opens, or opens again, the studio."""
        self.page.goto("/")
        self.page.wait_for_selector(".gs-explore[data-state=ready][aria-busy=false]")

    def at(self, name: str) -> Locator:
        """An element of the tab: `explore-NAME`."""
        return self.page.locator(f"#explore-{name}")

    @contextmanager
    def step(self) -> Iterator[None]:
        """What happens in the block makes the studio draw; afterwards it has drawn."""
        before = self.steps
        yield
        self.page.wait_for_function(
            "n => { const at = document.querySelector('.gs-explore');"
            " return Number(at.dataset.steps) > n && at.ariaBusy === 'false'; }",
            arg=before,
        )

    @property
    def steps(self) -> int:
        """How often it has drawn."""
        return int(self.page.locator(".gs-explore").get_attribute("data-steps") or 0)

    def picture(self, index: int = 0) -> bytes:
        """The file that a model's picture is."""
        source = self.at(f"picture-{index}").get_attribute("src") or ""
        return base64.b64decode(source.partition("base64,")[2])

    def status(self) -> str:
        """What the page says."""
        return self.at("status").inner_text()

    def fields(self) -> dict[str, str]:
        """Every setting by its widget and element, as the page shows it."""
        found: dict[str, str] = self.page.evaluate(
            """() => Object.fromEntries([...document.querySelectorAll(
                '.gs-explore [data-widget] :is(input, .gs-pad), #explore-seed')].map((one) => [
                    (one.closest('[data-widget]')?.dataset.widget ?? '') + '/' + one.id,
                    one.type === 'checkbox' ? `${one.checked}` : one.value ?? one.getAttribute('aria-valuetext')]))"""
        )
        return found

    def settings(self) -> list[str]:
        """What the command line sets beyond seed, file and truncation."""
        words = (self.at("command").text_content() or "").split()
        return [word for word in words[words.index("--grid") + 2 :] if not re.match("--set$|--truncation=", word)]

    def fresh(self) -> None:
        """Back to how it opens, seed 0 included; what lies in the history stays there."""
        with self.step():
            self.type("seed", "0")
            self.at("reset-all").click()

    def type(self, name: str, text: str) -> None:
        """Types into a field and leaves it."""
        self.at(name).fill(text)
        self.at(name).press("Enter")

    def drag(self, grip: Locator, path: list[tuple[float, float]]) -> None:
        """Drags from the first point to the last; points are parts of the width and height of `grip`."""
        grip.scroll_into_view_if_needed()
        box = grip.bounding_box()
        assert box is not None
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in path]
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*point, steps=3)
        self.page.mouse.up()


def tab(page: Page, name: str) -> None:
    """Opens a tab."""
    page.get_by_role("tab", name=name, exact=True).click()


def picture_of(page: Page, elem_id: str) -> str:
    """The address of the picture in a gradio component, once it is there."""
    image = page.locator(f"#{elem_id} img").first
    image.wait_for()
    return image.get_attribute("src") or ""


def changed_picture(page: Page, elem_id: str, before: str) -> str:
    """The same once it is another than `before`."""
    page.wait_for_function(
        "([id, old]) => { const img = document.querySelector(`#${id} img`);"
        " return img && img.src && img.getAttribute('src') !== old && img.complete && img.naturalWidth; }",
        arg=[elem_id, before],
    )
    return picture_of(page, elem_id)


def enter(page: Page, elem_id: str, text: str) -> None:
    """Types into a gradio component and leaves it."""
    field = page.locator(f"#{elem_id} :is(textarea, input:not([type=range]))").first
    field.fill(text)
    field.press("Enter")
    field.press("Tab")


def choose(page: Page, elem_id: str, text: str) -> None:
    """Chooses in a gradio dropdown."""
    page.locator(f"#{elem_id} input").click()
    page.get_by_role("option", name=re.compile(rf"^\W*{re.escape(text)}\b")).first.click()


def upload(page: Page, elem_id: str, path: Path) -> None:
    """Gives a file to a gradio component, in place of the one that it has."""
    page.set_input_files(f"#{elem_id} input[type=file]", path)


def toast(page: Page) -> str:
    """What the page says in its corner, which is then closed."""
    found = page.locator(".toast-body").last
    found.wait_for()
    text = found.inner_text()
    found.get_by_test_id("toast-close").click()
    found.wait_for(state="detached")
    return text
