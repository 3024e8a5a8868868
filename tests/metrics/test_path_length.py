"""Perceptual path length of generators whose images are linear in w, so that every distance is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gantrol import sample
from gantrol.errors import ConfigError
from gantrol.metrics.path_length import arc, central_mean, path_distances, path_length
from gantrol.models import StyleGAN3Config, WGANGPConfig


class Flat:
    """The distance of two images is their squared difference, summed over pixels."""

    name = "flat"

    def __call__(self, images: Tensor) -> Tensor:
        self.shape = images.shape
        return images.double().flatten(1)


class Linear(nn.Module):
    """w = A·z (+ what the class adds), image = B·w, in float64: a step of ε changes it by ε·B·(w₁ − w₀)."""

    def __init__(self, size_px: int = 4, c_dim: int = 0, scale: float = 1.0) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.z_dim, self.c_dim, self.channels, self.resolution_px = 5, c_dim, 1, size_px
        self.a = nn.Parameter(torch.randn(6, 5, generator=random, dtype=torch.float64))
        self.b = nn.Parameter(scale * torch.randn(size_px**2, 6, generator=random, dtype=torch.float64))
        self.classes = nn.Parameter(torch.randn(6, max(c_dim, 1), generator=random, dtype=torch.float64))

    def mapping(self, z: Tensor, c: Tensor | None = None, **_: Any) -> Tensor:
        assert (c is None) == (self.c_dim == 0)
        w = z.double() @ self.a.T
        return (w if c is None else w * (c.double() @ self.classes.T))[:, None]

    def synthesis(self, ws: Tensor, **_: Any) -> Tensor:
        assert _["noise_mode"] == "const"
        return (ws[:, 0] @ self.b.T).view(-1, 1, self.resolution_px, self.resolution_px)


def measure(generator: Any, embedding: Any = None, **options: Any) -> float:
    settings = {"samples": 40, "seed": 0, "batch_size": 8, **options}
    return path_length(generator, embedding or Flat(), **settings)


def distances_of(generator: Any, rows: range = range(40), **options: Any) -> Tensor:
    return path_distances(generator, Flat(), rows, **{"seed": 0, "batch_size": 8, **options})


def ends(count: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    """z₀ and z₁ [N, 5] of each sample."""
    seeds = np.random.SeedSequence(seed).spawn(4)[0].generate_state(2 * count)
    z = sample.latents([int(value) for value in seeds], 5).double()
    return z[::2], z[1::2]


@pytest.mark.parametrize("sampling", ["end", "full"])
def test_a_linear_generator_has_the_length_of_its_steps(sampling: str) -> None:
    """‖B·A·(z₁ − z₀)‖², wherever on the path."""
    g = Linear()
    first, second = ends()
    expected = ((second - first) @ (g.b @ g.a).T).square().sum(dim=1).detach()
    np.testing.assert_allclose(distances_of(g, sampling=sampling), expected, rtol=1e-6)
    assert measure(g, sampling=sampling) == pytest.approx(central_mean(expected), rel=1e-6)


def test_a_path_in_z_is_an_arc() -> None:
    """At its start z turns towards z₁ by the angle between both, and grows by the difference of their lengths."""
    g = Linear()
    first, second = ends()
    lengths = first.norm(dim=1, keepdim=True), second.norm(dim=1, keepdim=True)
    cosine = (first * second).sum(dim=1, keepdim=True) / lengths[0] / lengths[1]
    across = second / lengths[1] - cosine * first / lengths[0]
    across = across / across.norm(dim=1, keepdim=True)
    slope = (lengths[1] - lengths[0]) * first / lengths[0] + lengths[0] * cosine.acos() * across
    expected = (slope @ (g.b @ g.a).T).square().sum(dim=1).detach()
    np.testing.assert_allclose(distances_of(g, space="z"), expected, rtol=0.02)  # latents are float32


def test_arcs_end_where_they_should_and_turn_steadily() -> None:
    first, second = ends()
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    points = torch.stack([arc(first, second, t[i].expand(40, 1)) for i in range(5)])
    np.testing.assert_allclose(points[0], first, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(points[-1], second, rtol=1e-12, atol=1e-14)
    angles = torch.cosine_similarity(points[1:], points[:-1], dim=2).acos()
    np.testing.assert_allclose(angles, angles[:1].expand(4, -1), rtol=1e-9)
    np.testing.assert_allclose(points[2].norm(dim=1), (first.norm(dim=1) + second.norm(dim=1)) / 2, rtol=1e-12)
    same = arc(first, first, t[2].expand(40, 1))
    np.testing.assert_allclose(same, first, rtol=1e-7)


def test_values_beyond_the_percentiles_are_left_out_and_the_percentiles_are_not() -> None:
    """Of 0 … 199, the 1st percentile lies between 1 and 2, the 99th between 197 and 198."""
    values = torch.arange(200.0)[torch.randperm(200, generator=torch.Generator().manual_seed(0))]
    assert central_mean(values) == np.mean(np.arange(1, 199))
    values[values == 199] = 1e9
    values[values == 0] = -1e9
    assert central_mean(values) == np.mean(np.arange(1, 199))
    assert central_mean(torch.tensor([3.0, 5.0])) == 4


def test_smoother_latent_spaces_have_shorter_paths() -> None:
    lengths = [measure(Linear(scale=scale)) for scale in (0, 0.5, 1, 2)]
    assert lengths[0] == 0
    assert lengths[2] == pytest.approx(4 * lengths[1], rel=1e-6)
    assert lengths[3] == pytest.approx(16 * lengths[1], rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_batch_size_does_not_matter(batch_size: int) -> None:
    np.testing.assert_allclose(distances_of(Linear(), batch_size=batch_size), distances_of(Linear()), rtol=1e-9)


def test_parts_of_the_work_add_up_to_the_whole() -> None:
    whole = distances_of(Linear(), sampling="full", space="z")
    parts = [distances_of(Linear(), rows, sampling="full", space="z") for rows in (range(14), range(14, 40))]
    np.testing.assert_allclose(torch.cat(parts), whole, rtol=1e-9)
    assert len(distances_of(Linear(), range(4, 4))) == 0


def test_the_seed_decides() -> None:
    assert measure(Linear()) == measure(Linear()) != measure(Linear(), seed=1)


def test_both_ends_have_the_same_class() -> None:
    g = Linear(c_dim=3)
    c = torch.eye(3)[torch.arange(40) % 3]
    first, second = ends()
    w = ((second - first) @ g.a.T) * (c.double() @ g.classes.T)
    expected = (w @ g.b.T).square().sum(dim=1).detach()
    np.testing.assert_allclose(distances_of(g, c=c), expected, rtol=1e-6)


def test_large_images_are_averaged_and_faces_cut_out() -> None:
    g, flat = Linear(size_px=512), Flat()
    options = {"samples": 2, "batch_size": 4}
    length = measure(g, flat, **options)
    assert flat.shape == (4, 1, 256, 256)
    first, second = ends(2)
    change = ((second - first) @ (g.b @ g.a).T).detach().view(2, 256, 2, 256, 2).mean(dim=(2, 4))
    assert length == pytest.approx(float(change.square().sum(dim=(1, 2)).mean()), rel=1e-6)
    measure(g, flat, crop=True, **options)
    assert flat.shape == (4, 1, 256, 256)
    measure(Linear(size_px=64), flat, crop=True, **options)
    assert flat.shape == (4, 1, 32, 32)


def test_progress_counts_samples() -> None:
    seen: list[tuple[int, int]] = []
    measure(Linear(), samples=10, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 10), (8, 10), (10, 10)]


CONFIGS: dict[str, Any] = {
    "stylegan3": StyleGAN3Config(resolution_px=16, z_dim=16, w_dim=16, channel_base=128, channel_max=16),
    "wgan-gp": WGANGPConfig(resolution_px=16),
}


def build(name: str) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CONFIGS[name].build().eval()


@pytest.mark.parametrize("name", CONFIGS)
def test_real_generators_have_a_length(name: str) -> None:
    g = build(name)
    space = "z" if name == "wgan-gp" else "w"
    value = measure(g, samples=6, space=space)
    assert math.isfinite(value)
    assert value > 0
    assert measure(g, samples=6, space=space, batch_size=2) == pytest.approx(value, rel=0.05)  # rounding, over ε²


class Noisy(Linear):
    """The step counts for as much as the noise says: with noise ν, the length of a path is ν² times that without."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("noise_const", torch.full((1,), 5.0))
        self.seen: list[float] = []

    def synthesis(self, ws: Tensor, **options: Any) -> Tensor:
        self.seen.append(float(self.get_buffer("noise_const")))
        return super().synthesis(ws, **options) * self.seen[-1]


