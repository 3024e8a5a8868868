"""`gantrol video`: films made with a model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    import numpy as np

KINDS = ("interpolate",)


@dataclass(frozen=True, kw_only=True)
class Video:
    """Make a film with a model: a loop that walks smoothly from seed to seed.

    Example: gantrol video run --seeds 0-11 --grid 3x2 --truncation 0.7 --out loop.mp4
    """

    model: tyro.conf.Positional[str]
    """Model folder, run, checkpoint of a run, bundled model, or Hugging Face id."""
    out: Path
    """The .mp4 file to write."""
    kind: str = "interpolate"
    """What the film shows: interpolate."""
    seeds: str = "0-7"
    """Seeds, for example 0,1,4-6; divided among the cells of the grid."""
    keyframes: int | None = None
    """Seeds per cell; by default all seeds are used once, with more they repeat."""
    frames: int = 60
    """Frames from one seed to the next."""
    grid: str = "1x1"
    """Columns x rows."""
    fps: int = 60
    """Frames per second."""
    truncation: float = 1.0
    """1: the whole distribution; less: more typical and less varied; 0: the average."""
    truncation_cutoff: int | None = None
    """Truncate only the first so many layers."""
    class_index: Annotated[int | None, tyro.conf.arg(name="class")] = None
    """The class, for a conditional model."""
    min_side: int = 256
    """Smaller pictures are enlarged by a whole factor to about so many pixels."""
    enlargement: Literal["lanczos", "nearest"] = "lanczos"
    """How: smoothly, or with visible pixels."""
    batch: int = 16
    """Pictures at a time; changes speed and memory only."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    json: Path | None = None
    """Also write what was made, with seeds and versions, to this JSON file."""


def run(options: Video) -> None:
    """Renders and encodes the film; the file is whole or absent."""
    from rich.console import Console
    from rich.markup import escape

    import gantrol
    from gantrol import sample
    from gantrol.atomic import write_json
    from gantrol.cli.progress import progress_bar
    from gantrol.errors import ConfigError, DataError, nearest, require_extra
    from gantrol.model import load
    from gantrol.video import write_video

    require_extra("av", "video")
    if options.kind not in KINDS:
        raise ConfigError(f"--kind {options.kind}: unknown; {nearest(options.kind, KINDS)}")
    seeds = sample.keyframe_seeds(sample.parse_seeds(options.seeds), parse_grid(options.grid), options.keyframes)
    model = load(options.model, device=options.device)
    total = seeds.shape[2] * options.frames
    with progress_bar("rendering") as update:
        frames = sample.interpolation(
            model.generator,
            seeds,
            frames_per_keyframe=options.frames,
            class_index=options.class_index,
            truncation_psi=options.truncation,
            truncation_cutoff=options.truncation_cutoff,
            batch_size=options.batch,
            dtype=model.dtype,
        )

        def counted() -> Iterator[np.ndarray]:
            for done, frame in enumerate(frames, start=1):
                yield frame
                update(done, total)

        write_video(
            options.out, counted(), fps=options.fps, min_side_px=options.min_side, enlargement=options.enlargement
        )
    if options.json is not None:
        record = {
            "model": options.model,
            "gantrol_version": gantrol.__version__,
            "kind": options.kind,
            "seeds": seeds.tolist(),
            "truncation_psi": options.truncation,
            "frames": total,
            "fps": options.fps,
            "duration_s": total / options.fps,
            "file": str(options.out),
        }
        write_json(options.json, record, DataError)
    seconds = total / options.fps
    Console(soft_wrap=True, highlight=False).print(escape(f"{options.out}: {total} frames, {seconds:.1f} s"))


def parse_grid(text: str) -> tuple[int, int]:
    """Columns and rows of `WxH`."""
    from gantrol.errors import ConfigError

    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise ConfigError(f"--grid {text}: expected columns x rows, for example 3x2")
    return int(match[1]), int(match[2])
