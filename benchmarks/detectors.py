"""Public detectors that never saw a portrait of ours: OpenCV's frontal-face cascade and MediaPipe's face landmarks.

They are no dependency of gantrol: `INSTALL` brings them. Both read all pictures with one and the same setting; none is
left out, none is repaired.

N pictures, S their side in px.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from itertools import count as counting
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.readability import correlation
from gantrol.errors import MissingExtraError

Pictures = NDArray[np.uint8]
FloatArray = NDArray[np.float64]
Row = dict[str, Any]

INSTALL = (
    "pip install 'opencv-python-headless<5' absl-py attrs flatbuffers matplotlib 'protobuf>=4.25.3,<5' "
    "&& pip install --no-deps mediapipe==0.10.21"
)
"""Into an environment of its own, Python 3.11 or 3.12: OpenCV 5 is without cascades, later MediaPipe without models."""

CASCADE = "haarcascade_frontalface_default.xml"
SCALE_FACTOR, MIN_NEIGHBORS = 1.1, 3  # OpenCV's defaults
MIN_FACE = 0.3
"""Smallest box, in sides of the picture: 38 px of 128 (smaller ones are eyes, mouths and buttons)."""
MAX_YAW, MAX_PITCH = 25.0, 15.0
"""Degrees: what "frontal" means for the cascade's pictures."""


def detector(name: str) -> ModuleType:
    """Imports cv2 or mediapipe; where it is absent or too new, one line that says how to install both."""
    try:
        module = importlib.import_module(name)
        found = hasattr(module, "CascadeClassifier" if name == "cv2" else "solutions")
    except ImportError:
        found = False
    if not found:
        raise MissingExtraError(f"this needs {name!r}, which is absent or has changed too much; try: {INSTALL}")
    return module


def portraits(count: int, size_px: int, seed: int, *, frontal: bool) -> tuple[list[Row], Pictures]:
    """The first rows of a seed (with `frontal` those within MAX_YAW and MAX_PITCH), and their pictures [N, S, S, 3]."""
    from gantrol.data.faces import render, sample_row

    drawn = (sample_row(seed, index) for index in counting())
    chosen = (row for row in drawn if not frontal or (abs(row["yaw"]) <= MAX_YAW and abs(row["pitch"]) <= MAX_PITCH))
    rows = list(islice(chosen, count))
    pictures = []
    for start in range(0, count, 10):
        pictures.append(render(rows[start : start + 10], size_px))
        print(f"\rrendered {min(start + 10, count)} of {count}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows, np.concatenate(pictures)


def cascade(rows: Sequence[Row], pictures: Pictures, misses: Path | None = None) -> dict[str, Any]:
    """In how many pictures [N, S, S, 3] OpenCV's cascade finds exactly one face, and what goes with failures.

    `misses`: a file for a sheet of the other pictures.
    """
    cv2 = detector("cv2")
    finder = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / CASCADE))

    def boxes(picture: Pictures, neighbors: int, upscale: int) -> list[list[int]]:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        if upscale > 1:
            grey = cv2.resize(grey, None, fx=upscale, fy=upscale, interpolation=cv2.INTER_CUBIC)
        least = (round(MIN_FACE * len(grey)),) * 2
        found = finder.detectMultiScale(grey, scaleFactor=SCALE_FACTOR, minNeighbors=neighbors, minSize=least)
        return [[int(part) for part in box] for box in found]

    def share(neighbors: int, upscale: int) -> float:
        return sum(len(boxes(picture, neighbors, upscale)) == 1 for picture in pictures) / len(pictures)

    found = [boxes(picture, MIN_NEIGHBORS, 1) for picture in pictures]
    counts = np.array([len(each) for each in found])
    if misses is not None:
        draw_misses(misses, rows, pictures, found)
    return {
        "detector": f"OpenCV {cv2.__version__}, {CASCADE}: scaleFactor {SCALE_FACTOR}, minNeighbors {MIN_NEIGHBORS}, "
        f"minSize {round(MIN_FACE * pictures.shape[1])} px, the grey picture as it is",
        "pictures": f"{len(rows)} of {pictures.shape[1]} px, {_extent('yaw', rows)}, {_extent('pitch', rows)}",
        "exactly_one": float((counts == 1).mean()),
        "none": float((counts == 0).mean()),
        "several": float((counts > 1).mean()),
        "sensitivity": {f"minNeighbors {n}, enlarged {k}x": share(n, k) for k in (1, 2) for n in (3, 4, 5)},
        "failures_go_with": associations(rows, counts != 1),
    }


