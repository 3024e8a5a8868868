"""One studio of two models and a training, one browser, and for most tests one page, as opening it takes seconds."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from gantrol.config import to_dict
from gantrol.hub import RUN_FORMAT
from gantrol.model import Model
from gantrol.models import StyleGAN2Config
from gantrol.train.presets import DataShape, preset
from tests.browser.browsing import Explore, Watch, chromium, launch, visitor

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_IS_POSSIBLE = all(map(importlib.util.find_spec, ("playwright", "gradio"))) and chromium() is not None
collect_ignore_glob = [] if _IS_POSSIBLE else ["test_*.py"]


def tick(run: Path, n_img: int) -> None:
    """Adds to a run what a training writes at a tick."""
    values = {"n_img": n_img, "n_step": n_img // 16, "elapsed_s": n_img / 10, "img_per_s": 10.0, "loss/g": 2000 / n_img}
    Image.fromarray(np.full((32, 64, 3), n_img // 20, np.uint8)).save(run / "samples" / f"fakes_{n_img:09d}.png")
    with (run / "log.jsonl").open("a") as log:
        log.write(json.dumps(values) + "\n")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training in progress."""
    run = tmp_path_factory.mktemp("run") / "first"
    (run / "samples").mkdir(parents=True)
    config = to_dict(preset("stylegan3-t", "tiny", DataShape(resolution_px=16, channels=3)))
    (run / "config.json").write_text(json.dumps({"format": RUN_FORMAT, "format_version": 1, **config, "kimg": 4}))
    tick(run, 1000)
    return run


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory, run_folder: Path) -> Iterator[str]:
    """A studio with `faces` and a model without controls, which stays as it is whatever control is moved."""
    from benchmarks.studio_process import running

    plain = tmp_path_factory.mktemp("models") / "plain"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = StyleGAN2Config(resolution_px=16, z_dim=8, w_dim=8, channel_base=128, channel_max=16)
        Model(config.build().eval().requires_grad_(False)).save_pretrained(plain)
    with running(["faces", str(plain)], runs=[run_folder]) as studio:
        yield studio.url
        assert studio.log.read_text() == ""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = launch(playwright)
        yield found
        found.close()


@pytest.fixture(scope="module")
def opened(browser: Browser, url: str) -> Iterator[tuple[Page, Watch]]:
    """A page that the tests of a module share."""
    with visitor(browser, url) as (page, watch):
        Explore(page).open()
        yield page, watch


@pytest.fixture
def watch(opened: tuple[Page, Watch]) -> Iterator[Watch]:
    """Fails the test in which something went wrong."""
    yield opened[1]
    problems, opened[1].problems = opened[1].problems, []
    assert problems == []


@pytest.fixture
def page(opened: tuple[Page, Watch], watch: Watch) -> Page:
    return opened[0]


@pytest.fixture
def explore(page: Page) -> Explore:
    """The tab Explore as it opens, with seed 0."""
    found = Explore(page)
    page.get_by_role("tab", name="Explore", exact=True).click()
    found.fresh()
    return found
