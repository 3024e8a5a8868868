"""The reference vectors of TransGAN as built models: official state-dict names, and states given by a formula."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantrol.models import (
    TransGANConfig,
    TransGANDiscriminator,
    TransGANDiscriminatorConfig,
    TransGANGenerator,
    TransGANScale,
    TransGANStage,
)
from gantrol.models.transgan import _stages
from tests.models.golden_models import Golden

BLOCK_NAMES = (
    (r"\.norm([12])\.norm\.", r".norm\1."),
    (r"attn\.relative_position_bias_table", "attn.relative_position"),
    (r"\.attn\.noise_strength_1", ".noise_strength"),
    (r"cross_attention\.([qkv])_transform", r"cross.\1"),
    (r"cross_attention\.proj", "cross.proj"),
)
UNUSED = r"to_rgb\.|.*relative_position_index|.*cross_attention\.noise_strength_1"


def _renamed(name: str, value: Tensor, rules: tuple[tuple[str, str], ...]) -> tuple[str, Tensor]:
    for pattern, ours in (*rules, *BLOCK_NAMES):
        name = re.sub(pattern, ours, name)
    if "relative_position" in name:
        value = value.T  # [table, heads] there, [heads, table] here
    elif "positions" in name:
        value = value[0]
    return name, value


def generator_state(official: dict[str, Tensor]) -> dict[str, Tensor]:
    """The official names of a TransGAN generator, either version, as ours."""
    rules: list[tuple[str, str]] = [
        (r"^l1\.", "synthesis.input."),
        (r"^embedding_transform\.", "synthesis.latent_tokens."),
        (r"^embed_pos$", "synthesis.latent_positions"),
        (r"^deconv\.0\.", "synthesis.to_rgb."),
        (r"^blocks\.(?:block\.)?(\d+)\.", r"synthesis.stages.0.blocks.\1."),
    ]
    for i in range(6):
        rules += [
            (rf"^pos_embed_{i + 1}$", f"synthesis.stages.{i}.positions"),
            (rf"^upsample_blocks\.{i}\.(?:block\.)?(\d+)\.", rf"synthesis.stages.{i + 1}.blocks.\1."),
            (rf"^blocks_{i + 1}\.block\.(\d+)\.", rf"synthesis.stages.{i}.blocks.\1."),
        ]
    kept = {name: value for name, value in official.items() if not re.match(UNUSED, name)}
    state = dict(_renamed(name, value, tuple(rules)) for name, value in kept.items())
    state["synthesis.to_rgb.weight"] = state["synthesis.to_rgb.weight"].flatten(1)
    return state


def discriminator_state(official: dict[str, Tensor], scales: tuple[TransGANScale, ...]) -> dict[str, Tensor]:
    """The official names of a TransGAN discriminator, either version, as ours."""
    official = dict(official)
    official["cls"] = official.pop("cls_token")[0, 0]
    if "pos_embed" in official:
        positions = official.pop("pos_embed")
        official |= {"cls_position": positions[0, 0], "pos_embed_1": positions[:, 1:]}
    rules: list[tuple[str, str]] = [
        (r"^patch_embed\.", "scales.0.embed."),
        (r"^(?:last_block|blocks)\.(\d+)\.", r"last.\1."),
        (r"^norm\.norm\.", "norm."),
    ]
    for i, scale in enumerate(scales):
        rules += [
            (rf"^fRGB_{i + 1}\.", f"scales.{i}.embed."),
            (rf"^pos_embed_{i + 1}$", f"scales.{i}.positions"),
            (rf"^blocks_{i + 1}\.(\d+)\.", rf"scales.{i}.blocks.\1."),
            (rf"^blocks_{i + 1}1\.0\.", f"scales.{i}.blocks.{scale.depth}."),
        ]
    kept = {name: value for name, value in official.items() if not re.match(UNUSED, name)}
    return dict(_renamed(name, value, tuple(rules)) for name, value in kept.items())


def formula_state(info: dict[str, Any]) -> dict[str, Tensor]:
    """The state that a fixture's entry `state_formula` describes."""
    return {name: _by_formula(k, shape, mean, std) for name, k, shape, mean, std in info["state_formula"]["tensors"]}


