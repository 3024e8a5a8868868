"""The ladder from StyleGAN2 to StyleGAN3: schedules, names, what each step changes, and how equivariant it is."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

import gantrol
from gantrol.errors import ConfigError
from gantrol.metrics.equivariance import equivariance
from gantrol.models import GENERATORS, LadderConfig, StyleGAN2Config, ladder_schedule, make_transform
from gantrol.models.fourier_input import FourierInput
from gantrol.models.ladder import UnfilteredLayer
from gantrol.models.stylegan2 import SynthesisLayer
from gantrol.sample import transformed

D: dict[str, Any] = {
    "margin_px": 0,
    "upsampling": "bilinear",
    "lrelu_upsampling": 1,
    "use_lower_cutoffs": False,
    "use_input_motion": False,
}
E: dict[str, Any] = {"lrelu_upsampling": 1, "use_lower_cutoffs": False, "use_input_motion": False}
F: dict[str, Any] = {"use_lower_cutoffs": False, "use_input_motion": False}
G: dict[str, Any] = {"use_input_motion": False}
STEPS: dict[str, dict[str, Any]] = {"d": D, "e": E, "f": F, "g": G, "h": {}}


def config(step: str, **changes: Any) -> StyleGAN2Config | LadderConfig:
    """A narrow generator of a step."""
    sizes = {"resolution_px": 32, "z_dim": 16, "w_dim": 16, "channel_base": 512, "channel_max": 16} | changes
    if step in STEPS:
        margin = {} if step == "d" else {"margin_px": 6}
        return LadderConfig(**(STEPS[step] | margin | sizes))
    return StyleGAN2Config(**sizes, mapping_layers=2, use_fourier_input=step != "a", use_noise=step in "ab")


def untrained(step: str, **changes: Any) -> Any:
    """A generator with activations and images of the size that training gives them."""
    torch.manual_seed(0)
    g: Any = config(step, **changes).build().eval().requires_grad_(False)
    ws = g.mapping(torch.randn(8, g.z_dim))
    if step in STEPS:
        for layer in g.synthesis.layers:
            layer.magnitude_ema_beta = 0.0
        g.synthesis.output_scale *= 0.5 / float(g.synthesis(ws, update_emas=True).std())
    return g


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("resolution_px", [8, 32, 256, 1024])
def test_layers_fit_together(step: str, resolution_px: int) -> None:
    """Two layers per resolution and the colours; rates, sizes and widths meet; the canvas comes out."""
    shape = LadderConfig(**STEPS[step], resolution_px=resolution_px)
    *layers, torgb = schedule = ladder_schedule(shape)
    assert [spec.out_sampling_rate for spec in layers] == sorted(
        2 * [2**i for i in range(2, 11) if 2**i <= resolution_px]
    )
    assert (torgb.is_torgb, torgb.out_size_px, torgb.out_channels) == (True, resolution_px, 3)
    for before, spec in itertools.pairwise(schedule):
        assert spec.in_channels == before.out_channels
        assert spec.in_size_px == before.out_size_px
        assert spec.out_size_px == spec.out_sampling_rate + 2 * shape.margin_px * (spec.index < len(layers) - 1)
    for spec in layers:
        assert spec.tmp_sampling_rate == shape.lrelu_upsampling * spec.out_sampling_rate
        assert spec.is_critically_sampled == (not shape.use_lower_cutoffs or spec.out_sampling_rate == resolution_px)


def test_the_numbers_of_the_paper() -> None:
    """At 256 px: 14 layers; critical filters; then cutoffs of s/2 − (√2 − 1)·s/2 and the widths that follow."""
    schedules = {
        step: ladder_schedule(LadderConfig(**changes, resolution_px=256, channel_base=2**14))
        for step, changes in STEPS.items()
    }
    assert {len(schedule) - 1 for schedule in schedules.values()} == {14}
    widths = {step: [spec.out_channels for spec in schedule] for step, schedule in schedules.items()}
    assert widths["d"] == widths["e"] == widths["f"] == 8 * [512] + [256, 256, 128, 128, 64, 64, 3]
    assert widths["g"] == widths["h"] == 8 * [512] + [437, 437, 219, 219, 64, 64, 3]
    assert [spec.out_size_px for spec in schedules["h"]][::2] == [24, 28, 36, 52, 84, 148, 276, 256]
    assert [spec.up for spec in schedules["e"]] == [1, 1, *6 * [2, 1], 1]
    assert [spec.up for spec in schedules["f"]] == [2, 2, *6 * [4, 2], 1]
    for spec in schedules["f"]:
        assert spec.out_cutoff == spec.out_sampling_rate / 2
    for spec in schedules["h"][:12]:
        assert spec.out_cutoff + spec.out_half_width == pytest.approx(spec.out_sampling_rate / 2)
        assert spec.out_cutoff == pytest.approx(0.58579 * spec.out_sampling_rate / 2, rel=1e-5)
    assert [spec.out_cutoff for spec in schedules["h"][12:]] == 3 * [128]


def test_parameters() -> None:
    """Widths decide, and the input's motion adds one small layer."""
    sizes = {"resolution_px": 64, "channel_max": 32}
    counts = {step: sum(p.numel() for p in config(step, **sizes).build().parameters()) for step in STEPS}
    assert counts["d"] == counts["e"] == counts["f"] < counts["g"] == counts["h"] - 4 * (16 + 1)


