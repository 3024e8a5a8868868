"""What every generator promises, whatever its kind: interface, repeatability, gradients, precision, errors."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from gantrol.config import from_dict, to_dict
from gantrol.errors import ConfigError
from gantrol.models import (
    GENERATORS,
    Generator,
    GeneratorConfig,
    LadderConfig,
    StyleGAN2Config,
    StyleGAN3Config,
    StyleGAN3Generator,
)

SMALL = {"resolution_px": 16, "z_dim": 8, "w_dim": 12, "channel_max": 8, "mapping_layers": 2}
CONFIGS: dict[str, GeneratorConfig] = {
    "sg3-t": StyleGAN3Config(**SMALL, channel_base=128, num_layers=5, num_critical=1, margin_px=4),
    "sg3-r-cond": StyleGAN3Config(
        **SMALL,
        c_dim=3,
        channel_base=128,
        num_layers=6,
        margin_px=6,
        conv_kernel=1,
        use_radial_filters=True,
        channels=1,
    ),
    "sg2-skip": StyleGAN2Config(**SMALL, channel_base=64),
    "sg2-resnet-cond": StyleGAN2Config(**SMALL, c_dim=3, channel_base=64, architecture="resnet", channels=1),
    "sg2-orig-no-noise": StyleGAN2Config(**SMALL, channel_base=64, architecture="orig", use_noise=False),
    "sg2-fourier": StyleGAN2Config(**SMALL, channel_base=64, use_fourier_input=True),
    "ladder-d": LadderConfig(
        **SMALL,
        channel_base=128,
        margin_px=0,
        upsampling="bilinear",
        lrelu_upsampling=1,
        use_lower_cutoffs=False,
        use_input_motion=False,
    ),
    "ladder-e-cond": LadderConfig(
        **SMALL,
        c_dim=3,
        channel_base=128,
        margin_px=6,
        lrelu_upsampling=1,
        use_lower_cutoffs=False,
        use_input_motion=False,
        channels=1,
    ),
    "ladder-h": LadderConfig(**SMALL, channel_base=128, margin_px=6),
}


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> GeneratorConfig:
    return CONFIGS[request.param]


def _build(config: GeneratorConfig, seed: int = 0) -> StyleGAN3Generator:
    torch.manual_seed(seed)
    return config.build()


def _latents(g: Generator, n: int = 3, seed: int = 1) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(seed)
    c = torch.eye(g.c_dim)[torch.arange(n) % g.c_dim] if g.c_dim else None
    return torch.randn(n, g.z_dim, generator=generator), c


def test_interface(config: GeneratorConfig) -> None:
    g = _build(config)
    assert isinstance(g, Generator)
    assert g.config is config
    assert GENERATORS[config.kind] is type(config)
    z, c = _latents(g)
    ws = g.mapping(z, c)
    assert ws.shape == (3, g.num_ws, g.w_dim)
    img = g.synthesis(ws, noise_mode="const")
    assert img.shape == (3, g.channels, g.resolution_px, g.resolution_px)
    assert img.dtype == torch.float32
    torch.testing.assert_close(g(z, c, noise_mode="const"), img)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    g: GeneratorConfig


def test_config_survives_json(config: GeneratorConfig) -> None:
    assert from_dict(Run, to_dict(Run(g=config))) == Run(g=config)


def test_same_seed_gives_same_weights_and_images(config: GeneratorConfig) -> None:
    a, b, other = _build(config, 3), _build(config, 3), _build(config, 4)
    z, c = _latents(a)
    with torch.no_grad():
        assert torch.equal(a(z, c, noise_mode="const"), b(z, c, noise_mode="const"))
        assert not torch.equal(a(z, c, noise_mode="const"), other(z, c, noise_mode="const"))


def test_samples_do_not_depend_on_their_batch(config: GeneratorConfig) -> None:
    g = _build(config)
    z, c = _latents(g, 5)
    with torch.no_grad():
        together = g(z, c, noise_mode="const")
        alone = torch.cat([g(z[i : i + 1], None if c is None else c[i : i + 1], noise_mode="const") for i in range(5)])
    # StyleGAN3 divides styles by their rms over the batch; it cancels but for the 1e-8 of the demodulation.
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient(config: GeneratorConfig) -> None:
    g = _build(config)
    z, c = _latents(g)
    g(z, c).square().mean().backward()
    for name, parameter in g.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
        assert parameter.grad.isfinite().all(), name


def test_twice_differentiable(config: GeneratorConfig) -> None:
    g = _build(config)
    z, c = _latents(g)
    ws = g.mapping(z, c)
    (gradient,) = torch.autograd.grad(g.synthesis(ws).sum(), ws, create_graph=True)
    gradient.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in g.synthesis.parameters() if p.grad is not None)
    assert g.synthesis.state_dict(keep_vars=True)[_first_affine(g)].grad.abs().max() > 0


def _first_affine(g: torch.nn.Module) -> str:
    return next(name for name, _ in g.synthesis.named_parameters() if name.endswith("affine.weight"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(config: GeneratorConfig, dtype: torch.dtype) -> None:
    g = _build(config)
    z, c = _latents(g)
    full = g(z, c, noise_mode="const")
    half = g(z, c, noise_mode="const", dtype=dtype)
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    error = (half - full).square().mean().sqrt() / full.square().mean().sqrt()
    assert error < (0.05 if dtype == torch.bfloat16 else 0.01)
    half.square().mean().backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in g.parameters())


def test_half_precision_can_be_kept_off(config: GeneratorConfig) -> None:
    g = _build(dataclasses.replace(config, num_low_precision_res=0))
    z, c = _latents(g)
    with torch.no_grad():
        full = g(z, c, noise_mode="const")
        assert torch.equal(g(z, c, noise_mode="const", dtype=torch.bfloat16), full)


def test_half_precision_does_not_overflow() -> None:
    g = _build(CONFIGS["sg2-skip"])
    with torch.no_grad():
        for name, parameter in g.named_parameters():
            if name.endswith("affine.bias"):
                parameter.mul_(1e4)  # demodulation cancels a common factor, but float16 ends at 65504
        img = g(*_latents(g), dtype=torch.float16)
    assert img.isfinite().all()


def test_float64(config: GeneratorConfig) -> None:
    g = _build(config)
    z, c = _latents(g)
    with torch.no_grad():
        single = g(z, c, noise_mode="const")
        g.double()
        double = g(z, c, noise_mode="const")
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, rtol=1e-3, atol=1e-4)


def test_truncation(config: GeneratorConfig) -> None:
    g = _build(config)
    z, c = _latents(g)
    with torch.no_grad():
        g.mapping.w_avg.normal_()
        ws = g.mapping(z, c)
        mean = g.mapping.w_avg.expand_as(ws)
        torch.testing.assert_close(g.mapping(z, c, truncation_psi=0), mean)
        torch.testing.assert_close(g.mapping(z, c, truncation_psi=0.3), mean + 0.3 * (ws - mean))
        some = g.mapping(z, c, truncation_psi=0.5, truncation_cutoff=2)
    assert torch.equal(some[:, 2:], ws[:, 2:])
    torch.testing.assert_close(some[:, :2], ((mean + ws) / 2)[:, :2])


def test_moving_averages_change_only_on_request(config: GeneratorConfig) -> None:
    g = _build(config)
    z, c = _latents(g)
    before = {name: value.clone() for name, value in g.named_buffers()}
    with torch.no_grad():
        g(z, c, noise_mode="const")
        assert all(torch.equal(value, before[name]) for name, value in g.named_buffers())
        g(z, c, update_emas=True)
    changed = {name for name, value in g.named_buffers() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.endswith(("w_avg", "magnitude_ema"))}


def test_training_step_with_moving_averages(config: GeneratorConfig) -> None:
    """The averages are changed in place during the forward pass; the backward pass must not mind."""
    g = _build(config)
    z, c = _latents(g)
    (g(z, c, update_emas=True) + g(z, c, update_emas=True)).sum().backward()
    assert not any(buffer.requires_grad for buffer in g.buffers())


def test_noise_modes() -> None:
    g = _build(CONFIGS["sg2-skip"])
    with torch.no_grad():
        for name, parameter in g.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.5)
        ws = g.mapping(*_latents(g))
        const = g.synthesis(ws, noise_mode="const")
        assert torch.equal(const, g.synthesis(ws, noise_mode="const"))
        assert not torch.equal(const, g.synthesis(ws, noise_mode="none"))
        assert not torch.equal(g.synthesis(ws, noise_mode="random"), g.synthesis(ws, noise_mode="random"))
        torch.manual_seed(5)
        seeded = g.synthesis(ws)
        torch.manual_seed(5)
        assert torch.equal(seeded, g.synthesis(ws))


def test_label_matters() -> None:
    g = _build(CONFIGS["sg2-resnet-cond"])
    z, c = _latents(g)
    assert c is not None
    with torch.no_grad():
        assert not torch.allclose(g.mapping(z, c), g.mapping(z, c.roll(1, 0)))


def test_bad_calls_name_what_is_wrong() -> None:
    g = _build(CONFIGS["sg3-r-cond"])
    z, c = _latents(g)
    with pytest.raises(ConfigError, match=r"c is missing.*\[N, 3\]"):
        g(z)
    with pytest.raises(ConfigError, match=r"z has shape \[3, 7\]: expected \[N, 8\]"):
        g(z[:, :7], c)
    with pytest.raises(ConfigError, match=r"ws has shape \[3, 2, 12\]: expected \[N, 8, 12\]"):
        g.synthesis(torch.zeros(3, 2, 12))
    with pytest.raises(ConfigError, match="noise_mode='randm': did you mean random"):
        g(z, c, noise_mode="randm")
    with pytest.raises(ConfigError, match=r"dtype=torch.int8: expected torch.float32"):
        g(z, c, dtype=torch.int8)


@pytest.mark.parametrize(
    ("kind", "field", "value", "expected"),
    [
        (StyleGAN2Config, "resolution_px", 48, "resolution_px=48: expected a power of two, at least 4"),
        (StyleGAN2Config, "architecture", "unet", "architecture='unet': expected one of skip, resnet, orig"),
        (StyleGAN2Config, "channel_base", 16, "channel_base=16: expected at least 64"),
        (StyleGAN2Config, "z_dim", 0, "z_dim=0: expected at least 1"),
        (StyleGAN2Config, "conv_clamp", -1.0, "conv_clamp=-1.0: expected a positive number"),
        (StyleGAN3Config, "resolution_px", 4, "resolution_px=4: expected a power of two, at least 8"),
        (StyleGAN3Config, "resolution_px", 0, "resolution_px=0: expected a power of two, at least 8"),
        (StyleGAN3Config, "num_layers", 1, "num_layers=1: expected at least 2"),
        (StyleGAN3Config, "num_critical", 14, "num_critical=14: expected fewer than num_layers=14"),
        (StyleGAN3Config, "num_critical", 0, "num_critical=0: expected at least 1"),
        (StyleGAN3Config, "conv_kernel", 2, "conv_kernel=2: expected an odd number"),
        (StyleGAN3Config, "filter_size", 5, "filter_size=5: expected an even number"),
        (StyleGAN3Config, "first_cutoff", 5.0, "first_cutoff=5.0: expected from 0.5 to less than"),
        (StyleGAN3Config, "last_stopband_rel", 1.0, "last_stopband_rel=1.0: expected more than 1"),
        (StyleGAN3Config, "margin_px", -1, "margin_px=-1: expected at least 0"),
        (StyleGAN3Config, "magnitude_ema_beta", 1.5, "magnitude_ema_beta=1.5: expected a number from 0 to 1"),
        (StyleGAN3Config, "channel_base", 8, "channel_base=8: expected at least resolution_px=64"),
    ],
)
def test_impossible_configs_name_field_value_and_expectation(
    kind: type, field: str, value: object, expected: str
) -> None:
    with pytest.raises(ConfigError) as error:
        kind(**{"resolution_px": 64, field: value})
    assert str(error.value).startswith(expected)


@pytest.mark.parametrize("name", ["sg3-t", "sg3-r-cond", "sg2-skip", "ladder-d"])
def test_exports_with_dynamic_batch(name: str) -> None:
    g = _build(CONFIGS[name])
    z, c = _latents(g, 3)
    n = torch.export.Dim("n", min=2, max=64)
    shapes = {"z": {0: n}, "c": None if c is None else {0: n}, "noise_mode": None}
    program = torch.export.export(g, (z, c), {"noise_mode": "const"}, dynamic_shapes=shapes, strict=False)
    z, c = _latents(g, 5)
    with torch.no_grad():
        expected = g(z, c, noise_mode="const")
        torch.testing.assert_close(program.module()(z, c, noise_mode="const"), expected)
