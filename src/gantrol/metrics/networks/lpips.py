"""LPIPS on VGG-16: how different two images look, as a distance between vectors.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", version 0.1. The distance
of two images is ‖e(x) − e(y)‖², which perceptual path length (PPL) is measured in.

N images · C channels · H W pixels · L = 5 layers · D length of the vector.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from gantrol.control.predictors.vgg import WIDTHS, maps_after, vgg16_features
from gantrol.control.predictors.weights import load_strictly, load_weights
from gantrol.errors import CheckpointError
from gantrol.metrics.networks import vgg16
from gantrol.metrics.networks.weight_files import PublishedFile

WEIGHTS = PublishedFile(
    file="lpips-vgg-0.1.pth",
    source="the PyPI package lpips 0.1.4, in which it is lpips/weights/v0.1/vgg.pth",
    licence="BSD-2-Clause",
    variable="GANTROL_LPIPS",
    url="the package (pip download --no-deps lpips==0.1.4)",
    sha256="",
    instead="the embedding efficientnet-lite0, which needs no download",
)

LAYERS = (3, 8, 15, 22, 29)
"""After which of VGG-16's layers its maps are compared: relu1_2, relu2_2, relu3_3, relu4_3, relu5_3."""
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""With images x in [−1, 1], VGG-16 is given (x − shift)/scale: ImageNet's mean and standard deviation, rounded."""
_EPSILON = 1e-10


class LpipsEmbedding(nn.Module):
    """e(x): the maps of five layers, unit length over the channels, times √weight, over √(H_l·W_l).

    Args:
        path: VGG-16 with torchvision's names; only its convolutions are used.
        linear: LPIPS's weights, `lin0.model.1.weight` to `lin4.model.1.weight`; by default those in the same file.

    Raises:
        CheckpointError: a file is missing or damaged, or holds something else.
    """

    name: ClassVar[str] = "lpips-vgg"

    def __init__(self, path: Path | str, linear: Path | str | None = None) -> None:
        super().__init__()
        tensors = load_weights(path, vgg16.WEIGHTS)
        with torch.device("meta"):  # nothing is drawn, only to be overwritten
            self.features = vgg16_features(last_pool=False)
        self.features.to_empty(device="cpu")
        load_strictly(self, tensors, path, unused=("classifier.", vgg16.LPIPS_PREFIX))
        linear = path if linear is None else linear
        weights = tensors if linear == path else load_weights(linear, WEIGHTS)
        for layer, width in enumerate(widths[-1] for widths in WIDTHS):
            weight = weights.get(f"lin{layer}.model.1.weight")
            if weight is None or weight.shape != (1, width, 1, 1) or weight.min() < 0:
                raise CheckpointError(
                    f"{linear}: lin{layer}.model.1.weight is missing, or not {width} numbers of at least 0; set "
                    f"{WEIGHTS.variable} to the path of {WEIGHTS}"
                )
            self.register_buffer(f"root_{layer}", weight.float().sqrt())
        self.register_buffer("shift", torch.tensor(SHIFT).view(3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Maps float [N, C, H, W], about [−1, 1], C = 1 or 3, H and W at least 16, to [N, D]; differentiable."""
        x = (images.expand(-1, 3, -1, -1) - self.get_buffer("shift")) / self.get_buffer("scale")
        parts = []
        for layer, maps in enumerate(maps_after(self.features, x, LAYERS)):  # [N, C_l, H_l, W_l]
            unit = maps * (maps.square().sum(dim=1, keepdim=True) + _EPSILON).rsqrt()
            parts.append((unit * self.get_buffer(f"root_{layer}")).flatten(1) / (maps.shape[2] * maps.shape[3]) ** 0.5)
        return torch.cat(parts, dim=1)


def load() -> LpipsEmbedding:
    """The embedding with the files that `GANTROL_VGG16` and `GANTROL_LPIPS` name, or those in the cache."""
    return LpipsEmbedding(vgg16.WEIGHTS.obtain(), WEIGHTS.find())
