"""`gantrol data import`: images in any usual form become a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class DataImport:
    """Make a dataset zip of images in any usual form.

    Reads folders, zips, tars, CIFAR-10 and CIFAR-100, STL-10, MNIST (idx), CelebA, LMDB (LSUN), Hugging Face datasets.

    Example: gantrol data import photos/ --out photos-256.zip --size 256

    Example: gantrol data import cifar-10-python.tar.gz --out cifar10.zip
    """

    source: tyro.conf.Positional[str]
    """Folder (sub-folders included), archive or published dataset; hf:owner/name is one on the Hugging Face hub."""
    out: Path
    """The zip to write."""
    size: int | None = None
    """Side of the images in pixels; without it they keep their size, which must then be the same for all."""
    crop: Literal["center", "none"] = "center"
    """What to do with images that are not square: cut the longer side, or refuse them."""
    max: int | None = None
    """Take only the first so many images, in sorted order."""
    format: Literal["png", "webp"] = "png"
    """Uncompressed PNG (fastest to read) or lossless WebP (less than half the size)."""
    classes_from_folders: bool = False
    """Label each image with the class that its top-level folder stands for."""
    split: str | None = None
    """Part of a published dataset: train, test, all, …; without it what trainings use."""
    skip_bad: bool = False
    """Leave damaged images out and count them, instead of stopping at the first."""
    overwrite: bool = False
    """Replace an existing file."""


def run(options: DataImport) -> None:
    """Imports, then prints what was written and what was left out."""
    from rich.console import Console
    from rich.markup import escape

    from gantrol.cli.progress import progress_bar
    from gantrol.data.images import describe
    from gantrol.data.prepare import import_images

    with progress_bar("importing") as update:
        report = import_images(
            options.source,
            options.out,
            size_px=options.size,
            crop=options.crop,
            max_images=options.max,
            skip_bad=options.skip_bad,
            image_format=options.format,
            classes_from_folders=options.classes_from_folders,
            split=options.split,
            overwrite=options.overwrite,
            progress=update,
        )
    console = Console(soft_wrap=True, highlight=False)
    console.print(escape(f"{report.out}: {report.count} images, {describe(report.size_px, report.channels)}"))
    if report.classes:
        console.print(escape(f"{len(report.classes)} classes: {', '.join(report.classes)}"))
    if report.upscaled:
        console.print(f"{report.upscaled} images were smaller than {report.size_px} px and had to be enlarged")
    if report.skipped:
        console.print(f"{len(report.skipped)} damaged images were left out:")
        for skipped in report.skipped[:10]:
            console.print(escape(f"  {skipped.reason}"))
        if len(report.skipped) > 10:
            console.print(f"  … and {len(report.skipped) - 10} more")
