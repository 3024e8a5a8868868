"""A dataset and a config small enough to train in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gantrol.data.dataset import DatasetWriter
from gantrol.models import StyleGAN2DiscriminatorConfig, StyleGAN3Config
from gantrol.train.config import AdamConfig, LossConfig, TrainConfig

RESOLUTION_PX = 16


@pytest.fixture(scope="session")
def dataset_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 images of 16 px: a bright disc somewhere on a coloured ground, in two classes."""
    path = tmp_path_factory.mktemp("data") / "discs.zip"
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:RESOLUTION_PX, :RESOLUTION_PX]
    with DatasetWriter(path) as writer:
        for index in range(48):
            image = np.full((RESOLUTION_PX, RESOLUTION_PX, 3), rng.integers(0, 120, 3), dtype=np.uint8)
            cy, cx, radius = (*rng.uniform(4, 12, 2).tolist(), 3 + 2 * (index % 2))
            image[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = rng.integers(160, 255, 3)
            writer.add(image, label=index % 2)
    return path


@pytest.fixture
def config(dataset_path: Path) -> TrainConfig:
    """A StyleGAN3 training whose step takes a few hundredths of a second."""
    return TrainConfig(
        preset="test",
        scale="test",
        generator=StyleGAN3Config(
            resolution_px=RESOLUTION_PX,
            z_dim=8,
            w_dim=8,
            num_layers=4,
            margin_px=4,
            channel_base=128,
            channel_max=8,
            conv_clamp=None,
        ),
        discriminator=StyleGAN2DiscriminatorConfig(resolution_px=RESOLUTION_PX, channel_base=128, channel_max=8),
        loss=LossConfig(r1_gamma=0.1, r_interval=4),
        g_adam=AdamConfig(lr=0.0025),
        d_adam=AdamConfig(lr=0.002),
        data=str(dataset_path),
        batch=8,
        kimg=0.16,
        tick_kimg=0.04,
        ema_half_life_kimg=0.5,
        sample_ticks=2,
        workers=1,
    )


@pytest.fixture(autouse=True)
def _restore_random_state():
    """Training seeds torch's global stream; other tests should not notice."""
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)
