"""Transformer blocks on square grids of tokens: all that the two TransGAN networks are made of.

Dimensions: N batch · T tokens, row by row · D features · H heads · d = D/H · S side of the grid · W side of a window.

A block is x ← x + Attn(norm(x)), x ← x + MLP(norm(x)). Its options are those of TransGAN's second version (Jiang,
Chang & Wang 2021, arXiv 2102.07074v4): attention inside windows of the grid, a learned bias for relative
positions, noise before the attention, cross-attention to tokens made of the latent, and the choice of the norm. Without
them it is the block of the first version.

**Precision.** Parameters are float32. Attention and MLP compute in the `dtype` asked for; the residual stream x, the
norms and the logits' softmax stay in float32.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gantrol.errors import ConfigError, nearest
from gantrol.models.kept import Kept
from gantrol.models.layers import compute_dtype
from gantrol.models.protocols import NoiseMode
from gantrol.ops.attention import attention, attention_probabilities, relative_bias
from gantrol.ops.gelu import gelu, gelu_of_sum
from gantrol.ops.parts import drawn
from gantrol.ops.paths import is_plain, note_path

Norm = Literal["layer", "pixel", "batch", "instance", "none"]
"""Names of the norms: over the features of a token with and without learned scale, over the batch, over an image."""

INIT_STD = 0.02
"""Learned positions and biases of relative positions start truncated-normal with this deviation."""

LocalityKind = Literal["raster_band", "window_2d"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalityWindow:
    """Which keys a query may attend to while self-attention starts out local (TransGAN version 1, section 3.4)."""

    kind: LocalityKind = "raster_band"
    """raster_band: |i − j| ≤ half_width, i and j counting tokens row by row, as in the published code: a horizontal
    window that wraps at the ends of rows. window_2d: max(|Δy|, |Δx|) ≤ half_width, as in the text of the paper."""
    half_width: int
    """Half-width of the window in tokens, at least 0."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(LocalityKind):
            raise ConfigError(f"kind={self.kind!r}: {nearest(self.kind, get_args(LocalityKind))}")
        if self.half_width < 0:
            raise ConfigError(f"half_width={self.half_width}: expected at least 0")


def locality_mask(window: LocalityWindow, side: int) -> Tensor:
    """The mask [T, T] of a grid of `side`² tokens: True where the query (row) may see the key (column)."""
    index = torch.arange(side**2)
    if window.kind == "raster_band":
        return (index[:, None] - index).abs() <= window.half_width
    y, x = index // side, index % side
    return torch.maximum((y[:, None] - y).abs(), (x[:, None] - x).abs()) <= window.half_width


def relative_position_index(side: int) -> Tensor:
    """Row of the table for each (query, key) of a window: (Δy + W − 1)·(2W − 1) + Δx + W − 1, int32 [W², W²]."""
    index = torch.arange(side**2, dtype=torch.int32)
    y, x = index // side, index % side
    return (y[:, None] - y + side - 1) * (2 * side - 1) + (x[:, None] - x + side - 1)


def to_windows(x: Tensor, side: int, window: int) -> Tensor:
    """Cuts a grid of tokens [N, S², D] into windows [N·G, W², D], G = (S/W)², row by row."""
    n, _, d = x.shape
    count = side // window
    x = x.reshape(n, count, window, count, window, d).transpose(2, 3)
    return x.reshape(n * count**2, window**2, d)


def from_windows(x: Tensor, side: int, window: int) -> Tensor:
    """The inverse of `to_windows`."""
    count = side // window
    x = x.reshape(-1, count, count, window, window, x.shape[-1]).transpose(2, 3)
    return x.reshape(-1, side**2, x.shape[-1])


