"""Files as they turn up in folders of images, each with what an import must make of it.

Every kind is made here, byte by byte where no library writes it. A `Nasty` expects either pixels (within a tolerance,
for lossy formats) or a reason to be left out.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, features

SIDE = 24
_Y, _X = np.mgrid[:SIDE, :SIDE]
COLOUR = np.stack([_X * 10, _Y * 10, 255 - _X * 5 - _Y * 5], axis=2).astype(np.uint8)  # uint8 [24, 24, 3]
GREY = (_X * 6 + _Y * 4).astype(np.uint8)  # uint8 [24, 24]
HALF = np.where(_X < SIDE // 2, 255, 0).astype(np.uint8)  # alpha: the left half is opaque


@dataclass(frozen=True, kw_only=True)
class Nasty:
    """A file, and what must happen to it."""

    name: str
    """Of the file."""
    make: Callable[[], bytes]
    pixels: np.ndarray | None = None
    """uint8 [H, W] or [H, W, 3]: what is imported, as RGB."""
    tolerance: float = 0
    """Largest mean difference to `pixels`."""
    reason: str = ""
    """A regular expression: why it is left out, where `pixels` is None."""
    ignores_profile: bool = False
    """Whether a colour profile is counted as unusable."""


# ----------------------------------------------------------------------------------------------------------------------
# Makers


def saved(array: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: list[bytes], *extra: bytes) -> bytes:
    """A PNG of packed rows; `extra` chunks go before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + data + chunk(b"IEND", b"")


def plain_png(*extra: bytes) -> bytes:
    return png(SIDE, SIDE, 8, 2, [row.tobytes() for row in COLOUR], *extra)


def tiff(array: np.ndarray, photometric: int, *, sample_format: int = 1, more: tuple[Any, ...] = ()) -> bytes:
    """An uncompressed little-endian TIFF of [H, W, C]."""
    height, width, samples = array.shape
    bits = array.dtype.itemsize * 8
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    tags: list[tuple[int, int, list[int]]] = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [bits] * samples),
        (259, 3, [1]),
        (262, 3, [photometric]),
        (273, 4, [0]),
        (277, 3, [samples]),
        (278, 4, [height]),
        (279, 4, [len(data)]),
        (339, 3, [sample_format] * samples),
        *more,
    ]
    tags.sort()
    after = 8 + 2 + 12 * len(tags) + 4
    entries, heap = b"", b""
    for tag, kind, values in tags:
        packed = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if tag == 273:
            packed = b"DATA"
        if len(packed) > 4:
            packed, heap = struct.pack("<I", after + len(heap)), heap + packed
        entries += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    entries = entries.replace(b"DATA", struct.pack("<I", after + len(heap)))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0" + heap + data


