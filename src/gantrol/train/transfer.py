"""Starting a training from another model: which weights fit, what becomes of the others, and what the recipe changes.

A *layer* is what owns a weight: its bias, its style's affine map and its running means belong to it, and all of them
are taken over together or not at all. Layers are matched by name and shape; the blocks of the discriminator, which are
numbered from the image, by their resolution. Two differences are bridged, because the function can be kept:

* **labels of the generator.** The first mapping layer of a conditional network also sees the embedded label. Its z part
  is copied and its label part zero, so that at the start every label gives the image of the unconditional source. The
  other way round, the average label becomes part of the bias.
* **labels of the discriminator.** A conditional one multiplies its output vector with an embedding of the label
  (Miyato & Koyama 2018). The vector is chosen such that the logit, averaged over labels, is the source's.

Freeze-D (Mo et al. 2020, "Freeze the Discriminator"): the blocks of the highest resolutions keep the weights of the
source; their features are general, and with few images the rest has less to overfit with.

Dimensions: D features of w · E of the embedded label · K classes · M of the discriminator's label embedding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from gantrol.checkpoint import sha256_of
from gantrol.config import to_dict
from gantrol.errors import ConfigError
from gantrol.models import (
    ControllableConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    GroupedMapping,
    StyleGAN2Discriminator,
    StyleGAN2DiscriminatorConfig,
)
from gantrol.models.layers import MappingNetwork, normalize_2nd_moment
from gantrol.models.stylegan2_discriminator import num_block_layers
from gantrol.train.config import Precision, TrainConfig
from gantrol.train.presets import PRESETS, SCALES, DataShape, preset
from gantrol.train.state import TrainState

INIT = "init.json"
"""The file of a run that lists what was taken over."""

Tensors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The model that a training starts from."""

    name: str
    """MODEL as it can be found again: a path or a Hub id."""
    generator: nn.Module
    """The averaged generator, which becomes both generators of the training."""
    discriminator: nn.Module | None = None
    """Its discriminator, if it was kept."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """What is known of its own training or origin."""

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of all tensors with their names: of the weights, however they are stored."""
        nets = (("generator", self.generator), ("discriminator", self.discriminator))
        tensors = {f"{part}.{k}": v for part, net in nets if net is not None for k, v in net.state_dict().items()}
        return sha256_of(tensors)


# ----------------------------------------------------------------------------------------------------------------------
# The config


def transfer_config(
    source: Source,
    shape: DataShape,
    *,
    preset_name: str | None = None,
    scale: str | None = None,
    batch: int | None = None,
    precision: Precision = "fp32",
) -> TrainConfig:
    """The config of a training that starts from `source`.

    Without a preset the networks are those of the source, in the size of the data, and the recipe is that of the preset
    which the source was trained with or resembles most. Augmentation adapts faster than in other trainings, the moving
    average has no ramp and, if the source's pictures are kept, the discriminator sees no blur, all as in the official
    code.

    Args:
        source: the model.
        shape: of the dataset.
        preset_name: networks and recipe of this preset instead; None: those of the source.
        scale: of the recipe; None: that of the source, or the nearest.
        batch: images per step if not the scale's.
        precision: number type of the layers that may use a lower one.

    Raises:
        ConfigError: no such preset or scale, or a size that the networks cannot have.
    """
    name, size = _recipe(source, shape, preset_name, scale)
    config = preset(name, size, shape, batch=batch, precision=precision)
    if preset_name is None:
        own = _config(source.generator)
        base = _base(own)
        if config.generator.kind != base.kind:
            raise ConfigError(
                f"{source.name} is of the kind {_config(source.generator).kind!r}, which no preset trains: add --preset"
            )
        generator = _in_shape(base, config.generator, shape)
        if isinstance(own, ControllableConfig):
            generator = replace(own, base=generator)
        discriminator = config.discriminator
        if source.discriminator is not None:
            discriminator = _in_shape(_config(source.discriminator), discriminator, shape)
        config = replace(config, generator=generator, discriminator=discriminator)
    config = replace(config, init=source.name, init_sha256=source.sha256)
    config = replace(config, augment=config.augment.for_transfer(), ema_ramp_up=None)
    if _same_synthesis(_base(config.generator), _base(_config(source.generator))):
        config = replace(config, loss=replace(config.loss, blur_sigma_px=0.0))
    return config


