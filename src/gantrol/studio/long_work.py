"""Long work of the tabs: films, sweeps, projections. It reports how far it is, and whoever asked for it can stop it.

The engine computes in a thread; the event handler of the page looks at it a few times a second and yields what there is
to show. So a page that is closed, or a click on *Cancel*, ends the work at its next step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from gantrol.errors import GantrolError
from gantrol.model import Model
from gantrol.studio.engine import Engine

T = TypeVar("T")

SLOW: dict[str, Any] = {"concurrency_id": "slow", "concurrency_limit": 4}
"""How the page queues events of this kind; the engine does one after the other."""
_LOOK_S = 0.15


class Cancelled(GantrolError):
    """Somebody stopped the work."""


class Job:
    """One piece of work, as the work itself sees it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_cancelled = False
        self._state: tuple[int, int, Any] = (0, 0, None)
        self._outcome: list[Any] = []
        self._error: BaseException | None = None

    def progress(self, done: int, total: int) -> None:
        """Says how far the work is.

        Raises:
            Cancelled: it is not wanted any longer.
        """
        self.show(done, total, self._state[2])

    def show(self, done: int, total: int, picture: Any) -> None:
        """The same, with something to look at meanwhile."""
        with self._changed:
            if self._is_cancelled:
                raise Cancelled("cancelled")
            self._state = (done, total, picture)
            self._changed.notify_all()

    def cancel(self) -> None:
        """Ends the work at its next step."""
        with self._changed:
            self._is_cancelled = True
            self._changed.notify_all()


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a piece of work is."""

    done: int
    total: int
    picture: Any = None
    """What it last showed."""


@dataclass(frozen=True, kw_only=True)
class Finished(Generic[T]):
    """What it made."""

    value: T


class Desk:
    """Where a tab hands in long work: one piece per visitor at a time, a second one replaces the first.

    Args:
        engine: computes it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def run(self, visitor: str, name: str, work: Callable[[Model, Job], T]) -> Iterator[Progress | Finished[T]]:
        """Does `work` on a copy of a model; yields its progress now and then, and at last what it made.

        Work that is stopped ends without a result and without a word: whoever stopped it knows.

        Args:
            visitor: whose work it is.
            name: of the model.
            work: gets the copy and the job, whose `progress` or `show` it calls at every step.

        Raises:
            Busy: too much work waits already.
            GantrolError: what the work raises.
        """
        job = Job()
        with self._lock:
            before = self._jobs.get(visitor)
            self._jobs[visitor] = job
        if before is not None:
            before.cancel()

        def begin(model: Model) -> T:
            job.progress(0, 0)  # it may have been cancelled while it waited
            return work(model, job)

        def compute() -> None:
            try:
                job._outcome.append(self._engine.slow(name, begin))
            except BaseException as error:
                job._error = error
            with job._changed:
                job._changed.notify_all()

        thread = threading.Thread(target=compute, name=f"studio work on {name}", daemon=True)
        thread.start()
        try:
            yield from _watch(job)
        except Cancelled:
            return
        finally:
            job.cancel()
            with self._lock:
                if self._jobs.get(visitor) is job:
                    del self._jobs[visitor]

    def cancel(self, visitor: str) -> None:
        """Stops what this visitor has under way, if anything."""
        with self._lock:
            job = self._jobs.get(visitor)
        if job is not None:
            job.cancel()


def _watch(job: Job) -> Iterator[Progress | Finished[Any]]:
    seen: tuple[int, int, Any] | None = None
    while True:
        with job._changed:
            is_done = bool(job._outcome) or job._error is not None
            if not is_done and not job._is_cancelled:
                job._changed.wait(_LOOK_S)
            state, is_cancelled = job._state, job._is_cancelled
        if job._outcome:
            yield Finished(value=job._outcome[0])
            return
        if job._error is not None:
            raise job._error
        if is_cancelled:
            raise Cancelled("cancelled")
        if state != seen and state[1]:
            seen = state
            yield Progress(done=state[0], total=state[1], picture=state[2])
