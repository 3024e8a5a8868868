"""What may come into a studio: uploaded files, and who may ask from where.

The studio answers on the loopback interface. Whoever opens it to a network with `--host` has to name a user and a
password, as everybody who reaches it can keep the machine busy.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from PIL import Image

from gantrol.data.foreign_images import open_any
from gantrol.errors import ConfigError, DataError

LOOPBACK = "127.0.0.1"
UPLOAD_BYTES = 16 << 20
"""The largest file that a browser may send."""
PICTURE_TYPES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
"""Names of pictures that may be sent; what a file really is, its content decides."""


def accept_upload(path: str | Path, *, limit_bytes: int = UPLOAD_BYTES) -> Image.Image:
    """A picture that somebody sent, as 8-bit "L" or "RGB": upright, in sRGB, opaque, the first frame.

    Args:
        path: where the server keeps the upload.
        limit_bytes: larger files are refused before they are read.

    Raises:
        DataError: it is too large, damaged, no picture, or of a kind that is not read; in one line, without the
            server's path.
    """
    path = Path(path)
    name = path.name if len(path.name) <= 60 else f"{path.name[:40]}…{path.name[-12:]}"
    try:
        size = path.stat().st_size
        if size > limit_bytes:
            raise DataError(
                f"{name}: {size / 2**20:.1f} MiB is too much; send a picture of at most {limit_bytes / 2**20:g} MiB"
            )
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{name}: the upload cannot be read ({error.strerror or error}); send it again") from error
    return open_any(data, name)


def parse_auth(text: str) -> tuple[str, str]:
    """User and password of `USER:PASSWORD`; the password may hold colons.

    Raises:
        ConfigError: one of them is missing.
    """
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise ConfigError("--auth: expected USER:PASSWORD, for example --auth me:correct-horse")
    return user, password


def check_host(host: str, auth: tuple[str, str] | None) -> None:
    """Raises `ConfigError` if a network is to be served without a password.

    Args:
        host: the address to listen on; anything but a loopback address is a network.
        auth: user and password, or None.
    """
    if auth is None and not is_loopback(host):
        raise ConfigError(
            f"--host {host} serves everybody who reaches this machine: give --auth USER:PASSWORD too, "
            "or leave --host out to serve this machine alone"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
