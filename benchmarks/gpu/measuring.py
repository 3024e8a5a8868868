"""What the jobs share: time on the device, a file of rows that a later run goes on with, the table at the end."""

from __future__ import annotations

import json
import os
import statistics
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import machine

Work = Callable[[], object]


def parser(description: str, default_name: str) -> ArgumentParser:
    """The options that every job has."""
    result = ArgumentParser(description=description)
    folder = Path(os.environ.get("OUT", "."))
    result.add_argument("--json", type=Path, default=folder / default_name, help="numbers; rows it holds are kept")
    result.add_argument("--minutes", type=float, default=9.0, help="begin nothing new after so long")
    result.add_argument("--smoke", "--tiny", action="store_true", help="tiny shapes on any machine: does the job run?")
    result.add_argument(
        "--device",
        choices=("cuda", "cpu"),
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where it runs",
    )
    return result


class Rows:
    """Rows by name, in a file that is written after each: an interrupted job goes on where it was.

    Args:
        options: of `parser`.
        device: what is measured.
    """

    def __init__(self, options: Namespace, device: str) -> None:
        self.path: Path = options.json
        self.ends = time.monotonic() + options.minutes * 60
        self.rows: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            self.rows = json.loads(self.path.read_text())["rows"]
        self.machine = machine() | {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu"}

    def measure(self, name: str, work: Callable[[], dict[str, Any]]) -> None:
        """Makes the row `name` unless it is there or time is up; a failure becomes the row."""
        if name in self.rows or time.monotonic() > self.ends:
            return
        try:
            row = work()
        except (RuntimeError, AssertionError) as error:
            row = {"error": f"{type(error).__name__}: {(str(error).strip() or 'no words').splitlines()[0]}"}
        self.add(name, row)

    def minutes_left(self) -> float:
        """Until nothing new is begun."""
        return (self.ends - time.monotonic()) / 60

    def add(self, name: str, row: dict[str, Any]) -> None:
        """Enters a row and writes the file."""
        self.rows[name] = row
        self.write()

    def write(self) -> None:
        """Writes the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps({"machine": self.machine, "rows": self.rows}, indent=1))

    def print(self, columns: Sequence[str]) -> None:
        """The table: a line per row, one value per column, failures in words; the file is there even without rows."""
        self.write()
        print(f"{self.machine['device']}, torch {self.machine['torch']}")
        for name, row in self.rows.items():
            values = [row["error"]] if "error" in row else [f"{c} {_short(row[c])}" for c in columns if c in row]
            print(f"{name:<44} {'  '.join(values)}")
        print(f"{len(self.rows)} rows in {self.path}")


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def in_turn(works: Mapping[str, Work], device: str, *, seconds: float, runs: int = 20) -> dict[str, float]:
    """Median milliseconds of each piece of work, called in turn after three calls that do not count.

    Elsewhere than on CUDA, where only the job itself is tried, each is called once.
    """
    if device != "cuda":
        return {name: _milliseconds(work, device) for name, work in works.items()}
    for _ in range(3):
        for work in works.values():
            work()
    spent: dict[str, list[float]] = {name: [] for name in works}
    ends = time.monotonic() + seconds
    for i in range(runs):
        for name, work in works.items():
            spent[name].append(_milliseconds(work, device))
        if i >= 4 and time.monotonic() > ends:
            break
    return {name: statistics.median(times) for name, times in spent.items()}


def _milliseconds(work: Work, device: str) -> float:
    if device != "cuda":
        began = time.perf_counter()
        work()
        return 1000 * (time.perf_counter() - began)
    # While the device waits, the host queues the work: what is measured is the device.
    torch.cuda._sleep(200_000)
    began_event, ended_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began_event.record()
    work()
    ended_event.record()
    ended_event.synchronize()
    return began_event.elapsed_time(ended_event)


def copy_bandwidth(device: str) -> float:
    """Bytes per second that a copy reads and writes together: the floor of everything that passes through memory."""
    source = torch.empty(2**28 if device == "cuda" else 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found = in_turn({"copy": lambda: target.copy_(source)}, device, seconds=1)
    return 2 * source.numel() / (found["copy"] / 1000)
