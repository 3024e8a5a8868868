"""Pictures as part of a page: WebP in `data:` addresses, within a limit for all of them together."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, features

from gantrol.pictures import opaque

_LADDER = ((90, 1600), (82, 1280), (74, 1024), (66, 896), (58, 768), (50, 640), (40, 512), (30, 384))
"""(quality, longest side in pixels): the first with which everything fits is taken."""


class Embedded(NamedTuple):
    """A picture in a page."""

    uri: str
    """`data:image/webp;base64,…`"""
    width_px: int
    """Of the original, as it is shown."""
    height_px: int

    @property
    def enlargement(self) -> int:
        """By how much it is shown larger than it is: tiny pictures are hard to see."""
        return max(1, min(8, 512 // max(self.width_px, 1)))


def embed(pictures: Sequence[Image.Image], budget_bytes: int) -> list[Embedded]:
    """All pictures at the best quality with which they fit into `budget_bytes` together.

    Returns:
        One for each; none at all where not even the lowest quality fits.
    """
    if not pictures:
        return []
    for quality, side_px in _LADDER:
        found: list[Embedded] = []
        left = budget_bytes
        for picture in pictures:
            uri = data_uri(picture, quality, side_px)
            left -= len(uri)
            if left < 0:
                break
            found.append(Embedded(uri, *picture.size))
        else:
            return found
    return []


def data_uri(picture: Image.Image, quality: int, side_px: int) -> str:
    """One picture, brought to at most `side_px` pixels along its longer side."""
    small = opaque(picture).convert("RGB")
    if max(small.size) > side_px:
        small.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    kind = "webp" if features.check("webp") else "jpeg"
    buffer = io.BytesIO()
    small.save(buffer, format=kind.upper(), quality=quality, method=2)  # of WebP: twice as fast as the default
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
