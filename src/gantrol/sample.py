"""From seeds to images: latents, batches, transforms of the input, and smooth walks through W.

Everything here works on a plain generator module (`gantrol.models.protocols.Generator`);
`gantrol.model.Model` wraps it for users. An image belongs to its seed alone: not to the batch it was rendered
in, nor to the global random state.

Dimensions: N batch · L copies of w · C channels · H W pixels · K keyframes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from gantrol.errors import ConfigError
from gantrol.models.protocols import Generator, NoiseMode, check_noise_mode
from gantrol.pictures import to_arrays

MAX_SEED = 2**32 - 1
_MAX_SEEDS = 10_000_000


def parse_seeds(text: str) -> list[int]:
    """The seeds that `0,1,4-6` stands for: [0, 1, 4, 5, 6].

    Raises:
        ConfigError: the text is no list of numbers and ranges, or a seed is beyond 2³² − 1.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None:
            raise ConfigError(f"seeds {text!r}: expected numbers and ranges, for example 0,1,4-6")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last > MAX_SEED or len(seeds) + last - first >= _MAX_SEEDS:
            raise ConfigError(
                f"seeds {text!r}: {part.strip()!r} must go up, stay below 2^32 and make at most {_MAX_SEEDS:,} seeds"
            )
        seeds.extend(range(first, last + 1))
    return seeds


def latents(seeds: Sequence[int], z_dim: int) -> Tensor:
    """z for each seed: `numpy.random.RandomState(seed).randn(1, z_dim)`, the rule that users of StyleGAN
    know.

    Returns:
        float32 [N, z_dim].

    Raises:
        ConfigError: a seed is not in 0 … 2³² − 1.
    """
    for seed in seeds:
        if not 0 <= seed <= MAX_SEED:
            raise ConfigError(f"seed {seed}: expected a whole number from 0 to {MAX_SEED}")
    rows = [np.random.RandomState(seed).randn(z_dim) for seed in seeds]
    return torch.from_numpy(np.stack(rows) if rows else np.zeros((0, z_dim))).to(torch.float32)


def class_labels(generator: Generator, class_index: int | Sequence[int] | None, count: int) -> Tensor | None:
    """One-hot labels [count, c_dim] for one class, or one class per image; None for a generator without
    classes.

    Raises:
        ConfigError: a conditional generator got no class, an unconditional one got one, or the class is out
            of range.
    """
    if generator.c_dim == 0:
        if class_index is not None:
            raise ConfigError(f"class {class_index}: this model has no classes; leave the class out")
        return None
    if class_index is None:
        raise ConfigError(f"this model is conditional: choose a class from 0 to {generator.c_dim - 1}")
    classes = [class_index] * count if isinstance(class_index, int) else list(class_index)
    if len(classes) != count:
        raise ConfigError(f"{len(classes)} classes for {count} images: give one class, or one per image")
    for index in classes:
        if not 0 <= index < generator.c_dim:
            raise ConfigError(f"class {index}: this model has the classes 0 to {generator.c_dim - 1}")
    return torch.nn.functional.one_hot(torch.tensor(classes, dtype=torch.int64), generator.c_dim).float()


def device_of(generator: Generator) -> torch.device:
    """Where the generator's weights are."""
    return next(cast(torch.nn.Module, generator).parameters()).device


