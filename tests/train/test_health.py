"""What a training says about itself, and that it says nothing without cause."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gantrol.data.loader import Batch
from gantrol.errors import TrainingError
from gantrol.train.config import LossConfig, TrainConfig
from gantrol.train.health import PATIENCE_TICKS, Health, check_weights, diversity
from gantrol.train.log import read_log
from gantrol.train.state import TrainState
from gantrol.train.steps import Trainer
from tests.train.test_training import run

WELL: dict[str, float] = {
    "scores/real": 0.4,
    "scores/fake": -0.4,
    "signs/real": 0.6,
    "signs/fake": -0.6,
    "diversity/real": 0.3,
    "diversity/fake": 0.25,
    "gradient/replaced_g": 0.0,
}
SICK: dict[str, dict[str, float]] = {
    "discriminator-collapse": {"scores/real": 0.101, "scores/fake": 0.1},
    "discriminator-won": {"signs/real": 1.0, "signs/fake": -1.0},
    "mode-collapse": {"diversity/fake": 0.01},
    "bad-gradients": {"gradient/replaced_g": 0.5},
}
Ticks = list[dict[str, Any]]


def ticks(count: int, first: int = 0, sign: str = "") -> Ticks:
    """Log lines of a healthy training, or of one with a sign of `SICK`."""
    return [{"n_img": 1000 * (first + number + 1), **WELL, **SICK.get(sign, {})} for number in range(count)]


def findings(health: Health, some: Ticks) -> list[dict[str, str]]:
    return [health.observe(tick) for tick in some]


def test_a_healthy_training_hears_nothing(config: TrainConfig) -> None:
    assert not any(findings(Health(config), ticks(50)))


@pytest.mark.parametrize("name", list(SICK))
def test_each_sign_is_said_once_when_it_lasts(config: TrainConfig, name: str) -> None:
    health = Health(config, ticks(2))
    found = findings(health, ticks(PATIENCE_TICKS + 2, 2, name))
    assert [list(each) for each in found] == [[]] * (PATIENCE_TICKS - 1) + [[name]] * 3
    said = [text for each in found for text in each.values() if text]
    assert len(said) == 1
    assert said[0].startswith(f"{2 + PATIENCE_TICKS} kimg: ")
    assert not health.observe(ticks(1, 20)[0])  # it has recovered
    again = findings(health, ticks(PATIENCE_TICKS, 21, name))
    assert again[-1][name]


def test_a_resumed_training_has_seen_the_log(config: TrainConfig) -> None:
    before = ticks(PATIENCE_TICKS - 1, sign="discriminator-won")
    assert list(Health(config, before).observe(ticks(1, 9, sign="discriminator-won")[0])) == ["discriminator-won"]
    assert not Health(config).observe(ticks(1, 9, sign="discriminator-won")[0])


def test_an_untrained_generator_may_be_monotonous(config: TrainConfig) -> None:
    """Little variety counts only after there was some, or after 20 kimg."""
    assert not any(findings(Health(config), ticks(10, sign="mode-collapse")))
    assert any(findings(Health(config), ticks(10, 20, sign="mode-collapse")))


def test_signs_mean_nothing_without_a_zero_in_the_middle(config: TrainConfig) -> None:
    wgan = replace(config, loss=LossConfig(name="wgan"))
    assert not any(findings(Health(wgan), ticks(10, sign="discriminator-won")))


def test_diversity_is_that_of_the_images() -> None:
    images = torch.randn(16, 3, 32, 32)
    same = images[:1].expand(16, -1, -1, -1)
    assert diversity(same) == 0
    flat = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 3, 32, 32)
    assert diversity(flat) == pytest.approx(0.5)
    assert diversity(flat + torch.randn(2, 3, 32, 32) * 0.1) == pytest.approx(0.5, abs=0.05)  # noise hardly counts


def test_a_collapsed_generator_is_found_in_a_run(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All latents alike: the images are the same, and the log and the user are told."""
    monkeypatch.setattr("gantrol.train.health.SETTLED_KIMG", 0.0)
    plain = Trainer.step

    def step(self: Trainer, batch: Batch) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randn", lambda *size, **more: torch.ones(*size, device=more.get("device")))
            return plain(self, batch)

    monkeypatch.setattr(Trainer, "step", step)
    recorder = run(replace(config, kimg=0.12, tick_kimg=0.016, sample_ticks=99), tmp_path / "run")
    assert any("mode collapse" in message for message in recorder.messages)
    lines = read_log(tmp_path / "run")
    assert lines[-1]["diversity/fake"] < 0.05 * lines[-1]["diversity/real"]
    assert "mode-collapse" in lines[-1]["health"]
    assert "health" not in lines[0]


def test_no_checkpoint_holds_a_weight_that_is_not_finite(config: TrainConfig, tmp_path: Path) -> None:
    state = TrainState(config, "cpu")
    check_weights(state, tmp_path)
    with torch.no_grad():
        next(state.g_ema.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(TrainingError, match=r"g_ema\.\S+ is not finite"):
        check_weights(state, tmp_path)


def test_replaced_gradients_are_counted(config: TrainConfig) -> None:
    trainer = Trainer(config, TrainState(config, "cpu"), batch_share=8)
    stats: dict[str, torch.Tensor] = {}
    real, labels = torch.zeros(8, 3, 16, 16), torch.zeros(8, 0)
    trainer._optimise(trainer.state.d_opt, trainer.d_main, real, labels, stats)
    assert stats["gradient/replaced_d"] == 0
    trainer._optimise(
        trainer.state.d_opt,
        lambda *some: _spoilt(trainer.d_main(*some)),
        real,
        labels,
        stats,
    )
    assert stats["gradient/replaced_d"] == 1
    assert all(bool(p.isfinite().all()) for p in trainer.state.d.parameters())


def _spoilt(found: Any) -> Any:
    value, stats = found
    return value * float("nan"), stats
