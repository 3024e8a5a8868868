"""What MakeHuman's shapes lack for a close portrait, as linear changes of the shape basis.

MakeHuman's targets move the skin; eyeballs, lashes and the seam of the lips do not always follow. Each repair here is
linear in the vertices, so that it can be applied to every shape once, when the asset is built:

- `LipSeam`: upper and lower lip meet (and overlap a little) whatever the mix of shapes;
- `EyeFollowers`: lashes stay on the upper lid's margin; eyeballs go along when the eyes are moved or scaled;
- `symmetric_actions`: a smile is no smirk;
- `own_shapes`: a few broad changes that the targets do not offer (jowls, hollow temples, larger eyes, a lower cranium).

All coordinates are of the average head with the middle between the eyes at the origin (x to the image's right, y up,
z to the viewer, dm).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# vertices of the cropped mesh (see `build`) at the image's right; the mirrored ones are found by symmetry
UPPER_SEAM = [520, 2996, 2990, 2991, 2906, 2918]  # where the lips touch, from the middle to the corner
LOWER_SEAM = [523, 2992, 2993, 2958, 2925, 2931]
LID_MARGIN = [4878, 2569, 2566, 2513, 2512, 2518, 2521, 2524, 2527, 2530, 2533, 2536, 2539, 2542, 2545, 2548, 2553,
              2556, 2559, 2562]  # fmt: skip
UPPER_LID = 11  # so many of LID_MARGIN, corners included, carry lashes
OVERLAP_DM = 0.004
SEAM_REACH_DM = 0.10


def mirrored(points: np.ndarray) -> np.ndarray:
    """For each point [V, 3] of a symmetric set the index of its mirror image."""
    order = np.arange(len(points))
    for i, point in enumerate(points):
        order[i] = np.argmin(((points - point * [-1, 1, 1]) ** 2).sum(1))
    return order


class LipSeam:
    """Closes the lips: both sides of the seam move half of the gap, fading over SEAM_REACH_DM."""

    def __init__(self, canonical: np.ndarray, jaw: np.ndarray, mirror: np.ndarray, skin: np.ndarray) -> None:
        """`jaw` [V, 3]: the displacement of the opened jaw, which tells the lower lip from the upper."""
        self.upper = np.array([*mirror[UPPER_SEAM[:0:-1]], *UPPER_SEAM])
        self.lower = np.array([*mirror[LOWER_SEAM[:0:-1]], *LOWER_SEAM])
        stations = canonical[self.upper, 0]
        middle = (canonical[self.upper, 1] + canonical[self.lower, 1]) / 2
        x, y, z = canonical.T
        ends = 0.24
        hats = np.stack([np.interp(x, stations, row) for row in np.eye(len(stations))], axis=1)
        hats *= np.clip((ends - abs(x)) / (ends - stations[-1]), 0, 1)[:, None]
        drop = np.interp(abs(x), stations[len(LOWER_SEAM) - 1 :], jaw[LOWER_SEAM, 1])
        is_lower = np.clip(jaw[:, 1] / drop * 2 - 0.5, 0, 1)
        near = np.exp(-(((y[:, None] - middle) / SEAM_REACH_DM) ** 2)) * ((z > 0.0) & (y > -1.0) & skin)[:, None]
        self.weights = hats * near * (is_lower - 0.5)[:, None]  # +1/2 of the gap below the seam, -1/2 above it

    def gaps(self, field: np.ndarray) -> np.ndarray:
        return field[self.upper, 1] - field[self.lower, 1]

    def __call__(self, field: np.ndarray, wanted: float = 0.0) -> np.ndarray:
        """`field` [V, 3] with its gap brought to `wanted`."""
        closed = field.copy()
        for _ in range(8):  # neighbouring stations share vertices: a few rounds converge
            closed[:, 1] += self.weights @ (self.gaps(closed) - wanted)
        return closed


class EyeFollowers:
    """Lashes copy the lid margin's displacement; eyeballs and eye joints take its translation and scale."""

    def __init__(self, canonical: np.ndarray, mirror: np.ndarray, part: np.ndarray, eyes: dict[int, int]) -> None:
        """`eyes`: part number of each eyeball -> index of its joint; `part` [V], -1 for joints."""
        self.canonical = canonical
        self.sides = []
        for number, joint in eyes.items():
            margin = np.array(LID_MARGIN) if canonical[joint, 0] > 0 else mirror[LID_MARGIN]
            upper = margin[:UPPER_LID]
            lashes = np.flatnonzero((part == 5) & (canonical[:, 0] * canonical[joint, 0] > 0))
            distance = np.linalg.norm(canonical[lashes, None, :2] - canonical[None, upper, :2], axis=2)
            nearest = 1 / (distance + 0.004) ** 3
            self.sides.append((np.append(np.flatnonzero(part == number), joint), joint, margin, lashes,
                               nearest / nearest.sum(1, keepdims=True)))  # fmt: skip

    def __call__(self, name: str, delta: np.ndarray) -> np.ndarray:
        moved = delta.copy()
        for ball, joint, margin, lashes, weights in self.sides:
            rim = delta[margin]
            moved[lashes] = weights @ rim[:UPPER_LID]
            if name.startswith(("local/eye-trans", "local/eye-scale")):
                spokes = self.canonical[margin, :2] - self.canonical[margin, :2].mean(0)
                scale = (spokes * (rim[:, :2] - rim[:, :2].mean(0))).sum() / (spokes**2).sum()
                if name.startswith("local/eye-trans"):
                    scale = 0.0
                moved[ball] = rim.mean(0) + 0.5 * scale * (self.canonical[ball] - self.canonical[joint])
        return moved


