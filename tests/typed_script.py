"""A user's script, with every call that the documentation promises: `make check` reads it with mypy --strict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import assert_type

import numpy as np
import torch
from PIL import Image

import gantrol


def draw(folder: Path) -> None:
    model = gantrol.load("faces", device="cpu", dtype=torch.float32)
    controls: Mapping[str, gantrol.Control] = model.controls
    for name, control in controls.items():
        print(name, control.unit, control.low, control.high, control.default, control.help)
    pictures: list[Image.Image] = model.generate(
        seeds=[0, 1, 2],
        controls={"age": 60, "yaw": -20},
        truncation_psi=0.7,
        translate=(0.1, 0.0),
        rotate=15.0,
        output="pil",
    )
    pictures[0].save(folder / "0.png")
    pixels: np.ndarray = model.generate([0], output="np")
    images: torch.Tensor = model.generate([0], output="pt")
    print(pixels.shape, images.shape)
    ws: torch.Tensor = model.map(seeds=[0, 1])
    image: torch.Tensor = model.synthesize(ws, noise_mode="const")
    drawn: torch.Tensor = model.generator(torch.randn(1, model.generator.z_dim))
    print(image.shape, drawn.shape, model.discriminator is None)
    saved: Path = model.save_pretrained(folder)
    assert_type(model.generate([0]), list[Image.Image])
    assert_type(model.generate([0], {"age": 60}, output="pt", rotate=10.0), torch.Tensor)
    again: gantrol.Model = gantrol.Model.from_pretrained(saved)
    address: str = again.push_to_hub("user/name", private=True)
    print(address)


def measure(model: gantrol.Model, data: Path) -> float:
    scores: dict[str, float] = gantrol.metrics.evaluate(model, data=data, metrics=["fid", "eqt"], samples=1000)
    return scores["fid"]


def bring() -> gantrol.Model:
    return gantrol.convert.import_checkpoint("official.pkl")


def operate(x: torch.Tensor) -> torch.Tensor:
    f: torch.Tensor | None = gantrol.ops.design_lowpass_filter(numtaps=12, cutoff=2.0, width=1.0, fs=16.0)
    y: torch.Tensor = gantrol.ops.upfirdn2d(x, f, up=2, padding=1)
    y = gantrol.ops.filtered_lrelu(y, fu=f, fd=f, up=2, down=2, padding=11, impl="reference")
    y = gantrol.ops.bias_act(y, act="lrelu")
    return gantrol.ops.modulated_conv2d(y, torch.ones(4, 3, 3, 3), torch.ones(len(x), 3), padding=1)
