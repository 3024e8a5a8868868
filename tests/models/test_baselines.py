"""WGAN-GP and AutoGAN: reference vectors, parameter counts, frozen names, batch norm, spectral normalisation."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gantrol.errors import ConfigError
from gantrol.models import (
    AutoGANConfig,
    AutoGANDiscriminator,
    AutoGANDiscriminatorConfig,
    AutoGANGenerator,
    Discriminator,
    Generator,
    WGANGPConfig,
    WGANGPDiscriminatorConfig,
)
from gantrol.models.residual import BatchNorm
from gantrol.train.ema import update_ema
from tests.models.golden_models import Golden

G_CONFIGS: list[Any] = [WGANGPConfig, AutoGANConfig]
D_CONFIGS: list[Any] = [WGANGPDiscriminatorConfig, AutoGANDiscriminatorConfig]


def _count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


# ----------------------------------------------------------------------------------------------------------------------
# Against the reference


def _our_name(name: str) -> str:
    """Our name of a tensor in AutoGAN's state dicts, without the prefix of the synthesis."""
    name = re.sub(r"^(cell|block)(\d)", lambda match: f"{match[1]}s.{int(match[2]) - 1}", name)
    renamed = {
        r"^l1\.": "linear.",
        r"^l5\.": "out.",
        r"^to_rgb\.0\.": "norm.",
        r"^to_rgb\.2\.": "to_rgb.",
        r"\.c([12])\.": r".conv\1.",
        r"\.c_sc\.": ".shortcut.",
        r"\.skip_in_ops\.": ".earlier.",
        r"\.weight_([uv])$": r".\1",
        r"\.weight_orig$": ".weight",
    }
    for old, new in renamed.items():
        name = re.sub(old, new, name)
    return name


def _our_state(golden: Golden) -> dict[str, Tensor]:
    return {_our_name(name): value for name, value in golden.state.items() if not name.endswith("batches_tracked")}


def _golden_generator() -> tuple[Golden, AutoGANGenerator]:
    golden = Golden("autogan_gen")
    g = AutoGANConfig(resolution_px=32, z_dim=16, width=16).build().eval()
    g.synthesis.load_state_dict(_our_state(golden))
    return golden, g


def _golden_discriminator() -> tuple[Golden, AutoGANDiscriminator]:
    golden = Golden("autogan_dis")
    d = AutoGANDiscriminatorConfig(resolution_px=32, width=12).build().eval()
    d.load_state_dict(_our_state(golden))
    return golden, d


def _close(got: Tensor, golden: Golden, name: str, floor: str = "outputs") -> None:
    expected = golden[name]
    assert got.shape == expected.shape
    allowed = golden.tolerance[f"relative_to_max_floor_{floor}"] * float(expected.abs().max())
    assert float((got.detach() - expected).abs().max()) <= allowed, name


def test_autogan_generator_equals_the_reference() -> None:
    golden, g = _golden_generator()
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, outputs: tuple[Tensor, Tensor]) -> None:
            seen[f"{name}_out"], seen[f"{name}_skip"] = outputs

        return hook

    for index in (0, 1):
        g.get_submodule(f"synthesis.cells.{index}").register_forward_hook(keep(f"cell{index + 1}"))
    z = golden["z"].clone().requires_grad_()
    img = g(z)
    (gradient,) = torch.autograd.grad(img.square().mean(), [z])
    _close(img, golden, "image")
    for name in ("cell1_skip", "cell1_out", "cell2_skip"):
        _close(seen[name], golden, name)
    _close(gradient, golden, "grad_z", "gradients")


def test_autogan_discriminator_equals_the_reference() -> None:
    golden, d = _golden_discriminator()
    img = golden["img"].clone().requires_grad_()
    logits = d(img)
    (gradient,) = torch.autograd.grad(logits.sum(), [img])
    _close(logits, golden, "logits")
    _close(gradient, golden, "grad.img", "gradients")
    _close(d.train()(golden["img"]), golden, "logits_train_mode")


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (AutoGANConfig(architecture="a"), 4_405_251),
        (AutoGANConfig(architecture="b"), 4_471_043),
        (AutoGANConfig(architecture="c"), 4_406_275),
        (AutoGANConfig(architecture="a", resolution_px=48), 5_065_731),
        (AutoGANDiscriminatorConfig(), 1_053_824),
        (AutoGANDiscriminatorConfig(resolution_px=48), 1_053_824),
        (WGANGPConfig(), 1_204_483),
        (WGANGPDiscriminatorConfig(), 1_053_825),
    ],
)
def test_parameter_counts(config: Any, count: int) -> None:
    """As published: 4.405, 4.471, 4.406 and 5.066 M; 1.054 M; 1.204 M and 1.054 M."""
    assert _count(config.build()) == count


