"""How it is lit: one soft key light, ambient light from all around, and a highlight.

Light transport is approximated per sample: a wrapped cosine that reaches further round in red than in blue (light that
enters skin comes out redder), baked ambient occlusion for what little light reaches creases, and a Blinn–Phong lobe.
"""

from __future__ import annotations

import numpy as np

from gantrol.data.faces.head import FloatArray
from gantrol.data.faces.labels import Row

KEY_COLOR = np.array([1.28, 1.23, 1.15], dtype=np.float32)
SKY_COLOR = np.array([0.40, 0.42, 0.46], dtype=np.float32)
GROUND_COLOR = np.array([0.22, 0.20, 0.19], dtype=np.float32)
SKIN_WRAP = np.array([0.34, 0.22, 0.16], dtype=np.float32)
_TO_VIEWER = np.array([0.0, 0.0, 1.0], dtype=np.float32)


def dot(vectors: FloatArray, way: FloatArray) -> FloatArray:
    """Products of rows [P, 3] with one vector [3]: [P]; written out: a threaded library might round otherwise."""
    product: FloatArray = vectors[:, 0] * way[0] + vectors[:, 1] * way[1] + vectors[:, 2] * way[2]
    return product


def key_direction(row: Row) -> FloatArray:
    """Unit vector [3] towards the key light (x to the image's right, y up, z to the viewer)."""
    azimuth, elevation = np.radians([row["light_azimuth"], row["light_elevation"]])
    toward = [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    return np.array(toward, dtype=np.float32)


def ambient(normals: FloatArray, occlusion: FloatArray) -> FloatArray:
    """Light from sky and ground on samples with normals [P, 3] and occlusion [P]: [P, 3]."""
    up = (normals[:, 1:2] * 0.5 + 0.5) * occlusion[:, None]
    light: FloatArray = GROUND_COLOR * occlusion[:, None] + (SKY_COLOR - GROUND_COLOR) * up
    return light


def diffuse(normals: FloatArray, key: FloatArray, wrap: FloatArray | np.float32) -> FloatArray:
    """The key light on a matte surface: a cosine wrapped round by `wrap` (a number, or one per channel): [P, 3]."""
    facing: FloatArray = np.maximum((dot(normals, key)[:, None] + wrap) / (1 + wrap), 0)
    smooth: FloatArray = facing * facing * (3 - facing) * np.float32(0.5)  # no kink at the terminator
    return smooth * KEY_COLOR


def _half_way(key: FloatArray) -> FloatArray:
    """The unit vector between the key light and the viewer: the normal that mirrors one to the other."""
    half = key + _TO_VIEWER
    return (half / max(float(np.sqrt((half * half).sum())), 1e-6)).astype(np.float32)


def highlight(normals: FloatArray, key: FloatArray, power: float) -> FloatArray:
    """The mirror lobe of the key light towards the viewer, 0–1: [P]."""
    half = _half_way(key)
    lobe: FloatArray = np.maximum(dot(normals, half), 0)
    return lobe ** np.float32(power)


def strand_light(tangents: FloatArray, normals: FloatArray, key: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Kajiya–Kay: what strands along `tangents` [P, 3] scatter and mirror of the key light, each [P]."""
    half = _half_way(key)
    across = np.sqrt(np.maximum(1 - dot(tangents, key) ** 2, 0))
    toward = np.clip(dot(normals, key) * 0.8 + 0.3, 0, 1)
    mirrored = np.maximum(1 - dot(tangents, half) ** 2, 0) ** 30
    return across * toward, mirrored * np.clip(dot(normals, key) + 0.2, 0, 1)


def encode(linear: FloatArray) -> FloatArray:
    """Linear light to display values in 0–1 (sRGB's curve as a 2.2 power), with a soft shoulder above 0.8."""
    over = np.maximum(linear - 0.8, 0)
    toned = np.minimum(linear, 0.8) + 0.2 * over / (over + 0.2)
    shown: FloatArray = np.maximum(toned, 0) ** np.float32(1 / 2.2)
    return shown


def decode(shown: FloatArray) -> FloatArray:
    """Display values in 0–1 to linear reflectance."""
    linear: FloatArray = np.asarray(shown, dtype=np.float32) ** np.float32(2.2)
    return linear
