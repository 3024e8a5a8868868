"""What it does: expression weights -> facial actions, and head pose -> posed vertices.

Angles are degrees. The head turns about its own centre, so the face stays in the middle of the picture; the shoulders
follow a third of the way, and the neck blends between the two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces.head import FloatArray
from gantrol.data.faces.labels import Row

_BOTH = ("Left", "Right")
# expression -> facial action (ARKit names; without a side: both sides) -> weight
EXPRESSIONS: dict[str, dict[str, float]] = {
    "smile": {
        "mouthSmile": 1.0,
        "cheekSquint": 0.6,
        "mouthUpperUp": 0.45,
        "eyeSquint": 0.2,
        "jawOpen": 0.06,
        "mouthLowerDown": 0.2,
    },
    "mouth_open": {"jawOpen": 0.6, "mouthLowerDown": 0.2, "mouthUpperUp": 0.15},
    "pucker": {"mouthPucker": 0.65},
    "sadness": {"mouthFrown": 0.8, "browInnerUp": 0.45, "mouthShrugLower": 0.25},
    "brow_raise": {"browInnerUp": 1.25, "browOuterUp": 1.35},
    "frown": {"browDown": 1.2, "noseSneer": 0.25, "eyeSquint": 0.3},
    "eyes_wide": {"eyeWide": 1.4},
    "eyes_closed": {"eyeBlink": 1.0},
}
_CAP = 1.5  # beyond 1 an action still looks natural, somewhat farther it tears
_UNSIDED = {"jawOpen", "mouthPucker", "browInnerUp", "mouthShrugLower"}


def action_coefficients(row: Row) -> dict[str, float]:
    """Coefficients of the facial actions of a row's expression weights; each action is capped at 1.5."""
    actions: dict[str, float] = {}
    for expression, parts in EXPRESSIONS.items():
        for action, weight in parts.items():
            if action == "eyeSquint" or action == "eyeWide":
                weight *= 1 - row["eyes_closed"]  # closed lids neither squint nor widen
            for name in [action] if action in _UNSIDED else [action + side for side in _BOTH]:
                actions[name] = actions.get(name, 0.0) + weight * row[expression]
    down = max(-row["gaze_pitch"], 0.0) / 40 * (1 - row["eyes_closed"])  # the lids follow a lowered gaze
    for side in _BOTH:
        actions["eyeBlink" + side] = min(actions["eyeBlink" + side] + down, 1.0)
    return {name: min(value, _CAP) for name, value in actions.items() if value}


def rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """The matrix that pitches, then yaws, then rolls (degrees; x to the image's right, y up, z to the viewer)."""
    y, p, r = np.radians([yaw, pitch, roll])
    turn = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    tilt = np.array([[np.cos(r), np.sin(r), 0], [-np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return tilt @ turn @ nod


def gaze_direction(row: Row) -> FloatArray:
    """The unit vector [3] along which both eyes look, in the head's own axes."""
    return rotation(row["gaze_yaw"], row["gaze_pitch"], 0.0)[:, 2].astype(np.float32)


HEAD_CENTER_DM = np.array([0.0, -0.08, -0.5])
"""The point the head turns about, from the middle between the eyes."""


def head_share(canonical: FloatArray) -> FloatArray:
    """How far each vertex [V, 3] (average head, eyes at the origin, dm) follows the head, not the shoulders: [V]."""
    t = np.clip((canonical[:, 1] + 1.75 - 0.25 * np.clip(canonical[:, 2] + 1.0, -0.5, 0.5)) / 0.8, 0, 1)
    share: FloatArray = (t * t * (3 - 2 * t)).astype(np.float32)
    return share


def posed(aligned: FloatArray, share: FloatArray, row: Row) -> FloatArray:
    """Rotates aligned vertices [V, 3] by the row's pose; `share` [V] comes from `head_share`."""
    offset = aligned - HEAD_CENTER_DM
    head, body = (
        rotation(row["yaw"], row["pitch"], row["roll"]),
        rotation(row["yaw"] * 0.35, row["pitch"] * 0.1, row["roll"] * 0.2),
    )
    # einsum, not @: a threaded product might round differently on another number of cores
    with_head, with_body = np.einsum("vi,ji->vj", offset, head), np.einsum("vi,ji->vj", offset, body)
    turned: FloatArray = (with_body + (with_head - with_body) * share[:, None]).astype(np.float32)
    return turned
