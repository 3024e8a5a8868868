"""Style of a painting: Gram matrices of VGG-16's feature maps (Gatys et al. 2016), as GAN-Control uses them.

N images · C channels · H W pixels of a feature map.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from gantrol.control.predictors.preprocess import imagenet, resize, to_unit
from gantrol.control.predictors.protocol import Attribute, Predictor
from gantrol.control.predictors.vgg import maps_after, vgg16_features
from gantrol.control.predictors.weights import WeightFile, load_strictly, load_weights

WEIGHTS = WeightFile(file="vgg16-397923af.pth", source="torchvision", licence="BSD-3-Clause code; trained on ImageNet")
UNUSED = ("features.24.", "features.26.", "features.28.", "classifier.")
"""What the file has beyond relu4_3."""

SIDE = 256
"""Pixels of the network's input."""
TAPS = {"style_relu1_2": 3, "style_relu2_2": 8, "style_relu3_3": 15, "style": 22}
"""After which layer of VGG-16's features each attribute is read; `style` is relu4_3, on which the main loss acts."""

SCALE = 1e5
"""Of all distances, so that the paper's thresholds are of the order of 1."""


class StyleNetwork(nn.Module):
    """VGG-16 up to relu4_3: normalised images [N, 3, H, W] → the feature maps of `TAPS`."""

    def __init__(self) -> None:
        super().__init__()
        self.features = vgg16_features(4, last_pool=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return dict(zip(TAPS, maps_after(self.features, x, TAPS.values()), strict=True))


def gram_matrix(maps: Tensor) -> Tensor:
    """F Fᵀ / (C · H · W), with F the map as C rows of H · W numbers: [N, C, H, W] → [N, C, C]."""
    rows = maps.flatten(2)
    return rows @ rows.mT / (rows.shape[1] * rows.shape[2])


class Style(Predictor):
    """How a picture is painted: `style` (relu4_3), and an attribute for each of three earlier layers.

    All are embeddings: features are Gram matrices [N, C, C], with C from 64 to 512.
    """

    attributes: Mapping[str, Attribute] = {
        name: Attribute(unit="embedding", help=f"correlations of VGG-16's channels after its layer {layer}")
        for name, layer in TAPS.items()
    }

    def __init__(self) -> None:
        super().__init__()
        self.network = StyleNetwork()
        self.eval().requires_grad_(False)

    @classmethod
    def from_file(cls, path: Path | str) -> Style:
        """The network with the weights of `vgg16-397923af.pth`, or of a safetensors file with the same names.

        Raises:
            CheckpointError: the file is missing, damaged, or holds another network.
        """
        tensors = load_weights(path, WEIGHTS)
        predictor = cls()
        load_strictly(predictor.network, tensors, path, unused=UNUSED)
        return predictor

    def prepare(self, images: Tensor) -> Tensor:
        """The network's input [N, 3, 256, 256]: bilinear, normalised as for ImageNet; no crop."""
        return imagenet(to_unit(resize(images, SIDE)))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Gram matrices [N, C, C] by attribute, of images [N, 3, H, W] in [-1, 1], RGB, of any size."""
        return {name: gram_matrix(maps) for name, maps in self.network(self.prepare(images)).items()}

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """100,000 times the mean squared difference: [N, C, C] and [N, C, C] → [N]."""
        return SCALE * (a - b).square().flatten(1).mean(1)

    def pairwise(self, name: str, features: Tensor) -> Tensor:
        """The same between all images, [N, C, C] → [N, N], as ‖a‖² + ‖b‖² − 2a·b.

        It needs N matrices instead of one per pair, which would be gigabytes for 64 images. In float64 where there is
        such a thing, for distances are small against squares; so matrices are taken about their mean, too.
        """
        rows = features.flatten(1).to(torch.float32 if features.device.type == "mps" else torch.float64)
        rows = rows - rows.detach().mean(0)
        products = rows @ rows.T
        squares = products.diagonal()
        distances = squares[:, None] + squares[None, :] - products - products.T
        return (SCALE / rows.shape[1] * distances.clamp(min=0)).to(features.dtype)
