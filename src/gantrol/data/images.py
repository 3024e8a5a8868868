"""Single images: bytes to pixels, pixels to bytes, and the crop and resize of an import.

Images are uint8 arrays, `[H, W, C]` with C = 1 (grey) or 3 (RGB). Two readers share this file:

- `probe` and `decode` are strict and quick. They serve datasets, whose images must already be plain 8-bit
  grey or RGB.
- `open_any` accepts what people have (EXIF rotation, palettes, transparency, CMYK, 16 bits) and serves the
  import.

PNG is written without compression, as StyleGAN's own dataset tool does: it decodes twice as fast, and its
bytes do not depend on the version of zlib. Where size matters more, lossless WebP needs less than half.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Literal, NamedTuple

import numpy as np
from PIL import BmpImagePlugin, Image, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from gantrol.errors import DataError

ImageFormat = Literal["png", "webp"]

MAX_PIXELS = 64 * 2**20
"""Larger images are refused before they are decoded: a few kilobytes can claim to be terabytes of pixels."""

DATASET_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".bmp")
"""File names that a dataset reads as images."""

IMPORT_SUFFIXES = (*DATASET_SUFFIXES, ".tif", ".tiff", ".gif", ".ppm", ".pgm")
"""File names that an import reads as images."""

# Naming the plugins also registers them, so that Pillow never has to load all of its own.
_DATASET_FORMATS = [
    plugin.format
    for plugin in (
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        JpegImagePlugin.JpegImageFile,
        BmpImagePlugin.BmpImageFile,
    )
]
_IMPORT_FORMATS = [*_DATASET_FORMATS, "TIFF", "GIF", "PPM"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_MODES = {(0, 8): "L", (2, 8): "RGB", (4, 8): "LA", (6, 8): "RGBA", (3, 8): "P"}
_PNG_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}


class Header(NamedTuple):
    """What the first bytes of an image say."""

    width_px: int
    height_px: int
    mode: str
    """Pillow's name of the pixel type ("L" is grey, "RGB" colour), or words for rare kinds of PNG."""
    format: str

    @property
    def is_grey(self) -> bool:
        """Whether the pixels carry no colour."""
        return self.mode in ("1", "L", "LA") or self.mode.startswith(("I", "F")) or "grey" in self.mode


def probe(data: bytes | memoryview, where: str) -> Header:
    """Size and pixel type of an encoded image, without decoding it.

    Args:
        data: the encoded image.
        where: how errors name the image.

    Raises:
        DataError: the bytes are no image, or claim more than `MAX_PIXELS`.
    """
    if bytes(data[:8]) == _PNG_SIGNATURE and bytes(data[12:16]) == b"IHDR" and len(data) >= 33:
        width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
        mode = _PNG_MODES.get((colour, depth), f"{depth}-bit {_PNG_COLOURS.get(colour, colour)}")
        header = Header(width, height, mode, "PNG")
        _check_pixels(header.width_px, header.height_px, where)
        return header
    if bytes(data[:4]) == b"RIFF" and bytes(data[8:12]) == b"WEBP" and len(data) >= 30:
        header = _webp_header(bytes(data[12:30]), where)
        _check_pixels(header.width_px, header.height_px, where)
        return header
    with _open(data, where, _IMPORT_FORMATS) as image:
        return Header(*image.size, image.mode, str(image.format))


HEADER_BYTES = 64
"""From so many of an image's first bytes `probe` reads PNG and WebP; other formats need all bytes."""


def has_short_header(data: bytes | memoryview) -> bool:
    """Whether the first `HEADER_BYTES` are enough for `probe`."""
    return bytes(data[:8]) == _PNG_SIGNATURE or (bytes(data[:4]) == b"RIFF" and bytes(data[8:12]) == b"WEBP")


def _webp_header(chunk: bytes, where: str) -> Header:
    """Size and alpha from the first chunk of a WebP (RFC 9649, section 2)."""
    kind, body = chunk[:4], chunk[8:]
    if kind == b"VP8X":  # extended: flags, 24-bit width − 1 and height − 1
        has_alpha = bool(body[0] & 0x10)
        width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
    elif kind == b"VP8L" and body[0] == 0x2F:  # lossless: 14-bit width − 1 and height − 1, one bit for alpha
        bits = int.from_bytes(body[1:5], "little")
        width, height, has_alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    elif kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":  # lossy: key frame with 14-bit sizes
        width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
        has_alpha = False
    else:
        raise DataError(f"{where}: not a readable image (damaged WebP header)")
    return Header(width, height, "RGBA" if has_alpha else "RGB", "WEBP")


def check_plain(header: Header, where: str) -> int:
    """The channels (1 or 3) of a dataset image; raises DataError for pixel types that datasets do not hold."""
    if header.mode not in ("L", "RGB"):
        raise DataError(
            f"{where}: pixels are {header.mode}, but datasets hold 8-bit grey or RGB: "
            "convert them with `gantrol data import`"
        )
    return 1 if header.mode == "L" else 3


def describe(size_px: int, channels: int) -> str:
    """Size and colours in words: "64×64 RGB"."""
    return f"{size_px}×{size_px} {'grey' if channels == 1 else 'RGB'}"