# ----------------------------------------------------------------------------------------------------------------------
# Interface, sizes and names


@pytest.mark.parametrize("resolution_px", [16, 24, 32, 48, 64])
def test_every_parameter_learns_at_every_size(resolution_px: int) -> None:
    sizes: dict[str, Any] = {"resolution_px": resolution_px, "channels": 1, "c_dim": 2, "width": 4}
    c = torch.eye(2)
    configs: list[Any] = [
        WGANGPConfig(**sizes, z_dim=6),
        *(AutoGANConfig(**sizes, z_dim=6, architecture=a) for a in "abc"),
    ]
    for g_config in configs:
        g: Any = g_config.build()
        img = g(torch.randn(2, 6), c)
        assert img.shape == (2, 1, resolution_px, resolution_px)
        img.square().sum().backward()
        assert [name for name, p in g.named_parameters() if p.grad is None or not p.grad.any()] == []
    for d_config in (WGANGPDiscriminatorConfig(**sizes), AutoGANDiscriminatorConfig(**sizes)):
        d: Any = d_config.build()
        logits = d(torch.randn(2, 1, resolution_px, resolution_px), c)
        assert logits.shape == (2, 1)
        logits.square().sum().backward()
        assert [name for name, p in d.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("config", G_CONFIGS)
def test_generators_are_generators(config: Any) -> None:
    assert isinstance(config(width=4).build(), Generator)


@pytest.mark.parametrize("config", D_CONFIGS)
def test_discriminators_are_discriminators(config: Any) -> None:
    assert isinstance(config(width=4).build(), Discriminator)


def _leaves(prefix: str, *leaves: str) -> set[str]:
    return {f"{prefix}.{leaf}" for leaf in leaves}


def test_generator_names() -> None:
    wb, norm = ("weight", "bias"), ("weight", "bias", "running_mean", "running_var")
    common = {"mapping.embed.weight", *_leaves("synthesis.linear", *wb), *_leaves("synthesis.to_rgb", *wb)}
    common |= _leaves("synthesis.norm", *norm)
    expected = set(common)
    for i in range(2):
        for part in ("conv1", "conv2", "shortcut"):
            expected |= _leaves(f"synthesis.blocks.{i}.{part}", *wb)
        for part in ("norm1", "norm2"):
            expected |= _leaves(f"synthesis.blocks.{i}.{part}", *norm)
    assert set(WGANGPConfig(resolution_px=16, width=4, c_dim=2).build().state_dict()) == expected
    expected = set(common)
    for i in range(3):
        for part in ("conv1", "conv2", *(["shortcut"] if i < 2 else []), *(f"earlier.{j}" for j in range(i))):
            expected |= _leaves(f"synthesis.cells.{i}.{part}", *wb)
    for part in ("norm1", "norm2"):
        expected |= _leaves(f"synthesis.cells.0.{part}", *norm)
    assert set(AutoGANConfig(width=4, c_dim=2, architecture="c").build().state_dict()) == expected


@pytest.mark.parametrize("config", D_CONFIGS)
def test_discriminator_names(config: Any) -> None:
    uv = ("u", "v") if config is AutoGANDiscriminatorConfig else ()
    expected = _leaves("embed", "weight", *uv) | _leaves("out", "weight", *(uv or ["bias"]))
    for i in range(4):
        for part in ("conv1", "conv2", *(["shortcut"] if i < 2 else [])):
            expected |= _leaves(f"blocks.{i}.{part}", "weight", "bias", *uv)
    assert set(config(width=4, c_dim=2).build().state_dict()) == expected


@pytest.mark.parametrize("config", [*G_CONFIGS, *D_CONFIGS])
def test_config_errors(config: Any) -> None:
    for size in (0, 8, 12, 20, 33, 40):
        with pytest.raises(ConfigError, match=r"resolution_px=.*4·2ᵏ or 6·2ᵏ"):
            config(resolution_px=size)
    with pytest.raises(ConfigError, match="width=0"):
        config(width=0)


def test_wrong_inputs() -> None:
    with pytest.raises(ConfigError, match="architecture='d'"):
        AutoGANConfig(architecture="d")
    d = WGANGPDiscriminatorConfig(width=4, c_dim=2).build()
    with pytest.raises(ConfigError, match="images have shape"):
        d(torch.zeros(1, 3, 16, 16))
    with pytest.raises(ConfigError, match="c is missing"):
        d(torch.zeros(1, 3, 32, 32))
    g = WGANGPConfig(width=4).build()
    with pytest.raises(ConfigError, match="dtype"):
        g(torch.zeros(1, 128), dtype=torch.float64)
    with pytest.raises(ConfigError, match="noise_mode"):
        g(torch.zeros(1, 128), noise_mode="loud")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_near(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    for config in G_CONFIGS:
        g = config(resolution_px=16, width=8, z_dim=8).build()
        z = torch.randn(2, 8)
        img = g(z, dtype=dtype)
        assert img.dtype == torch.float32
        torch.testing.assert_close(img, g(z), atol=0.1, rtol=0)
    for config in D_CONFIGS:
        d = config(resolution_px=16, width=8).build()
        x = torch.randn(2, 3, 16, 16).clamp(-1, 1)
        d(x)  # one power iteration
        d.eval()
        torch.testing.assert_close(d(x, dtype=dtype), d(x), atol=0.05, rtol=0.05)


# ----------------------------------------------------------------------------------------------------------------------
# Batch norm


@pytest.mark.parametrize("config", G_CONFIGS)
def test_running_statistics_move_only_when_asked(config: Any) -> None:
    g = config(width=4, z_dim=8).build()
    z = torch.randn(16, 8)
    before = {name: value.clone() for name, value in g.named_buffers()}
    assert before
    g(z)
    assert all(torch.equal(value, before[name]) for name, value in g.named_buffers())
    g(z, update_emas=True)
    assert not any(torch.equal(value, before[name]) for name, value in g.named_buffers())


@pytest.mark.parametrize("config", G_CONFIGS)
def test_evaluation_of_the_average_uses_the_running_statistics(config: Any) -> None:
    """An image of the average belongs to its latent alone, and is that of the batch once the statistics are its own."""
    torch.manual_seed(0)
    sizes = {"resolution_px": 16, "width": 4, "z_dim": 8}
    g, average = config(**sizes).build(), config(**sizes).build().eval()
    z = torch.randn(64, 8)
    for module in g.modules():
        if isinstance(module, BatchNorm):
            module.momentum = 1.0
    g(z, update_emas=True)
    update_ema(average, g, 0.0)
    torch.testing.assert_close(average(z[:3]), average(z)[:3])
    torch.testing.assert_close(average(z), g(z), atol=0.02, rtol=0)
    average(z, update_emas=True)
    assert all(torch.equal(a, b) for a, b in zip(average.buffers(), g.buffers(), strict=True))


def test_the_average_copies_whole_numbers_too() -> None:
    """Torch's own batch norm counts its batches in an int64 buffer beside the float32 ones."""
    net, average = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    net(torch.randn(4, 3, 2, 2))
    update_ema(average, net, 0.9)
    assert average.num_batches_tracked == 1
    assert torch.equal(average.running_mean, net.running_mean)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------------------------
# Spectral normalisation


def test_the_largest_singular_value_is_one() -> None:
    torch.manual_seed(0)
    d = AutoGANDiscriminatorConfig(width=8).build()
    x = torch.randn(1, 3, 32, 32)
    for _ in range(100):
        d(x)
    weight = d.get_parameter("blocks.1.conv1.weight").flatten(1)
    u, v = d.get_buffer("blocks.1.conv1.u"), d.get_buffer("blocks.1.conv1.v")
    torch.testing.assert_close(u.dot(weight.mv(v)), torch.linalg.matrix_norm(weight, ord=2))


def test_one_power_iteration_per_pass_in_training_mode() -> None:
    d = AutoGANDiscriminatorConfig(width=4).build()
    x = torch.randn(2, 3, 32, 32)
    u = d.get_buffer("out.u"), d.get_buffer("blocks.0.conv1.u")
    before = [value.clone() for value in u]
    d.eval()(x)
    assert torch.equal(u[1], before[1])
    d.train()(x)
    assert not torch.equal(u[1], before[1])


def test_two_passes_before_one_backward() -> None:
    """The second pass moves u and v in place; the first must still be differentiable, twice."""
    d = AutoGANDiscriminatorConfig(width=4).build()
    x = torch.randn(2, 3, 32, 32, requires_grad=True)
    logits = d(x)
    d(torch.randn(2, 3, 32, 32))
    (gradient,) = torch.autograd.grad(logits.sum(), [x], create_graph=True)
    gradient.square().sum().backward()
    found = d.get_parameter("blocks.0.conv1.weight").grad
    assert found is not None
    assert found.any()


def test_state_restores_the_power_iteration() -> None:
    torch.manual_seed(0)
    config = AutoGANDiscriminatorConfig(width=4)
    d, other = config.build(), replace(config).build()
    x = torch.randn(2, 3, 32, 32)
    d(x)
    other.load_state_dict(d.state_dict())
    assert torch.equal(d(x), other(x))
    assert torch.equal(d(x), other(x))
