"""What it does: expression weights -> facial actions -> a moved face, and head pose -> posed vertices.

The 52 facial actions (ARKit's names) are linear, lids are not: they slide over the eyeball and close on every person,
whatever the height of the opening (`expressed`). Angles are degrees. The head turns about its own centre, so the face
stays in the middle of the picture; the shoulders follow a little, and the neck blends between the two.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces.attributes import Row
from gantrol.data.faces.head import FloatArray, IntArray, load_head

_SIDES = ("Left", "Right")
# expression -> facial action (ARKit names; without a side: both sides) -> weight
EXPRESSIONS: dict[str, dict[str, float]] = {
    "smile": {"mouthSmile": 0.85, "cheekSquint": 0.6, "mouthUpperUp": 0.55, "eyeSquint": 0.25, "jawOpen": 0.08,
              "mouthLowerDown": 0.3, "mouthDimple": 0.25},
    "laugh": {"mouthSmile": 0.95, "cheekSquint": 0.95, "mouthUpperUp": 0.9, "eyeSquint": 0.6, "jawOpen": 0.42,
              "mouthLowerDown": 0.4, "eyeBlink": 0.12, "noseSneer": 0.15, "browOuterUp": 0.2},
    "sad": {"mouthFrown": 1.15, "browInnerUp": 1.35, "browDown": 0.2, "mouthShrugLower": 0.5, "eyeSquint": 0.2,
            "eyeBlink": 0.18, "mouthShrugUpper": 0.2},
    "surprised": {"browInnerUp": 1.25, "browOuterUp": 1.25, "eyeWide": 1.2, "jawOpen": 0.48, "mouthFunnel": 0.35,
                  "mouthShrugLower": 0.25},
    "angry": {"browDown": 1.4, "browOuterUp": 0.55, "noseSneer": 0.65, "eyeSquint": 0.5, "mouthPress": 0.4,
              "mouthFrown": 0.9, "mouthRollUpper": 0.35, "mouthShrugLower": 0.4, "eyeWide": 0.35},
    "disgusted": {"noseSneer": 1.4, "mouthUpperUp": 1.1, "browDown": 0.8, "eyeSquint": 0.6, "cheekSquint": 0.6,
                  "mouthFrown": 0.7, "mouthShrugLower": 0.5},
    "afraid": {"browInnerUp": 1.35, "browOuterUp": 0.5, "browDown": 0.35, "eyeWide": 1.4, "mouthStretch": 1.1,
               "jawOpen": 0.22, "mouthLowerDown": 0.5, "mouthFrown": 0.35},
    "mouth_open": {"jawOpen": 0.6, "mouthLowerDown": 0.2, "mouthUpperUp": 0.15},
    "pucker": {"mouthPucker": 0.9, "mouthFunnel": 0.2},
    "brow_raise": {"browInnerUp": 1.25, "browOuterUp": 1.35},
    "eyes_closed": {"eyeBlink": 1.0},
}  # fmt: skip
_WINK = {"eyeBlink": 1.0, "cheekSquint": 1.0, "mouthSmile": 0.5, "mouthDimple": 0.3, "browDown": 0.4, "noseSneer": 0.2}
_UNSIDED = {"jawOpen", "mouthPucker", "mouthFunnel", "browInnerUp", "mouthShrugLower", "mouthShrugUpper",
            "mouthRollUpper"}  # fmt: skip
_LINEAR, _CAP = 0.9, 1.5
# degrees of gaze at which the lids' action is fully on: they follow the eye down and up, hardly sideways
_LOOK_DEG = {"Down": 17.0, "Up": 15.0, "In": 25.0, "Out": 25.0}
_WIDE_DEG = 35.0


def soft_limit(weight: float) -> float:
    """Lets a sum of action weights pass up to 0.9 and bends it smoothly towards 1.5: beyond that a face would tear."""
    if weight <= _LINEAR:
        return weight
    return _LINEAR + (_CAP - _LINEAR) * math.tanh((weight - _LINEAR) / (_CAP - _LINEAR))


def action_coefficients(row: Row) -> dict[str, float]:
    """Coefficients of the facial actions of a row's expression weights and gaze; each is softly limited to 1.5."""
    actions: dict[str, float] = {}

    def add(action: str, weight: float) -> None:
        actions[action] = actions.get(action, 0.0) + weight

    wink = {"Left": max(row["wink"], 0.0), "Right": max(-row["wink"], 0.0)}
    closed = {side: min(row["eyes_closed"] + wink[side], 1.0) for side in _SIDES}
    for expression, parts in EXPRESSIONS.items():
        if not row[expression]:
            continue
        for action, weight in parts.items():
            for name in [action] if action in _UNSIDED else [action + side for side in _SIDES]:
                add(name, weight * row[expression])
    look = {"Down": -row["gaze_pitch"], "Up": row["gaze_pitch"]}
    for side, outward in (("Left", row["gaze_yaw"]), ("Right", -row["gaze_yaw"])):
        for action, weight in (_WINK if wink[side] else {}).items():
            add(action + side, weight * wink[side])
        for way, angle in (look | {"Out": outward, "In": -outward}).items():
            add(f"eyeLook{way}{side}", max(angle, 0.0) / _LOOK_DEG[way])
        add("eyeWide" + side, max(look["Up"], 0.0) / _WIDE_DEG)  # MakeHuman's look up lifts the lower lid only
        for action in ("eyeSquint", "eyeWide", "eyeLookUp", "eyeLookDown"):  # closed lids do none of these
            actions[action + side] = actions.get(action + side, 0.0) * (1 - closed[side])
        actions["eyeBlink" + side] = min(actions.get("eyeBlink" + side, 0.0), 1.0)
    return {name: soft_limit(value) for name, value in actions.items() if value > 0}


