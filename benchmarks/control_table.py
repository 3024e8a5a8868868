"""`python -m benchmarks.control_table`: explicit control against two baselines, by one protocol.

explicit     a model that was trained for control, with its own controls
directions   a plain generator, steered along lines in w that are fitted to the first predictors' readings
nearest      the same plain generator; the w of the sample whose readings are closest to what is asked

All are asked the same: the explicit model's controls, over its ranges, with the same seeds. The second predictors read;
they had no part in training, fitting or tabulating. Leakage is in standard deviations over the dataset, whose labels
also tell the readers' own errors.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gantrol
from benchmarks.timing import machine
from gantrol.atomic import write_json
from gantrol.cli.progress import progress_bar
from gantrol.control.control_set import ControlSet
from gantrol.control.direction_fit import fit_directions, sample_readings
from gantrol.control.nearest_sample import nearest_sample
from gantrol.control.predictors import PredictorSet
from gantrol.control.predictors.folder import load_predictors
from gantrol.data.dataset import ImageDataset
from gantrol.errors import ConfigError, DataError, GantrolError
from gantrol.metrics import ControlReport, measure_control
from gantrol.metrics.control_report import IDENTITY
from gantrol.model import Model

EXPLICIT, DIRECTIONS, NEAREST = "explicit", "directions", "nearest"
AIMS = {"yaw": 5.0, "pitch": 5.0, "age": 8.0, "hair_color": 0.08, "light": 15.0, "expression.smile": 0.15}
"""Mean absolute errors that the portraits' model is to reach."""

Bar = Callable[[str], Any]
"""Makes a context that yields `update(done, total)`, from a description."""


def baselines(
    plain: Model, first: PredictorSet, names: Sequence[str], *, fit_samples: int, seed: int, batch_size: int, bar: Bar
) -> dict[str, ControlSet]:
    """Both ways to control a plain generator, fitted to as many of its samples.

    Args:
        plain: a generator that was trained without control.
        first: the predictors that may be used for fitting.
        names: attributes to control.
        fit_samples: images for the directions, and rows of the table.
        seed: of these images; not that of the measurement.
        batch_size: images at a time.
        bar: shows progress.
    """
    readers = first.to(plain.device)
    options: dict[str, Any] = {"seed": seed, "batch_size": batch_size}
    with bar("fitting directions") as update:
        directions = fit_directions(
            plain.generator, readers, names, samples=fit_samples, progress=update, **options
        ).controls
    with bar("tabulating samples") as update:
        table = sample_readings(plain.generator, readers, names, fit_samples, progress=update, **options)
    attributes = {name: readers.attributes[name] for name in names}
    return {DIRECTIONS: directions, NEAREST: nearest_sample(table.moved, table.readings, attributes)}


def compare(
    model: Model,
    plain: Model,
    first: PredictorSet,
    second: PredictorSet | str | Path,
    data: ImageDataset,
    *,
    samples: int,
    fit_samples: int,
    seed: int = 0,
    batch_size: int = 32,
    bar: Bar = progress_bar,
) -> dict[str, ControlReport]:
    """The report of each of the three; see the module's text.

    Raises:
        ConfigError: the model has no controls that the first predictors can read.
    """
    requests = {
        name: control
        for name, control in model.controls.items()
        if control.kind == "value" and not control.part_of and name in first.attributes
    }
    requests = {name: control for name, control in requests.items() if first.attributes[name].components}
    if not requests:
        raise ConfigError("the model has no control that the first predictors read: there is nothing to compare")
    sets = baselines(
        plain, first, list(requests), fit_samples=fit_samples, seed=seed + 1, batch_size=batch_size, bar=bar
    )
    models = {EXPLICIT: model} | {name: Model(plain.generator, control_set=found) for name, found in sets.items()}
    reports = {}
    for name, each in models.items():
        asked = {control: requests[control] for control in requests if control in each.controls}
        with bar(f"measuring {name}") as update:
            reports[name] = measure_control(
                each,
                second,
                data=data,
                samples=samples,
                seed=seed,
                batch_size=batch_size,
                requests=asked,
                progress=update,
            )
    return reports


