"""Pictures in the terminal: what was made is shown below the line that names its file, where the terminal can.

Three ways of drawing are spoken: kitty's graphics protocol (kitty, Ghostty, Konsole), inline images as iTerm2 has them
(iTerm2, WezTerm, mintty) and sixel (foot, mlterm, Windows Terminal, Contour, xterm where it says so). No terminal is
asked anything, for an answer that never comes would be waited for: the environment says which one it is. In a pipe, in
a log, within tmux and screen, and where nothing is known, there are no pictures, and the path in the text has to do.

`gantrol --no-pictures COMMAND` and GANTROL_PICTURES=no switch this off; GANTROL_PICTURES=kitty, iterm or sixel names
the way for a terminal that is not known here.
"""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

VARIABLE = "GANTROL_PICTURES"
WAYS = ("kitty", "iterm", "sixel")
_OFF = ("no", "off", "none", "0", "false")
_SIZE_PX = (640, 400)  # a thumbnail is at most so large; smaller than a third of it, it is enlarged
_IN_A_ROW = 8
_CHUNK = 4096  # bytes of base64 that kitty takes at a time
_PROGRAMS = {"ghostty": "kitty", "iTerm.app": "iterm", "WezTerm": "iterm", "mintty": "iterm", "rio": "iterm"}
_TERMS = {"xterm-kitty": "kitty", "xterm-ghostty": "kitty", "foot": "sixel", "foot-extra": "sixel", "mlterm": "sixel"}

_is_wanted: ContextVar[bool] = ContextVar("_is_wanted", default=True)


@contextmanager
def without_pictures(is_off: bool = True) -> Iterator[None]:
    """Shows no pictures within, if `is_off`: for --no-pictures, and for a command that calls another."""
    token = _is_wanted.set(_is_wanted.get() and not is_off)
    try:
        yield
    finally:
        _is_wanted.reset(token)


def way(environment: Mapping[str, str], is_terminal: bool) -> str | None:
    """How pictures can be drawn: one of `WAYS`, or None.

    Args:
        environment: variables, as `os.environ` has them.
        is_terminal: whether the output goes to a terminal.

    Raises:
        ConfigError: GANTROL_PICTURES is none of its values.
    """
    from gantrol.errors import ConfigError, nearest

    asked = environment.get(VARIABLE, "").strip().lower()
    if asked and asked not in (*WAYS, *_OFF, "auto"):
        raise ConfigError(f"{VARIABLE}={asked}: {nearest(asked, (*WAYS, 'auto', 'no'))}")
    if not is_terminal or asked in _OFF:
        return None
    if asked in WAYS:
        return asked
    term = environment.get("TERM", "")
    if term == "dumb" or term.startswith(("screen", "tmux")) or "TMUX" in environment or "STY" in environment:
        return None  # what is drawn through these ends up in the wrong place
    if "KITTY_WINDOW_ID" in environment or "KONSOLE_VERSION" in environment:
        return "kitty"
    for found in (
        _TERMS.get(term),
        _PROGRAMS.get(environment.get("TERM_PROGRAM", "")),
        "iterm" if environment.get("LC_TERMINAL") == "iTerm2" else None,  # iTerm2 sends this through ssh
        "sixel" if "sixel" in term or "WT_SESSION" in environment or "CONTOUR_PROFILE" in environment else None,
    ):
        if found:
            return found
    return None


def show(picture: Image.Image | str | Path | Callable[[], Image.Image], out: TextIO | None = None) -> bool:
    """Draws a picture where the terminal can; returns whether it did.

    A thumbnail is a courtesy: a picture that cannot be read for it is not shown, and nothing else happens.

    Args:
        picture: of any size, it is shown as a thumbnail; or its file; or what makes it, called if it can be shown.
        out: a text stream; by default stdout.
    """
    out = out or sys.stdout
    if not _is_wanted.get():
        return False
    drawn_as = way(os.environ, out.isatty())
    if drawn_as is None:
        return False
    from PIL import Image

    from gantrol.errors import GantrolError

    try:
        if isinstance(picture, str | Path):
            with Image.open(picture) as file:
                thumbnail = _thumbnail(file)
        else:
            thumbnail = _thumbnail(picture if isinstance(picture, Image.Image) else picture())
    except (OSError, ValueError, GantrolError):
        return False
    out.write({"kitty": kitty, "iterm": iterm, "sixel": sixel}[drawn_as](thumbnail) + "\n")
    out.flush()
    return True


