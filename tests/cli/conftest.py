"""`gantrol …` within the test's process, and datasets small enough to train on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from gantrol.cli import main
from gantrol.data.writer import DatasetWriter

SIZE_PX = 16


class Result(NamedTuple):
    """What a command left behind: exit status, stdout, stderr."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The error message; fails unless it is the only line of stderr, and stdout is empty."""
        lines = self.err.splitlines()
        assert self.status != 0, self.out
        assert self.out == ""
        assert len(lines) == 1, self.err
        assert lines[0].startswith("gantrol: ")
        return lines[0].removeprefix("gantrol: ")


Cli = Callable[..., Result]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs one command as the shell would; arguments are turned into text."""

    def run(*arguments: object) -> Result:
        words = [str(argument) for argument in arguments]
        monkeypatch.setattr(sys, "argv", ["gantrol", *words])  # what a run writes down as its command
        with pytest.raises(SystemExit) as caught:
            main(words)
        out, err = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Result(caught.value.code, out, err)

    return run


def picture(seed: int, size_px: int = SIZE_PX) -> np.ndarray:
    """uint8 [size_px, size_px, 3]: a bright square on a coloured ground."""
    rng = np.random.default_rng(seed)
    image = np.full((size_px, size_px, 3), rng.integers(0, 120, 3), dtype=np.uint8)
    x, y = rng.integers(1, size_px // 2, 2)
    image[y : y + size_px // 2, x : x + size_px // 2] = rng.integers(160, 255, 3)
    return image


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip of 32 pictures in two classes."""
    path = tmp_path_factory.mktemp("data") / "squares.zip"
    with DatasetWriter(path) as writer:
        for index in range(32):
            writer.add(picture(index), label=index % 2, attributes={"index": index})
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of ten PNGs, for tests that spoil some of them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(10):
        Image.fromarray(picture(index)).save(folder / f"{index}.png")
    return folder


# A generator and a discriminator of a few thousand weights, on data of 16 px.
MINUSCULE = (
    "generator.num_layers=4",
    "generator.margin_px=4",
    "generator.channel_base=128",
    "generator.channel_max=8",
    "generator.z_dim=8",
    "generator.w_dim=8",
    "discriminator.channel_base=128",
    "discriminator.channel_max=8",
    "workers=1",
)


def new_run(data: object, out: object, *more: object) -> list[object]:
    """The arguments that train a minuscule model for ten steps of eight images, with two checkpoints."""
    start = ["train", "--preset", "stylegan3-t", "--scale", "tiny", "--data", data, "--out", out]
    return [*start, "--device", "cpu", "--batch", 8, "--kimg", 0.08, "tick_kimg=0.04", *MINUSCULE, *more]
