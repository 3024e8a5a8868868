"""The models that a studio shows, and the one place where they compute.

Many people may hold sliders at once, while a model can draw one picture at a time (what moves its input is a state of
the module). So each model has a lane for quick work, and all models share one for slow work, which computes on copies:

    quick   one step of a slider: some milliseconds; the model's own lane
    slow    videos, projections, sweeps: seconds to minutes, one at a time, beside the quick work

Both lanes are bounded: whoever comes when too many wait is told so at once, rather than left to wait.
"""

from __future__ import annotations

import copy
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from gantrol.errors import ConfigError, GantrolError, nearest
from gantrol.model import Model

T = TypeVar("T")

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

    def __init__(self, models: Mapping[str, Model], *, runs: Sequence[Path] = (), waiting: int = 16) -> None:
        if not models:
            raise ConfigError("a studio needs at least one model, for example: gantrol studio faces")
        self._models = dict(models)
        self.names: tuple[str, ...] = tuple(self._models)
        self.runs: tuple[Path, ...] = tuple(Path(run) for run in runs)
        self._quick = {name: _Lane(waiting) for name in self.names}
        self._slow = _Lane(waiting)
        self._copies: dict[str, Model] = {}
        self._temporary = tempfile.TemporaryDirectory(prefix="gantrol-studio-")
        self.folder = Path(self._temporary.name).resolve()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Deletes the folder with everything that was made for download."""
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
        with self._quick[name].turn(f"{name} is busy: too many people move its sliders; try again in a moment"):
            return work(model)

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
        self.model(name)
        with self._slow.turn("the studio is busy with long work for others; try again in a minute"):
            if name not in self._copies:
                self._copies[name] = self.quick(name, _with_shared_weights)
            return work(self._copies[name])

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
    """Lets one through at a time and a few wait."""

    def __init__(self, waiting: int) -> None:
        self._free = threading.Lock()
        self._places = threading.BoundedSemaphore(waiting + 1)

    @contextmanager
    def turn(self, refusal: str) -> Iterator[None]:
        """Waits for its turn, which lasts as long as the block; raises `Busy` if there is no place to wait."""
        if not self._places.acquire(blocking=False):
            raise Busy(refusal)
        try:
            with self._free:
                yield
        finally:
            self._places.release()


def _with_shared_weights(model: Model) -> Model:
    """A copy with the same parameters, but buffers (among them the transform of the input) of its own."""
    twin = copy.copy(model)
    for part in ("generator", "discriminator", "control_set"):
        module: nn.Module | None = getattr(model, part)
        if module is not None:
            memo: dict[int, Any] = {id(parameter): parameter for parameter in module.parameters()}
            setattr(twin, part, copy.deepcopy(module, memo))
    return twin