def _config(net: nn.Module) -> Any:
    return net.config


def _base(config: Any) -> Any:
    """The config of what draws: of a generator with latent groups that of the one inside."""
    return config.base if isinstance(config, ControllableConfig) else config


def _recipe(source: Source, shape: DataShape, preset_name: str | None, scale: str | None) -> tuple[str, str]:
    """(preset, scale): as given, as the source was trained, or else the ones whose networks are nearest."""
    recorded_preset, recorded_scale = source.training.get("preset"), source.training.get("scale")
    names = [preset_name or recorded_preset]
    sizes = [scale or recorded_scale]
    if preset_name is None and recorded_preset not in PRESETS:
        names = list(PRESETS)
    if scale is None and recorded_scale not in SCALES:
        sizes = sorted(SCALES, key=lambda size: size != "base")  # of equally near ones, the default
    candidates = [(str(name), str(size)) for name in names for size in sizes]
    if len(candidates) == 1:
        return candidates[0]
    best, least = candidates[0], math.inf
    for name, size in candidates:
        try:
            config = preset(name, size, shape)
        except ConfigError:  # this scale is too small for these images
            continue
        nets = ((config.generator, source.generator), (config.discriminator, source.discriminator))
        distance = sum(_distance(ours, _base(_config(net))) for ours, net in nets if net is not None)
        if distance < least:
            best, least = (name, size), distance
    return best


_OTHER_KIND = 100.0
"""Further than any two networks of one kind."""


def _distance(a: Any, b: Any) -> float:
    """How different two networks are: octaves between numbers, one for any other difference, over all fields."""
    if a.kind != b.kind:
        return _OTHER_KIND
    left, right = to_dict(a), to_dict(b)
    result = 0.0
    for name, x in left.items():
        y = right.get(name)
        if isinstance(x, int | float) and isinstance(y, int | float) and x > 0 and y > 0:  # True is 1
            result += abs(math.log2(x / y))
        else:
            result += float(x != y)
    return result


def _in_shape(config: Any, recipe: GeneratorConfig | DiscriminatorConfig, shape: DataShape) -> Any:
    """A source's config for data of `shape`, with the fields that belong to the training rather than to the weights."""
    changes: dict[str, Any] = {
        "resolution_px": shape.resolution_px,
        "channels": shape.channels,
        "c_dim": shape.label_dim,
        "freeze_layers": 0,
    }
    for name in ("magnitude_ema_beta", "conv_clamp"):
        changes[name] = getattr(recipe, name, getattr(config, name, None))
    if getattr(config, "conv_clamp", None) is not None:  # the weights were trained with it
        changes["conv_clamp"] = config.conv_clamp
    known = {field.name for field in fields(config)}
    return replace(config, **{name: value for name, value in changes.items() if name in known})


_OUTSIDE_SYNTHESIS = ("z_dim", "c_dim", "mapping_layers", "w_avg_beta", "magnitude_ema_beta", "conv_clamp")


def _same_synthesis(a: Any, b: Any) -> bool:
    """Whether two generators draw the same picture from the same weights."""
    left, right = to_dict(a), to_dict(b)
    for name in (*_OUTSIDE_SYNTHESIS, "num_low_precision_res"):
        left.pop(name, None)
        right.pop(name, None)
    return left == right


def freeze_blocks(config: DiscriminatorConfig, count: int) -> DiscriminatorConfig:
    """`config` with its first `count` blocks frozen, those of the highest resolutions and `from_rgb`.

    Raises:
        ConfigError: there are fewer blocks, or this discriminator has none that can be frozen.
    """
    if not isinstance(config, StyleGAN2DiscriminatorConfig):
        raise ConfigError(f"freezing blocks: the discriminator {config.kind!r} has none that can be frozen")
    blocks = config.resolution_px.bit_length() - 3
    if not 0 <= count <= blocks:
        raise ConfigError(f"{count} frozen blocks: expected from 0 to {blocks}, the discriminator's blocks above 4×4")
    if count == 0:
        return replace(config, freeze_layers=0)
    # The first blocks of any discriminator have as many layers as all blocks of one with only so many.
    small = replace(config, resolution_px=4 * 2**count, freeze_layers=0)
    return replace(config, freeze_layers=num_block_layers(small))