# --- lids -----------------------------------------------------------------------------------------------------------

# facing vertices of the upper and the lower lid's edge at the image's right, from the inner corner outwards
_UPPER_LID, _LOWER_LID = (2569, 2566, 2513, 2512, 2518, 2521, 2524), (2562, 2559, 2556, 2553, 2548, 2545, 2542)


@dataclass(frozen=True, kw_only=True)
class _Lids:
    """The lids of one eye; n vertices of skin and lashes, S stations along the opening."""

    vertices: IntArray
    """[n]."""
    blink: FloatArray
    """[n, 3] MakeHuman's blink on its own average eye."""
    station: FloatArray
    """[n, S] weights of the stations beside each vertex; rows sum to one."""
    upper: IntArray
    lower: IntArray
    """[S] facing vertices."""
    reach: FloatArray
    """[S] how far the blink lowers the upper lid, dm."""
    floor: FloatArray
    """[n] least distance from the eye's centre, in radii of the eyeball."""
    ball: IntArray
    center: int


@functools.cache
def _lids(side: str) -> _Lids:
    head = load_head()
    twin = head.mirrored if side == "Right" else np.arange(len(head.average))
    upper, lower = twin[np.array(_UPPER_LID)], twin[np.array(_LOWER_LID)]
    center = head.joints["l-eye" if side == "Left" else "r-eye"]
    ball = np.flatnonzero(head.part == head.parts.index("eye_left" if side == "Left" else "eye_right"))
    blink = head.act({"eyeBlink" + side: 1.0})
    vertices = np.flatnonzero(abs(blink).max(1) > 0.002)
    vertices = np.union1d(vertices, np.concatenate([upper, lower]))
    along = abs(head.average[:, 0])
    hats = np.stack([np.interp(along[vertices], along[upper], hat) for hat in np.eye(len(upper))], axis=1)
    offset = head.average - head.average[center]
    far = np.linalg.norm(offset[vertices], axis=1) / np.linalg.norm(offset[ball], axis=1).max()
    behind = (far < 0.9) | (offset[vertices, 2] < 0.03)  # the socket, which nobody sees
    return _Lids(
        vertices=vertices,
        blink=blink[vertices],
        station=hats.astype(np.float32),
        upper=upper,
        lower=lower,
        reach=-blink[upper, 1],
        floor=np.where(behind, 0, np.minimum(far, 1.06)).astype(np.float32),
        ball=ball,
        center=center,
    )


