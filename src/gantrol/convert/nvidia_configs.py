"""What network an official module is: its config, from the attributes of its parts and the shapes of its tensors.

The arguments that a module was made with changed their places and defaults from `stylegan2-ada-pytorch` to `stylegan3`,
and older files lack some. What is in effect stands in the parts themselves: the sizes in the tensors' shapes; clamp,
half precision and decays in the layers' attributes. Arguments only answer what neither tells.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from gantrol.config import from_dict
from gantrol.convert.nvidia_modules import Official
from gantrol.errors import CheckpointError, ConfigError
from gantrol.inert_pickle import shown
from gantrol.models import (
    DiscriminatorConfig,
    GeneratorConfig,
    StyleGAN2Config,
    StyleGAN2DiscriminatorConfig,
    StyleGAN3Config,
    layer_schedule,
)

C = TypeVar("C")

_MAX_RESOLUTION_PX = 1 << 14
_MAX_TAPS = 256
_MAX_NUMBER = 1 << 30

_LAYER = re.compile(r"synthesis\.L(\d{1,3})_(\d{1,6})_(\d{1,6})\.weight")
_BLOCK = re.compile(r"(?:synthesis\.)?b(\d{1,6})\.")

_MAPPING_MULTIPLIER = 0.01
"""Learning-rate multiplier λ of the mapping networks; of all other layers it is 1."""
_LINEAR = {"affine", "embed", "out", "skip", "torgb"}
"""Layers without activation, by the last part of their names; all others are leaky ReLU."""

_ARGUMENTS = frozenset(
    [
        *("class_name", "z_dim", "c_dim", "w_dim", "img_resolution", "img_channels"),
        *("mapping_kwargs", "synthesis_kwargs", "block_kwargs", "epilogue_kwargs"),
        *("architecture", "channel_base", "channel_max", "num_fp16_res", "conv_clamp", "cmap_dim", "freeze_layers"),
        *("use_noise", "activation", "resample_filter", "fused_modconv_default", "fp16_channels_last"),
        *("conv_kernel", "use_radial_filters", "filter_size", "lrelu_upsampling", "magnitude_ema_beta"),
        *("num_layers", "num_critical", "first_cutoff", "first_stopband", "last_stopband_rel", "margin_size"),
        *("output_scale", "mbstd_group_size", "mbstd_num_channels"),
        *("num_ws", "embed_features", "layer_features", "lr_multiplier", "w_avg_beta"),
    ]
)
"""Arguments of the official networks. Any other comes from derived code, whose networks may compute something else."""


# ----------------------------------------------------------------------------------------------------------------------
# Generators


def generator_config(network: Official) -> GeneratorConfig:
    """The config of an official StyleGAN2 or StyleGAN3 generator.

    Raises:
        CheckpointError: it is neither, or somebody's variation of one.
    """
    _check_arguments(network)
    _check_layers(network)
    try:
        if "synthesis.input.freqs" in network.tensors:
            return _stylegan3(network)
        if "synthesis.b4.const" in network.tensors:
            return _stylegan2(network)
    except ConfigError as error:
        raise CheckpointError(f"its generator cannot be: {error}") from error
    name = shown(network.record.class_name)
    raise CheckpointError(f"its {name} is neither a StyleGAN2 nor a StyleGAN3 generator of the official code")


def _common(network: Official) -> dict[str, Any]:
    """The fields that both generators share: widths of the mapping network, decays, label."""
    is_conditional = "mapping.embed.weight" in network.tensors
    w_dim, inputs = network.shape("mapping.fc0.weight", 2)
    return {
        "w_dim": w_dim,
        "z_dim": inputs - (w_dim if is_conditional else 0),
        "c_dim": network.shape("mapping.embed.weight", 2)[1] if is_conditional else 0,
        "mapping_layers": network.count(r"mapping\.fc\d+\.weight"),
        "w_avg_beta": network.stated("mapping", "w_avg_beta", default=0.998),
        "conv_clamp": _clamp(network),
    }


def _stylegan3(network: Official) -> StyleGAN3Config:
    layers = {int(match[1]): match for name in network.tensors if (match := _LAYER.fullmatch(name))}
    last = max(layers, default=-1)
    if last < 2 or set(layers) != set(range(last + 1)):
        raise CheckpointError("its generator lacks layers")
    paths = [layers[i][0].removesuffix(".weight") for i in range(last + 1)]
    widths = [int(layers[i][3]) for i in range(last)]
    resolution = _checked_resolution(int(layers[last][2]))
    base, most = _widths(network, {resolution: widths[-1]}, max(widths))
    config = _make(
        StyleGAN3Config,
        **_common(network),
        resolution_px=resolution,
        channels=int(layers[last][3]),
        num_layers=last,
        num_critical=network.stated("synthesis", "num_critical", default=2),
        first_cutoff=network.stated("synthesis", "first_cutoff", default=2.0),
        first_stopband=network.stated("synthesis", "first_stopband", default=2**2.1),
        last_stopband_rel=network.stated("synthesis", "last_stopband_rel", default=2**0.3),
        margin_px=network.stated("synthesis", "margin_size", default=10),
        filter_size=network.stated("synthesis", "filter_size", default=6),
        lrelu_upsampling=network.stated("synthesis", "lrelu_upsampling", default=2),
        conv_kernel=network.shape(f"{paths[0]}.weight", 4)[2],
        use_radial_filters=any(
            name.endswith(".down_filter") and len(tensor.shape) == 2 for name, tensor in network.tensors.items()
        ),
        channel_base=base,
        channel_max=most,
        output_scale=network.stated("synthesis", "output_scale", default=0.25),
        num_low_precision_res=network.stated("synthesis", "num_fp16_res", default=4),
        magnitude_ema_beta=network.stated(paths[0], "magnitude_ema_beta", default=0.999),
    )
    if max(max(spec.up_taps, spec.down_taps) for spec in layer_schedule(config)) > _MAX_TAPS:
        raise CheckpointError("its generator has filters of absurd size")
    flags = [network.state(path).get("use_fp16") for path in paths]
    return config if None in flags else _with_low_precision(config, [bool(flag) for flag in flags])


def _with_low_precision(config: StyleGAN3Config, flags: list[bool]) -> StyleGAN3Config:
    """`config` such that the layers with a flag may compute in half precision; unchanged if no config has these."""
    counts = [config.num_low_precision_res, *range(16)]
    candidates = [dataclasses.replace(config, num_low_precision_res=count) for count in counts]
    fitting = (one for one in candidates if [spec.is_low_precision for spec in layer_schedule(one)] == flags)
    return next(fitting, config)


def _stylegan2(network: Official) -> StyleGAN2Config:
    blocks = _blocks(network)
    widths = {resolution: network.shape(f"synthesis.b{resolution}.conv1.weight", 4)[0] for resolution in blocks}
    resolution = _checked_resolution(max(widths))
    base, most = _widths(network, widths, max(widths.values()))
    return _make(
        StyleGAN2Config,
        **_common(network),
        resolution_px=resolution,
        channels=network.shape(f"synthesis.b{resolution}.torgb.weight", 4)[0],
        architecture=_architecture(network, "synthesis.b4.torgb.weight", f"synthesis.b{resolution}.skip.weight"),
        use_noise="synthesis.b4.conv1.noise_const" in network.tensors,
        channel_base=base,
        channel_max=most,
        num_low_precision_res=_num_low_precision(network, "synthesis."),
    )


# ----------------------------------------------------------------------------------------------------------------------
# Discriminator


def discriminator_config(network: Official) -> DiscriminatorConfig:
    """The config of an official discriminator; layers that were frozen come back as ordinary ones.

    Raises:
        CheckpointError: it is none, or somebody's variation of one.
    """
    _check_arguments(network)
    _check_layers(network)
    widths = {r: network.shape(f"b{r}.conv0.weight", 4)[0] for r in _blocks(network) if r > 4}
    if "b4.conv.weight" not in network.tensors or not widths:
        raise CheckpointError(f"its {shown(network.record.class_name)} is no discriminator of the official code")
    narrow, wide = network.shape("b4.conv.weight", 4)[:2]  # the difference is the features of the batch
    resolution = _checked_resolution(max(widths))
    base, most = _widths(network, widths | {4: narrow}, max(*widths.values(), narrow))
    is_conditional = "mapping.embed.weight" in network.tensors
    try:
        return _make(
            StyleGAN2DiscriminatorConfig,
            resolution_px=resolution,
            channels=network.shape(f"b{resolution}.fromrgb.weight", 4)[1],
            c_dim=network.shape("mapping.embed.weight", 2)[1] if is_conditional else 0,
            architecture=_architecture(network, "b4.fromrgb.weight", f"b{resolution}.skip.weight"),
            channel_base=base,
            channel_max=most,
            conv_clamp=_clamp(network),
            num_low_precision_res=_num_low_precision(network, ""),
            mbstd_group_size=network.state("b4.mbstd").get("group_size", network.arguments.get("mbstd_group_size", 4)),
            mbstd_channels=wide - narrow,
            cmap_dim=network.shape("b4.out.weight", 2)[0] if is_conditional else None,
            mapping_layers=network.count(r"mapping\.fc\d+\.weight") if is_conditional else 8,
        )
    except ConfigError as error:
        raise CheckpointError(f"its discriminator cannot be: {error}") from error


# ----------------------------------------------------------------------------------------------------------------------
# What both share


def _make(cls: type[C], **fields: Any) -> C:
    """A config whose values come from a file: of the right types (else `ConfigError`) and not absurd."""
    for name, value in fields.items():
        if isinstance(value, int | float) and not -1 <= value <= _MAX_NUMBER:
            raise CheckpointError(f"its network has {name}={shown(value)}, which cannot be")
    return from_dict(cls, fields)


def _blocks(network: Official) -> list[int]:
    """Resolutions of the blocks, ascending."""
    return sorted({int(match[1]) for name in network.tensors if (match := _BLOCK.match(name))})


def _checked_resolution(resolution_px: int) -> int:
    if resolution_px > _MAX_RESOLUTION_PX:
        raise CheckpointError(f"its network has {resolution_px} px, which cannot be")
    return resolution_px


def _widths(network: Official, widths: Mapping[int, int], widest: int) -> tuple[int, int]:
    """channel_base and channel_max: as stated, or such that they give the width of each block, by its resolution."""
    base, most = network.arguments.get("channel_base"), network.arguments.get("channel_max")
    if type(base) is not int:
        narrower = [width * resolution for resolution, width in widths.items() if width < widest]
        base = max(narrower, default=widest * max(widths))
    return base, most if type(most) is int else widest


def _architecture(network: Official, colours: str, skip: str) -> str:
    """`skip` has colours at every resolution, `resnet` a 1×1 convolution beside the blocks, `orig` neither."""
    if colours in network.tensors:
        return "skip"
    return "resnet" if skip in network.tensors else "orig"


def _num_low_precision(network: Official, prefix: str) -> int:
    """How many of the highest resolutions may compute in half precision."""
    flags = [network.state(f"{prefix}b{resolution}").get("use_fp16") for resolution in _blocks(network)]
    if any(flag is not None for flag in flags):
        return sum(bool(flag) for flag in flags)
    default = 0 if "synthesis_kwargs" in network.arguments else 4
    stated: int = network.stated("synthesis", "num_fp16_res", default=default)
    return stated


def _clamp(network: Official) -> float | None:
    """The limit of the activations, which all layers share."""
    found = {
        part.state["conv_clamp"]
        for path, part in network.parts.items()
        if type(part.state.get("conv_clamp", "absent")) in (int, float, type(None))
        and path.rpartition(".")[2] != "skip"
        and path != "b4.fromrgb"  # has none in the official code; it sees images in [-1, 1], far below the limit
    }
    if len(found) > 1:
        raise CheckpointError("the layers of its network have different limits of their activations")
    if found:
        return found.pop()
    return network.arguments.get("conv_clamp", None if "synthesis_kwargs" in network.arguments else 256.0)


def _check_arguments(network: Official) -> None:
    """Raises `CheckpointError` if the network was made with an argument that the official code does not have."""
    mapping = network.arguments.get("mapping_kwargs")
    names = {*network.arguments, *(mapping if type(mapping) is dict else ())}
    unknown = sorted(str(name) for name in names - _ARGUMENTS)
    if unknown:
        raise CheckpointError(
            f"its network was made with the option {shown(unknown[0])}, which the official code does not have: "
            "it may compute something else"
        )


def _check_layers(network: Official) -> None:
    """Raises `CheckpointError` if a layer has another activation or learning-rate multiplier than ours."""
    for path, part in network.parts.items():
        activation, multiplier = part.state.get("activation"), part.state.get("bias_gain")
        if activation not in (None, "linear" if path.rpartition(".")[2] in _LINEAR else "lrelu"):
            raise CheckpointError(f"its layer {shown(path)} has another activation: {shown(activation)}")
        if multiplier not in (None, _MAPPING_MULTIPLIER if path.startswith("mapping.fc") else 1):
            raise CheckpointError(f"its layer {shown(path)} has another learning-rate multiplier: {shown(multiplier)}")
