"""State-dict names of the official TransGAN networks, from ours.

Inside the encoder blocks both codes agree but for a few words. What the blocks are called differs between the versions:

    generator       PLAIN    blocks.{i}, upsample_blocks.{s-1}.{i}                  version 1
                    GROUPED  blocks.block.{i}, upsample_blocks.{s-1}.block.{i}      version 2, CIFAR-10 and STL-10
                    LEVELS   blocks_{s+1}.block.{i}                                 version 2, 256 px
    discriminator   one scale      blocks.{i}                                       version 1
                    several        blocks_{s+1}.{i}, blocks_{s+1}1.{i}, last_block.{i}   version 2

with s the stage or scale and i the block, counted from 0. In version 2 a norm is a part of another module, so its
tensors are `norm1.norm.weight` instead of `norm1.weight`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

Blocks = Literal["plain", "grouped", "levels"]

SIGNS: dict[Blocks, str] = {
    "levels": r"blocks_\d+\.block\.\d+\.",
    "grouped": r"blocks\.block\.\d+\.",
    "plain": r"blocks\.\d+\.",
}
"""What the name of a generator's tensor begins with, by the names of its blocks."""

_STAGE_BLOCK = re.compile(r"synthesis\.stages\.(\d+)\.blocks\.(\d+)\.(.+)")
_STAGE_POSITIONS = re.compile(r"synthesis\.stages\.(\d+)\.positions")
_SCALE_BLOCK = re.compile(r"scales\.(\d+)\.blocks\.(\d+)\.(.+)")
_SCALE_PART = re.compile(r"scales\.(\d+)\.(positions|embed)(.*)")
_LAST_BLOCK = re.compile(r"last\.(\d+)\.(.+)")

_GENERATOR_PARTS = {
    "synthesis.input": "l1",
    "synthesis.latent_tokens": "embedding_transform",
    "synthesis.latent_positions": "embed_pos",
    "synthesis.to_rgb": "deconv.0",
}
_BLOCK_PARTS = {
    "attn.relative_position": "attn.relative_position_bias_table",
    "noise_strength": "attn.noise_strength_1",
    "cross.q": "cross_attention.q_transform",
    "cross.k": "cross_attention.k_transform",
    "cross.v": "cross_attention.v_transform",
    "cross.proj": "cross_attention.proj",
}


def stage_blocks(blocks: Blocks, stage: int) -> str:
    """What the names of a stage's blocks begin with; their index follows."""
    if blocks == "levels":
        return f"blocks_{stage + 1}.block."
    group = "block." if blocks == "grouped" else ""
    return f"blocks.{group}" if stage == 0 else f"upsample_blocks.{stage - 1}.{group}"


def generator_name(blocks: Blocks) -> Callable[[str], str]:
    """The function from our names to the official ones, for a generator whose blocks have such names."""

    def official(name: str) -> str:
        if match := _STAGE_BLOCK.fullmatch(name):
            return (
                f"{stage_blocks(blocks, int(match[1]))}{match[2]}.{_in_block(match[3], is_wrapped=blocks != 'plain')}"
            )
        if match := _STAGE_POSITIONS.fullmatch(name):
            return f"pos_embed_{int(match[1]) + 1}"
        return _replaced(name, _GENERATOR_PARTS)

    return official


def single_scale_name(*, is_wrapped: bool) -> Callable[[str], str]:
    """The function from our names to the official ones, for a discriminator of one scale.

    Args:
        is_wrapped: whether a norm is a part of another module.
    """
    parts = {"cls": "cls_token", "cls_position": "pos_embed", "scales.0.positions": "pos_embed"}
    parts |= {"scales.0.embed": "patch_embed"} | ({"norm": "norm.norm"} if is_wrapped else {})

    def official(name: str) -> str:
        if match := _LAST_BLOCK.fullmatch(name):
            return f"blocks.{match[1]}.{_in_block(match[2], is_wrapped=is_wrapped)}"
        return _replaced(name, parts)

    return official


def scale_block(scale: int, block: int, first_group: int) -> str:
    """The official name of a block of a scale, the first `first_group` of which are a list of their own."""
    if block < first_group:
        return f"blocks_{scale + 1}.{block}"
    return f"blocks_{scale + 1}1.{block - first_group}"


def multi_scale_name(first_groups: Sequence[int]) -> Callable[[str], str]:
    """The function from our names to the official ones, for a discriminator of several scales.

    Args:
        first_groups: see `scale_block`, for each scale.
    """

    def official(name: str) -> str:
        if match := _SCALE_BLOCK.fullmatch(name):
            scale = int(match[1])
            block = scale_block(scale, int(match[2]), first_groups[scale])
            return f"{block}.{_in_block(match[3], is_wrapped=True)}"
        if match := _SCALE_PART.fullmatch(name):
            part = "pos_embed" if match[2] == "positions" else "fRGB"
            return f"{part}_{int(match[1]) + 1}{match[3]}"
        if match := _LAST_BLOCK.fullmatch(name):
            return f"last_block.{match[1]}.{_in_block(match[2], is_wrapped=True)}"
        return _replaced(name, {"cls": "cls_token", "norm": "norm.norm"})

    return official


def _in_block(name: str, *, is_wrapped: bool) -> str:
    """The official name of a tensor of an encoder block."""
    if is_wrapped and name.startswith(("norm1.", "norm2.")):
        return f"{name[:5]}.norm{name[5:]}"
    return _replaced(name, _BLOCK_PARTS)


def _replaced(name: str, parts: dict[str, str]) -> str:
    """`name` with the part that it is or begins with replaced."""
    path, dot, leaf = name.rpartition(".")
    if name in parts:
        return parts[name]
    return f"{parts.get(path, path)}{dot}{leaf}"
