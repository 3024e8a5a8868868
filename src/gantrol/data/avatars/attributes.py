"""The attributes of avatars: what each means, how often its values come up, and what may be set."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gantrol.data.avatars.styles import DEFAULT_STYLES, STYLES
from gantrol.errors import ConfigError, nearest

_Sampler = Callable[[np.random.Generator], Any]


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """One attribute of an avatar."""

    kind: Literal["scalar", "color", "choice", "seed"]
    """scalar (a number), color ([r, g, b], sRGB in 0–1), choice (a word) or seed (an integer)."""
    unit: str = ""
    low: float = 0
    high: float = 1
    default: Any
    help: str
    odds: Mapping[Any, float] | None = None
    """Relative frequency of each value of a choice, or of a scalar that takes a few values only."""
    sample: _Sampler | None = None
    """Draws a colour or a number that has no `odds`; the result is clipped and rounded."""
    mirror: int = 1
    """The factor that a left-right flip of the image applies to the value."""

    def draw(self, rng: np.random.Generator, choices: Sequence[Any]) -> Any:
        """A JSON-ready random value; `choices` are the values among which one with `odds` is drawn."""
        if self.odds is not None:
            shares = np.cumsum([self.odds[choice] for choice in choices])
            return choices[int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))]
        assert self.sample is not None
        value = self.sample(rng)
        if self.kind == "seed":
            return int(value)
        if self.kind == "color":
            return [round(float(np.clip(part, 0, 1)), 3) for part in value]
        return round(float(np.clip(value, self.low, self.high)), 3)

    def check(self, name: str, value: Any, choices: Sequence[Any]) -> Any:
        """The value in JSON-ready form; raises ConfigError in one line that says what the attribute takes."""
        if self.kind == "choice":
            if value not in choices:
                raise ConfigError(f"{name}={value!r} is not one of its values; {nearest(str(value), choices)}")
            return value
        form = {"color": "r,g,b from 0 to 1", "seed": "a whole number", "scalar": "a number"}[self.kind]
        parts = list(value) if self.kind == "color" and isinstance(value, list | tuple | np.ndarray) else [value]
        for part in parts:
            if isinstance(part, bool) or not isinstance(part, int | float | np.number) or not math.isfinite(part):
                raise ConfigError(f"{name}={value!r} is not {form}")
            if not self.low <= part <= self.high:
                unit = f" {self.unit}" if self.unit else ""
                raise ConfigError(f"{name}={value!r} is out of range: from {self.low:g} to {self.high:g}{unit}")
        if self.kind == "color":
            if len(parts) != 3:
                raise ConfigError(f"{name}={value!r} is not {form}")
            return [float(part) for part in parts]
        if self.kind == "seed":
            if value != int(value):
                raise ConfigError(f"{name}={value!r} is not {form}")
            return int(value)
        if choices and value not in choices:
            raise ConfigError(f"{name}={value!r} is not one of its values: {', '.join(f'{c:g}' for c in choices)}")
        return float(value)


def _anchored(anchors: Sequence[tuple[int, int, int]], spread: float) -> _Sampler:
    """A random anchor, brightened and tinted a little."""

    def sample(rng: np.random.Generator) -> np.ndarray:
        color = np.array(anchors[int(rng.integers(len(anchors)))]) / 255
        return color * np.exp(rng.normal(0, spread)) * np.exp(rng.normal(0, spread / 3, 3))

    return sample


def _skin_color(rng: np.random.Generator) -> np.ndarray:
    """A tone anywhere between the darkest and the lightest anchor, tinted a little."""
    tone = rng.uniform(0, len(_SKIN) - 1)
    color = [np.interp(tone, range(len(_SKIN)), channel) / 255 for channel in zip(*_SKIN, strict=True)]
    return np.array(color) * np.exp(rng.normal(0, 0.02, 3))


def _soft_color(low: float, high: float, saturation: float) -> _Sampler:
    """A colour of any hue, a brightness between `low` and `high`, and at most the given saturation."""

    def sample(rng: np.random.Generator) -> np.ndarray:
        hue, depth, value = rng.random(), saturation * rng.random(), rng.uniform(low, high)
        wheel = np.clip(abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
        return value * (1 - depth + depth * wheel)

    return sample


# sRGB anchors of hair (four natural ones for each dyed one), skin from dark to light, and eyes
_HAIR = [(26, 20, 18), (44, 27, 24), (74, 49, 44), (114, 65, 51), (165, 87, 40), (181, 129, 67), (214, 179, 112),
         (236, 220, 191), (176, 60, 24), (150, 150, 150), (200, 60, 90), (70, 120, 190), (110, 160, 60)]  # fmt: skip
_SKIN = [(96, 64, 48), (128, 82, 52), (166, 108, 66), (208, 150, 104), (236, 188, 140), (252, 220, 184)]
_EYES = [(92, 60, 34), (130, 96, 60), (96, 128, 92), (84, 130, 160), (118, 119, 139)]

ATTRIBUTES: dict[str, Attribute] = {
    "style": Attribute(
        kind="choice",
        default=DEFAULT_STYLES[0],
        help="the artist's hand",
        odds=dict.fromkeys(STYLES, 1.0),
    ),
    "identity": Attribute(
        kind="seed",
        high=2**31 - 1,
        default=0,
        help="seed of what has no attribute: head, nose, clothes, and which drawing shows a value",
        sample=lambda rng: rng.integers(2**31),
    ),
    "facing": Attribute(
        kind="scalar",
        low=-1,
        default=1.0,
        help="1 looks to the image's right, -1 to the left; of a frontal style 1 is as drawn, -1 mirrored",
        odds={1.0: 1, -1.0: 1},
        mirror=-1,
    ),
    "roll": Attribute(
        kind="scalar",
        unit="degrees",
        low=-20,
        high=20,
        default=0.0,
        help="> 0 tilts clockwise in the image",
        sample=lambda rng: rng.normal(0, 5),
        mirror=-1,
    ),
    "zoom": Attribute(
        kind="scalar",
        low=0.8,
        high=1.25,
        default=1.0,
        help="size of the head, 1 = usual",
        sample=lambda rng: rng.uniform(0.95, 1.1),
    ),
    "hair": Attribute(
        kind="choice",
        default="short",
        help="the cut; covered is a hat, hijab or turban",
        odds={"short": 3, "bald": 1, "spiky": 1, "curly": 2, "long": 3, "tied": 2, "covered": 1},
    ),
    "mouth": Attribute(
        kind="choice",
        default="neutral",
        help="laugh shows teeth or an open, happy mouth; open is surprise or fear",
        odds={"neutral": 2, "smile": 3, "laugh": 2, "frown": 2, "open": 1},
    ),
    "eyes": Attribute(
        kind="choice",
        default="open",
        help="wink closes one eye",
        odds={"open": 6, "closed": 2, "wink": 1, "squint": 2},
    ),
    "brows": Attribute(
        kind="choice",
        default="neutral",
        help="worried brows rise towards the middle",
        odds={"neutral": 3, "none": 1, "raised": 2, "angry": 2, "worried": 2},
    ),
    "glasses": Attribute(
        kind="choice",
        default="none",
        help="dark glasses hide the eyes",
        odds={"none": 7, "clear": 2, "dark": 1},
    ),
    "beard": Attribute(
        kind="choice",
        default="none",
        help="full includes goatees; a beard may hide the mouth",
        odds={"none": 8, "moustache": 1, "full": 1},
    ),
    "hair_color": Attribute(
        kind="color",
        unit="sRGB",
        default=[0.17, 0.11, 0.1],
        help="hair and beard",
        sample=_anchored(_HAIR, 0.15),
    ),
    "skin_color": Attribute(
        kind="color",
        unit="sRGB",
        default=[0.93, 0.74, 0.55],
        help="face and neck",
        sample=_skin_color,
    ),
    "eye_color": Attribute(
        kind="color",
        unit="sRGB",
        default=[0.36, 0.24, 0.13],
        help="iris",
        sample=_anchored(_EYES, 0.15),
    ),
    "clothes_color": Attribute(
        kind="color",
        unit="sRGB",
        default=[0.3, 0.5, 0.75],
        help="shirt or jacket",
        sample=_soft_color(0.35, 0.95, 0.8),
    ),
    "background": Attribute(
        kind="color",
        unit="sRGB",
        default=[0.8, 0.85, 0.9],
        help="the plain backdrop",
        sample=_soft_color(0.6, 1.0, 0.5),
    ),
}
"""All attributes; which of them a style has is told by `gantrol.data.avatars.style_attributes`."""
