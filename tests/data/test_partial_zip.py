"""A zip whose writing was interrupted: whole members are found, the rest is not trusted."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gantrol.data.dataset import DatasetWriter, ImageDataset
from gantrol.data.partial_zip import resumable_file, whole_members
from gantrol.errors import DataError


def zip_bytes(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def test_members_up_to_the_cut_are_found() -> None:
    members = [("a", b"x" * 100), ("b/c", b""), ("d", b"y" * 50)]
    data = zip_bytes(*members)
    assert list(whole_members(io.BytesIO(data))) == members
    for cut in range(len(data)):
        found = list(whole_members(io.BytesIO(data[:cut])))
        assert found == members[: len(found)]
    damaged = bytearray(data)
    damaged[40] ^= 1  # inside the first member
    assert list(whole_members(io.BytesIO(bytes(damaged)))) == []
    assert list(whole_members(io.BytesIO(zip_bytes(*members, method=zipfile.ZIP_DEFLATED)))) == []


def test_two_writers_of_one_file_are_noticed(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path, partial = tmp_path / "f.zip", tmp_path / ".f.zip.part"
    with resumable_file(path, partial) as (file, members):
        assert list(members) == []
        file.write(b"1")
        file.flush()
        with pytest.raises(DataError, match="another process"), resumable_file(path, partial) as (_, again):
            list(again)
    assert path.read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [path]


def test_attachments_are_kept_read_and_recovered(tmp_path: Path) -> None:
    def attachment(value: int) -> bytes:
        file = io.BytesIO()
        np.savez(file, depth=np.full((2, 2), value))
        return file.getvalue()

    image = np.zeros((8, 8, 3), dtype=np.uint8)
    path = tmp_path / "f.zip"
    with contextlib.suppress(KeyError), DatasetWriter(path, resume_token="x") as writer:
        writer.add(image, attachment=attachment(0))
        writer.add(image, attachment=attachment(1))
        raise KeyError
    with DatasetWriter(path, resume_token="x", resume_limit=2) as writer:
        assert writer.recovered == 2
        with pytest.raises(DataError, match="was recovered"):
            writer.add(image)
        writer.add(None)
        writer.add(None)
        with pytest.raises(DataError, match="is missing"):
            writer.add(None)
        writer.add(image)
    dataset = ImageDataset(path)
    assert len(dataset) == 3
    assert [int(dataset.attachment(i)["depth"][0, 0]) for i in (0, 1)] == [0, 1]
    assert dataset.attachment(2) == {}
    flipped = ImageDataset(path, x_flip=True)
    with pytest.raises(DataError, match="flipped"):
        flipped.attachment(4)


def test_recovered_images_must_be_added_again(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    with contextlib.suppress(KeyError), DatasetWriter(tmp_path / "f.zip", resume_token="x") as writer:
        writer.add(image)
        raise KeyError
    with pytest.raises(DataError, match="1 images were recovered"), DatasetWriter(tmp_path / "f.zip", resume_token="x"):
        pass


def test_an_attachment_that_is_no_npz_is_named(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "f.zip") as writer:
        writer.add(np.zeros((8, 8, 3), dtype=np.uint8), attachment=b"no")
    with pytest.raises(DataError, match=r"img00000000\.npz: is no readable npz"):
        ImageDataset(tmp_path / "f.zip").attachment(0)
