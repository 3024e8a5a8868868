"""`gantrol control directions`: implicit controls for any generator."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    from gantrol.control.direction_fit import DirectionFit
    from gantrol.control.directions import DirectionsConfig
    from gantrol.model import Model


@dataclass(frozen=True, kw_only=True)
class ControlDirections:
    """Give any model implicit controls, lines in w: named ones by predictors, and nameless ones.

    Example: gantrol control directions ffhq --predictors readers --attributes age,pose --pca 10 --out ffhq-steered
    """

    model: tyro.conf.Positional[str]
    """Model folder, run, checkpoint of a run, bundled model, or Hugging Face id."""
    out: Path
    """Folder for the model with controls."""
    predictors: str | None = None
    """Predictors folder, or the name of bundled ones; only --pca and --factors do without."""
    attributes: str | None = None
    """What shall be controlled, for example age,yaw; by default everything that the predictors read."""
    samples: int = 4000
    """Images to read; a fifth of them measures how far the directions can be trusted."""
    pca: int = 0
    """Add so many controls along principal components of w (GANSpace)."""
    factors: int = 0
    """Add so many controls along factors of the weights that take w (SeFa)."""
    layers: str | None = None
    """Layers whose w is moved, for example 0-6; by default all."""
    conditional: bool = True
    """Make each attribute's direction leave the linear readings of the others alone."""
    step: Literal["shortest", "likeliest"] = "shortest"
    """Which step changes a reading: the shortest in w, or the shortest in standard deviations of w."""
    least_fit: float = 0.1
    """Numbers whose held-out R² is lower get no control, for w does not tell them."""
    seed: int = 0
    """Of the random latents; the same seed gives the same result."""
    batch: int = 16
    """Images at a time; changes speed and memory only."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    replace: bool = False
    """Replace controls that the model has already."""
    overwrite: bool = False
    """Replace a model that is at --out already."""
    json: Path | None = None
    """Also write what was found, with R² and errors, to this JSON file."""


def run(options: ControlDirections) -> None:
    """Writes the model with its controls, whole or not at all, and prints how far each can be trusted."""
    from gantrol.atomic import write_json
    from gantrol.cli.progress import progress_bar
    from gantrol.control.direction_fit import fit_directions
    from gantrol.control.predictors.folder import load_predictors
    from gantrol.errors import CheckpointError, ConfigError, DataError
    from gantrol.mixing import parse_layers
    from gantrol.model import Model, load
    from gantrol.train.control import attribute_names, resolved_name

    if options.batch < 1:
        raise ConfigError(f"--batch {options.batch}: expected at least 1")
    if options.predictors is None and not options.pca and not options.factors:
        raise ConfigError("give --predictors (a folder of `gantrol control predictors`), or --pca N or --factors N")
    if options.out.exists() and not options.overwrite and (options.out.is_file() or any(options.out.iterdir())):
        raise CheckpointError(f"{options.out}: exists already: choose another name or --overwrite it")
    model = load(options.model, device=options.device)
    _check_replaceable(model, options)
    layers = None
    if options.layers is not None:
        if model.generator.num_ws == 1:
            raise ConfigError("--layers: this model feeds its latent to one layer alone; leave --layers out")
        layers = parse_layers(options.layers, model.generator.num_ws)
    predictors = None
    if options.predictors is not None:
        predictors = load_predictors(options.predictors).to(model.device)
    with progress_bar("sampling") as update:
        fit = fit_directions(
            model.generator,
            predictors,
            None if options.attributes is None else attribute_names(options.attributes),
            samples=options.samples,
            pca=options.pca,
            factors=options.factors,
            layers=layers,
            is_conditional=options.conditional,
            step=options.step,
            least_r2=options.least_fit,
            seed=options.seed,
            batch_size=options.batch,
            progress=update,
        )
    training = {key: value for key, value in model.training.items() if key != "control_errors"}  # of other controls
    training["control_predictors"] = None if options.predictors is None else resolved_name(options.predictors)
    training["control_command"] = "gantrol " + shlex.join(sys.argv[1:])
    controls = fit.controls.to(model.device)
    controlled = Model(model.generator, model.discriminator, training=training, control_set=controls)
    controlled.save_pretrained(options.out)
    if options.json is not None:
        write_json(options.json, _record(fit, options), DataError)
    _print(fit, options, is_conditional=model.generator.c_dim > 0)


def _check_replaceable(model: Model, options: ControlDirections) -> None:
    """Raises unless the model has no controls, or they may be replaced."""
    from gantrol.errors import ConfigError

    controls = [name for name, control in model.controls.items() if not control.part_of]
    if not controls or options.replace:
        return
    kind = "implicit" if all(model.controls[name].is_implicit for name in controls) else "explicit"
    raise ConfigError(f"{options.model} has {kind} controls already ({', '.join(controls)}): --replace gives them up")


def _record(fit: DirectionFit, options: ControlDirections) -> dict[str, Any]:
    """What was found, as a plain object."""
    import gantrol
    from gantrol.config import to_dict

    return {
        "model": options.model,
        "predictors": options.predictors,
        "out": str(options.out),
        "gantrol_version": gantrol.__version__,
        "samples": options.samples if fit.trust else 0,
        "seed": options.seed,
        "step": options.step,
        "is_implicit": True,
        "readings": [row._asdict() for row in fit.trust],
        "controls": to_dict(fit.controls.config),
    }


def _print(fit: DirectionFit, options: ControlDirections, *, is_conditional: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from gantrol.cli.tables import print_table
    from gantrol.controls import shown

    console = Console(soft_wrap=True, highlight=False)
    config = fit.controls.config
    if fit.trust:
        table = Table("number", "held-out R²", "error", "spread", "unit", "", box=None, padding=(0, 2, 0, 0))
        for row in fit.trust:
            name = row.attribute if row.component == "value" else f"{row.attribute}.{row.component}"
            cells = [name, f"{row.r2:.2f}", f"{row.mean_absolute_error:.3g}", f"{row.spread:.3g}", row.unit]
            table.add_row(*map(escape, cells), "" if row.is_used else "no control: w does not tell it")
        print_table(table)
    names = [direction.name for direction in config.directions]
    console.print(escape(f"{options.out}: implicit controls {', '.join(names)}; {_moved(config)}"))
    first = config.directions[0]
    words = ["gantrol", "generate", str(options.out), "--seeds", "0-15", "--grid", "grid.png"]
    words += ["--class", "0"] if is_conditional else []
    words += ["--set", f"{first.name}={shown(first.control.high)}"]
    console.print(escape(f"next: {shlex.join(words)}"))


def _moved(config: DirectionsConfig) -> str:
    if len(config.layers) == config.num_ws:
        return "w of all layers is moved"
    return f"w of layers {','.join(map(str, config.layers))} of {config.num_ws} is moved"
