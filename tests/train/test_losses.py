"""Losses and penalties against calculation by hand; scalar schedules against the reference values."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gantrol.errors import ConfigError
from gantrol.ops import filter2d
from gantrol.train.config import AdamConfig
from gantrol.train.ema import ema_beta, update_ema
from gantrol.train.losses import (
    adversarial_loss,
    blur_kernel,
    gradient_penalty,
    path_length_penalty,
    path_lengths,
)
from gantrol.train.presets import MAGNITUDE_HALF_LIFE_IMG, DataShape, preset
from gantrol.train.state import build_adam
from gantrol.train.steps import sanitise_gradients
from tests import reference


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_non_saturating_by_hand() -> None:
    loss = adversarial_loss("non-saturating")
    fake, real = torch.tensor([[0.5], [-1.0]]), torch.tensor([[2.0], [-0.25]])
    torch.testing.assert_close(loss.g(fake, None), torch.tensor([softplus(-0.5), softplus(1.0)]))
    assert loss.d_fake is not None
    assert loss.d_real is not None
    torch.testing.assert_close(loss.d_fake(fake), torch.tensor([softplus(0.5), softplus(-1.0)]))
    torch.testing.assert_close(loss.d_real(real), torch.tensor([softplus(-2.0), softplus(0.25)]))


def test_relativistic_by_hand() -> None:
    loss = adversarial_loss("relativistic")
    fake, real = torch.tensor([[0.5], [-1.0]]), torch.tensor([[2.0], [-0.25]])
    torch.testing.assert_close(loss.g(fake, real), torch.tensor([softplus(1.5), softplus(0.75)]))
    assert loss.d_pair is not None
    torch.testing.assert_close(loss.d_pair(fake, real), torch.tensor([softplus(-1.5), softplus(-0.75)]))


def test_unknown_loss_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="relativistic"):
        adversarial_loss("relativistik")


def test_gradient_penalty_by_hand() -> None:
    """D(x) = a·Σx²/2 has gradient a·x, so the penalty is a²‖x‖² and its derivative in a is 2a‖x‖²."""
    a = torch.tensor(3.0, requires_grad=True)
    x = torch.randn(2, 1, 2, 2, requires_grad=True)
    penalty = gradient_penalty((a * x.square() / 2).sum([1, 2, 3])[:, None], x)
    norms = x.detach().square().sum([1, 2, 3])
    torch.testing.assert_close(penalty.detach(), 9 * norms)
    (da,) = torch.autograd.grad(penalty.sum(), [a])
    torch.testing.assert_close(da, 6 * norms.sum())


def test_path_lengths_by_hand() -> None:
    """For img = s·w (every pixel, both copies) the length has an expectation that s scales."""
    torch.manual_seed(0)
    ws = torch.randn(4096, 2, 1, requires_grad=True)
    images = 5 * ws.sum(1)[:, :, None, None].expand(-1, 1, 4, 4)
    lengths = path_lengths(images, ws)
    # gradient per copy = 5·Σ pixels n/4, of standard deviation 5·√16/4 = 5
    assert lengths.square().mean().sqrt().item() == pytest.approx(5, rel=0.05)


def test_path_length_penalty_uses_the_updated_mean() -> None:
    lengths = torch.tensor([1.0, 3.0], requires_grad=True)
    penalty, mean = path_length_penalty(lengths, torch.tensor(0.0), decay=0.5)
    torch.testing.assert_close(mean.detach(), torch.tensor(1.0))
    torch.testing.assert_close(penalty.detach(), torch.tensor([0.0, 4.0]))
    (gradient,) = torch.autograd.grad(penalty.sum(), [lengths])
    # d/dl₁ of (l₁−m)² + (l₂−m)² with dm/dl = 1/4: 2·0·(3/4) + 2·2·(−1/4)
    torch.testing.assert_close(gradient, torch.tensor([-1.0, 3.0]))


CONSTANTS = reference.json.loads((reference.GOLDEN / "sg3_training_constants.json").read_text())


@pytest.mark.parametrize("case", CONSTANTS["generator_weight_average"])
def test_ema_beta(case: dict) -> None:
    got = ema_beta(case["batch"], case["images_seen"], case["ema_kimg"], case["rampup"])
    assert got == pytest.approx(case["ema_beta"], rel=1e-6)


@pytest.mark.parametrize("case", CONSTANTS["magnitude_ema"])
def test_magnitude_ema_of_presets(case: dict) -> None:
    assert 0.5 ** (case["batch"] / MAGNITUDE_HALF_LIFE_IMG) == pytest.approx(case["magnitude_ema_beta"], rel=1e-6)
    config = preset("stylegan3-t", "tiny", DataShape(resolution_px=32), batch=case["batch"])
    assert config.generator.magnitude_ema_beta == pytest.approx(case["magnitude_ema_beta"], rel=1e-6)  # type: ignore[union-attr]


@pytest.mark.parametrize("case", CONSTANTS["lazy_regularisation"])
def test_lazy_regularisation(case: dict) -> None:
    adam = AdamConfig(lr=case["lr"], beta1=case["betas"][0], beta2=case["betas"][1])
    group = build_adam(nn.Linear(1, 1), adam, case["interval"]).param_groups[0]
    assert group["lr"] == pytest.approx(case["lr_used"], rel=1e-9)
    assert group["betas"] == pytest.approx(case["betas_used"], rel=1e-9)


BLUR, BLUR_TENSORS = reference.load("sg3_d_blur")


@pytest.mark.parametrize("index", range(len(BLUR["sigmas"])))
def test_blur(index: int) -> None:
    kernel = blur_kernel(BLUR["sigmas"][index])
    image = BLUR_TENSORS["img"]
    blurred = image if kernel is None else filter2d(image, kernel)
    reference.assert_close(blurred, BLUR_TENSORS[f"blurred.{index}"], rtol=1e-5, atol=1e-6, atol_of_max=3e-6)


def test_update_ema() -> None:
    average, net = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.constant_(net.weight, 3.0)
    net.running_mean.fill_(7.0)  # type: ignore[union-attr]
    update_ema(average, net, 0.75)
    torch.testing.assert_close(average.weight.detach(), torch.full([2], 1.5))  # lerp(3, 1, 0.75)
    torch.testing.assert_close(average.running_mean, torch.full([2], 7.0))


def test_sanitise_gradients() -> None:
    p = nn.Parameter(torch.zeros(4))
    p.grad = torch.tensor([float("nan"), float("inf"), -float("inf"), 2.0])
    sanitise_gradients([p, nn.Parameter(torch.zeros(1))])
    torch.testing.assert_close(p.grad, torch.tensor([0.0, 1e5, -1e5, 2.0]))
