"""The dataset zip: what the writer writes, what the reader accepts, and what each kind of damage is answered with."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image

from gantrol.data import DatasetWriter, ImageDataset, images
from gantrol.data.foreign_images import open_any
from gantrol.errors import DataError


def pictures(count: int, size_px: int = 8, channels: int = 3, seed: int = 0) -> np.ndarray:
    """uint8 [N, H, W, C]."""
    return np.random.default_rng(seed).integers(0, 256, [count, size_px, size_px, channels], dtype=np.uint8)


def pillow_bytes(array: np.ndarray, image_format: str = "PNG", **options: Any) -> bytes:
    """Encoded by Pillow, not by us."""
    buffer = io.BytesIO()
    Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array).save(buffer, image_format, **options)
    return buffer.getvalue()


def name_of(index: int, ending: str = "png") -> str:
    return f"{index // 1000:05d}/img{index:08d}.{ending}"


def make_zip(
    path: Path, files: Mapping[str, bytes], content: Any = None, compression: int = zipfile.ZIP_STORED
) -> Path:
    """A zip in StyleGAN's layout, made without our writer."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        if content is not None:
            archive.writestr("dataset.json", json.dumps(content))
    return path


def png_files(arrays: np.ndarray) -> dict[str, bytes]:
    return {name_of(index): pillow_bytes(array) for index, array in enumerate(arrays)}


def all_pixels(dataset: ImageDataset) -> np.ndarray:
    """uint8 [N, H, W, C]."""
    return np.stack([dataset[index][0].numpy().transpose(1, 2, 0) for index in range(len(dataset))])


# --- images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size_px", [1, 7, 300])
def test_our_png_is_read_by_pillow_and_by_us(channels: int, size_px: int) -> None:
    array = pictures(1, size_px, channels)[0]
    data = images.encode(array)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        np.testing.assert_array_equal(np.asarray(image).reshape(array.shape), array)
    with Image.open(io.BytesIO(data)) as image:
        image.verify()  # the checksums of all chunks
    np.testing.assert_array_equal(images.decode(data, "x"), array)


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_rgba_is_kept_bit_for_bit(tmp_path: Path, image_format: Literal["png", "webp"]) -> None:
    arrays = pictures(3, channels=4)
    arrays[1, ..., 3] = 255  # an opaque image among others is still RGBA
    arrays[2, ..., 3] = 0  # and colours that nobody sees are kept
    with DatasetWriter(tmp_path / "a.zip", image_format=image_format) as writer:
        for array in arrays:
            writer.add(array)
    dataset = ImageDataset(tmp_path / "a.zip", skip_bad=True)
    assert (dataset.channels, dataset.describe()["channels"], dataset.skipped) == (4, 4, [])
    np.testing.assert_array_equal(all_pixels(dataset), arrays)
    assert images.describe(dataset.resolution_px, dataset.channels) == "8×8 RGBA"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size_px", [1, 64, 200])
