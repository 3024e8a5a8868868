"""How it is lit: one key light of any size and temperature, ambient light from a room, shadows, highlights and tone.

Light transport is approximated per sample: a wrapped cosine that reaches further round in red than in blue (light that
enters skin comes out redder), the share of each light that a vertex sees (`exposure`, from `visibility`), and a lobe as
wide as the lamp for the key's reflection. Key and fill are balanced as a photographer would: the exposure follows from
their ratio and direction alone, never from what the picture shows, so that equal skin stays comparable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces.attributes import Row
from gantrol.data.faces.head import FloatArray
from gantrol.data.faces.scene import Piece
from gantrol.data.faces.visibility import exposure

SKIN_WRAP = np.array([0.34, 0.22, 0.16], dtype=np.float32)
_LAMP_DEG, _WINDOW_DEG = 8.0, 35.0  # half-widths of the key at softness 0 and 1
_FILL_LOW, _FILL_HIGH = 0.028, 0.9  # ambient light for each part of key light at fill 0 and 1
_BRIGHT = 1.36  # light on a surface that faces the camera and the key, where fill and direction leave it alone
_KEY_TINT = np.array([1.03, 1.0, 0.95], dtype=np.float32)
_SKY_TINT = np.array([0.97, 1.0, 1.05], dtype=np.float32)
_GROUND_TINT = np.array([1.05, 1.0, 0.92], dtype=np.float32)
# how the logarithm of a black body's red, green and blue changes for each mired that it is warmer (near 5200 K), less
# the part that a camera's white balance takes back
_PER_MIRED = 0.62 * np.array([0.0036, -0.0004, -0.0066])
_MIREDS = ([-1, 0, 1], [125 - 192, 0, 286 - 192])  # 8000 K, 5200 K, 3500 K
_TO_VIEWER = np.array([0.0, 0.0, 1.0], dtype=np.float32)
_SKY_WAY = np.array([0.0, 0.42, 0.22], dtype=np.float32)  # the room is brightest above, and before the face
_SHOULDER, _WHITE = 0.68, 1.05  # display values: highlights are compressed above the first, towards the second
_BLOCK = 32768  # values toned at once: they stay in the cache
_TOE = 0.14  # how much deeper shadows are than a plain power law, below about 0.15


def dot(vectors: FloatArray, way: FloatArray) -> FloatArray:
    """Products of rows [P, 3] with one vector [3]: [P]; written out: a threaded library might round otherwise."""
    product: FloatArray = vectors[:, 0] * way[0]
    product += vectors[:, 1] * way[1]
    product += vectors[:, 2] * way[2]
    return product


def key_direction(row: Row) -> FloatArray:
    """Unit vector [3] towards the key light (x to the image's right, y up, z to the viewer)."""
    azimuth, elevation = np.radians([row["light_azimuth"], row["light_elevation"]])
    toward = [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    return np.array(toward, dtype=np.float32)


def key_width_deg(softness: float) -> float:
    """Half-width of the key light in degrees: a small lamp at 0, a large window at 1."""
    return float(_LAMP_DEG * (_WINDOW_DEG / _LAMP_DEG) ** softness)


@dataclass(frozen=True, kw_only=True)
class Lighting:
    """The light of one picture; `exposed` below is `exposure` interpolated at P samples.

    All is fastest where samples follow one another in memory, channel by channel, as in the light that comes back.
    """

    key: FloatArray
    """[3] towards the key light."""
    width: float
    """Half-width of the key light in radians."""
    key_color: FloatArray
    sky_color: FloatArray
    ground_color: FloatArray
    exposure: FloatArray
    """[N, 3] the share of key light, sky and ground that each vertex sees past everything that stands in the way."""

    def shadow(self, share: FloatArray) -> FloatArray:
        """What is left of the key light at samples that see `share` [P] of it: [P].

        Shares are baked per vertex, for a lamp of 8° at the smallest; like a distance field they interpolate well, and
        steepening them afterwards gives a small lamp the crisp edge that vertices cannot hold.
        """
        steep = np.float32(1 + 1.1 * max(1 - self.width / np.radians(24.0), 0.0))
        edge = np.minimum(np.maximum(share * steep + (np.float32(0.5) - np.float32(0.5) * steep), 0), 1)
        left: FloatArray = edge * (edge * (np.float32(1.5) - edge) + np.float32(0.5))
        return left

    def diffuse(self, normals: FloatArray, exposed: FloatArray, wrap: FloatArray | np.float32) -> FloatArray:
        """The key light on a matte surface: a cosine wrapped round by `wrap` (a number, or one per channel): [P, 3].

        A wide light reaches round corners by itself; where `wrap` differs by channel, light also creeps into the edges
        of shadows, red the farthest.
        """
        wraps = np.reshape(wrap, (-1, 1))  # [1 or 3, 1]: channels apart, loops run along the samples
        around = wraps + np.float32(0.35 * np.sin(self.width))
        facing = dot(normals, self.key) + around
        facing = np.maximum(facing, 0, out=facing) * (1 / (1 + around))
        smooth = facing * facing * (np.float32(1.5) - np.float32(0.5) * facing)  # no kink at the terminator
        left = self.shadow(exposed[:, 0])
        if len(wraps) > 1:
            left = left + left * (1 - left) * (wraps - wraps.min())
        lit: FloatArray = (smooth * left) * self.key_color[:, None]
        return lit.T

    def ambient(self, normals: FloatArray, exposed: FloatArray) -> FloatArray:
        """Light from the room, sky and ground: [P, 3]."""
        up = dot(normals, _SKY_WAY) + np.float32(0.5)
        sky, ground = up * exposed[:, 1], (1 - up) * exposed[:, 2]
        light: FloatArray = sky * self.sky_color[:, None]
        light += ground * self.ground_color[:, None]
        return light.T

    def highlight(self, normals: FloatArray, power: float) -> FloatArray:
        """The key light mirrored towards the viewer by a surface: [P], not yet times `exposed[:, 0]`.

        A Gaussian of the angle between normal and half-way vector (Blinn–Phong's exponent `power`) around a flat top as
        wide as the lamp looks; the wider, the weaker.
        """
        radius = self.width / 2  # of the half-way vector
        off = np.sqrt(np.maximum(2 - 2 * dot(normals, self._half_way()), 0)) - np.float32(radius)
        off = np.maximum(off, 0, out=off)
        lobe = np.exp(off * off * np.float32(-power / 2))
        weaker: FloatArray = lobe * np.float32((1 + power * radius * radius / 2) ** -0.5)
        return weaker

    def strands(self, tangents: FloatArray, normals: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Kajiya–Kay: what strands along `tangents` [P, 3] scatter and mirror of the key light, each [P]."""
        across = np.sqrt(np.maximum(1 - dot(tangents, self.key) ** 2, 0))
        toward = np.clip(dot(normals, self.key) * 0.8 + 0.3, 0, 1)
        power = np.float32(1 / (1 / 34 + self.width**2 / 8))
        mirrored = np.maximum(1 - dot(tangents, self._half_way()) ** 2, 0) ** power
        return across * toward, mirrored * np.clip(dot(normals, self.key) + 0.2, 0, 1)

    def _half_way(self) -> FloatArray:
        """The unit vector between the key light and the viewer: the normal that mirrors one to the other."""
        half = self.key + _TO_VIEWER
        return (half / max(float(np.sqrt((half * half).sum())), 1e-6)).astype(np.float32)


def _balance(row: Row) -> tuple[float, float]:
    """Strengths of key and ambient light: their ratio is the row's fill, their level the exposure a camera would set.

    The exposure is the mean of what the brightest skin gets and what a ball seen from the camera gets on average
    (Lambert's phase function), so that faces lit from the side stay readable and their lit side does not burn out.
    """
    ambient = _FILL_LOW * (_FILL_HIGH / _FILL_LOW) ** row["light_fill"]
    phase = float(np.arccos(np.clip(key_direction(row)[2], -1, 1)))
    ball = (np.sin(phase) + (np.pi - phase) * np.cos(phase)) / np.pi
    gain = _BRIGHT / (0.5 * (1 + ambient) + 0.5 * (ball + ambient))
    return gain, gain * ambient


def lighting(
    row: Row, pieces: list[Piece], head_rotation: NDArray[np.float64], body_rotation: NDArray[np.float64]
) -> Lighting:
    """The light of a row on its scene; the rotations [3, 3] lead from head's and shoulders' axes to the camera's."""
    key, width_deg = key_direction(row), key_width_deg(row["light_softness"])
    strength, ambient = _balance(row)
    warmer = _PER_MIRED * np.interp(row["light_warmth"], *_MIREDS)
    cooler = np.exp(-0.3 * warmer)  # the room seems tinted the other way
    return Lighting(
        key=key,
        width=float(np.radians(width_deg)),
        key_color=(strength * _KEY_TINT * np.exp(warmer)).astype(np.float32),
        sky_color=(1.2 * ambient * _SKY_TINT * cooler).astype(np.float32),
        ground_color=(0.7 * ambient * _GROUND_TINT * cooler).astype(np.float32),
        exposure=exposure(row, pieces, key, width_deg, (head_rotation, body_rotation)),
    )


def encode(linear: FloatArray) -> FloatArray:
    """Linear light to display values in 0–1: a 2.2 power, a slight toe and a long shoulder."""
    flat = np.ascontiguousarray(linear, dtype=np.float32).reshape(-1)
    shown = np.empty_like(flat)
    for start in range(0, len(flat), _BLOCK):
        shown[start : start + _BLOCK] = _tone(flat[start : start + _BLOCK])
    return shown.reshape(linear.shape)


def _tone(linear: FloatArray) -> FloatArray:
    power = np.maximum(linear, 0) ** np.float32(1 / 2.2)
    power -= np.float32(_TOE) * power * np.exp(power * np.float32(-1 / 0.15))
    room = np.float32(_WHITE - _SHOULDER)
    over = np.maximum(power - np.float32(_SHOULDER), 0)
    toned: FloatArray = np.minimum(power, np.float32(_SHOULDER)) + room * (1 - np.exp(over * (-1 / room)))
    return np.minimum(toned, 1)


def decode(shown: FloatArray) -> FloatArray:
    """Display values in 0–1 to linear reflectance."""
    linear: FloatArray = np.asarray(shown, dtype=np.float32) ** np.float32(2.2)
    return linear
