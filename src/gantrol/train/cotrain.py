"""Multi-task co-training: the generator's later stages also learn to enlarge real images.

    low = real images, downsampled by area to the grid of stage k          [N, 3, h, w]
    sr  = G's stages k, k + 1, … of a linear map of each pixel, 3 → C_k    [N, 3, H, W]
    L_G ← L_G + λ · mean (sr − real)²

The later stages so learn what neighbouring pixels have to do with each other from the first step on, without waiting
for a discriminator to tell. The discriminator never sees `sr`. The linear map belongs to the training: it is
learnt with the generator's optimiser and kept in checkpoints, but is no part of the generator.

Source: TransGAN (Jiang et al. 2021), section 3.3, λ = 50. The published code lacks the way in; downsampling, map and
entry stage are ours (our specification notes, section 1.7).
Dimensions: N images, H W pixels, h w tokens of stage k, C_k its width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import nn

from gantrol.errors import ConfigError
from gantrol.models.config_checks import check, check_at_least
from gantrol.models.mapped_generator import MappedGenerator
from gantrol.models.protocols import NoiseMode


@dataclass(frozen=True, kw_only=True)
class CoTrainConfig:
    """The super-resolution task beside the adversarial one."""

    weight: float = 0.0
    """Weight λ of the squared error; 0 turns co-training off. TransGAN: 50."""
    entry_stage: int = 2
    """The stage of the generator, counted from 1, that the small image enters; its grid is the small image's size."""
    until_kimg: float | None = None
    """Thousands of images after which the weight becomes 0; null: never."""
    until_share: float | None = None
    """The same as a share of the training's length (`kimg`)."""

    def __post_init__(self) -> None:
        check(self, "weight", self.weight >= 0, "0 or more")
        check_at_least(self, 1, "entry_stage")
        check(self, "until_kimg", self.until_kimg is None or self.until_kimg >= 0, "0 or more, or null")
        check(self, "until_share", self.until_share is None or 0 <= self.until_share <= 1, "from 0 to 1, or null")
        is_one = self.until_kimg is None or self.until_share is None
        check(self, "until_share", is_one, "null where until_kimg is set")

    def weight_at(self, n_img: int, kimg: float) -> float:
        """λ after `n_img` images of a training of `kimg` thousand."""
        until = self.until_kimg if self.until_share is None else self.until_share * kimg
        return self.weight if until is None or n_img < until * 1000 else 0.0


@runtime_checkable
class StagedSynthesis(Protocol):
    """What co-training asks of a generator's synthesis: that it can be entered in the middle."""

    @property
    def stage_shapes(self) -> Sequence[tuple[int, int]]:
        """(width, side of the grid) of each stage's tokens."""

    def from_stage(
        self,
        features: torch.Tensor,
        stage: int,
        *,
        ws: torch.Tensor | None = None,
        noise_mode: NoiseMode = "random",
        dtype: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Images [N, C, H, W]: stages `stage`, counted from 0, and later ones of features [N, width, side, side]."""


class CoTraining(nn.Module):
    """The way into the generator for small images; its parameters are learnt with the generator's.

    Args:
        config: which stage they enter.
        g: the generator.

    Raises:
        ConfigError: the generator has no stages, or not so many.
    """

    def __init__(self, config: CoTrainConfig, g: MappedGenerator) -> None:
        super().__init__()
        synthesis = g.synthesis
        if not isinstance(synthesis, StagedSynthesis):
            raise ConfigError(
                f"cotrain.weight={config.weight:g}: {type(g).__name__} has no stages that a small image could enter; "
                "set cotrain.weight=0"
            )
        shapes = synthesis.stage_shapes
        if config.entry_stage > len(shapes):
            raise ConfigError(f"cotrain.entry_stage={config.entry_stage}: the generator has {len(shapes)} stages")
        width, self.side = shapes[config.entry_stage - 1]
        self.entry_stage = config.entry_stage
        self.projection = nn.Linear(g.channels, width)

    def forward(
        self, synthesis: StagedSynthesis, real: torch.Tensor, ws: torch.Tensor, dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """Enlarges what is left of real images at the grid of the entry stage.

        Args:
            synthesis: the generator's.
            real: [N, C, H, W].
            ws: [N, num_ws, w_dim], for generators whose later stages look at the latent as well.
            dtype: of the widest layers.

        Returns:
            [N, C, H, W], to be compared with `real`.
        """
        low = F.adaptive_avg_pool2d(real, self.side)  # [N, C, h, w]: the mean over each token's area
        features = self.projection(low.movedim(1, 3)).movedim(3, 1)  # [N, C_k, h, w]
        return synthesis.from_stage(features, self.entry_stage - 1, ws=ws, noise_mode="random", dtype=dtype)
