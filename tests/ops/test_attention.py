"""Attention: the fused forward pass and the three backward passes against the definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from gantrol.models.transformer import relative_position_index
from gantrol.ops import attention as module
from gantrol.ops.attention import (
    attention,
    attention_by_definition,
    attention_probabilities,
    relative_bias,
    way_back,
    way_forward,
)
from gantrol.ops.paths import record_paths
from tests.reference import assert_close


def _inputs(
    n: int = 3, heads: int = 2, rows: int = 7, keys: int = 5, d: int = 4, *, shared_bias: bool = False
) -> list[Tensor]:
    rng = torch.Generator().manual_seed(1)
    shapes = [(n, heads, rows, d), (n, heads, keys, d), (n, heads, keys, d), (1 if shared_bias else heads, rows, keys)]
    return [torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.fixture
def blockwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks that divide nothing evenly, at any size."""
    monkeypatch.setattr(module, "DIRECT_ELEMENTS", 0)
    monkeypatch.setattr(module, "BLOCK_ROWS", 3)
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 64)


def _loop(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    out = torch.empty(*q.shape[:3], v.shape[3], dtype=q.dtype)
    for n in range(q.shape[0]):
        for h in range(q.shape[1]):
            for i in range(q.shape[2]):
                logits = [float(q[n, h, i] @ k[n, h, j]) / q.shape[3] ** 0.5 + bias[h, i, j] for j in range(k.shape[2])]
                weights = [math.exp(x) for x in logits]
                out[n, h, i] = sum(w * v[n, h, j] for j, w in enumerate(weights)) / sum(weights)
    return out


def test_definition_against_a_loop() -> None:
    inputs = [x.detach() for x in _inputs()]
    assert_close(attention_by_definition(*inputs), _loop(*inputs), rtol=1e-12)
    assert_close(attention(*inputs), _loop(*inputs), rtol=1e-12)
    probabilities = attention_probabilities(inputs[0], inputs[1], inputs[3])
    assert_close(probabilities.sum(dim=-1), torch.ones(3, 2, 7), rtol=1e-12)


@pytest.mark.parametrize("shared_bias", [False, True])
@pytest.mark.parametrize("shape", [(3, 2, 7, 5, 4), (1, 1, 1, 1, 1), (5, 3, 2, 9, 2)])
@pytest.mark.usefixtures("blockwise")
def test_blockwise_gradients(shape: tuple[int, ...], shared_bias: bool) -> None:
    inputs = _inputs(*shape, shared_bias=shared_bias)
    grad = torch.randn(shape[0], shape[1], shape[2], shape[4], dtype=torch.float64)
    got = torch.autograd.grad(attention(*inputs), inputs, grad)
    expected = torch.autograd.grad(attention_by_definition(*inputs), inputs, grad)
    for name, x, y in zip("qkvb", got, expected, strict=True):
        assert_close(x, y, rtol=1e-9, atol=1e-12, what=name)


@pytest.mark.usefixtures("blockwise")
def test_derivatives_of_both_orders() -> None:
    inputs = _inputs(2, 2, 4, 3, 2)
    assert gradcheck(attention, inputs)
    assert gradgradcheck(attention, inputs)
    assert gradcheck(attention, inputs[:3])
    assert gradgradcheck(attention, inputs[:3])


@pytest.mark.usefixtures("blockwise")
def test_hidden_keys_get_nothing() -> None:
    q, k, v, bias = _inputs()
    hidden = torch.zeros_like(bias).masked_fill(torch.arange(5) == 2, -math.inf)
    out = attention(q, k, v, bias + hidden)
    grads = torch.autograd.grad(out.sum(), [k, v, bias], create_graph=True)
    assert all(g.isfinite().all() for g in grads)
    assert (grads[0][:, :, 2] == 0).all()
    assert (grads[1][:, :, 2] == 0).all()
    assert (grads[2][:, :, 2] == 0).all()
    kept = [0, 1, 3, 4]
    assert_close(out, attention(q, k[:, :, kept], v[:, :, kept], bias[:, :, kept]), rtol=1e-12)


@pytest.mark.usefixtures("blockwise")
def test_only_what_is_wanted() -> None:
    q, k, v, bias = _inputs()
    bias = bias.detach()
    frozen = attention(q, k.detach(), v, bias)
    twice = torch.autograd.grad(frozen.sum(), [q, v], create_graph=True)
    once = torch.autograd.grad(frozen.sum(), [q, v])
    for x, y in zip(once, twice, strict=True):
        assert_close(x, y, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("blockwise")
def test_short_types() -> None:
    inputs = _inputs()
    short = [x.detach().bfloat16().requires_grad_() for x in inputs]
    assert attention(*short).dtype == torch.bfloat16
    expected = torch.autograd.grad(attention(*inputs).sum(), inputs)
    for x, y in zip(torch.autograd.grad(attention(*short).sum(), short), expected, strict=True):
        assert x.dtype == torch.bfloat16
        assert_close(x, y, rtol=0, atol_of_max=0.05)


@pytest.mark.parametrize("side", [1, 2, 5])
def test_relative_bias(side: int) -> None:
    """Values and the gradient by diagonals, once and twice, against torch's sum by index."""
    index = relative_position_index(side).flatten()
    table = torch.randn(3, (2 * side - 1) ** 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, side**2, side**2, dtype=torch.float64, requires_grad=True)
    expected = table.index_select(1, index).view_as(weight)
    with record_paths() as paths:
        found = relative_bias(table, index, side)
        (first,) = torch.autograd.grad((found.square() * weight).sum(), table, create_graph=True)
    assert paths == {"relative_bias_gradient.diagonals": 1}
    assert torch.equal(found, expected)
    (reference,) = torch.autograd.grad((expected.square() * weight).sum(), table, create_graph=True)
    assert_close(first.detach(), reference.detach(), rtol=1e-12)
    second = torch.autograd.grad(first.square().sum(), [table, weight])
    for x, y in zip(second, torch.autograd.grad(reference.square().sum(), [table, weight]), strict=True):
        assert_close(x, y, rtol=1e-12)
    with torch.no_grad():
        assert torch.equal(relative_bias(table, index, side), expected)


# ---------------------------------------------------------------------------------------------------------------------
# Which way is taken


def test_the_ways() -> None:
    small, large = module.DIRECT_ELEMENTS, module.DIRECT_ELEMENTS + 1
    assert [way_forward("cpu", entries, is_trained=True) for entries in (small, large)] == ["definition", "fused"]
    assert way_forward("cpu", small, is_trained=False) == "fused"
    assert way_forward("cuda", 1, is_trained=True) == "fused"
    assert [way_back("cpu", is_twice=twice) for twice in (False, True)] == ["blocks", "definition"]
    assert [way_back("cuda", is_twice=twice) for twice in (False, True)] == ["fused", "definition"]


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.usefixtures("blockwise")
def test_what_ran_is_recorded(has_bias: bool) -> None:
    """Never torch's "math", which is none of the fused kernels, as long as no gradient of a bias is asked for."""
    inputs = [x.detach().float().requires_grad_() for x in _inputs()][: 4 if has_bias else 3]
    with record_paths() as paths:
        with torch.no_grad():
            attention(*inputs)
        out = attention(*inputs)
        torch.autograd.grad(out.sum(), inputs, retain_graph=True)
        torch.autograd.grad(out.sum(), inputs, create_graph=True)
    assert paths == {"attention.flash": 2, "attention_gradient.blocks": 1, "attention_gradient.definition": 1}


@pytest.mark.parametrize("needed", ["qkvb", "qv", "b", "kb"])
@pytest.mark.parametrize("elements", [1, 80, 10**6])
@pytest.mark.usefixtures("blockwise")
def test_fused_gradients(needed: str, elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of other devices, on this one: some samples at a time, whatever of the inputs is asked for."""
    monkeypatch.setattr(module, "way_back", lambda device, is_twice: "definition" if is_twice else "fused")
    monkeypatch.setattr(module, "BIAS_ELEMENTS", elements)
    inputs = [x.detach().requires_grad_(name in needed) for name, x in zip("qkvb", _inputs(), strict=True)]
    wanted = [x for x in inputs if x.requires_grad]
    with record_paths() as paths:
        got = torch.autograd.grad(attention(*inputs).square().sum(), wanted)
    assert paths["attention_gradient.fused"] == 1
    expected = torch.autograd.grad(attention_by_definition(*inputs).square().sum(), wanted)
    for x, y in zip(got, expected, strict=True):
        assert_close(x, y, rtol=1e-9, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA machine")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("tokens", [64, 256, 1024, 144])  # 8², windows of 16², 32², 12² of STL-10
def test_on_cuda(tokens: int, has_bias: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that stores no matrix, right to the first and second gradient; memory stays bounded."""
    monkeypatch.setattr(module, "BIAS_ELEMENTS", 4 * tokens**2)
    inputs = [x.detach() for x in _inputs(3, 4, tokens, tokens, 16)][: 4 if has_bias else 3]
    wide = [x.to("cuda").requires_grad_() for x in inputs]
    short = [x.to("cuda", dtype if i < 3 else torch.float32).requires_grad_() for i, x in enumerate(inputs)]
    with record_paths() as paths:
        got = torch.autograd.grad(attention(*short).square().sum(), short)
    assert "attention.math" not in paths
    assert paths["attention_gradient.fused"] == 1
    expected = torch.autograd.grad(attention_by_definition(*wide).square().sum(), wide)
    twice = torch.autograd.grad(attention(*short).square().sum(), short, create_graph=True)
    for x, again, y in zip(got, twice, expected, strict=True):
        assert_close(x.cpu(), y.cpu(), rtol=0, atol_of_max=1e-3 if dtype == torch.float32 else 0.05)
        assert_close(again.detach().cpu(), y.cpu(), rtol=0, atol_of_max=1e-3 if dtype == torch.float32 else 0.05)
