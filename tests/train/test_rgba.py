"""Transparency is kept: from the dataset through the training to the pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lightning_fabric import Fabric
from PIL import Image

import gantrol
from gantrol.data import DatasetWriter
from gantrol.errors import ConfigError
from gantrol.pictures import save_image
from gantrol.train.augment import AugmentConfig
from gantrol.train.config import TrainConfig
from gantrol.train.loop import train
from gantrol.train.presets import DataShape, preset
from gantrol.train.run import create_run
from tests.train.test_training import Recorder


@pytest.fixture(scope="module")
def stickers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 discs on nothing."""
    path = tmp_path_factory.mktemp("rgba") / "stickers.zip"
    y, x = np.mgrid[:32, :32]
    with DatasetWriter(path) as writer:
        for index in range(16):
            image = np.full((32, 32, 4), (200, 40 + index, 60, 0), dtype=np.uint8)
            image[..., 3][(y - 8) ** 2 + (x - 4 - index % 8) ** 2 < 9] = 255
            writer.add(image)
    return path


def make(name: str, data: Path) -> TrainConfig:
    config = preset(name, "tiny", DataShape(resolution_px=32, channels=4), batch=4)
    return replace(config, data=str(data), kimg=0.008, tick_kimg=0.004, sample_ticks=1, workers=1)


@pytest.mark.parametrize("name", ["stylegan2", "stylegan3-t", "transgan-v1-s"])
def test_training_on_rgba(stickers: Path, tmp_path: Path, name: str) -> None:
    config = make(name, stickers)
    folder = tmp_path / "run"
    create_run(folder, config, "test")
    train(config, folder, Fabric(accelerator="cpu", devices=1), Recorder())
    for picture in ("reals.png", "fakes_000000008.png"):
        with Image.open(folder / "samples" / picture) as grid:
            assert grid.mode == "RGBA"
    with Image.open(folder / "samples" / "reals.png") as grid:
        assert set(np.unique(np.asarray(grid)[:32, :32, 3])) == {0, 255}
    (image,) = gantrol.load(str(folder), device="cpu").generate([0], output="np")
    assert image.shape == (32, 32, 4)
    for ending, mode in (("png", "RGBA"), ("webp", "RGBA"), ("jpg", "RGB")):
        with Image.open(save_image(tmp_path / f"a.{ending}", image)) as saved:
            assert saved.mode == mode
            if mode == "RGBA":
                np.testing.assert_array_equal(np.asarray(saved), image)


def test_ada_says_that_it_takes_no_alpha(stickers: Path) -> None:
    with pytest.raises(ConfigError, match=r"channels=4: the augmentation ada takes grey or RGB images; choose"):
        replace(make("stylegan2", stickers), augment=AugmentConfig(name="ada"))
