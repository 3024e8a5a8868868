"""VGG-16 as the precision and recall of the official tools see images: 4096 numbers after its second hidden layer.

N batch · n images of a chunk · C channels · H W pixels · D = 4096 features · K = 1000 classes of ImageNet.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from gantrol.control.predictors.preprocess import imagenet
from gantrol.control.predictors.vgg import VGG16
from gantrol.control.predictors.weights import load_strictly, load_weights
from gantrol.metrics.features import Observation, Progress
from gantrol.metrics.networks.in_chunks import ChunkedNetwork
from gantrol.metrics.networks.tf1_resize import resize_tf1
from gantrol.metrics.networks.weight_files import PublishedFile, sha256_of

WEIGHTS = PublishedFile(
    file="vgg16-397923af.pth",
    source="torchvision",
    licence="BSD-3-Clause code; trained on ImageNet",
    variable="GANTROL_VGG16",
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256="397923af",
    instead="the features efficientnet-lite0, which need no download",
)
LPIPS_PREFIX = "lin"
"""Begins the names of LPIPS's weights, which may lie in the same file and are not needed here."""

SIDE = 224


class VGG16Features(ChunkedNetwork):
    """The activations of the second hidden fully connected layer, after its ReLU, and the classes by softmax.

    Grey images are repeated to RGB; images are resized to 224 px as TensorFlow 1 does, then normalised per channel as
    for ImageNet: torch-fidelity's recipe, which it publishes beside its comparison with the official precision and
    recall (Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric").

    Args:
        path: a file of weights with the names of torchvision (`features.0.weight` … `classifier.6.bias`).

    Raises:
        CheckpointError: the file is missing, damaged, or holds another network.
    """

    title = "VGG16"
    resampling = "bilinear, top-left aligned (TensorFlow 1), to 224 px"
    num_features = 4096
    num_classes = 1000

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        tensors = load_weights(path, WEIGHTS)
        with torch.device("meta"):  # 138 million numbers that would be drawn only to be overwritten
            network = VGG16()
        network = network.to_empty(device="cpu")
        load_strictly(network, tensors, path, unused=(LPIPS_PREFIX,))
        self.network = network.eval().requires_grad_(False)
        self.version = (
            f"torchvision vgg16, sha256 {sha256_of(Path(path))[:16]}, 224 px, TF1 bilinear, fc2 after ReLU, 1"
        )

    def _observe(self, images: Tensor) -> Observation:
        x = imagenet(resize_tf1(images, SIDE) / 255)  # [n, 3, 224, 224]
        x = self.network.features(x).flatten(1)  # [n, 25088]
        *hidden, _, classes = self.network.classifier  # without the dropout before the classes
        features: Tensor = nn.Sequential(*hidden)(x)  # [n, 4096]
        return Observation(features, classes(features).softmax(1))


def load(progress: Progress | None = None) -> VGG16Features:
    """The network with the weights of `WEIGHTS`, which have to be on this machine: they are never fetched."""
    return VGG16Features(WEIGHTS.obtain(progress))


check = WEIGHTS.check
