"""The residual generator and critic of WGAN-GP (Gulrajani et al. 2017, appendix C: ResNet for CIFAR-10).

Dimensions: N batch · C channels · H W pixels · D width.

    G   z → linear → D×4×4 → residual blocks, each doubling the resolution → batch norm, ReLU, 3×3 convolution, tanh
    D   image → residual blocks down to 8×8 → two plain ones → ReLU, mean over space, linear → one score

One width serves all layers (128 as published). The published networks are those of 32 px; others gain or lose blocks,
and sides of 6·2ᵏ start from 6×6, as AutoGAN does for the 48 px of STL-10.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from gantrol.models.config_checks import check_at_least
from gantrol.models.latent_generator import LatentGenerator
from gantrol.models.residual import BatchNorm, Convolution2d, ConvolutionalSynthesis, ResidualCritic, check_resolution


@dataclasses.dataclass(frozen=True, kw_only=True)
class WGANGPConfig:
    """Everything that defines a WGAN-GP generator."""

    kind: ClassVar[str] = "wgan-gp"

    resolution_px: int = 32
    """Width and height of the image: 4·2ᵏ or 6·2ᵏ, at least 16."""
    channels: int = 3
    """Image channels: 3 colour, 1 grey."""
    z_dim: int = 128
    """Width of the latent."""
    c_dim: int = 0
    """Width of the label; 0 for an unconditional generator."""
    width: int = 128
    """Channels of every layer."""

    def __post_init__(self) -> None:
        check_resolution(self)
        check_at_least(self, 1, "channels", "z_dim", "width")
        check_at_least(self, 0, "c_dim")

    def build(self) -> WGANGPGenerator:
        """A new generator with random weights, drawn from torch's global random state."""
        return WGANGPGenerator(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WGANGPDiscriminatorConfig:
    """Everything that defines a WGAN-GP critic."""

    kind: ClassVar[str] = "wgan-gp-d"

    resolution_px: int = 32
    """Width and height of the image: 4·2ᵏ or 6·2ᵏ, at least 16."""
    channels: int = 3
    """Image channels: 3 colour, 1 grey."""
    c_dim: int = 0
    """Width of the label; 0 for an unconditional critic."""
    width: int = 128
    """Channels of every layer."""

    def __post_init__(self) -> None:
        check_resolution(self)
        check_at_least(self, 1, "channels", "width")
        check_at_least(self, 0, "c_dim")

    def build(self) -> WGANGPDiscriminator:
        """A new critic with random weights, drawn from torch's global random state."""
        return WGANGPDiscriminator(self)


class UpBlock(nn.Module):
    """Residual block that doubles the resolution: conv1x1(U(x)) + conv2(R(N2(conv1(U(R(N1(x))))))), U nearest."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = BatchNorm(width)
        self.conv1 = Convolution2d(width, width, init="he")
        self.norm2 = BatchNorm(width)
        self.conv2 = Convolution2d(width, width, init="he")
        self.shortcut = Convolution2d(width, width, 1, init="xavier")

    def forward(self, x: Tensor, *, update_emas: bool) -> Tensor:
        """Maps [N, D, H, W] to [N, D, 2H, 2W]."""
        h = F.interpolate(F.relu(self.norm1(x, update_emas=update_emas)), scale_factor=2)
        h = self.conv2(F.relu(self.norm2(self.conv1(h), update_emas=update_emas)))
        return self.shortcut(F.interpolate(x, scale_factor=2)) + h


class WGANGPSynthesis(ConvolutionalSynthesis):
    """The network z ↦ image."""

    def __init__(self, config: WGANGPConfig) -> None:
        super().__init__(config)
        self.blocks = nn.ModuleList(UpBlock(config.width) for _ in range(self.num_stages))

    def body(self, x: Tensor, *, update_emas: bool) -> Tensor:
        for block in self.blocks:
            x = block(x, update_emas=update_emas)  # [N, D, H, W], H doubled each time
        return x


class WGANGPGenerator(LatentGenerator):
    """WGAN-GP generator; a `gantrol.models.Generator`.

    State-dict names, below `synthesis.`: `linear.{weight, bias}`, `blocks.{i}.{conv1, conv2, shortcut}.{weight, bias}`,
    `blocks.{i}.{norm1, norm2}.*` and `norm.*` with `{weight, bias, running_mean, running_var}`,
    `to_rgb.{weight, bias}`; block i doubles to bottom·2ⁱ⁺¹ pixels. With labels also `mapping.embed.weight`.
    """

    def __init__(self, config: WGANGPConfig) -> None:
        super().__init__(config, WGANGPSynthesis(config))
        self.config = config


class WGANGPDiscriminator(ResidualCritic):
    """WGAN-GP critic: no normalisation, a mean over space; a `gantrol.models.Discriminator`."""

    def __init__(self, config: WGANGPDiscriminatorConfig) -> None:
        super().__init__(config, is_spectral=False)