def symmetric_actions(shapes: dict[str, np.ndarray], mirror: np.ndarray) -> dict[str, np.ndarray]:
    """The facial actions, each averaged with the mirror image of its counterpart of the other side."""
    flip = np.array([-1, 1, 1])
    other = {"Left": "Right", "Right": "Left"}
    symmetric = {}
    for name, delta in shapes.items():
        if name.startswith("action/"):
            side = next((side for side in other if name.endswith(side)), "")
            twin = name.removesuffix(side) + other[side] if side else name
            symmetric[name] = (delta + shapes[twin][mirror] * flip) / 2
    return symmetric


def _step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def own_shapes(canonical: np.ndarray, part: np.ndarray, eyes: dict[int, int]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (name, displacement [V, 3] in dm) of the shapes that MakeHuman lacks."""
    x, y, z = canonical.T
    side, skin, zero = np.sign(x), part == 0, np.zeros_like(x)

    def bump(cx: float, cy: float, cz: float, rx: float, ry: float, rz: float) -> np.ndarray:
        return np.exp(-(((abs(x) - cx) / rx) ** 2) - ((y - cy) / ry) ** 2 - ((z - cz) / rz) ** 2) * skin

    larger = np.zeros_like(canonical)
    for number, joint in eyes.items():
        center = canonical[joint]
        offset = canonical - center
        reach = np.hypot(offset[:, 0], offset[:, 1] * 1.25)
        weight = (1 - _step(reach, 0.15, 0.40)) * _step(z, -0.25, -0.05) * np.isin(part, (0, 5))
        larger += weight[:, None] * offset * [0.2, 0.2, 0.1]
        ball = part == number
        larger[ball] = offset[ball] * 0.1
    yield "own/eye-size", larger

    above = np.maximum(y - 0.22, 0)
    lowered = -0.25 * above * _step(y, 0.1, 0.7) * (part >= 0)
    yield "own/cranium-low", np.stack([zero, lowered, zero], 1)
    fuller = 0.10 * _step(y, 0.05, 0.7) * side * np.minimum(abs(x) / 0.5, 1) * (part >= 0)
    yield "own/cranium-wide", np.stack([fuller, zero, zero], 1)

    jowl = bump(0.38, -0.90, -0.05, 0.18, 0.16, 0.35)
    fold = bump(0.28, -0.80, 0.12, 0.06, 0.13, 0.2)  # the line from the mouth's corner down: the jowl's front edge
    yield "own/jowls", np.stack([0.02 * side * jowl, -0.07 * jowl, 0.02 * jowl - 0.022 * fold], 1)
    temple = bump(0.62, 0.30, -0.15, 0.25, 0.20, 0.25)
    hollow = bump(0.52, -0.50, -0.02, 0.18, 0.18, 0.25)
    yield "own/hollow", np.stack([-side * (0.055 * temple + 0.05 * hollow), zero, -0.035 * hollow], 1)
    ridge = np.exp(-(((y - 0.13) / 0.085) ** 2)) * (1 - _step(abs(x), 0.30, 0.56)) * _step(z, -0.1, 0.1) * skin
    yield "own/brow-ridge", np.stack([zero, -0.012 * ridge, 0.05 * ridge], 1)
    corner = bump(0.58, -0.66, -0.35, 0.22, 0.20, 0.35)
    yield "own/jaw-corner", np.stack([0.07 * side * corner, -0.03 * corner, zero], 1)
    puffy = bump(0.42, -0.48, 0.05, 0.22, 0.24, 0.3)
    yield "own/cheek-round", np.stack([0.05 * side * puffy, zero, 0.045 * puffy], 1)