@pytest.mark.parametrize("level", [0, 9])
def test_pngs_decode_as_with_pillow(mode: str, size_px: int, level: int) -> None:
    """With and without compression, and with rows that are predicted from their neighbours."""
    ramp = np.add.outer(np.arange(size_px), np.arange(size_px))
    array = np.stack([(ramp * (c + 1)) % 256 for c in range(images.CHANNELS[mode])], 2).astype(np.uint8)
    data = pillow_bytes(array[:, :, 0] if mode == "L" else array, compress_level=level)
    np.testing.assert_array_equal(images.decode(data, "x"), array)
    with pytest.raises(DataError, match=r"damaged image|not a readable image"):
        images.decode(data[: len(data) // 2], "x")


def test_a_flipped_pixel_in_a_file_is_found() -> None:
    data = bytearray(images.encode(pictures(1, size_px=64)[0]))
    data[500] ^= 1
    with pytest.raises(DataError, match="damaged image"):
        images.decode(bytes(data), "x")


def test_webp_is_lossless_and_has_no_grey() -> None:
    array = pictures(1, 16)[0]
    np.testing.assert_array_equal(images.decode(images.encode(array, "webp"), "x"), array)
    with pytest.raises(DataError, match="no grey"):
        images.encode(array[:, :, :1], "webp")


@pytest.mark.parametrize(
    ("mode", "image_format", "options"),
    [
        ("RGB", "WEBP", {"lossless": True}),
        ("RGBA", "WEBP", {"lossless": True}),
        ("RGB", "WEBP", {"quality": 80}),
        ("RGBA", "WEBP", {"quality": 80}),
        ("L", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("P", "PNG", {}),
        ("L", "JPEG", {}),
        ("CMYK", "JPEG", {}),
    ],
)
def test_probe_agrees_with_pillow(mode: str, image_format: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, [37, 21, 4], dtype=np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    assert images.probe(buffer.getvalue(), "x") == (21, 37, mode, image_format)
    if image_format != "JPEG":
        assert images.probe(buffer.getvalue()[: images.HEADER_BYTES], "x") == (21, 37, mode, image_format)


@pytest.mark.parametrize("shape", [(8, 8, 2), (8, 8, 5), (8,), (0, 8, 3)])
def test_encode_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="expected uint8"):
        images.encode(np.zeros(shape, dtype=np.uint8))


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9000, 50000])
def test_decompression_bombs_are_refused(side: int) -> None:
    bomb = png_that_claims(side, side)
    for read in (images.probe, images.decode):
        with pytest.raises(DataError, match=f"bomb.png: claims {side}×{side} pixels"):
            read(bomb, "bomb.png")
    with pytest.raises(DataError, match=r"bomb.png: claims"):
        open_any(bomb, "bomb.png")
    bmp = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, *[0] * 6)
    with pytest.raises(DataError, match="claims"):
        images.decode(bmp, "bomb.bmp")


# --- writer


def test_layout_of_the_written_zip(tmp_path: Path) -> None:
    arrays = pictures(3)
    with DatasetWriter(tmp_path / "sub/a.zip", schema={"age": {"unit": "years"}}, meta={"by": "test"}) as writer:
        for index, array in enumerate(arrays):
            attributes = {"age": np.float32(index), "light": np.array([0.5, 1]), "name": "x", "on": np.bool_(True)}
            assert writer.add(array, label=np.int64(index), attributes=attributes) == name_of(index)
    with zipfile.ZipFile(tmp_path / "sub/a.zip") as archive:
        assert archive.namelist() == [name_of(0), name_of(1), name_of(2), "dataset.json"]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        content = json.loads(archive.read("dataset.json"))
        assert archive.testzip() is None
    assert content == {
        "labels": [[name_of(index), index] for index in range(3)],
        "attributes": [
            [name_of(index), {"age": index, "light": [0.5, 1], "name": "x", "on": True}] for index in range(3)
        ],
        "schema": {"age": {"unit": "years"}},
        "meta": {"by": "test"},
    }
    assert os.listdir(tmp_path / "sub") == ["a.zip"]


def test_without_labels_dataset_json_says_null(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "a.zip") as writer:
        writer.add(pictures(1)[0])
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert json.loads(archive.read("dataset.json")) == {"labels": None}


def test_folder_name_is_the_first_five_digits(tmp_path: Path) -> None:
    array = pictures(1, 1)[0]
    with DatasetWriter(tmp_path / "a.zip") as writer:
        names = [writer.add(array) for _ in range(1001)]
    assert names[999:] == ["00000/img00000999.png", "00001/img00001000.png"]
    assert ImageDataset(tmp_path / "a.zip").names == names


