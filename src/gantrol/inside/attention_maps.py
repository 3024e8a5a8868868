"""Attention maps: where a token of a TransGAN looks, head by head.

Only the row of one query is computed, not the whole matrix, so that the finest stages can be looked at as well: at
64×64 tokens the matrix of four heads would take 256 MiB.

Dimensions: N images · H heads · S side of the token grid · T = S² tokens · W side of a window · L copies of w.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gantrol.errors import ConfigError, nearest
from gantrol.model import Model
from gantrol.models.transformer import EncoderBlock, SelfAttention, encoder_blocks
from gantrol.ops.attention import attention_probabilities

_RAMP = ((9, 7, 32), (54, 17, 98), (124, 32, 122), (196, 54, 100), (241, 105, 72), (252, 175, 96), (253, 236, 176))
_QUERY = (64, 224, 255)
_UNSEEN = (112, 116, 122)


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionMap:
    """What one token of one block attends to."""

    block: str
    """The block's name within the synthesis network."""
    query: tuple[int, int]
    """(row, column) of the token that asks."""
    heads: Tensor
    """float32 [H, S, S]: the weight of every token, each head summing to 1; 0 outside of the query's window."""
    window: tuple[int, int, int, int]
    """(left, top, right, bottom) of the tokens that the query can see."""

    @property
    def side(self) -> int:
        """S."""
        return self.heads.shape[1]

    @property
    def reach(self) -> tuple[float, ...]:
        """For each head the mean distance of what is attended to from the query, in tokens."""
        row, column = self.query
        index = torch.arange(self.side, dtype=torch.float32)
        distance = torch.hypot(index[:, None] - row, index[None, :] - column)
        return tuple((self.heads * distance).sum(dim=(1, 2)).tolist())

    @property
    def spread(self) -> tuple[float, ...]:
        """For each head 2 to the power of the entropy in bits: among how many tokens the attention is shared."""
        p = self.heads.flatten(1).double()
        bits = -(p * p.clamp_min(1e-30).log2()).sum(dim=1)
        return tuple((2**bits).tolist())


def attention_blocks(generator: Any) -> dict[str, int]:
    """The blocks of a TransGAN by name, with the side S of their tokens; empty for other generators."""
    blocks = encoder_blocks(generator.synthesis)
    return {name: int(block.attn.side or 0) for name, block in blocks.items() if block.attn.side}


def attention_map(model: Model, ws: Tensor, block: str, query: tuple[int, int]) -> AttentionMap:
    """The attention of one token while one image is rendered, without gradients.

    Args:
        model: a TransGAN.
        ws: [1, L, D].
        block: one of `attention_blocks`.
        query: (row, column) of the token that asks, from 0.

    Raises:
        ConfigError: the model has no such block, the grid no such token, or ws are of several images.

    Source: softmax(q·kᵀ/√d + bias), Vaswani et al. 2017, equation 1; windows and bias as in TransGAN (Jiang et al.
    2021).
    """
    known: dict[str, EncoderBlock] = encoder_blocks(model.generator.synthesis)
    if not known:
        raise ConfigError(f"a {model.config.kind} model has no attention to show; load a TransGAN")
    if block not in known:
        raise ConfigError(f"there is no block {block!r}; {nearest(block, known)}")
    module = known[block].attn
    side = module.side or 0
    row, column = query
    if not (0 <= row < side and 0 <= column < side):
        raise ConfigError(f"query {row},{column}: {block} has {side}×{side} tokens, counted from 0")
    if len(ws) != 1:
        raise ConfigError(f"ws of {len(ws)} images: attention maps are those of one")
    found: list[AttentionMap] = []

    def read(attn: SelfAttention, args: tuple[Tensor]) -> None:
        found.append(_row_of(attn, args[0], block, query))

    hook = module.register_forward_pre_hook(read)
    try:
        with torch.no_grad():
            model.generator.synthesis(ws.to(model.device), noise_mode="const", dtype=model.dtype)
    finally:
        hook.remove()
    return found[0]


def attention_sheet(found: AttentionMap, image: np.ndarray, side_px: int = 160) -> Image.Image:
    """One picture per head, side by side: the weights as colours over a grey version of the image, the query framed.

    Args:
        found: the map.
        image: uint8 [R, R, C] that was rendered meanwhile.
        side_px: of each picture.

    Returns:
        RGB, `side_px` high; each head is brightest where its own attention is strongest.
    """
    grey = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image[:, :, :3]).convert("L")
    below = np.asarray(grey.resize((side_px, side_px), Image.Resampling.LANCZOS), dtype=np.float64)[:, :, None]
    gap = 8
    sheet = Image.new("RGB", (len(found.heads) * (side_px + gap) - gap, side_px), (255, 255, 255))
    cell = side_px / found.side
    left, top, right, bottom = (round(edge * cell) for edge in found.window)
    row, column = found.query
    for index, head in enumerate(found.heads):
        strength = (head / head.max().clamp_min(1e-12)).numpy()
        wide = Image.fromarray((strength * 255).round().astype(np.uint8)).resize(
            (side_px, side_px), Image.Resampling.NEAREST
        )
        share = np.asarray(wide, dtype=np.float64)
        colours = _colours(share / 255)
        mixed = 0.35 * below + 0.65 * colours
        unseen = np.ones((side_px, side_px, 1), dtype=bool)
        unseen[top:bottom, left:right] = False
        mixed = np.where(unseen, 0.5 * below + 0.5 * np.asarray(_UNSEEN), mixed)
        tile = Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))
        box = (column * cell, row * cell, (column + 1) * cell - 1, (row + 1) * cell - 1)
        ImageDraw.Draw(tile).rectangle(box, outline=_QUERY, width=2)
        sheet.paste(tile, (index * (side_px + gap), 0))
    return sheet


def _row_of(attn: SelfAttention, x: Tensor, block: str, query: tuple[int, int]) -> AttentionMap:
    """The row of the attention matrix of tokens x [1, T, D] that belongs to the query."""
    side = attn.side or 0
    window = attn.window or side
    (row, column), across = query, side // window
    number = (row // window) * across + column // window  # of the window, counted row by row
    token = (row % window) * window + column % window
    q, k, _ = attn.project(x)  # [windows, H, W², d]
    bias = attn.bias()
    if bias is not None:
        bias = bias[:, token : token + 1]
    p = attention_probabilities(q[number, None, :, token : token + 1], k[number, None], bias)  # [1, H, 1, W²]
    top, left = row // window * window, column // window * window
    heads = torch.zeros(p.shape[1], side, side)
    heads[:, top : top + window, left : left + window] = p[0, :, 0].unflatten(1, (window, window)).float().cpu()
    return AttentionMap(block=block, query=query, heads=heads, window=(left, top, left + window, top + window))


def _colours(share: np.ndarray) -> np.ndarray:
    """[S, S] from 0 to 1 as colours [S, S, 3] from dark to bright."""
    ramp, places = np.asarray(_RAMP, dtype=np.float64), np.linspace(0, 1, len(_RAMP))
    return np.stack([np.interp(share, places, ramp[:, channel]) for channel in range(3)], axis=2)
