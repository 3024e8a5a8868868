"""What makes StyleGAN3 alias-free: schedules of any shape, the Fourier input, equivariance of untrained networks."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from gantrol.errors import ConfigError
from gantrol.models import StyleGAN3Config, StyleGAN3Generator, layer_schedule, make_transform

SMALL = {"resolution_px": 32, "z_dim": 16, "w_dim": 16, "channel_base": 512, "channel_max": 12}
R = {"conv_kernel": 1, "use_radial_filters": True}


def _calibrated(config: StyleGAN3Config, n: int = 2) -> tuple[StyleGAN3Generator, Tensor]:
    """An untrained generator with activations of unit magnitude, and ws to try it with."""
    torch.manual_seed(0)
    g = config.build()
    ws = g.mapping(torch.randn(n, config.z_dim)).detach()
    for layer in g.synthesis.layers:
        layer.magnitude_ema_beta = 0.0
    with torch.no_grad():
        g.synthesis(ws, update_emas=True)
    return g, ws


def _psnr_db(a: Tensor, b: Tensor, border_px: int) -> float:
    """Peak signal-to-noise ratio inside the border, for images scaled to a standard deviation of one half."""
    inside = slice(border_px, -border_px)
    error = ((a - b) / (2 * b.std()))[:, :, inside, inside].square().mean()
    return float(10 * torch.log10(4 / error))


@pytest.mark.parametrize(
    "changes",
    [
        {"num_layers": 2, "num_critical": 1},
        {"num_layers": 8, "num_critical": 1, "margin_px": 4},
        {"num_layers": 8, "num_critical": 7, "margin_px": 7},
        {"margin_px": 0, "num_layers": 4},
        {"lrelu_upsampling": 1, "num_layers": 6},
        {"lrelu_upsampling": 4, "num_layers": 4, **R},
        {"filter_size": 4, "num_layers": 5, "conv_clamp": None},
        {"conv_kernel": 5, "num_layers": 4},
        {"first_cutoff": 1.0, "first_stopband": 3.0, "last_stopband_rel": 1.1, "num_layers": 7},
        {"resolution_px": 8, "num_layers": 5},
        {"resolution_px": 64, "num_layers": 3, "output_scale": 0.5, **R},
    ],
    ids=lambda changes: ",".join(f"{k}={v}" for k, v in changes.items()),
)
def test_every_schedule_fits_together(changes: dict) -> None:
    config = StyleGAN3Config(**(SMALL | changes))
    schedule = layer_schedule(config)
    assert len(schedule) == config.num_layers + 1
    for before, spec in itertools.pairwise(schedule):
        assert spec.in_channels == before.out_channels
        assert spec.in_size_px == before.out_size_px
        assert spec.in_half_width > 0
    g, ws = _calibrated(config)
    sizes: list[int] = []
    for layer in g.synthesis.layers:
        layer.register_forward_hook(lambda m, args, out: sizes.append(out.shape[-1]))
    img = g.synthesis(ws)
    assert sizes == [spec.out_size_px for spec in schedule]
    assert img.shape[-1] == config.resolution_px
    assert img.isfinite().all()
    img.sum().backward()


@pytest.mark.parametrize("extra", [{}, R], ids=["T", "R"])
def test_moving_the_input_moves_the_image(extra: dict) -> None:
    g, ws = _calibrated(StyleGAN3Config(**SMALL, **extra))
    with torch.no_grad():
        img = g.synthesis(ws)
        g.synthesis.input.set_transform(make_transform((3 / 32, -2 / 32)))  # right and up
        moved = g.synthesis(ws)
    expected = img.roll((-2, 3), dims=(2, 3))
    decibels = _psnr_db(moved, expected, border_px=4)
    assert decibels > 45
    assert decibels > _psnr_db(img, expected, border_px=4) + 15  # the move is not too small to matter


def test_turning_the_input_turns_the_image_in_r_only() -> None:
    decibels = []
    for extra in ({}, R):
        g, ws = _calibrated(StyleGAN3Config(**SMALL, **extra))
        with torch.no_grad():
            img = g.synthesis(ws)
            g.synthesis.input.set_transform(make_transform(rotate_deg=90))
            turned = g.synthesis(ws)
        decibels.append(_psnr_db(turned, torch.rot90(img, 1, dims=(2, 3)), border_px=2))  # counter-clockwise
    assert decibels[0] < 30
    assert decibels[1] > 80


def test_transform_is_stored_inverted_and_never_saved() -> None:
    g, _ = _calibrated(StyleGAN3Config(**SMALL, num_layers=3))
    wanted = make_transform((0.25, -0.1), 20)
    g.synthesis.input.set_transform(wanted)
    torch.testing.assert_close(g.synthesis.input.transform @ wanted, torch.eye(3))
    assert not any("transform" in name for name in g.state_dict())
    g.synthesis.input.set_transform(None)
    assert torch.equal(g.synthesis.input.transform, torch.eye(3))
    with pytest.raises(ConfigError, match="has no inverse"):
        g.synthesis.input.set_transform(torch.zeros(3, 3))


def test_make_transform_turns_first_then_moves() -> None:
    point = torch.tensor([0.5, 0.0, 1.0])  # right of the centre
    torch.testing.assert_close(make_transform((0.1, 0.2)) @ point, torch.tensor([0.6, 0.2, 1.0]))
    torch.testing.assert_close(make_transform(rotate_deg=90) @ point, torch.tensor([0.0, -0.5, 1.0]))  # up
    torch.testing.assert_close(make_transform((0.1, 0.2), 90) @ point, torch.tensor([0.1, -0.3, 1.0]))


def test_fourier_input_against_its_definition() -> None:
    """One sine by hand: amp·sin(2π(f'·p + φ')), mixed with weight/√C, at a few pixels, in float64."""
    torch.manual_seed(0)
    block = StyleGAN3Config(**SMALL).build().synthesis.input.double()
    with torch.no_grad():
        block.affine.weight.normal_()
        block.set_transform(make_transform((0.1, 0.3), 25))
        w = torch.randn(2, 16, dtype=torch.float64)
        got = block(w)
        a, b, tx, ty = (w @ block.affine.weight.T / 4 + block.affine.bias)[1].tolist()
    norm = math.hypot(a, b)
    a, b, tx, ty = a / norm, b / norm, tx / norm, ty / norm
    rotation = torch.tensor([[a, -b, 0], [b, a, 0], [0, 0, 1]], dtype=torch.float64)
    translation = torch.tensor([[1, 0, -tx], [0, 1, -ty], [0, 0, 1]], dtype=torch.float64)
    matrix = rotation @ translation @ block.transform
    size, rate, bandwidth = block.size_px, block.sampling_rate, block.bandwidth
    for row, column in [(0, 0), (5, 31), (35, 2)]:
        point = torch.tensor([(i + 0.5 - size / 2) / rate for i in (column, row)], dtype=torch.float64)
        features = []
        for f, phase in zip(block.freqs, block.phases, strict=True):
            moved = f @ matrix[:2, :2]
            amplitude = min(max(1 - (float(moved.norm()) - bandwidth) / (rate / 2 - bandwidth), 0), 1)
            angle = float(moved @ point + phase + f @ matrix[:2, 2])
            features.append(amplitude * math.sin(2 * math.pi * angle))
        expected = block.weight @ torch.tensor(features, dtype=torch.float64) / math.sqrt(len(features))
        torch.testing.assert_close(got[1, :, row, column], expected, rtol=1e-5, atol=1e-6)


def test_frequencies_fill_the_disc_evenly() -> None:
    torch.manual_seed(0)
    config = StyleGAN3Config(resolution_px=32, w_dim=4, channel_max=512, num_layers=2, num_critical=1)
    block = config.build().synthesis.input
    radii = block.freqs.norm(dim=1) / block.bandwidth
    assert radii.max() <= 1
    # Uniform in the disc means that r² is uniform in [0, 1].
    assert float(radii.square().mean()) == pytest.approx(0.5, abs=0.04)
    assert float((radii.square() < 0.25).float().mean()) == pytest.approx(0.25, abs=0.06)
    assert block.phases.abs().max() <= 0.5


def test_frequencies_out_of_band_are_silenced() -> None:
    g, _ = _calibrated(StyleGAN3Config(**SMALL, num_layers=3))
    block = g.synthesis.input
    w = torch.zeros(1, 16)
    with torch.no_grad():
        shrink = torch.diag(torch.tensor([0.01, 0.01, 1.0]))  # a hundredth of the size: all frequencies too high
        block.set_transform(shrink)
        assert block(w).abs().max() == 0


def test_colour_layer_has_no_nonlinearity() -> None:
    g, ws = _calibrated(StyleGAN3Config(**SMALL, num_layers=2, num_critical=1, conv_clamp=None))
    layer = g.synthesis.layers[-1]
    x = torch.randn(2, layer.spec.in_channels, 32, 32)
    w = ws[:, -1]
    with torch.no_grad():
        torch.testing.assert_close(layer(-2 * x, w), -2 * layer(x, w))
