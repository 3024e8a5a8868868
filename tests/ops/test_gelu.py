"""GELU: both passes and the second derivative against torch's own composite, in place against out of place."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from gantrol.ops import gelu as module
from gantrol.ops.gelu import gelu, gelu_of_sum
from gantrol.ops.paths import record_paths
from tests.reference import assert_close


def test_derivatives_of_both_orders() -> None:
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(gelu, [x])
    assert gradgradcheck(gelu, [x])


@pytest.mark.parametrize("shape", [(7, 11), (0, 4), (1,), ()])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_against_torch(shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Portions that divide nothing evenly, and the gradient's gradient as a penalty takes it."""
    monkeypatch.setattr(module, "PORTION_BYTES", 40)
    torch.manual_seed(0)
    start, weight = torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    found = []
    for function, kind in ((gelu, dtype), (F.gelu, torch.float64)):
        x = start.to(kind).requires_grad_()
        w = weight.to(kind).requires_grad_()
        y = function(x) * w
        with record_paths() as paths:
            (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
            second = torch.autograd.grad(first.square().sum(), [x, w])
        assert paths["gelu_second.portions"] == (function is gelu)
        found.append([y, first, *second])
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    for ours, expected in zip(*found, strict=True):
        assert ours.dtype == dtype
        assert_close(ours.detach(), expected.detach(), rtol=tolerance, atol=tolerance)


def test_a_third_derivative() -> None:
    def third(function: object) -> torch.Tensor:
        x = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
        y = function(x)  # type: ignore[operator]
        for _ in range(3):
            (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        return y.detach()

    assert_close(third(gelu), third(F.gelu), rtol=1e-9, atol=1e-12)


def test_strided_inputs() -> None:
    x = torch.randn(6, 4, dtype=torch.float64).t().requires_grad_()
    (first,) = torch.autograd.grad(gelu(x).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    (expected,) = torch.autograd.grad(F.gelu(x).square().sum(), x, create_graph=True)
    assert_close(second, torch.autograd.grad(expected.sum(), x)[0], rtol=1e-12)


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("shape", [(2, 7, 5), (0, 3, 5), (1, 5)])
def test_in_place(shape: tuple[int, ...], has_bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PORTION_BYTES", 60)
    x, bias = torch.randn(shape), torch.randn(5) if has_bias else None
    expected = F.gelu(x if bias is None else x + bias)
    found = gelu_of_sum(x, bias)
    assert found is x
    assert_close(found, expected, rtol=1e-6, atol=1e-7)