def icc_profile(space: bytes, *, swaps_red_and_blue: bool = False) -> bytes:
    """A small display profile (ICC.1:2001): `space` is b"RGB " with sRGB's primaries, or b"GRAY"; gamma 2.2."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    gamma = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    text = b"nasty"
    tags = {b"cprt": b"text\0\0\0\0none\0", b"wtpt": xyz(0.9642, 1, 0.8249)}
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(12 + 67)
    if space == b"GRAY":
        tags[b"kTRC"] = gamma
    else:
        primaries = [(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)]
        for letter, values in zip("bgr" if swaps_red_and_blue else "rgb", primaries, strict=True):
            tags[f"{letter}XYZ".encode()] = xyz(*values)
            tags[f"{letter}TRC".encode()] = gamma
    table, heap = struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        body += bytes(-len(body) % 4)
        table += name_and_place(name, 132 + 12 * len(tags) + len(heap), len(body))
        heap += body
    header = struct.pack(
        ">I4sI4s4s4s", 132 + 12 * len(tags) + len(heap), b"\0\0\0\0", 0x02100000, b"mntr", space, b"XYZ "
    )
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    return header.ljust(128, b"\0") + table + heap


def name_and_place(name: bytes, at: int, size: int) -> bytes:
    return name + struct.pack(">II", at, size)


def jpeg_with_exif(exif: bytes) -> bytes:
    data = saved(COLOUR, "JPEG", quality=95)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def lossless_jpeg() -> bytes:
    """A JPEG of process 14 (lossless): every difference from the predicted 128 is zero, the code 0."""
    frame = struct.pack(">HBHHBBBB", 11, 8, SIDE, SIDE, 1, 1, 0x11, 0)
    codes = struct.pack(">HB", 20, 0) + bytes([1] + [0] * 15) + b"\0"
    scan = struct.pack(">HBBBBBB", 8, 1, 1, 0, 1, 0, 0)
    bits = bytes(SIDE * SIDE // 8)
    return b"\xff\xd8\xff\xc3" + frame + b"\xff\xc4" + codes + b"\xff\xda" + scan + bits + b"\xff\xd9"


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) >= 1, "nothing to patch"
    return data.replace(old, new, 1)


def jpeg_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header claims another size."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def cmyk_jpeg(*values: int, ycck: bool = False) -> bytes:
    data = saved(Image.new("CMYK", (SIDE, SIDE), values), "JPEG", quality=100, subsampling=0)
    if not ycck:
        return data
    at = data.index(b"Adobe") + 11
    return data[:at] + b"\x02" + data[at + 1 :]


def top_down_bmp() -> bytes:
    data = bytearray(saved(np.ascontiguousarray(COLOUR[::-1]), "BMP"))
    data[22:26] = struct.pack("<i", -SIDE)
    return bytes(data)


def animated(kind: str) -> bytes:
    frames = [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def heif(brand: bytes) -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1heic" + bytes(200)


def with_alpha(array: np.ndarray) -> Image.Image:
    image = Image.fromarray(array)
    image.putalpha(Image.fromarray(HALF))
    return image


def over_white(array: np.ndarray) -> np.ndarray:
    return np.where((HALF == 255)[..., None] if array.ndim == 3 else HALF == 255, array, 255).astype(np.uint8)


def packed_rows(array: np.ndarray, bits: int) -> list[bytes]:
    """Rows of samples of 1, 2 or 4 bits."""
    single = np.unpackbits(array[..., None], axis=2)[..., 8 - bits :].reshape(len(array), -1)
    return [np.packbits(row).tobytes() for row in single]


# ----------------------------------------------------------------------------------------------------------------------
# The corpus

DEEP = (COLOUR.astype(np.uint16) * 257).astype(">u2")
DEEP_GREY = (GREY.astype(np.uint16) * 257).astype(">u2")
FLAT = np.full([SIDE, SIDE, 3], (200, 100, 50), np.uint8)


def _turned(array: np.ndarray, value: int) -> np.ndarray:
    """What a file must hold so that EXIF's orientation `value` shows `array`."""
    inverse = {1: 0, 2: 0, 3: 2, 4: 0, 6: 1, 8: 3}  # quarter turns counter-clockwise
    if value in (2, 4):
        return np.ascontiguousarray(np.flip(array, axis=1 if value == 2 else 0))
    return np.ascontiguousarray(np.rot90(array, inverse[value]))


def _ycck() -> np.ndarray:
    return np.full([SIDE, SIDE], round(90 * (255 - 60) / 255), np.uint8)


def _palette(**options: Any) -> bytes:
    image = Image.fromarray(GREY // 16 * 16).quantize(16)
    return saved(image, "PNG", **options)


# An interlaced PNG of 2×2: pass 1 holds (0, 0), pass 6 (1, 0), pass 7 the second row.
INTERLACED = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 1))
    + chunk(b"IDAT", zlib.compress(bytes([0, 10, 0, 20, 0, 30, 40])))
    + chunk(b"IEND", b"")
)