def _extent(name: str, rows: Sequence[Row]) -> str:
    values = [row[name] for row in rows]
    return f"{name} {min(values):.0f}° to {max(values):.0f}°"


def associations(rows: Sequence[Row], failed: NDArray[np.bool_], top: int = 12) -> dict[str, float]:
    """What failures go with, the strongest first.

    For numbers the correlation with the value or its absolute value, for colours with their brightness, for choices the
    correlation with being that choice.
    """
    found: dict[str, float] = {}
    outcome = failed.astype(np.float64)
    for name, value in rows[0].items():
        if name == "identity" or name.endswith("seed"):
            continue
        if isinstance(value, str):
            for choice in sorted({str(row[name]) for row in rows}):
                found[f"{name} = {choice}"] = correlation(
                    np.array([float(row[name] == choice) for row in rows]), outcome
                )
            continue
        values = np.array([row[name] for row in rows], dtype=np.float64)
        if values.ndim == 2:
            found[f"brightness of {name}"] = correlation(values @ [0.299, 0.587, 0.114], outcome)
            continue
        found[name] = correlation(values, outcome)
        if values.min() < 0:
            found[f"|{name}|"] = correlation(abs(values), outcome)
    strongest = sorted(found, key=lambda name: -abs(found[name]))[:top]
    return {name: round(found[name], 3) for name in strongest}


