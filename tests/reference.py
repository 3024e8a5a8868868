"""Reading the reference vectors under tests/golden and comparing with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

GOLDEN = Path(__file__).parent / "golden"


def load(name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """(description, tensors) of one fixture."""
    return json.loads((GOLDEN / f"{name}.json").read_text()), load_file(GOLDEN / f"{name}.safetensors")


def assert_close(
    got: torch.Tensor,
    expected: torch.Tensor,
    *,
    rtol: float,
    atol: float = 0.0,
    atol_of_max: float = 0.0,
    what: str = "",
) -> None:
    """|got − expected| ≤ atol + atol_of_max·max|expected| + rtol·|expected|, everywhere."""
    assert got.shape == expected.shape, f"{what}: shape {tuple(got.shape)}, expected {tuple(expected.shape)}"
    if expected.numel() == 0:
        return
    got, expected = got.detach().double(), expected.double()
    bound = atol + atol_of_max * expected.abs().max() + rtol * expected.abs()
    excess = ((got - expected).abs() - bound).max().item()
    worst = ((got - expected).abs().max() / expected.abs().max().clamp(min=1e-30)).item()
    assert excess <= 0, f"{what}: off by {worst:.2e} of the largest value"
