"""The operators of ONNX that compute without a spatial extent, as differentiable torch functions; see `onnx_graph`.

Each takes the attributes of its node, then the inputs (None where an optional one is left out), and returns one output
or several. Over time ONNX turned many attributes into inputs (axes, limits, sizes); both forms are read alike.

Source: the ONNX operator specification, https://onnx.ai/onnx/operators; sections are named as there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gantrol.errors import ConfigError

Operator = Callable[..., Tensor | Sequence[Tensor]]


class Attributes(NamedTuple):
    """What a node says beside its inputs."""

    operator: str
    """Name of the operator."""
    opset: int
    """Version of the operator set, which decides about some defaults."""
    outputs: int
    """How many outputs the node has."""
    values: Mapping[str, Any]
    """Attributes by name: numbers, texts, lists of these, tensors."""

    def get(self, name: str, default: Any) -> Any:
        """An attribute, or the default where the node has none."""
        return self.values.get(name, default)

    def ints(self, name: str, given: Tensor | None = None) -> list[int] | None:
        """A list of integers from the attribute or, where there is none, from the input that took its place."""
        if name in self.values:
            value = self.values[name]
            return [int(item) for item in value] if isinstance(value, Sequence) else [int(value)]
        return None if given is None else integers(given)

    def refuse(self, name: str, *allowed: Any) -> None:
        """Raises `ConfigError` if the attribute has another value than those allowed."""
        if name in self.values and self.values[name] not in allowed:
            raise ConfigError(f"{self.operator} with {name}={self.values[name]!r} is not supported")


OPERATORS: dict[str, Operator] = {}
"""Function of each operator, by the operator's name."""

_Function = Callable[..., Any]


def register(table: dict[str, Operator], *names: str) -> Callable[[_Function], _Function]:
    """Decorator that enters a function into a table of operators."""

    def enter(function: _Function) -> _Function:
        table.update(dict.fromkeys(names, function))
        return function

    return enter


def integers(value: Tensor) -> list[int]:
    """The numbers of a tensor of shapes, axes or indices."""
    return [int(item) for item in value.reshape(-1).tolist()]


def together(*tensors: Tensor) -> list[Tensor]:
    """The same tensors on one device: constants and shapes wait on the CPU for what they are used with."""
    devices = {tensor.device for tensor in tensors if tensor.device.type != "cpu"}
    return [tensor.to(next(iter(devices))) for tensor in tensors] if devices else list(tensors)


# ---------------------------------------------------------------------------------------------------------------------
# Element by element

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Asin": torch.asin,
    "Atan": torch.atan,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Identity": lambda x: x,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
    "Mish": F.mish,
    "HardSwish": F.hardswish,
}
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
    "Equal": torch.eq,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "MatMul": torch.matmul,
}
_OF_MANY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"Max": torch.maximum, "Min": torch.minimum, "Sum": torch.add}


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda a, x: function(x)


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda a, x, y: function(*together(x, y))


