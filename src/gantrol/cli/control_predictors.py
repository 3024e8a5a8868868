"""`gantrol control predictors`: networks that read attributes from images, trained on labelled ones."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gantrol.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gantrol.control.predictors.errors_table import ReadingError
    from gantrol.control.predictors.learning import Examples, LearningConfig
    from gantrol.control.predictors.protocol import Predictor


@dataclass(frozen=True, kw_only=True)
class ControlPredictors:
    """Train a small network to read the attributes of a labelled dataset, and print how well it does on strangers.

    Example: gantrol control predictors --data faces.zip --out predictors --held-out others.zip --epochs 14
    """

    data: Path
    """Dataset with attributes in dataset.json; to learn identity: several images of each (--per-identity 4)."""
    out: Path
    """Folder to make: predictors.json, weights, and a README with the error table."""
    held_out: Path | None = None
    """Dataset for the error table, of other individuals; by default a tenth of --data is kept back."""
    epochs: int | None = None
    """Times that each image is seen; 20 by default."""
    minutes: float | None = None
    """Train for so long instead of so many epochs (which cannot be repeated exactly)."""
    arch: Literal["residual", "separable"] = "residual"
    """The network: a second one, for measuring, should be of another kind."""
    init: str | None = None
    """Begin with these predictors (a folder, or portraits) instead of a new network, for example to learn a style."""
    attributes: str | None = None
    """Names separated by commas; by default all of the built-in portraits' list, or all that varies in other data."""
    seed: int = 0
    """The same seed gives the same network on the same machine."""
    json: Path | None = None
    """Also write the error table to this JSON file."""
    overwrite: bool = False
    """Replace the folder if it holds predictors."""


def run(options: ControlPredictors) -> None:
    """Trains with a progress line, writes the folder, prints the error table."""
    import gantrol
    from gantrol.atomic import write_json
    from gantrol.cli.progress import progress_bar
    from gantrol.control.predictors.errors_table import check_held_out, errors_to_dict, examine
    from gantrol.control.predictors.folder import check_free, save_predictors
    from gantrol.control.predictors.learning import train_reader
    from gantrol.control.predictors.targets import choose_targets

    check_free(options.out, options.overwrite)
    config = _learning(options)
    known, held_out = _examples(options)
    names = None
    if options.attributes is not None:
        names = [name.strip() for name in options.attributes.split(",") if name.strip()]
    check_held_out(choose_targets(known.rows, known.schema, names), held_out, known)  # before the work, not after it
    init = None if options.init is None else _first_network(options.init)
    with progress_bar("training" if options.minutes is None else "training (seconds)") as update:
        reader = train_reader(known, config, architecture=options.arch, attributes=names, init=init, progress=update)
    with progress_bar("examining") as update:
        rows = examine(reader, held_out, known, progress=update)
    errors = errors_to_dict(rows)
    about = {"trained_on": known.source, "held_out": held_out.source, "command": _command(options), "errors": errors}
    about |= {"gantrol_version": gantrol.__version__}
    save_predictors(options.out, [reader], about=about, overwrite=options.overwrite)
    if options.json is not None:
        record: dict[str, Any] = {"predictors": str(options.out), **about, "seed": options.seed}
        write_json(options.json, record, DataError)
    _print_errors(rows)
    print(f"{options.out}: predictors of {', '.join(reader.attributes)}")


def _learning(options: ControlPredictors) -> LearningConfig:
    from gantrol.control.predictors.learning import LearningConfig

    if options.epochs is not None and options.minutes is not None:
        raise ConfigError("--epochs and --minutes both say how long to train: give one of them")
    epochs = {} if options.epochs is None else {"epochs": options.epochs}
    return LearningConfig(seed=options.seed, minutes=options.minutes, **epochs)


def _first_network(name: str) -> Predictor:
    from gantrol.control.predictors import Predictor, load_predictors

    first = load_predictors(name).predictors[0]
    assert isinstance(first, Predictor)
    return first


def _examples(options: ControlPredictors) -> tuple[Examples, Examples]:
    """What is trained on, and what is held out."""
    from gantrol.cli.progress import progress_bar
    from gantrol.control.predictors.learning import load_examples, split_examples
    from gantrol.data import ImageDataset

    datasets = [ImageDataset(path) for path in (options.data, options.held_out) if path is not None]
    if len({dataset.channels for dataset in datasets}) > 1:
        raise DataError(f"{options.held_out}: is grey where {options.data} is not, or the other way round")
    found = []
    for dataset in datasets:
        with progress_bar(f"reading {dataset.path.name}") as update:
            found.append(load_examples(dataset, progress=update))
    known, held_out = found if len(found) == 2 else split_examples(found[0], seed=options.seed)
    return known, held_out


def _command(options: ControlPredictors) -> str:
    """The command that makes this network again."""
    words = ["gantrol", "control", "predictors", "--data", options.data.name, "--out", options.out.name]
    given = {
        "--held-out": None if options.held_out is None else options.held_out.name,
        "--init": None if options.init is None else Path(options.init).name,
        "--epochs": options.epochs,
        "--minutes": options.minutes,
        "--attributes": options.attributes,
    }
    words += [str(word) for pair in given.items() if pair[1] is not None for word in pair]
    return shlex.join([*words, "--arch", options.arch, "--seed", str(options.seed)])


def _print_errors(rows: list[ReadingError]) -> None:
    """Prints the table as wide as it is: names left, numbers right."""
    from gantrol.control.predictors.errors_table import table_lines

    lines = table_lines(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.ljust(width) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells))
