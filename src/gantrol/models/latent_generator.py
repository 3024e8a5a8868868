"""What generators without a mapping network share: image = synthesis(z).

Dimensions: N batch · D features of z.

WGAN-GP, AutoGAN and TransGAN feed z to their first layer as it is. To the rest of the package they look like the
style-based generators: here w *is* z, so num_ws = 1 and w_dim = z_dim, and everything that works on w (truncation,
interpolation, projection, videos) works on z.

* Truncation pulls towards the mean latent. The mean of z ~ N(0, 1) is 0, so z is scaled by ψ.
* Labels add a linear embedding of c to z. It starts at zero: at first all classes look alike and the network is
  the unconditional one. Truncation leaves the embedding alone, so ψ = 0 is the mean latent of the class.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from gantrol.errors import ConfigError
from gantrol.models.layers import check_width, normalize_2nd_moment
from gantrol.models.protocols import NoiseMode


class LatentConfig(Protocol):
    """The fields of a generator's config that do not depend on the kind of synthesis."""

    @property
    def resolution_px(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def z_dim(self) -> int: ...
    @property
    def c_dim(self) -> int: ...


class LatentMapping(nn.Module):
    """z, c ↦ ws = z·ψ + embedding of c: the place of a mapping network, with nothing to learn for lack of labels.

    Args:
        z_dim: width of z, and of w.
        c_dim: width of the label c; 0 for none.
        latent_norm: scale each z to the norm √z_dim first (TransGAN's option of that name).
    """

    def __init__(self, *, z_dim: int, c_dim: int = 0, latent_norm: bool = False) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.c_dim = c_dim
        self.latent_norm = latent_norm
        self.embed: nn.Linear | None = None
        if c_dim > 0:
            self.embed = nn.Linear(c_dim, z_dim, bias=False)
            nn.init.zeros_(self.embed.weight)

    def forward(
        self,
        z: Tensor | None,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
    ) -> Tensor:
        """Maps latents to ws.

        Args:
            z: latents [N, z_dim].
            c: labels [N, c_dim]; may be left out if c_dim is 0.
            truncation_psi: ψ.
            truncation_cutoff: None or 1 apply ψ, 0 does not: there is one w.
            update_emas: accepted for the common interface; there is nothing to update here.

        Returns:
            ws [N, 1, z_dim].

        Raises:
            ConfigError: z or c has the wrong width, or c is missing; ψ is not finite.
        """
        z = check_width("z", z, self.z_dim)
        if not math.isfinite(truncation_psi):
            raise ConfigError(f"truncation_psi={truncation_psi}: expected a finite number")
        w = normalize_2nd_moment(z) if self.latent_norm else z  # [N, z_dim]
        if truncation_psi != 1 and truncation_cutoff != 0:
            w = w * truncation_psi
        if self.embed is not None:
            w = w + self.embed(check_width("c", c, self.c_dim).to(self.embed.weight.dtype))
        return w[:, None, :]  # [N, 1, z_dim]


class LatentGenerator(nn.Module):
    """A generator whose synthesis takes z itself; subclasses implement `gantrol.models.Generator` with it.

    Args:
        config: widths and sizes; subclasses set `self.config` to it.
        synthesis: the network ws [N, 1, z_dim] ↦ image, called like `gantrol.models.protocols.Synthesis`.
        latent_norm: scale each z to the norm √z_dim first.
    """

    mapping: LatentMapping
    synthesis: nn.Module

    def __init__(self, config: LatentConfig, synthesis: nn.Module, *, latent_norm: bool = False) -> None:
        super().__init__()
        self.z_dim = config.z_dim
        self.c_dim = config.c_dim
        self.w_dim = config.z_dim
        self.num_ws = 1
        self.resolution_px = config.resolution_px
        self.channels = config.channels
        self.mapping = LatentMapping(z_dim=config.z_dim, c_dim=config.c_dim, latent_norm=latent_norm)
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
            truncation_cutoff: 0 turns ψ off, like 1; None or more applies it.
            noise_mode: noise inside the network, if it has any: drawn anew ("random"), always the same ("const"), or
                "none".
            update_emas: update running means, if the network has any, before they are used.
            dtype: float32, or a half type for the wide layers.

        Returns:
            Images [N, C, H, W], float32, about [-1, 1], not clamped.

        Raises:
            ConfigError: an argument of the wrong shape, a missing label, an unknown noise_mode or dtype.
        """
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff, update_emas)
        return self.synthesis(ws, noise_mode=noise_mode, update_emas=update_emas, dtype=dtype)
