"""Head pose by Hopenet (Ruiz, Chong and Rehg 2018), as GAN-Control uses it for its group "orientation".

Three heads on a ResNet-50 classify yaw, pitch and roll into 66 bins of 3 degrees each; an angle is the expectation.

N images · B = 66 bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gantrol.control.predictors.distances import mean_absolute
from gantrol.control.predictors.logits import DistanceOf, check_distance, expected_bin
from gantrol.control.predictors.preprocess import imagenet, resize, to_unit
from gantrol.control.predictors.protocol import Attribute, Predictor
from gantrol.control.predictors.resnet import Bottleneck, ResNet
from gantrol.control.predictors.weights import WeightFile, load_strictly, load_weights

WEIGHTS = WeightFile(
    file="hopenet_robust_alpha1.pkl",
    source="natanielruiz/deep-head-pose",
    licence="Apache-2.0 as far as its repository states",
)

SIDE = 224
"""Pixels of the network's input."""
ANGLES = ("yaw", "pitch", "roll")
BINS = 66
DEGREES_PER_BIN = 3
LOWEST_DEGREES = -99
LIMITS = (75.0, 60.0, 60.0)
"""Degrees of yaw, pitch and roll to either side that make sense to ask of a face."""


class HopenetNetwork(ResNet):
    """ResNet-50 with a linear head per angle: images [N, 3, 224, 224] → logits [N, 3, B]."""

    def __init__(self) -> None:
        super().__init__(Bottleneck, (3, 4, 6, 3))
        self.fc_yaw, self.fc_pitch, self.fc_roll = (torch.nn.Linear(self.channels, BINS) for _ in ANGLES)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(self.body(x), 7).flatten(1)  # [N, 2048]
        return torch.stack([head(pooled) for head in (self.fc_yaw, self.fc_pitch, self.fc_roll)], dim=1)


def degrees(logits: Tensor) -> Tensor:
    """Angles from the logits of their bins, […, B] → […] (Hopenet, section 3.1)."""
    return expected_bin(logits) * DEGREES_PER_BIN + LOWEST_DEGREES


class Hopenet(Predictor):
    """Pose of the head: yaw, pitch and roll, each by itself and the three together as `orientation`.

    Features are the logits: [N, B] of one angle, [N, 3, B] of `orientation`.

    Args:
        distance: of the "logits", as in the paper, or in "units", that is in degrees; the mean |Δ| of either.

    Raises:
        ConfigError: `distance` is neither.
    """

    attributes: Mapping[str, Attribute] = {
        name: Attribute(
            unit="degrees", components=("value",), low=(-limit,), high=(limit,), help=f"{name} of the head, by Hopenet"
        )
        for name, limit in zip(ANGLES, LIMITS, strict=True)
    } | {
        "orientation": Attribute(
            unit="degrees",
            components=ANGLES,
            low=tuple(-limit for limit in LIMITS),
            high=LIMITS,
            help="the three angles of the head, by Hopenet",
        )
    }

    def __init__(self, *, distance: DistanceOf = "logits") -> None:
        super().__init__()
        self.distance_of = check_distance(distance)
        self.network = HopenetNetwork()
        self.eval().requires_grad_(False)

    @classmethod
    def from_file(cls, path: Path | str, *, distance: DistanceOf = "logits") -> Hopenet:
        """The network with the weights of `hopenet_robust_alpha1.pkl`, or of a safetensors file with the same names.

        Raises:
            CheckpointError: the file is missing, damaged, or holds another network.
            ConfigError: as of the class.
        """
        tensors = load_weights(path, WEIGHTS)
        predictor = cls(distance=distance)
        load_strictly(predictor.network, tensors, path, unused=("fc_finetune.",))
        return predictor

    def prepare(self, images: Tensor) -> Tensor:
        """The network's input [N, 3, 224, 224]: bilinear, normalised as for ImageNet; no crop."""
        return imagenet(to_unit(resize(images, SIDE)))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits of each angle [N, B] and of all three [N, 3, B], of images [N, 3, H, W] in [-1, 1], RGB, any size."""
        logits = self.network(self.prepare(images))
        return dict(zip(ANGLES, logits.unbind(1), strict=True)) | {"orientation": logits}

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Mean |Δ| over the logits (198 of `orientation`, 66 of an angle), or over the angles in degrees → [N]."""
        if self.distance_of == "units":
            return mean_absolute(self.read(name, a), self.read(name, b))
        return mean_absolute(a, b)

    def read(self, name: str, features: Tensor) -> Tensor:
        """Degrees: [N, B] → [N, 1], and [N, 3, B] → yaw, pitch, roll [N, 3]."""
        return degrees(features) if name == "orientation" else degrees(features)[:, None]
