"""What stands behind: plain walls, gradients, a studio's canvas, and rooms and landscapes far out of focus.

A backdrop is painted small, in linear light, blurred as a wide-open lens would, and enlarged smoothly: it looks the
same at every size. Whatever it shows, its colours are drawn to the row's `background`: the label can be read off it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from gantrol.data.faces.attributes import Row
from gantrol.data.faces.head import FloatArray

_GRID = 60  # side of the small painting
_MARGIN = 5  # painted beyond the frame, so that the blur has something to draw from

_SIDE = _GRID + 2 * _MARGIN
_AT = ((np.arange(_SIDE, dtype=np.float32) - _MARGIN + 0.5) / _GRID).astype(np.float32)  # 0–1 across the frame
_X, _Y = _AT[None], _AT[:, None]  # y points down

Paint = NDArray[np.floating]
"""A painting, or colours, or places in it."""


def _soft(values: Paint, sigma: float) -> Paint:
    """Blurs a painting [S, S] or [S, S, 3] by `sigma` (of the frame's side)."""
    spread = (sigma * _GRID, sigma * _GRID, 0)[: values.ndim]
    blurred: Paint = gaussian_filter(values, spread, mode="nearest", truncate=2.2)
    return blurred


def _clouds(rng: np.random.Generator, cells: int, sides: float = 1.0) -> Paint:
    """Smooth noise in 0–1 with about `cells` bumps across, `sides` times as many down: [S, S]."""
    knots = rng.random((max(round(cells * sides), 2), cells)).astype(np.float32)
    grown = Image.fromarray(knots).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(grown), 0, 1)


def _block(canvas: Paint, left: float, top: float, right: float, bottom: float, color: Paint) -> None:
    """Paints a rectangle (frame coordinates 0–1) into the canvas."""
    cell = [min(max(math.ceil(at * _GRID + _MARGIN - 0.5), 0), _SIDE) for at in (left, top, right, bottom)]
    canvas[cell[1] : cell[3], cell[0] : cell[2]] = color


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
    away = np.sqrt(from_x[:, None] ** 2 + from_y[:, :, None] ** 2) / radius[:, None, None]
    disc = np.clip((1 - away) * (radius * _GRID * 0.8)[:, None, None] + 0.5, 0, 1) * (0.75 + 0.25 * away * away)
    disc = disc * share[:, None, None]
    inside = (across >= 0) & (across < _SIDE)
    disc = np.where(inside[:, None] & ((down >= 0) & (down < _SIDE))[:, :, None], disc, 0)
    cell = (np.clip(down, 0, _SIDE - 1)[:, :, None] * _SIDE + np.clip(across, 0, _SIDE - 1)[:, None]).ravel()
    light = [np.bincount(cell, (disc * tint).ravel(), _SIDE * _SIDE) for tint in (*color.T[:, :, None, None], 1.0)]
    added = np.stack(light, axis=1).reshape(_SIDE, _SIDE, 4).astype(np.float32)
    total = added[:, :, 3:]
    canvas *= 1 - np.float32(1.0 if opaque else 0.6) * np.minimum(total, 1)
    canvas += added[:, :, :3] / np.maximum(total, 1) if opaque else added[:, :, :3]


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
    return color * (1.15 - 1.0 * away)[:, :, None]


def _gradient(rng: np.random.Generator, color: Paint) -> Paint:
    turn = rng.uniform(0, 2 * np.pi)
    along = (_X - 0.5) * np.float32(np.cos(turn)) + (_Y - 0.5) * np.float32(np.sin(turn))
    other = _tints(rng, color, 1, 0.2, 0.12)[0]
    depth = rng.uniform(0.5, 0.9)
    share = (0.5 + along * np.float32(0.85)).clip(0, 1)[:, :, None]
    dark, bright = color * np.float32(1 - depth * 0.75), other * np.float32(1 + depth * 0.75)
    return dark + (bright - dark) * share


def _studio(rng: np.random.Generator, color: Paint) -> Paint:
    x, y = rng.uniform(0.25, 0.75), rng.uniform(0.3, 0.6)
    pool = np.exp(-(((_X - x) / 0.42) ** 2) - ((_Y - y) / 0.5) ** 2)
    mottle = _soft(_clouds(rng, 7), 0.021) * 0.6 + _clouds(rng, 17) * 0.4
    depth = 1 - 0.6 * float(color.max())  # light colours have no room for a bright pool
    return color * ((1 + depth * (1.15 * pool - 0.62)) * (1 + depth * (0.56 * mottle - 0.28)))[:, :, None]


