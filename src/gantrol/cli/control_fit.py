"""`gantrol control fit`: phase two of GAN-Control, from values to latents."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from gantrol.control.fit import ControlReport, FitConfig


@dataclass(frozen=True, kw_only=True)
class ControlFit:
    """Give a model that was trained for control its controls: sample it, read the samples, and train for each
    attribute a small network from the value to the part of w that has it. Stopped, the same command goes on.

    Example: gantrol control fit run --predictors predictors --out portraits
    """

    model: tyro.conf.Positional[str]
    """A model with latent groups: a run that was trained for control, or any other MODEL."""
    predictors: str
    """Predictors folder, or the name of bundled ones."""
    out: Path
    """Folder of the controllable model to write."""
    samples: int = 20_000
    """Images that are made and read (paper: 100000 to 200000)."""
    steps: int = 10_000
    """Steps of training on the samples."""
    refine: int = 300
    """At most so many further steps through the generator, which lower |asked - measured|; 0: none."""
    hidden: int = 256
    """Width of the encoders (paper: 512)."""
    only: str | None = None
    """Attributes to fit, for example age,pose; the others are set by a seed. By default all that can be read."""
    work: Path | None = None
    """Folder for samples and state; by default OUT.work. It may be deleted afterwards."""
    batch: int = 64
    """Images at a time when sampling, and half as many when refining; changes the result when refining."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    seed: int = 0
    """Of samples, weights and mini-batches."""
    json: Path | None = None
    """Also write the table to this JSON file."""


def run(options: ControlFit) -> None:
    """Samples, fits, refines, measures, and writes the model, whole or not at all."""
    import gantrol
    from gantrol.atomic import write_json
    from gantrol.cli.progress import progress_bar
    from gantrol.control.attribute_samples import sample_attributes
    from gantrol.control.fit import STATE, ControlFitter, choose_attributes
    from gantrol.control.predictors.folder import load_predictors
    from gantrol.errors import DataError
    from gantrol.model import Model, load
    from gantrol.model_files import check_target
    from gantrol.train.control import attribute_names, resolved_name

    config = _config(options)
    check_target(options.out)
    predictors = load_predictors(options.predictors)
    model = load(options.model, device=options.device)
    only = None if options.only is None else attribute_names(options.only)
    groups = getattr(model.config, "groups", ())
    names = choose_attributes(groups, predictors.attributes, only)
    predictors = predictors.to(model.device)
    work = options.work or options.out.with_name(f"{options.out.name}.work")
    try:
        with progress_bar("sampling") as update:
            samples = sample_attributes(
                model.generator,
                predictors,
                work / "samples",
                names,
                options.samples,
                seed=options.seed,
                batch_size=options.batch,
                dtype=model.dtype,
                progress=update,
            )
        fitter = ControlFitter(model.generator, predictors, samples, names, config, state=work / STATE)
        with progress_bar("fitting") as update:
            fitter.fit(update)
        with progress_bar("refining") as update:
            fitter.refine(update)
        with progress_bar("measuring") as update:
            controls, reports = fitter.result(update)
    except KeyboardInterrupt as interruption:
        raise KeyboardInterrupt(f"the same command goes on from {work}") from interruption
    errors = {name: report.to_dict() for name, report in reports.items()}
    training = {
        **model.training,
        "control_predictors": resolved_name(options.predictors),
        "control_samples": len(samples),
        "control_command": "gantrol " + shlex.join(sys.argv[1:]),
        "control_errors": errors,
    }
    result = Model(model.generator, model.discriminator, control_set=controls, training=training, dtype=model.dtype)
    result.save_pretrained(options.out)
    if options.json is not None:
        record = {
            "model": options.model,
            "predictors": options.predictors,
            "out": str(options.out),
            "samples": len(samples),
            "seed": options.seed,
            "gantrol_version": gantrol.__version__,
            "set_by_seed": list(controls.config.seeds),
            "controls": errors,
        }
        write_json(options.json, record, DataError)
    _print(options, reports, controls.config.seeds, work)


def _config(options: ControlFit) -> FitConfig:
    """The options as settings of the fit; checked before anything is loaded."""
    from gantrol.control.fit import FitConfig
    from gantrol.errors import ConfigError

    if options.batch < 1:
        raise ConfigError(f"--batch {options.batch}: expected at least 1")
    return FitConfig(
        hidden=options.hidden,
        steps=options.steps,
        refine_steps=options.refine,
        refine_batch=max(options.batch // 2, 1),
        seed=options.seed,
    )


def _print(options: ControlFit, reports: dict[str, ControlReport], seeds: tuple[str, ...], work: Path) -> None:
    """A row per control and component: range, error of w, and what is measured for what is asked."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from gantrol.cli.tables import print_table

    table = Table("control", "unit", "range", "w error", "of median", "asked-measured", "refined", box=None)
    for name, report in reports.items():
        for row in _rows(name, report):
            table.add_row(*map(escape, row))
    print_table(table)
    count = "1 control" if len(reports) == 1 else f"{len(reports)} controls"
    by_seed = f"; set by a seed: {', '.join(seeds)}" if seeds else ""
    made = f"{options.out}: {count}{by_seed}; samples are kept in {work}"
    Console(soft_wrap=True, highlight=False).print(escape(made))


def _rows(name: str, report: ControlReport) -> list[tuple[str, ...]]:
    control = report.control
    lows, highs = ((value,) if isinstance(value, float) else value for value in (control.low, control.high))
    rows: list[tuple[str, ...]] = []
    for index, (low, high) in enumerate(zip(lows, highs, strict=True)):
        label = f"{name}.{control.components[index]}" if control.components else name
        w = (f"{report.w_error:.3f}", f"{report.w_error_of_median:.3f}") if not index else ("", "")
        measured = (f"{report.before[index]:.3g}", f"{report.after[index]:.3g}")
        rows.append((label, control.unit, f"{low:g} to {high:g}", *w, *measured))
    return rows
