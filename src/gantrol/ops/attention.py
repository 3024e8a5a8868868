"""Scaled dot-product attention that is fast once and differentiable twice.

Dimensions: N batch (or batch·windows) · H heads · T queries · S keys · D features of a head.

    attention(q, k, v, b) = softmax(q·kᵀ/√D + b)·v        (Vaswani et al. 2017, equation 1, plus a bias)

torch's fused kernels never store the T×S matrix, but two things stop them where GANs need them: they cannot be
differentiated twice (gradient penalties do that), and on the CPU they give no gradient for a bias (relative positions
learn one). So the forward pass is always the fused kernel, and the backward pass picks its way when it runs, since only
then is it known what is wanted:

* a graph of the gradient is asked for (`create_graph=True`): by the definition, in differentiable operations;
* on the CPU: block by block, in a workspace that stays in the cache (about twice the speed of the definition at
  T = 1024, and without its T×S matrices);
* elsewhere: torch's fused backward pass, after the forward pass is run again.

Nobody has to say beforehand that a second derivative will follow. On the CPU small matrices go by the definition from
the start, which is faster for them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK_ROWS = 128
"""Queries that the blockwise backward pass takes at a time."""

BLOCK_ELEMENTS = 2**20
"""Entries of the attention matrix that it takes at a time, about: 4 MiB."""

DIRECT_ELEMENTS = 2**23
"""Up to so many entries of all matrices together, training on the CPU is fastest by the definition."""


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q·kᵀ/√D + bias)·v.

    Args:
        q: queries [N, H, T, D].
        k: keys [N, H, S, D].
        v: values [N, H, S, D].
        bias: added to the logits, [H or 1, T, S]; −∞ hides a key from a query, but every query must see one.

    Returns:
        [N, H, T, D] in the type of `q`. Differentiable twice with respect to every argument.
    """
    inputs = (q, k, v, bias)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        if q.device.type == "cpu" and q.shape[:-1].numel() * k.shape[2] <= DIRECT_ELEMENTS:
            return attention_by_definition(*inputs)
        return _Attention.apply(*inputs)
    return _fused(*inputs)


def attention_probabilities(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q·kᵀ/√D + bias) [N, H, T, S], float32 or wider; the arguments are those of `attention`."""
    q, k = (x if x.dtype == torch.float64 else x.float() for x in (q, k))
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # [N, H, T, S]
    return (logits if bias is None else logits + bias).softmax(dim=-1)


def attention_by_definition(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """The readable reference of `attention`: stores the whole matrix, differentiable any number of times."""
    probabilities = attention_probabilities(q, k, bias)
    return (probabilities @ v.to(probabilities.dtype)).to(q.dtype)


def _fused(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    mask = None if bias is None else bias.to(q.dtype)[None]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        # Detached, because torch leaves its fused kernel as soon as a bias could want a gradient.
        out = _fused(q, k, v, None if bias is None else bias.detach())
        ctx.save_for_backward(q, k, v, bias, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        q, k, v, bias, out = ctx.saved_tensors
        is_twice = torch.is_grad_enabled()
        if not is_twice and grad.device.type == "cpu":
            return _gradients_in_blocks(grad, q, k, v, bias, out, needs_bias=ctx.needs_input_grad[3])
        wanted = [x for x, needs in zip((q, k, v, bias), ctx.needs_input_grad, strict=True) if needs]
        with torch.enable_grad():
            out = (attention_by_definition if is_twice else _fused)(q, k, v, bias)
        found = iter(torch.autograd.grad(out, wanted, grad, create_graph=is_twice))
        return tuple(next(found) if needs else None for needs in ctx.needs_input_grad)


def _gradients_in_blocks(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, out: Tensor, *, needs_bias: bool
) -> tuple[Tensor | None, ...]:
    """Gradients of q, k, v and the bias, some rows of the matrix P at a time.

    With G = ∂L/∂out:  ∂v = PᵀG,  ∂P = G·vᵀ,  ∂logits = P∘(∂P − rowsum(G∘out)),  ∂q = ∂logits·k/√D,  ∂k = ∂logitsᵀ·q/√D.
    """
    n, heads, rows, d = q.shape
    keys = k.shape[2]
    dtype = torch.promote_types(q.dtype, torch.float32)
    scaled_q, k32, v32, g = (x.to(dtype).contiguous() for x in (q * d**-0.5, k, v, grad))
    row_sums = (g * out).sum(dim=-1, keepdim=True)  # [N, H, T, 1]
    grad_q = torch.empty_like(scaled_q)
    grad_k, grad_v = torch.zeros_like(k32), torch.zeros_like(v32)
    grad_bias = torch.zeros(heads, rows, keys, dtype=dtype) if needs_bias else None

    block_rows = min(rows, BLOCK_ROWS)
    samples = max(BLOCK_ELEMENTS // (heads * block_rows * keys), 1)
    # Fresh memory of this size costs more than the arithmetic: the same two buffers serve every block.
    buffers = torch.empty(2, samples * heads * block_rows * keys, dtype=dtype)
    for start in range(0, n, samples):
        some = slice(start, start + samples)
        kb, vb = (x[some].flatten(0, 1) for x in (k32, v32))  # [M·H, S, D], M of the N
        dk, dv = (x[some].flatten(0, 1) for x in (grad_k, grad_v))  # views
        for top in range(0, rows, block_rows):
            band = slice(top, top + block_rows)
            qb, gb, sums = (x[some, :, band].flatten(0, 1) for x in (scaled_q, g, row_sums))  # [M·H, R, ·]
            shape = (qb.shape[0], qb.shape[1], keys)
            first, second = (buffer[: shape[0] * shape[1] * keys].view(shape) for buffer in buffers)
            logits = torch.bmm(qb, kb.transpose(1, 2), out=first)  # [M·H, R, S]
            if bias is not None:
                logits.unflatten(0, (-1, heads)).add_(bias[:, band])
            p = torch.softmax(logits, dim=-1, out=second)
            dv.baddbmm_(p.transpose(1, 2), gb)
            d_logits = torch.bmm(gb, vb.transpose(1, 2), out=first).sub_(sums).mul_(p)
            grad_q[some, :, band] = torch.bmm(d_logits, kb).unflatten(0, (-1, heads))
            dk.baddbmm_(d_logits.transpose(1, 2), qb)
            if grad_bias is not None:
                per_sample = d_logits.unflatten(0, (-1, heads))
                grad_bias[:, band] += per_sample[0] if per_sample.shape[0] == 1 else per_sample.sum(dim=0)
    grads = [(grad_q * d**-0.5).to(q.dtype), grad_k.to(k.dtype), grad_v.to(v.dtype)]
    if grad_bias is None or bias is None:
        return (*grads, None)
    return (*grads, grad_bias.sum_to_size(bias.shape).to(bias.dtype))
