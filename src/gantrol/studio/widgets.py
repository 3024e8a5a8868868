"""Which widget sets which control: the description from which the page builds sliders, pads and pickers.

    several numbers r, g, b          a colour picker
    azimuth and elevation            a light that is dragged over a ball
    yaw and pitch                    a head that is turned
    other components                 a slider each
    a seed                           a switch that keeps this part of the picture while the seed changes
    anything else                    a slider

Numbers on the page are rounded to a step that is fine against the range, so that commands stay readable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from gantrol.controls import Control
from gantrol.model import Model
from gantrol.studio.state import IDENTITY, own_controls

_STEPS = 200
"""A slider has at least so many steps."""

_PADS = {("azimuth", "elevation"): "light", ("yaw", "pitch"): "pose"}

HAIR = {
    "black": (0.14, 0.1, 0.09),
    "brown": (0.32, 0.2, 0.13),
    "chestnut": (0.45, 0.25, 0.15),
    "red": (0.66, 0.3, 0.16),
    "blond": (0.82, 0.65, 0.42),
    "pale blond": (0.9, 0.76, 0.58),
}
"""Colours that hair has, offered beside the picker."""


def step_of(low: float, high: float) -> float:
    """The largest of 1, 0.5, 0.1, 0.05, … that divides a range into at least 200 steps."""
    exponent = math.floor(math.log10((high - low) / _STEPS)) + 1
    for factor in (1.0, 0.5, 0.1):
        step = factor * 10.0**exponent
        if (high - low) / step >= _STEPS and step <= 1:
            return round(step, 12)
    return 1.0


def describe(models: Iterable[Model]) -> list[dict[str, Any]]:
    """The widgets for all controls that some of the models have; of controls with one name the first is described."""
    controls: dict[str, Control] = {}
    for model in models:
        for name, control in own_controls(model).items():
            controls.setdefault(name, control)
    widgets: list[dict[str, Any]] = []
    used: set[str] = set()
    for name, control in controls.items():
        if name in used:
            continue
        pair = _pair(name, controls)
        used.update(pair or (name,))
        widgets.append(_pose(pair, controls) if pair else _widget(name, control))
    return sorted(widgets, key=lambda widget: widget["kind"] == "seed")


def axis(name: str, control: Control, index: int = 0) -> dict[str, Any]:
    """What a page has to know about one number of a control."""
    low, high, default = (_number(value, index) for value in (control.low, control.high, control.default))
    component = control.components[index] if control.components else ""
    step = step_of(low, high)
    return {
        "name": component or name,
        "control": name,
        "index": index,
        "low": _inward(low, step, math.ceil),
        "high": _inward(high, step, math.floor),
        "start": float(f"{round(default / step) * step:.10g}"),
        "step": step,
        "unit": {"degrees": "°", "0-1": ""}.get(control.unit, control.unit),
    }


def _pair(name: str, controls: Mapping[str, Control]) -> tuple[str, str] | None:
    """The two controls of one pad that `name` starts or belongs to."""
    for pair in _PADS:
        if name in pair and all(other in controls and controls[other].count == 1 for other in pair):
            return pair[0], pair[1]
    return None


def _pose(pair: tuple[str, str], controls: Mapping[str, Control]) -> dict[str, Any]:
    return {
        "kind": "pad",
        "name": _PADS[pair],
        "picture": _PADS[pair],
        "help": "; ".join(f"{name}: {controls[name].help}" for name in pair),
        "axes": [axis(name, controls[name]) for name in pair],
    }


def _widget(name: str, control: Control) -> dict[str, Any]:
    widget: dict[str, Any] = {"name": name, "help": control.help, "implicit": control.is_implicit}
    if control.kind == "seed":
        return {**widget, "kind": "seed", "is_identity": name == IDENTITY}
    if control.components == ("r", "g", "b"):
        swatches = {word: list(map(float, _several(control.clamp(rgb)))) for word, rgb in HAIR.items()}
        return {
            **widget,
            "kind": "colour",
            "start": list(map(float, _several(control.default))),
            "low": list(_several(control.low)),
            "high": list(_several(control.high)),
            "swatches": swatches if "hair" in name else {},
        }
    axes = [axis(name, control, index) for index in range(control.count)]
    if control.components in _PADS:
        return {**widget, "kind": "pad", "picture": _PADS[control.components[0], control.components[1]], "axes": axes}
    return {**widget, "kind": "sliders", "axes": axes}


def _inward(limit: float, step: float, towards: Any) -> float:
    """The limit on the grid of steps, never outside the range."""
    return float(f"{towards(round(limit / step, 6)) * step:.10g}")


def _number(value: Any, index: int) -> float:
    return float(value[index] if isinstance(value, tuple) else value)


def _several(value: Any) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
