"""AutoGAN checkpoints (`.pth`) to models of ours: the three architectures A, B and C, at 32 and 48 px.

Which one it is shows in the parts that its cells have: C has a norm in its first cell, B a shortcut in its third.
How cells interpolate has no tensor; an architecture of another search with the same parts would be taken for one of
the three, so that is said.
"""

from __future__ import annotations

import math
import re
from typing import Any

from gantrol.convert.foreign import Imported, Request
from gantrol.convert.state_dict_files import Reading, StateDict, any_generator, convert_state_dicts
from gantrol.errors import CheckpointError
from gantrol.models import AutoGANConfig, AutoGANDiscriminatorConfig

_CELL = re.compile(r"synthesis\.cells\.(\d+)\.(conv1|conv2|shortcut|norm1|norm2|earlier\.\d+)\.(\w+)")
_BLOCK = re.compile(r"blocks\.(\d+)\.(conv1|conv2|shortcut)\.(\w+)")
_PARTS = {"conv1": "c1", "conv2": "c2", "shortcut": "c_sc", "norm1": "n1", "norm2": "n2"}
_ENDS = {"synthesis.linear": "l1", "synthesis.norm": "to_rgb.0", "synthesis.to_rgb": "to_rgb.2", "out": "l5"}
_SPECTRAL = {"weight": "weight_orig", "u": "weight_u", "v": "weight_v", "bias": "bias"}


def is_autogan(content: Any) -> bool:
    """Whether the value of a file of `torch.save` holds an AutoGAN generator."""
    state = any_generator(content)
    return state is not None and "l1.weight" in state and "cell1.c1.weight" in state


def convert_autogan(content: Any, request: Request) -> Imported:
    """Builds the networks that `request` asks for.

    Raises:
        CheckpointError: the generator is incomplete, or none of the three.
    """
    return convert_state_dicts(content, request, read_generator=_generator, read_discriminator=_discriminator)


def _generator(state: StateDict) -> Reading:
    width = state.shape("cell1.c1.weight", 4)[0]
    rows, z_dim = state.shape("l1.weight", 2)
    side = math.isqrt(rows // width)
    if side not in (4, 6) or rows != width * side**2:
        raise CheckpointError(f"its first layer makes {rows} numbers, which no AutoGAN does")
    architecture = "c" if "cell1.n1.weight" in state else "b" if "cell3.c_sc.weight" in state else "a"
    return Reading(
        config=AutoGANConfig(
            resolution_px=side * 2 ** _cells(state),
            channels=state.shape("to_rgb.2.weight", 4)[0],
            z_dim=z_dim,
            width=width,
            architecture=architecture,
        ),
        official_name=_official_name,
        assumed=[f"how its cells interpolate: taken as in architecture {architecture.upper()}"],
    )


def _discriminator(state: StateDict, generator: AutoGANConfig) -> Reading:
    if "block1.c1.weight" in state:
        raise CheckpointError("it has no spectral normalisation, which AutoGAN's discriminators here have")
    width, channels, _, _ = state.shape("block1.c1.weight_orig", 4)
    return Reading(
        config=AutoGANDiscriminatorConfig(resolution_px=generator.resolution_px, channels=channels, width=width),
        official_name=_official_name,
    )


def _cells(state: StateDict) -> int:
    """How many cells there are; their numbers count from 1."""
    count = 0
    while f"cell{count + 1}.c1.weight" in state:
        count += 1
    return count


def _official_name(name: str) -> str:
    """The official name of a tensor of ours."""
    if match := _CELL.fullmatch(name):
        number = int(match[1]) + 1
        if match[2].startswith("earlier."):
            return f"cell{number}.skip_in_ops.{match[2].removeprefix('earlier.')}.{match[3]}"
        return f"cell{number}.{_PARTS[match[2]]}.{match[3]}"
    if match := _BLOCK.fullmatch(name):
        return f"block{int(match[1]) + 1}.{_PARTS[match[2]]}.{_SPECTRAL[match[3]]}"
    path, _, leaf = name.rpartition(".")
    return f"{_ENDS[path]}.{_SPECTRAL[leaf] if path == 'out' else leaf}"
