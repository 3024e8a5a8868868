"""`gantrol generate`: pictures from seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

_SHOWN = 16  # pictures in the terminal where no grid is asked for


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Make pictures with a model, one per seed.

    Example: gantrol generate run --seeds 0-63 --truncation 0.7 --out pictures --grid grid.png

    Example: gantrol generate run --seeds 0-9999999 --out shards --devices 8
    """

    model: tyro.conf.Positional[str]
    """Model folder, run, checkpoint of a run, bundled model, or Hugging Face id."""
    out: Path | None = None
    """Folder for the pictures, seed0000.png and so on; may be left out if --grid is given."""
    seeds: str = "0-15"
    """Seeds, for example 0,1,4-6."""
    truncation: float = 1.0
    """1: the whole distribution; less: more typical and less varied; 0: the average."""
    truncation_cutoff: int | None = None
    """Truncate only the first so many layers."""
    class_index: Annotated[int | None, tyro.conf.arg(name="class")] = None
    """The class, for a conditional model."""
    noise: Literal["const", "random", "none"] = "const"
    """Per-pixel noise of StyleGAN2: the model's own, drawn from each seed, or off."""
    set: tuple[str, ...] = ()
    """Values of controls: age=60 hair_color=0.8,0.3,0.1 expression=smile:0.8,angry:0.2 identity=7 style=ink.png."""
    translate: str = "0,0"
    """X,Y in image widths, right and down; alias-free models only. Negative: --translate=-0.1,0."""
    rotate: float = 0.0
    """Degrees, counter-clockwise; alias-free models only."""
    grid: Path | None = None
    """Also write all pictures as one."""
    format: Literal["png", "webp", "jpg"] = "png"
    """File format of the pictures."""
    layout: Literal["auto", "files", "webdataset"] = "auto"
    """files; webdataset: tars with seeds and classes, which a repeated command continues; auto: tars beyond 10,000."""
    shard_images: int = 10_000
    """Pictures per tar."""
    batch: int = 16
    """Pictures at a time; changes speed and memory only."""
    devices: int = 1
    """Devices that share the tars; torchrun starts several machines."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    json: Path | None = None
    """Also write what was made, with seeds and versions, to this JSON file."""


def run(options: Generate) -> None:
    """Writes the pictures; each one is whole or absent."""
    from gantrol.cli.looks import parse_controls
    from gantrol.errors import ConfigError
    from gantrol.model import load
    from gantrol.sample import parse_seeds

    if is_bulk(options):
        _make_shards(options)
        return
    if options.devices > 1:
        raise ConfigError("--devices: several share tars, not files; add --layout webdataset")
    if options.out is None and options.grid is None:
        raise ConfigError("where shall the pictures go? give --out DIR, --grid F.png, or both")
    settings: dict[str, Any] = {
        "truncation_psi": options.truncation,
        "truncation_cutoff": options.truncation_cutoff,
        "class_index": options.class_index,
        "noise_mode": options.noise,
        "controls": parse_controls(options.set),
        "translate": parse_pair(options.translate),
        "rotate": options.rotate,
    }
    seeds = parse_seeds(options.seeds)
    model = load(options.model, device=options.device)
    _make(model, seeds, settings, options)


def is_bulk(options: Generate) -> bool:
    """Whether tars are written."""
    if options.layout != "auto":
        return options.layout == "webdataset"
    from gantrol.bulk import SHARD_IMAGES, SeedRanges

    return options.out is not None and len(SeedRanges(options.seeds)) > SHARD_IMAGES


def _make_shards(options: Generate) -> None:
    """Tars, by one process per device; what took how long goes to stdout and to --json."""
    from gantrol.atomic import write_json
    from gantrol.bulk import BulkConfig, SeedRanges, generate_shards
    from gantrol.cli.devices import launch, world
    from gantrol.cli.looks import look_of
    from gantrol.cli.progress import progress_bar
    from gantrol.errors import ConfigError, DataError
    from gantrol.metrics.processes import Processes
    from gantrol.model import load
    from gantrol.train.together import Together

    if options.out is None or options.grid is not None or options.format == "jpg":
        raise ConfigError("tars take --out DIR, --format png or webp, and no --grid; --layout files writes files")
    config = BulkConfig(
        look=look_of(options),
        translate=parse_pair(options.translate),
        rotate=options.rotate,
        shard_images=options.shard_images,
        image_format=options.format,
    )
    seeds = SeedRanges(options.seeds)
    processes, device = Processes(), options.device
    if world(options.devices) != (1, 1):
        fabric = launch(options.device, options.devices)
        processes, device = Processes.joined(), str(fabric.device)
    model = load(options.model, device=device)
    with Together(processes, "finished tars are kept: run the same command again"):
        if processes.is_first:
            with progress_bar("generating") as update:
                report = generate_shards(model, seeds, options.out, config, processes=processes, progress=update)
        else:
            report = generate_shards(model, seeds, options.out, config, processes=processes)
    if not processes.is_first:
        return
    if options.json is not None:
        write_json(options.json, {"model": options.model, "seeds": seeds.text, **report.to_dict()}, DataError)
    print(f"{report.images:,} pictures in {report.shards} tars in {options.out}; made now: {describe(report)}")


def describe(report: Any) -> str:
    """What a call made, and how fast."""
    if not report.made:
        return "none, all were there"
    return f"{report.made:,} in {report.seconds:.1f} s, {report.images_per_s:.1f} pictures/s"


def _make(model: Any, seeds: list[int], settings: dict[str, Any], options: Generate) -> None:
    import numpy as np
    from rich.console import Console
    from rich.markup import escape

    import gantrol
    from gantrol.atomic import write_json
    from gantrol.cli.progress import progress_bar
    from gantrol.cli.thumbnails import show, show_images
    from gantrol.errors import ConfigError, DataError
    from gantrol.pictures import image_grid, save_image

    if options.batch < 1:
        raise ConfigError(f"--batch {options.batch}: expected at least 1")
    files: list[dict[str, Any]] = []
    for_grid = []
    first: list[np.ndarray] = []
    with progress_bar("generating") as update:
        for start in range(0, len(seeds), options.batch):
            some = seeds[start : start + options.batch]
            images = model.generate(some, output="np", batch_size=options.batch, **settings)
            if options.grid is not None:
                for_grid.append(images)
            if options.out is not None:
                for seed, image in zip(some, images, strict=True):
                    path = save_image(options.out / f"seed{seed:04d}.{options.format}", image)
                    files.append({"seed": seed, "file": str(path)})
            first = first or list(images[:_SHOWN])
            update(start + len(some), len(seeds))
    count = "1 picture" if len(seeds) == 1 else f"{len(seeds)} pictures"
    made = [] if options.out is None else [f"{count} in {options.out}"]
    if options.grid is not None:
        made.append(f"grid {save_image(options.grid, image_grid(np.concatenate(for_grid)))}")
    if options.json is not None:
        record = {
            "model": options.model,
            "gantrol_version": gantrol.__version__,
            "seeds": seeds,
            **settings,
            "rotate_unit": "degrees",
            "translate_unit": "image widths",
            "files": files,
            "grid": None if options.grid is None else str(options.grid),
        }
        write_json(options.json, record, DataError)
    Console(soft_wrap=True, highlight=False).print(escape(", ".join(made)))
    if options.grid is not None:
        show(options.grid)
    else:
        show_images(first)


def parse_pair(text: str) -> tuple[float, float]:
    """The two numbers of `X,Y`."""
    from gantrol.errors import ConfigError

    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--translate {text}: expected X,Y, for example 0.1,0") from error
    return x, y
