"""Moving and turning images: the reference vectors, and what must hold for any image."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gantrol.metrics.image_transforms import (
    bandlimit_filter,
    pseudo_rotate,
    rotate,
    rotation_matrix,
    transform_affine,
    translate_fractional,
    translate_integer,
)
from gantrol.ops import upsample2d
from tests.reference import load

INFO, GOLDEN = load("equivariance_ops")
TOLERANCE = INFO["recommended_tolerance"]


def check(got: tuple[Tensor, Tensor], name: str, mismatch: float = 0.0) -> None:
    """Fails unless images and mask are the expected ones; `mismatch` is the share of mask pixels that may differ."""
    y, mask = got
    expected = GOLDEN[f"{name}.out"]
    allowed = TOLERANCE["out_atol"] + TOLERANCE["out_rtol"] * expected.abs()
    assert ((y - expected).abs() <= allowed).all(), name
    assert float((mask != GOLDEN[f"{name}.mask"]).float().mean()) <= mismatch, name


@pytest.mark.parametrize("k", range(4))
def test_reference_vectors(k: int) -> None:
    x = GOLDEN["x"]
    angle = float(GOLDEN["angles"][k])
    t_int, t_frac = GOLDEN["t_int"][k].tolist(), GOLDEN["t_frac"][k].tolist()
    check(translate_integer(x, t_int), f"int_translation.{k}")
    check(translate_fractional(x, t_frac), f"frac_translation.{k}")
    check(rotate(x, angle), f"frac_rotation.{k}", mismatch=0.005)
    check(pseudo_rotate(x, angle), f"pseudo_rotation.{k}")


def test_reference_vectors_of_general_maps() -> None:
    x, matrices = GOLDEN["x"], GOLDEN["mats"]
    for k, matrix in enumerate(matrices):
        check(transform_affine(x, matrix), f"affine.{k}", mismatch=0.005)
    check(transform_affine(x, matrices[0], support_px=6), "affine_amax6.0", mismatch=0.005)


def test_reference_filters() -> None:
    angle = float(GOLDEN["angles"][0])
    matrix = rotation_matrix(angle)
    torch.testing.assert_close(matrix.float(), GOLDEN["rotation_matrix.0"])
    for name, m, up in (("filter_rotation.0", matrix, 4), ("filter_pseudo.0", rotation_matrix(-angle), 1)):
        taps = bandlimit_filter(m, up=up, support_px=6)
        torch.testing.assert_close(taps.float(), GOLDEN[name], rtol=0, atol=TOLERANCE["filter_atol"])
        assert float(taps.sum()) == pytest.approx(1, abs=1e-12)


def test_upsampling_by_phases_is_upsampling() -> None:
    from gantrol.metrics.image_transforms import _upsample

    x = torch.randn(2, 3, 9, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    taps = torch.randn(23, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = upsample2d(x, taps, up=4, padding=11, impl="reference")
    torch.testing.assert_close(_upsample(x, taps, 4), expected[:, :, 2:, 2:])


def smooth_image(size: int, scale: float = 1.0) -> Tensor:
    """A few blobs far from the border, band-limited for all that matters, in float64 [1, 1, size, size]."""
    axis = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    blobs = [(-4.0, -3.0, 3.0), (6.0, 2.0, 2.5), (1.0, -7.0, 4.0)]
    return sum(torch.exp(-((x - bx) ** 2 + (y - by) ** 2) / (2 * (r * scale) ** 2)) for bx, by, r in blobs)[None, None]


def test_translations_of_smooth_images_agree() -> None:
    x = smooth_image(48)
    exact, mask = translate_integer(x, (3 / 48, -5 / 48))
    lanczos, inner = translate_fractional(x, (3 / 48, -5 / 48))
    assert mask.sum() == 45 * 43
    torch.testing.assert_close(lanczos, exact)
    assert ((inner == 1) <= (mask == 1)).all()
    there = translate_fractional(x, (2.3 / 48, 1.6 / 48))[0]
    back = translate_fractional(there, (-2.3 / 48, -1.6 / 48))[0]
    assert float((back - x).abs().max()) < 0.02


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_exact_but_for_the_filter(quarters: int) -> None:
    """At right angles both pixel grids hold the same frequencies: R_α(x) is R*_α of the exactly turned image."""
    x = smooth_image(48)
    turned = torch.rot90(x, quarters, dims=(2, 3))  # counter-clockwise
    got, mask = rotate(x, quarters * math.pi / 2)
    want, other = pseudo_rotate(turned, quarters * math.pi / 2)
    assert float(((got - want) * mask * other).abs().max()) < 2e-3
    assert mask.sum() > 30**2


def test_rotations_compose() -> None:
    x = smooth_image(64, scale=1.5)
    twice = rotate(rotate(x, 0.4)[0], 0.5)[0]
    once, mask = rotate(x, 0.9)
    assert float(((twice - once) * mask).abs().max()) < 0.02


def test_far_translations_leave_nothing() -> None:
    x = torch.ones(1, 1, 8, 8)
    for move in (translate_integer, translate_fractional):
        y, mask = move(x, (1.5, 0.0))
        assert not mask.any()
        assert float(y.abs().max()) < 1e-6
