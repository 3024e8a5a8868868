"""Long work: it reports, it can be stopped by whoever asked for it, and it never outlives a closed page."""

from __future__ import annotations

import threading
import time

import pytest

from gantrol.errors import ConfigError
from gantrol.model import Model
from gantrol.studio.engine import Engine
from gantrol.studio.long_work import Desk, Finished, Job, Progress


def counting(steps: int, ended: threading.Event | None = None, pause_s: float = 0.02) -> object:
    def work(_: Model, job: Job) -> str:
        try:
            for step in range(steps):
                job.show(step + 1, steps, f"picture {step}")
                time.sleep(pause_s)
            return "made"
        finally:
            if ended is not None:
                ended.set()

    return work


def test_progress_comes_in_order_and_the_result_last(engine: Engine) -> None:
    news = list(Desk(engine).run("me", "faces", counting(8)))  # type: ignore[arg-type]
    assert news[-1] == Finished(value="made")
    steps = [one.done for one in news if isinstance(one, Progress)]
    assert steps == sorted(set(steps))
    assert all(one.total == 8 and str(one.picture).startswith("picture") for one in news if isinstance(one, Progress))


def test_cancelling_stops_at_the_next_step_and_only_one_s_own(engine: Engine) -> None:
    desk, ended = Desk(engine), threading.Event()
    running = desk.run("me", "faces", counting(10_000, ended))  # type: ignore[arg-type]
    next(running)
    desk.cancel("somebody else")
    next(running)
    desk.cancel("me")
    assert not [news for news in running if isinstance(news, Finished)]
    assert ended.wait(2)
    desk.cancel("me")  # nothing is under way: nothing happens


def test_a_closed_page_and_a_second_piece_of_work_end_the_first(engine: Engine) -> None:
    desk = Desk(engine)
    for second in (False, True):
        ended = threading.Event()
        running = desk.run("me", "faces", counting(10_000, ended))  # type: ignore[arg-type]
        next(running)
        if second:
            assert list(desk.run("me", "faces", counting(1)))[-1] == Finished(value="made")  # type: ignore[arg-type]
        else:
            running.close()  # type: ignore[attr-defined]
        assert ended.wait(2)


def test_errors_of_the_work_reach_the_page(engine: Engine) -> None:
    def work(_: Model, job: Job) -> None:
        raise ConfigError("no such thing")

    with pytest.raises(ConfigError, match="no such thing"):
        list(Desk(engine).run("me", "faces", work))
