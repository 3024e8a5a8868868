"""Mini-batches of latents in which two neighbours share exactly one group (GAN-Control, section 3.2).

N batch · D features of z · P pairs. Row 2i and row 2i + 1 are pair i; a pair shares one sub-vector, and no other two
rows share anything. Which pairs share what is an explicit list of names, from which everyone takes index pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gantrol.errors import ConfigError, nearest


@dataclass(frozen=True)
class PairPlan:
    """Which group each pair of a batch shares: pair i is rows 2i and 2i + 1."""

    shared: tuple[str, ...]
    """[P] names of groups."""

    def rows(self, name: str) -> Tensor:
        """int64 [number of pairs that share `name`, 2]: their rows."""
        chosen = [i for i, shared in enumerate(self.shared) if shared == name]
        return torch.tensor([[2 * i, 2 * i + 1] for i in chosen], dtype=torch.int64).reshape(-1, 2)

    def share(self, z: Tensor, slices: Mapping[str, slice]) -> Tensor:
        """A copy of z [N, D] in which the odd row of each pair has the even row's sub-vector of the shared group.

        Raises:
            ConfigError: there are more pairs than rows, or a group without a slice.
        """
        if len(z) < 2 * len(self.shared):
            raise ConfigError(f"{len(self.shared)} pairs need {2 * len(self.shared)} latents, found {len(z)}")
        z = z.clone()
        for i, name in enumerate(self.shared):
            if name not in slices:
                raise ConfigError(f"there is no latent group {name!r}; {nearest(name, slices)}")
            z[2 * i + 1, slices[name]] = z[2 * i, slices[name]]
        return z


def plan_pairs(count: int, groups: Sequence[str], *, rng: torch.Generator | None = None) -> PairPlan:
    """Deals the pairs of `count` rows out to the groups.

    All groups get equally many, and what remains goes to groups drawn at random, so that over many batches each gets
    the same, also if there are fewer pairs than groups. With 16 rows and 8 groups each has one pair, as in the paper
    (where identity has two: list it twice for that).

    Args:
        count: rows of the batch; an odd one stays without partner.
        groups: names; one that is listed twice gets two shares.
        rng: random stream; None is torch's own.

    Raises:
        ConfigError: fewer than two rows, or no groups.
    """
    pairs = count // 2
    if pairs < 1 or not groups:
        raise ConfigError(f"{count} images, {len(groups)} groups: pairs need at least 2 images and 1 group")
    whole, rest = divmod(pairs, len(groups))
    drawn = torch.randperm(len(groups), generator=rng)[:rest].tolist()
    return PairPlan(tuple(sorted([*groups] * whole + [groups[i] for i in drawn], key=list(groups).index)))