class Linear(nn.Linear):
    """A linear layer that computes in the type of its input, whatever that of its weight.

    On the CPU, a network that only generates (`eval`, frozen) keeps the converted weight, half as large as the
    weight itself: converting it takes about as long as the memory takes to read it, a tenth of a bf16 image.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self._short_weight = Kept("linear")

    def weight_for(self, x: Tensor) -> Tensor:
        """The weight [D_out, D_in] in the type of `x`."""
        dtype = x.dtype
        if self.weight.dtype == dtype:
            self._short_weight.forget()
            return self.weight
        return self._short_weight.of(self.weight, dtype, lambda weight: weight.to(dtype), is_kept=not self.training)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., D_in] to [..., D_out]."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight_for(x), bias)


class PixelNorm(nn.Module):
    """x / √(mean of x² over the features + 1e-8), token by token; nothing is learned."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalises [N, T, D]."""
        return x * (x.square().mean(dim=-1, keepdim=True) + 1e-8).rsqrt()


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation of each feature over all tokens of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalises [N, T, D]."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class InstanceNorm(nn.InstanceNorm1d):
    """Normalisation of each feature over the tokens of each image; nothing is learned."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalises [N, T, D]."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def make_norm(name: Norm, width: int) -> nn.Module:
    """The norm called `name`, one of `Norm`, for tokens of `width` features."""
    if name == "layer":
        return nn.LayerNorm(width, eps=1e-5)
    if name == "batch":
        return BatchNorm(width)
    if name == "instance":
        return InstanceNorm(width)
    return PixelNorm() if name == "pixel" else nn.Identity()


class SelfAttention(nn.Module):
    """Multi-head self-attention over all tokens, or inside the windows of a grid.

    Args:
        width: D.
        heads: H; where it does not divide the width, their greatest common divisor is used.
        side: S, for tokens that form a grid; None for a plain sequence.
        window: W, a divisor of the side; None for the whole grid.
        relative_position: whether a learned bias for (Δy, Δx) is added to the logits; needs a grid.
    """

    relative_index: Tensor | None
    locality: Tensor | None

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        side: int | None = None,
        window: int | None = None,
        relative_position: bool = False,
    ) -> None:
        super().__init__()
        self.heads = math.gcd(heads, width)
        self.side = side
        self.window = window or side
        self.is_windowed = self.window != side
        self.qkv = Linear(width, 3 * width, bias=False)
        self.proj = Linear(width, width)
        self.relative_position: nn.Parameter | None = None
        index = None
        if relative_position:
            _, window = self._grid
            table = torch.empty(self.heads, (2 * window - 1) ** 2)
            self.relative_position = nn.Parameter(nn.init.trunc_normal_(table, std=INIT_STD))
            index = relative_position_index(window).flatten()
        self._kept_bias = Kept("relative_bias")
        self.register_buffer("relative_index", index, persistent=False)
        self.register_buffer("locality", None, persistent=False)  # 0 or −∞; a phase of training, no state

    @property
    def _grid(self) -> tuple[int, int]:
        """(S, W)."""
        assert self.side is not None, "relative positions, windows and locality need a grid"
        assert self.window is not None
        return self.side, self.window

    def set_locality(self, window: LocalityWindow | None) -> None:
        """Restricts attention to near tokens, or lifts the restriction (None); needs a grid."""
        self.locality = None
        if window is not None:
            mask = locality_mask(window, self._grid[1])
            device = self.qkv.weight.device
            self.locality = torch.zeros(mask.shape).masked_fill(~mask, -math.inf).to(device)[None]  # [1, W², W²]

    def bias(self, dtype: torch.dtype = torch.float32) -> Tensor | None:
        """What is added to the logits [H or 1, W², W²], or None.

        Where the bias of relative positions is kept because nothing learns, it is kept in `dtype`.
        """
        bias = None
        if self.relative_position is not None:
            assert self.relative_index is not None
            index, window = self.relative_index, self._grid[1]
            table = self.relative_position
            if self.training or table.requires_grad or self.locality is not None:
                self._kept_bias.forget()
                bias = relative_bias(table, index, window)
            else:
                bias = self._kept_bias.of(table, dtype, lambda table: relative_bias(table, index, window).to(dtype))
        if self.locality is None:
            return bias
        return self.locality if bias is None else bias + self.locality

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of x [N, T, D], each [N·windows, H, T per window, d]."""
        y = self.qkv(x)  # [N, T, 3D]
        if self.is_windowed:
            y = to_windows(y, *self._grid)
        y = y.unflatten(-1, (3, self.heads, -1))  # [N·G, W², 3, H, d]
        q, k, v = y.permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [N, T, D] to [N, T, D] in the same type."""
        q, k, v = self.project(x)
        y = attention(q, k, v, self.bias(q.dtype))  # [N·G, H, W², d]
        y = y.transpose(1, 2).flatten(2)  # [N·G, W², D]
        if self.is_windowed:
            y = from_windows(y, *self._grid)
        return self.proj(y)

    def probabilities(self, x: Tensor) -> Tensor:
        """The attention of x [N, T, D]: [N, H, T, T], or [N, G, H, W², W²] with G windows; rows sum to 1."""
        q, k, _ = self.project(x)
        p = attention_probabilities(q, k, self.bias())
        return p if p.shape[0] == x.shape[0] else p.unflatten(0, (x.shape[0], -1))


class CrossAttention(nn.Module):
    """Attention of the tokens to a second set of tokens (TransGAN's generator for CelebA-HQ).

    Args:
        width: D of the tokens that ask.
        context_width: width of the tokens that answer.
        heads: as in `SelfAttention`.
    """

    def __init__(self, width: int, context_width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = math.gcd(heads, width)
        self.q = Linear(width, width, bias=False)
        self.k = Linear(context_width, width, bias=False)
        self.v = Linear(context_width, width, bias=False)
        self.proj = Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Maps x [N, T, D], asking `context` [N, K, D_context], to [N, T, D]."""
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (self.q(x), self.k(context), self.v(context))
        )
        return self.proj(attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """D → ratio·D → D with the exact (erf) GELU between."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, ratio * width)
        self.fc2 = Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, T, D] to [N, T, D]."""
        if x.device.type == "cpu" and is_plain(x) and is_plain(self.fc1.weight):
            note_path("mlp", "in_place")
            hidden = F.linear(x, self.fc1.weight_for(x))  # [N, T, ratio·D]
            return self.fc2(gelu_of_sum(hidden, self.fc1.bias))
        return self.fc2(gelu(self.fc1(x)))


class EncoderBlock(nn.Module):
    """x ← x + Cross(x, context) (if there is one); x ← x + Attn(norm(x) + s·noise); x ← x + MLP(norm(x)).

    Args:
        width: D.
        heads: H, as in `SelfAttention`.
        mlp_ratio: hidden width of the MLP in units of D.
        norm: one of `Norm`.
        side: S of a grid; None for a plain sequence.
        window: W of the attention; None for the whole grid.
        relative_position: learned bias for relative positions.
        noise: learned scalar s, from 0, times noise n ~ N(0, 1), one number per token, added before q, k and v only.
        context_width: width of the tokens of the cross-attention; None for no cross-attention.
        residual_gain: factor on the two sums.
    """

    noise_const: Tensor | None

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        mlp_ratio: int = 4,
        norm: Norm = "layer",
        side: int | None = None,
        window: int | None = None,
        relative_position: bool = False,
        noise: bool = False,
        context_width: int | None = None,
        residual_gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.residual_gain = residual_gain
        self.cross = CrossAttention(width, context_width, heads=heads) if context_width is not None else None
        self.norm1 = make_norm(norm, width)
        self.attn = SelfAttention(width, heads=heads, side=side, window=window, relative_position=relative_position)
        self.noise_strength = nn.Parameter(torch.zeros([])) if noise else None
        fixed = _fixed_noise(side**2) if noise and side is not None else None
        self.register_buffer("noise_const", fixed, persistent=False)
        self.norm2 = make_norm(norm, width)
        self.mlp = Mlp(width, mlp_ratio)

    def forward(
        self, x: Tensor, context: Tensor | None = None, *, noise_mode: NoiseMode = "none", dtype: torch.dtype
    ) -> Tensor:
        """One block.

        Args:
            x: tokens [N, T, D].
            context: tokens [N, K, context_width], if the block has cross-attention.
            noise_mode: noise drawn anew ("random"), the same for all calls and images ("const"), or "none".
            dtype: in which attention and MLP compute.

        Returns:
            Tokens [N, T, D] in the type of `x`.
        """
        if self.cross is not None:
            assert context is not None
            x = x + self.cross(x.to(dtype), context.to(dtype))
        u = self.norm1(x)
        if self.noise_strength is not None and noise_mode != "none":
            u = u + self.noise_strength * self._noise(x, noise_mode)
        x = self._add(x, self.attn(u.to(dtype)))
        y = self.mlp(self.norm2(x).to(dtype))
        if torch.is_grad_enabled():
            return self._add(x, y)
        x += y  # nobody else has it
        return x if self.residual_gain == 1 else x.mul_(self.residual_gain)

    def _noise(self, x: Tensor, noise_mode: NoiseMode) -> Tensor:
        """N(0, 1) [N, T, 1], or [1, T, 1] for "const"."""
        n, tokens, _ = x.shape
        if noise_mode == "random":
            return drawn(n, lambda rows: torch.randn(rows, tokens, 1, dtype=x.dtype, device=x.device))
        return (_fixed_noise(tokens) if self.noise_const is None else self.noise_const).to(x)

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y if self.residual_gain == 1 else (x + y) * self.residual_gain


def _fixed_noise(tokens: int) -> Tensor:
    """N(0, 1) [1, T, 1] of a fixed seed, so that it need not be stored with the weights."""
    # Not torch.randn, which an importer replaces while it builds a network whose weights it will read.
    return torch.normal(0.0, 1.0, (1, tokens, 1), generator=torch.Generator().manual_seed(tokens))


def run_blocks(
    blocks: Iterable[nn.Module],
    x: Tensor,
    context: Tensor | None = None,
    *,
    noise_mode: NoiseMode,
    dtype: torch.dtype,
    checkpoint_gradients: bool,
) -> Tensor:
    """Runs `EncoderBlock`s one after the other on x [N, T, D].

    With `checkpoint_gradients` only the input of each block is kept for the backward pass, which runs the block again:
    about a third more arithmetic for a fraction of the memory, and the same numbers.
    """
    dtype = compute_dtype(x, dtype, True)
    for block in blocks:
        if checkpoint_gradients and torch.is_grad_enabled():
            x = checkpoint(block, x, context, noise_mode=noise_mode, dtype=dtype, use_reentrant=False)
        else:
            x = block(x, context, noise_mode=noise_mode, dtype=dtype)
    return x


def encoder_blocks(net: nn.Module) -> dict[str, EncoderBlock]:
    """The blocks of a network by their names in its state dict, in order."""
    return {name: module for name, module in net.named_modules() if isinstance(module, EncoderBlock)}


def read_attention(net: nn.Module, names: Sequence[str] | None, run: Callable[[], object]) -> dict[str, Tensor]:
    """The self-attention of some blocks of `net` during `run()`, which calls `net`, without gradients.

    Args:
        net: a network of encoder blocks.
        names: which blocks, as in `encoder_blocks`; None for all.
        run: called once, without gradients.

    Returns:
        What `SelfAttention.probabilities` gives, by block.

    Raises:
        ConfigError: there is no block of a name.
    """
    known = encoder_blocks(net)
    maps: dict[str, Tensor] = {}

    def reader(name: str) -> Callable[[SelfAttention, tuple[Tensor]], None]:
        def read(module: SelfAttention, args: tuple[Tensor]) -> None:
            maps[name] = module.probabilities(*args)

        return read

    hooks = []
    for name in known if names is None else names:
        if name not in known:
            raise ConfigError(f"there is no block {name!r}; {nearest(name, known)}")
        hooks.append(known[name].attn.register_forward_pre_hook(reader(name)))
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return maps
