"""Hours of damage instead of seconds: `python -m tests.fuzz --minutes 5` (make fuzz), each reader in its own process.

Where `atheris` is installed (pip install atheris; Linux), it steers the damage by the branches of gantrol that a
reading takes; hypothesis draws at random otherwise. What a reader must not
do is listed, once for each place in the code.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any


class Tally:
    """How the readings of one target ended, written every few seconds."""

    def __init__(self, name: str, engine: str, path: Path) -> None:
        self.name, self.engine, self.path = name, engine, path
        self.ends: Counter[str] = Counter()
        self.found: dict[str, str] = {}
        self.started = self.told = time.monotonic()

    def tell(self, end: str) -> None:
        """One more reading."""
        self.ends[end] += 1
        if time.monotonic() - self.told > 2:
            self.write()

    def fail(self, error: BaseException) -> None:
        """A reading that ended in neither way; told once for each place in the code."""
        last = [frame for frame in traceback.extract_tb(error.__traceback__) if "gantrol" in frame.filename][-1:]
        where = f"{last[0].filename.rpartition('src/')[2]}:{last[0].lineno}" if last else "?"
        self.tell("failed")
        if (key := f"{type(error).__name__} at {where}") not in self.found:
            self.found[key] = str(error)[:300]
            traceback.print_exception(error)
            self.write()

    def write(self) -> None:
        """Leaves the numbers in the file."""
        self.told = time.monotonic()
        numbers = {"seconds": round(self.told - self.started, 1), **dict(sorted(self.ends.items()))}
        line = {"target": self.name, "engine": self.engine, **numbers, "found": self.found}
        self.path.write_text(json.dumps(line))


def work(name: str, seconds: float, path: Path, start: int) -> None:
    """Fuzzes one target in this process; with atheris it does not return."""
    is_guided = importlib.util.find_spec("atheris") is not None
    if is_guided:
        import atheris

        with atheris.instrument_imports(include=["gantrol"]):
            from tests.fuzz.harness import BY_NAME, fuzz
    else:
        from tests.fuzz.harness import BY_NAME, fuzz
    tally = Tally(name, "atheris" if is_guided else "hypothesis", path)
    end = time.monotonic() + seconds
    if is_guided:
        one = fuzz(BY_NAME[name], 1, tally.tell).hypothesis.fuzz_one_input

        def try_bytes(data: bytes) -> None:
            try:
                one(data)
            except BaseException as error:  # also deeds that no reader may swallow
                if isinstance(error, KeyboardInterrupt):
                    raise
                tally.fail(error)
            if time.monotonic() > end:
                tally.write()

        options = [
            f"-artifact_prefix={path.parent}/",
            f"-max_total_time={max(1, int(seconds))}",
            "-max_len=4096",
            "-len_control=0",
            f"-seed={start + 1}",
        ]
        atheris.Setup([sys.argv[0], *options, "-print_final_stats=0", "-verbosity=0", "-rss_limit_mb=8192"], try_bytes)
        atheris.Fuzz()
    while time.monotonic() < end:
        try:
            fuzz(BY_NAME[name], 200, tally.tell, start)()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            tally.fail(error)
        start += 1
    tally.write()


def main() -> None:
    """Fuzzes the targets in turn and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2, help="for each reader")
    parser.add_argument("--target", action="append", help="a reader's name; all of them if left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="adds this run to a file of runs")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.target[0], options.minutes * 60, options.worker, options.seed)
        return
    from tests.fuzz.harness import BY_NAME

    rows: list[dict[str, Any]] = []
    for name in options.target or BY_NAME:
        if name not in BY_NAME:
            parser.error(f"there is no target {name!r}; choose from {', '.join(BY_NAME)}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tally.json"
            arguments = ["--target", name, "--minutes", str(options.minutes), "--seed", str(options.seed)]
            command = [sys.executable, "-m", "tests.fuzz", *arguments, "--worker", str(path)]
            status = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
            row = json.loads(path.read_text()) if path.exists() else {"target": name, "found": {}}
            if status:
                row["found"][f"the process ended with status {status}"] = "see its output above"
        rows.append(row)
        readings = sum(row.get(end, 0) for end in ("read", "refused", "failed"))
        print(f"{name:<20} {readings:>8} readings  {row.get('seconds', 0):>6} s  {len(row['found'])} found", flush=True)
        for key, text in row["found"].items():
            print(f"    {key}: {text}")
    if options.json:
        runs = json.loads(options.json.read_text()) if options.json.exists() else []
        machine = {"python": platform.python_version(), "date": time.strftime("%Y-%m-%d"), "command": sys.argv[1:]}
        options.json.write_text(json.dumps([*runs, {**machine, "targets": rows}], indent=1) + "\n")
    sys.exit(1 if any(row["found"] for row in rows) else 0)


if __name__ == "__main__":
    main()
