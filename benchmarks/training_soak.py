"""A long training watched from outside: whether its memory stays flat.

    python -m benchmarks.training_soak --minutes 60 --json benchmarks/results/training-soak.json

`gantrol train` runs in a process of its own, at tiny size, with everything on that may pile up: adaptive augmentation,
control with its predictors, scores, checkpoints, picture sheets and the lines of every tick. It stops by itself after
the time, with a checkpoint. Memory is the resident size of that process, once a second; its slope is the line of least
squares through the last two thirds (the first third, in which allocators and caches fill up, is left out).
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.studio_load import FLAT_MIB_PER_MIN, resident_mib, slope
from benchmarks.timing import machine
from gantrol.atomic import write_json
from gantrol.train.log import read_log

_DATA = ["data", "faces", "--count", "400", "--size", "32"]
_TRAIN = shlex.split(
    "train --preset stylegan3-t --scale tiny --device cpu --kimg 1000000 --augment ada --control age,pose --anchors "
    "--metrics eqt --metrics-every 0.5 tick_kimg=0.1 sample_ticks=2"
)


def soak(folder: Path, minutes: float) -> dict[str, Any]:
    """Trains for so long in a new folder.

    Raises:
        subprocess.CalledProcessError: a command has failed.
    """
    data, run = folder / "faces.zip", folder / "run"
    gantrol = [sys.executable, "-m", "gantrol"]
    subprocess.run([*gantrol, *_DATA, "--out", str(data)], check=True, stdout=subprocess.DEVNULL)
    command = [*gantrol, *_TRAIN, "--data", str(data), "--out", str(run), "--minutes", str(minutes)]
    times, memory = [], []
    began = time.perf_counter()
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            times.append(time.perf_counter() - began)
            memory.append(resident_mib(process.pid))
            time.sleep(1)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, (folder / "log.txt").read_text()[-2000:])
    ticks = list(read_log(run))
    third = len(memory) // 3
    return {
        "command": shlex.join(["gantrol", *_TRAIN]),
        "minutes": round(times[-1] / 60, 1),
        "kimg": round(ticks[-1]["kimg"], 1),
        "ticks": len(ticks),
        "folder_mib": round(sum(file.stat().st_size for file in run.rglob("*") if file.is_file()) / 2**20, 1),
        "memory_mib": {
            "after_a_third": round(memory[third], 1),
            "end": round(memory[-2], 1),
            "most": round(max(memory), 1),
            "slope_per_min": round(slope(times[:-1], memory[:-1]), 3),
        },
    }


def main(argv: list[str] | None = None) -> int:
    """Runs it; 0 if memory stays flat."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training_soak", description="An hour of tiny training: does memory stay flat?"
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--json", type=Path, metavar="F", help="also write the figures to this file")
    options = parser.parse_args(argv)
    about = machine()
    with tempfile.TemporaryDirectory(prefix="gantrol-soak-") as folder:
        record = {"machine": about, **soak(Path(folder), options.minutes)}
    print(json.dumps(record, indent=2))
    if options.json is not None:
        write_json(options.json, record)
    if record["memory_mib"]["slope_per_min"] > FLAT_MIB_PER_MIN:
        print(f"missed: memory grows by {record['memory_mib']['slope_per_min']:.2f} MiB a minute", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
