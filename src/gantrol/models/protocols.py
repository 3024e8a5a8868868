"""What training, sampling and metrics ask of a generator and a discriminator, whatever the architecture.

Dimensions: N batch · C image channels · H W pixels · L copies of w (one per synthesis layer).
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, get_args, runtime_checkable

import torch
from torch import Tensor

from gantrol.errors import ConfigError, nearest

NoiseMode = Literal["random", "const", "none"]
"""Per-pixel noise of StyleGAN2: drawn anew, the same for every image, or off. StyleGAN3 has none and ignores it."""


def check_noise_mode(noise_mode: str) -> None:
    """Raises `ConfigError` unless `noise_mode` is one of `NoiseMode`."""
    if noise_mode not in get_args(NoiseMode):
        raise ConfigError(f"noise_mode={noise_mode!r}: {nearest(noise_mode, get_args(NoiseMode))}")


class Mapping(Protocol):
    """z, c ↦ ws."""

    def __call__(
        self,
        z: Tensor | None,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
    ) -> Tensor:
        """Maps latents z [N, z_dim] and labels c [N, c_dim] to ws [N, num_ws, w_dim], truncated towards w_avg."""


class Synthesis(Protocol):
    """ws ↦ image."""

    def __call__(
        self,
        ws: Tensor,
        *,
        noise_mode: NoiseMode = "random",
        update_emas: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Renders ws [N, num_ws, w_dim] as float32 images [N, C, H, W]; `dtype` is that of the widest layers."""


@runtime_checkable
class Generator(Protocol):
    """A style-based generator: image = synthesis(mapping(z, c)). Implementations are `torch.nn.Module`s."""

    z_dim: int
    c_dim: int
    w_dim: int
    num_ws: int
    resolution_px: int
    channels: int
    config: Any

    @property
    def mapping(self) -> Mapping:
        """The network z, c ↦ ws."""

    @property
    def synthesis(self) -> Synthesis:
        """The network ws ↦ image."""

    def __call__(
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
        """Renders latents z [N, z_dim] with labels c [N, c_dim] as float32 images [N, C, H, W], about [-1, 1]."""


@runtime_checkable
class Discriminator(Protocol):
    """A critic of images. Implementations are `torch.nn.Module`s."""

    c_dim: int
    resolution_px: int
    channels: int
    config: Any

    def __call__(self, img: Tensor, c: Tensor | None = None, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Returns one float32 logit [N, 1] per image [N, C, H, W]; high is real."""