@contextmanager
def transformed(
    generator: Generator, translate: Sequence[float] = (0.0, 0.0), rotate_deg: float = 0.0
) -> Iterator[None]:
    """Moves and turns what the generator draws while the context lasts; afterwards the generator is as
    before.

    Args:
        generator: one whose input can be transformed (StyleGAN3).
        translate: (x, y) in image widths, right and down.
        rotate_deg: degrees, counter-clockwise as seen, about the centre.

    Raises:
        ConfigError: the generator's input cannot be transformed, or a number is not finite.
    """
    if not all(map(math.isfinite, (*translate, rotate_deg))) or len(translate) != 2:
        raise ConfigError(f"translate={tuple(translate)}, rotate={rotate_deg}: expected X,Y and degrees, finite")
    if not any((*translate, rotate_deg)):
        yield
        return
    fourier_input: Any = getattr(generator.synthesis, "input", None)
    if not hasattr(fourier_input, "set_transform"):
        raise ConfigError(
            f"a {generator.config.kind} model cannot be translated or rotated: that takes an alias-free generator "
            "(stylegan3)"
        )
    from gantrol.models.stylegan3 import make_transform

    before = fourier_input.transform.clone()
    try:
        fourier_input.set_transform(make_transform(translate, rotate_deg))
        yield
    finally:
        with torch.no_grad():
            fourier_input.transform.copy_(before)


def image_batches(
    generator: Generator,
    seeds: Sequence[int],
    *,
    c: Tensor | None = None,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    noise_mode: NoiseMode = "const",
    batch_size: int = 16,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Tensor]:
    """Renders one image per seed, batch by batch, without gradients.

    Args:
        generator: in evaluation mode.
        seeds: N whole numbers from 0 to 2³² − 1.
        c: labels [N, c_dim] of a conditional generator.
        truncation_psi: 1 is the whole distribution, 0 its average; the first `truncation_cutoff` layers, or
            all.
        truncation_cutoff: see above.
        noise_mode: with "random", the noise of an image is drawn from its own seed (and images are made
            singly).
        batch_size: images at a time; has no influence on them beyond rounding.
        dtype: type of the widest layers.

    Yields:
        float32 [n, C, H, W], clamped to [−1, 1], on the generator's device.
    """
    check_noise_mode(noise_mode)
    if batch_size < 1:
        raise ConfigError(f"batch size {batch_size}: expected at least 1")
    device = device_of(generator)
    modules = cast(torch.nn.Module, generator)
    has_noise = any(name.endswith("noise_const") for name, _ in modules.named_buffers())
    z = latents(seeds, generator.z_dim)
    for start in range(0, len(z), batch_size):
        batch = slice(start, start + batch_size)
        with torch.no_grad():
            labels = None if c is None else c[batch].to(device)
            ws = generator.mapping(
                z[batch].to(device), labels, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff
            )
            if noise_mode == "random" and has_noise:
                images = torch.cat(
                    [
                        _with_noise_of(seed, generator, w, dtype)
                        for seed, w in zip(seeds[batch], ws.split(1), strict=True)
                    ]
                )
            else:
                images = generator.synthesis(ws, noise_mode=noise_mode, dtype=dtype)
        yield images.clamp(-1, 1)


def _with_noise_of(seed: int, generator: Generator, w: Tensor, dtype: torch.dtype) -> Tensor:
    """One image whose per-pixel noise follows from `seed`; the global random state is left as it was."""
    kind = w.device.type
    scope = (
        torch.random.fork_rng(devices=[])
        if kind == "cpu"
        else torch.random.fork_rng(devices=[w.device.index or 0], device_type=kind)
    )
    with scope:
        torch.manual_seed(seed)
        return generator.synthesis(w, noise_mode="random", dtype=dtype)


# --------------------------------------------------------------------------------------------------------------
# Interpolation


def keyframe_seeds(seeds: Sequence[int], grid: tuple[int, int], keyframes: int | None = None) -> np.ndarray:
    """Which seed each cell of a grid shows at each keyframe: int64 [rows, columns, K].

    Args:
        seeds: in reading order, cell by cell; repeated cyclically if there are too few.
        grid: (columns, rows).
        keyframes: K; by default the seeds are divided evenly among the cells.

    Raises:
        ConfigError: there are no seeds, or they do not divide evenly and `keyframes` is not given.
    """
    columns, rows = grid
    if columns < 1 or rows < 1 or not seeds:
        raise ConfigError(f"a grid of {columns}x{rows} with {len(seeds)} seeds shows nothing")
    if keyframes is None:
        if len(seeds) % (columns * rows):
            raise ConfigError(f"{len(seeds)} seeds do not divide among {columns}x{rows} cells; give --keyframes")
        keyframes = len(seeds) // (columns * rows)
    if keyframes < 1:
        raise ConfigError(f"keyframes={keyframes}: expected at least 1")
    return np.resize(np.asarray(seeds, dtype=np.int64), (rows, columns, keyframes))


