"""Age by DEX (Rothe, Timofte and Van Gool 2015), as GAN-Control uses it: a VGG-16 that classifies years from 0 to 100.

N images · B = 101 bins, one per year.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from gantrol.control.predictors.distances import mean_absolute
from gantrol.control.predictors.logits import DistanceOf, check_distance, expected_bin
from gantrol.control.predictors.preprocess import centre_crop, resize, to_bgr, to_unit
from gantrol.control.predictors.protocol import Attribute, Predictor
from gantrol.control.predictors.vgg import VGG16, WIDTHS
from gantrol.control.predictors.weights import WeightFile, load_strictly, load_weights

WEIGHTS = WeightFile(
    file="dex_imdb_wiki.pt",
    source="IMDB-WIKI (ETH Zürich), converted from dex_imdb_wiki.caffemodel",
    licence="academic use only",
)

SIDE = 224
"""Pixels of the network's input."""
YEARS = 101
MEAN = (0.48501961, 0.45795686, 0.40760392)
"""Of R, G and B in [0, 1]; subtracted, without division by a deviation."""


class DEX(Predictor):
    """Apparent age in years: the expectation over 0 … 100. Features are the logits [N, B].

    Args:
        crop: side of the part in the middle of a 512-pixel image that is looked at (the same share at other sizes);
            None: the whole image.
        distance: of the "logits", as in the paper, or in "units", that is in years; the mean |Δ| of either.

    Raises:
        ConfigError: `distance` is neither.
    """

    attributes: Mapping[str, Attribute] = {
        "age": Attribute(unit="years", components=("value",), low=(0.0,), high=(100.0,), help="apparent age, by DEX")
    }

    def __init__(self, *, crop: int | None = 480, distance: DistanceOf = "logits") -> None:
        super().__init__()
        self.crop = crop
        self.distance_of = check_distance(distance)
        self.network = VGG16(YEARS)
        self.eval().requires_grad_(False)

    @classmethod
    def from_file(cls, path: Path | str, *, crop: int | None = 480, distance: DistanceOf = "logits") -> DEX:
        """The network with converted weights.

        Args:
            path: tensors of `dex_imdb_wiki.caffemodel` by their Caffe names, `conv1_1.weight` … `fc8-101.bias`, with
                dashes or underscores; convolutions [out, in, 3, 3], as Caffe and PyTorch both have them.
            crop: as of the class, and so is `distance`.

        Raises:
            CheckpointError: the file is missing, damaged, or holds another network.
            ConfigError: as of the class.
        """
        tensors = {standard_name(name): value for name, value in load_weights(path, WEIGHTS).items()}
        predictor = cls(crop=crop, distance=distance)
        load_strictly(predictor.network, tensors, path)
        return predictor

    def prepare(self, images: Tensor) -> Tensor:
        """The network's input [N, 3, 224, 224], BGR: centre crop, less the mean, bilinear (corners not aligned)."""
        if self.crop is not None:
            images = centre_crop(images, self.crop)
        mean = torch.tensor(MEAN, dtype=images.dtype, device=images.device).view(3, 1, 1)
        return resize(to_bgr(to_unit(images) - mean), SIDE, align_corners=False) * 255

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """{"age": logits [N, B]} of images [N, 3, H, W] in [-1, 1], RGB, of any size."""
        return {"age": self.network(self.prepare(images))}

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Mean |Δ| of the logits, or |Δ| in years: [N, B] and [N, B] → [N]."""
        if self.distance_of == "units":
            return mean_absolute(self.read(name, a), self.read(name, b))
        return mean_absolute(a, b)

    def read(self, name: str, features: Tensor) -> Tensor:
        """Years: [N, B] → [N, 1]."""
        return expected_bin(features)[:, None]


def standard_name(name: str) -> str:
    """The usual name in a VGG-16 of a tensor that DEX calls `conv3_2.weight` or `fc8-101.bias`; others stay."""
    layer, _, kind = name.replace("-", "_").rpartition(".")
    if found := re.fullmatch(r"conv([1-5])_([1-3])", layer):
        group, place = int(found[1]) - 1, int(found[2]) - 1
        # Each convolution is followed by its ReLU, each group by its pooling.
        return f"features.{sum(2 * len(widths) + 1 for widths in WIDTHS[:group]) + 2 * place}.{kind}"
    places = {"fc6": 0, "fc7": 3, "fc8_101": 6}
    return f"classifier.{places[layer]}.{kind}" if layer in places else name
