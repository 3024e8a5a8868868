"""GAN-Control's controllers (`.pt` with the key `controller`) as the controls of an imported generator.

A controller is an encoder E_k: value ↦ the group's part of w; the name of its folder begins with that of its group.
What its numbers are, in which unit and order, no file says; the predictors that read them off images in phase two have
fixed it. Groups that no value describes, such as `id` and `other`, are set by seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import torch

from gantrol.control.encoders import Encoder, EncoderConfig, EncoderControls, EncoderControlsConfig
from gantrol.controls import Control
from gantrol.convert.allowed_names import torch_names
from gantrol.convert.state_dict_files import StateDict, state_dict
from gantrol.convert.torch_files import read_torch_file
from gantrol.errors import CheckpointError
from gantrol.inert_pickle import Budget, ByteSource, shown
from gantrol.models import ControllableConfig

_EMOTIONS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
_GAMMA, _EXPRESSION = 27, 64
_LIMIT = 100.0

CONTROLS: dict[str, tuple[str, Control]] = {
    "orientation": (
        "orientation",
        Control(
            unit="degrees",
            low=(-45.0, -30.0, -30.0),
            high=(45.0, 30.0, 30.0),
            default=(0.0, 0.0, 0.0),
            help="pose of the head, with the signs of Hopenet, which official plots show the other way round",
            components=("yaw", "pitch", "roll"),
        ),
    ),
    "age": ("age", Control(unit="years", low=15.0, high=75.0, default=35.0, help="apparent age")),
    "hair": (
        "hair",
        Control(
            unit="",
            low=(0.0, 0.0, 0.0),
            high=(1.0, 1.0, 1.0),
            default=(0.25, 0.18, 0.14),
            help="mean colour of the hair",
            components=("r", "g", "b"),
        ),
    ),
    "gamma": (
        "gamma",
        Control(
            unit="",
            low=(-1.0,) * _GAMMA,
            high=(1.0,) * _GAMMA,
            default=(0.0,) * _GAMMA,
            help="illumination: nine spherical harmonics of red, then of green, then of blue",
        ),
    ),
    "expression": (
        "expression",
        Control(
            unit="",
            low=(-10.0,) * _EXPRESSION,
            high=(10.0,) * _EXPRESSION,
            default=(0.0,) * _EXPRESSION,
            help="expression: coefficients of a 3D face model, usually copied from an image",
        ),
    ),
    "expression_q": (
        "expression",
        Control(
            unit="",
            low=(0.0,) * len(_EMOTIONS),
            high=(1.0,) * len(_EMOTIONS),
            default=(0.0,) * len(_EMOTIONS),
            help="expression as one of eight classes: 1 for it, 0 for the others",
            components=_EMOTIONS,
        ),
    ),
}
"""The published controls: latent group and values of each. Ranges are those for which official examples exist, or wider
where values have no natural limit."""


def read_controllers(files: Mapping[str, Path], config: ControllableConfig, notes: list[str]) -> EncoderControls:
    """The controls of a generator from its controllers.

    Args:
        files: the `.pt` of each, by the name of its folder.
        config: the generator's.
        notes: gains what was assumed.

    Raises:
        CheckpointError: a file is none of a controller, belongs to no latent group, or does not fit its group.
    """
    sizes = {group.name: group.size for group in config.groups}
    found: dict[str, EncoderConfig] = {}
    encoders: dict[str, Encoder] = {}
    for folder, path in files.items():
        try:
            described, encoder = _read(folder, path, sizes)
            if described.name in found:
                raise CheckpointError(f"there is a second folder for the control {described.name}: remove one of them")
        except OSError as error:
            raise CheckpointError(
                f"its controller {shown(folder)} cannot be read: {error.strerror or error}"
            ) from error
        except CheckpointError as error:
            raise CheckpointError(f"its controller {shown(folder)} does not fit: {error}") from error
        found[described.name], encoders[described.name] = described, encoder
        if described.name not in CONTROLS:
            notes.append(f"no file says what the {described.in_dim} numbers of the control {described.name} are")
    order = [name for name in CONTROLS if name in found] + [name for name in found if name not in CONTROLS]
    # A group that has a value, but no controller here, is not offered by seed: age=60 must never be taken for a seed.
    controlled = {group for group, _ in CONTROLS.values()} | {encoder.group for encoder in found.values()}
    with torch.random.fork_rng(devices=[]):  # building draws weights, which are replaced
        controls = EncoderControlsConfig(
            groups=config.groups,
            encoders=tuple(found[name] for name in order),
            seeds=tuple(name for name in sizes if name not in controlled),
        ).build()
    controls.encoders.update({name: encoders[name] for name in order})
    return controls.eval().requires_grad_(False)


def _read(folder: str, path: Path, sizes: Mapping[str, int]) -> tuple[EncoderConfig, Encoder]:
    with open(path, "rb", buffering=0) as file:
        source = ByteSource(file)
        content = read_torch_file(source.whole(), torch_names(), Budget())
        state = state_dict(content.get("controller")) if type(content) is dict else None
        if state is None:
            raise CheckpointError(f"{shown(path.name)} holds no controller")
        if sum(tensor.nbytes for tensor in state.tensors.values()) > source.size:
            raise CheckpointError(f"{shown(path.name)} claims more weights than it holds")
        widths = _widths(state)
        name, group = _control_of(folder, widths[0], sizes)
        if widths[-1] != sizes[group]:
            raise CheckpointError(f"it makes {widths[-1]} numbers, the latent group {group} has {sizes[group]}")
        tensors = {tensor_name: tensor.load().float() for tensor_name, tensor in state.tensors.items()}
    with torch.random.fork_rng(devices=[]):
        encoder = Encoder.from_official(tensors)
    control = CONTROLS[name][1] if name in CONTROLS else _unknown(widths[0])
    described = EncoderConfig(name=name, group=group, control=control, hidden=widths[1], layers=len(widths) - 1)
    return described, encoder


def _widths(state: StateDict) -> list[int]:
    """Widths of the value, of what lies between the layers, and of the result; checked before a module is built."""
    layers = state.count(r"fc_stack\.(\d+)\.weight$")
    names = {f"fc_stack.{i}.{leaf}" for i in range(layers) for leaf in ("weight", "bias")}
    if not layers or names != state.tensors.keys():
        raise CheckpointError("it has other layers than fc_stack.0, fc_stack.1, …, each with weight and bias")
    hidden, in_dim = state.shape("fc_stack.0.weight", 2)
    size = state.shape(f"fc_stack.{layers - 1}.bias", 1)[0]
    widths = [in_dim, *[hidden] * (layers - 1), size]
    for i, (before, after) in enumerate(pairwise(widths)):
        is_fitting = state.shape(f"fc_stack.{i}.weight", 2) == (after, before)
        if not is_fitting or state.shape(f"fc_stack.{i}.bias", 1) != (after,):
            raise CheckpointError(f"its layer fc_stack.{i} does not fit the others")
    return widths


def _control_of(folder: str, count: int, sizes: Mapping[str, int]) -> tuple[str, str]:
    """Control and latent group of a controller in such a folder, which takes `count` numbers."""
    fitting = [name for name in sizes if folder == name or folder.startswith(f"{name}_")]
    if not fitting:
        raise CheckpointError(f"the name of its folder begins with no latent group; there are {', '.join(sizes)}")
    group = max(fitting, key=len)
    counts = {name: control.count for name, (of, control) in CONTROLS.items() if of == group}
    if not counts:
        return group, group
    for name, expected in counts.items():
        if count == expected:
            return name, group
    expected_counts = " or ".join(f"{expected} ({name})" for name, expected in counts.items())
    raise CheckpointError(f"it takes {count} numbers, not {expected_counts}")


def _unknown(count: int) -> Control:
    """A control of which no more is known than how many numbers it takes."""
    low, high, default = ((value,) * count if count > 1 else value for value in (-_LIMIT, _LIMIT, 0.0))
    return Control(unit="", low=low, high=high, default=default, help="as the controller was trained")
