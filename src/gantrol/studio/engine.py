"""The models that a studio shows, and the one place where they compute.

Many people may hold sliders at once, while a model can draw one picture at a time (what moves its input is a state of
the module). So each model has a lane for quick work, and all models share one for slow work, which computes on copies:

    quick   one step of a slider: some milliseconds; the model's own lane. Steps that wait at the same moment, of
            several people, are drawn as one batch
    slow    videos, projections, sweeps: seconds to minutes, one at a time, beside the quick work

Both lanes are bounded: whoever comes when too many wait is told so at once, rather than left to wait. Each lane is a
thread, since memory allocators and OpenMP keep a store and helpers for every thread that has ever computed; twenty
people would otherwise leave a hundred MiB a minute behind in those of the server.
"""

from __future__ import annotations

import contextvars
import copy
import re
import secrets
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from torch import nn

from gantrol.errors import ConfigError, GantrolError, nearest
from gantrol.model import Model

R = TypeVar("R")
T = TypeVar("T")

MOST_TOGETHER = 8
"""Requests that are answered in one batch. Small, so that nobody waits long for the others."""

_KEPT_FILES = 256


class Busy(GantrolError):
    """Too many requests wait already."""


class Engine:
    """The models of a studio.

    Args:
        models: by the name under which they are shown, which is what the command line takes as MODEL.
        runs: folders of trainings that may be looked at.
        waiting: how many requests may wait in each lane, besides the one that is served.

    Attributes:
        names: those of the models, in the order given.
        folder: a private temporary folder for files to be downloaded, the only one that the server may read from; it
            goes with the engine.
        runs: as given.

    Raises:
        ConfigError: there is no model.
    """

    def __init__(self, models: Mapping[str, Model], *, runs: Sequence[Path] = (), waiting: int = 32) -> None:
        if not models:
            raise ConfigError("a studio needs at least one model, for example: gantrol studio faces")
        self._models = dict(models)
        self.names: tuple[str, ...] = tuple(self._models)
        self.runs: tuple[Path, ...] = tuple(Path(run) for run in runs)
        self._quick = {name: _Lane(waiting, f"studio: {name}") for name in self.names}
        self._slow = _Lane(waiting, "studio: long work")
        self._copies: dict[str, Model] = {}
        self._tables: dict[tuple[str, Any], deque[tuple[Any, Future[Any]]]] = {}
        self._temporary = tempfile.TemporaryDirectory(prefix="gantrol-studio-")
        self.folder = Path(self._temporary.name).resolve()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the lanes and deletes the folder with everything that was made for download."""
        for lane in (*self._quick.values(), self._slow):
            lane.close()
        self._temporary.cleanup()

    def model(self, name: str) -> Model:
        """The model of this name, to read its config and controls; computing goes through `quick` and `slow`.

        Raises:
            ConfigError: there is no such model here.
        """
        if name not in self._models:
            raise ConfigError(f"there is no model {name!r} in this studio; {nearest(name, self.names)}")
        return self._models[name]

    def quick(self, name: str, work: Callable[[Model], T]) -> T:
        """What `work` makes of a model: one step of a slider.

        Args:
            name: of the model.
            work: gets the model for itself while it lasts.

        Raises:
            ConfigError: there is no such model here.
            Busy: too many wait for it.
        """
        model = self.model(name)
        return self._quick[name].do(partial(work, model), _refusal(name))

    def together(self, name: str, request: R, work: Callable[[Model, Sequence[R]], Sequence[T]]) -> T:
        """What `work` makes of one request, together with those that wait for the same at this moment.

        Args:
            name: of the model.
            request: one person's.
            work: gets the model for itself, and 1, 2, 4 or 8 requests (few sizes, which CUDA graphs can repeat);
                returns an answer for each. If it raises, each request is tried alone. Requests go together that bring
                the same function.

        Raises:
            ConfigError: there is no such model here.
            Busy: too many wait for it.
        """
        model = self.model(name)
        table = self._tables.setdefault((name, work), deque())
        answer: Future[T] = Future()

        def serve() -> None:
            # Somebody before may have taken it along; or else may stand before it, since tasks and requests of several
            # people need not come in the same order.
            while not answer.done():
                _answer_together([table.popleft() for _ in range(_batch_size(len(table)))], partial(work, model))

        lane = self._quick[name]
        with lane.place(_refusal(name)):
            table.append((request, answer))
            lane.begin(serve)
            return answer.result()

    def slow(self, name: str, work: Callable[[Model], T]) -> T:
        """What `work` makes of a copy of a model, while `quick` goes on with the model itself.

        The copy shares the weights, so that it costs nothing: `work` must not change them in place.

        Args:
            name: of the model.
            work: gets the copy; all slow work is done one after the other.

        Raises:
            ConfigError: there is no such model here.
            Busy: too much of it waits.
        """
        model = self.model(name)

        def with_copy() -> T:
            if name not in self._copies:  # which is made while nobody draws, and is never refused
                self._copies[name] = self._quick[name].begin(partial(_with_shared_weights, model)).result()
            return work(self._copies[name])

        return self._slow.do(with_copy, "the studio is busy with long work for others; try again in a minute")

    def new_file(self, name: str) -> Path:
        """A path in `folder` that nobody can guess, for a file to be downloaded as `name`; the oldest ones are deleted.

        Args:
            name: like "face.png"; what is odd in file names is replaced.
        """
        made = sorted(
            (place for place in self.folder.iterdir() if place.name.startswith("file-")),
            key=lambda place: place.stat().st_mtime_ns,
        )
        for place in made[: max(0, len(made) - _KEPT_FILES + 1)]:
            shutil.rmtree(place, ignore_errors=True)
        place = self.folder / f"file-{secrets.token_urlsafe(12)}"
        place.mkdir()
        return place / (re.sub(r"[^\w.-]+", "-", name).strip(".-") or "file")


class _Lane:
    """A thread that does one thing at a time, and lets a few wait.

    Args:
        waiting: so many, besides the one that is served.
        name: of the thread, which lives as long as there may be work.
    """

    def __init__(self, waiting: int, name: str) -> None:
        self._places = threading.BoundedSemaphore(waiting + 1)
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._name = name

    def do(self, work: Callable[[], T], refusal: str) -> T:
        """What `work` returns or raises, once its turn has come; raises `Busy` if there is no place to wait."""
        with self.place(refusal):
            return self.begin(work).result()

    @contextmanager
    def place(self, refusal: str) -> Iterator[None]:
        """One of the places to wait, while the context lasts; raises `Busy` if there is none."""
        if not self._places.acquire(blocking=False):
            raise Busy(refusal)
        try:
            yield
        finally:
            self._places.release()

    def begin(self, work: Callable[[], T]) -> Future[T]:
        """Hands in `work` whether there is a place or not."""
        outcome: Future[T] = Future()
        context = contextvars.copy_context()

        def task() -> None:
            try:
                outcome.set_result(context.run(work))
            except BaseException as error:
                outcome.set_exception(error)

        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=_serve, args=(self._tasks,), name=self._name, daemon=True)
                self._thread.start()
        self._tasks.put(task)
        return outcome

    def close(self) -> None:
        """Ends the thread after what has been handed in."""
        self._tasks.put(None)


def _serve(tasks: SimpleQueue[Callable[[], None] | None]) -> None:
    while (task := tasks.get()) is not None:
        task()
        del task  # and with it what the work made


def _refusal(name: str) -> str:
    return f"{name} is busy: too many people move its sliders; try again in a moment"


def _batch_size(waiting: int) -> int:
    """The largest of 1, 2, 4, … that so many fill."""
    return min(MOST_TOGETHER, 1 << (waiting.bit_length() - 1))


def _answer_together(requests: Sequence[tuple[R, Future[T]]], work: Callable[[Sequence[R]], Sequence[T]]) -> None:
    """Gives each request its answer, or the error that it meets with alone."""
    parts = [requests]
    while parts:
        part = parts.pop(0)
        try:
            made = work([request for request, _ in part])
        except BaseException as error:
            if len(part) == 1:
                part[0][1].set_exception(error)
            else:
                parts += [[one] for one in part]
            continue
        for (_, answer), value in zip(part, made, strict=True):
            answer.set_result(value)


def _with_shared_weights(model: Model) -> Model:
    """A copy with the same parameters, but buffers (among them the transform of the input) of its own."""
    twin = copy.copy(model)
    for part in ("generator", "discriminator", "control_set"):
        module: nn.Module | None = getattr(model, part)
        if module is not None:
            memo: dict[int, Any] = {id(parameter): parameter for parameter in module.parameters()}
            setattr(twin, part, copy.deepcopy(module, memo))
    return twin
