"""Augmentation inside a training: where it acts, how its strength is steered, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from gantrol import checkpoint
from gantrol.cli import train as command
from gantrol.config import override
from gantrol.data.loader import Batch
from gantrol.errors import CheckpointError
from gantrol.train import loop, steps
from gantrol.train.augment import AdaConfig, AdaptiveStrength
from gantrol.train.config import TrainConfig
from gantrol.train.log import read_log
from gantrol.train.run import read_config
from gantrol.train.state import TrainState, seed_step
from gantrol.train.steps import Trainer
from tests.train.test_training import newest, run

# ---------------------------------------------------------------------------------------------------------------------
# Strength


def logits(positive: int, negative: int) -> torch.Tensor:
    return torch.tensor([[0.3]] * positive + [[-2.0]] * negative)


def test_strength_by_hand() -> None:
    """Batch 8, an update every 4 steps, 1 kimg to rise by 1: each update moves p by 8·4/1000 = 0.032."""
    strength = AdaptiveStrength(AdaConfig(adapt_kimg=1.0), 8, "cpu")
    expected = []
    for n_step in range(1, 21):
        # r: 1 (rises), 6/8 = 0.75 − not enough negatives (rises), 0.5 (falls), 0 (falls), −1 (falls, but not below 0)
        window = (n_step - 1) // 4
        positive, negative = ((8, 0), (7, 1), (6, 2), (4, 4), (0, 8))[window]
        strength.observe(logits(positive, negative))
        strength.update(n_step)
        expected.append((0.0, 0.032, 0.064, 0.032, 0.0, 0.0)[window + (n_step % 4 == 0)])
        torch.testing.assert_close(strength.p, torch.tensor(expected[-1]), rtol=0, atol=1e-6)
    assert expected[3] == 0.032
    assert strength.sign_count == 0


def test_every_sign_since_the_last_update_counts() -> None:
    """Windows may hold passes of different sizes (gradient penalties add theirs): 9 of 10 signs are positive."""
    strength = AdaptiveStrength(AdaConfig(adapt_kimg=1.0, p=0.5), 8, "cpu")
    strength.observe(logits(0, 1))
    strength.observe(logits(3, 0))
    strength.observe(logits(6, 0))
    assert (strength.sign_sum, strength.sign_count) == (8, 10)
    strength.update(3)
    assert strength.p == 0.5
    strength.update(4)
    torch.testing.assert_close(strength.p, torch.tensor(0.532))


def test_strength_over_processes() -> None:
    """What the other process saw counts as much: together they are below the target."""
    strength = AdaptiveStrength(AdaConfig(adapt_kimg=1.0, p=0.5), 8, "cpu")
    strength.observe(logits(4, 0))
    other = torch.tensor([-4.0, 8.0])
    strength.update(4, all_reduce=lambda totals: (totals + other) / 2)
    torch.testing.assert_close(strength.p, torch.tensor(0.468))


def test_limits_of_the_strength() -> None:
    for p_max, expected in ((1.0, 1.0), (0.9, 0.9), (None, 1.288)):
        strength = AdaptiveStrength(AdaConfig(adapt_kimg=1.0, p=0.8, p_max=p_max and max(p_max, 0.8)), 122, "cpu")
        strength.observe(logits(1, 0))
        strength.update(4)
        torch.testing.assert_close(strength.p, torch.tensor(expected))
    fixed = AdaptiveStrength(AdaConfig(target=None, p=0.2), 8, "cpu")
    fixed.observe(logits(8, 0))
    fixed.update(4)
    assert fixed.p == torch.tensor(0.2)
    assert fixed.sign_count == 0


# ---------------------------------------------------------------------------------------------------------------------
# Steps


def make_trainer(config: TrainConfig) -> Trainer:
    return Trainer(config, TrainState(config, "cpu"), batch_share=config.batch)


def discs(config: TrainConfig, count: int = 8) -> torch.Tensor:
    dataset = loop.open_dataset(config)
    return torch.stack([dataset[index][0] for index in range(count)])


@pytest.mark.parametrize("name", ["ada", "diffaugment"])
def test_everything_that_d_sees_is_augmented(name: str, config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the generator's step, in the discriminator's for fakes and reals, and in both penalties."""
    config = override(config, [f"augment.name={name}", "augment.ada.p=0.7", "loss.r2_gamma=0.1"])
    trainer = make_trainer(config)
    calls: list[torch.Tensor] = []
    original: Callable[..., torch.Tensor] = getattr(steps, name)

    def recorded(images: torch.Tensor, *arguments: Any) -> torch.Tensor:
        calls.append(original(images, *arguments))
        return calls[-1]

    monkeypatch.setattr(steps, name, recorded)
    seen: list[torch.Tensor] = []
    trainer.state.d.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    real, labels = discs(config).float() / 127.5 - 1, torch.zeros(8, 0)
    for method, passes in ((trainer.g_main, 1), (trainer.d_main, 2), (trainer.d_reg, 2)):
        method(real, labels)
        assert len(calls) == len(seen) == passes, method
        assert all(augmented is shown for augmented, shown in zip(calls, seen, strict=True))
        assert all(not torch.equal(shown, real) for shown in seen)
        calls.clear()
        seen.clear()


