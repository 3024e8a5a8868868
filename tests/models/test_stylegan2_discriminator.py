"""The discriminator's own promises: standard deviation over groups, Freeze-D, labels, precision, errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gantrol.errors import ConfigError
from gantrol.models import DISCRIMINATORS, Discriminator, StyleGAN2Discriminator, StyleGAN2DiscriminatorConfig
from gantrol.models.stylegan2_discriminator import MinibatchStd

SMALL = {"resolution_px": 16, "channel_base": 64, "channel_max": 8}
CONFIGS = {
    "resnet": StyleGAN2DiscriminatorConfig(**SMALL),
    "skip-cond": StyleGAN2DiscriminatorConfig(
        **SMALL, architecture="skip", c_dim=3, mapping_layers=2, cmap_dim=5, channels=1
    ),
    "orig": StyleGAN2DiscriminatorConfig(**SMALL, architecture="orig", mbstd_group_size=2, mbstd_channels=4),
    "no-mbstd-cond": StyleGAN2DiscriminatorConfig(**SMALL, mbstd_channels=0, c_dim=3, mapping_layers=0),
}


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> StyleGAN2DiscriminatorConfig:
    return CONFIGS[request.param]


def _build(config: StyleGAN2DiscriminatorConfig) -> tuple[StyleGAN2Discriminator, Tensor, Tensor | None]:
    torch.manual_seed(0)
    d = config.build()
    c = torch.eye(3)[torch.arange(4) % 3] if config.c_dim else None
    return d, torch.randn(4, config.channels, 16, 16), c


def test_interface(config: StyleGAN2DiscriminatorConfig) -> None:
    d, img, c = _build(config)
    assert isinstance(d, Discriminator)
    assert DISCRIMINATORS[config.kind] is type(config)
    logits = d(img, c)
    assert logits.shape == (4, 1)
    assert logits.dtype == torch.float32
    again, _, _ = _build(config)
    assert torch.equal(again(img, c), logits)


def test_every_parameter_gets_a_gradient(config: StyleGAN2DiscriminatorConfig) -> None:
    d, img, c = _build(config)
    d(img, c).square().mean().backward()
    for name, parameter in d.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(config: StyleGAN2DiscriminatorConfig, dtype: torch.dtype) -> None:
    d, img, c = _build(config)
    full, half = d(img, c), d(img, c, dtype=dtype)
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.05)
    half.sum().backward()
    assert all(p.grad.isfinite().all() for p in d.parameters())


def test_minibatch_std_against_a_loop() -> None:
    x = torch.randn(6, 4, 3, 3, dtype=torch.float64)
    got = MinibatchStd(group_size=3, num_channels=2)(x)
    assert torch.equal(got[:, :4], x)
    for i in range(6):
        members = [j for j in range(6) if j % 2 == i % 2]  # two groups, taken in turn
        for f in range(2):
            values = x[members, 2 * f : 2 * f + 2]
            std = (values.var(dim=0, correction=0) + 1e-8).sqrt().mean()
            torch.testing.assert_close(got[i, 4 + f], std.expand(3, 3))


def test_images_of_one_group_see_each_other() -> None:
    d, img, _ = _build(StyleGAN2DiscriminatorConfig(**SMALL, mbstd_group_size=2))
    other = img.clone()
    other[0] += 1
    with torch.no_grad():
        change = (d(other) - d(img)).abs().squeeze(1)
    assert change[2] > 1e-6  # 0 and 2 share a group
    torch.testing.assert_close(change[[1, 3]], torch.zeros(2), rtol=0, atol=1e-6)
    assert d(img[:1]).shape == (1, 1)  # a smaller batch is one group


@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
def test_freezing_keeps_names_and_values(architecture: str) -> None:
    kwargs = {**SMALL, "architecture": architecture}
    free = _build(StyleGAN2DiscriminatorConfig(**kwargs))[0]
    order = {
        "resnet": ["blocks.0.from_rgb", "blocks.0.conv0", "blocks.0.conv1", "blocks.0.skip", "blocks.1.conv0"],
        "skip": ["blocks.0.from_rgb", "blocks.0.conv0", "blocks.0.conv1", "blocks.1.from_rgb"],
        "orig": ["blocks.0.from_rgb", "blocks.0.conv0", "blocks.0.conv1", "blocks.1.conv0"],
    }[architecture]
    for k in range(len(order) + 1):
        d, img, _ = _build(StyleGAN2DiscriminatorConfig(**kwargs, freeze_layers=k))
        assert set(d.state_dict()) == set(free.state_dict())
        d.load_state_dict(free.state_dict())
        frozen = set(d.state_dict()) - {name for name, _ in d.named_parameters()}
        assert {name.rpartition(".")[0] for name in frozen} == set(order[:k])
        torch.testing.assert_close(d(img), free(img))
        d.requires_grad_(True)  # as training does around each phase
        d(img).sum().backward()
        assert all(parameter.grad is not None for parameter in d.parameters())


def test_errors() -> None:
    d, img, _ = _build(CONFIGS["resnet"])
    with pytest.raises(ConfigError, match=r"images have shape \[4, 3, 16, 8\]: expected \[N, 3, 16, 16\]"):
        d(img[..., :8])
    with pytest.raises(ConfigError, match="a batch of 6 cannot be divided into groups of mbstd_group_size=4"):
        d(torch.cat([img, img[:2]]))
    with pytest.raises(ConfigError, match="dtype="):
        d(img, dtype=torch.float64)
    d, img, _ = _build(CONFIGS["skip-cond"])
    with pytest.raises(ConfigError, match="c is missing"):
        d(img)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("resolution_px", 4, "resolution_px=4: expected a power of two, at least 8"),
        ("architecture", "cnn", "architecture='cnn': expected one of skip, resnet, orig"),
        ("mbstd_channels", 3, "mbstd_channels=3: expected a divisor of the 8 channels at 4×4, or 0"),
        ("mbstd_group_size", 0, "mbstd_group_size=0: expected at least 1"),
        ("cmap_dim", 0, "cmap_dim=0: expected at least 1, or null"),
        ("freeze_layers", 8, "freeze_layers=8: expected at most the 7 layers of the blocks"),
        ("channel_base", 4, "channel_base=4: expected at least 16"),
    ],
)
def test_impossible_configs(field: str, value: object, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        StyleGAN2DiscriminatorConfig(**(SMALL | {field: value}))
    assert str(error.value).startswith(expected)
