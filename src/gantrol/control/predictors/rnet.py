"""R-Net: coefficients of a 3D face, its pose and its light (Deng et al. 2019, "Accurate 3D face reconstruction").

A ResNet-50 as TensorFlow-Slim builds it regresses 257 coefficients. GAN-Control measures light with 27 of them: three
colours times nine bands of spherical harmonics. Names of parameters are those of the converted file, its spelling too.

N images · C channels · H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrol.control.predictors.distances import mean_absolute
from gantrol.control.predictors.preprocess import centre_crop, resize, to_bgr, to_unit
from gantrol.control.predictors.protocol import Attribute, Predictor
from gantrol.control.predictors.weights import WeightFile, load_strictly, load_weights

WEIGHTS = WeightFile(
    file="pytorch_converted_model.pt (face3dmm_recon)",
    source="microsoft/Deep3DFaceReconstruction, converted from TensorFlow",
    licence="none in the repository; its face model has the terms of the Basel Face Model",
)

SIDE = 224
"""Pixels of the network's input."""
STAGES = ((256, 3), (512, 4), (1024, 6), (2048, 3))
"""Channels and units of each stage."""
EPSILON = 1.001e-5
"""Of batch normalisation, as in the original."""
HEADS = {"id": 80, "ex": 64, "tex": 80, "angles": 3, "gamma": 27, "xy": 2, "z": 1}
"""Coefficients by head, in the order in which they make the vector of 257."""
READS = {"light": "gamma", "expression3d": "ex", "pose3d": "angles"}
"""Attributes, and the head of each."""


class Unit(nn.Module):
    """Bottleneck unit: 1 × 1, 3 × 3 with the stride, 1 × 1 to four times the width, plus a shortcut.

    Args:
        in_channels: of the input.
        channels: of the output.
        stride: 1 or 2; the shortcut is then a strided pick.
        project: whether the shortcut is a convolution.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, project: bool) -> None:
        super().__init__()
        width = channels // 4
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps=EPSILON)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps=EPSILON)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels, eps=EPSILON)
        self.project = project
        if project:
            self.conv_shortcut = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
            self.bn_shortcut = nn.BatchNorm2d(channels, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, C′, H / stride, W / stride]."""
        picked = x[..., :: self.stride, :: self.stride]
        shortcut = self.bn_shortcut(self.conv_shortcut(x)) if self.project else picked
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return torch.relu(self.bn3(self.conv3(x)) + shortcut)


class Head(nn.Module):
    """Linear layer, stored as a 1 × 1 convolution and a bias of its own; `add_bais` is what the file calls it.

    Args:
        in_channels: of the features.
        size: of the output.
    """

    def __init__(self, in_channels: int, size: int) -> None:
        super().__init__()
        self.tf_fc = nn.Conv2d(in_channels, size, 1, bias=False)
        self.add_bais = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, 1, 1] → [N, size]."""
        return self.tf_fc(x).flatten(1) + self.add_bais


class RNet(Predictor):
    """Light, expression and pose of a face, as coefficients of a 3D model.

    Args:
        crop: side of the part in the middle of a 512-pixel image that is looked at (the same share at other sizes);
            None: the whole image, for photographs that were aligned by landmarks.
    """

    attributes: Mapping[str, Attribute] = {
        "light": Attribute(
            unit="coefficients",
            components=tuple(f"{colour}{band}" for colour in ("r", "g", "b") for band in range(9)),
            low=(-1.0,) * 27,
            high=(1.0,) * 27,
            help="light from all sides, nine bands of spherical harmonics of red, then of green and of blue",
        ),
        "expression3d": Attribute(
            unit="coefficients",
            components=tuple(f"e{i}" for i in range(64)),
            low=(-3.0,) * 64,
            high=(3.0,) * 64,
            help="weights of the 3D face model's expressions; usually copied from an image",
        ),
        "pose3d": Attribute(
            unit="degrees",
            components=("pitch", "yaw", "roll"),
            low=(-90.0,) * 3,
            high=(90.0,) * 3,
            help="rotation of the 3D face: pitch = −angle 0, yaw = angle 1, roll = angle 2",
        ),
    }

    def __init__(self, *, crop: int | None = 480) -> None:
        super().__init__()
        self.crop = crop
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64, eps=EPSILON)
        before = 64
        for number, (channels, count) in enumerate(STAGES, start=1):
            stage = nn.Module()
            for i in range(1, count + 1):
                # The last unit of a stage has the stride, not the first, and the last stage has none.
                stride = 2 if i == count and number < len(STAGES) else 1
                stage.add_module(f"unit_{i}", Unit(before, channels, stride, project=i == 1))
                before = channels
            self.add_module(f"block{number}", stage)
        for name, size in HEADS.items():
            self.add_module(name, Head(before, size))
        self.eval().requires_grad_(False)

    @classmethod
    def from_file(cls, path: Path | str, *, crop: int | None = 480) -> RNet:
        """The network with the weights of the converted file, or of a safetensors file with the same names.

        Raises:
            CheckpointError: the file is missing, damaged, or holds another network.
        """
        tensors = load_weights(path, WEIGHTS)
        predictor = cls(crop=crop)
        load_strictly(predictor, tensors, path)
        return predictor

    def prepare(self, images: Tensor) -> Tensor:
        """The network's input [N, 3, 224, 224], BGR from 0 to 255: that first, then centre crop, then bicubic.

        Images 224 pixels wide are taken as aligned faces and are not cropped.
        """
        images = to_bgr(to_unit(images)) * 255
        if images.shape[-1] == SIDE:
            return images
        if self.crop is not None:
            images = centre_crop(images, self.crop)
        return resize(images, SIDE, mode="bicubic")

    def coefficients(self, images: Tensor) -> Tensor:
        """All of them, [N, 257]: identity 0–80, expression 80–144, texture 144–224, angles 224–227 (radians),
        gamma 227–254, translation xy 254–256 and z 256; from images [N, 3, H, W] in [-1, 1], RGB.
        """
        x = torch.relu(self.bn1(self.conv1(self.prepare(images))))  # [N, 64, 112, 112]
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, stride=2)  # [N, 64, 56, 56]
        for number in range(1, len(STAGES) + 1):
            for unit in self.get_submodule(f"block{number}").children():
                x = unit(x)
        x = x.mean((2, 3), keepdim=True)  # [N, 2048, 1, 1]
        return torch.cat([self.get_submodule(name)(x) for name in HEADS], 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """{"light": [N, 27], "expression3d": [N, 64], "pose3d": radians [N, 3]} of images [N, 3, H, W], RGB."""
        parts = dict(zip(HEADS, self.coefficients(images).split(list(HEADS.values()), 1), strict=True))
        return {name: parts[head] for name, head in READS.items()}

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Mean absolute difference of an attribute's coefficients, [N, K] and [N, K] → [N]."""
        return mean_absolute(a, b)

    def read(self, name: str, features: Tensor) -> Tensor:
        """The coefficients themselves, [N, K]; of `pose3d` pitch, yaw and roll in degrees, [N, 3]."""
        if name != "pose3d":
            return features
        signs = features.new_tensor([-1.0, 1.0, 1.0])
        return features * signs * (180 / math.pi)
