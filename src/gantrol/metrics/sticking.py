"""Sticking: does fine detail stay at its pixels while the content moves? For every generator.

The equivariance metrics need an input that can be moved. This asks the same question of any generator, through its
latents, in the two ways of the StyleGAN3 paper's figure 1, each as a picture and as a number:

* *average*: the mean of images from a small neighbourhood of one latent. Where details move with the object, the mean
  is blurred; detail that survives the averaging is fixed to pixel coordinates.
* *strip*: one column of pixels, stacked side by side over a walk through the latents (an x-t slice). Detail that moves
  draws slanted and wavy lines; detail that sticks draws horizontal streaks.

How large is a small neighbourhood? If it were a distance in z, a generator that reacts slowly to z would seem to stick
more than one that reacts fast. So it is measured in content: z and z' are neighbours when the *coarse* parts of their
images (at most four cycles per image, less what all images share) have the correlation 0.8. Models are judged after the
same change of content, as a share of their own variety. A model without variety does nothing but stick.

Dimensions: N images · C channels · H W pixels · A angles · K neighbours.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gantrol import sample
from gantrol.errors import ConfigError
from gantrol.models.protocols import Generator
from gantrol.pictures import to_arrays

Progress = Callable[[int, int], None]

ANGLES = (0.1, 0.2, 0.4, 0.8, 1.2)
"""Neighbourhoods that are tried, as angles φ: the latents of two neighbours have the correlation cos φ."""
COARSE_CORRELATION = 0.8
"""Correlation of the coarse parts of two neighbours."""
NEIGHBOURS = 2
"""Images of each neighbourhood: few, as the neighbourhoods differ more than the pairs within one."""
WALK_FRAMES = 3
"""Images of each walk; from one to the next it is as far as from neighbour to neighbour."""
MIN_SAMPLES = 60
"""Below this there are not two neighbourhoods and two walks."""
AVERAGED = 64
"""Images in the averaged picture."""
STRIP_FRAMES = 128
"""Images in the picture of the strip, each one an eighth of a neighbour's distance from the next."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sticking:
    """Two numbers from 0 to 1, in both of which more is worse."""

    average: float
    """Share of the fine detail's energy that survives averaging over a neighbourhood.

    The energy of the mean image's fine detail over the mean energy of the images' fine detail, in the limit of
    infinitely many images: the mean ⟨f, f'⟩ of different neighbours over the mean ⟨f, f⟩. 1: fine detail does not
    change although the content does; 0: it moves with the content, or is anew in each image.
    """
    strip: float
    """Share of the gradient energy of x-t slices that lies along y: Σ (∂f/∂y)² / (Σ (∂f/∂y)² + Σ (∂f/∂t)²).

    f is the fine detail of frames that are one neighbour apart. 1: streaks along the time axis; near ½ or below: what
    is seen in a frame is no longer at its place in the next one.
    """
    angle: float
    """φ of the neighbourhood in radians: how far one has to go in z for the content to change."""


def split_bands(images: Tensor) -> tuple[Tensor, Tensor]:
    """The coarse and the fine part of images, by frequency.

    A Hann window keeps the border, which never moves, out of both. Coarse is what lies below four cycles per image
    (or W/8, if that is less), fine what lies above W/8 cycles per image: details of fewer than 8 pixels.

    Args:
        images: float [N, C, H, W].

    Returns:
        Two tensors [N, C, H, W].
    """
    height, width = images.shape[2:]
    window = [torch.hann_window(n + 2, periodic=False, device=images.device)[1:-1] for n in (height, width)]
    spectrum = torch.fft.rfft2(images * window[0][:, None] * window[1][None, :])
    fy = torch.fft.fftfreq(height, 1 / height, device=images.device)
    fx = torch.fft.rfftfreq(width, 1 / width, device=images.device)
    frequency = torch.hypot(fy[:, None], fx[None, :])  # cycles per image
    coarse = torch.fft.irfft2(spectrum * (frequency <= min(4, width / 8)), s=(height, width))
    fine = torch.fft.irfft2(spectrum * (frequency > width / 8), s=(height, width))
    return coarse, fine


def check_samples(samples: int) -> None:
    """Raises `ConfigError` if `samples` images are too few."""
    if samples < MIN_SAMPLES:
        raise ConfigError(f"sticking: {samples} samples are too few; it needs at least {MIN_SAMPLES} (--samples)")


