"""Every fused kernel against the readable reference: outputs, first and second gradients.

`tests/ops/test_kernels.py` runs this file in a process of its own, because Triton decides on import whether it compiles
or interprets: once through the interpreter on the CPU at tiny sizes, and on a CUDA machine compiled, at real ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gantrol import ops
from gantrol.errors import ConfigError
from gantrol.ops.kernels import autotune, filtered_lrelu
from gantrol.ops.paths import is_interpreted, record_paths

DEVICE = "cpu" if is_interpreted() else "cuda"
SIZES = [(15, 13), (30, 7)] if is_interpreted() else [(15, 13), (36, 36), (85, 148), (276, 276)]
CHANNELS = 2 if is_interpreted() else 33
TOLERANCE = {torch.float32: 5e-6, torch.float16: 4e-2, torch.bfloat16: 0.2}
"""Relative, root mean square. In half precision a sample near zero or the clamp may fall on the other side of it."""

DTYPES = pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
TAPS = torch.tensor([0.5, 1.0, -0.25, 0.75, 0.1])


@pytest.fixture(scope="session", autouse=is_interpreted())
def _bfloat16() -> Iterator[None]:
    """Triton 3.6's interpreter loses the carry when it rounds to bfloat16, and multiplies its bits: mends both."""
    from triton.runtime import interpreter

    bfloat16, float32 = interpreter.tl.bfloat16, interpreter.tl.float32
    convert, product = interpreter._convert_float, interpreter.InterpreterBuilder.create_dot

    def mended_convert(values: Any, before: Any, after: Any, rounding: Any) -> Any:
        if (before, after) == (bfloat16, float32):
            return values.view("uint16").astype("uint32") << 16
        if (before, after) == (float32, bfloat16):
            rounded = torch.from_numpy(np.ascontiguousarray(values).view("float32")).bfloat16()
            return rounded.view(torch.uint16).numpy()
        return convert(values, before, after, rounding)

    def mended_product(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        if a.dtype == bfloat16:
            widened = (mended_convert(v.data, bfloat16, float32, None).view("float32") for v in (a, b))
            a, b = (interpreter.TensorHandle(data, float32) for data in widened)
        return product(self, a, b, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_convert_float", mended_convert)
        patch.setattr(interpreter.InterpreterBuilder, "create_dot", mended_product)
        yield


def taps(up: int, *, radial: bool = False) -> Tensor | None:
    """A filter of StyleGAN3's for a factor; None for 1."""
    return ops.design_lowpass_filter(6 * up, 2, 3, 16, radial=radial) if up > 1 else None


def pictures(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(DEVICE, dtype)


def derivatives(function: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """The result, its gradients, and gradients of these."""
    variables = [value.detach().requires_grad_() for value in inputs]
    y = function(*variables)
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view(y.shape).to(y)
    first = torch.autograd.grad((y * (y + weights)).sum(), variables, create_graph=True)
    second = torch.autograd.grad(first[0].square().sum(), variables)
    return [y, *first, *second]


def assert_close(got: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert a.shape == b.shape
        error = (a.double() - b.double()).square().mean().sqrt() / b.double().square().mean().sqrt().clamp_min(1e-12)
        assert error <= tolerance, f"number {i} of result, first and second gradients: {error:.2g}"


def compare(operator: Callable[..., Tensor], inputs: list[Tensor], dtype: torch.dtype, kernels: set[str]) -> None:
    """The kernels against the definition in float64; and that kernels it was, forwards and backwards."""
    with record_paths() as paths:
        got = derivatives(lambda *values: operator(*values, impl="triton"), *inputs)
    assert set(paths) == {f"{kernel}.triton" for kernel in kernels}
    assert got[0].dtype == dtype
    expected = derivatives(lambda *values: operator(*values, impl="reference"), *(value.double() for value in inputs))
    assert_close(got, expected, TOLERANCE[dtype])


# ---------------------------------------------------------------------------------------------------------------------
# filtered_lrelu

LAYERS = {
    "T": {"up": 2, "down": 2, "padding": (9, 8, 9, 8), "clamp": 1.5},
    "T up 4": {"up": 4, "down": 2, "padding": (-6, -9, -6, -9)},
    "R up 4": {"up": 4, "down": 2, "padding": (-2, -5, -2, -5), "clamp": 1.5, "radial": True},
    "crop": {"up": 2, "down": 2, "padding": (-1, 7, 11, -2), "flip_filter": True, "slope": 0.0},
    "colours": {"up": 1, "down": 1, "clamp": 1.0, "gain": 1.0, "slope": 1.0},
    "up 3": {"up": 3, "down": 1, "padding": (9, 8, 9, 8), "clamp": 1.5},
    "down 4": {"up": 1, "down": 4, "padding": (20, 19, 21, 18)},
}
LAYER_SIZES = SIZES[:1] if is_interpreted() else SIZES
HALF_LAYERS = ["R up 4"] if is_interpreted() else list(LAYERS)
KERNELS = {"filtered_lrelu", "sloped"}


def layer(name: str) -> Callable[..., Tensor]:
    """`filtered_lrelu` as one of `LAYERS` calls it."""
    options = dict(LAYERS[name])
    fu, fd = taps(options["up"]), taps(options["down"], radial=options.pop("radial", False))
    fu, fd = (None if f is None else f.to(DEVICE) for f in (fu, fd))
    return lambda x, b=None, impl="triton": ops.filtered_lrelu(x, fu, fd, b, **options, impl=impl)


def inputs(*shape: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Pictures and biases."""
    return [pictures(*shape, dtype=dtype), pictures(shape[1], dtype=dtype)]


@pytest.mark.parametrize("name", LAYERS)
def test_filtered_lrelu(name: str) -> None:
    for size in LAYER_SIZES:
        compare(layer(name), inputs(1, CHANNELS, *size), torch.float32, KERNELS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_filtered_lrelu_in_half_precision(dtype: torch.dtype) -> None:
    for name, size in itertools.product(HALF_LAYERS, LAYER_SIZES):
        compare(layer(name), inputs(1, CHANNELS, *size, dtype=dtype), dtype, KERNELS)


@pytest.mark.parametrize("launch", filtered_lrelu.LAUNCHES, ids=str)
def test_every_tile_gives_the_same(launch: autotune.Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an image of several tiles."""
    monkeypatch.setattr(filtered_lrelu, "LAUNCHES", (launch,))
    x = pictures(1, 1, 41, 19, dtype=torch.float16)
    compare(lambda x, impl: layer("T")(x, impl=impl), [x], torch.float16, KERNELS)


def test_without_gradients_no_bits_are_kept() -> None:
    x = pictures(1, 1, 9, 9, dtype=torch.float32)
    with torch.no_grad():
        got, expected = (layer("T")(x, impl=impl) for impl in ("triton", "reference"))
    assert_close([got], [expected], TOLERANCE[torch.float32])


# ---------------------------------------------------------------------------------------------------------------------
# upfirdn2d

RESAMPLINGS: dict[str, dict[str, Any]] = {
    "up 2": {"f": TAPS, "up": 2, "padding": (3, 2, 1, 4)},
    "down 2, two axes": {"f": torch.outer(TAPS, TAPS[:4]) + torch.eye(5, 4), "down": 2, "padding": (3, -2, -1, 4)},
    "up 3 down 2 flipped": {"f": TAPS, "up": (3, 1), "down": (2, 3), "padding": 4, "flip_filter": True, "gain": -2.0},
    "no filter": {"f": None, "padding": (-1, 2, 3, -2)},
}


@pytest.mark.parametrize("name", RESAMPLINGS)
def test_upfirdn2d(name: str) -> None:
    options = RESAMPLINGS[name]
    f = None if options["f"] is None else options["f"].to(DEVICE)
    for size in SIZES:
        x = pictures(1, CHANNELS, *size, dtype=torch.float32)
        compare(lambda x, impl, o=options: ops.upfirdn2d(x, **{**o, "f": f}, impl=impl), [x], x.dtype, {"upfirdn2d"})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_upfirdn2d_in_half_precision(dtype: torch.dtype) -> None:
    x, f = pictures(2, CHANNELS, *SIZES[0], dtype=dtype), TAPS.to(DEVICE)
    compare(lambda x, impl: ops.upfirdn2d(x, f, up=2, padding=2, impl=impl), [x], dtype, {"upfirdn2d"})


# ---------------------------------------------------------------------------------------------------------------------
# bias_act


@DTYPES
@pytest.mark.parametrize("act", ["linear", "relu", "lrelu"])
def test_bias_act(act: str, dtype: torch.dtype) -> None:
    for clamp in (None, 0.7):
        compare(
            lambda x, b, impl, clamp=clamp: ops.bias_act(x, b, act=act, clamp=clamp, impl=impl),
            inputs(3, 5, *SIZES[0], dtype=dtype),
            dtype,
            {"bias_act", "bias_act_sloped"},
        )


def test_bias_along_the_last_axis() -> None:
    values = [pictures(6, 5, dtype=torch.float32), pictures(5, dtype=torch.float32)]
    compare(
        lambda x, b, impl: ops.bias_act(x, b, dim=-1, act="lrelu", impl=impl),
        values,
        torch.float32,
        {"bias_act", "bias_act_sloped"},
    )


# ---------------------------------------------------------------------------------------------------------------------
# Memory layouts, empty batches, refusals, graph tools


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "expanded", "sliced"])
def test_memory_layout_changes_nothing(layout: str) -> None:
    x, b = inputs(2, 3, 9, 8)
    views = {
        "channels_last": x.contiguous(memory_format=torch.channels_last),
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
        "expanded": x[:1].expand(2, -1, -1, -1),
        "sliced": torch.cat([x, x], dim=3)[..., 8:],
    }
    view = views[layout]
    for operator in (
        layer("T"),
        lambda x, b: ops.bias_act(x, b, act="lrelu", impl="triton"),
        lambda x, b: ops.upfirdn2d(x * b[:, None, None], TAPS, padding=2, impl="triton"),
    ):
        with torch.no_grad():
            torch.testing.assert_close(operator(view, b), operator(view.contiguous(), b))
    channels_last = ops.bias_act(views["channels_last"], b, act="lrelu", impl="triton")
    assert channels_last.is_contiguous(memory_format=torch.channels_last)


def test_empty_batch() -> None:
    x = torch.zeros(0, 3, 8, 8, device=DEVICE, requires_grad=True)
    b = torch.zeros(3, device=DEVICE)
    for y in (
        layer("T")(x, b),
        ops.bias_act(x, b, act="lrelu", impl="triton"),
        ops.upfirdn2d(x, TAPS, padding=2, impl="triton"),
    ):
        assert y.shape[:2] == (0, 3)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert gradient.shape == x.shape


def test_what_has_no_kernel_is_refused_by_name_only() -> None:
    x, long = pictures(1, 1, 5, 5, dtype=torch.float32), torch.ones(300)
    with pytest.raises(ConfigError, match="float64"):
        ops.upfirdn2d(x.double(), TAPS, padding=2, impl="triton")
    with pytest.raises(ConfigError, match="filter"):
        ops.upfirdn2d(x, long, padding=200, impl="triton")
    with pytest.raises(ConfigError, match="filter"):
        ops.filtered_lrelu(x, long, padding=200, impl="triton")
    with pytest.raises(ConfigError, match="swish"):
        ops.bias_act(x, act="swish", impl="triton")
    with record_paths() as paths:
        ops.upfirdn2d(x, long, padding=200)
        ops.filtered_lrelu(x, long, padding=200)
    assert {"upfirdn2d", "filtered_lrelu"} <= {name.partition(".")[0] for name in paths}
    assert [name for name in paths if name.endswith(".triton")] == []


def test_graph_tools_see_operators() -> None:
    class Layer(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = ops.filtered_lrelu(x, TAPS.to(x), TAPS.to(x), up=2, down=2, padding=4, impl="triton")
            return ops.bias_act(ops.upfirdn2d(x, TAPS.to(x), padding=2, impl="triton"), act="lrelu", impl="triton")

    x = pictures(2, 1, 8, 8, dtype=torch.float32).requires_grad_()
    compiled = torch.compile(Layer(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), Layer()(x))
    packed, down = [2, 2, 1, 1, 4, 4, 4, 4, 0], [1, 1, 2, 2, 0, 0, 0, 0, 0]
    f = TAPS.to(DEVICE)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    arguments = (x, None, f, f, packed, 4.0, down, 1.0, 0.2, 1.0, True, "triton")
    torch.library.opcheck(torch.ops.gantrol.filtered_lrelu, arguments, test_utils=tests)
    torch.library.opcheck(torch.ops.gantrol.upfirdn2d, (x, f, packed, 4.0, "triton"), test_utils=tests)
    torch.library.opcheck(torch.ops.gantrol.bias_act, (x, None, 1, 0.2, 1.4, 1.0, "triton"), test_utils=tests)


@pytest.mark.skipif(is_interpreted(), reason="kernels are the default on CUDA tensors only")
def test_kernels_are_the_default() -> None:
    with record_paths() as paths:
        y = derivatives(lambda x, b: layer("T")(ops.bias_act(x, b, act="lrelu"), impl="auto"), *inputs(1, 3, 8, 8))[0]
        ops.upfirdn2d(y, TAPS, padding=2)
    assert {name.partition(".")[2] for name in paths} == {"triton"}
    assert {name.partition(".")[0] for name in paths} == {"bias_act", "bias_act_sloped", "upfirdn2d", *KERNELS}
