"""The images that people have, as the 8-bit pixels of a dataset: `read_picture`, then `fit_square`.

What a file may bring, and what becomes of it:

    rotated by EXIF                turned upright
    an embedded ICC profile        converted to sRGB; a broken or unfitting profile is ignored, which is told
    16 bits                        8 bits (32-bit and floating-point TIFF are refused: their range is unknown)
    palette, 1 bit, YCbCr, LAB     RGB, or grey where there is no colour
    CMYK, YCCK                     RGB, by the profile or else by plain subtraction
    transparency of any kind       laid over a colour, or kept as RGBA
    animations, pages, bursts      the first one

What a file is, its first bytes say; its name is not looked at, except that camera raw files are refused by it (they
are TIFF files that hold a thumbnail).

Where the result is much smaller, most of the work is saved: a JPEG is decoded at a half, a quarter or an eighth
(libjpeg scales in the frequency domain), and other images are averaged in blocks, but never to less than `REDUCED`
times the size that is wanted; a Lanczos filter does the rest. Against the filter alone this differs by a level here and
there: 54 dB for photographs of 512 px brought to 64 px, in half the time.
"""

from __future__ import annotations

import functools
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import numpy as np
from PIL import GifImagePlugin, Image, ImageCms, PpmImagePlugin, TiffImagePlugin

from gantrol.data.images import IMPORT_SUFFIXES, MAX_PIXELS
from gantrol.errors import DataError

Colour = tuple[int, int, int]
Alpha = Literal["keep"] | Colour
"""What becomes of transparency: kept, or laid over a colour."""

WHITE: Colour = (255, 255, 255)
REDUCED = 3
"""Cheap reduction stops at so many times the size that is wanted."""

_NAMED: dict[str, Alpha] = {"keep": "keep", "white": WHITE, "black": (0, 0, 0)}

RAW_SUFFIXES = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw")
"""Names of camera raw files."""

FOREIGN_SUFFIXES = (
    *(*IMPORT_SUFFIXES, ".jpe", ".jfif", ".dib", ".apng", ".pbm", ".pnm", ".avif"),
    *(".heic", ".heif", ".jxl", ".jp2", ".j2k", ".svg", ".ico", ".psd", ".tga", ".exr"),
    *RAW_SUFFIXES,
)
"""Names that an import takes for images. The lower two rows are mostly refused, which is better than silence."""

# Naming the plugins also registers them, so that Pillow never has to load all of its own.
_ALWAYS_READ = [
    "PNG",
    "JPEG",
    "WEBP",
    "BMP",
    str(TiffImagePlugin.TiffImageFile.format),
    str(GifImagePlugin.GifImageFile.format),
    str(PpmImagePlugin.PpmImageFile.format),
]

