"""Augmentation: what each transform means, how often it happens, its gradients, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gantrol.config import from_dict, override
from gantrol.errors import ConfigError
from gantrol.train.augment import AdaConfig, AugmentConfig, DiffAugmentConfig, ada, diffaugment
from gantrol.train.augment.ada import TRANSFORMS, Draws
from gantrol.train.augment.color import ColorMap
from gantrol.train.augment.diffaugment import OPERATIONS
from gantrol.train.augment.geometry import Affine, resample_affine, sample_bilinear
from gantrol.train.config import TrainConfig

NONE = from_dict(AdaConfig, dict.fromkeys(TRANSFORMS, 0.0))
EVERYTHING = from_dict(AdaConfig, dict.fromkeys(TRANSFORMS, 1.0))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pictures(count: int = 2, channels: int = 3, side: int = 24, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(count, channels, side, side, dtype=dtype) * 2 - 1


# ---------------------------------------------------------------------------------------------------------------------
# Geometry and colour by what they mean


def seen_through(images: torch.Tensor, change: str, *amounts: float) -> torch.Tensor:
    identity = Affine.identity(len(images), images.device, images.dtype)
    numbers = [torch.full([len(images)], amount, dtype=images.dtype) for amount in amounts]
    return resample_affine(images, getattr(identity, change)(*numbers))


def assert_near(got: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)


def test_shifts_by_whole_pixels_are_exact() -> None:
    """They only move pixels, also in an image that is wider than high."""
    images = torch.rand(2, 3, 12, 16, dtype=torch.float64)
    assert_near(seen_through(images, "scale", 1, 1), images, 1e-6)
    moved = seen_through(images, "translate", 3, -2)
    assert_near(moved[:, :, :-2, 3:], images[:, :, 2:, :-3], 1e-6)
    # What comes in from outside is mirrored, without repeating the border.
    assert_near(moved[:, :, :-2, :3], images[:, :, 2:, 1:4].flip(3), 1e-6)
    assert_near(moved[:, :, -2:, 3:], images[:, :, -3:-1, :-3].flip(2), 1e-6)


def test_flips_and_quarter_turns() -> None:
    """Smooth pictures come back turned. (Not exactly: sym6 is only nearly symmetric, so it turns with them.)"""
    images = torch.nn.functional.interpolate(pictures(side=4), [17, 17], mode="bicubic")
    assert_near(seen_through(images, "scale", -1, 1), images.flip(3), 0.06)
    assert_near(seen_through(images, "rotate", torch.pi / 2), images.rot90(1, [2, 3]), 0.06)
    wide = torch.nn.functional.interpolate(pictures(side=4), [17, 21], mode="bicubic")
    assert_near(seen_through(wide, "rotate", torch.pi), wide.rot90(2, [2, 3]), 0.06)


def test_operations_act_in_order() -> None:
    """Shift, then turn: what was moved to the right is above the centre after a quarter turn anticlockwise."""
    images = torch.zeros(1, 1, 17, 17)
    images[0, 0, 8, 8] = 1
    one, two = torch.ones(1), torch.full([1], 2.0)
    identity = Affine.identity(1, images.device, images.dtype)
    turned = resample_affine(images, identity.translate(4 * one, 0 * one).rotate(one * torch.pi / 2))
    assert turned[0, 0, 4, 8] > 0.9
    enlarged = resample_affine(images, identity.translate(2 * one, 3 * one).scale(two, one))
    assert enlarged[0, 0].flatten().argmax() == 11 * 17 + 12


def test_smooth_pictures_survive_a_fractional_shift() -> None:
    """A slow wave moved by 0.3 px is the wave at other places: interpolation neither blurs nor aliases it."""
    x = torch.arange(32, dtype=torch.float64)
    wave = torch.cos(2 * torch.pi * 3 * x / 32).expand(1, 1, 32, 32)
    moved = seen_through(wave, "translate", 0.3, 0)[..., 8:24]
    expected = torch.cos(2 * torch.pi * 3 * (x - 0.3) / 32).expand(1, 1, 32, 32)[..., 8:24]
    torch.testing.assert_close(moved, expected, rtol=0, atol=0.02)


def test_colors() -> None:
    images = pictures(dtype=torch.float64)
    identity = ColorMap.identity(2, images.device, images.dtype)

    def number(value: float) -> torch.Tensor:
        return torch.full([2], value, dtype=torch.float64)

    grey = images.mean(1, keepdim=True)
    torch.testing.assert_close(identity.apply(images), images)
    torch.testing.assert_close(identity.brighten(number(0.2)).contrast(number(3)).apply(images), (images + 0.2) * 3)
    torch.testing.assert_close(identity.flip_luma(number(1)).apply(images), images - 2 * grey)
    torch.testing.assert_close(identity.saturate(number(0)).apply(images), grey.expand_as(images))
    third = identity.rotate_hue(number(2 * torch.pi / 3)).apply(images)
    torch.testing.assert_close(third, images.roll(1, dims=1))  # red becomes green
    turned = identity.rotate_hue(number(0.5)).apply(images)
    torch.testing.assert_close(turned.mean(1, keepdim=True), grey)
    torch.testing.assert_close(turned.square().sum(1), images.square().sum(1))


# ---------------------------------------------------------------------------------------------------------------------
# Probabilities


@pytest.mark.parametrize("p", [0.0, torch.tensor(0.0)])
def test_nothing_happens_at_zero(p: float | torch.Tensor) -> None:
    images = pictures()
    torch.testing.assert_close(ada(images, p, EVERYTHING), images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_transform_happens_with_its_probability(name: str) -> None:
    """At multiplier 0.5 and p = 0.6, 30 % of the images change (of flips: half of these), and no two alike."""
    n, side = 600, 24 if name == "band_filter" else 8
    picture = pictures(1, side=side)
    config = override(NONE, [f"{name}=0.5"])
    if name == "band_filter":
        config = replace(config, band_weights=(0.0, 1.0, 0.0, 0.0))
    changes = (ada(picture.expand(n, -1, -1, -1), torch.tensor(0.6), config) - picture).abs().amax([1, 2, 3]) > 1e-4
    expected = 0.3
    if name in ("x_flip", "luma_flip"):
        expected /= 2
    elif name == "rotate90":
        expected *= 3 / 4
    elif name == "int_shift":
        expected *= 1 - 0.5**2  # up to one pixel, rounded: no shift half of the times, per axis
    deviation = (expected * (1 - expected) / n) ** 0.5
    assert abs(changes.float().mean().item() - expected) < 4 * deviation


def test_probabilities_saturate() -> None:
    picture = pictures(1, side=4).expand(64, -1, -1, -1)
    changed = (ada(picture, 7.0, replace(NONE, brightness=1.0, rotate=1.0)) - picture).abs().amax([1, 2, 3])
    assert (changed > 0).all()
    assert len(changed.unique()) == 64  # every image has numbers of its own


def test_draws_come_from_the_global_stream() -> None:
    images = pictures()
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(ada(images, 0.8, EVERYTHING))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


# ---------------------------------------------------------------------------------------------------------------------
# Gradients, types, devices


def test_gradients_of_sampling() -> None:
    """To the third order, at points inside, outside and on the border."""
    grid = (torch.rand(2, 3, 4, 2, dtype=torch.float64) - 0.5) * 2.6
    images = pictures(2, 2, 5, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: sample_bilinear(x, grid), images)
    assert torch.autograd.gradgradcheck(lambda x: sample_bilinear(x, grid).square(), images)


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_of_everything(channels: int) -> None:
    """The first and second derivatives of all transforms together, as gradient penalties take them."""
    images = pictures(1, channels, 22, torch.float64).requires_grad_()
    draws = Draws.sample(images, with_noise=True)
    draws = replace(draws, gates=dict.fromkeys(draws.gates, torch.zeros(1, dtype=torch.float64)))
    draws = replace(draws, uniforms=draws.uniforms | {"cutout_x": torch.tensor([0.1]), "cutout_y": torch.tensor([0.2])})

    def run(x: torch.Tensor) -> torch.Tensor:
        return ada(x, 1.0, EVERYTHING, draws)

    assert torch.autograd.gradcheck(run, images, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: run(x).square(), images, fast_mode=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_half_precision(channels: int) -> None:
    """In bfloat16 the result is that of float32, rounded."""
    images = pictures(4, channels).to(torch.bfloat16)
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        torch.manual_seed(3)
        results.append(ada(images.to(dtype), 1.0, EVERYTHING))
        assert results[-1].dtype == dtype
    torch.testing.assert_close(results[0], results[1].to(torch.bfloat16), rtol=0, atol=0)
    assert diffaugment(images, DiffAugmentConfig()).dtype == torch.bfloat16


def test_nothing_is_read_back_from_the_device() -> None:
    """Tensors without data go through: so nothing depends on a value that would have to come to the host."""
    images = torch.empty(2, 3, 32, 32, device="meta", requires_grad=True)
    result = ada(images, torch.empty([], device="meta"), EVERYTHING)
    assert result.shape == images.shape
    result = diffaugment(result, DiffAugmentConfig(policy=",".join(OPERATIONS)))
    (gradient,) = torch.autograd.grad(result.sum(), [images], create_graph=True)
    assert gradient.shape == images.shape


# ---------------------------------------------------------------------------------------------------------------------
# DiffAugment


@pytest.mark.parametrize("name", ["color", "translation", "cutout", "hue"])
def test_diffaugment_operations(name: str) -> None:
    images = pictures(64, side=16)
    result = diffaugment(images, DiffAugmentConfig(policy=name))
    change = (result - images).abs().amax([1, 2, 3])
    assert len(change.unique()) > 20  # every image has numbers of its own
    if name == "color":
        assert (change > 0).all()
    elif name == "translation":
        for image, moved in zip(images[:8], result[:8], strict=True):
            padded = torch.nn.functional.pad(image, [2, 2, 2, 2])
            windows = [padded[:, y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
            assert sum(torch.equal(window, moved) for window in windows) == 1
    elif name == "cutout":
        cut = (result == 0).all(1).sum([1, 2])
        assert cut.max() == 64
        assert cut.min() >= 16  # a quarter is left of a box in a corner
        kept = result != 0
        assert torch.equal(result[kept], images[kept])
    else:
        assert 16 < (change > 0).sum() < 48
        torch.testing.assert_close(result.mean(1), images.mean(1))


def test_diffaugment_ranges() -> None:
    """A white picture shows the brightness, ±0.5; the coin of cutout is the batch's."""
    flat = torch.zeros(2000, 3, 2, 2)
    levels = diffaugment(flat, DiffAugmentConfig(policy="color")).mean([1, 2, 3])
    assert -0.5 <= levels.min() < -0.48
    assert 0.48 < levels.max() <= 0.5
    assert torch.equal(diffaugment(flat + 1, DiffAugmentConfig(policy="cutout", cutout_prob=0.0)), flat + 1)
    shares = [
        (diffaugment(flat[:8] + 1, DiffAugmentConfig(policy="cutout", cutout_prob=0.3)) == 0).any([1, 2, 3]).float()
        for _ in range(200)
    ]
    assert {share.mean().item() for share in shares} <= {0.0, 1.0}
    assert 0.15 < torch.stack(shares).mean() < 0.45


