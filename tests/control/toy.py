"""A generator and a predictor so small that everything about them can be worked out by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from gantrol.control.predictors import Attribute, Predictor


class MeanColor(Predictor):
    """Reads the mean of each colour channel as an attribute of its own: red, green, blue; distances are |Δ|."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes = {
            name: Attribute(unit="", components=("value",), low=(-1.0,), high=(1.0,), help=f"mean {name}")
            for name in ("red", "green", "blue")
        }

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        means = images.mean(dim=(2, 3))
        return {name: means[:, i : i + 1] for i, name in enumerate(self.attributes)}

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean(dim=1)

    def read(self, name: str, features: Tensor) -> Tensor:
        return features


def images_of(colors: list[list[float]]) -> Tensor:
    """Plain images [N, 3, 4, 4] of these colours."""
    return torch.tensor(colors)[:, :, None, None].expand(-1, -1, 4, 4)
