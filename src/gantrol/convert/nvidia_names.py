"""State-dict names of the official StyleGAN2 and StyleGAN3 networks, in both directions.

Official modules are named after their sizes (`synthesis.L3_52_362.weight`, `b64.conv0.bias`), ours after their place
(`synthesis.layers.3.weight`, `blocks.2.conv0.bias`). Values need no change. Official state dicts also hold what
follows from the config: the filters of every layer (StyleGAN3 `up_filter` and `down_filter`, StyleGAN2
`resample_filter`) and the user transform of the moment; ours do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from gantrol.convert.blank_modules import fill
from gantrol.convert.stored_tensor import StoredTensor
from gantrol.errors import CheckpointError
from gantrol.inert_pickle import shown
from gantrol.models import (
    StyleGAN2Config,
    StyleGAN2Discriminator,
    StyleGAN2DiscriminatorConfig,
    StyleGAN2Generator,
    StyleGAN3Config,
    StyleGAN3Generator,
    layer_schedule,
)
from gantrol.models.layers import resample_taps
from gantrol.models.stylegan2 import block_resolutions

Config = StyleGAN2Config | StyleGAN3Config | StyleGAN2DiscriminatorConfig
Model = StyleGAN2Generator | StyleGAN3Generator | StyleGAN2Discriminator

_FILTER_TOLERANCE = 1e-5
"""Filters are designed in float64 and stored in float32; another library's Bessel functions differ by far less."""


def official_prefixes(config: Config) -> dict[str, str]:
    """Maps the dotted path of each of our modules that has tensors of its own or is resampled to its official path."""
    return dict(_prefixes(config))


def _prefixes(config: Config) -> Iterator[tuple[str, str]]:
    yield "mapping", "mapping"
    yield "mapping.embed", "mapping.embed"
    for i in range(config.mapping_layers):
        yield f"mapping.layers.{i}", f"mapping.fc{i}"
    if isinstance(config, StyleGAN3Config):
        yield "synthesis.input", "synthesis.input"
        yield "synthesis.input.affine", "synthesis.input.affine"
        for spec in layer_schedule(config):
            official = f"synthesis.L{spec.index}_{spec.out_size_px}_{spec.out_channels}"
            yield f"synthesis.layers.{spec.index}", official
            yield f"synthesis.layers.{spec.index}.affine", f"{official}.affine"
    elif isinstance(config, StyleGAN2Config):
        for i, resolution in enumerate(block_resolutions(config.resolution_px)):
            ours, official = f"synthesis.blocks.{i}", f"synthesis.b{resolution}"
            yield ours, official
            yield f"{ours}.skip", f"{official}.skip"
            for layer in ("conv0", "conv1", "torgb"):
                yield f"{ours}.{layer}", f"{official}.{layer}"
                yield f"{ours}.{layer}.affine", f"{official}.{layer}.affine"
    elif isinstance(config, StyleGAN2DiscriminatorConfig):
        for i, resolution in enumerate(reversed(block_resolutions(config.resolution_px)[1:])):
            ours, official = f"blocks.{i}", f"b{resolution}"
            yield ours, official
            for layer, official_layer in _DISCRIMINATOR_LAYERS.items():
                yield f"{ours}.{layer}", f"{official}.{official_layer}"
        for layer, official_layer in _EPILOGUE_LAYERS.items():
            yield f"epilogue.{layer}", f"b4.{official_layer}"


_DISCRIMINATOR_LAYERS = {"from_rgb": "fromrgb", "conv0": "conv0", "conv1": "conv1", "skip": "skip"}
_EPILOGUE_LAYERS = {"from_rgb": "fromrgb", "conv": "conv", "fc": "fc", "out": "out"}


def load_official(model: Model, state: Mapping[str, Tensor | StoredTensor]) -> None:
    """Makes an official state dict the weights of `model`, every tensor of both accounted for.

    Args:
        model: built from the config that fits; may come from `gantrol.convert.blank_modules.blank`.
        state: tensors under their official names; those in a file are read one by one, once everything is checked.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape, or a stored filter is not the one that
            `model` computes from its config.
    """
    ours = {official: name for name, official in _names(model).items()}
    derived = _derived(model)
    own = model.state_dict()
    problems = [f"{name} is missing" for name in ours.keys() - state.keys()]
    problems += [f"{shown(name)} is unknown" for name in state.keys() - ours.keys() - derived.keys()]
    for name, value in state.items():
        if name in ours and tuple(value.shape) != tuple(own[ours[name]].shape):
            expected = list(own[ours[name]].shape)
            problems.append(f"{name} has shape {list(value.shape)}, expected {expected}")
        elif name in derived and not name.endswith(".transform") and not _is_close(value, derived[name]):
            problems.append(f"{name} is not the filter that the config describes")
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CheckpointError(f"these weights do not fit the config: {sorted(problems)[0]}{more}")
    tensors = {ours[name]: _loaded(value).to(own[ours[name]].dtype) for name, value in state.items() if name in ours}
    if any(tensor.is_meta for tensor in own.values()):
        fill(model, tensors)
    else:
        model.load_state_dict(tensors)


def official_state(model: Model) -> dict[str, Tensor]:
    """The state dict of `model` under official names, derived tensors (filters, transform) included."""
    own = model.state_dict()
    state = {official: own[name] for name, official in _names(model).items()}
    return state | _derived(model)


def _names(model: Model) -> dict[str, str]:
    """Our name of each tensor of `model` → its official name."""
    prefixes = official_prefixes(model.config)
    names = {}
    for name in model.state_dict():
        path, _, leaf = name.rpartition(".")
        names[name] = f"{prefixes[path]}.{leaf}"
    return names


def _derived(model: Model) -> dict[str, Tensor]:
    """Tensors that official state dicts hold and ours compute from the config, under their official names."""
    prefixes = official_prefixes(model.config)
    modules: dict[str, nn.Module] = dict(model.named_modules())
    result: dict[str, Tensor] = {}
    taps = resample_taps()
    for path, official in prefixes.items():
        module = modules.get(path)
        if module is None:
            continue
        if isinstance(model, StyleGAN3Generator):
            for leaf in ("up_filter", "down_filter", "transform"):
                value = getattr(module, leaf, None)
                if value is not None:
                    result[f"{official}.{leaf}"] = value
        # The official StyleGAN2 stores the 2-D filter in every block and layer that could resample, used or not.
        elif "resample_filter" in module._buffers:
            result[f"{official}.resample_filter"] = torch.outer(taps, taps)
    return result


def _is_close(a: Tensor | StoredTensor, b: Tensor) -> bool:
    if tuple(a.shape) != tuple(b.shape):
        return False
    return bool(((_loaded(a).cpu().float() - b.cpu().float()).abs() <= _FILTER_TOLERANCE).all())


def _loaded(value: Tensor | StoredTensor) -> Tensor:
    return value.load() if isinstance(value, StoredTensor) else value