def test_gradients_of_diffaugment() -> None:
    images = pictures(2, 3, 4, torch.float64).requires_grad_()

    def run(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        return diffaugment(x, DiffAugmentConfig(policy="color,translation,cutout,hue", translation_ratio=0.25))

    assert torch.autograd.gradcheck(run, images)
    assert torch.autograd.gradgradcheck(lambda x: run(x).square(), images)


# ---------------------------------------------------------------------------------------------------------------------
# Configs


def test_mistakes_in_configs(config: TrainConfig) -> None:
    for assignment, message in (
        ("augment.name=adda", "augment.name='adda': expected one of none, ada, diffaugment"),
        ("augment.ada.hue=-1", "hue=-1.0: expected 0 or more"),
        ("augment.ada.hu=1", "hue"),
        ("augment.ada.scale_std=-1", "scale_std=-1.0: expected 0 or more"),
        ("augment.ada.target=2", "target=2.0: expected a number between -1 and 1"),
        ("augment.ada.p=1.5", "p_max=1.0: expected null or at least p=1.5"),
        ("augment.ada.interval=0", "interval=0: expected at least 1"),
        ("augment.ada.adapt_kimg=0", "adapt_kimg=0.0: expected a positive number"),
        ("augment.ada.band_weights=[1,1,1,-1]", "band_weights"),
        ("augment.diffaugment.policy=colour", "there is no augmentation 'colour'; did you mean color"),
        ("augment.diffaugment.policy=,", "policy"),
        ("augment.diffaugment.cutout_prob=2", "cutout_prob=2.0: expected a number from 0 to 1"),
    ):
        with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
            override(config, [assignment])
    with pytest.raises(ConfigError, match="more than 21 px"):
        override(config, ["augment.name=ada", "augment.ada.band_filter=1"])
    with pytest.raises(ConfigError, match="grey or RGB"):
        override(config, ["augment.name=ada", "generator.channels=2", "discriminator.channels=2"])
    assert override(config, ["augment.ada.p=1.5", "augment.ada.p_max=null"]).augment.ada.p == 1.5


def test_transfer_adapts_faster() -> None:
    config = AugmentConfig(name="ada")
    assert config.ada.adapt_kimg == 500
    assert config.for_transfer().ada.adapt_kimg == 100
    assert replace(config.for_transfer(), ada=config.ada) == config