WB = ["bias", "weight"]


@pytest.mark.parametrize("step", STEPS)
def test_names(step: str) -> None:
    """A file format: those of StyleGAN3, without the input's affine layer before H."""
    layers = [f"synthesis.layers.{i}" for i in range(5)]
    expected = {"mapping.w_avg", *(f"mapping.layers.{i}.{leaf}" for i in (0, 1) for leaf in WB)}
    expected |= {f"synthesis.input.{leaf}" for leaf in ("weight", "freqs", "phases")}
    expected |= {f"{layer}.{leaf}" for layer in layers for leaf in [*WB, "magnitude_ema"]}
    expected |= {f"{layer}.affine.{leaf}" for layer in layers for leaf in WB}
    if step == "h":
        expected |= {f"synthesis.input.affine.{leaf}" for leaf in WB}
    assert set(config(step, resolution_px=8).build().state_dict()) == expected


def test_names_of_the_fourier_input_in_stylegan2() -> None:
    names = [set(config(step, resolution_px=8).build().state_dict()) for step in "abc"]
    assert names[0] - names[1] == {"synthesis.blocks.0.const"}
    assert names[1] - names[0] == {f"synthesis.input.{leaf}" for leaf in ("weight", "freqs", "phases")}
    assert names[1] - names[2] == {name for name in names[1] if "noise" in name}
    assert names[2] <= names[1]


@pytest.mark.parametrize("up", [1, 2])
def test_without_margin_a_layer_is_that_of_stylegan2(up: int) -> None:
    schedule = ladder_schedule(LadderConfig(**D, resolution_px=16, channel_base=64, channel_max=4))
    spec = schedule[4 if up == 2 else 3]
    assert spec.up == up
    torch.manual_seed(0)
    plain = SynthesisLayer(4, 4, resolution_px=spec.out_size_px, w_dim=6, up=up, use_noise=False)
    ours = UnfilteredLayer(spec, is_bilinear=True, w_dim=6, conv_clamp=None, magnitude_ema_beta=0.9)
    ours.load_state_dict({**plain.state_dict(), "magnitude_ema": torch.tensor(0.25)})
    x, w = torch.randn(2, 4, spec.in_size_px, spec.in_size_px), torch.randn(2, 6)
    torch.testing.assert_close(ours(x, w), plain(2 * x, w))  # demodulation does not undo the input's normalisation


def test_a_layer_with_margin_keeps_what_is_inside() -> None:
    """The margin is cropped evenly: one layer of a wide map equals the inside of the same layer without a margin."""
    specs = [ladder_schedule(LadderConfig(**{**E, "margin_px": m}, resolution_px=16))[2] for m in (2, 10)]
    torch.manual_seed(0)
    small, large = (
        UnfilteredLayer(
            dataclasses.replace(spec, in_channels=3, out_channels=5),
            is_bilinear=False,
            w_dim=6,
            conv_clamp=None,
            magnitude_ema_beta=0.9,
        )
        for spec in specs
    )
    small.load_state_dict(large.state_dict())
    x, w = torch.randn(2, 3, 24, 24), torch.randn(2, 6)
    inside = small(x[:, :, 8:16, 8:16], w)[:, :, 5:-5, 5:-5]  # where the filter saw no zeros
    torch.testing.assert_close(inside, large(x, w)[:, :, 13:-13, 13:-13])


