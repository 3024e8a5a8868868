"""Many portraits into one dataset zip, with worker processes.

Where the label rows come from is a `Rows`: drawn from a seed, or given. Image i is a function of row i alone, workers
render and encode, and one process writes in order: the same rows give the same bytes whatever the number of workers.
The zip appears under its name only when it is complete; what an interrupted run has finished is taken over by the next.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import signal
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gantrol.data import images
from gantrol.data.faces.attributes import Row
from gantrol.data.faces.channels import check_channels, render_channels
from gantrol.data.faces.labels import ATTRIBUTES, check_row, complete_row, sample_row
from gantrol.data.faces.render import MAX_SIZE_PX, MIN_SIZE_PX, render_row
from gantrol.data.writer import DatasetWriter
from gantrol.errors import ConfigError, DataError

VERSION = 2
"""Of the renderer: the same rows give the same bytes within one version."""
_CHUNK = 16  # images per task
_TASKS_PER_WORKER = 4  # tasks in flight: bounds memory when writing is slower than rendering

Portrait = tuple[bytes, Row, bytes | None]


class Rows(Protocol):
    """Where label rows come from; picklable."""

    def row(self, index: int) -> Row:
        """The complete row of image `index`."""

    def describe(self) -> dict[str, Any]:
        """JSON-ready: what tells these rows from others."""


@dataclass(frozen=True)
class Sampled:
    """Rows drawn from a seed, some attributes fixed; styles, if given, take turns at random.

    With `per_identity` K, rows iK … iK + K − 1 are one person: that of row iK.
    """

    seed: int = 0
    fixed: Mapping[str, Any] = None  # type: ignore[assignment]
    styles: tuple[str, ...] = ()
    per_identity: int = 1

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed} is impossible: it must not be negative")
        object.__setattr__(self, "fixed", check_row(self.fixed or {}))
        for style in self.styles:
            ATTRIBUTES["style"].check(style)
        if self.per_identity < 1:
            raise ConfigError(f"per-identity {self.per_identity} is impossible: a person has at least 1 image")

    def row(self, index: int) -> Row:
        row = sample_row(self.seed, index - index % self.per_identity, self.fixed)
        if index % self.per_identity:
            row = sample_row(self.seed, index, {**self.fixed, "identity": row["identity"]})
        if self.styles:
            rng = np.random.default_rng([self.seed, index, zlib.crc32(b"style")])
            row["style"] = self.styles[rng.integers(len(self.styles))]
        return row

    def describe(self) -> dict[str, Any]:
        described = asdict(self)
        if self.per_identity == 1:
            del described["per_identity"]
        return described


@dataclass(frozen=True)
class Listed:
    """Rows that are given, such as counterfactuals of other rows."""

    rows: Sequence[Mapping[str, Any]]

    def row(self, index: int) -> Row:
        return complete_row(self.rows[index])

    def describe(self) -> dict[str, Any]:
        digest = hashlib.blake2b(json.dumps(list(self.rows), sort_keys=True).encode(), digest_size=8)
        return {"rows": digest.hexdigest()}


def check_size(size_px: int) -> None:
    """Raises ConfigError for a size that cannot be rendered."""
    if not MIN_SIZE_PX <= size_px <= MAX_SIZE_PX:
        raise ConfigError(f"size {size_px} px is impossible: portraits are {MIN_SIZE_PX} to {MAX_SIZE_PX} px")


def make_dataset(
    out: Path,
    count: int,
    size_px: int,
    *,
    rows: Rows | None = None,
    seed: int = 0,
    workers: int | None = None,
    fixed: Mapping[str, Any] | None = None,
    channels: Sequence[str] = (),
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Renders labelled portraits into a dataset zip.

    Args:
        out: the zip to write; it appears when complete. After an error or Ctrl-C a hidden file beside it keeps what was
            finished, and the same call continues from there.
        count: how many images, at least 1.
        size_px: side of the square RGB images, 32 to 512.
        rows: where the labels come from; None draws them with `seed` and `fixed`.
        seed: image i depends on (seed, i) alone.
        workers: processes; None takes one per usable core, 1 renders in this process.
        fixed: attributes that every image shares; the others fall as they would without it.
        channels: names of `channels.CHANNELS` to store beside each image, as an npz.
        overwrite: replace an existing file.
        progress: called with (done, total).

    Raises:
        ConfigError: an impossible count, size, seed or number of workers; an unknown attribute or channel, or a value
            out of range.
        DataError: the target exists or cannot be written; a worker process was killed.
    """
    if count < 1:
        raise ConfigError(f"count {count} is impossible: ask for at least 1 image")
    check_size(size_px)
    if workers is not None and workers < 1:
        raise ConfigError(f"workers {workers} is impossible: ask for at least 1 process")
    check_channels(channels)
    rows = Sampled(seed, fixed or {}) if rows is None else rows
    recipe = {"generator": "gantrol.data.faces", "version": VERSION, "size_px": size_px} | rows.describe()
    recipe |= {"channels": list(channels)} if channels else {}
    token = hashlib.blake2b(json.dumps(recipe, sort_keys=True).encode(), digest_size=4).hexdigest()
    schema = {name: attribute.schema() for name, attribute in ATTRIBUTES.items()}
    writer = DatasetWriter(out, schema=schema, meta=recipe, overwrite=overwrite, resume_token=token, resume_limit=count)
    with writer:
        for index in range(writer.recovered):
            writer.add(None, attributes=rows.row(index))
        for image, row, extra in rendered(rows, range(writer.count, count), size_px, workers, tuple(channels)):
            writer.add(image, attributes=row, attachment=extra)
            if progress is not None:
                progress(writer.count, count)


def rendered(
    rows: Rows, indices: range, size_px: int, workers: int | None = None, channels: tuple[str, ...] = ()
) -> Iterator[Portrait]:
    """Renders and encodes images in order: (PNG, row, npz of the channels or None)."""
    chunks = [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]
    workers = min(workers or _usable_cores(), len(chunks))
    if workers <= 1:
        for chunk in chunks:
            for index in chunk:
                yield _portrait(rows, index, size_px, channels)
        return
    # "spawn": a forked child would inherit the locks of torch's and the progress bar's threads
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupt)
    pending: deque[Future[list[Portrait]]] = deque()
    try:
        for chunk in chunks:
            pending.append(pool.submit(_render_chunk, rows, chunk, size_px, channels))
            if len(pending) >= workers * _TASKS_PER_WORKER:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    except BrokenProcessPool as error:
        raise DataError("a rendering process was killed (out of memory?): try fewer --workers") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ignore_interrupt() -> None:
    """Ctrl-C reaches the whole process group: the parent alone ends the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _render_chunk(rows: Rows, indices: range, size_px: int, channels: tuple[str, ...]) -> list[Portrait]:
    """Renders and encodes some images of a dataset; runs in a worker."""
    return [_portrait(rows, index, size_px, channels) for index in indices]


def _portrait(rows: Rows, index: int, size_px: int, channels: tuple[str, ...]) -> Portrait:
    row = rows.row(index)
    extra = None
    if channels:
        file = io.BytesIO()
        np.savez_compressed(file, **render_channels(row, size_px, channels))  # type: ignore[arg-type]
        extra = file.getvalue()
    return images.encode(render_row(row, size_px), "png"), row, extra
