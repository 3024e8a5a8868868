"""Seeds, noise, poses, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gantrol import sample
from gantrol.errors import ConfigError
from gantrol.models import StyleGAN2Config, StyleGAN3Config


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


def test_render_takes_noise_from_seeds_and_clamps() -> None:
    torch.manual_seed(0)
    config = StyleGAN2Config(resolution_px=8, channel_base=64, channel_max=8, z_dim=4, w_dim=4, mapping_layers=2)
    generator = config.build().eval()
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(9.0)
    ws = generator.mapping(sample.latents([0, 0], 4))
    images = sample.render(generator, ws, [5, 6], noise_mode="random")
    assert images.abs().max() <= 1
    assert not torch.allclose(images[0], images[1], atol=1e-2)
    again = sample.render(generator, ws[:1], [6], noise_mode="random")
    torch.testing.assert_close(again[0], images[1])
    still = sample.render(generator, ws, [5, 6], noise_mode="none")
    torch.testing.assert_close(still[0], still[1])


def test_poses_of_a_batch_are_those_of_single_images(generator: torch.nn.Module) -> None:
    ws = generator.mapping(sample.latents([0, 1, 2], 4))
    poses = np.array([[0.1, 0.0, 0.0], [0.0, 0.0, 0.0], [-0.2, 0.1, 30.0]])
    before = generator.synthesis.input.transform.clone()
    with sample.posed(generator, poses):
        together = sample.render(generator, ws, [0, 1, 2])
    assert torch.equal(generator.synthesis.input.transform, before)
    for index, (x, y, degrees) in enumerate(poses):
        with sample.transformed(generator, (x, y), degrees):
            single = sample.render(generator, ws[index : index + 1], [index])
        torch.testing.assert_close(together[index : index + 1], single, rtol=0, atol=1e-4)


@pytest.mark.parametrize("cutoff", [-1, 9])
def test_a_cutoff_is_a_number_of_layers(generator: torch.nn.Module, cutoff: int) -> None:
    assert generator.num_ws == 5
    with pytest.raises(ConfigError, match=f"truncation cutoff {cutoff}: expected 0 to 5"):
        next(sample.image_batches(generator, [0], truncation_cutoff=cutoff))
    sample.check_cutoff(generator, 5)


def test_a_look_is_checked_when_it_is_made() -> None:
    with pytest.raises(ConfigError, match="did you mean const"):
        sample.Look(noise_mode="constant")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="batch size 0"):
        sample.Look(batch_size=0)
