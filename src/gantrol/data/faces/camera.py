"""The camera: a pinhole whose focal length sets its distance, and the framing of aligned portrait sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces.attributes import Row
from gantrol.data.faces.head import FloatArray, load_head

EXTENT_DM = 2.85
"""What the picture's side spans in the plane through the head's middle."""
_SENSOR_MM = 24.0  # the short side of a 24 × 36 mm frame


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera on the z axis that looks along −z at the origin; its picture may be turned and shifted."""

    distance: float
    """dm from the origin."""
    extent: float = EXTENT_DM
    """dm that the picture's side spans in the plane z = 0."""
    turn: NDArray[np.float64]
    """[2, 2] rotates the picture plane."""
    center: NDArray[np.float64]
    """[2] dm: the point of the plane z = 0 in the picture's middle, before the rotation."""

    def project(self, vertices: FloatArray, side: int) -> tuple[FloatArray, FloatArray]:
        """Projects vertices [V, 3] in dm to sample coordinates [V, 2] (y down) and depth [V] (greater is farther)."""
        depth = self.distance - vertices[:, 2]
        scale = self.distance / depth
        x, y = vertices[:, 0] * scale - self.center[0], vertices[:, 1] * scale - self.center[1]
        samples = side / self.extent
        right, up = x * self.turn[0, 0] + y * self.turn[0, 1], x * self.turn[1, 0] + y * self.turn[1, 1]
        xy = np.stack([right * samples + side / 2, side / 2 - up * samples], axis=1)
        return xy.astype(np.float32), depth.astype(np.float32)


def camera(row: Row, vertices: FloatArray) -> Camera:
    """The camera of a row; `vertices` [V, 3] (posed, the head's middle at the origin) steer the aligned framing.

    Aligned portraits are cut out as FFHQ's are (Karras et al. 2019, appendix A): a square upright on the line between
    the eyes and the line from the eyes to the mouth, its side four times the eye distance or 3.6 times the way to the
    mouth.
    """
    distance = row["focal_length"] * EXTENT_DM / _SENSOR_MM
    level = Camera(distance=distance, turn=np.eye(2), center=np.zeros(2))
    if row["framing"] == "free":
        return level
    joints = load_head().joints
    points = vertices[[joints["r-eye"], joints["l-eye"], joints["mouth"]]].astype(np.float64)
    plane = points[:, :2] * (distance / (distance - points[:, 2:]))
    eyes = (plane[0] + plane[1]) / 2
    across, down = plane[1] - plane[0], plane[2] - eyes
    x = across + np.array([-down[1], down[0]])  # the way to the mouth, turned to point right
    x /= np.hypot(*x)
    extent = 2 * max(np.hypot(*across) * 2.0, np.hypot(*down) * 1.8)
    return Camera(distance=distance, extent=float(extent), turn=np.array([x, [-x[1], x[0]]]), center=eyes + 0.1 * down)