def _close(moved: FloatArray, neutral: FloatArray, side: str, blink: float) -> None:
    """Moves the lids of one eye in place: `blink` 1 closes them, and they never enter the eyeball."""
    lids = _lids(side)
    center, offset = neutral[lids.center], moved.take(lids.vertices, axis=0)
    if blink > 0:
        gap = moved[lids.upper, 1] - moved[lids.lower, 1]
        scale = np.maximum(gap * np.float32(1.04 * blink), 0) / lids.reach  # 1.04: tight between stations too
        offset += lids.blink * np.einsum("ns,s->n", lids.station, scale)[:, None]
    offset -= center
    ball = neutral.take(lids.ball, axis=0) - center
    radius = np.sqrt(np.einsum("bi,bi->b", ball, ball).max())
    distance = np.sqrt(np.einsum("ni,ni->n", offset, offset))
    offset *= np.maximum(lids.floor * radius / distance, 1)[:, None]
    offset += center
    moved[lids.vertices] = offset


def expressed(neutral: FloatArray, row: Row) -> FloatArray:
    """A person's face in a row's expression.

    `neutral`: [V, 3] dm from `Head.deform`. Returns the moved vertices [V, 3]. All actions but the blink are added
    linearly, in proportion to the head's size; the lids then close by the share that the blink asks for.
    """
    head = load_head()
    actions = action_coefficients(row)
    blinks = {side: actions.pop("eyeBlink" + side, 0.0) for side in _SIDES}
    moved = head.act(actions)
    moved *= np.float32(head.size(neutral) / head.size(head.average))
    moved += neutral
    for side in _SIDES:
        _close(moved, neutral, side, min(blinks[side], 1.0))
    return moved


# --- pose -----------------------------------------------------------------------------------------------------------


def rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """The matrix that pitches, then yaws, then rolls (degrees; x to the image's right, y up, z to the viewer)."""
    (cy, sy), (cp, sp), (cr, sr) = ((math.cos(a), math.sin(a)) for a in map(math.radians, (yaw, pitch, roll)))
    turn = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    nod = np.array([[1.0, 0.0, 0.0], [0.0, cp, sp], [0.0, -sp, cp]])
    tilt = np.array([[cr, sr, 0.0], [-sr, cr, 0.0], [0.0, 0.0, 1.0]])
    return tilt @ turn @ nod


def head_rotation(row: Row) -> NDArray[np.float64]:
    """The matrix [3, 3] that turns the head's own axes into the camera's."""
    return rotation(row["yaw"], row["pitch"], row["roll"])


def body_rotation(row: Row) -> NDArray[np.float64]:
    """The matrix [3, 3] that turns the shoulders' axes into the camera's: the head moves, the shoulders stay."""
    return rotation(row["body_yaw"], 0.0, 0.0)


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


def posed(
    aligned: FloatArray, share: FloatArray, row: Row, center: NDArray[np.float64] | tuple[float, ...] = (0.0, 0.0, 0.0)
) -> FloatArray:
    """Rotates aligned vertices [V, 3] by the row's pose and moves the point that the head turns about to `center` [3].

    `share` [V] comes from `head_share`.
    """
    offset = np.ascontiguousarray(aligned.T, dtype=np.float32) - HEAD_CENTER_DM.astype(np.float32)[:, None]
    head, body = head_rotation(row).astype(np.float32), body_rotation(row).astype(np.float32)
    turned = np.einsum("ai,in->an", body, offset)  # not @: a threaded product might round differently elsewhere
    turned += np.einsum("ai,in->an", head - body, offset) * share
    turned += np.array(center, dtype=np.float32)[:, None]
    return np.stack([*turned], axis=1)  # faster than a transposed copy
