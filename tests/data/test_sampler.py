"""The shuffled order: complete epochs, restartable anywhere, disjoint over processes."""

from __future__ import annotations

import pytest

from gantrol.data.sampler import ShuffledSampler
from gantrol.errors import DataError


def test_every_epoch_holds_every_image_once_in_another_order() -> None:
    sampler = ShuffledSampler(10, seed=3)
    epochs = [sampler.indices(10 * epoch, 10) for epoch in range(5)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_any_position_restarts_the_same_sequence() -> None:
    sequence = ShuffledSampler(7, seed=1).indices(0, 100)
    for start in (0, 1, 6, 7, 50, 93):
        assert ShuffledSampler(7, seed=1).indices(start, 7) == sequence[start : start + 7]
    sampler = ShuffledSampler(7, seed=1)
    assert sampler.indices(60, 30) == sequence[60:90]  # far ahead, over several epochs, and back again
    assert sampler.indices(0, 30) == sequence[:30]
    assert sampler.indices(5, 0) == []


def test_the_seed_decides_the_order() -> None:
    orders = [ShuffledSampler(50, seed).indices(0, 50) for seed in (0, 0, 1, -1, 2**63)]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 4


def test_the_order_is_frozen() -> None:
    """Resuming a training with a newer version must go on with the same images."""
    assert ShuffledSampler(8, seed=0).indices(0, 16) == [0, 2, 1, 5, 4, 3, 6, 7, 5, 3, 7, 2, 4, 1, 0, 6]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_split_each_step(world_size: int) -> None:
    sampler = ShuffledSampler(24, seed=0)
    step = 4 * world_size
    for start in (0, step, 2 * step):
        shares = [sampler.rank_indices(start, 4, rank, world_size) for rank in range(world_size)]
        assert [index for share in shares for index in share] == sampler.indices(start, step)
    first_epoch = [sampler.rank_indices(start, 4, 0, world_size) for start in range(0, 24, step)]
    assert len({index for share in first_epoch for index in share}) == 24 // world_size


def test_impossible_arguments() -> None:
    with pytest.raises(DataError, match="empty"):
        ShuffledSampler(0, seed=0)
    with pytest.raises(ValueError, match="rank 2 of 2"):
        ShuffledSampler(5, seed=0).rank_indices(0, 1, 2, 2)