IMPORTED = [
    Nasty(name="plain.png", make=plain_png, pixels=COLOUR),
    Nasty(name="a jpeg.png", make=lambda: saved(COLOUR, "JPEG", quality=95), pixels=COLOUR, tolerance=4),
    Nasty(name="a png.jpg", make=plain_png, pixels=COLOUR),
    Nasty(name="a png.heic", make=plain_png, pixels=COLOUR),
    Nasty(
        name="turned.jpg",
        make=lambda: saved(_turned(COLOUR, 6), "JPEG", quality=95, exif=orientation(6)),
        pixels=COLOUR,
        tolerance=4,
    ),
    Nasty(name="turned.png", make=lambda: saved(_turned(COLOUR, 3), "PNG", exif=orientation(3)), pixels=COLOUR),
    Nasty(
        name="turned.webp",
        make=lambda: saved(_turned(COLOUR, 8), "WEBP", lossless=True, exif=orientation(8)),
        pixels=COLOUR,
    ),
    Nasty(name="mirrored.tif", make=lambda: saved(_turned(COLOUR, 2), "TIFF", tiffinfo={274: 2}), pixels=COLOUR),
    Nasty(name="turned.tif", make=lambda: saved(_turned(COLOUR, 8), "TIFF", tiffinfo={274: 8}), pixels=COLOUR),
    Nasty(
        name="broken exif.jpg",
        make=lambda: jpeg_with_exif(b"Exif\0\0II*\0\xff\xff\xff\x7f garbage"),
        pixels=COLOUR,
        tolerance=4,
    ),
    Nasty(name="orientation 99.png", make=lambda: saved(COLOUR, "PNG", exif=orientation(99)), pixels=COLOUR),
    Nasty(
        name="profile.png",
        make=lambda: saved(COLOUR, "PNG", icc_profile=icc_profile(b"RGB ", swaps_red_and_blue=True)),
        pixels=COLOUR[..., ::-1],
        tolerance=4,
    ),
    Nasty(
        name="profile of greys.png",
        make=lambda: saved(GREY, "PNG", icc_profile=icc_profile(b"GRAY")),
        pixels=GREY,
        tolerance=4,
    ),
    Nasty(
        name="rgb profile of greys.png",
        make=lambda: saved(GREY, "PNG", icc_profile=icc_profile(b"RGB ")),
        pixels=GREY,
        tolerance=4,
    ),
    Nasty(
        name="grey profile of colours.png",
        make=lambda: saved(COLOUR, "PNG", icc_profile=icc_profile(b"GRAY")),
        pixels=COLOUR,
        ignores_profile=True,
    ),
    Nasty(
        name="broken profile.jpg",
        make=lambda: saved(COLOUR, "JPEG", quality=95, icc_profile=b"no profile" * 20),
        pixels=COLOUR,
        tolerance=4,
        ignores_profile=True,
    ),
    Nasty(
        name="cut profile.tif",
        make=lambda: saved(COLOUR, "TIFF", icc_profile=icc_profile(b"RGB ")[:200]),
        pixels=COLOUR,
        ignores_profile=True,
    ),
    Nasty(
        name="broken iCCP.png",
        make=lambda: plain_png(chunk(b"iCCP", b"name\0\0not compressed")),
        pixels=COLOUR,
        ignores_profile=True,
    ),
    Nasty(name="deep grey.png", make=lambda: png(SIDE, SIDE, 16, 0, [r.tobytes() for r in DEEP_GREY]), pixels=GREY),
    Nasty(name="deep.png", make=lambda: png(SIDE, SIDE, 16, 2, [r.tobytes() for r in DEEP]), pixels=COLOUR),
    Nasty(name="deep.tif", make=lambda: tiff(DEEP.astype("<u2"), 2), pixels=COLOUR),
    Nasty(name="deep grey.tif", make=lambda: tiff(DEEP_GREY.astype("<u2")[..., None], 1), pixels=GREY),
    Nasty(
        name="deep.ppm",
        make=lambda: b"P6\n# a comment\n24 24 65535\n" + DEEP.tobytes(),
        pixels=COLOUR,
    ),
    Nasty(
        name="deep key.png",
        make=lambda: png(
            *(SIDE, SIDE, 16, 0, [row.tobytes() for row in DEEP_GREY]), chunk(b"tRNS", struct.pack(">H", 50 * 257))
        ),
        pixels=np.where(GREY == 50, 255, GREY).astype(np.uint8),
    ),
    Nasty(name="one bit.png", make=lambda: saved(Image.fromarray(HALF).convert("1"), "PNG"), pixels=HALF),
    Nasty(name="two bits.png", make=lambda: png(SIDE, SIDE, 2, 0, packed_rows(GREY // 64, 2)), pixels=GREY // 64 * 85),
    Nasty(name="bits.pbm", make=lambda: saved(Image.fromarray(HALF).convert("1"), "PPM"), pixels=HALF),
    Nasty(name="palette.png", make=_palette, pixels=GREY // 16 * 16),
    Nasty(
        name="clear palette.png",
        make=lambda: png(2, 2, 8, 3, [b"\0\1", b"\1\0"], chunk(b"PLTE", bytes(range(6))), chunk(b"tRNS", b"\0")),
        pixels=np.array([[[255] * 3, [3, 4, 5]], [[3, 4, 5], [255] * 3]], np.uint8),
    ),
    Nasty(name="alpha.png", make=lambda: saved(with_alpha(COLOUR), "PNG"), pixels=over_white(COLOUR)),
    Nasty(name="grey alpha.png", make=lambda: saved(with_alpha(GREY), "PNG"), pixels=over_white(GREY)),
    Nasty(
        name="alpha.webp",
        make=lambda: saved(with_alpha(COLOUR), "WEBP", lossless=True),
        pixels=over_white(COLOUR),
    ),
    Nasty(name="alpha.tif", make=lambda: saved(with_alpha(COLOUR), "TIFF"), pixels=over_white(COLOUR)),
    Nasty(
        name="colour key.png",
        make=lambda: plain_png(chunk(b"tRNS", struct.pack(">HHH", 0, 0, 255))),
        pixels=np.where((COLOUR == (0, 0, 255)).all(axis=2, keepdims=True), 255, COLOUR).astype(np.uint8),
    ),
    Nasty(
        name="interlaced.png",
        make=lambda: INTERLACED,
        pixels=np.array([[10, 20], [30, 40]], np.uint8),
    ),
    Nasty(name="cmyk.jpg", make=lambda: cmyk_jpeg(55, 155, 205, 0), pixels=FLAT, tolerance=2),
    Nasty(name="ycck.jpg", make=lambda: cmyk_jpeg(90, 127, 127, 60, ycck=True), pixels=_ycck(), tolerance=3),
    Nasty(
        name="cmyk.tif",
        make=lambda: saved(Image.new("CMYK", (SIDE, SIDE), (55, 155, 205, 0)), "TIFF"),
        pixels=FLAT,
        tolerance=1,
    ),
    Nasty(
        name="lab.tif",
        make=lambda: tiff(np.full([SIDE, SIDE, 3], (128, 0, 0), np.uint8), 8),
        pixels=np.full([SIDE, SIDE], 119, np.uint8),  # L* 50.2, no colour
        tolerance=2,
    ),
    Nasty(
        name="ycbcr.tif",
        # Deflated: Pillow 12 cannot read an uncompressed one back.
        make=lambda: saved(Image.fromarray(COLOUR).convert("YCbCr"), "TIFF", compression="tiff_adobe_deflate"),
        pixels=COLOUR,
        tolerance=2,
    ),
    Nasty(name="lzw.tif", make=lambda: saved(COLOUR, "TIFF", compression="tiff_lzw"), pixels=COLOUR),
    Nasty(
        name="pages.tif",
        make=lambda: saved(
            Image.fromarray(COLOUR), "TIFF", save_all=True, append_images=[Image.fromarray(255 - COLOUR)] * 20
        ),
        pixels=COLOUR,
    ),
    Nasty(name="odd tags.tif", make=lambda: tiff(COLOUR, 2, more=((65000, 3, [1, 2]), (65001, 4, [7]))), pixels=COLOUR),
    Nasty(
        name="endless directories.tif",
        make=lambda: _next_directory(tiff(COLOUR, 2), 8),
        pixels=COLOUR,
    ),
    Nasty(name="animated.gif", make=lambda: animated("GIF"), pixels=COLOUR, tolerance=40),
    Nasty(name="animated.webp", make=lambda: animated("WEBP"), pixels=COLOUR),
    Nasty(name="animated.png", make=lambda: animated("PNG"), pixels=COLOUR),
    Nasty(name="burst.jpg", make=lambda: animated("MPO"), pixels=COLOUR, tolerance=6),
    Nasty(
        name="clear.gif",
        make=lambda: saved(with_alpha(np.zeros_like(GREY)).convert("RGBA"), "GIF"),
        pixels=over_white(np.zeros_like(GREY)),
    ),
    Nasty(name="from the top.bmp", make=top_down_bmp, pixels=COLOUR),
    Nasty(
        name="progressive.jpg",
        make=lambda: saved(COLOUR, "JPEG", quality=95, progressive=True),
        pixels=COLOUR,
        tolerance=4,
    ),
    Nasty(
        name="garbage after the end.jpg",
        make=lambda: saved(COLOUR, "JPEG", quality=95) + b"<html>" * 1000,
        pixels=COLOUR,
        tolerance=4,
    ),
    Nasty(name="garbage after the end.png", make=lambda: plain_png() + b"PK\x03\x04" * 9, pixels=COLOUR),
    Nasty(name="lossless.jpg", make=lossless_jpeg, pixels=np.full([SIDE, SIDE], 128, np.uint8)),
    Nasty(name="grey.jpg", make=lambda: saved(GREY, "JPEG", quality=95), pixels=GREY, tolerance=3),
    Nasty(name="one pixel.png", make=lambda: saved(COLOUR[:1, :1], "PNG"), pixels=COLOUR[:1, :1]),
    Nasty(
        name="a line.png",
        make=lambda: saved(np.full([10000, 1, 3], 7, np.uint8), "PNG"),
        pixels=np.full([1, 1, 3], 7, np.uint8),
    ),
    Nasty(
        name="bad sum of whole pixels.png",
        make=lambda: plain_png()[:-16] + bytes(4) + plain_png()[-12:],
        pixels=COLOUR,
    ),
    Nasty(name="long text.png", make=lambda: plain_png(chunk(b"tEXt", b"prompt\0" + b"a" * 500_000)), pixels=COLOUR),
]
if features.check("avif"):
    IMPORTED.append(Nasty(name="new.avif", make=lambda: saved(COLOUR, "AVIF", quality=95), pixels=COLOUR, tolerance=6))


def _next_directory(data: bytes, at: int) -> bytes:
    """A TIFF whose first directory is followed by one at `at`."""
    count = struct.unpack("<H", data[8:10])[0]
    place = 10 + 12 * count
    return data[:place] + struct.pack("<I", at) + data[place + 4 :]


def _cut(data: bytes, share: float = 0.6) -> bytes:
    return data[: int(len(data) * share)]


def _large(kind: str, **options: Any) -> bytes:
    """A picture that takes some kilobytes."""
    return saved(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), kind, **options)


_BOMB = zlib.compress(bytes(80 * 2**20))

LEFT_OUT = [
    Nasty(name="empty.jpg", make=bytes, reason="is empty"),
    Nasty(name="text.jpg", make=lambda: b"Dear reader,\nthis is a letter.\n", reason="unknown format"),
    Nasty(name="zeros.png", make=lambda: bytes(5000), reason="unknown format"),
    Nasty(name="noise.png", make=lambda: np.random.default_rng(5).bytes(5000), reason="not a readable image"),
    Nasty(name="404.jpg", make=lambda: b"\n<!DOCTYPE html><html><body>Not found", reason="is a web page"),
    Nasty(name="login.jpg", make=lambda: b"\xef\xbb\xbf<HTML><head>", reason="is a web page"),
    Nasty(name="denied.jpg", make=lambda: b'<?xml version="1.0"?><Error>AccessDenied</Error>', reason="is XML"),
    Nasty(name="drawing.svg", make=lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', reason="is an SVG drawing"),
    Nasty(name="paper.png", make=lambda: b"%PDF-1.7\n" + bytes(99), reason="is a PDF"),
    Nasty(name="icon.ico", make=lambda: saved(COLOUR, "ICO"), reason="is an icon"),
    Nasty(name="phone.heic", make=lambda: heif(b"heic"), reason="is a HEIC image, which is not read: convert it"),
    Nasty(name="phone.jpg", make=lambda: heif(b"mif1"), reason="is a HEIC image"),
    Nasty(name="film.jpg", make=lambda: heif(b"isom"), reason="is a video"),
    Nasty(name="new.jxl", make=lambda: b"\xff\x0a" + bytes(99), reason="is a JPEG XL image"),
    Nasty(name="new.jp2", make=lambda: saved(COLOUR, "JPEG2000"), reason="is a JPEG 2000 image"),
    Nasty(name="layers.psd", make=lambda: b"8BPS\0\1" + bytes(99), reason="is a Photoshop file"),
    Nasty(name="light.exr", make=lambda: b"\x76\x2f\x31\x01" + bytes(99), reason="is an OpenEXR image"),
    Nasty(name="album.png", make=lambda: b"PK\x03\x04" + bytes(99), reason="is a zip"),
    Nasty(name="packed.png", make=lambda: b"\x1f\x8b\x08" + bytes(99), reason="is a gzip file"),
    Nasty(name="camera.dng", make=lambda: tiff(COLOUR, 2), reason="is a camera raw file"),
    Nasty(name="cut.jpg", make=lambda: _cut(_large("JPEG")), reason="truncated"),
    Nasty(name="cut progressive.jpg", make=lambda: _cut(_large("JPEG", progressive=True)), reason="truncated"),
    Nasty(name="cut.png", make=lambda: _cut(_large("PNG")), reason="damaged image"),
    Nasty(name="cut.webp", make=lambda: _cut(_large("WEBP")), reason="image"),
    Nasty(name="cut.gif", make=lambda: _cut(_large("GIF")), reason="truncated|damaged"),
    Nasty(name="cut.tif", make=lambda: _cut(tiff(COLOUR, 2)), reason="truncated|damaged"),
    Nasty(name="cut.bmp", make=lambda: _cut(_large("BMP")), reason="truncated"),
    Nasty(name="cut.ppm", make=lambda: _cut(_large("PPM")), reason="truncated"),
    Nasty(name="only a signature.png", make=lambda: b"\x89PNG\r\n\x1a\n", reason="not a readable image"),
    Nasty(name="only a beginning.jpg", make=lambda: b"\xff\xd8\xff", reason="not a readable image"),
    Nasty(name="no frames.gif", make=lambda: b"GIF89a\x10\0\x10\0\0\0\0;", reason="image"),
    Nasty(
        name="bad header sum.png",
        make=lambda: patched(plain_png(), struct.pack(">II", SIDE, SIDE), struct.pack(">II", SIDE, SIDE + 1)),
        reason="image",
    ),
    Nasty(
        name="bad pixels.png",
        make=lambda: png(SIDE, SIDE, 8, 2, [b""]),
        reason="truncated|damaged",
    ),
    Nasty(name="impossible depth.png", make=lambda: png(SIDE, SIDE, 7, 2, [b""]), reason="not a readable image"),
    Nasty(name="no pixels.png", make=lambda: png(0, 0, 8, 2, [b""]), reason="0×0|not a readable image"),
    Nasty(name="text bomb.png", make=lambda: plain_png(chunk(b"zTXt", b"a\0\0" + _BOMB)), reason="too large|exceed"),
    Nasty(name="profile bomb.png", make=lambda: plain_png(chunk(b"iCCP", b"a\0\0" + _BOMB)), reason="image"),
    Nasty(name="huge.png", make=lambda: png(10**5, 10**5, 8, 2, [b""]), reason="more than 64 Mpx|claims more"),
    Nasty(name="rather large.png", make=lambda: png(9000, 9000, 1, 0, [b""]), reason="9000×9000 pixels; more than"),
    Nasty(name="huge.jpg", make=lambda: jpeg_size(saved(COLOUR, "JPEG"), 65000, 65000), reason="more than 64 Mpx"),
    Nasty(
        name="huge.bmp",
        make=lambda: patched(saved(COLOUR, "BMP"), struct.pack("<ii", SIDE, SIDE), struct.pack("<ii", 2**30, 2**30)),
        reason="more than 64 Mpx",
    ),
    Nasty(name="huge.gif", make=lambda: b"GIF89a\xff\xff\xff\xff\0\0\0" + bytes(50), reason="Mpx|readable"),
    Nasty(
        name="huge.tif",
        make=lambda: patched(
            tiff(COLOUR, 2), struct.pack("<HHII", 256, 4, 1, SIDE), struct.pack("<HHII", 256, 4, 1, 2**24)
        ),
        reason="more than 64 Mpx",
    ),
    Nasty(name="float.tif", make=lambda: saved(np.zeros([9, 9], np.float32), "TIFF"), reason="floating-point pixels"),
    Nasty(name="long.tif", make=lambda: saved(np.zeros([9, 9], np.int32), "TIFF"), reason="32-bit pixels"),
    Nasty(
        name="twelve bits.jpg",
        make=lambda: patched(saved(COLOUR, "JPEG"), b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        reason="not a readable image|12",
    ),
    Nasty(
        name="damaged.webp",
        make=lambda: _large("WEBP")[:30] + bytes(3000),
        reason="image",
    ),
    Nasty(name="bad tags.tif", make=lambda: tiff(COLOUR, 2)[:8] + b"\xff\xff" + bytes(300), reason="image"),
]


ALL = [*IMPORTED, *LEFT_OUT]
