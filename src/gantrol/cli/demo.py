"""`gantrol demo`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gantrol.cli import INTERRUPTED

COUNT = 800
SIZE_PX = 32
FILM_SEEDS = "0-15"
OVERRIDES = ("tick_kimg=0.4", "sample_ticks=1")  # something new to see every few seconds


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Render labelled portraits, train a small alias-free generator on them for about three minutes, and leave
    samples, a video and the commands to go on. Called again, it trains on from where it stopped.

    Example: gantrol demo --out demo
    """

    out: Path = Path("demo")
    """Folder for everything that the demo makes."""
    minutes: float = 3.0
    """How long to train."""
    seed: int = 0
    """Makes it repeatable."""


def run(options: Demo) -> int:
    from rich.console import Console

    from gantrol.cli import generate, train, video
    from gantrol.cli.progress import progress_bar
    from gantrol.data import faces
    from gantrol.errors import require_extra
    from gantrol.pictures import save_image
    from gantrol.train.run import CONFIG, samples_over_time

    require_extra("av", "video")  # better said now than after the training
    console = Console(stderr=True, highlight=False)
    began = time.monotonic()
    data, folder = options.out / "faces.zip", options.out / "run"

    @contextmanager
    def step(title: str, *arguments: str | Path) -> Iterator[None]:
        console.print(f"\n[bold]{title}[/bold]\n  gantrol {shlex.join(map(str, arguments))}")
        yield

    options.out.mkdir(parents=True, exist_ok=True)
    with step(
        "1. Portraits with labels", "data", "faces", "--count", str(COUNT), "--size", str(SIZE_PX), "--out", data
    ):
        if data.exists():
            console.print("  already there")
        else:
            with progress_bar("rendering") as update:
                faces.make_dataset(data, COUNT, SIZE_PX, seed=options.seed, progress=update)

    is_new = not (folder / CONFIG).exists()
    start = ["--preset", "stylegan3-t", "--scale", "tiny", "--data", str(data), "--out", str(folder), "--x-flip"]
    start += OVERRIDES
    if not is_new:
        start = ["--resume", str(folder)]
    limit = f"{options.minutes:g}"
    with step(f"2. Training for {limit} minutes", "train", *start, "--device", "cpu", "--minutes", limit):
        if is_new:
            choice = train.Train(
                preset="stylegan3-t",
                scale="tiny",
                data=data,
                out=folder,
                minutes=options.minutes,
                x_flip=True,
                seed=options.seed,
                device="cpu",
                overrides=OVERRIDES,
            )
        else:
            choice = train.Train(resume=folder, minutes=options.minutes, device="cpu")
        if train.run(choice) == INTERRUPTED:
            return INTERRUPTED
        sheet = save_image(options.out / "samples_over_time.png", samples_over_time(folder))

    images, grid, film = options.out / "images", options.out / "grid.png", options.out / "interpolation.mp4"
    with step("3. Images", "generate", folder, "--seeds", "0-31", "--out", images, "--grid", grid):
        generate.run(generate.Generate(model=str(folder), seeds="0-31", out=images, grid=grid, device="cpu"))
    with step("4. A video", "video", folder, "--seeds", FILM_SEEDS, "--grid", "4x2", "--out", film):
        video.run(video.Video(model=str(folder), seeds=FILM_SEEDS, grid="4x2", out=film, device="cpu"))

    minutes, seconds = divmod(int(time.monotonic() - began), 60)
    console.print(f"\n[bold]Done in {minutes}:{seconds:02d}.[/bold] Look at")
    for path in (sheet, grid, film):
        console.print(f"  {path}")
    console.print("[bold]To go on[/bold]")
    console.print(f"  gantrol train --resume {folder} --minutes 30     trains on, to faces")
    console.print(f"  gantrol evaluate {folder} --data {data} --metrics fid")
    console.print("  gantrol data faces --count 4000 --size 64 --out faces64.zip     more and larger portraits")
    return 0
