"""Colours at the edge of a picture: what is left of a portrait when everything with a name is taken away.

N images · C channels · H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gantrol.control.predictors.protocol import Attribute, Predictor
from gantrol.models.controllable import OTHER

_PATCHES = ("top", "bottom")


class Border(Predictor):
    """Reads `other`: mean colours in [-1, 1] of both upper corners (the backdrop) and of the lower edge (clothes)."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        names = tuple(f"{patch}_{i}" for patch in _PATCHES for i in range(channels))
        low, high = (-1.0,) * len(names), (1.0,) * len(names)
        self.attributes = {OTHER: Attribute(unit="", components=names, low=low, high=high, help="colours of the edge")}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features: [N, 2·C] means of patches of a fifth of the picture's side."""
        side = max(images.shape[-1] // 5, 1)
        middle = (images.shape[-1] - side) // 2
        corners = torch.cat([images[:, :, :side, :side], images[:, :, :side, -side:]], dim=3)
        patches = (corners, images[:, :, -side // 2 :, middle : middle + side])
        return {OTHER: torch.cat([patch.mean(dim=(2, 3)) for patch in patches], dim=1)}

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Mean absolute difference of the colours."""
        return (a - b).abs().mean(dim=1)

    def read(self, name: str, features: Tensor) -> Tensor:
        """The colours themselves."""
        return features
