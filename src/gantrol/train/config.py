"""Everything that defines a training. A preset makes one (see `presets`), the run folder keeps it as `config.json`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gantrol.errors import ConfigError, nearest
from gantrol.models import DiscriminatorConfig, GeneratorConfig
from gantrol.train.augment import AugmentConfig
from gantrol.train.control import ControlConfig
from gantrol.train.cotrain import CoTrainConfig
from gantrol.train.ema import ema_beta
from gantrol.train.evaluation import EvaluationConfig
from gantrol.train.locality import LocalityConfig
from gantrol.train.losses import LOSSES

Precision = Literal["fp32", "bf16", "fp16"]


def _require(condition: bool, field: str, value: Any, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{field}={value}: expected {expected}")


@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    """Adam, in the form that the StyleGAN papers use it."""

    lr: float = 0.002
    """Learning rate, before the correction for lazy regularisation."""
    beta1: float = 0.0
    """Decay of the first moment."""
    beta2: float = 0.99
    """Decay of the second moment."""
    eps: float = 1e-8
    """Added to the root of the second moment."""

    def __post_init__(self) -> None:
        _require(self.lr > 0, "lr", self.lr, "a positive number")
        _require(0 <= self.beta1 < 1, "beta1", self.beta1, "a number from 0 to 1")
        _require(0 <= self.beta2 < 1, "beta2", self.beta2, "a number from 0 to 1")
        _require(self.eps > 0, "eps", self.eps, "a positive number")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The adversarial loss and its regularisers."""

    name: str = "non-saturating"
    """Adversarial loss: `non-saturating`, `saturating`, `hinge`, `lsgan`, `wgan`, `relativistic` (pairs) or
    `relativistic-average`."""
    gp_weight: float = 0.0
    """Weight λ of WGAN-GP's penalty λ/φ²·(‖∇D‖ − φ)² between reals and fakes; 0 turns it off."""
    gp_target: float = 1.0
    """The norm φ that this penalty asks of D's gradient."""
    gp_interval: int = 1
    """D's steps between two evaluations of this penalty, which is scaled up to match."""
    drift_weight: float = 0.0
    """Weight of (mean D(real))²; TransGAN's `wgan-gp-eps` has 0.001."""
    mode_seeking_weight: float = 0.0
    """Weight of 1/(distance of fakes / distance of their latents) in the generator's loss; 0 turns it off."""
    r1_gamma: float = 1.0
    """Weight γ of the gradient penalty on reals, (γ/2)·‖∇D‖²; 0 turns it off."""
    r2_gamma: float = 0.0
    """Weight γ of the gradient penalty on fakes; 0 turns it off."""
    r_interval: int = 16
    """Steps between two evaluations of the gradient penalties, which are scaled up to match (lazy regularisation)."""
    pl_weight: float = 0.0
    """Weight of the path length penalty; 0 turns it off."""
    pl_interval: int = 4
    """Steps between two evaluations of the path length penalty."""
    pl_batch_shrink: int = 2
    """The path length penalty uses the batch divided by this."""
    style_mixing_prob: float = 0.0
    """Probability that a generated batch mixes two latents at a random layer."""
    blur_sigma_px: float = 0.0
    """Standard deviation of the blur before the discriminator at the start; 0 for none."""
    blur_fade_kimg: float = 200.0
    """Thousands of images over which that blur fades away."""

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise ConfigError(f"there is no loss {self.name!r}; {nearest(self.name, LOSSES)}")
        weights = ("r1_gamma", "r2_gamma", "pl_weight", "gp_weight", "drift_weight", "mode_seeking_weight")
        for name in (*weights, "blur_sigma_px", "blur_fade_kimg"):
            _require(getattr(self, name) >= 0, f"loss.{name}", getattr(self, name), "0 or more")
        for name in ("r_interval", "pl_interval", "pl_batch_shrink", "gp_interval"):
            _require(getattr(self, name) >= 1, f"loss.{name}", getattr(self, name), "1 or more")
        _require(self.gp_target > 0, "loss.gp_target", self.gp_target, "a positive number")
        probability = self.style_mixing_prob
        _require(0 <= probability <= 1, "loss.style_mixing_prob", probability, "a number from 0 to 1")

    def named(self, name: str) -> LossConfig:
        """This config with the objective `name`: one of `LOSSES`, or of `WGAN_GP`, which is a loss with its penalties.

        What belongs to WGAN-GP comes and goes with its name: `wgan-gp` turns R1 and R2 off, `hinge` turns the penalty
        between reals and fakes off. R1, R2 and the path length stay as they are under all other names.

        Raises:
            ConfigError: there is no such name; the nearest are given.
        """
        if name in WGAN_GP:
            return replace(self, name="wgan", r1_gamma=0.0, r2_gamma=0.0, gp_weight=10.0, drift_weight=WGAN_GP[name])
        if name not in LOSSES:
            raise ConfigError(f"there is no loss {name!r}; {nearest(name, LOSS_NAMES)}")
        return replace(self, name=name, gp_weight=0.0, drift_weight=0.0)


WGAN_GP = {"wgan-gp": 0.0, "wgan-gp-eps": 1e-3}
"""Names of a Wasserstein loss with the gradient penalty of weight 10, and the weight of its drift term."""

