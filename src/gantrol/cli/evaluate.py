"""`gantrol evaluate`: how far a model's images are from real ones, how its details move, and what its controls do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:
    from PIL import Image
    from rich.console import Console

    from gantrol.data.dataset import ImageDataset
    from gantrol.metrics import ControlReport, Entry
    from gantrol.metrics.evaluate import Evaluation, Request
    from gantrol.metrics.processes import Processes
    from gantrol.model import Model

_PICTURED = 16  # images of each model on the page of --html


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score models against a dataset, for how their details move, or for what their controls do.

    Example: gantrol evaluate run --data faces.zip --metrics fid,kid,pr,eqt --samples 5000 --json scores.json

    Example: gantrol evaluate first second --data faces.zip --metrics fid,pr --html compare.html
    """

    model: tyro.conf.Positional[tuple[str, ...]]
    """Models: folders, runs, checkpoints of a run, bundled names, Hugging Face ids; or datasets in their place."""
    data: Path | None = None
    """Dataset zip or folder; by default the one that the model was trained on. Needed by fid, kid, pr and dc."""
    metrics: str = "fid"
    """By commas: fid, kid, is, pr, dc (named after their features), ppl, eqt, eqt_frac, eqr, sticking, control."""
    samples: int = 1000
    """Generated images, 50000 for the official numbers; of ppl pairs, for control requests of each control."""
    predictors: str = "portraits-second"
    """Second set of predictors, which reads what control asked for: a folder, or a bundled name."""
    features: str = "efficientnet-lite0"
    """Feature network: efficientnet-lite0, inception, vgg16, or the path of your own."""
    seed: int = 0
    """Chooses the generated images."""
    x_flip: bool = False
    """Count each real image flipped, too."""
    max_reals: int | None = None
    """Compare with so many random images of the dataset instead of all."""
    batch: int = 32
    """Images at a time; changes speed and memory only."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    devices: int = 1
    """Devices that share the work."""
    json: Path | None = None
    """Also write the numbers to this JSON file."""
    html: Path | None = None
    """Also write a page with the numbers and images of all models."""
    pictures: Path | None = None
    """Folder for the two pictures of the metric sticking."""
    plot: Path | None = None
    """Draw asked against read values, and what else moves, to this file; for the metric control."""


def run(options: Evaluate) -> None:
    """Prints the numbers, and writes them where asked."""
    from gantrol.errors import GantrolError
    from gantrol.metrics.evaluate import Request

    request = Request(
        metrics=tuple(name.strip() for name in options.metrics.split(",") if name.strip()),
        samples=options.samples,
        features=options.features,
        seed=options.seed,
        batch_size=options.batch,
        x_flip=options.x_flip,
        max_reals=options.max_reals,
        pictures=options.pictures,
        predictors=options.predictors,
    )
    _check(options, request)
    processes, device = _join(options)
    try:
        subjects, found = _evaluate(options, request, processes, device)
    except GantrolError:
        if processes.is_first:
            raise
        raise SystemExit(1) from None  # the first process tells the user
    if processes.is_first:
        _write(options, subjects, found)
        _print(options.model, found)
        _show(options)


def _check(options: Evaluate, request: Request) -> None:
    """Raises `ConfigError` for options that do not go together."""
    from gantrol.errors import ConfigError
    from gantrol.pictures import check_name

    if not options.model:
        raise ConfigError("evaluate what? name a model, for example: gantrol evaluate runs/first --data faces.zip")
    if options.plot is not None:
        check_name(options.plot)
        if not request.asks("control"):
            raise ConfigError("--plot draws the metric control: add it to --metrics")
    for name in ("plot", "pictures"):
        if getattr(options, name) is not None and len(options.model) > 1:
            raise ConfigError(f"--{name} is about one model: evaluate the models one by one for it")
    if options.devices < 1:
        raise ConfigError(f"--devices {options.devices}: expected at least 1")


def _join(options: Evaluate) -> tuple[Processes, str]:
    """The processes that share the work, started unless torchrun has done so, and the device of this one."""
    from gantrol.cli.devices import launch, world
    from gantrol.metrics.processes import Processes

    if world(options.devices) == (1, 1):
        return Processes(), options.device
    fabric = launch(options.device, options.devices)
    return Processes.joined(), str(fabric.device)


def _evaluate(
    options: Evaluate, request: Request, processes: Processes, device: str
) -> tuple[list[Model | ImageDataset], list[Evaluation]]:
    """The models, and what is found about each."""
    from gantrol.cli.progress import progress_bar
    from gantrol.metrics.evaluate import check_defined, open_subject, part_of, run_evaluation

    subjects = [open_subject(model, device) for model in options.model]
    for subject in subjects:
        check_defined(subject, request)
    found = []
    with progress_bar("evaluating") as update:
        for index, subject in enumerate(subjects):
            report = part_of(update, index, len(subjects), request.samples) if processes.is_first else None
            found.append(
                run_evaluation(subject, options.data, request, device=device, processes=processes, progress=report)
            )
    return subjects, found


def _write(options: Evaluate, subjects: Sequence[Model | ImageDataset], found: Sequence[Evaluation]) -> None:
    """The files that were asked for."""
    import gantrol
    from gantrol.atomic import atomic_file, write_json
    from gantrol.errors import DataError
    from gantrol.metrics.control_pictures import control_picture
    from gantrol.pictures import save_image

    records: list[dict[str, Any]] = []
    for model, evaluation in zip(options.model, found, strict=True):
        record: dict[str, Any] = {
            "model": model,
            "data": None if options.data is None else str(options.data),
            "metrics": {name: entry.to_dict() for name, entry in evaluation.entries.items()},
        }
        if evaluation.control is not None:
            record["control"] = evaluation.control.to_dict()
        records.append(record)
    if options.json is not None:
        common = {"seed": options.seed, "gantrol_version": gantrol.__version__}
        write_json(options.json, (records[0] if len(records) == 1 else {"models": records}) | common, DataError)
    if options.html is not None:
        from gantrol.report import comparison_page

        rows = [
            {"model": record["model"], "metrics": record["metrics"], "picture": _picture(subject)}
            for record, subject in zip(records, subjects, strict=True)
        ]
        page = comparison_page(rows)
        with atomic_file(options.html, DataError) as temporary:
            temporary.write_text(page, encoding="utf-8")
    if options.plot is not None and found[0].control is not None:
        save_image(options.plot, control_picture(found[0].control))


def _show(options: Evaluate) -> None:
    """The pictures that were asked for, where the terminal can."""
    from gantrol.cli.thumbnails import show
    from gantrol.metrics.evaluate import PICTURES

    files = [] if options.plot is None else [options.plot]
    files += [] if options.pictures is None else [options.pictures / name for name in PICTURES]
    for file in files:
        if file.is_file():
            show(file)


def _picture(subject: Model | ImageDataset) -> Image.Image:
    """A few images of a model, or of a dataset, side by side."""
    import numpy as np

    from gantrol.data.dataset import ImageDataset
    from gantrol.pictures import image_grid

    if isinstance(subject, ImageDataset):
        images = np.stack([subject.pixels(row).transpose(1, 2, 0) for row in range(min(_PICTURED, len(subject)))])
    else:
        c_dim = subject.generator.c_dim
        classes = [index % c_dim for index in range(_PICTURED)] if c_dim else None
        images = subject.generate(range(_PICTURED), class_index=classes, noise_mode="random", output="np")
    return image_grid(images, _PICTURED // 2)


# ---------------------------------------------------------------------------------------------------------------------
# Tables


def _print(models: Sequence[str], found: Sequence[Evaluation]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    scores = [
        {name: entry for name, entry in evaluation.entries.items() if not name.startswith("control/")}
        for evaluation in found
    ]
    if any(scores):
        if len(models) == 1:
            _print_entries(scores[0])
        else:
            _print_comparison(models, scores)
    for model, evaluation in zip(models, found, strict=True):
        if evaluation.control is not None:
            if len(models) > 1:
                console.print(f"\n{escape(model)}", soft_wrap=True)
            _print_controls(console, evaluation.control)


def _print_entries(entries: dict[str, Entry]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from gantrol.cli.tables import print_table

    table = Table("number", "value", "unit", "generated", "real", box=None, padding=(0, 2, 0, 0))
    for entry in {entry.name: entry for entry in entries.values()}.values():
        reals = "" if entry.reals is None else f"{entry.reals:,}"
        table.add_row(escape(entry.name), f"{entry.value:.4g}", escape(entry.unit), f"{entry.samples:,}", reals)
    print_table(table)


def _print_comparison(models: Sequence[str], scores: Sequence[dict[str, Entry]]) -> None:
    """A row for each number, a column for each model."""
    from rich.markup import escape
    from rich.table import Table

    from gantrol.cli.tables import print_table

    table = Table("number", "unit", *map(escape, models), box=None, padding=(0, 2, 0, 0))
    rows: dict[tuple[str, str], list[str]] = {}
    for column, entries in enumerate(scores):
        for entry in entries.values():
            row = rows.setdefault((entry.name, entry.unit), [""] * len(models))
            row[column] = f"{entry.value:.4g}"
    for (name, unit), values in rows.items():
        table.add_row(escape(name), escape(unit), *values)
    print_table(table)


def _print_controls(console: Console, report: ControlReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    from gantrol.cli.tables import print_table
    from gantrol.metrics.control_report import COLUMNS

    table = Table(*COLUMNS, box=None, padding=(0, 2, 0, 0))
    for row in report.rows():
        table.add_row(*map(escape, row))
    print_table(table)
    for line in report.remarks():
        console.print(escape(line), soft_wrap=True)
