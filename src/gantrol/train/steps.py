"""The steps of a GAN's training: four losses, each with its own backward pass and optimiser step.

    g_main   generator against the adversarial loss   (every n_critic steps), and with it
      control  contrastive losses of pairs that share a latent group, where attributes are to be controlled
      g_sr     super-resolution of real images, where the generator is co-trained
      g_code   real images drawn again from what is read from them, where latents are anchored
    g_reg    path length penalty                      (every pl_interval steps of the generator)
    d_main   discriminator against the adversarial loss, with WGAN-GP's penalties
    d_reg    gradient penalties R1 and R2             (every r_interval steps)

Each is a method that takes real images in [-1, 1] and returns scalars on the device for the log; nothing here waits for
the device. Losses are means over the rows at hand. Micro-batches that are accumulated, and the shares of processes,
equal one large batch: see `gantrol.ops.parts`. Losses that compare images with each other cost a second look for that
where a process accumulates: the first, without gradients, finds what there is to compare with.
What a schedule decides is a function of the images shown, so that a resumed training does as one without a break.

Source: StyleGAN2 paper, section 3 and appendix B; StyleGAN3 paper, appendix F; TransGAN, section 3; our specification
notes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from gantrol.control.objective import ControlObjective
from gantrol.control.pairs import PairPlan
from gantrol.data.loader import Batch
from gantrol.errors import ConfigError
from gantrol.ops import filter2d
from gantrol.ops.parts import (
    AllGather,
    AllReduce,
    Part,
    Pass,
    RandomStreams,
    computing,
    drawn,
    gathered,
    is_first_look,
    running_means,
    whole_count,
)
from gantrol.train.augment import ada, diffaugment
from gantrol.train.config import TrainConfig
from gantrol.train.ema import update_ema
from gantrol.train.health import diversity
from gantrol.train.locality import LocalitySchedule
from gantrol.train.losses import (
    adversarial_loss,
    blur_kernel,
    drift,
    gradient_penalty,
    interpolate,
    interpolate_penalty,
    mode_seeking,
    path_length_penalty,
    path_lengths,
)
from gantrol.train.state import TrainState, scale_learning_rate

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Stats = dict[str, torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, Stats]]


def sanitise_gradients(parameters: Iterable[nn.Parameter], all_reduce: AllReduce | None = None) -> torch.Tensor | None:
    """Averages gradients over processes; NaN becomes 0 and ±inf ±1e5, so that one bad sample cannot end a training.

    Returns:
        1 if anything was replaced, else 0, a scalar on the device; None if there are no gradients.
    """
    grads = [p.grad for p in parameters if p.grad is not None and p.grad.numel() > 0]
    if not grads:
        return None
    if all_reduce is None and grads[0].device.type == "cpu":
        return _replace_infinite(grads)  # where they lie: putting them together takes ten times as long as this
    # One tensor instead of a hundred: a launch, or a message, costs more than what is done with a small one.
    flat = torch.cat([grad.reshape(-1) for grad in grads])
    if all_reduce is not None:
        flat = all_reduce(flat)
    is_replaced = _replace_infinite([flat])
    views = flat.split([grad.numel() for grad in grads])
    torch._foreach_copy_(grads, [view.view_as(grad) for view, grad in zip(views, grads, strict=True)])
    return is_replaced


def _replace_infinite(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """Replaces what is not finite, in place; 1 if there was any, else 0."""
    extremes: list[torch.Tensor] = []
    for x in tensors:
        extremes += x.aminmax()  # NaN if one entry is; a fraction of the time of `isfinite`
        x.nan_to_num_(nan=0.0, posinf=1e5, neginf=-1e5)
    return 1 - torch.stack(extremes).isfinite().all().float()


class Fakes(NamedTuple):
    """Generated images and what they were made from."""

    images: torch.Tensor
    """[N, C, H, W]"""
    labels: torch.Tensor
    """[N, c_dim]"""
    ws: torch.Tensor
    """[N, num_ws, w_dim]"""
    z: torch.Tensor
    """[N, z_dim]; where two styles are mixed, the first."""


class Trainer:
    """Runs training steps on a `TrainState`.

    Args:
        config: of the training.
        state: what is trained, in place.
        batch_share: images per step on this process: those rows of the batch that `shares[rank]` names.
        rank, world_size: which process this is, and of how many.
        all_reduce: the mean of a tensor over all processes, or None for a single one.
        all_gather: a tensor of each process, put together, or None for a single one.
        label_pool: float32 [M, label_dim] labels that fakes are drawn from; None for unconditional training.
        control: contrastive terms for a generator with latent groups; None for a training without.

    Raises:
        ConfigError: the networks lack what the config asks of them.
    """

    def __init__(
        self,
        config: TrainConfig,
        state: TrainState,
        *,
        batch_share: int,
        rank: int = 0,
        world_size: int = 1,
        all_reduce: AllReduce | None = None,
        all_gather: AllGather | None = None,
        label_pool: torch.Tensor | None = None,
        control: ControlObjective | None = None,
    ) -> None:
        self.config = config
        self.state = state
        self.loss = adversarial_loss(config.loss.name)
        self.dtype = DTYPES[config.precision]
        self.batch_share = batch_share
        self.all_reduce = all_reduce
        self.all_gather = all_gather
        self.label_pool = label_pool
        self.control = control
        self._check_passes()
        self._check_styles()
        self.rank, self.world_size = rank, world_size
        self.share = Part(
            first=rank * batch_share, count=batch_share, total=world_size * batch_share, groups=self._groups()
        )
        self._pl_mean = state.pl_mean
        self.locality = LocalitySchedule(config.locality, config.kimg, state.g, state.g_ema)
        self._follow_schedules()

    def _check_passes(self) -> None:
        """The minibatch-stddev layer splits every pass into groups of equal size; mode seeking wants pairs."""
        config, d = self.config, self.config.discriminator
        of_d, of_g = (_pass_sizes(n, config.micro_batch) for n in (self.batch_share, self._g_batch_share()))
        if config.loss.mode_seeking_weight > 0 and min(of_g) < 2:
            raise ConfigError(
                "loss.mode_seeking_weight compares fakes of one pass: choose batch and micro_batch above 1"
            )
        if getattr(d, "mbstd_channels", 0) == 0:
            return
        for size in sorted(of_d | of_g):
            group = min(getattr(d, "mbstd_group_size", None) or size, size)
            if size % group:
                raise ConfigError(
                    f"{size} images per pass cannot be split into groups of discriminator.mbstd_group_size={group}: "
                    "choose batch and micro_batch as multiples of it"
                )

    def _check_styles(self) -> None:
        """Mixing and path lengths are about the w's of a mapping network."""
        loss, g = self.config.loss, self.state.g
        for name in ("style_mixing_prob", "pl_weight"):
            if getattr(loss, name) > 0 and g.num_ws <= 1:
                raise ConfigError(
                    f"loss.{name}={getattr(loss, name):g}: {type(g).__name__} has no styles; set loss.{name}=0"
                )

    def _groups(self) -> int:
        """How many rows of the batch have to stay together: the groups of the minibatch-stddev layer.

        Where a pass holds no whole group, the layer compares other images than with the batch in one piece, and the
        rows are dealt out in blocks.
        """
        d = self.config.discriminator
        group = getattr(d, "mbstd_group_size", None) if getattr(d, "mbstd_channels", 0) else None
        counts = (self.batch_share, self._g_batch_share())
        sizes = {self.batch_share}.union(*(_pass_sizes(count, self.config.micro_batch) for count in counts))
        return group if group is not None and not any(size % group for size in sizes) else 1

    def _parts(self, copies: int = 1) -> list[Part]:
        """What this process computes one after the other, of a batch with so many copies of each row."""
        share = self.share.times(copies)
        return share.split(self.config.micro_batch or share.count)

    def _shrunk(self, parts: list[Part], by: int) -> list[Part]:
        """As many parts of a batch of `by` times fewer rows; each has at least one."""
        counts = [max(part.count // by, 1) for part in parts]
        own = sum(counts)
        firsts = (self.rank * own + sum(counts[:index]) for index in range(len(counts)))
        return [
            Part(first=first, count=count, total=own * self.world_size)
            for first, count in zip(firsts, counts, strict=True)
        ]

    def _compares(self, loss: Loss) -> bool:
        """Whether a loss compares images with each other."""
        of = self.config.loss
        is_average = of.name == "relativistic-average"
        if loss == self.g_main:
            return self.control is not None or is_average or of.mode_seeking_weight > 0
        if loss == self.d_main:
            return is_average or of.drift_weight > 0
        return loss == self.g_reg

    def _g_batch_share(self) -> int:
        """Fakes in a step of the generator on this process."""
        return self.batch_share * self.config.g_batch_factor

    def _follow_schedules(self) -> None:
        """Sets what depends on the images shown so far: how far attention reaches, and the learning rates."""
        config, state = self.config, self.state
        self.locality.follow(state.n_img)
        for opt in (state.g_opt, state.d_opt):
            scale_learning_rate(opt, config.lr_share(state.n_img))

    def mean_over_processes(self, stats: Stats) -> Stats:
        """Scalars of this process's rows as those of the whole batch."""
        if self.all_reduce is None or not stats:
            return stats
        means = self.all_reduce(torch.stack([value.float() for value in stats.values()]))
        return dict(zip(stats, means.unbind(), strict=True))

    def step(self, batch: Batch) -> Stats:
        """One step on real images uint8 [N, C, H, W]: all losses that are due, then the moving average."""
        config, state = self.config, self.state
        real = batch.images.to(torch.float32).div_(127.5).sub_(1)  # [N, C, H, W]
        labels = batch.labels
        loss = config.loss
        stats: Stats = {}
        self._follow_schedules()
        n_g_step, since = divmod(state.n_step, config.n_critic)
        is_g_step = since == config.n_critic - 1
        if config.control.reconstruction.is_alone(state.n_img):
            self._optimise(state.g_opt, self.g_code, real, labels, stats)
            return self._end(stats, is_g_step=True)
        if is_g_step:
            also = []
            if config.cotrain.weight_at(state.n_img, config.kimg) > 0:
                also.append(self.g_sr)
            if config.control.reconstruction.weight > 0:
                also.append(self.g_code)
            self._optimise(state.g_opt, self.g_main, real, labels, stats, copies=config.g_batch_factor, also=also)
            if loss.pl_weight > 0 and n_g_step % loss.pl_interval == 0:
                self._optimise(state.g_opt, self.g_reg, real, labels, stats)
                state.pl_mean = self._pl_mean
        self._optimise(state.d_opt, self.d_main, real, labels, stats)
        if (loss.r1_gamma > 0 or loss.r2_gamma > 0) and state.n_step % loss.r_interval == 0:
            self._optimise(state.d_opt, self.d_reg, real, labels, stats)
        return self._end(stats, is_g_step=is_g_step)

    def _end(self, stats: Stats, *, is_g_step: bool) -> Stats:
        """Closes a step: the moving average, the counters, the strength of the augmentation."""
        config, state = self.config, self.state
        if is_g_step:
            update_ema(state.g_ema, state.g, config.ema_beta_at(state.n_img))
        state.n_img += config.batch
        state.n_step += 1
        if state.strength is not None:
            state.strength.update(state.n_step, self.all_reduce)
        return stats

    def _optimise(
        self,
        opt: torch.optim.Optimizer,
        loss: Loss,
        real: torch.Tensor,
        labels: torch.Tensor,
        stats: Stats,
        *,
        copies: int = 1,
        also: Iterable[Loss] = (),
    ) -> None:
        """One optimiser step on `loss` over so many copies of the real images, plus all of `also` over them once."""
        for each in (self.state.g_opt, self.state.d_opt):
            _set_trainable(each, each is opt)
        opt.zero_grad(set_to_none=True)
        if copies == 1:
            self._accumulate(loss, real, labels, stats)
        else:
            several = real.repeat_interleave(copies, dim=0), labels.repeat_interleave(copies, dim=0)
            self._accumulate(loss, *several, stats, copies=copies)
        for other in also:
            self._accumulate(other, real, labels, stats)
        is_replaced = sanitise_gradients(_parameters(opt), self.all_reduce)
        if is_replaced is not None:
            name = f"gradient/replaced_{'g' if opt is self.state.g_opt else 'd'}"
            stats[name] = torch.maximum(stats[name], is_replaced) if name in stats else is_replaced
        if self.config.clip_norm is not None:
            norm = nn.utils.clip_grad_norm_(_parameters(opt), self.config.clip_norm)
            stats["gradient/g" if opt is self.state.g_opt else "gradient/d"] = norm.detach()
        opt.step()

    def _accumulate(self, loss: Loss, real: torch.Tensor, labels: torch.Tensor, stats: Stats, copies: int = 1) -> None:
        """Adds the gradients of `loss`, micro-batch by micro-batch."""
        share, parts = self.share.times(copies), self._parts(copies)
        computed = self._shrunk(parts, self.config.loss.pl_batch_shrink) if loss == self.g_reg else parts
        inputs = [[part.within(share).take(each) for each in (real, labels)] for part in parts]
        passing = Pass(self.all_gather)
        streams = RandomStreams(real.device) if len(parts) > 1 else None
        with running_means(self.all_reduce):
            if streams is not None and self._compares(loss):
                passing.is_first_look = True
                for part, some in zip(computed, inputs, strict=True):
                    streams.restore()
                    with computing(passing, part):
                        loss(*some)
                passing.is_first_look = False
            rows = sum(part.count for part in computed)
            for part, some in zip(computed, inputs, strict=True):
                if streams is not None:
                    streams.restore()
                with computing(passing, part):
                    value, found = loss(*some)
                    weight = part.count / rows
                    (value * weight).backward()
                for name, stat in found.items():
                    stats[name] = stats.get(name, 0) + stat.detach() * weight

    # -- the four losses ----------------------------------------------------------------------------------------------

    def g_main(self, real: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Stats]:
        plan = self.control.plan(whole_count(len(real))) if self.control is not None else None
        fakes = self.generate(len(real), labels, plan=plan)
        fake_logits = self.discriminate(fakes.images, fakes.labels)
        real_logits = self.discriminate(real, labels) if self.loss.is_relativistic else None
        value = self._adversarial(self.loss.g, fake_logits, real_logits)
        stats = {"loss/g": value, "scores/fake": fake_logits.mean(), "signs/fake": fake_logits.sign().mean()}
        if self.config.loss.mode_seeking_weight > 0:
            stats["loss/mode_seeking"] = mode_seeking(gathered(fakes.images), gathered(fakes.z))
            value = value + stats["loss/mode_seeking"] * self.config.loss.mode_seeking_weight
        if self.control is not None and plan is not None:
            slices: Any = self.state.g.mapping.slices  # of a generator with groups, see TrainConfig
            of_control, found = self.control(fakes.images, plan, fakes.z, slices)  # predictors see no augmentation
            value = value + of_control
            stats |= found
        return value, stats

    def g_sr(self, real: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Stats]:
        state, config = self.state, self.config
        assert state.cotrain is not None
        ws = state.g.mapping(self._latents(len(real), real.device), labels)
        enlarged = state.cotrain(state.g.synthesis, real, ws, self.dtype)
        error = (enlarged - real).square().mean()
        return error * config.cotrain.weight_at(state.n_img, config.kimg), {"loss/super_resolution": error}

    def g_code(self, real: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Stats]:
        g = self.state.g
        assert self.control is not None
        slices: Any = g.mapping.slices
        ws = g.mapping(self.control.codes(real, g.z_dim, slices), None)
        drawn = g.synthesis(ws, noise_mode="random", update_emas=True, dtype=self.dtype)
        error = (drawn - real).abs().mean()
        coarse = (avg_pool2d(drawn, 4) - avg_pool2d(real, 4)).abs().mean()
        weight = self.config.control.reconstruction.weight_at(self.state.n_img)
        return (error + coarse) * weight, {"loss/reconstruction": error, "loss/coarse": coarse}

    def g_reg(self, real: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Stats]:
        config = self.config.loss
        count = max(len(real) // config.pl_batch_shrink, 1)
        fakes = self.generate(count, labels[:count])
        lengths = gathered(path_lengths(fakes.images, fakes.ws))
        penalty, mean_length = path_length_penalty(lengths, self.state.pl_mean)
        self._pl_mean = mean_length.detach()
        value = penalty.mean() * config.pl_weight
        # The product keeps every parameter in the graph, also those that the penalty does not reach.
        value = value + 0 * fakes.images.mean()
        return value * config.pl_interval, {"loss/path_length": value, "path_length": mean_length}

    def d_main(self, real: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Stats]:
        config = self.config.loss
        with torch.no_grad():
            fakes = self.generate(len(real), labels, update_emas=True)
        fake_logits = self.discriminate(fakes.images, fakes.labels)
        real_logits = self.discriminate(real, labels)
        self._observe(real_logits)
        if self.loss.d_pair is not None:
            value = self._adversarial(self.loss.d_pair, fake_logits, real_logits)
        else:
            assert self.loss.d_fake is not None
            assert self.loss.d_real is not None
            value = self.loss.d_fake(fake_logits).mean() + self.loss.d_real(real_logits).mean()
        stats = {"loss/d": value, "scores/real": real_logits.mean(), "signs/real": real_logits.sign().mean()}
        if len(real) > 1:
            stats |= {"diversity/real": diversity(real), "diversity/fake": diversity(fakes.images)}
        if config.drift_weight > 0:
            stats["penalty/drift"] = drift(gathered(real_logits))
            value = value + stats["penalty/drift"] * config.drift_weight
        if config.gp_weight > 0 and self.state.n_step % config.gp_interval == 0:
            between = interpolate(real, fakes.images).requires_grad_()
            # In float32: the norm of a gradient is squared and differentiated once more.
            logits = self.discriminate(between, labels, dtype=torch.float32)
            stats["penalty/gp"] = interpolate_penalty(logits, between, config.gp_target).mean()
            value = value + stats["penalty/gp"] * (config.gp_weight * config.gp_interval)
        return value, stats

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
                fakes = self.generate(len(real), labels)
            fake = fakes.images.detach().requires_grad_()
            r2 = gradient_penalty(self.discriminate(fake, fakes.labels), fake).mean()
            value = value + r2 * (config.r2_gamma / 2)
            stats["penalty/r2"] = r2
        return value * config.r_interval, {"loss/d_reg": value, **stats}

    # -- forward passes -----------------------------------------------------------------------------------------------

    def generate(
        self, count: int, labels: torch.Tensor, update_emas: bool = False, plan: PairPlan | None = None
    ) -> Fakes:
        """So many fakes from fresh latents, with style mixing if set, in pairs as planned."""
        g = self.state.g
        c = self._draw_labels(count, labels)
        slices: Any = g.mapping.slices if plan is not None else {}
        z = self._latents(count, labels.device, lambda z: z if plan is None else plan.share(z, slices))
        ws = g.mapping(z, c, update_emas=update_emas)
        probability = self.config.loss.style_mixing_prob
        if probability > 0:
            mixed = g.mapping(self._latents(count, labels.device), c)
            cut = torch.randint(1, g.num_ws, [], device=labels.device)
            cut = torch.where(torch.rand([], device=labels.device) < probability, cut, g.num_ws)
            is_second = torch.arange(g.num_ws, device=labels.device) >= cut  # [num_ws]
            ws = torch.where(is_second[None, :, None], mixed, ws)
        fake = g.synthesis(ws, noise_mode="random", update_emas=update_emas, dtype=self.dtype)
        return Fakes(fake, c, ws, z)

    def discriminate(
        self, images: torch.Tensor, labels: torch.Tensor, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """Logits [N, 1] of images [N, C, H, W], blurred as the schedule says, then augmented; in the config's type."""
        config = self.config.loss
        if config.blur_sigma_px > 0:
            faded = self.state.n_img / max(config.blur_fade_kimg * 1000, 1e-8)
            kernel = blur_kernel(config.blur_sigma_px * max(1 - faded, 0))
            if kernel is not None:
                images = filter2d(images, kernel)
        augment = self.config.augment
        if self.state.strength is not None:
            images = ada(images, self.state.strength.p, augment.ada)
        elif augment.name == "diffaugment":
            images = diffaugment(images, augment.diffaugment)
        return self.state.d(images, labels if self.label_pool is not None else None, dtype=dtype or self.dtype)

    def _observe(self, real_logits: torch.Tensor) -> None:
        """Lets the augmentation's strength see what the discriminator makes of real images."""
        if self.state.strength is not None and not is_first_look():
            self.state.strength.observe(real_logits)

    def _draw_labels(self, count: int, labels: torch.Tensor) -> torch.Tensor:
        if self.label_pool is None:
            return labels[:count]
        pool = self.label_pool
        return pool[drawn(count, lambda n: torch.randint(len(pool), [n], device=pool.device))]

    def _latents(
        self,
        count: int,
        device: torch.device,
        change: Callable[[torch.Tensor], torch.Tensor] = lambda z: z,
    ) -> torch.Tensor:
        """z [N, z_dim] from N(0, 1), after a change that sees those of the whole batch."""
        return drawn(count, lambda n: change(torch.randn(n, self.state.g.z_dim, device=device)))

    def _adversarial(
        self,
        loss: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor] | Callable[..., torch.Tensor],
        fake_logits: torch.Tensor,
        real_logits: torch.Tensor | None,
    ) -> torch.Tensor:
        """The mean of a loss of fake and real logits, of the whole batch where these are compared with a mean."""
        if self.config.loss.name == "relativistic-average" and real_logits is not None:
            fake_logits, real_logits = gathered(fake_logits), gathered(real_logits)
        return loss(fake_logits, real_logits).mean()


def _pass_sizes(count: int, micro_batch: int | None) -> set[int]:
    """The sizes of the passes that so many images are split into."""
    size = min(micro_batch or count, count)
    return {size, count % size} - {0}


def _parameters(opt: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in opt.param_groups for parameter in group["params"]]


def _set_trainable(opt: torch.optim.Optimizer, is_trainable: bool) -> None:
    """Switches gradients of the parameters that an optimiser holds; frozen ones it does not hold."""
    for parameter in _parameters(opt):
        parameter.requires_grad_(is_trainable)
