"""Pictures in the terminal: only where it can draw them, in the three ways, and the same picture that was made."""

from __future__ import annotations

import base64
import io
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantrol.cli import thumbnails
from gantrol.errors import ConfigError
from tests.cli.conftest import Cli, picture


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def png(data: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.standard_b64decode(data))).convert("RGB")


@pytest.fixture
def colours() -> Image.Image:
    """20×13 px of four plain colours that both PNG and 255 colours keep."""
    pixels = np.zeros((13, 20, 3), dtype=np.uint8)
    pixels[:, 10:] = (255, 0, 0)
    pixels[7:, :5] = (0, 255, 0)
    pixels[12, 3] = (0, 0, 255)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, None),
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "240800"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-sixel"}, "sixel"),
        ({"TERM": "xterm-256color", "WT_SESSION": "a"}, "sixel"),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, None),
        ({"TERM": "xterm-kitty", "GANTROL_PICTURES": "no"}, None),
        ({"TERM": "xterm-kitty", "GANTROL_PICTURES": "auto"}, "kitty"),
        ({"TERM": "xterm-256color", "GANTROL_PICTURES": "sixel"}, "sixel"),
    ],
)
def test_the_environment_says_how(environment: Mapping[str, str], expected: str | None) -> None:
    assert thumbnails.way(environment, is_terminal=True) == expected
    assert thumbnails.way(environment, is_terminal=False) is None  # never into pipes and files


def test_an_unknown_way_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^GANTROL_PICTURES=kity: did you mean kitty\?$"):
        thumbnails.way({"GANTROL_PICTURES": "kity"}, is_terminal=True)


def test_kitty_gets_a_png_in_chunks() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    code = thumbnails.kitty(noise)
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", code)
    assert "".join(f"\x1b_G{keys};{data}\x1b\\" for keys, data in parts) == code
    assert parts[0][0] == "a=T,f=100,q=2,m=1"
    assert [keys for keys, _ in parts[1:]] == ["m=1"] * (len(parts) - 2) + ["m=0"]
    assert all(len(data) <= 4096 and len(data) % 4 == 0 for _, data in parts)
    assert np.array_equal(png("".join(data for _, data in parts)), noise)


def test_iterm_gets_a_png(colours: Image.Image) -> None:
    found = re.fullmatch(
        r"\x1b\]1337;File=inline=1;size=(\d+);width=20px;height=13px;.*:(.*)\x07", thumbnails.iterm(colours)
    )
    assert found
    assert int(found[1]) == len(base64.standard_b64decode(found[2]))
    assert np.array_equal(png(found[2]), colours)


def read_sixel(code: str) -> np.ndarray:
    """The picture [H, W, 3] that a terminal draws, percent of each colour."""
    head, body = re.fullmatch(r'\x1bPq"1;1;(\d+;\d+)(.*)\x1b\\', code, re.DOTALL).groups()  # type: ignore[union-attr]
    width, height = map(int, head.split(";"))
    canvas = np.full((height + 6, width, 3), -1)
    palette: dict[int, list[int]] = {}
    x = top = colour = 0
    for define, choose, count, mark, control in re.findall(r"#(\d+;2;[\d;]+)|#(\d+)|(?:!(\d+))?([?-~])|([$-])", body):
        if define:
            index, _, *rgb = map(int, define.split(";"))
            palette[index] = rgb
        elif choose:
            colour = int(choose)
        elif mark:
            for _ in range(int(count or 1)):
                for bit in range(6):
                    if (ord(mark) - 63) >> bit & 1:
                        canvas[top + bit, x] = palette[colour]
                x += 1
        else:
            x, top = 0, top + 6 * (control == "-")
    return canvas[:height]


def test_sixel_draws_every_pixel(colours: Image.Image) -> None:
    drawn = read_sixel(thumbnails.sixel(colours))
    np.testing.assert_array_equal(drawn, np.asarray(colours).astype(int) * 100 // 255)


def test_thumbnails_are_of_a_good_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANTROL_PICTURES", "iterm")
    for size, expected in (((32, 32), (128, 128)), ((1000, 100), (640, 64)), ((300, 300), (300, 300))):
        out = Terminal()
        Image.new("RGBA", size).save(tmp_path / "f.png")
        assert thumbnails.show(tmp_path / "f.png", out)
        assert "width={}px;height={}px".format(*expected) in out.getvalue()


def test_nothing_is_drawn_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANTROL_PICTURES", "kitty")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    terminal, pipe = Terminal(), io.StringIO()
    assert not thumbnails.show(tmp_path / "broken.png", terminal)
    assert not thumbnails.show(tmp_path / "absent.png", terminal)
    assert not thumbnails.show(Image.new("RGB", (8, 8)), pipe)
    with thumbnails.without_pictures():
        assert not thumbnails.show(Image.new("RGB", (8, 8)), terminal)
    assert terminal.getvalue() == pipe.getvalue() == ""


@pytest.mark.parametrize("switches", [[], ["--no-pictures"]])
def test_commands_show_what_they_made(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switches: list[str]
) -> None:
    """At a terminal that can, below the line that names the file; with --no-pictures that line alone."""
    for index in range(3):
        Image.fromarray(picture(index)).save(tmp_path / f"{index}.png")
    monkeypatch.setenv("GANTROL_PICTURES", "iterm")
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    result = cli("data", "import", tmp_path, "--out", tmp_path / "f.zip", *switches)
    assert result.status == 0
    assert result.out.startswith(f"{tmp_path / 'f.zip'}: 3 images")
    assert ("\x1b]1337;File=" in result.out) == (not switches)
