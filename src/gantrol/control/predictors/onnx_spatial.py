"""The operators of ONNX with a spatial extent (convolution, pooling, padding, resizing), as torch functions.

ONNX pads each side of each axis by a number of its own, or asks for an output size (`auto_pad`); torch pads both sides
alike. What torch cannot do by itself is padded beforehand.

N images · C channels · d spatial axes · k size of a kernel, s stride, r dilation along an axis.

Source: the ONNX operator specification, https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gantrol.control.predictors.onnx_operators import Attributes, Operator, integers, register
from gantrol.errors import ConfigError

OPERATORS: dict[str, Operator] = {}
"""Function of each operator, by the operator's name."""

Sides = list[tuple[int, int]]
"""For each spatial axis, how much is added before and after."""

_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX_POOLS: dict[int, Callable[..., Any]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE_POOLS: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _sides(a: Attributes, sizes: Sequence[int], kernel: Sequence[int]) -> Sides:
    """What is added to each axis, stated by `pads` or asked for by `auto_pad`.

    Args:
        a: attributes of a convolution or pooling.
        sizes: of the spatial axes.
        kernel: k.
    """
    auto = a.get("auto_pad", "NOTSET")
    if auto in ("", "NOTSET"):
        pads = a.ints("pads") or [0] * 2 * len(sizes)
        return list(zip(pads[: len(sizes)], pads[len(sizes) :], strict=True))
    if auto == "VALID":
        return [(0, 0)] * len(sizes)
    a.refuse("auto_pad", "SAME_UPPER", "SAME_LOWER")
    found = []
    strides, dilations = (a.ints(name) or [1] * len(sizes) for name in ("strides", "dilations"))
    for size, k, s, r in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((math.ceil(size / s) - 1) * s + (k - 1) * r + 1 - size, 0)
        less, more = total // 2, total - total // 2
        found.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return found


def _padded(x: Tensor, sides: Sides, value: float = 0.0) -> Tensor:
    """x [N, C, …] with a constant around it; negative sides cut."""
    if not any(any(side) for side in sides):
        return x
    return F.pad(x, [amount for side in reversed(sides) for amount in side], value=value)


def _symmetric(sides: Sides) -> bool:
    return all(before == after >= 0 for before, after in sides)


@register(OPERATORS, "Conv")
def convolution(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[N, C, …] with weight [C′, C / group, k, …]."""
    axes = x.ndim - 2
    sides = _sides(a, x.shape[2:], weight.shape[2:])
    strides, dilations = (a.ints(name) or [1] * axes for name in ("strides", "dilations"))
    padding = [before for before, _ in sides]
    if not _symmetric(sides):
        x, padding = _padded(x, sides), [0] * axes
    return _CONVOLUTIONS[axes](x, weight, bias, strides, padding, dilations, a.get("group", 1))


@register(OPERATORS, "ConvTranspose")
def transposed_convolution(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[N, C, …] with weight [C, C′ / group, k, …]: the whole result is computed, then its sides are cut."""
    axes, sizes, kernel = x.ndim - 2, x.shape[2:], weight.shape[2:]
    strides, dilations = (a.ints(name) or [1] * axes for name in ("strides", "dilations"))
    extra = a.ints("output_padding") or [0] * axes
    auto, wanted = a.get("auto_pad", "NOTSET"), a.ints("output_shape")
    if wanted is None and auto.startswith("SAME"):
        wanted = [size * s for size, s in zip(sizes, strides, strict=True)]
    if wanted is None:
        pads = a.ints("pads") or [0] * 2 * axes
        sides = list(zip(pads[:axes], pads[axes:], strict=True))
    else:
        sides = []
        for size, s, k, r, more, out in zip(sizes, strides, kernel, dilations, extra, wanted[-axes:], strict=True):
            total = max((size - 1) * s + (k - 1) * r + 1 + more - out, 0)
            half = total // 2 if auto == "SAME_UPPER" else total - total // 2
            sides.append((half, total - half))
            # What is wanted beyond the full result is zeros, as torch adds them.
    y = _TRANSPOSED[axes](x, weight, None, strides, 0, 0, a.get("group", 1), dilations)
    # `output_padding` adds zeros behind the full result, before the sides are cut.
    y = _padded(y, [(-before, more - after) for (before, after), more in zip(sides, extra, strict=True)])
    if wanted is not None:
        y = _padded(y, [(0, out - size) for out, size in zip(wanted[-axes:], y.shape[2:], strict=True)])
    return y if bias is None else y + bias.reshape(-1, *[1] * axes)


def _pool_sides(a: Attributes, sizes: Sequence[int]) -> tuple[Sides, Sides]:
    """What a pooling adds to each axis: (what the file states, the same with what `ceil_mode` needs behind it)."""
    kernel = a.ints("kernel_shape") or []
    stated = _sides(a, sizes, kernel)
    if not a.get("ceil_mode", 0):
        return stated, stated
    strides, dilations = (a.ints(name) or [1] * len(sizes) for name in ("strides", "dilations"))
    whole = []
    for size, (before, after), k, s, r in zip(sizes, stated, kernel, strides, dilations, strict=True):
        reach, length = (k - 1) * r + 1, size + before + after
        count = math.ceil((length - reach) / s) + 1
        if (count - 1) * s >= size + before:  # a window that starts behind the image is left out
            count -= 1
        whole.append((before, after + max((count - 1) * s + reach - length, 0)))
    return stated, whole


@register(OPERATORS, "MaxPool")
def max_pool(a: Attributes, x: Tensor) -> Tensor:
    """The largest number of each window; what is added around the image never is."""
    axes = x.ndim - 2
    kernel = a.ints("kernel_shape") or []
    strides, dilations = (a.ints(name) or [1] * axes for name in ("strides", "dilations"))
    _, sides = _pool_sides(a, x.shape[2:])
    padding = [before for before, _ in sides]
    if not _symmetric(sides) or any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        x, padding = _padded(x, sides, -math.inf), [0] * axes
    pooled: Tensor = _MAX_POOLS[axes](x, kernel, strides, padding, dilations)
    return pooled


@register(OPERATORS, "AveragePool")
def average_pool(a: Attributes, x: Tensor) -> Tensor:
    """The mean of each window, over the image alone or (`count_include_pad`) over what is stated to lie around it."""
    axes = x.ndim - 2
    a.refuse("dilations", [1] * axes)
    kernel, strides = a.ints("kernel_shape") or [], a.ints("strides") or [1] * axes
    stated, whole = _pool_sides(a, x.shape[2:])
    mean = _AVERAGE_POOLS[axes](_padded(x, whole), kernel, strides)
    ones = x.new_ones(1, 1, *x.shape[2:])
    if a.get("count_include_pad", 0):
        ones = _padded(ones, stated, 1.0)
        whole = [(0, all_of[1] - some[1]) for all_of, some in zip(whole, stated, strict=True)]
    if not any(any(side) for side in whole):
        return mean
    return mean / _AVERAGE_POOLS[axes](_padded(ones, whole), kernel, strides)


@register(OPERATORS, "GlobalAveragePool")
def global_average_pool(a: Attributes, x: Tensor) -> Tensor:
    """The mean of each channel."""
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


@register(OPERATORS, "GlobalMaxPool")
def global_max_pool(a: Attributes, x: Tensor) -> Tensor:
    """The largest number of each channel."""
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


@register(OPERATORS, "DepthToSpace")
def depth_to_space(a: Attributes, x: Tensor) -> Tensor:
    """[N, C·b², H, W] → [N, C, H·b, W·b]."""
    n, c, h, w = x.shape
    b = a.values["blocksize"]
    if a.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, b)
    return x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


@register(OPERATORS, "SpaceToDepth")
def space_to_depth(a: Attributes, x: Tensor) -> Tensor:
    """[N, C, H·b, W·b] → [N, C·b², H, W]."""
    n, c, h, w = x.shape
    b = a.values["blocksize"]
    if a.get("mode", "DCR") == "CRD":
        return F.pixel_unshuffle(x, b)
    return x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b**2, h // b, w // b)


@register(OPERATORS, "GridSample")
def grid_sample(a: Attributes, x: Tensor, grid: Tensor) -> Tensor:
    """[N, C, H, W] at the places of a grid [N, H′, W′, 2] of coordinates in [-1, 1]."""
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(a.get("mode", "linear"), a.get("mode", "linear"))
    return F.grid_sample(x, grid, mode, a.get("padding_mode", "zeros"), bool(a.get("align_corners", 0)))


@register(OPERATORS, "Pad")
def pad(
    a: Attributes,
    x: Tensor,
    given: Tensor | None = None,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    """More (or, with negative numbers, less) of any axis: a constant, a reflection, the edge, or from the other end."""
    pads = a.ints("pads", given) or []
    chosen = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in integers(axes)]
    sides = dict(zip(chosen, zip(pads[: len(chosen)], pads[len(chosen) :], strict=True), strict=True))
    mode = a.get("mode", "constant")
    a.refuse("mode", "constant", "reflect", "edge", "wrap")
    if mode == "constant":
        fill = a.get("value", 0.0) if value is None else value.item()
        return F.pad(x, [n for axis in reversed(range(x.ndim)) for n in sides.get(axis, (0, 0))], value=fill)
    for axis, (before, after) in sides.items():
        if not before and not after:
            continue
        size = x.shape[axis]
        place = torch.arange(-before, size + after, device=x.device)
        if mode == "edge":
            place = place.clamp(0, size - 1)
        elif mode == "wrap":
            place = place % size
        elif size > 1:  # reflect: 0 1 2 3 2 1 with the period 2(size − 1)
            place = size - 1 - (place % (2 * (size - 1)) - (size - 1)).abs()
        else:
            place = torch.zeros_like(place)
        x = x.index_select(axis, place)
    return x


# ---------------------------------------------------------------------------------------------------------------------
# Resizing: separable, one axis after the other


@register(OPERATORS, "Upsample")
def upsample(a: Attributes, x: Tensor, scales: Tensor | None = None) -> Tensor:
    """Operator sets 7 to 9: larger by factors, nearest or linear."""
    factors = a.get("scales", None) if scales is None else scales.tolist()
    sizes = [math.floor(size * factor) for size, factor in zip(x.shape, factors, strict=True)]
    return _resized(a, x, range(x.ndim), sizes, factors, "asymmetric", "floor")


@register(OPERATORS, "Resize")
def resize(a: Attributes, x: Tensor, *inputs: Tensor | None) -> Tensor:
    """Another size of any axis: nearest, linear or cubic, to given sizes or by given factors."""
    a.refuse("keep_aspect_ratio_policy", "stretch")
    a.refuse("coordinate_transformation_mode", *_COORDINATES)
    _roi, scales, sizes = (*((None,) if a.opset < 11 else ()), *inputs, None, None, None)[:3]
    axes = a.ints("axes") or list(range(x.ndim))
    if sizes is not None and sizes.numel():
        wanted = integers(sizes)
        factors = [size / x.shape[axis] for size, axis in zip(wanted, axes, strict=True)]
    elif scales is not None and scales.numel():
        factors = [float(factor) for factor in scales.tolist()]
        wanted = [math.floor(x.shape[axis] * factor) for factor, axis in zip(factors, axes, strict=True)]
    else:
        raise ConfigError("Resize without scales and sizes is not supported")
    if a.opset < 11:
        return _resized(a, x, axes, wanted, factors, "asymmetric", "simple")
    coordinates = a.get("coordinate_transformation_mode", "half_pixel")
    return _resized(a, x, axes, wanted, factors, coordinates, a.get("nearest_mode", "round_prefer_floor"))


def _resized(
    a: Attributes,
    x: Tensor,
    axes: Sequence[int],
    sizes: Sequence[int],
    factors: Sequence[float],
    coordinates: str,
    rounding: str,
) -> Tensor:
    mode = a.get("mode", "nearest")
    for axis, size, factor in zip(axes, sizes, factors, strict=True):
        old = x.shape[axis]
        if size == old and factor == 1:
            continue
        if mode == "nearest":
            place = _rounded(_places(old, size, factor, coordinates), factor, rounding).clamp(0, old - 1)
            x = x.index_select(axis, place.to(x.device, torch.int64))
        else:
            options = (bool(a.get("antialias", 0)), bool(a.get("exclude_outside", 0)), a.get("cubic_coeff_a", -0.75))
            matrix = _interpolation(mode, old, size, factor, coordinates, *options).to(x)
            x = (x.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return x


_COORDINATES: dict[str, Callable[[Tensor, int, int, float], Tensor]] = {
    "half_pixel": lambda i, old, new, factor: (i + 0.5) / factor - 0.5,
    "pytorch_half_pixel": lambda i, old, new, factor: (i + 0.5) / factor - 0.5 if new > 1 else i * 0,
    "half_pixel_symmetric": lambda i, old, new, factor: old / 2 * (1 - new / (factor * old)) + (i + 0.5) / factor - 0.5,
    "align_corners": lambda i, old, new, factor: i * (old - 1) / max(new - 1, 1),
    "asymmetric": lambda i, old, new, factor: i / factor,
}
"""Where in the old axis each place i of the new one lies."""


def _places(old: int, new: int, factor: float, coordinates: str) -> Tensor:
    return _COORDINATES[coordinates](torch.arange(new, dtype=torch.float64), old, new, factor)


def _rounded(places: Tensor, factor: float, rounding: str) -> Tensor:
    """Whole numbers, by ONNX's `nearest_mode`; "simple" is that of operator set 10."""
    if rounding == "simple":
        rounding = "ceil" if factor < 1 else "floor"
    if rounding == "ceil":
        return places.ceil()
    if rounding == "floor":
        return places.floor()
    return (places - 0.5).ceil() if rounding == "round_prefer_floor" else (places + 0.5).floor()


@lru_cache(maxsize=64)
def _interpolation(
    mode: str,
    old: int,
    new: int,
    factor: float,
    coordinates: str,
    is_antialiased: bool,
    is_outside_excluded: bool,
    cubic_a: float,
) -> Tensor:
    """W [new, old], float64: the weights of the old places in each new one, the axis clamped at its ends."""
    if mode not in ("linear", "cubic"):
        raise ConfigError(f"Resize with mode={mode!r} is not supported")
    places = _places(old, new, factor, coordinates)
    stretch = max(1.0, 1 / factor) if is_antialiased else 1.0
    radius = math.ceil((1 if mode == "linear" else 2) * stretch)
    taps = places.floor()[:, None] + torch.arange(1 - radius, radius + 1)  # [new, 2·radius]
    distance = (taps - places[:, None]).abs() / stretch
    weights = (1 - distance).clamp(min=0) if mode == "linear" else _keys(distance, cubic_a)
    if is_outside_excluded:
        weights = weights * ((taps >= 0) & (taps < old))
    weights = weights / weights.sum(1, keepdim=True)
    matrix = torch.zeros(new, old, dtype=torch.float64)
    return matrix.scatter_add_(1, taps.clamp(0, old - 1).to(torch.int64), weights)


def _keys(distance: Tensor, a: float) -> Tensor:
    """The cubic kernel of Keys 1981, "Cubic convolution interpolation for digital image processing"."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))