def draw_misses(path: Path, rows: Sequence[Row], pictures: Pictures, found: Sequence[list[list[int]]]) -> None:
    """A sheet of the pictures in which the cascade does not find exactly one face, its boxes drawn in."""
    from PIL import Image, ImageDraw

    missed = [index for index, boxes in enumerate(found) if len(boxes) != 1]
    side, columns = max(pictures.shape[1], 160), 10
    lines = -(-max(len(missed), 1) // columns)
    sheet = Image.new("RGB", (columns * side, lines * (side + 26)), "white")
    pen = ImageDraw.Draw(sheet)
    for place, index in enumerate(missed):
        picture = Image.fromarray(pictures[index]).resize((side, side), Image.Resampling.BICUBIC)
        scale = side / pictures.shape[1]
        for x, y, width, height in found[index]:
            box = [x * scale, y * scale, (x + width) * scale, (y + height) * scale]
            ImageDraw.Draw(picture).rectangle(box, outline=(0, 255, 0))
        left, top = place % columns * side, place // columns * (side + 26)
        sheet.paste(picture, (left, top))
        row = rows[index]
        pen.text((left + 2, top + side), f"#{index} {row['hair_style']} tone {row['skin_tone']:.2f}", fill="black")
        light = f"light {row['light_azimuth']:.0f} {row['light_elevation']:.0f}"
        pen.text((left + 2, top + side + 12), f"{light} yaw {row['yaw']:.0f} {row['pitch']:.0f}", fill="black")
    sheet.save(path)


# MediaPipe's numbering of its 468 landmarks; "left" and "right" are the image's
_EYE_LEFT, _EYE_RIGHT, _EDGE_LEFT, _EDGE_RIGHT = 33, 263, 234, 454
_HAIRLINE, _UNDER_NOSE, _CHIN = 10, 2, 152
_CHEEKS = 50, 280
_LIPS, _CORNERS = (13, 14), (61, 291)
_LIDS = ((159, 145, 33, 133), (386, 374, 362, 263))  # upper, lower, and the corners of each eye


def head_angles(landmarks: FloatArray) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees, in the labels' directions, from landmarks [468, 3] (x right, y down, z away).

    The head's axes are the line through eyes and face edges and the line from the nose to the hairline, neither of
    which moves with the mouth; the angles are those of the matrix roll · yaw · pitch whose columns are these axes.
    Pitch has a constant offset: that line is not upright in a head that looks straight ahead.
    """
    points = landmarks * [1.0, -1.0, -1.0]  # y up, z to the viewer
    across = _unit(points[_EYE_RIGHT] - points[_EYE_LEFT]) + _unit(points[_EDGE_RIGHT] - points[_EDGE_LEFT])
    across = _unit(across)
    forward = _unit(np.cross(across, points[_HAIRLINE] - points[_UNDER_NOSE]))
    up = np.cross(forward, across)
    yaw = np.arctan2(-across[2], np.hypot(across[0], across[1]))
    pitch = np.arctan2(-up[2], forward[2])
    roll = np.arctan2(-across[1], across[0])
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))


def _unit(vector: FloatArray) -> FloatArray:
    unit: FloatArray = vector / np.linalg.norm(vector)
    return unit


def mesh(rows: Sequence[Row], pictures: Pictures) -> dict[str, Any]:
    """How well pose, and a little more, computed from MediaPipe's landmarks agrees with the labels."""
    os.environ.setdefault("GLOG_minloglevel", "2")  # it must know before its import that nobody wants its log
    cv2, mediapipe = detector("cv2"), detector("mediapipe")
    found: list[int] = []
    measured: list[dict[str, float]] = []
    exactly_one = 0
    with mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=2) as finder:
        for index, picture in enumerate(pictures):
            enlarged = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
            bordered = cv2.copyMakeBorder(enlarged, *[len(enlarged) // 4] * 4, cv2.BORDER_REPLICATE)
            faces = finder.process(bordered).multi_face_landmarks or []
            exactly_one += len(faces) == 1
            if faces:  # landmarks come in widths of the bordered picture; one and a half of ours
                points = np.array([[point.x, point.y, point.z] for point in faces[0].landmark])
                found.append(index)
                measured.append(measure_face((points * 1.5 - [0.25, 0.25, 0]) * len(picture), picture))
    labels: dict[str, dict[str, Any]] = {}
    for name in ("yaw", "pitch", "roll") if found else ():
        label = np.array([rows[index][name] for index in found])
        value = np.array([each[name] for each in measured])
        offset = float(np.median(value - label))
        labels[name] = {
            "correlation": correlation(label, value),
            "mean_error_degrees": float(np.abs(value - label - offset).mean()),
            "offset_degrees": offset,
            "spread_degrees": float(np.abs(label - np.median(label)).mean()),
        }
    for name, how in _HINTS.items() if found else ():
        label = np.array([rows[index][name] for index in found])
        label = np.sin(np.radians(label)) if name == "light_azimuth" else label
        labels[name] = {"correlation": correlation(label, np.array([each[name] for each in measured])), "from": how}
    return {
        "detector": f"MediaPipe {mediapipe.__version__}, face mesh with its defaults for still pictures",
        "pictures": f"{len(rows)} of {pictures.shape[1]} px, {_extent('yaw', rows)}, "
        "enlarged 2x, with a border of a quarter of their side",
        "found": len(found) / len(rows),
        "exactly_one": exactly_one / len(rows),
        "labels": labels,
    }


_HINTS = {
    "light_azimuth": "log brightness of the right cheek over the left, with the azimuth's sine",
    "smile": "width of the mouth over the distance of the eyes",
    "mouth_open": "gap of the lips over the height of the face",
    "eyes_closed": "opening of the eyes over their width (negative: closed)",
}


def measure_face(points: FloatArray, picture: Pictures) -> dict[str, float]:
    """The head's angles and the measures of `_HINTS` from landmarks [468, 3] in px of a picture [S, S, 3]."""
    yaw, pitch, roll = head_angles(points)

    def distance(a: int, b: int) -> float:
        return float(np.linalg.norm(points[a] - points[b]))

    def brightness(index: int) -> float:
        side, reach = len(picture), len(picture) // 40
        x, y = np.clip(points[index, :2].astype(int), reach, side - reach - 1)
        return float(picture[y - reach : y + reach + 1, x - reach : x + reach + 1].mean()) + 1.0

    lids = [distance(upper, lower) / distance(a, b) for upper, lower, a, b in _LIDS]
    return {
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
        "light_azimuth": float(np.log(brightness(_CHEEKS[1]) / brightness(_CHEEKS[0]))),
        "smile": distance(*_CORNERS) / distance(_EYE_LEFT, _EYE_RIGHT),
        "mouth_open": distance(*_LIPS) / distance(_HAIRLINE, _CHIN),
        "eyes_closed": sum(lids) / 2,
    }
