"""The operators of ONNX that arrange tensors (shapes, slices, indices), as torch functions; see `onnx_graph`.

Source: the ONNX operator specification, https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gantrol.control.predictors.onnx_operators import Attributes, Operator, integers, register, together
from gantrol.errors import ConfigError

OPERATORS: dict[str, Operator] = {}
"""Function of each operator, by the operator's name."""


@register(OPERATORS, "Constant")
def constant(a: Attributes) -> Tensor:
    """A tensor, a number or a list of numbers."""
    for name, dtype in (("value_float", torch.float32), ("value_floats", torch.float32)):
        if name in a.values:
            return torch.tensor(a.values[name], dtype=dtype)
    for name in ("value_int", "value_ints"):
        if name in a.values:
            return torch.tensor(a.values[name], dtype=torch.int64)
    if "value" not in a.values:
        raise ConfigError(f"Constant with {', '.join(a.values) or 'no value'} is not supported")
    value: Tensor = a.values["value"]
    return value


@register(OPERATORS, "ConstantOfShape")
def constant_of_shape(a: Attributes, shape: Tensor) -> Tensor:
    """A tensor filled with one value."""
    value = a.get("value", torch.zeros(1))
    return value.reshape(()).expand(integers(shape))


@register(OPERATORS, "Shape")
def shape_of(a: Attributes, x: Tensor) -> Tensor:
    """The shape, or a part of it."""
    return torch.tensor(list(x.shape)[slice(a.get("start", 0), a.get("end", None))], dtype=torch.int64)


@register(OPERATORS, "Size")
def size_of(a: Attributes, x: Tensor) -> Tensor:
    """How many elements."""
    return torch.tensor(math.prod(x.shape), dtype=torch.int64)


@register(OPERATORS, "Range")
def number_range(a: Attributes, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """start, start + delta, … below the limit."""
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


@register(OPERATORS, "Flatten")
def flatten(a: Attributes, x: Tensor) -> Tensor:
    """A matrix: the dimensions before an axis, and those from it on."""
    axis = a.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@register(OPERATORS, "Reshape")
def reshape(a: Attributes, x: Tensor, shape: Tensor | None = None) -> Tensor:
    """Another shape; 0 keeps a dimension (unless `allowzero`), −1 takes what is left."""
    wanted = a.ints("shape", shape) or []
    if not a.get("allowzero", 0):
        wanted = [x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    return x.reshape(wanted)


@register(OPERATORS, "Transpose")
def transpose(a: Attributes, x: Tensor) -> Tensor:
    """Dimensions in another order, by default reversed."""
    return x.permute(a.ints("perm") or list(range(x.ndim))[::-1])


@register(OPERATORS, "Squeeze")
def squeeze(a: Attributes, x: Tensor, given: Tensor | None = None) -> Tensor:
    """Without some dimensions of size 1, by default all of them."""
    axes = a.ints("axes", given)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@register(OPERATORS, "Unsqueeze")
def unsqueeze(a: Attributes, x: Tensor, given: Tensor | None = None) -> Tensor:
    """With dimensions of size 1 at some axes of the result."""
    axes = a.ints("axes", given) or []
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


@register(OPERATORS, "Concat")
def concat(a: Attributes, *tensors: Tensor) -> Tensor:
    """One after the other along an axis."""
    return torch.cat(together(*tensors), a.values["axis"])


@register(OPERATORS, "Split")
def split(a: Attributes, x: Tensor, given: Tensor | None = None) -> Sequence[Tensor]:
    """Parts of given sizes, or as many equal ones as there are outputs (the last one may be smaller)."""
    axis, sizes = a.get("axis", 0), a.ints("split", given)
    return x.split(sizes or math.ceil(x.shape[axis] / a.get("num_outputs", a.outputs)), axis)


@register(OPERATORS, "Slice")
def slice_of(
    a: Attributes,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """A part of some axes, as Python slices."""
    begin, end = a.ints("starts", starts) or [], a.ints("ends", ends) or []
    chosen = a.ints("axes", axes) or list(range(len(begin)))
    for first, limit, axis, step in zip(begin, end, chosen, a.ints("steps", steps) or [1] * len(begin), strict=True):
        start, stop, stride = slice(first, limit, step).indices(x.shape[axis])
        if stride > 0:
            x = x[(slice(None),) * (axis % x.ndim) + (slice(start, max(stop, start), stride),)]
        else:
            x = x.index_select(axis, torch.arange(start, min(stop, start), stride, device=x.device))
    return x


@register(OPERATORS, "Gather")
def gather(a: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    """The entries of an axis that the indices name; their dimensions take its place."""
    axis = a.get("axis", 0) % x.ndim
    x, indices = together(x, indices)
    flat = indices.reshape(-1).to(torch.int64)
    flat = torch.where(flat < 0, flat + x.shape[axis], flat)
    return x.index_select(axis, flat).reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


@register(OPERATORS, "GatherElements")
def gather_elements(a: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    """One entry of an axis for each index."""
    axis = a.get("axis", 0)
    x, indices = together(x, indices.to(torch.int64))
    return x.gather(axis, torch.where(indices < 0, indices + x.shape[axis], indices))


@register(OPERATORS, "GatherND")
def gather_nd(a: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    """The entries that index vectors, the last dimension of `indices`, name."""
    a.refuse("batch_dims", 0)
    x, indices = together(x, indices)
    return x[tuple(indices.to(torch.int64).unbind(-1))]


@register(OPERATORS, "ScatterND")
def scatter_nd(a: Attributes, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """x with the entries replaced that index vectors name."""
    a.refuse("reduction", "none", "add")
    x, indices, updates = together(x, indices, updates)
    return x.index_put(tuple(indices.to(torch.int64).unbind(-1)), updates, accumulate=a.get("reduction", "") == "add")


@register(OPERATORS, "ScatterElements")
def scatter_elements(a: Attributes, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """x with one entry of an axis replaced for each index."""
    a.refuse("reduction", "none", "add")
    axis = a.get("axis", 0)
    x, indices, updates = together(x, indices.to(torch.int64), updates)
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    if a.get("reduction", "none") == "add":
        return x.scatter_add(axis, indices, updates)
    return x.scatter(axis, indices, updates)


@register(OPERATORS, "Expand")
def expand(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    """Repeated to a shape that both broadcast to."""
    return x.expand(torch.broadcast_shapes(x.shape, integers(shape)))


@register(OPERATORS, "Tile")
def tile(a: Attributes, x: Tensor, repeats: Tensor) -> Tensor:
    """Repeated so many times along each axis."""
    return x.repeat(integers(repeats))


@register(OPERATORS, "Trilu")
def triangle(a: Attributes, x: Tensor, diagonal: Tensor | None = None) -> Tensor:
    """The upper or lower triangle of matrices."""
    k = 0 if diagonal is None else int(diagonal.item())
    return x.triu(k) if a.get("upper", 1) else x.tril(k)
