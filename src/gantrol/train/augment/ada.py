"""The augmentation pipeline of StyleGAN2-ADA: fifteen transforms, each applied with a probability of its own.

In order: flip, quarter turns, whole-pixel shift, scale, rotation, stretch, rotation, shift, which become one affine map
and one resampling (`geometry`); brightness, contrast, luma flip, hue, saturation, which become one matrix (`color`);
and band gains, noise, cutout (`corruption`), which the papers leave off. A transform happens to an image with
probability multiplier·p; p is a tensor on the device, so nothing here waits for it.

All random numbers of a call are drawn first, in two tensors. Transforms that do not happen get a parameter of 0.

Source: StyleGAN2-ADA (Karras et al. 2020), section 3.1 and appendix B; our specification notes, section 4.4.
Dimensions: N images, C channels, H W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from gantrol.errors import ConfigError
from gantrol.models.config_checks import check, check_at_least
from gantrol.ops.parts import drawn
from gantrol.train.augment.color import ColorMap
from gantrol.train.augment.corruption import BANDS, FILTER_REACH_PX, band_gains, cut_out, filter_bands
from gantrol.train.augment.geometry import Affine, resample_affine

GEOMETRY = ("x_flip", "rotate90", "int_shift", "scale", "rotate", "stretch", "shift")
COLOR = ("brightness", "contrast", "luma_flip", "hue", "saturation")
CORRUPTION = ("band_filter", "noise", "cutout")
TRANSFORMS = (*GEOMETRY, *COLOR, *CORRUPTION)
"""The names of the transforms, in the order in which they act."""

_BAND_NAMES = tuple(f"band_filter_{band}" for band in range(BANDS))
_GATES = (
    *("x_flip", "rotate90", "int_shift", "scale", "rotate_before", "stretch", "rotate_after", "shift"),
    *(*COLOR, *_BAND_NAMES, "noise", "cutout"),
)
_UNIFORMS = (
    *("x_flip", "rotate90", "int_shift_x", "int_shift_y", "rotate_before", "rotate_after"),
    *("luma_flip", "hue", "cutout_x", "cutout_y"),
)
_NORMALS = (
    *("scale", "stretch", "shift_x", "shift_y", "brightness", "contrast", "saturation"),
    *(*_BAND_NAMES, "noise"),
)


@dataclass(frozen=True, kw_only=True)
class AdaConfig:
    """Adaptive discriminator augmentation: its strength p, and what p does."""

    p: float = 0.0
    """Strength at the start, or for all of the training without a target."""
    target: float | None = 0.6
    """What the mean sign of D's logits on real images is steered to; null: p stays as it is."""
    interval: int = 4
    """Steps between two changes of p."""
    adapt_kimg: float = 500.0
    """Thousands of images over which p can rise by 1; 100 in trainings that begin from another model."""
    p_max: float | None = 1.0
    """The most that p becomes; null: no limit, as in the official code, where p may wind up far above 1."""
    x_flip: float = 1.0
    """Probability, as a multiple of p, of: a mirrored image (half of the times)."""
    rotate90: float = 1.0
    """… a rotation by a random multiple of 90°."""
    int_shift: float = 1.0
    """… a shift by whole pixels."""
    scale: float = 1.0
    """… a change of size."""
    rotate: float = 1.0
    """… a rotation by any angle."""
    stretch: float = 1.0
    """… an anisotropic scaling, as much wider as lower."""
    shift: float = 1.0
    """… a shift by fractions of pixels."""
    brightness: float = 1.0
    """… a number added to all pixels."""
    contrast: float = 1.0
    """… a factor on all pixels."""
    luma_flip: float = 1.0
    """… mirrored lightness, hue and saturation kept (half of the times)."""
    hue: float = 1.0
    """… a rotation of the colours about the grey axis."""
    saturation: float = 1.0
    """… a factor on the distance from grey."""
    band_filter: float = 0.0
    """… a random gain per frequency band."""
    noise: float = 0.0
    """… additive noise."""
    cutout: float = 0.0
    """… a box set to mid-grey."""
    int_shift_max: float = 0.125
    """Largest whole-pixel shift, in image widths."""
    scale_std: float = 0.2
    """Standard deviation of log₂ of the size."""
    rotate_max: float = 1.0
    """Largest angle, in half turns."""
    stretch_std: float = 0.2
    """Standard deviation of log₂ of the stretch."""
    shift_std: float = 0.125
    """Standard deviation of shifts, in image widths."""
    brightness_std: float = 0.2
    """Standard deviation of what is added; pixels go from −1 to 1."""
    contrast_std: float = 0.5
    """Standard deviation of log₂ of the contrast."""
    hue_max: float = 1.0
    """Largest rotation of the hue, in half turns."""
    saturation_std: float = 1.0
    """Standard deviation of log₂ of the saturation."""
    band_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    """Probability of a gain in each of four octaves, lowest first, as a multiple of `band_filter`·p."""
    band_std: float = 1.0
    """Standard deviation of log₂ of a band's gain."""
    noise_std: float = 0.1
    """The noise has the standard deviation |N(0, noise_std²)|."""
    cutout_size: float = 0.5
    """Side of the box, in image widths."""

    def __post_init__(self) -> None:
        for name in ("p", *TRANSFORMS):
            check(self, name, getattr(self, name) >= 0, "0 or more")
        for name in (name for name in self.__dict__ if name.endswith(("_std", "_max", "_size")) and name != "p_max"):
            check(self, name, getattr(self, name) >= 0, "0 or more")
        check(self, "target", self.target is None or -1 < self.target < 1, "a number between -1 and 1, or null")
        check(self, "adapt_kimg", self.adapt_kimg > 0, "a positive number")
        check(self, "p_max", self.p_max is None or self.p_max >= self.p, f"null or at least p={self.p:g}")
        check(self, "band_weights", min(self.band_weights) >= 0, "numbers, 0 or more")
        check_at_least(self, 1, "interval")

    def check_images(self, resolution_px: int, channels: int) -> None:
        """Raises ConfigError for images that the pipeline cannot take."""
        if channels not in (1, 3):
            raise ConfigError(
                f"channels={channels}: the augmentation ada takes grey or RGB images; "
                "choose --augment diffaugment or none, or make the dataset opaque with `gantrol data import`"
            )
        if self.band_filter > 0 and resolution_px <= FILTER_REACH_PX:
            raise ConfigError(f"band_filter={self.band_filter:g}: needs images of more than {FILTER_REACH_PX} px")


