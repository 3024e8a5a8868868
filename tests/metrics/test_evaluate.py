"""Scoring a model end to end, with a quick stand-in for the feature network where its values do not matter."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gantrol
from gantrol.cli import main
from gantrol.data.dataset import ImageDataset
from gantrol.errors import ConfigError, DataError
from gantrol.metrics import evaluate, evaluate_entries
from gantrol.metrics.evaluate import NUMBERS
from gantrol.model import Model, load
from tests.metrics.fake_features import Averages, noisy_model, quick_features, tiny_model, write_dataset

pytestmark = pytest.mark.usefixtures(quick_features.__name__)

QUICK: dict[str, Any] = {"samples": 20, "features": "averages"}
IN_FEATURES = ["fid", "kid", "is", "pr", "dc"]
FEATURE_NUMBERS = ["fid", "kid", "is", "is_std", "precision", "recall", "density", "coverage"]


def test_a_model_gets_one_float_per_number(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d.zip")
    values = evaluate(tiny_model(), data, IN_FEATURES, **QUICK)
    assert list(values) == FEATURE_NUMBERS
    assert all(isinstance(value, float) for value in values.values())
    assert values["fid"] == evaluate(tiny_model(), data, ["fd"], **QUICK)["fd"] > 0
    assert 1 < values["is"] < 4
    assert 0 <= values["precision"] <= 1
    assert gantrol.metrics.evaluate is evaluate
    assert [name for metric in IN_FEATURES for name in NUMBERS[metric]] == FEATURE_NUMBERS


def test_numbers_are_named_for_what_they_are(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d.zip")
    entries = evaluate_entries(tiny_model(), data, IN_FEATURES, x_flip=True, seed=3, **QUICK)
    assert [entry.name for entry in entries.values()] == [
        "FD-Averages",
        "KD-Averages",
        "IS-Averages",
        "IS-Averages std",
        *(f"{name}-Averages" for name in FEATURE_NUMBERS[4:]),
    ]
    for name, entry in entries.items():
        assert (entry.samples, entry.seed, entry.features, entry.weights) == (20, 3, "averages", "averages 1")
        assert entry.resampling == "none"
        with_reals = not name.startswith("is")
        assert (entry.reals, entry.x_flip, entry.data) == ((48, True, str(data)) if with_reals else (None,) * 3)
    assert (entries["recall"].neighbours, entries["coverage"].neighbours) == (3, 5)
    official = evaluate_entries(tiny_model(), data, IN_FEATURES, **QUICK | {"features": "official"})
    assert [entry.name for entry in official.values()][:4] == ["FID", "KID", "IS", "IS std"]
    assert official["precision"].name == "precision-Official"


@pytest.mark.parametrize("make", [tiny_model, noisy_model])
def test_the_seed_and_nothing_else_decides(tmp_path: Path, make: Any) -> None:
    model, data = make(), write_dataset(tmp_path / "d.zip")
    first = evaluate(model, data, IN_FEATURES, batch_size=32, **QUICK)
    torch.rand(5)
    again = evaluate(model, data, IN_FEATURES, batch_size=7, **QUICK)
    assert again == {name: pytest.approx(value, rel=1e-4, abs=1e-4) for name, value in first.items()}
    other = evaluate(model, data, IN_FEATURES, seed=1, **QUICK)
    assert other["fid"] != pytest.approx(first["fid"], rel=1e-5)


def test_path_length_does_not_depend_on_the_batch() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    model = tiny_model()
    first = evaluate_entries(model, metrics=["ppl"], samples=6, batch_size=12)["ppl"]
    assert first.name.startswith("PPL-")  # plain PPL is that of LPIPS's own weights
    assert (first.samples, first.reals) == (6, None)
    assert first.features == first.name.removeprefix("PPL-")
    assert first.value > 0
    again = evaluate(model, metrics=["ppl"], samples=6, batch_size=4)["ppl"]
    assert again == pytest.approx(first.value, rel=0.02)  # float32 images differ by rounding, which ε² enlarges


def test_the_dataset_is_worth_more_than_noise_of_another_kind(tmp_path: Path) -> None:
    """A generator that reproduces the dataset's distribution scores near zero, another one does not."""
    data = ImageDataset(write_dataset(tmp_path / "d.zip", count=200))

    class Replay(nn.Module):
        def __init__(self, brightness: float) -> None:
            super().__init__()
            self.z_dim, self.c_dim, self.brightness = 4, 0, brightness
            self.resolution_px = data.resolution_px
            self.unused = nn.Parameter(torch.zeros(1))

        def mapping(self, z: Tensor, c: None = None, **_: Any) -> Tensor:
            return z

        def synthesis(self, ws: Tensor, **_: Any) -> Tensor:
            rows = [np.random.default_rng(abs(int(1e6 * w[0]))).integers(200) for w in ws]
            return torch.stack([data[int(row)][0] for row in rows]) / 127.5 - 1 + self.brightness

    same = evaluate(Model(Replay(0.0)), data, IN_FEATURES, **{**QUICK, "samples": 200})
    brighter = evaluate(Model(Replay(0.9)), data, IN_FEATURES, **{**QUICK, "samples": 200})
    for name in ("fid", "kid"):
        assert brighter[name] > 5 * abs(same[name])
    for name in ("precision", "density", "coverage"):
        assert brighter[name] < same[name]
    assert same["precision"] > 0.95


