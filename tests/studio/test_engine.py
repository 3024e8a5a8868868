"""Who waits for whom, and what is shared."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from gantrol.errors import ConfigError
from gantrol.model import Model
from gantrol.studio.engine import Busy, Engine


def in_thread(work: object, *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_names_and_models(engine: Engine, faces: Model) -> None:
    assert engine.names == ("faces", "plain")
    assert engine.model("faces") is faces
    with pytest.raises(ConfigError, match=r"no model 'face' in this studio; did you mean faces\?"):
        engine.model("face")
    for lane in (engine.quick, engine.slow):
        with pytest.raises(ConfigError, match="no model 'x'"):
            lane("x", lambda model: None)
    with pytest.raises(ConfigError, match="at least one model"):
        Engine({})


def test_quick_work_gets_the_model_for_itself(engine: Engine) -> None:
    """Two threads that move the model's input never see each other's transform."""
    wrong: list[str] = []
    still = engine.quick("faces", lambda model: model.generate([0], output="pt"))
    moved = engine.quick("faces", lambda model: model.generate([0], output="pt", rotate=90))

    def draw(degrees: float, expected: torch.Tensor) -> None:
        for _ in range(4):
            found = engine.quick("faces", lambda model: model.generate([0], output="pt", rotate=degrees))
            if not torch.equal(found, expected):
                wrong.append(f"{degrees}")

    threads = [in_thread(draw, 0.0, still), in_thread(draw, 90.0, moved)]
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_slow_work_does_not_hold_up_quick_work(engine: Engine) -> None:
    started, finish = threading.Event(), threading.Event()

    def work(model: Model) -> None:
        started.set()
        assert finish.wait(30)

    thread = in_thread(engine.slow, "faces", work)
    try:
        assert started.wait(30)
        assert engine.quick("faces", lambda model: "drawn") == "drawn"
    finally:
        finish.set()
        thread.join(30)
    assert not thread.is_alive()


def test_slow_work_has_a_copy_that_shares_the_weights(engine: Engine, faces: Model) -> None:
    twin = engine.slow("faces", lambda model: model)
    assert twin is not faces
    assert twin is engine.slow("faces", lambda model: model)
    ours, theirs = dict(faces.generator.named_parameters()), dict(twin.generator.named_parameters())
    assert all(theirs[name] is parameter for name, parameter in ours.items())
    assert twin.generator.synthesis.input.transform is not faces.generator.synthesis.input.transform
    settings = {"controls": {"age": 60}, "rotate": 10.0, "output": "pt"}
    assert torch.equal(twin.generate([3], **settings), faces.generate([3], **settings))


def test_too_many_are_told_so(plain: Model) -> None:
    started, finish = threading.Event(), threading.Event()
    with Engine({"plain": plain}, waiting=1) as small:

        def hold(model: Model) -> None:
            started.set()
            finish.wait(30)

        threads = [in_thread(small.quick, "plain", hold)]
        assert started.wait(30)
        threads.append(in_thread(small.quick, "plain", lambda model: None))
        try:
            for _ in range(200):  # until the second one waits
                if small._quick["plain"]._places._value == 0:
                    break
                time.sleep(0.01)
            with pytest.raises(Busy, match="plain is busy"):
                small.quick("plain", lambda model: None)
        finally:
            finish.set()
            for thread in threads:
                thread.join(30)
        assert small.quick("plain", lambda model: 1) == 1


def test_a_place_is_free_again_after_an_error(plain: Model) -> None:
    def fail(model: Model) -> None:
        raise ConfigError("no")

    with Engine({"plain": plain}, waiting=0) as small:
        for lane in (small.quick, small.slow) * 2:
            with pytest.raises(ConfigError, match="no"):
                lane("plain", fail)


def waiting(engine: Engine, name: str, count: int) -> None:
    """Returns once so many requests lie on the tables of a model."""
    for _ in range(1000):
        if sum(len(table) for (of, _), table in engine._tables.items() if of == name) >= count:
            return
        time.sleep(0.01)
    raise AssertionError("they never came")


def test_requests_that_wait_at_the_same_moment_are_answered_in_one_batch(engine: Engine) -> None:
    started, finish = threading.Event(), threading.Event()
    sizes: list[int] = []
    answers: dict[int, int] = {}

    def hold(model: Model) -> None:
        started.set()
        assert finish.wait(30)

    def double(model: Model, numbers: Sequence[int]) -> list[int]:
        sizes.append(len(numbers))
        if 3 in numbers:
            raise ConfigError("no threes")
        return [2 * number for number in numbers]

    def ask(number: int) -> None:
        try:
            answers[number] = engine.together("plain", number, double)
        except ConfigError:
            answers[number] = -1

    threads = [in_thread(engine.quick, "plain", hold)]
    assert started.wait(30)
    threads += [in_thread(ask, number) for number in range(10, 23)]
    waiting(engine, "plain", 13)
    finish.set()
    for thread in threads:
        thread.join(30)
    assert answers == {number: 2 * number for number in range(10, 23)}
    assert sizes == [8, 4, 1]

    sizes.clear()
    started.clear()
    finish.clear()
    threads = [in_thread(engine.quick, "plain", hold)]
    assert started.wait(30)
    threads += [in_thread(ask, number) for number in (1, 2, 3, 4)]
    waiting(engine, "plain", 4)
    finish.set()
    for thread in threads:
        thread.join(30)
    assert {number: answers[number] for number in (1, 2, 3, 4)} == {1: 2, 2: 4, 3: -1, 4: 8}
    assert sizes == [4, 1, 1, 1, 1]  # one that fails harms nobody else


def test_nobody_is_forgotten_when_tasks_and_requests_come_in_different_orders(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three requests make a batch of two and one of one, whichever task is the first to see them."""
    tasks: list[Callable[[], None]] = []
    lane = engine._quick["plain"]
    monkeypatch.setattr(lane, "begin", tasks.append)
    found: list[int] = []

    def double(model: Model, numbers: Sequence[int]) -> list[int]:
        return [2 * number for number in numbers]

    def ask(number: int) -> None:
        found.append(engine.together("plain", number, double))

    threads = [in_thread(ask, number) for number in range(3)]
    for _ in range(1000):
        if len(tasks) == 3:
            break
        time.sleep(0.01)
    for task in reversed(tasks):
        task()
    for thread in threads:
        thread.join(30)
    assert sorted(found) == [0, 2, 4]


def test_files_for_download(plain: Model) -> None:
    with Engine({"plain": plain}, runs=[Path("run")]) as made:
        assert made.runs == (Path("run"),)
        folder = made.folder
        first, second = made.new_file("a b/../c.png"), made.new_file("../../etc/passwd")
        assert first.parent != second.parent
        assert first.parent.parent == second.parent.parent == folder
        assert (first.name, second.name) == ("a-b-..-c.png", "etc-passwd")
        first.write_bytes(b"x")
        for _ in range(260):
            made.new_file("x.txt").write_bytes(b"x")
        assert len(list(folder.iterdir())) == 256
        assert not first.exists()
        assert made.new_file("...").name == "file"
    assert not folder.exists()
