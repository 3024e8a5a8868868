"""`gantrol spectra`: average power spectra of datasets and models, drawn side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:
    from gantrol.metrics.spectra import Spectrum


@dataclass(frozen=True, kw_only=True)
class Spectra:
    """Average power spectra of datasets and models: a heat map of each, and slices of all, in one picture.

    Example: gantrol spectra faces.zip run --out spectra.png --samples 1000 --npz spectra
    """

    sources: tyro.conf.Positional[tuple[str, ...]]
    """Datasets (zip, folder), models (folder, run, checkpoint, bundled, Hugging Face id), or .npz files of --npz."""
    out: Path
    """The picture to write: .png, .webp or .jpg."""
    npz: Path | None = None
    """Folder in which the spectra are also kept, one .npz each; a later picture can be drawn from them."""
    stats: Path | None = None
    """Dataset of the mean and std that all sources share; by default the first dataset or .npz among them."""
    samples: int = 1000
    """Images per source: generated, or drawn from a dataset that has more."""
    seed: int = 0
    """Seed of a model's first image, the others follow; also chooses what is drawn from a dataset."""
    angle: str = "0,45,radial"
    """Slices, separated by commas: degrees from right to down, or radial for the average over all directions."""
    interpolation: int = 4
    """Samples of the spectrum per cycle: images are padded to so many times their size."""
    beta: float = 8.0
    """Of the Kaiser window; 0 is no window."""
    smooth: float = 1.25
    """Smoothing of the heat maps in cycles per image; 0 is none. Slices are never smoothed."""
    batch: int = 32
    """Images at a time; changes speed and memory only."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    json: Path | None = None
    """Also write a summary to this JSON file."""


def run(options: Spectra) -> None:
    """Draws the picture, and prints how much contrast each source has, octave by octave."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    import gantrol
    from gantrol.atomic import write_json
    from gantrol.cli.progress import progress_bar
    from gantrol.cli.tables import print_table
    from gantrol.cli.thumbnails import show
    from gantrol.errors import ConfigError, DataError
    from gantrol.metrics.spectra_pictures import parse_directions, spectra_picture
    from gantrol.metrics.spectra_sources import power_spectra
    from gantrol.pictures import save_image

    if options.out.suffix.lower() not in (".png", ".webp", ".jpg", ".jpeg"):
        raise ConfigError(f"--out {options.out}: the picture's name ends in .png, .webp or .jpg")
    directions = parse_directions(options.angle)
    with progress_bar("spectra") as update:
        spectra = power_spectra(
            options.sources,
            stats=options.stats,
            samples=options.samples,
            seed=options.seed,
            interpolation=options.interpolation,
            beta=options.beta,
            batch_size=options.batch,
            device=options.device,
            progress=update,
        )
    files = _keep(spectra, options)
    save_image(options.out, spectra_picture(spectra, directions=directions, smooth=options.smooth))
    if options.json is not None:
        record = {
            "picture": str(options.out),
            "image_size_px": spectra[0].image_size_px,
            "sources": [_summary(*pair) for pair in zip(spectra, files, strict=True)],
            "seed": options.seed,
            "gantrol_version": gantrol.__version__,
        }
        write_json(options.json, record, DataError)
    rings = spectra[0].octaves()[-4:]
    columns = [f"{low:.4g}–{high:.4g}" for low, high, _ in rings]
    table = Table("dB at cycles per image", *columns, "images", "mean", "std", box=None, padding=(0, 2, 0, 0))
    for spectrum in spectra:
        levels = [f"{level:.1f}" for _, _, level in spectrum.octaves()[-4:]]
        facts = [f"{spectrum.samples:,}", f"{spectrum.mean:.1f}", f"{spectrum.std:.1f}"]
        table.add_row(escape(spectrum.name), *levels, *facts)
    print_table(table)
    Console(soft_wrap=True, highlight=False).print(escape(f"picture {options.out}"))
    show(options.out)


def _keep(spectra: Sequence[Spectrum], options: Spectra) -> list[Path | None]:
    """Where the npz of each spectrum is; those that were read from one stay there."""
    import re

    files: list[Path | None] = []
    taken: set[str] = set()
    for source, spectrum in zip(options.sources, spectra, strict=True):
        if Path(source).suffix.lower() == ".npz":
            files.append(Path(source))
        elif options.npz is None:
            files.append(None)
        else:
            path = Path(source)
            stem = (path if path.name.strip(".") else path.resolve()).name  # of "." and ".." the folder's own name
            stem = re.sub(r"\.(zip|safetensors)$", "", stem, flags=re.IGNORECASE)
            stem = re.sub(r"[^\w.-]+", "_", stem) or "spectrum"
            name = next(n for n in (stem, *(f"{stem}-{k}" for k in range(2, 10_000))) if n not in taken)
            taken.add(name)
            files.append(spectrum.save(options.npz / f"{name}.npz"))
    return files


def _summary(spectrum: Spectrum, file: Path | None) -> dict[str, Any]:
    """What is known of a spectrum, and its level in each octave; null for what its file does not tell."""
    import math

    numbers = {key: getattr(spectrum, key) for key in ("mean", "std", "beta")}
    return {
        "source": spectrum.name,
        "samples": spectrum.samples or None,
        **{key: value if math.isfinite(value) else None for key, value in numbers.items()},
        "interpolation": spectrum.interpolation,
        "octaves": [{"from": low, "to": high, "level_db": level} for low, high, level in spectrum.octaves()],
        "npz": None if file is None else str(file),
    }
