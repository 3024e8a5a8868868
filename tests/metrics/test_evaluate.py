"""Scoring a model end to end, with a quick stand-in for the feature network where its values do not matter."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gantrol
from gantrol.cli import main
from gantrol.data.dataset import ImageDataset
from gantrol.errors import ConfigError
from gantrol.metrics import evaluate, evaluate_entries, features
from gantrol.metrics.reference_cache import dataset_digest
from gantrol.model import Model
from gantrol.models import StyleGAN2Config, StyleGAN3Config


class Averages(nn.Module):
    """Features: the mean colour of each quarter of the image."""

    title: ClassVar[str] = "Averages"
    version: ClassVar[str] = "1"
    resampling: ClassVar[str] = "none"
    num_features: ClassVar[int] = 12
    calls = 0

    def forward(self, images: Tensor) -> Tensor:
        Averages.calls += len(images)
        return nn.functional.adaptive_avg_pool2d(images.float(), 2).flatten(1)


@pytest.fixture(autouse=True)
def _quick_features(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("torchmetrics")
    monkeypatch.setitem(features._NETWORKS, "averages", Averages)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Averages.calls = 0


def tiny_model(c_dim: int = 0) -> Model:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"num_layers": 3, "channel_base": 64, "channel_max": 4, "z_dim": 4, "w_dim": 4}
    return Model(StyleGAN3Config(resolution_px=16, c_dim=c_dim, **sizes).build().eval())


def write_dataset(path: Path, count: int = 24, labels: int = 0, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(count):
            data = BytesIO()
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(data, "PNG")
            archive.writestr(f"{index:05d}.png", data.getvalue())
        if labels:
            rows = ", ".join(f'["{index:05d}.png", {index % labels}]' for index in range(count))
            archive.writestr("dataset.json", f'{{"labels": [{rows}]}}')
    return path


QUICK: dict[str, Any] = {"samples": 20, "features": "averages"}


def test_a_model_gets_one_float_per_metric(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d.zip")
    values = evaluate(tiny_model(), data, ["fid", "fd"], **QUICK)
    assert list(values) == ["fid", "fd"]
    assert values["fid"] == values["fd"] > 0
    assert gantrol.metrics.evaluate is evaluate


def test_the_number_is_named_for_what_it_is(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d.zip")
    entry = evaluate_entries(tiny_model(), data, x_flip=True, seed=3, **QUICK)["fid"]
    assert (entry.name, entry.samples, entry.reals, entry.seed) == ("FD-Averages", 20, 48, 3)
    assert entry.x_flip
    assert "FID" not in entry.name


def test_the_seed_and_nothing_else_decides(tmp_path: Path) -> None:
    model, data = tiny_model(), write_dataset(tmp_path / "d.zip")
    first = evaluate(model, data, batch_size=32, **QUICK)["fid"]
    torch.rand(5)
    assert evaluate(model, data, batch_size=7, **QUICK)["fid"] == pytest.approx(first, rel=1e-3)
    assert evaluate(model, data, seed=1, **QUICK)["fid"] != pytest.approx(first, rel=1e-3)


def test_the_dataset_is_worth_more_than_noise_of_another_kind(tmp_path: Path) -> None:
    """A generator that reproduces the dataset's distribution scores near zero, another one does not."""
    data = ImageDataset(write_dataset(tmp_path / "d.zip", count=200))

    class Replay(nn.Module):
        def __init__(self, brightness: float) -> None:
            super().__init__()
            self.z_dim, self.c_dim, self.brightness = 4, 0, brightness
            self.unused = nn.Parameter(torch.zeros(1))

        def mapping(self, z: Tensor, c: None = None, **_: Any) -> Tensor:
            return z

        def synthesis(self, ws: Tensor, **_: Any) -> Tensor:
            rows = [np.random.default_rng(abs(int(1e6 * w[0]))).integers(200) for w in ws]
            return torch.stack([data[int(row)][0] for row in rows]) / 127.5 - 1 + self.brightness

    same = evaluate(Model(Replay(0.0)), data, **{**QUICK, "samples": 200})["fid"]
    brighter = evaluate(Model(Replay(0.2)), data, **{**QUICK, "samples": 200})["fid"]
    assert same < 20 < brighter


def test_statistics_of_the_reals_are_kept(tmp_path: Path) -> None:
    model, data = tiny_model(), write_dataset(tmp_path / "d.zip")
    seen: list[tuple[int, int]] = []
    first = evaluate(model, data, progress=lambda done, total: seen.append((done, total)), **QUICK)
    assert Averages.calls == 24 + 20
    assert seen[-1] == (44, 44)
    assert evaluate(model, data, **QUICK) == first
    assert Averages.calls == 24 + 20 + 20
    copy = Path(tmp_path / "copy.zip")
    copy.write_bytes(data.read_bytes())
    assert evaluate(model, copy, **QUICK) == first
    assert Averages.calls == 24 + 20 + 20 + 20
    evaluate(model, write_dataset(tmp_path / "d.zip", seed=1), **QUICK)
    assert Averages.calls == 24 + 3 * 20 + 24 + 20

    (kept, *_) = (tmp_path / "cache" / "gantrol" / "statistics").iterdir()
    kept.write_bytes(b"damaged")
    evaluate(model, copy, **QUICK)


def test_an_unwritable_cache_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert evaluate(tiny_model(), write_dataset(tmp_path / "d.zip"), **QUICK)["fid"] > 0


