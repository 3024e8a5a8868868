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
from gantrol.ops.parts import drawn


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
    # Relativistic average loss (Jolicoeur-Martineau 2018, section 4.2): each logit against the mean of the other kind.
    "relativistic-average": AdversarialLoss(
        g=lambda fake, real: _against_the_mean(fake, real if real is not None else torch.zeros_like(fake)),
        d_fake=None,
        d_real=None,
        d_pair=lambda fake, real: _against_the_mean(real, fake),
    ),
    # Goodfellow et al. 2014, equation 1 as it stands: the generator minimises log(1 − D).
    "saturating": AdversarialLoss(
        g=lambda fake, _: -F.softplus(fake)[:, 0],
        d_fake=lambda fake: F.softplus(fake)[:, 0],
        d_real=lambda real: F.softplus(-real)[:, 0],
    ),
    # Hinge (Lim & Ye 2017, Miyato et al. 2018), that of AutoGAN.
    "hinge": AdversarialLoss(
        g=lambda fake, _: -fake[:, 0],
        d_fake=lambda fake: F.relu(1 + fake)[:, 0],
        d_real=lambda real: F.relu(1 - real)[:, 0],
    ),
    # Least squares (Mao et al. 2017, equation 2 with a = 0, b = c = 1), without the factor ½.
    "lsgan": AdversarialLoss(
        g=lambda fake, _: (fake - 1).square()[:, 0],
        d_fake=lambda fake: fake.square()[:, 0],
        d_real=lambda real: (real - 1).square()[:, 0],
    ),
    # Wasserstein (Arjovsky et al. 2017); wants a gradient penalty.
    "wgan": AdversarialLoss(
        g=lambda fake, _: -fake[:, 0],
        d_fake=lambda fake: fake[:, 0],
        d_real=lambda real: -real[:, 0],
    ),
}


def _against_the_mean(high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """[N]: what has to be high should exceed the mean of what has to be low, and the other way round."""
    return (F.softplus(low.mean() - high) + F.softplus(low - high.mean()))[:, 0] / 2


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
    return _image_gradient(logits, images).square().sum([1, 2, 3])


def _image_gradient(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] ∂ΣD/∂image, differentiable once more."""
    (gradient,) = torch.autograd.grad(logits.sum(), [images], create_graph=True)
    return gradient


def interpolate(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Points x̂ = a·x + (1 − a)·y between real and fake images [N, C, H, W], one a ~ U(0, 1) per pair."""
    a = drawn(len(real), lambda n: real.new_empty(n, 1, 1, 1).uniform_())
    return a * real + (1 - a) * fake


def interpolate_penalty(logits: torch.Tensor, images: torch.Tensor, target: float = 1.0) -> torch.Tensor:
    """[N] penalties (‖∂ΣD/∂x̂‖₂ − φ)²/φ² on interpolated images, without the weight λ.

    Args:
        logits: [N, 1], computed from `images`.
        images: [N, C, H, W] that require a gradient: see `interpolate`.
        target: φ, the norm that the critic's gradient should have.

    Source: Gulrajani et al. 2017 (WGAN-GP), equation 3; φ is Karras et al. 2018 (ProGAN), appendix A.
    """
    norms = torch.linalg.vector_norm(_image_gradient(logits, images), dim=(1, 2, 3))  # [N]
    return (norms - target).square() / target**2


def drift(real_logits: torch.Tensor) -> torch.Tensor:
    """(mean D(x))², which keeps a Wasserstein critic near 0; TransGAN squares the mean, ProGAN averages the squares."""
    return real_logits.mean().square()


def mode_seeking(images: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """1/(d_y/d_z + 10⁻⁵): large where different latents give the same image.

    d is the mean absolute difference between the first and the second half of the batch, of images y [N, C, H, W] and
    of their latents z [N, z_dim], N ≥ 2.

    Source: Mao et al. 2019 (MSGAN), equation 4, as a reciprocal.
    """
    half = len(z) // 2
    d_images = (images[:half] - images[half : 2 * half]).abs().mean()
    d_latents = (z[:half] - z[half : 2 * half]).abs().mean()
    return 1 / (d_images / d_latents + 1e-5)


def path_lengths(images: torch.Tensor, ws: torch.Tensor) -> torch.Tensor:
    """[N] lengths ‖Jᵀ_w y‖ for one random image direction y ~ N(0, 1/(H·W)), root mean square over the w's.

    Args:
        images: [N, C, H, W], computed from `ws`.
        ws: [N, num_ws, w_dim] that require a gradient.

    Source: StyleGAN2 paper, section 3.2, equation 4.
    """
    direction = drawn(len(images), lambda n: images.new_empty(n, *images.shape[1:]).normal_())
    direction = direction / (images.shape[2] * images.shape[3]) ** 0.5
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
