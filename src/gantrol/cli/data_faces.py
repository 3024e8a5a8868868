"""`gantrol data faces`: labelled portraits, rendered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class DataFaces:
    """Render labelled portraits of people who do not exist into a dataset zip.

    Example: gantrol data faces --count 4000 --size 64 --out faces.zip --set yaw=0 hair_color=0.8,0.2,0.1
    """

    count: int
    """How many images."""
    size: int
    """Side of the square images in pixels, 32 to 512."""
    out: Path
    """The dataset zip to write."""
    seed: int = 0
    """The same seed gives the same bytes, whatever the number of workers."""
    workers: int | None = None
    """Rendering processes; by default one per core."""
    set: tuple[str, ...] = ()
    """Attributes that every image shares, as name=value: yaw=30, hair_color=0.8,0.2,0.1, hair_style=bob, …"""
    overwrite: bool = False
    """Replace the file if it exists."""


def run(options: DataFaces) -> None:
    """Renders the dataset with a progress line."""
    from gantrol.cli.progress import progress_bar
    from gantrol.data.faces import make_dataset
    from gantrol.data.faces.labels import parse_assignments

    fixed = parse_assignments(options.set)
    with progress_bar("rendering") as update:
        make_dataset(
            options.out,
            options.count,
            options.size,
            seed=options.seed,
            workers=options.workers,
            fixed=fixed,
            overwrite=options.overwrite,
            progress=update,
        )
    print(f"{options.out}: {options.count} portraits of {options.size}×{options.size} px, labels in dataset.json")
