"""What a generator's images look like to the predictors: pairs of w and readings, many thousands (GAN-Control, 3.3).

They are drawn chunk by chunk into a folder. A chunk is a file that is whole or absent, so that a sampling that was
stopped goes on where it was; `manifest.json` says what the chunks were made with, and refuses to mix. Reading maps the
files instead of loading them.

N samples · D features of z and w · K numbers of a reading · C channels · H W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantrol import checkpoint
from gantrol.atomic import write_json
from gantrol.control.predictors.protocol import PredictorSet
from gantrol.errors import CheckpointError, ConfigError, DataError

MANIFEST = "manifest.json"
CHUNK = 1000
"""Samples per file: what is lost at most when a sampling is stopped."""
MIN_SAMPLES = 100
_FORMAT = "gantrol-attribute-samples"
_MEANING = {
    "generator_sha256": "another model",
    "predictors_sha256": "other predictors",
    "attributes": "other attributes",
    "seed": "another seed",
    "chunk": "another size of chunks",
}


class AttributeSamples:
    """Samples in a folder: readings in memory, w in mapped files. The first 90 % are for training, the rest held out.

    Args:
        folder: as `sample_attributes` left it.
        count: N: use only the first so many; None is all.

    Raises:
        DataError: there are not so many, or the folder holds something else.
        CheckpointError: a file is damaged.
    """

    def __init__(self, folder: str | Path, count: int | None = None) -> None:
        self.folder = Path(folder)
        self.manifest = _read_manifest(self.folder)
        self._size: int = self.manifest["chunk"]
        self._chunks: list[Tensor] = []
        readings: dict[str, list[Tensor]] = {name: [] for name in self.manifest["attributes"]}
        found = 0
        while (count is None or found < count) and (path := _chunk_path(self.folder, len(self._chunks))).is_file():
            tensors, _ = checkpoint.load(path)
            self._chunks.append(tensors["w"])
            for name, parts in readings.items():
                parts.append(tensors[f"reading.{name}"].clone())
            found += len(tensors["w"])
            if len(tensors["w"]) < self._size:
                break
        self.count = found if count is None else count
        if found < max(self.count, MIN_SAMPLES):
            raise DataError(
                f"{self.folder} holds {found} samples, {max(self.count, MIN_SAMPLES)} are needed: sample more"
            )
        self.readings = {name: torch.cat(parts)[: self.count] for name, parts in readings.items()}
        """float32 [N, K] by attribute."""

    def __len__(self) -> int:
        return self.count

    @property
    def train_count(self) -> int:
        """How many are for training: rows from 0 on; those from here on are held out."""
        return self.count * 9 // 10

    def w(self, rows: Tensor) -> Tensor:
        """w [n, D] of rows int64 [n]."""
        found = torch.empty(len(rows), self._chunks[0].shape[1])
        chunk = rows // self._size
        for index in chunk.unique().tolist():
            is_here = chunk == index
            found[is_here] = self._chunks[index][rows[is_here] % self._size]
        return found


def sample_attributes(
    generator: Any,
    predictors: PredictorSet,
    folder: str | Path,
    attributes: Iterable[str],
    count: int,
    *,
    seed: int = 0,
    batch_size: int = 64,
    chunk: int = CHUNK,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int, int], None] | None = None,
) -> AttributeSamples:
    """Draws images without truncation, reads them, and keeps w and readings; goes on where it was stopped.

    Args:
        generator: in evaluation mode (`gantrol.models.protocols.Generator`), without classes.
        predictors: on the same device.
        folder: where the samples go; made if absent.
        attributes: what is read; each must have readings.
        count: N.
        seed: chunk i draws its z from a random stream of (seed, i).
        batch_size: images at a time.
        chunk: samples per file.
        dtype: type of the generator's widest layers.
        progress: called with (done, total) samples.

    Raises:
        ConfigError: fewer than 100 samples, a generator with classes, or an attribute that cannot be read.
        DataError: the folder holds samples that were made with something else, or cannot be written.
    """
    folder, names = Path(folder), list(attributes)
    if count < MIN_SAMPLES or batch_size < 1 or chunk < 1:
        raise ConfigError(f"{count} samples in batches of {batch_size}: expected {MIN_SAMPLES} or more, and 1 or more")
    if generator.c_dim:
        raise ConfigError("a conditional generator cannot be sampled for control: it must have no classes")
    predictors.require(names)
    manifest = {
        "format": _FORMAT,
        "format_version": 1,
        "generator_sha256": checkpoint.sha256_of(generator.state_dict()),
        "predictors_sha256": checkpoint.sha256_of(predictors.state_dict()),
        "attributes": names,
        "seed": seed,
        "chunk": chunk,
    }
    _claim(folder, manifest)
    for left in folder.glob(f".{_chunk_path(folder, 0).stem[:5]}*.tmp"):  # of a killed process
        left.unlink(missing_ok=True)
    device = next(generator.parameters()).device
    for index, start in enumerate(range(0, count, chunk)):
        wanted = min(chunk, count - start)
        path = _chunk_path(folder, index)
        if not _is_whole(path, wanted):
            random = torch.Generator().manual_seed(stream(seed, index))
            z = torch.randn(chunk, generator.z_dim, generator=random)[:wanted].to(device)
            parts: list[dict[str, Tensor]] = []
            for rows in z.split(batch_size):
                parts.append(_sample(generator, predictors, names, rows, dtype))
                if progress is not None:
                    progress(start + sum(len(part["w"]) for part in parts), count)
            tensors = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
            checkpoint.save(path, tensors, {"seed": seed, "chunk": index})
        if progress is not None:
            progress(start + wanted, count)
    return AttributeSamples(folder, count)


def read_images(predictors: PredictorSet, names: Sequence[str], images: Tensor) -> dict[str, Tensor]:
    """Readings [N, K] by attribute of images [N, C, H, W] in [-1, 1]; differentiable."""
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    features = predictors.features(images, names)
    return {name: predictors.read(name, features[name]).float() for name in names}


def stream(*numbers: int) -> int:
    """The seed of a random stream of its own for each tuple of numbers, 0 or more."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _sample(
    generator: Any, predictors: PredictorSet, names: Sequence[str], z: Tensor, dtype: torch.dtype
) -> dict[str, Tensor]:
    with torch.no_grad():
        ws = generator.mapping(z)  # [n, L, D]
        images = generator.synthesis(ws, noise_mode="const", dtype=dtype).clamp(-1, 1)
        readings = read_images(predictors, names, images)
    found = {"w": ws[:, 0].float()} | {f"reading.{name}": reading for name, reading in readings.items()}
    for name, reading in readings.items():
        if not bool(reading.isfinite().all()):
            raise DataError(f"the readings of {name!r} are not finite numbers: check that predictor")
    return found


def _chunk_path(folder: Path, index: int) -> Path:
    return folder / f"chunk-{index:05d}.safetensors"


def _is_whole(path: Path, wanted: int) -> bool:
    """Whether the file holds at least so many samples, undamaged."""
    try:
        return len(checkpoint.load(path, prefixes=["w"])[0]["w"]) >= wanted
    except (CheckpointError, KeyError):
        return False


def _claim(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes the manifest, or compares it with the one that is there."""
    if not (folder / MANIFEST).is_file():
        if folder.is_dir() and next(folder.glob("chunk-*"), None) is not None:
            raise DataError(f"{folder} holds samples without {MANIFEST}: choose another folder")
        write_json(folder / MANIFEST, manifest, DataError)
        return
    found = _read_manifest(folder)
    for name, what in _MEANING.items():
        if found.get(name) != manifest[name]:
            raise DataError(f"{folder} holds samples made with {what}: choose another work folder, or delete this one")


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{folder} holds no samples: there is no {MANIFEST}") from error
    except ValueError as error:
        raise DataError(f"{folder / MANIFEST} cannot be read as JSON: delete the folder and sample again") from error
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise DataError(f"{folder / MANIFEST} is not of attribute samples: choose another folder")
    return found
