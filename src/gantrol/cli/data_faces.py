"""`gantrol data faces`: labelled portraits, rendered."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gantrol.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gantrol.data.faces.dataset import Rows

_PICTURES = (".png", ".webp", ".jpg", ".jpeg")
_MAX_PICTURES = 1024  # on one sheet


@dataclass(frozen=True, kw_only=True)
class DataFaces:
    """Render labelled portraits of people who do not exist into a dataset zip, or onto a sheet (--out sheet.png).

    Example: gantrol data faces --count 4000 --size 64 --out faces.zip --set yaw=0 hair_color=0.8,0.2,0.1
    """

    out: Path
    """The dataset zip to write; a name that ends in .png, .webp or .jpg makes one picture of all."""
    count: int | None = None
    """How many images (with --like: how many of its rows; by default all)."""
    size: int | None = None
    """Side of the square images in pixels, 32 to 512 (with --like: as there by default)."""
    seed: int = 0
    """The same seed gives the same bytes, whatever the number of workers."""
    workers: int | None = None
    """Rendering processes; by default one per core."""
    per_identity: int = 1
    """So many images in a row show one person, everything else drawn anew: what predictors of identity learn from."""
    set: tuple[str, ...] = ()
    """Attributes that every image shares, as name=value: yaw=30, hair_color=0.8,0.2,0.1, hair_style=bob, …"""
    style: str = "photo"
    """photo, or what it is painted in: oil, watercolor, ink, …; several with commas take turns; all."""
    like: str | None = None
    """Render these label rows again, changed by --set: F.zip (all images), F.zip:12 (one), ROW.json, '{"yaw": 3}'."""
    sweep: str | None = None
    """One attribute runs its course for each person: yaw, yaw=-40:40, hair_style, hair_color=0,0,0:1,0.8,0.5, …"""
    steps: int = 7
    """Images in a --sweep (choices take one each)."""
    align: bool = False
    """Frame as aligned portrait sets are: eyes and mouth on fixed places, no roll."""
    channels: tuple[str, ...] = ()
    """Also store, beside each image as an npz: depth, normals, segmentation, landmarks."""
    captions: tuple[str, ...] = ()
    """Attributes to print beneath the images of a picture; the swept one by default."""
    overwrite: bool = False
    """Replace the file if it exists."""


def run(options: DataFaces) -> None:
    """Renders the dataset or the sheet with a progress line."""
    is_picture = options.out.suffix.lower() in _PICTURES
    if options.captions and not is_picture:
        raise ConfigError(f"--captions are printed on pictures; {options.out.name} is a dataset (end it in .png)")
    if options.channels and is_picture:
        raise ConfigError(f"--channels are stored in datasets; {options.out.name} is a picture (end it in .zip)")
    rows, count, size, columns = _rows(options)
    if is_picture:
        _write_sheet(options, rows, count, size, columns)
    else:
        _write_dataset(options, rows, count, size)


def _rows(options: DataFaces) -> tuple[Rows, int, int, int | None]:
    """Where the label rows come from, how many, their size in pixels, and the columns of a sheet."""
    from gantrol.data.faces.counterfactual import changed_rows, parse_sweep, read_rows, sweep_values, swept_rows
    from gantrol.data.faces.dataset import Listed, Sampled
    from gantrol.data.faces.labels import ATTRIBUTES, STYLES, parse_assignments

    changes = parse_assignments(options.set)
    styles = STYLES if options.style == "all" else tuple(options.style.split(","))
    for style in styles:
        ATTRIBUTES["style"].check(style)
    if options.align:
        changes["framing"] = "aligned"
    size = options.size
    if options.like is None:
        if options.count is None and options.sweep is None:
            raise ConfigError("--count is missing: how many images?")
        if len(styles) == 1 and styles != ("photo",):
            changes.setdefault("style", styles[0])
        source = Sampled(options.seed, changes, styles if len(styles) > 1 else (), options.per_identity)
        count = 1 if options.count is None else options.count
        if options.sweep is None:
            return source, count, _required(size), None
        people = [source.row(index) for index in range(count)]
    else:
        if options.per_identity != 1:
            raise ConfigError("--like renders given rows: --per-identity is for rows that are drawn")
        people, known_px = read_rows(options.like)
        if options.count is not None and not 1 <= options.count <= len(people):
            raise ConfigError(f"--count {options.count} is impossible: --like gives {len(people)} rows")
        if len(styles) > 1:
            raise ConfigError("--like renders given rows: --style takes one name there")
        if styles != ("photo",):
            changes.setdefault("style", styles[0])
        people, size = changed_rows(people[: options.count], changes), size or known_px
    if options.sweep is None:
        return Listed(people), len(people), _required(size), None
    name, low, high = parse_sweep(options.sweep)
    values = sweep_values(name, low, high, options.steps)
    rows = [row for person in people for row in swept_rows(person, name, values)]
    return Listed(rows), len(rows), _required(size), len(values)


def _required(size: int | None) -> int:
    if size is None:
        raise ConfigError("--size is missing: how many pixels (32 to 512)?")
    return size


def _write_dataset(options: DataFaces, rows: Rows, count: int, size: int) -> None:
    from gantrol.cli.progress import progress_bar
    from gantrol.cli.thumbnails import show_dataset
    from gantrol.data.faces import make_dataset

    try:
        with progress_bar("rendering") as update:
            make_dataset(
                options.out,
                count,
                size,
                rows=rows,
                workers=options.workers,
                channels=options.channels,
                overwrite=options.overwrite,
                progress=update,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the same command continues {options.out} from what was finished") from None
    print(f"{options.out}: {count} portraits of {size}×{size} px, labels in dataset.json")
    show_dataset(options.out)


def _write_sheet(options: DataFaces, rows: Rows, count: int, size: int, columns: int | None) -> None:
    from PIL import Image

    from gantrol.cli.progress import progress_bar
    from gantrol.cli.thumbnails import show
    from gantrol.data.faces.dataset import check_size, rendered
    from gantrol.data.faces.labels import ATTRIBUTES
    from gantrol.errors import nearest
    from gantrol.pictures import labelled_grid, save_image

    if not 1 <= count <= _MAX_PICTURES:
        raise ConfigError(f"count {count} is impossible: a picture shows 1 to {_MAX_PICTURES} portraits")
    check_size(size)
    names = options.captions or ((options.sweep.partition("=")[0],) if options.sweep else ())
    for name in names:
        if name not in ATTRIBUTES:
            raise ConfigError(f"--captions: unknown attribute {name!r}; {nearest(name, ATTRIBUTES)}")
    if options.out.exists() and not options.overwrite:
        raise DataError(f"{options.out}: exists already: choose another name or --overwrite it")
    pictures, lines = [], []
    with progress_bar("rendering") as update:
        for data, row, _ in rendered(rows, range(count), size, options.workers):
            pictures.append(np.asarray(Image.open(io.BytesIO(data))))
            lines.append(_caption(row, names, width=max(size // 6, 8)))
            update(len(pictures), count)
    save_image(options.out, labelled_grid(np.stack(pictures), lines, columns))
    print(f"{options.out}: {count} portraits of {size}×{size} px")
    show(options.out)


def _caption(row: dict[str, Any], names: Sequence[str], width: int) -> list[str]:
    """The values of some attributes, in lines of about `width` characters."""
    lines: list[str] = []
    for name in names:
        value = row[name]
        parts = value if isinstance(value, list) else [value]
        shown = ",".join(
            part if isinstance(part, str) else f"{part:.3g}" if part < 1e6 else str(part) for part in parts
        )
        item = shown if len(names) == 1 else f"{name} {shown}"
        if lines and len(lines[-1]) + len(item) + 2 <= width:
            lines[-1] += f", {item}"
        else:
            lines.append(item)
    return lines
