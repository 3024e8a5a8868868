"""What all style-based generators share: image = synthesis(mapping(z, c))."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from gantrol.models.layers import MappingNetwork
from gantrol.models.protocols import NoiseMode


class StyleConfig(Protocol):
    """The fields of a generator's config that do not depend on the kind of synthesis."""

    @property
    def resolution_px(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def z_dim(self) -> int: ...
    @property
    def w_dim(self) -> int: ...
    @property
    def c_dim(self) -> int: ...
    @property
    def mapping_layers(self) -> int: ...
    @property
    def w_avg_beta(self) -> float: ...


class StyleGenerator(nn.Module):
    """A mapping network and a synthesis network; subclasses implement `gantrol.models.Generator` with it.

    Args:
        config: widths and sizes.
        synthesis: the network ws [N, num_ws, w_dim] ↦ image.
        num_ws: how many w it takes.
    """

    def __init__(self, config: StyleConfig, synthesis: nn.Module, num_ws: int) -> None:
        super().__init__()
        self.z_dim = config.z_dim
        self.c_dim = config.c_dim
        self.w_dim = config.w_dim
        self.num_ws = num_ws
        self.resolution_px = config.resolution_px
        self.channels = config.channels
        self.mapping = MappingNetwork(
            z_dim=config.z_dim,
            c_dim=config.c_dim,
            w_dim=config.w_dim,
            num_ws=num_ws,
            num_layers=config.mapping_layers,
            w_avg_beta=config.w_avg_beta,
        )
        self.synthesis = synthesis

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: NoiseMode = "random",
        update_emas: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Renders latents.

        Args:
            z: latents [N, z_dim], drawn from N(0, 1).
            c: labels [N, c_dim]; may be left out if c_dim is 0.
            truncation_psi: ψ of the truncation trick: 1 is off, 0 gives the mean image.
            truncation_cutoff: apply ψ to the first so many w only; None is all.
            noise_mode: per-pixel noise: drawn anew ("random"), the network's own ("const"), or "none".
            update_emas: update the running means (of w, of the activations' magnitudes) before they are used.
            dtype: float32, or a half type in which the layers of the highest resolutions compute.

        Returns:
            Images [N, C, H, W], float32, about [-1, 1], not clamped.

        Raises:
            ConfigError: an argument of the wrong shape, a missing label, an unknown noise_mode or dtype.
        """
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff, update_emas)
        return self.synthesis(ws, noise_mode=noise_mode, update_emas=update_emas, dtype=dtype)
