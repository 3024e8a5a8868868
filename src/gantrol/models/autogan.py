"""AutoGAN (Gong et al. 2019): the three generators that its architecture search found, and its discriminator.

Dimensions: N batch · C channels · H W pixels · D width.

    G   z → linear → D×4×4 → cells, each doubling the resolution → batch norm, ReLU, 3×3 convolution, tanh
    D   WGAN-GP's critic with spectral normalisation of every weight and a sum over space

With U the cell's upsampling, N its norm and R a ReLU, a cell computes

    h   = conv1(U(R(N1(x)))) + Σ conv1x1(U*(h of an earlier cell))       U* to the size of h
    out = conv2(R(N2(h))) + conv1x1(U(x))                                the last term if it has a shortcut

and hands h, with the sum in it, to later cells. The search is not part of this library; `CELLS` are its results, which
the paper's CIFAR-10 table lists as its top three. Networks above 32 px (48 px) gain cells like the third, those below
lose the last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from gantrol.models.config_checks import check, check_at_least
from gantrol.models.latent_generator import LatentGenerator
from gantrol.models.residual import BatchNorm, Convolution2d, ConvolutionalSynthesis, ResidualCritic, check_resolution


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellDesign:
    """What the search decided about one cell; every cell also takes the features of all earlier ones."""

    upsampling: Literal["nearest", "bilinear"] = "nearest"
    """Interpolation, of the input and of earlier features; bilinear without aligned corners."""
    has_shortcut: bool = True
    """Add a 1×1 convolution of the upsampled input to the output."""
    has_norm: bool = False
    """Batch norm before each ReLU."""


CELLS: dict[str, tuple[CellDesign, CellDesign, CellDesign]] = {
    "a": (CellDesign(), CellDesign(upsampling="bilinear"), CellDesign(has_shortcut=False)),
    "b": (CellDesign(), CellDesign(), CellDesign()),
    "c": (CellDesign(has_norm=True), CellDesign(upsampling="bilinear"), CellDesign(has_shortcut=False)),
}
"""The three cells of each architecture, at 8, 16 and 32 px."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoGANConfig:
    """Everything that defines an AutoGAN generator."""

    kind: ClassVar[str] = "autogan"

    resolution_px: int = 32
    """Width and height of the image: 4·2ᵏ or 6·2ᵏ, at least 16."""
    channels: int = 3
    """Image channels: 3 colour, 1 grey."""
    z_dim: int = 128
    """Width of the latent."""
    c_dim: int = 0
    """Width of the label; 0 for an unconditional generator."""
    width: int = 256
    """Channels of every layer."""
    architecture: str = "a"
    """Which of the three found architectures: a, b or c."""

    def __post_init__(self) -> None:
        check_resolution(self)
        check_at_least(self, 1, "channels", "z_dim", "width")
        check_at_least(self, 0, "c_dim")
        check(self, "architecture", self.architecture in CELLS, "one of " + ", ".join(CELLS))

    def build(self) -> AutoGANGenerator:
        """A new generator with random weights, drawn from torch's global random state."""
        return AutoGANGenerator(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoGANDiscriminatorConfig:
    """Everything that defines an AutoGAN discriminator."""

    kind: ClassVar[str] = "autogan-d"

    resolution_px: int = 32
    """Width and height of the image: 4·2ᵏ or 6·2ᵏ, at least 16."""
    channels: int = 3
    """Image channels: 3 colour, 1 grey."""
    c_dim: int = 0
    """Width of the label; 0 for an unconditional discriminator."""
    width: int = 128
    """Channels of every layer."""

    def __post_init__(self) -> None:
        check_resolution(self)
        check_at_least(self, 1, "channels", "width")
        check_at_least(self, 0, "c_dim")

    def build(self) -> AutoGANDiscriminator:
        """A new discriminator with random weights, drawn from torch's global random state."""
        return AutoGANDiscriminator(self)


class Cell(nn.Module):
    """One cell of the generator.

    Args:
        width: D.
        num_earlier: cells before this one, whose features it takes.
        design: what the search decided about it.
    """

    def __init__(self, width: int, *, num_earlier: int, design: CellDesign) -> None:
        super().__init__()
        self.upsampling = design.upsampling
        self.norm1 = BatchNorm(width) if design.has_norm else None
        self.conv1 = Convolution2d(width, width, init="xavier")
        self.earlier = nn.ModuleList(Convolution2d(width, width, 1, init="xavier") for _ in range(num_earlier))
        self.norm2 = BatchNorm(width) if design.has_norm else None
        self.conv2 = Convolution2d(width, width, init="xavier")
        self.shortcut = Convolution2d(width, width, 1, init="xavier") if design.has_shortcut else None

    def forward(self, x: Tensor, earlier: Sequence[Tensor], *, update_emas: bool) -> tuple[Tensor, Tensor]:
        """Maps x [N, D, H, W] and the features of earlier cells to (out, h), both [N, D, 2H, 2W]."""
        size = (2 * x.shape[2], 2 * x.shape[3])
        a = x if self.norm1 is None else self.norm1(x, update_emas=update_emas)
        h = self.conv1(self._resize(F.relu(a), size))
        for convolution, features in zip(self.earlier, earlier, strict=True):
            h = h + convolution(self._resize(features, size))
        a = h if self.norm2 is None else self.norm2(h, update_emas=update_emas)
        out = self.conv2(F.relu(a))
        if self.shortcut is not None:
            out = out + self.shortcut(self._resize(x, size))
        return out, h

    def _resize(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(x, size=size, mode=self.upsampling)


class AutoGANSynthesis(ConvolutionalSynthesis):
    """The network z ↦ image."""

    def __init__(self, config: AutoGANConfig) -> None:
        super().__init__(config)
        designs = CELLS[config.architecture]
        self.cells = nn.ModuleList(
            Cell(config.width, num_earlier=i, design=designs[min(i, len(designs) - 1)]) for i in range(self.num_stages)
        )
        for module in self.modules():
            if isinstance(module, BatchNorm):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def body(self, x: Tensor, *, update_emas: bool) -> Tensor:
        features: list[Tensor] = []
        for cell in self.cells:
            x, h = cell(x, features, update_emas=update_emas)  # [N, D, H, W], H doubled each time
            features.append(h)
        return x


class AutoGANGenerator(LatentGenerator):
    """AutoGAN generator; a `gantrol.models.Generator`.

    State-dict names, below `synthesis.`: `linear.{weight, bias}`, `cells.{i}.{conv1, conv2}.{weight, bias}`,
    `cells.{i}.shortcut.*` where the cell has one, `cells.{i}.earlier.{j}.*` for the features of cell j,
    `cells.{i}.{norm1, norm2}.*` where it has norms and `norm.*`, with `{weight, bias, running_mean, running_var}`,
    `to_rgb.{weight, bias}`. With labels also `mapping.embed.weight`.
    """

    def __init__(self, config: AutoGANConfig) -> None:
        super().__init__(config, AutoGANSynthesis(config))
        self.config = config


class AutoGANDiscriminator(ResidualCritic):
    """AutoGAN discriminator: spectral normalisation, a sum over space; a `gantrol.models.Discriminator`."""

    def __init__(self, config: AutoGANDiscriminatorConfig) -> None:
        super().__init__(config, is_spectral=True)
