"""Pictures from arrays: grids, captioned sheets, enlargement of tiny images, and saving that is never
half-done.

Arrays are uint8 `[N, H, W, C]` with 1 (grey), 3 (RGB) or 4 (RGBA) channels. PNG and WebP keep alpha; where it has no
place (JPEG, captioned sheets, networks that measure) pictures lie on white: `over_white`, `opaque`. `to_uint8` is the
one place where generator output becomes bytes.

Legend: N images, C channels, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gantrol.atomic import atomic_file
from gantrol.errors import ConfigError, DataError, nearest

Enlargement = Literal["nearest", "lanczos"]

_FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}
_FILTERS = {"nearest": Image.Resampling.NEAREST, "lanczos": Image.Resampling.LANCZOS}
_INK = (32, 32, 32)
_PAPER = (255, 255, 255)


def to_uint8(images: Tensor) -> Tensor:
    """Floats in [−1, 1] as bytes: trunc(clamp(127.5·x + 128, 0, 255)), the rule of the field's metrics and
    tools.

    Args:
        images: float [N, C, H, W], any device; values outside [−1, 1] saturate.

    Returns:
        uint8 [N, C, H, W] on the same device.
    """
    return (images.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def to_arrays(images: Tensor) -> np.ndarray:
    """Generator output (float [N, C, H, W] in [−1, 1]), or bytes of that shape, as uint8 [N, H, W, C]."""
    pixels = images if images.dtype == torch.uint8 else to_uint8(images)
    return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def over_white(images: Tensor) -> Tensor:
    """Images without transparency, as eyes and networks see them: RGBA is composed over white, the rest stays.

    Args:
        images: uint8 [N, C, H, W]; with C = 4 the last channel is alpha, 255 being opaque.

    Returns:
        uint8 [N, 3, H, W] for C = 4, rounded to the nearest; otherwise the images themselves.
    """
    if images.shape[1] != 4:
        return images
    colours, alpha = images[:, :3].to(torch.int32), images[:, 3:].to(torch.int32)
    return torch.div(colours * alpha + 255 * (255 - alpha) + 127, 255, rounding_mode="floor").to(torch.uint8)


def to_pil(image: np.ndarray) -> Image.Image:
    """One uint8 array [H, W, C] as a picture, grey (C = 1), RGB (C = 3) or RGBA (C = 4)."""
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def opaque(image: Image.Image) -> Image.Image:
    """The picture without transparency: RGBA over white as RGB, any other as it is."""
    if image.mode != "RGBA":
        return image
    below = Image.new("RGBA", image.size, "white")
    below.alpha_composite(image)
    return below.convert("RGB")


def image_grid(images: np.ndarray, columns: int | None = None, gap: int = 0) -> Image.Image:
    """Images side by side, row by row; empty places of the last row stay white.

    Args:
        images: uint8 [N, H, W, C], N ≥ 1.
        columns: images per row; by default a grid about as wide as it is high.
        gap: white pixels between images.

    Raises:
        ConfigError: there is no image, or `columns` is not positive.
    """
    count, height, width, channels = images.shape
    if count == 0:
        raise ConfigError("a grid needs at least one image")
    columns = math.ceil(math.sqrt(count)) if columns is None else columns
    if columns < 1:
        raise ConfigError(f"columns={columns}: a grid needs at least one column")
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, channels)
    canvas = np.full(shape, 255, dtype=np.uint8)
    for index, image in enumerate(images):
        y, x = index // columns * (height + gap), index % columns * (width + gap)
        canvas[y : y + height, x : x + width] = image
    return to_pil(canvas)


def enlargement_factor(size: tuple[int, int], min_side_px: int) -> int:
    """The whole factor that brings the shorter side nearest to `min_side_px`, never below 1."""
    return max(1, round(min_side_px / min(size)))


def enlarge(image: Image.Image, factor: int, method: Enlargement = "nearest") -> Image.Image:
    """The picture `factor` times as large: `nearest` shows the pixels as they are, `lanczos` smooths them."""
    if method not in _FILTERS:
        raise ConfigError(f"unknown enlargement {method!r}; {nearest(method, _FILTERS)}")
    if factor == 1:
        return image
    return image.resize((image.width * factor, image.height * factor), _FILTERS[method])


def enlarge_all(images: np.ndarray, factor: int, method: Enlargement = "nearest") -> np.ndarray:
    """Each image by itself, uint8 [..., H, W, C]: the edges between images of a table stay sharp, see `enlarge`."""
    *counts, height, width, channels = images.shape
    large = [np.asarray(enlarge(to_pil(image), factor, method)) for image in images.reshape(-1, *images.shape[-3:])]
    return np.stack(large).reshape(*counts, height * factor, width * factor, channels)


def captioned_sheet(
    rows: Sequence[tuple[str, np.ndarray]], title: str | None = None, gap: int = 2, min_side_px: int = 48
) -> Image.Image:
    """One row of images per caption, captions on the left: samples over time, classes, one control swept per
    row.

    Args:
        rows: (caption, uint8 [N, H, W, C]) from top to bottom; N may differ, H, W and C not.
        title: a line above the sheet.
        gap: white pixels between images and between rows.
        min_side_px: smaller images are enlarged (nearest) to about this, so that captions have room.
    """
    if not rows:
        raise ConfigError("a sheet needs at least one row")
    strips = []
    for _, images in rows:
        factor = enlargement_factor(images.shape[1:3], min_side_px)
        pixels = images.repeat(factor, axis=1).repeat(factor, axis=2)
        strips.append(opaque(image_grid(pixels, columns=len(pixels), gap=gap)).convert("RGB"))
    size = min(16, max(10, strips[0].height // 4))
    font = ImageFont.load_default(size=size)
    margin = size // 2
    left = 2 * margin + math.ceil(max(font.getlength(caption) for caption, _ in rows))
    top = margin if title is None else 2 * size
    width = max(strip.width for strip in strips) + margin
    if title is not None:
        width = max(width, math.ceil(font.getlength(title)) + margin - left + margin)
    height = sum(strip.height + gap for strip in strips) - gap
    sheet = Image.new("RGB", (left + width, top + height + margin), _PAPER)
    draw = ImageDraw.Draw(sheet)
    if title is not None:
        draw.text((margin, top // 2), title, fill=_INK, font=font, anchor="lm")
    y = top
    for (caption, _), strip in zip(rows, strips, strict=True):
        draw.text((left - margin, y + strip.height // 2), caption, fill=_INK, font=font, anchor="rm")
        sheet.paste(strip, (left, y))
        y += strip.height + gap
    return sheet


def labelled_grid(images: np.ndarray, captions: Sequence[Sequence[str]], columns: int | None = None) -> Image.Image:
    """Images row by row, each with lines of small text beneath.

    Args:
        images: uint8 [N, H, W, C].
        captions: N lists of lines; a line that is too wide is cut off at the image's edge.
        columns: images per row; as square as possible by default.
    """
    count, height, width = images.shape[:3]
    columns = columns or math.ceil(math.sqrt(count))
    size = max(9, min(14, height // 11))
    font, step = ImageFont.load_default(size=size), size + 3
    lines = max((len(caption) for caption in captions), default=0)
    cell = height + lines * step + (6 if lines else 0)
    gap = 4
    sheet = Image.new("RGB", (columns * (width + gap) - gap, math.ceil(count / columns) * cell), _PAPER)
    for index, (pixels, caption) in enumerate(zip(images, captions, strict=True)):
        tile = Image.new("RGB", (width, cell), _PAPER)
        tile.paste(opaque(to_pil(pixels)), (0, 0))
        draw = ImageDraw.Draw(tile)
        for number, line in enumerate(caption):
            draw.text((2, height + 1 + number * step), line, fill=_INK, font=font)
        sheet.paste(tile, (index % columns * (width + gap), index // columns * cell))
    return sheet


def header_table(rows: np.ndarray, columns: np.ndarray, cells: np.ndarray, gap: int | None = None) -> Image.Image:
    """A table of images with a picture at the head of each row and column; the corner stays white.

    Args:
        rows: uint8 [R, H, W, C], the column at the left.
        columns: uint8 [K, H, W, C], the row at the top.
        cells: uint8 [R, K, H, W, C].
        gap: white pixels between the heads and the cells; by default a sixteenth of the height.

    Raises:
        ConfigError: the shapes do not fit together.
    """
    r, k, height, width, channels = cells.shape
    if rows.shape != (r, height, width, channels) or columns.shape != (k, height, width, channels):
        raise ConfigError(f"a table of {cells.shape} does not fit heads of {rows.shape} and {columns.shape}")
    gap = max(2, height // 16) if gap is None else gap
    canvas = np.full(((r + 1) * height + gap, (k + 1) * width + gap, channels), 255, dtype=np.uint8)
    canvas[:height, width + gap :] = columns.swapaxes(0, 1).reshape(height, k * width, channels)
    canvas[height + gap :, :width] = rows.reshape(r * height, width, channels)
    canvas[height + gap :, width + gap :] = cells.swapaxes(1, 2).reshape(r * height, k * width, channels)
    return to_pil(canvas)


def check_name(path: str | Path) -> Path:
    """The path; raises `ConfigError` unless its suffix names a format of pictures. Good to know before long work."""
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(f"{path.name}: pictures are written as {', '.join(_FORMATS)}; choose one of these endings")
    return path


def save_image(path: str | Path, image: Image.Image | np.ndarray) -> Path:
    """Writes a picture (PIL, or uint8 [H, W, C]) atomically, in the format its suffix names; returns the
    path.

    PNG and WebP are lossless and keep transparency; JPEG is written at quality 95 without colour subsampling, over
    white.

    Raises:
        ConfigError: the suffix is none of .png, .webp, .jpg.
        DataError: the disk is full or the folder cannot be written.
    """
    path = check_name(path)
    picture = to_pil(image) if isinstance(image, np.ndarray) else image
    options: dict[str, dict[str, Any]] = {
        "PNG": {},
        "WEBP": {"lossless": True, "exact": True},  # exact: colours of transparent pixels too
        "JPEG": {"quality": 95, "subsampling": 0},
    }
    kind = _FORMATS[path.suffix.lower()]
    if kind == "JPEG":
        picture = opaque(picture)
    with atomic_file(path, DataError) as temporary:
        picture.save(temporary, format=kind, **options[kind])
    return path
