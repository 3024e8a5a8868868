"""Adversarial losses and gradient penalties.

Every loss is a value per sample, [N], averaged by the caller. Logits are [N, 1]; the discriminator says "real" with
large positive ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from gantrol.errors import ConfigError, nearest


@dataclass(frozen=True)
class AdversarialLoss:
    """What generator and discriminator minimise, as functions of the logits of fakes and reals."""

    g: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
    """(fake logits, real logits or None) → [N]."""
    d_fake: Callable[[torch.Tensor], torch.Tensor] | None
    """fake logits → [N]; None where the loss compares fakes with reals."""
    d_real: Callable[[torch.Tensor], torch.Tensor] | None
    """real logits → [N]; None where the loss compares fakes with reals."""
    d_pair: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    """(fake logits, real logits) → [N] for losses that compare."""

    @property
    def is_relativistic(self) -> bool:
        return self.d_pair is not None


LOSSES: dict[str, AdversarialLoss] = {
    # Goodfellow et al. 2014, equation 1 with the non-saturating generator of section 3.
    "non-saturating": AdversarialLoss(
        g=lambda fake, _: F.softplus(-fake)[:, 0],
        d_fake=lambda fake: F.softplus(fake)[:, 0],
        d_real=lambda real: F.softplus(-real)[:, 0],
    ),
    # Relativistic pairing loss (Jolicoeur-Martineau 2018); with R1 and R2 it is the objective of R3GAN (2025).
    "relativistic": AdversarialLoss(
        g=lambda fake, real: F.softplus((real if real is not None else torch.zeros_like(fake)) - fake)[:, 0],
        d_fake=None,
        d_real=None,
        d_pair=lambda fake, real: F.softplus(fake - real)[:, 0],
    ),
}


def adversarial_loss(name: str) -> AdversarialLoss:
    """The loss called `name`. Raises ConfigError with the nearest names."""
    if name not in LOSSES:
        raise ConfigError(f"there is no loss {name!r}; {nearest(name, LOSSES)}")
    return LOSSES[name]


def gradient_penalty(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """[N] squared norms of ∂ΣD/∂image: R1 on reals, R2 on fakes, without the factor γ/2.

    Args:
        logits: [N, 1], computed from `images`.
        images: [N, C, H, W] that require a gradient.

    Source: Mescheder et al. 2018, equation 9 (R1) and 10 (R2). Differentiable once more, for the discriminator's step.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), [images], create_graph=True)
    return gradient.square().sum([1, 2, 3])


def path_lengths(images: torch.Tensor, ws: torch.Tensor) -> torch.Tensor:
    """[N] lengths ‖Jᵀ_w y‖ for one random image direction y ~ N(0, 1/(H·W)), root mean square over the w's.

    Args:
        images: [N, C, H, W], computed from `ws`.
        ws: [N, num_ws, w_dim] that require a gradient.

    Source: StyleGAN2 paper, section 3.2, equation 4.
    """
    direction = torch.randn_like(images) / (images.shape[2] * images.shape[3]) ** 0.5
    (gradient,) = torch.autograd.grad((images * direction).sum(), [ws], create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()


def path_length_penalty(
    lengths: torch.Tensor, mean_length: torch.Tensor, decay: float = 0.01
) -> tuple[torch.Tensor, torch.Tensor]:
    """([N] squared distances from the running mean length, the updated mean).

    The updated mean takes part in the gradient; the copy that is stored must be detached.
    Source: StyleGAN2 paper, equation 4 and appendix B.
    """
    mean_length = mean_length.lerp(lengths.mean(), decay)
    return (lengths - mean_length).square(), mean_length


def blur_kernel(sigma_px: float) -> torch.Tensor | None:
    """Separable taps 2^−(i/σ)², i = −⌊3σ⌋ … ⌊3σ⌋, normalised; None where σ is too small to blur."""
    radius = int(3 * sigma_px)
    if radius < 1:
        return None
    taps = torch.arange(-radius, radius + 1, dtype=torch.float32).div(sigma_px).square().neg().exp2()
    return taps / taps.sum()
