"""`gantrol mix`: a style-mixing table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Make a style-mixing table: in each cell the chosen layers follow the column's seed, the others the row's.

    Example: gantrol mix run --rows 0-3 --cols 10-14 --layers 0-3 --truncation 0.7 --out grid.png
    """

    model: tyro.conf.Positional[str]
    """Model folder, run, checkpoint of a run, bundled model, or Hugging Face id."""
    rows: str
    """Seeds of the rows, for example 0,1,4-6; their pictures stand at the left."""
    cols: str
    """Seeds of the columns; their pictures stand at the top."""
    out: Path
    """The picture to write: .png, .webp or .jpg."""
    layers: str | None = None
    """Layers that follow the columns, for example 0-6; by default the coarser half."""
    set: tuple[str, ...] = ()
    """Values of controls, for example age=60."""
    truncation: float = 1.0
    """1: the whole distribution; less: more typical and less varied; 0: the average."""
    truncation_cutoff: int | None = None
    """Truncate only the first so many layers."""
    class_index: Annotated[int | None, tyro.conf.arg(name="class")] = None
    """The class, for a conditional model."""
    noise: Literal["const", "random", "none"] = "const"
    """Per-pixel noise of StyleGAN2: the model's own, drawn from the row's seed, or off."""
    batch: int = 16
    """Pictures at a time; changes speed and memory only."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    json: Path | None = None
    """Also write what was made, with seeds, layers and versions, to this JSON file."""


def run(options: Mix) -> None:
    """Writes the table; it is whole or absent."""
    from rich.console import Console
    from rich.markup import escape

    import gantrol
    from gantrol.atomic import write_json
    from gantrol.cli.looks import look_of
    from gantrol.cli.progress import progress_bar
    from gantrol.cli.thumbnails import show
    from gantrol.errors import DataError
    from gantrol.mixing import coarse_layers, mixing_table, parse_layers
    from gantrol.model import load
    from gantrol.pictures import check_name, header_table, save_image
    from gantrol.sample import parse_seeds

    check_name(options.out)
    rows, columns = parse_seeds(options.rows), parse_seeds(options.cols)
    look = look_of(options)
    model = load(options.model, device=options.device)
    num_ws = model.generator.num_ws
    layers = coarse_layers(num_ws) if options.layers is None else parse_layers(options.layers, num_ws)
    with progress_bar("rendering") as update:
        table = mixing_table(model, rows, columns, layers, look=look, progress=update)
    save_image(options.out, header_table(table.rows, table.columns, table.cells))
    if options.json is not None:
        record = {
            "model": options.model,
            "gantrol_version": gantrol.__version__,
            "rows": rows,
            "cols": columns,
            "layers": layers,
            "layers_of_model": num_ws,
            "controls": look.controls,
            "class_index": look.class_index,
            "truncation_psi": look.truncation_psi,
            "truncation_cutoff": look.truncation_cutoff,
            "noise_mode": look.noise_mode,
            "file": str(options.out),
        }
        write_json(options.json, record, DataError)
    made = f"{options.out}: {len(rows)} x {len(columns)} mixes, layers {','.join(map(str, layers))} of {num_ws}"
    Console(soft_wrap=True, highlight=False).print(escape(made))
    show(options.out)
