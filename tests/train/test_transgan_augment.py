"""The longer list of TransGAN's second version: what each augmentation may do to an image, and how often."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gantrol.errors import ConfigError
from gantrol.train.augment import AugmentConfig, DiffAugmentConfig, diffaugment
from gantrol.train.augment.corruption import band_filters
from gantrol.train.augment.diffaugment import OPERATIONS
from gantrol.train.augment.pixel_operations import enlarge, swap_box

LONGER_LIST = sorted(set(OPERATIONS) - {"color", "translation", "cutout", "hue"})


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pictures(count: int, side: int = 32, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(count, 3, side, side, dtype=dtype) * 2 - 1


def augmented(images: torch.Tensor, policy: str, *, is_sure: bool = False) -> torch.Tensor:
    """Augmented once; if sure, until the batch's coin falls on the side that acts."""
    for _ in range(100):
        result = diffaugment(images, DiffAugmentConfig(policy=policy))
        if not is_sure or not torch.equal(result, images):
            return result
    raise AssertionError(f"{policy} never acted")


@pytest.mark.parametrize("name", LONGER_LIST)
def test_shape_type_gradient_and_new_draws(name: str) -> None:
    """Every augmentation keeps shape and type, lets gradients through twice, and draws anew in each call."""
    images = pictures(10).requires_grad_()
    x = augmented(images, name, is_sure=True)
    assert (x.shape, x.dtype) == (images.shape, images.dtype)
    (gradient,) = torch.autograd.grad((x.square() / 2).sum(), [images], create_graph=True)
    assert gradient.abs().sum() > 0
    (second,) = torch.autograd.grad(gradient.sum(), [images])
    assert second.isfinite().all()
    assert not torch.equal(augmented(images, name, is_sure=True), x)
    half = images.detach().bfloat16()
    assert augmented(half, name).dtype == torch.bfloat16


@pytest.mark.parametrize("name", LONGER_LIST)
def test_gradcheck(name: str) -> None:
    """In float64, with the same random numbers in each call: the first seed with which it acts."""
    side = 24 if name == "filter" else 8
    images = torch.rand(4, 1, side, side, dtype=torch.float64).requires_grad_()

    def run(x: torch.Tensor, seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return diffaugment(x, DiffAugmentConfig(policy=name, erase_prob=0.9))

    seed = next(seed for seed in range(100) if not torch.equal(run(images, seed), images))
    assert torch.autograd.gradcheck(lambda x: run(x, seed), [images], fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: run(x, seed).square(), [images], fast_mode=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("rotate", 0.5), ("crop", 0.2), ("erase", 0.3), ("stl_erase_ratio", 0.3), ("erase_ratio", 0.3), ("cutmix", 1.0)],
)
def test_one_coin_per_batch(name: str, expected: float) -> None:
    images = pictures(3, side=8)
    shares = [(augmented(images, name) != images).any(1).any(1).any(1).float().mean().item() for _ in range(300)]
    if name != "cutmix":  # whose boxes may hold what was there
        assert set(shares) <= {0.0, 1.0}
    assert sum(share > 0 for share in shares) / 300 == pytest.approx(expected, abs=0.1)


def test_shifts() -> None:
    """Whole pixels: odd ones, at most 2·3 − 1; and at most 4 whatever the ratio of `translation` is."""
    x = torch.zeros(400, 1, 32, 32)
    x[:, :, 16, 16] = 1
    for name, expected in (("translation_1", {-5, -3, -1, 1, 3, 5}), ("strong_translation", set(range(-4, 5)))):
        moved = diffaugment(x, DiffAugmentConfig(policy=name, translation_ratio=0.5))
        _, _, rows, columns = moved.nonzero().unbind(1)
        assert set((rows - 16).tolist()) == expected
        assert set((columns - 16).tolist()) == expected


def test_quarter_turns() -> None:
    images = pictures(3, side=8)
    turns = [torch.rot90(images, k, (2, 3)) for k in range(4)]
    found: set[int] = set()
    for _ in range(60):
        x = augmented(images, "rotate")
        found |= {k for k, turn in enumerate(turns) if torch.equal(x, turn)}
    assert found == {0, 1, 2, 3}


@pytest.mark.parametrize(("name", "low", "high"), [("erase", 20, 52), ("erase_ratio", 13, 45)])
def test_erased_boxes(name: str, low: int, high: int) -> None:
    """One size per batch, a place for each image; where the border cuts none, the box has its full size."""
    heights, places = set(), []
    for _ in range(30):
        gone = augmented(torch.ones(64, 1, 64, 64), name, is_sure=True)[:, 0] == 0
        rows, columns = gone.any(2).sum(1), gone.any(1).sum(1)
        assert torch.equal(gone.sum([1, 2]), rows * columns)  # one box
        heights |= {int(rows.max()), int(columns.max())}
        places.append(len(gone.flatten(1).unique(dim=0)))
    assert low <= min(heights) < low + 5
    assert high - 5 < max(heights) <= high
    assert min(places) > 10


