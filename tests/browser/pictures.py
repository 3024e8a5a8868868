"""Takes the documentation's screenshots of the studio again: `python -m tests.browser.pictures`.

    python -m tests.browser.pictures --only mix --only real
    python -m tests.browser.pictures --runs FOLDER_OF_A_TRAINING

A training to watch cannot be made in a minute, so the one of `runs.jpg` has to be named. Each picture is a JPEG of at
most 90 KB; what does not fit is made narrower than the 1240 pixels of the page.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.studio_process import running
from PIL import Image
from playwright.sync_api import Page, sync_playwright

import gantrol
from tests.browser.browsing import Explore, changed_picture, choose, enter, launch, picture_of, tab, upload, visitor

FOLDER = Path("docs/images/studio")
WIDTH_PX, MOST_BYTES = 1240, 90_000


def explore(page: Page) -> None:
    at = Explore(page)
    for name, text in {"seed": "8", "number-age": "30", "number-yaw": "12", "number-azimuth": "-35"}.items():
        with at.step():
            at.type(name, text)
    with at.step():
        at.at("swatch-hair_color-red").click()
    at.at("favourite").click()
    at.at("repeat").click()


def mix(page: Page) -> None:
    tab(page, "Mix")
    page.locator("#mix-make").click()
    picture_of(page, "mix-table")
    enter(page, "mix-frames", "40")
    page.locator("#mix-film").click()
    page.wait_for_function("document.querySelector('#mix-video video')?.readyState >= 3")
    page.locator("#mix-video video").evaluate("video => { video.pause(); video.currentTime = 0.5; }")


def inside(page: Page) -> None:
    tab(page, "Look inside")
    before = picture_of(page, "inside-map")
    enter(page, "inside-seed", "8")
    changed_picture(page, "inside-map", before)
    choose(page, "inside-layer", "layers.4")
    page.locator("#inside-spectrum svg").wait_for()


def sticking(page: Page) -> None:
    tab(page, "Look inside")
    tab(page, "Sticking")
    page.locator("#inside-test").click()
    page.locator("#inside-b-strip img").wait_for()


def control(page: Page) -> None:
    tab(page, "Control")
    page.locator("#control-sweep").click()
    picture_of(page, "control-picture")


def real(page: Page) -> None:
    portrait = gantrol.load("faces").generate([21], {"age": 50.0}, truncation_psi=0.6, output="pil")[0]
    tab(page, "Real picture")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "somebody.png"
        portrait.resize((256, 256), Image.Resampling.LANCZOS).save(file)
        upload(page, "real-upload", file)
        picture_of(page, "real-target")
        enter(page, "real-steps", "100")
        page.locator("#real-project").click()
        page.locator("#real-slider-0").wait_for(timeout=300_000)


def runs(page: Page) -> None:
    tab(page, "Runs")
    picture_of(page, "runs-fakes")


SHOTS: dict[str, Callable[[Page], None]] = {
    "explore": explore,
    "mix": mix,
    "inside": inside,
    "sticking": sticking,
    "control": control,
    "real": real,
    "runs": runs,
}
"""What is done before each screenshot, in a page that has just been opened."""


def as_jpeg(png: bytes) -> bytes:
    """A screenshot as small as it has to be: in the highest quality that fits."""
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    for width in (picture.width, 1040, 860, 720):
        picture.thumbnail((width, picture.height), Image.Resampling.LANCZOS)
        for quality in (90, 85, 80, 75, 70):
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
            if buffer.tell() <= MOST_BYTES:
                return buffer.getvalue()
    return buffer.getvalue()


def main(argv: list[str] | None = None) -> int:
    """Takes the pictures; 0 if all could be taken."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.pictures", description=(__doc__ or "").split(":")[0])
    parser.add_argument("--only", action="append", choices=SHOTS, help="this picture; may be given again")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="folder of a training, for runs.jpg")
    parser.add_argument("--models", nargs="+", default=["faces"], metavar="MODEL")
    parser.add_argument("--dark", action="store_true", help="in dark mode, to look at")
    parser.add_argument("--telephone", action="store_true", help="390 pixels wide, to look at")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(argv)
    wanted = options.only or [name for name in SHOTS if name != "runs" or options.runs is not None]
    size: dict[str, Any] = {"viewport": {"width": 390 if options.telephone else WIDTH_PX, "height": 800}}
    options.out.mkdir(parents=True, exist_ok=True)
    with (
        running(options.models, runs=[options.runs] if options.runs else []) as studio,
        sync_playwright() as playwright,
    ):
        browser = launch(playwright)
        for name in wanted:
            scheme = "dark" if options.dark else "light"
            with visitor(browser, studio.url, color_scheme=scheme, **size) as (page, _):
                Explore(page).open()
                SHOTS[name](page)
                page.mouse.move(0, 0)
                page.wait_for_timeout(1500)  # what fades or scrolls has come to rest
                path = options.out / f"{name}.jpg"
                path.write_bytes(as_jpeg(page.screenshot(full_page=True)))
                print(f"{path}: {path.stat().st_size / 1000:.0f} KB", flush=True)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
