"""GAN-Control (Shoshan et al. 2021): generators whose attributes are set by value, on every family of this package.

Phase one trains a generator with latent groups (`gantrol.models.controllable`) so that each group decides about one
attribute:

    predictors/          networks that read attributes from images
    pairs.py             mini-batches in which two neighbours share exactly one group
    contrastive.py       the loss of an attribute
    calibration.py       its thresholds, from real images
    anchors.py           values prescribed for each latent, to learn from fewer images
    objective.py         all terms of a training together

Phase two learns, for each attribute, which part of w has a wanted value:

    attribute_samples.py images drawn from a generator, with what is read from them
    encoders.py          value → sub-vector of w
    fit.py               trains them
    picture_values.py    values that are read from a picture

Controls for generators that were never trained for it:

    readings.py          samples of w with their readings
    ridge.py             regression with its strength chosen by cross-validation
    direction_fit.py     linear directions of attributes
    pca.py               principal components of w
    factorization.py     closed-form factors of the style weights
    directions.py        all of these as controls
    nearest_sample.py    the nearest of many samples: a baseline

What comes out, a `ControlSet` (control_set.py), belongs to the model.
"""

from gantrol.control.control_set import ControlSet
from gantrol.control.directions import DirectionControls, DirectionsConfig
from gantrol.control.encoders import EncoderControls, EncoderControlsConfig
from gantrol.control.nearest_sample import NearestSample, NearestSampleConfig

CONTROL_SETS = {config.kind: config for config in (EncoderControlsConfig, DirectionsConfig, NearestSampleConfig)}
"""Config class of each kind of controls."""

__all__ = [
    "CONTROL_SETS",
    "ControlSet",
    "DirectionControls",
    "DirectionsConfig",
    "EncoderControls",
    "EncoderControlsConfig",
    "NearestSample",
    "NearestSampleConfig",
]
