"""`gantrol import`: an official checkpoint as a model of ours."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    from gantrol.convert import ImportedModel


@dataclass(frozen=True, kw_only=True)
class ImportCheckpoint:
    """Turn an official checkpoint of StyleGAN2 or 3, TransGAN, AutoGAN or GAN-Control into a model; executes nothing.

    Example: gantrol import stylegan3-t-ffhq-1024x1024.pkl --out ffhq
    """

    file: tyro.conf.Positional[Path]
    """The .pkl of stylegan2-ada-pytorch or stylegan3, .pth of TransGAN or AutoGAN, .pt or folder of GAN-Control."""
    out: Path
    """Folder for the model."""
    overwrite: bool = False
    """Replace a model that is there already."""
    weights: Literal["ema", "raw"] = "ema"
    """The averaged generator, which makes the best pictures, or the one of the last training step."""
    discriminator: bool = True
    """Bring the discriminator along, for further training."""
    json: Path | None = None
    """Also write what was found to this JSON file."""


def run(options: ImportCheckpoint) -> None:
    """Writes the model folder, whole or not at all, and prints what was found and what to try next."""
    from gantrol.atomic import write_json
    from gantrol.cli.progress import progress_bar
    from gantrol.convert import import_checkpoint
    from gantrol.errors import CheckpointError

    if options.out.exists() and not options.overwrite and (options.out.is_file() or any(options.out.iterdir())):
        raise CheckpointError(f"{options.out}: exists already: choose another name or --overwrite it")
    with progress_bar("reading (MB)") as update:
        model = import_checkpoint(
            options.file,
            weights=options.weights,
            discriminator=options.discriminator,
            device="cpu",
            progress=lambda done, total: update(done // 1_000_000, total // 1_000_000),
        )
    model.save_pretrained(options.out)
    if options.json is not None:
        write_json(
            options.json, {"file": str(options.file), "model": str(options.out), **_record(model)}, CheckpointError
        )
    _print(model, options)


def _record(model: ImportedModel) -> dict[str, Any]:
    """What was found, as a plain object."""
    from gantrol.model_card import parameter_count

    d = model.discriminator
    return {
        "parameters": {
            "generator": parameter_count(model.generator),
            "discriminator": None if d is None else parameter_count(d),
        },
        "notes": model.notes,
        **model.info,
    }


def _print(model: ImportedModel, options: ImportCheckpoint) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from gantrol.cli.tables import print_table

    found = _record(model)
    g, d, parameters, training = model.generator, model.discriminator, found["parameters"], found["training"]
    architecture = _architecture(found["generator"])
    colours = "grey" if g.channels == 1 else "RGB"
    groups = ", ".join(f"{group.name} {group.size}" for group in getattr(g.config, "groups", ()))
    controls = {} if model.control_set is None else model.control_set.controls
    rows = [
        ("found", f"{training['format']}, {training['weights']}"),
        ("generator", f"{architecture}, {g.resolution_px} px {colours}, {parameters['generator']:,} parameters"),
        ("discriminator", "none" if d is None else f"{parameters['discriminator']:,} parameters"),
        *([("latent groups", groups)] if groups else []),
        *([("controls", ", ".join(controls))] if controls else []),
        ("conditional", f"{g.c_dim} classes" if g.c_dim else "no"),
        ("half precision", _half_precision(model.generator)),
        ("trained on", training.get("data", "unknown")),
        ("SHA-256", training["sha256"]),
        *(("note", note) for note in model.notes),
        ("licence", "the weights keep the one they were published under"),
        ("model", str(options.out)),
    ]
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(escape(label), escape(value))
    console = Console(soft_wrap=True, highlight=False)
    print_table(table, is_folded=True)
    words = ["gantrol", "generate", str(options.out), "--seeds", "0-15"]
    words += ["--truncation", "0.7"] if g.config.kind.startswith(("stylegan", "controllable")) else []
    words += ["--set", "age=60"] if "age" in controls else []
    words += ["--class", "0"] if g.c_dim else []
    console.print(escape(f"next: {shlex.join([*words, '--out', 'pictures', '--grid', 'grid.png'])}"))


def _architecture(g: dict[str, Any]) -> str:
    if g["kind"] == "controllable":
        return _architecture(g["base"])
    if g["kind"] == "stylegan3":
        return "StyleGAN3-R" if g["use_radial_filters"] else "StyleGAN3-T"
    if g["kind"] == "transgan":
        depths = ", ".join(str(stage["depth"]) for stage in g["stages"])
        return f"TransGAN (C {g['stages'][0]['channels']}, blocks {depths})"
    if g["kind"] == "autogan":
        return f"AutoGAN {g['architecture'].upper()}"
    return f"StyleGAN2 ({g['architecture']})"


def _half_precision(generator: Any) -> str:
    """Which layers or blocks were made for fp16."""
    synthesis = generator.synthesis
    if not generator.config.kind.startswith("stylegan"):
        return "no layer"
    if hasattr(synthesis, "layers"):
        flags = [layer.spec.is_low_precision for layer in synthesis.layers]
        return f"{sum(flags)} of {len(flags)} layers" if any(flags) else "no layer"
    sizes = [4 * 2**i for i, block in enumerate(synthesis.blocks) if block.is_low_precision]
    return f"the blocks of {sizes[0]} to {sizes[-1]} px" if sizes else "no block"
