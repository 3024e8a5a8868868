"""What TransGAN's recipe adds to a training: each ingredient acts, stops when it should, and survives a break."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gantrol import checkpoint
from gantrol.config import override
from gantrol.data.loader import Batch
from gantrol.errors import CheckpointError, ConfigError
from gantrol.models import TransGANConfig, TransGANDiscriminatorConfig, TransGANScale, TransGANStage
from gantrol.train import steps
from gantrol.train.config import LOSS_NAMES, LossConfig, TrainConfig
from gantrol.train.cotrain import CoTrainConfig
from gantrol.train.locality import LocalityConfig
from gantrol.train.losses import interpolate_penalty
from gantrol.train.state import TrainState, seed_step
from gantrol.train.steps import Fakes, Trainer
from tests.models.golden_transgan import golden_discriminator
from tests.reference import assert_close
from tests.train.test_training import newest, run, same_weights

GENERATOR = TransGANConfig(
    resolution_px=16,
    z_dim=8,
    stages=(
        TransGANStage(side=4, channels=64, depth=1, upsampling="none"),
        TransGANStage(side=8, channels=16, depth=1),
        TransGANStage(side=16, channels=4, depth=1),
    ),
    heads=2,
    mlp_ratio=1,
)


DISCRIMINATOR = TransGANDiscriminatorConfig(
    resolution_px=16,
    scales=(TransGANScale(patch_px=2, channels=12, depth=1), TransGANScale(patch_px=4, channels=4, depth=1)),
    heads=2,
    mlp_ratio=1,
    relative_position=True,
    noise=True,
)


@pytest.fixture
def transgan(config: TrainConfig) -> TrainConfig:
    """A transformer generator against a small discriminator without a layer that sees the batch as a whole."""
    return replace(
        config,
        generator=GENERATOR,
        discriminator=replace(config.discriminator, mbstd_channels=0),
        loss=LossConfig().named("wgan-gp-eps"),
    )


def trainer_of(config: TrainConfig) -> Trainer:
    return Trainer(config, TrainState(config, "cpu"), batch_share=config.batch)


def batch_of(config: TrainConfig, seed: int = 0) -> Batch:
    images = torch.randint(
        0, 256, (config.batch, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    return Batch(images=images, labels=torch.zeros(config.batch, 0), indices=())


def step(trainer: Trainer, number: int = 0) -> dict[str, torch.Tensor]:
    seed_step(0, 0, number)
    return trainer.step(batch_of(trainer.config, number))


def gradients(trainer: Trainer, change: Callable[[], Any]) -> list[torch.Tensor]:
    """The generator's gradients when `change` takes a step with its optimiser, whose own step is left out."""
    trainer.state.g_opt.step = lambda *_: None  # type: ignore[method-assign,assignment,misc,return-value]
    seed_step(0, 0, 0)
    change()
    return [p.grad.clone() for p in trainer.state.g.parameters() if p.grad is not None]


