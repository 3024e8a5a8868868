"""The folder that a training writes.

RUN/config.json              the resolved config, the command, versions
RUN/log.jsonl                one line per tick
RUN/metrics.jsonl            one line per evaluation; best.safetensors and best.json: the checkpoint that scored best
RUN/report.html              all of this on one page
RUN/init.json                of a run that began from another model: what was taken over
RUN/samples/                 reals.png, fakes_<images>.png; with control pairs_<images>.png
RUN/checkpoints/             the newest few states: each is a model, and training continues from the newest valid
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gantrol import __version__
from gantrol.atomic import write_json
from gantrol.config import from_dict, to_dict
from gantrol.data.dataset import ImageDataset
from gantrol.errors import CheckpointError, ConfigError, TrainingError
from gantrol.metrics.processes import Processes
from gantrol.models import ControllableGenerator
from gantrol.pictures import captioned_sheet, image_grid, save_image, to_arrays
from gantrol.train.config import TrainConfig
from gantrol.train.log import LOG, METRICS

try:
    import fcntl
except ImportError:  # Windows: two trainings in one folder are not noticed
    fcntl = None  # type: ignore[assignment]

CONFIG = "config.json"
SAMPLES = "samples"
GRID_COLUMNS = 8
GRID_ROWS = 6
PAIR_COLUMNS = 10


def check_is_new(folder: Path) -> None:
    """Raises ConfigError if the folder already holds a run."""
    if (folder / CONFIG).exists():
        raise ConfigError(f"{folder} already holds a run: continue it with --resume {folder}, or choose another --out")


def create_run(folder: Path, config: TrainConfig, command: str) -> None:
    """Makes the run folder with its config.

    Raises:
        ConfigError: the folder already holds a run.
        TrainingError: it cannot be written.
    """
    check_is_new(folder)
    try:
        (folder / SAMPLES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot create {folder}: {error.strerror or error}") from error
    write_config(folder, config, command)


def has_checkpoint(folder: Path) -> bool:
    """Whether there is something to continue from."""
    return any((folder / "checkpoints").glob("*.safetensors"))


def saved_images(folder: Path) -> int:
    """Real images that had been shown at the newest checkpoint, by its name; 0 if there is none."""
    names = [path.stem for path in (folder / "checkpoints").glob("*.safetensors")]
    return max((int(name) for name in names if name.isdecimal()), default=0)


def discard_run(folder: Path) -> None:
    """Takes a run away that failed before its first checkpoint; whatever else is in the folder stays."""
    if has_checkpoint(folder):
        return
    names = (CONFIG, "init.json", "data.json", LOG, METRICS)
    for path in (*(folder / name for name in names), *(folder / SAMPLES).glob("*.png")):
        path.unlink(missing_ok=True)
    for path in (folder / "tensorboard", folder / SAMPLES, folder / "checkpoints", folder):
        with suppress(OSError):  # not empty: something of the user's
            shutil.rmtree(path) if path.name == "tensorboard" else path.rmdir()


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keeps a second process from training in the folder at the same time; a killed process holds nothing.

    Raises:
        TrainingError: another process trains there.
    """
    if fcntl is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(f"{folder} is being trained by another process: wait for it, or stop it") from error
        except OSError:  # a disk without locks: then it is for the user to see to
            pass
        yield
    finally:
        os.close(handle)


def write_config(folder: Path, config: TrainConfig, command: str) -> None:
    """Writes RUN/config.json."""
    data = {
        "format": "gantrol-run",
        "format_version": 1,
        "gantrol_version": __version__,
        "torch_version": torch.__version__,
        "machine": platform.platform(),
        "command": command,
        **to_dict(config),
    }
    write_json(folder / CONFIG, data, TrainingError)


def read_config(folder: Path) -> tuple[TrainConfig, str]:
    """(config, command) of an existing run.

    Raises:
        CheckpointError: there is no run, or its config cannot be read.
    """
    path = folder / CONFIG
    try:
        data: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(f"{folder} holds no run: there is no {CONFIG} in it") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}; put it back or start a new run") from error
    if not isinstance(data, dict) or data.get("format") != "gantrol-run":
        raise CheckpointError(f"{path} does not describe a run")
    known = {field.name for field in fields(TrainConfig)}
    config = from_dict(TrainConfig, {name: value for name, value in data.items() if name in known})
    return config, str(data.get("command", ""))


