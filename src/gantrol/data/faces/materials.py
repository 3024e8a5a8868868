"""What it is made of: skin, lips, brows, eyes, teeth, hair and cloth, painted procedurally per sample.

Skin is painted in canonical coordinates (the average head, eyes' middle at the origin, dm): they are carried by the
vertices, so a brow stays on its brow ridge whatever the shape and expression, and is sharp at any resolution. Every
function takes samples and returns linear reflectance [P, 3].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gantrol.data.faces import hair
from gantrol.data.faces.head import FloatArray
from gantrol.data.faces.labels import Row
from gantrol.data.faces.light import decode, dot
from gantrol.data.faces.shape import identity_rng

_SKIN_STOPS = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
_SKIN_SRGB = np.array(
    [[82, 54, 42], [112, 74, 55], [150, 107, 83], [188, 141, 112], [215, 170, 143], [232, 194, 172]]
) / 255  # fmt: skip
_PUPIL = np.full(3, 0.006, dtype=np.float32)
MOUTH_COLORS = {
    "teeth": np.array([0.62, 0.58, 0.50], dtype=np.float32),
    "tongue": np.array([0.34, 0.10, 0.10], dtype=np.float32),
}
_NOISE = np.random.default_rng(11).random(4096).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Palette:
    """The colours and small traits of one person, as linear reflectance."""

    skin: FloatArray
    lips: FloatArray
    hair: FloatArray
    brows: FloatArray
    iris: FloatArray
    clothes: FloatArray
    blush: float
    brow_height: float
    brow_thickness: float
    brow_arch: float
    freckles: float
    stubble: float
    age_lines: float


def smooth_step(x: FloatArray, low: float, high: float) -> FloatArray:
    """0 below `low`, 1 above `high`, smooth between; reversed when low > high."""
    t = np.clip((x - low) / (high - low), 0, 1)
    ramp: FloatArray = t * t * (3 - 2 * t)
    return ramp


def mix(a: FloatArray, b: FloatArray, share: FloatArray) -> FloatArray:
    """Blends colours a and b ([3] or [P, 3]) by share [P]."""
    blended: FloatArray = a + (b - a) * share[:, None]
    return blended


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


def palette(row: Row) -> Palette:
    """The colours of a row's person; small traits come from the identity seed."""
    rng = identity_rng(row["identity"], 1)
    tone = row["skin_tone"]
    shown = np.array([np.interp(tone, _SKIN_STOPS, _SKIN_SRGB[:, c]) for c in range(3)])
    undertone = rng.normal(0, 1)
    skin = decode(np.clip(shown * (1 + 0.02 * undertone * np.array([0.6, 0.0, -1.6])), 0, 1))
    made_up = rng.random() * (1 - row["gender"])  # lips of feminine faces are redder
    lips = skin * np.array([0.86, 0.50, 0.48]) + np.array([0.050, 0.006, 0.010]) * (0.3 + 0.7 * tone)
    lips = lips * (1 - 0.55 * made_up) + np.array([0.36, 0.045, 0.06]) * 0.55 * made_up * (0.55 + 0.45 * tone)
    hair_color = decode(np.array(row["hair_color"]))
    brows = (0.4 * hair_color + 0.6 * hair_color.mean()) * 0.24 + np.array([0.018, 0.011, 0.008])  # never fully dyed
    masculine = float(np.clip(row["gender"] * 2 - 1, 0, 1)) * float(np.clip((row["age"] - 15) / 8, 0, 1))
    return Palette(
        skin=skin.astype(np.float32),
        lips=lips.astype(np.float32),
        hair=(hair_color * 0.9 + 0.006).astype(np.float32),
        brows=brows.astype(np.float32),
        iris=decode(np.array(row["eye_color"])),
        clothes=decode(np.array(row["clothes"])),
        blush=float(rng.uniform(0.35, 1.0)),
        brow_height=float(0.218 + rng.normal(0, 0.012) - 0.012 * row["gender"]),
        brow_thickness=float((0.030 + 0.016 * row["gender"]) * np.exp(rng.normal(0, 0.16))),
        brow_arch=float(0.038 - 0.020 * row["gender"] + rng.normal(0, 0.008)),
        freckles=float(max(rng.normal(-0.5, 0.6), 0)) * float(np.clip((tone - 0.5) * 3, 0, 1)),
        stubble=float(np.clip(rng.normal(0.45, 0.4), 0, 1)) * masculine,
        age_lines=float(np.clip((row["age"] - 32) / 45, 0, 1)),
    )


