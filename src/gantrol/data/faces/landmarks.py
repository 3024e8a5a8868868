"""The 68 facial landmarks of the iBUG / 300-W markup, as fixed points of the head mesh.

Each landmark is the middle of two vertices (often the same one twice), chosen once on the average head: lid margins and
lip contours are the mesh's own edge loops, brows lie where `facial_hair` paints them. They follow every shape,
expression and pose, because they are part of the mesh. The jaw points 0–16 are therefore fixed places on the skin, from
the ear along the edge of the jaw: on a turned head they do not slide to the silhouette as annotators' points do.

Order (Sagonas et al., "300 Faces in-the-Wild", 2013), image-left first: jaw 0–16, brows 17–21 and 22–26, bridge of the
nose 27–30, nostrils 31–35, eyes 36–41 and 42–47 (the corner at the image's left first, then clockwise), outer lips
48–59, inner lips 60–67.
"""

from __future__ import annotations

import functools

import numpy as np

from gantrol.data.faces.head import FloatArray, IntArray, load_head

# pairs of vertices; the half of the markup at the image's right, the other half being its mirror image
_MIDDLE = {8: (2009, 2009), 27: (132, 132), 28: (131, 131), 29: (201, 201), 30: (1767, 1767), 33: (343, 343),
           51: (455, 455), 57: (492, 492), 62: (474, 474), 66: (493, 493)}  # fmt: skip
_RIGHT = {
    16: (3303, 3303), 15: (3301, 3301), 14: (3302, 3302), 13: (4347, 3325), 12: (3185, 3323), 11: (4028, 4028),
    10: (3346, 3344), 9: (3348, 3348),
    22: (2734, 2734), 23: (2725, 2731), 24: (2730, 2730), 25: (2732, 4365), 26: (4073, 4073),
    34: (2805, 2848), 35: (2847, 2847),
    42: (4878, 4878), 43: (2566, 2566), 44: (2512, 2512), 45: (2533, 2533), 46: (2553, 2553), 47: (2559, 2559),
    52: (2938, 2938), 53: (4453, 4453), 54: (2977, 2977), 55: (2963, 2963), 56: (2969, 2969),
    63: (2954, 2954), 64: (2919, 2919), 65: (2964, 2964),
}  # fmt: skip
# fmt: off
MIRROR = np.array([*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
                   45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
                   54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65])
# fmt: on
"""[68] the landmark that each becomes when the image is flipped left to right."""


@functools.cache
def landmark_vertices() -> IntArray:
    """[68, 2] the two vertices between which each landmark lies."""
    pairs = np.zeros((68, 2), dtype=np.int64)
    for number, pair in (_MIDDLE | _RIGHT).items():
        pairs[number] = pair
    for number, pair in _RIGHT.items():
        pairs[MIRROR[number]] = load_head().mirrored[list(pair)]
    return pairs


def landmarks(vertices: FloatArray) -> FloatArray:
    """The 68 landmarks of a deformed (or posed, or projected) head.

    `vertices`: [V, 3] of the head mesh, in any coordinates (or [V, 2] of an image). Returns [68, 3] (or [68, 2]) in the
    same coordinates. Source of the markup: 300-W, see the module's docstring.
    """
    pairs = landmark_vertices()
    points: FloatArray = (vertices[pairs[:, 0]] + vertices[pairs[:, 1]]) * np.float32(0.5)
    return points