@pytest.mark.parametrize("batch_size", [1, 64])
def test_noise_is_redrawn_for_every_two_samples_and_put_back(batch_size: int) -> None:
    noisy = Noisy()
    lengths = distances_of(noisy, range(6), batch_size=batch_size)
    assert len(noisy.seen) == len(set(noisy.seen)) == 3
    assert noisy.get_buffer("noise_const") == 5
    strengths = torch.tensor(noisy.seen).repeat_interleave(2) ** 2
    np.testing.assert_allclose(lengths, distances_of(Linear(), range(6)) * strengths, rtol=1e-5)
    np.testing.assert_allclose(distances_of(noisy, range(2, 6)), lengths[2:], rtol=1e-9)


def test_noise_is_put_back_after_a_mishap() -> None:
    noisy = Noisy()

    def failing(_: Tensor) -> Tensor:
        raise RuntimeError("no more memory")

    with pytest.raises(RuntimeError, match="no more memory"):
        measure(noisy, failing)
    assert noisy.get_buffer("noise_const") == 5


def test_generators_without_a_mapping_network_have_no_w() -> None:
    with pytest.raises(ConfigError, match="wgan-gp model has no w for its paths to run in: leave ppl out"):
        measure(build("wgan-gp"))


def test_impossible_requests_are_refused() -> None:
    for options, message in (
        ({"space": "x"}, "unknown space 'x'"),
        ({"sampling": "ends"}, "unknown sampling 'ends'; did you mean end"),
        ({"samples": 1}, "samples=1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"epsilon": 0.0}, "epsilon=0.0"),
    ):
        with pytest.raises(ConfigError, match=message):
            measure(Linear(), **options)
    with pytest.raises(ConfigError, match="from a multiple of 2"):
        distances_of(Linear(), range(3, 5))
    rgba = Linear()
    rgba.channels = 4
    with pytest.raises(ConfigError, match="4 channels"):
        measure(rgba)
