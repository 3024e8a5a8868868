"""`gantrol project`: the latent of a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from gantrol.project import Projector, Step, Tuner

LATENT = "projection.safetensors"
"""The file that makes a folder a projection."""

_FRAMES = 240  # of the film, at most; plus the last one, which stays for a second
_FPS = 30


@dataclass(frozen=True, kw_only=True)
class Project:
    """Find the latent of a picture, so that the model can draw, edit and animate it.

    Example: gantrol project run me.jpg --out me --tune 350
    """

    model: tyro.conf.Positional[str]
    """Model folder, run, checkpoint of a run, bundled model, or Hugging Face id."""
    image: tyro.conf.Positional[Path]
    """The picture: PNG, JPEG, WebP, BMP, TIFF, GIF or PPM; cropped and resized to what the model draws."""
    out: Path
    """Folder for target.png, projected.png, projection.safetensors, report.json and progress.mp4."""
    space: Literal["w", "w+"] = "w+"
    """One w for all layers (better to edit), or one for each layer (closer to the picture)."""
    steps: int = 500
    """Steps of the search."""
    tune: int = 0
    """Pivotal tuning for so many steps (350 in the paper): OUT/model, which comes closer to the picture."""
    class_index: Annotated[int | None, tyro.conf.arg(name="class")] = None
    """The class, for a conditional model."""
    crop: Literal["center", "none"] = "center"
    """What to do with a picture that is not square: cut the longer side, or refuse it."""
    pose: bool = True
    """Search position and rotation of the picture too; alias-free models only."""
    noise: bool = True
    """Search the per-pixel noise of StyleGAN2 too."""
    features: str = "auto"
    """Perceptual distance: efficientnet-lite0 (extra metrics), pyramid, or auto: the first one that is there."""
    starts: int = 64
    """Latents to choose the start from, besides the mean."""
    video: bool = True
    """Write progress.mp4 (extra video): the picture beside what the search draws."""
    seed: int = 0
    """Of the random numbers; the same seed gives the same result."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    overwrite: bool = False
    """Replace a projection that is there already."""
    json: Path | None = None
    """Also write the report to this JSON file."""


def run(options: Project) -> None:
    """Projects and writes the folder, whole or not at all."""
    from rich.console import Console
    from rich.markup import escape

    from gantrol.atomic import atomic_folder, write_json
    from gantrol.cli.progress import progress_bar
    from gantrol.cli.thumbnails import show
    from gantrol.errors import DataError, MissingExtraError, require_extra
    from gantrol.model import load
    from gantrol.project import Projector, read_target

    _check_out(options)
    if options.video:
        try:
            require_extra("av", "video")
        except MissingExtraError as error:
            raise MissingExtraError(f"{error}; or leave the film out with --no-video") from error
    model = load(options.model, device=options.device)
    target = read_target(options.image, model, crop=options.crop)
    with progress_bar("choosing a start") as update:
        projector = Projector(
            model,
            target,
            space=options.space,
            steps=options.steps,
            seed=options.seed,
            class_index=options.class_index,
            features=options.features,
            starts=options.starts,
            pose=options.pose,
            noise=options.noise,
            progress=update,
        )
    with atomic_folder(options.out, DataError) as folder:
        report = _make(projector, target, folder, options)
        write_json(folder / "report.json", report, DataError)
    if options.json is not None:
        write_json(options.json, report, DataError)
    console = Console(soft_wrap=True, highlight=False)
    start, found, tuned = (report["psnr"][name] for name in ("start", "projected", "tuned"))
    line = f"{options.out}: {found:.1f} dB (the mean of {options.space.rstrip('+')} {start:.1f} dB"
    line += ")" if tuned is None else f", tuned {tuned:.1f} dB)"
    console.print(escape(f"{line}, {report['features']}"))
    show(lambda: _results(options.out))


