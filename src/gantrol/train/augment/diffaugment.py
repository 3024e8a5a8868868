"""DiffAugment: a short list of differentiable augmentations, applied to every image that the discriminator sees.

    color               brightness +U(−0.5, 0.5), then saturation ×U(0, 2), then contrast ×U(0.5, 1.5)
    translation         a shift by whole pixels; what comes in is mid-grey (0)
    cutout              a box of mid-grey, its centre anywhere, cut off by the border

TransGAN's second version adds (a batch is turned, cut or left alone as one, each image at a place of its own):

    strong_translation  a shift by at most 0.125 of the image's width, whatever `translation_ratio` says
    translation_1       a shift by an odd number of pixels, at most twice a tenth of the width
    hue                 the colours turned about the grey axis by any angle
    rotate              turned by 90, 180 or 270 degrees, half of the batches
    erase               a box with sides from 20 px to 20 px more than half the image; also called stl_erase_ratio
    erase_ratio         a box with sides from 0.2 to 0.7 of the image's
    erase2_ratio        two such boxes
    rand_erase_ratio    such a box in the first 30 % of the images of every batch
    cutmix              a box of about half the side filled with the same place of another image of the batch
    crop                enlarged 1.2 times (bicubic), and a part of that, a fifth of the batches
    geo                 mirrored, scaled, stretched and shifted as by `ada`, each of the last three with probability 0.3
    filter              random gains of the frequency bands as by `ada`, each with probability 0.25

Source: DiffAugment (Zhao et al. 2020), section 3; TransGAN (Jiang et al. 2021), section 3.3 and its published options;
our specification notes, baselines, section 5, and TransGAN, sections 1.6 and 2.5.
Dimensions: N images, C channels, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gantrol.config import from_dict
from gantrol.errors import ConfigError, nearest
from gantrol.models.config_checks import check, check_unit_interval
from gantrol.ops.parts import drawn, row_numbers
from gantrol.train.augment.ada import TRANSFORMS, AdaConfig, ada
from gantrol.train.augment.corruption import FILTER_REACH_PX
from gantrol.train.augment.pixel_operations import change_color, cut_box, enlarge, swap_box, translate, turn_hue

_OFF = dict.fromkeys(TRANSFORMS, 0.0)
_GEO = from_dict(AdaConfig, _OFF | {"x_flip": 1.0, "scale": 0.3, "stretch": 0.3, "shift": 0.3})
_FILTER = from_dict(AdaConfig, _OFF | {"band_filter": 0.25})


@dataclass(frozen=True, kw_only=True)
class DiffAugmentConfig:
    """Which augmentations, in which order, and how strong."""

    policy: str = "color,translation,cutout"
    """Any of `color`, `translation`, `cutout`, and TransGAN's `strong_translation`, `translation_1`, `hue`, `rotate`,
    `erase`, `stl_erase_ratio`, `erase_ratio`, `erase2_ratio`, `rand_erase_ratio`, `cutmix`, `crop`, `geo`, `filter`,
    separated by commas; they act in this order."""
    translation_ratio: float = 0.125
    """Largest shift, in image widths; TransGAN: 0.2."""
    cutout_ratio: float = 0.5
    """Side of the box, in image widths."""
    cutout_prob: float = 1.0
    """Probability that a batch is cut, one coin for all of its images; TransGAN: 0.3."""
    erase_prob: float = 0.3
    """The same for `erase`, `stl_erase_ratio`, `erase_ratio` and `erase2_ratio`."""
    hue_prob: float = 0.5
    """Probability that an image's hue is turned."""

    def __post_init__(self) -> None:
        for name in self.operations():
            if name not in OPERATIONS:
                raise ConfigError(f"there is no augmentation {name!r}; {nearest(name, OPERATIONS)}")
        check(self, "policy", len(self.operations()) > 0, f"names from {', '.join(OPERATIONS)}")
        check_unit_interval(self, "translation_ratio", "cutout_ratio", "cutout_prob", "erase_prob", "hue_prob")

    def operations(self) -> list[str]:
        """The names of the policy, in order."""
        return [name.strip() for name in self.policy.split(",") if name.strip()]

    def check_images(self, resolution_px: int) -> None:
        """Raises ConfigError for images that the policy cannot take."""
        if "filter" in self.operations() and resolution_px <= FILTER_REACH_PX:
            raise ConfigError(f"policy={self.policy}: filter needs images of more than {FILTER_REACH_PX} px")


def diffaugment(images: torch.Tensor, config: DiffAugmentConfig) -> torch.Tensor:
    """Augments images, each with its own random numbers, from torch's global stream of their device.

    What is decided once for a batch is drawn from the host's stream, so that nothing waits for the device.

    Args:
        images: [N, C, H, W], about −1 to 1, any floating type.
        config: the policy.

    Returns:
        [N, C, H, W]. Differentiable in the images, to any order.
    """
    for name in config.operations():
        images = _OPERATIONS[name](images, config)
    return images


# ---------------------------------------------------------------------------------------------------------------------
# Random numbers


def _whole_numbers(images: torch.Tensor, lowest: int, highest: int) -> torch.Tensor:
    """int64 [N], one per image, each from lowest to highest."""
    return drawn(len(images), lambda n: torch.randint(lowest, highest + 1, [n], device=images.device))


def _uniforms(images: torch.Tensor, count: int) -> tuple[torch.Tensor, ...]:
    """So many numbers [N], one per image, from U(0, 1)."""
    return drawn(len(images), lambda n: images.new_empty(count, n).uniform_(), dim=1).unbind()


