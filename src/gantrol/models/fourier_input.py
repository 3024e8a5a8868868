"""The input of alias-free generators: sines that can be moved and turned exactly.

Dimensions: N batch · C channels · H W pixels · P = H·W · D features of w.

A learned constant belongs to its pixels; a sum of sines is a function on the whole plane, of which the network is given
samples. Whatever moves the function moves the image, so far as the layers that follow are equivariant. The ladder of
the StyleGAN3 paper puts it into StyleGAN2 first (step B) and lets w move it later (step H).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gantrol.errors import ConfigError
from gantrol.models.layers import FullyConnected

_NARROWEST_FADE = 1e-3
"""Cycles per image over which sines beyond the band fade where the band ends at half the sampling rate: what rounding
adds to a frequency must not silence it."""


def make_transform(translate: Sequence[float] = (0.0, 0.0), rotate_deg: float = 0.0) -> Tensor:
    """The 3×3 matrix that first turns the image about its centre, then moves it.

    It maps points of the untransformed image to where they shall appear; x is right, y down, the image is one unit
    wide. `FourierInput` evaluates its sines at the pixels of the *output*, hence it needs the inverse of this matrix:
    `FourierInput.set_transform` inverts, the buffer `FourierInput.transform` holds the inverse.

    Args:
        translate: (x, y) in image widths; positive moves right and down.
        rotate_deg: degrees; positive turns counter-clockwise as seen.

    Returns:
        float32 [3, 3].
    """
    angle = math.radians(rotate_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.tensor([[cos, sin, translate[0]], [-sin, cos, translate[1]], [0.0, 0.0, 1.0]])


class FourierInput(nn.Module):
    """The input z₀: sines of fixed random frequencies within the band, mixed per pixel (paper, section 3, config B).

    With a `w_dim`, w turns and moves them through a learned rotation and translation (config H); `transform`, which
    users set and which is never saved, does the same from outside.

    Args:
        w_dim: width of w, or None for an input that w does not move.
        channels: C.
        size_px: H = W, margins included.
        sampling_rate: samples per image width.
        bandwidth: radius of the disc of frequencies, in cycles per image, at most sampling_rate/2.
    """

    freqs: Tensor
    phases: Tensor
    transform: Tensor
    grid: Tensor

    def __init__(
        self, *, w_dim: int | None, channels: int, size_px: int, sampling_rate: float, bandwidth: float
    ) -> None:
        super().__init__()
        self.size_px = size_px
        self.sampling_rate = sampling_rate
        self.bandwidth = bandwidth
        # |f|/bandwidth = exp(−ρ²/4) with ρ² ~ χ²₂ has the density 2r of the radii of a uniformly filled disc.
        freqs = torch.randn(channels, 2)
        radii = freqs.square().sum(dim=1, keepdim=True).sqrt()
        freqs = bandwidth * freqs / radii * torch.exp(-radii.square() / 4)
        self.register_buffer("freqs", freqs)
        self.register_buffer("phases", torch.rand(channels) - 0.5)
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.affine = None if w_dim is None else FullyConnected(w_dim, 4, zero_init=True)
        if self.affine is not None:
            with torch.no_grad():
                self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))  # no rotation, no translation
        self.register_buffer("transform", torch.eye(3), persistent=False)
        # Pixel centres, in image widths from the centre of the canvas; the margins lie beyond ±½.
        axis = ((torch.arange(size_px) + 0.5) / size_px - 0.5) * (size_px / sampling_rate)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        self.register_buffer("grid", torch.stack([x.reshape(-1), y.reshape(-1)]), persistent=False)  # [2, P]

    def set_transform(self, matrix: Tensor | None) -> None:
        """Moves all images from now on by `matrix` (see `make_transform`); None is the identity.

        Raises:
            ConfigError: `matrix` [3, 3] has no inverse.
        """
        wanted = torch.eye(3) if matrix is None else matrix.detach().to("cpu", torch.float64)
        try:
            inverse = torch.linalg.inv(wanted)
        except torch.linalg.LinAlgError as error:
            raise ConfigError(f"this transform cannot be undone, it has no inverse: {wanted.tolist()}") from error
        with torch.no_grad():
            self.transform.copy_(inverse)

    def motion(self, w: Tensor) -> Tensor:
        """The rotation and translation that w [N, D] asks for, as [N, 3, 3]; the identity without `w_dim`."""
        if self.affine is None:
            return torch.eye(3, dtype=self.weight.dtype, device=w.device).expand(w.shape[0], -1, -1)
        t = self.affine(w)  # [N, 4] (a, b, t_x, t_y)
        t = t / t[:, :2].norm(dim=1, keepdim=True)
        a, b, tx, ty = t.unbind(dim=1)
        zero, one = torch.zeros_like(a), torch.ones_like(a)
        # R·T = rotation · translation by (−t_x, −t_y), row by row.
        moved = torch.stack([a, -b, b * ty - a * tx, b, a, -b * tx - a * ty, zero, zero, one], dim=1)
        return moved.view(-1, 3, 3)

    def forward(self, w: Tensor) -> Tensor:
        """Maps w [N, D] to features [N, C, H, W] in the type of the weights; without `w_dim` only N matters."""
        channels = self.freqs.shape[0]
        matrix = self.motion(w) @ self.transform  # [N, 3, 3]

        freqs = self.freqs @ matrix[:, :2, :2]  # [N, C, 2]
        phases = self.phases + (self.freqs @ matrix[:, :2, 2:]).squeeze(2)  # [N, C]
        # Frequencies that the transform pushed out of the band fade instead of aliasing.
        fade = max(self.sampling_rate / 2 - self.bandwidth, _NARROWEST_FADE)
        amplitudes = (1 - (freqs.norm(dim=2) - self.bandwidth) / fade).clamp(0, 1)  # [N, C]

        angles = torch.baddbmm(phases.unsqueeze(2), freqs, self.grid.expand(w.shape[0], -1, -1))  # [N, C, P]
        features = torch.sin(angles * (2 * math.pi))
        # The amplitudes scale the mixing weights, not the much larger features.
        mixing = self.weight * (amplitudes / math.sqrt(channels)).unsqueeze(1)  # [N, C_out, C]
        return (mixing @ features).view(-1, channels, self.size_px, self.size_px)
