"""What stands behind: plain walls, gradients, a studio's canvas, and rooms and landscapes far out of focus.

A backdrop is painted small, in linear light, blurred as a wide-open lens would, and enlarged smoothly: it looks the
same at every size. Whatever it shows, its colours are drawn to the row's `background`: the label can be read off it.

Paintings are [3, S, S], one channel after the other. Blurring and enlarging are sparse matrices, one for each of the
two directions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from gantrol.data.faces.attributes import Row
from gantrol.data.faces.head import FloatArray

_GRID = 60  # side of the small painting
_MARGIN = 5  # painted beyond the frame, so that the blur has something to draw from

_SIDE = _GRID + 2 * _MARGIN
_AT = ((np.arange(_SIDE, dtype=np.float32) - _MARGIN + 0.5) / _GRID).astype(np.float32)  # 0–1 across the frame
_X, _Y = _AT[None], _AT[:, None]  # y points down

Paint = NDArray[np.floating]
"""A painting, or colours, or places in it."""


@functools.cache
def _blurring(sigma: float) -> scipy.sparse.csr_matrix:
    """[S, S] blurs columns of S cells by `sigma` (of the frame's side)."""
    spread = gaussian_filter1d(np.eye(_SIDE, dtype=np.float32), sigma * _GRID, axis=0, mode="nearest", truncate=2.2)
    return scipy.sparse.csr_matrix(spread)


@functools.cache
def _enlarging(cells: int, side: int) -> scipy.sparse.csr_matrix:
    """[side, cells] enlarges columns of cells smoothly (bicubic)."""
    knots = Image.fromarray(np.eye(cells, dtype=np.float32))
    return scipy.sparse.csr_matrix(np.asarray(knots.resize((cells, side), Image.Resampling.BICUBIC)))


def _filtered(values: Paint, down: scipy.sparse.csr_matrix, across: scipy.sparse.csr_matrix) -> Paint:
    """Filters a painting [3, H, W] or [H, W] by matrices [H', H] and [W', W]: [..., H', W']."""
    (height, wide), channels = values.shape[-2:], values.size // (values.shape[-2] * values.shape[-1])
    columns = across @ np.ascontiguousarray(values.reshape(-1, wide).T)  # [W', 3 · H]
    rows = np.ascontiguousarray(columns.reshape(-1, channels, height).transpose(2, 1, 0))  # [H, 3, W']
    grown = (down @ rows.reshape(height, -1)).reshape(-1, channels, across.shape[0])
    return grown.transpose(1, 0, 2) if values.ndim == 3 else grown[:, 0]


def _soft(values: Paint, sigma: float) -> Paint:
    """Blurs a painting [3, S, S] or [S, S] by `sigma` (of the frame's side)."""
    return _filtered(values, _blurring(sigma), _blurring(sigma))


def _clouds(rng: np.random.Generator, cells: int, sides: float = 1.0) -> Paint:
    """Smooth noise in 0–1 with about `cells` bumps across, `sides` times as many down: [S, S]."""
    knots = rng.random((max(round(cells * sides), 2), cells)).astype(np.float32)
    grown = _filtered(knots, _enlarging(len(knots), _SIDE), _enlarging(cells, _SIDE))
    return np.minimum(np.maximum(grown, 0), 1)


def _in(color: Paint, bright: Paint) -> Paint:
    """One colour [3] everywhere, as bright [S, S] as given: [3, S, S]."""
    return color[:, None, None] * bright


def _over(canvas: Paint, color: Paint, share: Paint) -> None:
    """Paints one colour [3] over the canvas where and as far as `share` [S, S] says."""
    canvas += (color[:, None, None] - canvas) * share


def _block(canvas: Paint, left: float, top: float, right: float, bottom: float, color: Paint) -> None:
    """Paints a rectangle (frame coordinates 0–1) into the canvas."""
    cell = [min(max(math.ceil(at * _GRID + _MARGIN - 0.5), 0), _SIDE) for at in (left, top, right, bottom)]
    canvas[:, cell[1] : cell[3], cell[0] : cell[2]] = color[:, None, None]


def _discs(
    canvas: Paint,
    x: Paint,
    y: Paint,
    radius: Paint,
    color: Paint,
    share: Paint,
    opaque: bool = False,
) -> None:
    """Paints points out of focus: discs with a brighter rim, at x, y (0–1), of `radius` and `color` [n, 3].

    `share` [n] is how strong each is. Lights add up; leaves (`opaque`) cover what is behind them.
    """
    reach = int(np.ceil(float(radius.max()) * _GRID)) + 1
    step = np.arange(-reach, reach + 1)
    column, row = (np.floor(place * _GRID).astype(np.int64) + _MARGIN for place in (x, y))
    across, down = column[:, None] + step, row[:, None] + step  # [n, box]
    from_x, from_y = ((cells - _MARGIN + 0.5) / _GRID - place[:, None] for cells, place in ((across, x), (down, y)))
    away = np.sqrt((from_x * from_x)[:, None] + (from_y * from_y)[:, :, None]) / radius[:, None, None]
    disc = (1 - away) * (radius * _GRID * 0.8)[:, None, None] + 0.5
    disc = np.minimum(np.maximum(disc, 0), 1) * (0.75 + 0.25 * away * away)
    disc *= (
        share[:, None, None] * ((across >= 0) & (across < _SIDE))[:, None] * ((down >= 0) & (down < _SIDE))[:, :, None]
    )
    column, row = (np.minimum(np.maximum(cells, 0), _SIDE - 1) for cells in (across, down))
    cell = (row[:, :, None] * _SIDE + column[:, None]).ravel()
    light = [np.bincount(cell, (disc * tint).ravel(), _SIDE * _SIDE) for tint in color.T[:, :, None, None]]
    added = np.array(light, dtype=np.float32).reshape(3, _SIDE, _SIDE)
    total = np.bincount(cell, disc.ravel(), _SIDE * _SIDE).reshape(_SIDE, _SIDE).astype(np.float32)
    canvas *= 1 - np.float32(1.0 if opaque else 0.6) * np.minimum(total, 1)
    canvas += added / np.maximum(total, 1) if opaque else added


def _tints(rng: np.random.Generator, color: Paint, count: int, spread: float, hue: float) -> Paint:
    """Colours [count, 3] around one, scattered in brightness by `spread` and in hue by `hue` (standard deviations)."""
    bright = np.exp(rng.normal(0, spread, (count, 1)))
    return (color * bright * np.exp(rng.normal(0, hue, (count, 3)))).astype(np.float32)


def _lift(color: Paint, tint: tuple[float, float, float], share: float) -> Paint:
    """The colour drawn a little to a tint of the same brightness."""
    toned = np.array(tint, dtype=np.float32)
    return color * (1 - share) + toned * (color.mean() / toned.mean()) * np.float32(share)


def _plain(rng: np.random.Generator, color: Paint) -> Paint:
    away = (_X - 0.5) ** 2 + (_Y - 0.5) ** 2
    return _in(color, 1.15 - away)


def _gradient(rng: np.random.Generator, color: Paint) -> Paint:
    turn = rng.uniform(0, 2 * np.pi)
    along = (_X - 0.5) * np.float32(np.cos(turn)) + (_Y - 0.5) * np.float32(np.sin(turn))
    other = _tints(rng, color, 1, 0.2, 0.12)[0]
    depth = rng.uniform(0.5, 0.9)
    share = np.minimum(np.maximum(0.5 + along * np.float32(0.85), 0), 1)
    dark, bright = color * np.float32(1 - depth * 0.75), other * np.float32(1 + depth * 0.75)
    return dark[:, None, None] + _in(bright - dark, share)


def _studio(rng: np.random.Generator, color: Paint) -> Paint:
    x, y = rng.uniform(0.25, 0.75), rng.uniform(0.3, 0.6)
    pool = np.exp(-(((_X - x) / 0.42) ** 2)) * np.exp(-(((_Y - y) / 0.5) ** 2))
    mottle = _soft(_clouds(rng, 7), 0.021) * 0.6 + _clouds(rng, 17) * 0.4
    depth = 1 - 0.6 * float(color.max())  # light colours have no room for a bright pool
    return _in(color, (1 + depth * (1.15 * pool - 0.62)) * (1 + depth * (0.56 * mottle - 0.28)))


def _indoor(rng: np.random.Generator, color: Paint) -> Paint:
    """A wall with a window or a doorway, shelves, a picture and a lamp, above a piece of furniture."""
    canvas = _in(color, 0.95 + 0.25 * float(rng.choice([-1, 1])) * _X - 0.15 * _Y)
    side = rng.choice([-1, 1])
    place = 0.5 + side * rng.uniform(0.24, 0.42)
    wood = _lift(color * np.float32(0.42), (0.5, 0.32, 0.18), 0.5)
    # shelves with books on the far side
    left = 0.5 - side * rng.uniform(0.22, 0.4) - 0.2
    floor = rng.uniform(0.04, 0.18)
    _block(canvas, left - 0.015, floor - 0.06, left + 0.435, 1.2, wood * np.float32(0.8))
    for shelf in np.arange(floor, 0.95, 0.2):
        _block(canvas, left, shelf, left + 0.42, shelf + 0.17, wood * np.float32(0.45))
        widths, heights = rng.uniform(0.025, 0.055, 9), rng.uniform(0.09, 0.15, 9)
        starts = left + 0.01 + (widths * rng.choice([1.0, 1.0, 2.0], 9)).cumsum() - widths
        books = _tints(rng, color * np.float32(0.75), 9, 0.55, 0.3)
        for start, width, height, book in zip(starts, widths, heights, books, strict=True):
            _block(canvas, start, shelf + 0.17 - height, min(start + width, left + 0.41), shelf + 0.17, book)
    # a window, with the light that spreads from it
    width, top = rng.uniform(0.13, 0.2), rng.uniform(-0.05, 0.12)
    bottom = top + rng.uniform(0.5, 0.7)
    day = _lift(color, (1.0, 1.0, 1.0), 0.5) / max(float(color.max()), 0.05)
    _block(canvas, place - width - 0.02, top - 0.02, place + width + 0.02, bottom + 0.03, wood * np.float32(1.5))
    for half in (-1, 1):
        _block(canvas, place + width * (half - 1) / 2 + 0.008, top, place + width * (half + 1) / 2 - 0.008, bottom, day)
    spread = 0.16 * np.exp(-(((_X - np.float32(place)) / 0.3) ** 2)) * np.exp(-(((_Y - 0.35) / 0.45) ** 2))
    canvas += _in(day, spread)
    # furniture and a lamp
    _block(canvas, place - 0.3, rng.uniform(0.76, 0.86), place + 0.3, 1.2, wood)
    canvas = _soft(canvas, 0.033)
    warm = _lift(color, (1.0, 0.72, 0.4), 0.7)[None] / max(float(color.max()), 0.05)
    lamp = np.array([0.5 - side * rng.uniform(0.28, 0.45)]), np.array([rng.uniform(0.1, 0.5)])
    _discs(canvas, *lamp, np.array([rng.uniform(0.05, 0.08)]), warm * np.float32(0.9), np.array([0.8]))
    return canvas


def _outdoor(rng: np.random.Generator, color: Paint) -> Paint:
    """Sky over hills, with trees to the sides."""
    horizon = rng.uniform(0.45, 0.72)
    sky = _lift(color, (0.45, 0.68, 1.0), 0.35) * np.float32(1.25)
    haze = _lift(color, (1.0, 0.93, 0.82), 0.4) * np.float32(1.6)
    rise = np.minimum(np.maximum(_Y / np.float32(horizon), 0), 1)
    canvas: Paint = np.repeat(sky[:, None, None] + _in(haze - sky, rise * rise), _SIDE, axis=2)
    _over(canvas, haze * np.float32(1.1), np.maximum(_clouds(rng, 3, 2.0) * 1.8 - 0.8, 0) * np.float32(0.7))
    green = _lift(color, (0.35, 0.5, 0.16), 0.55)
    for layer in range(3):  # farther hills are paler
        near = (layer + 1) / 3
        (f, g), (p, q) = rng.uniform(3, 9, 2), rng.uniform(0, 6, 2)
        wave = 0.05 * np.sin(_X * f + p) + 0.03 * np.sin(_X * g + q)
        ridge = np.float32(horizon + 0.09 * layer) + wave
        ground = haze * np.float32(1 - near) * np.float32(0.7) + green * np.float32(near * 0.75)
        _over(canvas, ground, np.minimum(np.maximum((_Y - ridge) * 40, 0), 1))
    count = 46
    side = rng.choice([-1.0, 1.0], count)
    x = 0.5 + side * (0.30 + np.abs(rng.normal(0, 0.14, count)))
    y = horizon - 0.10 + rng.normal(0, 0.13, count)
    _discs(
        canvas,
        x,
        y,
        rng.uniform(0.03, 0.075, count),
        _tints(rng, green * np.float32(0.5), count, 0.4, 0.1),
        np.full(count, 0.6),
        opaque=True,
    )
    canvas = _soft(canvas, 0.023)
    count = 12  # sky through the leaves
    x, y = x[:count] + rng.normal(0, 0.05, count), y[:count] + rng.normal(0, 0.06, count)
    _discs(
        canvas, x, y, rng.uniform(0.012, 0.03, count), _tints(rng, haze, count, 0.2, 0.05), rng.uniform(0.2, 0.5, count)
    )
    return canvas


def _city(rng: np.random.Generator, color: Paint) -> Paint:
    """Rows of buildings along a street, by day or by night."""
    night = rng.random() < 0.45
    sky = _lift(color, (0.5, 0.65, 1.0), 0.3) * np.float32(0.35 if night else 1.5)
    glow = _lift(color, (1.0, 0.8, 0.6), 0.5) * np.float32(0.9 if night else 1.7)
    canvas: Paint = np.repeat(sky[:, None, None] + _in(glow - sky, _Y * _Y), _SIDE, axis=2)
    for depth in range(3):
        ends = -0.12 + rng.uniform(0.1, 0.24, 12).cumsum()
        house = np.searchsorted(ends, _AT)  # [S] which house stands there
        tops = 0.5 - 0.8 * abs(ends - 0.55) * (0.5 + 0.3 * depth) + rng.uniform(-0.15, 0.15, 12) + 0.1 * depth
        shade = np.float32((0.75, 0.55, 0.38)[depth] * (0.45 if night else 1.0))
        walls = _tints(rng, color * shade, 12, 0.22, 0.12)
        top, wall = (
            tops.clip(-0.3, 0.9)[house.clip(0, 11)].astype(np.float32),
            walls[house.clip(0, 11)].T,
        )  # [S], [3, S]
        below = _Y - top
        column, row = (_AT / np.float32(0.05)).astype(int), (below / np.float32(0.075)).astype(int)
        pane = (_AT % 0.05 < 0.028) & (below % 0.075 < 0.042) & (below > 0.02)
        awake = pane & (rng.random((32, 32))[row % 32, column % 32] > 0.72)
        front = wall[:, None] * np.where(pane, np.float32(0.66), np.float32(1.1))
        lamp = glow * np.float32(1.4) if night else color * np.float32(1.2)
        front = np.where(awake, lamp[:, None, None], front)
        canvas = np.where(below > 0, front, canvas)
    _block(canvas, -0.2, 0.93, 1.2, 1.2, color * np.float32(0.3 if night else 0.7))
    canvas = _soft(canvas, 0.027)
    count = 34 if night else 12
    x, y = rng.uniform(-0.02, 1.02, count), np.clip(rng.normal(0.62, 0.2, count), 0.1, 1.0)
    lamps = np.array([[1.0, 0.75, 0.42], [1.0, 0.9, 0.75], [1.0, 0.35, 0.25], [0.55, 0.75, 1.0]])[
        rng.integers(4, size=count)
    ]
    bright = (0.75 if night else 0.5) * lamps * (0.35 + color / max(float(color.max()), 0.05))
    _discs(canvas, x, y, rng.uniform(0.018, 0.045, count), bright.astype(np.float32), rng.uniform(0.25, 0.75, count))
    return canvas


def _foliage(rng: np.random.Generator, color: Paint) -> Paint:
    """Leaves, with sunlight between them."""
    green = _lift(color, (0.34, 0.5, 0.16), 0.4)
    shade = _clouds(rng, 4) * 0.75 + _clouds(rng, 9) * 0.45
    canvas = _in(green, 0.25 + 0.95 * shade)
    count = 90
    x, y = rng.uniform(-0.05, 1.05, count), rng.uniform(-0.05, 1.05, count)
    leaves = _tints(rng, green, count, 0.45, 0.14)
    _discs(canvas, x, y, rng.uniform(0.03, 0.08, count), leaves, rng.uniform(0.25, 0.6, count), opaque=True)
    canvas = _soft(canvas, 0.017)
    count = 26
    x, y = rng.uniform(0, 1, count), np.clip(rng.normal(0.35, 0.28, count), 0, 1)
    sun = _lift(color, (0.95, 1.0, 0.55), 0.5) / max(float(color.max()), 0.05)
    _discs(
        canvas,
        x,
        y,
        rng.uniform(0.02, 0.055, count),
        _tints(rng, sun, count, 0.25, 0.06),
        rng.uniform(0.12, 0.5, count),
    )
    return canvas


_PAINTERS: dict[str, Callable[[np.random.Generator, Paint], Paint]] = {
    "plain": _plain,
    "gradient": _gradient,
    "studio": _studio,
    "indoor": _indoor,
    "outdoor": _outdoor,
    "city": _city,
    "foliage": _foliage,
}


def _toned(shown: Paint, color: Paint) -> Paint:
    """Draws the mean of what the head leaves free (display values [3, G, G]) to the label's colour."""
    thin, edge = shown[:, ::2, ::2], _GRID // 10  # every other cell will do
    free = np.concatenate([part.reshape(3, -1) for part in (thin[:, :edge], thin[:, :, :edge], thin[:, :, -edge:])], 1)
    for _ in range(2):
        mean = np.maximum(free.mean(1), 0.02)
        gain = np.minimum(np.maximum(color / mean, 0.5), 2.0)
        shown, free = np.minimum(_in(gain, shown), 1), np.minimum(gain[:, None] * free, 1)
    return shown + (np.float32(0.7) * (color - free.mean(1)))[:, None, None]


def backdrop(row: Row, side: int) -> FloatArray:
    """What stands behind a row's person: display values in 0–1 [side, side, 3], a little brighter towards the light."""
    color = np.array(row["background"], dtype=np.float32)
    rng = np.random.default_rng([row["scene_seed"], 1])
    painted = _PAINTERS[row["background_style"]](rng, np.maximum(color, 0.02) ** np.float32(2.2))
    inner = painted[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    shown = _toned(np.minimum(np.maximum(inner, 0), 1.2) ** np.float32(1 / 2.2), color)
    toward = (_X[:, _MARGIN:-_MARGIN] - np.float32(0.5)) * np.float32(0.16 * np.sin(np.radians(row["light_azimuth"])))
    small = np.minimum(np.maximum(shown * (1 + toward), 0), 1)
    enlarge = _enlarging(_GRID, side)
    wide = (enlarge @ np.ascontiguousarray(small.reshape(-1, _GRID).T)).reshape(side, 3, _GRID)
    grown = enlarge @ np.ascontiguousarray(wide.transpose(2, 0, 1)).reshape(_GRID, -1)  # [side, side · 3]
    grown = np.minimum(np.maximum(grown, 0, out=grown), 1, out=grown)
    return grown.reshape(side, side, 3)
