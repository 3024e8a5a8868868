"""TransGAN against the reference vectors: images, logits, gradients, masks, and the gradient penalty."""

from __future__ import annotations

import pytest
import torch

from gantrol.models.transformer import LocalityWindow, locality_mask, relative_position_index
from tests.models.golden_models import Golden
from tests.models.golden_transgan import golden_discriminator, golden_generator
from tests.reference import assert_close

EPOCHS = {0: 4, 25: 6, 35: 8, 50: 10, 70: None, 100: None}
"""Half-width of the raster band in the published schedule, by epoch."""


@pytest.mark.parametrize("name", ["transgan_v1_gen_vit", "transgan_v1_gen_masked"])
def test_version_1_generator_at_every_stage_of_the_schedule(name: str) -> None:
    golden, g = golden_generator(name)
    weight = g.get_parameter("synthesis.stages.2.blocks.1.attn.qkv.weight")
    for epoch in golden.info["epochs"]:
        width = EPOCHS[epoch]
        g.synthesis.set_locality(None if width is None else LocalityWindow(half_width=width))
        z = golden["z"].clone().requires_grad_()
        img = g(z)
        golden.check(img, f"image.epoch{epoch}")
        grad_z, grad_weight = torch.autograd.grad((img * golden["dy"]).sum(), [z, weight])
        golden.check_gradient(grad_z, f"grad_z.epoch{epoch}")
        golden.check_gradient(grad_weight, f"grad.upsample_blocks.1.1.attn.qkv.weight.epoch{epoch}")


@pytest.mark.parametrize("name", ["transgan_v2_gen_ln", "transgan_v2_gen_pn"])
def test_version_2_generator(name: str) -> None:
    golden, g = golden_generator(name)
    z = golden["z"].clone().requires_grad_()
    table = g.get_parameter("synthesis.stages.0.blocks.0.attn.relative_position")
    fc1 = g.get_parameter("synthesis.stages.2.blocks.0.mlp.fc1.weight")
    img = g(z)
    golden.check(img, "image")
    grad_z, grad_table, grad_fc1 = torch.autograd.grad((img * golden["dy"]).sum(), [z, table, fc1])
    golden.check_gradient(grad_z, "grad_z")
    golden.check_gradient(grad_table.T, "grad.blocks.block.0.attn.relative_position_bias_table")
    golden.check_gradient(grad_fc1, "grad.upsample_blocks.1.block.0.mlp.fc1.weight")
    index = golden["relative_position_index.first_stage"]
    assert torch.equal(relative_position_index(g.synthesis.stage_shapes[0][1]), index)


def test_generator_of_256_pixels() -> None:
    """Pixel norm over the one feature of the last stage is the sign of it: where it nears 0, rounding errors of the
    reference itself grow a thousandfold. Hence float64 here, and a gradient that agrees to a few percent only."""
    golden, g = golden_generator("transgan_256_gen")
    z = golden["z"].double().requires_grad_()
    img = g.double()(z, noise_mode="none")
    error = (img[:, :, ::2, ::2] - golden["image"]).abs() - 2e-4 * golden["image"].abs()
    assert (error > 5e-5).double().mean() < 1e-3
    assert_close(img[:, :, 100:132, 60:92], golden["image_patch"], rtol=2e-4, atol=5e-5)
    assert_close(img.mean(dim=(2, 3)), golden["image_mean"], rtol=1e-6, atol=1e-6)
    assert_close(img.square().mean(dim=(2, 3)), golden["image_mean_square"], rtol=1e-6, atol=1e-5)
    (grad_z,) = torch.autograd.grad(img.square().mean(), z)
    assert_close(grad_z, golden["grad_z"], rtol=0, atol_of_max=0.03)


def test_version_1_discriminator_and_gradient_penalty() -> None:
    golden, d = golden_discriminator("transgan_v1_dis")
    weight = d.get_parameter("last.0.attn.qkv.weight")
    img = golden["img"].clone().requires_grad_()
    logits = d(img)
    golden.check(logits, "logits")
    grad_img, grad_weight = torch.autograd.grad(logits.sum(), [img, weight], create_graph=True)
    golden.check_gradient(grad_img, "grad.img")
    golden.check_gradient(grad_weight, "grad.blocks.0.attn.qkv.weight")
    norm = grad_img.flatten(1).norm(dim=1)
    golden.check_gradient(norm, "grad_norm")
    (penalty_grad,) = torch.autograd.grad((norm - 1).square().mean(), weight)
    golden.check_gradient(penalty_grad, "penalty_grad.blocks.0.attn.qkv.weight")


def test_version_2_discriminator_and_its_loss() -> None:
    golden, d = golden_discriminator("transgan_v2_dis")
    real, fake, alpha = golden["real"], golden["fake"], golden["alpha"]
    assert_close(d(real), golden["logits_real"], rtol=1e-4, atol=2e-5)
    assert_close(d(fake), golden["logits_fake"], rtol=1e-4, atol=2e-5)
    x = real.clone().requires_grad_()
    (grad_real,) = torch.autograd.grad(d(x).sum(), x)
    golden.check_gradient(grad_real, "grad.real")

    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(d(mixed).sum(), mixed, create_graph=True)
    penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    assert_close(penalty, golden["gradient_penalty"], rtol=1e-4)
    logits = d(real)
    loss = -logits.mean() + d(fake).mean() + 10 * penalty + 1e-3 * logits.mean().square()
    assert_close(loss, golden["d_loss_wgangp_eps"], rtol=1e-4)
    assert_close(-d(fake).mean(), golden["g_loss"], rtol=1e-4)
    qkv, table = (d.get_parameter(f"scales.0.blocks.0.attn.{n}") for n in ("qkv.weight", "relative_position"))
    grad_qkv, grad_table = torch.autograd.grad(loss, [qkv, table])
    golden.check_gradient(grad_qkv, "grad.blocks_1.0.attn.qkv.weight")
    golden.check_gradient(grad_table.T, "grad.blocks_1.0.attn.relative_position_bias_table")


def test_discriminator_of_256_pixels() -> None:
    golden, d = golden_discriminator("transgan_256_dis")
    img = golden["img"].clone().requires_grad_()
    logits = d(img)
    golden.check(logits, "logits")
    (grad,) = torch.autograd.grad(logits.sum(), img)
    assert_close(grad[:, :, ::4, ::4], golden["grad_img_subsampled"], rtol=2e-3, atol_of_max=4.9e-6)
    assert_close(grad.flatten(1).norm(dim=1), golden["grad_norm"], rtol=2e-3)


def test_raster_bands() -> None:
    golden = Golden("transgan_v1_masks")
    for tokens in golden.info["N"]:
        for width in golden.info["widths"]:
            mask = locality_mask(LocalityWindow(half_width=width), round(tokens**0.5))
            assert torch.equal(mask, golden[f"mask.N{tokens}.w{width}"].bool())
