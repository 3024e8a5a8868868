"""Datasets of several files: whole or absent, resumed to the same bytes, read as one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gantrol.data import DatasetWriter, ImageDataset
from gantrol.data.shards import Layout, ShardWriter, Writer, open_writer
from gantrol.data.sources import open_source
from gantrol.errors import DataError

COUNT = 11
OPTIONS: dict[str, Any] = {"schema": {"x": {"unit": "m", "low": 0, "high": 9}}, "meta": {"licence": "CC0"}}


def picture(index: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (8, 8, channels), dtype=np.uint8)


def write(path: Path, layout: Layout, count: int = COUNT, **options: Any) -> Path:
    with open_writer(path, layout=layout, shard_images=4, **OPTIONS, **options) as writer:
        for index in range(count):
            image = None if index < writer.recovered else picture(index)
            writer.add(image, label=index % 3, attributes={"x": index / 2})
    return path


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def same(a: ImageDataset, b: ImageDataset) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(a.pixels(i), b.pixels(i))
        and np.array_equal(a.label(i), b.label(i))
        and a.attributes(i) == b.attributes(i)
        for i in range(len(a))
    )


@pytest.mark.parametrize("layout", ["shards", "webdataset"])
def test_a_folder_of_shards_reads_as_the_single_zip(tmp_path: Path, layout: Layout) -> None:
    single = ImageDataset(write(tmp_path / "one.zip", "auto"), use_labels=True, x_flip=True)
    folder = write(tmp_path / "many", layout)
    ending = "zip" if layout == "shards" else "tar"
    assert sorted(path.name for path in folder.iterdir()) == [*(f"0000{i}.{ending}" for i in range(3)), "index.json"]
    many = ImageDataset(folder, use_labels=True, x_flip=True)
    assert same(single, many)
    assert (many.schema, many.meta, many.name) == (OPTIONS["schema"], OPTIONS["meta"], "many")
    assert many.describe()["kind"] == "shards"
    assert same(single, pickle.loads(pickle.dumps(many)))
    found = open_source(folder)
    assert (len(found.names), found.annotations.attributes) == (
        COUNT,
        open_source(tmp_path / "one.zip").annotations and ({name: {"x": i / 2} for i, name in enumerate(found.names)}),
    )


def test_zip_shards_keep_the_names_and_are_datasets_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "one.zip", "zip")
    folder = write(tmp_path / "many", "auto")
    assert ImageDataset(folder).names == ImageDataset(tmp_path / "one.zip").names
    last = ImageDataset(folder / "00002.zip", use_labels=True)
    assert (len(last), last.attributes(0), last.meta) == (3, {"x": 4.0}, OPTIONS["meta"])
    index = json.loads((folder / "index.json").read_text())
    assert (index["images"], [shard["images"] for shard in index["shards"]]) == (COUNT, [4, 4, 3])
    assert index["shards"][1]["sha256"] == digests(folder)["00001.zip"]


def test_shards_of_others_may_repeat_names(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for shard in range(2):
        with DatasetWriter(tmp_path / "many" / f"part{shard}.zip") as writer:
            writer.add(picture(shard), label=shard)
    dataset = ImageDataset(tmp_path / "many", use_labels=True)
    assert dataset.names[1] == "part1.zip/00000/img00000000.png"
    assert np.array_equal(dataset.pixels(1), picture(1).transpose(2, 0, 1))
    assert dataset.label(1).tolist() == [0, 1]


def interrupt(path: Path, layout: Layout, count: int, **options: Any) -> tuple[Writer, int]:
    """The writer of an attempt that was stopped after so many more images, and how many it had recovered."""
    writer = open_writer(path, layout=layout, shard_images=4, resume_token="t", **OPTIONS, **options)
    with contextlib.suppress(KeyboardInterrupt), writer:
        recovered = writer.recovered
        for index in range(count):
            writer.add(picture(index), label=index % 3, attributes={"x": index / 2})
        raise KeyboardInterrupt
    return writer, recovered


@pytest.mark.parametrize("layout", ["shards", "webdataset"])
@pytest.mark.parametrize("stop", [0, 2, 4, 6, 8, 11])
def test_an_interrupted_folder_goes_on_to_the_same_bytes(tmp_path: Path, layout: Layout, stop: int) -> None:
    whole = digests(write(tmp_path / "whole", layout))
    writer, _ = interrupt(tmp_path / "many", layout, stop)
    assert not (tmp_path / "many").exists()
    assert (writer.partial is not None and writer.partial.exists()) == (stop > 0)
    assert interrupt(tmp_path / "many", layout, 0)[1] == stop
    write(tmp_path / "many", layout, resume_token="t")
    assert digests(tmp_path / "many") == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many", "whole"]


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.data.test_shards import OPTIONS, open_writer, picture
with open_writer(sys.argv[1], layout=sys.argv[2], shard_images=4, resume_token="t", **OPTIONS) as writer:
    for index in range(6):
        writer.add(picture(index), label=index % 3, attributes={"x": index / 2})
    print("six", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("layout", ["shards", "webdataset"])
def test_killed_and_resumed(tmp_path: Path, layout: Layout) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "many"), layout, str(Path(__file__).parents[2])]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"six\n"
        with pytest.raises(DataError, match="another process is writing"):
            write(tmp_path / "many", layout, resume_token="t")
        os.kill(process.pid, signal.SIGKILL)
    assert interrupt(tmp_path / "many", layout, 0)[1] in (4, 5, 6)  # what was still in the process's memory is lost
    write(tmp_path / "many", layout, resume_token="t")
    assert digests(tmp_path / "many") == digests(write(tmp_path / "whole", layout))


@pytest.mark.parametrize("layout", ["shards", "webdataset"])
def test_a_shorter_dataset_takes_only_what_it_needs(tmp_path: Path, layout: Layout) -> None:
    interrupt(tmp_path / "many", layout, 9)
    for _ in range(2):
        assert interrupt(tmp_path / "many", layout, 0, resume_limit=6)[1] == 6
    assert interrupt(tmp_path / "many", layout, 0)[1] == 6


def add_all(path: Path, pictures: list[np.ndarray]) -> None:
    with open_writer(path, shard_images=4) as writer:
        for image in pictures:
            writer.add(image)


def test_without_a_token_nothing_is_left(tmp_path: Path) -> None:
    pictures = [picture(index) for index in range(9)]
    with pytest.raises(DataError, match=r"image 9: is 4×4 RGB, but the first is 8×8 RGB"):
        add_all(tmp_path / "many", [*pictures, picture(9)[:4, :4]])
    with pytest.raises(DataError, match="no image was added"):
        add_all(tmp_path / "many", [])
    assert list(tmp_path.iterdir()) == []


def test_labels_must_be_of_one_kind_across_shards(tmp_path: Path) -> None:
    with open_writer(tmp_path / "many", shard_images=2) as writer:
        for index in range(4):
            writer.add(picture(index), label=index)
        with pytest.raises(DataError, match="image 4: has no label, but the images before it have a class index"):
            writer.add(picture(4))
        with pytest.raises(DataError, match="either all images have attributes or none"):
            writer.add(picture(4), label=1, attributes={"x": 1})


def test_existing_targets(tmp_path: Path) -> None:
    folder = write(tmp_path / "many", "shards")
    with pytest.raises(DataError, match="exists already"):
        write(folder, "shards")
    write(folder, "webdataset", overwrite=True)
    assert len(ImageDataset(folder)) == COUNT
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "irreplaceable.png").touch()
    with pytest.raises(DataError, match="is no folder of shards, so it is not overwritten"):
        write(tmp_path / "photos", "shards", overwrite=True)
    with pytest.raises(DataError, match=r"is named x.zip"):
        open_writer(tmp_path / "x", layout="zip")
    with pytest.raises(DataError, match="without an ending, like x"):
        open_writer(tmp_path / "x.zip", layout="webdataset")
    with pytest.raises(DataError, match="0 images per shard"):
        ShardWriter(tmp_path / "x", shard_images=0)


def test_missing_and_damaged_shards_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "many", "shards")
    content = (folder / "00001.zip").read_bytes()
    (folder / "00001.zip").write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"00001\.zip: has [\d,]+ bytes instead of"):
        ImageDataset(folder)
    (folder / "00001.zip").unlink()
    with pytest.raises(DataError, match=r"00001\.zip: is missing, but index\.json lists it"):
        ImageDataset(folder)


def test_a_shard_that_changes_is_noticed(tmp_path: Path) -> None:
    folder = write(tmp_path / "many", "shards")
    dataset = ImageDataset(folder)
    before = dataset.fingerprint()
    dataset.pixels(5)
    old = (folder / "00001.zip").read_bytes()
    time.sleep(0.02)
    (folder / "00001.zip").write_bytes(old[:100])
    dataset.pixels(1)
    with pytest.raises(
        DataError, match=r"00001\.zip: has changed since it was opened; put the old file back"
    ) as caught:
        dataset.pixels(5)
    assert "\n" not in str(caught.value)
    (folder / "00001.zip").write_bytes(old)
    assert ImageDataset(folder).fingerprint() == before


def test_chosen_shards_by_braces(tmp_path: Path) -> None:
    for layout, ending in (("shards", "zip"), ("webdataset", "tar")):
        folder = write(tmp_path / layout, layout)  # type: ignore[arg-type]
        dataset = ImageDataset(folder / f"{{00001..00002}}.{ending}", use_labels=True)
        assert (len(dataset), dataset.name) == (7, layout)
        assert np.array_equal(dataset.pixels(0), picture(4).transpose(2, 0, 1))
        assert len(open_source(folder / f"{{00000..00001}}.{ending}").names) == 8
        with pytest.raises(DataError, match=rf"00003\.{ending}: does not exist, but .* names it"):
            ImageDataset(folder / f"{{00001..00003}}.{ending}")
    with pytest.raises(DataError, match="is no range"):
        ImageDataset(tmp_path / "shards" / "{5..1}.zip")
