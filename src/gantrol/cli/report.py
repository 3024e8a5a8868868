"""`gantrol report`: one page for a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write one HTML page about a run: samples over time, curves, metrics, configuration. It needs no network.

    Example: gantrol report runs/first --out first.html
    """

    run: tyro.conf.Positional[Path]
    """The folder of a training, complete or in progress."""
    out: Path | None = None
    """The page to write; by default report.html in the run."""
    max_mib: float = 8.0
    """Size of the page; pictures are made smaller until it fits."""
    samples: int = 24
    """Grids of samples on the page, spread over the training."""


def run(options: Report) -> None:
    """Writes the page and says where it is."""
    from gantrol.errors import ConfigError
    from gantrol.report import write_report

    if not 0 < options.max_mib <= 1024:
        raise ConfigError(f"--max-mib {options.max_mib:g}: expected a size from 0.5 to 1024")
    path = write_report(options.run, options.out, max_bytes=round(options.max_mib * 2**20), moments=options.samples)
    print(f"{path}  ({path.stat().st_size / 2**20:.1f} MiB; open it in a browser)")
