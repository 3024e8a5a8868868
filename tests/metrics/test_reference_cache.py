"""Statistics of real images are kept, and a stale or damaged file never gives a wrong number."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from gantrol import checkpoint
from gantrol.data.dataset import ImageDataset
from gantrol.metrics import evaluate, reference_cache
from gantrol.metrics.reference_cache import dataset_digest
from tests.metrics.fake_features import Averages, quick_features, tiny_model, write_dataset

pytestmark = pytest.mark.usefixtures(quick_features.__name__)

ALL: dict[str, Any] = {"metrics": ["fid", "kid", "pr", "dc"], "samples": 20, "features": "averages"}
FAKES, REALS = 20, 24


def looked_at(*arguments: Any, **options: Any) -> tuple[dict[str, float], int]:
    """The numbers, and how many images were looked at for them."""
    before = Averages.calls
    return evaluate(*arguments, **{**ALL, **options}), Averages.calls - before


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "d.zip", REALS)


def kept_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "gantrol" / "statistics").iterdir())


def test_reals_are_looked_at_once(data: Path, tmp_path: Path) -> None:
    model = tiny_model()
    seen: list[tuple[int, int]] = []
    first, count = looked_at(model, data, progress=lambda done, total: seen.append((done, total)))
    assert count == REALS + FAKES
    assert seen[-1] == (REALS + FAKES, REALS + FAKES)
    assert looked_at(model, data) == (first, FAKES)
    assert looked_at(model, data, metrics=["fid"]) == ({"fid": first["fid"]}, FAKES)
    shutil.copy(data, tmp_path / "copy.zip")
    assert looked_at(model, tmp_path / "copy.zip") == (first, FAKES)
    assert looked_at(tiny_model(seed=1), data)[1] == FAKES


def test_what_is_missing_is_computed(data: Path) -> None:
    model = tiny_model()
    assert looked_at(model, data, metrics=["is"])[1] == FAKES
    assert looked_at(model, data, metrics=["fid"])[1] == REALS + FAKES
    assert looked_at(model, data, metrics=["pr"])[1] == REALS + FAKES  # features were not kept so far
    assert looked_at(model, data)[1] == FAKES


@pytest.mark.parametrize("change", [{"x_flip": True}, {"max_reals": 12}, {"features": "blind"}])
def test_all_that_matters_is_in_the_key(data: Path, change: dict[str, Any]) -> None:
    model = tiny_model()
    plain = looked_at(model, data)[0]
    first, count = looked_at(model, data, **change)
    assert count == FAKES + {"x_flip": 2 * REALS, "max_reals": 12, "features": REALS}[next(iter(change))]
    assert looked_at(model, data, **change) == (first, FAKES)
    assert looked_at(model, data) == (plain, FAKES)
    if "max_reals" in change:
        assert looked_at(model, data, seed=1, **change)[1] == 12 + FAKES  # other ones are chosen
    assert looked_at(model, data, seed=1)[1] == FAKES  # all of them, whatever the seed


def test_an_edited_dataset_is_looked_at_anew(data: Path) -> None:
    model = tiny_model()
    first = looked_at(model, data)[0]
    write_dataset(data, REALS, seed=1)
    edited, count = looked_at(model, data)
    assert count == REALS + FAKES
    assert edited != first


def test_damaged_or_exchanged_files_are_not_believed(data: Path, tmp_path: Path) -> None:
    model = tiny_model()
    first = looked_at(model, data)[0]
    for kept in kept_files(tmp_path):
        whole = kept.read_bytes()
        for content in (b"damaged", whole[:-8], whole[:-1] + bytes([whole[-1] ^ 1])):
            kept.write_bytes(content)
            assert looked_at(model, data) == (first, REALS + FAKES)
    one, other = kept_files(tmp_path)
    one_bytes, other_bytes = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_bytes)
    other.write_bytes(one_bytes)
    assert looked_at(model, data) == (first, REALS + FAKES)


def test_files_that_do_not_fit_are_not_believed(data: Path, tmp_path: Path) -> None:
    """As another version of gantrol could have written them: whole, with the right key, and of another shape."""
    model = tiny_model()
    first = looked_at(model, data)[0]
    for kept in kept_files(tmp_path):
        tensors, metadata = checkpoint.load(kept)
        for change in (lambda x: x[..., :3], lambda x: x.repeat(*[2] * x.ndim) if x.ndim else x + 1):
            checkpoint.save(kept, {name: change(value) for name, value in tensors.items() if value.ndim}, metadata)
            assert looked_at(model, data) == (first, REALS + FAKES)


def test_large_statistics_are_not_kept(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_cache, "MAX_BYTES", 24 * 12 * 4 - 1)
    model = tiny_model()
    assert looked_at(model, data, metrics=["kid"])[1] == REALS + FAKES
    assert looked_at(model, data, metrics=["kid"])[1] == REALS + FAKES
    assert not (tmp_path / "cache").exists()


def test_an_unwritable_cache_is_no_error(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert looked_at(tiny_model(), data)[0]["fid"] > 0


def test_kept_features_are_those_that_were_seen(data: Path, tmp_path: Path) -> None:
    looked_at(tiny_model(), data, metrics=["kid"])
    (kept,) = kept_files(tmp_path)
    dataset = ImageDataset(data)
    images = torch.stack([torch.from_numpy(dataset.pixels(row)) for row in range(REALS)])
    assert torch.equal(checkpoint.load(kept)[0]["features"], Averages()(images))


def test_folders_and_zips_have_digests_of_their_content(data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(data) as archive:
        archive.extractall(tmp_path / "d")
    folder = dataset_digest(ImageDataset(tmp_path / "d"))
    assert folder == dataset_digest(ImageDataset(tmp_path / "d"))
    assert dataset_digest(ImageDataset(data)) != dataset_digest(ImageDataset(data, max_size=5))
    (tmp_path / "d" / "00000.png").write_bytes((tmp_path / "d" / "00001.png").read_bytes())
    assert folder != dataset_digest(ImageDataset(tmp_path / "d"))
