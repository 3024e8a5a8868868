"""A quick stand-in for a feature network, a tiny model and a tiny dataset, where their values do not matter."""

from __future__ import annotations

import sys
import zipfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gantrol.metrics import features
from gantrol.metrics.features import Observation
from gantrol.model import Model
from gantrol.models import StyleGAN2Config, StyleGAN3Config


class Averages(nn.Module):
    """Features: the mean colour of each quarter of the image; classes: which quarter is the brightest."""

    title: ClassVar[str] = "Averages"
    version: ClassVar[str] = "averages 1"
    resampling: ClassVar[str] = "none"
    num_features: ClassVar[int] = 12
    num_classes: ClassVar[int] = 4
    is_official: ClassVar[bool] = False
    calls = 0
    """Images that any of these has seen."""

    def forward(self, images: Tensor) -> Tensor:
        return self.observe(images).features

    def observe(self, images: Tensor) -> Observation:
        Averages.calls += len(images)
        means = nn.functional.adaptive_avg_pool2d(images.float(), 2)  # [N, 3, 2, 2]
        return Observation(means.flatten(1), means.sum(dim=1).flatten(1).div(4).softmax(dim=1))


class Blind(Averages):
    """The same without classes."""

    title = "Blind"
    version = "blind 1"
    num_classes = 0

    def observe(self, images: Tensor) -> Observation:
        return Observation(super().observe(images).features, None)


class Official(Averages):
    """The same, as if it were what the published numbers are made with."""

    title = "Official"
    version = "official 1"
    is_official = True


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the networks above known as "averages", "blind" and "official"."""
    for cls in (Averages, Blind, Official):
        name = cls.title.lower()
        monkeypatch.setitem(features.NETWORKS, name, name)
        module = SimpleNamespace(load=lambda _progress, cls=cls: cls(), check=lambda: None)
        monkeypatch.setitem(sys.modules, f"gantrol.metrics.networks.{name}", module)


@pytest.fixture
def quick_features(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The networks above can be asked for, and statistics are kept in a folder of the test."""
    register(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Averages.calls = 0


def tiny_model(c_dim: int = 0, seed: int = 0) -> Model:
    """An alias-free model of 16 px."""
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"num_layers": 3, "channel_base": 64, "channel_max": 4, "z_dim": 4, "w_dim": 4}
    return Model(StyleGAN3Config(resolution_px=16, c_dim=c_dim, **sizes).build().eval())


def noisy_model() -> Model:
    """A StyleGAN2 of 16 px, whose layers add noise."""
    torch.manual_seed(0)
    config = StyleGAN2Config(resolution_px=16, z_dim=4, w_dim=4, channel_base=64, channel_max=4)
    generator = config.build().eval()
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.3)
    return Model(generator)


def write_dataset(path: Path, count: int = 24, labels: int = 0, seed: int = 0) -> Path:
    """Random images of 16 px in a zip, with classes if asked for."""
    rng = np.random.default_rng(seed)
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(count):
            data = BytesIO()
            corners = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
            grain = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray((corners // 2 + grain // 2).astype(np.uint8)).save(data, "PNG")
            archive.writestr(f"{index:05d}.png", data.getvalue())
        if labels:
            rows = ", ".join(f'["{index:05d}.png", {index % labels}]' for index in range(count))
            archive.writestr("dataset.json", f'{{"labels": [{rows}]}}')
    return path