def show_dataset(path: str | Path) -> bool:
    """Draws the first images of a dataset, side by side."""

    def strip() -> Image.Image:
        import numpy as np

        from gantrol.data.dataset import ImageDataset

        dataset = ImageDataset(path)
        rows = range(min(_IN_A_ROW, len(dataset)))
        return _side_by_side([np.moveaxis(dataset.pixels(row), 0, 2) for row in rows])

    return show(strip)


def show_images(images: Sequence[np.ndarray]) -> bool:
    """Draws some images, uint8 [H, W, C] each and of one size, side by side."""
    return show(lambda: _side_by_side(images))


def _side_by_side(images: Sequence[np.ndarray]) -> Image.Image:
    import numpy as np

    from gantrol.pictures import image_grid

    return image_grid(np.stack(images), columns=_IN_A_ROW, gap=1)


def _thumbnail(picture: Image.Image) -> Image.Image:
    """The picture in a size that suits a terminal."""
    from PIL import Image

    from gantrol.pictures import enlarge, opaque

    picture = picture.convert("RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB")
    picture = opaque(picture)
    most = min(limit / side for limit, side in zip(_SIZE_PX, picture.size, strict=True))
    if most >= 3:
        return enlarge(picture, min(int(most), 4), "lanczos")
    if most < 1:
        width, height = (max(1, round(side * most)) for side in picture.size)
        return picture.resize((width, height), Image.Resampling.LANCZOS)
    return picture.copy()


# ---------------------------------------------------------------------------------------------------------------------
# Ways of drawing


def kitty(picture: Image.Image) -> str:
    """The escape codes of kitty's graphics protocol: a PNG, transmitted and displayed (a=T, f=100) in chunks.

    Source: https://sw.kovidgoyal.net/kitty/graphics-protocol/
    """
    data = base64.standard_b64encode(_png(picture)).decode()
    chunks = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    codes = []
    for index, chunk in enumerate(chunks):
        keys = "a=T,f=100,q=2," if index == 0 else ""  # q=2: the terminal does not answer
        codes.append(f"\x1b_G{keys}m={int(index < len(chunks) - 1)};{chunk}\x1b\\")
    return "".join(codes)


def iterm(picture: Image.Image) -> str:
    """The escape code of iTerm2's inline images: a PNG in its own size.

    Source: https://iterm2.com/documentation-images.html
    """
    data = _png(picture)
    keys = f"inline=1;size={len(data)};width={picture.width}px;height={picture.height}px;preserveAspectRatio=1"
    return f"\x1b]1337;File={keys}:{base64.standard_b64encode(data).decode()}\x07"


def sixel(picture: Image.Image) -> str:
    """The picture in 255 colours as sixels: rows of six pixels, colour by colour, with runs of equal columns counted.

    Source: DEC, VT330/VT340 Programmer Reference Manual, chapter 14.
    """
    import numpy as np

    reduced = picture.convert("RGB").quantize(255)
    pixels = np.asarray(reduced)
    colours = np.asarray(reduced.getpalette("RGB") or []).reshape(-1, 3)
    parts = [f'\x1bPq"1;1;{reduced.width};{reduced.height}']
    for index in np.unique(pixels):
        red, green, blue = (round(int(value) * 100 / 255) for value in colours[index])
        parts.append(f"#{index};2;{red};{green};{blue}")
    for top in range(0, reduced.height, 6):
        band = pixels[top : top + 6]
        weights = (1 << np.arange(len(band)))[:, None]
        lines = [f"#{index}{_runs(((band == index) * weights).sum(axis=0))}" for index in np.unique(band)]
        parts.append("$".join(lines) + "-")
    return "".join(parts) + "\x1b\\"


def _runs(columns: object) -> str:
    """Columns of six pixels as characters, runs of more than three as !COUNT."""
    import numpy as np

    values = np.asarray(columns)
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    lengths = np.diff(np.append(starts, len(values)))
    text = []
    for value, length in zip(values[starts], lengths, strict=True):
        mark = chr(63 + int(value))
        text.append(f"!{length}{mark}" if length > 3 else mark * int(length))
    return "".join(text)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
