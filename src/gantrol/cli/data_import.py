"""`gantrol data import`: images in any usual form become a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

if TYPE_CHECKING:
    from gantrol.data.prepare import ImportReport

_SHOWN = 10  # reasons on the screen; the side file has all


@dataclass(frozen=True, kw_only=True)
class DataImport:
    """Make a dataset of images in any usual form; an interrupted import continues when it is repeated.

    Reads folders, zips, tars, WebDataset shards, CIFAR-10 and CIFAR-100, STL-10, MNIST (idx), CelebA, LMDB (LSUN),
    Hugging Face datasets.

    Example: gantrol data import photos/ --out photos-256.zip --size 256

    Example: gantrol data import cifar-10-python.tar.gz --out cifar10.zip
    """

    source: tyro.conf.Positional[str]
    """Folder (sub-folders included), archive or published dataset; hf:owner/name is one on the Hugging Face hub."""
    out: Path
    """The zip to write; a name without .zip is a folder of shards."""
    size: int | None = None
    """Side of the images in pixels; without it they keep their size, which must then be the same for all."""
    crop: Literal["center", "none"] = "center"
    """What to do with images that are not square: cut the longer side, or leave them out."""
    alpha: str = "white"
    """What becomes of transparency: white, black or a colour R,G,B is laid under it; keep makes RGBA images."""
    min_size: int = 1
    """Leave out images whose shorter side has fewer pixels."""
    duplicates: Literal["keep", "skip"] = "keep"
    """Whether images with the same pixels are all written, or only the first of them."""
    max: int | None = None
    """Take only the first so many images, in sorted order."""
    format: Literal["png", "webp"] = "png"
    """Uncompressed PNG (fastest to read) or lossless WebP (less than half the size)."""
    layout: Literal["auto", "zip", "shards", "webdataset"] = "auto"
    """One zip, a folder of zips, or a folder of WebDataset tars; auto goes by the name in --out."""
    shard_images: int = 100_000
    """Images per shard."""
    classes_from_folders: bool = False
    """Label each image with the class that its top-level folder stands for."""
    split: str | None = None
    """Part of a published dataset: train, test, all, …; without it what trainings use."""
    strict: bool = False
    """Stop at the first file that cannot be read, instead of leaving it out and listing it."""
    workers: int | None = None
    """Threads that decode; by default one per core."""
    overwrite: bool = False
    """Replace an existing dataset."""
    json: Path | None = None
    """Also write what was imported and left out to this file."""


def run(options: DataImport) -> None:
    """Imports, then prints what was written and what was left out."""
    from gantrol.atomic import write_json
    from gantrol.cli.progress import progress_bar
    from gantrol.cli.thumbnails import show_dataset
    from gantrol.data.prepare import import_images
    from gantrol.errors import DataError

    try:
        with progress_bar("importing") as update:
            report = import_images(
                options.source,
                options.out,
                size_px=options.size,
                crop=options.crop,
                alpha=options.alpha,
                min_size_px=options.min_size,
                duplicates=options.duplicates,
                max_images=options.max,
                strict=options.strict,
                image_format=options.format,
                layout=options.layout,
                shard_images=options.shard_images,
                classes_from_folders=options.classes_from_folders,
                split=options.split,
                workers=options.workers,
                overwrite=options.overwrite,
                progress=update,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the same command continues {options.out} from what was finished") from None
    _tell(report, options)
    if options.json is not None:
        write_json(options.json, report.to_dict(), DataError)
    show_dataset(options.out)


def _tell(report: ImportReport, options: DataImport) -> None:
    from rich.console import Console
    from rich.markup import escape

    from gantrol.data.images import describe

    console = Console(soft_wrap=True, highlight=False)
    console.print(escape(f"{report.out}: {_count(report.count, 'image')}, {describe(report.size_px, report.channels)}"))
    if report.classes:
        console.print(escape(f"{len(report.classes)} classes: {', '.join(report.classes)}"))
    if report.upscaled:
        console.print(f"{report.upscaled} images were smaller than {report.size_px} px and had to be enlarged")
    if report.ignored_profiles:
        console.print(f"{report.ignored_profiles} colour profiles were unusable; these images were taken for sRGB")
    if report.too_small:
        console.print(f"{report.too_small} images with less than {options.min_size} px were left out")
    if report.repeats and options.duplicates == "skip":
        console.print(f"{report.repeats} images with the same pixels as an earlier one were left out")
    elif report.repeats:
        console.print(
            f"{report.repeats} images have the same pixels as an earlier one: --duplicates skip leaves them out"
        )
    if report.skipped:
        console.print(f"{_count(len(report.skipped), 'file')} could not be read:")
        for skipped in report.skipped[:_SHOWN]:
            console.print(escape(f"  {skipped.reason}"))
        if len(report.skipped) > _SHOWN:
            console.print(f"  … and {len(report.skipped) - _SHOWN} more")
    if report.skipped_list is not None:
        console.print(escape(f"all that was left out, with the reasons: {report.skipped_list}"))
    if len(report.skipped) > report.count:
        looked_at = report.count + len(report.skipped)
        console.print(
            f"more than half could not be read ({len(report.skipped)} of {looked_at}): is this the right source?"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
