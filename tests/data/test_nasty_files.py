"""Whatever a folder holds: each kind is imported as it should be, or left out with its reason; nothing hangs."""

from __future__ import annotations

import io
import os
import socket
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantrol.data import ImageDataset, import_images
from gantrol.data.import_tally import printable
from gantrol.errors import DataError
from tests.data import nasty
from tests.data.nasty import Nasty


def rgb(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def imported(path: Path) -> np.ndarray:
    """uint8 [N, H, W, 3]."""
    dataset = ImageDataset(path)
    return np.stack(
        [np.broadcast_to(dataset.pixels(i), (3, *dataset.pixels(i).shape[1:])) for i in range(len(dataset))]
    )


def test_the_corpus_is_large() -> None:
    assert len({kind.name for kind in nasty.ALL}) == len(nasty.ALL) >= 100


@pytest.mark.parametrize("kind", nasty.IMPORTED, ids=lambda kind: kind.name)
def test_is_imported(kind: Nasty, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / kind.name).write_bytes(kind.make())
    report = import_images(tmp_path / "in", tmp_path / "o.zip", workers=1)
    assert (report.count, report.skipped, report.skipped_list) == (1, (), None)
    assert report.ignored_profiles == kind.ignores_profile
    assert kind.pixels is not None
    found, expected = imported(tmp_path / "o.zip")[0].transpose(1, 2, 0), rgb(kind.pixels)
    assert found.shape == expected.shape
    assert np.abs(found.astype(float) - expected).mean() <= kind.tolerance


@pytest.mark.parametrize("kind", nasty.LEFT_OUT, ids=lambda kind: kind.name)
def test_is_left_out(kind: Nasty, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / kind.name
    path.write_bytes(kind.make())
    with pytest.raises(DataError, match=kind.reason) as caught:
        import_images(tmp_path / "in", tmp_path / "o.zip", workers=1)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["in"]


# ----------------------------------------------------------------------------------------------------------------------
# All at once, and what is no file


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "in"
    folder.mkdir()
    for kind in nasty.ALL:
        (folder / kind.name).write_bytes(kind.make())
    return folder


def test_all_of_them_in_one_import(corpus: Path, tmp_path: Path) -> None:
    report = import_images(corpus, tmp_path / "o.zip", size_px=8)
    assert report.count == len(nasty.IMPORTED)
    assert {skipped.name for skipped in report.skipped} == {kind.name for kind in nasty.LEFT_OUT}
    assert report.ignored_profiles == sum(kind.ignores_profile for kind in nasty.IMPORTED)
    assert report.skipped_list == tmp_path / "o.zip.skipped.txt"
    lines = report.skipped_list.read_text("utf-8").splitlines()
    assert [line.split("\t")[0] for line in lines] == sorted(kind.name for kind in nasty.LEFT_OUT)
    assert "phone.heic\tis a HEIC image, which is not read: convert it to PNG or JPEG" in lines


def test_workers_archives_and_alpha_change_nothing_but_what_they_should(corpus: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in corpus.iterdir():
            archive.write(path, path.name)
    for name, source, workers in (("a", corpus, 1), ("b", corpus, 5), ("c", tmp_path / "in", 2)):
        import_images(source, tmp_path / f"{name}.zip", size_px=8, workers=workers)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes() == (tmp_path / "c.zip").read_bytes()
    texts = [(tmp_path / f"{name}.zip.skipped.txt").read_bytes() for name in "abc"]
    assert texts[0] == texts[1] == texts[2]
    report = import_images(corpus, tmp_path / "d.zip", size_px=8, alpha="keep")
    assert (report.count, report.channels) == (len(nasty.IMPORTED), 4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_pipes_sockets_devices_links_and_folders_do_not_stop_it(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.png").write_bytes(nasty.plain_png())
    os.mkfifo(folder / "pipe.png")
    (folder / "round.png").symlink_to(folder / "about.png")
    (folder / "about.png").symlink_to(folder / "round.png")
    (folder / "nowhere.png").symlink_to(tmp_path / "missing.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "up").symlink_to(folder, target_is_directory=True)
    (folder / "folder.png").mkdir()
    (folder / "link to good.png").symlink_to(folder / "good.png")
    with socket.socket(socket.AF_UNIX) as server:
        before = os.getcwd()
        os.chdir(folder)  # paths of sockets must be short
        try:
            server.bind("socket.png")
        finally:
            os.chdir(before)
        report = import_images(folder, tmp_path / "o.zip")
    assert report.count == 2
    reasons = {skipped.name: skipped.reason for skipped in report.skipped}
    assert set(reasons) == {"pipe.png", "socket.png", "round.png", "about.png", "nowhere.png", "zero.png"}
    for name in ("pipe.png", "zero.png"):
        assert "is no regular file" in reasons[name]
    with pytest.raises(DataError, match="is a pipe, socket or device"):
        import_images(folder / "pipe.png", tmp_path / "p.zip")


def test_names_of_all_kinds(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    names = [
        b"line\nfeed.png",
        b"\xff\xfe.png",
        "日本 é.png".encode(),
        b"tab\t.png",
        b"-rf.png",
        b"[bold]x.png",
        b"'\".PNG",
    ]
    for name in names:
        for sub, content in ((b"good", nasty.plain_png()), (b"\x80bad\x1b[31m", b"text")):
            path = os.fsencode(folder) + b"/" + sub + b"/" + name
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
    report = import_images(folder, tmp_path / "o.zip", classes_from_folders=True)
    assert (report.count, len(report.skipped)) == (len(names), len(names))
    assert report.classes == ("\\udc80bad\\x1b[31m", "good")
    assert report.skipped_list is not None
    lines = report.skipped_list.read_text("utf-8").splitlines()
    assert len(lines) == len(names)
    assert all(line.replace("\t", "").isprintable() for line in lines)
    assert printable("a\nb\x00\udc80é") == "a\\nb\\x00\\udc80é"


def test_files_that_vanish_or_change_while_it_runs(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02d}.png").write_bytes(nasty.saved(np.full([8, 8, 3], number, np.uint8), "PNG"))

    def disturb(done: int, total: int) -> None:
        if done == 1:
            (folder / "58.png").unlink()
            (folder / "59.png").write_bytes(b"")
            (folder / "60.png").write_bytes(nasty.plain_png())

    report = import_images(folder, tmp_path / "o.zip", workers=1, progress=disturb)
    assert report.count == 58
    assert [skipped.name for skipped in report.skipped] == ["58.png", "59.png"]


# ----------------------------------------------------------------------------------------------------------------------
# Archives


def test_an_archive_that_is_replaced_while_it_is_read_stops_the_import(tmp_path: Path) -> None:
    archive = tmp_path / "in.zip"
    with zipfile.ZipFile(archive, "w") as writer:
        for number in range(60):
            writer.writestr(f"{number:02d}.png", nasty.saved(np.full([8, 8, 3], number, np.uint8), "PNG"))

    def replace(done: int, total: int) -> None:
        if done == 1:
            archive.write_bytes(archive.read_bytes()[:5000])

    with pytest.raises(DataError, match="has changed since it was opened"):
        import_images(archive, tmp_path / "o.zip", workers=1, progress=replace)
    assert os.listdir(tmp_path) == ["in.zip"]


def test_bombs_in_a_zip_are_refused_before_they_are_inflated(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.png", nasty.plain_png())
        for number in range(3):
            archive.writestr(f"bomb{number}.zip.png", b"PK\x03\x04" + bytes(5 * 2**20))
    with zipfile.ZipFile(tmp_path / "in.zip", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("liar.png", nasty.plain_png() + bytes(2**20))
    data = (tmp_path / "in.zip").read_bytes()
    claimed = (len(nasty.plain_png()) + 2**20).to_bytes(4, "little")
    at = data.rindex(claimed)  # in the directory
    (tmp_path / "in.zip").write_bytes(data[:at] + (2**31).to_bytes(4, "little") + data[at + 4 :])
    report = import_images(tmp_path / "in.zip", tmp_path / "o.zip")
    assert report.count == 1
    assert [skipped.reason.partition(": ")[2].partition(": ")[2] for skipped in report.skipped][:1] == [
        "is a zip, which is not read: convert it to PNG or JPEG"
    ]
    assert f"claims {2**31} bytes, more than" in report.skipped[-1].reason


@pytest.mark.parametrize("name", ["../../escaped.png", "/tmp/escaped.png", "a/../../escaped.png"])
def test_paths_never_leave_the_output(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr(name, nasty.plain_png())
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(nasty.plain_png())
        tar.addfile(member, io.BytesIO(nasty.plain_png()))
    for source in ("in.zip", "in.tar"):
        with pytest.raises(DataError, match="which leaves the archive"):
            import_images(tmp_path / source, tmp_path / "out" / "o.zip")
    assert not (tmp_path / "out").exists()


def test_the_output_holds_only_names_of_its_own(corpus: Path, tmp_path: Path) -> None:
    report = import_images(corpus, tmp_path / "o.zip", size_px=8)
    with zipfile.ZipFile(tmp_path / "o.zip") as archive:
        names = archive.namelist()
    assert names == [f"00000/img{index:08d}.png" for index in range(report.count)] + ["dataset.json"]


def test_reading_less_of_a_large_jpeg_is_invisible(tmp_path: Path) -> None:
    """Decoding at a fraction, for a wide picture whose square lies between the pixels of the fraction."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    large = small.resize((984, 640), Image.Resampling.BICUBIC)
    (tmp_path / "in").mkdir()
    large.save(tmp_path / "in/a.jpg", quality=95)
    import_images(tmp_path / "in", tmp_path / "o.zip", size_px=32)
    found = imported(tmp_path / "o.zip")[0].transpose(1, 2, 0).astype(float)
    whole = Image.open(tmp_path / "in/a.jpg").resize((32, 32), Image.Resampling.LANCZOS, box=(172, 0, 812, 640))
    error = ((found - np.asarray(whole, dtype=float)) ** 2).mean()
    assert 10 * np.log10(255**2 / error) > 45