@dataclass(frozen=True)
class Draws:
    """The random numbers of one call, [N] each, by the name of what they decide."""

    gates: dict[str, torch.Tensor]
    """From U(0, 1): a transform happens where this is below its probability."""
    uniforms: dict[str, torch.Tensor]
    """From U(0, 1)."""
    normals: dict[str, torch.Tensor]
    """From N(0, 1)."""
    noise: torch.Tensor | None = None
    """From N(0, 1), [N, C, H, W]; only where noise is added."""

    @classmethod
    def sample(cls, images: torch.Tensor, with_noise: bool) -> Draws:
        """From torch's global stream of the images' device, in their type."""
        n = len(images)
        numbers = len(_GATES) + len(_UNIFORMS)
        uniforms = drawn(n, lambda rows: images.new_empty(numbers, rows).uniform_(), dim=1).unbind()
        normals = drawn(n, lambda rows: images.new_empty(len(_NORMALS), rows).normal_(), dim=1).unbind()
        noise = drawn(n, lambda rows: images.new_empty(rows, *images.shape[1:]).normal_()) if with_noise else None
        return cls(
            gates=dict(zip(_GATES, uniforms, strict=False)),
            uniforms=dict(zip(_UNIFORMS, uniforms[len(_GATES) :], strict=True)),
            normals=dict(zip(_NORMALS, normals, strict=True)),
            noise=noise,
        )


def ada(images: torch.Tensor, p: torch.Tensor | float, config: AdaConfig, draws: Draws | None = None) -> torch.Tensor:
    """Augments images, each with its own random transforms.

    Args:
        images: [N, C, H, W], about −1 to 1, C = 3 or 1, any floating type; below float32 the work is done in float32.
        p: strength; each transform happens with probability multiplier·p, at most 1.
        config: the transforms.
        draws: the random numbers; None draws them from torch's global stream.

    Returns:
        [N, C, H, W] of the same type. Differentiable in the images, to any order.

    Source: StyleGAN2-ADA (Karras et al. 2020), appendix B.
    """
    x = images if images.dtype == torch.float64 else images.float()
    draws = Draws.sample(x, config.noise > 0) if draws is None else draws
    chance = _Chance(config, p, draws)
    if any(getattr(config, name) > 0 for name in GEOMETRY):
        x = resample_affine(x, _affine(config, chance, x))
    if any(getattr(config, name) > 0 for name in COLOR):
        x = _color_map(config, chance, x).apply(x)
    if config.band_filter > 0:
        log2_gains = [
            chance.normal(name, config.band_std, config.band_filter * weight)
            for name, weight in zip(_BAND_NAMES, config.band_weights, strict=True)
        ]
        x = filter_bands(x, band_gains(torch.stack(log2_gains, dim=1)))
    if config.noise > 0:
        assert draws.noise is not None
        x = x + draws.noise * chance.normal("noise", config.noise_std, config.noise).abs()[:, None, None, None]
    if config.cutout > 0:
        size = chance.happens("cutout", config.cutout) * config.cutout_size
        x = cut_out(x, draws.uniforms["cutout_x"], draws.uniforms["cutout_y"], size)
    return x.to(images.dtype)


