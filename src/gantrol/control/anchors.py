"""Anchors: a value of the attribute for each sub-vector, to learn control from few images. Ours, not the paper's.

The contrastive loss says that images which share z_k shall look alike in attribute k, not *how* they shall look; a
training finds its own order in z_k, which takes many thousands of steps. An anchor prescribes one: the first K numbers
of the normalised z_k are read as normal deviates, and the value that belongs to them is the same quantile of what the
predictor reads from real images. So the generator is asked for readings that are distributed as those of the data, and
every image of a batch teaches, not only the pair that shares the group:

    y_k(z_k) = F⁻¹(Φ(L n)),  n = first K of z_k / rms(z_k);  loss = mean |reading_k(G(z)) − y_k(z_k)| / spread_k

F is the distribution of each of the K numbers, L Lᵀ the correlation of their normal scores (a Gaussian copula): r, g, b
of natural hair go together. Embeddings such as identity have no readings and no anchors.

N images · K numbers of a reading · Q quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gantrol.control.predictors.protocol import PredictorSet
from gantrol.data.dataset import ImageDataset
from gantrol.errors import ConfigError, DataError
from gantrol.models.layers import normalize_2nd_moment

QUANTILES = 33
BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """What an attribute's sub-vectors stand for."""

    attribute: str
    """Name of the attribute and of its latent group."""
    quantiles: tuple[tuple[float, ...], ...]
    """K lists of Q readings, from the lowest to the highest at equal steps of probability."""
    factor: tuple[tuple[float, ...], ...]
    """L, K × K lower triangular."""
    spread: tuple[float, ...]
    """Standard deviations of the K numbers, in which errors are counted."""
    weight: float = 0.5
    """Weight of its loss beside the adversarial one."""

    def __post_init__(self) -> None:
        count = len(self.quantiles)
        is_square = len(self.factor) == count and all(len(row) == count for row in self.factor)
        is_sorted = all(len(q) >= 2 and list(q) == sorted(q) for q in self.quantiles)
        if not (count and is_square and is_sorted and len(self.spread) == count):
            raise ConfigError(f"anchor of {self.attribute!r}: quantiles, factor and spread do not fit together")
        if not (math.isfinite(self.weight) and self.weight >= 0) or min(self.spread) <= 0:
            raise ConfigError(f"anchor of {self.attribute!r}: weight={self.weight}: expected 0 or more")

    def values(self, z: Tensor) -> Tensor:
        """The values [N, K] that belong to sub-vectors z [N, s] of the group.

        Raises:
            ConfigError: the group is narrower than K.
        """
        count = len(self.quantiles)
        if z.shape[1] < count:
            raise ConfigError(f"anchor of {self.attribute!r}: a group of {z.shape[1]} cannot hold {count} numbers")
        normal = normalize_2nd_moment(z)[:, :count].double() @ z.new_tensor(self.factor).double().T  # [N, K]
        place = torch.special.ndtr(normal) * (len(self.quantiles[0]) - 1)  # ndtr is Φ
        table = z.new_tensor(self.quantiles).double().T  # [Q, K]
        below = place.floor().clamp(0, len(table) - 2).long()
        low, high = table.gather(0, below), table.gather(0, below + 1)
        return low.lerp(high, place - below).to(z.dtype)

    def loss(self, readings: Tensor, z: Tensor) -> Tensor:
        """Mean absolute error of readings [N, K] against the values of z [N, s], in standard deviations."""
        return ((readings - self.values(z)).abs() / readings.new_tensor(self.spread)).mean()


def measure_anchors(
    predictors: PredictorSet,
    dataset: ImageDataset,
    names: Iterable[str],
    *,
    count: int = 2000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Anchor, ...]:
    """Anchors of those attributes that can be read, from readings of real images.

    Args:
        predictors: that read them.
        dataset: real images.
        names: attributes; embeddings are passed over.
        count: images to look at.
        seed: chooses them.
        progress: called with (done, total) images.

    Raises:
        ConfigError: an attribute that no predictor reads.
        DataError: too few images, or a reading that does not vary.
    """
    wanted = list(names)
    predictors.require(wanted)
    wanted = [name for name in wanted if predictors.attributes[name].components]
    order = np.random.default_rng(seed).permutation(len(dataset))[:count]
    if len(order) < 16:
        raise DataError(f"{dataset.path}: {len(order)} images are too few for anchors; take at least 16")
    found: dict[str, list[Tensor]] = {name: [] for name in wanted}
    device = next((tensor.device for tensor in predictors.parameters()), torch.device("cpu"))
    with torch.no_grad():
        for start in range(0, len(order), BATCH):
            pixels = np.stack([dataset.pixels(int(index)) for index in order[start : start + BATCH]])
            images = torch.from_numpy(pixels).to(device).float() / 127.5 - 1
            for name, features in predictors.features(images, wanted).items():
                found[name].append(predictors.read(name, features).cpu())
            if progress is not None:
                progress(min(start + BATCH, len(order)), len(order))
    return tuple(_anchor(name, torch.cat(readings).double().numpy(), dataset) for name, readings in found.items())


def _anchor(name: str, readings: np.ndarray, dataset: ImageDataset) -> Anchor:
    """The anchor that readings [M, K] make."""
    spread = readings.std(axis=0)
    if not np.all(spread > 0):
        raise DataError(f"{dataset.path}: all images have the same {name}: leave it out")
    ranks = readings.argsort(axis=0).argsort(axis=0)
    scores = torch.special.ndtri(torch.from_numpy((ranks + 0.5) / len(readings))).numpy()
    correlation = np.atleast_2d(np.corrcoef(scores, rowvar=False))
    factor = np.linalg.cholesky(correlation + 1e-6 * np.eye(len(correlation)))
    return Anchor(
        attribute=name,
        quantiles=_rounded(np.quantile(readings, np.linspace(0.005, 0.995, QUANTILES), axis=0).T),
        factor=_rounded(factor),
        spread=tuple(float(f"{value:.6g}") for value in spread),
    )


def _rounded(rows: Sequence[Sequence[float]] | np.ndarray) -> tuple[tuple[float, ...], ...]:
    """Six digits are enough, and readable in a config."""
    return tuple(tuple(float(f"{value:.6g}") for value in row) for row in rows)