@torch.no_grad()
def sticking(
    generator: Generator,
    *,
    samples: int = 1000,
    seed: int = 0,
    c: Tensor | None = None,
    batch_size: int = 32,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> Sticking:
    """Both numbers of a generator, without truncation, with constant noise.

    About three quarters of the images are neighbourhoods z_i = √cos φ · z + √(1 − cos φ) · ε_i of random z, with the
    same ε_i at each φ of `ANGLES`. Where the coarse correlation, which falls with φ, passes `COARSE_CORRELATION`, φ and
    the fine correlation are interpolated linearly. The other images are walks along great circles, cos t · z + sin t ·
    z', in steps of this φ. If the content does not change that much at any φ, the largest is used.

    Args:
        generator: in evaluation mode.
        samples: images in all, at least `MIN_SAMPLES`; a few less are used, in whole neighbourhoods.
        seed: chooses the latents.
        c: labels [samples, c_dim] of a conditional generator; each neighbourhood and each walk keeps one.
        batch_size: images at a time.
        dtype: type of the widest layers.
        progress: called with (done, total) images.

    Raises:
        ConfigError: too few samples.

    Source: the pictures are those of Karras et al. 2021, figure 1; the numbers are gantrol's.
    """
    check_samples(samples)
    size = len(ANGLES) * NEIGHBOURS
    centres = max(2, round(0.75 * samples / size))
    walks = max(2, (samples - centres * size) // WALK_FRAMES)
    report = Counter(progress, centres * size + walks * WALK_FRAMES)
    centre_seed, _, walk_seed = np.random.SeedSequence(seed).spawn(3)  # the second one draws labels

    coarse, fine = _Correlations(), _Correlations()
    random = np.random.default_rng(centre_seed)
    for index in range(centres):
        z = _neighbours(random, generator.z_dim, NEIGHBOURS, ANGLES)
        images = _render(generator, z, _label(c, index), batch_size, dtype, report)
        for correlations, band in zip((coarse, fine), split_bands(images), strict=True):
            correlations.add(band.unflatten(0, (len(ANGLES), NEIGHBOURS)))
    angle, average = _at_equal_content(coarse.between_deviations(), fine.between_images())

    random = np.random.default_rng(walk_seed)
    along_y = along_t = 0.0
    for index in range(walks):
        z = _walk(random, generator.z_dim, angle, WALK_FRAMES)
        detail = split_bands(_render(generator, z, _label(c, centres + index), batch_size, dtype, report))[1]
        along_y += float(detail.diff(dim=2).square().mean())
        along_t += float(detail.diff(dim=0).square().mean())
    return Sticking(average=average, strip=_ratio(along_y, along_y + along_t), angle=angle)


@torch.no_grad()
def sticking_pictures(
    generator: Generator,
    angle: float,
    *,
    seed: int = 0,
    c: Tensor | None = None,
    batch_size: int = 32,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Figure 1 of the StyleGAN3 paper for one latent.

    Args:
        generator: in evaluation mode.
        angle: φ of the neighbourhood in radians: `Sticking.angle`.
        seed: chooses the central latent, its neighbours, and where the walk goes.
        c: label [1, c_dim] of a conditional generator.
        batch_size: images at a time.
        dtype: type of the widest layers.
        progress: called with (done, total) images.

    Returns:
        Two pictures, uint8: the central image and the mean of `AVERAGED` neighbours side by side, [H, 2·W, C]; and the
        middle column over `STRIP_FRAMES` frames of a walk from the central latent, time from left to right,
        [H, STRIP_FRAMES, C].
    """
    report = Counter(progress, 1 + AVERAGED + STRIP_FRAMES)
    random = np.random.default_rng(np.random.SeedSequence(seed).spawn(4)[3])
    centre = random.standard_normal(generator.z_dim)
    label = _label(c, 0)
    z = np.concatenate([centre[None], _neighbours(random, generator.z_dim, AVERAGED, (angle,), centre)])
    images = _render(generator, z, label, batch_size, dtype, report)
    average = torch.cat([images[:1], images[1:].mean(dim=0, keepdim=True)], dim=3)  # [1, C, H, 2·W]
    step = min(angle / 8, 2 * math.pi / STRIP_FRAMES)  # never more than once around
    z = _walk(random, generator.z_dim, step, STRIP_FRAMES, centre)
    column = images.shape[3] // 2
    columns = [
        _render(generator, z[start : start + batch_size], label, batch_size, dtype, report)[:, :, :, column]
        for start in range(0, STRIP_FRAMES, batch_size)
    ]
    strip = torch.cat(columns).permute(1, 2, 0)[None]  # [1, C, H, frames]
    return to_arrays(average)[0], to_arrays(strip)[0]


# ---------------------------------------------------------------------------------------------------------------------
# Latents and images


def _neighbours(
    random: np.random.Generator,
    z_dim: int,
    count: int,
    angles: tuple[float, ...],
    centre: np.ndarray | None = None,
) -> np.ndarray:
    """[len(angles)·count, z_dim]: neighbours of one latent, such that those of an angle have the correlation cos φ."""
    centre = random.standard_normal(z_dim) if centre is None else centre
    deviations = random.standard_normal((count, z_dim))
    return np.concatenate([math.sqrt(math.cos(a)) * centre + math.sqrt(1 - math.cos(a)) * deviations for a in angles])


def _walk(
    random: np.random.Generator, z_dim: int, step: float, frames: int, start: np.ndarray | None = None
) -> np.ndarray:
    """[frames, z_dim]: cos t · z + sin t · z' with t = 0, step, 2·step, …; every frame is as normal as z is."""
    start = random.standard_normal(z_dim) if start is None else start
    end = random.standard_normal(z_dim)
    t = step * np.arange(frames)[:, None]
    return np.cos(t) * start + np.sin(t) * end


def _label(c: Tensor | None, index: int) -> Tensor | None:
    return None if c is None else c[index : index + 1]


def _render(
    generator: Generator, z: np.ndarray, label: Tensor | None, batch_size: int, dtype: torch.dtype, report: Counter
) -> Tensor:
    """Images [N, C, H, W] of latents [N, z_dim] with one label [1, c_dim], clamped to [−1, 1]."""
    device = sample.device_of(generator)
    parts = []
    for some in torch.from_numpy(z).to(torch.float32).split(batch_size):
        labels = None if label is None else label.expand(len(some), -1).to(device)
        ws = generator.mapping(some.to(device), labels)
        parts.append(generator.synthesis(ws, noise_mode="const", dtype=dtype).clamp(-1, 1))
        report.add(len(some))
    return torch.cat(parts)


class Counter:
    """Counts images up to `total` and passes the number on."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def add(self, count: int) -> None:
        self.done += count
        if self.progress is not None:
            self.progress(self.done, self.total)


# ---------------------------------------------------------------------------------------------------------------------
# Correlations


class _Correlations:
    """Mean inner products of images of one neighbourhood and of different ones, for each angle, as they stream in."""

    def __init__(self) -> None:
        self.neighbourhoods = 0
        self.energy: list[float] = []  # Σ |x|²
        self.sums: list[Tensor] = []  # Σ x
        self.energy_of_sums: list[float] = []  # Σ |s|², s = Σ x over a neighbourhood

    def add(self, images: Tensor) -> None:
        """Takes one neighbourhood: [A, K, C, H, W]."""
        if not self.neighbourhoods:
            self.energy, self.energy_of_sums = [0.0] * len(images), [0.0] * len(images)
            self.sums = list(torch.zeros_like(images[:, 0]).unbind())
        self.neighbourhoods += 1
        self.size = images.shape[1]
        for index, some in enumerate(images):
            total = some.sum(dim=0)
            self.energy[index] += float(some.square().sum())
            self.energy_of_sums[index] += float(total.square().sum())
            self.sums[index] = self.sums[index] + total

    def _products(self) -> list[tuple[float, float, float]]:
        """For each angle, mean ⟨x, x'⟩ of an image with itself, with a neighbour, and with a stranger."""
        n, k = self.neighbourhoods, self.size
        rows = []
        for energy, energy_of_sums, total in zip(self.energy, self.energy_of_sums, self.sums, strict=True):
            neighbours = (energy_of_sums - energy) / (n * k * (k - 1))
            strangers = (float(total.square().sum()) - energy_of_sums) / (n * (n - 1) * k * k)
            rows.append((energy / (n * k), neighbours, strangers))
        return rows

    def between_images(self) -> list[float]:
        """Correlation of neighbours, for each angle."""
        return [_ratio(neighbours, own) for own, neighbours, _ in self._products()]

    def between_deviations(self) -> list[float]:
        """The same, of what is left of images without what all images share; 1 where all images are equal."""
        return [
            _ratio(neighbours - strangers, own - strangers) if own - strangers > 1e-6 * own else 1.0
            for own, neighbours, strangers in self._products()
        ]


def _at_equal_content(coarse: list[float], fine: list[float]) -> tuple[float, float]:
    """(φ, fine correlation) where the coarse correlation first falls to `COARSE_CORRELATION`.

    Between the angles both go along straight lines; if the coarse one never falls so far, the largest angle counts.
    """
    before = (0.0, 1.0, 1.0)
    for here in zip(ANGLES, coarse, fine, strict=True):
        if here[1] <= COARSE_CORRELATION:
            t = (before[1] - COARSE_CORRELATION) / (before[1] - here[1])
            return before[0] + t * (here[0] - before[0]), before[2] + t * (here[2] - before[2])
        before = here
    return before[0], before[2]


def _ratio(part: float, whole: float) -> float:
    """part/whole, within [0, 1]; 0 if there is nothing."""
    return min(max(part / whole, 0.0), 1.0) if whole > 0 else 0.0