def test_the_generator_learns_through_the_augmentation(config: TrainConfig) -> None:
    config = override(config, ["augment.name=ada", "augment.ada.p=1", "augment.ada.noise=1", "augment.ada.cutout=1"])
    trainer = make_trainer(config)
    value, _ = trainer.g_main(discs(config).float() / 127.5 - 1, torch.zeros(8, 0))
    value.backward()
    gradients = [p.grad for p in trainer.state.g.parameters() if p.grad is not None]
    assert len(gradients) > 10
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient.abs().max() > 0 for gradient in gradients)


def test_r1_is_taken_with_respect_to_the_images_before(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """If D sees 3·x, the penalty of x ↦ D(3·x) is nine times that of D where it looks."""
    config = override(config, ["augment.name=ada"])
    trainer = make_trainer(config)
    real, labels = discs(config).float() / 127.5 - 1, torch.zeros(8, 0)
    monkeypatch.setattr(steps, "ada", lambda images, *_: images)
    _, plain = trainer.d_reg(3 * real, labels)
    monkeypatch.setattr(steps, "ada", lambda images, *_: 3 * images)
    _, through = trainer.d_reg(real, labels)
    torch.testing.assert_close(through["penalty/r1"], 9 * plain["penalty/r1"])


def test_r1_reaches_the_discriminator_through_the_pipeline(config: TrainConfig) -> None:
    """The penalty's gradient in D's weights, through two derivatives of the pipeline, against a difference quotient.

    The penalty is quadratic in the weights of the last, linear layer, so that the quotient is exact for any step.
    """
    config = override(config, ["augment.name=ada", "augment.ada.p=1", "discriminator.mbstd_channels=0"])
    trainer = make_trainer(config)
    real, labels = discs(config, 2).float() / 127.5 - 1, torch.zeros(2, 0)
    weight = dict(trainer.state.d.named_parameters())["epilogue.out.weight"]

    def penalty() -> torch.Tensor:
        seed_step(0, 0, 0)
        return trainer.d_reg(real, labels)[0]

    (gradient,) = torch.autograd.grad(penalty(), [weight])
    direction = torch.randn_like(weight)
    step = 0.1
    with torch.no_grad():
        weight.add_(direction, alpha=step)
        above = penalty_value(penalty)
        weight.sub_(direction, alpha=2 * step)
        below = penalty_value(penalty)
    torch.testing.assert_close((gradient * direction).sum(), (above - below) / (2 * step), rtol=1e-3, atol=0)


def penalty_value(penalty: Callable[[], torch.Tensor]) -> torch.Tensor:
    with torch.enable_grad():
        return penalty().detach()


def test_strength_sees_reals_of_both_losses_and_of_all_micro_batches(config: TrainConfig) -> None:
    config = override(config, ["augment.name=ada", "micro_batch=4"])
    trainer = make_trainer(config)
    strength = trainer.state.strength
    assert strength is not None
    batch = Batch(images=discs(config), labels=torch.zeros(8, 0), indices=())
    counts = []
    for step in range(5):
        seed_step(0, 0, step)
        trainer.step(batch)
        counts.append(int(strength.sign_count))
    assert counts == [16, 24, 32, 0, 16]  # steps 0 and 4 have gradient penalties (r_interval = 4)


def test_strength_follows_the_discriminator(config: TrainConfig) -> None:
    """It rises while D is taught a handful of images, and falls when D calls everything fake."""
    config = override(config, ["augment.name=ada", "augment.ada.adapt_kimg=0.2", "d_adam.lr=0.02", "g_adam.lr=1e-6"])
    trainer = make_trainer(config)
    strength = trainer.state.strength
    assert strength is not None
    batch = Batch(images=discs(config), labels=torch.zeros(8, 0), indices=())
    for step in range(20):
        seed_step(0, 0, step)
        stats = trainer.step(batch)
    assert stats["signs/real"] > 0.6
    assert strength.p > 0.16
    reached = strength.p.item()
    with torch.no_grad():
        dict(trainer.state.d.named_parameters())["epilogue.out.bias"].fill_(-1e3)
    for step in range(20, 28):
        seed_step(0, 0, step)
        trainer.step(batch)
    assert strength.p < reached


# ---------------------------------------------------------------------------------------------------------------------
# Runs


def test_strength_is_logged_and_kept(config: TrainConfig, tmp_path: Path) -> None:
    config = override(config, ["augment.name=ada", "augment.ada.adapt_kimg=0.4", "augment.ada.target=-0.99"])
    config = override(config, ["kimg=0.08"])  # 10 steps: two updates of +0.08, then half a window
    recorder = run(config, tmp_path / "run")
    assert [tick["augment/p"] for tick in read_log(tmp_path / "run")] == pytest.approx([0.08, 0.16], abs=1e-6)
    assert command.losses(recorder.ticks[-1]).endswith("p 0.160")
    tensors = checkpoint.load(newest(tmp_path / "run"))[0]
    assert tensors["strength.p"].item() == pytest.approx(0.16)
    assert tensors["strength.sign_count"] == 24  # steps 8 and 9, and the penalty of step 8
    state = TrainState(config, "cpu")
    state.load(newest(tmp_path / "run"))
    assert state.strength is not None
    for name, value in state.strength.tensors().items():
        assert torch.equal(value, tensors[f"strength.{name}"])


def test_without_augmentation_nothing_is_kept(config: TrainConfig, tmp_path: Path) -> None:
    recorder = run(replace(config, kimg=0.008), tmp_path / "run")
    assert "augment/p" not in recorder.ticks[-1]
    assert "p " not in command.losses(recorder.ticks[-1])
    assert not any(name.startswith("strength") for name in checkpoint.load(newest(tmp_path / "run"))[0])
    with pytest.raises(CheckpointError, match=r"does not fit this config: it lacks strength\.p"):
        TrainState(override(config, ["augment.name=ada"]), "cpu").load(newest(tmp_path / "run"))


def test_the_option(dataset_path: Path, tmp_path: Path) -> None:
    """--augment chooses, fields say how; without it the preset's choice stays."""
    overrides = ("generator.channel_max=8", "discriminator.channel_max=8", "augment.ada.hue=0.5", "kimg=0")
    names: tuple[Literal["ada", "diffaugment"] | None, ...] = ("ada", "diffaugment", None)
    for name in names:
        options = command.Train(
            preset="stylegan3-t",
            scale="tiny",
            data=dataset_path,
            out=tmp_path / str(name),
            augment=name,
            device="cpu",
            overrides=overrides,
        )
        assert command.run(options) == 0
        augment = read_config(tmp_path / str(name))[0].augment
        assert augment.name == (name or "none")
        assert augment.ada.hue == 0.5