def watched(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """The sizes of the passes in which a loss of the trainer is evaluated from now on."""
    sizes: list[int] = []
    original = getattr(Trainer, name)

    def watch(self: Trainer, real: torch.Tensor, labels: torch.Tensor) -> Any:
        sizes.append(len(real))
        return original(self, real, labels)

    monkeypatch.setattr(Trainer, name, watch)
    return sizes


# ---------------------------------------------------------------------------------------------------------------------
# Steps


def test_critic_steps(transgan: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """D learns in every step, G, its average and its co-training in every third."""
    of_g, of_d, of_sr = (watched(monkeypatch, name) for name in ("g_main", "d_main", "g_sr"))
    trainer = trainer_of(override(transgan, ["n_critic=3", "ema_beta=0.5", "cotrain.weight=50"]))
    state = trainer.state
    nets = (state.g, state.d, state.g_ema)
    changes = []
    for number in range(7):
        before = [[p.detach().clone() for p in net.parameters()] for net in nets]
        stats = step(trainer, number)
        pairs = [zip(old, net.parameters(), strict=True) for old, net in zip(before, nets, strict=True)]
        changes.append([any(not torch.equal(a, b) for a, b in pair) for pair in pairs])
        assert ("loss/g" in stats) == (number % 3 == 2)
    assert changes == [[number % 3 == 2, True, number % 3 == 2] for number in range(7)]
    assert (of_g, of_d, of_sr) == ([8] * 2, [8] * 7, [8] * 2)
    assert (state.n_step, state.n_img) == (7, 56)


@pytest.mark.parametrize("micro_batch", [None, 4])
def test_fakes_per_real(micro_batch: int | None, transgan: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as many fakes in G's step, in passes of the micro-batch; losses that pair them see reals twice."""
    of_g, of_d, of_sr = (watched(monkeypatch, name) for name in ("g_main", "d_main", "g_sr"))
    config = override(transgan, ["g_batch_factor=2", "cotrain.weight=50", "loss.name=relativistic", "loss.gp_weight=0"])
    step(trainer_of(replace(config, micro_batch=micro_batch)))
    if micro_batch is None:
        assert (of_g, of_d, of_sr) == ([16], [8], [8])
    else:
        # D's drift term is about the mean over the batch, so its passes are looked at once before.
        assert (of_g, of_d, of_sr) == ([4] * 4, [4] * 4, [4] * 2)


def test_twice_the_fakes_are_an_average(transgan: TrainConfig) -> None:
    """The loss of a larger step is a mean: with the same latents twice the gradients stay the same."""
    torch.manual_seed(0)
    z = torch.randn(8, 8)

    def given(trainer: Trainer) -> list[torch.Tensor]:
        def generate(count: int, labels: torch.Tensor, update_emas: bool = False, plan: object = None) -> Fakes:
            g = trainer.state.g
            ws = g.mapping(z.repeat(count // 8, 1), None)
            return Fakes(g.synthesis(ws), labels[:count], ws, z)

        trainer.generate = generate  # type: ignore[method-assign]
        return gradients(trainer, lambda: trainer.step(batch_of(trainer.config)))

    once, twice = (given(trainer_of(replace(transgan, g_batch_factor=factor))) for factor in (1, 2))
    for a, b in zip(once, twice, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_clipping(transgan: TrainConfig) -> None:
    """Gradients keep their direction; their norm over the whole network becomes what is allowed."""
    free = gradients(whole := trainer_of(transgan), lambda: step(whole))
    norm = torch.cat([x.flatten() for x in free]).norm()
    for share in (0.1, 10.0):
        trainer = trainer_of(replace(transgan, clip_norm=share * norm.item()))
        stats: dict[str, torch.Tensor] = {}
        clipped = gradients(trainer, lambda: stats.update(step(trainer)))  # noqa: B023
        torch.testing.assert_close(stats["gradient/g"], norm)
        for a, b in zip(free, clipped, strict=True):
            torch.testing.assert_close(a * min(share, 1.0), b, rtol=1e-4, atol=1e-8)
    assert stats["gradient/d"] > 0


def test_moving_average(transgan: TrainConfig) -> None:
    """A fixed decay; or by the half-life, which counts the images since the generator's last step."""
    trainer = trainer_of(replace(transgan, ema_beta=0.75))
    before = [p.clone() for p in trainer.state.g_ema.parameters()]
    step(trainer)
    for old, new, average in zip(before, trainer.state.g.parameters(), trainer.state.g_ema.parameters(), strict=True):
        torch.testing.assert_close(average, 0.75 * old + 0.25 * new.detach())
    config = replace(transgan, n_critic=4, ema_half_life_kimg=2.0, ema_ramp_up=0.4)
    assert config.ema_beta_at(10**6) == pytest.approx(0.5 ** (8 * 4 / 2000))
    assert config.ema_beta_at(1000) == pytest.approx(0.5 ** (8 * 4 / 400))


def test_linear_decay(transgan: TrainConfig) -> None:
    """Down to 0 at the end, from what the config says, also in a state that comes from a checkpoint."""
    config = replace(transgan, lr_decay="linear", kimg=0.04)
    trainer = trainer_of(config)
    rates = []
    for number in range(5):
        step(trainer, number)
        rates.append(trainer.state.d_opt.param_groups[0]["lr"] / config.d_adam.lr)
    assert rates == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    trainer.state.n_img = 20
    again = Trainer(config, trainer.state, batch_share=8)
    assert again.state.g_opt.param_groups[0]["lr"] == pytest.approx(config.g_adam.lr / 2)
    assert trainer_of(transgan).config.lr_share(10**9) == 1


# ---------------------------------------------------------------------------------------------------------------------
# Losses


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_every_loss_trains(name: str, transgan: TrainConfig) -> None:
    trainer = trainer_of(replace(transgan, loss=LossConfig(r_interval=1).named(name)))
    stats = step(trainer)
    assert all(value.isfinite() for value in stats.values())
    assert ("penalty/gp" in stats) == name.startswith("wgan-gp")
    assert ("penalty/drift" in stats) == (name == "wgan-gp-eps")
    assert ("penalty/r1" in stats) == (not name.startswith("wgan-gp"))
    for net in (trainer.state.g, trainer.state.d):
        assert all(p.isfinite().all() for p in net.parameters())


class Recorded(nn.Module):
    """A discriminator that keeps what it is shown, and in which type it is asked to compute."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.seen: list[torch.Tensor] = []
        self.dtypes: list[torch.dtype] = []

    def forward(self, images: torch.Tensor, c: torch.Tensor | None = None, *, dtype: torch.dtype) -> torch.Tensor:
        self.seen.append(images)
        self.dtypes.append(dtype)
        return (self.scale * images.square()).sum([1, 2, 3])[:, None] / 10


def test_wgan_gp_eps_by_hand(transgan: TrainConfig) -> None:
    """L_D = −mean f(Tx) + mean f(Ty) + λ·mean(‖∇f(T x̂)‖ − 1)² + 10⁻³·(mean f(Tx))², with x̂ between x and y."""
    config = override(
        transgan, ["augment.name=diffaugment", "augment.diffaugment.policy=translation", "precision=bf16"]
    )
    trainer = trainer_of(config)
    d = Recorded()
    trainer.state.d = d
    real = torch.ones(8, 3, 16, 16)
    value, stats = trainer.d_main(real, torch.zeros(8, 0))
    fake, of_real, between = d.seen  # as the discriminator saw them: moved, with 0 where nothing was
    f = [x.square().sum([1, 2, 3]) / 20 for x in d.seen]
    norms = 2 * 0.05 * between.square().sum([1, 2, 3]).sqrt()
    expected = -f[1].mean() + f[0].mean() + 10 * (norms - 1).square().mean() + 1e-3 * f[1].mean().square()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(stats["penalty/gp"], (norms - 1).square().mean())
    assert all((x == 0).any() for x in (fake, of_real, between))  # all three are augmented
    assert d.dtypes == [torch.bfloat16, torch.bfloat16, torch.float32]
    (slope,) = torch.autograd.grad(value, [d.scale], retain_graph=True)
    by_hand = (f[0].mean() - f[1].mean() + 20 * ((norms - 1) * norms).mean() + 2e-3 * f[1].mean() ** 2) / 0.5
    torch.testing.assert_close(slope, by_hand)


def test_wgan_gp_eps_against_the_reference(transgan: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published discriminator's whole step, from images to gradients, on recorded images and mixtures."""
    golden, d = golden_discriminator("transgan_v2_dis")
    config = replace(
        transgan,
        generator=replace(GENERATOR, resolution_px=32, stages=(replace(GENERATOR.stages[0], side=32, channels=4),)),
        discriminator=replace(transgan.discriminator, resolution_px=32),
    )
    trainer = trainer_of(config)
    trainer.state.d = d
    real, fake, labels = golden["real"], golden["fake"], torch.zeros(len(golden["real"]), 0)
    monkeypatch.setattr(trainer, "generate", lambda *_, **__: Fakes(fake, labels, fake, fake))
    monkeypatch.setattr(steps, "interpolate", lambda x, y: golden["alpha"] * x + (1 - golden["alpha"]) * y)
    value, stats = trainer.d_main(real, labels)
    assert_close(stats["penalty/gp"], golden["gradient_penalty"], rtol=1e-4)
    assert_close(value, golden["d_loss_wgangp_eps"], rtol=1e-4)
    assert_close(trainer.g_main(real, labels)[0], golden["g_loss"], rtol=1e-4)
    (gradient,) = torch.autograd.grad(value, [d.get_parameter("scales.0.blocks.0.attn.qkv.weight")])
    golden.check_gradient(gradient, "grad.blocks_1.0.attn.qkv.weight")


def test_gradient_penalty_by_finite_differences(transgan: TrainConfig) -> None:
    """Through the augmentation and a transformer's attention: the derivative of the penalty in one of the weights."""
    trainer = trainer_of(override(transgan, ["augment.name=diffaugment"]))
    torch.manual_seed(0)

    class Attentive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stage = GENERATOR.build().synthesis.stages[1]
            self.embed = nn.Conv2d(3, 16, 2, 2)
            self.head = nn.Linear(16, 1)

        def forward(self, x: torch.Tensor, c: torch.Tensor | None = None, *, dtype: torch.dtype) -> torch.Tensor:
            tokens = self.embed(x.double()).flatten(2).mT
            tokens = self.stage(tokens, None, noise_mode="none", dtype=torch.float64, checkpoint_gradients=False)
            return self.head(tokens.mean(1))

    d = trainer.state.d = Attentive().double()
    images = torch.rand(4, 3, 16, 16, dtype=torch.float64).requires_grad_()
    weight = d.stage.blocks[0].attn.qkv.weight

    def penalty() -> torch.Tensor:
        torch.manual_seed(1)  # the same augmentation
        return interpolate_penalty(trainer.discriminate(images, torch.zeros(4, 0)), images).mean()

    (gradient,) = torch.autograd.grad(penalty(), [weight])
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[3, 5] += sign * 1e-4
        values.append(penalty().item())
        with torch.no_grad():
            weight[3, 5] -= sign * 1e-4
    assert gradient[3, 5].item() == pytest.approx((values[0] - values[1]) / 2e-4, rel=1e-4)


def test_lazy_gradient_penalty(transgan: TrainConfig) -> None:
    trainer = trainer_of(override(transgan, ["loss.gp_interval=2"]))
    stats = [step(trainer, number) for number in range(4)]
    assert ["penalty/gp" in found for found in stats] == [True, False, True, False]
    trainer.state.n_step = 0
    torch.manual_seed(0)
    value, found = trainer.d_main(torch.rand(8, 3, 16, 16), torch.zeros(8, 0))
    torch.testing.assert_close(value, found["loss/d"] + 2 * 10 * found["penalty/gp"] + 1e-3 * found["penalty/drift"])


def test_mode_seeking_acts(transgan: TrainConfig) -> None:
    without = gradients(plain := trainer_of(transgan), lambda: step(plain))
    config = override(transgan, ["loss.mode_seeking_weight=1"])
    with_it = gradients(seeking := trainer_of(config), lambda: step(seeking))
    assert any(not torch.equal(a, b) for a, b in zip(without, with_it, strict=True))
    with pytest.raises(ConfigError, match="mode_seeking"):
        trainer_of(replace(config, micro_batch=1))


def test_augmentation_changes_what_the_discriminator_says(transgan: TrainConfig) -> None:
    trainer = trainer_of(transgan)
    real, labels = torch.rand(8, 3, 16, 16), torch.zeros(8, 0)
    plain = trainer.discriminate(real, labels)
    config = override(transgan, ["augment.name=diffaugment", "augment.diffaugment.policy=translation,erase_ratio,hue"])
    augmented = Trainer(config, trainer.state, batch_share=8)
    assert torch.equal(plain, trainer.discriminate(real, labels))
    first = augmented.discriminate(real, labels)
    assert not torch.equal(first, plain)
    assert not torch.equal(first, augmented.discriminate(real, labels))


# ---------------------------------------------------------------------------------------------------------------------
# Co-training


def test_no_weight_no_difference(transgan: TrainConfig) -> None:
    """Weight 0, or its time being over: the same gradients and the same random numbers as without."""
    plain = gradients(a := trainer_of(transgan), lambda: step(a))
    over = gradients(
        b := trainer_of(override(transgan, ["cotrain.weight=50", "cotrain.until_kimg=0"])), lambda: step(b)
    )
    zero = gradients(c := trainer_of(override(transgan, ["cotrain.weight=0"])), lambda: step(c))
    assert len(plain) == len(over) == len(zero)
    assert all(torch.equal(x, y) for x, y in zip(plain, over, strict=True))
    assert all(torch.equal(x, y) for x, y in zip(plain, zero, strict=True))
    assert a.state.cotrain is None


@pytest.mark.parametrize("entry_stage", [1, 2, 3])
def test_co_training_adds_its_gradient(entry_stage: int, transgan: TrainConfig) -> None:
    """∇L_G = ∇(adversarial) + 50·∇mean (sr − real)², computed here from the definition."""
    plain = gradients(a := trainer_of(transgan), lambda: step(a))
    trainer = trainer_of(override(transgan, ["cotrain.weight=50", f"cotrain.entry_stage={entry_stage}"]))
    state = trainer.state
    both = gradients(trainer, lambda: step(trainer))
    assert state.cotrain is not None
    state.g.requires_grad_(True)
    real = batch_of(transgan).images.float() / 127.5 - 1
    side = 2 ** (entry_stage + 1)
    factor = 16 // side
    low = real.unflatten(3, (side, factor)).mean(4).unflatten(2, (side, factor)).mean(3)
    features = torch.einsum("kc,nchw->nkhw", state.cotrain.projection.weight, low)
    features = features + state.cotrain.projection.bias[:, None, None]
    enlarged = state.g.synthesis.from_stage(features, entry_stage - 1)  # type: ignore[union-attr,operator]
    parameters = list(state.g.parameters())
    error = (enlarged - real).square().mean()
    of_sr = torch.autograd.grad(50 * error, parameters, allow_unused=True, materialize_grads=True)
    for x, y, z in zip(plain, of_sr, both, strict=True):
        torch.testing.assert_close(x + y, z, rtol=1e-3, atol=1e-5)
    assert (of_sr[0] == 0).all()  # the latent's own layer takes no part


def test_co_training_learns(transgan: TrainConfig) -> None:
    """The error of the enlarged images falls."""
    trainer = trainer_of(override(transgan, ["cotrain.weight=50", "g_adam.lr=0.003"]))
    y, x = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")
    ramps = torch.stack([0.7 * x + 0.3 * y, x, 0.5 * y]).expand(8, 3, 16, 16)
    errors = []
    for _ in range(40):
        stats: dict[str, torch.Tensor] = {}
        trainer._optimise(trainer.state.g_opt, trainer.g_sr, ramps, torch.zeros(8, 0), stats)
        errors.append(stats["loss/super_resolution"].item())
    assert errors[-1] < errors[0] / 4


def test_co_training_ends(transgan: TrainConfig) -> None:
    config = override(transgan, ["cotrain.weight=50", "cotrain.until_kimg=0.02", "kimg=0.08"])
    trainer = trainer_of(config)
    assert ["loss/super_resolution" in step(trainer, n) for n in range(5)] == [True, True, True, False, False]
    share = CoTrainConfig(weight=50, until_share=0.25)
    assert [share.weight_at(n_img, 0.08) for n_img in (0, 19, 20, 80)] == [50, 50, 0, 0]


def test_projection_is_learnt_and_kept_but_not_exported(transgan: TrainConfig, tmp_path: Path) -> None:
    config = override(transgan, ["cotrain.weight=50"])
    trainer = trainer_of(config)
    assert trainer.state.cotrain is not None
    before = trainer.state.cotrain.projection.weight.detach().clone()
    step(trainer)
    assert not torch.equal(before, trainer.state.cotrain.projection.weight)
    tensors = checkpoint.load(path := trainer.state.save(tmp_path, config))[0]
    assert {"cotrain.projection.weight", "g_opt.exp_avg.cotrain.projection.weight"} <= tensors.keys()
    assert not any("projection" in name for name in tensors if name.startswith(("g.", "g_ema.")))
    again = TrainState(config, "cpu")
    again.load(path)
    assert again.cotrain is not None
    assert torch.equal(again.cotrain.projection.weight, trainer.state.cotrain.projection.weight)
    TrainState(transgan, "cpu").load(path)  # without co-training it goes on without the projection
    with pytest.raises(CheckpointError, match="cotrain"):
        TrainState(config, "cpu").load(trainer_of(transgan).state.save(tmp_path / "plain", transgan))


def test_micro_batches_of_co_training_equal_one_batch(transgan: TrainConfig) -> None:
    config = override(transgan, ["cotrain.weight=50"])
    state = TrainState(config, "cpu")
    real, labels = torch.rand(8, 3, 16, 16) * 2 - 1, torch.zeros(8, 0)
    found = []
    for micro_batch in (8, 3):
        trainer = Trainer(replace(config, micro_batch=micro_batch), state, batch_share=8)
        found.append(
            gradients(trainer, lambda: trainer._optimise(state.g_opt, trainer.g_sr, real, labels, {}))  # noqa: B023
        )
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------------------
# Locality


SCHEDULE = LocalityConfig(window="window_2d", schedule=((0.016, 1), (0.032, 3)))


def test_schedule() -> None:
    assert [SCHEDULE.half_width(n_img, 100) for n_img in (0, 15, 16, 31, 32, 10**6)] == [1, 1, 3, 3, None, None]
    share = replace(SCHEDULE, unit="share", schedule=((0.25, 4), (0.5, 6)))
    assert [share.half_width(n_img, 1) for n_img in (0, 249, 250, 499, 500)] == [4, 4, 6, 6, None]
    assert LocalityConfig().half_width(0, 1) is None


@pytest.mark.parametrize("window", ["window_2d", "raster_band"])
def test_locality_changes_the_image_while_it_lasts(window: str, transgan: TrainConfig) -> None:
    """Both generators are masked as the schedule says, and full attention is back afterwards, bit for bit."""
    trainer = trainer_of(override(replace(transgan, locality=SCHEDULE), [f"locality.window={window}"]))
    state = trainer.state
    for net in (state.g, state.g_ema):  # positions and attention that matter
        for block in net.synthesis.stages[2].blocks:  # type: ignore[union-attr,index]
            nn.init.normal_(block.attn.qkv.weight, std=3.0)
    z = torch.randn(2, 8)
    images = []
    for n_img in (0, 16, 32):
        state.n_img = n_img
        trainer._follow_schedules()
        with torch.no_grad():
            images.append([net(z) for net in (state.g, state.g_ema)])
    free = transgan.generator.build().requires_grad_(False)
    for net, last in zip((state.g, state.g_ema), images[2], strict=True):
        free.load_state_dict(net.state_dict())
        assert torch.equal(free(z), last)
    for first, second, last in zip(*images, strict=True):
        assert not torch.equal(first, last)
        assert not torch.equal(first, second)
        assert not torch.equal(second, last)


def test_locality_follows_the_images(transgan: TrainConfig) -> None:
    trainer = trainer_of(replace(transgan, locality=SCHEDULE))
    widths = []
    for number in range(5):
        step(trainer, number)
        mask = trainer.state.g.synthesis.stages[2].blocks[-1].attn.locality  # type: ignore[union-attr,index]
        widths.append(None if mask is None else (mask[0, 0] == 0).sum().item())
    assert widths == [4, 4, 16, 16, None]  # tokens in reach of the corner: (w + 1)²


# ---------------------------------------------------------------------------------------------------------------------
# All of it


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_gradient_checkpointing_changes_nothing(network: str, transgan: TrainConfig) -> None:
    """Blocks that run again in the backward pass, and once more for the penalty's second derivative."""
    found = []
    for value in ("false", "true"):
        config = replace(transgan, discriminator=replace(DISCRIMINATOR, noise=False))
        config = override(config, ["cotrain.weight=50", "micro_batch=4", f"{network}.checkpoint_gradients={value}"])
        trainer = trainer_of(config)
        step(trainer)
        found.append(trainer.state.tensors())
    for name, plain in found[0].items():
        torch.testing.assert_close(found[1][name], plain, rtol=1e-4, atol=1e-6, msg=name)


def test_bfloat16(transgan: TrainConfig) -> None:
    """The whole recipe in half precision: close to float32 after a step, with weights that stay float32."""
    config = override(
        replace(transgan, discriminator=DISCRIMINATOR), ["cotrain.weight=50", "clip_norm=5", "micro_batch=4"]
    )
    full, half = (step(trainer := trainer_of(replace(config, precision=p))) for p in ("fp32", "bf16"))
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in trainer.state.g.parameters())
    for name in ("loss/super_resolution", "penalty/gp"):
        torch.testing.assert_close(half[name], full[name], rtol=0.05, atol=0.01)


def test_resume_equals_no_break(transgan: TrainConfig, tmp_path: Path) -> None:
    """Stopped between two steps of G, while co-training and masks last; they end after the break. Bit for bit."""
    config = override(
        replace(transgan, discriminator=DISCRIMINATOR),
        [
            *("n_critic=3", "g_batch_factor=2", "micro_batch=4", "clip_norm=5", "ema_beta=0.9", "lr_decay=linear"),
            *("cotrain.weight=50", "cotrain.until_kimg=0.08", "kimg=0.104", "augment.name=diffaugment"),
            "augment.diffaugment.policy=translation,erase_ratio,rotate,crop,color",
            *("locality.window=raster_band", "locality.schedule=[[0.05,2],[0.09,5]]", "loss.mode_seeking_weight=0.1"),
        ],
    )
    run(config, tmp_path / "whole")
    # The same training, interrupted: `kimg` is part of the schedule, so it is not what stops it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gantrol.train.loop.StopRequest", _stop_after(7))
        run(config, tmp_path / "parts")
    assert newest(tmp_path / "parts").stem == "000000056"
    run(config, tmp_path / "parts", is_resumed=True)
    assert newest(tmp_path / "parts").stem == "000000104"
    assert same_weights(newest(tmp_path / "whole"), newest(tmp_path / "parts"))


def _stop_after(steps: int) -> type:
    from gantrol.train.loop import StopRequest

    class Stop(StopRequest):
        """Asks for a stop when the loop has looked so many times."""

        def __init__(self) -> None:
            self.looks = 0

        @property
        def is_set(self) -> bool:
            self.looks += 1
            return self.looks > 2 * steps - 1  # the loop looks before and after each step

        @is_set.setter
        def is_set(self, value: bool) -> None:
            raise AssertionError

    return Stop


def test_what_the_networks_lack(config: TrainConfig, transgan: TrainConfig) -> None:
    for change, message in (
        ("cotrain.weight=50", "StyleGAN3Generator has no stages"),
        ("locality.window=window_2d", "StyleGAN3Generator has no attention"),
    ):
        extra = ["locality.schedule=[[1,4]]"] if "locality" in change else []
        with pytest.raises(ConfigError, match=message):
            trainer_of(override(config, [change, *extra]))
    with pytest.raises(ConfigError, match=r"entry_stage=4: .* has 3 stages"):
        trainer_of(replace(transgan, cotrain=CoTrainConfig(weight=50, entry_stage=4)))
    for name in ("pl_weight", "style_mixing_prob"):
        with pytest.raises(ConfigError, match="TransGANGenerator has no styles"):
            trainer_of(replace(transgan, loss=LossConfig(**{name: 0.5})))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("locality.window=band", "raster_band"),
        ("locality.window=window_2d", "at least one pair"),
        ("locality.schedule=[[2,4],[1,6]]", "rising"),
        ("locality.schedule=[[2,-4]]", "half widths of 0 or more"),
        ("cotrain.entry_stage=0", "at least 1"),
        ("cotrain.weight=-1", "0 or more"),
        ("n_critic=0", "1 or more"),
        ("clip_norm=0", "positive"),
        ("ema_beta=1", "from 0 to 1"),
        ("lr_decay=cosine", "none, linear"),
        ("loss.gp_target=0", "positive"),
        ("loss.gp_interval=0", "1 or more"),
    ],
)
def test_errors_name_the_field(change: str, message: str, config: TrainConfig) -> None:
    with pytest.raises(ConfigError, match=message):
        override(config, [change])
