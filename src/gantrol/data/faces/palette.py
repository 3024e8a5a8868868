"""The colours and small traits of one person that skin, eyes and mouth are painted with, as linear reflectance.

Skin colours are reflectances, not what a photograph of lit skin shows: the darkest and lightest stops lie a little
beyond the two skin patches of the usual colour chart (sRGB 115, 82, 68 and 194, 150, 130).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gantrol.data.faces.attributes import Row
from gantrol.data.faces.head import FloatArray
from gantrol.data.faces.light import decode
from gantrol.data.faces.shape import identity_rng

_SKIN_STOPS = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
_SKIN_SRGB = np.array(
    [[94, 65, 50], [122, 86, 63], [153, 111, 85], [180, 135, 106], [206, 164, 138], [222, 186, 164]]
) / 255  # fmt: skip
_LIPSTICKS = np.array([[0.36, 0.035, 0.045], [0.30, 0.07, 0.075], [0.42, 0.10, 0.11], [0.20, 0.02, 0.045]])


@dataclass(frozen=True, kw_only=True)
class Palette:
    """Colours [3] and traits of a row's person; traits without a unit lie in 0–1."""

    skin: FloatArray
    lips: FloatArray
    iris: FloatArray
    """What the label says, made a little brighter: the eye lies in the shade of its lids."""
    iris_core: FloatArray
    """Around the pupil: many irises are warmer there."""
    sclera: FloatArray
    fairness: float
    """How much blood shows through the skin."""
    blush: float
    """Redness of cheeks, nose and ears."""
    mottle: float
    """Unevenness of the complexion."""
    oil: float
    """Shine of forehead, nose and cheekbones."""
    freckles: float
    age_spots: float
    shaved: float
    """The bluish shade that a shaved beard leaves."""
    tired: float
    """Shade under the eyes; age adds to it."""
    lipstick: float
    eye_shadow: float
    eye_liner: float
    rouge: float
    moles: FloatArray
    """[m, 4] canonical x and y, radius (dm) and depth of colour."""
    phases: FloatArray
    """[16] random numbers in 0–2π that shift noise and creases, so that no two people share them."""


def _share(value: float) -> float:
    """The value limited to 0–1."""
    return min(max(value, 0.0), 1.0)


def palette(row: Row) -> Palette:
    """The colours of a row's person; small traits come from the identity seed."""
    rng = identity_rng(row["identity"], 1)
    tone, age = float(row["skin_tone"]), float(row["age"])
    shown = np.array([np.interp(tone, _SKIN_STOPS, channel) for channel in _SKIN_SRGB.T])
    undertone, depth = rng.normal(0, 1), rng.normal(0, 1)  # > 0: golden or olive, < 0: rosy
    shown = shown * (1 + 0.020 * undertone * np.array([-0.2, 0.35, -1.5])) * (1 + 0.012 * depth)
    skin = decode(np.minimum(np.maximum(shown, 0), 1))

    wears, kinds, amounts = rng.random(4), rng.integers(len(_LIPSTICKS)), rng.uniform(0.4, 1.0, 4)
    grown = _share((age - 14) / 6) * _share(1.6 - 3.2 * row["gender"])
    lipstick, eye_shadow, eye_liner, rouge = (wears < [0.45, 0.35, 0.5, 0.4]) * amounts * grown
    lips = skin * np.array([0.84, 0.60 - 0.09 * tone, 0.58 - 0.07 * tone]) + np.array([0.040, 0.004, 0.006]) * tone
    lips = lips + (_LIPSTICKS[kinds] * (0.5 + 0.5 * tone) - lips) * 0.65 * lipstick
    iris = np.maximum(decode(np.array(row["eye_color"])), 0.004)
    iris += 0.18 * (iris.mean() - iris)  # seen through water
    count = int(rng.poisson(1.6))
    moles = np.stack([rng.uniform(-0.55, 0.55, 8), rng.uniform(-1.0, 0.6, 8), 0.006 + 0.008 * rng.random(8) ** 3,
                      rng.uniform(0.45, 0.85, 8)], axis=1)[:count]  # fmt: skip
    yellow = 0.05 * _share((age - 40) / 40) + 0.06 * (1 - tone) + 0.02 * rng.random()
    return Palette(
        skin=skin.astype(np.float32),
        lips=lips.astype(np.float32),
        iris=(iris * 1.0).astype(np.float32),
        iris_core=(iris * 0.9 + rng.uniform(0, 0.6) * np.array([0.10, 0.055, 0.015])).astype(np.float32),
        sclera=(np.array([0.56, 0.53, 0.51]) * (1 - yellow * np.array([0.4, 0.8, 2.0]))).astype(np.float32),
        fairness=0.30 + 0.70 * _share((tone - 0.15) / 0.65),
        blush=float(rng.uniform(0.4, 1.0)),
        mottle=float(rng.uniform(0.5, 1.0)) * (0.7 + 0.3 * _share(age / 60)),
        oil=float(rng.uniform(0.45, 1.0)),
        freckles=float(row["freckles"]),
        age_spots=_share((age - 52) / 30) * float(rng.uniform(0.5, 1.0)),
        shaved=_share((row["gender"] - 0.5) * 2.5) * _share((age - 16) / 8) * rng.uniform(0.35, 1),
        tired=float(rng.uniform(0.1, 0.5)) + 0.5 * _share((age - 30) / 45),
        lipstick=float(lipstick),
        eye_shadow=float(eye_shadow),
        eye_liner=float(eye_liner),
        rouge=float(rouge),
        moles=moles.astype(np.float32),
        phases=rng.uniform(0, 2 * np.pi, 16).astype(np.float32),
    )
