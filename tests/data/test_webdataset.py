"""WebDataset: tars of ours by its conventions, and tars of others."""

from __future__ import annotations

import io
import json
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from gantrol.data import ImageDataset, import_images
from gantrol.data.images import encode
from gantrol.data.shards import open_writer
from gantrol.data.sources import open_source
from gantrol.data.tarstore import TarStore
from gantrol.data.webdataset import split_name
from gantrol.errors import DataError


def picture(index: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (8, 8, channels), dtype=np.uint8)


def pack(path: Path, files: dict[str, bytes], mode: str = "w", format: int = tarfile.USTAR_FORMAT) -> Path:
    """A tar as others write it."""
    with tarfile.open(path, mode, format=format) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def samples(count: int = 3) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for index in range(count):
        key = f"cats/n{index:04d}"
        files |= {f"{key}.png": encode(picture(index)), f"{key}.cls": str(index % 2).encode()}
        files |= {f"{key}.json": json.dumps({"age": index}).encode(), f"{key}.txt": f"cat {index}".encode()}
    return files


@pytest.mark.parametrize("name", ["one.tar", "one.tar.gz", "one.tar.xz"])
def test_tars_of_others(tmp_path: Path, name: str) -> None:
    path = pack(tmp_path / name, samples(), "w:" + name.removeprefix("one.tar").lstrip("."))
    dataset = ImageDataset(path, use_labels=True)
    assert (len(dataset), dataset.label_dim, dataset.describe()["kind"]) == (3, 2, "tar")
    for index in range(3):
        np.testing.assert_array_equal(dataset.pixels(index), picture(index).transpose(2, 0, 1))
        assert dataset.label(index).argmax() == index % 2
        assert dataset.attributes(index) == {"age": index, "text": f"cat {index}"}
    found = open_source(path)
    assert found.annotations.labels == {f"cats/n{index:04d}.png": index % 2 for index in range(3)}
    report = import_images(path, tmp_path / "o.zip")
    assert ImageDataset(report.out, use_labels=True).attributes(2) == {"age": 2, "text": "cat 2"}


def test_tars_with_long_and_foreign_names(tmp_path: Path) -> None:
    """These need extension headers, which the quick index leaves to tarfile."""
    names = ["ä" * 20 + ".png", "x" * 150 + ".png", "plain.png"]
    files = {name: encode(picture(index)) for index, name in enumerate(names)}
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        store = TarStore(pack(tmp_path / f"{form}.tar", files, format=form))
        assert store.names == sorted(names)
        assert all(bytes(store.read(name)) == files[name] for name in names)


def test_layout_of_our_tars(tmp_path: Path) -> None:
    with open_writer(tmp_path / "set", layout="webdataset", shard_images=2) as writer:
        for index in range(3):
            name = writer.add(
                picture(index, 4), label=index, attributes={"x": index}, attachment=b"npz" if index == 1 else None
            )
            assert name == f"{index:08d}.png"
    with tarfile.open(tmp_path / "set" / "00000.tar") as archive:
        assert archive.getnames() == [
            *(f"00000000.{ending}" for ending in ("cls", "json", "png")),
            *(f"00000001.{ending}" for ending in ("cls", "json", "npz", "png")),
        ]
        cls, attributes = archive.extractfile("00000001.cls"), archive.extractfile("00000001.json")
        assert cls is not None
        assert attributes is not None
        assert (cls.read(), json.loads(attributes.read())) == (b"1", {"x": 1})
    index = json.loads((tmp_path / "set" / "index.json").read_text())
    assert (index["layout"], [shard["file"] for shard in index["shards"]]) == ("webdataset", ["00000.tar", "00001.tar"])


def test_the_package_webdataset_reads_them(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    with open_writer(tmp_path / "set", layout="webdataset", shard_images=2) as writer:
        for index in range(4):
            writer.add(picture(index), label=index, attributes={"x": index})
    stream = webdataset.WebDataset(str(tmp_path / "set" / "{00000..00001}.tar"), shardshuffle=False).decode("rgb8")
    found = list(stream.to_tuple("png", "cls", "json"))
    assert [(cls, attributes) for _, cls, attributes in found] == [(index, {"x": index}) for index in range(4)]
    for index, (pixels, _, _) in enumerate(found):
        np.testing.assert_array_equal(pixels, picture(index))


def test_vector_labels_survive(tmp_path: Path) -> None:
    with open_writer(tmp_path / "set", layout="webdataset") as writer:
        for index in range(2):
            writer.add(picture(index), label=[index, 0.5])
    dataset = ImageDataset(tmp_path / "set", use_labels=True)
    assert [dataset.label(index).tolist() for index in range(2)] == [[0, 0.5], [1, 0.5]]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("b.cls", b"two", r"b\.cls: 'two' is no class index"),
        ("b.cls", b"-1", "is no class index"),
        ("b.cls", b"99999999", "is no class index"),
        ("b.json", b"{", r"b\.json: is not valid JSON"),
        ("b.label.json", b"[1, NaN]", "is no list of numbers"),
        ("c.png", encode(picture(0)), r"c\.png: has no \.cls, but a\.png has one: label all or none"),
    ],
)
def test_bad_samples_are_one_line(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    files = {"a.png": encode(picture(0)), "a.cls": b"0", "b.png": encode(picture(1))}
    files |= {} if name == "b.cls" or name == "b.label.json" else {"b.cls": b"1"}
    with pytest.raises(DataError, match=message) as caught:
        ImageDataset(pack(tmp_path / "a.tar", files | {name: data}))
    assert "\n" not in str(caught.value)


def test_names_are_split_at_the_first_dot() -> None:
    assert split_name("a.b/c.d.PNG") == ("a.b/c", "d.png")
    assert split_name("c") == ("c", "")


def test_a_cut_or_changed_tar_is_named(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar", samples())
    dataset = ImageDataset(path)
    old = path.read_bytes()
    time.sleep(0.02)
    path.write_bytes(old[:600])
    with pytest.raises(DataError, match=r"a\.tar: has changed since it was opened"):
        dataset.pixels(0)
    with pytest.raises(DataError, match="cut short"):
        ImageDataset(path)
