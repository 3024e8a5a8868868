"""Our own predictors: one small network that reads several attributes from an image at once.

A trunk of convolutions shrinks the image to a grid of 4 × 4 (no global average: where something lies in the picture is
half of the answer), a hidden layer looks at the whole grid, and one linear head per attribute answers:

- numbers, standardised by the training data; their distance is |Δ| in standard deviations;
- directions as a vector; their distance is the angle, in units of its spread in the data;
- choices as logits; their distance is half the summed difference of the probabilities, in units of its mean;
- embeddings of unit length, alike for images of one individual; their distance is squared.

N images · C channels · H W pixels · S input size · F width of the trunk's last layer · K numbers of a reading.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantrol.control.predictors.protocol import Attribute, Predictor
from gantrol.control.predictors.targets import Target
from gantrol.errors import ConfigError, nearest

GRID = 4
"""Side of the grid on which the trunk ends."""


@dataclass(frozen=True, kw_only=True)
class ReaderConfig:
    """A reader: what it reads, and with which network."""

    kind: ClassVar[str] = "reader"

    targets: tuple[Target, ...]
    """What it reads."""
    architecture: str = "residual"
    """One of `TRUNKS`."""
    resolution_px: int = 64
    """S: images are resized to so many pixels; a power of two, 16 or more."""
    channels: int = 3
    """1 or 3."""
    widths: tuple[int, ...] = ()
    """Channels of the trunk's four stages; empty: those of the architecture."""
    hidden: int = 192
    """Width of the layer that sees the whole grid."""

    def __post_init__(self) -> None:
        if self.architecture not in TRUNKS:
            raise ConfigError(f"there is no architecture {self.architecture!r}; {nearest(self.architecture, TRUNKS)}")
        if self.resolution_px < 16 or self.resolution_px & (self.resolution_px - 1):
            raise ConfigError(f"resolution_px={self.resolution_px}: expected a power of two, 16 or more")
        if self.channels not in (1, 3):
            raise ConfigError(f"channels={self.channels}: expected 1 or 3")
        if len(self.widths) not in (0, 4) or any(width < 1 for width in self.widths) or self.hidden < 1:
            raise ConfigError(f"widths={self.widths}, hidden={self.hidden}: expected four widths of 1 or more")
        names = [target.name for target in self.targets]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"targets {', '.join(names) or '(none)'}: expected one or more, each name once")

    def build(self) -> Reader:
        """An untrained reader."""
        return Reader(self)


class Reader(Predictor):
    """A trained or untrained reader.

    Args:
        config: what it reads, and with which network.
    """

    def __init__(self, config: ReaderConfig) -> None:
        super().__init__()
        self.config = config
        self.attributes: Mapping[str, Attribute] = {target.name: target.attribute for target in config.targets}
        self._targets = {target.name: target for target in config.targets}
        trunk = TRUNKS[config.architecture]
        widths = config.widths or trunk.widths
        self.trunk = trunk.make(config.channels, widths)
        self.grid = nn.AdaptiveAvgPool2d(GRID)
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Linear(GRID * GRID * trunk.features(widths), config.hidden), nn.ReLU()
        )
        self.heads = nn.ModuleDict({_key(t.name): nn.Linear(config.hidden, t.outputs) for t in config.targets})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features of each attribute, float32 [N, outputs], from images [N, C, H, W] in [-1, 1] of any size.

        Raises:
            ConfigError: the images have another number of channels.
        """
        x = self.hidden(self.grid(self.trunk(self.prepare(images))))  # [N, hidden]
        found = {}
        for name, target in self._targets.items():
            feature = self.heads[_key(name)](x).float()
            found[name] = F.normalize(feature, dim=1) if target.kind in ("direction", "embedding") else feature
        return found

    def prepare(self, images: Tensor) -> Tensor:
        """Images of any size as [N, C, S, S]: smaller with antialiasing, larger bilinearly, grey as three channels."""
        if images.shape[1] == 1 and self.config.channels == 3:
            images = images.expand(-1, 3, -1, -1)
        if images.shape[1] != self.config.channels:
            raise ConfigError(
                f"images have {images.shape[1]} channels; this reader was made for {self.config.channels}"
            )
        size = (self.config.resolution_px, self.config.resolution_px)
        if images.shape[2:] != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        return images.contiguous(memory_format=torch.channels_last)

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """How far apart two sets of features are, [N, outputs] and [N, outputs] → [N]; about 1 for unlike images."""
        target = self._target(name)
        if target.kind == "embedding":
            return (a - b).square().sum(1)
        if target.kind == "direction":
            return _angle(a, b) / target.spread
        if target.kind == "choice":
            return (a.softmax(1) - b.softmax(1)).abs().sum(1) / 2 / target.spread
        return (a - b).abs().mean(1)

    def read(self, name: str, features: Tensor) -> Tensor:
        """Readings [N, K] in the attribute's unit: angles in degrees, choices as probabilities; nothing is clamped.

        Raises:
            ConfigError: the attribute is an embedding, or there is no such attribute.
        """
        target = self._target(name)
        if target.kind == "embedding":
            raise ConfigError(f"attribute {name!r} has distances but no readings")
        if target.kind == "choice":
            return features.softmax(1)
        if target.kind == "direction":
            x, y, z = features.unbind(1)
            azimuth, elevation = torch.atan2(x, z), torch.atan2(y, (x * x + z * z).clamp(min=1e-12).sqrt())
            return torch.stack([azimuth, elevation], dim=1).rad2deg()
        mean, deviation = features.new_tensor(target.mean), features.new_tensor(target.deviation)
        return features * deviation + mean

    def _target(self, name: str) -> Target:
        if name not in self._targets:
            raise ConfigError(f"this reader reads no {name!r}; {nearest(name, self._targets)}")
        return self._targets[name]


class _Residual(nn.Module):
    """Two 3 × 3 convolutions and a shortcut (He et al. 2016, "Deep Residual Learning")."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        is_plain = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if is_plain else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.body(x))


