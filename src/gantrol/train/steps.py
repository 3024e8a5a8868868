"""The steps of a GAN's training: four losses, each with its own backward pass and optimiser step.

    g_main   generator against the adversarial loss
    g_reg    path length penalty                      (every pl_interval steps)
    d_main   discriminator against the adversarial loss
    d_reg    gradient penalties R1 and R2             (every r_interval steps)

Each is a method that takes real images in [-1, 1] and returns scalars on the device for the log; nothing here waits for
the device. Losses are means over the micro-batch, weighted so that accumulated micro-batches equal one large batch.

Source: StyleGAN2 paper, section 3 and appendix B; StyleGAN3 paper, appendix F; our specification notes, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from gantrol.data.loader import Batch
from gantrol.errors import ConfigError
from gantrol.ops import filter2d
from gantrol.train.augment import ada, diffaugment
from gantrol.train.config import TrainConfig
from gantrol.train.ema import ema_beta, update_ema
from gantrol.train.losses import (
    adversarial_loss,
    blur_kernel,
    gradient_penalty,
    path_length_penalty,
    path_lengths,
)
from gantrol.train.state import TrainState

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Stats = dict[str, torch.Tensor]
AllReduce = Callable[[torch.Tensor], torch.Tensor]


def sanitise_gradients(parameters: Iterable[nn.Parameter], all_reduce: AllReduce | None = None) -> None:
    """Averages gradients over processes; NaN becomes 0 and ±inf ±1e5, so that one bad sample cannot end a training."""
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return
    flat = torch.cat([grad.reshape(-1) for grad in grads])
    if all_reduce is not None:
        flat = all_reduce(flat)
    flat.nan_to_num_(nan=0.0, posinf=1e5, neginf=-1e5)
    views = flat.split([grad.numel() for grad in grads])
    torch._foreach_copy_(grads, [view.view_as(grad) for view, grad in zip(views, grads, strict=True)])


class Trainer:
    """Runs training steps on a `TrainState`.

    Args:
        config: of the training.
        state: what is trained, in place.
        batch_share: images per step on this process.
        all_reduce: the mean of a tensor over all processes, or None for a single one.
        label_pool: float32 [M, label_dim] labels that fakes are drawn from; None for unconditional training.
    """

    def __init__(
        self,
        config: TrainConfig,
        state: TrainState,
        *,
        batch_share: int,
        all_reduce: AllReduce | None = None,
        label_pool: torch.Tensor | None = None,
    ) -> None:
        self.config = config
        self.state = state
        self.loss = adversarial_loss(config.loss.name)
        self.dtype = DTYPES[config.precision]
        self.batch_share = batch_share
        self.micro_batch = min(config.micro_batch or batch_share, batch_share)
        self.all_reduce = all_reduce
        self.label_pool = label_pool
        self._check_groups()

    def _check_groups(self) -> None:
        """The minibatch-stddev layer splits every pass into groups of equal size."""
        d = self.config.discriminator
        if d.mbstd_channels == 0:
            return
        for size in {self.micro_batch, self.batch_share % self.micro_batch} - {0}:
            group = min(d.mbstd_group_size or size, size)
            if size % group:
                raise ConfigError(
                    f"{size} images per pass cannot be split into groups of discriminator.mbstd_group_size={group}: "
                    "choose batch and micro_batch as multiples of it"
                )

    def step(self, batch: Batch) -> Stats:
        """One step on real images uint8 [N, C, H, W]: all losses that are due, then the moving average."""
        config, state = self.config, self.state
        real = batch.images.to(torch.float32).div_(127.5).sub_(1)  # [N, C, H, W]
        labels = batch.labels
        loss = config.loss
        stats: Stats = {}
        self._optimise(state.g_opt, self.g_main, real, labels, stats)
        if loss.pl_weight > 0 and state.n_step % loss.pl_interval == 0:
            self._optimise(state.g_opt, self.g_reg, real, labels, stats)
        self._optimise(state.d_opt, self.d_main, real, labels, stats)
        if (loss.r1_gamma > 0 or loss.r2_gamma > 0) and state.n_step % loss.r_interval == 0:
            self._optimise(state.d_opt, self.d_reg, real, labels, stats)
        beta = ema_beta(config.batch, state.n_img, config.ema_half_life_kimg, config.ema_ramp_up)
        update_ema(state.g_ema, state.g, beta)
        state.n_img += config.batch
        state.n_step += 1
        if state.strength is not None:
            state.strength.update(state.n_step, self.all_reduce)
        return stats

    def _optimise(
        self,
        opt: torch.optim.Optimizer,
        loss: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, Stats]],
        real: torch.Tensor,
        labels: torch.Tensor,
        stats: Stats,
    ) -> None:
        """One optimiser step on `loss`, accumulated over micro-batches."""
        for other in (self.state.g_opt, self.state.d_opt):
            _set_trainable(other, other is opt)
        opt.zero_grad(set_to_none=True)
        for start in range(0, len(real), self.micro_batch):
            part = slice(start, start + self.micro_batch)
            value, found = loss(real[part], labels[part])
            share = len(real[part]) / len(real)
            (value * share).backward()
            for name, stat in found.items():
                stats[name] = stats.get(name, 0) + stat.detach() * share
        sanitise_gradients(_parameters(opt), self.all_reduce)
        opt.step()

    # -- the four losses ----------------------------------------------------------------------------------------------

    def g_main(self, real: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Stats]:
        fake, fake_labels, _ = self.generate(len(real), labels)
        fake_logits = self.discriminate(fake, fake_labels)
        real_logits = self.discriminate(real, labels) if self.loss.is_relativistic else None
        value = self.loss.g(fake_logits, real_logits).mean()
        return value, {"loss/g": value, "scores/fake": fake_logits.mean(), "signs/fake": fake_logits.sign().mean()}

    def g_reg(self, real: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Stats]:
        config = self.config.loss
        count = max(len(real) // config.pl_batch_shrink, 1)
        fake, _, ws = self.generate(count, labels[:count])
        penalty, mean_length = path_length_penalty(path_lengths(fake, ws), self.state.pl_mean)
        self.state.pl_mean = mean_length.detach()
        value = penalty.mean() * config.pl_weight
        # The product keeps every parameter in the graph, also those that the penalty does not reach.
        value = value + 0 * fake.mean()
        return value * config.pl_interval, {"loss/path_length": value, "path_length": mean_length}

    def d_main(self, real: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Stats]:
        with torch.no_grad():
            fake, fake_labels, _ = self.generate(len(real), labels, update_emas=True)
        fake_logits = self.discriminate(fake, fake_labels)
        real_logits = self.discriminate(real, labels)
        self._observe(real_logits)
        if self.loss.d_pair is not None:
            value = self.loss.d_pair(fake_logits, real_logits).mean()
        else:
            assert self.loss.d_fake is not None
            assert self.loss.d_real is not None
            value = self.loss.d_fake(fake_logits).mean() + self.loss.d_real(real_logits).mean()
        return value, {"loss/d": value, "scores/real": real_logits.mean(), "signs/real": real_logits.sign().mean()}

    def d_reg(self, real: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Stats]:
        config = self.config.loss
        value = torch.zeros([], device=real.device)
        stats: Stats = {}
        if config.r1_gamma > 0:
            real = real.detach().requires_grad_()
            real_logits = self.discriminate(real, labels)
            self._observe(real_logits)
            r1 = gradient_penalty(real_logits, real).mean()
            value = value + r1 * (config.r1_gamma / 2)
            stats["penalty/r1"] = r1
        if config.r2_gamma > 0:
            with torch.no_grad():
                fake, fake_labels, _ = self.generate(len(real), labels)
            fake = fake.detach().requires_grad_()
            r2 = gradient_penalty(self.discriminate(fake, fake_labels), fake).mean()
            value = value + r2 * (config.r2_gamma / 2)
            stats["penalty/r2"] = r2
        return value * config.r_interval, {"loss/d_reg": value, **stats}

    # -- forward passes -----------------------------------------------------------------------------------------------

    def generate(
        self, count: int, labels: torch.Tensor, update_emas: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(fakes [N, C, H, W], their labels, ws [N, num_ws, w_dim]) from fresh latents, with style mixing if set."""
        g = self.state.g
        c = self._draw_labels(count, labels)
        ws = g.mapping(torch.randn(count, g.z_dim, device=labels.device), c, update_emas=update_emas)
        probability = self.config.loss.style_mixing_prob
        if probability > 0:
            mixed = g.mapping(torch.randn(count, g.z_dim, device=labels.device), c)
            cut = torch.randint(1, g.num_ws, [], device=labels.device)
            cut = torch.where(torch.rand([], device=labels.device) < probability, cut, g.num_ws)
            is_second = torch.arange(g.num_ws, device=labels.device) >= cut  # [num_ws]
            ws = torch.where(is_second[None, :, None], mixed, ws)
        fake = g.synthesis(ws, noise_mode="random", update_emas=update_emas, dtype=self.dtype)
        return fake, c, ws

    def discriminate(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Logits [N, 1] of images [N, C, H, W], blurred as the schedule says, then augmented."""
        config = self.config.loss
        if config.blur_sigma_px > 0:
            faded = self.state.n_img / max(config.blur_fade_kimg * 1000, 1e-8)
            kernel = blur_kernel(config.blur_sigma_px * max(1 - faded, 0))
            if kernel is not None:
                images = filter2d(images, kernel.to(images.device))
        augment = self.config.augment
        if self.state.strength is not None:
            images = ada(images, self.state.strength.p, augment.ada)
        elif augment.name == "diffaugment":
            images = diffaugment(images, augment.diffaugment)
        return self.state.d(images, labels if self.label_pool is not None else None, dtype=self.dtype)

    def _observe(self, real_logits: torch.Tensor) -> None:
        """Lets the augmentation's strength see what the discriminator makes of real images."""
        if self.state.strength is not None:
            self.state.strength.observe(real_logits)

    def _draw_labels(self, count: int, labels: torch.Tensor) -> torch.Tensor:
        if self.label_pool is None:
            return labels[:count]
        chosen = torch.randint(len(self.label_pool), [count], device=self.label_pool.device)
        return self.label_pool[chosen]


def _parameters(opt: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in opt.param_groups for parameter in group["params"]]


def _set_trainable(opt: torch.optim.Optimizer, is_trainable: bool) -> None:
    """Switches gradients of the parameters that an optimiser holds; frozen ones it does not hold."""
    for parameter in _parameters(opt):
        parameter.requires_grad_(is_trainable)
