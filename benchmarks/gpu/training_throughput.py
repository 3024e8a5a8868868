"""Job 6: images per second and peak memory of whole training steps, for the presets at 64, 256 and 1024 px.

Regularisers run every few steps; each kind of step is timed by itself, and the rate is that of one period of the
schedule (`benchmarks.training.schedule`). A batch that does not fit is halved into micro-batches until it does.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import torch  # noqa: E402

from benchmarks.gpu.measuring import Rows, in_turn, parser  # noqa: E402
from benchmarks.training import schedule  # noqa: E402
from gantrol.data.loader import Batch  # noqa: E402
from gantrol.ops.paths import record_paths  # noqa: E402
from gantrol.train.config import Precision, TrainConfig  # noqa: E402
from gantrol.train.presets import DataShape, preset  # noqa: E402
from gantrol.train.state import TrainState  # noqa: E402
from gantrol.train.steps import Trainer  # noqa: E402

FAMILIES = ("stylegan3-t", "stylegan3-r", "stylegan2")
SCALES = {64: "small", 256: "base", 1024: "paper"}
PRECISIONS: tuple[Precision, ...] = ("fp16", "fp32")


def plan(is_smoke: bool) -> list[tuple[str, str, int, int | None, Precision]]:
    """(family, scale, resolution, batch, precision) of each row; None is the scale's batch."""
    if is_smoke:
        return [("stylegan3-t", "tiny", 32, 4, "fp32")]
    return [
        (family, scale, size_px, None, precision)
        for size_px, scale in SCALES.items()
        for family in FAMILIES
        for precision in PRECISIONS
    ]


def measure(
    family: str, scale: str, size_px: int, batch: int | None, precision: Precision, device: str
) -> dict[str, Any]:
    config = preset(family, scale, DataShape(resolution_px=size_px), batch=batch, precision=precision)
    while True:
        try:
            return steps(config, size_px, device)
        except torch.cuda.OutOfMemoryError:
            size = (config.micro_batch or config.batch) // 2
            if size < 4:  # the group of the minibatch's standard deviation
                raise
            config = replace(config, micro_batch=size)
        torch.cuda.empty_cache()


def steps(config: TrainConfig, size_px: int, device: str) -> dict[str, Any]:
    """Times each kind of step of a training."""
    state = TrainState(config, device)
    trainer = Trainer(config, state, batch_share=config.batch)
    images = torch.randint(0, 256, (config.batch, 3, size_px, size_px), dtype=torch.uint8, device=device)
    batch = Batch(images=images, labels=torch.zeros(config.batch, 0, device=device), indices=())
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    counts = schedule(config.loss)
    times: dict[int, float] = {}
    with record_paths() as paths:
        for number in sorted(counts, reverse=True):  # the plain step first: it warms up

            def step(number: int = number) -> None:
                state.n_step, state.n_img = number, 0
                trainer.step(batch)

            times[number] = in_turn({"step": step}, device, seconds=10, runs=10)["step"]
    seconds = sum(times[number] * count for number, count in counts.items()) / 1000
    row: dict[str, Any] = {
        "images_per_s": counts.total() * config.batch / seconds,
        "batch": config.batch,
        "micro_batch": config.micro_batch or config.batch,
        "step_ms": {f"like step {number}": value for number, value in times.items()},
        "paths": dict(paths),
    }
    if device == "cuda":
        row["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return row


def main() -> None:
    options = parser(__doc__.splitlines()[0], "training_throughput.json").parse_args()
    device = options.device
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    rows = Rows(options, device)
    for family, scale, size_px, batch, precision in plan(options.smoke):
        name = f"{family} {scale} {size_px} px {precision}"
        rows.measure(name, partial(measure, family, scale, size_px, batch, precision, device))
        if device == "cuda":
            torch.cuda.empty_cache()
    rows.print(["images_per_s", "peak_gib", "batch", "micro_batch"])


if __name__ == "__main__":
    main()