def _spot(points: FloatArray, x: float, y: float, width: float, height: float) -> FloatArray:
    """A mirrored pair of soft spots at (±x, y) on the face's front: [P]."""
    spot: FloatArray = np.exp(-(((abs(points[:, 0]) - x) / width) ** 2) - ((points[:, 1] - y) / height) ** 2)
    return spot


def brow_mask(points: FloatArray, look: Palette, spacing: float) -> FloatArray:
    """Coverage 0–1 of the eyebrows at canonical points [P, 3]."""
    t = (abs(points[:, 0]) - 0.115) / 0.46
    arch = look.brow_arch * (1 - ((t - 0.48) / 0.5) ** 2)
    thickness = look.brow_thickness * np.clip(1.15 - 0.75 * np.clip(t, 0, 1) ** 2.2, 0.2, 1.2)
    off = abs(points[:, 1] - look.brow_height - arch) / thickness
    ends = smooth_step(t, -0.08, 0.10) * smooth_step(t, 1.08, 0.86)
    hairs = 1 + 0.35 * strand_noise(points[:, 0] * 60 + points[:, 1] * 45, points[:, 1], spacing * 60)
    mask: FloatArray = smooth_step(off, 1.25, 0.45) * ends * np.clip(hairs, 0, 1.2) * (points[:, 2] > -0.5)
    return np.minimum(mask * 0.92, 1)


def skin(points: FloatArray, masks: dict[str, FloatArray], look: Palette, row: Row, spacing: float) -> FloatArray:
    """Skin with lips, brows, blush, lid shade, stubble, lines of age, scalp under the hair, and cloth below the neck.

    `points` [P, 3] are canonical, `masks` [P] name the regions, `spacing` is the distance of samples in dm.
    """
    color = np.broadcast_to(look.skin, points.shape).copy()
    front = smooth_step(points[:, 2], -0.6, -0.1)
    red = (0.9 * _spot(points, 0.40, -0.30, 0.20, 0.17) + 0.7 * _spot(points, 0.0, -0.38, 0.13, 0.13)) * front
    red = np.minimum(red * look.blush + 0.45 * masks["ears"], 1)
    color *= 1 - red[:, None] * np.array([0.0, 0.20, 0.17], dtype=np.float32)
    sockets = _spot(points, 0.28, -0.02, 0.22, 0.13) * front
    color *= 1 - sockets[:, None] * np.array([0.10, 0.15, 0.13], dtype=np.float32)
    if look.freckles:
        grain = _NOISE[
            (np.floor(points[:, 0] * 70).astype(np.int64) * 61 + np.floor(points[:, 1] * 70).astype(np.int64)) % 4096
        ]
        spots = smooth_step(grain, 0.80, 0.95) * (_spot(points, 0.25, -0.28, 0.3, 0.2)) * look.freckles
        color *= 1 - spots[:, None] * np.array([0.16, 0.26, 0.32], dtype=np.float32)
    if look.stubble:
        beard = smooth_step(points[:, 1], -0.36, -0.62) * smooth_step(points[:, 1], -1.45, -1.15)
        beard = beard * (1 - _spot(points, 0.30, -0.42, 0.16, 0.16)) * smooth_step(points[:, 2], -0.75, -0.55)
        shade = look.brows * 0.8 + look.skin * 0.25
        color = mix(color, shade, (0.5 * look.stubble * beard * (1 - masks["lips"])).astype(np.float32))
    if look.age_lines:
        brow = np.sin(points[:, 1] * 62 + 0.8 * np.sin(points[:, 0] * 5)) ** 8 * _spot(points, 0.0, 0.44, 0.38, 0.13)
        feet = np.sin(points[:, 1] * 75 + abs(points[:, 0]) * 12) ** 6 * _spot(points, 0.60, -0.02, 0.07, 0.12)
        fold = abs(points[:, 0]) - 0.185 - 0.22 * np.clip(-0.42 - points[:, 1], 0, 0.4)
        folds = (
            np.exp(-((fold / 0.022) ** 2))
            * smooth_step(points[:, 1], -0.36, -0.46)
            * smooth_step(points[:, 1], -0.82, -0.66)
        )
        bags = _spot(points, 0.28, -0.155, 0.13, 0.022)
        lines = (0.5 * brow + 0.45 * feet + 0.6 * folds + 0.35 * bags) * front * look.age_lines
        color *= 1 - np.minimum(lines, 0.7)[:, None] * np.array([0.50, 0.55, 0.55], dtype=np.float32)
    color = mix(color, look.lips, masks["lips"] * 0.9)
    color = mix(color, look.lips * 0.35, masks["mouth_inside"] * 0.9)
    color *= 1 - 0.22 * masks["eyelids"][:, None] * np.array([0.8, 1.0, 1.0], dtype=np.float32)
    lash_line = smooth_step(masks["eyelids"], 0.75, 1.0)
    color *= 1 - 0.25 * lash_line[:, None]

    near = np.flatnonzero((abs(points[:, 1] - 0.22) < 0.16) & (abs(points[:, 0]) < 0.66) & (points[:, 2] > -0.5))
    color[near] = mix(color[near], look.brows, brow_mask(points[near], look, spacing))

    above = hair.hairline(points)
    if row["hair_style"] != "bald":
        cover = smooth_step(above, -0.05, 0.05) * (1 - masks["ears"]) * (points[:, 1] > -0.8)
        roots = look.hair * 0.75 + look.skin * 0.06
        if row["hair_style"] == "buzz":
            cover = cover * 0.82
        color = mix(color, roots, cover.astype(np.float32))
        if row["hair_style"] != "buzz":  # hair shades the skin that it hangs over
            color *= 1 - 0.30 * (smooth_step(above, -0.22, 0.0) * (above < 0.02))[:, None]
    cloth = points[:, 1] < neckline(points)
    color[cloth] = look.clothes
    return color


