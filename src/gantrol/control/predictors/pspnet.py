"""Hair colour: the mean colour under a hair mask by PSPNet (Zhao et al. 2017), as GAN-Control uses it.

The mask only says where to look. Nothing is differentiated through it: an image comes closer to a colour by changing
its hair, not by changing what counts as hair.

N images · C channels · H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrol.control.predictors.distances import mean_absolute
from gantrol.control.predictors.preprocess import imagenet, resize, to_unit
from gantrol.control.predictors.protocol import Attribute, Predictor
from gantrol.control.predictors.resnet import Bottleneck, stage, stem
from gantrol.control.predictors.weights import WeightFile, load_strictly, load_weights

WEIGHTS = WeightFile(
    file="pspnet_resnet101_sgd_lr_0.002_epoch_100_test_iou_0.918.pth",
    source="YBIGTA/pytorch-hair-segmentation",
    licence="none stated",
)

SIDE = 256
"""Pixels of the network's input, and of the image whose colours are read."""
LEAST_HAIR = 0.01
"""Share of the pixels that both masks of a pair have to exceed before their colours are compared."""


class HairBackbone(nn.Module):
    """ResNet-101 without its last stage: images [N, 3, H, W] → [N, 1024, H/16, W/16]."""

    def __init__(self) -> None:
        super().__init__()
        stages = stage(Bottleneck, 64, 64, 3), stage(Bottleneck, 256, 128, 4, 2), stage(Bottleneck, 512, 256, 23, 2)
        self.features = nn.Sequential(*stem(), *stages)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)


class PyramidPooling(nn.Module):
    """Adds means over a 1, 2, 3 and 6-fold grid, 256 channels each: [N, 1024, H, W] → [N, 2048, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        levels = (nn.Sequential(nn.AdaptiveAvgPool2d(cells), nn.Conv2d(1024, 256, 1)) for cells in (1, 2, 3, 6))
        self.pooling_layers = nn.ModuleList(levels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, *(_stretch(level(x), x.shape[-2:]) for level in self.pooling_layers)], dim=1)


class DoubleSide(nn.Module):
    """Twice the side, then convolution, normalisation and ReLU: [N, C, H, W] → [N, C′, 2H, 2W]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False)
        self.conv = nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        return self.conv(_stretch(x, (2 * height, 2 * width)))


class PSPNet(nn.Module):
    """Segmentation into hair and the rest: normalised images [N, 3, H, W] → logits [N, 1, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.base_network = HairBackbone()
        self.psp = PyramidPooling()
        self.up_1 = DoubleSide(2048, 256)
        self.up_2 = DoubleSide(256, 64)
        self.up_3 = DoubleSide(64, 64)
        self.final = nn.Sequential(nn.Conv2d(64, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.psp(self.base_network(x))  # [N, 2048, H/16, W/16]
        y = self.up_3(self.up_2(self.up_1(y)))  # [N, 64, H/2, W/2]
        return self.final(_stretch(y, x.shape[-2:]))


class HairColour(Predictor):
    """Mean red, green and blue of the hair, each from 0 to 1; zeros where there is no hair.

    Features are the colour and the share of the pixels that are hair, [N, 4].
    """

    attributes: Mapping[str, Attribute] = {
        "hair_color": Attribute(
            unit="share",
            components=("r", "g", "b"),
            low=(0.0,) * 3,
            high=(1.0,) * 3,
            help="mean colour of the hair, from 0 to 1",
        )
    }

    def __init__(self) -> None:
        super().__init__()
        self.network = PSPNet()
        self.eval().requires_grad_(False)

    @classmethod
    def from_file(cls, path: Path | str) -> HairColour:
        """The network with the public weights (see `WEIGHTS`), or with those of a safetensors file of the same names.

        Raises:
            CheckpointError: the file is missing, damaged, or holds another network.
        """
        tensors = load_weights(path, WEIGHTS)
        predictor = cls()
        load_strictly(predictor.network, tensors, path)
        return predictor

    def prepare(self, images: Tensor) -> Tensor:
        """The images whose colours are read, [N, 3, 256, 256] in [-1, 1]: bilinear; no crop."""
        return resize(images, SIDE)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """{"hair_color": [N, 4]} of images [N, 3, H, W] in [-1, 1], RGB, of any size."""
        prepared = self.prepare(images)
        return {"hair_color": colour_under(prepared, self.mask(prepared))}

    @torch.no_grad()
    def mask(self, prepared: Tensor) -> Tensor:
        """Where the hair is, 0 or 1, without gradient: prepared images [N, 3, H, W] → [N, 1, H, W]."""
        return (self.network(imagenet(to_unit(prepared))).sigmoid() >= 0.5).to(prepared.dtype)

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Mean |Δ| of the colours, or 0 unless both masks exceed 1 % of the pixels: [N, 4] and [N, 4] → [N]."""
        enough = (a[:, 3] > LEAST_HAIR) & (b[:, 3] > LEAST_HAIR)
        return mean_absolute(a[:, :3], b[:, :3]) * enough

    def read(self, name: str, features: Tensor) -> Tensor:
        """The colour: [N, 4] → [N, 3]."""
        return features[:, :3]


def colour_under(images: Tensor, mask: Tensor) -> Tensor:
    """Mean colour under a mask, and how much of the image it covers.

    Args:
        images: [N, 3, H, W] in [-1, 1].
        mask: [N, 1, H, W], 0 or 1.

    Returns:
        [N, 4]: red, green and blue in [0, 1], all 0 under an empty mask, and the mask's share of the pixels.
    """
    area = mask.sum(dim=(1, 2, 3))[:, None]  # [N, 1] pixels
    colour = to_unit((images * mask).sum(dim=(2, 3)) / area.clamp(min=1))
    return torch.cat([colour * (area > 0.5), area / mask.shape[2:].numel()], dim=1)


def _stretch(x: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
