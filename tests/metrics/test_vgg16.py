"""VGG-16 features and LPIPS without their weights: what the networks are given, what is read, what is compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrol import checkpoint
from gantrol.control.predictors.vgg import VGG16, vgg16_features
from gantrol.errors import CheckpointError
from gantrol.metrics.features import check_features, distance_name, load_features
from gantrol.metrics.networks import vgg16
from gantrol.metrics.networks.lpips import LpipsEmbedding
from gantrol.metrics.networks.tf1_resize import resize_tf1
from gantrol.metrics.networks.vgg16 import VGG16Features
from gantrol.metrics.perceptual import load_embedding
from tests.metrics.formula_weights import formula_images, formula_weights


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for variable in ("GANTROL_VGG16", "GANTROL_LPIPS"):
        monkeypatch.delenv(variable, raising=False)


class SmallVGG(nn.Module):
    """The shape of VGG-16 with next to no weights: the 553 MB of the real one are not for tests."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 7, 32), nn.AdaptiveAvgPool2d(7))
        layers: list[nn.Module] = [nn.Linear(196, 16), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(16, 4096)]
        self.classifier = nn.Sequential(*layers, nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(4096, 1000))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "vgg.safetensors"
    checkpoint.save(path, formula_weights(SmallVGG()), {})
    monkeypatch.setattr(vgg16, "VGG16", SmallVGG)
    monkeypatch.setenv("GANTROL_VGG16", str(path))
    return path


def test_the_network_is_vgg16() -> None:
    with torch.device("meta"):
        network = VGG16()
    assert sum(parameter.numel() for parameter in network.parameters()) == 138_357_544
    names = list(network.state_dict())
    assert names[0] == "features.0.weight"
    assert names[-1] == "classifier.6.bias"
    assert network.classifier[3].out_features == VGG16Features.num_features


def test_features_are_the_second_hidden_layer(small: Path) -> None:
    check_features("vgg16")
    network: Any = load_features("vgg16")
    images = formula_images(2, 30)
    seen = network.observe(images)
    plain = SmallVGG().eval()
    plain.load_state_dict(formula_weights(plain))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (resize_tf1(images, 224) - 255 * mean.view(3, 1, 1)) / (255 * std.view(3, 1, 1))
    x = plain.features(x).flatten(1)
    x = F.relu(plain.classifier[3](F.relu(plain.classifier[0](x))))
    torch.testing.assert_close(seen.features, x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(seen.probabilities, plain.classifier[6](x).softmax(1), rtol=1e-4, atol=1e-6)
    assert distance_name(network) == "FD-VGG16"


def test_a_missing_file_is_named_and_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    for ask in (lambda: check_features("vgg16"), lambda: load_features("vgg16"), lambda: load_embedding("lpips-vgg")):
        with pytest.raises(CheckpointError, match=r"vgg16-397923af.pth are not on this machine: .*GANTROL_VGG16"):
            ask()


# ----------------------------------------------------------------------------------------------------------------------
# LPIPS


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    body = nn.ModuleDict({"features": vgg16_features(last_pool=False)})
    linear = {
        f"lin{layer}.model.1.weight": torch.linspace(0, 1, width).view(1, width, 1, 1)
        for layer, width in enumerate((64, 128, 256, 512, 512))
    }
    return formula_weights(body) | linear


@pytest.fixture(scope="module")
def file(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lpips") / "both.safetensors"
    checkpoint.save(path, tensors, {})
    return path


def by_hand(tensors: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """LPIPS as the paper defines it, equation 1: [N, 3, H, W] twice → [N]."""
    layers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]  # convolutions
    taps, pools = (2, 7, 14, 21, 28), (5, 10, 17, 24)
    shift = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1) * 2 - 1
    scale = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) * 2
    x, y = (x - shift) / scale, (y - shift) / scale
    total = torch.zeros(len(x))
    for layer in layers:
        pair = []
        for value in (x, y):
            value = F.max_pool2d(value, 2) if layer in pools else value
            weight, bias = tensors[f"features.{layer}.weight"], tensors[f"features.{layer}.bias"]
            pair.append(F.relu(F.conv2d(value, weight, bias, padding=1)))
        x, y = pair
        if layer in taps:
            weight = tensors[f"lin{taps.index(layer)}.model.1.weight"]
            difference = F.normalize(x) - F.normalize(y)
            total += (weight * difference.square()).sum(1).mean((1, 2))
    return total


def test_distances_are_those_of_the_definition(
    tensors: dict[str, Tensor], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANTROL_VGG16", str(file))
    embedding = load_embedding("lpips-vgg")
    assert embedding.name == "lpips-vgg"
    x, y = (formula_images(4, 32).float() / 127.5 - 1).split(2)
    with torch.no_grad():
        found = (embedding(x) - embedding(y)).square().sum(1)
        torch.testing.assert_close(found, by_hand(tensors, x, y), rtol=1e-3, atol=1e-6)
        assert not (embedding(x) - embedding(x)).any()
        grey = x[:, :1]
        assert torch.equal(embedding(grey), embedding(grey.expand(-1, 3, -1, -1)))


def test_gradients_are_finite_where_nothing_is_seen(file: Path) -> None:
    embedding = LpipsEmbedding(file).requires_grad_(False)
    image = torch.zeros(1, 3, 16, 16, requires_grad=True)
    embedding(image).square().sum().backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()


def test_weights_of_lpips_may_be_a_file_of_their_own(
    tensors: dict[str, Tensor], file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear, body = tmp_path / "vgg.pth", tmp_path / "body.safetensors"
    torch.save({name: value for name, value in tensors.items() if name.startswith("lin")}, linear)
    checkpoint.save(body, {name: value for name, value in tensors.items() if name.startswith("features")}, {})
    monkeypatch.setenv("GANTROL_VGG16", str(body))
    with pytest.raises(CheckpointError, match=r"lin0.model.1.weight is missing.*set GANTROL_LPIPS to the path"):
        load_embedding("lpips-vgg")
    monkeypatch.setenv("GANTROL_LPIPS", str(linear))
    x = formula_images(1, 16).float() / 127.5 - 1
    with torch.no_grad():
        assert torch.equal(load_embedding("lpips-vgg")(x), LpipsEmbedding(file)(x))
