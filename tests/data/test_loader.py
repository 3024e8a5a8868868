"""Batches: the same whatever the number of workers, and after a restart."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from gantrol.data import Batch, DatasetWriter, ImageDataset, ShuffledSampler, batches
from gantrol.errors import DataError


@pytest.fixture
def dataset(tmp_path: Path) -> ImageDataset:
    """Ten labelled images and their flipped copies."""
    rng = np.random.default_rng(0)
    with DatasetWriter(tmp_path / "a.zip") as writer:
        for index in range(10):
            writer.add(rng.integers(0, 256, [8, 8, 3], dtype=np.uint8), label=index)
    return ImageDataset(tmp_path / "a.zip", use_labels=True, x_flip=True)


def take(dataset: ImageDataset, count: int, **options: Any) -> list[Batch]:
    stream = batches(dataset, **{"batch_size": 4, "seed": 5, **options})
    return list(itertools.islice(stream, count))


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
    assert [batch.indices for batch in found] == [batch.indices for batch in expected]
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)


@pytest.mark.parametrize("cache", ["auto", "on", "off"])
def test_batches_hold_what_the_dataset_says(dataset: ImageDataset, cache: Literal["auto", "on", "off"]) -> None:
    found = take(dataset, 12, cache=cache)  # more than two epochs: later ones come from the cache
    sampler = ShuffledSampler(20, seed=5)
    for step, batch in enumerate(found):
        assert list(batch.indices) == sampler.indices(4 * step, 4)
        assert (batch.images.dtype, batch.labels.dtype) == (torch.uint8, torch.float32)
        assert batch.images.is_contiguous()
        for row, index in enumerate(batch.indices):
            image, label = dataset[index]
            assert torch.equal(batch.images[row], image)
            assert torch.equal(batch.labels[row], label)


@pytest.mark.parametrize("cache", ["on", "off"])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_resumed_equals_uninterrupted(dataset: ImageDataset, workers: int, cache: Literal["on", "off"]) -> None:
    whole = take(dataset, 15)
    parts = take(dataset, 7, workers=workers, cache=cache)
    parts += take(dataset, 8, workers=workers, cache=cache, start_img=7 * 4)
    assert_same(parts, whole)


def test_ranks_share_the_steps_of_one_process(dataset: ImageDataset) -> None:
    whole = take(dataset, 5, batch_size=6)
    shares = [take(dataset, 5, batch_size=3, rank=rank, world_size=2) for rank in range(2)]
    for step in range(5):
        assert torch.equal(torch.cat([share[step].images for share in shares]), whole[step].images)


def test_unlabelled_batches_have_labels_of_length_zero(tmp_path: Path, dataset: ImageDataset) -> None:
    assert take(ImageDataset(dataset.path), 1)[0].labels.shape == (4, 0)


def test_batches_belong_to_the_caller(dataset: ImageDataset) -> None:
    """Writing into a batch does not reach the cache."""
    stream = batches(dataset, batch_size=20, seed=0)
    for _ in range(3):
        batch = next(stream)
        assert torch.equal(batch.images[0], dataset[batch.indices[0]][0])
        batch.images.zero_()


def test_a_damaged_image_stops_the_stream_with_one_line(tmp_path: Path, dataset: ImageDataset) -> None:
    with zipfile.ZipFile(dataset.path) as source, zipfile.ZipFile(tmp_path / "bad.zip", "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data[:80] if name.endswith("7.png") else data)
    for workers in (0, 2):
        with pytest.raises(DataError, match=r"img00000007.png: damaged") as caught:
            take(ImageDataset(tmp_path / "bad.zip"), 3, workers=workers)
        assert "\n" not in str(caught.value)
    assert len(take(ImageDataset(tmp_path / "bad.zip", skip_bad=True), 3)) == 3


def test_no_thread_is_left_when_the_stream_is_closed(dataset: ImageDataset) -> None:
    def loader_threads() -> int:
        return sum("gantrol-loader" in thread.name for thread in threading.enumerate())

    stream = batches(dataset, batch_size=4, workers=2)
    assert loader_threads() == 0  # nothing starts before the first batch is asked for
    next(stream)
    assert loader_threads() > 0
    stream.close()
    assert loader_threads() == 0


def test_the_global_random_state_is_left_alone(dataset: ImageDataset) -> None:
    """Or a resumed training, which starts the loader again, would differ."""
    before = torch.get_rng_state()
    take(dataset, 3, workers=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_impossible_arguments(dataset: ImageDataset) -> None:
    with pytest.raises(ValueError, match="batch_size 0"):
        batches(dataset, batch_size=0)
    with pytest.raises(ValueError, match="rank 1 of 1"):
        batches(dataset, batch_size=1, rank=1)


@pytest.fixture
def folder(tmp_path: Path, dataset: ImageDataset) -> Path:
    """The ten images as files."""
    with zipfile.ZipFile(dataset.path) as archive:
        archive.extractall(tmp_path / "folder")
    (tmp_path / "folder" / "dataset.json").unlink()
    return tmp_path / "folder"


EDITS: dict[str, Callable[[Path], object]] = {
    "overwritten": lambda path: path.write_bytes(path.read_bytes()),
    "shortened": lambda path: os.truncate(path, 50),
    "removed": lambda path: path.unlink(),
    "replaced": lambda path: os.replace(shutil.copyfile(path, path.with_name("other")), path),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("cache", ["on", "off"])
@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_a_dataset_that_is_edited_meanwhile_is_named(
    dataset: ImageDataset, folder: Path, kind: str, cache: Literal["on", "off"], edit: str
) -> None:
    path = dataset.path if kind == "zip" else folder
    edited = path if kind == "zip" else folder / "00000" / "img00000004.png"
    opened = ImageDataset(path)
    before = opened.fingerprint()
    old, times = edited.read_bytes(), edited.stat()
    stream = batches(opened, batch_size=10, cache=cache, prefetch=0)
    next(stream)
    time.sleep(0.02)  # longer than the clock of a file system
    EDITS[edit](edited)
    with pytest.raises(DataError, match=rf"{edited.name}: (has changed since|cannot be read)") as caught:
        list(itertools.islice(stream, 3))
    assert "\n" not in str(caught.value)
    edited.write_bytes(old)
    os.utime(edited, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert ImageDataset(path).fingerprint() == before
    assert len(take(ImageDataset(path), 3)) == 3


def test_the_fingerprint_tells_datasets_apart(tmp_path: Path, dataset: ImageDataset) -> None:
    copy = Path(shutil.copyfile(dataset.path, tmp_path / "copy.zip"))
    assert ImageDataset(copy).fingerprint() == dataset.fingerprint()
    with DatasetWriter(copy, overwrite=True) as writer:
        for index in range(10):
            writer.add(np.full([8, 8, 3], index, dtype=np.uint8), label=index)
    assert ImageDataset(copy).fingerprint() != dataset.fingerprint()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA machine")
def test_batches_on_the_gpu_equal_those_on_the_cpu(dataset: ImageDataset) -> None:
    found = take(dataset, 6, device="cuda", workers=2)
    assert found[0].images.is_cuda
    for a, b in zip(found, take(dataset, 6), strict=True):
        assert torch.equal(a.images.cpu(), b.images)
        assert torch.equal(a.labels.cpu(), b.labels)