# ----------------------------------------------------------------------------------------------------------------------
# The weights


@dataclass(kw_only=True)
class NetworkTransfer:
    """What happened to the layers of one network; names are those of the new network."""

    copied: list[str] = field(default_factory=list)
    """Layers taken over as they are."""
    partly: dict[str, str] = field(default_factory=dict)
    """Layers taken over in part or changed, with what was done."""
    new: dict[str, str] = field(default_factory=dict)
    """Layers that begin with random weights, with the reason."""
    unused: list[str] = field(default_factory=list)
    """Layers of the source for which there is no place."""
    values: int = 0
    """Numbers in the network."""
    values_reused: int = 0
    """Of these, those in copied and partly copied layers."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What was taken over from a source."""

    source: str
    sha256: str
    training: dict[str, Any]
    """What is known of the source's training or origin."""
    generator: NetworkTransfer
    discriminator: NetworkTransfer
    frozen: list[str]
    """Layers of the discriminator that will not be trained."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready object: the content of RUN/init.json."""
        return {
            "format": "gantrol-init",
            "format_version": 1,
            "source": self.source,
            "sha256": self.sha256,
            "training": self.training,
            "generator": vars(self.generator),
            "discriminator": vars(self.discriminator),
            "frozen": self.frozen,
        }

    def describe(self) -> str:
        """A table of counts, then what is not simply copied, layer by layer."""
        heads = ("copied", "partly", "new", "unused", "weights reused")
        lines = [f"from {self.source} (weights SHA-256 {self.sha256[:12]}…)"]
        lines.append("layers".ljust(16) + "".join(head.rjust(max(8, len(head) + 2)) for head in heads))
        parts = {"generator": self.generator, "discriminator": self.discriminator}
        for name, part in parts.items():
            counts = [len(part.copied), len(part.partly), len(part.new), len(part.unused)]
            share = f"{100 * part.values_reused / max(part.values, 1):.0f} %"
            lines.append(name.ljust(16) + "".join(str(count).rjust(8) for count in counts) + share.rjust(16))
        for name, part in parts.items():
            for label, layers in (("partly", part.partly), ("new", part.new)):
                reasons = list(dict.fromkeys(layers.values()))
                if len(reasons) > _REASONS:
                    lines.append(f"{name} {label}: {_list(layers)}: {reasons[0]}, and so on")
                    continue
                for reason in reasons:
                    lines.append(f"{name} {label}: {_list(k for k, v in layers.items() if v == reason)}: {reason}")
            unused = [layer for layer in part.unused if layer not in part.new]
            if unused:
                lines.append(f"{name} unused: {_list(unused)}")
        if all(layer.startswith("mapping") for layer in (*self.generator.copied, *self.generator.partly)):
            lines.append("note: nothing that draws fits; the first images are those of an untrained generator")
        if self.frozen:
            lines.append(f"frozen: {_list(self.frozen)}")
        return "\n".join(lines)


_LISTED = 12
"""Names in a line."""
_REASONS = 3
"""Lines of different reasons; RUN/init.json has all of them."""


def _list(names: Iterable[str]) -> str:
    """Names in one line, the first few of many."""
    names = list(names)
    more = f" and {len(names) - _LISTED} more, see {INIT}" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


