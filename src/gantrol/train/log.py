"""The lines that a run writes as it goes: `log.jsonl`, one JSON object per tick, with TensorBoard events if TensorBoard
is installed, and `metrics.jsonl`, one per evaluation.

A line is on disk before the next begins. A run that resumes drops the lines beyond its checkpoint, which it will write
again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from gantrol.atomic import atomic_file, describe
from gantrol.errors import TrainingError

LOG = "log.jsonl"
METRICS = "metrics.jsonl"


def read_log(folder: Path) -> list[dict[str, Any]]:
    """All ticks of a run, oldest first; a line cut by a crash is left out."""
    return read_lines(folder / LOG)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All evaluations of a run, oldest first; a line cut by a crash is left out."""
    return read_lines(folder / METRICS)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file that has one per line, without those that cannot be read; none if there is no file."""
    lines = []
    if path.exists():
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            if isinstance(line, dict) and isinstance(line.get("n_img"), int):
                lines.append(line)
    return lines


class LineFile:
    """A file of one object per line, with the number of images `n_img` in each.

    Args:
        path: the file; made if absent.
        n_img: lines beyond are dropped, because the run that resumes there writes them again.
    """

    def __init__(self, path: Path, n_img: int) -> None:
        self._path = path
        kept = [line for line in read_lines(path) if line["n_img"] <= n_img]
        with atomic_file(path, TrainingError) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def append(self, line: dict[str, Any]) -> None:
        """Adds one line; it is on disk when this returns."""
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise TrainingError(describe(self._path, error)) from error


class RunLog:
    """Appends ticks to the log of a run.

    Args:
        folder: of the run.
        n_img: lines beyond are dropped, because the run that resumes there writes them again.
        tick: the line of the checkpoint that the run resumes from, added if it was killed before it was in the log.
    """

    def __init__(self, folder: Path, n_img: int, tick: dict[str, Any] | None = None) -> None:
        self._lines = LineFile(folder / LOG, n_img)
        self._events = _tensorboard_writer(folder)
        if tick is not None and all(line["n_img"] < tick["n_img"] for line in read_log(folder)):
            self.write(tick)

    def write(self, tick: dict[str, Any]) -> None:
        """Adds one tick; it is on disk when this returns."""
        self._lines.append(tick)
        if self._events is not None:
            for name, value in tick.items():
                if isinstance(value, int | float):
                    self._events.add_scalar(name, value, tick["n_img"])
            self._events.flush()

    def close(self) -> None:
        if self._events is not None:
            self._events.close()


def _tensorboard_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
