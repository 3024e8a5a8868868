"""The page of one run: what it is, samples over time, metrics, curves, configuration, machine and commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gantrol import __version__
from gantrol.atomic import atomic_file
from gantrol.errors import ConfigError, DataError
from gantrol.report.config_section import config_section, machine_section, status, warnings_section
from gantrol.report.curves import curves_section, log_charts, metric_charts
from gantrol.report.markup import Child, data_block, duration, number, tag
from gantrol.report.metrics_section import metrics_section
from gantrol.report.page import document, facts
from gantrol.report.run_record import RunRecord, read_run
from gantrol.report.samples_section import MAX_MOMENTS, samples_section

REPORT = "report.html"
"""The page's name in the run folder."""
MAX_BYTES = 8 * 2**20
"""The size that a page does not exceed unless it is told to."""
_MIN_BYTES = 2**19


def report_page(run: str | Path, *, max_bytes: int = MAX_BYTES, moments: int = MAX_MOMENTS) -> str:
    """The page of a run, complete or in progress, as one HTML document.

    Args:
        run: folder of a training.
        max_bytes: size of the page; pictures are made smaller until it fits.
        moments: grids of samples, spread over the training.

    Raises:
        CheckpointError: there is no run, or nothing in it yet.
        ConfigError: a limit that cannot be.
    """
    if max_bytes < _MIN_BYTES:
        raise ConfigError(f"a page of {max_bytes / 2**20:.2g} MiB is too small: allow at least {_MIN_BYTES / 2**20:g}")
    if moments < 1:
        raise ConfigError(f"samples={moments}: show at least one")
    record = read_run(run)
    groups, metrics = log_charts(record), metric_charts(record)
    data = [
        data_block("log-charts", [chart for charts in groups.values() for chart in charts]),
        data_block("metric-charts", metrics),
    ]
    warnings = warnings_section(record)
    others = [
        metrics_section(record, metrics),
        curves_section(groups),
        config_section(record),
        machine_section(record),
    ]

    def assemble(budget: int) -> str:
        samples = samples_section(record, budget, moments)
        sections = [*([warnings] if warnings else []), samples, *others]
        return document(f"{record.name} · gantrol", _header(record), sections, data)

    spare = 4096  # alternative texts and sizes of the pictures
    page = assemble(0)
    return assemble(max(max_bytes - len(page.encode()) - spare, 0))


def write_report(
    run: str | Path, out: str | Path | None = None, *, max_bytes: int = MAX_BYTES, moments: int = MAX_MOMENTS
) -> Path:
    """Writes `report_page` to `out`, by default RUN/report.html, whole or not at all; returns the path.

    Raises:
        CheckpointError, ConfigError: as for `report_page`.
        DataError: it cannot be written.
    """
    page = report_page(run, max_bytes=max_bytes, moments=moments)
    path = Path(run).expanduser() / REPORT if out is None else Path(out)
    with atomic_file(path, DataError) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _header(record: RunRecord) -> Child:
    config, last, network = record.config, record.last, record.network
    generator: Any = config.get("generator", {})
    kinds = [str(part.get("kind", "")) for part in (generator, network) if isinstance(part, dict)]
    kind = " ".join(dict.fromkeys(filter(None, kinds)))
    colours = {1: "grey", 3: "RGB"}.get(network.get("channels", 3), f"{network.get('channels')} channels")
    rates = sorted(tick["img_per_s"] for tick in record.ticks if isinstance(tick.get("img_per_s"), int | float))
    rows: list[tuple[str, Child]] = [
        ("preset", f"{config.get('preset', '–')}, {config.get('scale', '–')}"),
        ("generator", kind or "–"),
        ("images", f"{network.get('resolution_px', '–')} px {colours}"),
        ("data", Path(str(config.get("data", "–"))).name),
        ("shown", f"{record.kimg:g} kimg, {number(last.get('n_step'))} steps"),
        ("time", duration(float(last.get("elapsed_s", 0)))),
        ("rate", f"{number(rates[len(rates) // 2]) if rates else '–'} images/s"),
    ]
    if record.best is not None:
        best = record.best
        rows.append(("best", f"{best.metric} {number(best.value)} at {best.kimg:g} kimg"))
    return [tag("p", {"class": "kind"}, f"A training · gantrol {config.get('gantrol_version', __version__)}"),
            tag("h1", None, record.name, " ", status(record)), facts(rows)]  # fmt: skip
