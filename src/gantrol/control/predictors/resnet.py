"""Residual networks in their usual form (He et al. 2016), with the names that published weight files use.

N images · C channels · H W pixels · S pixels of a stage.
"""

from __future__ import annotations

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut: [N, C, S, S] → [N, width, S/stride, S/stride] (ResNet-18)."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1×1, 3×3 (which has the stride) and 1×1 convolution to 4 · width channels, and a shortcut (ResNet-50, -101)."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """The body of a residual network: images [N, 3, H, W] → [N, `channels`, H/32, W/32].

    Args:
        block: of all stages.
        counts: how many blocks each of the four stages has.
    """

    def __init__(self, block: type[BasicBlock | Bottleneck], counts: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = stem()
        self.layer1 = stage(block, 64, 64, counts[0])
        self.layer2 = stage(block, 64 * block.expansion, 128, counts[1], stride=2)
        self.layer3 = stage(block, 128 * block.expansion, 256, counts[2], stride=2)
        self.layer4 = stage(block, 256 * block.expansion, 512, counts[3], stride=2)
        self.channels = 512 * block.expansion

    def body(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] → [N, `channels`, H/32, W/32]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # [N, 64, H/4, W/4]
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def stem() -> tuple[nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]:
    """What precedes the stages: together [N, 3, H, W] → [N, 64, H/4, W/4]."""
    return nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)


def stage(
    block: type[BasicBlock | Bottleneck], in_channels: int, width: int, count: int, stride: int = 1
) -> nn.Sequential:
    """`count` blocks, of which the first has the stride."""
    rest = (block(width * block.expansion, width) for _ in range(count - 1))
    return nn.Sequential(block(in_channels, width, stride), *rest)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """None where the input itself can be added."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))
