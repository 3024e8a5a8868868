"""Pivotal tuning: a copy of the generator that comes closer to the picture, at the latent where it drew it best.

Source: Roich et al. 2021, "Pivotal Tuning for Latent-based Editing of Real Images".

Dimensions: N batch · L copies of w · D width of w · C channels · H W pixels · T steps.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from gantrol import sample
from gantrol.errors import ConfigError
from gantrol.model import Model
from gantrol.project.projection import Projection
from gantrol.project.search import W_SAMPLES, spread_of
from gantrol.project.synthesis import Observer, Step, follow, synthesize
from gantrol.project.target import PIXEL_WEIGHT, Target, psnr

_LEARNING_RATE = 3e-4
_LOCALITY_WEIGHT = 0.1


def tune(
    model: Model,
    projection: Projection,
    image: np.ndarray,
    *,
    steps: int = 350,
    seed: int = 0,
    observe: Observer | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Model:
    """Pivotal tuning: a copy of the model that draws `image` at `projection`, and elsewhere what it drew before.

    Args:
        model: the one that `projection` was found with; it is left as it is.
        projection: the pivot; its ws, noise and pose stay, the synthesis network learns.
        image: uint8 [H, W, C], the picture.
        steps: T.
        seed: of the latents at which the network is held to what it drew.
        observe: called after every step.
        progress: called with (done, total) steps.

    Raises:
        ConfigError: an argument that cannot be, or an image or projection that does not fit the model.
        MissingExtraError: the projection's features are not installed.
    """
    tuner = Tuner(model, projection, image, steps=steps, seed=seed)
    follow(tuner.run(), observe, progress)
    return tuner.result()


class Tuner:
    """One pivotal tuning, step by step: iterate over `run`, then ask for the `result`; arguments as for `tune`.

    At each step the loss of the picture at the pivot w_p is joined by that of locality (section 3.2): at
    w_r = w_p + σ_w·(w_z − w_p)/‖w_z − w_p‖, w_z of a random latent, the network shall draw what it drew. The paper's
    distance α is 30 in its W; here it is the spread σ_w, which any W has.
    """

    def __init__(
        self, model: Model, projection: Projection, image: np.ndarray, *, steps: int = 350, seed: int = 0
    ) -> None:
        if steps < 1:
            raise ConfigError(f"steps={steps}: expected at least 1")
        self.model, self.projection, self.steps = model, projection, steps
        self._target = Target(model, image, projection.features)
        projection.render(model)  # whether they fit is known before the work begins
        self._generator = copy.deepcopy(model.generator).requires_grad_(False)
        self._generator.synthesis.requires_grad_(True)
        self._random = torch.Generator().manual_seed(seed)

    def run(self) -> Iterator[Step]:
        """Descends; yields after every step."""
        g, device = self.model.generator, self.model.device
        c = sample.class_labels(g, self.projection.class_index, 1)
        c = None if c is None else c.to(device)
        replaced = self.projection.buffers(device)
        pivot = self.projection.ws.to(device)
        with torch.no_grad():
            z = torch.randn(W_SAMPLES, g.z_dim, generator=self._random).to(device)
            w = g.mapping(z, None if c is None else c.expand(W_SAMPLES, -1))[:, 0]  # [10000, D]
        radius = spread_of(w)
        weights = [weight for weight in self._generator.synthesis.parameters() if weight.requires_grad]
        adam = torch.optim.Adam(weights, lr=_LEARNING_RATE)
        for index in range(self.steps):
            other = w[int(torch.randint(W_SAMPLES, (), generator=self._random))]  # [D]
            away = other - pivot
            near = pivot + radius * away / away.norm(dim=2, keepdim=True).clamp_min(1e-8)  # [1, L, D]
            with torch.no_grad():
                kept = synthesize(g.synthesis, near, replaced)
            images = synthesize(self._generator.synthesis, torch.cat([pivot, near]), replaced)
            perceptual, pixels = self._target.distances(images[:1])
            perceptual_kept, pixels_kept = self._target.distances(images[1:], kept)
            loss = perceptual + PIXEL_WEIGHT * pixels
            loss = loss + _LOCALITY_WEIGHT * (perceptual_kept + PIXEL_WEIGHT * pixels_kept)
            gradients = torch.autograd.grad(loss.sum(), weights, allow_unused=True)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient
            adam.step()
            yield Step(index + 1, self.steps, images[:1].detach())

    def psnr(self, image: Tensor) -> float:
        """Decibels between `image`, float [1, C, H, W], and the picture."""
        return psnr(image, self._target.image)

    def result(self) -> Model:
        """The model as it is so far; it shares the discriminator, if any, with the one it was tuned from."""
        generator = copy.deepcopy(self._generator).requires_grad_(False)
        training = {**self.model.training, "tuned_steps": self.steps}
        return Model(
            generator,
            self.model.discriminator,
            training=training,
            dtype=self.model.dtype,
            control_set=self.model.control_set,
        )