def test_same_images_same_bytes(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        with DatasetWriter(tmp_path / name, meta={"seed": 1}) as writer:
            for array in pictures(5):
                writer.add(array, label=[1.0, 2.0])
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_encoded_bytes_are_stored_as_they_are(tmp_path: Path) -> None:
    array = pictures(1)[0]
    png, webp = pillow_bytes(array, compress_level=9), pillow_bytes(array, "WEBP", lossless=True)
    with DatasetWriter(tmp_path / "a.zip") as writer:
        assert writer.add(png) == name_of(0)
        assert writer.add(webp) == name_of(1, "webp")
        with pytest.raises(DataError, match="PNG or WebP, not JPEG"):
            writer.add(pillow_bytes(array, "JPEG"))
        with pytest.raises(DataError, match="not a readable image"):
            writer.add(b"nonsense")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.read(name_of(0)) == png
        assert archive.read(name_of(1, "webp")) == webp
    np.testing.assert_array_equal(all_pixels(ImageDataset(tmp_path / "a.zip")), [array, array])


def test_a_refused_image_leaves_the_writer_usable(tmp_path: Path) -> None:
    first, other = pictures(2)
    with DatasetWriter(tmp_path / "a.zip") as writer:
        writer.add(first, label=1, attributes={"age": 1})
        for image, label, attributes, message in [
            (other[:4, :4], 1, {"age": 1}, "image 1: is 4×4 RGB, but the first is 8×8 RGB"),
            (other[:, :, :1], 1, {"age": 1}, "is 8×8 grey"),
            (other[:4], 1, {"age": 1}, "8×4 is not square"),
            (other.astype(np.float32), 1, {"age": 1}, "expected uint8"),
            (other, None, {"age": 1}, "has no label, but the images before it have a class index"),
            (other, [1.0], {"age": 1}, "has a vector of 1"),
            (other, -1, {"age": 1}, "negative"),
            (other, "cat", {"age": 1}, "a label is"),
            (other, 1, None, "either all images have attributes or none"),
            (other, 1, {"age": float("nan")}, "not a finite number"),
            (other, 1, {"age": object()}, "object values cannot be stored"),
        ]:
            with pytest.raises(DataError, match=message):
                writer.add(image, label=label, attributes=attributes)
        writer.add(other, label=0, attributes={"age": 2})
    dataset = ImageDataset(tmp_path / "a.zip", use_labels=True)
    assert [dataset.attributes(index) for index in range(2)] == [{"age": 1}, {"age": 2}]
    np.testing.assert_array_equal(all_pixels(dataset), [first, other])


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_writer_leaves_nothing_and_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.zip"
    target.write_bytes(b"precious")
    with pytest.raises(error), DatasetWriter(target, overwrite=True) as writer:  # noqa: PT012
        writer.add(pictures(1)[0])
        raise error
    assert os.listdir(tmp_path) == ["a.zip"]
    assert target.read_bytes() == b"precious"


def test_existing_target_is_refused_unless_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "a.zip"
    target.write_bytes(b"precious")
    with pytest.raises(DataError, match="exists already"):
        DatasetWriter(target)
    with DatasetWriter(target, overwrite=True) as writer:
        writer.add(pictures(1)[0])
    assert len(ImageDataset(target)) == 1
    with pytest.raises(DataError, match="is a folder"):
        DatasetWriter(tmp_path, overwrite=True)


def test_a_writer_without_images_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image was added"), DatasetWriter(tmp_path / "a.zip"):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("when", ["add", "flush"])
def test_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DataError) as caught, DatasetWriter(tmp_path / "a.zip") as writer:  # noqa: PT012
        writer.add(pictures(1)[0])
        if when == "add":
            monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
            writer.add(pictures(1)[0])
        else:
            monkeypatch.setattr(os, "fsync", full)
    assert str(caught.value).startswith(f"cannot write {tmp_path}/a.zip: the disk is full; ")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file size limit")
def test_really_full_disk(tmp_path: Path) -> None:
    """The operating system itself refuses to write more than 64 KiB."""
    program = (
        "import resource, sys, numpy as np; from gantrol.data import DatasetWriter\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))\n"
        "with DatasetWriter(sys.argv[1]) as writer:\n"
        "    for _ in range(100): writer.add(np.zeros([64, 64, 3], np.uint8))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.zip")], capture_output=True, text=True)
    assert "DataError" in done.stderr.splitlines()[-1]
    assert "a.zip: File too large" in done.stderr.splitlines()[-1]
    assert os.listdir(tmp_path) == []


def test_the_writer_does_without_torch() -> None:
    program = "import sys, gantrol.data.writer; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


