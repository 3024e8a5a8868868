"""Generators with latent groups: who may change what, over every family of synthesis."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from gantrol.config import from_dict, to_dict
from gantrol.errors import ConfigError
from gantrol.models import (
    GENERATORS,
    BaseGeneratorConfig,
    ControllableConfig,
    ControllableGenerator,
    Generator,
    LatentGroup,
    StyleGAN2Config,
    StyleGAN3Config,
    group_slices,
    split_evenly,
    transgan_v2,
)

FFHQ = {"id": 128, "expression": 64, "orientation": 64, "gamma": 64, "age": 64, "hair": 64, "other": 64}
GROUPS = (
    LatentGroup(name="identity", size=6),
    LatentGroup(name="age", size=3),
    LatentGroup(name="other", size=3),
)
WIDE = {"z_dim": 12, "w_dim": 12, "channel_max": 8}
TRANSGAN = transgan_v2("cifar10", width_divisor=64)
BASES: dict[str, BaseGeneratorConfig] = {
    "stylegan2": StyleGAN2Config(resolution_px=16, **WIDE, channel_base=64),
    "stylegan3-t": StyleGAN3Config(
        resolution_px=16, **WIDE, channel_base=128, num_layers=5, num_critical=1, margin_px=4
    ),
    "stylegan3-r": StyleGAN3Config(
        resolution_px=16,
        **WIDE,
        channel_base=128,
        num_layers=5,
        num_critical=1,
        margin_px=4,
        conv_kernel=1,
        use_radial_filters=True,
    ),
    "transgan": dataclasses.replace(TRANSGAN, z_dim=12),
}


def groups_of(sizes: dict[str, int]) -> tuple[LatentGroup, ...]:
    return tuple(LatentGroup(name=name, size=size) for name, size in sizes.items())


def tiny(base: BaseGeneratorConfig | None = None, **fields: Any) -> ControllableConfig:
    fields = {"groups": GROUPS, "mapping_layers": 3, "hidden_width": 16} | fields
    return ControllableConfig(base=base or BASES["stylegan2"], **fields)


@pytest.fixture
def g() -> ControllableGenerator:
    torch.manual_seed(0)
    return tiny().build().eval().requires_grad_(False)


@pytest.fixture
def z() -> torch.Tensor:
    return torch.randn(4, 12, generator=torch.Generator().manual_seed(1))


def test_groups_follow_each_other() -> None:
    assert group_slices(GROUPS) == {"identity": slice(0, 6), "age": slice(6, 9), "other": slice(9, 12)}
    slices = group_slices(groups_of(FFHQ))
    assert (slices["orientation"], slices["other"]) == (slice(192, 256), slice(448, 512))


def test_the_proportions_of_the_paper() -> None:
    names = [name.replace("id", "identity") for name in FFHQ if name != "other"]
    assert [group.size for group in split_evenly(names, 512)] == list(FFHQ.values())
    assert split_evenly(["identity", "age"], 13) == groups_of({"identity": 6, "age": 3, "other": 4})
    assert split_evenly([], 8) == groups_of({"other": 8})
    for wrong, message in (
        (["age", "other"], "added by itself"),
        (["age", "age"], "name each only once"),
        ([f"a{i}" for i in range(20)], "20 attributes do not fit into a latent space of 16"),
    ):
        with pytest.raises(ConfigError, match=message):
            split_evenly(wrong, 16)


def test_the_size_of_the_official_mapping() -> None:
    """Eight layers, s → 256 → … → s in each of the seven groups for FFHQ (specification, section 1.1)."""
    base = StyleGAN2Config(resolution_px=8, channel_base=64, channel_max=8)
    mapping = ControllableConfig(base=base, groups=groups_of(FFHQ)).build().mapping
    assert sum(parameter.numel() for parameter in mapping.parameters()) == 3_027_712
    shapes = [tuple(layer.weight.shape) for layer in mapping.groups["age"]]
    assert shapes == [(256, 64), *[(256, 256)] * 6, (64, 256)]
    assert {layer.act for layer in mapping.groups["age"]} == {"lrelu"}


@pytest.mark.parametrize("name", [group.name for group in GROUPS])
def test_a_group_of_z_decides_about_that_group_of_w(name: str, g: ControllableGenerator, z: torch.Tensor) -> None:
    """Bit for bit: the other slices stay what they were, also after truncation and in every copy."""
    changed = z.clone()
    changed[:, g.mapping.slices[name]] += 1
    for psi in (1.0, 0.5):
        before, after = g.mapping(z, truncation_psi=psi), g.mapping(changed, truncation_psi=psi)
        assert before.shape == (4, g.num_ws, 12)
        for other, place in g.mapping.slices.items():
            same = before[..., place] == after[..., place]
            assert same.all() if other != name else not same.all(dim=2).any()


def test_each_group_is_normalised_by_itself(g: ControllableGenerator, z: torch.Tensor) -> None:
    longer = z.clone()
    longer[:, g.mapping.slices["age"]] *= 8
    torch.testing.assert_close(g.mapping(longer), g.mapping(z))
    assert torch.equal(g.mapping(longer)[..., :6], g.mapping(z)[..., :6])


def test_truncation_pulls_each_group_to_its_own_mean(g: ControllableGenerator, z: torch.Tensor) -> None:
    mean = torch.arange(12.0)
    g.mapping.w_avg.copy_(mean)
    w = g.mapping(z)[:, 0]
    truncated = g.mapping(z, truncation_psi=0.25)
    for place in g.mapping.slices.values():
        expected = mean[place] + 0.25 * (w[:, place] - mean[place])
        torch.testing.assert_close(truncated[:, 0, place], expected)
    assert torch.equal(g.mapping(z, truncation_psi=0.0)[:, 0], mean.expand(4, -1))
    first_two = g.mapping(z, truncation_psi=0.25, truncation_cutoff=2)
    assert torch.equal(first_two[:, :2], truncated[:, :2])
    assert torch.equal(first_two[:, 2:], w[:, None].expand(-1, g.num_ws - 2, -1))
    with pytest.raises(ConfigError, match="expected a finite number"):
        g.mapping(z, truncation_psi=float("nan"))


def test_the_running_mean(z: torch.Tensor) -> None:
    g = tiny(w_avg_beta=0.75).build()
    with torch.no_grad():
        w = g.mapping(z, update_emas=True)[:, 0]
    torch.testing.assert_close(g.mapping.w_avg, 0.25 * w.mean(dim=0))
    assert not g.mapping.w_avg.requires_grad
    before = g.mapping.w_avg.clone()
    g.mapping(z)
    assert torch.equal(g.mapping.w_avg, before)


@pytest.mark.parametrize("name", BASES)
def test_every_generator_can_be_wrapped(name: str, z: torch.Tensor) -> None:
    """The synthesis is the base's own: same module, same weights' names, same images from the same ws."""
    config = tiny(BASES[name])
    torch.manual_seed(0)
    g = config.build().eval()
    assert isinstance(g, Generator)
    assert GENERATORS[config.kind] is type(config)
    assert (g.z_dim, g.w_dim, g.c_dim, g.resolution_px) == (12, 12, 0, BASES[name].resolution_px)
    base: Any = BASES[name].build().eval()
    assert g.num_ws == base.num_ws
    base.synthesis.load_state_dict(g.synthesis.state_dict())
    with torch.no_grad():
        ws = g.mapping(z)
        images = g(z, noise_mode="const")
        assert images.shape == (4, 3, config.resolution_px, config.resolution_px)
        assert torch.equal(images, base.synthesis(ws, noise_mode="const"))
        assert torch.equal(images, g(z, noise_mode="const"))
    again = config.build().eval()
    again.load_state_dict(g.state_dict())
    with torch.no_grad():
        assert torch.equal(again(z, noise_mode="const"), images)


@pytest.mark.parametrize("name", BASES)
def test_every_group_gets_a_gradient(name: str, z: torch.Tensor) -> None:
    torch.manual_seed(0)
    g = tiny(BASES[name]).build()
    g(z, noise_mode="const").square().mean().backward()
    for group in g.mapping.groups.values():
        assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in group.parameters())


def test_names_in_the_state_dict(g: ControllableGenerator) -> None:
    names = set(g.state_dict())
    layers = {
        f"mapping.groups.{group.name}.{i}.{leaf}" for group in GROUPS for i in range(3) for leaf in ("weight", "bias")
    }
    synthesis = {name for name in BASES["stylegan2"].build().state_dict() if name.startswith("synthesis.")}
    assert names == {"mapping.w_avg"} | layers | synthesis


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    g: ControllableConfig | StyleGAN2Config


@pytest.mark.parametrize("name", BASES)
def test_config_survives_json(name: str) -> None:
    config = tiny(BASES[name], w_avg_beta=0.9)
    assert from_dict(ControllableConfig, to_dict(config)) == config
    assert from_dict(Run, to_dict(Run(g=config))) == Run(g=config)
    assert config.conv_clamp == getattr(BASES[name], "conv_clamp", None)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"groups": GROUPS[:2]}, r"groups identity 6 \+ age 3 = 9, but base.z_dim=12: the sizes must add up to it"),
        ({"base": dataclasses.replace(BASES["stylegan2"], w_dim=16)}, "but base.w_dim=16"),
        ({"groups": (*GROUPS[:2], GROUPS[1])}, "identity, age, age: expected at least one, and each name only once"),
        ({"groups": ()}, r"groups \(none\): expected at least one"),
        ({"base": dataclasses.replace(BASES["stylegan2"], c_dim=3)}, "base.c_dim=3: a generator with groups has no"),
        ({"mapping_layers": 0}, "mapping_layers=0: expected 1 or more"),
        ({"hidden_width": 0}, "hidden_width=0: expected 1 or more"),
    ],
)
def test_layouts_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(**fields)


@pytest.mark.parametrize(("name", "size"), [("hair colour", 4), ("", 4), ("age", 0)])
def test_groups_that_cannot_be(name: str, size: int) -> None:
    with pytest.raises(ConfigError, match="group"):
        LatentGroup(name=name, size=size)


def test_calls_that_cannot_be(g: ControllableGenerator) -> None:
    with pytest.raises(ConfigError, match=r"z has shape \[2, 11\]: expected \[N, 12\]"):
        g.mapping(torch.zeros(2, 11))
    with pytest.raises(ConfigError, match="z is missing"):
        g.mapping(None)
    assert g.mapping.slice_of("age") == slice(6, 9)
    with pytest.raises(ConfigError, match="no latent group 'agee'; did you mean age"):
        g.mapping.slice_of("agee")
