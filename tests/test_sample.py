"""Seeds, labels, and the looping walk through W."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from gantrol import sample
from gantrol.errors import ConfigError
from gantrol.models import StyleGAN3Config
from gantrol.pictures import to_arrays


@pytest.fixture(scope="module")
def generator() -> torch.nn.Module:
    torch.manual_seed(0)
    config = StyleGAN3Config(resolution_px=16, num_layers=3, channel_base=64, channel_max=4, z_dim=4, w_dim=4)
    return config.build().eval()


@pytest.mark.parametrize(
    ("text", "seeds"), [("7", [7]), ("0,1,4-6", [0, 1, 4, 5, 6]), (" 2 - 3 , 0", [2, 3, 0]), ("5-5", [5])]
)
def test_seeds_are_numbers_and_ranges(text: str, seeds: list[int]) -> None:
    assert sample.parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1,,2", "3-1", "-1", "1.5", "0-99999999999", "4294967296", "0-20000000"])
def test_other_seeds_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^seeds [^\n]*$"):
        sample.parse_seeds(text)


def test_latents_are_those_of_the_field() -> None:
    expected = np.random.RandomState(42).randn(1, 512).astype(np.float32)
    np.testing.assert_array_equal(sample.latents([0, 42], 512)[1:], expected)


def test_keyframes_are_shared_out_cell_by_cell() -> None:
    seeds = sample.keyframe_seeds(range(12), (3, 2))
    assert seeds.shape == (2, 3, 2)
    assert seeds[0, 0].tolist() == [0, 1]
    assert seeds[1, 2].tolist() == [10, 11]
    repeated = sample.keyframe_seeds([5, 6], (1, 1), keyframes=5)
    assert repeated[0, 0].tolist() == [5, 6, 5, 6, 5]
    with pytest.raises(ConfigError, match="5 seeds do not divide among 2x1 cells"):
        sample.keyframe_seeds(range(5), (2, 1))
    with pytest.raises(ConfigError, match="keyframes=0"):
        sample.keyframe_seeds(range(5), (1, 1), keyframes=0)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_spline_passes_its_keyframes_and_closes_smoothly(count: int) -> None:
    keyframes = np.random.default_rng(0).standard_normal((count, 3, 2))
    steps = 40
    walk = sample.looping_spline(keyframes, steps)
    assert walk.shape == (count * steps, 3, 2)
    np.testing.assert_allclose(walk[::steps], keyframes, atol=1e-12)
    closed = np.concatenate([walk, walk[:2]])
    jumps = np.abs(np.diff(closed, axis=0)).max(axis=(1, 2))
    assert jumps[-2:].max() <= jumps.max()  # the seam is no larger than any other step
    bends = np.abs(np.diff(closed, 2, axis=0)).max(axis=(1, 2))
    assert bends[-2:].max() <= 2 * bends[:-2].max() + 1e-12


def test_interpolation_starts_each_leg_at_its_seed(generator: torch.nn.Module) -> None:
    seeds = sample.keyframe_seeds(range(4), (2, 1))
    frames = list(sample.interpolation(generator, seeds, frames_per_keyframe=3, batch_size=3))
    assert len(frames) == 6
    assert frames[0].shape == (16, 32, 3)
    (images,) = sample.image_batches(generator, range(4))
    expected = to_arrays(images).astype(int)
    for keyframe, cell in itertools.product(range(2), range(2)):
        shown = frames[3 * keyframe][:, 16 * cell : 16 * cell + 16].astype(int)
        assert np.abs(shown - expected[2 * cell + keyframe]).max() <= 1


def test_frames_do_not_depend_on_the_batch(generator: torch.nn.Module) -> None:
    seeds = sample.keyframe_seeds(range(2), (1, 1))
    for one, other in zip(
        sample.interpolation(generator, seeds, frames_per_keyframe=4, batch_size=1),
        sample.interpolation(generator, seeds, frames_per_keyframe=4, batch_size=16),
        strict=True,
    ):
        assert np.abs(one.astype(int) - other).max() <= 1
    with pytest.raises(ConfigError, match="expected at least 1"):
        next(sample.interpolation(generator, seeds, frames_per_keyframe=0))