# --- reader


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_reads_zips_in_stylegan_layout(tmp_path: Path, channels: int, compression: int) -> None:
    arrays = pictures(4, 8, channels)
    path = make_zip(tmp_path / "nv.zip", png_files(arrays), {"labels": None}, compression)
    dataset = ImageDataset(path)
    assert (len(dataset), dataset.resolution_px, dataset.channels) == (4, 8, channels)
    assert (dataset.label_dim, dataset.name, dataset.schema, dataset.skipped) == (0, "nv", {}, [])
    image, label = dataset[2]
    assert (image.dtype, image.shape) == (torch.uint8, (channels, 8, 8))
    assert (label.dtype, label.shape) == (torch.float32, (0,))
    np.testing.assert_array_equal(all_pixels(dataset), arrays)
    assert dataset.attributes(0) == {}
    with pytest.raises(IndexError):
        dataset[4]
    assert len(list(dataset)) == 4  # type: ignore[call-overload]


def test_folder_gives_the_same_as_the_zip(tmp_path: Path) -> None:
    arrays = pictures(4)
    content = {"labels": [[name_of(index), index % 2] for index in range(4)]}
    path = make_zip(tmp_path / "a.zip", png_files(arrays), content)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "a")
    (tmp_path / "a/.DS_Store").write_bytes(b"")
    (tmp_path / "a/.hidden.png").write_bytes(b"")
    zipped, folder = ImageDataset(path, use_labels=True), ImageDataset(tmp_path / "a", use_labels=True)
    assert folder.names == zipped.names
    assert folder.name == zipped.name == "a"
    np.testing.assert_array_equal(all_pixels(folder), all_pixels(zipped))
    np.testing.assert_array_equal(folder.label(1), zipped.label(1))


def test_images_are_sorted_by_name_whatever_their_order_in_the_zip(tmp_path: Path) -> None:
    arrays = pictures(3)
    files = {name: pillow_bytes(array) for name, array in zip(["b.png", "c.PNG", "a.png"], arrays, strict=True)}
    dataset = ImageDataset(make_zip(tmp_path / "a.zip", {**files, "notes.txt": b"", "__MACOSX/._a.png": b""}))
    assert dataset.names == ["a.png", "b.png", "c.PNG"]
    np.testing.assert_array_equal(all_pixels(dataset), arrays[[2, 0, 1]])


def test_jpeg_with_exif_rotation_is_upright(tmp_path: Path) -> None:
    array = np.zeros([16, 16, 3], dtype=np.uint8)
    array[:8] = 255  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees: the upper half becomes the right half
    data = pillow_bytes(array, "JPEG", exif=exif.tobytes(), quality=95)
    pixels = ImageDataset(make_zip(tmp_path / "a.zip", {"a.jpg": data})).pixels(0)
    assert pixels[:, :, 12:].min() > 200
    assert pixels[:, :, :4].max() < 50


def test_class_labels_are_one_hot(tmp_path: Path) -> None:
    content = {"labels": [[name_of(index), label] for index, label in enumerate([2, 0, 4])]}
    path = make_zip(tmp_path / "a.zip", png_files(pictures(3)), content)
    dataset = ImageDataset(path, use_labels=True)
    assert dataset.label_dim == 5
    assert dataset[0][1].tolist() == [0, 0, 1, 0, 0]
    assert dataset.label(0).dtype == np.float32
    assert ImageDataset(path).label_dim == 0
    assert dataset.describe()["labels"] == {"kind": "class", "dim": 5, "class_counts": {"0": 1, "2": 1, "4": 1}}


def test_vector_labels(tmp_path: Path) -> None:
    content = {"labels": [[name_of(index).replace("/", "\\"), [index, 0.5]] for index in range(3)]}
    dataset = ImageDataset(make_zip(tmp_path / "a.zip", png_files(pictures(3)), content), use_labels=True)
    assert dataset.label_dim == 2
    assert dataset[2][1].tolist() == [2, 0.5]
    assert dataset.describe()["labels"] == {"kind": "vector", "dim": 2}


