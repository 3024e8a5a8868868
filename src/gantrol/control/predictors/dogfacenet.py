"""DogFaceNet: which dog it is, as a unit vector (Mougeot et al. 2019).

GAN-Control measures the identity of dogs with it. The network came from Keras, and its order is unusual: ReLU stands
before batch normalisation, and nothing follows an addition. Names of parameters are those of the converted file.

N images · C channels · H W pixels · D = 32 numbers of the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrol.control.predictors.distances import squared_euclidean
from gantrol.control.predictors.preprocess import resize, to_unit
from gantrol.control.predictors.protocol import Attribute, Predictor
from gantrol.control.predictors.weights import WeightFile, load_strictly, load_weights

WEIGHTS = WeightFile(
    file="pytorch_converted_model.pt (dogfacenet)",
    source="GuillaumeMougeot/DogFaceNet, converted from Keras",
    licence="MIT of the repository; none stated for the weights",
)

SIDE = 224
"""Pixels of the network's input."""
CHANNELS = (16, 32, 64, 128, 512)
"""Of the five residual blocks."""
EMBEDDING = 32

AROUND = (1, 1, 1, 1)
RIGHT_AND_BELOW = (0, 1, 0, 1)
"""Padding of a strided convolution (left, right, top, bottom); Keras pads so where the size is even."""


class ResidualBlock(nn.Module):
    """A strided 3 × 3 convolution, then two residual ones; each is ReLU, then batch normalisation.

    Args:
        in_channels: of the input.
        channels: of the output.
        padding: left, right, top and bottom of the strided convolution.
    """

    def __init__(self, in_channels: int, channels: int, padding: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.padding = padding
        self.conv0 = nn.Conv2d(in_channels, channels, 3, stride=2, bias=False)
        self.bn0 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, C′, ⌈H / 2⌉, ⌈W / 2⌉]."""
        x = self.bn0(torch.relu(self.conv0(F.pad(x, self.padding))))
        x = x + self.bn1(torch.relu(self.conv1(x)))
        return x + self.bn2(torch.relu(self.conv2(x)))


class DogFaceNet(Predictor):
    """Identity of a dog, as an embedding of 32 numbers and length 1; looks at the whole image."""

    attributes: Mapping[str, Attribute] = {
        "identity": Attribute(unit="embedding", help="which dog it is; squared distances from 0 to 4")
    }

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 16, 7, stride=2, bias=False)
        self.bn0 = nn.BatchNorm2d(16)
        before = 16
        for number, channels in enumerate(CHANNELS, start=1):
            padding = RIGHT_AND_BELOW if number == 3 else AROUND
            self.add_module(f"res_block{number}", ResidualBlock(before, channels, padding))
            before = channels
        self.fc = nn.Linear(before, EMBEDDING, bias=False)
        self.eval().requires_grad_(False)

    @classmethod
    def from_file(cls, path: Path | str) -> DogFaceNet:
        """The network with the weights of the converted file, or of a safetensors file with the same names.

        Raises:
            CheckpointError: the file is missing, damaged, or holds another network.
        """
        tensors = load_weights(path, WEIGHTS)
        predictor = cls()
        load_strictly(predictor, tensors, path)
        return predictor

    def prepare(self, images: Tensor) -> Tensor:
        """The network's input [N, 3, 224, 224]: to [0, 1] first, then bicubic, which may leave that range."""
        return resize(to_unit(images), SIDE, mode="bicubic")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """{"identity": unit vectors [N, 32]} of images [N, 3, H, W] in [-1, 1], RGB, of any size."""
        x = self.prepare(images)
        x = self.bn0(torch.relu(self.conv0(F.pad(x, (2, 4, 2, 4)))))  # [N, 16, 112, 112]
        x = F.max_pool2d(x, 3)  # [N, 16, 37, 37]
        for number in range(1, len(CHANNELS) + 1):
            x = self.get_submodule(f"res_block{number}")(x)  # 19, 10, 5, 3 and 2 pixels wide
        x = self.fc(x.mean((2, 3)))  # [N, 32]
        return {"identity": x / x.norm(dim=1, keepdim=True)}

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Squared Euclidean distance of unit vectors, [N, 32] and [N, 32] → [N], 0 to 4."""
        return squared_euclidean(a, b)
