"""Illustrated avatars with exact labels, drawn by DiceBear's styles (extra `avatars`).

    row = sample_row(seed=0, index=12)                                          # every attribute of image 12
    pixels = render([row | {"mouth": "laugh"}], size_px=64)                     # uint8 [1, 64, 64, 3]
    make_dataset(Path("avatars.zip"), 4000, 64)                                 # … and thousands of them

`attributes` says what a label means; `labels` how a row of them is drawn at random or set; `styles` which drawings of a
style show which value; `drawing` turns a row into pixels; `dataset` writes them with their labels and licences.
"""

from gantrol.data.avatars.attributes import ATTRIBUTES, Attribute
from gantrol.data.avatars.dataset import make_dataset
from gantrol.data.avatars.drawing import licences, options, render
from gantrol.data.avatars.labels import complete_row, sample_row, style_attributes
from gantrol.data.avatars.styles import DEFAULT_STYLES, STYLES

__all__ = [
    "ATTRIBUTES",
    "DEFAULT_STYLES",
    "STYLES",
    "Attribute",
    "complete_row",
    "licences",
    "make_dataset",
    "options",
    "render",
    "sample_row",
    "style_attributes",
]