_KINDS = (
    (0, b"%PDF", "a PDF"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\x00\x00\x01\x00", "an icon"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (0, b"PK\x03\x04", "a zip"),
    (0, b"\x1f\x8b", "a gzip file"),
    (4, b"ftypavi", "an AVIF image"),
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftyphev", "a HEIC image"),
    (4, b"ftypmif1", "a HEIC image"),
    (4, b"ftypmsf1", "a HEIC image"),
    (4, b"ftyp", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
)
_TEXTS = (("<svg", "an SVG drawing"), ("<!doctype html", "a web page"), ("<html", "a web page"), ("<?xml", "XML"))

# What EXIF's orientation asks for, Pillow's names (EXIF 2.32, table 6).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_GREY_MODES = ("1", "L", "LA", "La")


class Picture(NamedTuple):
    """An image that was read."""

    image: Image.Image
    """Upright, of mode "L", "RGB" or "RGBA"."""
    width_px: int
    """Width of the original, upright."""
    height_px: int
    """Height of the original, upright."""
    scale: int = 1
    """How many pixels of the original one of `image` stands for, in each direction."""
    has_broken_profile: bool = False
    """Whether its colour profile could not be used."""


class TooSmallError(DataError):
    """An image below the smallest size that is wanted; nothing is wrong with it."""


def parse_alpha(text: str) -> Alpha:
    """What `--alpha` asks for: keep, white, black, or a colour as `R,G,B`.

    Raises:
        DataError: it is none of these.
    """
    if text in _NAMED:
        return _NAMED[text]
    parts = text.split(",")
    if len(parts) == 3 and all(part.strip().isdecimal() and int(part) <= 255 for part in parts):
        red, green, blue = map(int, parts)
        return red, green, blue
    raise DataError(f"alpha {text!r}: expected keep, white, black, or a colour R,G,B of numbers from 0 to 255")


def open_any(data: bytes | memoryview, where: str) -> Image.Image:
    """An image of any usual kind as 8-bit "L" or "RGB": upright, in sRGB, opaque (over white), the first frame.

    Raises:
        DataError: the bytes are no image, are damaged, too large, or of a kind that is not read.
    """
    with quiet_decoders():
        return read_picture(data, where).image


def read_picture(
    data: bytes | memoryview,
    where: str,
    *,
    alpha: Alpha = WHITE,
    size_px: int | None = None,
    min_size_px: int = 1,
) -> Picture:
    """An image of any usual kind as 8-bit grey, RGB, or RGBA; see the head of this file for what that takes.

    Pillow warns about much that is odd; wrap one or many calls in `quiet_decoders`.

    Args:
        data: the encoded image.
        where: how errors name it.
        alpha: "keep" gives RGBA, a colour is laid under what is transparent and gives grey or RGB.
        size_px: the side that `fit_square` will be asked for, which allows to decode less.
        min_size_px: the shorter side must have so many pixels.

    Raises:
        TooSmallError: it has fewer pixels than `min_size_px`; it was not decoded.
        DataError: the bytes are no image, are damaged, too large, or of a kind that is not read.
    """
    with _open(data, where) as image:
        width, height = image.size
        _check_size(image, min_size_px, where)
        scale = _draft(image, size_px)
        _load(image, where)
        check_pixels(image.width * scale, image.height * scale, where)  # frames of a GIF may reach beyond its canvas
        turn = _turn(image)
        _refuse_unknown_ranges(image, where)
        profile = image.info.get("icc_profile", b"")
        try:
            plain = _to_8_bit(image)
            plain, has_broken_profile = _to_srgb(plain, profile)
            plain = _settle_alpha(plain, alpha)
        except Exception as error:  # Pillow's conversions meet what its parsers let through
            raise DataError(f"{where}: damaged image ({_reason(error)})") from error
        if scale == 1:
            width, height = image.size
    if turn is not None:
        plain = plain.transpose(turn)
        if turn not in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_180):
            width, height = height, width
    return Picture(plain, width, height, scale, has_broken_profile)


def fit_square(image: Image.Image, size_px: int | None, *, crop: bool, where: str, scale: int = 1) -> Image.Image:
    """The central square of an image, resized with a Lanczos filter (antialiased) to `size_px`.

    Args:
        image: any size.
        size_px: side of the result; None keeps the side of the square.
        crop: cut the longer side; otherwise an image that is not square is refused.
        where: how errors name the image.
        scale: of `Picture`: the square is that of the original, wherever it falls between the pixels.

    Raises:
        DataError: it is not square and may not be cut.
    """
    width, height = image.width * scale, image.height * scale
    if width != height and not crop:
        raise DataError(f"{where}: {width}×{height} is not square: use --crop center")
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    if scale == 1 and size_px in (None, side):
        return image if (width, height) == (side, side) else image.crop((left, top, left + side, top + side))
    box = (left / scale, top / scale, (left + side) / scale, (top + side) / scale)
    new = side if size_px is None else size_px
    return image.resize((new, new), Image.Resampling.LANCZOS, box=box, reducing_gap=REDUCED)


def is_grey(data: bytes | memoryview, where: str, *, min_size_px: int = 1) -> bool:
    """Whether the header of an image says that it has no colour; nothing is decoded.

    Raises:
        DataError: as `read_picture`, as far as a header can tell.
    """
    with _open(data, where) as image:
        _check_size(image, min_size_px, where)
        return image.mode in _GREY_MODES or image.mode.startswith("I;16") or image.mode == "I"


def refuse_by_name(name: str, where: str) -> None:
    """Raises DataError if a file's name says that it is a camera raw file."""
    suffix = os.path.splitext(name.lower())[1]
    if suffix in RAW_SUFFIXES:
        raise DataError(f"{where}: is a camera raw file ({suffix}), which is not read: convert it to TIFF or JPEG")


def check_kind(head: bytes, where: str) -> None:
    """Raises DataError if the first bytes of a file are those of a kind that is known, but not read."""
    if not head:
        raise DataError(f"{where}: is empty")
    for at, magic, kind in _KINDS:
        if head[at : at + len(magic)] == magic:
            if kind == "an AVIF image" and "AVIF" in _formats():
                return
            raise DataError(f"{where}: is {kind}, which is not read: convert it to PNG or JPEG")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].decode("latin-1").lower()
    for beginning, kind in _TEXTS:
        if text.startswith(beginning):
            raise DataError(f"{where}: is {kind}, not an image")


