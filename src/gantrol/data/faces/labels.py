"""What a portrait is made from: the attributes, their ranges, and how a label row is drawn from (dataset seed, index).

A label row is a flat JSON-ready mapping with every attribute of `ATTRIBUTES`. It is the whole description of an image:
`gantrol.data.faces.render([row], size_px)` paints it again. Attributes are drawn independently of one another, so that
what a network learns of one is not borrowed from another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gantrol.errors import ConfigError, nearest

Row = dict[str, Any]
Kind = Literal["scalar", "color", "choice", "seed"]


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """One attribute of a portrait."""

    name: str
    kind: Kind
    """scalar (a number), color ([r, g, b], sRGB in 0–1), choice (one of `choices`) or seed (an integer)."""
    unit: str
    low: float
    high: float
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    sample: Callable[[np.random.Generator], Any]
    """Draws a value; the result is rounded and clipped by `sample_row`."""
    mirror: int = 1
    """The factor that a left-right flip of the image applies to the value: -1 for a yaw."""

    def schema(self) -> dict[str, Any]:
        """The JSON-ready description stored in a dataset."""
        described = {"kind": self.kind, "unit": self.unit, "low": self.low, "high": self.high, "default": self.default}
        described |= {"help": self.help} | ({"choices": list(self.choices)} if self.choices else {})
        return described | ({"mirror": self.mirror} if self.mirror != 1 else {})

    def check(self, value: Any) -> Any:
        """Returns the value in JSON-ready form, or raises ConfigError naming the attribute and what it takes."""
        if self.kind == "choice":
            if value not in self.choices:
                raise ConfigError(
                    f"{self.name}={value!r} is not one of its choices; {nearest(str(value), self.choices)}"
                )
            return value
        if self.kind == "color":
            parts = list(value) if isinstance(value, list | tuple | np.ndarray) else [value]
            numbers = [self._number(part, value) for part in parts]
            if len(numbers) != 3:
                raise ConfigError(f"{self.name}={value!r} must be three numbers r,g,b from 0 to 1")
            return numbers
        number = self._number(value, value)
        if self.kind == "seed":
            if number != int(number):
                raise ConfigError(f"{self.name}={value!r} must be a whole number")
            return int(number)
        return number

    def _number(self, part: Any, value: Any) -> float:
        if isinstance(part, bool) or not isinstance(part, int | float | np.number) or not math.isfinite(part):
            raise ConfigError(f"{self.name}={value!r} is not {'r,g,b' if self.kind == 'color' else 'a number'}")
        if not self.low <= part <= self.high:
            unit = f" {self.unit}" if self.unit else ""
            raise ConfigError(f"{self.name}={value!r} is out of range: from {self.low:g} to {self.high:g}{unit}")
        return float(part)


HAIR_STYLES = ("bald", "buzz", "short", "quiff", "side_part", "bangs", "bob", "long", "long_bangs", "afro", "bun")
_HAIR_STYLE_ODDS = (3, 7, 17, 13, 13, 8, 10, 12, 5, 6, 6)

# sRGB anchors of natural hair (black to grey), dyed hair, eyes and clothes
_HAIR = [(18, 15, 14), (26, 20, 18), (38, 28, 24), (58, 42, 32), (84, 60, 42), (124, 94, 64), (184, 144, 88),
         (214, 184, 132), (96, 46, 30), (132, 76, 48), (132, 130, 128), (206, 204, 200)]  # fmt: skip
_HAIR_DYED = [(150, 30, 60), (50, 70, 150), (90, 50, 130), (40, 120, 110), (210, 110, 150)]
_EYES = [(58, 34, 18), (84, 52, 26), (120, 84, 42), (104, 108, 60), (86, 120, 96), (92, 130, 160), (120, 140, 152)]


def _anchored(anchors: list[tuple[int, int, int]], spread: float) -> Callable[[np.random.Generator], list[float]]:
    """A colour between two random anchors' neighbours: one anchor, brightened and tinted a little."""

    def sample(rng: np.random.Generator) -> list[float]:
        color = np.array(anchors[rng.integers(len(anchors))]) / 255
        return list(color * np.exp(rng.normal(0, spread)) * np.exp(rng.normal(0, spread / 4, 3)))

    return sample


