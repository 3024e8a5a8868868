"""Ridge regression whose strength is chosen by leaving out one sample at a time.

N samples · F features · K numbers to predict · R = min(N, F).

    y ≈ A·x + b,   minimising ‖y − A·x − b‖² + λ‖A‖² for each number by itself

The error at sample i of the fit that has never seen it needs no second fit: it is the residual divided by 1 − h_i, with
h the diagonal of the matrix that turns y into its prediction (Allen 1974, "PRESS"). One singular value decomposition
gives h for every λ, so that all strengths are tried on all samples.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_STRENGTHS = torch.logspace(-6, 4, 41, dtype=torch.float64)
"""What is tried for λ, in units of the mean squared singular value."""


class LinearFit(NamedTuple):
    """y ≈ weight·x + bias; float64."""

    weight: Tensor
    """A [K, F]."""
    bias: Tensor
    """b [K]."""
    strength: Tensor
    """λ of each number [K], in units of the mean squared singular value of x."""

    def predict(self, x: Tensor) -> Tensor:
        """x [N, F] → [N, K]."""
        return x.to(self.weight) @ self.weight.T + self.bias


def ridge(x: Tensor, y: Tensor) -> LinearFit:
    """The linear model with the smallest leave-one-out error, for each number of `y` by itself.

    Args:
        x: [N, F], centred or not; computed in float64 on the CPU.
        y: [N, K].
    """
    x, y = x.detach().cpu().double(), y.detach().cpu().double()
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    u, s, vt = torch.linalg.svd(x - x_mean, full_matrices=False)  # [N, R], [R], [R, F]
    centred = y - y_mean
    projected = u.T @ centred  # [R, K]
    unit = s.square().mean().clamp(min=torch.finfo(torch.float64).tiny)
    errors = []
    for strength in _STRENGTHS * unit:
        shrink = s.square() / (s.square() + strength)
        left = 1 - 1 / len(x) - u.square() @ shrink  # 1 − h, [N]
        residual = centred - u @ (shrink[:, None] * projected)
        errors.append((residual / left.clamp(min=1e-6)[:, None]).square().mean(dim=0))
    strength = _STRENGTHS[torch.stack(errors).argmin(dim=0)]  # [K]
    scale = s[:, None] / (s.square()[:, None] + strength * unit)  # [R, K]
    weight = (vt.T @ (scale * projected)).T
    return LinearFit(weight, y_mean - weight @ x_mean, strength)