LOSS_NAMES = (*LOSSES, *WGAN_GP)
"""What `--loss` takes."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole training: networks, losses, optimisers, data and bookkeeping."""

    preset: str
    """The preset that this config started from."""
    scale: str
    """The scale of the preset."""
    generator: GeneratorConfig
    """The generator."""
    discriminator: DiscriminatorConfig
    """The discriminator."""
    loss: LossConfig
    """Adversarial loss and regularisers."""
    g_adam: AdamConfig
    """Optimiser of the generator."""
    d_adam: AdamConfig
    """Optimiser of the discriminator."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Augmentation of what the discriminator sees."""
    cotrain: CoTrainConfig = field(default_factory=CoTrainConfig)
    """Super-resolution as a second task of the generator, for generators of several stages."""
    locality: LocalityConfig = field(default_factory=LocalityConfig)
    """Attention to near tokens at the start, for generators with attention."""
    control: ControlConfig = field(default_factory=ControlConfig)
    """What latent groups shall decide about, for generators that have them."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Which metrics are measured on a schedule, and which one keeps the best checkpoint."""
    data: str = ""
    """Dataset zip or folder."""
    x_flip: bool = False
    """Also show every image mirrored."""
    skip_bad: bool = False
    """Leave damaged images out instead of stopping; part of the config, because it changes the order of the data."""
    use_labels: bool = False
    """Train a class-conditional model from the dataset's labels."""
    batch: int = 32
    """Images per step, over all devices."""
    micro_batch: int | None = None
    """Images per forward pass and device; gradients are accumulated. null: all of a device's share at once."""
    n_critic: int = 1
    """Steps of the discriminator per step of the generator; each shows `batch` new real images."""
    g_batch_factor: int = 1
    """Fakes in a step of the generator per real image in one of the discriminator."""
    clip_norm: float | None = None
    """Gradients of each network are scaled down to this L2 norm, over all of its parameters; null: never."""
    lr_decay: Literal["none", "linear"] = "none"
    """`linear`: learning rates fall to 0 at the end of the training (`kimg`)."""
    kimg: float = 25000.0
    """Length of the training in thousands of real images shown."""
    ema_beta: float | None = None
    """Fixed decay of the generator's moving average per step of the generator; null: by its half-life."""
    ema_half_life_kimg: float = 10.0
    """Half-life of the generator's moving average, in thousands of images; a step counts batch · n_critic of them."""
    ema_ramp_up: float | None = 0.05
    """The half-life is at most this share of the images seen so far; null: no ramp."""
    precision: Precision = "fp32"
    """Type of the layers that may use a lower precision."""
    seed: int = 0
    """Of weights, latents and data order."""
    deterministic: bool = False
    """Only algorithms that give the same bits every time, where the device has them; slower on a GPU."""
    threads: int | None = None
    """Threads of torch, which decide how sums are split; null: torch's own choice. `--deterministic` writes it down."""
    tick_kimg: float = 4.0
    """Thousands of images between two log lines and checkpoints."""
    sample_ticks: int = 10
    """Ticks between two grids of samples."""
    keep_checkpoints: int = 3
    """How many of the newest checkpoints stay on disk."""
    workers: int = 2
    """Threads that read and decode images."""
    cache: Literal["auto", "on", "off"] = "auto"
    """Keep decoded images in memory; `auto`: if they fit into 1 GiB."""
    init: str = ""
    """Model that the weights come from, empty if they were drawn; set by `--init`. What fitted is in RUN/init.json."""
    init_sha256: str = ""
    """SHA-256 of that model's tensors."""

    def __post_init__(self) -> None:
        _require(self.batch >= 1, "batch", self.batch, "1 or more")
        if self.micro_batch is not None:
            _require(self.micro_batch >= 1, "micro_batch", self.micro_batch, "1 or more")
        _require(0 <= self.kimg < math.inf, "kimg", self.kimg, "a number, 0 or more")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        for name in ("n_critic", "g_batch_factor"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        _require(self.clip_norm is None or self.clip_norm > 0, "clip_norm", self.clip_norm, "a positive number or null")
        _require(self.ema_beta is None or 0 <= self.ema_beta < 1, "ema_beta", self.ema_beta, "from 0 to 1, or null")
        _require(self.ema_half_life_kimg > 0, "ema_half_life_kimg", self.ema_half_life_kimg, "a positive number")
        _require(self.tick_kimg > 0, "tick_kimg", self.tick_kimg, "a positive number")
        for name in ("sample_ticks", "keep_checkpoints", "workers"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        _require(self.threads is None or self.threads >= 1, "threads", self.threads, "1 or more, or null")
        g, d = self.generator, self.discriminator
        for name in ("resolution_px", "channels", "c_dim"):
            if getattr(g, name) != getattr(d, name):
                raise ConfigError(f"generator.{name}={getattr(g, name)} but discriminator.{name}={getattr(d, name)}")
        self.augment.check_images(g.resolution_px, g.channels)
        self._check_control()

    def _check_control(self) -> None:
        """Each term needs a latent group, and pairs whole latents."""
        groups = [group.name for group in getattr(self.generator, "groups", ())]
        for term in self.control.terms:
            if term.attribute not in groups:
                has = f"has the groups {', '.join(groups)}" if groups else "has no latent groups"
                raise ConfigError(f"control.terms: {term.attribute!r} needs a latent group; the generator {has}")
        if self.control.terms and self.loss.style_mixing_prob > 0:
            raise ConfigError("loss.style_mixing_prob breaks the pairs of control.terms: set it to 0")
        if self.control.terms and min(self.batch, self.micro_batch or self.batch) < 2:
            raise ConfigError("control.terms compare images: choose batch and micro_batch above 1")

    def lr_share(self, n_img: int) -> float:
        """The learning rates after `n_img` images, as a share of those at the start."""
        if self.lr_decay == "none":
            return 1.0
        return max(1 - n_img / max(self.kimg * 1000, 1), 0.0)

    def ema_beta_at(self, n_img: int) -> float:
        """The decay of the generator's moving average in a step of the generator after `n_img` images."""
        if self.ema_beta is not None:
            return self.ema_beta
        return ema_beta(self.batch * self.n_critic, n_img, self.ema_half_life_kimg, self.ema_ramp_up)
