"""The CPU's paths: blocks of banded matrices, modulated weights; each against the definition, and each really taken."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch

from gantrol.models import StyleGAN2Config, StyleGAN3Config
from gantrol.ops import (
    bias_act,
    conv2d_resample,
    design_lowpass_filter,
    filtered_lrelu,
    modulated_conv2d,
    modulated_conv2d_resample,
    setup_filter,
    upfirdn2d,
)
from gantrol.ops.blocks import Axis, planes_of
from gantrol.ops.conv import innermost
from gantrol.ops.paths import record_paths

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-6, torch.bfloat16: 4e-2, torch.float16: 5e-3}


def taps(count: int, *, radial: bool = False) -> torch.Tensor:
    found = design_lowpass_filter(count, cutoff=4, width=8, fs=64, radial=radial)
    assert found is not None
    return found


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, relative to the largest value."""
    assert a.shape == b.shape
    return ((a.double() - b.double()).abs().max() / b.double().abs().max()).item()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("size", "up", "down", "radial"),
    [((13, 11), 2, 2, False), ((31, 93), 2, 2, False), ((43, 11), 4, 2, True), ((95, 31), 2, 4, False)],
)
def test_filtered_lrelu_in_blocks(
    size: tuple[int, int], up: int, down: int, radial: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Odd sizes that fill no block, several planes, whole planes and bands of rows."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size).to(dtype)
    b = torch.randn(3).to(dtype)
    fu, fd = taps(6 * up), taps(6 * down, radial=radial)
    options = {"fu": fu, "fd": fd, "b": b, "up": up, "down": down, "padding": (9, 8, 7, 10), "clamp": 1.5}
    expected = filtered_lrelu(x.double(), **{**options, "b": b.double()}, impl="reference")  # type: ignore[arg-type]
    is_strips = radial and dtype in (torch.bfloat16, torch.float16)
    way = "strips" if is_strips else "tiles" if dtype in (torch.bfloat16, torch.float16) else None
    for cache, strip, tile in ((2**15, 5, 7), (2**20, 72, 160)):
        monkeypatch.setattr("gantrol.ops.blocks.TILE", tile)
        monkeypatch.setattr("gantrol.ops.blocks.CACHE_BYTES", cache)
        monkeypatch.setattr("gantrol.ops.blocks.STRIP_BYTES", cache)
        monkeypatch.setattr("gantrol.ops.blocks.STRIP", strip)
        with record_paths() as paths:
            y = filtered_lrelu(x, **options)  # type: ignore[arg-type]
        assert paths == {"filtered_lrelu.blocks": 1} | ({f"filtered_lrelu.{way}": 1} if way else {})
        assert y.dtype == dtype
        assert error(y, expected) < TOLERANCE[dtype]
        turned = x.transpose(2, 3).contiguous().transpose(2, 3)
        innermost = x.contiguous(memory_format=torch.channels_last)
        for other in (turned, innermost):
            assert error(filtered_lrelu(other, **options), expected) < TOLERANCE[dtype]  # type: ignore[arg-type]


@pytest.mark.parametrize("cache", [2**15, 2**20])
def test_gradients_in_blocks(cache: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """First and second derivatives where a plane is several blocks, against the definition's."""
    monkeypatch.setattr("gantrol.ops.blocks.CACHE_BYTES", cache)
    torch.manual_seed(0)
    x = torch.randn(2, 2, 45, 93, dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, dtype=torch.float64, requires_grad=True)
    options = {"fu": taps(12), "fd": taps(12, radial=True), "up": 2, "down": 2, "padding": 9, "clamp": 0.7}
    found = []
    for impl in ("auto", "reference"):
        with record_paths() as paths:
            y = filtered_lrelu(x, b=b, impl=impl, **options)  # type: ignore[arg-type]
            first = torch.autograd.grad(y.square().sum(), [x, b], create_graph=True)
            second = torch.autograd.grad(first[0].square().sum(), [x, b])
        if impl == "auto":
            assert paths["filtered_lrelu.blocks"] == 1
            assert paths["sloped.blocks"] >= 2
        found.append([y, *first, *second])
    for ours, expected in zip(*found, strict=True):
        assert error(ours.detach(), expected.detach()) < 1e-10


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tile", [7, 160])
def test_gradients_in_tiles(tile: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """First derivatives in short types, radial filters, clamp and all, near the definition's."""
    monkeypatch.setattr("gantrol.ops.blocks.TILE", tile)
    torch.manual_seed(0)
    x, b = torch.randn(2, 3, 21, 33), torch.randn(3)
    options = {"fu": taps(12), "fd": taps(12, radial=True), "up": 2, "down": 2, "padding": (9, 8, 7, 10), "clamp": 1.5}
    found = []
    for impl, kind in (("auto", dtype), ("reference", torch.float64)):
        leaves = [t.to(dtype).to(kind).requires_grad_() for t in (x, b)]
        with record_paths() as paths:
            y = filtered_lrelu(leaves[0], b=leaves[1], impl=impl, **options)  # type: ignore[arg-type]
            gradients = torch.autograd.grad(y.square().sum(), leaves)
        assert paths["filtered_lrelu.tiles"] == (2 if impl == "auto" else 0)  # the backward pass goes by them, too
        found.append([y.detach(), gradients[0], gradients[1]])
    for ours, expected in zip(*found, strict=True):
        # On average: where the signal crosses zero or reaches the clamp, rounding decides about the slope.
        assert (ours.double() - expected).norm() < 2 * TOLERANCE[dtype] * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sixteen_bits_keep_the_slopes(dtype: torch.dtype) -> None:
    """What is kept for the backward pass is shorter than the signal; samples just below the clamp still pass."""
    x = torch.randn(1, 2, 8, 8, dtype=dtype)
    x[0, 0, 0, :4] = torch.tensor([0.999, 1.0, -0.999, 1.001], dtype=dtype)  # 0.999 is 1 in bfloat16
    x.requires_grad_()
    gradients = []
    for impl in ("auto", "reference"):
        y = filtered_lrelu(x, gain=1.0, slope=0.5, clamp=1.0, impl=impl)
        (grad,) = torch.autograd.grad((y * torch.arange(y.numel()).view_as(y)).sum(), x)
        gradients.append(grad)
    below = x.detach().abs() != 1  # at the bound itself either slope is right
    torch.testing.assert_close(gradients[0][below], gradients[1][below])
    y, kept = torch.ops.gantrol.filtered_lrelu(
        x.detach(), None, None, None, [1, 1, 1, 1, 0, 0, 0, 0, 0], 1.0, [1, 1, 1, 1, 0, 0, 0, 0, 0], 1.0, 0.5, 1.0, True
    )
    assert kept.dtype == torch.bfloat16
    assert torch.equal(kept.isinf(), y.abs() >= 1)


def test_wide_resampling_in_short_types() -> None:
    """By whole rows, in bands that do not fill the image."""
    x = torch.randn(2, 3, 171, 45).bfloat16()
    f = setup_filter([1, 3, 3, 1])
    for options in ({"up": 2, "padding": (2, 1, 2, 1)}, {"down": 2, "padding": 1}, {"padding": (2, -3, 1, 0)}):
        with record_paths() as paths:
            y = upfirdn2d(x, f, **options)
        assert paths["resample.blocks"] == 1
        assert error(y, upfirdn2d(x.double(), f, impl="reference", **options)) < TOLERANCE[torch.bfloat16]


def test_wide_resampling_goes_by_blocks() -> None:
    x = torch.randn(1, 2, 190, 33, dtype=torch.float64, requires_grad=True)
    f = setup_filter([1, 3, 3, 1])
    with record_paths() as paths:
        y = upfirdn2d(x, f, up=2, padding=(2, 1, 2, 1))
        (grad,) = torch.autograd.grad(y.square().sum(), x)
    assert paths["resample.blocks"] == 2
    expected = upfirdn2d(x, f, up=2, padding=(2, 1, 2, 1), impl="reference")
    assert error(y, expected) < 1e-12
    assert error(grad, torch.autograd.grad(expected.square().sum(), x)[0]) < 1e-12


def test_the_clamp_acts_wherever_it_can() -> None:
    """It is left out only where the input's magnitude excludes it; infinities and NaN do not slip through."""
    f = taps(12)
    for peak, is_near in ((1e-3, False), (0.9, True), (50.0, True)):
        x = torch.full((1, 1, 20, 20), peak)
        found, expected = (
            filtered_lrelu(x, fu=f, fd=f, up=2, down=2, padding=9, clamp=1.0, impl=impl)
            for impl in ("auto", "reference")
        )
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        assert (found.max() > 0.5) == is_near
    x = torch.zeros(1, 1, 20, 20)
    x[0, 0, 3, 3] = torch.nan
    assert filtered_lrelu(x, fu=f, fd=f, up=2, down=2, padding=9, clamp=1.0).isnan().any()


def test_axis_finds_the_inputs_below_outputs() -> None:
    """Against the definition, for every block of a small axis."""
    size, count = 7, 6
    for up, down, pad in ((1, 1, 0), (2, 1, 3), (1, 2, 5), (4, 3, -2), (2, 2, 20)):
        axis = Axis(up, down, pad, count)
        for start in range(8):
            for stop in range(start + 1, 9):
                found = axis.inputs(slice(start, stop), size)
                needed = [i for o in range(start, stop) for i in range(size) if 0 <= i * up + pad - o * down < count]
                assert 0 <= found.start < found.stop <= size
                assert all(found.start <= i < found.stop for i in needed)


def test_planes_of_channels_last() -> None:
    x = torch.randn(2, 65, 61, 63).bfloat16()
    planes = planes_of(x.contiguous(memory_format=torch.channels_last))
    assert planes.is_contiguous()
    assert torch.equal(planes, x.reshape(130, 61, 63))


def test_channels_innermost() -> None:
    """Values and strides of torch's own change of layout, with and without channels and images."""
    for shape in ((2, 65, 61, 63), (1, 1, 5, 7), (3, 4, 1, 1), (0, 3, 4, 4)):
        x = torch.randn(shape).bfloat16()
        for image in (x, x.transpose(2, 3), x.contiguous(memory_format=torch.channels_last)):
            expected = image.contiguous(memory_format=torch.channels_last)
            found = innermost(image)
            assert found.is_contiguous(memory_format=torch.channels_last)
            assert torch.equal(found, expected)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_image_modulates_the_weights(demodulate: bool, dtype: torch.dtype) -> None:
    """The same as in a batch of two, where the signal is modulated."""
    torch.manual_seed(0)
    x, w, s = torch.randn(1, 6, 20, 20).to(dtype), torch.randn(5, 6, 3, 3), torch.randn(1, 6) + 1
    gain = torch.tensor(0.7)
    twice = [t.repeat(2, *[1] * (t.ndim - 1)) for t in (x, s)]
    with torch.no_grad(), record_paths() as paths:
        single = modulated_conv2d(x, w, s, demodulate=demodulate, padding=2, input_gain=gain)
        f = setup_filter([1, 3, 3, 1])
        resampled = modulated_conv2d_resample(x, w, s, up=2, padding=1, f=f, demodulate=demodulate)
    assert paths["modulated_conv2d.weights"] == 2
    with torch.no_grad(), record_paths() as paths:
        pair = modulated_conv2d(twice[0], w, s.repeat(2, 1), demodulate=demodulate, padding=2, input_gain=gain)
        up = modulated_conv2d_resample(twice[0], w, twice[1], up=2, padding=1, f=f, demodulate=demodulate)
    assert paths["modulated_conv2d.weights"] == 0
    assert error(single, pair[:1]) < TOLERANCE[dtype]
    assert error(resampled, up[:1]) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_doubling_by_phases(dtype: torch.dtype) -> None:
    """Four small convolutions are torch's transposed one, where no gradient follows."""
    x, w = torch.randn(2, 3, 7, 5).to(dtype), torch.randn(4, 3, 3, 3).to(dtype)
    f = setup_filter([1, 3, 3, 1])
    for flip_weight in (True, False):
        expected = conv2d_resample(x.double(), w.double().requires_grad_(), f, up=2, padding=1, flip_weight=flip_weight)
        with torch.no_grad(), record_paths() as paths:
            found = conv2d_resample(x, w, f, up=2, padding=1, flip_weight=flip_weight)
        assert paths["convolution.phases"] == 1
        assert error(found, expected.detach()) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_bias_act_in_portions(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps on what fits the cache are the steps on everything; the input stays as it was."""
    monkeypatch.setattr(sys.modules["gantrol.ops.bias_act"], "PORTION_BYTES", 100)
    x, b = torch.randn(2, 3, 7, 5).to(dtype), torch.randn(3)
    for act, clamp, bias in (("lrelu", 0.7, b), ("relu", None, b), ("linear", 0.5, None)):
        options = {"act": act, "clamp": clamp, "gain": 1.3}
        for image in (x, x.contiguous(memory_format=torch.channels_last)):
            before = image.clone()
            expected = bias_act(image, bias, impl="reference", **options)  # type: ignore[arg-type]
            with record_paths() as paths:
                found = bias_act(image, bias, **options)  # type: ignore[arg-type]
            assert paths == {"bias_act.portions": 1}
            assert found.dtype == dtype
            assert found.stride() == image.stride()
            assert torch.equal(image, before)
            assert error(found, expected) < TOLERANCE[dtype]
    with record_paths() as paths:
        bias_act(x, b.requires_grad_(), act="lrelu").sum().backward()
        bias_act(x[:0], b)
        bias_act(x.transpose(2, 3)[:, :, ::2], b.detach())
    assert not paths


def test_kept_signals_ask_for_no_zeros() -> None:
    """The second output of the operator has no gradient: none is made up for it, and the first has its usual one."""
    x = torch.randn(1, 2, 20, 20, requires_grad=True)
    y = filtered_lrelu(x, fu=taps(12), fd=taps(12), up=2, down=2, padding=9)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
        (grad,) = torch.autograd.grad(y, x, torch.ones_like(y))
    filled = [event.input_shapes[0] for event in profile.events() if event.name in ("aten::fill_", "aten::zero_")]
    assert all(math.prod(shape) <= y.numel() for shape in filled)
    assert grad.shape == x.shape


def test_networks_take_the_fast_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a change of the networks silently leaves one of them."""
    monkeypatch.setattr(
        sys.modules["gantrol.ops.bias_act"], "PORTION_BYTES", 2**10
    )  # small networks stand for large ones
    alias_free = StyleGAN3Config(
        resolution_px=32, z_dim=8, w_dim=8, num_layers=4, channel_base=256, channel_max=8, margin_px=4
    ).build()
    style = StyleGAN2Config(resolution_px=32, z_dim=8, w_dim=8, channel_base=256, channel_max=8).build()
    with torch.no_grad(), record_paths() as paths:
        alias_free(torch.randn(1, 8), dtype=torch.bfloat16)
    assert paths["filtered_lrelu.blocks"] == paths["filtered_lrelu.tiles"] == 4
    assert paths["modulated_conv2d.weights"] == 5
    assert paths["convolution.channels_last"] >= 1
    assert paths["filtered_lrelu.torch"] == 0
    with torch.no_grad(), record_paths() as paths:
        style(torch.randn(1, 8))
    assert paths["modulated_conv2d.weights"] >= 7
    assert paths["convolution.phases"] == 3
    assert paths["bias_act.portions"] >= 4
    radial = StyleGAN3Config(
        resolution_px=32,
        z_dim=8,
        w_dim=8,
        num_layers=4,
        channel_base=256,
        channel_max=8,
        margin_px=4,
        conv_kernel=1,
        use_radial_filters=True,
    ).build()
    with torch.no_grad(), record_paths() as paths:
        radial(torch.randn(1, 8), dtype=torch.bfloat16)
    assert paths["filtered_lrelu.strips"] == 2  # the others are critically sampled, and their filters separable
    with record_paths() as paths:
        alias_free(torch.randn(2, 8)).sum().backward()
    assert paths["filtered_lrelu.blocks"] == paths["sloped.blocks"] == 4


def test_the_first_image_imports_no_compiler() -> None:
    code = (
        "import sys, torch; from gantrol.models import StyleGAN3Config; "
        "g = StyleGAN3Config(resolution_px=16, num_layers=3, channel_base=64, channel_max=4).build(); "
        "g.requires_grad_(False)(torch.randn(1, 512)); "
        "print(sorted({'torch._dynamo', 'torch._inductor', 'triton'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