def _whole_number(lowest: int, highest: int) -> int:
    """One for the batch, from lowest to highest."""
    return int(torch.randint(lowest, highest + 1, []))


def _happens(probability: float) -> bool:
    """One coin for the batch."""
    return bool(torch.rand([]) < probability)


def _round(side: int, ratio: float) -> int:
    return int(side * ratio + 0.5)


# ---------------------------------------------------------------------------------------------------------------------
# The augmentations


def _color(images: torch.Tensor, _: DiffAugmentConfig) -> torch.Tensor:
    return change_color(images, *_uniforms(images, 3))


def _shift(images: torch.Tensor, ratio: float) -> torch.Tensor:
    reach = [_round(side, ratio) for side in images.shape[2:]]
    y, x = (_whole_numbers(images, -r, r) for r in reach)
    return translate(images, y, x)


def _shift_oddly(images: torch.Tensor, _: DiffAugmentConfig) -> torch.Tensor:
    reach = [max(_round(side, 0.1), 1) for side in images.shape[2:]]
    y, x = (2 * _whole_numbers(images, -r, r - 1) + 1 for r in reach)
    return translate(images, y, x)


def _cutout(images: torch.Tensor, config: DiffAugmentConfig) -> torch.Tensor:
    y, x, size = _box(images, [_round(side, config.cutout_ratio) for side in images.shape[2:]])
    is_cut = images.new_empty([]).uniform_() < config.cutout_prob
    return torch.where(is_cut, cut_box(images, y, x, size), images)


def _box(images: torch.Tensor, sides: list[int]) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int]]:
    """Centres y and x, int64 [N], anywhere in the images, of a box of `sides` (height, width), and these."""
    y, x = (_whole_numbers(images, 0, image - side % 2) for image, side in zip(images.shape[2:], sides, strict=True))
    return y, x, (sides[0], sides[1])


def _erase(images: torch.Tensor) -> torch.Tensor:
    """A box of 20 pixels to 20 more than half the side; in small images that may be all of it."""
    sides = [min(_whole_number(20, side // 2 + 20), side) for side in images.shape[2:]]
    return cut_box(images, *_box(images, sides))


def _erase_share(images: torch.Tensor) -> torch.Tensor:
    """A box of 0.2 to 0.7 of the side."""
    sides = [_whole_number(_round(side, 0.2), _round(side, 0.7)) for side in images.shape[2:]]
    return cut_box(images, *_box(images, sides))


def _erase_some(images: torch.Tensor, _: DiffAugmentConfig) -> torch.Tensor:
    rows, total = row_numbers(images)
    is_chosen = rows < int(total * 0.3)
    return torch.where(is_chosen[:, None, None, None], _erase_share(images), images)


def _cutmix(images: torch.Tensor, _: DiffAugmentConfig) -> torch.Tensor:
    size = [_whole_number(_round(side, 0.45), _round(side, 0.55)) for side in images.shape[2:]]
    # Centred so that the whole box lies inside.
    y, x = (
        _whole_numbers(images, side // 2, image - side + side // 2)
        for image, side in zip(images.shape[2:], size, strict=True)
    )
    others = images.roll(_whole_number(1, max(len(images) - 1, 1)), dims=0)
    return swap_box(images, others, y, x, (size[0], size[1]))


def _hue(images: torch.Tensor, config: DiffAugmentConfig) -> torch.Tensor:
    if images.shape[1] != 3:
        return images
    angle, coin = _uniforms(images, 2)
    return turn_hue(images, (angle * 2 - 1) * math.pi * (coin < config.hue_prob))


def _rotate(images: torch.Tensor, _: DiffAugmentConfig) -> torch.Tensor:
    return torch.rot90(images, _whole_number(1, 3), (2, 3)) if _happens(0.5) else images


def _crop(images: torch.Tensor, _: DiffAugmentConfig) -> torch.Tensor:
    if not _happens(0.2):
        return images
    large = [_round(side, 1.2) for side in images.shape[2:]]
    y, x = (_whole_numbers(images, 0, grown - side) for grown, side in zip(large, images.shape[2:], strict=True))
    return enlarge(images, (large[0], large[1]), y, x)


def _maybe_erased(
    *boxes: Callable[[torch.Tensor], torch.Tensor],
) -> Callable[[torch.Tensor, DiffAugmentConfig], torch.Tensor]:
    def erase(images: torch.Tensor, config: DiffAugmentConfig) -> torch.Tensor:
        if _happens(config.erase_prob):
            for box in boxes:
                images = box(images)
        return images

    return erase


_OPERATIONS: dict[str, Callable[[torch.Tensor, DiffAugmentConfig], torch.Tensor]] = {
    "color": _color,
    "translation": lambda images, config: _shift(images, config.translation_ratio),
    "cutout": _cutout,
    "hue": _hue,
    "strong_translation": lambda images, _: _shift(images, 0.125),
    "translation_1": _shift_oddly,
    "rotate": _rotate,
    "erase": _maybe_erased(_erase),
    "stl_erase_ratio": _maybe_erased(_erase),
    "erase_ratio": _maybe_erased(_erase_share),
    "erase2_ratio": _maybe_erased(_erase_share, _erase_share),
    "rand_erase_ratio": _erase_some,
    "cutmix": _cutmix,
    "crop": _crop,
    "geo": lambda images, _: ada(images, 1.0, _GEO),
    "filter": lambda images, _: ada(images, 1.0, _FILTER),
}

OPERATIONS = tuple(_OPERATIONS)
"""What a policy may name."""
