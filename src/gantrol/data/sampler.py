"""In which order a training sees the images: an endless shuffled sequence that is a pure function of (seed,
position).

Position p is image p − epoch·n of the permutation of epoch = ⌊p / n⌋. Nothing is remembered between calls,
so resuming is asking for the positions that follow.
"""

from __future__ import annotations

import numpy as np

from gantrol.errors import DataError


class ShuffledSampler:
    """The endless sequence of image indices; within an epoch of `size` positions every image comes once.

    Args:
        size: number of images.
        seed: another seed gives another order.
    """

    def __init__(self, size: int, seed: int) -> None:
        if size < 1:
            raise DataError("cannot sample from an empty dataset")
        self.size = size
        self.seed = seed
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def indices(self, start: int, count: int) -> list[int]:
        """Image indices at positions `start … start + count − 1`."""
        result: list[int] = []
        while len(result) < count:
            epoch, offset = divmod(start + len(result), self.size)
            result += self._permutation(epoch)[offset : offset + count - len(result)].tolist()
        return result

    def rank_indices(self, start: int, batch_size: int, rank: int, world_size: int, groups: int = 1) -> list[int]:
        """One process's share of the step at `start`: the ranks split `world_size · batch_size` positions.

        With groups of G images, a divisor of `batch_size`, position p of the M·G belongs to group p mod M, and each
        rank gets whole groups; otherwise a block of positions.
        """
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size}")
        stride, each = world_size * batch_size // groups, batch_size // groups
        return [index for group in range(groups) for index in self.indices(start + group * stride + rank * each, each)]

    def _permutation(self, epoch: int) -> np.ndarray:
        """A random order of all images [size], the same on every machine.

        Sorting raw random words, because NumPy promises those (unlike `permutation`) never to change between
        versions.
        """
        if epoch != self._epoch:
            key = np.array([self.seed % 2**64, epoch], dtype=np.uint64)
            words = np.random.Philox(key=key).random_raw(self.size)
            self._order, self._epoch = np.argsort(words, kind="stable"), epoch
        return self._order
