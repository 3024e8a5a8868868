"""Kind of animal: pooled features of an ImageNet classifier, as GAN-Control uses them for the breeds of dogs.

N images.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from gantrol.control.predictors.distances import mean_absolute
from gantrol.control.predictors.preprocess import resize
from gantrol.control.predictors.protocol import Attribute, Predictor
from gantrol.control.predictors.resnet import BasicBlock, ResNet
from gantrol.control.predictors.weights import WeightFile, load_strictly, load_weights

WEIGHTS = WeightFile(
    file="resnet18-f37072fd.pth", source="torchvision", licence="BSD-3-Clause code; trained on ImageNet"
)

SIDE = 224
"""Pixels of the network's input."""


class ResNet18(ResNet):
    """The classifier of ImageNet's 1000 classes: images [N, 3, H, W] → pooled [N, 512] and logits [N, 1000]."""

    def __init__(self) -> None:
        super().__init__(BasicBlock, (2, 2, 2, 2))
        self.fc = nn.Linear(self.channels, 1000)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.body(x).mean(dim=(2, 3))
        return pooled, self.fc(pooled)


class ImageNetClass(Predictor):
    """What ImageNet's classes tell apart: `class`, pooled features [N, 512], and `class_logits` [N, 1000].

    Both are embeddings. GAN-Control's loss acts on the pooled features.
    """

    attributes: Mapping[str, Attribute] = {
        "class": Attribute(unit="embedding", help="what ImageNet's classes tell apart"),
        "class_logits": Attribute(unit="embedding", help="evidence for each of ImageNet's 1000 classes"),
    }

    def __init__(self) -> None:
        super().__init__()
        self.network = ResNet18()
        self.eval().requires_grad_(False)

    @classmethod
    def from_file(cls, path: Path | str) -> ImageNetClass:
        """The network with the weights of `resnet18-f37072fd.pth`, or of a safetensors file with the same names.

        The older file `resnet18-5c106cde.pth` has the same weights.

        Raises:
            CheckpointError: the file is missing, damaged, or holds another network.
        """
        tensors = load_weights(path, WEIGHTS)
        predictor = cls()
        load_strictly(predictor.network, tensors, path)
        return predictor

    def prepare(self, images: Tensor) -> Tensor:
        """The network's input [N, 3, 224, 224]: bilinear; in [-1, 1] as in the paper, not normalised further."""
        return resize(images, SIDE)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Pooled features [N, 512] and logits [N, 1000] of images [N, 3, H, W] in [-1, 1], RGB, of any size."""
        pooled, logits = self.network(self.prepare(images))
        return {"class": pooled, "class_logits": logits}

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Mean |Δ|: [N, F] and [N, F] → [N]."""
        return mean_absolute(a, b)