def test_erasing_at_32_px_stays_within_the_image() -> None:
    x = augmented(torch.ones(64, 1, 32, 32), "erase", is_sure=True)
    assert set(x.unique().tolist()) <= {0.0, 1.0}


def test_two_boxes_and_a_part_of_the_batch() -> None:
    one, two = (
        torch.stack([(augmented(torch.ones(50, 1, 32, 32), name, is_sure=True) == 0).float().mean() for _ in range(20)])
        for name in ("erase_ratio", "erase2_ratio")
    )
    assert two.mean() > 1.3 * one.mean()
    images = torch.ones(10, 1, 32, 32)
    x = augmented(images, "rand_erase_ratio")
    assert (x == 0).any(3).any(2)[:, 0].tolist() == [True] * 3 + [False] * 7
    assert torch.equal(images, torch.ones_like(images))  # in place in the official code, not here


def test_cutmix() -> None:
    """Image i is all i: a box of about half the side holds one other image of the batch."""
    images = torch.arange(4.0)[:, None, None, None].expand(4, 1, 40, 40)
    x = augmented(images, "cutmix")
    is_other = (x != images)[:, 0]
    sides = is_other.any(2).sum(1), is_other.any(1).sum(1)
    for side in sides:
        assert 18 <= side.min() <= side.max() <= 22
    assert torch.equal(is_other.sum([1, 2]), sides[0] * sides[1])
    others = [set(x[i].unique().tolist()) - {float(i)} for i in range(4)]
    assert all(len(other) == 1 for other in others)
    assert set.union(*others) == {0.0, 1.0, 2.0, 3.0}
    everything = swap_box(images, images.flip(0), torch.full([4], 20), torch.full([4], 20), (40, 40))
    assert torch.equal(everything, images.flip(0))


def test_crop() -> None:
    """A window of the enlarged image, against torch's own slices of it; of the same size it is the image."""
    images = pictures(2, side=10)
    large = F.interpolate(images, size=(12, 12), mode="bicubic", align_corners=False)
    got = enlarge(images, (12, 12), torch.tensor([0, 2]), torch.tensor([1, 0]))
    torch.testing.assert_close(got[0], large[0, :, 0:10, 1:11])
    torch.testing.assert_close(got[1], large[1, :, 2:12, 0:10])
    zero = torch.tensor([0, 0])
    torch.testing.assert_close(enlarge(images, (10, 10), zero, zero), images)
    x = augmented(images, "crop", is_sure=True)
    assert any(torch.allclose(x[0], large[0, :, a : a + 10, b : b + 10]) for a in range(3) for b in range(3))


def test_geo() -> None:
    """A third of the images is only mirrored or not: 0.7³; the others lie elsewhere. Flat ones stay flat."""
    images = F.interpolate(pictures(300, side=4), [16, 16], mode="bicubic")
    x = augmented(images, "geo")
    whole, mirrored = (
        sum((x - y).abs().amax([1, 2, 3]) < tolerance) for y, tolerance in ((images, 1e-4), (images.flip(3), 0.06))
    )
    assert whole == pytest.approx(300 * 0.7**3 / 2, abs=25)
    assert mirrored == pytest.approx(300 * 0.7**3 / 2, abs=25)
    flat = torch.full([20, 3, 16, 16], 0.25)
    torch.testing.assert_close(augmented(flat, "geo"), flat, atol=1e-4, rtol=0)


def test_filter() -> None:
    """Left alone with probability 0.75⁴; else by the bank's bands. A flat image has only the lowest."""
    images = pictures(400)
    x = augmented(images, "filter")
    same = sum((x - images).abs().amax([1, 2, 3]) < 1e-5)
    assert same == pytest.approx(400 * 0.75**4, abs=35)
    flat = augmented(torch.ones(200, 1, 24, 24), "filter")
    torch.testing.assert_close(flat.amax([1, 2, 3]), flat.amin([1, 2, 3]))
    assert flat.unique().numel() > 30
    assert band_filters(torch.device("cpu")).shape == (4, 43)


def test_flat_images_keep_their_level() -> None:
    """What only moves pixels about inside the image keeps a flat one as it was."""
    flat = torch.full([8, 3, 32, 32], -0.5)
    for name in ("rotate", "cutmix", "crop", "geo"):
        for _ in range(5):
            torch.testing.assert_close(augmented(flat, name), flat, atol=1e-4, rtol=0)


def test_errors() -> None:
    with pytest.raises(ConfigError, match="rand_erase_ratio"):
        DiffAugmentConfig(policy="random_erase_ratio")
    config = AugmentConfig(name="diffaugment", diffaugment=DiffAugmentConfig(policy="color,filter"))
    config.check_images(32, 3)
    with pytest.raises(ConfigError, match="more than 21 px"):
        config.check_images(16, 3)