def test_equivariance_grows_with_every_step() -> None:
    """The paper's column EQ-T, already before training; the first step that can be measured sticks to its pixels."""
    measured = {step: equivariance(untrained(step), ["eqt"], samples=16)["eqt"] for step in "bdefgh"}
    assert measured["b"] < 25
    assert measured["b"] < measured["d"] < measured["e"] < measured["f"] < measured["g"]
    assert measured["f"] > 25
    assert measured["g"] > 40
    assert measured["h"] == pytest.approx(measured["g"], abs=1e-3)  # the input's motion starts as none


def test_h_starts_as_g() -> None:
    g, h = untrained("g"), untrained("h")
    z = torch.randn(2, 16)
    torch.testing.assert_close(h(z), g(z))
    assert h.num_ws == g.num_ws + 1
    with torch.no_grad():
        h.synthesis.input.affine.weight.normal_()
    assert not torch.allclose(h(z), g(z), atol=0.1)


@pytest.mark.parametrize("step", ["c", "d", "h"])
def test_saved_loaded_and_moved(step: str, tmp_path: Path) -> None:
    g = untrained(step, resolution_px=16)
    if step in STEPS:
        g.synthesis.output_scale = g.config.output_scale
    gantrol.Model(g).save_pretrained(tmp_path / "model")
    loaded = gantrol.load(tmp_path / "model", device="cpu")
    assert loaded.generator.config == g.config
    assert type(loaded.generator.config) is GENERATORS[g.config.kind]
    still, moved = (loaded.generate([1], translate=by, output="pt") for by in ((0, 0), (0.25, 0)))
    torch.testing.assert_close(still, g(gantrol.sample.latents([1], 16), noise_mode="const").clamp(-1, 1))
    assert (moved - still).abs().mean() > 0.01
    torch.testing.assert_close(loaded.generate([1], output="pt"), still)


def test_a_constant_input_cannot_be_moved() -> None:
    with pytest.raises(ConfigError, match="cannot be translated"), transformed(untrained("a"), (0.1, 0)):
        pass


def test_a_fixed_input_at_half_the_sampling_rate() -> None:
    """No room for a fade: frequencies inside the band stay whole, those that a transform pushes out vanish."""
    torch.manual_seed(0)
    block = FourierInput(w_dim=None, channels=32, size_px=4, sampling_rate=4, bandwidth=2.0)
    w = torch.zeros(2, 5)
    with torch.no_grad():
        plain = block(w)
        assert plain.shape == (2, 32, 4, 4)
        assert torch.equal(plain[0], plain[1])
        block.set_transform(make_transform(rotate_deg=90))
        torch.testing.assert_close(block(w), torch.rot90(plain, 1, dims=(2, 3)), rtol=1e-4, atol=1e-4)
        block.set_transform(torch.diag(torch.tensor([0.01, 0.01, 1.0])))  # a hundred times smaller
        assert block(w).abs().max() < plain.abs().max() / 2
    assert [name for name, _ in block.named_parameters()] == ["weight"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"resolution_px": 4}, "resolution_px=4: expected a power of two, at least 8"),
        ({"upsampling": "cubic"}, "upsampling='cubic': expected one of bilinear, sinc"),
        ({"upsampling": "bilinear"}, "upsampling='bilinear': expected sinc where lrelu_upsampling > 1"),
        (D | {"use_lower_cutoffs": True}, "upsampling='bilinear': expected sinc where lrelu_upsampling > 1 or use_low"),
        ({"lrelu_upsampling": 0}, "lrelu_upsampling=0: expected at least 1"),
        ({"filter_size": 5}, "filter_size=5: expected an even number"),
        ({"margin_px": -1}, "margin_px=-1: expected at least 0"),
        ({"channel_base": 16}, "channel_base=16: expected at least 64"),
        ({"magnitude_ema_beta": 2.0}, "magnitude_ema_beta=2.0: expected a number from 0 to 1"),
    ],
)
def test_impossible_configs(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        LadderConfig(**({"resolution_px": 64} | changes))
    assert str(error.value).startswith(expected)
