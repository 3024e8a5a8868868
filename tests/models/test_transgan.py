"""TransGAN: layouts, masks, windows, the way in from the middle, attention maps, precision, checkpointing."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gantrol.config import from_dict, override, to_dict
from gantrol.errors import ConfigError
from gantrol.models import (
    Discriminator,
    Generator,
    LocalityWindow,
    TransGANConfig,
    TransGANDiscriminatorConfig,
    TransGANScale,
    TransGANStage,
    transgan_v1,
    transgan_v1_discriminator,
    transgan_v2,
    transgan_v2_discriminator,
)
from gantrol.models.transformer import (
    Norm,
    SelfAttention,
    encoder_blocks,
    from_windows,
    locality_mask,
    make_norm,
    relative_position_index,
    to_windows,
)
from gantrol.models.transgan import V2_LAYOUTS, pixelshuffle, smooth
from tests.reference import assert_close

TINY_G = transgan_v1("s", width_divisor=12)
TINY_D = transgan_v1_discriminator(width_divisor=12)


def _grid_config(**changes: object) -> TransGANConfig:
    """Three stages of 4, 8 and 16 tokens; the last attends in windows of 4."""
    stages = (
        TransGANStage(side=4, channels=16, depth=1, upsampling="none"),
        TransGANStage(side=8, channels=16, depth=1, upsampling="bicubic"),
        TransGANStage(side=16, channels=4, depth=2, window=4),
    )
    return from_dict(TransGANConfig, to_dict(TransGANConfig(resolution_px=16, z_dim=5, stages=stages)) | changes)


def _z(config: TransGANConfig, n: int = 2) -> Tensor:
    return torch.randn(n, config.z_dim, generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize(
    ("config", "millions"),
    [
        (transgan_v1("s"), 18.64),
        (transgan_v1("m"), 33.08),
        (transgan_v1("l"), 74.32),
        (transgan_v1("xl"), 133.592515),
        (transgan_v1("l", resolution_px=48), 150.06),
        (transgan_v1("xl", resolution_px=64), 132.93),
        (transgan_v2("cifar10"), 83.31),
        (transgan_v2("stl10"), 168.47),
        (transgan_v2("church-256"), 205.29),
        (transgan_v2("celebahq-256"), 212.90),
        (transgan_v1_discriminator(), 12.46),
        (transgan_v1_discriminator(resolution_px=48), 12.49),
        (transgan_v1_discriminator(resolution_px=64), 12.53),
        (transgan_v2_discriminator("cifar10"), 10.21),
        (transgan_v2_discriminator("stl10"), 10.34),
        (transgan_v2_discriminator("church-256"), 17.75),
        (transgan_v2_discriminator("celebahq-256"), 13.33),
    ],
)
def test_published_parameter_counts(config: TransGANConfig | TransGANDiscriminatorConfig, millions: float) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in config.build().parameters())
    digits = len(str(millions).partition(".")[2])
    assert round(count / 1e6, max(digits, 2)) == millions


def _shallow(config: Any) -> Any:
    """The config with one block where it has more."""
    data = to_dict(config)
    for part in data.get("stages", data.get("scales")):
        for field in {"depth", "global_depth"} & part.keys():
            part[field] = min(part[field], 1)
    return from_dict(type(config), data)


V1 = [("s", 32, 4), ("m", 32, 8), ("l", 48, 12), ("xl", 32, 16), ("xl", 64, 8), ("s", 64, 2)]
LAYOUTS = {
    **{
        f"v1-{size}-{px}": (
            transgan_v1(size, resolution_px=px, width_divisor=divisor),
            transgan_v1_discriminator(resolution_px=px, width_divisor=16),
        )
        for size, px, divisor in V1
    },
    **{
        f"v2-{name}": (
            _shallow(transgan_v2(name, width_divisor=16)),
            _shallow(transgan_v2_discriminator(name, width_divisor=16)),
        )
        for name in V2_LAYOUTS
    },
}
"""Tiny, but with two features or more behind every layer norm: one alone is normalised away."""


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_trains_every_parameter(name: str) -> None:
    g_config, d_config = LAYOUTS[name]
    torch.manual_seed(0)
    g, d = g_config.build(), d_config.build()
    assert isinstance(g, Generator)
    assert isinstance(d, Discriminator)
    img = g(_z(g_config, n=1))
    logits = d(img)
    assert img.shape == (1, 3, g_config.resolution_px, g_config.resolution_px)
    assert logits.shape == (1, 1)
    logits.sum().backward()
    for net in (g, d):
        for parameter, value in net.named_parameters():
            assert value.grad is not None, parameter
            assert value.grad.isfinite().all(), parameter
            assert value.grad.abs().sum() > 0, parameter


def test_published_layouts_in_full() -> None:
    shapes = [(s.side, s.channels, s.upsampling, s.window, s.depth) for s in transgan_v2("church-256").stages]
    assert shapes == [
        (8, 1024, "none", None, 5),
        (16, 1024, "bicubic", None, 4),
        (32, 1024, "bicubic", None, 4),
        (64, 256, "pixelshuffle", 16, 4),
        (128, 64, "pixelshuffle", 16, 4),
        (256, 16, "pixelshuffle", 16, 4),
    ]
    stages = transgan_v2("celebahq-256").stages
    assert [s.upsampling for s in stages[3:]] == ["pixelshuffle", "smooth_pixelshuffle", "smooth_pixelshuffle"]
    assert stages[0].depth == 0
    assert [(s.side, s.channels) for s in transgan_v2("64").stages] == [(8, 1024), (16, 1024), (32, 256), (64, 64)]
    assert [s.channels for s in transgan_v2("128").stages] == [1024, 1024, 256, 64, 16]
    assert [s.side for s in transgan_v1("l", resolution_px=48).stages] == [12, 24, 48]


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (TINY_G, ["stages.1.channels=7"], "stages.1: 7 channels at side 16: expected 8 at side 16"),
        (TINY_G, ["stages.0.upsampling=bicubic"], "stages.0.upsampling='bicubic': expected none in the first stage"),
        (TINY_G, ["stages.9.depth=1"], "there is no config field 'stages.9'; the items are numbered 0 to 2"),
        (TINY_G, ["stages.1.dept=1"], "there is no config field 'stages.1.dept'; did you mean depth"),
        (TINY_G, ["stages.1.depth=-1"], "depth=-1: expected at least 0"),
        (TINY_G, ["stages.1.depth=two"], "stages.1.depth='two': expected int"),
        (TINY_G, ["stages.1.window=5"], "window=5: expected a divisor of side=16"),
        (TINY_G, ["norm=group"], "norm='group': expected one of layer, pixel"),
        (TINY_G, ["resolution_px=64"], "resolution_px=64: expected the side of the last stage, 32"),
        (TINY_G, ["local_blocks=some"], "local_blocks='some': expected one of last, all"),
        (TINY_D, ["scales.0.patch_px=5"], "scales.0.patch_px=5: expected a divisor of resolution_px=32"),
        (TINY_D, ["scales.0.kernel_px=5"], "kernel_px=5: expected patch_px=4 plus an even number"),
        (TINY_D, ["scales.0.window=3"], "scales.0.window=3: expected a divisor of the 8 tokens per side"),
    ],
)
def test_config_errors(config: TransGANConfig | TransGANDiscriminatorConfig, changes: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        override(config, changes)
    assert message in str(error.value)


def test_configs_through_json_and_overrides() -> None:
    for config in (TINY_G, _grid_config(), transgan_v2_discriminator("church-256")):
        assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config
    deeper = override(TINY_G, ["stages.1.depth=3", "heads=2"])
    assert [stage.depth for stage in deeper.stages] == [5, 3, 2]
    assert deeper.heads == 2


def test_unknown_layouts() -> None:
    with pytest.raises(ConfigError, match="did you mean cifar10"):
        transgan_v2("cifar")
    with pytest.raises(ConfigError, match="size='xs'"):
        transgan_v1("xs")
    with pytest.raises(ConfigError, match="resolution_px=33"):
        transgan_v1("s", resolution_px=33)
    with pytest.raises(ConfigError, match="width_divisor=7"):
        transgan_v1("s", width_divisor=7)


# --------------------------------------------------------------------------------------------------- grids and windows


def test_pixelshuffle_is_that_of_images() -> None:
    x = torch.randn(2, 25, 12)
    expected = F.pixel_shuffle(x.transpose(1, 2).unflatten(2, (5, 5)), 2)
    assert torch.equal(pixelshuffle(x, 5), expected.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("side", [1, 2, 3, 9])
def test_smoothing_is_up_by_four_and_down_by_four(side: int) -> None:
    x = torch.randn(2, side**2, 3, dtype=torch.float64)
    grid = x.transpose(1, 2).unflatten(2, (side, side))
    expected = F.avg_pool2d(F.interpolate(grid, scale_factor=4, mode="bicubic", align_corners=False), 4)
    assert_close(smooth(x, side), expected.flatten(2).transpose(1, 2), rtol=1e-9, atol=1e-12)


def test_windows_there_and_back() -> None:
    x = torch.arange(2 * 36 * 3.0).view(2, 36, 3)
    windows = to_windows(x, 6, 2)
    assert windows.shape == (18, 4, 3)
    assert torch.equal(windows[1], x[0, [2, 3, 8, 9]])
    assert torch.equal(from_windows(windows, 6, 2), x)


def test_relative_index_against_a_loop() -> None:
    side = 3
    index = relative_position_index(side)
    for i in range(side**2):
        for j in range(side**2):
            dy, dx = i // side - j // side, i % side - j % side
            assert index[i, j] == (dy + side - 1) * (2 * side - 1) + dx + side - 1


def test_grid_attention_is_attention_in_each_window() -> None:
    torch.manual_seed(0)
    grid = SelfAttention(8, heads=2, side=6, window=3, relative_position=True)
    alone = SelfAttention(8, heads=2, side=3, relative_position=True)
    alone.load_state_dict(grid.state_dict())
    x = torch.randn(2, 36, 8)
    expected = from_windows(torch.cat([alone(w[None]) for w in to_windows(x, 6, 3)]), 6, 3)
    assert_close(grid(x), expected, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------------------ locality


@pytest.mark.parametrize("kind", ["raster_band", "window_2d"])
@pytest.mark.parametrize("half_width", [0, 1, 3, 20])
def test_masks_against_a_loop(kind: str, half_width: int) -> None:
    side = 4
    mask = locality_mask(LocalityWindow(kind=kind, half_width=half_width), side)  # type: ignore[arg-type]
    for i in range(side**2):
        for j in range(side**2):
            far = max(abs(i // side - j // side), abs(i % side - j % side)) if kind == "window_2d" else abs(i - j)
            assert mask[i, j] == (far <= half_width)


def test_locality_acts_and_leaves_no_trace() -> None:
    g = transgan_v1("s", width_divisor=12).build()
    z = _z(TINY_G)
    names = set(g.state_dict())
    with torch.no_grad():
        before = g(z)
        g.synthesis.set_locality(LocalityWindow(half_width=4))
        masked = g(z)
        g.synthesis.set_locality(None)
        after = g(z)
    assert (masked - before).abs().max() > 1e-5
    assert torch.equal(before, after)
    assert set(g.state_dict()) == names
    restricted = []
    for local_blocks in ("last", "all"):
        g = override(TINY_G, [f"local_blocks={local_blocks}"]).build()
        g.synthesis.set_locality(LocalityWindow(half_width=4))
        restricted.append(sum(block.attn.locality is not None for block in encoder_blocks(g).values()))
    assert restricted == [1, 9]


@pytest.mark.parametrize("kind", ["raster_band", "window_2d"])
@pytest.mark.parametrize("window", [None, 4])
def test_far_tokens_are_not_seen(kind: str, window: int | None) -> None:
    attn = SelfAttention(8, heads=2, side=8, window=window, relative_position=True)
    rule = LocalityWindow(kind=kind, half_width=1)  # type: ignore[arg-type]
    attn.set_locality(rule)
    side = window or 8
    seen = attn.probabilities(torch.randn(2, 64, 8)) > 0
    assert torch.equal(seen, locality_mask(rule, side).expand(seen.shape))


# --------------------------------------------------------------------------------------------------------- the networks


def test_the_way_in_from_the_middle() -> None:
    for config in (TINY_G, _grid_config(cross_attention=True)):
        g = config.build()
        ws = g.mapping(_z(config))
        entered: list[Tensor] = []
        hooks = [
            s.register_forward_pre_hook(lambda _, args, to=entered: to.append(args[0])) for s in g.synthesis.stages
        ]
        with torch.no_grad():
            img = g.synthesis(ws, noise_mode="none")
            for hook in hooks:
                hook.remove()
            for index, (channels, side) in enumerate(g.synthesis.stage_shapes):
                features = entered[index].transpose(1, 2).reshape(2, channels, side, side)
                again = g.synthesis.from_stage(features, index, ws=ws, noise_mode="none")
                assert_close(again, img, rtol=1e-5, atol=1e-6)
        with pytest.raises(ConfigError, match=r"expected \[N, \d+, 16, 16\]"):
            g.synthesis.from_stage(torch.zeros(1, 3, 5, 5), 2 if config is not TINY_G else 1, ws=ws)
        with pytest.raises(ConfigError, match="stage=3: expected 0 to 2"):
            g.synthesis.from_stage(torch.zeros(1, 3, 5, 5), 3, ws=ws)
    with pytest.raises(ConfigError, match="ws are missing"):
        g.synthesis.from_stage(features, 2)


def test_attention_maps() -> None:
    config = _grid_config(relative_position=True, noise=True)
    g = config.build()
    ws = g.mapping(_z(config))
    maps = g.synthesis.attention_maps(ws)
    assert {name: tuple(p.shape) for name, p in maps.items()} == {
        "stages.0.blocks.0": (2, 4, 16, 16),
        "stages.1.blocks.0": (2, 4, 64, 64),
        "stages.2.blocks.0": (2, 16, 4, 16, 16),
        "stages.2.blocks.1": (2, 16, 4, 16, 16),
    }
    for p in maps.values():
        assert_close(p.sum(dim=-1), torch.ones(p.shape[:-1]), rtol=1e-5)
    chosen = g.synthesis.attention_maps(ws, blocks=["stages.1.blocks.0"])
    assert list(chosen) == ["stages.1.blocks.0"]
    assert torch.equal(chosen["stages.1.blocks.0"], maps["stages.1.blocks.0"])
    assert not any(block.attn._forward_pre_hooks for block in encoder_blocks(g).values())

    d = TINY_D.build()
    maps = d.attention_maps(torch.randn(2, 3, 32, 32), blocks=["last.6"])
    assert maps["last.6"].shape == (2, 4, 65, 65)
    with pytest.raises(ConfigError, match=r"there is no block 'last.7'; did you mean last"):
        d.attention_maps(torch.randn(2, 3, 32, 32), blocks=["last.7"])


def test_noise_modes() -> None:
    config = _grid_config(noise=True)
    g = config.build()
    z = _z(config)
    with torch.no_grad():
        assert torch.equal(g(z, noise_mode="random"), g(z, noise_mode="none"))  # the strength starts at 0
        for name, parameter in g.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(2.0)
        assert torch.equal(g(z, noise_mode="const"), g(z, noise_mode="const"))
        assert not torch.equal(g(z, noise_mode="random"), g(z, noise_mode="random"))
        assert not torch.equal(g(z, noise_mode="const"), g(z, noise_mode="none"))
        assert_close(g(z, noise_mode="const")[:1], g(z[:1], noise_mode="const"), rtol=1e-5, atol=1e-6)
        d = transgan_v2_discriminator("cifar10", width_divisor=16).build()
        for name, parameter in d.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(2.0)
        img = g(z).repeat(1, 1, 2, 2)
        assert not torch.equal(d(img), d(img))
        d.eval()
        assert torch.equal(d(img), d(img))


@pytest.mark.parametrize("norm", ["layer", "pixel", "batch", "instance", "none"])
def test_norms(norm: Norm) -> None:
    x = 3 + 2 * torch.randn(4, 9, 8)
    y = make_norm(norm, 8)(x)
    axes = {"layer": (2,), "pixel": (2,), "batch": (0, 1), "instance": (1,), "none": ()}[norm]
    if axes:
        second = y.square().mean(dim=axes)
        assert_close(second, torch.ones(second.shape), rtol=1e-3)
    if norm in ("layer", "batch", "instance"):
        mean = y.mean(dim=axes)
        assert_close(mean, torch.zeros(mean.shape), rtol=0, atol=1e-5)
    config = override(TINY_D, [f"norm={norm}"])
    d = config.build()
    assert d(torch.randn(3, 3, 32, 32)).isfinite().all()
    assert d.last[0].residual_gain == (math.sqrt(0.5) if norm == "none" else 1)


def test_labels_start_without_effect_and_then_have_one() -> None:
    g = transgan_v1("s", width_divisor=24, c_dim=2).build()
    d = transgan_v1_discriminator(width_divisor=24, c_dim=2).build()
    z, (a, b) = torch.randn(1, g.z_dim), torch.eye(2)[:, None]
    with torch.no_grad():
        img = g(z, a)
        assert torch.equal(img, g(z, b))
        assert torch.equal(d(img, a), d(img, b))
        assert g.mapping.embed is not None
        assert d.label is not None
        g.mapping.embed.weight.normal_()
        d.label.weight.normal_()
        assert not torch.equal(g(z, a), g(z, b))
        assert not torch.equal(d(img, a), d(img, b))
        assert torch.equal(g.mapping(z, a, truncation_psi=0.0)[:, 0], g.mapping.embed(a))
    with pytest.raises(ConfigError, match="c is missing"):
        g(z)
    with pytest.raises(ConfigError, match="c is missing"):
        d(img)


def test_latents_are_ws() -> None:
    g = override(TINY_G, ["latent_norm=true"]).build()
    z = _z(TINY_G)
    assert (g.num_ws, g.w_dim) == (1, g.z_dim)
    ws = g.mapping(z, truncation_psi=0.5)
    assert_close(ws.square().sum(dim=(1, 2)), torch.full([2], 0.25 * g.z_dim), rtol=1e-5)
    assert torch.equal(TINY_G.build().mapping(z)[:, 0], z)
    assert torch.equal(g.mapping(z, truncation_psi=0.5, truncation_cutoff=0), g.mapping(z))
    with pytest.raises(ConfigError, match="truncation_psi=nan"):
        g.mapping(z, truncation_psi=math.nan)
    with pytest.raises(ConfigError, match=r"z has shape \[2, 3\]"):
        g(torch.zeros(2, 3))


# ------------------------------------------------------------------------------------- precision, memory, derivatives


def test_short_types_stay_close_and_return_float32() -> None:
    torch.manual_seed(0)
    g = _grid_config(relative_position=True).build()
    d = transgan_v2_discriminator("cifar10", width_divisor=8).build()
    z = _z(g.config)
    img = g(z)
    short = g(z, dtype=torch.bfloat16)
    assert short.dtype == torch.float32
    assert 0 < (short - img).abs().max() < 0.05 * img.abs().max()
    real = torch.randn(2, 3, 32, 32)
    logits = d(real, dtype=torch.bfloat16)
    assert logits.dtype == torch.float32
    assert_close(logits, d(real), rtol=0, atol=0.05)
    with pytest.raises(ConfigError, match="dtype="):
        g(z, dtype=torch.int8)


def test_checkpointed_gradients_are_the_same() -> None:
    torch.manual_seed(0)
    g_config = _grid_config(relative_position=True, noise=True)
    g, d = g_config.build(), transgan_v2_discriminator("cifar10", width_divisor=16).build()
    for net in (g, d):
        for name, parameter in net.named_parameters():
            if name.endswith("noise_strength"):
                torch.nn.init.ones_(parameter)

    def gradients(checkpointed: bool) -> list[Tensor]:
        g.synthesis.checkpoint_gradients = d.checkpoint_gradients = checkpointed
        torch.manual_seed(1)
        img = g(_z(g_config)).repeat(1, 1, 2, 2)
        (slope,) = torch.autograd.grad(d(img).sum(), img, create_graph=True)  # a second derivative follows
        loss = slope.square().sum() + d(img).sum()
        return list(torch.autograd.grad(loss, [*g.parameters(), *d.parameters()], allow_unused=True))

    for x, y in zip(gradients(False), gradients(True), strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            assert_close(x, y, rtol=1e-4, atol_of_max=1e-5)


def test_gradient_penalty_by_finite_differences() -> None:
    torch.manual_seed(0)
    scales = (TransGANScale(patch_px=2, channels=6, depth=1, window=2), TransGANScale(patch_px=4, channels=2))
    d = TransGANDiscriminatorConfig(resolution_px=8, scales=scales, relative_position=True).build().double()
    img = torch.randn(3, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    weight = d.get_parameter("scales.0.blocks.0.attn.qkv.weight")

    def penalty() -> Tensor:
        (slope,) = torch.autograd.grad(d(img).sum(), img, create_graph=True)
        return (slope.flatten(1).norm(dim=1) - 1).square().mean()

    (grad,) = torch.autograd.grad(penalty(), weight)
    direction, step = torch.randn_like(weight), 1e-5
    with torch.no_grad():
        weight += step * direction
    up = penalty().item()
    with torch.no_grad():
        weight -= 2 * step * direction
    slope = (up - penalty().item()) / (2 * step)
    assert slope == pytest.approx(float((grad * direction).sum()), rel=1e-5)


def test_initialisation() -> None:
    torch.manual_seed(0)
    g, d = transgan_v1("s").build(), transgan_v1_discriminator(width_divisor=2).build()
    qkv = d.get_parameter("last.0.attn.qkv.weight")
    assert float(qkv.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert not d.get_parameter("last.0.mlp.fc1.bias").any()
    for positions in (g.get_parameter("synthesis.stages.0.positions"), d.get_parameter("scales.0.positions")):
        assert float(positions.detach().std()) == pytest.approx(0.02, rel=0.05)
    width = 384
    assert float(g.synthesis.input.weight.detach().abs().max()) == pytest.approx(width**-0.5, rel=0.01)  # torch's
    assert float(g.synthesis.to_rgb.weight.detach().abs().max()) <= math.sqrt(6 / (width // 16 + 3))  # Xavier's


def test_state_dict_names() -> None:
    config = _grid_config(relative_position=True, noise=True, cross_attention=True, c_dim=2)
    block = {
        *(f"{norm}.{leaf}" for norm in ("norm1", "norm2") for leaf in ("weight", "bias")),
        *("attn.qkv.weight", "attn.proj.weight", "attn.proj.bias", "attn.relative_position", "noise_strength"),
        *(f"mlp.{fc}.{leaf}" for fc in ("fc1", "fc2") for leaf in ("weight", "bias")),
        *("cross.q.weight", "cross.k.weight", "cross.v.weight", "cross.proj.weight", "cross.proj.bias"),
    }
    blocks = ["stages.0.blocks.0", "stages.1.blocks.0", "stages.2.blocks.0", "stages.2.blocks.1"]
    assert set(config.build().state_dict()) == {
        "mapping.embed.weight",
        *(f"synthesis.{part}.{leaf}" for part in ("input", "latent_tokens", "to_rgb") for leaf in ("weight", "bias")),
        "synthesis.latent_positions",
        *(f"synthesis.stages.{i}.positions" for i in range(3)),
        *(f"synthesis.{name}.{leaf}" for name in blocks for leaf in block),
    }
    d = override(TINY_D, ["last_depth=1", "c_dim=2"]).build()
    plain = {leaf for leaf in block if not leaf.startswith(("cross", "noise")) and "relative" not in leaf}
    assert set(d.state_dict()) == {
        *("cls", "cls_position", "label.weight", "norm.weight", "norm.bias", "head.weight", "head.bias"),
        *("scales.0.embed.weight", "scales.0.embed.bias", "scales.0.positions"),
        *(f"last.0.{leaf}" for leaf in plain),
    }
