"""How a number is measured: after a warm-up, several times, as a median; rivals in turn.

A machine slows down and speeds up while one measures. Two functions that are compared are therefore called in turn
(a b a b …), and their ratio is the median of the ratios of neighbours, which share whatever the machine was doing.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MAX_RUNS = 50


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long to look at one number."""

    name: str
    """quick, default or full: also decides which numbers are looked at."""
    min_runs: int
    """At least so many timed calls."""
    seconds: float
    """More calls until so much time has passed."""

    @property
    def is_quick(self) -> bool:
        """Whether only a few numbers are wanted."""
        return self.name == "quick"


EFFORTS = {
    "quick": Effort(name="quick", min_runs=2, seconds=0.3),
    "default": Effort(name="default", min_runs=3, seconds=1.0),
    "full": Effort(name="full", min_runs=5, seconds=5.0),
}


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Several timed calls of one function, in seconds."""

    median_s: float
    lowest_s: float
    highest_s: float
    runs: int

    @classmethod
    def of(cls, seconds: list[float]) -> Timing:
        """Summarises the durations of calls."""
        return cls(
            median_s=statistics.median(seconds), lowest_s=min(seconds), highest_s=max(seconds), runs=len(seconds)
        )


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number of the table."""

    name: str
    """What was measured."""
    value: float
    """The number."""
    unit: str
    """Of the number: images/s, ms, ×, %, GiB."""
    details: dict[str, Any] = field(default_factory=dict)
    """Whatever else is known: the timing, sizes, the parts of a sum."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Something that can be measured by itself: `python -m benchmarks --only NAME`."""

    group: str
    """Heading of the table that its rows go to."""
    name: str
    """Unique; `--only` looks for a part of it."""
    run: Callable[[], list[Row]]
    """Measures. May take long; whatever it makes on the disk is gone afterwards."""


def clock(function: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def is_enough(effort: Effort, runs: int, spent_s: float) -> bool:
    """Whether so many timed calls in so much time will do."""
    return runs >= MAX_RUNS or (runs >= effort.min_runs and spent_s >= effort.seconds)


def measure(function: Callable[[], object], effort: Effort) -> Timing:
    """Times `function` after one call that does not count."""
    function()
    seconds: list[float] = []
    while not is_enough(effort, len(seconds), sum(seconds)):
        seconds.append(clock(function))
    return Timing.of(seconds)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two functions, timed in turn."""

    first: Timing
    second: Timing
    ratio: float
    """Median of (time of the second / time of the first): above 1 if the first is faster."""


def compare(first: Callable[[], object], second: Callable[[], object], effort: Effort) -> Comparison:
    """Times two functions in turn, after one call of each that does not count."""
    first()
    second()
    pairs: list[tuple[float, float]] = []
    while not is_enough(effort, len(pairs), sum(map(sum, pairs))):
        pairs.append((clock(first), clock(second)))
    a, b = ([pair[i] for pair in pairs] for i in range(2))
    ratio = statistics.median(slow / fast for fast, slow in pairs)
    return Comparison(first=Timing.of(a), second=Timing.of(b), ratio=ratio)


def machine() -> dict[str, Any]:
    """What the numbers depend on besides the program; the load says whether something else was running."""
    import torch

    import gantrol

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "load_average_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gantrol": gantrol.__version__,
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
