"""What a portrait is made from: the attributes, their ranges, and how a label row is drawn from (dataset seed, index).

A label row is a flat JSON-ready mapping with every attribute of `ATTRIBUTES`. It is the whole description of an image:
`gantrol.data.faces.render([row], size_px)` paints it again. Attributes are drawn independently of one another, so that
what a network learns of one is not borrowed from another, with two stated exceptions: some belong to the person and
are drawn from the identity seed (`of_identity`), and a few follow what they cannot do without (`depends`: a beard, an
age).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from gantrol.data.faces.attributes import Attribute, Row
from gantrol.data.faces.styles import STYLES
from gantrol.errors import ConfigError, nearest

__all__ = ["ATTRIBUTES", "Attribute", "Row", "check_row", "complete_row", "like_row", "parse_assignments", "sample_row"]

# cut -> how common it is, and how much more so on masculine (> 1) or feminine (< 1) faces
_HAIR_ODDS = {"bald": (4, 5.0), "receding": (4, 8.0), "buzz": (6, 4.0), "short": (13, 3.0), "quiff": (8, 3.0),
              "side_part": (9, 2.0), "bangs": (7, 0.7), "bob": (8, 0.3), "long": (9, 0.3), "long_bangs": (6, 0.3),
              "wavy": (8, 0.3), "curly": (7, 0.8), "afro": (5, 1.0), "bun": (5, 0.3), "ponytail": (6, 0.3)}  # fmt: skip
HAIR_STYLES = tuple(_HAIR_ODDS)
BEARDS = ("none", "stubble", "moustache", "goatee", "short", "full")
GLASSES = ("none", "round", "square", "thin", "cat_eye", "sunglasses")
HATS = ("none", "beanie", "cap", "brim", "headband")
CLOTHES = ("crew", "v_neck", "scoop", "shirt", "turtleneck", "hoodie")
BACKGROUNDS = ("plain", "gradient", "studio", "indoor", "outdoor", "city", "foliage")
EXPRESSIONS = ("smile", "laugh", "sad", "surprised", "angry", "disgusted", "afraid", "wink")

# sRGB anchors of natural hair (black to fair), dyed hair, light and dark eyes
_HAIR = [(18, 15, 14), (26, 20, 18), (38, 28, 24), (58, 42, 32), (84, 60, 42), (104, 76, 52), (132, 102, 70),
         (176, 138, 88), (206, 176, 128), (98, 48, 30), (134, 76, 46), (46, 36, 32)]  # fmt: skip
_HAIR_DYED = [(150, 30, 60), (50, 70, 150), (90, 50, 130), (40, 120, 110), (210, 110, 150), (224, 216, 204)]
_EYES_DARK = [(46, 28, 16), (58, 34, 18), (84, 52, 26), (98, 64, 34)]
_EYES_LIGHT = [(120, 84, 42), (104, 108, 60), (86, 120, 96), (92, 130, 160), (120, 140, 152)]

Sampler = Callable[[np.random.Generator, Row], Any]


def _anchored(rng: np.random.Generator, anchors: list[tuple[int, int, int]], spread: float) -> list[float]:
    """One of the anchors, brightened and tinted a little."""
    color = np.array(anchors[rng.integers(len(anchors))]) / 255
    return list(color * np.exp(rng.normal(0, spread)) * np.exp(rng.normal(0, spread / 4, 3)))


def _hair_color(rng: np.random.Generator, row: Row) -> list[float]:
    return _anchored(rng, _HAIR_DYED if rng.random() < 0.05 else _HAIR, 0.18)


def _eye_color(rng: np.random.Generator, row: Row) -> list[float]:
    fair = row["european"] / max(row["african"] + row["asian"] + row["european"], 1e-6)
    return _anchored(rng, _EYES_LIGHT if rng.random() < 0.75 * fair**1.5 else _EYES_DARK, 0.15)


def _skin_tone(rng: np.random.Generator, row: Row) -> float:
    shares = np.array([row["african"], row["asian"], row["european"]])
    return float(shares @ [0.22, 0.66, 0.80] / max(shares.sum(), 1e-6) + rng.normal(0, 0.10))


def _soft_color(rng: np.random.Generator, row: Row) -> list[float]:
    """A colour of any hue, moderate saturation and any lightness."""
    hue, saturation, value = rng.random(), rng.beta(1.3, 5.0), rng.uniform(0.12, 0.92)
    wheel = np.clip(abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return list(value * (1 - saturation + saturation * wheel))


def _grey(rng: np.random.Generator, row: Row) -> float:
    """Hair begins to grey at an age that differs from person to person, and takes two decades or more."""
    begins, lasts = rng.normal(46, 9), rng.uniform(18, 45)
    return float(np.clip((row["age"] - begins) / lasts, 0, 1))


def _grown_man(row: Row) -> bool:
    return bool(row["gender"] > 0.55 and row["age"] > 18)


def _beard(rng: np.random.Generator, row: Row) -> str:
    drawn = BEARDS[rng.choice(len(BEARDS), p=[0.40, 0.20, 0.08, 0.09, 0.13, 0.10])]
    return drawn if _grown_man(row) else "none"


def _hair_style(rng: np.random.Generator, row: Row) -> str:
    odds = np.array([common * masculine ** (row["gender"] - 0.5) for common, masculine in _HAIR_ODDS.values()])
    if row["age"] < 22:  # the young are rarely bald
        odds[[HAIR_STYLES.index("bald"), HAIR_STYLES.index("receding")]] *= 0.1
    return HAIR_STYLES[rng.choice(len(odds), p=odds / odds.sum())]


def _named_expressions(rng: np.random.Generator) -> dict[str, float]:
    """Neutral in 30 of 100 draws, one expression in 55, a blend of two in 15."""
    weights = dict.fromkeys(EXPRESSIONS, 0.0)
    kind, side = rng.random(), rng.choice([-1.0, 1.0])
    first, second = rng.choice(len(EXPRESSIONS), 2, replace=False, p=[0.40, 0.12, 0.09, 0.10, 0.09, 0.08, 0.07, 0.05])
    strength, share = rng.beta(1.8, 1.3), rng.uniform(0.3, 0.7)
    if 0.30 <= kind < 0.85:
        weights[EXPRESSIONS[first]] = strength
    elif kind >= 0.85:
        weights[EXPRESSIONS[first]], weights[EXPRESSIONS[second]] = strength * share, strength * (1 - share)
    weights["wink"] *= side
    return weights


def _normal(sd: float, mean: float = 0.0) -> Sampler:
    return lambda rng, row: rng.normal(mean, sd)


def _beta(a: float, b: float) -> Sampler:
    return lambda rng, row: rng.beta(a, b)


def _seed(rng: np.random.Generator, row: Row) -> int:
    return int(rng.integers(2**31))


def _pick(names: tuple[str, ...], *percent: int) -> Sampler:
    return lambda rng, row: names[rng.choice(len(names), p=np.array(percent) / 100)]


def _ancestry(place: int) -> Sampler:
    return lambda rng, row: rng.dirichlet([0.3] * 3)[place]


def _sometimes(odds: float, a: float, b: float) -> Sampler:
    """Zero, or with the given odds a Beta(a, b) weight."""

    def sample(rng: np.random.Generator, row: Row) -> float:
        used, weight = rng.random() < odds, rng.beta(a, b)
        return weight if used else 0.0

    return sample


def _scalar(name: str, unit: str, low: float, high: float, default: float, sample: Sampler, help: str,
            **more: Any) -> Attribute:  # fmt: skip
    return Attribute(name=name, kind="scalar", unit=unit, low=low, high=high, default=default, help=help,
                     sample=sample, **more)  # fmt: skip


def _color(name: str, default: list[float], sample: Sampler, help: str, **more: Any) -> Attribute:
    return Attribute(name=name, kind="color", unit="sRGB", low=0, high=1, default=default, sample=sample, help=help,
                     **more)  # fmt: skip


def _choice(name: str, choices: tuple[str, ...], default: str, sample: Sampler, help: str, **more: Any) -> Attribute:
    return Attribute(name=name, kind="choice", unit="", low=0, high=len(choices) - 1, default=default,
                     choices=choices, sample=sample, help=help, **more)  # fmt: skip


def _expression(name: str, low: float, help: str) -> Attribute:
    return _scalar(name, "", low, 1, 0, lambda rng, row: _named_expressions(rng)[name], help, stream="expression",
                   depends="the named expressions: one, two or none at a time",
                   mirror=-1 if low < 0 else 1)  # fmt: skip


_PERSON: dict[str, Any] = {"of_identity": True}

ATTRIBUTES: dict[str, Attribute] = {
    attribute.name: attribute
    for attribute in [
        Attribute(name="identity", kind="seed", unit="", low=0, high=2**31 - 1, default=0, sample=_seed,
                  help="seed of the person: what stays when everything else changes"),
        _scalar("gender", "", 0, 1, 0.5, _beta(0.35, 0.35), "0 = feminine, 1 = masculine face shape", **_PERSON),
        _scalar("african", "", 0, 1, 0.2, _ancestry(0), "share of ancestry (the three are made to sum to one)",
                stream="ancestry", **_PERSON),
        _scalar("asian", "", 0, 1, 0.2, _ancestry(1), "share of ancestry", stream="ancestry", **_PERSON),
        _scalar("european", "", 0, 1, 0.6, _ancestry(2), "share of ancestry", stream="ancestry", **_PERSON),
        _scalar("weight", "", 0, 1, 0.5, _beta(2.2, 2.6), "0 = slim, 1 = heavy", **_PERSON),
        _scalar("skin_tone", "", 0, 1, 0.7, _skin_tone, "0 = darkest, 1 = lightest", depends="ancestry", **_PERSON),
        _scalar("freckles", "", 0, 1, 0, _sometimes(0.25, 1.2, 2.0), "freckles on nose and cheeks", **_PERSON),
        _color("eye_color", [0.35, 0.22, 0.12], _eye_color, "iris", depends="ancestry", **_PERSON),
        _scalar("age", "years", 6, 85, 30, lambda rng, row: 6 + 79 * rng.beta(1.3, 1.6), "apparent age"),
        _scalar("yaw", "degrees", -45, 45, 0, _normal(18), "> 0 turns the face to the image's right", mirror=-1),
        _scalar("pitch", "degrees", -25, 25, 0, _normal(8), "> 0 looks up"),
        _scalar("roll", "degrees", -25, 25, 0, _normal(6), "> 0 tilts clockwise in the image", mirror=-1),
        _scalar("body_yaw", "degrees", -20, 20, 0, _normal(7),
                "> 0 turns the shoulders to the image's right", mirror=-1),
        _expression("smile", 0, "lip corners raised, cheeks lifted"),
        _expression("laugh", 0, "a broad smile with open mouth and narrowed eyes"),
        _expression("sad", 0, "lip corners down, inner brows up"),
        _expression("surprised", 0, "brows and lids up, jaw dropped"),
        _expression("angry", 0, "brows down and together, lips pressed"),
        _expression("disgusted", 0, "nose wrinkled, upper lip raised"),
        _expression("afraid", 0, "brows up and together, lids wide, lips stretched"),
        _expression("wink", -1, "> 0 closes the eye at the image's right, < 0 the other"),
        _scalar("mouth_open", "", 0, 1, 0, _sometimes(0.2, 1.2, 2.6), "jaw opened, besides the expression"),
        _scalar("pucker", "", 0, 1, 0, _sometimes(0.06, 1.5, 1.8), "lips pushed forward"),
        _scalar("brow_raise", "", 0, 1, 0, _sometimes(0.15, 1.2, 1.8), "both brows raised"),
        _scalar("eyes_closed", "", 0, 1, 0, _sometimes(0.08, 1.0, 1.0), "lids closed"),
        _scalar("gaze_yaw", "degrees", -25, 25, 0, _normal(7),
                "> 0 looks to the image's right, relative to the face", mirror=-1),
        _scalar("gaze_pitch", "degrees", -20, 20, 0, _normal(4), "> 0 looks up, relative to the face"),
        _choice("hair_style", HAIR_STYLES, "short", _hair_style, "the cut", depends="gender and age (odds only)"),
        _color("hair_color", [0.25, 0.16, 0.1], _hair_color, "hair without its grey; brows and beard follow"),
        _scalar("grey", "", 0, 1, 0, _grey, "share of white hairs", depends="age"),
        _choice("beard", BEARDS, "none", _beard, "facial hair", depends="gender and age: grown men"),
        _choice("glasses", GLASSES, "none", _pick(GLASSES, 84, 3, 4, 4, 2, 3), "glasses"),
        _choice("hat", HATS, "none", _pick(HATS, 91, 3, 2, 2, 2), "what covers the hair"),
        _choice("clothes_style", CLOTHES, "crew", _pick(CLOTHES, 26, 16, 14, 20, 12, 12), "the garment's neckline"),
        _color("clothes", [0.3, 0.35, 0.45], _soft_color, "colour of the garment (and, toned, of a hat)"),
        _scalar("light_azimuth", "degrees", -90, 90, 25, _normal(34),
                "> 0: the key light stands at the image's right", mirror=-1),
        _scalar("light_elevation", "degrees", -30, 75, 25, _normal(14, 26), "> 0: the key light stands above the face"),
        _scalar("light_softness", "", 0, 1, 0.5, _beta(1.5, 1.5), "0 = a small lamp, 1 = a large soft window"),
        _scalar("light_fill", "", 0, 1, 0.5, _beta(2.0, 2.0), "light from all around, against the key light"),
        _scalar("light_warmth", "", -1, 1, 0, _normal(0.35), "< 0 bluish, > 0 yellowish key light"),
        _scalar("focal_length", "mm", 35, 135, 85, lambda rng, row: 75 * np.exp(rng.normal(0, 0.3)),
                "of a 24 × 36 mm camera: short ones stand near and enlarge the nose"),
        _choice("framing", ("free", "aligned"), "free", lambda rng, row: "free",
                "aligned: rolled, shifted and scaled so that eyes and mouth lie where aligned portrait sets have them",
                depends="nothing: always free unless asked (--align)"),
        _choice("background_style", BACKGROUNDS, "plain", _pick(BACKGROUNDS, 20, 16, 16, 12, 12, 12, 12),
                "the backdrop"),
        _color("background", [0.55, 0.6, 0.65], _soft_color, "the backdrop's main colour"),
        Attribute(name="scene_seed", kind="seed", unit="", low=0, high=2**31 - 1, default=0, sample=_seed,
                  help="seed of the backdrop's arrangement, and of brush strokes"),
        _choice("style", STYLES, "photo", lambda rng, row: "photo", "photo, or the medium it is painted in",
                depends="nothing: always photo unless asked (--style)"),
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


class _Streams:
    """Random streams by name: those of one source (an image, an identity) differ, and each is always the same.

    They are streams of one counter-based generator under different keys (Philox; Salmon et al. 2011), which costs a
    third of making a generator for each.
    """

    def __init__(self, *source: int | str) -> None:
        self._source = int.from_bytes(hashlib.blake2b(repr(source).encode(), digest_size=8).digest())
        self._bits = np.random.Philox(key=0)
        self._rng = np.random.Generator(self._bits)
        self._start = self._bits.state

    def at(self, name: str) -> np.random.Generator:
        self._start["state"]["key"][:] = self._source, zlib.crc32(name.encode())
        self._bits.state = self._start
        return self._rng


def _drawn(attribute: Attribute, streams: _Streams, row: Row) -> Any:
    """Draws one attribute from its own random stream and brings it into JSON-ready form."""
    value = attribute.sample(streams.at(attribute.stream or attribute.name), row)
    if attribute.kind == "scalar":
        return round(min(max(float(value), attribute.low), attribute.high), 3)
    if attribute.kind == "color":
        return [round(min(max(float(part), 0.0), 1.0), 3) for part in value]
    return value


def sample_row(seed: int, index: int, fixed: Mapping[str, Any] | None = None) -> Row:
    """Draws the label row of image `index` of the dataset with this seed.

    The row depends on (seed, index) alone. Attributes in `fixed` are set without changing how the others fall, except
    those that belong to a fixed identity or state that they depend on a fixed attribute. Returns a JSON-ready mapping
    with every attribute; raises ConfigError as `check_row` does.
    """
    if seed < 0 or index < 0:
        raise ConfigError(f"seed and index must not be negative, got {seed} and {index}")
    fixed_values = check_row(fixed or {})
    row: Row = {}
    image = _Streams(seed, index)
    person = image  # until the identity is drawn
    for name, attribute in ATTRIBUTES.items():
        streams = person if attribute.of_identity else image
        row[name] = fixed_values[name] if name in fixed_values else _drawn(attribute, streams, row)
        if name == "identity":
            person = _Streams("identity", row["identity"])
    return row


def like_row(row: Mapping[str, Any], changes: Mapping[str, Any]) -> Row:
    """The counterfactual of a label row: the same picture with some attributes set.

    Everything else keeps its value. Only a changed `identity` brings its own gender, ancestry, skin and eyes along,
    unless those are set too. Raises ConfigError as `check_row` does.
    """
    changed, full = check_row(changes), complete_row(row)
    if changed.get("identity", full["identity"]) != full["identity"]:
        person: Row = {"identity": changed["identity"]}
        streams = _Streams("identity", person["identity"])
        for name, attribute in ATTRIBUTES.items():
            if attribute.of_identity:
                person[name] = changed[name] if name in changed else _drawn(attribute, streams, person)
        full |= person
    return full | changed


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