def test_folders_and_zips_have_digests_of_their_content(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d.zip")
    with zipfile.ZipFile(data) as archive:
        archive.extractall(tmp_path / "d")
    folder = dataset_digest(ImageDataset(tmp_path / "d"))
    assert folder == dataset_digest(ImageDataset(tmp_path / "d"))
    assert dataset_digest(ImageDataset(data)) != dataset_digest(ImageDataset(data, max_size=5))
    (tmp_path / "d" / "00000.png").write_bytes((tmp_path / "d" / "00001.png").read_bytes())
    assert folder != dataset_digest(ImageDataset(tmp_path / "d"))


def test_conditional_models_get_the_labels_of_the_dataset(tmp_path: Path) -> None:
    model = tiny_model(c_dim=3)
    assert evaluate(model, write_dataset(tmp_path / "d.zip", labels=3), **QUICK)["fid"] > 0
    with pytest.raises(ConfigError, match="have length 2, the model takes 3"):
        evaluate(model, write_dataset(tmp_path / "e.zip", labels=2), **QUICK)


def test_the_training_data_is_the_default(tmp_path: Path) -> None:
    model = tiny_model()
    with pytest.raises(ConfigError, match="--data"):
        evaluate(model, **QUICK)
    model.training["data"] = str(write_dataset(tmp_path / "d.zip"))
    assert evaluate(model, **QUICK)["fid"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": ["fidd"]}, "unknown metric 'fidd'; did you mean fid"),
        ({"metrics": ["?"]}, "unknown metric '[?]'; known: control, eqr, eqt, eqt_frac, fd, fid, sticking"),
        ({"metrics": ["sticking"]}, "20 samples are too few; it needs at least 60"),
        ({"metrics": ["eqt"], "pictures": "p"}, "pictures=p: only the metric sticking draws any"),
        ({"metrics": []}, "no metric"),
        ({"features": "inception"}, "unknown features 'inception'"),
        ({"samples": 1}, "samples=1"),
    ],
)
def test_impossible_requests_are_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate(tiny_model(), "unused.zip", **{**QUICK, **arguments})


def test_the_real_features_end_to_end(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    data = write_dataset(tmp_path / "d.zip", count=6)
    entry = evaluate_entries(tiny_model(), data, samples=6)["fid"]
    assert entry.name == "FD-EfficientNet-Lite0"
    assert entry.value > 10


EQUIVARIANCE = ["eqt", "eqt_frac", "eqr"]


def test_equivariance_needs_no_dataset() -> None:
    model = tiny_model()
    entries = evaluate_entries(model, metrics=EQUIVARIANCE, samples=9, seed=2)
    assert [entry.name for entry in entries.values()] == ["EQ-T", "EQ-T_frac", "EQ-R"]
    for name, entry in entries.items():
        assert (entry.unit, entry.samples, entry.seed, entry.reals) == ("dB", 9, 2, None)
        assert entry.to_dict().keys() == {"value", "unit", "name", "samples", "seed"}
        assert evaluate(model, metrics=[name], samples=9, seed=2) == {name: pytest.approx(entry.value)}
    assert evaluate(model, metrics=["eqt"], samples=9, seed=3)["eqt"] != entries["eqt"].value


def test_labels_are_classes_or_come_from_the_dataset(tmp_path: Path) -> None:
    model = tiny_model(c_dim=3)
    classes = evaluate(model, metrics=["eqt"], samples=8)["eqt"]
    assert evaluate(model, metrics=["eqt"], samples=8)["eqt"] == classes
    data = write_dataset(tmp_path / "d.zip", labels=3)
    assert evaluate(model, data, ["eqt"], samples=8)["eqt"] != classes
    assert evaluate(model, metrics=["sticking"], samples=60).keys() == {"sticking_average", "sticking_strip"}


def test_models_without_a_movable_input_are_told_what_to_do(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Model(StyleGAN2Config(resolution_px=16, z_dim=4, w_dim=4, channel_base=64, channel_max=4).build().eval())
    with pytest.raises(
        ConfigError, match="eqt: the input of a stylegan2 model cannot be moved or turned; use --metrics"
    ):
        evaluate(model, write_dataset(tmp_path / "d.zip"), ["fid", "eqt"], **QUICK)
    assert Averages.calls == 0  # said before any work was done
    values = evaluate(model, metrics=["sticking"], samples=60)
    assert all(0 <= value <= 1 for value in values.values())


def test_all_metrics_at_once_count_on(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    values = evaluate(
        tiny_model(),
        write_dataset(tmp_path / "d.zip"),
        ["sticking", "eqt", "fid"],
        samples=60,
        features="averages",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert list(values) == ["sticking_average", "sticking_strip", "eqt", "fid"]
    assert seen == sorted(seen)
    assert seen[-1] == (180, 180)


def test_the_command_writes_numbers_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model"
    tiny_model().save_pretrained(model)
    where = ["--json", str(tmp_path / "s.json"), "--pictures", str(tmp_path / "figure")]
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(model), "--metrics", "eqr,sticking", "--samples", "60", "--seed", "4", *where])
    assert end.value.code == 0
    written = json.loads((tmp_path / "s.json").read_text())
    assert written["data"] is None
    assert written["metrics"].keys() == {"eqr", "sticking_average", "sticking_strip"}
    assert written["metrics"]["eqr"].items() >= {"unit": "dB", "samples": 60, "seed": 4, "name": "EQ-R"}.items()
    assert written["metrics"]["sticking_strip"]["angle_rad"] > 0
    shown = capsys.readouterr().out
    assert "EQ-R" in shown
    assert "dB" in shown
    assert "sticking strip" in shown
    with Image.open(tmp_path / "figure" / "sticking_average.png") as average:
        assert average.size == (512, 256)
    with Image.open(tmp_path / "figure" / "sticking_strip.png") as strip:
        assert strip.size == (128 * 16, 256)
