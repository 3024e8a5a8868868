"""The Fréchet distance between two sets of features, each summarised by a Gaussian.

    d² = |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2·(Σ₁Σ₂)^½)          (Heusel et al. 2017, equation 6)

Means and covariances (1/(N−1)) stream in float64 and the distance is computed by torchmetrics, with features of ours
in place of its Inception network.

Dimensions: N images · D features.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gantrol.errors import ConfigError, require_extra


class FrechetDistance:
    """Accumulates features of real and generated images, then gives their distance.

    Args:
        num_features: D.

    Raises:
        MissingExtraError: torchmetrics is not installed.
    """

    def __init__(self, num_features: int) -> None:
        fid = require_extra("torchmetrics.image.fid", "metrics")
        # Statistics are not merged over processes: one process evaluates, and no other waits for it.
        self._metric = fid.FrechetInceptionDistance(_AsGiven(num_features), sync_on_compute=False)

    def update(self, features: Tensor, *, real: bool) -> None:
        """Adds features [N, D] of real or generated images."""
        self._metric.update(features.detach().to("cpu", torch.float64), real=real)

    def count(self, *, real: bool) -> int:
        """How many real or generated images were added."""
        return int(self._metric.real_features_num_samples if real else self._metric.fake_features_num_samples)

    def real_statistics(self) -> dict[str, Tensor]:
        """Count, sum [D] and sum of outer products [D, D] of the real features, to keep for the next time."""
        return {name: getattr(self._metric, f"real_features_{name}").clone() for name in _STATISTICS}

    def set_real_statistics(self, statistics: Mapping[str, Tensor]) -> None:
        """Takes what `real_statistics` gave in place of adding the real features again."""
        for name in _STATISTICS:
            setattr(self._metric, f"real_features_{name}", statistics[name].clone())

    def compute(self) -> float:
        """The distance d², 0 for equal Gaussians.

        Raises:
            ConfigError: fewer than two images on either side.
        """
        for real, which in ((True, "real"), (False, "generated")):
            if self.count(real=real) < 2:
                raise ConfigError(f"a Fréchet distance needs at least 2 {which} images, got {self.count(real=real)}")
        return max(0.0, float(self._metric.compute()))


_STATISTICS = ("num_samples", "sum", "cov_sum")


class _AsGiven(nn.Module):
    """Stands where torchmetrics expects a feature network: the features are computed already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
