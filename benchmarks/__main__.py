"""`python -m benchmarks`: measures, prints tables, and writes JSON if asked."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.timing import EFFORTS, Benchmark, Row, machine
from gantrol.atomic import write_json
from gantrol.errors import GantrolError, nearest


def main(argv: list[str] | None = None) -> int:
    """Runs the benchmarks that the arguments choose; 0 if all of them could be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Times gantrol on this machine: under 4 minutes on two cores, with --quick under one.",
        epilog="example: python -m benchmarks --only filtered_lrelu --json ops.json",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="fewer rows, fewer repetitions")
    size.add_argument("--full", action="store_true", help="more repetitions, and base at 256 px: takes long")
    parser.add_argument("--only", metavar="TEXT", help="only benchmarks whose name or group contains this")
    parser.add_argument("--list", action="store_true", help="tell the names, measure nothing")
    parser.add_argument("--json", metavar="F", type=Path, help="also write machine and numbers to this file")
    parser.add_argument("--threads", metavar="N", type=int, help="torch's threads; by default its own choice")
    options = parser.parse_args(argv)
    effort = EFFORTS["quick" if options.quick else "full" if options.full else "default"]

    import torch

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    from benchmarks import data, data_import, generation, metrics, ops, optimiser, training

    known = [
        chosen
        for module in (generation, training, optimiser, ops, data, data_import, metrics)
        for chosen in module.benchmarks(effort)
    ]
    text = (options.only or "").lower()
    chosen = [benchmark for benchmark in known if text == benchmark.name] or [
        benchmark for benchmark in known if text in benchmark.name.lower() or text in benchmark.group.lower()
    ]
    if not chosen:
        parser.error(f"no benchmark contains {options.only!r}; {nearest(options.only, [b.name for b in known])}")
    if options.list:
        print("\n".join(benchmark.name for benchmark in chosen))
        return 0
    about = machine()
    console = Console(highlight=False)
    console.print(
        f"{about['cpu']}, {about['cores']} cores, {about['threads']} threads, load {about['load_average_1min']}; "
        f"torch {about['torch']}, gantrol {about['gantrol']}, {about['date']}",
        soft_wrap=True,
    )
    began = time.perf_counter()
    found, failures = measure_all(chosen)
    show(console, found)
    console.print(f"measured in {time.perf_counter() - began:.0f} s")
    for benchmark, reason in failures:
        print(f"not measured: {benchmark.name}: {reason}", file=sys.stderr)
    if options.json is not None:
        flags = "" if effort.name == "default" else f" --{effort.name}"
        flags += "" if options.threads is None else f" --threads {options.threads}"
        record = {
            "machine": about,
            "effort": effort.name,
            "rows": [as_json(benchmark, row, flags) for benchmark, rows in found for row in rows],
            "not_measured": {benchmark.name: reason for benchmark, reason in failures},
        }
        write_json(options.json, record)
    return 1 if failures else 0


Found = list[tuple[Benchmark, list[Row]]]


def measure_all(chosen: list[Benchmark]) -> tuple[Found, list[tuple[Benchmark, str]]]:
    """Runs benchmarks one after the other; one that cannot run here does not stop the rest."""
    found: Found = []
    failures: list[tuple[Benchmark, str]] = []
    for number, benchmark in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {benchmark.name}", file=sys.stderr, flush=True)
        try:
            found.append((benchmark, benchmark.run()))
        except (GantrolError, ImportError, RuntimeError) as error:
            failures.append((benchmark, str(error).strip().splitlines()[-1]))
    return found, failures


def show(console: Console, found: Found) -> None:
    """One table per group."""
    for group, members in groupby(found, key=lambda pair: pair[0].group):
        table = Table(title=group, title_justify="left", show_header=False)
        table.add_column()
        table.add_column(justify="right")
        table.add_column()
        for _, rows in members:
            for row in rows:
                table.add_row(row.name, f"{row.value:.3g}" if row.value < 1000 else f"{row.value:.0f}", row.unit)
        console.print()
        console.print(table)


def as_json(benchmark: Benchmark, row: Row, flags: str) -> dict[str, Any]:
    """A row as it goes to the file, with the command that measures it again."""
    return {
        "group": benchmark.group,
        "name": row.name,
        "value": row.value,
        "unit": row.unit,
        "command": f"python -m benchmarks{flags} --only '{benchmark.name}'",
        "details": json.loads(json.dumps(row.details, default=dataclasses.asdict)),
    }


if __name__ == "__main__":
    sys.exit(main())
