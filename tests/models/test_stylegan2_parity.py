"""StyleGAN2 generator and discriminator against the reference vectors, with path length and R1 (second order)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gantrol.convert.nvidia_names import load_official, official_prefixes, official_state
from gantrol.models import StyleGAN2Config, StyleGAN2DiscriminatorConfig
from tests.models.golden_models import (
    Golden,
    fill_by_formula,
    formula,
    golden_discriminator,
    golden_stylegan2,
)

GENERATORS = ["sg2_g_skip", "sg2_g_resnet", "sg2_g_orig"]
DISCRIMINATORS = ["sg2_d_orig", "sg2_d_resnet", "sg2_d_resnet_c3", "sg2_d_skip_c3"]


def _parameter(model: torch.nn.Module, official_name: str) -> Tensor:
    path, _, leaf = official_name.rpartition(".")
    ours = {official: ours for ours, official in official_prefixes(model.config).items()}
    return model.get_parameter(f"{ours[path]}.{leaf}")


def _check_gradients(golden: Golden, model: torch.nn.Module, loss: Tensor, prefix: str) -> None:
    """Compares the gradients of `loss` with all expected tensors of the given prefix."""
    names = [name for name in golden.tensors if name.startswith(prefix) and name.endswith(".weight")]
    assert names
    parameters = [_parameter(model, name.removeprefix(prefix)) for name in names]
    for name, gradient in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        golden.check_gradient(gradient, name)


@pytest.mark.parametrize("name", GENERATORS)
def test_generator_outputs(name: str) -> None:
    golden, g = golden_stylegan2(name)
    truncation = golden.info["truncation"]
    with torch.no_grad():
        ws = g.mapping(golden["z"], golden.get("c"))
        golden.check(ws, "ws")
        golden.check(g.synthesis(ws, noise_mode="const"), "image_noise_const")
        golden.check(g.synthesis(ws, noise_mode="const"), "image_not_fused")
        golden.check(g.synthesis(ws, noise_mode="none"), "image_noise_none")
        truncated = g.mapping(golden["z"], golden.get("c"), truncation["psi"], truncation["cutoff"])
        golden.check(truncated, "ws_truncated")
        golden.check(g.synthesis(truncated, noise_mode="const"), "image_truncated")
        g.mapping(golden["z"], golden.get("c"), update_emas=True)
        golden.check(g.mapping.w_avg, "w_avg_after_update")


@pytest.mark.parametrize("name", GENERATORS)
def test_generator_gradients(name: str) -> None:
    golden, g = golden_stylegan2(name)
    ws = golden["ws"].clone().requires_grad_()
    img = g.synthesis(ws, noise_mode="const")
    loss = img.square().mean()
    golden.check_gradient(torch.autograd.grad(loss, ws, retain_graph=True)[0], "grad.ws")
    _check_gradients(golden, g, loss, "grad.")


@pytest.mark.parametrize("name", GENERATORS)
def test_path_length(name: str) -> None:
    golden, g = golden_stylegan2(name)
    ws = g.mapping(golden["z"], golden.get("c"))
    img = g.synthesis(ws, noise_mode="const")
    noise = golden["pl_noise"] / (img.shape[2] * img.shape[3]) ** 0.5
    (gradient,) = torch.autograd.grad((img * noise).sum(), ws, create_graph=True)
    lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
    golden.check_gradient(lengths, "pl_lengths")
    mean = golden["pl_mean_before"].lerp(lengths.mean(), 0.01)
    golden.check_gradient(mean, "pl_mean_after")
    penalty = (lengths - mean).square()
    golden.check_gradient(penalty, "pl_penalty")
    _check_gradients(golden, g, penalty.mean(), "pl_grad.")


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminator_outputs_and_gradients(name: str) -> None:
    golden, d = golden_discriminator(name)
    img = golden["img"].clone().requires_grad_()
    logits = d(img, golden.get("c"))
    golden.check(logits, "logits")
    _check_gradients(golden, d, F.softplus(-logits).mean(), "loss_grad.")


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_r1(name: str) -> None:
    golden, d = golden_discriminator(name)
    img = golden["img"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(d(img, golden.get("c")).sum(), img, create_graph=True)
    golden.check_gradient(gradient, "grad.img")
    penalty = gradient.square().sum(dim=(1, 2, 3))
    golden.check_gradient(penalty, "r1_penalty")
    _check_gradients(golden, d, penalty.mean(), "r1_grad.")


def test_formula_filled_generator() -> None:
    """Section 10 of the specification: numbers that need no file."""
    config = StyleGAN2Config(resolution_px=16, z_dim=8, w_dim=8, channel_base=128, channel_max=16, mapping_layers=2)
    g = config.build()
    load_official(g, fill_by_formula(g, official_state(g)))
    ws = g.mapping(formula("z", [2, 8]))
    img = g.synthesis(ws, noise_mode="const")
    (gradient,) = torch.autograd.grad((img * formula("pl", [2, 3, 16, 16]) / 16).sum(), ws)
    expected = [
        (img.mean(), 0.109771),
        (img.std(correction=0), 0.299936),
        (img.abs().max(), 1.217303),
        (img[0, 0, 0, :3], [0.259487, 0.463522, 0.430009]),
        (img[1, 2, 15, 15], -0.0237555),
        (gradient.square().sum(dim=2).mean(dim=1).sqrt(), [0.459766, 0.316971]),
    ]
    for got, value in expected:
        torch.testing.assert_close(got.detach(), torch.tensor(value), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("c_dim", [0, 3])
def test_formula_filled_discriminator(c_dim: int) -> None:
    config = StyleGAN2DiscriminatorConfig(
        resolution_px=16, channel_base=128, channel_max=16, c_dim=c_dim, mapping_layers=2
    )
    d = config.build()
    load_official(d, fill_by_formula(d, official_state(d)))
    img = formula("img", [4, 3, 16, 16], 0.5).requires_grad_()
    c = torch.eye(3)[[0, 1, 2, 0]] if c_dim else None
    logits = d(img, c)
    if c_dim:
        expected = torch.tensor([-0.117448, 0.052301, -0.483761, -0.120362])
    else:
        expected = torch.tensor([0.0706331, 0.0783428, 0.0711981, 0.0725856])
        (gradient,) = torch.autograd.grad(logits.sum(), img, retain_graph=True)
        r1 = torch.tensor([0.00051018, 0.00017029, 0.00055602, 0.00063921])
        torch.testing.assert_close(gradient.square().sum(dim=(1, 2, 3)), r1, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(logits.detach().squeeze(1), expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (StyleGAN2Config(resolution_px=256, channel_base=2**14), 24_767_458),
        (StyleGAN2Config(resolution_px=256), 30_034_338),
        (StyleGAN2Config(resolution_px=1024), 30_370_060),
        (StyleGAN2DiscriminatorConfig(resolution_px=256, channel_base=2**14), 24_001_089),
        (StyleGAN2DiscriminatorConfig(resolution_px=256), 28_864_129),
        (StyleGAN2DiscriminatorConfig(resolution_px=512), 28_982_849),
        (StyleGAN2DiscriminatorConfig(resolution_px=1024), 29_012_513),
    ],
    ids=lambda value: "" if isinstance(value, int) else f"{type(value).__name__}-{value.resolution_px}",
)
def test_parameter_counts(config: StyleGAN2Config | StyleGAN2DiscriminatorConfig, count: int) -> None:
    with torch.device("meta"):
        model = config.build()
    assert sum(p.numel() for p in model.parameters()) == count
