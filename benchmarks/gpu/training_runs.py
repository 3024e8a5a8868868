"""Trainings on a machine that is lent for minutes: they stop in time, are carried away in small files, and go on.

A run is trained by `gantrol.train.loop.train`, on one device and without Fabric. When the time is up, what it needs to
go on, its config, log and newest checkpoint, is written to a folder as pieces of a size that may leave the machine; the
next call is given that folder and continues where this one stopped.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from benchmarks.data import write_noise
from benchmarks.gpu.measuring import Rows
from gantrol import checkpoint
from gantrol.errors import CheckpointError, DataError
from gantrol.metrics import evaluate
from gantrol.train.config import TrainConfig
from gantrol.train.loop import train
from gantrol.train.run import CONFIG, create_run, has_checkpoint, read_config
from gantrol.train.state import CHECKPOINTS

PIECE_BYTES = 15 * 2**20
"""At most 8 files of 16 MiB leave a lent machine."""
MOST_PIECES = 6

_LIST, _LOG, _CHECKPOINT = "carried.json", "log.jsonl", "checkpoint"
_BESIDE = (_LOG, "data.json")


class OneDevice:
    """What a training asks of Fabric, for a single process."""

    world_size = 1
    global_rank = 0
    is_global_zero = True

    def __init__(self, device: str) -> None:
        self.device = torch.device(device, 0) if device == "cuda" else torch.device(device)

    def barrier(self) -> None:
        """There is nobody to wait for."""

    def broadcast(self, value: Any) -> Any:
        return value


class Lines:
    """A line per tick, on standard error."""

    def step(self, n_img: int, total_img: int, img_per_s: float) -> None:
        """Nothing."""

    def tick(self, tick: Mapping[str, Any]) -> None:
        self.message(f"kimg {tick['kimg']:.2f} · {tick['img_per_s']:.1f} img/s")

    def message(self, text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)


def advance(folder: Path, config: TrainConfig, device: str, minutes: float) -> bool:
    """Begins or continues a run for so many minutes; whether it has reached its end.

    Args:
        folder: of the run.
        config: of a new run; one that has begun keeps its own, but for the length.
        device: cuda or cpu.
        minutes: of training.
    """
    if has_checkpoint(folder):
        config = replace(read_config(folder)[0], kimg=config.kimg, data=config.data)
    elif not (folder / CONFIG).exists():
        create_run(folder, config, shlex.join(["python", *sys.argv]))
    if n_img(folder) < config.kimg * 1000 and minutes > 0:
        train(config, folder, cast(Any, OneDevice(device)), Lines(), is_resumed=True, max_minutes=minutes)
    return n_img(folder) >= config.kimg * 1000


def n_img(folder: Path) -> int:
    """Images that a run has seen, by its newest checkpoint."""
    if not has_checkpoint(folder):
        return 0
    _, metadata = checkpoint.load(checkpoint.newest_valid(folder / CHECKPOINTS).path)
    return int(metadata["n_img"])


# ---------------------------------------------------------------------------------------------------------------------
# Carrying a run


def carry_out(run: Path, place: Path) -> bool:
    """Writes what `run` needs to go on to the folder `place`, as pieces; False if it is too large for that."""
    newest = checkpoint.newest_valid(run / CHECKPOINTS).path
    count = -(-newest.stat().st_size // PIECE_BYTES)
    if count > MOST_PIECES:
        print(f"{newest}: {count} pieces are too many to be carried: this run cannot go on elsewhere", file=sys.stderr)
        return False
    place.mkdir(parents=True, exist_ok=True)
    for old in place.glob(f"{_CHECKPOINT}.*"):
        old.unlink()
    digest = hashlib.sha256()
    with newest.open("rb") as file:
        for number in range(count):
            piece = file.read(PIECE_BYTES)
            digest.update(piece)
            (place / f"{_CHECKPOINT}.{number}").write_bytes(piece)
    record = {
        "run": run.name,
        "checkpoint": newest.name,
        "pieces": count,
        "sha256": digest.hexdigest(),
        CONFIG: (run / CONFIG).read_text(),
        **{name: (run / name).read_text() for name in _BESIDE if (run / name).exists()},
    }
    (place / _LIST).write_text(json.dumps(record))
    return True


def carry_in(place: Path, runs: Path) -> str | None:
    """Puts the run that was carried to `place` back under the folder `runs`; its name, or None if there is none.

    Raises:
        CheckpointError: pieces are missing or damaged.
    """
    if not (place / _LIST).exists():
        return None
    record = json.loads((place / _LIST).read_text())
    name = str(record["run"])
    run = runs / Path(name).name
    if has_checkpoint(run):
        return name
    try:
        whole = b"".join((place / f"{_CHECKPOINT}.{number}").read_bytes() for number in range(record["pieces"]))
    except OSError as error:
        raise CheckpointError(f"{place}: a piece is missing: {error}; carry all files of that folder") from error
    if hashlib.sha256(whole).hexdigest() != record["sha256"]:
        raise CheckpointError(f"{place}: the pieces are damaged; carry them again")
    (run / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    (run / "samples").mkdir(exist_ok=True)
    (run / CHECKPOINTS / Path(record["checkpoint"]).name).write_bytes(whole)
    for beside in (CONFIG, *_BESIDE):
        if beside in record:
            (run / beside).write_text(record[beside])
    return name


# ---------------------------------------------------------------------------------------------------------------------
# Tables of trainings


def dataset_of(data: Path | None, *, is_smoke: bool, size_px: int = 32) -> Path:
    """The dataset to train on; noise where only the job itself is tried.

    Raises:
        DataError: none was given.
    """
    if data is not None:
        return data.resolve()
    if not is_smoke:
        raise DataError("--data is missing: a dataset from `gantrol data faces` or `gantrol data import`")
    return write_noise(Path(tempfile.mkdtemp()) / "noise.zip", count=64, size_px=size_px)


def train_rows(
    rows: Rows,
    configs: Mapping[str, TrainConfig],
    metrics: Mapping[str, tuple[str, ...]],
    *,
    runs: Path,
    place: Path,
    device: str,
    samples: int,
) -> None:
    """Trains what has no row yet, one after the other, and scores what has come to its end.

    Args:
        rows: get a row for each training that is done.
        configs: of the trainings, by name.
        metrics: of each, as `gantrol.metrics.evaluate` takes them.
        runs: folder of the run folders.
        place: where the run that could not be finished is carried, and may have been carried from.
        device: cuda or cpu.
        samples: generated images a score is computed from.
    """
    carry_in(place, runs)
    for name, config in configs.items():
        folder = runs / folder_name(name)
        if name in rows.rows or rows.minutes_left() <= 0:
            continue
        began = time.monotonic()
        try:
            is_done = advance(folder, config, device, rows.minutes_left())
            if not is_done:
                if has_checkpoint(folder):
                    carry_out(folder, place)
                return
            scores: dict[str, Any] = {}
            for metric in metrics[name]:
                scores |= evaluate(folder, data=config.data, metrics=[metric], samples=samples, seed=0, device=device)
        except (RuntimeError, AssertionError) as error:
            rows.add(name, {"error": f"{type(error).__name__}: {(str(error).strip() or 'no words').splitlines()[0]}"})
            continue
        rows.add(name, {**described(folder), **scores, "minutes": round((time.monotonic() - began) / 60, 2)})


def folder_name(name: str) -> str:
    """The run folder of a training."""
    return name.replace(",", "").replace(" ", "-").lower()


def described(folder: Path) -> dict[str, Any]:
    """What the log of a finished run says: images, speed, memory, losses over time."""
    ticks = [json.loads(line) for line in (folder / _LOG).read_text().splitlines()]
    speeds = sorted(tick["img_per_s"] for tick in ticks)
    row: dict[str, Any] = {
        "kimg": ticks[-1]["kimg"],
        "img_per_s": speeds[len(speeds) // 2],
        "log": [{key: tick[key] for key in ("kimg", "loss/g", "loss/d") if key in tick} for tick in ticks],
    }
    if "cuda_memory_gib" in ticks[-1]:
        row["peak_gib"] = max(tick["cuda_memory_gib"] for tick in ticks)
    return row
