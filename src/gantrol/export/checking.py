"""Whether an exported file makes the pictures of its model.

The reference is the model itself (`Model.map`, `Model.synthesize`), one picture at a time, so that tracing, replacing
operators, writing and reading are all within what is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantrol.errors import ConfigError
from gantrol.export.network import Input
from gantrol.export.tracing import example_values
from gantrol.model import Model
from gantrol.models.fourier_input import make_transform
from gantrol.models.protocols import NoiseMode
from gantrol.sample import posed

TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2}
"""The largest difference of a pixel, in [−1, 1], that counts as the same picture; 2/255 is one level of grey."""

_PSI = 0.7
_POSES = np.array([[0.0, 0.0, 0.0], [0.13, -0.07, 30.0], [-0.2, 0.05, -75.0]])  # x, y, degrees
_COUNT = len(_POSES)


def largest_difference(
    model: Model,
    run: Callable[[Mapping[str, Tensor]], Tensor],
    inputs: tuple[Input, ...],
    *,
    noise_mode: NoiseMode = "const",
    truncation_psi: float = 1.0,
    are_optional: bool = True,
) -> float:
    """The largest difference of any pixel between what a file and its model make, at two batch sizes.

    First one image with nothing set; then three, truncated, each with a motion of its own, the first without controls;
    and three with nothing set, where inputs may be left out.

    Args:
        model: the model.
        run: the file: values of inputs by name to images [N, C, H, W].
        inputs: those of the file.
        noise_mode: that of the file.
        truncation_psi: what the file takes if ψ is left out.
        are_optional: whether the first image may be asked for by z and c alone.
    """
    one = example_values(inputs, 1, truncation_psi)
    asked = {name: value for name, value in one.items() if name in ("z", "c") or not are_optional}
    found = [(run(asked), _reference(model, one, 0, {}, np.zeros(3), noise_mode))]
    several = example_values(inputs, _COUNT, _PSI)
    values = _settings(model, inputs)
    for name, value in values.items():
        several[name][1:] = value[1:]
    can_move = "transform" in several
    if can_move:
        several["transform"] = torch.stack([make_transform((x, y), degrees) for x, y, degrees in _POSES.tolist()])
    images = run(several)
    for row in range(_COUNT):
        controls = {name: value[row : row + 1] for name, value in values.items()} if row else {}
        pose = _POSES[row] if can_move else np.zeros(3)
        found.append((images[row : row + 1], _reference(model, several, row, controls, pose, noise_mode)))
    if are_optional:
        images = run({name: value for name, value in several.items() if name in ("z", "c")})
        plain = several | {"truncation_psi": one["truncation_psi"]}
        for row in range(_COUNT):
            found.append((images[row : row + 1], _reference(model, plain, row, {}, np.zeros(3), noise_mode)))
    return max(float((ours - theirs).abs().nan_to_num(nan=torch.inf).max()) for ours, theirs in found)


def _settings(model: Model, inputs: tuple[Input, ...]) -> dict[str, Tensor]:
    """Values [3, K] within the range of as many controls as can be set at once."""
    random = torch.Generator().manual_seed(0)
    settings: dict[str, Tensor] = {}
    for each in inputs:
        if each.is_control and _fit_together(model, {*settings, each.name}):
            low, high = torch.tensor(each.low), torch.tensor(each.high)
            settings[each.name] = low + (high - low) * torch.rand(_COUNT, len(each.low), generator=random)
    return settings


def _fit_together(model: Model, names: set[str]) -> bool:
    assert model.control_set is not None
    try:
        model.control_set.check_together(names)
    except ConfigError:
        return False
    return True


def _reference(
    model: Model, values: Mapping[str, Tensor], row: int, controls: Mapping[str, Tensor], pose: Any, mode: NoiseMode
) -> Tensor:
    """One image [1, C, H, W] of the model itself."""
    labels = values.get("c")
    ws = model.map(
        z=values["z"][row : row + 1],
        controls=controls,
        class_index=None if labels is None else int(labels[row].argmax()),
        truncation_psi=float(values["truncation_psi"]),
    )
    with torch.no_grad(), posed(model.generator, pose[None]):
        return model.synthesize(ws, noise_mode=mode).cpu().float()
