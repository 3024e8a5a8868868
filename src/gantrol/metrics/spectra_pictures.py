"""Draws average power spectra: a heat map for each, and slices of all of them on common axes, as one picture.

Heat maps are filled contours, one colour per 5 dB. Curves and contours are drawn several times too large and reduced,
which smooths their edges; text and axes are drawn at their final size, which keeps them sharp.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gantrol.errors import ConfigError
from gantrol.metrics.spectra import Direction, Spectrum
from gantrol.metrics.spectra_sources import check_equal_resolution

LEVELS_DB = range(-40, 25, 5)
"""Contours of the heat maps."""
SLICE_RANGE_DB = (-50, 30)
"""Shown of the slices."""
DIRECTIONS: tuple[Direction, ...] = (0.0, 45.0, "radial")
"""Slices that are drawn where none are chosen."""
MAX_SPECTRA = 16
MAX_SLICES = 6

_PAGE_PX = 1280
_MARGIN_PX = 28
_MAX_HEAT_MAP_PX = 320
_BAR_PX = 18
_SLICE_HEIGHT_PX = 320
_HEAT_MAP_FINER, _CURVE_FINER = 3, 4
_CURVE_WIDTH_PX = 2.2

_PAPER = (255, 255, 255)
_INK = (33, 37, 41)
_FAINT = (108, 117, 125)
_GRID = (226, 229, 233)
_COLOURS = (
    (33, 37, 41),
    (214, 62, 42),
    (24, 116, 205),
    (232, 146, 12),
    (20, 140, 98),
    (146, 72, 176),
    (120, 84, 60),
    (0, 158, 179),
)
"""Of the curves; further ones take them again, dashed."""
_RAMP = ((9, 7, 32), (54, 17, 98), (124, 32, 122), (196, 54, 100), (241, 105, 72), (252, 175, 96), (253, 236, 176))
"""From the lowest level of a heat map to the highest, each brighter than the one before."""


class _Panel(NamedTuple):
    """A rectangle with axes: pixels of its left, upper, right and lower edge."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top


def spectra_picture(
    spectra: Sequence[Spectrum], *, directions: Sequence[Direction] = DIRECTIONS, smooth: float = 1.25
) -> Image.Image:
    """One heat map per spectrum, from −40 to 20 dB, and one diagram per direction with the slices of all.

    Args:
        spectra: 1 to 16 of one resolution.
        directions: 1 to 6, see `Spectrum.slice`.
        smooth: of the heat maps, see `Spectrum.heat_map`; slices are drawn as they are.

    Returns:
        An RGB picture, 1280 pixels wide.

    Raises:
        ConfigError: too many or too few spectra or directions, unequal resolutions, a bad number.
    """
    check_equal_resolution([s.name for s in spectra], [s.image_size_px for s in spectra])
    if len(spectra) > MAX_SPECTRA or not 1 <= len(directions) <= MAX_SLICES:
        raise ConfigError(
            f"{len(spectra)} spectra and {len(directions)} slices: a picture shows up to {MAX_SPECTRA} spectra and "
            f"1 to {MAX_SLICES} slices"
        )
    page = _Page(spectra[0].image_size_px)
    columns = min(4, len(spectra))
    columns = math.ceil(len(spectra) / math.ceil(len(spectra) / columns))  # even rows
    for start in range(0, len(spectra), columns):
        page.heat_map_row(spectra[start : start + columns], columns, smooth, first=start)
    page.legend([spectrum.name for spectrum in spectra])
    per_row = 2 if len(directions) in (2, 4) else min(3, len(directions))
    for start in range(0, len(directions), per_row):
        page.slice_row(spectra, directions[start : start + per_row], per_row)
    return page.finish()


def parse_directions(text: str) -> list[Direction]:
    """The directions that `0,45,radial` names.

    Raises:
        ConfigError: a part is neither a finite number nor "radial", or there are none or too many.
    """
    found: list[Direction] = []
    for part in text.split(","):
        word = part.strip()
        try:
            found.append("radial" if word == "radial" else float(word))
        except ValueError as error:
            raise ConfigError(f"slices {text!r}: expected degrees or radial, for example 0,45,radial") from error
        if found[-1] != "radial" and not math.isfinite(float(found[-1])):
            raise ConfigError(f"slices {text!r}: {word} is no direction; expected finite degrees")
    if len(found) > MAX_SLICES:
        raise ConfigError(f"slices {text!r}: expected at most {MAX_SLICES}")
    return found


