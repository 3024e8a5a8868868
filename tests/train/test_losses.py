"""Losses and penalties against calculation by hand; scalar schedules against the reference values."""

from __future__ import annotations

import copy
import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gantrol.errors import ConfigError
from gantrol.ops import filter2d
from gantrol.train.config import LOSS_NAMES, AdamConfig, LossConfig
from gantrol.train.ema import ema_beta, update_ema
from gantrol.train.losses import (
    LOSSES,
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


FAKE, REAL = (0.5, -1.0), (2.0, -0.25)
MEAN_FAKE, MEAN_REAL = -0.25, 0.875

BY_HAND = {
    # name: (generator's, discriminator's on fakes, discriminator's on reals), per sample
    "saturating": ([-softplus(y) for y in FAKE], [softplus(y) for y in FAKE], [softplus(-x) for x in REAL]),
    "hinge": ([-0.5, 1.0], [1.5, 0.0], [0.0, 1.25]),
    "lsgan": ([0.25, 4.0], [0.25, 1.0], [1.0, 1.5625]),
    "wgan": ([-0.5, 1.0], [0.5, -1.0], [-2.0, 0.25]),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_losses_by_hand(name: str) -> None:
    loss = adversarial_loss(name)
    fake, real = torch.tensor(FAKE)[:, None], torch.tensor(REAL)[:, None]
    of_g, of_fake, of_real = (torch.tensor(values) for values in BY_HAND[name])
    assert loss.d_fake is not None
    assert loss.d_real is not None
    assert not loss.is_relativistic
    torch.testing.assert_close(loss.g(fake, None), of_g)
    torch.testing.assert_close(loss.d_fake(fake), of_fake)
    torch.testing.assert_close(loss.d_real(real), of_real)


def test_relativistic_average_by_hand() -> None:
    """½[E s(−(f(x) − E f(y))) + E s(f(y) − E f(x))], and the same with x and y exchanged."""
    loss = adversarial_loss("relativistic-average")
    fake, real = torch.tensor(FAKE)[:, None], torch.tensor(REAL)[:, None]
    assert loss.d_pair is not None
    of_d = [(softplus(-(x - MEAN_FAKE)) + softplus(y - MEAN_REAL)) / 2 for x, y in zip(REAL, FAKE, strict=True)]
    of_g = [(softplus(-(y - MEAN_REAL)) + softplus(x - MEAN_FAKE)) / 2 for x, y in zip(REAL, FAKE, strict=True)]
    torch.testing.assert_close(loss.d_pair(fake, real), torch.tensor(of_d))
    torch.testing.assert_close(loss.g(fake, real), torch.tensor(of_g))


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_pulls_the_right_way(name: str) -> None:
    """The generator raises fake logits; the discriminator lowers them and raises real ones."""
    loss = adversarial_loss(name)
    fake, real = torch.tensor([[0.3]], requires_grad=True), torch.tensor([[-0.2]], requires_grad=True)
    (of_g,) = torch.autograd.grad(loss.g(fake, real).sum(), [fake])
    if loss.d_pair is not None:
        value = loss.d_pair(fake, real)
    else:
        assert loss.d_fake is not None
        assert loss.d_real is not None
        value = loss.d_fake(fake) + loss.d_real(real)
    of_fake, of_real = torch.autograd.grad(value.sum(), [fake, real])
    assert of_g < 0
    assert of_fake > 0
    assert of_real < 0


def test_names_of_whole_objectives() -> None:
    config = LossConfig(r1_gamma=2.0, pl_weight=1.0).named("wgan-gp-eps")
    assert (config.name, config.gp_weight, config.drift_weight, config.r1_gamma) == ("wgan", 10.0, 1e-3, 0.0)
    assert config.pl_weight == 1.0
    assert config.named("wgan-gp").drift_weight == 0
    hinge = config.named("hinge")
    assert (hinge.name, hinge.gp_weight, hinge.drift_weight) == ("hinge", 0, 0)
    assert LossConfig(r1_gamma=2.0).named("relativistic").r1_gamma == 2.0
    for name in LOSS_NAMES:
        assert LossConfig().named(name).name in LOSSES
    with pytest.raises(ConfigError, match="wgan-gp"):
        LossConfig().named("wgan_gp")


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


def test_interpolate_penalty_by_hand() -> None:
    """D(x) = a·Σx²/2 has the gradient norm a‖x‖: the penalty is (a‖x‖ − φ)²/φ², its derivative 2(a‖x‖ − φ)‖x‖/φ²."""
    a, target = torch.tensor(3.0, requires_grad=True), 2.0
    x = torch.randn(2, 1, 2, 2, requires_grad=True)
    penalty = interpolate_penalty((a * x.square() / 2).sum([1, 2, 3])[:, None], x, target)
    norms = x.detach().square().sum([1, 2, 3]).sqrt()
    torch.testing.assert_close(penalty.detach(), (3 * norms - target) ** 2 / target**2)
    (da,) = torch.autograd.grad(penalty.sum(), [a])
    torch.testing.assert_close(da, (2 * (3 * norms - target) * norms / target**2).sum())


def test_interpolate_penalty_by_finite_differences() -> None:
    """Its derivative in the weights of a small critic, in float64, against differences of the penalty itself."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(2, 3, 2), nn.GELU(), nn.Flatten(), nn.Linear(12, 1)).double()
    images = torch.randn(3, 2, 3, 3, dtype=torch.float64).requires_grad_()
    weight = next(critic.parameters())

    def penalty() -> torch.Tensor:
        return interpolate_penalty(critic(images), images).mean()

    (gradient,) = torch.autograd.grad(penalty(), [weight])
    step = 1e-5
    for index in (0, 7, 23):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight.view(-1)[index] += sign * step
            values.append(penalty().item())
            with torch.no_grad():
                weight.view(-1)[index] -= sign * step
        assert gradient.reshape(-1)[index].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_a_flat_critic_has_a_finite_penalty() -> None:
    """The norm 0 has no derivative; it must not become NaN."""
    a = torch.tensor(0.0, requires_grad=True)
    x = torch.randn(2, 1, 2, 2, requires_grad=True)
    penalty = interpolate_penalty((a * x).sum([1, 2, 3])[:, None], x)
    torch.testing.assert_close(penalty.detach(), torch.ones(2))
    (da,) = torch.autograd.grad(penalty.sum(), [a])
    assert da.isfinite()


def test_interpolates_lie_between() -> None:
    """One a per pair: all pixels of an image are the same mixture, and images differ."""
    torch.manual_seed(0)
    between = interpolate(torch.ones(500, 1, 2, 2), torch.zeros(500, 1, 2, 2))
    assert torch.equal(between, between[:, :, :1, :1].expand_as(between))
    assert 0 <= between.min() < 0.02 < 0.98 < between.max() <= 1


def test_drift_squares_the_mean() -> None:
    torch.testing.assert_close(drift(torch.tensor([[1.0], [-3.0]])), torch.tensor(1.0))  # of the squares: 5


def test_mode_seeking_by_hand() -> None:
    """Images differ by 0.5 where latents differ by 2: 1/(0.25 + 10⁻⁵). Equal images cost the most."""
    z = torch.tensor([[0.0], [0.0], [2.0], [-2.0], [9.0]])  # the fifth has no partner
    images = z[:, :, None, None] / 4
    torch.testing.assert_close(mode_seeking(images, z), torch.tensor(1 / (0.25 + 1e-5)))
    torch.testing.assert_close(mode_seeking(0 * images, z), torch.tensor(1e5))


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


class _Mixed(nn.Module):
    """Parameters and buffers of every kind."""

    def __init__(self, value: float) -> None:
        super().__init__()
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.complex64):
            name = "of_" + str(dtype).removeprefix("torch.")
            self.register_parameter(name, nn.Parameter(torch.full([3], value, dtype=dtype)))
            self.register_buffer(f"kept_{name}", torch.full([2], value, dtype=dtype))
        self.steps = nn.Parameter(torch.tensor(int(value)), requires_grad=False)
        self.register_buffer("count", torch.tensor(int(value)))


def test_update_ema_of_every_type() -> None:
    average, net = _Mixed(1.0), _Mixed(3.0)
    update_ema(average, net, 0.75)
    assert average.of_float64.dtype == torch.float64
    for name, value in average.named_parameters():
        expected = 3.0 if name == "steps" else 1.5
        torch.testing.assert_close(
            value.detach().to(torch.complex64), torch.full_like(value, expected, dtype=torch.complex64)
        )
    for buffer in average.buffers():
        assert (buffer == 3).all()


def test_update_ema_takes_few_calls() -> None:
    """One for all parameters, one for all buffers, however many there are."""
    net = nn.Sequential(*(nn.BatchNorm1d(4, dtype=torch.float32) for _ in range(20)))
    average = copy.deepcopy(net)
    with CountCalls() as calls:
        update_ema(average, net, 0.9)
    # Running statistics are float32, the numbers of batches int64.
    assert calls.found == Counter({"_foreach_lerp_": 1, "_foreach_copy_": 2})


class CountCalls(TorchDispatchMode):
    """Counts operators by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("all_reduce", [None, lambda x: x], ids=["in place", "as one tensor"])
def test_sanitise_gradients(all_reduce: Any) -> None:
    p, sound = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(2, 1))
    p.grad = torch.tensor([float("nan"), float("inf"), -float("inf"), 2.0])
    sound.grad = torch.tensor([[3e38], [-1.0]])
    parameters = [p, sound, nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(0))]
    parameters[-1].grad = torch.zeros(0)
    assert sanitise_gradients(parameters, all_reduce) == 1
    torch.testing.assert_close(p.grad, torch.tensor([0.0, 1e5, -1e5, 2.0]))
    torch.testing.assert_close(sound.grad, torch.tensor([[3e38], [-1.0]]))
    assert sanitise_gradients(parameters, all_reduce) == 0
    assert sanitise_gradients(parameters[2:], all_reduce) is None


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_fused_adam_takes_the_steps_of_the_plain_one(beta1: float) -> None:
    """`build_adam` fuses where it can; a complex parameter, which no fused step takes, leaves that to torch."""
    torch.manual_seed(0)
    net = nn.Linear(5, 3)
    plain_net = copy.deepcopy(net)
    fused = build_adam(net, AdamConfig(lr=0.01, beta1=beta1), None)
    assert fused.defaults["fused"]
    plain = torch.optim.Adam(plain_net.parameters(), lr=0.01, betas=(beta1, 0.99), eps=1e-8, foreach=False)
    for _ in range(5):
        for a, b in zip(net.parameters(), plain_net.parameters(), strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        fused.step()
        plain.step()
    for a, b in zip(net.parameters(), plain_net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    of_complex = nn.ParameterList([torch.zeros(2, dtype=torch.complex64)])
    assert not build_adam(of_complex, AdamConfig(lr=0.01), None).defaults["fused"]
