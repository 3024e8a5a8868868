"""Gradient descent from a picture to its latent: w or w+, noise, and pose.

It follows StyleGAN2's appendix D, and adds w+ (Abdal et al. 2019), a start that is the best of several, and the place
and rotation of the picture for generators with a `FourierInput`: the input is a function on the plane, so a pose is
three numbers, and the gradient with respect to them is exact.

Sources: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", appendix D; Abdal et al. 2019,
"Image2StyleGAN".

Dimensions: N batch · L copies of w · D width of w · C channels · H W pixels · T steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn

from gantrol import sample
from gantrol.errors import ConfigError, nearest
from gantrol.model import Model
from gantrol.project.projection import Projection, Space
from gantrol.project.synthesis import (
    TRANSFORM,
    Observer,
    Step,
    can_be_moved,
    follow,
    inverse_transform,
    noise_buffers,
    synthesize,
)
from gantrol.project.target import PIXEL_WEIGHT, Target, psnr

W_SAMPLES = 10_000
"""Latents from which the mean and the spread of w are taken."""

_LEARNING_RATE = 0.1  # of w, in units of its spread per coordinate
_RAMP_UP, _RAMP_DOWN = 0.05, 0.25  # shares of the steps in which the rate grows and falls
_EXPLORATION, _EXPLORE_UNTIL = 0.05, 0.75  # noise on w, in units of its spread, and the share of steps that has it
_NOISE_WEIGHT = 1e5
_NOISE_MIN_PX = 8
_POSE_UNITS = (0.1, 0.1, 0.3)  # ours: image widths, image widths, radians; the learning rate is in these too
_START_BATCH = 16


def project(
    model: Model,
    image: np.ndarray,
    *,
    space: Space = "w+",
    steps: int = 500,
    seed: int = 0,
    class_index: int | None = None,
    features: str = "auto",
    starts: int = 64,
    pose: bool = True,
    noise: bool = True,
    observe: Observer | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Projection:
    """Finds the latent of a picture.

    1. Mean and spread of w from 10,000 latents of this class.
    2. Of the mean and `starts` of these w, take the one whose image is nearest to the picture.
    3. Adam on w (or w+), noise and pose, with the learning rate and exploring noise of appendix D.

    Args:
        model: in evaluation mode; it is left as it is.
        image: uint8 [H, W, C], of the model's size and channels, as `read_target` gives it.
        space: "w" or "w+".
        steps: T.
        seed: the same one gives the same result on the same kind of machine.
        class_index: the class, for a conditional model.
        features: the perceptual distance, see `gantrol.metrics.perceptual.load_embedding`.
        starts: w to choose the start from, besides the mean.
        pose: search position and rotation too, where the generator's input can be transformed.
        noise: search the per-pixel noise too, where the generator has one.
        observe: called after every step.
        progress: called with (done, total) steps.

    Raises:
        ConfigError: an argument that cannot be, or an image that does not fit the model.
        MissingExtraError: the features asked for are not installed.
    """
    projector = Projector(
        model,
        image,
        space=space,
        steps=steps,
        seed=seed,
        class_index=class_index,
        features=features,
        starts=starts,
        pose=pose,
        noise=noise,
    )
    follow(projector.run(), observe, progress)
    return projector.result()


class Projector:
    """One search, step by step: iterate over `run`, then ask for the `result`.

    The arguments are those of `project`, except that `progress` is called while the start is chosen, with (done, total)
    candidates.
    """

    def __init__(
        self,
        model: Model,
        image: np.ndarray,
        *,
        space: Space = "w+",
        steps: int = 500,
        seed: int = 0,
        class_index: int | None = None,
        features: str = "auto",
        starts: int = 64,
        pose: bool = True,
        noise: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if space not in get_args(Space):
            raise ConfigError(f"space {space!r}: {nearest(space, get_args(Space))}")
        if steps < 1 or starts < 0:
            raise ConfigError(f"steps={steps}, starts={starts}: expected at least 1 and 0")
        if not 0 <= seed <= sample.MAX_SEED:
            raise ConfigError(f"seed {seed}: expected a whole number from 0 to {sample.MAX_SEED}")
        self.model, self.space, self.steps, self.seed, self.class_index = model, space, steps, seed, class_index
        self._synthesis: nn.Module = model.generator.synthesis
        self._target = Target(model, image, features)
        self._random = torch.Generator().manual_seed(seed)

        w = self._sample_w()  # [10000, D]
        self._mean = w.mean(dim=0)
        self._spread = spread_of(w)
        self._unit = self._spread / math.sqrt(w.shape[1]) or 1.0
        with torch.no_grad():
            start = synthesize(self._synthesis, self._ws(self._mean[None]), {})
        self._psnr_start = psnr(start, self._target.image)
        self._start = self._nearest(torch.cat([self._mean[None], w[:starts]]), progress)  # [D]

        copies = model.generator.num_ws if space == "w+" else 1
        self._offset = torch.zeros(copies, w.shape[1], device=model.device, requires_grad=True)  # in units
        self._noise = {
            name: value.detach().float().clone().requires_grad_()  # N(0, 1), and what `synthesize` uses
            for name, value in (noise_buffers(self._synthesis) if noise else {}).items()
        }
        _normalise(self._noise.values())
        is_moved = pose and can_be_moved(self._synthesis)
        self._pose = torch.zeros(3, device=model.device, requires_grad=True) if is_moved else None  # in units
        self._losses: list[Tensor] = []

    def run(self) -> Iterator[Step]:
        """Descends; yields after every step."""
        variables = [self._offset, *self._noise.values()] + ([] if self._pose is None else [self._pose])
        adam = torch.optim.Adam(variables)
        for index in range(self.steps):
            time = index / self.steps
            adam.param_groups[0]["lr"] = _LEARNING_RATE * learning_rate_ramp(time, 1 / self.steps)
            exploration = _EXPLORATION * self._spread * max(0.0, 1 - time / _EXPLORE_UNTIL) ** 2
            w = self._w()
            w = w + exploration * torch.randn(w.shape, generator=self._random).to(w.device)
            image = synthesize(self._synthesis, self._ws(w), self._replaced())
            perceptual, pixels = self._target.distances(image)
            noise_loss = torch.zeros([], device=image.device) + noise_autocorrelation(self._noise.values())
            loss = perceptual.sum() + PIXEL_WEIGHT * pixels.sum() + _NOISE_WEIGHT * noise_loss
            for variable, gradient in zip(variables, torch.autograd.grad(loss, variables), strict=True):
                variable.grad = gradient
            adam.step()
            _normalise(self._noise.values())
            self._losses.append(torch.stack([perceptual.sum(), pixels.sum(), noise_loss]).detach())
            yield Step(index + 1, self.steps, image.detach())

    def result(self) -> Projection:
        """What has been found so far."""
        x, y, angle = (0.0, 0.0, 0.0) if self._pose is None else _to_pose(self._pose.detach()).tolist()
        found = Projection(
            ws=self._ws(self._w()).detach().float().cpu().clone(),
            noise={name: value.detach().cpu().clone() for name, value in self._noise.items()},
            translate=(x, y),
            rotate_deg=math.degrees(angle),
            space=self.space,
            features=self._target.embedding.name,
            seed=self.seed,
            class_index=self.class_index,
            psnr_start=self._psnr_start,
            psnr=math.nan,
            losses=torch.stack(self._losses).cpu().numpy() if self._losses else np.zeros((0, 3), np.float32),
        )
        return dataclasses.replace(found, psnr=psnr(found.render(self.model), self._target.image))

    def _w(self) -> Tensor:
        """w [1, D], or one for each layer [L, D]."""
        return self._start + self._unit * self._offset

    def _ws(self, w: Tensor) -> Tensor:
        """One image's w, [1, D] or [L, D], as ws [1, L, D]."""
        return w.expand(self.model.generator.num_ws, -1)[None]

    def _replaced(self) -> dict[str, Tensor]:
        """The buffers of the synthesis network that are searched."""
        pose = {} if self._pose is None else {TRANSFORM: inverse_transform(_to_pose(self._pose))}
        return {**self._noise, **pose}

    def _sample_w(self) -> Tensor:
        """w of 10,000 random latents, [10000, D]."""
        g = self.model.generator
        z = np.random.RandomState(self.seed).randn(W_SAMPLES, g.z_dim).astype(np.float32)
        c = sample.class_labels(g, self.class_index, W_SAMPLES)
        with torch.no_grad():
            ws = g.mapping(torch.from_numpy(z).to(self.model.device), None if c is None else c.to(self.model.device))
        return ws[:, 0].float().clone()

    def _nearest(self, w: Tensor, progress: Callable[[int, int], None] | None) -> Tensor:
        """Of w [N, D] the one whose image is nearest to the target, [D]."""
        distances = []
        done = 0
        with torch.no_grad():
            for some in w.split(_START_BATCH):
                images = synthesize(self._synthesis, some[:, None].expand(-1, self.model.generator.num_ws, -1), {})
                perceptual, pixels = self._target.distances(images)
                distances.append(perceptual + PIXEL_WEIGHT * pixels)
                done += len(some)
                if progress is not None:
                    progress(done, len(w))
        return w[torch.cat(distances).argmin()]


