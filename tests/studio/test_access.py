"""What may come in."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from gantrol.errors import ConfigError, DataError
from gantrol.studio.access import accept_upload, check_host, is_loopback, parse_auth


def test_a_picture_comes_in(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.new("RGBA", (5, 4), (255, 0, 0, 0)).save(path)
    image = accept_upload(path)
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (5, 4), (255, 255, 255))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello", "not a readable image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg|SVG"),
        (b"PK\x03\x04" + bytes(50), "a zip"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "image"),
        (b"P6 60000 60000 255\n", "claims"),
    ],
)
def test_what_is_no_picture_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.png"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        accept_upload(path)
    assert "\n" not in str(error.value)
    assert "deep" not in str(error.value)  # the server's folders are nobody's business


def test_what_is_too_large_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 90 + ".png")
    path.write_bytes(bytes(2 << 20))
    with pytest.raises(DataError, match=r"…nnnnnnnn.png: 2.0 MiB is too much; send a picture of at most 1 MiB"):
        accept_upload(path, limit_bytes=1 << 20)
    with pytest.raises(DataError, match="cannot be read"):
        accept_upload(tmp_path / "gone.png")


def test_a_network_takes_a_password() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        assert is_loopback(host)
        check_host(host, None)
    for host in ("0.0.0.0", "::", "192.168.0.3", "example.org", ""):
        with pytest.raises(ConfigError, match="--auth USER:PASSWORD"):
            check_host(host, None)
        check_host(host, ("me", "secret"))


def test_user_and_password() -> None:
    assert parse_auth("me:pass:word") == ("me", "pass:word")
    for text in ("me", ":x", "me:", ""):
        with pytest.raises(ConfigError, match="--auth"):
            parse_auth(text)
