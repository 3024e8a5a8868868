"""`gantrol data info`: what a dataset holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """Show what a dataset holds: images, labels, ranges of the attributes.

    Example: gantrol data info faces.zip --skip-bad
    """

    data: tyro.conf.Positional[Path]
    """Dataset zip or folder of images."""
    json: Path | None = None
    """Also write the summary to this JSON file."""
    card: Path | None = None
    """Also write a data card (Markdown): ranges of the attributes and which of them go together."""
    skip_bad: bool = False
    """Decode every image, and count the damaged ones."""


def run(options: DataInfo) -> None:
    """Prints the summary, and writes it where asked."""
    import gantrol
    from gantrol.atomic import atomic_file, write_json
    from gantrol.cli.progress import progress_bar
    from gantrol.data.card import data_card
    from gantrol.data.dataset import ImageDataset
    from gantrol.errors import DataError

    with progress_bar("decoding") as update:
        dataset = ImageDataset(options.data, skip_bad=options.skip_bad, progress=update)
    summary = dataset.describe()
    if options.json is not None:
        write_json(options.json, {"gantrol_version": gantrol.__version__, **summary}, DataError)
    if options.card is not None:
        with atomic_file(options.card, DataError) as temporary:
            temporary.write_text(data_card(dataset), encoding="utf-8")
    print_summary(summary)


def print_summary(summary: dict[str, Any]) -> None:
    """Prints `ImageDataset.describe()` as tables."""
    from rich.markup import escape
    from rich.table import Table

    from gantrol.cli.tables import print_table
    from gantrol.cli.thumbnails import show_dataset

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in _rows(summary):
        table.add_row(key, escape(value))
    print_table(table, is_folded=True)
    show_dataset(summary["path"])
    if not summary["attributes"]:
        return
    attributes = Table("attribute", "unit", "lowest", "mean", "highest", box=None, padding=(0, 2, 0, 0))
    for name, column in summary["attributes"].items():
        if "values" in column:
            cells = [_some(column["values"]), "", ""]
        else:
            cells = [f"{column[key]:.4g}" for key in ("min", "mean", "max")]
        attributes.add_row(escape(name), escape(str(column.get("unit", ""))), *map(escape, cells))
    print()
    print_table(attributes)


def _rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    from gantrol.data.images import describe

    labels = summary["labels"]
    shape = describe(summary["resolution_px"], summary["channels"])
    formats = ", ".join(f"{count} {name}" for name, count in summary["formats"].items())
    if labels["kind"] == "class":
        described = f"{labels['dim']} classes ({_some(labels['class_counts'])})"
    elif labels["kind"] == "vector":
        described = f"vectors of {labels['dim']} numbers"
    else:
        described = "none"
    rows = [
        (summary["kind"], summary["path"]),
        ("images", f"{summary['images']} ({formats}), {shape}"),
        ("size", f"{summary['bytes'] / 2**20:.1f} MiB"),
        ("labels", described),
    ]
    rows += [("damaged", skipped["reason"]) for skipped in summary["skipped"]]
    rows += [
        (key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for key, value in summary["meta"].items()
    ]
    return rows


def _some(counts: dict[str, int], shown: int = 8) -> str:
    """The first entries of {value: count}."""
    entries = [f"{value}: {count}" for value, count in list(counts.items())[:shown]]
    return ", ".join(entries + (["…"] if len(counts) > shown else []))
