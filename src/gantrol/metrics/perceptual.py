"""How different two images look, differentiably: what `gantrol project` minimises.

Each measure maps an image x to a vector e(x), made so that the distance of two images is ‖e(x) − e(y)‖². The vector of
a picture that many images are compared with is thus computed once.

- `FeatureEmbedding`: unit-length feature vectors of several layers of a network that has learned to see. This is LPIPS
  (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features", eq. 1) with all channels weighted alike, on
  the one network whose weights a package brings (no package has LPIPS's own: they lie on top of torchvision's
  networks). Its numbers are comparable to themselves only.
- `gantrol.metrics.networks.lpips.LpipsEmbedding`: LPIPS itself, for those who have its weights and those of VGG-16.
- `PyramidEmbedding`: pixels and their differences to the neighbours, at every scale. It needs nothing.

Dimensions: N batch · C image channels · H W pixels · D length of the vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from gantrol.errors import ConfigError, MissingExtraError, nearest
from gantrol.metrics.networks import lpips
from gantrol.metrics.networks.efficientnet_lite0 import EfficientNetLite0

Embedding = Literal["auto", "efficientnet-lite0", "lpips-vgg", "pyramid"]
"""What `load_embedding` knows; "auto" is the network if its packages are installed, else the pyramid."""


class ImageEmbedding(Protocol):
    """x ↦ e(x), with ‖e(x) − e(y)‖² the distance of x and y."""

    name: str
    """One of `Embedding`."""

    def __call__(self, images: Tensor) -> Tensor:
        """Maps float [N, C, H, W], about [−1, 1], C = 1 or 3, to [N, D]; differentiable."""


class FeatureEmbedding(nn.Module):
    """Features of EfficientNet-Lite0 after its blocks at 1/2, 1/4, 1/8 and twice 1/16 of the input's resolution.

    With φ_l the features [C_l, H_l, W_l] of layer l of L, scaled to unit length over the channels,
    e(x)_l = φ̂_l / √(L·H_l·W_l): the distance is the mean over layers and places of ‖φ̂_l − φ̂′_l‖², from 0 to 4.
    Images are enlarged to twice their size, within 64 … 224 px: enough for the network to see something in 32 pixels,
    at a twelfth of the cost of its native 224.
    """

    name: ClassVar[str] = "efficientnet-lite0"

    _BLOCKS = (0, 2, 4, 7, 10)
    _MIN_PX, _MAX_PX = 64, 224

    def __init__(self) -> None:
        super().__init__()
        self.network: Any = EfficientNetLite0().network

    def forward(self, images: Tensor) -> Tensor:
        """Maps float [N, C, H, W], about [−1, 1], C = 1 or 3, to [N, D]."""
        x = images.expand(-1, 3, -1, -1) * (127.5 / 128) + 0.5 / 128  # the network's (byte − 127)/128
        side = min(max(2 * images.shape[2], self._MIN_PX), self._MAX_PX)
        if side != images.shape[2]:
            x = nn.functional.interpolate(
                x, size=(side, side), mode="bicubic", antialias=side < images.shape[2], align_corners=False
            )
        x = nn.functional.relu6(self.network._conv_stem(x))  # its batch normalisation is folded in
        parts = []
        for index, block in enumerate(self.network._blocks[: self._BLOCKS[-1] + 1]):
            x = block(x)  # [N, C_l, H_l, W_l]
            if index in self._BLOCKS:
                unit = x * (x.square().sum(dim=1, keepdim=True) + 1e-8).rsqrt()
                parts.append(unit.flatten(1) / math.sqrt(len(self._BLOCKS) * x.shape[2] * x.shape[3]))
        return torch.cat(parts, dim=1)


class PyramidEmbedding(nn.Module):
    """Pixels and their horizontal and vertical differences at full, half, quarter … resolution, down to 4 px.

    Each of the three kinds counts with its mean square, the scales alike: coarse scales tell where the masses are when
    nothing overlaps yet, differences ask for the right edges.
    """

    name: ClassVar[str] = "pyramid"

    _MIN_PX = 4

    def forward(self, images: Tensor) -> Tensor:
        """Maps float [N, C, H, W] to [N, D]."""
        scales = max(1, int(math.log2(images.shape[2] / self._MIN_PX)) + 1)
        parts = []
        x = images
        for scale in range(scales):
            if scale:
                x = nn.functional.avg_pool2d(x, 2)
            for part in (x, x[:, :, :, 1:] - x[:, :, :, :-1], x[:, :, 1:] - x[:, :, :-1]):
                parts.append(part.flatten(1) / math.sqrt(scales * part[0].numel()))
        return torch.cat(parts, dim=1)


_EMBEDDINGS: dict[str, Callable[[], nn.Module]] = {
    "efficientnet-lite0": FeatureEmbedding,
    "lpips-vgg": lpips.load,
    "pyramid": PyramidEmbedding,
}


def load_embedding(name: str = "auto", device: torch.device | str = "cpu") -> ImageEmbedding:
    """The embedding called `name`, frozen, ready on `device`.

    Raises:
        ConfigError: there is no such embedding.
        CheckpointError: its weights are missing or damaged ("lpips-vgg").
        MissingExtraError: its packages are not installed (never for "auto").
    """
    if name not in get_args(Embedding):
        raise ConfigError(f"unknown features {name!r}; {nearest(name, get_args(Embedding))}")
    if name == "auto":
        try:
            return load_embedding("efficientnet-lite0", device)
        except MissingExtraError:
            name = "pyramid"
    embedding: Any = _EMBEDDINGS[name]().to(device).eval().requires_grad_(False)
    return embedding
