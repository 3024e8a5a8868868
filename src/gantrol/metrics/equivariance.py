"""EQ-T, EQ-T_frac and EQ-R: when the generator's input moves, does the image move with it?

Render an image x, move the input by t, render again, and compare with x moved by t. A generator whose details are tied
to the object gives the same image twice; one whose details are tied to pixel coordinates does not. The result is a peak
signal-to-noise ratio in decibels, for images that span [−1, 1]:

    EQ = 10·log₁₀( 2² / [ Σ m·(g(z; t) − t[g(z; 1)])² / Σ m ] )

with both sums over all samples, channels and pixels; m is 1 where t[x] is known (StyleGAN3 paper, equation 3 and
appendix E). The three differ in t:

* EQ-T: translation by whole pixels, up to an eighth of the image along either axis: t[x] is exact;
* EQ-T_frac: translation by any distance up to that; x is moved with a Lanczos filter;
* EQ-R: rotation by any angle; x is turned with a band-limited filter, and the turned image is filtered alike.

The last two saturate (near 45 to 50 dB, 40 dB in the paper), as the way an image is resampled is a choice; above about
50 dB of EQ-T and 40 dB of EQ-R no flaw can be seen.

Dimensions: N images · C channels · H W pixels · G groups of four images, which share their t.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from gantrol import sample
from gantrol.errors import ConfigError, nearest
from gantrol.metrics.constant_noise import noise_buffers, redrawn_noise
from gantrol.metrics.image_transforms import (
    pseudo_rotate,
    rotate,
    rotation_matrix,
    translate_fractional,
    translate_integer,
)
from gantrol.models.protocols import Generator
from gantrol.models.stylegan3 import FourierInput

TITLES = {"eqt": "EQ-T", "eqt_frac": "EQ-T_frac", "eqr": "EQ-R"}
"""The metrics of this module: what they are called here and in the paper."""
GROUP = 4
"""Images that share their translations and rotation: the batch size of the definition."""
MAX_TRANSLATION = 0.125
"""Translations are uniform within this, in image widths."""
BEST_DB = 200.0
"""What an exact match counts as: far beyond float32, which ends near 140 dB."""
_MIN_ROTATION_PX = 16  # the filters of EQ-R leave nothing of smaller images
_CPU_BATCH = 8  # on a CPU, more images at once no longer fit the caches


@dataclasses.dataclass(frozen=True, kw_only=True)
class Motion:
    """What is done to one group of images."""

    integer: tuple[float, float]
    """Translation (x, y) of EQ-T in image widths, right and down: whole pixels."""
    fractional: tuple[float, float]
    """Translation (x, y) of EQ-T_frac in image widths."""
    angle: float
    """Rotation of EQ-R in radians, counter-clockwise."""

    @classmethod
    def from_uniform(cls, u: Sequence[float], resolution_px: int) -> Motion:
        """The motion that five numbers from [0, 1) stand for: two for EQ-T, two for EQ-T_frac, one for EQ-R."""
        x, y, fx, fy, turn = (2 * float(value) - 1 for value in u)
        return cls(
            integer=(
                round(x * MAX_TRANSLATION * resolution_px) / resolution_px,
                round(y * MAX_TRANSLATION * resolution_px) / resolution_px,
            ),
            fractional=(fx * MAX_TRANSLATION, fy * MAX_TRANSLATION),
            angle=turn * math.pi,
        )

    def matrix(self, metric: str) -> Tensor:
        """float64 [3, 3]: where `metric` makes each point of the image appear."""
        if metric == "eqr":
            return rotation_matrix(self.angle)
        matrix = torch.eye(3, dtype=torch.float64)
        matrix[:2, 2] = torch.tensor(self.integer if metric == "eqt" else self.fractional, dtype=torch.float64)
        return matrix


def squared_errors(metric: str, original: Tensor, moved: Tensor, motion: Motion) -> tuple[Tensor, Tensor]:
    """Compares images with moved renderings of the same latents.

    Args:
        metric: a name out of `TITLES`.
        original: float32 [N, C, H, W], the input where it always is.
        moved: float32 [N, C, H, W], the input moved by `motion.matrix(metric)`.
        motion: what was done to the input.

    Returns:
        Sum of masked squared errors of each image, and sum of its mask over pixels and channels: float64 [N].
    """
    if metric == "eqt":
        wanted, mask = translate_integer(original, motion.integer)
    elif metric == "eqt_frac":
        wanted, mask = translate_fractional(original, motion.fractional)
    else:
        wanted, mask = rotate(original, motion.angle)
        moved, other = pseudo_rotate(moved, motion.angle)
        mask = mask * other
    error = ((moved - wanted).square() * mask).sum(dim=(1, 2, 3), dtype=torch.float64)
    weight = mask.sum(dtype=torch.float64) * original.shape[1]
    return error, weight.expand(len(original))


def decibels(squared_error: float, weight: float) -> float:
    """20·log₁₀(2) − 10·log₁₀(squared_error/weight): the ratio for a peak-to-peak range of 2, at most `BEST_DB`."""
    if squared_error <= 0:
        return BEST_DB
    return min(20 * math.log10(2) - 10 * math.log10(squared_error / weight), BEST_DB)


def check_movable(generator: Generator, metrics: Sequence[str]) -> None:
    """Raises `ConfigError` unless `metrics` are defined for a generator: its input can be moved, its images are large
    enough."""
    for metric in metrics:
        if metric not in TITLES:
            raise ConfigError(f"unknown equivariance metric {metric!r}; {nearest(metric, TITLES)}")
    if not hasattr(getattr(generator.synthesis, "input", None), "set_transform"):
        raise ConfigError(
            f"{', '.join(metrics)}: the input of a {generator.config.kind} model cannot be moved or turned; "
            "use --metrics sticking, which measures every generator"
        )
    if "eqr" in metrics and generator.resolution_px < _MIN_ROTATION_PX:
        raise ConfigError(
            f"eqr: images of {generator.resolution_px} px are smaller than its filters; it needs at least "
            f"{_MIN_ROTATION_PX} px (eqt and eqt_frac do not)"
        )


@torch.no_grad()
def equivariance(
    generator: Generator,
    metrics: Sequence[str] = tuple(TITLES),
    *,
    samples: int = 1000,
    seed: int = 0,
    c: Tensor | None = None,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """EQ-T, EQ-T_frac and EQ-R of a generator, in one pass that renders the unmoved images once.

    z ~ N(0, 1), no truncation, float32 throughout, images neither clamped nor rounded to bytes. Four consecutive images
    share their translations and their angle; where a network has constant noise, that is redrawn for every four. All
    draws follow from `seed`, and are the same whichever metrics are asked for; the batch size does not change the
    result beyond rounding.

    Args:
        generator: in evaluation mode, with an input block `synthesis.input` that has `set_transform` (StyleGAN3); it is
            left as it was.
        metrics: names out of `TITLES`.
        samples: images per metric.
        seed: chooses latents, noise and motions.
        c: labels [samples, c_dim] of a conditional generator.
        batch_size: images at a time, rounded down to a multiple of four.
        progress: called with (done, total) samples.

    Returns:
        Decibels for each metric; more is better.

    Raises:
        ConfigError: an unknown metric, or a generator for which it is not defined.

    Source: Karras et al. 2021, "Alias-Free Generative Adversarial Networks", equation 3, section 3 and appendix E.
    """
    rows = range(samples)
    options: dict[str, Any] = {"samples": samples, "seed": seed, "c": c, "batch_size": batch_size}
    sums = error_sums(generator, metrics, rows, **options, progress=progress)
    return {name: decibels(*total.tolist()) for name, total in sums.items()}


@torch.no_grad()
def error_sums(
    generator: Generator,
    metrics: Sequence[str],
    rows: range,
    *,
    samples: int,
    seed: int = 0,
    c: Tensor | None = None,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """Σ m·(g(z; t) − t[g(z; 1)])² and Σ m over some of the samples, for a part of the work of `equivariance`.

    Args:
        rows: numbers of the samples: from a multiple of `GROUP` on, step 1.
        samples: of the whole.
        Others: as in `equivariance`.

    Returns:
        For each metric both sums, float64 [2] on the CPU; those of parts add up to those of the whole.

    Raises:
        ConfigError: as for `equivariance`.
    """
    check_movable(generator, metrics)
    if rows.start % GROUP or rows.step != 1:
        raise ConfigError(f"rows={rows}: expected rows from a multiple of {GROUP} on")
    device = sample.device_of(generator)
    # Apple's devices have no float64: there, images are compared on the CPU.
    compared_on = torch.device("cpu") if device.type == "mps" else device
    image_seeds, _, motion_seed, noise_seed = np.random.SeedSequence(seed).spawn(4)  # the second one draws labels
    seeds = [int(value) for value in image_seeds.generate_state(samples)]
    uniform = np.random.default_rng(motion_seed).random((math.ceil(samples / GROUP), 5))
    sums = {name: torch.zeros(2, dtype=torch.float64, device=compared_on) for name in metrics}

    step = GROUP * _groups_at_once(generator, batch_size)
    with redrawn_noise(generator, noise_seed) as redraw_noise:
        for start in range(rows.start, rows.stop, step):
            batch = slice(start, min(start + step, rows.stop))
            some = [Motion.from_uniform(u, generator.resolution_px) for u in uniform[start // GROUP :][: step // GROUP]]
            redraw_noise(start // GROUP)
            z = sample.latents(seeds[batch], generator.z_dim).to(device)
            ws = generator.mapping(z, None if c is None else c[batch].to(device))
            original = generator.synthesis(ws, noise_mode="const").to(compared_on).split(GROUP)
            some = some[: len(original)]
            for name in metrics:
                matrices = torch.stack([motion.matrix(name) for motion in some])
                with _moved_input(generator, matrices, len(ws)):
                    moved = generator.synthesis(ws, noise_mode="const").to(compared_on).split(GROUP)
                for before, after, motion in zip(original, moved, some, strict=True):
                    error, weight = squared_errors(name, before, after, motion)
                    sums[name] += torch.stack([error.sum(), weight.sum()])
            if progress is not None:
                progress(batch.stop - rows.start, len(rows))
    return {name: total.cpu() for name, total in sums.items()}


# ---------------------------------------------------------------------------------------------------------------------
# The generator's input


def _groups_at_once(generator: Generator, batch_size: int) -> int:
    """How many groups fit into one pass: several only where each image can have its own transform and no noise."""
    if sample.device_of(generator).type == "cpu":
        batch_size = min(batch_size, _CPU_BATCH)
    is_separable = isinstance(cast(Any, generator.synthesis).input, FourierInput) and not noise_buffers(generator)
    return max(1, batch_size // GROUP) if is_separable else 1


@contextmanager
def _moved_input(generator: Generator, matrices: Tensor, images: int) -> Iterator[None]:
    """Moves the g-th four of `images` images by matrices[g] ([G, 3, 3]) while the context lasts."""
    block: Any = cast(Any, generator.synthesis).input
    before: Tensor = block.transform
    kept = before.clone()
    try:
        if len(matrices) == 1:
            block.set_transform(matrices[0])
        else:  # the block multiplies by its transform, which broadcasts over images
            inverse = torch.linalg.inv(matrices).to(before.device, before.dtype)
            block.transform = inverse.repeat_interleave(GROUP, dim=0)[:images]
        yield
    finally:
        block.transform = before.copy_(kept)
