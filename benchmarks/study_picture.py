"""The picture of `benchmarks.transgan_study`: for some trainings, samples at the end, and both losses over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

_PAPER, _INK, _GRID = (255, 255, 255), (33, 37, 41), (226, 229, 233)
_COLOURS = ((33, 37, 41), (24, 116, 205), (232, 146, 12), (214, 62, 42))
_WIDTH, _TEXT_PX, _FINER = 1100, 250, 4
_SAMPLE_PX, _ROW_PX, _PLOT_PX = 56, 62, 240


def study_picture(
    runs: Mapping[str, Mapping[str, Any]], folders: Mapping[str, Path], names: Sequence[str]
) -> Image.Image:
    """Rows of samples, then the losses of D and G.

    Args:
        runs: what the study recorded, by name; `log` holds the losses.
        folders: the run folder of each.
        names: up to four of them, in the order of the rows.
    """
    height = len(names) * _ROW_PX + 40 + _PLOT_PX
    picture = Image.new("RGB", (_WIDTH, height), _PAPER)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=15)
    for row, name in enumerate(names):
        top = row * _ROW_PX
        draw.rectangle((4, top + 16, 18, top + 30), fill=_COLOURS[row])
        first, _, rest = name.partition(", ")
        draw.text((26, top + 6), first, fill=_INK, font=font)
        draw.text((26, top + 26), rest, fill=_INK, font=font)
        newest = max((folders[name] / "samples").glob("fakes_*.png"))
        with Image.open(newest) as grid:
            side = grid.height // 6
            for column in range((_WIDTH - _TEXT_PX) // (_SAMPLE_PX + 4)):
                left, upper = column % 8 * side, column // 8 * side
                sample = grid.crop((left, upper, left + side, upper + side)).resize((_SAMPLE_PX, _SAMPLE_PX))
                picture.paste(sample, (_TEXT_PX + column * (_SAMPLE_PX + 4), top))
    top = len(names) * _ROW_PX + 10
    for panel, (key, title) in enumerate((("loss/d", "loss of D"), ("loss/g", "loss of G"))):
        curves = [[(tick["kimg"], tick[key]) for tick in runs[name]["log"]] for name in names]
        plot = _plot(curves, (_WIDTH // 2 - 20, _PLOT_PX), title)
        picture.paste(plot, (panel * (_WIDTH // 2) + 8, top))
    return picture


def _plot(curves: Sequence[Sequence[tuple[float, float]]], size: tuple[int, int], title: str) -> Image.Image:
    """Curves over thousands of images, from 0 to a bit above the highest value."""
    width, height = (side * _FINER for side in size)
    left, right, top, bottom = 44 * _FINER, width - 12 * _FINER, 26 * _FINER, height - 34 * _FINER
    end = max(x for curve in curves for x, _ in curve)
    high = 1.05 * max(y for curve in curves for _, y in curve)
    plot = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(plot)
    font = ImageFont.load_default(size=13 * _FINER)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * x / end, bottom - (bottom - top) * y / high

    step = next(step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if high / step <= 6)
    for count in range(int(high / step) + 1):
        draw.line((*at(0, count * step), *at(end, count * step)), fill=_GRID, width=_FINER)
        text_at = at(0, count * step)
        draw.text((text_at[0] - 6 * _FINER, text_at[1]), f"{count * step:g}", fill=_INK, font=font, anchor="rm")
    for kimg in range(int(end) + 1):
        place = at(kimg, 0)
        draw.text((place[0], place[1] + 6 * _FINER), f"{kimg}", fill=_INK, font=font, anchor="mt")
    draw.text((left, 4 * _FINER), title, fill=_INK, font=font)
    draw.text((right, height - 2 * _FINER), "thousand images", fill=_INK, font=font, anchor="rb")
    for colour, curve in zip(_COLOURS, curves, strict=False):
        draw.line([at(x, y) for x, y in curve], fill=colour, width=2 * _FINER, joint="curve")
    return plot.resize(size, Image.Resampling.LANCZOS)
