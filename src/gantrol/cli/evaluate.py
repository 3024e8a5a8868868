"""`gantrol evaluate`: how far a model's images are from real ones, how its details move, and what its controls do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from gantrol.metrics import ControlReport, Entry


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score a model against a dataset, for how its details move, or for what its controls do.

    Example: gantrol evaluate run --data faces.zip --metrics fid,eqt,sticking --samples 5000 --json scores.json
    """

    model: tyro.conf.Positional[str]
    """Model folder, run, checkpoint of a run, bundled model, or Hugging Face id."""
    data: Path | None = None
    """Dataset zip or folder; by default the one that the model was trained on. Needed by fid, used by control."""
    metrics: str = "fid"
    """By commas: fid (a Fréchet distance, named after its features), eqt, eqt_frac, eqr, sticking or control."""
    samples: int = 1000
    """Generated images; for control, requests of each control."""
    predictors: str = "portraits-second"
    """Second set of predictors, which reads what control asked for: a folder, or a bundled name."""
    features: str = "efficientnet-lite0"
    """Feature network: efficientnet-lite0."""
    seed: int = 0
    """Chooses the generated images."""
    x_flip: bool = False
    """Count each real image flipped, too."""
    batch: int = 32
    """Images at a time; changes speed and memory only."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    json: Path | None = None
    """Also write the numbers to this JSON file."""
    pictures: Path | None = None
    """Folder for the two pictures of the metric sticking."""
    plot: Path | None = None
    """Draw asked against read values, and what else moves, to this file; for the metric control."""


def run(options: Evaluate) -> None:
    """Prints the numbers, and writes them where asked."""
    from rich.console import Console

    import gantrol
    from gantrol.atomic import write_json
    from gantrol.cli.progress import progress_bar
    from gantrol.errors import ConfigError, DataError
    from gantrol.metrics import evaluate_entries, measure_control
    from gantrol.metrics.control_pictures import control_picture
    from gantrol.metrics.evaluate import check_request, control_entries
    from gantrol.model import load
    from gantrol.pictures import check_name, save_image

    names = [name.strip() for name in options.metrics.split(",") if name.strip()]
    check_request(names, options.features, options.samples, options.batch, options.pictures)
    if options.plot is not None:
        check_name(options.plot)
        if "control" not in names:
            raise ConfigError("--plot draws the metric control: add it to --metrics")
    model = load(options.model, device=options.device)
    common: dict[str, Any] = {"samples": options.samples, "seed": options.seed, "batch_size": options.batch}
    others = [name for name in names if name != "control"]
    entries, report = {}, None
    if others:
        with progress_bar("evaluating") as update:
            entries = evaluate_entries(
                model,
                options.data,
                others,
                features=options.features,
                x_flip=options.x_flip,
                pictures=options.pictures,
                progress=update,
                **common,
            )
    scores = dict(entries)
    if "control" in names:
        with progress_bar("measuring controls") as update:
            report = measure_control(model, options.predictors, data=options.data, progress=update, **common)
        scores |= control_entries(report)
    if options.json is not None:
        record = {
            "model": options.model,
            "data": None if options.data is None else str(options.data),
            "metrics": {name: entry.to_dict() for name, entry in scores.items()},
            "seed": options.seed,
            "gantrol_version": gantrol.__version__,
        }
        write_json(options.json, record if report is None else record | {"control": report.to_dict()}, DataError)
    console = Console(highlight=False)
    if entries:
        _print_entries(console, entries)
    if report is not None:
        if options.plot is not None:
            save_image(options.plot, control_picture(report))
        _print_controls(console, report)


def _print_entries(console: Console, entries: dict[str, Entry]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("number", "value", "unit", "generated", "real", box=None, padding=(0, 2, 0, 0))
    for entry in {entry.name: entry for entry in entries.values()}.values():
        reals = "" if entry.reals is None else f"{entry.reals:,}"
        table.add_row(escape(entry.name), f"{entry.value:.4g}", escape(entry.unit), f"{entry.samples:,}", reals)
    console.print(table)


def _print_controls(console: Console, report: ControlReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    from gantrol.metrics.control_report import COLUMNS

    table = Table(*COLUMNS, box=None, padding=(0, 2, 0, 0))
    for row in report.rows():
        table.add_row(*map(escape, row))
    console.print(table)
    for line in report.remarks():
        console.print(escape(line), soft_wrap=True)
