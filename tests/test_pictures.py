"""Pictures: conversion to bytes, grids, sheets, atomic saving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gantrol import pictures
from gantrol.errors import ConfigError, DataError


def test_floats_become_bytes_by_truncation() -> None:
    values = torch.tensor([-2.0, -1.0, -127 / 127.5, 0.0, 0.0079, 1.0, 3.0]).reshape(1, 1, 1, 7)
    assert pictures.to_uint8(values).flatten().tolist() == [0, 0, 1, 128, 129, 255, 255]
    assert pictures.to_arrays(torch.zeros(2, 3, 4, 5)).shape == (2, 4, 5, 3)


def test_a_grid_places_images_row_by_row_and_leaves_the_rest_white() -> None:
    images = np.stack([np.full((2, 3, 3), 10 * i, np.uint8) for i in range(5)])
    grid = np.asarray(pictures.image_grid(images, columns=3, gap=1))
    assert grid.shape == (5, 11, 3)
    assert (grid[3:5, 4:7] == 40).all()
    assert (grid[2] == 255).all()
    assert (grid[3:, 8:] == 255).all()
    assert pictures.image_grid(images[..., :1]).mode == "L"
    with pytest.raises(ConfigError, match="at least one image"):
        pictures.image_grid(images[:0])
    with pytest.raises(ConfigError, match="columns=0"):
        pictures.image_grid(images, columns=0)


@pytest.mark.parametrize(("size", "expected"), [(32, 8), (100, 3), (256, 1), (1024, 1)])
def test_tiny_pictures_are_enlarged_by_a_whole_factor(size: int, expected: int) -> None:
    assert pictures.enlargement_factor((size, size), 256) == expected


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_of_a_table_are_enlarged_each_by_itself(channels: int) -> None:
    """A white image beside black ones stays white to its edge."""
    table = np.zeros((2, 3, 4, 5, channels), np.uint8)
    table[1, 1] = 255
    large = pictures.enlarge_all(table, 3, "lanczos")
    assert large.shape == (2, 3, 12, 15, channels)
    assert (large[1, 1] == 255).all()
    assert large.sum() == large[1, 1].sum()


def test_nearest_enlargement_repeats_pixels() -> None:
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    enlarged = np.asarray(pictures.enlarge(image, 3))
    np.testing.assert_array_equal(enlarged, np.asarray(image).repeat(3, 0).repeat(3, 1))
    with pytest.raises(ConfigError, match="did you mean lanczos"):
        pictures.enlarge(image, 2, "lanczo")  # type: ignore[arg-type]


def test_a_sheet_has_captions_left_of_its_rows() -> None:
    rows = [(f"{kimg} kimg", np.full((4, 16, 16, 3), (200, 9, 9), np.uint8)) for kimg in (0, 10, 250)]
    sheet = np.asarray(pictures.captioned_sheet(rows, title="samples over time"))
    assert sheet.shape[1] > 4 * 48
    assert (sheet == (200, 9, 9)).all(axis=2).sum() == 3 * 4 * 48 * 48
    assert (sheet[:, :40] < 128).any()  # ink on the left
    with pytest.raises(ConfigError, match="at least one row"):
        pictures.captioned_sheet([])


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_pictures_are_saved_whole(tmp_path: Path, suffix: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    path = pictures.save_image(tmp_path / "deep" / f"a{suffix}", image)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    with Image.open(path) as read:
        if suffix != ".jpg":
            np.testing.assert_array_equal(np.asarray(read), image)
    assert path.stat().st_mode & 0o444 == 0o444


def test_impossible_destinations_are_one_line(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ConfigError, match=r"a\.tiff: pictures are written as \.png"):
        pictures.save_image(tmp_path / "a.tiff", image)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"^cannot write [^\n]*$"):
        pictures.save_image(tmp_path / "file" / "a.png", image)


def test_a_table_has_pictures_at_the_heads_of_rows_and_columns() -> None:
    rows = np.stack([np.full((2, 3, 3), value, np.uint8) for value in (10, 20)])
    columns = np.stack([np.full((2, 3, 3), value, np.uint8) for value in (1, 2, 3)])
    cells = rows[:, None] + columns[None]
    table = np.asarray(pictures.header_table(rows, columns, cells, gap=1))
    assert table.shape == (2 * 3 + 1, 3 * 4 + 1, 3)
    assert (table[:3, :4] == 255).all()  # the corner, with the gap
    assert (table[2] == 255).all()
    assert (table[:, 3] == 255).all()
    assert table[0, 4::3, 0].tolist() == [1, 2, 3]
    assert table[3::2, 0, 0].tolist() == [10, 20]
    assert table[3::2, 4::3, 0].tolist() == [[11, 12, 13], [21, 22, 23]]
    with pytest.raises(ConfigError, match="does not fit heads"):
        pictures.header_table(columns, rows, cells)


def test_a_name_can_be_checked_before_the_work() -> None:
    assert pictures.check_name("a/b.JPG") == Path("a/b.JPG")
    with pytest.raises(ConfigError, match=r"b\.gif: pictures are written as"):
        pictures.check_name("a/b.gif")
