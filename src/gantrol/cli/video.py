"""`gantrol video`: films made with a model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    import numpy as np

    from gantrol.controls import Value
    from gantrol.films import Film
    from gantrol.model import Model
    from gantrol.sample import Look

KINDS = ("interpolate", "translate", "turn", "sweep", "style-mix")
_BELONGS_TO = {
    "keyframes": "interpolate",
    "path": "translate",
    "reach": "translate",
    "sweep": "sweep",
    "layers": "style-mix",
}
"""Options that mean something for one kind only."""
_PER_LEG = ("interpolate", "style-mix")
"""Kinds in which `--frames` counts from one seed to the next."""
_LEG_FRAMES, _LOOP_FRAMES = 60, 240
_STRIP_FRAMES = 8
_REACH = 0.1


@dataclass(frozen=True, kw_only=True)
class Video:
    """Make a film with a model: a loop that walks from seed to seed, moves or turns the picture, sweeps a value
    there and back, or mixes the styles of a second, moving latent into a first.

    Example: gantrol video run --seeds 0-11 --grid 3x2 --truncation 0.7 --out loop.mp4
    """

    model: tyro.conf.Positional[str]
    """Model folder, run, checkpoint of a run, bundled model, or Hugging Face id."""
    out: Path
    """The .mp4 file to write."""
    kind: str = "interpolate"
    """What the film shows: interpolate, translate, turn, sweep or style-mix."""
    seeds: str | None = None
    """Seeds, as 0,1,4-6: one per cell; interpolate divides them among the cells; style-mix walks through those left."""
    keyframes: int | None = None
    """interpolate: seeds per cell; by default all seeds are used once, with more they repeat."""
    frames: int | None = None
    """Frames from one seed to the next (interpolate, style-mix; 60 unless told), or of the whole loop (240)."""
    seconds: float | None = None
    """Length of the whole film, in place of --frames."""
    grid: str = "1x1"
    """Columns x rows."""
    fps: int = 60
    """Frames per second."""
    path: Literal["circle", "x", "y"] | None = None
    """translate: round in a circle (unless told), or there and back along x or y."""
    reach: float | None = None
    """translate: how far from the middle, in image widths (0.1 unless told)."""
    sweep: tuple[str, ...] = ()
    """sweep: what goes from where to where and back: yaw=-30:30, smile=0:1, truncation=0:1, rotate=0:360, a control."""
    layers: str | None = None
    """style-mix: layers that follow the moving latent, as 4-9; by default the finer half."""
    set: tuple[str, ...] = ()
    """Values of controls that stay the same, for example age=60 expression=smile:0.8."""
    truncation: float = 1.0
    """1: the whole distribution; less: more typical and less varied; 0: the average."""
    truncation_cutoff: int | None = None
    """Truncate only the first so many layers."""
    class_index: Annotated[int | None, tyro.conf.arg(name="class")] = None
    """The class, for a conditional model."""
    noise: Literal["const", "random", "none"] = "const"
    """Per-pixel noise of StyleGAN2: still, anew in each frame, or off."""
    strip: Path | None = None
    """Also write eight of the frames side by side as a picture."""
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

    from gantrol.atomic import write_json
    from gantrol.cli.looks import look_of
    from gantrol.cli.progress import progress_bar
    from gantrol.cli.thumbnails import show
    from gantrol.errors import DataError, require_extra
    from gantrol.model import load
    from gantrol.pictures import check_name, save_image
    from gantrol.video import write_video

    require_extra("av", "video")
    check(options)
    seeds, moving = film_seeds(options)
    count = frame_count(options, legs=max(seeds.shape[2], len(moving)))
    if options.strip is not None:
        check_name(options.strip)
    look = look_of(options)
    model = load(options.model, device=options.device)
    film = _film(model, options, seeds, moving, count, look)
    kept: list[np.ndarray] = []
    with progress_bar("rendering") as update:

        def counted() -> Iterator[np.ndarray]:
            wanted = {index * len(film) // _STRIP_FRAMES for index in range(_STRIP_FRAMES)}
            for number, frame in enumerate(film):
                if number in wanted:
                    kept.append(frame)
                yield frame
                update(number + 1, len(film))

        write_video(
            options.out, counted(), fps=options.fps, min_side_px=options.min_side, enlargement=options.enlargement
        )
    made = f"{options.out}: {len(film)} frames, {len(film) / options.fps:.1f} s"
    if options.strip is not None:
        made += f"; strip {save_image(options.strip, _strip(kept, options))}"
    if options.json is not None:
        write_json(options.json, _record(options, model, seeds, moving, len(film)), DataError)
    Console(soft_wrap=True, highlight=False).print(escape(made))
    show(lambda: _strip(kept, options))


def _film(model: Model, options: Video, seeds: np.ndarray, moving: list[int], count: int, look: Look) -> Film:
    """The film that the options describe."""
    from gantrol import films

    cells = seeds[:, :, 0]
    if options.kind == "interpolate":
        return films.interpolation(model, seeds, count, look=look)
    if options.kind == "style-mix":
        return films.style_mix(model, cells, moving, _layers(model, options), count, look=look)
    if options.kind == "translate":
        reach = _REACH if options.reach is None else options.reach
        if options.path in (None, "circle"):
            values = films.circle(count, reach)
        else:
            values = {f"translate_{options.path}": films.there_and_back(count, -reach, reach)}
    elif options.kind == "turn":
        values = {"rotate": films.full_turn(count)}
    else:
        ends = dict(map(parse_sweep, options.sweep))
        values = {name: films.loop_between(model, name, low, high, count) for name, (low, high) in ends.items()}
    return films.sweep(model, cells, values, look=look)


def _layers(model: Model, options: Video) -> list[int]:
    """The layers that follow the moving latent."""
    from gantrol.mixing import fine_layers, parse_layers

    num_ws = model.generator.num_ws
    return fine_layers(num_ws) if options.layers is None else parse_layers(options.layers, num_ws)


def _strip(frames: list[np.ndarray], options: Video) -> Any:
    import numpy as np

    from gantrol.pictures import enlarge, enlargement_factor, image_grid, to_pil

    factor = enlargement_factor(frames[0].shape[:2], 96)
    larger = [enlarge(to_pil(frame), factor, options.enlargement) for frame in frames]
    pixels = np.stack([np.asarray(picture).reshape(picture.height, picture.width, -1) for picture in larger])
    return image_grid(pixels, columns=len(pixels), gap=2)


def _record(options: Video, model: Model, seeds: np.ndarray, moving: list[int], count: int) -> dict[str, Any]:
    """What `--json` holds."""
    import gantrol
    from gantrol.cli.looks import parse_controls

    own = {name: getattr(options, name) for name, kind in _BELONGS_TO.items() if kind == options.kind}
    if options.kind == "style-mix":
        own = {"layers": _layers(model, options)}
    elif options.kind == "translate":
        own = {
            "path": options.path or "circle",
            "reach": _REACH if options.reach is None else options.reach,
            "reach_unit": "image widths",
        }
    return {
        "model": options.model,
        "gantrol_version": gantrol.__version__,
        "kind": options.kind,
        "seeds": seeds.tolist() if options.kind == "interpolate" else seeds[:, :, 0].tolist(),
        "moving_seeds": moving,
        **own,
        "controls": parse_controls(options.set),
        "class_index": options.class_index,
        "truncation_psi": options.truncation,
        "truncation_cutoff": options.truncation_cutoff,
        "noise_mode": options.noise,
        "frames": count,
        "fps": options.fps,
        "duration_s": count / options.fps,
        "file": str(options.out),
        "strip": None if options.strip is None else str(options.strip),
    }


# ----------------------------------------------------------------------------------------------------------------------
# From options to numbers


def check(options: Video) -> None:
    """Raises `ConfigError` if the kind is unknown, or an option is given that belongs to another one."""
    from gantrol.errors import ConfigError, nearest

    if options.kind not in KINDS:
        raise ConfigError(f"--kind {options.kind}: unknown; {nearest(options.kind, KINDS)}")
    for name, kind in _BELONGS_TO.items():
        if getattr(options, name) not in (None, ()) and kind != options.kind:
            raise ConfigError(f"--{name} belongs to --kind {kind}; this is --kind {options.kind}")
    if options.kind == "sweep":
        if not options.sweep:
            raise ConfigError("--kind sweep: what shall change? for example --sweep truncation=0:1")
        for text in options.sweep:
            parse_sweep(text)


def film_seeds(options: Video) -> tuple[np.ndarray, list[int]]:
    """Seeds of the cells, [rows, columns, K] with K = 1 unless the film interpolates, and those of the moving latent
    of style-mix."""
    from gantrol.errors import ConfigError
    from gantrol.films import keyframe_seeds
    from gantrol.sample import parse_seeds

    grid = parse_grid(options.grid)
    cells = grid[0] * grid[1]
    if options.kind == "interpolate":
        return keyframe_seeds(parse_seeds(options.seeds or "0-7"), grid, options.keyframes), []
    is_mix = options.kind == "style-mix"
    seeds = parse_seeds(options.seeds or f"0-{cells + 3 if is_mix else cells - 1}")
    if len(seeds) < cells or (len(seeds) > cells and not is_mix):
        raise ConfigError(
            f"--kind {options.kind} shows one seed per cell: --grid {options.grid} takes {cells} of them, "
            f"--seeds has {len(seeds)}"
        )
    return keyframe_seeds(seeds[:cells], grid), seeds[cells:]


def frame_count(options: Video, legs: int) -> int:
    """Frames of the whole film; `legs` is how many times it goes from one seed to the next."""
    import math

    from gantrol.errors import ConfigError

    if options.fps < 1:
        raise ConfigError(f"--fps {options.fps}: expected at least 1")
    if options.seconds is not None:
        if options.frames is not None:
            raise ConfigError("--frames and --seconds both say how long the film is: give one of them")
        if not (math.isfinite(options.seconds) and options.seconds * options.fps >= 1):
            raise ConfigError(f"--seconds {options.seconds:g}: expected at least one frame, {1 / options.fps:.3g} s")
        return round(options.seconds * options.fps)
    is_per_leg = options.kind in _PER_LEG
    frames = options.frames if options.frames is not None else _LEG_FRAMES if is_per_leg else _LOOP_FRAMES
    if frames < 1:
        raise ConfigError(f"--frames {frames}: expected at least 1")
    return frames * legs if is_per_leg else frames


def parse_grid(text: str) -> tuple[int, int]:
    """Columns and rows of `WxH`."""
    from gantrol.errors import ConfigError

    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise ConfigError(f"--grid {text}: expected columns x rows, for example 3x2")
    return int(match[1]), int(match[2])


def parse_sweep(text: str) -> tuple[str, tuple[Value, Value]]:
    """Name and ends of `name=from:to`; each end is a number, or several (r,g,b)."""
    from gantrol.errors import ConfigError

    name, _, ends = text.partition("=")
    parts = ends.split(":")
    try:
        if not name or len(parts) != 2:
            raise ValueError(text)
        low, high = (tuple(float(number) for number in part.split(",")) for part in parts)
    except ValueError as error:
        raise ConfigError(f"--sweep {text}: expected name=from:to, for example yaw=-30:30") from error
    return name, (low[0] if len(low) == 1 else low, high[0] if len(high) == 1 else high)