# ---------------------------------------------------------------------------------------------------------------------
# A dataset in place of a model


def test_a_dataset_is_compared_with_a_dataset(tmp_path: Path) -> None:
    data, other = write_dataset(tmp_path / "d.zip"), write_dataset(tmp_path / "e.zip", seed=1)
    same = evaluate_entries(data, data, IN_FEATURES, **QUICK | {"samples": 1000})
    assert same["fid"].value == pytest.approx(0, abs=1e-6)
    assert (same["precision"].value, same["recall"].value, same["coverage"].value) == (1, 1, 1)
    assert same["fid"].samples == 24  # all there are
    further = evaluate_entries(ImageDataset(other), data, ["fid", "pr"], **QUICK)
    assert further["fid"].samples == 20
    assert further["fid"].value > 1
    with pytest.raises(ConfigError, match=r"eqt, control: .*d.zip is a dataset, and only a model"):
        evaluate(data, data, ["fid", "eqt", "control"], **QUICK)
    with pytest.raises(ConfigError, match="compared with what"):
        evaluate(data, **QUICK)


def test_reals_may_be_doubled_or_reduced(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d.zip")
    model = tiny_model()
    plain = evaluate(model, data, **QUICK)["fid"]
    flipped = evaluate_entries(model, ImageDataset(data, x_flip=True), **QUICK)["fid"]
    assert flipped.value != plain
    assert (flipped.reals, flipped.x_flip) == (48, True)
    doubled = evaluate_entries(model, data, x_flip=True, **QUICK)["fid"]
    assert doubled.value == pytest.approx(flipped.value, rel=1e-9)
    again = evaluate_entries(model, ImageDataset(data, x_flip=True), x_flip=True, **QUICK)["fid"]
    assert (again.value, again.reals) == (pytest.approx(flipped.value), 48)
    few = evaluate_entries(model, data, ["fid", "pr"], max_reals=10, x_flip=True, **QUICK)
    assert few["fid"].reals == few["precision"].reals == 20
    assert few["fid"].value != doubled.value
    assert evaluate_entries(model, data, max_reals=1000, **QUICK)["fid"].value == plain


# ---------------------------------------------------------------------------------------------------------------------
# Traces, requests


def test_an_evaluation_leaves_no_trace_and_a_saved_model_gets_the_same(tmp_path: Path) -> None:
    """As a training sees it: modes, noise and random states are what they were; the checkpoint scores alike."""
    pytest.importorskip("efficientnet_lite_pytorch")
    model, data = noisy_model(), write_dataset(tmp_path / "d.zip")
    model.generator.train()
    model.save_pretrained(tmp_path / "model")
    torch.manual_seed(7)
    random.seed(7)
    before = {name: value.clone() for name, value in model.generator.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    metrics = [*IN_FEATURES, "ppl", "sticking"]
    inside = evaluate(model, data, metrics, **QUICK | {"samples": 60})
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # type: ignore[index]  # noqa: NPY002
    assert all(module.training for module in model.generator.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.generator.state_dict().items())
    saved = load(tmp_path / "model", device="cpu")
    assert evaluate(saved, data, metrics, **QUICK | {"samples": 60}) == inside


def test_conditional_models_get_the_labels_of_the_dataset(tmp_path: Path) -> None:
    model = tiny_model(c_dim=3)
    data = write_dataset(tmp_path / "d.zip", labels=3)
    assert evaluate(model, data, **QUICK)["fid"] > 0
    with pytest.raises(ConfigError, match="have length 2, the model takes 3"):
        evaluate(model, write_dataset(tmp_path / "e.zip", labels=2), **QUICK)
    drawn = evaluate(model, data, ["is"], **QUICK)
    assert evaluate(model, metrics=["is"], **QUICK) != drawn


def test_the_training_data_is_the_default(tmp_path: Path) -> None:
    model = tiny_model()
    with pytest.raises(ConfigError, match="--data"):
        evaluate(model, **QUICK)
    assert evaluate(model, metrics=["is"], **QUICK)["is"] > 1
    model.training["data"] = str(write_dataset(tmp_path / "d.zip"))
    assert evaluate(model, **QUICK)["fid"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": ["fidd"]}, "unknown metric 'fidd'; did you mean fid"),
        ({"metrics": ["?"]}, "unknown metric '[?]'; known: control, dc, eqr, eqt, eqt_frac, fd, fid, is, kid, ppl, pr"),
        ({"metrics": ["sticking"]}, "20 samples are too few; it needs at least 60"),
        ({"metrics": ["is"], "samples": 9}, "is: 9 samples are too few; it needs at least 10"),
        ({"metrics": ["pr"], "samples": 3}, "pr: 3 samples are too few; it needs at least 4"),
        ({"metrics": ["dc"], "samples": 5}, "dc: 5 samples are too few; it needs at least 6"),
        ({"metrics": ["eqt"], "pictures": "p"}, "pictures=p: only the metric sticking draws any"),
        ({"metrics": []}, "no metric"),
        ({"features": "averagees"}, "unknown features 'averagees'"),
        ({"samples": 1}, "samples=1"),
        ({"max_reals": 1}, "max_reals=1"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_impossible_requests_are_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        evaluate(tiny_model(), "unused.zip", **{**QUICK, **arguments})
    assert "\n" not in str(caught.value)


def test_too_few_images_of_a_dataset_are_one_line(tmp_path: Path) -> None:
    model, data = tiny_model(), write_dataset(tmp_path / "d.zip", count=3)
    with pytest.raises(ConfigError, match="pr: 3 real images are too few; it needs at least 4"):
        evaluate(model, data, ["pr"], **QUICK)
    with pytest.raises(ConfigError, match="pr: 3 samples are too few; it needs at least 4"):
        evaluate(data, write_dataset(tmp_path / "e.zip"), ["pr"], **QUICK)
    with pytest.raises(ConfigError, match="1 real image is too few; distances need at least 2"):
        evaluate(model, write_dataset(tmp_path / "f.zip", count=1), **QUICK)
    with pytest.raises(ConfigError, match="is: the Inception score takes probabilities of classes, which Blind does"):
        evaluate(model, data, ["fid", "is"], **QUICK | {"features": "blind"})
    assert Averages.calls == 0  # all this is said before any work is done
    with pytest.raises(DataError):
        evaluate(model, tmp_path / "absent.zip", **QUICK)


# ---------------------------------------------------------------------------------------------------------------------
# Metrics of the model itself

EQUIVARIANCE = ["eqt", "eqt_frac", "eqr"]


def test_equivariance_needs_no_dataset() -> None:
    model = tiny_model()
    entries = evaluate_entries(model, metrics=EQUIVARIANCE, samples=9, seed=2)
    assert [entry.name for entry in entries.values()] == ["EQ-T", "EQ-T_frac", "EQ-R"]
    for name, entry in entries.items():
        assert (entry.unit, entry.samples, entry.seed, entry.reals) == ("dB", 9, 2, None)
        assert entry.to_dict().keys() == {"value", "unit", "name", "samples", "seed"}
        alone = evaluate(model, metrics=[name], samples=9, seed=2, batch_size=4)
        assert alone == {name: pytest.approx(entry.value, abs=0.05)}  # at 114 dB, of float32 there is only rounding
    assert evaluate(model, metrics=["eqt"], samples=9, seed=3)["eqt"] != entries["eqt"].value


def test_labels_are_classes_or_come_from_the_dataset(tmp_path: Path) -> None:
    model = tiny_model(c_dim=3)
    classes = evaluate(model, metrics=["eqt"], samples=8)["eqt"]
    assert evaluate(model, metrics=["eqt"], samples=8)["eqt"] == classes
    data = write_dataset(tmp_path / "d.zip", labels=3)
    assert evaluate(model, data, ["eqt"], samples=8)["eqt"] != classes
    first = evaluate(model, metrics=["sticking"], samples=60)
    assert first.keys() == {"sticking_average", "sticking_strip"}
    again = evaluate(model, metrics=["sticking"], samples=60, batch_size=7)
    assert again == {name: pytest.approx(value, abs=1e-3) for name, value in first.items()}


def test_models_without_a_movable_input_are_told_what_to_do(tmp_path: Path) -> None:
    model = noisy_model()
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
        ["sticking", "eqt", "pr", "fid"],
        samples=60,
        features="averages",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert list(values) == ["sticking_average", "sticking_strip", "eqt", "precision", "recall", "fid"]
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


def test_the_real_features_end_to_end(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    data = write_dataset(tmp_path / "d.zip", count=6)
    entry = evaluate_entries(tiny_model(), data, samples=6)["fid"]
    assert entry.name == "FD-EfficientNet-Lite0"
    assert entry.value > 10
