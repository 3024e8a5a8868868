"""The log of a run: one JSON object per tick in `log.jsonl`, and TensorBoard events if TensorBoard is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gantrol.atomic import atomic_file
from gantrol.errors import TrainingError

LOG = "log.jsonl"


def read_log(folder: Path) -> list[dict[str, Any]]:
    """All ticks of a run, oldest first; a line cut by a crash is left out."""
    path = folder / LOG
    ticks = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                ticks.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return ticks


class RunLog:
    """Appends ticks to the log of the run in `folder`, dropping those beyond `n_img`, which a resumed run repeats."""

    def __init__(self, folder: Path, n_img: int) -> None:
        self._path = folder / LOG
        kept = [tick for tick in read_log(folder) if tick["n_img"] <= n_img]
        with atomic_file(self._path, TrainingError) as temporary:
            temporary.write_text("".join(json.dumps(tick) + "\n" for tick in kept))
        self._events = _tensorboard_writer(folder)

    def write(self, tick: dict[str, Any]) -> None:
        """Adds one tick; it is on disk when this returns."""
        try:
            with open(self._path, "a") as file:
                file.write(json.dumps(tick) + "\n")
        except OSError as error:
            raise TrainingError(f"cannot write {self._path}: {error.strerror or error}") from error
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
