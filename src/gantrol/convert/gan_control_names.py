"""State-dict names of the official GAN-Control networks, from ours; the layout is that of rosinality's StyleGAN2.

here                                     there
mapping.groups.{group}.{i}.*             style.{group}.{i+1}.*           index 0 normalises, without weights
mapping.layers.{i}.*                     style.{i+1}.*                   a generator without groups
synthesis.blocks.0.{const, conv1.*}      input.input, conv1.*
synthesis.blocks.{b}.{conv0, conv1}.*    convs.{2b-2}.*, convs.{2b-1}.*
synthesis.blocks.{b}.torgb.*             to_rgb1.*, to_rgbs.{b-1}.*
….noise_const                            noises.noise_{n}                convolutions counted from 0

blocks.0.from_rgb.*                      convs.0.*                       the discriminator
blocks.{b}.{conv0, conv1, skip}.*        convs.{b+1}.{conv1, conv2, skip}.*
epilogue.{conv, fc, out}.*               final_conv.*, final_linear.0.*, final_linear.1.*
"""

from __future__ import annotations

import re

_GROUP = re.compile(r"mapping\.groups\.(\w+)\.(\d+)\.(\w+)")
_LAYER = re.compile(r"mapping\.layers\.(\d+)\.(\w+)")
_CONV = re.compile(r"synthesis\.blocks\.(\d+)\.conv([01])\.(.+)")
_COLOURS = re.compile(r"synthesis\.blocks\.(\d+)\.torgb\.(.+)")
_BLOCK = re.compile(r"blocks\.(\d+)\.(\w+)\.(\w+)")

_MODULATED = {"weight": "conv.weight", "affine.weight": "conv.modulation.weight", "affine.bias": "conv.modulation.bias"}
_CONV_PARTS = {**_MODULATED, "bias": "activate.bias", "noise_strength": "noise.weight"}
_COLOUR_PARTS = {**_MODULATED, "bias": "bias"}
_BLOCK_PARTS = {
    "from_rgb.weight": "0.weight",
    "from_rgb.bias": "1.bias",
    "conv0.weight": "conv1.0.weight",
    "conv0.bias": "conv1.1.bias",
    "conv1.weight": "conv2.1.weight",
    "conv1.bias": "conv2.2.bias",
    "skip.weight": "skip.1.weight",
}
_EPILOGUE = {
    "epilogue.conv.weight": "final_conv.0.weight",
    "epilogue.conv.bias": "final_conv.1.bias",
    "epilogue.fc.weight": "final_linear.0.weight",
    "epilogue.fc.bias": "final_linear.0.bias",
    "epilogue.out.weight": "final_linear.1.weight",
    "epilogue.out.bias": "final_linear.1.bias",
}


def generator_name(name: str) -> str | None:
    """The official name of a generator's tensor of ours; None for the mean of w, which official files do not have."""
    if name == "mapping.w_avg":
        return None
    if match := _GROUP.fullmatch(name):
        return f"style.{match[1]}.{int(match[2]) + 1}.{match[3]}"
    if match := _LAYER.fullmatch(name):
        return f"style.{int(match[1]) + 1}.{match[2]}"
    if match := _CONV.fullmatch(name):
        index = 2 * int(match[1]) + int(match[2]) - 1  # of all convolutions; the first block has only conv1
        if match[3] == "noise_const":
            return f"noises.noise_{index}"
        return f"{'conv1' if index == 0 else f'convs.{index - 1}'}.{_CONV_PARTS[match[3]]}"
    if match := _COLOURS.fullmatch(name):
        block = int(match[1])
        return f"{'to_rgb1' if block == 0 else f'to_rgbs.{block - 1}'}.{_COLOUR_PARTS[match[2]]}"
    return {"synthesis.blocks.0.const": "input.input"}[name]


def discriminator_name(name: str) -> str:
    """The official name of a discriminator's tensor of ours."""
    if match := _BLOCK.fullmatch(name):
        part = f"{match[2]}.{match[3]}"
        return f"convs.{int(match[1]) + (match[2] != 'from_rgb')}.{_BLOCK_PARTS[part]}"
    return _EPILOGUE[name]


def upsampling_filters(blocks: int) -> list[str]:
    """What the generator's filters are called, for so many blocks."""
    return [
        name for i in range(blocks - 1) for name in (f"convs.{2 * i}.conv.blur.kernel", f"to_rgbs.{i}.upsample.kernel")
    ]


def downsampling_filters(blocks: int) -> list[str]:
    """What the discriminator's filters are called, for so many blocks above 4×4."""
    return [f"convs.{i + 1}.{part}.0.kernel" for i in range(blocks) for part in ("conv2", "skip")]