def looping_spline(keyframes: np.ndarray, frames_per_keyframe: int, wraps: int = 2) -> np.ndarray:
    """Cubic spline through keyframes that ends where it begins, smoothly.

    The keyframes are repeated `wraps` times on either side before the spline is laid through them, so that
    the seam of the loop is as smooth as any other place.

    Args:
        keyframes: [K, …].
        frames_per_keyframe: frames from one keyframe to the next.
        wraps: repetitions on each side.

    Returns:
        [K·frames_per_keyframe, …] of the same dtype; frame i·frames_per_keyframe is keyframe i.
    """
    from scipy.interpolate import CubicSpline

    count = len(keyframes)
    times = np.arange(-count * wraps, count * (wraps + 1))
    repeated = np.tile(keyframes, [2 * wraps + 1] + [1] * (keyframes.ndim - 1))
    spline = CubicSpline(times, repeated, axis=0)
    return spline(np.arange(count * frames_per_keyframe) / frames_per_keyframe).astype(keyframes.dtype)


def interpolation(
    generator: Generator,
    seeds: np.ndarray,
    *,
    frames_per_keyframe: int = 120,
    class_index: int | None = None,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    batch_size: int = 16,
    dtype: torch.dtype = torch.float32,
) -> Iterator[np.ndarray]:
    """Frames of a loop that walks through W from seed to seed, one walk per cell of a grid, with constant
    noise.

    Args:
        generator: in evaluation mode.
        seeds: [rows, columns, K] from `keyframe_seeds`.
        frames_per_keyframe: frames from one seed to the next.
        class_index: the class of a conditional generator.
        truncation_psi: as for `image_batches`.
        truncation_cutoff: as for `image_batches`.
        batch_size: images at a time.
        dtype: type of the widest layers.

    Yields:
        K·frames_per_keyframe frames, uint8 [rows·H, columns·W, C].
    """
    if frames_per_keyframe < 1 or batch_size < 1:
        raise ConfigError(f"frames per keyframe {frames_per_keyframe}, batch size {batch_size}: expected at least 1")
    rows, columns, count = seeds.shape
    cells = rows * columns
    device = device_of(generator)
    flat = [int(seed) for seed in seeds.reshape(-1)]
    c = class_labels(generator, class_index, len(flat))
    with torch.no_grad():
        ws = generator.mapping(
            latents(flat, generator.z_dim).to(device),
            None if c is None else c.to(device),
            truncation_psi=truncation_psi,
            truncation_cutoff=truncation_cutoff,
        )  # [cells·K, L, w_dim]
    keyframes = ws.float().cpu().numpy().reshape(cells, count, *ws.shape[1:]).swapaxes(0, 1)
    walk = torch.from_numpy(looping_spline(keyframes, frames_per_keyframe))  # [frames, cells, L, w_dim]
    frames_per_batch = max(1, batch_size // cells)
    for some in walk.split(frames_per_batch):
        with torch.no_grad():
            parts = [
                to_arrays(generator.synthesis(part.to(device), noise_mode="const", dtype=dtype))
                for part in some.flatten(0, 1).split(batch_size)
            ]
        images = np.concatenate(parts)  # [frames·cells, H, W, C]
        height, width, channels = images.shape[1:]
        tiled = images.reshape(len(some), rows, columns, height, width, channels).swapaxes(2, 3)
        yield from tiled.reshape(len(some), rows * height, columns * width, channels)
