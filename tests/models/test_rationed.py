"""A network is built only as large as its weights: a config from a stranger takes no memory."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import gantrol
from gantrol.errors import CheckpointError
from gantrol.model import Model
from gantrol.models.rationed import TooLarge, rationed
from tests.convert.official_pickles import TINY_T, shaken


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"z_dim": 1 << 40}, "far larger than its weights"),
        ({"channel_base": 1 << 30, "channel_max": 1 << 15}, "far larger than its weights"),
        ({"mapping_layers": 10**9}, "mapping_layers=1000000000: expected at most 1000"),
        ({"filter_size": 10**9}, "filter_size=1000000000: expected at most 64"),
        ({"w_dim": 10**30}, "at most 63 bits"),
        ({"kind": ["stylegan3"]}, r"unknown generator ..'stylegan3'"),
        ({"x" * 5000: 1}, "there is no field 'x{90,}…"),
    ],
)
def test_a_config_that_lies(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    Model(shaken(TINY_T)).save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    description = json.loads(path.read_text())
    description["generator"] |= changes
    path.write_text(json.dumps(description))
    start = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        gantrol.load(tmp_path / "model", device="cpu")
    assert re.search(message, str(caught.value)) or message in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert time.process_time() - start < 20


def test_training_facts_that_are_none(tmp_path: Path) -> None:
    Model(shaken(TINY_T)).save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"training": 3.5}))
    with pytest.raises(CheckpointError, match="training: expected an object"):
        gantrol.load(tmp_path / "model", device="cpu")


def test_what_the_weights_need_is_granted() -> None:
    with rationed({"w": torch.zeros(10)}):
        assert torch.randn(3, 4).shape == (3, 4)
        assert torch.zeros((2, 2)).numel() == 4
        with pytest.raises(TooLarge):
            torch.empty(1 << 20, 1 << 20)
    torch.empty(1 << 20)
