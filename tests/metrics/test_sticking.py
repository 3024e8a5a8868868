"""Sticking on drawn objects whose texture moves with them, or does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gantrol.errors import ConfigError
from gantrol.metrics.sticking import ANGLES, Sticking, split_bands, sticking, sticking_pictures
from gantrol.models import StyleGAN2Config

SIZE = 48


class Drawing(nn.Module):
    """A soft disc that z moves about, with a texture of fine waves that is fixed to the disc, to the pixels, to nothing
    (drawn anew for each z), or not there."""

    def __init__(self, texture: str, reach: float = 8.0, speed: float = 1.0, c_dim: int = 0) -> None:
        super().__init__()
        self.texture, self.reach, self.speed, self.c_dim = texture, reach, speed, c_dim
        self.z_dim, self.resolution_px = 8, SIZE
        self.nothing = nn.Parameter(torch.zeros(1))

    def mapping(self, z: Tensor, c: Tensor | None = None, **_: Any) -> Tensor:
        assert (c is not None) == (self.c_dim > 0)
        return z

    def synthesis(self, ws: Tensor, **_: Any) -> Tensor:
        axis = torch.arange(SIZE) - (SIZE - 1) / 2
        x, y = axis[None, None, :], axis[None, :, None]
        shift = self.reach * torch.sin(self.speed * ws[:, :2])
        mx, my = x - shift[:, :1, None], y - shift[:, 1:, None]
        disc = torch.sigmoid((12 - torch.hypot(mx, my)) / 1.5)
        tx, ty = (x, y) if self.texture == "pixels" else (mx, my)
        waves = torch.cos(1.7 * tx + 0.9 * ty) + torch.cos(1.1 * tx - 1.8 * ty)
        if self.texture == "anew":
            waves = torch.stack(
                [torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(int(1e6 * abs(w[0])))) for w in ws]
            )
        if self.texture == "none":
            waves = torch.zeros_like(disc)
        return (disc * (0.5 + 0.2 * waves) - 0.3)[:, None]


def measure(texture: str, samples: int = 300, **options: Any) -> Sticking:
    return sticking(Drawing(texture, **options), samples=samples)  # type: ignore[arg-type]


def test_texture_at_the_pixels_sticks_and_texture_on_the_object_does_not() -> None:
    fixed, moving, anew = measure("pixels"), measure("object"), measure("anew")
    assert fixed.average > 0.8
    assert fixed.strip > 0.8
    for other in (moving, anew):
        assert other.average < 0.35
        assert other.strip < 0.6
    # The same motion in the same content: the same neighbourhood.
    assert fixed.angle == pytest.approx(moving.angle, rel=0.1)


def test_models_are_compared_at_equal_content() -> None:
    """How fast a model reacts to z does not matter."""
    for texture in ("object", "pixels"):
        slow, fast = measure(texture, 600, speed=0.75), measure(texture, 600, speed=1.5)
        assert slow.angle > 1.3 * fast.angle
        assert fast.average == pytest.approx(slow.average, abs=0.05)
        assert fast.strip == pytest.approx(slow.strip, abs=0.05)


def test_a_model_without_variety_sticks() -> None:
    still = measure("object", reach=0.0)
    assert (still.average, still.strip, still.angle) == (pytest.approx(1), pytest.approx(1), ANGLES[-1])


def test_nothing_sticks_where_there_is_no_detail() -> None:
    class Blank(Drawing):
        def synthesis(self, ws: Tensor, **_: Any) -> Tensor:
            return super().synthesis(ws).mean(dim=(2, 3), keepdim=True).expand(-1, -1, SIZE, SIZE) * 0

    blank = sticking(Blank("none"), samples=60)  # type: ignore[arg-type]
    assert (blank.average, blank.strip) == (0, 0)


def test_bands_hold_what_they_say() -> None:
    axis = torch.arange(64) / 64
    for cycles, is_coarse in ((2, True), (14, False)):
        wave = torch.cos(2 * torch.pi * cycles * axis).expand(1, 1, 64, 64)
        coarse, fine = (float(band.square().mean()) for band in split_bands(wave))
        assert (coarse > 100 * fine) if is_coarse else (fine > 100 * coarse)


def test_the_seed_decides_and_the_batch_does_not() -> None:
    g: Any = Drawing("object")
    first = sticking(g, samples=100, seed=3)
    torch.rand(3)
    again = sticking(g, samples=100, seed=3, batch_size=7)
    assert again.average == pytest.approx(first.average, abs=1e-5)
    assert again.strip == pytest.approx(first.strip, rel=1e-4)
    assert sticking(g, samples=100, seed=4).strip != pytest.approx(first.strip, rel=1e-4)


def test_labels_and_progress() -> None:
    seen: list[tuple[int, int]] = []
    c = torch.eye(3)[torch.arange(80) % 3]
    g: Any = Drawing("object", c_dim=3)
    sticking(g, samples=80, c=c, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] <= 80
    assert sorted(seen) == seen
    seen.clear()
    sticking_pictures(g, 0.4, c=c, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    with pytest.raises(ConfigError, match="sticking: 59 samples are too few; it needs at least 60"):
        sticking(g, samples=59)


def test_pictures_show_streaks_and_blur() -> None:
    def detail(picture: np.ndarray) -> float:
        return float(np.abs(np.diff(picture.astype(float), axis=0)).mean())

    sharpness, streaks = {}, {}
    for texture in ("pixels", "object"):
        average, strip = sticking_pictures(Drawing(texture), 0.4, seed=1)  # type: ignore[arg-type]
        assert average.shape == (SIZE, 2 * SIZE, 1)
        assert strip.shape == (SIZE, 128, 1)
        sharpness[texture] = detail(average[:, SIZE:]) / detail(average[:, :SIZE])
        streaks[texture] = float(np.abs(np.diff(strip.astype(float), axis=1)).mean())
    assert sharpness["pixels"] > 0.6 > 0.4 > sharpness["object"]
    assert streaks["pixels"] < 0.5 * streaks["object"]


def test_networks_without_a_movable_input() -> None:
    torch.manual_seed(0)
    g = StyleGAN2Config(resolution_px=16, z_dim=4, w_dim=4, channel_base=64, channel_max=4).build().eval()
    found = sticking(g, samples=60)
    assert 0 <= found.average <= 1
    assert 0 <= found.strip <= 1
