"""The pictures of the page about the portraits: contact sheets, a sweep of every attribute, styles, channels.

`python docs/portrait_pictures.py` makes them anew (a few minutes). Each sweep changes one attribute of one label row;
everything else keeps its value, so what differs along a strip is what the attribute does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gantrol.data.faces import ATTRIBUTES, render, sample_row
from gantrol.data.faces.channels import SEGMENTS, render_channels
from gantrol.data.faces.counterfactual import sweep_values, swept_rows
from gantrol.data.faces.labels import STYLES
from gantrol.pictures import captioned_sheet, image_grid, labelled_grid, save_image

IMAGES = Path(__file__).parent / "images"
SIZE_PX = 112

# sheet -> attributes, and what the person swept over needs so that they can be seen
SHEETS: dict[str, tuple[str, ...]] = {
    "person": ("identity", "gender", "african", "asian", "european", "weight", "skin_tone", "freckles", "eye_color",
               "age"),
    "pose": ("yaw", "pitch", "roll", "body_yaw", "gaze_yaw", "gaze_pitch", "focal_length", "framing"),
    "expression": ("smile", "laugh", "sad", "surprised", "angry", "disgusted", "afraid", "wink", "mouth_open", "pucker",
                   "brow_raise", "eyes_closed"),
    "hair": ("hair_style", "hair_color", "grey", "beard"),
    "wear": ("glasses", "hat", "clothes_style", "clothes"),
    "light": ("light_azimuth", "light_elevation", "light_softness", "light_fill", "light_warmth"),
    "backdrop": ("background_style", "background", "scene_seed"),
    "style": ("style",),
}  # fmt: skip
BASE: dict[str, Any] = {"identity": 4, "age": 28, "gender": 0.3, "european": 0.8, "african": 0.1, "asian": 0.1,
                        "skin_tone": 0.75, "hair_style": "bob"}  # fmt: skip
SEEN_ON: dict[str, Mapping[str, Any]] = {
    "gender": {"hair_style": "short"},
    "freckles": {"skin_tone": 0.9, "hair_style": "bun"},
    "african": {"asian": 0.0, "european": 0.2, "hair_style": "bun"},
    "asian": {"african": 0.0, "european": 0.2, "hair_style": "bun"},
    "european": {"african": 0.2, "asian": 0.0, "hair_style": "bun"},
    "skin_tone": {"hair_style": "short"},
    "weight": {"hair_style": "bun"},
    "beard": {"identity": 4, "gender": 1.0, "age": 35, "hair_style": "short"},
    "grey": {"age": 60, "hair_style": "wavy"},
    "hair_style": {"age": 30},
    "framing": {"yaw": 15, "roll": 12},
    "background": {"background_style": "studio"},
    "scene_seed": {"background_style": "city"},
    "light_softness": {"light_azimuth": 50, "light_fill": 0.2},
    "light_fill": {"light_azimuth": 60},
    "light_elevation": {"light_azimuth": 10},
}


def sweep(name: str) -> list[tuple[str, np.ndarray]]:
    """(caption, at most eight pictures) of one attribute."""
    values = sweep_values(name, steps=8)
    rows = swept_rows(BASE | SEEN_ON.get(name, {}), name, values)
    pictures = render(rows, SIZE_PX)
    return [("" if start else name, pictures[start : start + 8]) for start in range(0, len(rows), 8)]


def labelled(rows: list[dict[str, Any]]) -> list[list[str]]:
    """What is printed beneath each picture."""
    lines = []
    for row in rows:
        light = f"light {row['light_azimuth']:.0f}°/{row['light_elevation']:.0f}°"
        expressions = ", ".join(f"{name} {row[name]:.2f}" for name in SHEETS["expression"] if row[name])
        lines.append([f"{row['age']:.0f} years, yaw {row['yaw']:.0f}°, {light}", expressions or "neutral"])
    return lines


def main() -> None:
    """Writes every picture."""
    missing = set(ATTRIBUTES) - {name for names in SHEETS.values() for name in names}
    assert not missing, missing
    rows = [sample_row(0, index) for index in range(64)]
    captions = [[f"{row['age']:.0f} years, yaw {row['yaw']:.0f}°", row["hair_style"]] for row in rows]
    save_image(IMAGES / "portraits.jpg", labelled_grid(render(rows, 128), captions, columns=8))
    rows = [sample_row(1, index) for index in range(15)]
    save_image(IMAGES / "portraits_256.jpg", labelled_grid(render(rows, 256), labelled(rows), columns=5))
    for sheet, names in SHEETS.items():
        if sheet != "style":
            strips = [strip for name in names for strip in sweep(name)]
            save_image(IMAGES / f"sweep_{sheet}.jpg", captioned_sheet(strips))
    people = [sample_row(1, index) for index in range(8)]
    strips = [(style, render([row | {"style": style} for row in people], 128)) for style in STYLES]
    save_image(IMAGES / "styles.jpg", captioned_sheet(strips))
    save_image(IMAGES / "channels.png", channels([sample_row(1, index) for index in (0, 3, 6)]))
    ages = []
    for identity, gender, style in ((3, 0.1, "long"), (8, 0.9, "short"), (12, 0.2, "curly")):
        person = BASE | {"identity": identity, "gender": gender, "hair_style": style}
        ages.append(render(swept_rows(person, "age", [8, 18, 30, 45, 60, 75, 85]), 128))
    save_image(IMAGES / "ages.jpg", image_grid(np.concatenate(ages), columns=7))


def channels(rows: list[dict[str, Any]]) -> Image.Image:
    """Picture, depth, normals, segmentation and landmarks of some rows side by side."""
    colors = np.random.default_rng(3).integers(40, 255, (len(SEGMENTS), 3)).astype(np.uint8)
    tiles = []
    for row in rows:
        picture, found = render([row], 192)[0], render_channels(row, 192)
        depth = np.asarray(found["depth"], dtype=np.float64)
        near, far = depth.min(), depth[np.isfinite(depth)].max()
        grey = np.where(np.isfinite(depth), 255 - 200 * (depth - near) / (far - near), 0).astype(np.uint8)
        marked = picture.copy()
        for x, y in np.asarray(found["landmarks"]).round().astype(int):
            if 1 <= x < 191 and 1 <= y < 191:
                marked[y - 1 : y + 2, x - 1 : x + 2] = (80, 255, 80)
        tiles += [picture, np.repeat(grey[:, :, None], 3, axis=2),
                  (np.asarray(found["normals"], dtype=np.int16) + 128).astype(np.uint8),
                  colors[np.asarray(found["segmentation"])], marked]  # fmt: skip
    return image_grid(np.stack(tiles), columns=5)


if __name__ == "__main__":
    main()
