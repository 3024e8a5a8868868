"""The names in state dicts are a file format: frozen here, and tied to the official ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gantrol.convert.nvidia_names import load_official, official_state
from gantrol.errors import CheckpointError
from gantrol.models import StyleGAN2Config, StyleGAN2DiscriminatorConfig, StyleGAN3Config
from tests.models.golden_models import Golden, golden_discriminator, golden_stylegan2, golden_stylegan3

WB = ["bias", "weight"]


def _names(*parts: tuple[str, list[str]]) -> set[str]:
    return {f"{prefix}.{leaf}" for prefix, leaves in parts for leaf in leaves}


def test_stylegan3_names() -> None:
    config = StyleGAN3Config(resolution_px=16, c_dim=2, num_layers=3, channel_base=64, channel_max=4, z_dim=4, w_dim=4)
    layers = [f"synthesis.layers.{i}" for i in range(4)]
    assert set(config.build().state_dict()) == _names(
        ("mapping", ["w_avg"]),
        *[(f"mapping.{name}", WB) for name in ("embed", "layers.0", "layers.1")],
        ("synthesis.input", ["weight", "freqs", "phases"]),
        ("synthesis.input.affine", WB),
        *[(layer, [*WB, "magnitude_ema"]) for layer in layers],
        *[(f"{layer}.affine", WB) for layer in layers],
    )


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_stylegan2_names(architecture: str) -> None:
    config = StyleGAN2Config(
        resolution_px=8,
        mapping_layers=2,
        channel_base=32,
        channel_max=4,
        z_dim=4,
        w_dim=4,
        architecture=architecture,
    )
    convs = [f"synthesis.blocks.{name}" for name in ("0.conv1", "1.conv0", "1.conv1")]
    torgbs = ["synthesis.blocks.0.torgb"] if architecture == "skip" else []
    torgbs += ["synthesis.blocks.1.torgb"]
    assert set(config.build().state_dict()) == _names(
        ("mapping", ["w_avg"]),
        *[(f"mapping.{name}", WB) for name in ("layers.0", "layers.1")],
        ("synthesis.blocks.0", ["const"]),
        *[(conv, [*WB, "noise_const", "noise_strength"]) for conv in convs],
        *[(torgb, WB) for torgb in torgbs],
        *[(f"{layer}.affine", WB) for layer in [*convs, *torgbs]],
        ("synthesis.blocks.1.skip", ["weight"] if architecture == "resnet" else []),
    )


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_discriminator_names(architecture: str) -> None:
    config = StyleGAN2DiscriminatorConfig(
        resolution_px=16, channel_base=64, channel_max=4, c_dim=2, mapping_layers=1, architecture=architecture
    )
    from_rgbs = ["blocks.0.from_rgb"]
    from_rgbs += ["blocks.1.from_rgb", "epilogue.from_rgb"] if architecture == "skip" else []
    assert set(config.build().state_dict()) == _names(
        *[(f"blocks.{i}.{conv}", WB) for i in (0, 1) for conv in ("conv0", "conv1")],
        *[(f"blocks.{i}.skip", ["weight"] if architecture == "resnet" else []) for i in (0, 1)],
        *[(name, WB) for name in from_rgbs],
        *[(f"epilogue.{name}", WB) for name in ("conv", "fc", "out")],
        *[(f"mapping.{name}", WB) for name in ("embed", "layers.0")],
    )


OFFICIAL = {
    **dict.fromkeys(["sg3_t_tiny", "sg3_r_tiny", "sg3_t_tiny_cond"], golden_stylegan3),
    **dict.fromkeys(["sg2_g_skip", "sg2_g_resnet", "sg2_g_orig"], golden_stylegan2),
    **dict.fromkeys(["sg2_d_orig", "sg2_d_resnet", "sg2_d_resnet_c3", "sg2_d_skip_c3"], golden_discriminator),
}


def _load(name: str) -> tuple[Golden, nn.Module]:
    return OFFICIAL[name](name)


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_state_there_and_back(name: str) -> None:
    golden, model = _load(name)
    back = official_state(model)
    assert back.keys() == golden.state.keys()
    for key, value in golden.state.items():
        torch.testing.assert_close(back[key], value, rtol=0, atol=1e-6 if "filter" in key else 0)


def test_a_state_that_does_not_fit_is_refused_untouched() -> None:
    golden, model = _load("sg3_t_tiny")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = golden.state
    weight = "synthesis.L3_36_32.weight"

    def refuses(changed: dict[str, torch.Tensor], message: str) -> None:
        with pytest.raises(CheckpointError, match=message):
            load_official(model, changed)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    refuses({k: v for k, v in state.items() if k != weight}, f"{weight} is missing$")
    refuses(state | {"synthesis.L99.weight": torch.zeros(1)}, "synthesis.L99.weight is unknown$")
    refuses(state | {weight: torch.zeros(3, 3)}, r"has shape \[3, 3\], expected \[32, 32, 3, 3\]$")
    up_filter = "synthesis.L3_36_32.up_filter"
    refuses(state | {up_filter: state[up_filter] * 1.1}, f"{up_filter} is not the filter that the config describes")
    refuses(Golden("sg3_r_tiny").state, r"do not fit the config: .* \(and \d+ more\)$")
