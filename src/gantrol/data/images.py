"""Single images of a dataset: bytes to pixels, and pixels to bytes.

Images are uint8 arrays, `[H, W, C]` with C = 1 (grey), 3 (RGB) or 4 (RGBA). `probe` and `decode` are
strict and quick: the images of datasets must already be plain 8-bit grey, RGB or RGBA. What people have (EXIF rotation,
palettes, CMYK, 16 bits) is read by `gantrol.data.foreign_images`, which serves the import.

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
_PNG_TYPES = {1: 0, 3: 2, 4: 6}
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


CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
"""Pixel types of datasets, by Pillow's name."""

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
    """The channels (1, 3 or 4) of a dataset image; raises DataError for pixel types that datasets do not hold."""
    if header.mode not in CHANNELS:
        raise DataError(
            f"{where}: pixels are {header.mode}, but datasets hold 8-bit grey, RGB or RGBA: "
            "convert them with `gantrol data import`"
        )
    return CHANNELS[header.mode]


def colours(channels: int) -> str:
    """The pixel type in words: "grey", "RGB" or "RGBA"."""
    return {1: "grey", 3: "RGB", 4: "RGBA"}.get(channels, f"{channels} channels")


def describe(size_px: int, channels: int) -> str:
    """Size and colours in words: "64×64 RGB"."""
    return f"{size_px}×{size_px} {colours(channels)}"


def decode(data: bytes | memoryview, where: str) -> np.ndarray:
    """The pixels of a dataset image.

    Args:
        data: an encoded 8-bit grey, RGB or RGBA image.
        where: how errors name the image.

    Returns:
        uint8 [H, W, C], C = 1, 3 or 4 (alpha not multiplied into the colours).

    Raises:
        DataError: the image is damaged, too large, or has another pixel type.
    """
    if bytes(data[:8]) == _PNG_SIGNATURE:
        quick = _decode_png(data, where)
        if quick is not None:
            return quick
    with _open(data, where, _DATASET_FORMATS) as image:
        check_plain(Header(*image.size, image.mode, str(image.format)), where)
        pixels = np.asarray(_load(image, where))
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


_PNG_HEADER = struct.Struct(">II5B")
_CHUNK = struct.Struct(">I4s")
_STORED_BLOCK = struct.Struct("<BHH")
_MAX_BLOCK = 0xFFFF


def _decode_png(data: bytes | memoryview, where: str) -> np.ndarray | None:
    """uint8 [H, W, C] of a plain 8-bit PNG, without what Pillow does around it; None if it is none, or damaged."""
    view = memoryview(data)
    channels, width, height = 0, 0, 0
    pieces = []
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(view):
        length, kind = _CHUNK.unpack_from(view, at)
        body = view[at + 8 : at + 8 + length]
        at += 12 + length
        if len(body) < length:
            return None
        if kind == b"IDAT":
            pieces.append(body)
        elif kind == b"IHDR" and length == _PNG_HEADER.size == len(body):
            width, height, depth, colour, *methods = _PNG_HEADER.unpack(body)
            mode = _PNG_MODES.get((colour, depth), "")
            if mode not in CHANNELS or any(methods):
                return None
            channels = CHANNELS[mode]
        elif kind == b"IEND":
            break
        elif kind in (b"tRNS", b"eXIf") or not kind[0] & 0x20:  # transparency, rotation, or a chunk that must be obeyed
            return None
    if not channels or not pieces:
        return None
    _check_pixels(width, height, where)
    stream = pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))
    rows = _stored_rows(stream, height, 1 + width * channels)
    if rows is not None and not rows[:, 0].any():  # no row is predicted from another
        return rows[:, 1:].reshape(height, width, channels)
    try:
        pixels = np.asarray(Image.frombytes(mode, (width, height), bytes(stream), "zip", mode, 0))
    except ValueError:
        return None
    return pixels.reshape(height, width, channels)


def _stored_rows(stream: memoryview, height: int, row_bytes: int) -> np.ndarray | None:
    """uint8 [height, row_bytes] of a zlib stream of full stored blocks, as `encode` writes it; None for any other."""
    size = height * row_bytes
    blocks = range(0, size, _MAX_BLOCK)
    if len(stream) != 2 + _STORED_BLOCK.size * len(blocks) + size + 4 or stream[:2] != b"\x78\x01":
        return None
    pieces = []
    at = 2
    for start in blocks:
        length = min(_MAX_BLOCK, size - start)
        if _STORED_BLOCK.unpack_from(stream, at) != (start + length == size, length, length ^ 0xFFFF):
            return None
        at += _STORED_BLOCK.size
        pieces.append(stream[at : at + length])
        at += length
    raw = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if zlib.adler32(raw) != int.from_bytes(stream[at:], "big"):
        return None
    return np.frombuffer(raw, dtype=np.uint8).reshape(height, row_bytes)


def encode(image: np.ndarray, image_format: ImageFormat = "png") -> bytes:
    """The bytes of an uncompressed PNG or a lossless WebP.

    Args:
        image: uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4].
        image_format: "png" or "webp"; WebP has no grey.

    Raises:
        DataError: the array is no such image.
    """
    if image.ndim == 2:
        image = image[:, :, None]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise DataError(
            f"cannot store an array of {image.dtype} {list(image.shape)}: "
            "expected uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]"
        )
    if image_format == "png":
        return _encode_png(image)
    if image.shape[2] == 1:
        raise DataError("WebP has no grey images: store them as PNG")
    buffer = io.BytesIO()
    # exact: without it, colours under transparent pixels are lost
    Image.fromarray(image).save(buffer, "WEBP", lossless=True, quality=0, method=0, exact=True)
    return buffer.getvalue() if image.shape[2] == 3 else _with_alpha_bit(buffer.getvalue())


def _with_alpha_bit(webp: bytes) -> bytes:
    """A lossless WebP that says it has alpha; encoders say so only if a pixel is not opaque (RFC 9649, section 3.4).

    All images of a dataset must read as the same pixel type, opaque ones included.
    """
    assert webp[12:16] == b"VP8L"
    return webp[:24] + bytes([webp[24] | 0x10]) + webp[25:]


def _encode_png(image: np.ndarray) -> bytes:
    """An uncompressed PNG (RFC 2083) of uint8 [H, W, C]: rows without prediction in stored deflate blocks."""
    height, width, channels = image.shape
    rows = np.zeros([height, 1 + width * channels], dtype=np.uint8)  # each row starts with its filter type, 0
    rows[:, 1:] = image.reshape(height, -1)
    raw = rows.tobytes()
    blocks = [b"\x78\x01"]
    for start in range(0, len(raw), _MAX_BLOCK):
        block = raw[start : start + _MAX_BLOCK]
        is_last = start + _MAX_BLOCK >= len(raw)
        blocks += [_STORED_BLOCK.pack(is_last, len(block), len(block) ^ 0xFFFF), block]
    blocks.append(struct.pack(">I", zlib.adler32(raw)))
    header = struct.pack(">IIBBBBB", width, height, 8, _PNG_TYPES[channels], 0, 0, 0)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return _PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", b"".join(blocks)) + chunk(b"IEND", b"")


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
