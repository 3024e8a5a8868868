"""Importing the images that people have: transparency, crops, classes, damage, interruptions; and the two commands.

What single files of all kinds become is tested in test_nasty_files.py.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gantrol.cli import data_import, data_info
from gantrol.data import DatasetWriter, ImageDataset, import_images
from gantrol.data.images import encode
from gantrol.errors import DataError


def save(path: Path, array: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def all_pixels(path: Path) -> np.ndarray:
    """uint8 [N, H, W, C]."""
    dataset = ImageDataset(path)
    return np.stack([dataset.pixels(index).transpose(1, 2, 0) for index in range(len(dataset))])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five images of different sizes, kinds and folders."""
    folder = tmp_path / "photos"
    save(folder / "b/wide.jpg", noise(40, 60, 3))
    save(folder / "a/tall.png", noise(64, 48, 3))
    save(folder / "a/square.webp", noise(32, 32, 3))
    save(folder / "a/grey.png", noise(50, 50))
    save(folder / "c/deep/tiff.tif", noise(33, 35, 3))
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_folder_becomes_a_dataset_in_sorted_order(photos: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = import_images(photos, tmp_path / "o.zip", size_px=16, progress=lambda *counts: seen.append(counts))
    assert (report.count, report.size_px, report.channels, report.upscaled) == (5, 16, 3, 0)
    assert (report.skipped, report.classes, report.out) == ((), (), tmp_path / "o.zip")
    assert seen[-5:] == [(done, 5) for done in range(1, 6)]
    assert set(seen[:-5]) == {(0, 5)}  # the look at the headers
    dataset = ImageDataset(tmp_path / "o.zip")
    assert (len(dataset), dataset.resolution_px, dataset.channels) == (5, 16, 3)
    assert dataset.names[0] == "00000/img00000000.png"
    grey = dataset.pixels(0)  # a/grey.png comes first
    assert (grey[0] == grey[1]).all()
    assert dataset.meta["import"]["size_px"] == 16


def test_zip_gives_the_same_bytes_as_the_folder(photos: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in photos.rglob("*.*"):
            archive.write(path, path.relative_to(photos))
    import_images(photos, tmp_path / "a.zip", size_px=16)
    import_images(tmp_path / "photos.zip", tmp_path / "b.zip", size_px=16)
    np.testing.assert_array_equal(all_pixels(tmp_path / "a.zip"), all_pixels(tmp_path / "b.zip"))
    import_images(photos, tmp_path / "c.zip", size_px=16)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "c.zip").read_bytes()


def test_crop_takes_the_centre(tmp_path: Path) -> None:
    wide = noise(20, 31, 3)
    save(tmp_path / "in/a.png", wide)
    save(tmp_path / "in/b.png", wide.transpose(1, 0, 2).copy())
    report = import_images(tmp_path / "in", tmp_path / "o.zip")
    assert report.size_px == 20
    np.testing.assert_array_equal(all_pixels(tmp_path / "o.zip")[0], wide[:, 5:25])
    np.testing.assert_array_equal(all_pixels(tmp_path / "o.zip")[1], wide.transpose(1, 0, 2)[5:25])
    with pytest.raises(DataError, match=r"a.png: 31×20 is not square: use --crop center"):
        import_images(tmp_path / "in", tmp_path / "p.zip", crop="none")
    assert not (tmp_path / "p.zip").exists()


def test_resize_is_antialiased(tmp_path: Path) -> None:
    """Single-pixel stripes are above the Nyquist frequency of the result, so they must become grey."""
    stripes = np.zeros([64, 64, 3], np.uint8)
    stripes[:, ::2] = 255
    save(tmp_path / "in/a.png", stripes)
    import_images(tmp_path / "in", tmp_path / "o.zip", size_px=16)
    inner = all_pixels(tmp_path / "o.zip")[0, 2:-2, 2:-2]
    assert abs(inner.astype(int) - 127).max() < 8


def test_upscaled_images_are_counted(tmp_path: Path) -> None:
    save(tmp_path / "in/a.png", noise(8, 8, 3))
    save(tmp_path / "in/b.png", noise(32, 32, 3))
    assert import_images(tmp_path / "in", tmp_path / "o.zip", size_px=16).upscaled == 1


def test_only_grey_stays_grey_except_as_webp(tmp_path: Path) -> None:
    save(tmp_path / "in/a.png", noise(8, 8))
    Image.fromarray(noise(8, 8)).convert("LA").save(tmp_path / "in/b.png")
    Image.fromarray(noise(8, 8) > 99).convert("1").save(tmp_path / "in/c.png")
    assert import_images(tmp_path / "in", tmp_path / "o.zip").channels == 1
    np.testing.assert_array_equal(all_pixels(tmp_path / "o.zip")[0, :, :, 0], noise(8, 8))
    report = import_images(tmp_path / "in", tmp_path / "p.zip", image_format="webp")
    assert report.channels == 3
    assert ImageDataset(tmp_path / "p.zip").names[0].endswith(".webp")
    np.testing.assert_array_equal(all_pixels(tmp_path / "p.zip")[0, :, :, 2], noise(8, 8))


def test_unusual_pixel_types_become_plain(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    clear = np.zeros([8, 8, 4], np.uint8)
    clear[:4] = (200, 0, 0, 255)
    save(folder / "1_rgba.png", clear)
    Image.fromarray(noise(8, 8, 3)).convert("P").save(folder / "2_palette.png")
    Image.fromarray(noise(8, 8, 3)).convert("CMYK").save(folder / "3_cmyk.jpg")
    Image.fromarray(np.full([8, 8], 257 * 100, np.uint16)).save(folder / "4_deep.png")
    Image.fromarray(noise(8, 8, 3)).save(folder / "5.gif")
    import_images(folder, tmp_path / "o.zip")
    found = all_pixels(tmp_path / "o.zip")
    assert found.shape == (5, 8, 8, 3)
    assert (found[0, :4] == (200, 0, 0)).all()
    assert (found[0, 4:] == 255).all()
    assert (found[3] == 100).all()
    Image.fromarray(np.zeros([8, 8], np.float32)).save(folder / "6.tif")
    with pytest.raises(DataError, match=r"6.tif: floating-point"):
        import_images(folder, tmp_path / "p.zip", strict=True)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    array = np.zeros([16, 24, 3], np.uint8)
    array[:, :12] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise: the left half becomes the upper half
    save(tmp_path / "in/a.jpg", array, exif=exif.tobytes(), quality=95)
    import_images(tmp_path / "in", tmp_path / "o.zip")
    found = all_pixels(tmp_path / "o.zip")[0]
    assert found[:6].min() > 200
    assert found[10:].max() < 50


def test_labels_attributes_and_schema_are_kept(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "a.zip", schema={"age": {"unit": "years"}}, meta={"licence": "CC0"}) as writer:
        for index in range(4):
            writer.add(noise(16, 16, 3, seed=index), label=index, attributes={"age": index + 0.5})
    import_images(tmp_path / "a.zip", tmp_path / "o.zip", size_px=8, max_images=3)
    dataset = ImageDataset(tmp_path / "o.zip", use_labels=True)
    assert len(dataset) == dataset.label_dim == 3
    assert dataset.label(1).tolist() == [0, 1, 0]
    assert dataset.attributes(2) == {"age": 2.5}
    assert dataset.schema == {"age": {"unit": "years"}}
    assert dataset.meta["licence"] == "CC0"


def test_importing_a_dataset_onto_itself(tmp_path: Path) -> None:
    save(tmp_path / "in/a.png", noise(16, 16, 3))
    import_images(tmp_path / "in", tmp_path / "o.zip")
    import_images(tmp_path / "o.zip", tmp_path / "o.zip", size_px=8, overwrite=True)
    assert ImageDataset(tmp_path / "o.zip").resolution_px == 8


def test_folders_as_classes(photos: Path, tmp_path: Path) -> None:
    report = import_images(photos, tmp_path / "o.zip", size_px=8, classes_from_folders=True)
    assert report.classes == ("a", "b", "c")
    dataset = ImageDataset(tmp_path / "o.zip", use_labels=True)
    assert [int(dataset.label(index).argmax()) for index in range(5)] == [0, 0, 0, 1, 2]
    assert dataset.meta["classes"] == ["a", "b", "c"]


def test_shared_leading_folders_are_no_classes(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    photos.rename(tmp_path / "all/train")
    report = import_images(tmp_path / "all", tmp_path / "o.zip", size_px=8, classes_from_folders=True)
    assert report.classes == ("a", "b", "c")
    save(tmp_path / "all/loose.png", noise(8, 8, 3))
    with pytest.raises(DataError, match=r"loose.png: is in no folder"):
        import_images(tmp_path / "all", tmp_path / "p.zip", size_px=8, classes_from_folders=True)


def test_max_takes_the_first(photos: Path, tmp_path: Path) -> None:
    assert import_images(photos, tmp_path / "o.zip", size_px=8, max_images=2).count == 2
    whole = tmp_path / "p.zip"
    import_images(photos, whole, size_px=8)
    np.testing.assert_array_equal(all_pixels(tmp_path / "o.zip"), all_pixels(whole)[:2])


def test_damaged_files_are_left_out_and_listed(photos: Path, tmp_path: Path) -> None:
    good = (photos / "a/tall.png").read_bytes()
    (photos / "a/broken.png").write_bytes(good[: len(good) // 2])
    (photos / "a/empty.jpg").write_bytes(b"")
    (photos / "a/fake.png").write_text("<html>not found</html>")
    report = import_images(photos, tmp_path / "o.zip", size_px=8)
    assert report.count == 5
    assert [skipped.name for skipped in report.skipped] == ["a/broken.png", "a/empty.jpg", "a/fake.png"]
    assert all(str(photos / skipped.name) in skipped.reason for skipped in report.skipped)
    assert report.skipped_list == tmp_path / "o.zip.skipped.txt"
    lines = report.skipped_list.read_text().splitlines()
    assert lines[1:] == ["a/empty.jpg\tis empty", "a/fake.png\tis a web page, not an image"]
    assert lines[0].startswith("a/broken.png\tdamaged image (")
    first = import_images(photos, tmp_path / "p.zip", size_px=8, max_images=4)
    assert first.count == 4  # damaged images do not count
    for path in photos.rglob("*.*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of the 8 images could be imported; the first: .*is empty"):
        import_images(photos, tmp_path / "q.zip", size_px=8)
    assert sorted(os.listdir(tmp_path)) == ["o.zip", "o.zip.skipped.txt", "p.zip", "p.zip.skipped.txt", "photos"]


def test_the_list_of_a_replaced_dataset_goes_with_it(photos: Path, tmp_path: Path) -> None:
    (photos / "a/empty.jpg").write_bytes(b"")
    assert import_images(photos, tmp_path / "o.zip", size_px=8).skipped_list is not None
    (photos / "a/empty.jpg").unlink()
    assert import_images(photos, tmp_path / "o.zip", size_px=8, overwrite=True).skipped_list is None
    assert sorted(os.listdir(tmp_path)) == ["o.zip", "photos"]


def test_strict_stops_at_the_first_and_leaves_nothing(photos: Path, tmp_path: Path) -> None:
    good = (photos / "a/tall.png").read_bytes()
    (photos / "z.png").write_bytes(good[: len(good) // 2])
    with pytest.raises(DataError, match=r"z.png: damaged image .*without --strict") as caught:
        import_images(photos, tmp_path / "o.zip", size_px=8, strict=True)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["photos"]


def test_small_images_and_repeats_are_left_out_on_demand(photos: Path, tmp_path: Path) -> None:
    save(photos / "a/small.png", noise(20, 99, 3))
    shutil.copy(photos / "a/tall.png", photos / "c/again.png")
    save(photos / "c/another form.webp", noise(64, 48, 3), lossless=True)
    report = import_images(photos, tmp_path / "o.zip", size_px=16, min_size_px=32)
    assert (report.count, report.too_small, report.repeats, report.skipped) == (7, 1, 2, ())
    assert report.skipped_list is not None
    assert report.skipped_list.read_text() == "a/small.png\t99×20 is smaller than 32 px\n"
    once = import_images(photos, tmp_path / "p.zip", size_px=16, duplicates="skip")
    assert (once.count, once.too_small, once.repeats, once.skipped) == (6, 0, 2, ())
    assert once.skipped_list is not None
    assert once.skipped_list.read_text().splitlines() == [
        "c/again.png\thas the same pixels as a/tall.png",
        "c/another form.webp\thas the same pixels as a/tall.png",
    ]


def test_a_small_image_with_colour_does_not_decide_about_grey(tmp_path: Path) -> None:
    save(tmp_path / "in/a.png", noise(8, 8))
    save(tmp_path / "in/b.png", noise(4, 4, 3))
    assert import_images(tmp_path / "in", tmp_path / "o.zip", min_size_px=8).channels == 1


def test_transparency_is_kept_or_laid_over_a_colour(tmp_path: Path) -> None:
    clear = np.zeros([8, 8, 4], np.uint8)
    clear[:4] = (200, 0, 0, 255)
    clear[4:, 4:] = (0, 0, 0, 128)
    save(tmp_path / "in/a.png", clear)
    save(tmp_path / "in/b.png", noise(8, 8))
    kept = import_images(tmp_path / "in", tmp_path / "keep.zip", alpha="keep")
    assert kept.channels == 4
    found = all_pixels(tmp_path / "keep.zip")
    np.testing.assert_array_equal(found[0], clear)
    assert (found[1, :, :, 3] == 255).all()
    np.testing.assert_array_equal(found[1, :, :, 2], noise(8, 8))
    for name, colour in (("black", (0, 0, 0)), ("0, 100,255", (0, 100, 255))):
        import_images(tmp_path / "in", tmp_path / "o.zip", alpha=name, overwrite=True)
        found = all_pixels(tmp_path / "o.zip")
        assert (found[0, 4:, :4] == colour).all()
        assert abs(found[0, 4:, 4:].astype(int) - np.array(colour) / 2).max() <= 1
    Image.fromarray(noise(8, 8)).convert("LA").save(tmp_path / "in/a.png")
    assert import_images(tmp_path / "in", tmp_path / "l.zip", alpha="black").channels == 1
    assert import_images(tmp_path / "in", tmp_path / "m.zip", alpha="9,9,99").channels == 3
    for text in ("red", "1,2", "1,2,300", "-1,0,0"):
        with pytest.raises(DataError, match="expected keep, white, black, or a colour"):
            import_images(tmp_path / "in", tmp_path / "n.zip", alpha=text)


def test_only_square_images_without_a_crop(photos: Path, tmp_path: Path) -> None:
    report = import_images(photos, tmp_path / "o.zip", size_px=16, crop="none")
    assert (report.count, len(report.skipped)) == (2, 3)
    assert "60×40 is not square: use --crop center" in report.skipped[1].reason


# ----------------------------------------------------------------------------------------------------------------------
# Interruptions


def many(folder: Path, count: int) -> Path:
    """Small images in ten folders: some of them damaged, some repeats, some small."""
    rng = np.random.default_rng(0)
    for number in range(10):
        (folder / str(number)).mkdir(parents=True)
    block = rng.integers(0, 256, (count, 12, 12, 3), dtype=np.uint8)
    for number in range(count):
        pixels = block[number - 50 if number % 97 == 96 else number]
        data = encode(pixels[:4, :4] if number % 89 == 0 else pixels)
        if number % 101 == 0:
            data = data[:-30]
        (folder / str(number % 10) / f"{number:05d}.png").write_bytes(data)
    return folder


OPTIONS: dict[str, Any] = {"size_px": 8, "min_size_px": 6, "duplicates": "skip", "classes_from_folders": True}

KILLED = """
import os, signal, sys
from gantrol.data import import_images

def kill(done, total):
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

options = dict(size_px=8, min_size_px=6, duplicates="skip", classes_from_folders=True, progress=kill)
import_images(sys.argv[1], sys.argv[2], shard_images=600, **options)
"""


def contents(path: Path) -> dict[str, bytes]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX")
@pytest.mark.parametrize(("name", "count"), [("o.zip", 10_000), ("shards", 2_000)])
def test_ten_thousand_files_killed_half_way_and_resumed_give_the_same_bytes(
    name: str, count: int, tmp_path: Path
) -> None:
    source = many(tmp_path / "in", count)
    whole = import_images(source, tmp_path / "whole" / name, shard_images=600, **OPTIONS)
    out = tmp_path / "killed" / name
    killed = subprocess.run([sys.executable, "-c", KILLED, str(source), str(out), str(count // 2)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    seen: list[int] = []
    report = import_images(source, out, shard_images=600, progress=lambda done, _: seen.append(done), **OPTIONS)
    assert seen[0] > 0.4 * count  # what was done is not done again
    assert replace(report, out=whole.out, skipped_list=whole.skipped_list) == whole
    assert contents(out) == contents(whole.out)
    assert report.skipped_list is not None
    assert whole.skipped_list is not None
    assert report.skipped_list.read_bytes() == whole.skipped_list.read_bytes()
    assert sorted(os.listdir(out.parent)) == [name, f"{name}.skipped.txt"]


@pytest.mark.parametrize("layout", ["zip", "shards", "webdataset"])
def test_an_interrupted_import_continues(layout: Any, tmp_path: Path) -> None:
    source = many(tmp_path / "in", 300)
    name = "o.zip" if layout == "zip" else "o"
    options = {**OPTIONS, "layout": layout, "shard_images": 70}
    whole = import_images(source, tmp_path / "whole" / name, **options)
    out = tmp_path / "o" / name

    def interrupt_at(count: int) -> Callable[[int, int], None]:
        def interrupt(done: int, total: int) -> None:
            if done == count:
                raise KeyboardInterrupt

        return interrupt

    for count in (1, 99, 100, 250, 300):
        with pytest.raises(KeyboardInterrupt):
            import_images(source, out, progress=interrupt_at(count), **options)
        assert not out.exists()
        assert all(file.startswith(".") for file in os.listdir(out.parent))
    # The pixels came further than the diary, which also ends in the middle of a line.
    (journal,) = out.parent.glob(".*.journal")
    journal.write_bytes(journal.read_bytes()[: int(journal.stat().st_size * 0.6)])
    report = import_images(source, out, **options)
    assert replace(report, out=whole.out, skipped_list=whole.skipped_list) == whole
    assert contents(out) == contents(whole.out)
    assert sorted(os.listdir(out.parent)) == [name, f"{name}.skipped.txt"]


def test_another_import_does_not_continue_an_interrupted_one(tmp_path: Path) -> None:
    source = many(tmp_path / "in", 40)

    def interrupt(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_images(source, tmp_path / "o.zip", size_px=8, progress=interrupt)
    seen: list[int] = []
    import_images(source, tmp_path / "p.zip", size_px=8, progress=lambda done, _: seen.append(done))
    import_images(source, tmp_path / "o.zip", size_px=6, progress=lambda done, _: seen.append(done))
    os.utime(source / "0/00010.png")  # the file may be another one now
    import_images(source, tmp_path / "o.zip", size_px=8, overwrite=True, progress=lambda done, _: seen.append(done))
    assert seen.count(1) == 3
    assert contents(tmp_path / "o.zip") == contents(tmp_path / "p.zip")


def test_max_counts_across_an_interruption(tmp_path: Path) -> None:
    source = many(tmp_path / "in", 60)

    def interrupt(done: int, total: int) -> None:
        assert total == 30
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_images(source, tmp_path / "o.zip", size_px=8, max_images=30, progress=interrupt)
    assert import_images(source, tmp_path / "o.zip", size_px=8, max_images=30).count == 30
    import_images(source, tmp_path / "p.zip", size_px=8, max_images=30)
    assert contents(tmp_path / "o.zip") == contents(tmp_path / "p.zip")


def test_a_folder_of_shards(photos: Path, tmp_path: Path) -> None:
    report = import_images(photos, tmp_path / "shards", size_px=8, shard_images=2)
    assert report.count == 5
    assert [path.name for path in sorted((tmp_path / "shards").glob("*.zip"))] == [
        "00000.zip",
        "00001.zip",
        "00002.zip",
    ]
    import_images(photos, tmp_path / "o.zip", size_px=8)
    np.testing.assert_array_equal(all_pixels(tmp_path / "shards"), all_pixels(tmp_path / "o.zip"))


def test_different_sizes_need_a_size(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="choose one size for all with --size"):
        import_images(photos, tmp_path / "o.zip")
    assert not (tmp_path / "o.zip").exists()


def test_an_import_that_is_interrupted_at_once_leaves_nothing(photos: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_images(photos, tmp_path / "o.zip", size_px=8, progress=interrupt)
    assert sorted(os.listdir(tmp_path)) == ["photos"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "does not exist; expected a folder, zip or tar of images"),
        ("cifar-10-python.tar.gz", "is no tar archive, or is cut short"),
        ("lmdb/", "is no readable LMDB database"),
        ("empty/", "holds no images"),
        ("picture.png", "is a single image"),
        ("text", "not a zip"),
        ("train.parquet", "cannot be loaded as a Hugging Face dataset"),
        ("images.h5", "is an HDF5 file; this command reads"),
    ],
)
def test_sources_of_other_kinds(tmp_path: Path, name: str, message: str) -> None:
    source = tmp_path / name
    if name.endswith("/"):
        source.mkdir()
        if name == "lmdb/":
            (source / "data.mdb").write_bytes(b"")
    elif name != "missing":
        source.write_bytes(b"content")
    with pytest.raises(DataError, match=message) as caught:
        import_images(source, tmp_path / "o.zip")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "o.zip").exists()


@pytest.mark.parametrize(
    "options", [{"size_px": 0}, {"size_px": 10**6}, {"max_images": 0}, {"workers": 0}, {"min_size_px": 0}]
)
def test_impossible_options(photos: Path, tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(DataError, match="expected"):
        import_images(photos, tmp_path / "o.zip", **options)  # type: ignore[arg-type]


def test_commands(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "a/broken.png").write_bytes(b"")
    out = tmp_path / "o.zip"
    data_import.run(data_import.DataImport(source=str(photos), out=out, size=40, classes_from_folders=True))
    printed = capsys.readouterr().out
    assert "o.zip: 5 images, 40×40 RGB" in printed
    assert "3 classes: a, b, c" in printed
    assert "2 images were smaller than 40 px" in printed
    assert "1 file could not be read:" in printed
    assert "broken.png" in printed
    assert f"with the reasons: {out}.skipped.txt" in printed
    assert "more than half" not in printed
    data_info.run(data_info.DataInfo(data=out, json=tmp_path / "info.json"))
    printed = capsys.readouterr().out
    assert "5 (5 png), 40×40 RGB" in printed
    assert "3 classes (0: 3, 1: 1, 2: 1)" in printed
    summary = json.loads((tmp_path / "info.json").read_text())
    assert summary["images"] == 5
    assert "gantrol_version" in summary


def test_a_mostly_unreadable_source_is_said_to_be_one(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        (photos / f"{number:02d}.jpg").write_text("<html>")
    data_import.run(data_import.DataImport(source=str(photos), out=tmp_path / "o.zip", size=8))
    printed = capsys.readouterr().out.splitlines()
    assert "  … and 2 more" in printed
    assert printed[-1] == "more than half could not be read (12 of 17): is this the right source?"


def test_info_lists_attributes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with DatasetWriter(tmp_path / "a.zip", schema={"yaw": {"unit": "deg"}}) as writer:
        for yaw in (-10, 20):
            writer.add(noise(8, 8, 3), attributes={"yaw": yaw, "style": "plain"}, label=[0.5, yaw])
    data_info.run(data_info.DataInfo(data=tmp_path / "a.zip"))
    printed = capsys.readouterr().out
    assert "vectors of 2 numbers" in printed
    assert [line.split() for line in printed.splitlines() if line.startswith("yaw")] == [
        ["yaw", "deg", "-10", "5", "20"]
    ]
    assert "plain: 2" in printed


def test_a_grey_16_bit_image_keeps_its_range() -> None:
    from gantrol.data.foreign_images import open_any

    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    found = np.asarray(open_any(buffer.getvalue(), "x"))
    assert (found.min(), found.max()) == (0, 255)
