"""VGG-16 (Simonyan and Zisserman 2015), with the names that published weight files use.

N images · C channels · H W pixels · K outputs.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of each convolution; each group of them ends in a pooling that halves the side."""


def vgg16_features(groups: int = len(WIDTHS), *, last_pool: bool = True) -> nn.Sequential:
    """The convolutions with their ReLUs and poolings: [N, 3, H, W] → [N, 512, H/32, W/32].

    Args:
        groups: how many of the five groups.
        last_pool: whether the last group ends in its pooling.
    """
    layers: list[nn.Module] = []
    channels = 3
    for widths in WIDTHS[:groups]:
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, 1, 1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*(layers if last_pool else layers[:-1]))


def maps_after(features: nn.Sequential, x: Tensor, layers: Collection[int]) -> list[Tensor]:
    """What `features` has after some of its layers, by number, in their order: [N, 3, H, W] → [N, C, H′, W′] each."""
    maps = []
    for index, layer in enumerate(features):
        x = layer(x)
        if index in layers:
            maps.append(x)
    return maps


class VGG16(nn.Module):
    """The whole network, images [N, 3, 224, 224] → logits [N, K].

    Args:
        outputs: K.
    """

    def __init__(self, outputs: int = 1000) -> None:
        super().__init__()
        self.features = vgg16_features()
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))
