"""Pictures by the million: WebDataset shards of one range of seeds, shared by processes, continued after a break.

    faces/bulk.json         what is made: model, seeds, settings, images per shard
    faces/00000.tar         the first shard; beside each picture its seed, and its class where there are any
    faces/00000.json        what a finished shard holds, with the SHA-256 of the tar
    …
    faces/index.json        written last: the folder is a dataset that `ImageDataset` and `webdataset` read

Shard k has the seeds at positions k·S to (k + 1)·S − 1, so everything about it follows from its number, and so do its
bytes: batches begin anew in each shard. A shard that is there with the SHA-256 that its record says is finished. Any
other is made again from its first picture. Seeds are never listed; memory holds two batches, whatever the number.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gantrol import __version__
from gantrol.atomic import write_json
from gantrol.checkpoint import sha256_of
from gantrol.data import images
from gantrol.data.shards import INDEX_FORMAT, INDEX_NAME
from gantrol.data.webdataset import TarWriter
from gantrol.data.writer import Taken
from gantrol.errors import ConfigError, DataError
from gantrol.metrics.processes import Processes
from gantrol.model import Model
from gantrol.sample import MAX_SEED, Look

PLAN = "bulk.json"
PLAN_FORMAT = "gantrol bulk"
SHARD_IMAGES = 10_000
"""Pictures of a shard, by default."""

_KEPT = ("model_sha256", "seeds", "shard_images", "image_format", "batch_size", "settings")
"""What decides about the bytes."""


class SeedRanges(Sequence[int]):
    """The seeds of `0,1,4-6` without listing them: an item or a slice costs no more than itself.

    Args:
        text: numbers and ranges.

    Raises:
        ConfigError: the text is no list of numbers and ranges, or a seed is beyond 2³² − 1.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._ranges: list[range] = []
        for part in text.split(","):
            match = re.fullmatch(r"\s*(\d{1,12})\s*(?:-\s*(\d{1,12})\s*)?", part)
            if match is None:
                raise ConfigError(f"seeds {text!r}: expected numbers and ranges, for example 0,1,4-6")
            first, last = int(match[1]), int(match[2] or match[1])
            if not first <= last <= MAX_SEED:
                raise ConfigError(f"seeds {text!r}: {part.strip()!r} must go up and stay below 2^32")
            self._ranges.append(range(first, last + 1))
        self._ends = list(accumulate(map(len, self._ranges)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        index = place + len(self) if place < 0 else place
        if not 0 <= index < len(self):
            raise IndexError(place)
        which = bisect.bisect_right(self._ends, index)
        found = self._ranges[which]
        return found[index - self._ends[which] + len(found)]


@dataclass(frozen=True, kw_only=True)
class BulkConfig:
    """What is made, beside the model and the seeds."""

    look: Look = field(default_factory=Look)
    """Controls, truncation, class and noise; without a class, a conditional model draws class (seed mod classes)."""
    translate: tuple[float, float] = (0.0, 0.0)
    """(x, y) in image widths; alias-free models only."""
    rotate: float = 0.0
    """Degrees, counter-clockwise; alias-free models only."""
    shard_images: int = SHARD_IMAGES
    """Pictures of a shard."""
    image_format: Literal["png", "webp"] = "png"
    """Of the pictures; PNG is not compressed, WebP is, without loss."""

    def __post_init__(self) -> None:
        if self.shard_images < 1:
            raise ConfigError(f"{self.shard_images} pictures per shard: expected at least 1")


@dataclass(frozen=True, kw_only=True)
class BulkReport:
    """What a call of `generate_shards` did; of all processes together."""

    images: int
    """Pictures in the folder."""
    shards: int
    """Shards in the folder."""
    made: int
    """Pictures made by this call; the others were there."""
    seconds: float
    """From the first picture to the last."""
    processes: int
    """That shared the work."""

    @property
    def images_per_s(self) -> float:
        """Pictures made in a second."""
        return self.made / max(self.seconds, 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "seconds": round(self.seconds, 3), "images_per_s": round(self.images_per_s, 2)}


def generate_shards(
    model: Model,
    seeds: SeedRanges,
    out: str | os.PathLike[str],
    config: BulkConfig | None = None,
    *,
    processes: Processes | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BulkReport:
    """Writes one picture per seed into shards; called again, it makes what is missing.

    Args:
        model: what draws; each process has its own, on its device.
        seeds: of the pictures.
        out: the folder.
        config: how they are made.
        processes: those that share the shards; all have to make this call.
        progress: called with (done, total) pictures of this process.

    Raises:
        ConfigError: a setting that this model does not have.
        DataError: the folder holds something else, or cannot be written.
    """
    folder, config = Path(out), config or BulkConfig()
    processes = processes or Processes()
    plan = _plan(model, seeds, config)
    processes.on_first(lambda: _begin(folder, plan))
    count = -(-len(seeds) // config.shard_images)
    mine = range(processes.rank, count, processes.count)
    found = processes.gather(lambda: [number for number in mine if _record(folder, number, plan) is None])
    missing = processes.on_first(lambda: sorted(number for numbers in found for number in numbers))
    began = time.perf_counter()

    def work() -> int:
        own = missing[processes.rank :: processes.count]
        spans = [_span(seeds, config, number) for number in own]
        total, done = sum(map(len, spans)), 0
        with ThreadPoolExecutor(1, thread_name_prefix="gantrol-bulk") as pool:
            for number, span in zip(own, spans, strict=True):
                for made in _write_shard(model, seeds, span, folder, number, config, plan, pool):
                    done += made
                    if progress is not None:
                        progress(done, total)
        return done

    made = sum(processes.gather(work))
    seconds = time.perf_counter() - began
    processes.on_first(lambda: _finish(folder, count, plan))
    made = processes.on_first(lambda: made)
    return BulkReport(images=len(seeds), shards=count, made=made, seconds=seconds, processes=processes.count)


def _plan(model: Model, seeds: SeedRanges, config: BulkConfig) -> dict[str, Any]:
    """What bulk.json says."""
    look = config.look
    settings = {
        **{name: value for name, value in asdict(look).items() if name not in ("batch_size", "controls")},
        "controls": {name: str(value) for name, value in look.controls.items()},
        "translate": list(config.translate),
        "rotate": config.rotate,
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    weights = dict(model.generator.state_dict())
    if model.control_set is not None and look.controls:
        weights |= {f"controls.{name}": value for name, value in model.control_set.state_dict().items()}
    return {
        "format": PLAN_FORMAT,
        "gantrol_version": __version__,
        "model_sha256": sha256_of(weights),
        "seeds": seeds.text.replace(" ", ""),
        "images": len(seeds),
        "shard_images": config.shard_images,
        "image_format": config.image_format,
        "batch_size": look.batch_size,
        "settings": settings,
    }


def _key(plan: Mapping[str, Any]) -> str:
    """A digest of what decides about the bytes."""
    text = json.dumps({name: plan[name] for name in _KEPT}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _begin(folder: Path, plan: dict[str, Any]) -> None:
    """bulk.json, or the check that the one that is there is about the same pictures."""
    path = folder / PLAN
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise DataError(f"{folder}: is not empty, and no `gantrol generate` began there: choose another folder")
        write_json(path, plan, DataError)
        return
    try:
        found = json.loads(path.read_bytes())
        differs = [name for name in _KEPT if found[name] != json.loads(json.dumps(plan[name]))]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{path}: cannot be read; choose another folder") from error
    if differs:
        raise DataError(
            f"{folder}: holds pictures with another {differs[0]}: repeat that command to continue, or choose another "
            "folder"
        )


def _span(seeds: SeedRanges, config: BulkConfig, number: int) -> range:
    """The positions of a shard's seeds."""
    first = number * config.shard_images
    return range(first, min(first + config.shard_images, len(seeds)))


def _shard(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.tar"


def _record(folder: Path, number: int, plan: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the record of a finished shard says; None unless the shard is there, byte for byte."""
    path = _shard(folder, number)
    try:
        record: dict[str, Any] = json.loads(path.with_suffix(".json").read_bytes())
        is_same = record["key"] == _key(plan) and record["bytes"] == path.stat().st_size
        return record if is_same and record["sha256"] == _sha256(path) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_shard(
    model: Model,
    seeds: SeedRanges,
    span: range,
    folder: Path,
    number: int,
    config: BulkConfig,
    plan: Mapping[str, Any],
    pool: ThreadPoolExecutor,
) -> Iterator[int]:
    """Makes a shard, and yields the size of each batch; the tar has its name only when it is whole."""
    path, size = _shard(folder, number), config.look.batch_size
    path.with_suffix(".json").unlink(missing_ok=True)
    writer = TarWriter(path, first_index=span.start, resume_token="bulk", resume_limit=0)
    with writer:
        waiting: deque[Future[list[Taken]]] = deque()  # one batch is encoded while the next is drawn
        for start in range(span.start, span.stop, size):
            some = seeds[start : min(start + size, span.stop)]
            pictures, classes = _draw(model, some, config)
            waiting.append(pool.submit(partial(_encode, pictures, some, classes, config)))
            yield len(some)
            while len(waiting) > 1:
                _put(writer, waiting.popleft().result())
        while waiting:
            _put(writer, waiting.popleft().result())
    record = {"key": _key(plan), "images": len(span), "bytes": path.stat().st_size, "sha256": _sha256(path)}
    seeds_of = {"first_seed": seeds[span.start], "last_seed": seeds[span.stop - 1]}
    write_json(path.with_suffix(".json"), record | seeds_of, DataError)


def _draw(model: Model, seeds: list[int], config: BulkConfig) -> tuple[np.ndarray, list[int] | None]:
    """Pictures uint8 [N, H, W, C], and their classes."""
    look, classes = config.look, model.generator.c_dim
    chosen = [look.class_index] * len(seeds) if look.class_index is not None else None
    if chosen is None and classes > 0:
        chosen = [seed % classes for seed in seeds]
    options = {**look.of_map, "class_index": chosen}
    pictures = model.generate(
        seeds,
        output="np",
        noise_mode=look.noise_mode,
        batch_size=look.batch_size,
        translate=config.translate,
        rotate=config.rotate,
        **options,
    )
    return pictures, chosen


def _encode(pictures: np.ndarray, seeds: list[int], classes: list[int] | None, config: BulkConfig) -> list[Taken]:
    """What is written of each picture."""
    numbers = {name: value for name, value in config.look.controls.items() if _is_plain(value)}
    found = []
    for place, (picture, seed) in enumerate(zip(pictures, seeds, strict=True)):
        data = images.encode(picture, config.image_format)
        header = images.probe(data, f"seed {seed}")
        label = None if classes is None else classes[place]
        found.append(Taken(header, data, label, {"seed": seed, **numbers}, None))
    return found


def _is_plain(value: Any) -> bool:
    """Whether a control's value can be said in a json: a number, numbers or a name."""
    parts = value if isinstance(value, tuple | list) else [value]
    return all(isinstance(part, int | float | str) for part in parts)


def _put(writer: TarWriter, taken: list[Taken]) -> None:
    for each in taken:
        writer.put(each)


def _finish(folder: Path, count: int, plan: Mapping[str, Any]) -> None:
    """index.json, by which the folder is a dataset."""
    shards = []
    for number in range(count):
        path = _shard(folder, number)
        try:
            record = json.loads(path.with_suffix(".json").read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: was finished and has gone: run the same command again") from error
        shards.append({"file": path.name, **{name: record[name] for name in ("images", "bytes", "sha256")}})
    meta = {name: plan[name] for name in ("gantrol_version", "model_sha256", "seeds", "settings")}
    index = {"format": INDEX_FORMAT, "layout": "webdataset", "images": plan["images"], "shards": shards, "meta": meta}
    write_json(folder / INDEX_NAME, index, DataError)