@torch.no_grad()
def start_from(source: Source, state: TrainState) -> Transfer:
    """Gives the networks of a new training the weights of `source` that fit, and says what was done.

    Args:
        source: the model.
        state: of the training, before its first step; changed in place. G and its average become the source's
            averaged generator, D its discriminator; running means come along.

    Raises:
        ConfigError: nothing of the generator fits and nothing of the discriminator, or a frozen layer was not copied.
    """
    g = _take_over(state.g, source.generator)
    state.g_ema.load_state_dict(state.g.state_dict())
    if source.discriminator is None:
        d = NetworkTransfer(new=dict.fromkeys(_layers(_named(state.d)), "the source has no discriminator"))
        d.values = sum(tensor.numel() for tensor in state.d.state_dict().values())
    else:
        d = _take_over(state.d, source.discriminator)
    if not g.values_reused and not d.values_reused:
        here, there = _config(state.g), _config(source.generator)
        raise ConfigError(
            f"nothing of {source.name} ({there.kind}, {there.resolution_px} px) fits this config "
            f"({here.kind}, {here.resolution_px} px): leave --preset and the sizes away to take the model's own"
        )
    buffers = {name for name, _ in state.d.named_buffers()}
    frozen = [layer for layer in _layers(_named(state.d)) if f"{_unnamed(state.d, layer)}.weight" in buffers]
    for layer in frozen:
        if layer not in d.copied:
            reason = d.new.get(layer) or d.partly[layer]
            raise ConfigError(f"cannot freeze {layer} of the discriminator, it has random weights: {reason}")
    return Transfer(
        source=source.name,
        sha256=source.sha256,
        training=dict(source.training),
        generator=g,
        discriminator=d,
        frozen=frozen,
    )


def _take_over(target: nn.Module, source: nn.Module) -> NetworkTransfer:
    """Copies the layers of `source` that fit into `target`."""
    result = NetworkTransfer()
    ours = _named(target)
    theirs, changed, refused = _adapted(target, source)
    ours_by_layer, theirs_by_layer = _layers(ours), _layers(theirs)
    for layer, leaves in ours_by_layer.items():
        result.values += sum(ours[name].numel() for name in leaves)
        found = [name for name in leaves if name in theirs]
        misfits = [name for name in found if theirs[name].shape != ours[name].shape]
        reason = next((reason for start, reason in refused.items() if layer.startswith(start)), "")
        if reason or not found:
            result.new[layer] = reason or "the source has no such layer"
            continue
        if misfits:
            there, here = (_shape(tensors[misfits[0]]) for tensors in (theirs, ours))
            result.new[layer] = f"{_leaf(misfits[0], layer)} is {there} there and {here} here"
            continue
        for name in found:
            ours[name].copy_(theirs[name])
        result.values_reused += sum(ours[name].numel() for name in found)
        missing = [_leaf(name, layer) for name in leaves if name not in theirs]
        if layer in changed or missing:
            result.partly[layer] = changed.get(layer) or f"{', '.join(missing)} new: the source has none"
        else:
            result.copied.append(layer)
    reused = {*result.copied, *result.partly}
    result.unused = [layer for layer in theirs_by_layer if layer not in reused]
    return result


def _adapted(target: nn.Module, source: nn.Module) -> tuple[Tensors, dict[str, str], dict[str, str]]:
    """The source's tensors, bridged where that can be; notes on changed layers; layers that are refused, and why."""
    tensors = _named(source)
    here, there = _base(_config(target)), _base(_config(source))
    if here.kind != there.kind:
        return tensors, {}, {"": f"{there.kind} there and {here.kind} here"}
    old, new = getattr(source, "mapping", None), getattr(target, "mapping", None)
    refused = {}
    if isinstance(old, GroupedMapping) != isinstance(new, GroupedMapping):
        one, many = "one mapping for all of z", "one per latent group"
        refused["mapping"] = (
            f"{many} there and {one} here" if isinstance(old, GroupedMapping) else f"{one} there and {many} here"
        )
    if isinstance(old, MappingNetwork) and isinstance(new, MappingNetwork) and len(old.layers) != len(new.layers):
        refused["mapping"] = f"{len(old.layers)} mapping layers there and {len(new.layers)} here"
    changes: tuple[Tensors, str] | None = None
    if isinstance(target, StyleGAN2Discriminator) and isinstance(source, StyleGAN2Discriminator):
        changes = _bridged_projection(target, source)
    elif isinstance(old, MappingNetwork) and isinstance(new, MappingNetwork):
        changes = _bridged_mapping(new, old)
    if changes is None:
        return tensors, {}, refused
    changed, note = changes
    return tensors | changed, dict.fromkeys(_layers(changed), note), refused