def _of_many(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda a, *tensors: reduce(function, together(*tensors))


OPERATORS |= {name: _unary(function) for name, function in _UNARY.items()}
OPERATORS |= {name: _binary(function) for name, function in _BINARY.items()}
OPERATORS |= {name: _of_many(function) for name, function in _OF_MANY.items()}


@register(OPERATORS, "Mean")
def mean(a: Attributes, *tensors: Tensor) -> Tensor:
    """Mean of several tensors."""
    return reduce(torch.add, together(*tensors)) / len(tensors)


@register(OPERATORS, "Div")
def div(a: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """Quotient; of integers towards zero."""
    return torch.div(*together(x, y), rounding_mode=None if x.is_floating_point() else "trunc")


@register(OPERATORS, "Mod")
def mod(a: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """Remainder: with the sign of the dividend if `fmod`, else of the divisor."""
    return (torch.fmod if a.get("fmod", 0) else torch.remainder)(*together(x, y))


@register(OPERATORS, "Pow")
def power(a: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """x^y, of the type of x."""
    return torch.pow(*together(x, y)).to(x.dtype)


@register(OPERATORS, "Clip")
def clip(a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Limits, as attributes or inputs."""
    bottom, top = (
        a.get(name, None) if given is None else given.item() for name, given in (("min", low), ("max", high))
    )
    return x if bottom is None and top is None else x.clamp(bottom, top)


@register(OPERATORS, "LeakyRelu")
def leaky_relu(a: Attributes, x: Tensor) -> Tensor:
    """x above zero, αx below."""
    return F.leaky_relu(x, a.get("alpha", 0.01))


@register(OPERATORS, "PRelu")
def prelu(a: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    """x above zero, below it x times a slope that broadcasts to x."""
    return torch.where(x >= 0, x, x * slope)


@register(OPERATORS, "Elu")
def elu(a: Attributes, x: Tensor) -> Tensor:
    """x above zero, α(eˣ − 1) below."""
    return F.elu(x, a.get("alpha", 1.0))


@register(OPERATORS, "Celu")
def celu(a: Attributes, x: Tensor) -> Tensor:
    """max(0, x) + min(0, α(e^(x/α) − 1))."""
    return F.celu(x, a.get("alpha", 1.0))


@register(OPERATORS, "Selu")
def selu(a: Attributes, x: Tensor) -> Tensor:
    """γx above zero, γα(eˣ − 1) below."""
    gamma, alpha = a.get("gamma", 1.0507009873554805), a.get("alpha", 1.6732632423543772)
    return gamma * F.elu(x, alpha)


@register(OPERATORS, "ThresholdedRelu")
def thresholded_relu(a: Attributes, x: Tensor) -> Tensor:
    """x above α, else 0."""
    return torch.where(x > a.get("alpha", 1.0), x, torch.zeros_like(x))


@register(OPERATORS, "HardSigmoid")
def hard_sigmoid(a: Attributes, x: Tensor) -> Tensor:
    """αx + β within [0, 1]."""
    return (a.get("alpha", 0.2) * x + a.get("beta", 0.5)).clamp(0, 1)


@register(OPERATORS, "Gelu")
def gelu(a: Attributes, x: Tensor) -> Tensor:
    """x·Φ(x), exact or with tanh."""
    return F.gelu(x, approximate=a.get("approximate", "none"))


@register(OPERATORS, "Swish")
def swish(a: Attributes, x: Tensor) -> Tensor:
    """x·σ(αx)."""
    return x * torch.sigmoid(a.get("alpha", 1.0) * x)


@register(OPERATORS, "Where")
def where(a: Attributes, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """x where the condition holds, else y."""
    condition, x, y = together(condition, x, y)
    return torch.where(condition, x, y)


@register(OPERATORS, "Dropout")
def dropout(a: Attributes, x: Tensor, *training: Tensor | None) -> Tensor:
    """The input: nothing is dropped in evaluation."""
    return x


_DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float32,  # float16 is computed in float32, and so is bfloat16
    11: torch.float64,
    16: torch.float32,
}


@register(OPERATORS, "Cast")
def cast(a: Attributes, x: Tensor) -> Tensor:
    """Another type; half precision is float32 here."""
    a.refuse("to", *_DTYPES)
    return x.to(_DTYPES[a.values["to"]])


@register(OPERATORS, "CastLike")
def cast_like(a: Attributes, x: Tensor, like: Tensor) -> Tensor:
    """The type of another tensor."""
    return x.to(like.dtype)


@register(OPERATORS, "DequantizeLinear")
def dequantize(a: Attributes, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """(x − zero)·scale, for the whole tensor or along an axis: weights that are stored in 8 bits."""
    a.refuse("block_size", 0)
    shape = [1] * x.ndim
    if scale.numel() > 1:
        shape[a.get("axis", 1)] = -1
    x, scale, *rest = together(x, scale, *([] if zero is None else [zero]))
    number = x.to(scale.dtype)
    return (number - rest[0].to(scale.dtype).reshape(shape) if rest else number) * scale.reshape(shape)


# ---------------------------------------------------------------------------------------------------------------------
# Linear algebra and normalisation


@register(OPERATORS, "Gemm")
def gemm(a: Attributes, x: Tensor, y: Tensor, c: Tensor | None = None) -> Tensor:
    """α·x·y + β·c, either matrix transposed."""
    product = (x.T if a.get("transA", 0) else x) @ (y.T if a.get("transB", 0) else y)
    product = a.get("alpha", 1.0) * product if a.get("alpha", 1.0) != 1 else product
    return product if c is None else product + (a.get("beta", 1.0) * c if a.get("beta", 1.0) != 1 else c)


@register(OPERATORS, "Einsum")
def einsum(a: Attributes, *tensors: Tensor) -> Tensor:
    """A sum of products in Einstein's notation."""
    return torch.einsum(a.values["equation"], *together(*tensors))


def _softmax(function: Callable[[Tensor, int], Tensor]) -> Operator:
    def evaluate(a: Attributes, x: Tensor) -> Tensor:
        if a.opset >= 13:
            return function(x, a.get("axis", -1))
        axis = a.get("axis", 1) % max(x.ndim, 1)  # before, all dimensions from the axis on were one
        return function(x.reshape(*x.shape[:axis], -1), -1).reshape(x.shape)

    return evaluate


OPERATORS |= {"Softmax": _softmax(torch.softmax), "LogSoftmax": _softmax(torch.log_softmax)}


@register(OPERATORS, "BatchNormalization")
def batch_normalization(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """Channels [N, C, …] by stored means and variances."""
    a.refuse("training_mode", 0)
    a.refuse("spatial", 1)
    return F.batch_norm(x, mean, var, scale, bias, False, 0.0, a.get("epsilon", 1e-5))


def _standardised(x: Tensor, axes: Sequence[int], epsilon: float) -> Tensor:
    variance, mean = torch.var_mean(x, dim=tuple(axes), correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + epsilon)


def _per_channel(value: Tensor, x: Tensor) -> Tensor:
    """[C] → [C, 1, …], to be used with [N, C, …]."""
    return value.reshape(-1, *[1] * (x.ndim - 2))


@register(OPERATORS, "InstanceNormalization")
def instance_normalization(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Each channel of each image by its own mean and variance."""
    x = _standardised(x, range(2, x.ndim), a.get("epsilon", 1e-5))
    return x * _per_channel(scale, x) + _per_channel(bias, x)


@register(OPERATORS, "GroupNormalization")
def group_normalization(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Groups of channels; scale and bias per group before operator set 21, per channel since."""
    groups = a.values["num_groups"]
    normal = _standardised(x.reshape(x.shape[0], groups, -1), [2], a.get("epsilon", 1e-5)).reshape(x.shape)
    if a.opset < 21:
        scale, bias = (value.repeat_interleave(x.shape[1] // groups) for value in (scale, bias))
    return normal * _per_channel(scale, x) + _per_channel(bias, x)


@register(OPERATORS, "LayerNormalization")
def layer_normalization(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """All dimensions from an axis on."""
    first = a.get("axis", -1) % x.ndim
    normal = _standardised(x, range(first, x.ndim), a.get("epsilon", 1e-5)) * scale
    return normal if bias is None else normal + bias


@register(OPERATORS, "RMSNormalization")
def rms_normalization(a: Attributes, x: Tensor, scale: Tensor) -> Tensor:
    """All dimensions from an axis on, by their root mean square."""
    axes = tuple(range(a.get("axis", -1) % x.ndim, x.ndim))
    return x * torch.rsqrt(x.square().mean(axes, keepdim=True) + a.get("epsilon", 1e-5)) * scale


@register(OPERATORS, "MeanVarianceNormalization")
def mean_variance_normalization(a: Attributes, x: Tensor) -> Tensor:
    """Zero mean and unit variance over some axes, by default all but the channels."""
    return _standardised(x, a.ints("axes") or [0, 2, 3], 1e-9)


@register(OPERATORS, "LpNormalization")
def lp_normalization(a: Attributes, x: Tensor) -> Tensor:
    """Unit L1 or L2 norm along an axis."""
    axis = a.get("axis", -1)
    return F.normalize(x, p=a.get("p", 2), dim=axis)


@register(OPERATORS, "LRN")
def local_response_normalization(a: Attributes, x: Tensor) -> Tensor:
    """x / (k + α·mean of x² over neighbouring channels)^β."""
    size = a.values["size"]
    squares = F.pad(x.square().flatten(2).unsqueeze(1), (0, 0, (size - 1) // 2, size // 2))  # [N, 1, C + size − 1, HW]
    means = F.avg_pool2d(squares, (size, 1), stride=1).reshape(x.shape)
    return x / (a.get("bias", 1.0) + a.get("alpha", 1e-4) * means) ** a.get("beta", 0.75)


_ATTENTION = {"is_causal", "kv_num_heads", "q_num_heads", "qk_matmul_output_mode", "scale", "softcap"}
_ATTENTION |= {"softmax_precision"}  # float32 or better here


@register(OPERATORS, "Attention")
def attention(
    a: Attributes, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, *past: Tensor | None
) -> Tensor:
    """softmax(q·kᵀ·scale + mask)·v for each head; heads are a dimension [N, heads, T, D] or joined [N, T, heads·D]."""
    if any(tensor is not None for tensor in past):
        raise ConfigError("Attention with keys of the past, or with their number, is not supported")
    a.refuse("qk_matmul_output_mode", 0)
    for name in a.values.keys() - _ATTENTION:  # windows, of later operator sets
        a.refuse(name)
    is_joined = query.ndim == 3
    if is_joined:
        heads, others = a.values["q_num_heads"], a.values["kv_num_heads"]
        query, key, value = (
            x.unflatten(2, (count, -1)).transpose(1, 2) for x, count in ((query, heads), (key, others), (value, others))
        )
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, 1) if groups > 1 else x for x in (key, value))
    scores = query @ key.transpose(-1, -2) * a.get("scale", 1 / math.sqrt(query.shape[-1]))  # [N, heads, T, T′]
    limit = a.get("softcap", 0.0)
    scores = limit * torch.tanh(scores / limit) if limit else scores
    if a.get("is_causal", 0):
        past_or_now = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~past_or_now, -math.inf)
    if mask is not None:
        scores, mask = together(scores, mask)
        missing = key.shape[2] - mask.shape[-1]
        mask = F.pad(mask, (0, missing), value=False if mask.dtype == torch.bool else -math.inf)
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    # A token that may look at nothing gets zeros.
    result = scores.softmax(-1).masked_fill((scores == -math.inf).all(-1, keepdim=True), 0.0) @ value
    return result.transpose(1, 2).flatten(2) if is_joined else result


# ---------------------------------------------------------------------------------------------------------------------
# Reductions

_REDUCTIONS: dict[str, Callable[[Tensor, tuple[int, ...]], Tensor]] = {
    "ReduceMean": lambda x, axes: x.mean(axes, keepdim=True),
    "ReduceSum": lambda x, axes: x.sum(axes, keepdim=True),
    "ReduceMax": lambda x, axes: x.amax(axes, keepdim=True),
    "ReduceMin": lambda x, axes: x.amin(axes, keepdim=True),
    "ReduceL1": lambda x, axes: x.abs().sum(axes, keepdim=True),
    "ReduceL2": lambda x, axes: torch.linalg.vector_norm(x, dim=axes, keepdim=True),
    "ReduceSumSquare": lambda x, axes: x.square().sum(axes, keepdim=True),
    "ReduceLogSum": lambda x, axes: x.sum(axes, keepdim=True).log(),
    "ReduceLogSumExp": lambda x, axes: x.logsumexp(axes, keepdim=True),
    "ReduceProd": lambda x, axes: reduce(lambda y, axis: y.prod(axis, keepdim=True), axes, x),
}


def _reduction(function: Callable[[Tensor, tuple[int, ...]], Tensor]) -> Operator:
    def evaluate(a: Attributes, x: Tensor, given: Tensor | None = None) -> Tensor:
        axes = a.ints("axes", given)
        if not axes and a.get("noop_with_empty_axes", 0):
            return x
        chosen = tuple(sorted(axis % x.ndim for axis in axes)) if axes else tuple(range(x.ndim))
        result = function(x, chosen) if chosen else x
        return result if a.get("keepdims", 1) else result.reshape(_without(x.shape, chosen))

    return evaluate


def _without(shape: Sequence[int], axes: Sequence[int]) -> list[int]:
    return [size for axis, size in enumerate(shape) if axis not in axes]


OPERATORS |= {name: _reduction(function) for name, function in _REDUCTIONS.items()}


@register(OPERATORS, "ArgMax", "ArgMin")
def arg_extreme(a: Attributes, x: Tensor) -> Tensor:
    """Where the largest or smallest number of an axis is; the first one unless told otherwise."""
    axis, is_kept = a.get("axis", 0), bool(a.get("keepdims", 1))
    find = torch.argmax if a.operator == "ArgMax" else torch.argmin
    if not a.get("select_last_index", 0):
        return find(x, dim=axis, keepdim=is_kept)
    return x.shape[axis] - 1 - find(x.flip(axis), dim=axis, keepdim=is_kept)


@register(OPERATORS, "TopK")
def top_k(a: Attributes, x: Tensor, count: Tensor | None = None) -> Sequence[Tensor]:
    """The k largest or smallest numbers of an axis, and where they are."""
    k = a.ints("k", count)
    assert k is not None
    return torch.topk(x, k[0], a.get("axis", -1), bool(a.get("largest", 1)), bool(a.get("sorted", 1)))


@register(OPERATORS, "CumSum")
def cumulative_sum(a: Attributes, x: Tensor, axis: Tensor) -> Tensor:
    """Running sums, with or without the element itself, from either end."""
    dim = int(axis.item())
    x = x.flip(dim) if a.get("reverse", 0) else x
    total = x.cumsum(dim)
    total = total - x if a.get("exclusive", 0) else total
    return total.flip(dim) if a.get("reverse", 0) else total
