"""Looking inside generators: what their layers compute, where their attention goes, and whether details move with them.

- `feature_maps`: the output of any layer as a picture, with its spectrum.
- `attention_maps`: what one token of a TransGAN attends to, head by head.
- `layer_bands`: sampling rate, cutoff and stopband of each layer of a StyleGAN3.
- `translation_slices`: one row of pixels while the picture moves by parts of a pixel.
- `ordinary_filters`: the same weights with ordinary resampling, to see what the filters are for.
"""

from gantrol.inside.attention_maps import AttentionMap, attention_blocks, attention_map, attention_sheet
from gantrol.inside.feature_maps import (
    Components,
    FeatureMap,
    as_rgb,
    feature_maps,
    layer_modules,
    principal_components,
)
from gantrol.inside.layer_bands import LayerBand, layer_bands
from gantrol.inside.ordinary_filters import has_filters, with_ordinary_filters
from gantrol.inside.translation_slices import TranslationSlice, translation_slice

__all__ = [
    "AttentionMap",
    "Components",
    "FeatureMap",
    "LayerBand",
    "TranslationSlice",
    "as_rgb",
    "attention_blocks",
    "attention_map",
    "attention_sheet",
    "feature_maps",
    "has_filters",
    "layer_bands",
    "layer_modules",
    "principal_components",
    "translation_slice",
    "with_ordinary_filters",
]
