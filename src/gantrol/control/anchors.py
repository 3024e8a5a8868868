"""Anchors: a value of the attribute for each sub-vector, to learn control from few images. Ours, not the paper's.

The contrastive loss says that images which share z_k shall look alike in attribute k, not *how* they shall look; a
training finds its own order in z_k, which takes many thousands of steps. An anchor prescribes one: the first K numbers
of the normalised z_k are read as normal deviates, and the value that belongs to them is the same quantile of what the
predictor reads from real images. So the generator is asked for readings that are distributed as those of the data, and
every image of a batch teaches, not only the pair that shares the group:

    y_k(z_k) = F⁻¹(Φ(L n)),  n = first K of z_k / rms(z_k);  loss = mean |reading_k(G(z)) − y_k(z_k)| / spread_k

F is the distribution of each of the K numbers, L Lᵀ the correlation of their normal scores (a Gaussian copula): r, g, b
of natural hair go together. The numbers of an embedding, such as identity, are its first principal components. `other`
stands for the colours at the edge of the picture (`predictors.border`).

The way back, from an image to a z that stands for what is read from it (`Anchor.latents`), is not unique: the numbers
of z_k beyond the first K are drawn anew.

N images · s width of a group · K numbers of a value · F features of an embedding · Q quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gantrol.control.predictors.border import Border
from gantrol.control.predictors.protocol import PredictorSet
from gantrol.data.dataset import ImageDataset
from gantrol.errors import ConfigError, DataError
from gantrol.models.controllable import OTHER
from gantrol.models.layers import normalize_2nd_moment
from gantrol.ops.parts import drawn

QUANTILES = 33
COMPONENTS = 8
"""Principal components of an embedding that are anchored."""
BATCH = 64
_EDGE = 0.999
"""Probabilities of `latents` stay within 1 − this and this: a normal deviate of 3.1."""


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """What an attribute's sub-vectors stand for."""

    attribute: str
    """Name of the attribute and of its latent group."""
    quantiles: tuple[tuple[float, ...], ...]
    """K lists of Q values, from the lowest to the highest at equal steps of probability."""
    factor: tuple[tuple[float, ...], ...]
    """L, K × K lower triangular."""
    spread: tuple[float, ...]
    """Standard deviations of the K numbers, in which errors are counted."""
    axes: tuple[tuple[float, ...], ...] = ()
    """K × F: numbers = (features − center) · axesᵀ, for an embedding; empty where the numbers are readings."""
    center: tuple[float, ...] = ()
    """F: mean of the embedding."""
    weight: float = 0.5
    """Weight of its loss beside the adversarial one."""

    def __post_init__(self) -> None:
        count = len(self.quantiles)
        is_square = len(self.factor) == count and all(len(row) == count for row in self.factor)
        is_sorted = all(len(q) >= 2 and list(q) == sorted(q) for q in self.quantiles)
        is_projected = len(self.axes) in (0, count) and all(len(row) == len(self.center) for row in self.axes)
        if not (count and is_square and is_sorted and is_projected and len(self.spread) == count):
            raise ConfigError(f"anchor of {self.attribute!r}: quantiles, factor, spread and axes do not fit together")
        if not (math.isfinite(self.weight) and self.weight >= 0) or min(self.spread) <= 0:
            raise ConfigError(f"anchor of {self.attribute!r}: weight={self.weight}: expected 0 or more")

    def numbers(self, predictors: PredictorSet, features: Tensor) -> Tensor:
        """The K numbers [N, K] of features of the attribute, as the predictors make them."""
        if not self.axes:
            return predictors.read(self.attribute, features)
        return (features - features.new_tensor(self.center)) @ features.new_tensor(self.axes).T

    def values(self, z: Tensor) -> Tensor:
        """The values [N, K] that belong to sub-vectors z [N, s] of the group.

        Raises:
            ConfigError: the group is narrower than K.
        """
        self._check_width(z.shape[1])
        normal = normalize_2nd_moment(z)[:, : len(self.factor)].double() @ z.new_tensor(self.factor).double().T
        place = torch.special.ndtr(normal) * (len(self.quantiles[0]) - 1)  # [N, K]; ndtr is Φ
        table = z.new_tensor(self.quantiles).double().T  # [Q, K]
        below = place.floor().clamp(0, len(table) - 2).long()
        low, high = table.gather(0, below), table.gather(0, below + 1)
        return low.lerp(high, place - below).to(z.dtype)

    def latents(self, values: Tensor, width: int) -> Tensor:
        """Sub-vectors [N, s] that stand for `values` [N, K]; what the values leave open is drawn from torch's stream.

        Args:
            values: numbers as `numbers` makes them; beyond the quantiles they are taken for the outermost.
            width: s.

        Raises:
            ConfigError: the group is narrower than K.
        """
        self._check_width(width)
        count = len(self.factor)
        table = values.new_tensor(self.quantiles).double()  # [K, Q]
        wanted = values.double().T.contiguous()  # [K, N]
        above = torch.searchsorted(table, wanted).clamp(1, table.shape[1] - 1)
        low, high = table.gather(1, above - 1), table.gather(1, above)
        share = ((wanted - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
        place = (above - 1 + share) / (table.shape[1] - 1)
        scores = torch.special.ndtri(place.clamp(1 - _EDGE, _EDGE))  # [K, N]
        normal = torch.linalg.solve_triangular(values.new_tensor(self.factor).double(), scores, upper=False).T
        rest = drawn(len(values), lambda n: torch.randn(n, width - count, dtype=torch.float64, device=values.device))
        # rms(z) must come out as 1: the rest takes what the K numbers leave of the sum of squares, which is s
        free = (width - normal.square().sum(1, keepdim=True)).clamp(min=0.05 * width)
        rest = rest * (free / rest.square().sum(1, keepdim=True).clamp(min=1e-12)).sqrt()
        return torch.cat([normal, rest], dim=1).to(values.dtype)

    def loss(self, numbers: Tensor, z: Tensor) -> Tensor:
        """Mean absolute error of `numbers` [N, K] against the values of z [N, s], in standard deviations."""
        return ((numbers - self.values(z)).abs() / numbers.new_tensor(self.spread)).mean()

    def _check_width(self, width: int) -> None:
        if width < len(self.factor):
            raise ConfigError(
                f"anchor of {self.attribute!r}: a group of {width} cannot hold {len(self.factor)} numbers"
            )


def with_border(predictors: PredictorSet, channels: int = 3) -> PredictorSet:
    """The predictors, and one that reads `other` if none of them does."""
    if OTHER in predictors.attributes:
        return predictors
    return PredictorSet([*predictors.predictors, Border(channels)])


def measure_anchors(
    predictors: PredictorSet,
    dataset: ImageDataset,
    names: Iterable[str],
    *,
    count: int = 2000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Anchor, ...]:
    """Anchors of attributes, and of `other`, from real images.

    Args:
        predictors: that read them.
        dataset: real images.
        names: attributes.
        count: images to look at.
        seed: chooses them.
        progress: called with (done, total) images.

    Raises:
        ConfigError: an attribute that no predictor reads.
        DataError: too few images, or a reading that does not vary.
    """
    predictors = with_border(predictors, dataset.channels)
    wanted = [*names, OTHER]
    predictors.require(wanted)
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
                is_embedding = not predictors.attributes[name].components
                found[name].append((features.flatten(1) if is_embedding else predictors.read(name, features)).cpu())
            if progress is not None:
                progress(min(start + BATCH, len(order)), len(order))
    anchors = []
    for name, parts in found.items():
        numbers = torch.cat(parts).double().numpy()
        if predictors.attributes[name].components:
            anchors.append(_anchor(name, numbers, dataset))
            continue
        center = numbers.mean(axis=0)
        _, _, axes = np.linalg.svd(numbers - center, full_matrices=False)
        axes = axes[:COMPONENTS]
        anchors.append(_anchor(name, (numbers - center) @ axes.T, dataset, axes=axes, center=center))
    return tuple(anchors)


def _anchor(
    name: str,
    numbers: np.ndarray,
    dataset: ImageDataset,
    *,
    axes: np.ndarray | None = None,
    center: np.ndarray | None = None,
) -> Anchor:
    """The anchor that numbers [M, K] of real images make."""
    spread = numbers.std(axis=0)
    if not np.all(spread > 0):
        raise DataError(f"{dataset.path}: all images have the same {name}: leave it out")
    ranks = numbers.argsort(axis=0).argsort(axis=0)
    scores = torch.special.ndtri(torch.from_numpy((ranks + 0.5) / len(numbers))).numpy()
    correlation = np.atleast_2d(np.corrcoef(scores, rowvar=False))
    factor = np.linalg.cholesky(correlation + 1e-6 * np.eye(len(correlation)))
    return Anchor(
        attribute=name,
        quantiles=_rounded(np.quantile(numbers, np.linspace(0.005, 0.995, QUANTILES), axis=0).T),
        factor=_rounded(factor),
        spread=tuple(float(f"{value:.6g}") for value in spread),
        axes=() if axes is None else _rounded(axes),
        center=() if center is None else _rounded([center])[0],
    )


def _rounded(rows: Sequence[Sequence[float]] | np.ndarray | list[np.ndarray]) -> tuple[tuple[float, ...], ...]:
    """Six digits are enough, and readable in a config."""
    return tuple(tuple(float(f"{value:.6g}") for value in row) for row in rows)
