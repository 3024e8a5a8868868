"""What all generators share: image = synthesis(mapping(z, c)).

Dimensions: N batch · C image channels · H W pixels · L copies of w.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from gantrol.models.protocols import NoiseMode


class ImageConfig(Protocol):
    """The fields that every generator's config has."""

    @property
    def resolution_px(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def z_dim(self) -> int: ...
    @property
    def c_dim(self) -> int: ...


class MappedGenerator(nn.Module):
    """A mapping and a synthesis network; subclasses implement `gantrol.models.Generator` with it.

    Args:
        config: widths and sizes; subclasses set `self.config` to it.
        mapping: the network z, c ↦ ws [N, num_ws, w_dim].
        synthesis: the network ws [N, num_ws, w_dim] ↦ image.
        w_dim: width of w.
        num_ws: how many w the synthesis takes.
    """

    def __init__(
        self, config: ImageConfig, mapping: nn.Module, synthesis: nn.Module, *, w_dim: int, num_ws: int
    ) -> None:
        super().__init__()
        self.z_dim = config.z_dim
        self.c_dim = config.c_dim
        self.w_dim = w_dim
        self.num_ws = num_ws
        self.resolution_px = config.resolution_px
        self.channels = config.channels
        self.mapping = mapping
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
            truncation_psi: ψ of the truncation trick: 1 is off, 0 gives the image of the mean latent.
            truncation_cutoff: apply ψ to the first so many w only; None is all.
            noise_mode: noise inside the network, if it has any: drawn anew ("random"), always the same ("const"), or
                "none".
            update_emas: update the running means that the networks keep (of w, of activations) before they are used.
            dtype: float32, or a half type in which the layers that may do so compute.

        Returns:
            Images [N, C, H, W], float32, about [-1, 1], not clamped.

        Raises:
            ConfigError: an argument of the wrong shape, a missing label, an unknown noise_mode or dtype.
        """
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff, update_emas)
        return self.synthesis(ws, noise_mode=noise_mode, update_emas=update_emas, dtype=dtype)