def _hair_color(rng: np.random.Generator) -> list[float]:
    dyed = rng.random() < 0.05
    return _anchored(_HAIR_DYED if dyed else _HAIR, 0.18)(rng)


def _soft_color(rng: np.random.Generator) -> list[float]:
    """A colour of any hue, moderate saturation and any lightness."""
    hue, saturation, value = rng.random(), rng.beta(1.4, 4.5), rng.uniform(0.15, 0.95)
    wheel = np.clip(abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return list(value * (1 - saturation + saturation * wheel))


def _normal(sd: float, mean: float = 0.0) -> Callable[[np.random.Generator], float]:
    return lambda rng: rng.normal(mean, sd)


def _uniform(low: float, high: float) -> Callable[[np.random.Generator], float]:
    return lambda rng: rng.uniform(low, high)


def _sometimes(odds: float, a: float, b: float) -> Callable[[np.random.Generator], float]:
    """Zero, or with the given odds a Beta(a, b) weight."""

    def sample(rng: np.random.Generator) -> float:
        used, weight = rng.random() < odds, rng.beta(a, b)
        return weight if used else 0.0

    return sample


def _scalar(
    name: str,
    unit: str,
    low: float,
    high: float,
    default: float,
    sample: Callable[[np.random.Generator], float],
    help: str,
) -> Attribute:
    mirror = -1 if name in ("yaw", "roll", "gaze_yaw", "light_azimuth") else 1
    return Attribute(
        name=name,
        kind="scalar",
        unit=unit,
        low=low,
        high=high,
        default=default,
        help=help,
        sample=sample,
        mirror=mirror,
    )


def _color(
    name: str, default: list[float], sample: Callable[[np.random.Generator], list[float]], help: str
) -> Attribute:
    return Attribute(name=name, kind="color", unit="sRGB", low=0, high=1, default=default, sample=sample, help=help)


ATTRIBUTES: dict[str, Attribute] = {
    attribute.name: attribute
    for attribute in [
        Attribute(name="identity", kind="seed", unit="", low=0, high=2**31 - 1, default=0,
                  sample=lambda rng: rng.integers(2**31),
                  help="seed of the face's shape: what stays when everything else changes"),
        _scalar("age", "years", 6, 85, 30, lambda rng: 6 + 79 * rng.beta(1.3, 1.6), "apparent age"),
        _scalar("gender", "", 0, 1, 0.5, lambda rng: rng.beta(0.35, 0.35), "0 = feminine, 1 = masculine face shape"),
        _scalar("weight", "", 0, 1, 0.5, lambda rng: rng.beta(2.2, 2.6), "0 = slim, 1 = heavy"),
        _scalar("yaw", "degrees", -45, 45, 0, _normal(18), "> 0 turns the face to the image's right"),
        _scalar("pitch", "degrees", -25, 25, 0, _normal(8), "> 0 looks up"),
        _scalar("roll", "degrees", -25, 25, 0, _normal(6), "> 0 tilts clockwise in the image"),
        _scalar("smile", "", 0, 1, 0, _sometimes(0.6, 1.3, 1.2), "lip corners raised, cheeks lifted"),
        _scalar("mouth_open", "", 0, 1, 0, _sometimes(0.35, 1.2, 2.2), "jaw opened"),
        _scalar("pucker", "", 0, 1, 0, _sometimes(0.1, 1.5, 1.8), "lips pushed forward"),
        _scalar("sadness", "", 0, 1, 0, _sometimes(0.15, 1.3, 1.6), "lip corners drawn down"),
        _scalar("brow_raise", "", 0, 1, 0, _sometimes(0.3, 1.2, 1.8), "both brows raised"),
        _scalar("frown", "", 0, 1, 0, _sometimes(0.2, 1.2, 2.0), "brows drawn down and together"),
        _scalar("eyes_wide", "", 0, 1, 0, _sometimes(0.2, 1.2, 1.8), "lids opened wide"),
        _scalar("eyes_closed", "", 0, 1, 0, _sometimes(0.12, 1.0, 1.0), "lids closed"),
        _scalar("gaze_yaw", "degrees", -25, 25, 0, _normal(7), "> 0 looks to the image's right, relative to the face"),
        _scalar("gaze_pitch", "degrees", -20, 20, 0, _normal(4), "> 0 looks up, relative to the face"),
        _scalar("light_azimuth", "degrees", -90, 90, 25, _normal(40), "> 0: the key light stands at the image's right"),
        _scalar("light_elevation", "degrees", -30, 75, 25, _normal(17, 25), "> 0: the key light stands above the face"),
        _scalar("skin_tone", "", 0, 1, 0.6, lambda rng: rng.beta(1.3, 1.1), "0 = darkest, 1 = lightest"),
        _color("hair_color", [0.25, 0.16, 0.1], _hair_color, "hair; brows follow, darker"),
        Attribute(name="hair_style", kind="choice", unit="", low=0, high=len(HAIR_STYLES) - 1, default="short",
                  choices=HAIR_STYLES, help="the cut",
                  sample=lambda rng: HAIR_STYLES[rng.choice(len(HAIR_STYLES), p=np.array(_HAIR_STYLE_ODDS) / 100)]),
        _color("eye_color", [0.35, 0.22, 0.12], _anchored(_EYES, 0.15), "iris"),
        _color("clothes", [0.3, 0.35, 0.45], _soft_color, "the garment at the neck"),
        _color("background", [0.55, 0.6, 0.65], _soft_color, "the backdrop, lit a little unevenly"),
    ]
}  # fmt: skip


def check_row(values: Mapping[str, Any]) -> Row:
    """Validates attributes set by a user.

    Returns them JSON-ready; raises ConfigError for an unknown attribute (with the nearest names), a value of the wrong
    kind or one out of range.
    """
    for name in values:
        if name not in ATTRIBUTES:
            raise ConfigError(f"unknown attribute {name!r}; {nearest(name, ATTRIBUTES)}")
    return {name: ATTRIBUTES[name].check(value) for name, value in values.items()}


def complete_row(values: Mapping[str, Any]) -> Row:
    """Validates a label row and fills the attributes it leaves out with their defaults."""
    return {name: attribute.default for name, attribute in ATTRIBUTES.items()} | check_row(values)


def sample_row(seed: int, index: int, fixed: Mapping[str, Any] | None = None) -> Row:
    """Draws the label row of image `index` of the dataset with this seed.

    The row depends on (seed, index) alone; attributes in `fixed` are set without changing how the others fall.
    Returns a JSON-ready mapping with every attribute; raises ConfigError as `check_row` does.
    """
    if seed < 0 or index < 0:
        raise ConfigError(f"seed and index must not be negative, got {seed} and {index}")
    fixed_values = check_row(fixed or {})
    rng = np.random.default_rng([seed, index])
    row: Row = {}
    for name, attribute in ATTRIBUTES.items():
        value = attribute.sample(rng)
        if attribute.kind == "scalar":
            value = round(float(np.clip(value, attribute.low, attribute.high)), 3)
        elif attribute.kind == "color":
            value = [round(float(np.clip(part, 0, 1)), 3) for part in value]
        elif attribute.kind == "seed":
            value = int(value)
        row[name] = value
    return row | fixed_values


def parse_assignments(items: Iterable[str]) -> Row:
    """Reads `name=value` items of a command line (`yaw=30`, `hair_color=0.8,0.2,0.1`, `hair_style=bob`)."""
    values: dict[str, Any] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals:
            raise ConfigError(f"--set {item!r} must be written name=value, for example yaw=30")
        attribute = ATTRIBUTES.get(name)
        if attribute is None or attribute.kind == "choice":
            values[name] = text
            continue
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            form = "r,g,b" if attribute.kind == "color" else "a number"
            raise ConfigError(f"--set {item!r}: {name} takes {form}") from None
        values[name] = numbers if attribute.kind == "color" or len(numbers) != 1 else numbers[0]
    return check_row(values)
