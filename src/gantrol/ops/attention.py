"""Scaled dot-product attention that is fast once and differentiable twice.

Dimensions: N batch (or batch·windows) · H heads · T queries · S keys · D features of a head.

    attention(q, k, v, b) = softmax(q·kᵀ/√D + b)·v        (Vaswani et al. 2017, equation 1, plus a bias)

torch's fused kernels never store the T×S matrix, but two things stop them where GANs need them: they cannot be
differentiated twice (gradient penalties do that), and on the CPU they give no gradient for a bias (relative positions
learn one). So the forward pass is always the fused kernel, and the backward pass picks its way when it runs, since only
then is it known what is wanted. `way_forward` and `way_back` are the whole choice:

| way | when |
|---|---|
| definition | forward: on the CPU, matrices so small that it is faster; back: a graph of the gradient is asked for |
| blocks | back on the CPU: in a workspace that stays in the cache, twice as fast as the definition at T = 1024 |
| fused | everywhere else; back, the forward pass runs again, some samples at a time where a bias is learned |

Nobody has to say beforehand that a second derivative will follow. Which of torch's fused kernels runs is torch's own
choice (`fused_kernel`). With a bias on CUDA that is the memory-efficient one, or cuDNN's where it can; the flash kernel
takes none. `flex_attention` adds a bias inside its kernel, but its gradient sums with atomics, in an order that changes
from run to run, it has no second derivative, and compiles for seconds at every shape: it is measured
(`benchmarks/gpu/attention.py`), not used.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gantrol.ops.paths import is_recorded, note_path

Way = Literal["definition", "blocks", "fused"]

BLOCK_ROWS = 128
"""Queries that the blockwise backward pass takes at a time."""

BLOCK_ELEMENTS = 2**20
"""Entries of the attention matrix that it takes at a time, about: 4 MiB."""

DIRECT_ELEMENTS = 2**23
"""Up to so many entries of all matrices together, training on the CPU is fastest by the definition."""

BIAS_ELEMENTS = 2**26
"""The fused backward pass writes the gradient of a bias for every sample before it is summed: so many entries at a
time, 128 MiB in half precision."""


def way_forward(device: str, entries: int, *, is_trained: bool) -> Way:
    """How a forward pass is computed.

    Args:
        device: type of the device.
        entries: of the attention matrices of all samples and heads, N·H·T·S.
        is_trained: whether a gradient may be asked for.
    """
    return "definition" if is_trained and device == "cpu" and entries <= DIRECT_ELEMENTS else "fused"


def way_back(device: str, *, is_twice: bool) -> Way:
    """How the backward pass of a fused forward pass is computed.

    Args:
        device: type of the device.
        is_twice: whether a graph of the gradient is asked for.
    """
    if is_twice:
        return "definition"
    return "blocks" if device == "cpu" else "fused"


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
    is_trained = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)
    # Without gradients the size does not matter; asking for it would fix the batch of an exported network.
    entries = q.shape[:-1].numel() * k.shape[2] if is_trained else 0
    way = way_forward(q.device.type, entries, is_trained=is_trained)
    if is_recorded():
        note_path("attention", way if way == "definition" else fused_kernel(q, k, v, bias))
    if way == "definition":
        return attention_by_definition(*inputs)
    return _Attention.apply(*inputs) if is_trained else _fused(*inputs)


def relative_bias(table: Tensor, index: Tensor, side: int) -> Tensor:
    """The bias of a window's logits for relative positions: entry `index[i, j]` of the table for query i and key j.

    Args:
        table: [H, (2W − 1)²], by Δy + W − 1 and Δx + W − 1.
        index: of its columns, integers [W⁴], as `gantrol.models.transformer.relative_position_index` makes them.
        side: W.

    Returns:
        [H, W², W²], differentiable. On the CPU the gradient is summed along diagonals, a row of a window at a time:
        torch's sum by index takes entry by entry.
    """
    if table.device.type == "cpu" and torch.is_grad_enabled() and table.requires_grad:
        result: Tensor = _Spread.apply(table, index, side)
        return result
    return table.index_select(1, index).view(-1, side**2, side**2)


class _Spread(torch.autograd.Function):
    """Table [H, (2W − 1)²] ↦ bias [H, W², W²]."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, side: int) -> Tensor:
        ctx.save_for_backward(index)
        ctx.side = side
        return table.index_select(1, index).view(-1, side**2, side**2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        note_path("relative_bias_gradient", "diagonals")
        return _Collect.apply(grads[0], ctx.saved_tensors[0], ctx.side), None, None


class _Collect(torch.autograd.Function):
    """The adjoint of `_Spread`: bias [H, W², W²] ↦ table [H, (2W − 1)²]."""

    @staticmethod
    def forward(ctx: Any, bias: Tensor, index: Tensor, side: int) -> Tensor:
        ctx.save_for_backward(index)
        ctx.side = side
        heads = bias.shape[0]
        full = bias.reshape(heads, side, side, side, side)  # [H, y, x, y', x']
        rows = bias.new_zeros(heads, side, side, 2 * side - 1)  # [H, y, y', x' − x + W − 1]
        for x in range(side):
            rows[..., side - 1 - x : 2 * side - 1 - x] += full[:, :, x]
        table = bias.new_zeros(heads, 2 * side - 1, 2 * side - 1)  # [H, y' − y + W − 1, x' − x + W − 1]
        for y in range(side):
            table[:, side - 1 - y : 2 * side - 1 - y] += rows[:, y]
        return table.flip(1, 2).flatten(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _Spread.apply(grads[0], ctx.saved_tensors[0], ctx.side), None, None


def attention_probabilities(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q·kᵀ/√D + bias) [N, H, T, S], float32 or wider; the arguments are those of `attention`."""
    q, k = (x if x.dtype == torch.float64 else x.float() for x in (q, k))
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # [N, H, T, S]
    return (logits if bias is None else logits + bias).softmax(dim=-1)


def attention_by_definition(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """The readable reference of `attention`: stores the whole matrix, differentiable any number of times."""
    probabilities = attention_probabilities(q, k, bias)
    return (probabilities @ v.to(probabilities.dtype)).to(q.dtype)


def fused_kernel(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> str:
    """Which of torch's kernels a fused forward pass runs here: flash, efficient, cudnn, or math, which is none of them.

    The arguments are those of `attention`.
    """
    chosen = torch._fused_sdp_choice(q, k, v, attn_mask=None if bias is None else _mask(q, bias.detach()))
    return torch.nn.attention.SDPBackend(chosen).name.removesuffix("_ATTENTION").lower()


def _mask(q: Tensor, bias: Tensor) -> Tensor:
    return bias.to(q.dtype)[None]


def _fused(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else _mask(q, bias))


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
        way = way_back(grad.device.type, is_twice=torch.is_grad_enabled())
        note_path("attention_gradient", way)
        if way == "blocks":
            return _gradients_in_blocks(grad, q, k, v, bias, out, needs_bias=ctx.needs_input_grad[3])
        if way == "fused":
            return _fused_gradients(grad, q, k, v, bias, ctx.needs_input_grad)
        wanted = [x for x, needs in zip((q, k, v, bias), ctx.needs_input_grad, strict=True) if needs]
        with torch.enable_grad():
            out = attention_by_definition(q, k, v, bias)
        found = iter(torch.autograd.grad(out, wanted, grad, create_graph=True))
        return tuple(next(found) if needs else None for needs in ctx.needs_input_grad)


def _fused_gradients(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, needs: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """Gradients of q, k, v and the bias by torch's fused kernels, some samples at a time where a bias wants one."""
    n, heads, rows, _ = q.shape
    samples = max(BIAS_ELEMENTS // (heads * rows * k.shape[2]), 1) if needs[3] else max(n, 1)
    parts: list[list[Tensor]] = [[], [], []]
    grad_bias: Tensor | None = None
    for start in range(0, n, samples):
        some = slice(start, start + samples)
        # The queries always take part: up to torch 2.12 the kernel fails where a bias alone is asked for.
        inputs = [x[some].detach().requires_grad_(i == 0 or needs[i]) for i, x in enumerate((q, k, v))]
        learned = None if bias is None else bias.detach().requires_grad_(needs[3])
        with torch.enable_grad():
            out = _fused(inputs[0], inputs[1], inputs[2], learned)
        asked = [x for x in (*inputs, learned) if x is not None and x.requires_grad]
        found = dict(zip(map(id, asked), torch.autograd.grad(out, asked, grad[some]), strict=True))
        for part, x in zip(parts, inputs, strict=True):
            part += [found[id(x)]] if x.requires_grad else []
        if needs[3]:
            more = found[id(learned)]
            grad_bias = more if grad_bias is None else grad_bias + more
    of_inputs = [(part[0] if len(part) == 1 else torch.cat(part)) if needs[i] else None for i, part in enumerate(parts)]
    return (*of_inputs, grad_bias)


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
