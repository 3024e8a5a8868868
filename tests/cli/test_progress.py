"""Progress in a pipe: a plain line now and then, and nothing for quick work."""

from __future__ import annotations

import pytest

from gantrol.cli import progress


def test_quick_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress_bar("counting") as update:
        for done in range(5):
            update(done + 1, 5)
    assert capsys.readouterr().err == ""


def test_long_work_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 5.0, 11.0, 12.0, 25.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.progress_bar("counting") as update:
        for done in (10, 22, 24, 50):
            update(done, 100)
    assert capsys.readouterr().err.splitlines() == [
        "counting 22/100, 2.0/s, 0:00:39 left",
        "counting 50/100, 2.0/s, 0:00:25 left",
    ]
