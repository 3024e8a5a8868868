"""What else the renderer knows about each pixel: depth, normals, segmentation, landmarks.

They are sampled at the pixels' centres rather than averaged, so that a pixel has one part, and the depth of that part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gantrol.data.faces.buffers import SEGMENTS, normals, segments
from gantrol.data.faces.camera import Camera
from gantrol.data.faces.head import load_head
from gantrol.data.faces.labels import complete_row
from gantrol.data.faces.landmarks import landmarks
from gantrol.data.faces.render import expose, sample_grid, set_up
from gantrol.data.faces.shot import Shot
from gantrol.errors import ConfigError, nearest

__all__ = ["CHANNELS", "SEGMENTS", "check_channels", "render_channels"]

CHANNELS = ("depth", "normals", "segmentation", "landmarks")


def check_channels(names: Sequence[str]) -> None:
    """Raises ConfigError for a name that is not a channel."""
    for name in names:
        if name not in CHANNELS:
            raise ConfigError(f"unknown channel {name!r}; {nearest(name, CHANNELS)}")


def render_channels(
    row: Mapping[str, Any], size_px: int, names: Sequence[str] = CHANNELS
) -> dict[str, NDArray[np.generic]]:
    """Renders some channels of a label row.

    Returns, for each name asked for: `depth` float16 [S, S], dm from the camera (inf: background); `normals` int8
    [S, S, 3], 127 × the unit normal in the camera's axes (x to the image's right, y up, z to the viewer; 0:
    background); `segmentation` uint8 [S, S], an index into SEGMENTS; `landmarks` float32 [68, 2], pixels from the
    picture's upper left corner, in the order of the 300-W markup, hidden ones included.
    """
    check_channels(names)
    side = sample_grid(size_px)
    shot, lens = set_up(complete_row(row), side)
    found: dict[str, NDArray[np.generic]] = {}
    if set(names) - {"landmarks"}:
        frame = expose(shot, lens, side)
        step = side // size_px

        def at_pixels(samples: NDArray[np.generic]) -> NDArray[np.generic]:
            grid = samples.reshape(side, side, *samples.shape[1:])
            return np.ascontiguousarray(grid[step // 2 :: step, step // 2 :: step])

        if "depth" in names:
            found["depth"] = at_pixels(frame.depth).astype(np.float16)
        if "normals" in names:
            found["normals"] = at_pixels(np.round(normals(shot, frame) * 127).astype(np.int8))
        if "segmentation" in names:
            found["segmentation"] = at_pixels(segments(shot, frame))
    if "landmarks" in names:
        found["landmarks"] = _landmarks_px(shot, lens, size_px)
    return {name: found[name] for name in names}


def _landmarks_px(shot: Shot, lens: Camera, size_px: int) -> NDArray[np.float32]:
    points = landmarks(shot.vertices[: len(load_head().template)])
    return lens.project(points, size_px)[0]
