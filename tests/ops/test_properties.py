"""What must hold for the operators beyond the reference vectors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from gantrol import ops
from gantrol.errors import ConfigError

TAPS = torch.tensor([0.5, 1.0, -0.25, 0.75, 0.1])


def upfirdn2d_by_loops(x: np.ndarray, f: np.ndarray, up: int, down: int, pads: tuple[int, int, int, int]) -> np.ndarray:
    """An independent float64 definition with explicit sums over taps."""
    n, c, h, w = x.shape
    left, right, top, bottom = pads
    stuffed = np.zeros((n, c, h * up + top + bottom, w * up + left + right))
    for i, j in itertools.product(range(h), range(w)):
        stuffed[:, :, top + i * up, left + j * up] = x[:, :, i, j]
    kh, kw = f.shape
    out_h, out_w = (stuffed.shape[2] - kh) // down + 1, (stuffed.shape[3] - kw) // down + 1
    y = np.zeros((n, c, out_h, out_w))
    for oy, ox, ky, kx in itertools.product(range(out_h), range(out_w), range(kh), range(kw)):
        y[:, :, oy, ox] += f[kh - 1 - ky, kw - 1 - kx] * stuffed[:, :, oy * down + ky, ox * down + kx]
    return y


@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2), (3, 2), (2, 4)])
def test_upfirdn2d_equals_loops(up: int, down: int) -> None:
    x = torch.randn(2, 3, 7, 5, dtype=torch.float64)
    f = torch.randn(3, 4, dtype=torch.float64)
    pads = (3, 2, 1, 4)
    expected = upfirdn2d_by_loops(x.numpy(), f.numpy(), up, down, pads)
    for impl in ("auto", "reference"):
        got = ops.upfirdn2d(x, f, up=up, down=down, padding=pads, impl=impl)
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("clamp", [None, 0.6])
@pytest.mark.parametrize("radial", [False, True])
def test_filtered_lrelu_gradients(radial: bool, clamp: float | None) -> None:
    fu = ops.design_lowpass_filter(4, 2, 4, 16)
    fd = ops.design_lowpass_filter(4, 2, 4, 16, radial=radial)
    assert fu is not None
    assert fd is not None
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, dtype=torch.float64, requires_grad=True)

    def function(x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return ops.filtered_lrelu(x, fu.double(), fd.double(), b, up=2, down=2, padding=3, clamp=clamp)

    assert torch.autograd.gradcheck(function, (x, b))
    assert torch.autograd.gradgradcheck(function, (x, b))


def test_upfirdn2d_gradients() -> None:
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: ops.upfirdn2d(x, TAPS.double(), up=3, down=2, padding=(4, -1, 2, 3)), x)
    assert torch.autograd.gradgradcheck(
        lambda x: ops.upfirdn2d(x, TAPS.double(), up=3, down=2, padding=(4, -1, 2, 3)), x
    )


# Relative to the largest value: what the machine's arithmetic leaves between two orders of summation.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 3e-6, torch.bfloat16: 3e-2, torch.float16: 4e-3}


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("size", [(36, 36), (7, 13), (3, 4)])
def test_filtered_lrelu_equals_reference(size: tuple[int, int], dtype: torch.dtype) -> None:
    fu = ops.design_lowpass_filter(12, 4, 8, 32)
    x, b = torch.randn(2, 3, *size), torch.randn(3)
    options = {"up": 2, "down": 2, "padding": (9, 8, 9, 8), "clamp": 1.5}
    got = ops.filtered_lrelu(x.to(dtype), fu, fu, b.to(dtype), **options)
    expected = ops.filtered_lrelu(x.double(), fu, fu, b.double(), **options, impl="reference")
    assert got.dtype == dtype
    assert (got.double() - expected).abs().max() <= TOLERANCE[dtype] * expected.abs().max()


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "expanded", "sliced"])
def test_memory_layout_changes_nothing(layout: str) -> None:
    x = torch.randn(2, 4, 9, 9)
    views = {
        "channels_last": x.contiguous(memory_format=torch.channels_last),
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
        "expanded": x[:1].expand(2, -1, -1, -1),
        "sliced": torch.cat([x, x], dim=3)[..., 9:],
    }
    view = views[layout].requires_grad_()
    plain = view.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
    for value in (view, plain):
        ops.filtered_lrelu(value, TAPS, TAPS, up=2, down=2, padding=4).square().sum().backward()
    torch.testing.assert_close(view.grad, plain.grad)


def test_empty_batch() -> None:
    x = torch.zeros(0, 3, 8, 8, requires_grad=True)
    y = ops.filtered_lrelu(x, TAPS, TAPS, torch.zeros(3), up=2, down=2, padding=4)
    assert y.shape == (0, 3, 8, 8)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape
    assert ops.upfirdn2d(x, TAPS, padding=2).shape == (0, 3, 8, 8)
    assert ops.modulated_conv2d(x, torch.randn(5, 3, 3, 3), torch.zeros(0, 3), padding=1).shape == (
        0,
        5,
        8,
        8,
    )


def test_unit_gain_of_constants() -> None:
    """A constant image passes up- and downsampling unchanged, away from the borders."""
    f = ops.design_lowpass_filter(12, 4, 8, 32)
    x = torch.ones(1, 1, 24, 24)
    for y in (ops.upsample2d(x, f), ops.downsample2d(x, f), ops.filter2d(x, f)):
        crop = y[0, 0, 8:-8, 8:-8] if y.shape[2] > 20 else y[0, 0, 4:-4, 4:-4]
        torch.testing.assert_close(crop, torch.ones_like(crop), rtol=1e-2, atol=0)


def test_stop_band() -> None:
    """StyleGAN3's filters attenuate their stop band by what Kaiser's formula promises."""
    cutoff, half_width, rate, taps = 4.0, 4.0, 64.0, 24
    f = ops.design_lowpass_filter(taps, cutoff, 2 * half_width, rate)
    assert f is not None
    response = np.abs(np.fft.rfft(f.double().numpy(), 4096))
    frequency = np.fft.rfftfreq(4096, 1 / rate)
    stop = response[frequency > cutoff + half_width].max()
    promised_db = 2.285 * (taps - 1) * np.pi * (2 * half_width / (rate / 2)) + 7.95
    assert -20 * np.log10(stop) > promised_db - 3
    assert abs(response[0] - 1) < 1e-6


def test_clamped_samples_have_no_gradient() -> None:
    x = torch.full((1, 1, 4, 4), 10.0, requires_grad=True)
    ops.filtered_lrelu(x, clamp=1.0).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() == 0


def test_modulated_batch_equals_single_samples() -> None:
    x, w, s = torch.randn(3, 4, 6, 6), torch.randn(5, 4, 3, 3), torch.randn(3, 4)
    together = ops.modulated_conv2d_resample(x, w, s, padding=1)
    alone = torch.cat([ops.modulated_conv2d_resample(x[i : i + 1], w, s[i : i + 1], padding=1) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_half_precision_does_not_overflow() -> None:
    """Clamped activations and one-sided weights: the sums inside the convolution stay finite in float16."""
    torch.manual_seed(0)
    x = 200 * torch.randn(1, 512, 4, 4).clamp(-1.28, 1.28)
    w, s = torch.randn(8, 512, 3, 3) + 0.3, torch.ones(1, 512)
    gain = torch.tensor(1 / 150)
    half = ops.modulated_conv2d(x.half(), w, s, padding=1, input_gain=gain)
    single = ops.modulated_conv2d(x, w, s, padding=1, input_gain=gain)
    assert half.isfinite().all()
    assert (half.float() - single).abs().max() < 2e-2 * single.abs().max()


def test_graph_tools_see_one_operator() -> None:
    class Layer(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return ops.upfirdn2d(ops.filtered_lrelu(x, TAPS, TAPS, up=2, down=2, padding=4), TAPS, padding=2)

    x = torch.randn(2, 3, 8, 8)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(Layer(), (x,), dynamic_shapes={"x": {0: batch}})
    called = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert sum("gantrol.filtered_lrelu" in name for name in called) == 1
    assert sum("gantrol.upfirdn2d" in name for name in called) == 1
    larger = torch.randn(5, 3, 8, 8)
    torch.testing.assert_close(program.module()(larger), Layer()(larger))
    compiled = torch.compile(Layer(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), Layer()(x))


def test_operators_pass_opcheck() -> None:
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    b = torch.randn(3, requires_grad=True)
    packed = [2, 2, 1, 1, 4, 4, 4, 4, 0]
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.gantrol.upfirdn2d, (x, TAPS, packed, 4.0), test_utils=tests)
    down = [1, 1, 2, 2, 0, 0, 0, 0, 0]
    args = (x, b, TAPS, TAPS, packed, 4.0, down, 1.0, 0.2, float("inf"), True)
    torch.library.opcheck(torch.ops.gantrol.filtered_lrelu, args, test_utils=tests)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: ops.upfirdn2d(x[0], TAPS), "x: expected"),
        (lambda x: ops.upfirdn2d(x, TAPS.long()), "f: expected"),
        (lambda x: ops.upfirdn2d(x, TAPS, up=0), "factor"),
        (lambda x: ops.upfirdn2d(x, TAPS, padding=(1, 2, 3)), "padding"),
        (lambda x: ops.upfirdn2d(x, TAPS, padding=-9), "nothing is left"),
        (lambda x: ops.upfirdn2d(x, TAPS, impl="cuda"), "impl"),
        (lambda x: ops.filtered_lrelu(x, b=torch.zeros(7)), "b: expected"),
        (lambda x: ops.filtered_lrelu(x, gain=-1), "gain"),
        (lambda x: ops.bias_act(x, act="rleu"), "relu"),
        (lambda x: ops.bias_act(x, torch.zeros(2)), "b: expected"),
        (lambda x: ops.conv2d_resample(x, torch.zeros(2, 5, 3, 3)), "w: expected"),
        (lambda x: ops.modulated_conv2d(x, torch.zeros(2, 3, 3, 3), torch.zeros(1, 3)), "s: expected"),
        (lambda x: ops.design_lowpass_filter(0, 1, 1, 4), "numtaps"),
        (lambda x: ops.design_lowpass_filter(5, 1, 1, 4, radial=True), "even"),
    ],
)
def test_errors_name_the_argument(call, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        call(torch.randn(2, 3, 6, 6))
