"""Draws a control report: for each control asked against read values with error bars, and a heat map of the leakage.

A perfect control lies on the grey diagonal; the bars are one standard deviation over identities to either side. In the
heat map each row is what was swept and each column what moved, in standard deviations (of embeddings: in distances of
different samples); the control's own column is outlined.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gantrol.errors import ConfigError
from gantrol.metrics.control_report import ControlReport, Curve

_PAGE_PX = 1280
_MARGIN_PX = 28
_COLUMNS = 4
_PLOT_PX = 224
_CELL_PX = (64, 30)
_HALF_CAP_PX = 3

_PAPER = (255, 255, 255)
_INK = (33, 37, 41)
_FAINT = (108, 117, 125)
_DIAGONAL = (190, 196, 203)
_CURVE = (24, 116, 205)
_RAMP = ((255, 255, 255), (253, 219, 168), (241, 105, 72), (124, 32, 122))
"""From no movement to that of one standard deviation and more."""


def control_picture(report: ControlReport) -> Image.Image:
    """The identity lines and the leakage of a report.

    Returns:
        An RGB picture, 1280 pixels wide.

    Raises:
        ConfigError: no control was measured.
    """
    curves = [(score.unit, curve) for score in report.scores.values() for curve in score.curves]
    if not curves:
        raise ConfigError("no control was measured: there is nothing to draw")
    matrix = {sweep: move for score in report.scores.values() for sweep, move in score.moves.items()}
    rows = math.ceil(len(curves) / _COLUMNS)
    row_px = _PLOT_PX + 84
    top_of_map = _MARGIN_PX + rows * row_px + 40
    height = top_of_map + 100 + len(matrix) * _CELL_PX[1] + _MARGIN_PX
    image = Image.new("RGB", (_PAGE_PX, height), _PAPER)
    draw = ImageDraw.Draw(image)
    step = (_PAGE_PX - 2 * _MARGIN_PX) // _COLUMNS
    for index, (unit, curve) in enumerate(curves):
        left = _MARGIN_PX + 46 + index % _COLUMNS * step
        top = _MARGIN_PX + 24 + index // _COLUMNS * row_px
        _identity_line(draw, left, top, curve, unit)
    _heat_map(draw, top_of_map, matrix)
    return image


def _identity_line(draw: ImageDraw.ImageDraw, left: int, top: int, curve: Curve, unit: str) -> None:
    """One diagram, its plotting area's upper left corner at (left, top)."""
    small, large = ImageFont.load_default(size=13), ImageFont.load_default(size=16)
    mean, std = np.array(curve.mean), np.array(curve.std)
    ends = np.concatenate([curve.asked, mean - std, mean + std])
    low, high = float(ends.min()), float(ends.max())
    pad = 0.05 * (high - low) or 1.0
    low, high = low - pad, high + pad

    def place(asked: float, read: float) -> tuple[float, float]:
        across, up = ((value - low) / (high - low) * _PLOT_PX for value in (asked, read))
        return left + across, top + _PLOT_PX - up

    draw.line([place(low, low), place(high, high)], fill=_DIAGONAL, width=2)
    points = [place(asked, read) for asked, read in zip(curve.asked, curve.mean, strict=True)]
    draw.line(points, fill=_CURVE, width=2, joint="curve")
    for (x, y), deviation in zip(points, curve.std, strict=True):
        half = deviation / (high - low) * _PLOT_PX
        draw.line([(x, y - half), (x, y + half)], fill=_CURVE)
        for end in (y - half, y + half):
            draw.line([(x - _HALF_CAP_PX, end), (x + _HALF_CAP_PX, end)], fill=_CURVE)
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=_CURVE)
    draw.rectangle((left, top, left + _PLOT_PX, top + _PLOT_PX), outline=_INK)
    is_alone = curve.sweep.endswith(f".{curve.component}") or curve.component == "value"
    title = curve.sweep if is_alone else f"{curve.sweep}, {curve.component}"
    draw.text((left, top - 12), title, fill=_INK, font=large, anchor="lm")
    for tick in _ticks(low, high):
        x, y = place(tick, tick)
        draw.line((x, top + _PLOT_PX, x, top + _PLOT_PX + 4), fill=_INK)
        draw.text((x, top + _PLOT_PX + 7), f"{tick:.3g}", fill=_INK, font=small, anchor="mt")
        draw.line((left - 4, y, left, y), fill=_INK)
        draw.text((left - 7, y), f"{tick:.3g}", fill=_INK, font=small, anchor="rm")
    name = f"asked, in {unit}" if unit else "asked"
    draw.text((left + _PLOT_PX / 2, top + _PLOT_PX + 26), name, fill=_FAINT, font=small, anchor="mt")


def _heat_map(draw: ImageDraw.ImageDraw, top: int, matrix: Mapping[str, Mapping[str, float]]) -> None:
    """The leakage matrix below `top`: a row per sweep, a column per attribute."""
    small, large = ImageFont.load_default(size=13), ImageFont.load_default(size=16)
    columns = list(dict.fromkeys(name for move in matrix.values() for name in move))
    left = _MARGIN_PX + 20 + math.ceil(max(small.getlength(name) for name in matrix))
    width = min(_CELL_PX[0] * 2, max(40, (_PAGE_PX - left - _MARGIN_PX) // len(columns)))
    title = "how far each attribute moves (columns) when one is swept (rows), in standard deviations"
    draw.text((_MARGIN_PX, top), title, fill=_INK, font=large, anchor="lm")
    for index, name in enumerate(columns):
        drop = 20 + 18 * (index % 2)  # neighbouring names take turns, so that they do not run into each other
        draw.text((left + (index + 0.5) * width, top + drop + 14), name, fill=_INK, font=small, anchor="mm")
    top += 66
    for number, (sweep, move) in enumerate(matrix.items()):
        y = top + number * _CELL_PX[1]
        draw.text((left - 10, y + _CELL_PX[1] / 2), sweep, fill=_INK, font=small, anchor="rm")
        for index, name in enumerate(columns):
            value = move.get(name, math.nan)
            x = left + index * width
            is_own = sweep.partition(".")[0] == name
            colour = _PAPER if math.isnan(value) else _heat(value)
            box = (x + 1, y + 1, x + width - 2, y + _CELL_PX[1] - 2)
            draw.rectangle(box, fill=colour, outline=_INK if is_own else None)
            text = "–" if math.isnan(value) else f"{value:.2f}"
            ink = _INK if sum(colour) > 380 else _PAPER
            draw.text((x + width / 2, y + _CELL_PX[1] / 2), text, fill=ink, font=small, anchor="mm")


def _heat(value: float) -> tuple[int, int, int]:
    place = min(max(value, 0.0), 1.0) * (len(_RAMP) - 1)
    ramp = np.asarray(_RAMP, dtype=np.float64)
    r, g, b = (round(float(np.interp(place, np.arange(len(_RAMP)), ramp[:, channel]))) for channel in range(3))
    return r, g, b


def _ticks(low: float, high: float) -> Sequence[float]:
    """Three to six round numbers between two."""
    rough = (high - low) / 4
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = min((magnitude * factor for factor in (1, 2, 2.5, 5, 10)), key=lambda value: abs(value - rough))
    return [float(number) * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
