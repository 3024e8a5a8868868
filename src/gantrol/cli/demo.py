"""`gantrol demo`."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path

GRID_SEEDS = "0-29"
TILE_PX = 96  # small images are enlarged to about this
STRIP_SEEDS = (0, 3)
FILM_SEEDS = "0-7"
TRUNCATION = 0.8


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Faces that turn, age and change their hair: pictures and a film from a controllable model, without a download.

    Example: gantrol demo --out demo
    """

    out: Path = Path("demo")
    """Folder for grid.png, controls.png and turn.mp4."""
    model: str = "faces"
    """A model with controls; `faces` comes with the package."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""


def run(options: Demo) -> None:
    """Makes the three files and says how to go on."""
    from PIL import Image
    from rich.console import Console

    from gantrol.cli import generate, video
    from gantrol.cli.thumbnails import show, without_pictures
    from gantrol.errors import ConfigError, require_extra
    from gantrol.model import load
    from gantrol.pictures import enlarge, enlargement_factor, save_image
    from gantrol.sample import Look
    from gantrol.strips import controls_sheet

    require_extra("av", "video")  # better said now than after the pictures
    began = time.monotonic()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    name, model = options.model, load(options.model, device=options.device)
    if "yaw" not in model.controls:
        raise ConfigError(f"{name} has no control 'yaw' to turn faces with; choose another --model, or leave it out")
    options.out.mkdir(parents=True, exist_ok=True)
    grid, sheet, film = (options.out / file for file in ("grid.png", "controls.png", "turn.mp4"))

    def step(title: str, *arguments: str | Path) -> None:
        console.print(f"[bold]{title}[/bold]   gantrol {shlex.join(map(str, arguments))}")

    shown = [name, "--seeds", GRID_SEEDS, "--truncation", f"{TRUNCATION:g}"]
    step("1. People, enlarged", "generate", *shown, "--grid", grid)
    with without_pictures():  # the larger one is shown
        generate.run(
            generate.Generate(model=name, seeds=GRID_SEEDS, truncation=TRUNCATION, grid=grid, device=options.device)
        )
    with Image.open(grid) as picture:
        factor = enlargement_factor((model.generator.resolution_px,) * 2, TILE_PX)
        larger = enlarge(picture, factor, "lanczos").copy()
    show(save_image(grid, larger))
    console.print("[bold]2. Every control from its lowest to its highest value[/bold]")
    show(save_image(sheet, controls_sheet(model, seeds=STRIP_SEEDS, look=Look(truncation_psi=TRUNCATION))))
    low, high = model.controls["yaw"].low, model.controls["yaw"].high
    sweep = f"yaw={low:g}:{high:g}"
    step("3. A film", "video", name, "--kind", "sweep", "--sweep", sweep, "--seeds", FILM_SEEDS, "--out", film)
    video.run(
        video.Video(
            model=name,
            kind="sweep",
            sweep=(sweep,),
            seeds=FILM_SEEDS,
            grid="4x2",
            truncation=TRUNCATION,
            seconds=4,
            fps=30,
            out=film,
            device=options.device,
        )
    )
    console.print(f"\n[bold]Done in {time.monotonic() - began:.0f} s.[/bold] Look at")
    for path in (grid, sheet, film):
        console.print(f"  {path}")
    console.print("[bold]To go on[/bold]")
    for line in (
        f"gantrol generate {name} --seeds 0-7 --set age=65 yaw=-20 hair_color=0.8,0.6,0.3 --grid older.png",
        f"gantrol video {name} --kind sweep --sweep age=15:75 --seeds 0-3 --grid 2x2 --out ageing.mp4",
        f"gantrol info {name}     lists the controls, how they were trained and what they were measured to do",
    ):
        console.print(f"  {line}")