class _Separable(nn.Module):
    """A convolution of each channel, then two that mix them (after Liu et al. 2022, "A ConvNet for the 2020s")."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.norm = nn.BatchNorm2d(inputs)
        self.mix = nn.Sequential(
            nn.Conv2d(inputs, 3 * inputs, 1),
            nn.SiLU(),
            nn.Conv2d(3 * inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # CPUs are several times slower at this in bfloat16
            y = self.norm(self.depthwise(x.to(self.depthwise.weight.dtype)))
        y = self.mix(y)
        return x + y if self.has_shortcut else y


def _residual_trunk(channels: int, widths: tuple[int, ...]) -> nn.Sequential:
    """[N, C, S, S] → [N, F, S/16, S/16]."""
    first, *rest = widths
    layers: list[nn.Module] = [
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, first, 5, 2, 2, bias=False),  # S/2
        nn.BatchNorm2d(first),
        nn.ReLU(),
        _Residual(first, first, 1),
    ]
    for inputs, outputs in zip(widths, rest, strict=False):
        layers.append(_Residual(inputs, outputs, 2))  # S/4, S/8, S/16
    return nn.Sequential(*layers)


def _separable_trunk(channels: int, widths: tuple[int, ...]) -> nn.Sequential:
    """[N, C, S, S] → [N, F, S/16, S/16] with F half of the last width."""
    first, second, third, last = widths
    layers: list[nn.Module] = [
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, first, 3, 2, 1, bias=False),  # S/2
        nn.BatchNorm2d(first),
        nn.SiLU(),
        nn.Conv2d(first, second, 3, 2, 1, bias=False),  # S/4
        nn.BatchNorm2d(second),
        _Separable(second, second, 1),
        _Separable(second, second, 1),
        _Separable(second, third, 2),  # S/8
        _Separable(third, third, 1),
        _Separable(third, third, 1),
        _Separable(third, last, 2),  # S/16
        _Separable(last, last, 1),
        nn.Conv2d(last, last // 2, 1, bias=False),
        nn.BatchNorm2d(last // 2),
        nn.SiLU(),
    ]
    return nn.Sequential(*layers)


@dataclass(frozen=True, kw_only=True)
class _Trunk:
    """How to make a trunk, and its usual widths."""

    make: Callable[[int, tuple[int, ...]], nn.Module]
    widths: tuple[int, ...]
    features: Callable[[tuple[int, ...]], int]
    """F, from the widths."""


TRUNKS: dict[str, _Trunk] = {
    "residual": _Trunk(make=_residual_trunk, widths=(24, 48, 96, 144), features=lambda widths: widths[-1]),
    "separable": _Trunk(make=_separable_trunk, widths=(24, 64, 112, 176), features=lambda widths: widths[-1] // 2),
}
"""Architectures by name."""


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """Degrees between unit vectors [N, 3]: [N]; its gradient stays finite where they are equal or opposite."""
    apart, together = (a - b).square().sum(1), (a + b).square().sum(1)
    tiny = torch.finfo(a.dtype).tiny
    return 2 * torch.atan2((apart + tiny).sqrt(), (together + tiny).sqrt()) * (180 / math.pi)


def _key(name: str) -> str:
    """The name of an attribute as that of a module, which may hold no dot."""
    return name.replace(".", "_dot_")
