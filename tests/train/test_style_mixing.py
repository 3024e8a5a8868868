"""Style mixing: from a random place on, the copies of w come from a second latent (StyleGAN2)."""

from __future__ import annotations

from dataclasses import replace

import torch

from gantrol.config import override
from gantrol.train.presets import DataShape, preset
from gantrol.train.state import TrainState
from gantrol.train.steps import Trainer

COUNT = 3


def _copies(probability: float, seeds: range) -> list[torch.Tensor]:
    """For each seed, which copies of w equal the first: bool [COUNT, num_ws]."""
    config = override(
        preset("stylegan2", "tiny", DataShape(resolution_px=16), batch=4),
        ["generator.channel_max=4", "discriminator.channel_max=4"],
    )
    config = replace(config, loss=replace(config.loss, style_mixing_prob=probability))
    trainer = Trainer(config, TrainState(config, "cpu"), batch_share=4)
    found = []
    for seed in seeds:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            ws = trainer.generate(COUNT, torch.zeros(4, 0)).ws
        found.append((ws == ws[:, :1]).all(dim=2))
    return found


def test_a_batch_changes_its_latent_at_one_place() -> None:
    places = set()
    for is_first in _copies(1.0, range(20)):
        assert torch.equal(is_first, is_first[:1].expand_as(is_first))  # the whole batch at the same one
        place = int(is_first[0].sum())
        assert is_first[0, :place].all()
        assert 1 <= place < is_first.shape[1]
        places.add(place)
    assert len(places) > 2


def test_how_often() -> None:
    assert all(is_first.all() for is_first in _copies(0.0, range(3)))
    mixed = sum(not is_first.all() for is_first in _copies(0.5, range(40)))
    assert 10 < mixed < 30
