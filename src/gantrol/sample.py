"""From seeds to images: latents, labels, batches, and transforms of the input.

Everything here works on a plain generator module (`gantrol.models.protocols.Generator`);
`gantrol.model.Model` wraps it for users. An image belongs to its seed alone: not to the batch it was rendered
in, nor to the global random state.

Dimensions: N batch · L copies of w · C channels · H W pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from gantrol.errors import ConfigError
from gantrol.models.fourier_input import FourierInput, make_transform
from gantrol.models.protocols import Generator, NoiseMode, check_noise_mode
from gantrol.replay import Replays

MAX_SEED = 2**32 - 1
_MAX_SEEDS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a film or a table of images is made: everything but the seeds and what moves.

    The fields are the arguments of `Model.generate`.
    """

    controls: Mapping[str, Any] = field(default_factory=dict)
    """Attribute values, of a model that has controls."""
    class_index: int | None = None
    """The class of a conditional model."""
    truncation_psi: float = 1.0
    """1 is the whole distribution, 0 its average."""
    truncation_cutoff: int | None = None
    """Truncate only the first so many layers."""
    noise_mode: NoiseMode = "const"
    """Per-pixel noise of StyleGAN2; with "random" it follows from the seeds, and differs from frame to frame."""
    batch_size: int = 16
    """Images at a time; has no influence on them beyond rounding."""

    def __post_init__(self) -> None:
        check_noise_mode(self.noise_mode)
        if self.batch_size < 1:
            raise ConfigError(f"batch size {self.batch_size}: expected at least 1")

    @property
    def of_map(self) -> dict[str, Any]:
        """The arguments that `Model.map` takes."""
        names = ("controls", "class_index", "truncation_psi", "truncation_cutoff")
        return {name: getattr(self, name) for name in names}


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


def check_cutoff(generator: Generator, truncation_cutoff: int | None) -> None:
    """Raises `ConfigError` unless the generator has so many layers to truncate; None is all of them."""
    if truncation_cutoff is not None and not 0 <= truncation_cutoff <= generator.num_ws:
        raise ConfigError(
            f"truncation cutoff {truncation_cutoff}: expected 0 to {generator.num_ws}, the layers of this model"
        )


def device_of(generator: Generator) -> torch.device:
    """Where the generator's weights are."""
    return next(cast(torch.nn.Module, generator).parameters()).device


# ----------------------------------------------------------------------------------------------------------------------
# Moving and turning


def is_movable(generator: Generator) -> bool:
    """Whether what the generator draws can be moved and turned, that is, whether its input can (see `transformed`)."""
    return hasattr(getattr(generator.synthesis, "input", None), "set_transform")


def takes_poses(generator: Generator) -> bool:
    """Whether each image of a batch can have a pose of its own; otherwise `posed` takes one for all."""
    return isinstance(getattr(generator.synthesis, "input", None), FourierInput)


def check_movable(generator: Generator) -> None:
    """Raises `ConfigError` unless `is_movable`."""
    if not is_movable(generator):
        raise ConfigError(
            f"a {generator.config.kind} model cannot be translated or rotated: that takes an alias-free generator "
            "(stylegan3)"
        )


@contextmanager
def transformed(
    generator: Generator, translate: Sequence[float] = (0.0, 0.0), rotate_deg: float = 0.0
) -> Iterator[None]:
    """Moves and turns what the generator draws while the context lasts; afterwards the generator is as
    before.

    Args:
        generator: one whose input can be transformed (StyleGAN3, and its ladder from step B on).
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
    check_movable(generator)
    fourier_input: Any = cast(Any, generator.synthesis).input
    before = fourier_input.transform.clone()
    try:
        fourier_input.set_transform(make_transform(translate, rotate_deg))
        yield
    finally:
        with torch.no_grad():
            fourier_input.transform.copy_(before)


@contextmanager
def posed(generator: Generator, poses: np.ndarray) -> Iterator[None]:
    """Like `transformed`, with a pose for each image of the next batch.

    Args:
        generator: one whose input can be transformed; several poses need one that `takes_poses`.
        poses: [N, 3] (x, y, degrees) as `transformed` takes them.
    """
    if (poses == poses[0]).all():
        x, y, degrees = map(float, poses[0])
        with transformed(generator, (x, y), degrees):
            yield
        return
    fourier_input: Any = cast(Any, generator.synthesis).input
    before: Tensor = fourier_input.transform
    matrices = torch.stack([make_transform((float(x), float(y)), float(degrees)) for x, y, degrees in poses])
    try:  # the input multiplies by its transform, which broadcasts over images
        fourier_input.transform = torch.linalg.inv(matrices.double()).to(before)
        yield
    finally:
        fourier_input.transform = before


# ----------------------------------------------------------------------------------------------------------------------
# Rendering


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
    check_cutoff(generator, truncation_cutoff)
    device = device_of(generator)
    z = latents(seeds, generator.z_dim)
    for start in range(0, len(z), batch_size):
        batch = slice(start, start + batch_size)
        with torch.no_grad():
            labels = None if c is None else c[batch].to(device)
            ws = generator.mapping(
                z[batch].to(device), labels, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff
            )
        yield render(generator, ws, seeds[batch], noise_mode=noise_mode, dtype=dtype)


def render(
    generator: Generator,
    ws: Tensor,
    noise_seeds: Sequence[int],
    *,
    noise_mode: NoiseMode = "const",
    dtype: torch.dtype = torch.float32,
    replays: Replays | None = None,
) -> Tensor:
    """Renders one batch of ws, without gradients.

    Args:
        generator: in evaluation mode.
        ws: [N, L, w_dim].
        noise_seeds: N seeds of the per-pixel noise, for the mode "random"; such images are made singly.
        noise_mode: see `gantrol.models.protocols.NoiseMode`.
        dtype: type of the widest layers.
        replays: runs the synthesis network, by recordings where it can; None runs it as it is.

    Returns:
        float32 [N, C, H, W], clamped to [−1, 1], on the generator's device.
    """
    ws = ws.to(device_of(generator))
    with torch.no_grad():
        if noise_mode == "random" and _has_noise(generator):
            singly = zip(noise_seeds, ws.split(1), strict=True)
            images = torch.cat([_with_noise_of(seed, generator, w, dtype) for seed, w in singly])
        elif replays is not None:
            images = replays(cast(torch.nn.Module, generator.synthesis), ws, noise_mode=noise_mode, dtype=dtype)
        else:
            images = generator.synthesis(ws, noise_mode=noise_mode, dtype=dtype)
        return images.clamp(-1, 1)


def _has_noise(generator: Generator) -> bool:
    return any("noise" in name for name in cast(torch.nn.Module, generator).state_dict())


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
