"""Draws a folder of dogs with a dataset.json: a stand-in for your own labelled pictures.

    python examples/drawn_dogs.py dogs 400

What matters is the end of `main`: a dataset.json beside the pictures, with a row of labels for each file and a schema
that says what they are. `gantrol data import dogs --out dogs.zip --size 32` takes both along.
"""

from __future__ import annotations

import colorsys
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

SIDE = 192
SCHEMA: dict[str, dict[str, Any]] = {
    "turn": {"unit": "degrees", "low": -40, "high": 40, "mirror": -1, "help": "positive: towards the picture's right"},
    "coat": {"kind": "color", "unit": "sRGB 0-1", "help": "colour of the fur"},
    "ears": {"kind": "choice", "choices": ["pricked", "hanging"], "help": "how the ears are carried"},
    "tongue": {"unit": "0-1", "low": 0, "high": 1, "help": "how far it hangs out"},
}


def random_dog(rng: np.random.Generator) -> dict[str, Any]:
    """Labels of one dog."""
    coat = colorsys.hsv_to_rgb(rng.uniform(0.04, 0.12), rng.uniform(0.1, 0.75), rng.uniform(0.2, 0.95))
    return {
        "turn": round(float(rng.uniform(-40, 40)), 1),
        "coat": [round(channel, 3) for channel in coat],
        "ears": str(rng.choice(SCHEMA["ears"]["choices"])),
        "tongue": round(float(rng.uniform(0, 1)), 2),
    }


def draw(dog: dict[str, Any], rng: np.random.Generator) -> Image.Image:
    """The picture; what no label says (backdrop, size, place) is drawn from `rng`."""
    backdrop = tuple(int(255 * c) for c in colorsys.hsv_to_rgb(rng.uniform(0.25, 0.65), 0.35, rng.uniform(0.5, 0.95)))
    fur, shade = (tuple(int(255 * k * c) for c in dog["coat"]) for k in (1.0, 0.7))
    picture = Image.new("RGB", (SIDE, SIDE), backdrop)
    pen = ImageDraw.Draw(picture)
    size = rng.uniform(0.9, 1.1)
    middle = SIDE / 2 + rng.uniform(-6, 6, 2)
    turn = np.sin(np.radians(dog["turn"]))

    def place(x: float, y: float, depth: float) -> tuple[float, float]:
        """Where a point of the head lands: what is in front moves further when the head turns."""
        return middle[0] + size * (x * np.sqrt(1 - turn**2) + 60 * depth * turn), middle[1] + size * y

    def ellipse(x: float, y: float, depth: float, width: float, height: float, color: Any) -> None:
        u, v = place(x, y, depth)
        pen.ellipse([u - width * size, v - height * size, u + width * size, v + height * size], fill=color)

    ellipse(0, 95, -0.2, 48, 42, fur)
    ellipse(0, 0, 0, 54, 56, fur)
    for side in (-1, 1):
        if dog["ears"] == "pricked":
            corners = [place(side * x, y, -0.1) for x, y in ((18, -46), (50, -20), (46, -86))]
            pen.polygon(corners, fill=shade)
        else:
            ellipse(side * 54, 2, -0.1, 15, 42, shade)
        ellipse(side * 22, -14, 0.6, 7, 8, (25, 18, 15))
    ellipse(0, 44, 0.9, 11, 6 + 22 * dog["tongue"], (226, 96, 110))
    ellipse(0, 24, 0.8, 27, 20, tuple(int(255 - 0.6 * (255 - c)) for c in fur))
    ellipse(0, 12, 1.0, 11, 8, (25, 18, 15))
    return picture


def main(folder: Path, count: int) -> None:
    """Writes `count` pictures and their dataset.json."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        dog = random_dog(rng)
        name = f"dog{number:04d}.jpg"
        draw(dog, rng).save(folder / name, quality=92)
        rows.append([name, dog])
    (folder / "dataset.json").write_text(json.dumps({"attributes": rows, "schema": SCHEMA}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
