"""The reference vectors of tests/golden as built models, and their tolerances."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gantrol.convert.nvidia_names import load_official
from gantrol.models import (
    StyleGAN2Config,
    StyleGAN2Discriminator,
    StyleGAN2DiscriminatorConfig,
    StyleGAN2Generator,
    StyleGAN3Config,
    StyleGAN3Generator,
)
from tests.reference import load


class Golden:
    """One fixture: its description `info`, its `tensors`, and comparison at its own tolerances."""

    def __init__(self, name: str) -> None:
        self.info, self.tensors = load(name)
        self.tolerance: dict[str, float] = self.info["recommended_tolerance"]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def get(self, name: str) -> Tensor | None:
        return self.tensors.get(name)

    @property
    def state(self) -> dict[str, Tensor]:
        return {k.removeprefix("state."): v for k, v in self.tensors.items() if k.startswith("state.")}

    def check(self, got: Tensor, name: str) -> None:
        """Fails unless `got` is the expected tensor `name`, as an output."""
        t = self.tolerance
        atol = t.get("image_atol", t.get("logits_atol", 0.0))
        rtol = t.get("image_rtol", t.get("logits_rtol", 0.0))
        if name.startswith("ws"):
            atol, rtol = t.get("ws_atol", atol), rtol if "ws_atol" not in t else 0.0
        self._compare(got, name, atol, rtol, t["relative_to_max_floor_outputs"])

    def check_gradient(self, got: Tensor, name: str) -> None:
        """Fails unless `got` is the expected tensor `name`, as a gradient."""
        t = self.tolerance
        atol = t["grad_atol_relative_to_max"] * float(self[name].abs().max())
        self._compare(got, name, atol, t["grad_rtol"], t["relative_to_max_floor_gradients"])

    def _compare(self, got: Tensor, name: str, atol: float, rtol: float, floor: float) -> None:
        expected = self[name]
        assert got.shape == expected.shape, name
        error = (got.detach() - expected).abs()
        allowed = (atol + rtol * expected.abs()).clamp_min(floor * float(expected.abs().max()))
        worst = float((error / allowed).max())
        assert worst <= 1, f"{name}: {worst:.2f} times the allowed error"


def _common(options: dict[str, Any]) -> dict[str, Any]:
    names = {"img_resolution": "resolution_px", "img_channels": "channels"}
    config = {names.get(name, name): value for name, value in options.items()}
    config |= {f"mapping_{k.removeprefix('num_')}": v for k, v in config.pop("mapping_kwargs", {}).items()}
    epilogue = config.pop("epilogue_kwargs", {})
    config |= {k.replace("_num", ""): v for k, v in epilogue.items()}
    return config


def stylegan3_config(options: dict[str, Any]) -> StyleGAN3Config:
    """Our config for the options of an official StyleGAN3 generator."""
    return StyleGAN3Config(**_common(options))


def golden_stylegan3(name: str) -> tuple[Golden, StyleGAN3Generator]:
    golden = Golden(name)
    model = stylegan3_config(golden.info["constructor_options"]).build()
    load_official(model, golden.state)
    return golden, model


def golden_stylegan2(name: str) -> tuple[Golden, StyleGAN2Generator]:
    golden = Golden(name)
    model = StyleGAN2Config(**_common(golden.info["constructor_options"])).build()
    load_official(model, golden.state)
    return golden, model


def golden_discriminator(name: str) -> tuple[Golden, StyleGAN2Discriminator]:
    golden = Golden(name)
    model = StyleGAN2DiscriminatorConfig(**_common(golden.info["constructor_options"])).build()
    load_official(model, golden.state)
    return golden, model


def formula(name: str, shape: list[int], k: float = 1.0) -> Tensor:
    """The filling rule of section 10 of the specification: a pseudo-random tensor that depends on its name alone."""
    count = int(torch.tensor(shape).prod()) if shape else 1
    index = torch.arange(count, dtype=torch.int64) + 1 + 1000 * sum(map(ord, name))
    u = ((2654435761 * index) % 2**32).double() / 2**32
    return ((2 * u - 1) * 3**0.5 * k).float().reshape(shape)


def fill_by_formula(model: torch.nn.Module, official: dict[str, Tensor]) -> dict[str, Tensor]:
    """The official state dict `official` of `model` with values by `formula`; load it with `load_official`."""
    state = {}
    for name, value in official.items():
        shape = list(value.shape)
        if name.endswith(("up_filter", "down_filter", "resample_filter", "transform")):
            state[name] = value
        elif name.endswith("magnitude_ema"):
            state[name] = torch.tensor(0.8)
        elif name.endswith("noise_strength"):
            state[name] = torch.tensor(0.05)
        elif name.endswith("input.affine.bias"):
            state[name] = torch.tensor([1.0, 0.0, 0.0, 0.0]) + formula(name, shape, 0.1)
        elif name.endswith("affine.bias"):
            state[name] = 1 + formula(name, shape, 0.1)
        elif name.endswith("w_avg"):
            state[name] = formula(name, shape, 0.1)
        elif name.endswith("phases"):
            state[name] = formula(name, shape, 0.25)
        elif name.startswith("mapping.fc"):
            state[name] = formula(name, shape, 10 if name.endswith("bias") else 100)
        else:
            state[name] = formula(name, shape, 0.1 if name.endswith("bias") else 1)
    return state
