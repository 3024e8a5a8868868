"""Training: images per second of whole steps, and what surrounds the steps in a real run.

Regularisers run every few steps only. Each kind of step (plain, with path lengths, with R1, with both) is timed by
itself, and the rate is that of one whole period of the schedule.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import torch

from benchmarks.data import write_noise
from benchmarks.generation import PRESETS
from benchmarks.timing import Benchmark, Effort, Row, Timing, measure
from gantrol.data.loader import Batch
from gantrol.train.config import LossConfig, Precision
from gantrol.train.presets import SCALES, DataShape, preset
from gantrol.train.state import TrainState
from gantrol.train.steps import Trainer

BATCH = 16
SIZE_PX = 32


def benchmarks(effort: Effort) -> list[Benchmark]:
    """Each family at tiny, 32 px, batch 16, in fp32 and bf16; and a real run. Quick leaves the slowest out."""
    precisions: tuple[Precision, ...] = ("fp32",) if effort.is_quick else ("fp32", "bf16")
    presets = [name for name in PRESETS if not (effort.is_quick and name == "stylegan3-r")]
    steps = [
        Benchmark(
            group="Training",
            name=f"train {name} tiny {SIZE_PX} px batch {BATCH} {precision}",
            run=partial(train_steps, name, precision, effort),
        )
        for name in presets
        for precision in precisions
    ]
    run = Benchmark(group="A real run", name="run stylegan3-t tiny 32 px", run=partial(real_run, effort))
    return [*steps, run]


def schedule(loss: LossConfig) -> Counter[int]:
    """For one period of the regularisers: {a step number that stands for its kind: how many steps are like it}."""
    has_penalty = loss.r1_gamma > 0 or loss.r2_gamma > 0
    intervals = [loss.pl_interval if loss.pl_weight > 0 else 0, loss.r_interval if has_penalty else 0]
    period = math.lcm(*(interval or 1 for interval in intervals))
    kinds: dict[tuple[bool, ...], int] = {}
    counts: Counter[int] = Counter()
    for step in range(period):
        kind = tuple(interval > 0 and step % interval == 0 for interval in intervals)
        counts[kinds.setdefault(kind, step)] += 1
    return counts


def train_steps(name: str, precision: Precision, effort: Effort) -> list[Row]:
    """Times whole steps of generator, discriminator, regularisers, optimisers and moving average."""
    config = preset(name, "tiny", DataShape(resolution_px=SIZE_PX), batch=BATCH, precision=precision)
    state = TrainState(config, "cpu")
    trainer = Trainer(config, state, batch_share=BATCH)
    images = torch.randint(0, 256, (BATCH, 3, SIZE_PX, SIZE_PX), dtype=torch.uint8)
    batch = Batch(images=images, labels=torch.zeros(BATCH, 0), indices=())
    counts = schedule(config.loss)
    timings: dict[int, Timing] = {}
    for number in sorted(counts, reverse=True):  # the plain step first: it warms up

        def step(number: int = number) -> None:
            state.n_step, state.n_img = number, 0  # the start of a training, where stylegan3-r still blurs
            trainer.step(batch)

        timings[number] = measure(step, effort)
    seconds = sum(timings[number].median_s * count for number, count in counts.items())
    steps = counts.total()
    kinds = {f"like step {number}": {"of_steps": counts[number], "timing": timings[number]} for number in timings}
    title = f"{name} tiny, {SIZE_PX} px, batch {BATCH}, {precision}"
    return [Row(name=title, value=steps * BATCH / seconds, unit="images/s", details={"period": steps, **kinds})]


def real_run(effort: Effort) -> list[Row]:
    """`gantrol train` in a process of its own, for two ticks; the second is looked at.

    The ticks are shorter than the preset's, so that this ends soon. A checkpoint is written per tick; its time is
    scaled to what it is at the preset's ticks.
    """
    tick_kimg = 0.048 if effort.is_quick else 0.16
    with tempfile.TemporaryDirectory() as temporary:
        data, run = write_noise(Path(temporary) / "noise.zip", count=512, size_px=SIZE_PX), Path(temporary) / "run"
        arguments = ["train", "--preset", "stylegan3-t", "--scale", "tiny", "--data", str(data), "--out", str(run)]
        arguments += ["--device", "cpu", "--precision", "fp32", "--kimg", str(2 * tick_kimg), f"tick_kimg={tick_kimg}"]
        code = f"import torch; torch.set_num_threads({torch.get_num_threads()}); import gantrol.cli; gantrol.cli.main()"
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"gantrol train failed: {done.stderr}")
        ticks = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    tick = ticks[-1]
    wall_s = (tick["n_img"] - ticks[-2]["n_img"]) / tick["img_per_s"]
    save_s = tick["save_s"] * tick_kimg / SCALES["tiny"].tick_kimg
    share = 1 - tick["step_s"] / (wall_s - tick["save_s"] + save_s)
    details = {"tick_kimg": tick_kimg, "preset_tick_kimg": SCALES["tiny"].tick_kimg, "last_tick": tick}
    return [
        Row(name="speed", value=tick["img_per_s"], unit="images/s", details=details),
        Row(name="time outside the network maths", value=share * 100, unit="%", details=details),
        Row(name="peak memory of the process", value=max(t["memory_gib"] for t in ticks), unit="GiB", details=details),
    ]
