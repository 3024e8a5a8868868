"""Glasses and hats: what a row wears, under the names that the renderer asks for."""

from __future__ import annotations

from gantrol.data.faces import glasses, hats
from gantrol.data.faces.attributes import Row
from gantrol.data.faces.glasses import draw_lenses, frame_material, shade_lens
from gantrol.data.faces.glasses import shade as shade_glasses
from gantrol.data.faces.hats import covered, hat_edge, trim
from gantrol.data.faces.hats import shade as shade_hat
from gantrol.data.faces.scene import Piece

__all__ = [
    "covered",
    "draw_lenses",
    "frame_material",
    "hat_edge",
    "pieces",
    "shade_glasses",
    "shade_hat",
    "shade_lens",
    "trim",
]


def pieces(row: Row) -> list[Piece]:
    """The glasses and the hat of a row; hair under the hat is left to `trim`."""
    return [*glasses.pieces(row), *hats.pieces(row)]