def neckline(points: FloatArray) -> FloatArray:
    """Height in dm below which canonical points [P, 3] are clothed: low at the throat, higher at the nape: [P]."""
    line: FloatArray = -1.42 + 0.40 * np.clip(-points[:, 2] - 0.95, -0.5, 0.4)
    return line


def eye(local: FloatArray, gaze: FloatArray, look: Palette) -> FloatArray:
    """An eyeball: sclera, iris with limbal ring and fibres, pupil, the shade of the lid.

    `local` [P, 3] are unit directions from the eye's centre in the head's axes, `gaze` [3] the direction it looks.
    """
    along = np.clip(dot(local, gaze), -1, 1)
    angle = np.arccos(along)
    side = local[:, 0] - along * gaze[0]
    lift = local[:, 1] - along * gaze[1]
    turn = np.arctan2(lift, side)
    color = np.broadcast_to(np.array([0.66, 0.62, 0.58], dtype=np.float32), local.shape).copy()
    color *= 1 - 0.25 * smooth_step(angle, 0.6, 1.3)[:, None] * np.array([0.3, 1, 1], dtype=np.float32)
    fibres = 0.85 + 0.25 * np.sin(turn * 17 + 2 * np.sin(turn * 5)) * np.sin(turn * 7)
    depth = smooth_step(angle, 0.16, 0.40)
    iris = look.iris * (fibres * (1.25 - 0.45 * depth))[:, None]
    iris *= 1 - 0.75 * smooth_step(angle, 0.40, 0.50)[:, None]
    color = mix(color, iris, smooth_step(angle, 0.52, 0.48))
    color = mix(color, _PUPIL, smooth_step(angle, 0.225, 0.19))
    color *= 1 - 0.55 * smooth_step(local[:, 1], 0.02, 0.42)[:, None]
    return color


def hair_strands(strand: FloatArray, along: FloatArray, look: Palette, spacing: float) -> FloatArray:
    """Hair reflectance: strands along the sheet, darker roots and parting, lighter lengths."""
    noise = strand_noise(strand * 260, along, spacing * 260 / 5.0)
    shade = 0.92 + 0.42 * noise + 0.10 * smooth_step(along, 0.2, 1.6)
    color: FloatArray = look.hair * np.maximum(shade, 0.25)[:, None]
    return color * (0.62 + 0.38 * smooth_step(along, 0.0, 0.22))[:, None]
