"""Many portraits into one dataset zip, with worker processes.

Image i is drawn from (seed, i) alone, workers render and encode, and one process writes in order: the same seed gives
the same bytes whatever the number of workers. The zip appears under its name only when it is complete.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from gantrol.data import images
from gantrol.data.faces.labels import ATTRIBUTES, Row, check_row, sample_row
from gantrol.data.faces.render import MAX_SIZE_PX, MIN_SIZE_PX, render_row
from gantrol.data.writer import DatasetWriter
from gantrol.errors import ConfigError, DataError

_CHUNK = 16  # images per task
_TASKS_PER_WORKER = 4  # tasks in flight: bounds memory when writing is slower than rendering

Portrait = tuple[bytes, Row]


def make_dataset(
    out: Path,
    count: int,
    size_px: int,
    *,
    seed: int = 0,
    workers: int | None = None,
    fixed: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Renders labelled portraits into a dataset zip.

    Args:
        out: the zip to write; it appears when complete, and nothing is left behind on an error or Ctrl-C.
        count: how many images, at least 1.
        size_px: side of the square RGB images, 32 to 512.
        seed: image i depends on (seed, i) alone.
        workers: processes; None takes one per usable core, 1 renders in this process.
        fixed: attributes that every image shares; the others fall as they would without it.
        overwrite: replace an existing file.
        progress: called with (done, total).

    Raises:
        ConfigError: an impossible count, size, seed or number of workers; an unknown attribute or value out of range.
        DataError: the target exists or cannot be written; a worker process was killed.
    """
    if count < 1:
        raise ConfigError(f"count {count} is impossible: ask for at least 1 image")
    if not MIN_SIZE_PX <= size_px <= MAX_SIZE_PX:
        raise ConfigError(f"size {size_px} px is impossible: portraits are {MIN_SIZE_PX} to {MAX_SIZE_PX} px")
    if seed < 0:
        raise ConfigError(f"seed {seed} is impossible: it must not be negative")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers {workers} is impossible: ask for at least 1 process")
    shared = check_row(fixed or {})
    meta = {"generator": "gantrol.data.faces", "version": 1, "seed": seed, "size_px": size_px, "fixed": shared}
    schema = {name: attribute.schema() for name, attribute in ATTRIBUTES.items()}
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    workers = min(workers or _usable_cores(), len(chunks))
    with DatasetWriter(out, schema=schema, meta=meta, overwrite=overwrite) as writer:
        for portraits in _rendered(chunks, workers, seed, size_px, shared):
            for image, row in portraits:
                writer.add(image, attributes=row)
            if progress is not None:
                progress(writer.count, count)


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _rendered(chunks: list[range], workers: int, seed: int, size_px: int, fixed: Row) -> Iterator[list[Portrait]]:
    """Renders chunks of indices, in order."""
    if workers == 1:
        for chunk in chunks:
            yield _render_chunk(chunk, seed, size_px, fixed)
        return
    # "spawn": a forked child would inherit the locks of torch's and the progress bar's threads
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupt)
    pending: deque[Future[list[Portrait]]] = deque()
    try:
        for chunk in chunks:
            pending.append(pool.submit(_render_chunk, chunk, seed, size_px, fixed))
            if len(pending) >= workers * _TASKS_PER_WORKER:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise DataError("a rendering process was killed (out of memory?): try fewer --workers") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupt() -> None:
    """Ctrl-C reaches the whole process group: the parent alone ends the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _render_chunk(indices: range, seed: int, size_px: int, fixed: Row) -> list[Portrait]:
    """Renders and encodes some images of a dataset; runs in a worker."""
    rows = [sample_row(seed, index, fixed) for index in indices]
    return [(images.encode(render_row(row, size_px), "png"), row) for row in rows]