def _by_formula(k: int, shape: list[int], mean: float, std: float) -> Tensor:
    count, piece = int(np.prod(shape)), 1 << 16  # a piece stays in the cache: some fixtures have 10⁸ values
    values = np.empty(count, np.float32)
    for start in range(0, count, piece):
        x = np.arange(start, min(start + piece, count), dtype=np.uint32)  # wraps around
        x = x * np.uint32(2654435761) + np.uint32((k + 1) * 2246822519 % 2**32)
        x = (x ^ (x >> np.uint32(15))) * np.uint32(2246822519)
        x = (x ^ (x >> np.uint32(13))) * np.uint32(3266489917)
        x ^= x >> np.uint32(16)
        values[start : start + piece] = mean + std * (x / 4294967296 - 0.5) * 2 * 3**0.5
    return torch.from_numpy(values).reshape(shape)


def golden_generator(name: str) -> tuple[Golden, TransGANGenerator]:
    golden = Golden(name)
    options = golden.info["constructor_options"]
    width, side = options["gf_dim"], options["bottom_width"]
    common: dict[str, Any] = {
        "z_dim": options["latent_dim"],
        "norm": "pixel" if options.get("g_norm") == "pn" else "layer",
    }
    if name == "transgan_256_gen":
        shapes = [(8, 64, None, "none"), (16, 64, None, "bicubic"), (32, 64, None, "bicubic")]
        shapes += [
            (64, 16, 16, "pixelshuffle"),
            (128, 4, 16, "smooth_pixelshuffle"),
            (256, 1, 16, "smooth_pixelshuffle"),
        ]
        stages = tuple(
            TransGANStage(side=side, channels=width, depth=int(side > 8), window=window, upsampling=upsampling)
            for side, width, window, upsampling in shapes
        )
        common |= {"heads": 1, "relative_position": True, "noise": True, "cross_attention": True}
    elif "v1" in name:
        stages = _stages(width, side, (options["depth_of_first_stage"], 4, 2))
    else:
        stages = _stages(width, side, tuple(map(int, options["g_depth"].split(","))))
        common |= {"relative_position": True}
    model = TransGANConfig(resolution_px=stages[-1].side, stages=stages, **common).build()
    state = formula_state(golden.info) if "state_formula" in golden.info else golden.state
    model.load_state_dict(generator_state(state))
    return golden, model


def golden_discriminator(name: str) -> tuple[Golden, TransGANDiscriminator]:
    golden = Golden(name)
    options = golden.info["constructor_options"]
    width = options["df_dim"]
    if "v1" in name:
        scales: tuple[TransGANScale, ...] = (TransGANScale(patch_px=4, channels=width),)
        common: dict[str, Any] = {"last_depth": options["d_depth"], "cls_position": True}
    elif "v2" in name:
        scales = (
            TransGANScale(patch_px=2, channels=width * 3 // 4, global_depth=1),
            TransGANScale(patch_px=4, channels=width // 4, global_depth=1),
        )
        common = {"relative_position": True, "noise": True}
    else:
        scales = (
            TransGANScale(patch_px=2, kernel_px=4, channels=width // 4, depth=1, window=4),
            TransGANScale(patch_px=4, channels=width // 4, global_depth=1),
            TransGANScale(patch_px=8, channels=width // 2, global_depth=2),
        )
        common = {"heads": options["num_heads"]}
    model = TransGANDiscriminatorConfig(resolution_px=options["img_size"], scales=scales, **common).build()
    state = formula_state(golden.info) if "state_formula" in golden.info else golden.state
    model.load_state_dict(discriminator_state(state, scales))
    return golden, model
