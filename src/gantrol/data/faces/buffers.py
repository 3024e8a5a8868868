"""What a frame knows about its samples besides colour: which way the surface faces, and what it is part of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces.scene import HEAD_VALUES, PARTS
from gantrol.data.faces.shot import Frame, Shot

SEGMENTS = ("background", "skin", "neck", "ears", "eyes", "brows", "lips", "mouth", "hair", "beard", "clothes",
            "glasses", "hat")  # fmt: skip
"""What the numbers of a segmentation mean."""

_SEGMENT_OF_PART = {"skin": "skin", "eye_left": "eyes", "eye_right": "eyes", "teeth": "mouth", "tongue": "mouth",
                    "lashes": "eyes", "hair": "hair", "clothes": "clothes", "glasses": "glasses", "lens": "glasses",
                    "hat": "hat", "brows": "brows", "beard": "beard"}  # fmt: skip


def normals(shot: Shot, frame: Frame) -> NDArray[np.float32]:
    """Unit normals [S · S, 3] of the surface that each sample sees (0 at the backdrop)."""
    field = np.zeros((frame.side**2, 3), dtype=np.float32)
    field[frame.surface.pixel] = shot.normals_at(frame.surface)
    hairs = (frame.part > 0) & (field == 0).all(1)  # single hairs before the backdrop have no surface
    field[hairs, 2] = 1
    return field


def segments(shot: Shot, frame: Frame) -> NDArray[np.uint8]:
    """Index into SEGMENTS of each sample [S · S]."""
    table = [SEGMENTS.index(_SEGMENT_OF_PART[part]) for part in PARTS]
    found = np.array([0, *table], dtype=np.uint8)[frame.part]
    skin = frame.part[frame.surface.pixel] == 1 + PARTS.index("skin")
    seen = frame.surface.take(np.flatnonzero(skin))
    values = dict(zip(HEAD_VALUES, shot.values(seen, "head").T, strict=True))
    jaw = -1.02 + 0.55 * np.clip(-values["z"] - 0.35, 0, 0.9)  # from below the chin up to the ear
    for name, chosen in (
        ("neck", values["y"] < jaw),
        ("ears", values["ears"] > 0.5),
        ("lips", values["lips"] > 0.5),
        ("mouth", values["mouth_inside"] > 0.5),
    ):
        found[seen.pixel[chosen]] = SEGMENTS.index(name)
    return found
