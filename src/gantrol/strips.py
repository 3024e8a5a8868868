"""A sheet that shows what a model's controls do: one strip of images per control, all of the same person.

sheet = controls_sheet(gantrol.load("faces"), seeds=[3])
sheet.save("controls.png")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from gantrol.controls import Control, shown
from gantrol.errors import ConfigError
from gantrol.model import Model
from gantrol.pictures import captioned_sheet
from gantrol.sample import Look

_HAIR = (
    (0.05, 0.04, 0.04),
    (0.2, 0.12, 0.08),
    (0.45, 0.16, 0.07),
    (0.7, 0.3, 0.1),
    (0.8, 0.62, 0.35),
    (0.75, 0.7, 0.65),
)
"""From black over brown, auburn and red to blonde and grey: where natural colours lie among r, g, b."""


def strip_values(control: Control, steps: int) -> list[Any]:
    """So many values that go once through the range of a control; colours go through those of hair.

    Raises:
        ConfigError: fewer than two steps.
    """
    if steps < 2:
        raise ConfigError(f"{steps} images in a strip: expected at least 2")
    if control.kind == "seed":
        return list(range(steps))
    if control.components == ("r", "g", "b"):
        places = np.linspace(0, len(_HAIR) - 1, steps)
        colors = [[float(np.interp(p, range(len(_HAIR)), [c[i] for c in _HAIR])) for i in range(3)] for p in places]
        return [control.clamp(tuple(color)) for color in colors]
    low, high = np.atleast_1d(control.low), np.atleast_1d(control.high)
    values = [low + (high - low) * share for share in np.linspace(0, 1, steps)]
    return [tuple(map(float, value)) if isinstance(control.low, tuple) else float(value[0]) for value in values]


def strip_names(controls: Mapping[str, Control]) -> list[str]:
    """The controls that get a strip: of those whose numbers are controls of their own, these instead."""
    wholes = {control.part_of for control in controls.values()}
    return [name for name in controls if name not in wholes]


def controls_sheet(
    model: Model,
    *,
    seeds: Sequence[int] = (0,),
    steps: int = 7,
    names: Sequence[str] | None = None,
    look: Look | None = None,
) -> Image.Image:
    """One captioned strip per control, of the same seeds; everything that a strip does not name stays as it is.

    Args:
        model: with controls.
        seeds: of the people; several stand side by side in each strip.
        steps: images per strip and person, from the lowest to the highest value.
        names: of the controls; None: all.
        look: truncation and so on; its controls hold for all images.

    Raises:
        ConfigError: the model has no controls, or none of such a name.
    """
    if not model.controls:
        raise ConfigError("this model has no controls, so there is nothing to show; see `gantrol control directions`")
    look = look or Look()
    chosen = strip_names(model.controls) if names is None else list(names)
    rows = []
    for name in chosen:
        if name not in model.controls:
            model.check_controls({name: 0.0})  # says which there are
        control = model.controls[name]
        values = strip_values(control, steps)
        images = []  # per value uint8 [people, H, W, C]
        for value in values:
            arguments = {**look.of_map, "controls": {**look.controls, name: value}}
            images.append(model.generate(seeds, **arguments, noise_mode=look.noise_mode, output="np"))
        strip = np.concatenate(list(np.stack(images, axis=1)))  # one person after the other
        span = "" if control.kind == "seed" else f" {shown(values[0])} to {shown(values[-1])}"
        rows.append((f"{name}{span}" if control.count == 1 else name, strip))
    return captioned_sheet(rows)
