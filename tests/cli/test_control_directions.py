"""`gantrol control directions`: a model without controls goes in, one with implicit controls comes out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gantrol.control.control_set import ControlSet
from gantrol.control.predictors import PredictorSet, folder
from gantrol.errors import CheckpointError
from gantrol.model import Model, load
from gantrol.models import StyleGAN2Config, WGANGPConfig
from tests.cli.conftest import Cli
from tests.control.toy import MeanColor

QUICK = ("--samples", 60, "--batch", 30, "--device", "cpu")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 8 px with a w of 4."""
    torch.manual_seed(0)
    config = StyleGAN2Config(resolution_px=8, channel_base=32, channel_max=4, z_dim=4, w_dim=4, mapping_layers=2)
    model = Model(config.build().eval(), training={"kimg": 3, "control_errors": {"age": {"mean_absolute_error": 4.0}}})
    return model.save_pretrained(tmp_path_factory.mktemp("models") / "plain")


@pytest.fixture(autouse=True)
def _predictors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name `colours` stands for predictors that read mean colours."""

    def load_colours(name: str | Path) -> PredictorSet:
        if str(name) != "colours":
            raise CheckpointError(f"no predictors {str(name)!r}")
        return PredictorSet([MeanColor()])

    monkeypatch.setattr(folder, "load_predictors", load_colours)


def test_the_model_that_comes_out_takes_values(cli: Cli, plain: Path, tmp_path: Path) -> None:
    out, record = tmp_path / "steered", tmp_path / "r.json"
    more = ("--pca", 2, "--factors", 1, "--layers", "0-1", "--json", record)
    result = cli("control", "directions", plain, "--predictors", "colours", "--out", out, *more, *QUICK)
    assert result.status == 0, result.err
    assert "red" in result.out
    assert "implicit controls red, green, blue, pca1, pca2, factor1; w of layers 0,1 of 4 is moved" in result.out

    model = load(out, device="cpu")
    assert list(model.controls) == ["red", "green", "blue", "pca1", "pca2", "factor1"]
    assert all(control.is_implicit for control in model.controls.values())
    assert model.training["kimg"] == 3
    assert model.training["control_command"].startswith("gantrol control directions")
    assert "control_errors" not in model.training
    assert "*implicit*" in (out / "README.md").read_text()
    before, after = model.map([1]), model.map([1], controls={"pca1": 2.0, "red": model.controls["red"].high})
    assert torch.equal(before[:, 2:], after[:, 2:])
    assert not torch.equal(before[:, :2], after[:, :2])
    assert model.generate([1], controls={"factor1": -1.0}, output="np").shape == (1, 8, 8, 3)
    assert torch.equal(load(plain, device="cpu").map([1]), before)  # what is not set stays

    found = json.loads(record.read_text())
    assert found["seed"] == 0
    assert found["is_implicit"] is True
    assert {row["attribute"] for row in found["readings"]} == {"red", "green", "blue"}
    assert all(row["r2"] <= 1 and row["mean_absolute_error"] >= 0 for row in found["readings"])
    assert found["controls"]["layers"] == [0, 1]


def test_the_same_seed_gives_the_same_controls(cli: Cli, plain: Path, tmp_path: Path) -> None:
    contents = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = tmp_path / name
        result = cli("control", "directions", plain, "--predictors", "colours", "--out", out, "--seed", seed, *QUICK)
        assert result.status == 0, result.err
        contents.append((out / "controls.safetensors").read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_without_predictors(cli: Cli, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = Model(WGANGPConfig(resolution_px=16, z_dim=4, width=4).build().eval()).save_pretrained(tmp_path / "wgan")
    result = cli("control", "directions", made, "--factors", 2, "--out", tmp_path / "out", "--device", "cpu")
    assert result.status == 0, result.err
    assert list(load(tmp_path / "out", device="cpu").controls) == ["factor1", "factor2"]
    refused = cli("control", "directions", made, "--pca", 2, "--out", tmp_path / "no", "--device", "cpu")
    assert "w of a wgan-gp model is z itself" in refused.error


def test_controls_that_are_there_stay_unless_told(cli: Cli, plain: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    assert cli("control", "directions", plain, "--pca", 1, "--out", first, "--device", "cpu").status == 0
    again = ("control", "directions", first, "--factors", 1, "--device", "cpu", "--out", tmp_path / "second")
    assert "has implicit controls already (pca1): --replace gives them up" in cli(*again).error
    assert cli(*again, "--replace").status == 0
    assert list(load(tmp_path / "second", device="cpu").controls) == ["factor1"]
    assert "exists already: choose another name or --overwrite it" in cli(*again, "--replace").error
    assert cli(*again, "--replace", "--overwrite").status == 0


def test_explicit_controls_are_called_so(
    cli: Cli, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    first = tmp_path / "first"
    assert cli("control", "directions", plain, "--pca", 1, "--out", first, "--device", "cpu").status == 0
    model = load(first, device="cpu")
    assert isinstance(model.control_set, ControlSet)
    model.control_set.controls = {"age": replace(model.control_set.controls["pca1"], is_implicit=False)}
    monkeypatch.setattr("gantrol.model.load", lambda *_, **__: model)
    result = cli("control", "directions", first, "--pca", 1, "--out", tmp_path / "second", "--device", "cpu")
    assert "has explicit controls already (age): --replace gives them up" in result.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --predictors (a folder of `gantrol control predictors`), or --pca N or --factors N"),
        (["--predictors", "nowhere"], "no predictors 'nowhere'"),
        (["--predictors", "colours", "--attributes", "rad"], "no predictor reads 'rad'; did you mean red"),
        (["--predictors", "colours", "--attributes", ","], "expected names of attributes"),
        (["--predictors", "colours", "--layers", "9"], "layer 9: this model has the layers 0 to 3"),
        (["--predictors", "colours", "--layers", "x"], "expected numbers and ranges"),
        (["--predictors", "colours", "--samples", "3"], "3 samples: expected at least 20"),
        (["--pca", "5"], "5 principal components: expected 0 to 4, the width of w"),
        (["--factors", "5"], "5 factors: expected 0 to 4"),
        (["--pca", "-1"], "-1 principal components"),
        (["--pca", "1", "--batch", "0"], "--batch 0: expected at least 1"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    cli: Cli, plain: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = cli("control", "directions", plain, "--out", tmp_path / "out", "--device", "cpu", *arguments)
    assert message in result.error
    assert not (tmp_path / "out").exists()