def decode(data: bytes | memoryview, where: str) -> np.ndarray:
    """The pixels of a dataset image.

    Args:
        data: an encoded 8-bit grey or RGB image.
        where: how errors name the image.

    Returns:
        uint8 [H, W, C], C = 1 or 3.

    Raises:
        DataError: the image is damaged, too large, or has another pixel type.
    """
    with _open(data, where, _DATASET_FORMATS) as image:
        check_plain(Header(*image.size, image.mode, str(image.format)), where)
        pixels = np.asarray(_load(image, where))
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def encode(image: np.ndarray, image_format: ImageFormat = "png") -> bytes:
    """The bytes of an uncompressed PNG or a lossless WebP.

    Args:
        image: uint8 [H, W], [H, W, 1] or [H, W, 3].
        image_format: "png" or "webp"; WebP has no grey.

    Raises:
        DataError: the array is no such image.
    """
    if image.ndim == 2:
        image = image[:, :, None]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise DataError(
            f"cannot store an array of {image.dtype} {list(image.shape)}: expected uint8 [H, W], [H, W, 1] or [H, W, 3]"
        )
    if image_format == "png":
        return _encode_png(image)
    if image.shape[2] == 1:
        raise DataError("WebP has no grey images: store them as PNG")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", lossless=True, quality=0, method=0)
    return buffer.getvalue()


def _encode_png(image: np.ndarray) -> bytes:
    """An uncompressed PNG (RFC 2083) of uint8 [H, W, C]: rows without prediction in stored deflate blocks."""
    height, width, channels = image.shape
    rows = np.zeros([height, 1 + width * channels], dtype=np.uint8)  # each row starts with its filter type, 0
    rows[:, 1:] = image.reshape(height, -1)
    raw = rows.tobytes()
    blocks = [b"\x78\x01"]
    for start in range(0, len(raw), 0xFFFF):
        block = raw[start : start + 0xFFFF]
        is_last = start + 0xFFFF >= len(raw)
        blocks += [struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF), block]
    blocks.append(struct.pack(">I", zlib.adler32(raw)))
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return _PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", b"".join(blocks)) + chunk(b"IEND", b"")


def open_any(data: bytes | memoryview, where: str) -> Image.Image:
    """An image of any usual kind as 8-bit "L" or "RGB": upright (EXIF), opaque (over white), first frame.

    Raises:
        DataError: the bytes are no image, are damaged, too large, or hold floating-point pixels.
    """
    with _open(data, where, _IMPORT_FORMATS) as image:
        mode = image.mode
        upright = _load(image, where)
    if mode == "F":
        raise DataError(f"{where}: floating-point pixels have no known range: convert the image to 8 bits")
    if mode.startswith("I"):
        deep = np.asarray(upright).astype(np.int64)
        return Image.fromarray((deep.clip(0, 65535) // 257).astype(np.uint8))
    if upright.has_transparency_data:
        opaque = Image.new("RGBA", upright.size, "white")
        opaque.alpha_composite(upright.convert("RGBA"))
        return opaque.convert("L" if mode in ("L", "LA") else "RGB")
    return upright.convert("L" if mode in ("L", "1") else "RGB")


def fit_square(image: Image.Image, size_px: int | None, *, crop: bool, where: str) -> Image.Image:
    """The central square of `image`, resized with a Lanczos filter (antialiased) to `size_px`.

    Args:
        image: any size.
        size_px: side of the result; None keeps the side of the square.
        crop: cut the longer side; otherwise an image that is not square is refused.
        where: how errors name the image.
    """
    width, height = image.size
    if width != height and not crop:
        raise DataError(f"{where}: {width}×{height} is not square: use --crop center")
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    if size_px is None or size_px == side:
        return image if (width, height) == (side, side) else image.crop(box)
    return image.resize((size_px, size_px), Image.Resampling.LANCZOS, box=box)


def _open(data: bytes | memoryview, where: str, formats: list[str]) -> Image.Image:
    """An image whose header is read and whose claimed size is safe to decode."""
    try:
        if bytes(data[:8]) == _PNG_SIGNATURE:  # by far the most frequent: never larger than Pillow's own limit
            if len(data) >= 24:
                width, height = struct.unpack(">II", data[16:24])
                _check_pixels(width, height, where)
            image = Image.open(io.BytesIO(data), formats=("PNG",))
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                image = Image.open(io.BytesIO(data), formats=formats)
    except DataError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: claims more than {MAX_PIXELS // 2**20} Mpx, the most that is read") from error
    except Exception as error:  # Pillow's parsers raise almost anything on damaged headers
        raise DataError(f"{where}: not a readable image ({_reason(error)})") from error
    _check_pixels(*image.size, where)
    return image


def _load(image: Image.Image, where: str) -> Image.Image:
    """`image` decoded and turned upright."""
    try:
        image.load()
        return ImageOps.exif_transpose(image) if "exif" in image.info else image
    except Exception as error:  # as above: whatever the decoder meets in damaged data
        raise DataError(f"{where}: damaged image ({_reason(error)})") from error


def _check_pixels(width_px: int, height_px: int, where: str) -> None:
    if width_px * height_px > MAX_PIXELS:
        raise DataError(
            f"{where}: claims {width_px}×{height_px} pixels; more than {MAX_PIXELS // 2**20} Mpx is not read"
        )


def _reason(error: Exception) -> str:
    """One short line of a decoder's complaint, without Pillow's names of buffers."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "unknown format"
    return (str(error).splitlines() or [type(error).__name__])[0]
