"""What a picture is to a generator: its latent, noise and pose, which can be rendered, saved and loaded.

Dimensions: N batch · L copies of w · D width of w · C channels · H W pixels · T steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gantrol import checkpoint
from gantrol.errors import CheckpointError, ConfigError
from gantrol.model import Model
from gantrol.project.synthesis import TRANSFORM, inverse_transform, synthesize

Space = Literal["w", "w+"]
"""One w for all layers: close to what the generator knows; or one for each layer: close to the picture."""

LOSSES = ("perceptual", "pixels", "noise")
"""The columns of `Projection.losses`."""

_FORMAT, _FORMAT_VERSION = "gantrol-projection", 1
_FACTS = ("space", "features", "seed", "class_index", "psnr_start", "psnr")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Projection:
    """What a picture is to a generator, and how well that is so."""

    ws: Tensor
    """float32 [1, L, D] on the CPU."""
    noise: Mapping[str, Tensor]
    """Per-pixel noise [r, r] by the name of the buffer in `generator.synthesis`; empty if there is none."""
    translate: tuple[float, float]
    """Where the picture lies: (x, y) in image widths, right and down."""
    rotate_deg: float
    """How it is turned: degrees, counter-clockwise as seen."""
    space: Space
    """Where `ws` was searched."""
    features: str
    """Which perceptual distance was minimised."""
    seed: int
    """Of the random numbers."""
    class_index: int | None
    """The class, for a conditional model."""
    psnr_start: float
    """Decibels between the picture and the image of the mean w, both as bytes."""
    psnr: float
    """Decibels between the picture and this projection, both as bytes."""
    losses: np.ndarray
    """float32 [T, 3]: what was minimised at each step, see `LOSSES`; the noise unweighted."""

    def render(self, model: Model, ws: Tensor | None = None) -> Tensor:
        """The image that `model` makes of this projection.

        Args:
            model: the one that was projected with, or tuned from it.
            ws: take these [N, L, D] instead, with this projection's noise and pose: the edited picture.

        Returns:
            float32 [N, C, H, W], clamped to [−1, 1], on the model's device; no gradients.

        Raises:
            ConfigError: the projection belongs to a generator of another shape.
        """
        synthesis = model.generator.synthesis
        ws = (self.ws if ws is None else ws).to(model.device)
        own, replaced = dict(synthesis.named_buffers()), self.buffers(model.device)
        for name, value in replaced.items():
            if name not in own or own[name].shape != value.shape:
                raise ConfigError(f"this projection is of another generator: {name!r} does not fit this model")
        with torch.no_grad():
            return synthesize(synthesis, ws, replaced).clamp(-1, 1)

    def buffers(self, device: torch.device) -> dict[str, Tensor]:
        """What takes the place of buffers of `generator.synthesis`: noise and pose."""
        replaced = {name: value.to(device) for name, value in self.noise.items()}
        if any((*self.translate, self.rotate_deg)):
            pose = torch.tensor([*self.translate, math.radians(self.rotate_deg)], device=device)
            replaced[TRANSFORM] = inverse_transform(pose)
        return replaced

    def save(self, path: str | Path) -> None:
        """Writes everything but the losses as one safetensors file, whole or not at all.

        Its tensors are `ws`, `translate` [2] and `rotate_deg` [], and `noise.NAME` for each noise.

        Raises:
            CheckpointError: the file cannot be written.
        """
        tensors = {
            "ws": self.ws,
            "translate": torch.tensor(self.translate, dtype=torch.float64),
            "rotate_deg": torch.tensor(self.rotate_deg, dtype=torch.float64),
            **{f"noise.{name}": value for name, value in self.noise.items()},
        }
        checkpoint.save(path, tensors, {"format": _FORMAT, "format_version": _FORMAT_VERSION, **self.facts()})

    @classmethod
    def load(cls, path: str | Path) -> Projection:
        """Reads what `save` wrote (the losses are empty then).

        Raises:
            CheckpointError: the file is missing, damaged or no projection.
        """
        tensors, metadata = checkpoint.load(path)
        if metadata.get("format") != _FORMAT or "ws" not in tensors:
            raise CheckpointError(f"{path}: is no projection; `gantrol project` writes projection.safetensors")
        x, y = tensors["translate"].tolist()
        noise = {name.removeprefix("noise."): value for name, value in tensors.items() if name.startswith("noise.")}
        facts = {name: metadata[name] for name in _FACTS}
        return cls(
            ws=tensors["ws"],
            noise=noise,
            translate=(x, y),
            rotate_deg=float(tensors["rotate_deg"]),
            losses=np.zeros((0, len(LOSSES)), np.float32),
            **facts,
        )

    def facts(self) -> dict[str, Any]:
        """What is no tensor, ready for JSON."""
        return {name: getattr(self, name) for name in _FACTS}
