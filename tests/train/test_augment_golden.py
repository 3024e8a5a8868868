"""Augmentation against the reference vectors: at given percentiles, with recorded random numbers, one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gantrol.config import from_dict, override
from gantrol.train.augment.ada import TRANSFORMS, AdaConfig, Draws, ada
from gantrol.train.augment.corruption import BANDS, band_filters
from gantrol.train.augment.diffaugment import change_color, cut_box, translate, turn_hue
from gantrol.train.augment.geometry import SYM6
from tests import reference

NAMES = {
    "x_flip": "xflip",
    "int_shift": "xint",
    "stretch": "aniso",
    "shift": "xfrac",
    "luma_flip": "lumaflip",
    "band_filter": "imgfilter",
}
"""The vectors' names of our transforms, where they differ."""

NONE = from_dict(AdaConfig, dict.fromkeys(TRANSFORMS, 0.0))
EVERYTHING = from_dict(AdaConfig, dict.fromkeys(TRANSFORMS, 1.0))


def at_percentile(count: int, q: float, noise: torch.Tensor | None = None) -> Draws:
    """Every transform happens, and every random number has the value below which a share of q lies.

    As in the vectors, normal numbers lack the factor √2, and there is no second rotation.
    """
    names = Draws.sample(torch.zeros(count, 1, 1, 1), with_noise=False)
    normal = float(torch.erfinv(torch.tensor(2 * q - 1)))
    normals = {name: torch.full([count], normal) for name in names.normals}
    normals["noise"] = torch.erfinv(torch.full([count], q))  # its absolute value is what is used
    return Draws(
        gates={name: torch.full([count], float(name == "rotate_after")) for name in names.gates},
        uniforms={name: torch.full([count], q) for name in names.uniforms},
        normals=normals,
        noise=noise,
    )


