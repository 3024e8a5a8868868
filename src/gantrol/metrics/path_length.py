"""Perceptual path length (PPL): how much an image changes as its latent moves a little.

    PPL = mean of  ‖e(g(w_t)) − e(g(w_{t+ε}))‖² / ε²,    w_t = w₀ + t·(w₁ − w₀),    ε = 10⁻⁴

w₀ and w₁ belong to random latents; t is 0 ("end": where a path starts, w is one that the mapping network makes) or
uniform in [0, 1) ("full"). In z the path is an arc between z₀ and z₁. e maps images to vectors whose squared distance
tells how different they look (see `gantrol.metrics.perceptual`); with the LPIPS vectors of VGG, this is the official
number, with others it is comparable to itself only. Low values mean a smooth latent space. They also mean few changes:
a generator that always makes the same image has a PPL of 0.

Single steps across the edge of something that appears all at once would decide the mean alone. So do steps
where nothing happens: values beyond the 1st and 99th percentile are left out.

Dimensions: N samples · D width of z or w · L copies of w · C channels · H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from gantrol import sample
from gantrol.errors import ConfigError, nearest
from gantrol.metrics.constant_noise import noise_buffers, redrawn_noise
from gantrol.metrics.perceptual import ImageEmbedding
from gantrol.models.latent_generator import LatentMapping
from gantrol.models.protocols import Generator

Space = Literal["w", "z"]
"""Where a path runs."""
Sampling = Literal["end", "full"]
"""Which of its places are looked at: its start, or all alike."""
EPSILON = 1e-4
"""ε."""
GROUP = 2
"""Samples that share their constant noise."""
PERCENTILES = (1, 99)
"""Values beyond these are left out."""
_LARGEST_PX = 256  # larger images are averaged down to about this


def path_length(
    generator: Generator,
    embedding: ImageEmbedding,
    *,
    samples: int,
    seed: int,
    c: Tensor | None = None,
    batch_size: int,
    space: Space = "w",
    sampling: Sampling = "end",
    epsilon: float = EPSILON,
    crop: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """The PPL of a generator: `central_mean` of the `path_distances` of samples 0 … N − 1.

    Args:
        generator: in evaluation mode; its constant noise is left as it was.
        embedding: e; takes images about [−1, 1].
        samples: N; officially 50,000.
        seed: chooses latents, t and noise.
        c: labels [N, c_dim] of a conditional generator; both ends of a path have the same.
        batch_size: images at a time, two for each sample; generators with noise make four.
        space: where paths run; "w" needs a mapping network.
        sampling: at their start, or anywhere.
        epsilon: ε. Images are float32: with a smaller one, their rounding is all that is seen.
        crop: only look at the middle of faces that are aligned like FFHQ (as the first StyleGAN did): from 3/8 to 7/8
            of the height, 1/4 to 3/4 of the width.
        progress: called with (done, total) samples.

    Returns:
        A float; its unit is that of the squared distance.

    Raises:
        ConfigError: a space that the generator does not have, or impossible numbers.

    Source: Karras et al. 2019, "A Style-Based Generator Architecture for GANs", section 4.1 and equations 2 and 3;
    Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", which chose W, "end" and no crop.
    """
    check_path_length(generator, samples=samples, batch_size=batch_size, space=space, sampling=sampling)
    distances = path_distances(
        generator,
        embedding,
        range(samples),
        seed=seed,
        c=c,
        batch_size=batch_size,
        space=space,
        sampling=sampling,
        epsilon=epsilon,
        crop=crop,
        progress=progress,
    )
    return central_mean(distances)


def check_path_length(
    generator: Generator, *, samples: int = 2, batch_size: int = 1, space: str = "w", sampling: str = "end"
) -> None:
    """Raises `ConfigError` unless the path length of this generator can be measured in this way."""
    if space not in get_args(Space):
        raise ConfigError(f"ppl: unknown space {space!r}; {nearest(space, get_args(Space))}")
    if sampling not in get_args(Sampling):
        raise ConfigError(f"ppl: unknown sampling {sampling!r}; {nearest(sampling, get_args(Sampling))}")
    if samples < 2 or batch_size < 1:
        raise ConfigError(f"ppl: samples={samples}, batch_size={batch_size}: expected at least 2 and 1")
    if space == "w" and isinstance(generator.mapping, LatentMapping):
        raise ConfigError(
            f"ppl: a {generator.config.kind} model has no w for its paths to run in: leave ppl out; in Python, "
            "gantrol.metrics.path_length.path_length(…, space='z') measures them in z"
        )
    if generator.channels not in (1, 3):
        raise ConfigError(f"ppl: images of {generator.channels} channels cannot be compared: expected grey or RGB")


@torch.no_grad()
def path_distances(
    generator: Generator,
    embedding: ImageEmbedding,
    rows: range,
    *,
    seed: int,
    c: Tensor | None = None,
    batch_size: int,
    space: Space = "w",
    sampling: Sampling = "end",
    epsilon: float = EPSILON,
    crop: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """‖e(g(w_t)) − e(g(w_{t+ε}))‖²/ε² of some samples, for a part of the work of `path_length`.

    A sample depends on its number and the seed, not on which others are made with it; only the rounding of images
    does, which ε² enlarges.

    Args:
        rows: numbers of the samples: start a multiple of `GROUP`, step 1.
        c: labels of all samples from 0 on, [≥ rows.stop, c_dim].
        Others: as in `path_length`.

    Returns:
        float64 [len(rows)], on the CPU.
    """
    if epsilon <= 0 or rows.start % GROUP or rows.step != 1:
        raise ConfigError(f"ppl: epsilon={epsilon}, rows={rows}: expected ε > 0 and rows from a multiple of {GROUP} on")
    image_seeds, _, place_seed, noise_seed = np.random.SeedSequence(seed).spawn(4)  # the second one draws labels
    seeds = [int(value) for value in image_seeds.generate_state(2 * rows.stop)]  # z₀, z₁, z₀, z₁, …
    places = torch.from_numpy(np.random.default_rng(place_seed).random(rows.stop))  # t
    if sampling == "end":
        places.zero_()
    # Noise is the same for all images of a pass: then a pass is one group.
    at_once = GROUP if noise_buffers(generator) else max(1, batch_size // 2)
    distances = []
    with redrawn_noise(generator, noise_seed) as redraw_noise:
        for start in range(rows.start, rows.stop, at_once):
            stop = min(start + at_once, rows.stop)
            redraw_noise(start // GROUP)
            ends = sample.latents(seeds[2 * start : 2 * stop], generator.z_dim)
            labels = None if c is None else c[start:stop]
            ws = _steps(generator, ends[::2], ends[1::2], places[start:stop], labels, space, epsilon)
            images = generator.synthesis(ws, noise_mode="const")  # [2·n, C, H, W]
            here, there = embedding(_as_compared(images, crop=crop)).chunk(2)
            distances.append((here - there).cpu().double().square().sum(dim=1) / epsilon**2)
            if progress is not None:
                progress(stop - rows.start, len(rows))
    return torch.cat(distances) if distances else torch.zeros(0, dtype=torch.float64)


def central_mean(distances: Tensor) -> float:
    """The mean of the values [N] that lie between the percentiles, these included: the lower one is the next value
    below, the higher one the next above."""
    values = distances.to("cpu", torch.float64).numpy()
    low = np.percentile(values, PERCENTILES[0], method="lower")
    high = np.percentile(values, PERCENTILES[1], method="higher")
    return float(values[(values >= low) & (values <= high)].mean())


def _steps(
    generator: Generator, first: Tensor, second: Tensor, places: Tensor, c: Tensor | None, space: Space, epsilon: float
) -> Tensor:
    """ws [2·n, L, D] at t and then at t + ε of the paths between z₀ and z₁ [n, z_dim]; t is [n]."""
    device = sample.device_of(generator)
    count = len(first)
    c = None if c is None else torch.cat([c, c]).to(device)
    t = torch.cat([places, places + epsilon])  # [2·n]
    if space == "z":
        z = arc(first.double().repeat(2, 1), second.double().repeat(2, 1), t[:, None])
        return generator.mapping(z.float().to(device), c)
    ws = generator.mapping(torch.cat([first, second]).to(device), c)
    start, end = (part.cpu().double().repeat(2, 1, 1) for part in ws.split(count))
    return torch.lerp(start, end, t[:, None, None]).to(ws)


def arc(first: Tensor, second: Tensor, t: Tensor) -> Tensor:
    """Between z₀ and z₁ [n, D] at t [n, 1]: directions turn at a steady rate, lengths change at one.

    Where a mapping network scales z to unit length first, as StyleGAN's does, this is the official slerp.
    """
    a, b = (torch.nn.functional.normalize(z, dim=1) for z in (first, second))
    cosine = (a * b).sum(dim=1, keepdim=True)
    angle = t * cosine.clamp(-1, 1).acos()
    across = torch.nn.functional.normalize(b - cosine * a, dim=1)  # a and this one span the plane of both
    length = torch.lerp(first.norm(dim=1, keepdim=True), second.norm(dim=1, keepdim=True), t)
    return length * (a * angle.cos() + across * angle.sin())


def _as_compared(images: Tensor, *, crop: bool) -> Tensor:
    """Images [N, C, H, W] cut to the face if asked to, and averaged over boxes of pixels down to 256 px."""
    if crop:
        eighth = images.shape[2] // 8
        images = images[:, :, 3 * eighth : 7 * eighth, 2 * eighth : 6 * eighth]
    factor = images.shape[2] // _LARGEST_PX
    return torch.nn.functional.avg_pool2d(images, factor) if factor > 1 else images
