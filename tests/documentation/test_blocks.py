"""Every code block of the documentation is executed: README and docs, Python and commands.

A page is a session: its blocks run in their order, in one folder, and its Python shares one namespace. Commands run
with small numbers (`small.py`), on files that are made when a block first speaks of them (`world.py`). What cannot run
here says so on the line before, `<!-- not run: reason -->`; `make test-docs` runs the pages that take longer, too.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
import torch

from gantrol.cli import COMMANDS
from tests.documentation.pages import ROOT, Fence, fences
from tests.documentation.small import shrunk, shrunk_code
from tests.documentation.world import World, gantrol

SHELL = ("bash", "sh", "console", "")
ELSEWHERE = ("make", "pip", ".", "python", "cd", "export", "torchrun")
"""Commands that set up a machine or measure it; test_docs.py checks that targets, extras and modules exist."""
REASONS = (
    "a GPU",
    "official files",
    "hours",
    "a server",
    "the network",
    "several machines",
    "this checkout",
    "another package",
)
"""What keeps a block from being run; a reason begins with one of these."""
FENCES = [fence for fence in fences() if fence.language in (*SHELL, "python", "json")]
SESSIONS = [(page, list(blocks)) for page, blocks in groupby(FENCES, key=lambda fence: fence.page)]
LONG = (
    *("avatars.md", "baselines.md", "bottleneck.md", "bring-your-own.md", "choosing.md", "command-line.md"),
    *("control-measures.md", "controls.md", "cpu.md", "domains.md", "export.md", "faces.md", "faq.md"),
    *("gan-control.md", "ladder.md", "metrics.md", "portraits.md", "predictors.md", "report.md", "training.md"),
)
"""Pages that take many seconds of a core, and more of what others have: `make test-docs` (GANTROL_DOCS=all) alone."""
EXTRAS = {
    "README.md": ("av", "efficientnet_lite_pytorch"),
    "avatars.md": ("dicebear",),
    "domains.md": ("onnx", "dicebear"),
    "export.md": ("onnx", "onnxscript", "onnxruntime"),
    "faq.md": ("onnx", "onnxscript"),
    "own-predictors.md": ("onnx",),
}
"""What pages need beyond the core; all of it is there in CI, and where it is not the page is left out."""


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("given"))


@pytest.fixture(autouse=True)
def _undisturbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks set threads and seeds as readers do; the tests after them shall not notice."""
    from gantrol.cli import control_fit

    config = control_fit._config
    monkeypatch.setattr(control_fit, "_config", lambda options: replace(config(options), check_images=16))
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)


def _run_commands(fence: Fence, world: World, folder: Path) -> None:
    for words in fence.commands():
        if words[0] == "gantrol" and words[1:] != ["--version"]:
            name = words[1] if words[1] in COMMANDS else " ".join(words[1:3])
            assert name in COMMANDS, f"{fence.where}: there is no command gantrol {name}"
            arguments = words[1 + len(name.split()) :]
            world.provide_for(arguments, folder)
            gantrol(*name.split(), *shrunk(name, arguments))
        elif words[0] == "python3" and words[1].endswith(".py"):
            small = [str(min(int(word), 60)) if word.isdigit() else word for word in words[2:]]
            script = ROOT / words[1]
            subprocess.run([sys.executable, str(script), *small], cwd=folder, check=True, capture_output=True)
        else:
            assert words[0] in ("gantrol", "python3", *ELSEWHERE), f"{fence.where}: what is {words[0]}?"


@pytest.mark.parametrize(("page", "blocks"), SESSIONS, ids=lambda value: value.name if isinstance(value, Path) else "")
def test_a_page_runs(page: Path, blocks: list[Fence], world: World, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    if page.name in LONG and os.environ.get("GANTROL_DOCS") != "all":
        pytest.skip("takes long: make test-docs")
    for module in EXTRAS.get(page.name, ()):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "example"}
    for fence in blocks:
        if fence.not_run:
            continue
        try:
            if fence.language == "json":
                json.loads(fence.code)
            elif fence.language == "python":
                world.provide(fence.code, tmp_path)
                with contextlib.redirect_stdout(io.StringIO()):
                    exec(compile(shrunk_code(fence.code), fence.where, "exec"), namespace)
            else:
                _run_commands(fence, world, tmp_path)
        except BaseException as error:
            error.add_note(f"in the block at {fence.where}")
            raise


def test_few_blocks_are_not_run_and_they_say_why() -> None:
    left_out = [fence for fence in FENCES if fence.not_run]
    for fence in left_out:
        assert fence.not_run.startswith(REASONS), f"{fence.where}: a reason begins with one of {', '.join(REASONS)}"
    assert len(left_out) <= 0.2 * len(FENCES), [fence.where for fence in left_out]
