"""What presets cost: processor seconds per thousand images and peak memory, for the table in docs/choosing.md.

    python -m benchmarks.choosing --json choosing.json

Each row is a process of its own with one thread. Every kind of step (plain, with R1, with path lengths) is timed once
after a warm-up, in processor time, which other programs on the machine disturb less than the clock; the rate is that of
a whole period of the penalties. Memory is the most that the process held, program and libraries (about 0.3 GiB)
included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROWS = (
    ("stylegan2", "tiny", 32),
    ("stylegan3-t", "tiny", 32),
    ("stylegan3-r", "tiny", 32),
    ("transgan-v1-s", "tiny", 32),
    ("autogan-a", "tiny", 32),
    ("wgan-gp", "tiny", 32),
    ("stylegan2", "tiny", 64),
    ("stylegan3-t", "tiny", 64),
    ("stylegan3-r", "tiny", 64),
    ("stylegan2", "small", 64),
    ("stylegan3-t", "small", 64),
    ("stylegan3-r", "small", 64),
)
"""Preset, scale and pixels of each row."""


def measure_row(preset_name: str, scale: str, size_px: int) -> dict[str, float | int | str]:
    """One row, in this process: build the training, time one step of each kind."""
    import torch

    from benchmarks.training import schedule
    from gantrol.data.loader import Batch
    from gantrol.train.presets import DataShape, preset
    from gantrol.train.state import TrainState
    from gantrol.train.steps import Trainer

    torch.set_num_threads(1)
    config = preset(preset_name, scale, DataShape(resolution_px=size_px))
    state = TrainState(config, "cpu")
    trainer = Trainer(config, state, batch_share=config.batch)
    images = torch.randint(0, 256, (config.batch, 3, size_px, size_px), dtype=torch.uint8)
    batch = Batch(images=images, labels=torch.zeros(config.batch, 0), indices=())

    def step(number: int) -> float:
        state.n_step, state.n_img = number, 0
        began = time.process_time()
        trainer.step(batch)
        return time.process_time() - began

    counts = schedule(config.loss)
    step(max(counts))  # a warm-up
    seconds = sum(step(number) * count for number, count in counts.items()) / counts.total()
    return {
        "preset": preset_name,
        "scale": scale,
        "size_px": size_px,
        "batch": config.batch,
        "r1_gamma": config.loss.r1_gamma,
        "cpu_s_per_kimg": seconds * 1000 / config.batch,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "g_parameters": sum(parameter.numel() for parameter in state.g.parameters()),
        "torch": torch.__version__,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table; with --json writes it, too."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choosing", description=__doc__)
    parser.add_argument("--only", default="", help="rows that contain this text, for example 'stylegan3-t tiny'")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--row", nargs=3, metavar=("PRESET", "SCALE", "PX"), help="one row, in this process, as JSON")
    options = parser.parse_args(argv)
    if options.row:
        print(json.dumps(measure_row(options.row[0], options.row[1], int(options.row[2]))))
        return
    rows = []
    for row in ROWS:
        words = [str(word) for word in row]
        if options.only not in " ".join(words):
            continue
        command = [sys.executable, "-m", "benchmarks.choosing", "--row", *words]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
        rows.append(found)
        print(
            f"{row[0]:14} {row[1]:6} {row[2]:4} px  batch {found['batch']:3}  γ {found['r1_gamma']:<7.3g} "
            f"{found['cpu_s_per_kimg']:8.0f} s/kimg  {found['peak_memory_gib']:5.2f} GiB",
            flush=True,
        )
        if options.json:
            options.json.write_text(json.dumps({"threads": 1, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
