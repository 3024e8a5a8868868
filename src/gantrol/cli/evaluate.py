"""`gantrol evaluate`: how far a model's images are from real ones, and whether details move with their objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score a model against a dataset, or for how its details move.

    Example: gantrol evaluate run --data faces.zip --metrics fid,eqt,sticking --samples 5000 --json scores.json
    """

    model: tyro.conf.Positional[str]
    """Model folder, run, checkpoint of a run, bundled model, or Hugging Face id."""
    data: Path | None = None
    """Dataset zip or folder; by default the one that the model was trained on. Only fid needs it."""
    metrics: str = "fid"
    """Names, separated by commas: fid (a Fréchet distance, named after its features), eqt, eqt_frac, eqr, sticking."""
    samples: int = 1000
    """Generated images."""
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


def run(options: Evaluate) -> None:
    """Prints the numbers, and writes them where asked."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    import gantrol
    from gantrol.atomic import write_json
    from gantrol.cli.progress import progress_bar
    from gantrol.errors import DataError
    from gantrol.metrics import evaluate_entries
    from gantrol.metrics.evaluate import check_request
    from gantrol.model import load

    names = [name.strip() for name in options.metrics.split(",") if name.strip()]
    check_request(names, options.features, options.samples, options.batch, options.pictures)
    model = load(options.model, device=options.device)
    with progress_bar("evaluating") as update:
        entries = evaluate_entries(
            model,
            options.data,
            names,
            samples=options.samples,
            features=options.features,
            seed=options.seed,
            batch_size=options.batch,
            x_flip=options.x_flip,
            pictures=options.pictures,
            progress=update,
        )
    if options.json is not None:
        record = {
            "model": options.model,
            "data": None if options.data is None else str(options.data),
            "metrics": {name: entry.to_dict() for name, entry in entries.items()},
            "seed": options.seed,
            "gantrol_version": gantrol.__version__,
        }
        write_json(options.json, record, DataError)
    table = Table("number", "value", "unit", "generated", "real", box=None, padding=(0, 2, 0, 0))
    for entry in {entry.name: entry for entry in entries.values()}.values():
        reals = "" if entry.reals is None else f"{entry.reals:,}"
        table.add_row(escape(entry.name), f"{entry.value:.4g}", escape(entry.unit), f"{entry.samples:,}", reals)
    Console(highlight=False).print(table)
