"""The picture that is projected, and how far images are from it.

Dimensions: N batch · C channels · H W pixels.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gantrol.data.foreign_images import fit_square, open_any
from gantrol.errors import ConfigError, DataError
from gantrol.metrics.perceptual import ImageEmbedding, load_embedding
from gantrol.model import Model
from gantrol.pictures import to_uint8

PIXEL_WEIGHT = 2.0
"""Of the mean square error in [−1, 1], beside the perceptual distance; chosen by measurement (docs/projection.md)."""


def read_target(
    path: str | os.PathLike[str], model: Model, *, crop: Literal["center", "none"] = "center"
) -> np.ndarray:
    """The picture in a file as `gantrol data import` would import it for this model: uint8 [H, W, C].

    Upright (EXIF), opaque (over white), cut to its central square, resized with an antialiased Lanczos filter.

    Args:
        path: PNG, JPEG, WebP, BMP, TIFF, GIF, PPM.
        model: decides about size and colours.
        crop: "center", or "none" to refuse pictures that are not square.

    Raises:
        DataError: the file is missing, damaged or no picture, or is not square and `crop` is "none".
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}; give the file of a picture") from error
    return fit_target(open_any(data, str(path)), model, crop=crop, where=str(path))


def fit_target(
    picture: Image.Image, model: Model, *, crop: Literal["center", "none"] = "center", where: str = "the picture"
) -> np.ndarray:
    """A picture that is open already, upright and opaque, as `read_target` gives it.

    Args:
        picture: 8-bit grey or RGB.
        model: decides about size and colours.
        crop: as in `read_target`.
        where: what errors call it.

    Raises:
        DataError: it is not square and `crop` is "none".
    """
    g = model.generator
    picture = picture.convert("L" if g.channels == 1 else "RGB")
    pixels = np.asarray(fit_square(picture, g.resolution_px, crop=crop == "center", where=where))
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def psnr(image: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two float images [1, C, H, W] in [−1, 1], as bytes; at most 100."""
    error = float((to_uint8(image).double() - to_uint8(target).double()).square().mean())
    return min(100.0, 10 * math.log10(255**2 / error)) if error else 100.0


class Target:
    """A picture, and how far images are from it."""

    def __init__(self, model: Model, pixels: np.ndarray, features: str) -> None:
        g = model.generator
        shape = (g.resolution_px, g.resolution_px, g.channels)
        if pixels.dtype != np.uint8 or pixels.shape != shape:
            raise ConfigError(
                f"the picture is {pixels.dtype} {list(pixels.shape)}, the model draws uint8 {list(shape)}: bring it to "
                "that size with gantrol.project.read_target"
            )
        self.embedding: ImageEmbedding = load_embedding(features, model.device)
        bytes_ = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
        self.image = bytes_.to(model.device, torch.float32) / 127.5 - 1  # [1, C, H, W]
        with torch.no_grad():
            self._embedded = self.embedding(self.image)

    def distances(self, images: Tensor, others: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Perceptual distance and mean square error, [N] each, to the picture or to `others` [N, C, H, W]."""
        if others is None:
            others, embedded = self.image, self._embedded
        else:
            with torch.no_grad():
                embedded = self.embedding(others)
        perceptual = (self.embedding(images) - embedded).square().sum(dim=1)
        return perceptual, (images - others).square().mean(dim=(1, 2, 3))