def _indoor(rng: np.random.Generator, color: Paint) -> Paint:
    """A wall with a window or a doorway, shelves, a picture and a lamp, above a piece of furniture."""
    canvas = np.broadcast_to(
        color * (0.95 + 0.25 * _X * rng.choice([-1, 1]) - 0.15 * _Y)[:, :, None], (_SIDE, _SIDE, 3)
    )
    canvas = np.ascontiguousarray(canvas, dtype=np.float32)
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
    canvas += day * (0.16 * np.exp(-(((_X - place) / 0.3) ** 2) - ((_Y - 0.35) / 0.45) ** 2))[:, :, None]
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
    rise = (_Y / np.float32(horizon)).clip(0, 1)[:, :, None]
    canvas = np.broadcast_to(sky + (haze - sky) * rise * rise, (_SIDE, _SIDE, 3)).copy()
    cloud = np.clip(_clouds(rng, 3, 2.0) * 1.8 - 0.8, 0, 1)[:, :, None] * np.float32(0.7)
    canvas += (haze * np.float32(1.1) - canvas) * cloud
    green = _lift(color, (0.35, 0.5, 0.16), 0.55)
    for layer in range(3):  # farther hills are paler
        near = (layer + 1) / 3
        (f, g), (p, q) = rng.uniform(3, 9, 2), rng.uniform(0, 6, 2)
        wave = 0.05 * np.sin(_X * f + p) + 0.03 * np.sin(_X * g + q)
        ridge = np.float32(horizon + 0.09 * layer) + wave
        ground = haze * np.float32(1 - near) * np.float32(0.7) + green * np.float32(near * 0.75)
        canvas += (ground - canvas) * np.clip((_Y - ridge) * 40, 0, 1)[:, :, None]
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
    canvas = np.broadcast_to(sky + (glow - sky) * (_Y * _Y)[:, :, None], (_SIDE, _SIDE, 3)).copy()
    for depth in range(3):
        ends = -0.12 + rng.uniform(0.1, 0.24, 12).cumsum()
        house = np.searchsorted(ends, _AT)  # [S] which house stands there
        tops = 0.5 - 0.8 * abs(ends - 0.55) * (0.5 + 0.3 * depth) + rng.uniform(-0.15, 0.15, 12) + 0.1 * depth
        shade = np.float32((0.75, 0.55, 0.38)[depth] * (0.45 if night else 1.0))
        walls = _tints(rng, color * shade, 12, 0.22, 0.12)
        top, wall = tops.clip(-0.3, 0.9)[house.clip(0, 11)].astype(np.float32), walls[house.clip(0, 11)]  # [S], [S, 3]
        below = _Y - top
        column, row = (_AT / np.float32(0.05)).astype(int), (below / np.float32(0.075)).astype(int)
        pane = (_AT % 0.05 < 0.028) & (below % 0.075 < 0.042) & (below > 0.02)
        awake = rng.random((32, 32))[row % 32, column % 32] > 0.72
        front = (
            np.broadcast_to(wall * np.float32(1.1), canvas.shape)
            * np.where(pane, np.float32(0.6), np.float32(1))[:, :, None]
        )
        front[pane & awake] = glow * np.float32(1.4) if night else color * np.float32(1.2)
        canvas = np.where((below > 0)[:, :, None], front, canvas)
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
    shade = np.clip(_clouds(rng, 4) * 0.75 + _clouds(rng, 9) * 0.45, 0, 1.2)
    canvas: Paint = green * (0.25 + 0.95 * shade)[:, :, None]
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
    """Draws the mean of what the head leaves free (display values [G, G, 3]) to the label's colour."""
    thin, edge = shown[::2, ::2], _GRID // 10  # every other cell will do
    free = np.concatenate([part.reshape(-1, 3) for part in (thin[:edge], thin[:, :edge], thin[:, -edge:])])
    for _ in range(2):
        mean = np.maximum(free.mean(0), 0.02)
        gain = np.clip(color / mean, 0.5, 2.0)
        shown, free = np.minimum(shown * gain, 1), np.minimum(free * gain, 1)
    return shown + np.float32(0.7) * (color - free.mean(0))


def backdrop(row: Row, side: int) -> FloatArray:
    """What stands behind a row's person: display values in 0–1 [side, side, 3], a little brighter towards the light."""
    color = np.array(row["background"], dtype=np.float32)
    rng = np.random.default_rng([row["scene_seed"], 1])
    painted = _PAINTERS[row["background_style"]](rng, np.maximum(color, 0.02) ** np.float32(2.2))
    inner = painted[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    shown = _toned(np.minimum(np.maximum(inner, 0), 1.2) ** np.float32(1 / 2.2), color)
    toward = (_X[:, _MARGIN:-_MARGIN] - np.float32(0.5)) * np.float32(0.16 * np.sin(np.radians(row["light_azimuth"])))
    small = (np.clip(shown * (1 + toward)[:, :, None], 0, 1) * 255 + 0.5).astype(np.uint8)
    grown = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(grown, dtype=np.float32) * np.float32(1 / 255)