def check_pixels(width_px: int, height_px: int, where: str) -> None:
    """Raises DataError for an image of no pixels, or of more than are read (`MAX_PIXELS`)."""
    if width_px < 1 or height_px < 1:
        raise DataError(f"{where}: claims {width_px}×{height_px} pixels")
    if width_px * height_px > MAX_PIXELS:
        raise DataError(
            f"{where}: claims {width_px}×{height_px} pixels; more than {MAX_PIXELS // 2**20} Mpx is not read"
        )


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Silences Pillow's warnings about odd files inside the `with` block, in all threads: errors say what matters."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


# ----------------------------------------------------------------------------------------------------------------------
# The steps of `read_picture`


def _open(data: bytes | memoryview, where: str) -> Image.Image:
    """An image whose header is read and whose claimed size is safe to decode."""
    check_kind(bytes(data[:256]), where)
    try:
        image = Image.open(io.BytesIO(data), formats=_formats())
    except Image.DecompressionBombError as error:
        raise DataError(f"{where}: claims more than {MAX_PIXELS // 2**20} Mpx, the most that is read") from error
    except Exception as error:  # Pillow's parsers raise almost anything on damaged headers
        raise DataError(f"{where}: not a readable image ({_reason(error)})") from error
    check_pixels(*image.size, where)
    return image


def _check_size(image: Image.Image, min_size_px: int, where: str) -> None:
    if min(image.size) < min_size_px:
        raise TooSmallError(f"{where}: {image.width}×{image.height} is smaller than {min_size_px} px")


@functools.cache
def _formats() -> list[str]:
    """What Pillow is allowed to recognise; AVIF only where it was built with it (Pillow 11.3 and later)."""
    try:
        from PIL import AvifImagePlugin
    except ImportError:
        return _ALWAYS_READ
    return [*_ALWAYS_READ, "AVIF"] if AvifImagePlugin.SUPPORTED else _ALWAYS_READ


def _draft(image: Image.Image, size_px: int | None) -> int:
    """Tells a JPEG to decode itself smaller, where that divides its sides; returns by how much."""
    if size_px is None or image.format not in ("JPEG", "MPO"):
        return 1
    width, height = image.size
    for scale in (8, 4, 2):
        reduced = width // scale, height // scale
        if width % scale == 0 and height % scale == 0 and min(reduced) >= REDUCED * size_px:
            image.draft(None, reduced)
            return width // image.width
    return 1


