"""Shards of pictures: the same bytes however often the work was broken off, and by however many processes."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gantrol.bulk import BulkConfig, SeedRanges, generate_shards
from gantrol.cli import main
from gantrol.data.dataset import ImageDataset
from gantrol.errors import ConfigError, DataError
from gantrol.metrics.processes import Processes
from gantrol.model import Model
from gantrol.sample import Look, parse_seeds
from tests.metrics.fake_features import tiny_model

CONFIG = BulkConfig(look=Look(batch_size=4, truncation_psi=0.7), shard_images=6)
SEEDS = SeedRanges("3,10-25")


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


@pytest.fixture(scope="module")
def whole(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bulk") / "whole"
    report = generate_shards(model, SEEDS, folder, CONFIG)
    assert (report.images, report.shards, report.made) == (17, 3, 17)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_seeds_are_not_listed() -> None:
    seeds = SeedRanges("0-4294967295, 7")
    assert len(seeds) == 2**32 + 1
    assert (seeds[5], seeds[2**32], seeds[-1], seeds[-2]) == (5, 7, 7, 2**32 - 1)
    assert seeds[2**32 - 2 : 2**32 + 5] == [2**32 - 2, 2**32 - 1, 7]
    assert sys.getsizeof(seeds._ranges) < 1000
    assert list(SeedRanges("0,1,4-6")) == parse_seeds("0,1,4-6")
    with pytest.raises(IndexError):
        seeds[len(seeds)]


@pytest.mark.parametrize("text", ["", "a", "5-3", "0-4294967296", "1,,2", "-1"])
def test_nonsense_is_no_seed(text: str) -> None:
    with pytest.raises(ConfigError, match="seeds"):
        SeedRanges(text)


def test_the_folder_is_a_dataset_of_the_pictures(model: Model, whole: Path) -> None:
    dataset = ImageDataset(whole)
    assert len(dataset) == 17
    assert [dataset.attributes(index)["seed"] for index in range(17)] == list(SEEDS)
    wanted = model.generate(SEEDS[6:10], output="np", truncation_psi=0.7)
    np.testing.assert_array_equal(np.stack([dataset.pixels(6 + i) for i in range(4)]), wanted.transpose(0, 3, 1, 2))


def test_a_repeated_call_makes_nothing(model: Model, whole: Path) -> None:
    before = contents(whole)
    assert generate_shards(model, SEEDS, whole, CONFIG).made == 0
    assert contents(whole) == before


def test_broken_off_and_continued_gives_the_same_bytes(model: Model, whole: Path, tmp_path: Path) -> None:
    class Broken(Exception):
        pass

    def stop(done: int, _: int) -> None:
        if done >= 10:
            raise Broken

    folder = tmp_path / "some"
    with pytest.raises(Broken):
        generate_shards(model, SEEDS, folder, CONFIG, progress=stop)
    assert (folder / "00000.tar").exists()
    assert not (folder / "00001.tar").exists()
    assert generate_shards(model, SEEDS, folder, CONFIG).made == 11
    assert contents(folder) == contents(whole)


@pytest.mark.parametrize("damage", ["cut", "changed", "no record", "gone"])
def test_a_damaged_shard_is_made_again(damage: str, model: Model, tmp_path: Path, whole: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for name, data in contents(whole).items():
        (folder / name).write_bytes(data)
    shard = folder / "00001.tar"
    data = shard.read_bytes()
    if damage == "cut":
        shard.write_bytes(data[:-700])
    elif damage == "changed":
        shard.write_bytes(data[:1000] + bytes([data[1000] ^ 1]) + data[1001:])
    elif damage == "no record":
        (folder / "00001.json").unlink()
    else:
        shard.unlink()
    assert generate_shards(model, SEEDS, folder, CONFIG).made == 6
    assert contents(folder) == contents(whole)


def test_other_pictures_are_not_mixed_in(model: Model, whole: Path, tmp_path: Path) -> None:
    for other, seeds, config in (
        (tiny_model(seed=1), SEEDS, CONFIG),
        (model, SeedRanges("0-3"), CONFIG),
        (model, SEEDS, replace(CONFIG, rotate=10.0)),
        (model, SEEDS, replace(CONFIG, shard_images=7)),
    ):
        with pytest.raises(DataError, match=r"holds pictures with another (model_sha256|seeds|settings|shard_images)"):
            generate_shards(other, seeds, whole, config)
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="is not empty"):
        generate_shards(model, SEEDS, tmp_path, CONFIG)


def test_classes_follow_the_seeds(tmp_path: Path) -> None:
    model = tiny_model(c_dim=3)
    generate_shards(model, SeedRanges("4-9"), tmp_path / "all", CONFIG)
    dataset = ImageDataset(tmp_path / "all", use_labels=True)
    assert [int(dataset.label(index).argmax()) for index in range(6)] == [1, 2, 0, 1, 2, 0]
    one = replace(CONFIG, look=replace(CONFIG.look, class_index=2))
    generate_shards(model, SeedRanges("4-6"), tmp_path / "one", one)
    dataset = ImageDataset(tmp_path / "one", use_labels=True)
    assert {int(dataset.label(index).argmax()) for index in range(3)} == {2}


def test_processes_share_the_shards(model: Model, whole: Path, tmp_path: Path) -> None:
    """Two ranks, played one after the other: each does its part of what is missing, and nothing of the other's."""

    class Played(Processes):
        """A rank that knows by heart what the other one says."""

        def gather(self, work):  # type: ignore[no-untyped-def]
            found = work()
            return [found] if isinstance(found, int) else [[0, 1, 2]]

        def on_first(self, work):  # type: ignore[no-untyped-def]
            name = getattr(work, "__code__", None)
            return None if name is not None and "_finish" in name.co_names else work()

    folder = tmp_path / "shared"
    for rank in (1, 0):
        generate_shards(model, SEEDS, folder, CONFIG, processes=Played(rank, 2))
        there = sorted(path.name for path in folder.glob("*.tar"))
        assert there == (["00001.tar"] if rank else ["00000.tar", "00001.tar", "00002.tar"])
    assert generate_shards(model, SEEDS, folder, CONFIG).made == 0
    assert contents(folder) == contents(whole)


def test_the_command(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.save_pretrained(tmp_path / "model")
    command = ["generate", tmp_path / "model", "--seeds", "0-8", "--out", tmp_path / "out", "--layout", "webdataset"]
    command += ["--shard-images", 4, "--format", "webp", "--json", tmp_path / "made.json", "--device", "cpu"]
    for wanted in ("9 pictures in 3 tars", "none, all were there"):
        with pytest.raises(SystemExit) as end:
            main(list(map(str, command)))
        assert end.value.code == 0
        assert wanted in capsys.readouterr().out
    record = json.loads((tmp_path / "made.json").read_text())
    assert (record["images"], record["shards"], record["made"], record["processes"]) == (9, 3, 0, 1)
    with pytest.raises(SystemExit):
        main([*map(str, command), "--grid", "g.png"])
    assert "tars take --out DIR" in capsys.readouterr().err
