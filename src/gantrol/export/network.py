"""The network that goes into the file: latents, truncation, controls and transform in, pictures out.

Dimensions: N batch · C image channels · H W pixels · D features of z and w · L copies of w · K numbers of a value.

It computes what `gantrol.Model.generate` computes, with everything that a user can turn as a tensor:

    z               [N, D]          latents, drawn from N(0, 1)
    c               [N, classes]    one-hot class, for a conditional model
    truncation_psi  []              ψ: 1 is the whole distribution, 0 its average
    transform       [N or 1, 3, 3]  where points of the image shall appear, for a model that can be moved
    a control       [N or 1, K]     its value in its unit; NaN is *not set*: the attribute follows from z

One NaN in a value of several numbers is that number's default; a value that is all NaN is not set. A number outside its
range counts as the nearest one within it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gantrol.control import ControlSet, DirectionControls
from gantrol.controls import Control
from gantrol.errors import ConfigError
from gantrol.model import Model
from gantrol.models.latent_generator import LatentMapping
from gantrol.models.protocols import NoiseMode
from gantrol.sample import is_movable, takes_poses

_MOVABLE = "synthesis.input.transform"


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input of an exported generator."""

    name: str
    """What it is called."""
    shape: tuple[int | str, ...]
    """Its shape, float32; "N" is the number of images, "N or 1" can also be one for all of them."""
    help: str
    """What it does."""
    unit: str = ""
    """What a control's value is measured in."""
    low: tuple[float, ...] = ()
    """The lowest value of each number of a control."""
    high: tuple[float, ...] = ()
    """The highest."""
    default: tuple[float, ...] = ()
    """A typical one."""
    components: tuple[str, ...] = ()
    """What the numbers of a control are called, where they have names."""

    @property
    def is_control(self) -> bool:
        """Whether it sets an attribute by value."""
        return bool(self.low)