def _load(image: Image.Image, where: str) -> None:
    try:
        image.load()
    except Exception as error:  # as above: whatever the decoder meets in damaged data
        raise DataError(f"{where}: damaged image ({_reason(error)})") from error


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes the image upright; None if it is, or if its EXIF cannot be read. Pillow turns TIFF by itself."""
    if image.format == "TIFF":
        return None
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # any damage of EXIF: the pixels are fine
        return None


def _refuse_unknown_ranges(image: Image.Image, where: str) -> None:
    if image.mode == "F":
        raise DataError(f"{where}: floating-point pixels have no known range: convert the image to 8 bits")
    if image.mode == "I" and image.format == "TIFF":
        raise DataError(f"{where}: 32-bit pixels have no known range: convert the image to 8 bits")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Any mode as "L", "LA", "RGB", "RGBA" or "CMYK"."""
    if image.mode.startswith("I"):  # 16 bits: v/257 rounded
        deep = np.asarray(image).astype(np.int64).clip(0, 65535)
        plain = Image.fromarray(((deep + 128) // 257).astype(np.uint8))
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            plain.putalpha(Image.fromarray(np.where(deep == clear, 0, 255).astype(np.uint8)))
        return plain
    if image.mode == "LAB":
        return ImageCms.applyTransform(image, _lab_to_srgb()) or image
    if image.mode == "La":
        return image.convert("LA")
    if image.has_transparency_data:
        return image.convert("LA" if image.mode in _GREY_MODES else "RGBA")
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bool]:
    """The image in sRGB, and whether its profile had to be ignored.

    Args:
        image: "L", "LA", "RGB", "RGBA" or "CMYK".
        profile: the embedded ICC profile; empty without, None where the file's was beyond reading.
    """
    colours, alpha = image, None
    if image.mode in ("LA", "RGBA"):
        colours, alpha = image.convert(image.mode[:-1]), image.getchannel("A")
    is_broken = profile is None
    if profile:
        transform = _transform(profile, colours.mode)
        if isinstance(transform, _Transform):
            as_expected = colours.convert(transform.mode)
            converted = ImageCms.applyTransform(as_expected, transform.transform)
            assert converted is not None
            colours = converted.convert(colours.mode) if colours.mode == "L" else converted
        is_broken = transform == "broken"
    if colours.mode == "CMYK":
        colours = colours.convert("RGB")
    if alpha is not None:
        colours = colours.copy() if colours is image else colours
        colours.putalpha(alpha)
    return colours, is_broken


class _Transform(NamedTuple):
    mode: str
    """What its input must be."""
    transform: ImageCms.ImageCmsTransform


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> _Transform | Literal["none", "broken"]:
    """How colours of a profile become sRGB: relative colorimetric with black point compensation, as viewers do."""
    try:
        found = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = found.profile.xcolor_space.strip()
        name = (found.profile.profile_description or "").lower()
        expected = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}.get(space)
        fits = expected == mode or (expected == "RGB" and mode == "L")  # greys of an RGB space are frequent
        if expected is None or not fits:
            return "broken"
        if "srgb" in name and "linear" not in name:
            return "none"  # not even roundings
        return _Transform(
            expected,
            ImageCms.buildTransform(
                found,
                _srgb(),
                expected,
                "RGB",
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                ImageCms.Flags.BLACKPOINTCOMPENSATION,
            ),
        )
    except Exception:  # damaged in any way
        return "broken"


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@functools.cache
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.buildTransform(lab, _srgb(), "LAB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)


def _settle_alpha(image: Image.Image, alpha: Alpha) -> Image.Image:
    """ "LA" and "RGBA" over a colour, or everything as "RGBA"."""
    if alpha == "keep":
        return image.convert("RGBA")
    if image.mode not in ("LA", "RGBA"):
        return image
    below = Image.new("RGBA", image.size, (*alpha, 255))
    below.alpha_composite(image.convert("RGBA"))
    return below.convert("L" if image.mode == "LA" and len(set(alpha)) == 1 else "RGB")


def _reason(error: Exception) -> str:
    """One short line of a decoder's complaint, without Pillow's names of buffers."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "unknown format"
    return (str(error).splitlines() or [type(error).__name__])[0]
