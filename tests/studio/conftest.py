"""A studio of two small models: the bundled faces, and a conditional one that cannot be moved and has no controls."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest
import torch

import gantrol
from gantrol.model import Model
from gantrol.models import StyleGAN2Config
from gantrol.studio.engine import Engine


@pytest.fixture(scope="session")
def faces() -> Model:
    return gantrol.load("faces", device="cpu")


@pytest.fixture(scope="session")
def plain() -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = StyleGAN2Config(resolution_px=16, z_dim=8, w_dim=8, c_dim=3, channel_base=128, channel_max=16)
        return Model(config.build().eval().requires_grad_(False))


@pytest.fixture(scope="module")
def engine(faces: Model, plain: Model) -> Iterator[Engine]:
    with Engine({"faces": faces, "plain": plain}) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def leftovers() -> Iterator[None]:
    """Event loops that gradio leaves open are collected here, rather than in the middle of somebody else's test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
