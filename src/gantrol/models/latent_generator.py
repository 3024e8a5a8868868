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

from torch import Tensor, nn

from gantrol.errors import ConfigError
from gantrol.models.layers import check_width, normalize_2nd_moment
from gantrol.models.mapped_generator import ImageConfig, MappedGenerator


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


class LatentGenerator(MappedGenerator):
    """A generator whose synthesis takes z itself.

    Args:
        config: widths and sizes.
        synthesis: the network ws [N, 1, z_dim] ↦ image, called like `gantrol.models.protocols.Synthesis`.
        latent_norm: scale each z to the norm √z_dim first.
    """

    def __init__(self, config: ImageConfig, synthesis: nn.Module, *, latent_norm: bool = False) -> None:
        mapping = LatentMapping(z_dim=config.z_dim, c_dim=config.c_dim, latent_norm=latent_norm)
        super().__init__(config, mapping, synthesis, w_dim=config.z_dim, num_ws=1)