def spread_of(w: Tensor) -> float:
    """σ_w of w [N, D]: the root mean square distance from their mean."""
    return float((w - w.mean(dim=0)).square().sum(dim=1).mean().sqrt())


def learning_rate_ramp(time: float, step: float) -> float:
    """The factor of the learning rate: up linearly in 1/20, down along a cosine in the last quarter.

    Args:
        time: share of the steps that are done, from 0 to 1.
        step: share that one step is; the first one already moves.
    """
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - time) / _RAMP_DOWN))
    return down * min(1.0, (time + step) / _RAMP_UP)


def noise_autocorrelation(noise: Iterable[Tensor]) -> Tensor | float:
    """How much the noise maps [r, r] look like pictures (appendix D): their correlation with their neighbours.

    Σ (mean n(x, y)·n(x − 1, y))² + (mean n(x, y)·n(x, y − 1))² over the maps and their halvings down to 8 px; halving
    averages 2×2 values and doubles them, which keeps white noise of unit variance what it is. 0 if there are no maps.
    """
    total: Tensor | float = 0.0
    for n in noise:
        while True:
            total = total + sum((n * n.roll(1, dims=axis)).mean().square() for axis in (0, 1))
            if min(n.shape) < 2 * _NOISE_MIN_PX:
                break
            n = 2 * nn.functional.avg_pool2d(n[None], 2)[0]
    return total


def _normalise(noise: Iterable[Tensor]) -> None:
    """Gives every map mean 0 and variance 1 again, in place (appendix D, after each step)."""
    with torch.no_grad():
        for n in noise:
            n.sub_(n.mean())
            n.mul_(n.square().mean().clamp_min(1e-12).rsqrt())


def _to_pose(units: Tensor) -> Tensor:
    """(x, y, angle) [3] in image widths and radians, of the variable that is searched."""
    return units * torch.tensor(_POSE_UNITS, device=units.device)
