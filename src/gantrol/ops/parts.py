"""A batch that is computed in parts, by several processes, one part after the other, or both, as if it were whole.

Three things make the parts of a batch know of each other:

- *Random numbers* belong to rows of the whole batch. Every part draws those of all rows from the same stream and takes
  its own (`drawn`), so that row 5 has the latent of row 5 whoever computes it. Drawing is cheap beside convolutions.
- *Losses that compare images* (contrastive terms, path lengths against their mean, …) see the rows of all parts
  (`gathered`). Rows of other parts are constants, and the gradient of the own ones is scaled so that the mean over all
  parts is that of the whole batch. No gradient is sent.
- *Running means* move once per batch, by the mean over all parts (`move_mean` inside `running_means`).

Outside of `computing` a batch is whole, and all of this is what it would be without this module.

Rows are dealt out so that the groups of the minibatch standard deviation stay together. Its group m of G images is the
rows m, m + M, …, m + (G − 1)·M of M·G, and a part has whole groups, neighbours in m:

    rows [G, M] of the batch      part 0      part 1            G = 2, M = 4, two parts:  0 1 4 5 and 2 3 6 7
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

AllReduce = Callable[[Tensor], Tensor]
"""The mean of a tensor over all processes."""
AllGather = Callable[[Tensor], Tensor]
"""[…] of each process → [R, …], in the order of the processes."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of the rows of a batch: all groups from `first // groups` on, as far as `count` rows reach."""

    first: int
    """Rows of the parts before this one."""
    count: int
    """Rows of this part."""
    total: int
    """Rows of the batch."""
    groups: int = 1
    """G, images per group of the minibatch standard deviation; a divisor of the three others."""

    def __post_init__(self) -> None:
        numbers = (self.first, self.count, self.total)
        if any(number % self.groups for number in numbers) or not 0 <= self.first < self.first + self.count:
            raise ValueError(f"{self}: no part of a batch")
        if self.first + self.count > self.total:
            raise ValueError(f"{self}: reaches beyond the batch")

    @property
    def is_whole(self) -> bool:
        """Whether this is all of the batch."""
        return self.count == self.total

    def take(self, rows: Tensor, dim: int = 0) -> Tensor:
        """The rows of this part, of those of the batch along dimension `dim`."""
        if self.is_whole:
            return rows
        groups = rows.unflatten(dim, (self.groups, self.total // self.groups))
        mine = groups.narrow(dim + 1, self.first // self.groups, self.count // self.groups)
        return mine.flatten(dim, dim + 1)

    def indices(self) -> list[int]:
        """Which rows of the batch these are."""
        return self.take(torch.arange(self.total)).tolist()

    def times(self, copies: int) -> Part:
        """The same part of a batch in which each row is followed by copies of itself."""
        return replace(self, first=self.first * copies, count=self.count * copies, total=self.total * copies)

    def split(self, size: int) -> list[Part]:
        """Parts of this part, of at most `size` rows each."""
        ends = range(self.first, self.first + self.count, size)
        return [replace(self, first=first, count=min(size, self.first + self.count - first)) for first in ends]

    def within(self, outer: Part) -> Part:
        """Where the rows of this part lie among those of `outer`."""
        return replace(self, first=self.first - outer.first, total=outer.count)


def joined(parts: Sequence[tuple[Part, Tensor]]) -> Tensor:
    """Rows of neighbouring parts, in order, as those of one part."""
    if len(parts) == 1:
        return parts[0][1]
    return torch.cat([rows.unflatten(0, (part.groups, -1)) for part, rows in parts], dim=1).flatten(0, 1)


@dataclass
class Pass:
    """One loss over all parts of a process: what its parts have to tell each other.

    `is_first_look` is set while the parts of a process are looked at without learning, so that what `gathered` is given
    is known of all of them when they are computed one by one.
    """

    all_gather: AllGather | None = None
    is_first_look: bool = False
    seen: dict[int, list[tuple[Part, Tensor]]] = field(default_factory=dict)
    """By the number of the call of `gathered`: the rows of each part of this process."""
    whole: dict[int, Tensor] = field(default_factory=dict)
    """By the same number: the rows of the whole batch."""
    part: Part | None = None
    calls: int = 0


class RandomStreams:
    """torch's random streams of the host and of a device at one moment."""

    def __init__(self, device: torch.device) -> None:
        self._host = torch.get_rng_state()
        self._device = device
        self._of_device: Tensor | None = None
        if device.type == "cuda":
            self._of_device = torch.cuda.get_rng_state(device)
        elif device.type == "mps":
            self._of_device = torch.mps.get_rng_state()

    def restore(self) -> None:
        """Both streams go on from that moment again."""
        torch.set_rng_state(self._host)
        if self._of_device is not None and self._device.type == "cuda":
            torch.cuda.set_rng_state(self._of_device, self._device)
        elif self._of_device is not None:
            torch.mps.set_rng_state(self._of_device)


class _Current:
    """What is being computed now. One per process: a training computes in one thread."""

    computed: Pass | None = None
    means: RunningMeans | None = None


@contextmanager
def computing(passing: Pass, part: Part) -> Iterator[None]:
    """Everything inside is about this part of a batch, backward passes as well."""
    before, _Current.computed = _Current.computed, passing
    passing.part, passing.calls = part, 0
    try:
        yield
    finally:
        _Current.computed = before


def is_first_look() -> bool:
    """Whether nothing may be learnt or counted from this pass."""
    return _Current.computed is not None and _Current.computed.is_first_look


def whole_count(count: int) -> int:
    """Rows of the batch that the `count` rows at hand are part of."""
    part = _Current.computed.part if _Current.computed is not None else None
    return count if part is None else part.total


def row_numbers(rows: Tensor) -> tuple[Tensor, int]:
    """(int64 [n], N): which rows of the whole batch those at hand are, and how many it has."""
    part = _Current.computed.part if _Current.computed is not None else None
    total = len(rows) if part is None else part.total
    numbers = torch.arange(total, device=rows.device)
    return (numbers if part is None else part.take(numbers)), total


def drawn(count: int, draw: Callable[[int], Tensor], dim: int = 0) -> Tensor:
    """Random numbers for the `count` rows at hand.

    Args:
        count: rows.
        draw: from a number of rows to random numbers with so many along `dim`; called for the whole batch.
        dim: the dimension of the rows.
    """
    part = _Current.computed.part if _Current.computed is not None else None
    if part is None:
        return draw(count)
    if part.count != count:
        raise ValueError(f"random numbers for {count} rows while {part} is computed")
    return part.take(draw(part.total), dim)


def gathered(rows: Tensor) -> Tensor:
    """The rows of the whole batch, of which those at hand are some; see the module's text about gradients.

    All parts have to make the same calls in the same order, and what one call returns must not decide about the input
    of another.

    Args:
        rows: [n, …] of this part.

    Returns:
        [N, …] in the order of the batch.
    """
    now = _Current.computed
    if now is None or now.part is None or now.part.is_whole:
        return rows
    part, number = now.part, now.calls
    now.calls += 1
    if now.is_first_look:
        now.seen.setdefault(number, []).append((part, rows.detach()))
        return rows.new_zeros(part.total, *rows.shape[1:])  # a stand-in: only the shape matters now
    if number not in now.whole:
        mine = now.seen.get(number, [(part, rows.detach())])
        whole = joined(mine)
        if now.all_gather is not None:
            own = replace(part, first=0, count=len(whole))
            whole = joined([(own, each) for each in now.all_gather(whole.contiguous()).unbind()])
        now.whole[number] = whole
    result: Tensor = _Gathered.apply(rows, now.whole[number], part)
    return result


class _Gathered(torch.autograd.Function):
    """The whole batch; gradients reach the rows of one part, as many times as there are parts of its size."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, whole: Tensor, part: Part) -> Tensor:
        ctx.part = part
        return whole.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        part: Part = ctx.part
        return part.take(gradients[0]) * (part.total / part.count), None, None


class RunningMeans:
    """Collects by how much running means move, so that they move by the mean over all parts."""

    def __init__(self) -> None:
        self._moves: dict[int, tuple[Tensor, float, list[tuple[float, Tensor]]]] = {}

    def add(self, average: Tensor, mean: Tensor, weight: float) -> None:
        now = _Current.computed
        if now is not None and now.is_first_look:
            return
        count = now.part.count if now is not None and now.part is not None else 1
        self._moves.setdefault(id(average), (average, weight, []))[2].append((count, mean.detach()))

    @torch.no_grad()
    def move(self, all_reduce: AllReduce | None) -> None:
        """Moves them all."""
        if not self._moves:
            return
        means = []
        for _, _, found in self._moves.values():
            rows = sum(count for count, _ in found)
            means.append(sum((mean * (count / rows) for count, mean in found[1:]), found[0][1] * (found[0][0] / rows)))
        if all_reduce is not None:
            flat = all_reduce(torch.cat([mean.reshape(-1) for mean in means]))
            means = [
                each.view_as(mean)
                for each, mean in zip(flat.split([mean.numel() for mean in means]), means, strict=True)
            ]
        for (average, weight, _), mean in zip(self._moves.values(), means, strict=True):
            average.lerp_(mean.to(average.dtype), weight)


@contextmanager
def running_means(all_reduce: AllReduce | None = None) -> Iterator[None]:
    """Running means move when this ends, by the mean over all that was computed inside, in all processes."""
    before, _Current.means = _Current.means, RunningMeans()
    try:
        yield
        _Current.means.move(all_reduce)
    finally:
        _Current.means = before


@torch.no_grad()
def move_mean(average: Tensor, mean: Tensor, weight: float) -> None:
    """average ← lerp(average, mean, weight), in place: at once, or at the end of `running_means`."""
    if _Current.means is None:
        average.lerp_(mean.to(average.dtype), weight)
    else:
        _Current.means.add(average, mean, weight)
