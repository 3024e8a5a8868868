"""Many avatars into one dataset zip.

Image i is drawn from (seed, i) alone: the same seed, styles and package versions give the same bytes, and a longer
dataset begins with the images of the shorter one. One process is enough: an avatar takes a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from gantrol.data.avatars.drawing import check_size, licences, render_row, versions
from gantrol.data.avatars.labels import check_fixed, check_styles, drawn_row, schema
from gantrol.data.writer import DatasetWriter
from gantrol.errors import ConfigError


def make_dataset(
    out: Path,
    count: int,
    size_px: int,
    *,
    seed: int = 0,
    styles: Iterable[str] | None = None,
    fixed: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Renders labelled avatars into a dataset zip, with the licence of every style in its `meta`.

    Args:
        out: the zip to write; it appears when complete, and nothing is left behind on an error or Ctrl-C.
        count: how many images, at least 1.
        size_px: side of the square RGB images, 16 to 1024.
        seed: image i depends on (seed, i) alone.
        styles: names of styles, drawn equally often; None takes those without conditions on their use (CC0).
        fixed: attributes that every image shares; the others fall as they would without it.
        overwrite: replace an existing file.
        progress: called with (done, total).

    Raises:
        ConfigError: an impossible count, size or seed; an unknown style or attribute; a value that a style cannot draw.
        DataError: the target exists or cannot be written; the installed drawings are not those of the table.
        MissingExtraError: the extra `avatars` is not installed.
    """
    if count < 1:
        raise ConfigError(f"count {count} is impossible: ask for at least 1 image")
    check_size(size_px)
    if seed < 0:
        raise ConfigError(f"seed {seed} is impossible: it must not be negative")
    names = check_styles(styles)
    shared = check_fixed(fixed or {}, names)
    meta = {
        "generator": "gantrol.data.avatars",
        "version": 1,
        "packages": versions(),
        "seed": seed,
        "size_px": size_px,
        "fixed": shared,
        "styles": licences(names),
    }
    with DatasetWriter(out, schema=schema(names), meta=meta, overwrite=overwrite) as writer:
        for index in range(count):
            row = drawn_row(seed, index, names, shared)
            writer.add(render_row(row, size_px), attributes=row)
            if progress is not None:
                progress(writer.count, count)