class _Chance:
    """Turns random numbers into parameters of transforms, [N] each: 0 where the transform does not happen."""

    def __init__(self, config: AdaConfig, p: torch.Tensor | float, draws: Draws) -> None:
        self.p = p
        self.draws = draws
        # Two rotations, so that together they happen with the probability of one: 1 − (1 − q)² = multiplier·p.
        kept = 1 - torch.as_tensor(config.rotate * p).clamp(0, 1)
        self._rotate = 1 - kept.sqrt()

    def happens(self, name: str, multiplier: float) -> torch.Tensor:
        """1 where the transform happens, else 0."""
        gate = self.draws.gates[name]
        return (gate < multiplier * self.p).to(gate.dtype)

    def normal(self, name: str, std: float, multiplier: float, gate: str | None = None) -> torch.Tensor:
        return self.draws.normals[name] * std * self.happens(gate or name, multiplier)

    def symmetric(self, name: str, largest: float, multiplier: float, gate: str | None = None) -> torch.Tensor:
        """Uniform between −largest and largest."""
        return (self.draws.uniforms[name] * 2 - 1) * largest * self.happens(gate or name, multiplier)

    def choice(self, name: str, count: int, multiplier: float) -> torch.Tensor:
        """A whole number below `count`."""
        return (self.draws.uniforms[name] * count).floor() * self.happens(name, multiplier)

    def rotation(self, name: str, largest: float) -> torch.Tensor:
        """An angle in radians."""
        gate = self.draws.gates[name]
        angle = (self.draws.uniforms[name] * 2 - 1) * (math.pi * largest)
        return angle * (gate < self._rotate).to(gate.dtype)


def _affine(config: AdaConfig, chance: _Chance, x: torch.Tensor) -> Affine:
    height, width = x.shape[2:]
    affine = Affine.identity(len(x), x.device, x.dtype)
    if config.x_flip > 0:
        sign = 1 - 2 * chance.choice("x_flip", 2, config.x_flip)
        affine = affine.scale(sign, torch.ones_like(sign))
    if config.rotate90 > 0:
        affine = affine.rotate(chance.choice("rotate90", 4, config.rotate90) * (math.pi / 2))
    if config.int_shift > 0:
        across = chance.symmetric("int_shift_x", config.int_shift_max, config.int_shift, gate="int_shift")
        along = chance.symmetric("int_shift_y", config.int_shift_max, config.int_shift, gate="int_shift")
        affine = affine.translate((across * width).round(), (along * height).round())
    if config.scale > 0:
        factor = chance.normal("scale", config.scale_std, config.scale).exp2()
        affine = affine.scale(factor, factor)
    if config.rotate > 0:
        affine = affine.rotate(chance.rotation("rotate_before", config.rotate_max))
    if config.stretch > 0:
        factor = chance.normal("stretch", config.stretch_std, config.stretch).exp2()
        affine = affine.scale(factor, 1 / factor)
    if config.rotate > 0:
        affine = affine.rotate(chance.rotation("rotate_after", config.rotate_max))
    if config.shift > 0:
        across = chance.normal("shift_x", config.shift_std, config.shift, gate="shift")
        along = chance.normal("shift_y", config.shift_std, config.shift, gate="shift")
        affine = affine.translate(across * width, along * height)
    return affine


def _color_map(config: AdaConfig, chance: _Chance, x: torch.Tensor) -> ColorMap:
    colors = ColorMap.identity(len(x), x.device, x.dtype)
    if config.brightness > 0:
        colors = colors.brighten(chance.normal("brightness", config.brightness_std, config.brightness))
    if config.contrast > 0:
        colors = colors.contrast(chance.normal("contrast", config.contrast_std, config.contrast).exp2())
    if config.luma_flip > 0:
        colors = colors.flip_luma(chance.choice("luma_flip", 2, config.luma_flip))
    if config.hue > 0 and x.shape[1] > 1:
        colors = colors.rotate_hue(chance.symmetric("hue", math.pi * config.hue_max, config.hue))
    if config.saturation > 0 and x.shape[1] > 1:
        colors = colors.saturate(chance.normal("saturation", config.saturation_std, config.saturation).exp2())
    return colors
