"""The fastest tile of a kernel for a shape, found by trying and remembered on the disk.

The file is `$XDG_CACHE_HOME/gantrol/autotune/DEVICE-triton-VERSION.json` (usually below `~/.cache`) and may be deleted
at any time. A damaged file or an unwritable folder costs time, never correctness.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from gantrol.atomic import write_json
from gantrol.errors import GantrolError
from gantrol.ops.paths import is_interpreted

RUNS = 5
"""Timed runs of each candidate."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
    """How a kernel is cut for the device."""

    tile_y: int
    """Slots of a tile along y."""
    tile_x: int
    warps: int
    """Groups of 32 threads that share a tile."""


Run = Callable[[Launch], None]


def best_launch(key: Sequence[Any], candidates: Sequence[Launch], run: Run, device: torch.device) -> Launch:
    """The fastest of `candidates` for the work that `key` describes.

    Args:
        key: the operator, then everything its speed depends on, the number of planes third: it counts in powers of two.
        candidates: the first one, which fits every device, is taken where nothing can be timed.
        run: does the work.
        device: where.
    """
    if is_interpreted() or len(candidates) == 1:
        return candidates[0]
    store = _store(torch.cuda.get_device_name(device))
    name = " ".join(str(_bucket(part) if i == 2 else part).replace(" ", "") for i, part in enumerate(key))
    known = store.get(name)
    if known is not None and known in candidates:
        return known
    if torch.cuda.is_current_stream_capturing():
        return candidates[0]  # nothing may be timed inside a CUDA graph; warm up before capturing
    fastest = min(candidates, key=lambda candidate: _seconds(run, candidate))
    store.put(name, fastest)
    return fastest


def _bucket(planes: int) -> int:
    return 1 << (planes - 1).bit_length()


def _seconds(run: Run, launch: Launch) -> float:
    """The median time of a launch on the device, after one that compiles it; infinite if it does not fit there."""
    from triton.runtime.errors import OutOfResources

    try:
        run(launch)
    except OutOfResources:
        return math.inf
    events = [torch.cuda.Event(enable_timing=True) for _ in range(RUNS + 1)]
    events[0].record()
    for event in events[1:]:
        run(launch)
        event.record()
    events[-1].synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in pairwise(events))


class Store:
    """Chosen launches by name, in memory and in a file.

    Args:
        path: the file; read when first asked, written whole after each choice. None: there is no place for one.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._known = self._read()

    def get(self, name: str) -> Launch | None:
        return self._known.get(name)

    def put(self, name: str, launch: Launch) -> None:
        self._known = self._read() | self._known | {name: launch}  # other processes choose as well
        if self.path is None:
            return
        with suppress(GantrolError):
            write_json(self.path, {key: dataclasses.asdict(value) for key, value in self._known.items()})

    def _read(self) -> dict[str, Launch]:
        if self.path is None:
            return {}
        try:
            return {name: Launch(**fields) for name, fields in json.loads(self.path.read_text()).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


@cache
def _store(device_name: str) -> Store:
    import triton

    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # a user without a home, as containers have them
        return Store(None)
    name = re.sub(r"[^\w.]+", "-", f"{device_name} triton {triton.__version__}")
    return Store(Path(home) / "gantrol" / "autotune" / f"{name}.json")
