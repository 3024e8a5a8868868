"""`gantrol control calibrate`: the thresholds of the contrastive loss, measured on real images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gantrol.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ControlCalibrate:
    """Measure the thresholds of the contrastive losses and keep them beside the predictors, for `train --control`.

    Example: gantrol control calibrate --predictors readers --data faces.zip
    """

    predictors: Path
    """Folder of predictors; its predictors.json gets the thresholds."""
    data: Path
    """Dataset zip or folder of real images; if its labels name identities, several images of each are best."""
    attributes: str | None = None
    """Names separated by commas; by default all that the predictors read."""
    samples: int = 1000
    """Images to look at."""
    same: float = 50.0
    """Percentile of the distances between images that are the same in an attribute: pairs may be so far apart."""
    different: float = 50.0
    """Percentile of the distances between random images: other pairs shall be at least so far apart."""
    seed: int = 0
    """Chooses the images."""
    json: Path | None = None
    """Also write the thresholds to this JSON file."""


def run(options: ControlCalibrate) -> None:
    """Measures, writes predictors.json, and prints a table."""
    from rich.table import Table

    from gantrol import __version__
    from gantrol.atomic import write_json
    from gantrol.cli.progress import progress_bar
    from gantrol.cli.tables import print_table
    from gantrol.control.calibration import calibrate, thresholds_to_dict
    from gantrol.control.predictors.folder import load_predictors, read_manifest, write_manifest
    from gantrol.data.dataset import ImageDataset
    from gantrol.train.control import attribute_names

    if options.samples < 16:
        raise ConfigError(f"--samples {options.samples}: expected at least 16")
    manifest = read_manifest(options.predictors)
    with progress_bar("distances") as update:
        found = calibrate(
            load_predictors(options.predictors),
            ImageDataset(options.data),
            None if options.attributes is None else attribute_names(options.attributes),
            count=options.samples,
            same_percentile=options.same,
            different_percentile=options.different,
            seed=options.seed,
            progress=update,
        )
    thresholds = {**manifest.get("thresholds", {}), **thresholds_to_dict(found)}
    write_manifest(options.predictors, {**manifest, "thresholds": thresholds})
    table = Table("attribute", "same (τ⁺)", "different (τ⁻)")
    for name, each in found.items():
        table.add_row(name, f"{each.same:.3f}", f"{each.different:.3f}")
    print_table(table)
    if options.json is not None:
        record = {"predictors": str(options.predictors), "data": str(options.data), "seed": options.seed}
        record |= {"samples": options.samples, "gantrol_version": __version__, "thresholds": thresholds_to_dict(found)}
        write_json(options.json, record)