def _check_out(options: Project) -> None:
    """Raises unless the folder is new or empty, or a projection that may be replaced."""
    from gantrol.errors import ConfigError, DataError

    if options.tune < 0:
        raise ConfigError(f"--tune {options.tune}: expected 0 (off) or a number of steps")
    out = options.out
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / LATENT).is_file():
        raise DataError(f"{out}: exists already and is no projection: choose another name")
    if not options.overwrite:
        raise DataError(f"{out}: exists already: choose another name or --overwrite it")


def _make(projector: Projector, target: np.ndarray, folder: Path, options: Project) -> dict[str, Any]:
    """Searches, tunes if asked to, writes everything but the report into `folder`, and returns the report."""
    from gantrol.pictures import save_image
    from gantrol.project import Tuner
    from gantrol.video import write_video

    save_image(folder / "target.png", target)
    report: dict[str, Any] = {}

    def film() -> Iterator[np.ndarray]:
        """The frames of search and tuning; on the way, their results are written."""
        yield from _frames("projecting", projector, target)
        projection = projector.result()
        projection.save(folder / LATENT)
        projected = _pixels(projection.render(projector.model))
        save_image(folder / "projected.png", projected)
        report.update(_report(projection, options))
        last = projected
        if options.tune:
            tuner = Tuner(projector.model, projection, target, steps=options.tune, seed=options.seed)
            yield from _frames("tuning", tuner, target)
            tuned = tuner.result()
            tuned.save_pretrained(folder / "model")
            image = projection.render(tuned)
            last = _pixels(image)
            save_image(folder / "tuned.png", last)
            report["psnr"]["tuned"] = tuner.psnr(image)
        yield from [_beside(target, last)] * _FPS

    if options.video:
        write_video(folder / "progress.mp4", film(), fps=_FPS)
    else:
        for _ in film():
            pass
    return report


def _results(folder: Path) -> Image.Image:
    """The target and what was found for it, side by side."""
    import numpy as np
    from PIL import Image

    files = [folder / f"{name}.png" for name in ("target", "projected", "tuned")]
    return Image.fromarray(np.concatenate([np.asarray(Image.open(file)) for file in files if file.is_file()], axis=1))


def _frames(what: str, search: Projector | Tuner, target: np.ndarray) -> Iterator[np.ndarray]:
    """Runs the search with a progress line; yields at most `_FRAMES` of its images, each beside the target."""
    from gantrol.cli.progress import progress_bar

    with progress_bar(what) as update:
        for step in search.run():
            if _is_shown(step):
                yield _beside(target, _pixels(step.image))
            update(step.done, step.total)


def _is_shown(step: Step) -> bool:
    """Whether a step is among the `_FRAMES` evenly spaced ones."""
    shown = min(_FRAMES, step.total)
    return step.done * shown // step.total > (step.done - 1) * shown // step.total


def _pixels(image: Any) -> np.ndarray:
    """A float image [1, C, H, W] as uint8 [H, W, C]."""
    from gantrol.pictures import to_arrays

    return to_arrays(image)[0]


def _beside(target: np.ndarray, image: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.concatenate([target, image], axis=1)


def _report(projection: Any, options: Project) -> dict[str, Any]:
    """What was done and how well, as it goes into the JSON."""
    import gantrol
    from gantrol.project import LOSSES

    last = projection.losses[-1].tolist()
    return {
        "model": options.model,
        "image": str(options.image),
        "gantrol_version": gantrol.__version__,
        "space": options.space,
        "steps": options.steps,
        "tuning_steps": options.tune,
        "seed": options.seed,
        "class_index": options.class_index,
        "features": projection.features,
        "psnr": {"start": projection.psnr_start, "projected": projection.psnr, "tuned": None},
        "psnr_unit": "dB",
        "translate": list(projection.translate),
        "translate_unit": "image widths",
        "rotate": projection.rotate_deg,
        "rotate_unit": "degrees",
        "losses": dict(zip(LOSSES, last, strict=True)),
        "losses_by_step": {name: column.tolist() for name, column in zip(LOSSES, projection.losses.T, strict=True)},
    }