@pytest.mark.parametrize("q", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_at_percentiles(q: float) -> None:
    about, tensors = reference.load("ada_bgc")
    images = tensors["images"]
    got = ada(images, 1.0, AdaConfig(), at_percentile(len(images), q))[:4]
    tolerance = about["recommended_tolerance"]
    reference.assert_close(got, tensors[f"bgc.p{round(q * 1000)}"], rtol=tolerance["rtol"], atol=tolerance["atol"])


def test_filters() -> None:
    _, tensors = reference.load("ada_bgc")
    reference.assert_close(torch.tensor(SYM6) / sum(SYM6), tensors["Hz_geom"], rtol=1e-6)
    bank = band_filters(torch.device("cpu"))
    reference.assert_close(bank, tensors["Hz_fbank"], rtol=1e-6, atol=1e-9)
    impulse = torch.zeros(43, dtype=torch.float64)
    impulse[21] = 1
    torch.testing.assert_close(bank.sum(0), impulse)  # gains of 1 change nothing


@pytest.mark.parametrize("q", [0.2, 0.8])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_one_transform_at_a_time(name: str, q: float) -> None:
    _, tensors = reference.load("ada_single")
    images = tensors["images"]
    got = ada(images, 1.0, override(NONE, [f"{name}=1"]), at_percentile(1, q, tensors["noise_draw"]))
    expected = tensors[f"{NAMES.get(name, name)}.p{round(q * 1000)}"]
    reference.assert_close(got, expected, rtol=1e-4, atol=3e-5, what=name)
    assert torch.equal(got, images) == torch.equal(expected, images)


def test_two_of_four_bands() -> None:
    _, tensors = reference.load("ada_single")
    config = replace(NONE, band_filter=1.0, band_weights=(1.0, 0.0, 1.0, 0.0))
    draws = at_percentile(1, 0.8)
    reference.assert_close(
        ada(tensors["images"], 1.0, config, draws), tensors["imgfilter_bands_1010.p800"], rtol=1e-4, atol=3e-5
    )


def test_grey_images() -> None:
    """Hue and saturation are left out; the rest makes grey of grey."""
    _, tensors = reference.load("ada_single")
    expected = tensors["grayscale_color.p200"]
    config = replace(NONE, brightness=1, contrast=1, luma_flip=1, hue=1, saturation=1)
    got = ada(tensors["images"][:, :1], 1.0, config, at_percentile(1, 0.2))
    reference.assert_close(got, expected, rtol=1e-4, atol=3e-5)


def recorded_draws(tensors: dict[str, torch.Tensor]) -> Draws:
    """The random numbers of the vector, which come in the order in which the reference uses them."""
    draws = iter(tensors[name] for name in sorted(tensors) if name.startswith("draw."))
    gates: dict[str, torch.Tensor] = {}
    uniforms: dict[str, torch.Tensor] = {}
    normals: dict[str, torch.Tensor] = {}
    order = ["x_flip", "rotate90", "int_shift", "scale", "rotate_before", "stretch", "rotate_after", "shift"]
    order += ["brightness", "contrast", "luma_flip", "hue", "saturation", *(f"band_filter_{i}" for i in range(BANDS))]
    is_normal = {"scale", "stretch", "shift", "brightness", "contrast", "saturation", *order[-BANDS:]}
    for name in order:
        value = next(draws).flatten(1) if name in ("int_shift", "shift") else next(draws).flatten()
        kind = normals if name in is_normal else uniforms
        if value.ndim == 2:
            kind[f"{name}_x"], kind[f"{name}_y"] = value.unbind(1)
        else:
            kind[name] = value
        gates[name] = next(draws).flatten()
    normals["noise"], gates["noise"] = next(draws).flatten(), next(draws).flatten()
    noise = next(draws)
    gates["cutout"] = next(draws).flatten()
    uniforms["cutout_x"], uniforms["cutout_y"] = next(draws).flatten(1).unbind(1)
    assert next(draws, None) is None
    return Draws(gates, uniforms, normals, noise)


@pytest.mark.parametrize("strength", [0.6, torch.tensor(0.6)])
def test_with_recorded_random_numbers(strength: float | torch.Tensor) -> None:
    """All fifteen transforms at p = 0.6: which of them happen to which image, and what they do."""
    about, tensors = reference.load("ada_random_recorded")
    images = tensors["images"]
    draws = recorded_draws(tensors)
    got = ada(images, strength, EVERYTHING, draws)
    tolerance = about["recommended_tolerance"]
    reference.assert_close(got, tensors["output"], rtol=tolerance["rtol"], atol=tolerance["atol"])
    own = Draws.sample(images, with_noise=True)
    for part in ("gates", "uniforms", "normals"):
        assert getattr(draws, part).keys() == getattr(own, part).keys()


@pytest.mark.parametrize("policy", ["translation", "cutout", "color", "hue", "translation,cutout,color"])
def test_diffaugment(policy: str) -> None:
    """The operations and their gradients with recorded random numbers (TransGAN's order of them)."""
    about, tensors = reference.load("transgan_diffaug")
    images = tensors["images"].clone().requires_grad_()
    names = [name for name in about["given_tensors"] if name.startswith(f"{policy}.draw.")]
    draws = iter(tensors[name].flatten() for name in names)
    x: torch.Tensor = images
    for name in policy.split(","):
        if name == "translation":
            x = translate(x, next(draws), next(draws))
        elif name == "cutout":
            x = cut_box(x, next(draws), next(draws), (8, 8))
        elif name == "color":
            x = change_color(x, next(draws), next(draws), next(draws))
        else:
            angle, coin = (next(draws) * 2 - 1) * torch.pi, next(draws)
            x = turn_hue(x, angle * (coin < 0.5))
    assert next(draws, None) is None
    (gradient,) = torch.autograd.grad(x.square().sum(), [images])
    reference.assert_close(x, tensors[f"{policy}.out"], rtol=1e-5, atol=1e-6, what=policy)
    reference.assert_close(gradient, tensors[f"{policy}.grad"], rtol=1e-5, atol=5e-6, what=f"{policy} gradient")
