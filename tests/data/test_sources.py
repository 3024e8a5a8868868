"""Published datasets in their true layouts, small: every pixel and label arrives, damage and tricks do not."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gantrol.data import ImageDataset, import_images
from gantrol.data.sources import open_source
from gantrol.errors import DataError

RNG = np.random.default_rng(0)


def pixels_and_labels(path: Path) -> tuple[np.ndarray, list[int]]:
    """uint8 [N, C, H, W] and the classes of a dataset."""
    try:
        dataset = ImageDataset(path, use_labels=True)
    except DataError:
        dataset = ImageDataset(path)
    images = np.stack([dataset.pixels(index) for index in range(len(dataset))])
    return images, [int(dataset.label(index).argmax()) if dataset.label_dim else -1 for index in range(len(dataset))]


def tar(path: Path, folder: Path, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        archive.add(folder, arcname=folder.name)
    return path


# ----------------------------------------------------------------------------------------------------------------------
# CIFAR


def python2_pickle(batch: dict[str, Any]) -> bytes:
    """As Python 2 wrote the published files: protocol 2, byte strings as text opcodes."""

    def string(data: bytes) -> bytes:
        if len(data) < 256:
            return pickle.SHORT_BINSTRING + bytes([len(data)]) + data
        return pickle.BINSTRING + len(data).to_bytes(4, "little") + data

    def write(value: Any) -> bytes:
        if isinstance(value, np.ndarray):
            shape = b"(" + b"".join(write(int(n)) for n in value.shape) + pickle.TUPLE
            dtype = b"cnumpy\ndtype\n(" + string(b"u1") + b"K\x00K\x01tR(K\x03" + string(b"|") + b"NNNJ\xff\xff\xff\xff"
            dtype += b"J\xff\xff\xff\xffK\x00tb"
            make = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + string(b"b") + b"tR"
            return make + b"(K\x01" + shape + dtype + pickle.NEWFALSE + string(value.tobytes()) + b"tb"
        if isinstance(value, int):
            return pickle.BININT + value.to_bytes(4, "little", signed=True)
        if isinstance(value, list):
            return b"](" + b"".join(write(item) for item in value) + b"e"
        return string(str(value).encode())

    items = b"".join(string(key.encode()) + write(value) for key, value in batch.items())
    return b"\x80\x02}(" + items + b"u."


@pytest.fixture
def cifar10() -> dict[str, tuple[np.ndarray, list[int]]]:
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    return {n: (RNG.integers(0, 256, (30, 3072), dtype=np.uint8), RNG.integers(0, 10, 30).tolist()) for n in names}


CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def write_cifar10(folder: Path, content: dict[str, tuple[np.ndarray, list[int]]], kind: str) -> Path:
    folder.mkdir()
    for name, (pixels, labels) in content.items():
        batch = {"batch_label": name, "labels": labels, "data": pixels, "filenames": [f"{i}.png" for i in labels]}
        if kind == "binary":
            (folder / f"{name}.bin").write_bytes(np.c_[np.array(labels, np.uint8), pixels].tobytes())
        elif kind == "python2":
            (folder / name).write_bytes(python2_pickle(batch))
        else:
            (folder / name).write_bytes(pickle.dumps(batch, protocol=int(kind)))
    if kind == "binary":
        (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")
    else:
        (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": CLASSES, "num_vis": 3072}, protocol=2))
    return folder


@pytest.mark.parametrize("packed", ["folder", "tar.gz"])
@pytest.mark.parametrize("kind", ["python2", "3", "4", "binary"])
def test_cifar10(tmp_path: Path, cifar10: dict[str, tuple[np.ndarray, list[int]]], kind: str, packed: str) -> None:
    source = write_cifar10(tmp_path / "cifar-10-batches", cifar10, kind)
    if packed == "tar.gz":
        source = tar(tmp_path / "cifar-10.tar.gz", source)
    report = import_images(source, tmp_path / "o.zip")
    assert (report.count, report.size_px, report.channels, report.classes) == (150, 32, 3, tuple(CLASSES))
    images, labels = pixels_and_labels(tmp_path / "o.zip")
    train = [cifar10[f"data_batch_{i}"] for i in range(1, 6)]
    np.testing.assert_array_equal(images, np.concatenate([p for p, _ in train]).reshape(-1, 3, 32, 32))
    assert labels == [label for _, part in train for label in part]
    test, _ = pixels_and_labels(import_images(source, tmp_path / "test.zip", split="test").out)
    np.testing.assert_array_equal(test, cifar10["test_batch"][0].reshape(-1, 3, 32, 32))
    assert import_images(source, tmp_path / "all.zip", split="all").count == 180
    with pytest.raises(DataError, match="has no split 'tst'; did you mean test"):
        open_source(source, "tst")


@pytest.mark.parametrize("kind", ["python", "binary"])
def test_cifar100_takes_the_fine_labels(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "cifar-100"
    folder.mkdir()
    pixels = RNG.integers(0, 256, (8, 3072), dtype=np.uint8)
    fine, coarse = list(range(92, 100)), [1] * 8
    for name in ("train", "test"):
        if kind == "python":
            batch = {"data": pixels, "fine_labels": fine, "coarse_labels": coarse}
            (folder / name).write_bytes(pickle.dumps(batch, protocol=4))
        else:
            (folder / f"{name}.bin").write_bytes(np.c_[np.uint8(coarse), np.uint8(fine), pixels].tobytes())
    names = [f"class{i}" for i in range(100)]
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}, protocol=2))
    (folder / "fine_label_names.txt").write_text("\n".join(names))
    if kind == "binary":
        (folder / "meta").unlink()
    report = import_images(folder, tmp_path / "o.zip")
    assert report.classes == tuple(names)
    assert pixels_and_labels(tmp_path / "o.zip")[1] == fine


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_is_refused_and_nothing_runs(
    tmp_path: Path, cifar10: dict[str, tuple[np.ndarray, list[int]]]
) -> None:
    folder = write_cifar10(tmp_path / "cifar", cifar10, "4")
    (folder / "data_batch_3").write_bytes(pickle.dumps({"data": Bomb(tmp_path / "ran"), "labels": []}, protocol=2))
    with pytest.raises(DataError, match=r"data_batch_3: is no file of CIFAR: it asks for .*mkdir") as caught:
        import_images(folder, tmp_path / "o.zip")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "o.zip").exists()


def test_damaged_cifar(tmp_path: Path, cifar10: dict[str, tuple[np.ndarray, list[int]]]) -> None:
    folder = write_cifar10(tmp_path / "a", cifar10, "binary")
    (folder / "data_batch_2.bin").write_bytes(b"\0" * 5000)
    with pytest.raises(DataError, match=r"data_batch_2\.bin: 5,000 bytes are not a whole number of records of 3,073"):
        open_source(folder)
    (folder / "data_batch_2.bin").unlink()
    with pytest.raises(DataError, match=r"without data_batch_2\.bin"):
        open_source(folder)
    folder = write_cifar10(tmp_path / "b", cifar10, "4")
    batch = {"data": cifar10["test_batch"][0].astype(np.float64), "labels": [1] * 30}
    (folder / "data_batch_1").write_bytes(pickle.dumps(batch, protocol=4))
    with pytest.raises(DataError, match="its pixels are no bytes"):
        open_source(folder)
    (folder / "data_batch_1").write_bytes(pickle.dumps({"data": cifar10["test_batch"][0], "labels": [1]}, protocol=4))
    with pytest.raises(DataError, match="1 labels and pixels of shape"):
        open_source(folder)


# ----------------------------------------------------------------------------------------------------------------------
# STL-10 and MNIST


def test_stl10(tmp_path: Path) -> None:
    """Planes are stored column by column: the published files come out upright."""
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    images = {part: RNG.integers(0, 256, (n, 3, 96, 96), dtype=np.uint8) for part, n in (("train", 4), ("test", 2))}
    images["unlabeled"] = RNG.integers(0, 256, (3, 3, 96, 96), dtype=np.uint8)
    for part, pixels in images.items():
        (folder / f"{part}_X.bin").write_bytes(pixels.transpose(0, 1, 3, 2).tobytes())
    (folder / "train_y.bin").write_bytes(bytes([1, 10, 3, 2]))
    (folder / "test_y.bin").write_bytes(bytes([5, 5]))
    (folder / "class_names.txt").write_text("\n".join(CLASSES))
    report = import_images(folder, tmp_path / "o.zip")
    assert (report.count, report.size_px, report.classes) == (7, 96, ())
    found, _ = pixels_and_labels(tmp_path / "o.zip")
    np.testing.assert_array_equal(found, np.concatenate([images["train"], images["unlabeled"]]))
    archive = tar(tmp_path / "stl10_binary.tar.gz", folder)
    report = import_images(archive, tmp_path / "labeled.zip", split="labeled")
    assert report.classes == tuple(CLASSES)
    assert pixels_and_labels(tmp_path / "labeled.zip")[1] == [0, 9, 2, 1]
    assert import_images(folder, tmp_path / "all.zip", split="all", size_px=48).count == 9
    assert import_images(folder, tmp_path / "test.zip", split="test", size_px=48).size_px == 48
    (folder / "train_y.bin").write_bytes(bytes([1, 11, 3, 2]))
    with pytest.raises(DataError, match="do not fit 4 images of ten classes"):
        open_source(folder)


def idx(array: np.ndarray) -> bytes:
    shape = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


@pytest.fixture
def mnist(tmp_path: Path) -> tuple[Path, np.ndarray]:
    folder = tmp_path / "mnist"
    folder.mkdir()
    digits = RNG.integers(0, 256, (5, 28, 28), dtype=np.uint8)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(digits)))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.uint8([3, 1, 4, 1, 5]))))
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(digits[:2]))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.uint8([0, 9])))
    return folder, digits


def test_mnist_gets_its_border(tmp_path: Path, mnist: tuple[Path, np.ndarray]) -> None:
    folder, digits = mnist
    for source in (folder, folder / "train-images-idx3-ubyte.gz"):
        report = import_images(source, tmp_path / "o.zip", overwrite=True)
        assert (report.count, report.size_px, report.channels) == (5, 32, 1)
        images, labels = pixels_and_labels(tmp_path / "o.zip")
        np.testing.assert_array_equal(images[:, 0, 2:-2, 2:-2], digits)
        assert images[:, 0, :2].max() == images[:, 0, :, -2:].max() == 0
        assert labels == [3, 1, 4, 1, 5]
    assert pixels_and_labels(import_images(folder, tmp_path / "t.zip", split="test").out)[1] == [0, 9]


def test_damaged_idx(mnist: tuple[Path, np.ndarray]) -> None:
    folder, digits = mnist
    path = folder / "train-images-idx3-ubyte.gz"
    with pytest.raises(DataError, match="holds labels; give the file of images"):
        open_source(folder / "train-labels-idx1-ubyte.gz")
    for content, message in (
        (gzip.compress(idx(digits))[:-40], "is damaged or cut short"),
        (b"nothing", "is damaged or cut short"),
        (gzip.compress(idx(digits)[:-1]), "has 3,919 bytes of values where its header says 3,920"),
        (gzip.compress(b"\0\0\x0d\x03" + b"\0" * 12), "is no idx file of bytes with 3 axes"),
        (gzip.compress(idx(digits[:4])), "5 labels for 4 images"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            open_source(folder)


# ----------------------------------------------------------------------------------------------------------------------
# CelebA, tars of images


@pytest.mark.parametrize("layout", ["beside", "above", "csv", "zip-like tar"])
def test_celeba_attributes(tmp_path: Path, layout: str) -> None:
    root = tmp_path / "celeba"
    folder = root / "img_align_celeba"
    folder.mkdir(parents=True)
    for index in range(1, 4):
        Image.fromarray(RNG.integers(0, 256, (218, 178, 3), dtype=np.uint8)).save(folder / f"{index:06d}.jpg")
    rows = {"000001.jpg": (1, -1), "000002.jpg": (-1, -1), "000003.jpg": (-1, 1)}
    text = "3\nSmiling Wearing_Hat\n" + "".join(f"{name}  {a}  {b}\n" for name, (a, b) in rows.items())
    home = folder if layout == "beside" else root / "Anno" if layout == "above" else root
    home.mkdir(exist_ok=True)
    if layout == "csv":
        lines = ["image_id,Smiling,Wearing_Hat", *(f"{name},{a},{b}" for name, (a, b) in rows.items())]
        (home / "list_attr_celeba.csv").write_text("\n".join(lines))
    else:
        (home / "list_attr_celeba.txt").write_text(text)
    (home / "identity_CelebA.txt").write_text("000001.jpg 7\n000002.jpg 9\n000003.jpg 7\n")
    (home / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 2\n000003.jpg 0\n")
    source = tar(tmp_path / "celeba.tar", root, "w") if layout == "zip-like tar" else folder
    report = import_images(source, tmp_path / "o.zip", size_px=64)
    dataset = ImageDataset(report.out)
    assert dataset.attributes(0) == {"Smiling": True, "Wearing_Hat": False, "identity": 7}
    assert [dataset.attributes(index)["Wearing_Hat"] for index in range(3)] == [False, False, True]
    assert import_images(source, tmp_path / "train.zip", size_px=64, split="train").count == 2
    with pytest.raises(DataError, match="has no split 'trian'; did you mean train"):
        open_source(source, "trian")


def test_celeba_lists_that_do_not_fit(tmp_path: Path) -> None:
    Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "000009.jpg")
    (tmp_path / "list_attr_celeba.txt").write_text("1\nSmiling\n000001.jpg 1\n")
    with pytest.raises(DataError, match=r"000009\.jpg: is not in .*list_attr_celeba\.txt"):
        open_source(tmp_path)
    (tmp_path / "list_attr_celeba.txt").write_text("1\nSmiling\n000009.jpg yes\n")
    with pytest.raises(DataError, match=r"the row of 000009\.jpg is not 1 times 1 or -1"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "mode"), [(".tar", "w"), (".tgz", "w:gz"), (".tar.bz2", "w:bz2"), (".tar.xz", "w:xz")]
)
def test_tars_equal_the_folder(tmp_path: Path, suffix: str, mode: str) -> None:
    folder = tmp_path / "photos"
    for name in ("b/1.png", "a/2.png", "a/3.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / name)
    archive = tar(tmp_path / f"photos{suffix}", folder, mode)
    options: dict[str, Any] = {"classes_from_folders": True}
    of_folder = pixels_and_labels(import_images(folder, tmp_path / "f.zip", **options).out)
    of_tar = pixels_and_labels(import_images(archive, tmp_path / "t.zip", **options).out)
    np.testing.assert_array_equal(of_folder[0], of_tar[0])
    assert of_folder[1] == of_tar[1] == [0, 0, 1]


def test_hostile_tars(tmp_path: Path) -> None:
    path = tmp_path / "evil.tar"
    for name in ("../outside.png", "/etc/passwd.png"):
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        with pytest.raises(DataError, match="which leaves the archive"):
            open_source(path)
    with tarfile.open(path, "w") as archive:  # links are not followed, so there is no image
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(DataError, match="holds no images"):
        open_source(path)
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("big.png")
        entry.size = 5000
        archive.addfile(entry, io.BytesIO(b"x" * 5000))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="cut short"):
        open_source(path)


# ----------------------------------------------------------------------------------------------------------------------
# With the extra `readers`


def encoded(side: int) -> tuple[bytes, np.ndarray]:
    pixels = RNG.integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue(), pixels


@pytest.mark.parametrize("give_file", [False, True])
def test_lmdb_of_lsun(tmp_path: Path, give_file: bool) -> None:
    lmdb = pytest.importorskip("lmdb")
    images = {key: encoded(40) for key in (b"a1b2", b"ff00", b"0c0d")}
    folder = tmp_path / "church_outdoor_train_lmdb"
    with lmdb.open(str(folder), map_size=1 << 22) as environment, environment.begin(write=True) as transaction:
        for key, (data, _) in images.items():
            transaction.put(key, data)
    report = import_images(folder / "data.mdb" if give_file else folder, tmp_path / "o.zip")
    found, _ = pixels_and_labels(report.out)
    np.testing.assert_array_equal(found, np.stack([images[k][1].transpose(2, 0, 1) for k in sorted(images)]))
    with pytest.raises(DataError, match="has no splits"):
        open_source(folder, "train")


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", ["dict", "table", "parquet"])
def test_huggingface(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    images = [encoded(24) for _ in range(4)]
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "kind": datasets.ClassLabel(names=["cat", "dog"]),
            "note": datasets.Value("string"),
        }
    )
    rows = {"picture": [{"bytes": d, "path": None} for d, _ in images], "kind": [0, 1, 1, 0], "note": list("abcd")}
    table = datasets.Dataset.from_dict(rows, features=features)
    source = tmp_path / "saved"
    if kind == "dict":
        datasets.DatasetDict({"train": table, "test": table.select([1])}).save_to_disk(source)
    elif kind == "table":
        table.save_to_disk(source)
    else:
        source = tmp_path / "train.parquet"
        table.to_parquet(source)
    report = import_images(source, tmp_path / "o.zip")
    found, labels = pixels_and_labels(report.out)
    np.testing.assert_array_equal(found, np.stack([pixels.transpose(2, 0, 1) for _, pixels in images]))
    assert labels == [0, 1, 1, 0]
    assert report.classes == ("cat", "dog")
    if kind == "dict":
        assert import_images(source, tmp_path / "t.zip", split="test").count == 1
        with pytest.raises(DataError, match="has no split 'tast'; did you mean test"):
            open_source(source, "tast")
    bare = datasets.Dataset.from_dict({"note": ["a"]})
    bare.save_to_disk(tmp_path / "bare")
    with pytest.raises(DataError, match="has no column of images, only note"):
        open_source(tmp_path / "bare")


SIDES = {"edges": 8, "photo": 16}
"""Columns of images, and the side of each in pixels."""


@pytest.mark.filterwarnings("default")
def test_huggingface_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    columns = {name: [{"bytes": encoded(side)[0], "path": None} for _ in range(3)] for name, side in SIDES.items()}
    features = datasets.Features(
        {
            **{name: datasets.Image() for name in SIDES},
            "kind": datasets.ClassLabel(names=["cat", "dog"]),
            "breed": datasets.Value("string"),
            "year": datasets.Value("int64"),
            "weight": datasets.Value("float32"),
        }
    )
    values = {"kind": [0, 1, 1], "breed": ["poodle", "collie", "poodle"], "year": [3, 1, 2], "weight": [0.5, 1, 2]}
    source = tmp_path / "saved"
    datasets.Dataset.from_dict(columns | values, features=features).save_to_disk(source)
    for choice, side, labels, classes in (
        ("", 8, [0, 1, 1], ("cat", "dog")),
        ("#photo", 16, [0, 1, 1], ("cat", "dog")),
        ("#photo,breed", 16, [1, 0, 1], ("collie", "poodle")),
        ("#,year", 8, [3, 1, 2], ()),
    ):
        report = import_images(f"{source}{choice}", tmp_path / "o.zip", overwrite=True)
        assert (report.size_px, pixels_and_labels(report.out)[1], report.classes) == (side, labels, classes)
    for choice, message in (
        ("#foto", "has no column of images 'foto'; did you mean photo"),
        ("#,bred", "has no column of labels 'bred'; did you mean breed"),
        ("#,weight", "weight holds no classes"),
    ):
        with pytest.raises(DataError, match=message):
            open_source(f"{source}{choice}")
