"""docs/domains.md, command by command, on every sort of pictures and of generators, as small as they can be.

What is asked here is that everything fits together, from a dataset to a picture with a value; the networks have learnt
nothing.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gantrol
from gantrol.control.calibration import calibrate
from gantrol.control.fit import FitConfig
from gantrol.control.picture_values import is_picture
from gantrol.control.predictors import Attribute, Predictor, PredictorSet, load_predictors
from gantrol.control.predictors.folder import read_manifest, save_predictors, write_manifest
from gantrol.control.predictors.learning import LearningConfig, load_examples, train_reader
from gantrol.data import DatasetWriter, ImageDataset
from gantrol.data.faces.dataset import Sampled, make_dataset
from gantrol.errors import CheckpointError, ConfigError, DataError
from tests.cli.conftest import Cli, cli

__all__ = ["cli"]

STYLEGAN3 = ("num_layers=4", "margin_px=4", "channel_base=128", "channel_max=8")
STYLEGAN2 = ("channel_base=128", "channel_max=8")
DISCRIMINATOR = ("discriminator.channel_base=128", "discriminator.channel_max=8", "workers=1")


def readers(data: Path, folder: Path, *names: str) -> Path:
    """A folder of readers that have seen each image once, with thresholds."""
    examples = load_examples(ImageDataset(data))
    reader = train_reader(examples, LearningConfig(epochs=1), attributes=names, widths=(4, 4, 8, 8))
    save_predictors(folder, [reader], thresholds={name: {"same": 0.01, "different": 0.5} for name in names})
    return folder


def trained(cli: Cli, data: Path, run: Path, *arguments: object) -> Path:
    """A run of one or two steps."""
    done = cli("train", "--scale", "tiny", "--data", data, "--out", run, "--device", "cpu", "--batch", 8, *arguments)
    assert done.status == 0, done.err
    return run


@pytest.fixture(autouse=True)
def quick_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """`control fit` takes two steps, and measures eight images only."""
    config = FitConfig(hidden=8, steps=2, refine_steps=1, refine_batch=4, check_images=8)
    monkeypatch.setattr("gantrol.cli.control_fit._config", lambda options: config)


def fitted(cli: Cli, run: Path, predictors: Path, *more: object) -> Path:
    """The controllable model of a run."""
    out = run.with_name(f"{run.name}-model{len(more)}")
    done = cli("control", "fit", run, "--predictors", predictors, "--out", out, "--samples", 100, *more)
    assert done.status == 0, done.err
    return out


def pictures(cli: Cli, model: Path, *assignments: str) -> np.ndarray:
    """The grid of two pictures with some values."""
    path = model.with_name("grid.png")
    done = cli("generate", model, "--seeds", "0-1", "--grid", path, "--set", *assignments)
    assert done.status == 0, done.err
    return np.asarray(Image.open(path)).astype(int)


def differ(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two grids differ by more than rounding."""
    return bool(np.abs(a - b).max() > 1)


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen portraits, photographed or in ink."""
    path = tmp_path_factory.mktemp("data") / "painted.zip"
    make_dataset(path, 16, 32, rows=Sampled(0, styles=("photo", "ink")), workers=1)
    return path


def test_portraits_from_a_plain_model(cli: Cli, painted: Path, tmp_path: Path) -> None:
    predictors = readers(painted, tmp_path / "readers", "age", "yaw")
    sizes = (*(f"generator.{size}" for size in STYLEGAN3), *DISCRIMINATOR, "--kimg", 0.008)
    plain = trained(cli, painted, tmp_path / "plain", "--preset", "stylegan3-t", *sizes)
    wanted = ("--control", "age,yaw", "--predictors", predictors, "--anchors", "--kimg", 0.016, "workers=1")
    run = trained(cli, painted, tmp_path / "faces", "--init", plain, *wanted)
    before, after = (gantrol.load(folder).generator for folder in (plain, run))
    assert all(name.startswith("mapping.") for name in before.state_dict().keys() - after.state_dict().keys())
    model = fitted(cli, run, predictors)
    control = gantrol.load(model).controls["age"]
    assert differ(*(pictures(cli, model, f"age={value}") for value in (control.low, control.high)))


def test_a_style_by_name_from_a_picture_or_from_a_seed(cli: Cli, painted: Path, tmp_path: Path) -> None:
    predictors = readers(painted, tmp_path / "readers", "style", "yaw")
    sizes = (*(f"generator.base.{size}" for size in STYLEGAN2), *DISCRIMINATOR, "--kimg", 0.008)
    wanted = ("--preset", "stylegan2", "--control", "style,yaw", "--predictors", predictors, "--anchors")
    run = trained(cli, painted, tmp_path / "painted", *wanted, *sizes)
    folder = fitted(cli, run, predictors)
    model = gantrol.load(folder)
    style = model.controls["style"]
    assert style.components == ("photo", "ink")
    assert style.default == style.low  # so that a named one has no rival
    assert model.check_controls({"style": "ink"}) == {"style": (style.low[0], style.high[1])}  # type: ignore[index]
    assert differ(pictures(cli, folder, "style=ink"), pictures(cli, folder, "style=photo"))

    reference = Image.fromarray(ImageDataset(painted).pixels(3).transpose(1, 2, 0))
    reference.save(tmp_path / "reference.png")
    seen = load_predictors(predictors)
    image = torch.from_numpy(ImageDataset(painted).pixels(3)).float()[None] / 127.5 - 1
    expected = style.clamp(tuple(seen.read("style", seen.features(image, ["style"])["style"])[0].tolist()))
    for value in (reference, tmp_path / "reference.png", str(tmp_path / "reference.png")):
        assert model.check_controls({"style": value}) == {"style": pytest.approx(expected, abs=1e-6)}
    assert model.check_controls({"ink": reference})["style"] == pytest.approx((style.low[0], expected[1]))  # type: ignore[index]
    assert not differ(
        pictures(cli, folder, f"style={tmp_path / 'reference.png'}"),
        pictures(cli, folder, "style=" + ",".join(map(repr, expected))),  # type: ignore[arg-type]
    )
    with pytest.raises(ConfigError, match="'other': it takes a seed, and no seed can be read"):
        model.check_controls({"other": reference})
    with pytest.raises(DataError, match=r"cannot read .*missing\.png: No such file"):
        model.check_controls({"style": "missing.png"})
    model.training["control_predictors"] = str(tmp_path / "gone")
    with pytest.raises(CheckpointError, match=r"'style': to read a picture takes the predictors .*gone"):
        model.check_controls({"style": reference})
    del model.training["control_predictors"]
    with pytest.raises(ConfigError, match="does not say which predictors"):
        model.check_controls({"style": reference})

    by_seed = fitted(cli, run, predictors, "--only", "yaw")
    assert gantrol.load(by_seed).controls["style"].kind == "seed"
    assert differ(pictures(cli, by_seed, "style=7"), pictures(cli, by_seed, "style=8"))


def test_what_is_a_picture() -> None:
    assert all(map(is_picture, ("a.png", "a/b.JPG", Path("a"), Image.new("L", (2, 2)))))
    assert not any(map(is_picture, ("oil", "oil:0.5", 0.5, (0.1, 0.2), {"oil": 1.0}, torch.zeros(1, 1))))


class Glasses(Predictor):
    """Sees glasses in bright images, which are few."""

    def __init__(self) -> None:
        super().__init__()
        names = ("none", "dark")
        self.attributes = {"glasses": Attribute(unit="", components=names, low=(0.0, 0.0), high=(1.0, 1.0))}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        share = (20 * images.mean(dim=(1, 2, 3))).sigmoid()
        return {"glasses": torch.stack([1 - share, share], dim=1)}

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean(dim=1)

    def read(self, name: str, features: Tensor) -> Tensor:
        return features


def test_a_choice_that_hardly_varies_has_thresholds(tmp_path: Path) -> None:
    """Nine of ten pairs of images show no glasses; what differs is asked of the others."""
    path = tmp_path / "glasses.zip"
    with DatasetWriter(path) as writer:
        for index in range(60):
            writer.add(np.full((16, 16, 3), 240 if index % 20 == 0 else 20, dtype=np.uint8))
    found = calibrate(PredictorSet([Glasses()]), ImageDataset(path))["glasses"]
    assert found.same < 0.01
    assert found.different == pytest.approx(1, abs=0.01)


def test_avatars_with_a_transformer(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("dicebear")
    data = tmp_path / "avatars.zip"
    made = cli("data", "avatars", "--count", 24, "--size", 32, "--styles", "pixel-art", "--out", data)
    assert made.status == 0, made.err
    predictors = readers(data, tmp_path / "readers", "glasses", "background", "beard")
    wanted = ("--control", "glasses,beard,background", "--predictors", predictors, "--kimg", 0.008, *DISCRIMINATOR)
    run = trained(cli, data, tmp_path / "avatars", "--preset", "transgan-v1-s", "--d", "stylegan2", *wanted)
    folder = fitted(cli, run, predictors)
    known = gantrol.load(folder).controls
    assert known["glasses"].components == ("none", "clear", "dark")
    assert "dark" in known
    assert "none" not in known  # of glasses, or of the beard?
    assert differ(pictures(cli, folder, "glasses=dark"), pictures(cli, folder, "glasses=none"))
    assert pictures(cli, folder, "background=0.9,0.2,0.2").shape[-1] == 3


class Brightness(nn.Module):
    """Somebody's network: one number."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=[1, 2, 3])[:, None]


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_folder_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    runpy.run_path("examples/drawn_dogs.py")["main"](tmp_path / "dogs", 24)
    data = tmp_path / "dogs.zip"
    assert cli("data", "import", tmp_path / "dogs", "--out", data, "--size", 32).status == 0
    assert ImageDataset(data).schema["turn"]["mirror"] == -1
    predictors = readers(data, tmp_path / "readers", "turn", "ears")
    torch.jit.script(Brightness()).save(str(predictors / "brightness.pt"))
    manifest = read_manifest(predictors)
    brought = {"kind": "torchscript", "weights": "brightness.pt", "trusted": True, "input": {"size": 32}}
    brought["attributes"] = {"brightness": {"low": [0], "high": [1], "spread": 0.1}}
    write_manifest(predictors, {**manifest, "networks": [*manifest["networks"], brought]})
    assert (
        cli("control", "calibrate", "--predictors", predictors, "--data", data, "--attributes", "brightness").status
        == 0
    )
    sizes = (*(f"generator.base.{size}" for size in STYLEGAN2), *DISCRIMINATOR, "--kimg", 0.008)
    wanted = ("--preset", "stylegan2", "--control", "turn,ears,brightness", "--predictors", predictors)
    folder = fitted(cli, trained(cli, data, tmp_path / "run", *wanted, *sizes), predictors)
    assert {"turn", "ears", "pricked", "hanging", "brightness", "other"} == set(gantrol.load(folder).controls)
    assert differ(pictures(cli, folder, "ears=hanging"), pictures(cli, folder, "ears=pricked"))
    card = (folder / "README.md").read_text()
    assert json.loads((folder / "config.json").read_text())["training"]["control_predictors"] == str(predictors)
    assert "brightness" in card
