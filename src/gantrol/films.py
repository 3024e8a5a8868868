"""Films: loops that walk through the latents, move and turn the picture, sweep a value, or mix styles.

A `Film` knows its length and makes its frames when they are asked for, a batch at a time; what it shows does not depend
on the batch beyond rounding. The frames go to `gantrol.video.write_video` as they come. Every loop closes: the frame
after the last one would be the first.

Dimensions: T frames · S = rows·columns cells of the grid · K keyframes · L copies of w · D features · C channels · H W
pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantrol.controls import Value
from gantrol.errors import ConfigError, nearest
from gantrol.mixing import check_layers, mixed
from gantrol.model import Model
from gantrol.pictures import to_arrays
from gantrol.sample import Look, check_movable, is_movable, posed, render, takes_poses

POSE = ("translate_x", "translate_y", "rotate")
"""What moves the picture: image widths to the right and down, and degrees counter-clockwise."""
TRUNCATION = "truncation"


class Film:
    """Frames of a loop: `len(film)` of them, uint8 [rows·H, columns·W, C], made while they are iterated over.

    Args:
        model: renders the frames.
        noise_seeds: int [rows, columns]: the cells, each with the seed from which the noise of its frames follows.
        count: T.
        ws_of: frame numbers [n] ↦ ws [n·S, L, D], cell by cell in reading order.
        look: noise mode and batch size; the rest is in the ws already.
        poses: [T, 3] (x, y, degrees) of each frame, or None where nothing moves.

    Raises:
        ConfigError: there is no frame, or something moves that cannot.
    """

    def __init__(
        self,
        model: Model,
        noise_seeds: np.ndarray,
        count: int,
        ws_of: Callable[[np.ndarray], Tensor],
        look: Look,
        poses: np.ndarray | None = None,
    ) -> None:
        if count < 1:
            raise ConfigError(f"{count} frames: expected at least 1")
        if poses is not None:
            check_movable(model.generator)
        self._model = model
        self._noise_seeds = noise_seeds
        self._count = count
        self._ws_of = ws_of
        self._look = look
        self._poses = poses

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[np.ndarray]:
        rows, columns = self._noise_seeds.shape
        frames_at_once = max(1, self._look.batch_size // (rows * columns))
        if self._poses is not None and not takes_poses(self._model.generator):
            frames_at_once = 1
        for start in range(0, self._count, frames_at_once):
            numbers = np.arange(start, min(start + frames_at_once, self._count))
            images = self._render(numbers)  # [n·S, H, W, C]
            height, width, channels = images.shape[1:]
            cells = images.reshape(len(numbers), rows, columns, height, width, channels)
            yield from cells.swapaxes(2, 3).reshape(len(numbers), rows * height, columns * width, channels)

    def _render(self, numbers: np.ndarray) -> np.ndarray:
        """The cells of some frames, one after the other: uint8 [n·S, H, W, C]."""
        generator, look = self._model.generator, self._look
        ws = self._ws_of(numbers)
        seeds = [_noise_seed(int(seed), int(number)) for number in numbers for seed in self._noise_seeds.flat]
        poses = np.zeros((len(numbers), 3)) if self._poses is None else self._poses[numbers]
        poses = poses.repeat(self._noise_seeds.size, axis=0)  # [n·S, 3]
        parts = []
        for start in range(0, len(ws), look.batch_size):  # a single frame may be more than a batch
            part = slice(start, start + look.batch_size)
            with posed(generator, poses[part]):
                images = render(
                    generator,
                    ws[part],
                    seeds[part],
                    noise_mode=look.noise_mode,
                    dtype=self._model.dtype,
                    replays=self._model.replays,
                )
            parts.append(to_arrays(images))
        return np.concatenate(parts)


def _noise_seed(seed: int, frame: int) -> int:
    return int(np.random.SeedSequence((seed, frame)).generate_state(1)[0])


# ----------------------------------------------------------------------------------------------------------------------
# Walks through W


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


def looping_spline(keyframes: np.ndarray, wraps: int = 2) -> Callable[[np.ndarray], np.ndarray]:
    """Cubic spline through keyframes that ends where it begins, smoothly.

    The keyframes are repeated `wraps` times on either side before the spline is laid through them, so that
    the seam of the loop is as smooth as any other place.

    Args:
        keyframes: [K, …].
        wraps: repetitions on each side.

    Returns:
        A function of times [n] from 0 to K that returns [n, …] of the same dtype; at time i it passes keyframe i.
    """
    from scipy.interpolate import CubicSpline

    count = len(keyframes)
    times = np.arange(-count * wraps, count * (wraps + 1))
    repeated = np.tile(keyframes, [2 * wraps + 1] + [1] * (keyframes.ndim - 1))
    spline = CubicSpline(times, repeated, axis=0)
    return lambda at: spline(at).astype(keyframes.dtype)


def interpolation(model: Model, seeds: np.ndarray, frames: int, *, look: Look | None = None) -> Film:
    """Walks through W from seed to seed, one walk per cell of a grid.

    Args:
        model: any.
        seeds: [rows, columns, K] from `keyframe_seeds`.
        frames: T of the whole loop; with T = n·K, each n-th frame is a seed.
        look: truncation, class, controls, noise, batch size.
    """
    look = look or Look()
    walk = _walk(model, seeds, frames, look)
    return Film(model, seeds[:, :, 0], frames, lambda numbers: walk(numbers).flatten(0, 1), look)


def style_mix(
    model: Model,
    seeds: np.ndarray,
    moving: Sequence[int],
    layers: Sequence[int],
    frames: int,
    *,
    look: Look | None = None,
) -> Film:
    """One second latent walks from seed to seed and gives `layers` to all cells; the other layers stand still.

    Args:
        model: with at least two layers.
        seeds: [rows, columns]: what stands still in each cell.
        moving: K seeds of the walk.
        layers: those that follow it.
        frames: T of the whole loop.
        look: truncation (before mixing), class, controls, noise, batch size.

    Raises:
        ConfigError: seeds, layers or look do not fit the model.
    """
    look = look or Look()
    layers = check_layers(layers, model.generator.num_ws)
    if not moving:
        raise ConfigError("style mixing needs a second latent: give at least one seed more than the grid has cells")
    still = model.map(_flat(seeds), **look.of_map).cpu()  # [S, L, D]
    walk = _walk(model, np.asarray(moving).reshape(1, 1, -1), frames, look)
    return Film(model, seeds, frames, lambda numbers: mixed(still, walk(numbers), layers).flatten(0, 1), look)


def _walk(model: Model, seeds: np.ndarray, frames: int, look: Look) -> Callable[[np.ndarray], Tensor]:
    """Frame numbers [n] ↦ ws [n, S, L, D] on a loop through seeds [rows, columns, K]."""
    rows, columns, count = seeds.shape
    ws = model.map(_flat(seeds), **look.of_map)  # [S·K, L, D]
    keyframes = ws.float().cpu().numpy().reshape(rows * columns, count, *ws.shape[1:]).swapaxes(0, 1)
    spline = looping_spline(keyframes)
    return lambda numbers: torch.from_numpy(spline(numbers * count / frames))


def _flat(seeds: np.ndarray) -> list[int]:
    return [int(seed) for seed in seeds.flat]


# ----------------------------------------------------------------------------------------------------------------------
# Sweeps of values


def circle(frames: int, reach: float) -> dict[str, np.ndarray]:
    """Translations [T] once round the middle, `reach` image widths away from it; begins at the right, goes down."""
    angles = 2 * math.pi * np.arange(frames) / frames
    return {"translate_x": reach * np.cos(angles), "translate_y": reach * np.sin(angles)}


def full_turn(frames: int, turns: int = 1, start: float = 0.0) -> np.ndarray:
    """Degrees [T] of whole turns, at constant speed."""
    return start + 360.0 * turns * np.arange(frames) / frames


def there_and_back(frames: int, low: Value, high: Value) -> np.ndarray:
    """Values [T] or [T, components] from `low` to `high` and back, slower at the ends: half a cosine each way."""
    share = (1 - np.cos(2 * math.pi * np.arange(frames) / frames)) / 2
    first, last = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    if first.ndim:
        share = share[:, None]
    return first + (last - first) * share


def sweepable(model: Model) -> list[str]:
    """What `sweep` can vary for this model: its controls, truncation and, if its input can be moved, the pose.

    A seed has no values between two others, so controls that take one are left out.
    """
    by_value = [name for name, control in model.controls.items() if control.kind == "value"]
    return [*by_value, TRUNCATION, *(POSE if is_movable(model.generator) else ())]


def loop_between(model: Model, name: str, low: Value, high: Value, frames: int) -> np.ndarray:
    """Values [T] or [T, components] of a loop between two values of something `sweepable`.

    It goes there and back; whole turns of `rotate` close by themselves and go on in one direction.

    Warns:
        ControlWarning: an end lies outside the range of the control; the nearest value is taken.

    Raises:
        ConfigError: the model has no such thing, or a value does not fit it.
    """
    check_sweepable(model, name)
    if name in model.controls:
        low, high = (model.controls[name].check(name, value) for value in (low, high))
    elif not (isinstance(low, float | int) and isinstance(high, float | int) and math.isfinite(low + high)):
        raise ConfigError(f"sweep of {name}: expected one finite number at each end, found {low!r} and {high!r}")
    elif name == "rotate" and high != low and (high - low) % 360 == 0:
        return full_turn(frames, round((high - low) / 360), low)
    return there_and_back(frames, low, high)


def check_sweepable(model: Model, name: str) -> None:
    """Raises `ConfigError`, with what there is instead, unless `name` can be swept."""
    known = sweepable(model)
    if name in known:
        return
    if name in POSE:
        check_movable(model.generator)
    if name in model.controls:
        raise ConfigError(f"sweep of {name!r}: it takes a seed, and between two seeds there is nothing; interpolate")
    if model.controls:
        raise ConfigError(f"sweep of {name!r}: this model does not have it; {nearest(name, known)}")
    raise ConfigError(f"sweep of {name!r}: this model has no controls; what it can sweep: {', '.join(known)}")


def sweep(model: Model, seeds: np.ndarray, values: Mapping[str, np.ndarray], *, look: Look | None = None) -> Film:
    """One seed per cell, seen while one or more values change; translation and rotation are such values too.

    Args:
        model: any that has what is swept.
        seeds: [rows, columns].
        values: name → values [T] or [T, components]: see `sweepable`. For loops, take them from `circle`, `full_turn`
            or `loop_between`.
        look: what stays the same; a swept value takes the place of the one given here.

    Raises:
        ConfigError: the model has no such thing, or the lengths differ.
    """
    look = look or Look()
    for name in values:
        check_sweepable(model, name)
    lengths = {len(series) for series in values.values()}
    if len(lengths) != 1:
        raise ConfigError("a sweep needs values, equally many of each kind")
    (frames,) = lengths
    if not all(np.isfinite(series).all() for series in values.values()):
        raise ConfigError(f"sweep of {', '.join(values)}: expected finite numbers")
    poses = None
    if any(name in POSE for name in values):
        poses = np.stack([np.asarray(values.get(name, np.zeros(frames)), dtype=np.float64) for name in POSE], axis=1)
    steered = {name: series for name, series in values.items() if name in model.controls}
    flat = _flat(seeds)

    def mapped(frame: int, psi: float) -> Tensor:
        """ws [S, L, D] at a frame."""
        controls = dict(look.controls)
        for name, series in steered.items():
            value: Any = series[frame]
            controls[name] = tuple(map(float, value)) if np.ndim(value) else float(value)
        return model.map(flat, **{**look.of_map, "controls": controls, "truncation_psi": psi})

    if steered:
        psis = values.get(TRUNCATION, np.full(frames, look.truncation_psi))
        return Film(
            model, seeds, frames, lambda numbers: torch.cat([mapped(n, float(psis[n])) for n in numbers]), look, poses
        )
    if TRUNCATION not in values:
        still = mapped(0, look.truncation_psi)
        return Film(model, seeds, frames, lambda numbers: still.repeat(len(numbers), 1, 1), look, poses)
    # Truncation is linear in ψ, so two maps are enough for all frames.
    average, whole = mapped(0, 0.0), mapped(0, 1.0)

    def truncated(numbers: np.ndarray) -> Tensor:
        return torch.cat([average.lerp(whole, float(values[TRUNCATION][n])) for n in numbers])

    return Film(model, seeds, frames, truncated, look, poses)