def markdown(reports: Mapping[str, ControlReport]) -> str:
    """Two tables: how precise each control is, and what else it moves."""
    ways = list(reports)
    lines = [
        "Mean absolute error, and correlation of asked and read values:",
        "",
        f"| control | unit | asked | aim | reader's own | {' | '.join(ways)} |",
        "|---|---|---|---:|---:|" + "---:|" * len(ways),
    ]
    explicit = reports[EXPLICIT]
    for score in explicit.scores.values():
        parts = [score.name]
        parts += [f"{score.name}.{part}" for part in score.components] if len(score.components) > 1 else []
        for title in parts:
            k = parts.index(title) - 1 if title != score.name or len(parts) > 1 else 0
            span = "" if len(parts) > 1 and title == score.name else f"{score.low[k]:.2g} to {score.high[k]:.2g}"
            own = explicit.predictor_errors.get(title)
            cells = [
                title,
                score.unit,
                span,
                f"{AIMS[title]:g}" if title in AIMS else "",
                f"{own.value:.3g}" if own else "",
                *(_precision(report, title) for report in reports.values()),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "Movement of the other attributes along a sweep in standard deviations, the mean and the strongest, and of the",
        "identity as a share of the distance between different people:",
        "",
        f"| control | {' | '.join(ways)} |",
        "|---|" + "---|" * len(ways),
    ]
    for name in explicit.scores:
        lines.append(f"| {name} | " + " | ".join(_movement(report, name) for report in reports.values()) + " |")
    missing = {way: {**report.not_measured} for way, report in reports.items() if report.not_measured}
    lines += [f"\nNot measured, {way}: {name}: {why}." for way, found in missing.items() for name, why in found.items()]
    return "\n".join(lines)


def _precision(report: ControlReport, title: str) -> str:
    """`3.1 (r 0.97)` of a control or one of its components; a dash where this way cannot set it."""
    name, _, part = title.partition(".")
    score = report.scores.get(name)
    if score is None:
        return "–"
    if not part:
        return f"{score.mae:.3g} (r {score.correlation:.2f})"
    k = score.components.index(part)
    return f"{score.component_mae[k]:.3g} (r {score.component_correlation[k]:.2f})"


def _movement(report: ControlReport, name: str) -> str:
    """`0.10, yaw 0.31; identity 0.42`."""
    score = report.scores.get(name)
    if score is None:
        return "–"
    leak = score.strongest_leak
    others = [value for other, value in score.leakage.items() if other != IDENTITY]
    text = f"{sum(others) / len(others):.2f}, {leak[0]} {leak[1]:.2f}" if leak else "–"
    return f"{text}; identity {score.leakage[IDENTITY]:.2f}" if IDENTITY in score.leakage else text


def main(argv: list[str] | None = None) -> int:
    """Measures, prints the tables and writes JSON if asked; 0 if all went well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.control_table", description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="explicitly controllable model")
    parser.add_argument("--plain", required=True, help="generator trained without control")
    parser.add_argument("--data", required=True, type=Path, help="labelled images that nothing was trained on")
    parser.add_argument("--predictors", default="portraits", help="first set: fits the baselines")
    parser.add_argument("--second", default="portraits-second", help="second set: reads the results")
    parser.add_argument("--samples", type=int, default=1000, help="requests of each control")
    parser.add_argument("--fit-samples", type=int, default=10_000, help="images for directions and table")
    parser.add_argument("--seed", type=int, default=0, help="chooses identities and requests")
    parser.add_argument("--batch", type=int, default=32, help="images at a time")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--json", type=Path, metavar="F", help="also write everything to this file")
    options = parser.parse_args(argv)
    try:
        reports = compare(
            gantrol.load(options.model, device=options.device),
            gantrol.load(options.plain, device=options.device),
            load_predictors(options.predictors),
            options.second,
            ImageDataset(options.data),
            samples=options.samples,
            fit_samples=options.fit_samples,
            seed=options.seed,
            batch_size=options.batch,
        )
        print(markdown(reports))
        if options.json is not None:
            names = ("model", "plain", "predictors", "second", "samples", "fit_samples", "seed")
            record = {name: getattr(options, name) for name in names} | {"data": str(options.data)}
            record |= {"machine": machine(), "ways": {way: report.to_dict() for way, report in reports.items()}}
            write_json(options.json, record, DataError)
    except GantrolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
