"""Label rows of avatars: drawn from (seed, index), set by a user, checked against what a style can draw.

A label row is a flat JSON-ready mapping and the whole description of an image. It holds the attributes that its style
can vary and no others: a row of a style without glasses says nothing about glasses. The words mean the same in all
styles (`mouth=laugh` is an open, happy mouth). Which of several drawings shows a value is chosen by `identity`, which
also stands for everything that has no attribute: shape of the head, nose, clothes.

Each attribute is drawn from its own random stream, so attributes are independent of one another, and setting one does
not change the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gantrol.data.avatars.attributes import ATTRIBUTES
from gantrol.data.avatars.styles import CC0, CC_BY, DEFAULT_STYLES, STYLES
from gantrol.errors import ConfigError, nearest

Row = dict[str, Any]

_EVERYWHERE = ("style", "identity", "facing", "roll", "zoom")


def style_attributes(style: str) -> dict[str, tuple[Any, ...]]:
    """The attributes that a style can vary, in the order of `ATTRIBUTES`.

    Returns for each the values that it can draw; none where any value in the attribute's range will do.
    """
    drawn = STYLES[style]
    own = {*_EVERYWHERE, *drawn.parts, *drawn.colors}
    choices: dict[str, tuple[Any, ...]] = {name: () for name in ATTRIBUTES if name in own}
    return choices | {"style": (style,), "facing": (1.0, -1.0)} | {name: drawn.choices(name) for name in drawn.parts}


def check_styles(styles: Iterable[str] | None) -> tuple[str, ...]:
    """The names of the styles to use, in the order given; None stands for those without conditions (CC0).

    Raises ConfigError for none at all and for an unknown name (with the nearest ones and the rule about licences).
    """
    if styles is None:
        return DEFAULT_STYLES
    names = tuple(dict.fromkeys(styles))
    rule = f"{CC0} styles are used by default, {CC_BY} ones when named, and no others"
    if not names:
        raise ConfigError(f"no style is named; known: {', '.join(STYLES)} ({rule})")
    for name in names:
        if name not in STYLES:
            raise ConfigError(f"unknown style {name!r}; {nearest(name, STYLES)} ({rule})")
    return names


def check_fixed(values: Mapping[str, Any], styles: Sequence[str]) -> Row:
    """Validates attributes that all images of these styles share.

    Returns them JSON-ready. Raises ConfigError for an unknown attribute (with the nearest names), a value of the wrong
    kind or out of range, and for one that any of the styles cannot draw (with the styles that can).
    """
    checked: Row = {}
    for name, value in values.items():
        if name not in ATTRIBUTES:
            raise ConfigError(f"unknown attribute {name!r}; {nearest(name, ATTRIBUTES)}")
        attribute = ATTRIBUTES[name]
        if name == "style":
            raise ConfigError(f"style={value!r}: styles are chosen with --styles, for example --styles {styles[0]}")
        able = [style for style in STYLES if name in style_attributes(style)]
        if attribute.kind == "choice":
            attribute.check(name, value, tuple(attribute.odds or ()))
            able = [style for style in able if value in style_attributes(style)[name]]
        lacking = [style for style in styles if style not in able]
        if lacking:
            raise ConfigError(
                f"{name}={value!r} cannot be drawn by {', '.join(lacking)}: choose --styles among {', '.join(able)}"
            )
        checked[name] = attribute.check(name, value, style_attributes(able[0])[name])
    return checked


def complete_row(values: Mapping[str, Any]) -> Row:
    """Validates a label row and fills the attributes it leaves out with their defaults.

    Raises ConfigError for a row without a style, for an attribute or value that the style does not have, and as
    `check_fixed` does.
    """
    if "style" not in values:
        raise ConfigError(f"a label row names its style; known: {', '.join(STYLES)}")
    (style,) = check_styles([values["style"]])
    fixed = check_fixed({name: value for name, value in values.items() if name != "style"}, [style])
    row: Row = {"style": style}
    for name, choices in style_attributes(style).items():
        default = ATTRIBUTES[name].default
        if name != "style":
            row[name] = fixed.get(name, default if not choices or default in choices else choices[0])
    return row


def sample_row(
    seed: int, index: int, *, styles: Iterable[str] | None = None, fixed: Mapping[str, Any] | None = None
) -> Row:
    """Draws the label row of image `index` of the dataset with this seed.

    Args:
        seed, index: not negative; the row depends on them and on `styles` and `fixed` alone.
        styles: the styles to draw from, equally often; None takes those without conditions (CC0).
        fixed: attributes that are set, without changing how the others fall.

    Returns:
        A JSON-ready mapping with every attribute of the style that was drawn.

    Raises:
        ConfigError: as `check_styles` and `check_fixed` say.
    """
    if seed < 0 or index < 0:
        raise ConfigError(f"seed and index must not be negative, got {seed} and {index}")
    names = check_styles(styles)
    return drawn_row(seed, index, names, check_fixed(fixed or {}, names))


def drawn_row(seed: int, index: int, styles: Sequence[str], fixed: Row) -> Row:
    """`sample_row` of arguments that are known to be good."""
    streams = {name: (seed, index, place) for place, name in enumerate(ATTRIBUTES)}
    style = ATTRIBUTES["style"].draw(np.random.default_rng(streams["style"]), styles)
    row: Row = {"style": style}
    for name, choices in style_attributes(style).items():
        if name in fixed:
            row[name] = fixed[name]
        elif name != "style":
            row[name] = ATTRIBUTES[name].draw(np.random.default_rng(streams[name]), choices)
    return row


def schema(styles: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The JSON-ready description of the attributes that rows of these styles may have."""
    described: dict[str, dict[str, Any]] = {}
    for name, attribute in ATTRIBUTES.items():
        able = [style_attributes(style)[name] for style in styles if name in style_attributes(style)]
        if not able:
            continue
        entry = {"kind": attribute.kind, "unit": attribute.unit, "low": attribute.low, "high": attribute.high}
        entry |= {"default": attribute.default, "help": attribute.help}
        if attribute.odds is not None:
            choices = [choice for choice in attribute.odds if any(choice in values for values in able)]
            entry["choices"] = choices
            if attribute.default not in choices:
                entry["default"] = choices[0]
            if attribute.kind == "choice":
                entry["high"] = len(choices) - 1
        described[name] = entry | ({"mirror": attribute.mirror} if attribute.mirror != 1 else {})
    return described


def parse_assignments(items: Iterable[str]) -> Row:
    """Reads `name=value` items of a command line: `roll=10`, `hair_color=0.8,0.2,0.1`, `mouth=smile`.

    Raises ConfigError for an unknown attribute (with the nearest names) and for text that is no value; ranges and
    styles are the business of `check_fixed`.
    """
    values: Row = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals:
            raise ConfigError(f"--set {item!r} must be written name=value, for example mouth=smile")
        attribute = ATTRIBUTES.get(name)
        if attribute is None:
            raise ConfigError(f"unknown attribute {name!r}; {nearest(name, ATTRIBUTES)}")
        if attribute.kind == "choice":
            values[name] = text
            continue
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            form = "r,g,b from 0 to 1" if attribute.kind == "color" else "a number"
            raise ConfigError(f"--set {item!r}: {name} takes {form}") from None
        values[name] = numbers if attribute.kind == "color" or len(numbers) != 1 else numbers[0]
    return values
