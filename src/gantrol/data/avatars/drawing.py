"""From a label row to pixels: the options of DiceBear, its SVG, and resvg's raster.

The drawings and their licences come with the package `dicebear-styles`; nothing is read from the network, and no font
is used.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import importlib.metadata
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from PIL import Image

from gantrol.data.avatars.labels import Row, complete_row
from gantrol.data.avatars.styles import STYLES
from gantrol.errors import ConfigError, DataError, require_extra

MIN_SIZE_PX, MAX_SIZE_PX = 16, 1024
_PACKAGES = {"dicebear-core": "dicebear", "dicebear-styles": "dicebear_styles", "resvg-py": "resvg_py"}


def render(rows: Sequence[Mapping[str, Any]], size_px: int) -> np.ndarray:
    """Paints label rows.

    Args:
        rows: N rows; attributes left out take their defaults, `style` must be there.
        size_px: side of the images, 16 to 1024.

    Returns:
        uint8 [N, size_px, size_px, 3], sRGB.

    Raises:
        ConfigError: an impossible size; a row that its style cannot draw.
        DataError: the installed drawings are not those of the table.
        MissingExtraError: the extra `avatars` is not installed.
    """
    check_size(size_px)
    if not rows:
        return np.zeros((0, size_px, size_px, 3), dtype=np.uint8)
    return np.stack([render_row(complete_row(row), size_px) for row in rows])


def check_size(size_px: int) -> None:
    """Raises ConfigError for a size that cannot be rendered."""
    if not MIN_SIZE_PX <= size_px <= MAX_SIZE_PX:
        raise ConfigError(f"size {size_px} px is impossible: avatars are {MIN_SIZE_PX} to {MAX_SIZE_PX} px")


def render_row(row: Row, size_px: int) -> np.ndarray:
    """Paints a complete row: uint8 [size_px, size_px, 3]."""
    dicebear, resvg = require_extra("dicebear", "avatars"), require_extra("resvg_py", "avatars")
    svg = dicebear.Avatar(_style(row["style"]), options(row)).to_string()
    png = resvg.svg_to_bytes(svg_string=svg, width=size_px, height=size_px, skip_system_fonts=True)
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def options(row: Row) -> dict[str, Any]:
    """The options of DiceBear that draw a complete row: every part and colour that has an attribute, and the framing.

    What is left to DiceBear's own generator (the colour of a hat, say) depends on `identity`, its seed.
    """
    style, identity = STYLES[row["style"]], row["identity"]
    chosen: dict[str, Any] = {"seed": str(identity), **style.options}
    for part in style.hidden:
        chosen[f"{part}Probability"] = 0
    for part in style.own:
        chosen[f"{part}Probability"] = 100
        chosen[f"{part}Variant"] = _pick(identity, part, _drawings(row["style"], part))
    for name, values in style.parts.items():
        shown = values[row[name]]
        for part in style.components(name):
            chosen[f"{part}Probability"] = 100 if part in shown else 0
            if part in shown:
                chosen[f"{part}Variant"] = _pick(identity, part, shown[part])
    for name, colors in style.colors.items():
        code = "#" + "".join(f"{round(255 * channel):02x}" for channel in row[name])
        chosen |= {f"{color}Color": [code] for color in colors}
    return chosen | _framing(row)


def _framing(row: Row) -> dict[str, Any]:
    """Brings the style's focus to the middle, upright or tilted; DiceBear scales, flips and turns about the middle."""
    style = STYLES[row["style"]]
    scale, angle = style.scale * row["zoom"], math.radians(row["roll"])
    is_flipped = row["facing"] != style.facing
    x, y = scale * (style.focus[0] - 0.5), scale * (style.focus[1] - 0.5)
    x = -x if is_flipped else x
    return {
        "scale": round(scale, 4),
        "flip": "horizontal" if is_flipped else "none",
        "rotate": row["roll"],
        "translateX": round(-100 * (x * math.cos(angle) - y * math.sin(angle)), 3),
        "translateY": round(-100 * (x * math.sin(angle) + y * math.cos(angle)), 3),
    }


def _pick(identity: int, part: str, drawings: Sequence[str]) -> str:
    """One of the drawings: for each part another, independent choice of the same identity."""
    digest = hashlib.blake2b(f"{identity} {part}".encode(), digest_size=8).digest()
    return drawings[int.from_bytes(digest, "big") % len(drawings)]


@functools.cache
def definition(style: str) -> dict[str, Any]:
    """The drawings of a style and its `meta` block, from the installed package.

    Raises:
        MissingExtraError: the extra `avatars` is not installed.
        DataError: the package has no such style, or under another licence than the one we know it by.
    """
    require_extra("dicebear_styles", "avatars")
    try:
        content: dict[str, Any] = json.loads(files("dicebear_styles").joinpath(f"{style}.json").read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"the installed dicebear-styles has no {style!r}: pip install 'gantrol[avatars]'") from error
    found, known = content.get("meta", {}).get("license", {}).get("name"), STYLES[style].licence
    if found != known:
        raise DataError(f"style {style}: the installed dicebear-styles says {found!r}, not {known!r}: it is not used")
    return content


@functools.cache
def _style(style: str) -> Any:
    """The style, ready to be drawn; reading and checking the definition takes up to a second."""
    return require_extra("dicebear", "avatars").Style(_adapted(style))


def _adapted(style: str) -> dict[str, Any]:
    """The definition with recoloured parts in colours of their own, and without overlays."""
    content = copy.deepcopy(definition(style))
    if STYLES[style].has_overlays:
        content = _without_overlays(content)
    for part, (old, new) in STYLES[style].recolored.items():
        content["colors"].setdefault(new, copy.deepcopy(content["colors"][old]))
        for name, drawing in content["components"][part]["variants"].items():
            references = list(_color_references(drawing))
            if name not in STYLES[style].kept and new not in (reference["name"] for reference in references):
                for reference in references:
                    reference["name"] = new if reference["name"] == old else reference["name"]
    return content


def _without_overlays(element: Any) -> Any:
    """The element without the children that are blended with what lies beneath them."""
    if isinstance(element, dict):
        return {key: _without_overlays(child) for key, child in element.items()}
    if isinstance(element, list):
        return [_without_overlays(child) for child in element if not _is_overlay(child)]
    return element


def _is_overlay(element: Any) -> bool:
    return isinstance(element, dict) and "mix-blend-mode" in str(element.get("attributes", {}).get("style", ""))


def _color_references(element: Any) -> Iterator[dict[str, Any]]:
    """Every {"type": "color", "name": …} in an element and what it holds."""
    if isinstance(element, dict):
        if element.get("type") == "color":
            yield element
        for child in element.values():
            yield from _color_references(child)
    elif isinstance(element, list):
        for child in element:
            yield from _color_references(child)


@functools.cache
def _drawings(style: str, part: str) -> tuple[str, ...]:
    return tuple(definition(style)["components"][part]["variants"])


def licences(styles: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Licence with attribution, artist and source of each style as its definition states them, and what we changed."""
    stated = {style: definition(style)["meta"] for style in styles}
    return {
        style: {key: meta[key] for key in ("license", "creator", "source")} | {"changes": STYLES[style].changes}
        for style, meta in stated.items()
    }


def versions() -> dict[str, str]:
    """The installed versions of the packages that draw; other versions may draw other pixels.

    Raises MissingExtraError if any is missing.
    """
    require_extra("dicebear", "avatars")
    require_extra("dicebear_styles", "avatars")
    require_extra("resvg_py", "avatars")
    return {package: importlib.metadata.version(package) for package in _PACKAGES}
