"""TransGAN checkpoints (`.pth` of the code of February 2021 and of the last one) to models of ours.

Sizes are those of the tensors: widths, depths, sides of the grids, hidden widths. The side of an attention window and
the number of heads follow from the shape of the table of biases. Where there is none, as in version 1, the published
values are taken, and said to be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from gantrol.convert.foreign import Imported, Request
from gantrol.convert.state_dict_files import Reading, StateDict, any_generator, convert_state_dicts
from gantrol.convert.transgan_names import (
    SIGNS,
    generator_name,
    multi_scale_name,
    scale_block,
    single_scale_name,
    stage_blocks,
)
from gantrol.errors import CheckpointError
from gantrol.models import TransGANConfig, TransGANDiscriminatorConfig, TransGANScale, TransGANStage
from gantrol.models.transformer import relative_position_index
from gantrol.models.transgan import Upsampling

_HEADS = 4
"""Of every published network."""
_CELEBAHQ_WINDOW = 4
"""Side of the windows in the discriminator for CelebA-HQ, whose attention has no table of biases."""
_CELEBAHQ_SMOOTHED = 4
"""In the generator for CelebA-HQ, the stages from this one on (128 px) low-pass what they shuffle."""
_MAX_INDEX_ELEMENTS = 1 << 26
"""Largest sum of W⁴ over all attention with a table of biases; published networks stay below 2²⁵."""


def is_transgan(content: Any) -> bool:
    """Whether the value of a file of `torch.save` holds a TransGAN generator."""
    state = any_generator(content)
    return state is not None and "l1.weight" in state and "pos_embed_1" in state


def convert_transgan(content: Any, request: Request) -> Imported:
    """Builds the networks that `request` asks for.

    Raises:
        CheckpointError: the generator is incomplete or none of the official code.
    """
    return convert_state_dicts(content, request, read_generator=_generator, read_discriminator=_discriminator)


def _generator(state: StateDict) -> Reading:
    naming = next((blocks for blocks, sign in SIGNS.items() if state.has(sign)), None)
    if naming is None:
        raise CheckpointError("its generator has no encoder blocks")
    is_celebahq = "embedding_transform.weight" in state
    windows: dict[str, int] = {}
    stages: list[TransGANStage] = []
    while f"pos_embed_{len(stages) + 1}" in state:
        index = len(stages)
        _, tokens, width = state.shape(f"pos_embed_{index + 1}", 3)
        upsampling: Upsampling = "none"
        if stages:
            upsampling = "bicubic" if width == stages[-1].channels else "pixelshuffle"
            if is_celebahq and upsampling == "pixelshuffle" and index >= _CELEBAHQ_SMOOTHED:
                upsampling = "smooth_pixelshuffle"
        prefix = stage_blocks(naming, index)
        blocks = [f"{prefix}{i}" for i in range(state.count(rf"{prefix}(\d+)\."))]
        found = {block: _window(state, block, _side(tokens)) for block in blocks}
        if len(set(found.values())) > 1:
            raise CheckpointError(f"the blocks of its stage {index + 1} have windows of several sizes")
        window = next(iter(found.values()), None)
        windows |= {block: window or _side(tokens) for block in blocks}
        stages.append(
            TransGANStage(side=_side(tokens), channels=width, depth=len(blocks), window=window, upsampling=upsampling)
        )
    if not windows:
        raise CheckpointError("its generator has no encoder blocks")
    assumed: list[str] = []
    first = next(iter(windows))
    is_version_1 = naming == "plain"
    config = TransGANConfig(
        resolution_px=stages[-1].side,
        channels=state.shape("deconv.0.weight", 4)[0],
        z_dim=state.shape("l1.weight", 2)[1],
        stages=tuple(stages),
        cross_attention=is_celebahq,
        **_block_options(state, first, is_version_1, assumed),
    )
    if not is_version_1:
        assumed.append("whether latents were normalised (latent_norm): taken as not, as published")
    if any(stage.upsampling == "smooth_pixelshuffle" for stage in stages):
        assumed.append("from where on it low-passes what it shuffles: taken as the fifth stage, as published")
    return Reading(
        config=config,
        official_name=generator_name(naming),
        adapt=_adapted,
        implied=_indices(windows, config.relative_position),
        assumed=assumed,
    )


def _discriminator(state: StateDict, generator: TransGANConfig) -> Reading:
    reading = _single_scale(state) if "patch_embed.weight" in state else _multi_scale(state)
    if reading.config.resolution_px != generator.resolution_px:
        raise CheckpointError(f"it judges images of {reading.config.resolution_px} px")
    return reading


def _single_scale(state: StateDict) -> Reading:
    """Version 1: patches of one size, a [cls] token with a position of its own, blocks."""
    width, channels, patch, _ = state.shape("patch_embed.weight", 4)
    side = _side(state.shape("pos_embed", 3)[1] - 1)
    is_wrapped = state.has(r"blocks\.0\.norm1\.norm\.")
    assumed: list[str] = []
    config = TransGANDiscriminatorConfig(
        resolution_px=side * patch,
        channels=channels,
        scales=(TransGANScale(patch_px=patch, channels=width),),
        last_depth=state.count(r"blocks\.(\d+)\."),
        cls_position=True,
        **_block_options(state, "blocks.0", not is_wrapped, assumed),
    )

    def adapt(name: str, value: Tensor) -> Tensor:
        if name == "cls_position":
            return value[:, 0]
        return value[:, 1:] if name == "scales.0.positions" else _adapted(name, value)

    return Reading(config=config, official_name=single_scale_name(is_wrapped=is_wrapped), adapt=adapt, assumed=assumed)


def _multi_scale(state: StateDict) -> Reading:
    """Version 2: patches of several sizes, the [cls] token last."""
    assumed: list[str] = []
    kernels: list[int] = []
    sides: list[int] = []
    added: list[int] = []
    first_groups: list[int] = []
    windows: dict[str, int] = {}
    scales: list[TransGANScale] = []
    while f"pos_embed_{len(sides) + 1}" in state:
        number = len(sides) + 1
        width, _, kernel, _ = state.shape(f"fRGB_{number}.weight", 4)
        kernels.append(kernel)
        added.append(width)
        sides.append(_side(state.shape(f"pos_embed_{number}", 3)[1]))
        first_groups.append(state.count(rf"blocks_{number}\.(\d+)\."))
    if not kernels:
        raise CheckpointError("it is none of the official code")
    # The patches of the first scale may overlap, those of the others do not: they tell how large a token is.
    patch = kernels[1] // 2 if len(kernels) > 1 else kernels[0]
    for index, side in enumerate(sides):
        count = first_groups[index] + state.count(rf"blocks_{index + 1}1\.(\d+)\.")
        blocks = [scale_block(index, i, first_groups[index]) for i in range(count)]
        found = [_window(state, block, side) for block in blocks]
        if blocks and not _has_table(state, blocks[0]) and index < len(sides) - 1 and len(sides) > 2:
            found = [_CELEBAHQ_WINDOW if i < first_groups[index] else None for i in range(count)]
            size = f"{_CELEBAHQ_WINDOW}×{_CELEBAHQ_WINDOW}"
            assumed.append(f"how large the windows of blocks_{index + 1} are: taken as {size}, as published")
        confined = [window for window in found if window is not None]
        if found != confined + [None] * (count - len(confined)) or len(set(confined)) > 1:
            raise CheckpointError(f"the blocks of its scale {index + 1} have windows in an order of their own")
        windows |= {block: window or side for block, window in zip(blocks, found, strict=True)}
        scales.append(
            TransGANScale(
                patch_px=patch * 2**index,
                kernel_px=kernels[index] if kernels[index] != patch * 2**index else None,
                channels=added[index],
                depth=len(confined),
                window=confined[0] if confined else None,
                global_depth=count - len(confined),
            )
        )
    first = next(iter(windows), "last_block.0")
    config = TransGANDiscriminatorConfig(
        resolution_px=patch * sides[0],
        channels=state.shape("fRGB_1.weight", 4)[1],
        scales=tuple(scales),
        last_depth=state.count(r"last_block\.(\d+)\."),
        **_block_options(state, first, False, assumed),
    )
    return Reading(
        config=config,
        official_name=multi_scale_name(first_groups),
        adapt=_adapted,
        implied=_indices(windows, config.relative_position),
        assumed=assumed,
    )


# ----------------------------------------------------------------------------------------------------------------------
# What all of them share


def _block_options(state: StateDict, block: str, is_version_1: bool, assumed: list[str]) -> dict[str, Any]:
    """The options of the encoder blocks, as one of them has them; `assumed` gains what it does not tell."""
    heads = _HEADS
    has_table = _has_table(state, block)
    if has_table:
        heads = state.shape(f"{block}.attn.relative_position_bias_table", 2)[1]
    else:
        assumed.append(f"how many heads attention has: taken as {_HEADS}, as published")
    norm = "layer"
    if f"{block}.norm1.norm.running_mean" in state:
        norm = "batch"
    elif not is_version_1 and f"{block}.norm1.norm.weight" not in state:
        norm = "pixel"
        assumed.append("which of the norms without parameters it has: taken as the pixel norm (pn), as published")
    hidden, width = state.shape(f"{block}.mlp.fc1.weight", 2)
    return {
        "heads": heads,
        "mlp_ratio": hidden // width,
        "norm": norm,
        "relative_position": has_table,
        "noise": f"{block}.attn.noise_strength_1" in state,
    }


def _has_table(state: StateDict, block: str) -> bool:
    return f"{block}.attn.relative_position_bias_table" in state


def _window(state: StateDict, block: str, side: int) -> int | None:
    """Side of the windows in which a block attends; None for the whole grid of `side`."""
    if not _has_table(state, block):
        return None
    rows, _ = state.shape(f"{block}.attn.relative_position_bias_table", 2)
    window = (math.isqrt(rows) + 1) // 2
    if (2 * window - 1) ** 2 != rows:
        raise CheckpointError(f"its table of biases of {block} has {rows} rows, which fits no window")
    return window if window != side else None


def _side(tokens: int) -> int:
    """Side of a square grid."""
    side = math.isqrt(max(tokens, 0))
    if side == 0 or side**2 != tokens:
        raise CheckpointError(f"{tokens} positions are no square grid")
    return side


def _indices(windows: Mapping[str, int], has_tables: bool) -> dict[str, Callable[[], Tensor]]:
    """The tables of which bias belongs to which pair of tokens, which official files store."""
    if not has_tables:
        return {}
    if sum(window**4 for window in windows.values()) > _MAX_INDEX_ELEMENTS:
        raise CheckpointError("its windows are larger than those of any network")
    return {
        f"{block}.attn.relative_position_index": partial(relative_position_index, window)
        for block, window in windows.items()
    }


def _adapted(name: str, value: Tensor) -> Tensor:
    """Tables of biases are [table, heads] there and [heads, table] here."""
    return value.t() if name.endswith(".relative_position") and value.ndim == 2 else value
