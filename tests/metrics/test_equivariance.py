"""Equivariance: the reference vectors, and the properties of untrained networks."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gantrol.errors import ConfigError
from gantrol.metrics.equivariance import BEST_DB, TITLES, Motion, decibels, equivariance, squared_errors
from gantrol.models import StyleGAN2Config, StyleGAN3Config, StyleGAN3Generator
from gantrol.sample import latents, transformed
from tests.models.golden_models import golden_stylegan3
from tests.reference import load

T: dict[str, Any] = {}
R: dict[str, Any] = {"conv_kernel": 1, "use_radial_filters": True}
FIXTURE_NAMES = {"eqt": "int", "eqt_frac": "frac", "eqr": "rot"}


def untrained(*, resolution_px: int = 32, contrast: float = 0.5, **changes: Any) -> StyleGAN3Generator:
    """A generator with activations of unit magnitude, as training would set them, and images whose standard deviation
    is `contrast` (photographs have about 0.5): noise of the same size costs as many decibels as after training."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"z_dim": 16, "w_dim": 16, "channel_base": 512, "channel_max": 16}
    g = StyleGAN3Config(resolution_px=resolution_px, **(sizes | changes)).build().eval().requires_grad_(False)
    ws = g.mapping(torch.randn(8, g.z_dim))
    for layer in g.synthesis.layers:
        layer.magnitude_ema_beta = 0.0
    g.synthesis.output_scale *= contrast / float(g.synthesis(ws, update_emas=True).std())
    return g


needs_time = pytest.mark.skipif("GANTROL_ALL_VECTORS" not in os.environ, reason="set GANTROL_ALL_VECTORS=1")


@pytest.mark.parametrize("groups", [2, pytest.param(16, marks=[pytest.mark.slow, needs_time])])
@pytest.mark.parametrize("kind", ["t", "r"])
def test_reference_vectors(kind: str, groups: int) -> None:
    """Four images at a time, which share a motion: each must have the fixture's error."""
    info, expected = load(f"eq_metrics_sg3_{kind}_tiny")
    _, g = golden_stylegan3(info["generator_fixture"])
    g.eval().requires_grad_(False)
    tolerance = info["recommended_tolerance"]
    us = torch.cat([expected["u_int"], expected["u_frac"], expected["u_angle"][:, None]], dim=1)
    motions = [Motion.from_uniform(u.tolist(), g.resolution_px) for u in us]
    for name, column in (("integer", "t_int"), ("fractional", "t_frac"), ("angle", "angle")):
        got = torch.tensor([getattr(motion, name) for motion in motions])
        torch.testing.assert_close(got, expected[column])
    ws = g.mapping(expected["z"][: 4 * groups])
    original = g.synthesis(ws).split(4)
    for index, metric in enumerate(TITLES):
        errors, weights = [], []
        for before, w, motion in zip(original, ws.split(4), motions[:groups], strict=True):
            g.synthesis.input.set_transform(motion.matrix(metric))
            error, weight = squared_errors(metric, before, g.synthesis(w), motion)
            errors.append(error)
            weights.append(weight)
        g.synthesis.input.set_transform(None)
        error, weight = torch.cat(errors), torch.cat(weights)
        name = FIXTURE_NAMES[metric]
        wanted, area = (expected[f"{sums}.{name}"][: 4 * groups] for sums in ("squared_error", "mask_sum"))
        # Images that differ by 1e-6 move a sum of squares by up to 2·1e-6·√(sum·pixels): what counts above 80 dB.
        allowed = tolerance["squared_error_rtol"] * wanted + 2e-6 * (wanted * weight).sqrt()
        assert ((error - wanted).abs() <= allowed).all()
        torch.testing.assert_close(weight, area, rtol=5e-3 if name == "rot" else 0, atol=0)
        psnr = decibels(float(error.sum()), float(weight.sum()))
        assert psnr == pytest.approx(decibels(float(wanted.sum()), float(area.sum())), abs=tolerance["psnr_atol_db"])
        sums = (float(expected[f"{what}.{name}"].sum()) for what in ("squared_error", "mask_sum"))
        assert decibels(*sums) == pytest.approx(float(expected["psnr"][index]), abs=tolerance["psnr_atol_db"])


def test_untrained_networks_are_as_equivariant_as_they_should() -> None:
    t, r = (equivariance(untrained(**extra), samples=16) for extra in (T, R))
    assert t["eqt"] >= 45
    assert t["eqr"] < 20
    assert r["eqt"] >= 55
    assert r["eqr"] >= 35
    assert min(t["eqt_frac"], r["eqt_frac"]) >= 40


SMALL: dict[str, Any] = {"resolution_px": 16, "num_layers": 3, "channel_base": 64, "channel_max": 4, "margin_px": 4}


def test_metrics_do_not_depend_on_the_batch_or_on_each_other() -> None:
    g = untrained(**SMALL)
    torch.rand(3)
    together = equivariance(g, samples=10, seed=5)
    assert list(together) == list(TITLES)
    for metric, value in together.items():
        assert equivariance(g, [metric], samples=10, seed=5, batch_size=1)[metric] == pytest.approx(value, abs=1e-3)
    assert equivariance(g, samples=10, seed=6)["eqt"] != pytest.approx(together["eqt"], abs=1e-3)


