"""`gantrol data avatars`: labelled illustrations of people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class DataAvatars:
    """Draw labelled avatars (illustrated people) into a dataset zip.

    Needs the extra `avatars`. Example: gantrol data avatars --count 4000 --size 64 --out avatars.zip --set mouth=smile
    """

    count: int
    """How many images."""
    size: int
    """Side of the square images in pixels, 16 to 1024."""
    out: Path
    """The dataset zip to write."""
    seed: int = 0
    """The same seed gives the same bytes."""
    styles: str | None = None
    """Styles to draw from, with commas: lorelei,micah. By default all under CC0; those under CC BY only when named."""
    set: tuple[str, ...] = ()
    """Attributes that every image shares, as name=value: mouth=smile, hair_color=0.8,0.2,0.1, roll=0, …"""
    overwrite: bool = False
    """Replace the file if it exists."""


def run(options: DataAvatars) -> None:
    """Draws the dataset with a progress line."""
    from gantrol.cli.progress import progress_bar
    from gantrol.cli.thumbnails import show_dataset
    from gantrol.data.avatars import make_dataset
    from gantrol.data.avatars.labels import check_styles, parse_assignments

    fixed = parse_assignments(options.set)
    named = None if options.styles is None else [name.strip() for name in options.styles.split(",") if name.strip()]
    styles = check_styles(named)
    with progress_bar("drawing") as update:
        make_dataset(
            options.out,
            options.count,
            options.size,
            seed=options.seed,
            styles=styles,
            fixed=fixed,
            overwrite=options.overwrite,
            progress=update,
        )
    what = f"{options.count} avatars of {options.size}×{options.size} px"
    print(f"{options.out}: {what} ({', '.join(styles)}); labels and licences in dataset.json")
    show_dataset(options.out)