def test_attributes_and_their_summary(tmp_path: Path) -> None:
    schema = {"yaw": {"unit": "deg"}}
    with DatasetWriter(tmp_path / "a.zip", schema=schema, meta={"licence": "CC0"}) as writer:
        for index, array in enumerate(pictures(3)):
            smile = {"smile": index / 2}
            writer.add(array, attributes={"yaw": index - 1.0, "hair": [0.1, index], "e": smile, "kind": "abb"[index]})
    dataset = ImageDataset(tmp_path / "a.zip")
    assert dataset.attributes(2) == {"yaw": 1.0, "hair": [0.1, 2], "e": {"smile": 1.0}, "kind": "b"}
    assert dataset.schema == schema
    summary = dataset.describe()
    assert summary["attributes"] == {
        "yaw": {"images": 3, "min": -1, "mean": 0, "max": 1, "unit": "deg"},
        "hair[0]": {"images": 3, "min": 0.1, "mean": pytest.approx(0.1), "max": 0.1},
        "hair[1]": {"images": 3, "min": 0, "mean": 1, "max": 2},
        "e.smile": {"images": 3, "min": 0, "mean": 0.5, "max": 1},
        "kind": {"images": 3, "values": {"b": 2, "a": 1}},
    }
    assert summary["meta"] == {"licence": "CC0"}
    assert (summary["images"], summary["resolution_px"], summary["channels"]) == (3, 8, 3)
    assert summary["bytes"] == (tmp_path / "a.zip").stat().st_size
    json.dumps(summary)


def test_x_flip_appends_flipped_copies(tmp_path: Path) -> None:
    arrays = pictures(3)
    schema = {
        "yaw": {"mirror": -1},
        "light": {"mirror": [-1, 1]},
        "wink_left": {"mirror": "wink_right"},
        "wink_right": {"mirror": "wink_left"},
    }
    attributes = {"yaw": 5, "light": [30, 10], "wink_left": 0.2, "wink_right": 0.9, "age": 40}
    with DatasetWriter(tmp_path / "a.zip", schema=schema) as writer:
        for index, array in enumerate(arrays):
            writer.add(array, label=index, attributes=attributes)
    dataset = ImageDataset(tmp_path / "a.zip", use_labels=True, x_flip=True)
    assert (len(dataset), len(dataset.names)) == (6, 3)
    np.testing.assert_array_equal(all_pixels(dataset), np.concatenate([arrays, arrays[:, :, ::-1]]))
    assert dataset[4][1].tolist() == dataset[1][1].tolist() == [0, 1, 0]
    assert dataset.attributes(0) == attributes
    assert dataset.attributes(3) == {
        "yaw": -5,
        "light": [-30, 10],
        "wink_left": 0.9,
        "wink_right": 0.2,
        "age": 40,
    }


