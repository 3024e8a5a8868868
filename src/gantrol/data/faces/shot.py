"""One picture being made: everything that the shaders of the parts need to know, and tools that several of them use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces.attributes import Row
from gantrol.data.faces.head import FloatArray
from gantrol.data.faces.light import Lighting
from gantrol.data.faces.palette import Palette
from gantrol.data.faces.raster import Surface
from gantrol.data.faces.scene import Piece, unit

_NORMAL, _EXPOSED = ("normal x", "normal y", "normal z"), ("key", "sky", "ground")


def _columns(seen: Surface, names: Sequence[str]) -> FloatArray:
    """A copy of what is carried under these names [P, C]."""
    return np.array([seen.carried[name] for name in names]).T


@dataclass(frozen=True, kw_only=True)
class Shot:
    """N vertices of all pieces, one after the other."""

    row: Row
    pieces: dict[str, Piece]
    """By name, in the order of their vertices."""
    first: dict[str, int]
    """Index of each piece's first vertex among the N."""
    vertices: FloatArray
    """[N, 3] posed, dm, before the camera."""
    aligned: FloatArray
    """[N, 3] of the person, unposed, dm: the head's own axes."""
    normals: FloatArray
    """[N, 3] of the posed vertices."""
    head_rotation: NDArray[np.float64]
    """[3, 3] turns the head's own axes into the camera's."""
    light: Lighting
    look: Palette
    spacing: float
    """dm between neighbouring samples: detail finer than this is left out."""

    def values(self, seen: Surface, piece: str) -> FloatArray:
        """The piece's own values at samples that all lie on it: [P, C]."""
        return seen.interpolate(self.pieces[piece].values, first=self.first[piece])

    def slice(self, piece: str) -> slice:
        """Where the piece's vertices lie among the N."""
        return slice(self.first[piece], self.first[piece] + len(self.pieces[piece].points))

    def carry(self, surface: Surface) -> None:
        """Interpolates what nearly every shader asks for, once for all samples; each column [P] lies apart."""
        columns = (*self.normals.T, *self.light.exposure.T)
        mixed = np.array([surface.interpolate(np.ascontiguousarray(column)) for column in columns])
        mixed[:3] = unit(mixed[:3].T).T
        surface.carried.update(zip((*_NORMAL, *_EXPOSED), mixed, strict=True))

    def normals_at(self, seen: Surface) -> FloatArray:
        """Unit normals [P, 3], column by column in memory."""
        if _NORMAL[0] in seen.carried:
            return _columns(seen, _NORMAL)
        return unit(np.asfortranarray(seen.interpolate(self.normals)))

    def exposed(self, seen: Surface) -> FloatArray:
        """What share of key light, sky and ground each sample sees [P, 3], column by column; the caller's own copy."""
        if _EXPOSED[0] in seen.carried:
            return _columns(seen, _EXPOSED)
        return np.asfortranarray(seen.interpolate(self.light.exposure))


@dataclass(kw_only=True)
class Frame:
    """The picture while it is made: what each sample of the S × S grid shows, nearest surface only."""

    side: int
    radiance: FloatArray
    """[S · S, 3] linear light."""
    depth: FloatArray
    """[S · S] dm from the camera; inf where the backdrop shows."""
    cover: FloatArray
    """[S · S] how much of the sample is covered, 0–1: the rest shows the backdrop."""
    part: NDArray[np.uint8]
    """[S · S] 1 + index into PARTS; 0 where the backdrop shows."""
    surface: Surface
    """The samples that see a triangle; single hairs and lenses may lie before it."""


Shader = Callable[[Shot, Surface, FloatArray, str], FloatArray]
"""(shot, samples that see one part, their unit normals [P, 3], the part's name) -> linear radiance [P, 3]."""

_NOISE = np.random.default_rng(11).random(4096).astype(np.float32)


def smooth_step(x: FloatArray, low: float, high: float) -> FloatArray:
    """0 below `low`, 1 above `high`, smooth between; reversed when low > high."""
    t = np.minimum(np.maximum((x - low) / (high - low), 0), 1)  # on small arrays, half the cost of np.clip
    ramp: FloatArray = t * t * (3 - 2 * t)
    return ramp


def mix(a: FloatArray, b: FloatArray, share: FloatArray) -> FloatArray:
    """Blends colours a and b ([3] or [P, 3]) by share [P]."""
    blended: FloatArray = a + (b - a) * share[:, None]
    return blended


def spot(points: FloatArray, x: float, y: float, width: float, height: float) -> FloatArray:
    """A mirrored pair of soft spots at (±x, y) on the face's front (canonical points [P, 3]): [P]."""
    falloff: FloatArray = np.exp(-(((abs(points[:, 0]) - x) / width) ** 2) - ((points[:, 1] - y) / height) ** 2)
    return falloff


def cell_noise(x: FloatArray, y: FloatArray) -> FloatArray:
    """One random number in 0–1 per cell of the unit grid that (x, y) [P] falls into: [P]."""
    return next(cell_noises(np.floor(x), np.floor(y), (0, 0)))


def cell_noises(column: FloatArray, row: FloatArray, *shifts: tuple[int, int]) -> Iterator[FloatArray]:
    """For each of the shifts (columns, rows) the random number of the cell that lies so far from each of these."""
    cell = column.astype(np.int64) * 61 + row.astype(np.int64)
    for right, up in shifts:
        yield _NOISE.take((cell + (right * 61 + up)) & 4095)


def strand_noise(place: FloatArray, along: FloatArray, spacing: float) -> FloatArray:
    """Brightness of strands in −1…1 at `place` (strand widths) and `along` (dm); octaves finer than `spacing` fade."""
    total = np.zeros_like(place)
    for frequency, weight in ((1.0, 0.35), (2.3, 0.35), (5.1, 0.3)):
        visible = float(np.clip(1 / (frequency * max(spacing, 1e-6)) - 1, 0, 1))
        if visible == 0:
            continue
        x = place * frequency + 0.35 * np.sin(along * 3 + place * 0.2)
        cell = np.floor(x)
        t = x - cell
        index = cell.astype(np.int64)
        total += (
            weight * visible * (_NOISE.take(index & 4095) * (1 - t) + _NOISE.take((index + 1) & 4095) * t - 0.5) * 2
        )
    return total