class _Page:
    """A growing picture: rows are added below one another."""

    def __init__(self, size_px: int) -> None:
        self.size_px = size_px
        self.image = Image.new("RGB", (_PAGE_PX, 8192), _PAPER)
        self.draw = ImageDraw.Draw(self.image)
        self.small = ImageFont.load_default(size=15)
        self.large = ImageFont.load_default(size=18)
        self.y = _MARGIN_PX - 8

    def finish(self) -> Image.Image:
        return self.image.crop((0, 0, _PAGE_PX, self.y + _MARGIN_PX // 2))

    # Heat maps --------------------------------------------------------------------------------------------------------

    def heat_map_row(self, spectra: Sequence[Spectrum], columns: int, smooth: float, first: int) -> None:
        """Up to `columns` heat maps side by side, with a colour bar; `first` is the number of the first one."""
        axis, gap, bar = 66, 42, 84  # room for the labels on the left, between the maps, for the colour bar
        space = _PAGE_PX - 2 * _MARGIN_PX - axis - bar
        side = min(_MAX_HEAT_MAP_PX, (space - (columns - 1) * gap) // columns)
        left = _MARGIN_PX + axis + (space - columns * side - (columns - 1) * gap) // 2
        top = self.y + 54
        for place, spectrum in enumerate(spectra):
            x = left + place * (side + gap)
            panel = _Panel(x, top, x + side, top + side)
            self._title(panel, spectrum, _colour(first + place))
            self.image.paste(filled_contours(spectrum.heat_map(smooth), side), (panel.left, panel.top))
            self.draw.rectangle((panel.left - 1, panel.top - 1, panel.right, panel.bottom), outline=_INK)
            half = self.size_px / 2
            ticks = [-half, -half / 2, 0.0, half / 2, half]
            self._x_axis(panel, ticks, -half, half, "cycles per image")
            if place == 0:
                self._y_axis(panel, ticks, half, -half, "cycles per image")
        end = left + len(spectra) * (side + gap) - gap
        self._colour_bar(_Panel(end + 22, top, end + 22 + _BAR_PX, top + side))
        self.y = top + side + 62

    def _title(self, panel: _Panel, spectrum: Spectrum, colour: tuple[int, int, int]) -> None:
        size = 12
        y = panel.top - 40
        room = panel.width + 30  # some of the gap as well
        self.draw.rectangle((panel.left, y - size // 2, panel.left + size, y + size // 2), fill=colour)
        name = _shortened(spectrum.name, room - size - 10, self.large.getlength)
        self.draw.text((panel.left + size + 8, y), name, fill=_INK, font=self.large, anchor="lm")
        facts = [f"{spectrum.samples:,} images"] if spectrum.samples else []
        if math.isfinite(spectrum.mean) and math.isfinite(spectrum.std):
            facts.append(f"mean {spectrum.mean:.1f}, std {spectrum.std:.1f}")
        text = _shortened(" · ".join(facts), room, self.small.getlength)
        self.draw.text((panel.left, panel.top - 16), text, fill=_FAINT, font=self.small, anchor="lm")

    def _colour_bar(self, panel: _Panel) -> None:
        levels = list(LEVELS_DB)
        step = panel.height / (len(levels) - 1)
        for index, colour in enumerate(_level_colours()[1:-1]):
            low, high = panel.bottom - index * step, panel.bottom - (index + 1) * step
            self.draw.rectangle((panel.left, round(high), panel.right - 1, round(low) - 1), fill=colour)
        self.draw.rectangle((panel.left - 1, panel.top - 1, panel.right, panel.bottom), outline=_INK)
        for index, level in enumerate(levels):
            y = round(panel.bottom - index * step)
            if level % 10 == 0:
                self.draw.line((panel.right, y, panel.right + 5, y), fill=_INK)
                text = f"{_number(level)} dB" if level == levels[-1] else _number(level)
                self.draw.text((panel.right + 9, y), text, fill=_INK, font=self.small, anchor="lm")

    # Slices -----------------------------------------------------------------------------------------------------------

    def legend(self, names: Sequence[str]) -> None:
        """The colours of the curves, in as many centred lines as it takes."""
        sample_px, gap = 34, 30
        entries = [(index, _shortened(name, 420, self.large.getlength)) for index, name in enumerate(names)]
        lines: list[list[tuple[int, str]]] = [[]]
        used = 0.0
        for index, name in entries:
            width = sample_px + 8 + self.large.getlength(name) + gap
            if lines[-1] and used + width > _PAGE_PX - 2 * _MARGIN_PX:
                lines.append([])
                used = 0.0
            lines[-1].append((index, name))
            used += width
        for line in lines:
            widths = [sample_px + 8 + self.large.getlength(name) for _, name in line]
            x = (_PAGE_PX - sum(widths) - gap * (len(line) - 1)) / 2
            for (index, name), width in zip(line, widths, strict=True):
                panel = _Panel(round(x), self.y, round(x) + sample_px, self.y + 24)
                self._curve(panel, np.array([0.0, float(sample_px)]), np.array([12.0, 12.0]), index)
                self.draw.text((x + sample_px + 8, self.y + 12), name, fill=_INK, font=self.large, anchor="lm")
                x += width + gap
            self.y += 30
        self.y += 6

    def slice_row(self, spectra: Sequence[Spectrum], directions: Sequence[Direction], columns: int) -> None:
        """Diagrams side by side, one per direction, with a curve for each spectrum."""
        axis, gap = 62, 34
        width = (_PAGE_PX - 2 * _MARGIN_PX - axis - (columns - 1) * gap) // columns
        top = self.y + 34
        low, high = SLICE_RANGE_DB
        for place, direction in enumerate(directions):
            x = _MARGIN_PX + axis + place * (width + gap)
            panel = _Panel(x, top, x + width, top + _SLICE_HEIGHT_PX)
            slices = [spectrum.slice(direction) for spectrum in spectra]
            end = max(frequencies[-1] for frequencies, _ in slices)
            xs, ys = _round_ticks(end), [float(value) for value in range(low, high + 1, 10)]
            for tick in xs:
                across = round(panel.left + tick / end * panel.width)
                self.draw.line((across, panel.top, across, panel.bottom), fill=_GRID)
            for tick in ys:
                down = round(panel.bottom - (tick - low) / (high - low) * panel.height)
                self.draw.line((panel.left, down, panel.right, down), fill=_FAINT if tick == 0 else _GRID)
            # The first curve, most often that of the dataset, lies on top.
            for index, (frequencies, levels) in reversed(list(enumerate(slices))):
                across = frequencies / end * panel.width
                down = (high - levels) / (high - low) * panel.height
                self._curve(panel, across, down, index)
            self.draw.rectangle((panel.left - 1, panel.top - 1, panel.right, panel.bottom), outline=_INK)
            title = "all directions" if direction == "radial" else f"{_number(direction)}° slice"
            self.draw.text((panel.left, panel.top - 17), title, fill=_INK, font=self.large, anchor="lm")
            self._x_axis(panel, xs, 0, end, "cycles per image")
            self._y_axis(panel, ys, low, high, "dB" if place == 0 else "", labels=place == 0)
        self.y = top + _SLICE_HEIGHT_PX + 58

    def _curve(self, panel: _Panel, across: np.ndarray, down: np.ndarray, index: int) -> None:
        """A smooth line through points given in pixels from the panel's upper left corner; clipped to the panel."""
        finer = _CURVE_FINER
        mask = Image.new("L", (panel.width * finer, panel.height * finer))
        pen = ImageDraw.Draw(mask)
        limit = 4.0 * panel.height  # far outside is outside: Pillow's coordinates must stay small
        points = np.stack([across, np.clip(down, -limit, limit)], axis=1) * finer
        width = round(_CURVE_WIDTH_PX * finer)
        for piece in _dashes(points, 9.0 * finer) if index >= len(_COLOURS) else [points]:
            pen.line([(float(x), float(y)) for x, y in piece], fill=255, width=width, joint="curve")
        mask = mask.reduce(finer)
        self.image.paste(Image.new("RGB", mask.size, _colour(index)), (panel.left, panel.top), mask)

    # Axes -------------------------------------------------------------------------------------------------------------

    def _x_axis(self, panel: _Panel, ticks: Sequence[float], low: float, high: float, name: str) -> None:
        for tick in ticks:
            x = round(panel.left + (tick - low) / (high - low) * panel.width)
            self.draw.line((x, panel.bottom, x, panel.bottom + 5), fill=_INK)
            self.draw.text((x, panel.bottom + 9), _number(tick), fill=_INK, font=self.small, anchor="mt")
        middle = (panel.left + panel.right) // 2
        self.draw.text((middle, panel.bottom + 31), name, fill=_FAINT, font=self.small, anchor="mt")

    def _y_axis(
        self, panel: _Panel, ticks: Sequence[float], low: float, high: float, name: str, labels: bool = True
    ) -> None:
        for tick in ticks:
            y = round(panel.bottom - (tick - low) / (high - low) * panel.height)
            self.draw.line((panel.left - 6, y, panel.left - 1, y), fill=_INK)
            if labels:
                self.draw.text((panel.left - 10, y), _number(tick), fill=_INK, font=self.small, anchor="rm")
        if name:
            width = math.ceil(self.small.getlength(name))
            mask = Image.new("L", (width + 4, 22))
            ImageDraw.Draw(mask).text((2, 11), name, fill=255, font=self.small, anchor="lm")
            mask = mask.transpose(Image.Transpose.ROTATE_90)
            place = panel.left - 64, (panel.top + panel.bottom - mask.height) // 2
            self.image.paste(Image.new("RGB", mask.size, _FAINT), place, mask)


def filled_contours(levels: np.ndarray, side_px: int) -> Image.Image:
    """Decibels [n, n], corner to corner, as a picture of `side_px` with a colour per 5 dB and fine lines between."""
    fine = side_px * _HEAT_MAP_FINER
    at = (np.arange(fine) + 0.5) / fine * (len(levels) - 1)
    low = np.floor(at).astype(np.int64)
    part = at - low
    values = levels[low] * (1 - part)[:, None] + levels[low + 1] * part[:, None]
    values = values[:, low] * (1 - part) + values[:, low + 1] * part
    bands = np.searchsorted(np.asarray(LEVELS_DB), values)  # 0 is below all levels
    edges = np.zeros(bands.shape, dtype=bool)
    edges[:-1] |= bands[1:] != bands[:-1]
    edges[:, :-1] |= bands[:, 1:] != bands[:, :-1]
    colours = np.asarray(_level_colours())
    table = np.concatenate([colours, colours * 6 // 10]).astype(np.uint8)
    return Image.fromarray(table[bands + len(colours) * edges]).reduce(_HEAT_MAP_FINER)


def _level_colours() -> list[tuple[int, int, int]]:
    """A colour for what is below all levels, between each two, and above all."""
    count = len(LEVELS_DB) - 1
    places = np.clip((np.arange(-1, count + 1) + 0.5) / count, 0, 1) * (len(_RAMP) - 1)
    ramp = np.asarray(_RAMP, dtype=np.float64)
    columns = [np.interp(places, np.arange(len(_RAMP)), ramp[:, channel]) for channel in range(3)]
    return [(int(r), int(g), int(b)) for r, g, b in np.stack(columns, axis=1).round()]


def _colour(index: int) -> tuple[int, int, int]:
    return _COLOURS[index % len(_COLOURS)]


def _round_ticks(end: float) -> list[float]:
    """0 and three to five more round numbers up to `end`."""
    rough = end / 4.5
    magnitude = 2.0 ** math.floor(math.log2(rough))  # images are powers of two wide, most often
    step = min((magnitude, 1.5 * magnitude, 2 * magnitude), key=lambda value: abs(value - rough))
    return [float(tick) for tick in np.arange(0, end * (1 + 1e-9), step)]


def _number(value: float) -> str:
    return f"{value:.4g}"  # with a hyphen: Pillow's font has no minus sign


def _shortened(text: str, width_px: float, length: Callable[[str], float]) -> str:
    """`text` with an ellipsis in its middle if it is too wide."""
    if length(text) <= width_px:
        return text
    for kept in range(len(text) - 1, 1, -1):
        candidate = text[: kept // 2] + "…" + text[len(text) - (kept - kept // 2) :]
        if length(candidate) <= width_px:
            return candidate
    return "…"


def _dashes(points: np.ndarray, length: float) -> list[np.ndarray]:
    """Pieces of a polyline [K, 2], each `length` long and as far apart."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    pieces = []
    for start in np.arange(0, along[-1], 2 * length):
        end = min(start + length, along[-1])
        stops = np.concatenate([[start], along[(along > start) & (along < end)], [end]])
        pieces.append(np.stack([np.interp(stops, along, points[:, axis]) for axis in (0, 1)], axis=1))
    return pieces
