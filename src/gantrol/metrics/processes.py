"""The processes that share one evaluation: each looks at its own part of the images, the first one does the sums.

Images are dealt out in consecutive blocks, and what was found is put together in the order of the processes, which is
the order of the images. So a number does not depend on how many processes there were, beyond the rounding of sums.

An error in one process is raised in all of them; none is left waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch.distributed as dist

from gantrol.errors import GantrolError

T = TypeVar("T")


class Processes:
    """A group of processes that all make the same calls.

    Args:
        rank: which of them this is, from 0.
        count: how many there are; more than one needs an initialised process group of `torch.distributed`.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        if not 0 <= rank < count:
            raise ValueError(f"rank={rank}, count={count}: expected a rank below the count")
        self.rank, self.count = rank, count

    @classmethod
    def joined(cls) -> Processes:
        """All processes of `torch.distributed`, or this one alone if there is no process group."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this process does the sums, prints and writes."""
        return self.rank == 0

    def share(self, total: int) -> range:
        """The rows out of `total` that this process looks at: a block, at most one row larger than any other."""
        return range(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def gather(self, work: Callable[[], T]) -> list[T]:
        """Does `work` in every process; gives the results to the first one, in order of rank, and [] to the others.

        Raises:
            GantrolError: as `work` does in any of them.
        """
        mine = self._agree(work)
        if self.count == 1:
            return [mine]
        results: list[Any] | None = [None] * self.count if self.is_first else None
        dist.gather_object(mine, results, dst=0)
        return cast(list[T], results or [])

    def on_first(self, work: Callable[[], T]) -> T:
        """Does `work` in the first process alone and gives the result to all.

        Raises:
            GantrolError: as `work` does there.
        """
        mine = self._agree(work if self.is_first else _nothing)
        if self.count == 1:
            return cast(T, mine)
        box = [mine]
        dist.broadcast_object_list(box, src=0)
        return cast(T, box[0])

    def deal(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """Does pieces of work, each in one of the processes, in turn; gives all the results to all of them, in order.

        Raises:
            GantrolError: as one of them does.
        """
        mine = self._agree(lambda: [works[index]() for index in range(self.rank, len(works), self.count)])
        if self.count == 1:
            return mine
        dealt: list[Any] = [None] * self.count
        dist.all_gather_object(dealt, mine)
        return [dealt[index % self.count][index // self.count] for index in range(len(works))]

    def _agree(self, work: Callable[[], T]) -> T:
        """The result of `work`, once it is known that it went well everywhere."""
        if self.count == 1:
            return work()
        error: Exception | None = None
        try:
            result = work()
        except Exception as problem:  # whatever it is, the others must not wait for this process
            error = problem
        errors: list[Any] = [None] * self.count
        known = error if isinstance(error, GantrolError) else error and RuntimeError(repr(error))
        dist.all_gather_object(errors, known)
        if error is not None:
            raise error
        for rank, other in enumerate(errors):
            if isinstance(other, GantrolError):
                raise other
            if other is not None:
                raise RuntimeError(f"process {rank} failed: {other}")
        return result


def _nothing() -> Any:
    return None
