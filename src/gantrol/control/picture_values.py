"""A value given by a picture: `style=painting.png` is the style that the predictors read from that picture.

Predictors must be the ones that the controls were fitted with, as a value means what they read. A model remembers their
name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gantrol.control.predictors.folder import load_predictors
from gantrol.controls import Control, Value
from gantrol.data.foreign_images import fit_square, open_any
from gantrol.errors import CheckpointError, ConfigError, DataError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")
"""Text that ends so is the name of a picture; no control has such a value."""


def is_picture(value: Any) -> bool:
    """Whether a value is a picture, a path, or text that names a picture."""
    is_name = isinstance(value, str) and value.lower().endswith(PICTURE_SUFFIXES)
    return is_name or isinstance(value, Path | Image.Image)


def read_pictures(
    values: Mapping[str, Any], controls: Mapping[str, Control], predictors: str | None
) -> dict[str, Value]:
    """What the predictors read from the pictures among some values, each brought into the range of its control.

    Args:
        values: by control: a `PIL.Image.Image`, or the path of a PNG, JPEG, WebP, BMP, TIFF, GIF or PPM.
        controls: those of a model.
        predictors: the folder or name of those that the model's controls were fitted with; None: not known.

    Raises:
        ConfigError: the predictors are not known or read no such attribute, or the control takes a seed.
        CheckpointError: the predictors are gone or damaged.
        DataError: a picture that cannot be read.
    """
    if predictors is None:
        raise ConfigError(
            f"control {next(iter(values))!r}: this model does not say which predictors read pictures; give a value"
        )
    try:
        loaded = load_predictors(predictors).eval()
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(
            f"control {next(iter(values))!r}: to read a picture takes the predictors that the model was fitted with: "
            f"{error}"
        ) from error
    found: dict[str, Value] = {}
    for name, value in values.items():
        control = controls[name]
        attribute = control.part_of or name
        if control.kind == "seed":
            raise ConfigError(f"control {name!r}: it takes a seed, and no seed can be read from a picture")
        known = loaded.attributes.get(attribute)
        if known is None or not known.components:
            raise ConfigError(f"control {name!r}: {predictors} does not read {attribute} from pictures; give a value")
        with torch.no_grad():
            features = loaded.features(_pixels(value), [attribute])
            numbers = tuple(map(float, loaded.read(attribute, features[attribute])[0].tolist()))
        if control.part_of:
            numbers = (numbers[controls[attribute].components.index(name)],)
        found[name] = control.clamp(numbers if isinstance(control.low, tuple) else numbers[0])
    return found


def _pixels(picture: Image.Image | Path | str) -> torch.Tensor:
    """The middle of the picture as float32 [1, 3, H, W] in [−1, 1]."""
    where = "the picture"
    if not isinstance(picture, Image.Image):
        where = str(picture)
        try:
            picture = open_any(Path(picture).expanduser().read_bytes(), where)
        except OSError as error:
            raise DataError(f"cannot read {where}: {error.strerror}") from error
    square = fit_square(picture.convert("RGB"), None, crop=True, where=where)
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None]
    return pixels.float() / 127.5 - 1