def test_a_definition_in_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """EQ-T one image at a time, with `Model.generate`'s own translation."""
    g = untrained(**SMALL)
    seen: list[tuple[Tensor, Motion]] = []
    plain = squared_errors

    def record(metric: str, original: Tensor, moved: Tensor, motion: Motion) -> tuple[Tensor, Tensor]:
        seen.append((moved, motion))
        return plain(metric, original, moved, motion)

    monkeypatch.setattr("gantrol.metrics.equivariance.squared_errors", record)
    value = equivariance(g, ["eqt"], samples=6, seed=2)["eqt"]
    seeds = np.random.SeedSequence(2).spawn(1)[0].generate_state(6)
    ws = g.mapping(latents([int(s) for s in seeds], g.z_dim))
    error, pixels = 0.0, 0
    for index, w in enumerate(ws):
        moved, motion = seen[index // 4]
        dx, dy = (round(16 * t) for t in motion.integer)
        assert abs(dx) <= 2
        assert abs(dy) <= 2
        before = g.synthesis(w[None])[0]
        with transformed(g, motion.integer):
            after = g.synthesis(w[None])[0]
        torch.testing.assert_close(after, moved[index % 4], rtol=1e-4, atol=1e-5)
        for y in range(max(dy, 0), 16 + min(dy, 0)):
            for x in range(max(dx, 0), 16 + min(dx, 0)):
                error += float((after[:, y, x] - before[:, y - dy, x - dx]).double().square().sum())
                pixels += 3
    assert value == pytest.approx(10 * math.log10(4 / (error / pixels)), abs=1e-3)


def test_the_generator_is_left_as_it_was() -> None:
    g = untrained(**SMALL)
    g.synthesis.input.set_transform(torch.diag(torch.tensor([2.0, 2.0, 1.0])))
    before, buffer = g.synthesis.input.transform.clone(), g.synthesis.input.transform
    equivariance(g, samples=9)
    assert g.synthesis.input.transform is buffer
    assert torch.equal(buffer, before)


def test_progress_counts_samples() -> None:
    seen: list[tuple[int, int]] = []
    equivariance(untrained(**SMALL), ["eqt"], samples=18, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(8, 18), (16, 18), (18, 18)]


class Noisy(torch.nn.Module):
    """A StyleGAN3 generator with constant noise on its images, as StyleGAN2 layers have it."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.inner, self.strength = untrained(**SMALL), strength
        self.z_dim, self.c_dim, self.resolution_px, self.mapping = 16, 0, 16, self.inner.mapping
        self.register_buffer("noise_const", torch.ones(16, 16))
        self.draws: list[Tensor] = []

    @property
    def synthesis(self) -> Any:
        def render(ws: Tensor, **options: Any) -> Tensor:
            self.draws.append(self.noise_const.clone())
            return self.inner.synthesis(ws, **options) + self.strength * self.noise_const

        render.input = self.inner.synthesis.input  # type: ignore[attr-defined]
        return render


def test_constant_noise_is_redrawn_for_every_four_images_and_costs_equivariance() -> None:
    quiet, noisy = Noisy(0.0), Noisy(0.1)
    value = equivariance(noisy, ["eqt"], samples=8)["eqt"]  # type: ignore[arg-type]
    # Two different noises, each of 0.1, in every comparison: an error of 0.02 in place of 0.
    assert value == pytest.approx(10 * math.log10(4 / 0.02), abs=0.7)
    assert equivariance(quiet, ["eqt"], samples=8)["eqt"] > value + 10  # type: ignore[arg-type]
    first, moved, second, _ = noisy.draws
    assert torch.equal(first, moved)
    assert not torch.equal(first, second)
    assert torch.equal(noisy.noise_const, torch.ones(16, 16))


def test_exact_matches_are_finite() -> None:
    assert decibels(0.0, 12.0) == BEST_DB
    assert decibels(4.0, 1.0) == pytest.approx(0)
    assert decibels(4e-4, 1.0) == pytest.approx(40)


def test_what_cannot_be_measured_is_said() -> None:
    fixed = StyleGAN2Config(resolution_px=16, z_dim=4, w_dim=4, channel_base=64, channel_max=4).build()
    with pytest.raises(ConfigError, match=r"eqt, eqr: the input of a stylegan2 model cannot be moved.*sticking"):
        equivariance(fixed, ["eqt", "eqr"])
    with pytest.raises(ConfigError, match="unknown equivariance metric 'eq'"):
        equivariance(untrained(**SMALL), ["eq"])
    tiny = StyleGAN3Config(**(SMALL | {"resolution_px": 8})).build()
    with pytest.raises(ConfigError, match="eqr: images of 8 px are smaller than its filters"):
        equivariance(tiny, ["eqr"])
    assert equivariance(tiny, ["eqt", "eqt_frac"], samples=4)["eqt"] > 0