def test_max_size_is_a_seeded_ordered_subset(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", png_files(pictures(20)))
    subsets = [ImageDataset(path, max_size=5, seed=seed).names for seed in (0, 0, 1)]
    assert subsets[0] == subsets[1] != subsets[2]
    assert subsets[0] == sorted(subsets[0])
    assert len(ImageDataset(path, max_size=5, x_flip=True)) == 10
    assert len(ImageDataset(path, max_size=100)) == 20
    with pytest.raises(DataError, match="max_size=0"):
        ImageDataset(path, max_size=0)


def test_survives_pickling_and_threads_of_workers(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", png_files(pictures(8)))
    dataset = ImageDataset(path)
    before = all_pixels(dataset)  # the memory map is open now
    data = pickle.dumps(dataset)
    assert len(data) < 10_000  # no pixels travel
    np.testing.assert_array_equal(all_pixels(pickle.loads(data)), before)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_data_loader_workers(tmp_path: Path, method: str) -> None:
    if method == "fork" and (sys.platform != "linux" or sys.version_info >= (3, 12)):
        pytest.skip("forking a process with threads warns here")
    path = make_zip(tmp_path / "a.zip", png_files(pictures(8)))
    dataset = ImageDataset(path)
    before = all_pixels(dataset)
    workers = 2 if method == "fork" else 1
    loader = torch.utils.data.DataLoader(dataset, batch_size=3, num_workers=workers, multiprocessing_context=method)
    found = torch.cat([image for image, _ in loader]).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(found, before)


# --- bad input


def error_of(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        ImageDataset(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_missing_empty_and_foreign_paths(tmp_path: Path) -> None:
    assert "does not exist" in error_of(tmp_path / "none.zip")
    (tmp_path / "empty").mkdir()
    assert "holds no images" in error_of(tmp_path / "empty")
    assert "holds no images" in error_of(make_zip(tmp_path / "empty.zip", {"readme.txt": b"hi"}))
    for content in (b"", b"not a zip at all", bytes(1000)):
        (tmp_path / "text.zip").write_bytes(content)
        assert "not a zip" in error_of(tmp_path / "text.zip")


def test_truncated_zip(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", png_files(pictures(8)))
    path.write_bytes(path.read_bytes()[:-100])
    assert "cut short" in error_of(path)


def test_zip_with_a_member_without_a_name(tmp_path: Path) -> None:
    """Python ends names at zero bytes, so this one is empty (found by fuzzing)."""
    path = make_zip(tmp_path / "a.zip", png_files(pictures(2)) | {"nameless.png": b"?"})
    path.write_bytes(path.read_bytes().replace(b"nameless.png", b"\0ameless.png"))
    assert len(ImageDataset(path)) == 2


def test_zip_with_an_escaping_path(tmp_path: Path) -> None:
    data = pillow_bytes(pictures(1)[0])
    assert "leaves the archive" in error_of(make_zip(tmp_path / "a.zip", {"../../evil.png": data}))
    assert "leaves the archive" in error_of(make_zip(tmp_path / "b.zip", {"/etc/evil.png": data}))


def test_encrypted_and_exotic_members(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", png_files(pictures(1)), compression=zipfile.ZIP_BZIP2)
    assert "method 12" in error_of(path)
    path = make_zip(tmp_path / "b.zip", png_files(pictures(1)))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "encrypted" in error_of(path)


@pytest.mark.parametrize("index", [0, 2])
def test_mixed_sizes_name_the_first_offender_and_both_sizes(tmp_path: Path, index: int) -> None:
    files = png_files(pictures(4))
    files[name_of(index)] = pillow_bytes(pictures(1, 16)[0])
    message = error_of(make_zip(tmp_path / "a.zip", files))
    assert name_of(max(index, 1)) in message
    assert "8×8" in message
    assert "16×16" in message
    assert "gantrol data import" in message


def test_mixed_channels_other_pixel_types_and_oblong_images(tmp_path: Path) -> None:
    files = png_files(pictures(2))
    grey = pillow_bytes(pictures(1, 8, 1)[0])
    message = error_of(make_zip(tmp_path / "a.zip", {**files, name_of(1): grey}))
    assert f"{name_of(1)}: is 8×8 grey, but {name_of(0)} is 8×8 RGB" in message
    rgba = pillow_bytes(pictures(1, 8, 4)[0])
    message = error_of(make_zip(tmp_path / "b.zip", {**files, name_of(1): rgba}), skip_bad=True)
    assert name_of(1) in message
    assert "RGBA" in message
    assert "gantrol data import" in message
    deep = io.BytesIO()
    Image.fromarray(np.zeros([8, 8], np.uint16)).save(deep, "PNG")
    assert "16-bit" in error_of(make_zip(tmp_path / "c.zip", {name_of(0): deep.getvalue()}))
    oblong = pillow_bytes(pictures(1, 8)[0][:4])
    assert "8×4 is not square" in error_of(make_zip(tmp_path / "d.zip", {name_of(0): oblong}))


def test_damaged_images_are_named_and_can_be_skipped(tmp_path: Path) -> None:
    files = png_files(pictures(6, 32))
    good = files[name_of(0)]
    files[name_of(1)] = good[: len(good) // 2]  # cut short
    files[name_of(3)] = good[:100] + bytes(50) + good[150:]  # pixels overwritten
    content = {"labels": [[name_of(index), index] for index in range(6)]}
    path = make_zip(tmp_path / "a.zip", files, content)
    dataset = ImageDataset(path, use_labels=True)
    for index in (1, 3):
        with pytest.raises(DataError, match=rf"a\.zip: {name_of(index)}: damaged image .*--skip-bad"):
            dataset[index]
    seen: list[tuple[int, int]] = []
    dataset = ImageDataset(path, use_labels=True, skip_bad=True, progress=lambda *counts: seen.append(counts))
    assert dataset.names == [name_of(index) for index in (0, 2, 4, 5)]
    assert [skipped.name for skipped in dataset.skipped] == [name_of(1), name_of(3)]
    assert "damaged" in dataset.skipped[0].reason
    assert dataset.label(1).argmax() == 2
    assert seen[-1] == (6, 6)
    assert len(dataset.describe()["skipped"]) == 2
    all_pixels(dataset)


def test_unreadable_headers_are_found_at_opening(tmp_path: Path) -> None:
    files = {**png_files(pictures(2)), name_of(0): b"GARBAGE" * 9}
    path = make_zip(tmp_path / "a.zip", files)
    assert f"{name_of(0)}: not a readable image (unknown format)" in error_of(path)
    assert ImageDataset(path, skip_bad=True).names == [name_of(1)]
    assert "all 1 images are damaged" in error_of(make_zip(tmp_path / "b.zip", {name_of(0): b"GARBAGE"}), skip_bad=True)


def test_a_flipped_bit_in_the_zip_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with DatasetWriter(path) as writer:
        for array in pictures(3):
            writer.add(array)
    data = bytearray(path.read_bytes())
    data[data.index(b"img00000001.png") + 100] ^= 4
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"img00000001.png: damaged \(its checksum does not match\)"):
        ImageDataset(path)[1]
    assert len(ImageDataset(path, skip_bad=True)) == 2


def test_a_zip_replaced_while_open_is_noticed(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", png_files(pictures(2)))
    data = pickle.dumps(ImageDataset(path))
    make_zip(path, png_files(pictures(3)))
    with pytest.raises(DataError, match="has changed"):
        pickle.loads(data)[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": [[name_of(0), 0], [name_of(1), 1], ["nowhere.png", 1]]}, "nowhere.png, but there is no such"),
        ({"labels": [[name_of(0), 0]]}, f"labels of 1 of 2 images are missing, the first {name_of(1)}"),
        ({"labels": [[name_of(0), 0], [name_of(0), 0]]}, "twice"),
        ({"labels": [[name_of(0), 0], [name_of(1), [1.0]]]}, f"mix kinds: {name_of(0)} has a class, {name_of(1)}"),
        ({"labels": [[name_of(0), [1, 2]], [name_of(1), [1]]]}, "mix kinds"),
        ({"labels": [[name_of(0), -1], [name_of(1), 1]]}, "cannot be -1"),
        ({"labels": [[name_of(0), True], [name_of(1), False]]}, "cannot be true"),
        ({"labels": [[name_of(0), ["x"]], [name_of(1), [1]]]}, "cannot be"),
        ({"labels": [[name_of(0), [float("nan")]], [name_of(1), [1]]]}, "cannot be"),
        ({"labels": [[name_of(0), [10**400]], [name_of(1), [1]]]}, "cannot be"),
        ({"labels": [[name_of(0), 10**9], [name_of(1), 1]]}, "class 1000000000"),
        ({"labels": {name_of(0): 1}}, "no list"),
        ({"labels": [name_of(0), name_of(1)]}, "expected \\[name, value\\]"),
        ({"attributes": [[name_of(0), {}]]}, "attributes of 1 of 2"),
        ({"attributes": [[name_of(0), {}], [name_of(1), 3]]}, "cannot be 3"),
        ({"schema": []}, None),
        ({"schema": [1]}, "schema is no object"),
        ({"schema": {"age": 3}}, "schema of 'age'"),
        ([1, 2], "expected an object"),
    ],
)
def test_dataset_json_that_disagrees(tmp_path: Path, content: Any, message: str | None) -> None:
    path = make_zip(tmp_path / "a.zip", png_files(pictures(2)), content)
    if message is None:
        ImageDataset(path)
        return
    with pytest.raises(DataError, match=rf"a\.zip: dataset\.json: .*{message}") as caught:
        ImageDataset(path)
    assert "\n" not in str(caught.value)


def test_dataset_json_that_is_no_json(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {**png_files(pictures(2)), "dataset.json": b"{'labels'"})
    assert "not valid JSON" in error_of(path)


def test_labels_wanted_where_none_are(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", png_files(pictures(2)), {"labels": None})
    assert "has no labels" in error_of(path, use_labels=True)
