"""The adaptive strength of the augmentation: as much as the discriminator needs so as not to learn the data by heart.

    r = E[sign D(real)]             over the steps since the last update, all processes
    p ← p + sign(r − target)·Δ      every `interval` steps, so that p could rise from 0 to 1 over `adapt_kimg`

An overfitting discriminator calls nearly all real images real (r → 1): p rises. One that cannot tell them from fakes
says so half the time (r → 0): p falls, never below 0.

Source: StyleGAN2-ADA (Karras et al. 2020), section 3.2 (r_t, target 0.6); our specification notes, section 4.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from gantrol.train.augment.ada import AdaConfig


class AdaptiveStrength:
    """Steers p by the signs of the discriminator's logits; everything stays on the device.

    Args:
        config: start, target and speed.
        batch: images per step, over all processes.
        device: of the training.

    Attributes:
        p: the strength, a float32 scalar.
        sign_sum, sign_count: sum and number of the signs since the last update, float32 scalars.
    """

    def __init__(self, config: AdaConfig, batch: int, device: torch.device | str) -> None:
        self.config = config
        self.batch = batch
        self.p = torch.full([], config.p, device=device)
        self.sign_sum = torch.zeros([], device=device)
        self.sign_count = torch.zeros([], device=device)

    def observe(self, real_logits: torch.Tensor) -> None:
        """Counts the signs of the logits of real images, of any shape."""
        if self.config.target is not None:
            signs = real_logits.detach().sign()
            self.sign_sum = self.sign_sum + signs.sum()
            self.sign_count = self.sign_count + signs.numel()

    def update(self, n_step: int, all_reduce: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        """Moves p if an update is due after `n_step` steps, and begins a new count.

        Args:
            n_step: steps done so far.
            all_reduce: the mean of a tensor over all processes, or None for a single one.
        """
        config = self.config
        if config.target is None or n_step % config.interval:
            return
        self.merge(all_reduce)
        direction = (self.sign_sum / self.sign_count - config.target).sign()
        rate = self.batch * config.interval / max(config.adapt_kimg * 1000, 1e-8)
        self.p = (self.p + direction * rate).clamp(min=0, max=config.p_max)
        self.sign_sum = torch.zeros_like(self.sign_sum)
        self.sign_count = torch.zeros_like(self.sign_count)

    def merge(self, all_reduce: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        """Gives every process the mean of all their counts, so that a checkpoint of the first holds those of all."""
        if all_reduce is not None:
            self.sign_sum, self.sign_count = all_reduce(torch.stack([self.sign_sum, self.sign_count])).unbind()

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint keeps."""
        return {"p": self.p, "sign_sum": self.sign_sum, "sign_count": self.sign_count}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Takes over what `tensors` gave. Raises KeyError if one is missing."""
        for name, own in self.tensors().items():
            setattr(self, name, tensors[name].clone().to(own.device))
