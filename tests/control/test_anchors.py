"""Anchors: the values that sub-vectors stand for have the distribution of the data, and images are drawn to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gantrol.control.anchors import Anchor, measure_anchors, with_border
from gantrol.control.objective import ControlObjective, ControlTerm
from gantrol.control.pairs import PairPlan
from gantrol.control.predictors import Attribute, Predictor, PredictorSet
from gantrol.control.predictors.border import Border
from gantrol.data.dataset import DatasetWriter, ImageDataset
from gantrol.errors import ConfigError, DataError
from tests.control.toy import MeanColor, images_of


class WholeColor(Predictor):
    """Reads the mean colour as one attribute of three numbers, and has an embedding that cannot be read."""

    def __init__(self) -> None:
        super().__init__()
        low, high = (-1.0,) * 3, (1.0,) * 3
        self.attributes = {
            "color": Attribute(unit="", components=("r", "g", "b"), low=low, high=high),
            "identity": Attribute(unit=""),
        }

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return dict.fromkeys(self.attributes, images.mean(dim=(2, 3)))

    def distance(self, name: str, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).abs().mean(dim=1)

    def read(self, name: str, features: torch.Tensor) -> torch.Tensor:
        return features


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    """400 plain images; green follows red, blue is by itself."""
    path = tmp_path_factory.mktemp("colors") / "colors.zip"
    rng = np.random.default_rng(0)
    with DatasetWriter(path) as writer:
        for _ in range(400):
            red, blue = rng.integers(20, 200, 2)
            writer.add(np.full((16, 16, 3), [red, red + rng.integers(0, 20), blue], dtype=np.uint8))
    return ImageDataset(path)


def color_anchor(colors: ImageDataset) -> Anchor:
    return measure_anchors(PredictorSet([WholeColor()]), colors, ["color"])[0]


def test_values_are_distributed_as_the_data(colors: ImageDataset) -> None:
    anchor = color_anchor(colors)
    values = anchor.values(torch.randn(4000, 16, generator=torch.Generator().manual_seed(0))).numpy()
    seen = np.stack([colors.pixels(i).mean((1, 2)) / 127.5 - 1 for i in range(400)])
    np.testing.assert_allclose(values.mean(0), seen.mean(0), atol=0.05)
    np.testing.assert_allclose(values.std(0), seen.std(0), atol=0.05)
    np.testing.assert_allclose(np.corrcoef(values.T), np.corrcoef(seen.T), atol=0.08)


def test_the_rest_of_the_group_has_no_say(colors: ImageDataset) -> None:
    """Of the directions of z only the first K numbers count, and its length not at all."""
    anchor = color_anchor(colors)
    z = torch.randn(8, 16)
    torch.testing.assert_close(anchor.values(3 * z), anchor.values(z))
    other = torch.cat([z[:, :3], z[:, 3:].flip(1)], dim=1)
    torch.testing.assert_close(anchor.values(other), anchor.values(z))


ONE = Anchor(attribute="red", quantiles=((-1.0, 0.0, 2.0),), factor=((1.0,),), spread=(0.5,))


def test_by_hand() -> None:
    z = torch.tensor([[0.0, 1.0], [50.0, 1e-6], [-50.0, 1e-6]])  # n = 0, √2, −√2
    high = 0.5 * (1 + torch.erf(torch.tensor(1.0))).item()  # Φ(√2)
    expected = [0.0, 2 * (2 * high - 1), -(2 * high - 1)]  # between the quantiles at ½ and 1, or 0 and ½
    torch.testing.assert_close(ONE.values(z)[:, 0], torch.tensor(expected))
    readings = torch.tensor([[0.25], [expected[1]], [expected[2]]])
    assert ONE.loss(readings, z).item() == pytest.approx(0.25 / 0.5 / 3, abs=1e-6)


def test_the_objective_adds_them() -> None:
    term = ControlTerm(attribute="red", weight=0.0)
    objective = ControlObjective([term], PredictorSet([MeanColor()]), anchors=[ONE])
    images = images_of([[0.25, 0, 0], [0.25, 0, 0]])
    z = torch.tensor([[0.0, 1.0, 9.0], [0.0, 1.0, 9.0]])
    total, stats = objective(images, PairPlan(("red",)), z, {"red": slice(0, 2), "other": slice(2, 3)})
    assert stats["control/red/anchor"].item() == pytest.approx(0.5)
    assert total.item() == pytest.approx(0.25)  # half the weight


def test_the_way_back(colors: ImageDataset) -> None:
    """Latents that stand for values have these values again, and are otherwise like any z."""
    anchor = color_anchor(colors)
    values = anchor.values(torch.randn(50, 16))
    z = anchor.latents(values, 16)
    torch.testing.assert_close(anchor.values(z), values, rtol=0, atol=0.02)
    torch.testing.assert_close(z.square().mean(1), torch.ones(50), rtol=0, atol=0.06)
    assert not torch.equal(anchor.latents(values, 16)[:, 3:], z[:, 3:])  # what is left open is drawn anew


def test_an_embedding_is_anchored_by_its_main_components(colors: ImageDataset) -> None:
    predictors = PredictorSet([WholeColor()])
    anchors = {anchor.attribute: anchor for anchor in measure_anchors(predictors, colors, ["identity"])}
    identity = anchors["identity"]
    features = predictors.features(images_of([[0.1, 0.2, 0.3], [0.5, -0.2, 0.0]]), ["identity"])["identity"]
    expected = (features - torch.tensor(identity.center)) @ torch.tensor(identity.axes).T
    torch.testing.assert_close(identity.numbers(predictors, features), expected)
    assert identity.spread[0] == max(identity.spread)


def test_other_stands_for_the_edge_of_the_picture(colors: ImageDataset) -> None:
    other = measure_anchors(PredictorSet([WholeColor()]), colors, ["color"])[-1]
    assert other.attribute == "other"
    assert len(other.spread) == 6
    image = torch.zeros(1, 3, 20, 20)
    image[:, 0, :4, :4] = 1  # red, upper left only
    image[:, 2, -2:, 8:12] = -1  # blue, below
    numbers = other.numbers(with_border(PredictorSet([WholeColor()])), Border()(image)["other"])
    assert numbers.tolist() == [[0.5, 0, 0, 0, 0, -1]]


def test_codes_of_images(colors: ImageDataset) -> None:
    anchors = measure_anchors(PredictorSet([WholeColor()]), colors, ["color"])
    objective = ControlObjective([ControlTerm(attribute="color")], PredictorSet([WholeColor()]), anchors=anchors)
    images = torch.from_numpy(np.stack([colors.pixels(i) for i in range(4)])).float() / 127.5 - 1
    slices = {"color": slice(0, 16), "other": slice(16, 32)}
    z = objective.codes(images, 32, slices)
    torch.testing.assert_close(anchors[0].values(z[:, :16]), images.mean((2, 3)), rtol=0, atol=0.05)
    assert z.shape == (4, 32)


def test_what_cannot_be_an_anchor(colors: ImageDataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a group of 1 cannot hold 3 numbers"):
        color_anchor(colors).values(torch.randn(2, 1))
    with pytest.raises(ConfigError, match="do not fit together"):
        Anchor(attribute="red", quantiles=((2.0, 1.0),), factor=((1.0,),), spread=(1.0,))
    with DatasetWriter(tmp_path / "same.zip") as writer:
        for _ in range(20):
            writer.add(np.full((16, 16, 3), 100, dtype=np.uint8))
    with pytest.raises(DataError, match="all images have the same red"):
        measure_anchors(PredictorSet([MeanColor()]), ImageDataset(tmp_path / "same.zip"), ["red"])