def _bridged_mapping(target: MappingNetwork, source: MappingNetwork) -> tuple[Tensors, str] | None:
    """The generator's first mapping layer with or without its label part.

    The layer computes x·Wᵀ/√D_in + b (times λ), hence a change of D_in is also one of scale.
    """
    if (target.embed is None) == (source.embed is None) or target.z_dim != source.z_dim:
        return None
    layer = cast(Any, source.layers[0])
    weight, bias = layer.weight, layer.bias  # [D, z_dim (+ E)], [D]
    if source.embed is None:
        width = cast(Any, target.layers[0]).weight.shape[1]
        label = weight.new_zeros(weight.shape[0], width - target.z_dim)
        weight = torch.cat([weight * math.sqrt(width / target.z_dim), label], dim=1)
        note = "its label part is new and zero: at the start every label gives the source's image"
    else:
        classes = torch.eye(source.c_dim, device=weight.device)
        label = normalize_2nd_moment(source.embed(classes)).mean(dim=0)  # [E] the average label
        width = weight.shape[1]
        bias = bias + weight[:, source.z_dim :] @ label / math.sqrt(width)
        weight = weight[:, : source.z_dim] * math.sqrt(source.z_dim / width)
        note = "its label part was averaged over the classes into the bias"
    return {"mapping.layers.0.weight": weight, "mapping.layers.0.bias": bias}, note


def _bridged_projection(target: StyleGAN2Discriminator, source: StyleGAN2Discriminator) -> tuple[Tensors, str] | None:
    """The discriminator's last layer with or without the product with the label's embedding e(c) [M].

    With a(x) the vector of this layer, a conditional logit is a·e(c)/√M. Its average over c is a·μ/√M, μ the average
    embedding: a = s·μ·√M/‖μ‖² gives the logit s of an unconditional source, and s = a·μ/√M that of a conditional one.
    """
    if (target.mapping is None) == (source.mapping is None):
        return None
    weight, bias = source.epilogue.out.weight, source.epilogue.out.bias
    if target.mapping is not None:
        mean = _mean_embedding(target.mapping).to(weight.device)  # [M]
        factors = (mean * math.sqrt(len(mean)) / mean.square().sum())[:, None]  # [M, 1]
        note = "spread over the label's embedding: the mean logit over labels is the source's"
    else:
        assert source.mapping is not None
        mean = _mean_embedding(source.mapping)
        factors = mean[None] / math.sqrt(len(mean))  # [1, M]
        note = "averaged over the labels"
    return {"epilogue.out.weight": factors @ weight, "epilogue.out.bias": factors @ bias}, note


def _mean_embedding(mapping: MappingNetwork) -> Tensor:
    """[M]: the discriminator's label embedding, averaged over the classes."""
    classes = torch.eye(mapping.c_dim, device=next(mapping.parameters()).device)
    return cast(Tensor, mapping(None, classes)).mean(dim=0)


# ----------------------------------------------------------------------------------------------------------------------
# Names


def _named(net: nn.Module) -> Tensors:
    """A network's tensors by a name that means the same layer in networks of other resolutions.

    The discriminator's blocks are numbered from the image: `blocks.0.conv0` of 64 px is `blocks.64px.conv0` here.
    """
    return {_renamed(net, name): tensor for name, tensor in net.state_dict().items()}


def _renamed(net: nn.Module, name: str) -> str:
    first, _, rest = name.partition(".")
    if not isinstance(net, StyleGAN2Discriminator) or first != "blocks":
        return name
    number, _, rest = rest.partition(".")
    return f"blocks.{net.resolution_px >> int(number)}px.{rest}"


def _unnamed(net: nn.Module, name: str) -> str:
    """The inverse of `_renamed`."""
    first, _, rest = name.partition(".")
    if not isinstance(net, StyleGAN2Discriminator) or first != "blocks":
        return name
    resolution, _, rest = rest.partition("px.")
    return f"blocks.{(net.resolution_px // int(resolution)).bit_length() - 1}.{rest}"


def _layers(tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The names of tensors by the layer that they belong to.

    A style's affine map belongs to the layer that it styles. What stands beside no weight, such as the running mean of
    w and the constant input, is a layer of its own.
    """
    result: dict[str, list[str]] = {}
    for name in tensors:
        owner = name.rpartition(".")[0].removesuffix(".affine")
        result.setdefault(owner if f"{owner}.weight" in tensors else name, []).append(name)
    return result


def _leaf(name: str, layer: str) -> str:
    return name[len(layer) + 1 :] or "it"


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"