def save_reals(folder: Path, dataset: ImageDataset) -> None:
    """A grid of real images, evenly spread over the dataset."""
    count = min(len(dataset), GRID_COLUMNS * GRID_ROWS)
    indices = np.linspace(0, len(dataset) - 1, count).astype(int)
    images = torch.stack([dataset[int(index)][0] for index in indices])
    save_image(folder / SAMPLES / "reals.png", image_grid(to_arrays(images), GRID_COLUMNS))


@torch.no_grad()
def save_fakes(
    folder: Path,
    g: torch.nn.Module,
    z: torch.Tensor,
    c: torch.Tensor | None,
    n_img: int,
    batch: int = 16,
    processes: Processes | None = None,
) -> Path:
    """A grid of samples of the averaged generator, always from the same latents z [M, z_dim] and labels c.

    Processes render their share of it each, and the first one writes.
    """
    device = next(g.parameters()).device
    config: Any = g.config
    processes = processes or Processes()

    def render() -> np.ndarray:
        images = [np.empty((0, config.resolution_px, config.resolution_px, config.channels), dtype=np.uint8)]
        mine = processes.share(len(z))
        for start in range(mine.start, mine.stop, batch):
            part = slice(start, min(start + batch, mine.stop))
            labels = c[part].to(device) if c is not None else None
            images.append(to_arrays(g(z[part].to(device), labels, noise_mode="const")))
        return np.concatenate(images)

    path = folder / SAMPLES / f"fakes_{n_img:09d}.png"
    found = processes.gather(render)
    return save_image(path, image_grid(np.concatenate(found), GRID_COLUMNS)) if found else path


@torch.no_grad()
def save_pairs(
    folder: Path, g: ControllableGenerator, z: torch.Tensor, n_img: int, processes: Processes | None = None
) -> Path:
    """A matrix of pairs: the images of row k share the sub-vector of latent group k and nothing else.

    Args:
        folder: of the run.
        g: a generator with latent groups.
        z: latents [M, z_dim]; row k takes its sub-vector from the first.
        n_img: images shown so far.
        processes: those that render some of the rows each; the first one writes.
    """
    device = next(g.parameters()).device

    def row(name: str, place: slice) -> tuple[str, np.ndarray]:
        shared = z[:PAIR_COLUMNS].clone()
        shared[:, place] = z[:1, place]
        return f"same {name}", to_arrays(g(shared.to(device), noise_mode="const"))

    processes = processes or Processes()
    strips = processes.deal([partial(row, name, place) for name, place in g.mapping.slices.items()])
    path = folder / SAMPLES / f"pairs_{n_img:09d}.png"
    return save_image(path, captioned_sheet(strips)) if processes.is_first else path


def samples_over_time(folder: Path, rows: int = 8) -> Image.Image:
    """A sheet of the same latents at up to `rows` moments of the training, the first row being the start.

    Raises:
        CheckpointError: the run has no samples yet.
    """
    paths = sorted((folder / SAMPLES).glob("fakes_*.png"))
    if not paths:
        raise CheckpointError(f"{folder} has no samples yet")
    moments = (
        sorted({round(i) for i in np.geomspace(1, len(paths), rows)}) if len(paths) > rows else range(1, len(paths) + 1)
    )
    strips = []
    for moment in moments:
        path = paths[moment - 1]
        with Image.open(path) as picture:
            grid = np.asarray(picture)
        grid = grid[..., None] if grid.ndim == 2 else grid
        side = grid.shape[1] // GRID_COLUMNS
        images = np.stack([grid[:side, i * side : (i + 1) * side] for i in range(GRID_COLUMNS)])
        strips.append((f"{int(path.stem.split('_')[1]) / 1000:g} kimg", images))
    return captioned_sheet(strips)
