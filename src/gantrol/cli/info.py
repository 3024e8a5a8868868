"""`gantrol info`: what a model, a run or a dataset is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro


@dataclass(frozen=True, kw_only=True)
class Info:
    """Show what a model, a run or a dataset is.

    Example: gantrol info run
    """

    what: tyro.conf.Positional[str]
    """Model folder, run, bundled model, Hugging Face id, or a dataset."""
    json: Path | None = None
    """Also write it to this JSON file."""


def run(options: Info) -> None:
    """Prints a table, and writes JSON where asked."""
    import gantrol
    from gantrol.atomic import write_json
    from gantrol.errors import DataError
    from gantrol.hub import CONFIG

    path = Path(options.what)
    if path.suffix.lower() == ".zip" or (path.is_dir() and not (path / CONFIG).is_file()):
        from gantrol.cli.data_info import print_summary
        from gantrol.data.dataset import ImageDataset

        summary = ImageDataset(path).describe()
        record = {"dataset": options.what, "gantrol_version": gantrol.__version__, **summary}
        show = print_summary
    else:
        summary = record = describe_model(options.what)
        show = _print_model
    if options.json is not None:
        write_json(options.json, record, DataError)
    show(summary)


def describe_model(name: str) -> dict[str, Any]:
    """Everything known about MODEL: its `info`, sizes, and for a run which checkpoint it is.

    Raises:
        CheckpointError: there is no such model, or it is damaged.
    """
    from dataclasses import asdict

    from gantrol.hub import resolve
    from gantrol.model import Model
    from gantrol.model_card import parameter_count

    location = resolve(name)
    model = Model.from_pretrained(name, device="cpu")
    g, d = model.generator, model.discriminator
    return {
        "model": name,
        "kind": location.kind,
        "folder": str(location.folder),
        "damaged_checkpoints": [path.name for path in location.skipped],
        "parameters": {
            "generator": parameter_count(g),
            "discriminator": None if d is None else parameter_count(d),
        },
        "num_ws": g.num_ws,
        **model.info,
        "control_kind": None if model.control_set is None else model.control_set.config.kind,
        "controls": {control: asdict(values) for control, values in model.controls.items()},
        "gantrol_version": location.config.get("gantrol_version"),
    }


def _control_rows(controls: dict[str, Any], errors: dict[str, Any]) -> list[tuple[str, str]]:
    """A line for each control: range, unit, default, and how far off it is by measurement."""
    from gantrol.controls import shown

    if not controls:
        return [("controls", "none")]
    rows = []
    for name, control in controls.items():
        if control["kind"] == "seed":
            rows.append((f"  {name}", "a seed"))
            continue
        parts = f" ({','.join(control['components'])})" if len(control["components"]) > 1 else ""
        text = f"{shown(control['low'])} to {shown(control['high'])} {control['unit']}{parts}, default "
        text += shown(control["default"])
        error = errors.get(name, {}).get("mean_absolute_error")
        text += "" if error is None else f", mean error {error:.3g}"
        text += f"; part of {control['part_of']}" if control["part_of"] else ""
        rows.append((f"  {name}", f"{text}; implicit" if control["is_implicit"] else text))
    return [("controls", f"{len(rows)}"), *rows]


def _print_model(summary: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from gantrol.cli.tables import print_table

    g, training, parameters = summary["generator"], dict(summary["training"]), summary["parameters"]
    network = g.get("base", g)  # of a generator with latent groups, the one whose synthesis it has
    colours = "grey" if network["channels"] == 1 else "RGB"
    kind = g["kind"] if network is g else f"{g['kind']} {network['kind']}"
    rows = [
        (summary["kind"], summary["folder"]),
        ("generator", f"{kind}, {network['resolution_px']} px {colours}, {parameters['generator']:,} parameters"),
        ("latents", f"z {network['z_dim']}, w {network.get('w_dim', network['z_dim'])} × {summary['num_ws']}"),
        ("classes", str(network["c_dim"] or "none")),
        *(
            [("groups", ", ".join(f"{group['name']} {group['size']}" for group in g["groups"]))]
            if "groups" in g
            else []
        ),
        *_control_rows(summary["controls"], training.pop("control_errors", None) or {}),
    ]
    d = summary["discriminator"]
    if d is not None:
        rows.insert(2, ("discriminator", f"{d['kind']}, {parameters['discriminator']:,} parameters"))
    if "kimg" in training:
        rows.append(("trained on", f"{training.pop('kimg'):,g} thousand images"))
    rows += [(name, str(value)) for name, value in training.items()]
    rows += [("damaged", name) for name in summary["damaged_checkpoints"]]
    rows.append(("written by", f"gantrol {summary['gantrol_version'] or '?'}"))
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(escape(label), escape(value))
    print_table(table, is_folded=True)
