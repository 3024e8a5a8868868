"""ArcFace: who it is, as a unit vector (Deng et al. 2019), with the backbone IR-SE50.

GAN-Control measures the identity of faces with it: the distance is the squared Euclidean one of two unit vectors, 0 for
the same face and 2 for vectors at a right angle. Names of parameters are those of the public file `model_ir_se50.pth`.

N images · C channels · H W pixels · D = 512 numbers of the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from gantrol.control.predictors.distances import squared_euclidean
from gantrol.control.predictors.preprocess import centre_crop, resize
from gantrol.control.predictors.protocol import Attribute, Predictor
from gantrol.control.predictors.weights import WeightFile, load_strictly, load_weights

WEIGHTS = WeightFile(
    file="model_ir_se50.pth",
    source="TreB1eN/InsightFace_Pytorch",
    licence="MIT of the repository; none stated for the weights, trained on MS-Celeb-1M",
)

SIDE = 112
"""Pixels of the network's input."""
STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))
"""Channels and units of each stage; the first unit of a stage, also of the first stage, halves the size."""
EMBEDDING = 512


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate in (0, 1) that is computed from the means of all channels (Hu et al. 2018).

    Args:
        channels: C.
        reduction: C divided by the width in between.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → the same shape."""
        gate = self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True))))  # [N, C, 1, 1]
        return x * torch.sigmoid(gate)


class Unit(nn.Module):
    """Residual unit of IR-SE: BN, 3 × 3, PReLU, 3 × 3 (with the stride), BN, squeeze and excite; plus a shortcut.

    Args:
        in_channels: of the input.
        channels: of the output.
        stride: 1 or 2.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            SqueezeExcite(channels),
        )
        self.shortcut_layer: nn.Module | None = None
        if in_channels != channels:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, C′, H / stride, W / stride]."""
        picked = x[..., :: self.stride, :: self.stride]
        shortcut = picked if self.shortcut_layer is None else self.shortcut_layer(x)
        return self.res_layer(x) + shortcut


class ArcFace(Predictor):
    """Identity of a face, as an embedding of 512 numbers and length 1.

    Args:
        crop: side of the part in the middle of a 512-pixel image that is looked at (the same share at other sizes);
            None: the whole image.
    """

    attributes: Mapping[str, Attribute] = {
        "identity": Attribute(unit="embedding", help="who it is; squared distances from 0 to 4")
    }

    def __init__(self, *, crop: int | None = 480) -> None:
        super().__init__()
        self.crop = crop
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        units, before = [], 64
        for channels, count in STAGES:
            for index in range(count):
                units.append(Unit(before, channels, stride=2 if index == 0 else 1))
                before = channels
        self.body = nn.Sequential(*units)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(0.6),
            nn.Flatten(),
            nn.Linear(512 * 7 * 7, EMBEDDING),
            nn.BatchNorm1d(EMBEDDING),
        )
        self.eval().requires_grad_(False)

    @classmethod
    def from_file(cls, path: Path | str, *, crop: int | None = 480) -> ArcFace:
        """The network with the weights of `model_ir_se50.pth`, or of a safetensors file with the same names.

        Raises:
            CheckpointError: the file is missing, damaged, or holds another network.
        """
        tensors = load_weights(path, WEIGHTS)
        predictor = cls(crop=crop)
        load_strictly(predictor, tensors, path)
        return predictor

    def prepare(self, images: Tensor) -> Tensor:
        """The network's input [N, 3, 112, 112] in [-1, 1]: centre crop, then bilinear.

        Images 112 pixels wide are taken as crops of faces and left as they are.
        """
        if images.shape[-1] == SIDE:
            return images
        if self.crop is not None:
            images = centre_crop(images, self.crop)
        return resize(images, SIDE)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """{"identity": unit vectors [N, 512]} of images [N, 3, H, W] in [-1, 1], RGB, of any size."""
        x = self.input_layer(self.prepare(images))  # [N, 64, 112, 112]
        x = self.body(x)  # [N, 512, 7, 7]
        x = self.output_layer(x)  # [N, 512]
        return {"identity": x / x.norm(dim=1, keepdim=True)}

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Squared Euclidean distance of unit vectors, [N, 512] and [N, 512] → [N], 0 to 4."""
        return squared_euclidean(a, b)