class ExportedGenerator(nn.Module):
    """A model as one function of tensors.

    Args:
        model: what is exported; its modules are copied to the CPU unless they are there.
        noise_mode: per-pixel noise: "const", the model's own, which goes into the file, or "none".
        dtype: type of the widest layers.

    Raises:
        ConfigError: the model cannot be exported with noise drawn anew, or a control has the name of another input.
    """

    def __init__(self, model: Model, *, noise_mode: NoiseMode = "const", dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        if noise_mode == "random":
            raise ConfigError("noise 'random' cannot be exported: files draw no random numbers; use const or none")
        self.generator: Any = _on_cpu(model.generator)
        self.control_set: ControlSet | None = None if model.control_set is None else _on_cpu(model.control_set)
        self.noise_mode = noise_mode
        self.dtype = dtype
        self.inputs = describe_inputs(self.generator, {} if self.control_set is None else self.control_set.controls)
        if isinstance(self.control_set, DirectionControls):
            self._register_steps(self.control_set)

    def forward(self, *values: Tensor) -> Tensor:
        """Maps one tensor for each of `inputs` to images [N, C, H, W] in [−1, 1]."""
        inputs = {each.name: value for each, value in zip(self.inputs, values, strict=True)}
        generator, z = self.generator, inputs["z"]
        ws = generator.mapping(z, inputs.get("c"))  # [N, L, D]
        mean = self._mean(inputs)
        ws = mean + (ws - mean) * inputs["truncation_psi"]
        if self.control_set is not None:
            ws = self._steered(ws, inputs)
        swapped: dict[str, Tensor] = {}
        if "transform" in inputs:
            swapped[_MOVABLE.removeprefix("synthesis.")] = inverse_motion(inputs["transform"])
        images = torch.func.functional_call(
            generator.synthesis, swapped, (ws,), {"noise_mode": self.noise_mode, "dtype": self.dtype}
        )
        return images.float().clamp(-1, 1)

    def _mean(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What truncation pulls towards: the mean w [D], or where w is z itself the mean latent (of the class)."""
        mapping = self.generator.mapping
        if not isinstance(mapping, LatentMapping):
            mean: Tensor = mapping.w_avg
            return mean
        return torch.zeros(mapping.z_dim) if mapping.embed is None else mapping.embed(inputs["c"])[:, None]

    def _steered(self, ws: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """ws [N, L, D] with the controls that are set, one after the other."""
        assert self.control_set is not None
        for wanted in self.inputs:
            if wanted.is_control:
                value, is_set = settled(inputs[wanted.name], wanted)
                value = value + torch.zeros_like(ws[:, 0, :1])  # [N, K]: a file may be given one row for all images
                ws = torch.where(is_set[:, :, None], self._moved(ws, wanted.name, value), ws)
        return ws

    def _moved(self, ws: Tensor, name: str, value: Tensor) -> Tensor:
        """ws [N, L, D] with one control at `value` [N or 1, K]."""
        if not isinstance(self.control_set, DirectionControls):
            assert self.control_set is not None
            return self.control_set.steer(ws, {name: value})
        rows = self.rows[name]
        missing = value - self.control_set.read(ws)[:, rows]  # [N, K]
        return ws + torch.einsum("nk,kld->nld", missing, self.get_buffer(f"steps_{name}"))

    def _register_steps(self, controls: DirectionControls) -> None:
        """Keeps what one unit more of each number adds to ws, [K, L, D] for each control.

        `DirectionControls.steer` solves a small linear system for that, which depends on nothing but its weights.
        """
        self.rows: dict[str, slice] = {}
        zero = torch.zeros(1, controls.config.num_ws, controls.config.w_dim)
        start = 0
        for name, control in controls.controls.items():
            self.rows[name] = slice(start, start + control.count)
            reading = controls.read(zero)[:, self.rows[name]]  # [1, K]
            units = torch.eye(control.count)[:, None]
            steps = torch.cat([controls.steer(zero, {name: reading + unit}) for unit in units])
            self.register_buffer(f"steps_{name}", steps)
            start += control.count


def _on_cpu(module: Any) -> Any:
    parameters = [*module.parameters(), *module.buffers()]
    is_there = all(tensor.device.type == "cpu" for tensor in parameters) and not module.training
    return module if is_there else copy.deepcopy(module).cpu().eval()


def describe_inputs(generator: Any, controls: Mapping[str, Control]) -> tuple[Input, ...]:
    """The inputs of an exported generator, in their order.

    Raises:
        ConfigError: a control has the name of another input, or its generator's movable input is of a foreign kind.
    """
    inputs = [Input(name="z", shape=("N", generator.z_dim), help="latents, drawn from N(0, 1)")]
    if generator.c_dim:
        inputs.append(Input(name="c", shape=("N", generator.c_dim), help="one-hot class"))
    inputs.append(
        Input(name="truncation_psi", shape=(), help="1 is the whole distribution, 0 its average; 0.7 is a good value")
    )
    if is_movable(generator) and takes_poses(generator):
        text = "moves and turns the image: maps its points (x right, y down, one image wide, centre 0) to new places"
        inputs.append(Input(name="transform", shape=("N or 1", 3, 3), help=text))
    taken = {each.name for each in inputs}
    for name, control in controls.items():
        if control.kind == "seed":
            continue  # part of z
        if name in taken:
            raise ConfigError(f"control {name!r} cannot be exported: there is another input of this name")
        low, high, default = (
            tuple(map(float, value)) if isinstance(value, tuple) else (float(value),)
            for value in (control.low, control.high, control.default)
        )
        inputs.append(
            Input(
                name=name,
                shape=("N or 1", control.count),
                help=f"{control.help}; NaN: as z has it",
                unit=control.unit,
                low=low,
                high=high,
                default=default,
                components=control.components,
            )
        )
    return tuple(inputs)


def settled(value: Tensor, wanted: Input) -> tuple[Tensor, Tensor]:
    """A control's value without NaN, within its range [N or 1, K], and whether it is set at all [N or 1, 1]."""
    low, high, default = (torch.tensor([numbers]) for numbers in (wanted.low, wanted.high, wanted.default))
    is_missing = torch.isnan(value)
    value = torch.where(is_missing, default, value)
    return value.maximum(low).minimum(high), (~is_missing).any(dim=1, keepdim=True)


def inverse_motion(matrix: Tensor) -> Tensor:
    """The inverse of motions [M, 3, 3] whose last row is (0, 0, 1), in closed form: files know no general inverse."""
    a, b, c, d = (matrix[:, i, j] for i in (0, 1) for j in (0, 1))
    x, y = matrix[:, 0, 2], matrix[:, 1, 2]
    scale = 1 / (a * d - b * c)
    zero = torch.zeros_like(a)
    rows = [d * scale, -b * scale, (b * y - d * x) * scale, -c * scale, a * scale, (c * x - a * y) * scale]
    return torch.stack([*rows, zero, zero, zero + 1], dim=1).view(-1, 3, 3)


def latent_places(model: Model) -> dict[str, tuple[int, int]]:
    """Which numbers of z belong to which attribute, from and up to, for a model with named latent groups."""
    slices = getattr(model.generator.mapping, "slices", {})
    return {name: (place.start, place.stop) for name, place in slices.items()}


def neutral_values(inputs: tuple[Input, ...], truncation_psi: float = 1.0) -> dict[str, Tensor]:
    """What an input that is left out counts as: ψ, no motion, nothing set; z and c cannot be left out."""
    values: dict[str, Tensor] = {}
    for each in inputs:
        if each.name == "truncation_psi":
            values[each.name] = torch.tensor(truncation_psi)
        elif each.name == "transform":
            values[each.name] = torch.eye(3)[None]
        elif each.is_control:
            values[each.name] = torch.full((1, len(each.low)), math.nan)
    return values
