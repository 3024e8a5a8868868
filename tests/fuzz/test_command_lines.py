"""Command lines with words out of place: an exit status and one line, whatever is typed."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gantrol.cli import COMMANDS, main
from gantrol.data import DatasetWriter
from tests.cli.conftest import picture
from tests.fuzz.watch import watched

EXAMPLES = int(os.environ.get("GANTROL_FUZZ_EXAMPLES", "40")) * 3

# Each is cheap, and does what it names with the files of `folder`.
INTACT = (
    ("generate", "faces", "--seeds", "0", "--out", "pictures", "--set", "age=60"),
    ("mix", "faces", "--rows", "0", "--cols", "1", "--layers", "0-3", "--out", "mix.png"),
    ("data", "info", "data.zip"),
    ("data", "import", "data.zip", "--out", "again.zip", "--size", "8", "--max", "3", "--workers", "1"),
    ("info", "faces", "--json", "info.json"),
    ("presets",),
    ("spectra", "data.zip", "--out", "spectra.png", "--samples", "4"),
    ("train", "--preset", "stylegan3-t", "--scale", "tiny", "--data", "nothing.zip", "--out", "run", "--kimg", "0.01"),
    ("train", "--resume", "run"),
    ("control", "fit", "faces", "--predictors", "predictors-portraits", "--out", "fitted", "--samples", "0"),
    ("report", "run", "--out", "run.html"),
    ("import", "data.zip", "--out", "imported"),
    ("export", "nothing", "--format", "onnx", "--out", "model.onnx"),
)
WORDS = (
    "", " ", "-", "--", "--help", "-h", "--seeds", "--out", "--set", "--size", "--kimg", "--nonsense", "--seed=", "0",
    "-1", "0.5", "nan", "inf", "-inf", "1e400", "1e-400", "99999999999999999999", "4294967296", "0-", "-0", "3-1",
    "1,,2",
    "a", "é", "\u202e", "\n", "a\tb", "'", '"', "$(true)", "`true`", "*", "~", "/", ".", "..", "/dev/null", "/dev/full",
    "/proc/self/mem", "data.zip", "picture.png", "age=", "=60", "age=x", "yaw=1e9", "hair_color=1,2",
    "hair_color=0.1,0.2,0.3",
    "nothing=1", "x" * 5000, "generator.z_dim=0", "generator.z_dim=x", "d=1", "[]", "{}", "None", "True", "faces",
    "png",
)  # fmt: skip
"""Words that are sometimes right, and often not."""


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """One of the intact lines after one to three changes of a word; or any words at all."""
    words = list(draw(st.sampled_from(INTACT)))
    anything = st.sampled_from(WORDS) | st.text(max_size=12)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(1, len(words)))
        how = draw(st.sampled_from(["replace", "insert", "drop"]))
        if how == "insert" or at == len(words):
            words.insert(at, draw(anything))
        elif how == "replace":
            words[at] = draw(anything)
        elif len(words) > 1:
            del words[at]
    return words


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words")
    with DatasetWriter(path / "data.zip") as writer:
        for index in range(4):
            writer.add(picture(index))
    (path / "picture.png").write_bytes(b"no picture")
    return path


def run(words: list[str]) -> tuple[object, str]:
    """The exit status and what was said on stderr."""
    said = io.StringIO()
    heard = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape")
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(heard), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            main(words)
        except SystemExit as end:
            return end.code, said.getvalue()
    raise AssertionError(f"{words} did not exit")


def test_any_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["gantrol"])

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(words=command_lines())
    def check(words: list[str]) -> None:
        with watched(folder, memory=2 << 30):
            status, said = run(words)
        assert status in (0, None, 1, 2), (words, said)
        if status in (1, 2):
            lines = [line for line in said.splitlines() if line.startswith("gantrol: ")]
            assert len(lines) >= 1, (words, said)
            assert "Traceback" not in said

    check()


def test_every_command_refuses_nonsense() -> None:
    for command in COMMANDS:
        status, said = run([*command.split(), "--no-such-option", "x"])
        assert status == 2, (command, said)
        assert len(said.splitlines()) == 1, (command, said)
