"""GAN-Control checkpoints (`.pt`, with the `args.json` of their run) to models of ours.

The tensors tell the sizes: resolution, widths, layers, the width of each group. In which order the groups lie in z no
tensor tells; that stands in `args.json`, whose other statements have to agree with the tensors. The file has no mean
of w: officially it is sampled anew whenever it is needed, here once, by `mean_latent`.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantrol.convert.foreign import Imported, Request
from gantrol.convert.gan_control_controllers import read_controllers
from gantrol.convert.gan_control_files import ARGS, latent_groups, read_args, stated
from gantrol.convert.gan_control_names import (
    discriminator_name,
    downsampling_filters,
    generator_name,
    upsampling_filters,
)
from gantrol.convert.state_dict_files import Keys, Reading, StateDict, any_generator, convert_state_dicts
from gantrol.errors import CheckpointError
from gantrol.inert_pickle import shown
from gantrol.models import ControllableConfig, LatentGroup, StyleGAN2Config, StyleGAN2DiscriminatorConfig
from gantrol.models.layers import resample_taps

KEYS = Keys(average="g_ema", raw="g", discriminator="d")

_GROUP_LAYER = re.compile(r"style\.([A-Za-z_]\w*)\.\d+\.")
_MAX_BLOCKS, _MAX_WIDTH = 12, 8192
_MEAN_BATCHES, _MEAN_BATCH = 10, 1000


def is_gan_control(content: Any) -> bool:
    """Whether the value of a file of `torch.save` holds a GAN-Control generator, or one of its controllers."""
    state = any_generator(content, KEYS)
    is_generator = state is not None and "input.input" in state and "conv1.conv.weight" in state
    return is_generator or (type(content) is dict and "controller" in content)


def convert_gan_control(content: Any, request: Request) -> Imported:
    """Builds the networks that `request` asks for, and the controls if the folder has controllers.

    Raises:
        CheckpointError: the generator is incomplete or none of the official code, `args.json` is missing where it is
            needed or belongs to another run, or a controller does not fit its group.
    """
    if any_generator(content, KEYS) is None:
        raise CheckpointError(
            "it holds a controller, which is of no use without its generator: import the folder that holds generator/ "
            "and the controllers"
        )
    args = read_args(request.path)
    imported = convert_state_dicts(
        content,
        request,
        read_generator=functools.partial(_generator, args=args),
        read_discriminator=_discriminator,
        keys=KEYS,
    )
    generator = imported.generator
    generator.mapping.w_avg.copy_(mean_latent(generator))
    count = f"{_MEAN_BATCHES * _MEAN_BATCH:,}"
    imported.notes.append(f"the mean of w, for the truncation, is that of {count} samples, as the file has none")
    if not request.controllers:
        return imported
    if not isinstance(generator.config, ControllableConfig):
        raise CheckpointError("its generator has no latent groups, so its controllers cannot be used")
    control_set = read_controllers(request.controllers, generator.config, imported.notes)
    files = ", ".join(f"{folder}/{path.name}" for folder, path in request.controllers.items())
    facts = imported.facts | {"controllers": re.sub(r"[^\w. ,/-]", "_", files)}
    return dataclasses.replace(imported, control_set=control_set, facts=facts)


def mean_latent(generator: Any) -> Tensor:
    """The mean of w [D] over 10,000 latents, always the same ones: numpy.random.RandomState(0), 1000 at a time.

    The official code draws 100,000 from torch's random state, and so gets another mean each time. This one deviates
    from the true mean by about a hundredth of w's standard deviation.
    """
    random = np.random.RandomState(0)
    total = torch.zeros(generator.w_dim, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(_MEAN_BATCHES):
            z = torch.from_numpy(random.randn(_MEAN_BATCH, generator.z_dim).astype(np.float32))
            total += generator.mapping(z)[:, 0].sum(dim=0, dtype=torch.float64)
    return (total / (_MEAN_BATCHES * _MEAN_BATCH)).float()


# ----------------------------------------------------------------------------------------------------------------------
# Which networks they are


def _generator(state: StateDict, args: Mapping[str, Any] | None) -> Reading:
    _, width, *_ = state.shape("input.input", 4)
    blocks = 1 + state.count(r"convs\.(\d+)\.conv\.weight") // 2
    if blocks > _MAX_BLOCKS:
        raise CheckpointError(f"its generator has {blocks} resolutions, more than any network")
    resolution_px = 4 << (blocks - 1)
    widths = [width, *(state.shape(f"convs.{2 * i + 1}.conv.weight", 5)[1] for i in range(blocks - 1))]
    w_dim = state.shape("conv1.conv.modulation.weight", 2)[1]
    if max(widths) > _MAX_WIDTH or w_dim > _MAX_WIDTH:
        raise CheckpointError(f"its generator is {max(*widths, w_dim)} wide, more than any network")
    names = {match[1] for name in state.tensors if (match := _GROUP_LAYER.match(name))}
    groups = _groups(state, names, w_dim, args) if names else ()
    first = f"style.{groups[0].name}" if groups else "style"
    layers = _layers(state, first)
    _check_args(args, {"size": resolution_px, "n_mlp": layers, "latent_size": w_dim, "style_dim": w_dim})
    channel_base, channel_max = _channels(widths, resolution_px)
    base = StyleGAN2Config(
        resolution_px=resolution_px,
        channels=state.shape("to_rgb1.conv.weight", 5)[1],
        z_dim=w_dim,
        w_dim=w_dim,
        mapping_layers=layers,
        channel_base=channel_base,
        channel_max=channel_max,
        conv_clamp=None,
        num_low_precision_res=0,
    )
    config: StyleGAN2Config | ControllableConfig = base
    if groups:
        config = ControllableConfig(
            base=base, groups=groups, mapping_layers=layers, hidden_width=state.shape(f"{first}.1.weight", 2)[0]
        )
    return Reading(
        config=config,
        official_name=generator_name,
        implied=dict.fromkeys(upsampling_filters(blocks), functools.partial(_filter, gain=4.0)),
        is_strict=True,
    )


def _discriminator(state: StateDict, generator: StyleGAN2Config | ControllableConfig) -> Reading:
    width, channels, _, _ = state.shape("convs.0.0.weight", 4)
    blocks = 0
    widths = [width]  # of the blocks' inputs, from the image to 4×4
    while f"convs.{blocks + 1}.conv2.1.weight" in state and blocks < _MAX_BLOCKS:
        blocks += 1
        widths.append(state.shape(f"convs.{blocks}.conv2.1.weight", 4)[0])
    resolution_px = 4 << blocks
    if resolution_px != generator.resolution_px:
        raise CheckpointError(f"it judges images of {resolution_px} px")
    channel_base, channel_max = _channels(widths[::-1], resolution_px)
    return Reading(
        config=StyleGAN2DiscriminatorConfig(
            resolution_px=resolution_px,
            channels=channels,
            channel_base=channel_base,
            channel_max=channel_max,
            mbstd_channels=state.shape("final_conv.0.weight", 4)[1] - widths[-1],
            conv_clamp=None,
            num_low_precision_res=0,
        ),
        official_name=discriminator_name,
        implied=dict.fromkeys(downsampling_filters(blocks), functools.partial(_filter, gain=1.0)),
        is_strict=True,
    )


def _groups(state: StateDict, names: set[str], w_dim: int, args: Mapping[str, Any] | None) -> tuple[LatentGroup, ...]:
    """The groups as `args.json` has them, if the mapping networks agree."""
    if args is None:
        raise CheckpointError(
            f"its generator has latent groups ({_listed(names)}), but their order stands in {ARGS}, which is missing: "
            "put that of the run beside the file or into the folder above"
        )
    groups = latent_groups(args)
    if {group.name for group in groups} != names:
        raise CheckpointError(
            f"its {ARGS} belongs to another run: it names the groups {_listed(group.name for group in groups)}, the "
            f"weights are of {_listed(names)}"
        )
    total = sum(group.size for group in groups)
    if total != w_dim:
        raise CheckpointError(f"its {ARGS} has groups that do not add up: to {total}, where w has {w_dim} numbers")
    for group in groups:
        (size,) = state.shape(f"style.{group.name}.{_layers(state, f'style.{group.name}')}.bias", 1)
        if size != group.size:
            raise CheckpointError(
                f"its {ARGS} belongs to another run: the group {group.name} is {group.size} wide there, its mapping "
                f"network {size}"
            )
    return groups


def _layers(state: StateDict, prefix: str) -> int:
    """Layers of a mapping network; they are counted from 1."""
    layers = 0
    while f"{prefix}.{layers + 1}.weight" in state:
        layers += 1
    if layers == 0:
        raise CheckpointError(f"its network has no {prefix}.1.weight")
    return layers


def _channels(widths: Sequence[int], resolution_px: int) -> tuple[int, int]:
    """channel_base and channel_max of blocks that are so wide, from 4×4 to `resolution_px`."""
    sizes = [4 << i for i in range(len(widths))]
    base, most = max(width * size for width, size in zip(widths, sizes, strict=True)), max(widths)
    for width, size in zip(widths, sizes, strict=True):
        if width != min(base // size, most):
            raise CheckpointError(
                f"its network is {width} channels wide at {size} px, which no channel_multiplier of 1 or 2 gives"
            )
    return base, most


def _check_args(args: Mapping[str, Any] | None, found: Mapping[str, int]) -> None:
    """Raises `CheckpointError` if `args.json` describes another network than the tensors do."""
    for name, value in found.items():
        said = stated(args, name)
        if said is not None and said != value:
            raise CheckpointError(f"its {ARGS} belongs to another run: {name} is {shown(said)}, in the weights {value}")
    if stated(args, "conv_transpose") is False:
        raise CheckpointError(f"its {ARGS} says conv_transpose=false, an upsampling that is not supported")


def _filter(gain: float) -> Tensor:
    taps = resample_taps()
    return torch.outer(taps, taps) * gain


def _listed(names: Iterable[str]) -> str:
    return shown(", ".join(sorted(names)))
