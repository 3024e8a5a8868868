"""Precision and recall, density and coverage: whether generated images are real ones, and whether all real ones occur.

A set of features stands for the region that it covers: balls B(x) around each of its vectors, as large as the distance
to the k-th nearest other vector of the same set.

    precision = share of generated y inside any B(real)         recall   = share of real x inside any B(generated)
    density   = Σ over y of the number of B(real) with y inside / (k·M)
    coverage  = share of B(real) with any generated y inside

A generator that makes few, good images has a high precision and a low recall; one that makes anything, the reverse.
One stray real image has a large ball, and with it precision suffers; density counts balls, and does not.

A ball includes its border for precision and recall (≤), and does not for density and coverage (<), as in the official
code of both. So all four are 1 for a set and itself, unless it holds more than k copies of one image: their balls have
the radius 0, and without a border nothing is inside.

Distances come from products of matrices, block by block, |x − y|² = |x|² + |y|² − 2·x·y, in float64. Where the rounding
of this could decide between inside and outside, as for copies and for borders, |x − y|² is formed from the differences.

Dimensions: N real images · M generated images · D features · R C rows and columns of a block · P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gantrol.errors import ConfigError
from gantrol.metrics.moments import check_vectors

_BLOCK = 2048  # rows and columns at a time: 32 MiB of distances
_PAIR_NUMBERS = 1 << 24  # numbers at a time, where differences are formed
_SPARE = 8  # this many more neighbours than needed are looked at closely
_SLIGHT = 1e-9  # relative error of a squared radius that is not worth a second look
_EQUAL = 1e-12  # relative difference of squared distances that are formed from differences, and are meant to be equal


def precision_recall(real: Tensor, fake: Tensor, *, neighbours: int = 3) -> tuple[float, float]:
    """How many generated images are among the real ones, and how many real ones among the generated ones.

    Args:
        real: features [N, D], N > k.
        fake: features [M, D], M > k.
        neighbours: k; an image is no neighbour of itself.

    Returns:
        Precision and recall, from 0 to 1.

    Raises:
        ConfigError: too few images, or different numbers of features.

    Source: Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric for Assessing Generative Models", equations
    1 and 2.
    """
    real, fake = _checked(real, fake, neighbours, fewest_fakes=neighbours + 1)
    real_radii, fake_radii = squared_radii(real, neighbours), squared_radii(fake, neighbours)
    is_precise = torch.zeros(len(fake), dtype=torch.bool, device=fake.device)
    is_recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for block in _blocks(real, fake):
        is_precise[block.columns] |= block.inside(real_radii[block.rows, None]).any(dim=0)
        is_recalled[block.rows] |= block.inside(fake_radii[None, block.columns]).any(dim=1)
    return _share(is_precise), _share(is_recalled)


def density_coverage(real: Tensor, fake: Tensor, *, neighbours: int = 5) -> tuple[float, float]:
    """How densely generated images lie where real ones do, and how many real ones have a generated one nearby.

    Args:
        real: features [N, D], N > k.
        fake: features [M, D], M ≥ 1.
        neighbours: k; an image is no neighbour of itself.

    Returns:
        Density, from 0, about 1 for equal distributions, and not limited; coverage, from 0 to 1.

    Raises:
        ConfigError: too few images, or different numbers of features.

    Source: Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models", equations 6 and 8.
    """
    real, fake = _checked(real, fake, neighbours, fewest_fakes=1)
    radii = squared_radii(real, neighbours)
    count = 0
    is_covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for block in _blocks(real, fake):
        inside = block.inside(radii[block.rows, None], with_border=False)  # [R, C]
        count += int(inside.sum())
        is_covered[block.rows] |= inside.any(dim=1)
    return count / (neighbours * len(fake)), _share(is_covered)


def squared_radii(features: Tensor, neighbours: int) -> Tensor:
    """The squared distance of each vector of [N, D] to its k-th nearest other one, float64 [N]."""
    count, device = len(features), features.device
    kept = min(neighbours + _SPARE, count - 1)
    nearest = torch.full((count, kept), torch.inf, dtype=torch.float64, device=device)
    places = torch.zeros(count, kept, dtype=torch.int64, device=device)  # of these in `features`

    def consider(rows: slice, columns: slice, distances: Tensor) -> None:
        distances = torch.cat([nearest[rows], distances], dim=1)
        new = torch.arange(columns.start, columns.stop, device=device).expand(len(distances), -1)
        nearest[rows], order = distances.topk(kept, dim=1, largest=False)
        places[rows] = torch.cat([places[rows], new], dim=1).gather(1, order)

    error = torch.zeros(count, dtype=torch.float64, device=device)  # the largest of each row
    for block in _blocks(features, features, halved=True):
        if block.rows == block.columns:
            block.distances.fill_diagonal_(torch.inf)  # not a neighbour of itself
        else:
            consider(block.columns, block.rows, block.distances.T)
            error[block.columns] = torch.maximum(error[block.columns], block.errors.amax(dim=0))
        consider(block.rows, block.columns, block.distances)
        error[block.rows] = torch.maximum(error[block.rows], block.errors.amax(dim=1))
    own = torch.arange(count, device=device).repeat_interleave(kept)
    exact = _distances_of_pairs(features, features, own, places.flatten()).view(count, kept)
    radii = exact.kthvalue(neighbours, dim=1).values
    if kept < count - 1:
        others = torch.arange(count, device=device)
        could_be_nearer = nearest[:, -1] - error < radii * (1 - _SLIGHT)  # one of those that were not kept
        for row in (could_be_nearer & (radii > 0)).nonzero().flatten():
            distances = _distances_of_pairs(features, features, row.expand(count), others)
            distances[row] = torch.inf
            radii[row] = distances.kthvalue(neighbours).values
    return radii


# ----------------------------------------------------------------------------------------------------------------------
# Distances


@dataclass(frozen=True)
class _Block:
    """Squared distances between some vectors of one set and some of another."""

    first: Tensor
    """The one set, [N, D]."""
    second: Tensor
    """The other set, [M, D]."""
    rows: slice
    """Which vectors of the one set."""
    columns: slice
    """Which vectors of the other one."""
    distances: Tensor
    """float64 [R, C], up to `errors`."""
    errors: Tensor
    """float64 [R, C]: the most by which each distance can be wrong."""

    def inside(self, radii: Tensor, *, with_border: bool = True) -> Tensor:
        """Whether distances are at most, or without the border less than squared radii [R, 1] or [1, C]: [R, C]."""
        margins = self.distances - radii
        result = margins < 0
        rows, columns = (margins.abs_() <= self.errors).nonzero(as_tuple=True)
        exact = _distances_of_pairs(self.first, self.second, rows + self.rows.start, columns + self.columns.start)
        limits = radii.expand_as(result)[rows, columns]
        result[rows, columns] = exact <= limits * (1 + _EQUAL) if with_border else exact < limits * (1 - _EQUAL)
        return result


def _blocks(first: Tensor, second: Tensor, *, halved: bool = False) -> Iterator[_Block]:
    """All distances between two sets, block by block; `halved`: of a set with itself, on and above the diagonal."""
    centre = first.mean(dim=0, dtype=torch.float64)  # small vectors have small errors
    share = (first.shape[1] + 16) * torch.finfo(torch.float64).eps / 2  # of a sum of D products, Higham 2002, eq. 3.5
    for top in range(0, len(first), _BLOCK):
        x = first[top : top + _BLOCK].to(torch.float64) - centre  # [R, D]
        x_norms = x.square().sum(dim=1, keepdim=True)
        for left in range(top if halved else 0, len(second), _BLOCK):
            y = second[left : left + _BLOCK].to(torch.float64) - centre  # [C, D]
            norms = x_norms + y.square().sum(dim=1)  # [R, C]
            distances = torch.addmm(norms, x, y.T, alpha=-2)
            rows, columns = slice(top, top + len(x)), slice(left, left + len(y))
            yield _Block(first, second, rows, columns, distances, norms.mul_(share))


def _distances_of_pairs(first: Tensor, second: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """|x − y|² of the P pairs first[rows], second[columns], from their differences: float64 [P]."""
    at_once = max(1, _PAIR_NUMBERS // first.shape[1])
    parts = [
        (first[some].to(torch.float64) - second[others].to(torch.float64)).square().sum(dim=1)
        for some, others in zip(rows.split(at_once), columns.split(at_once), strict=True)
    ]
    return torch.cat(parts)


def _checked(real: Tensor, fake: Tensor, neighbours: int, *, fewest_fakes: int) -> tuple[Tensor, Tensor]:
    """Both sets on one device that has float64, if they can be measured."""
    if neighbours < 1:
        raise ConfigError(f"neighbours={neighbours}: expected at least 1")
    check_vectors(real, at_least=neighbours + 1, of="real")
    check_vectors(fake, at_least=fewest_fakes, num_features=real.shape[1], of="generated")
    device = torch.device("cpu") if real.device.type == "mps" else real.device
    return real.to(device), fake.to(device)


def _share(which: Tensor) -> float:
    return float(which.to(torch.float64).mean())
