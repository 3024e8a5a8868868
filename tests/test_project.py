"""Projection: a model finds its own images again, whatever its kind, and what is found can be kept and tuned."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gantrol import checkpoint, sample
from gantrol.errors import CheckpointError, ConfigError, DataError
from gantrol.metrics import perceptual
from gantrol.model import Model
from gantrol.models import StyleGAN2Config, StyleGAN3Config, make_transform
from gantrol.pictures import to_arrays
from gantrol.project import Projection, Projector, Step, project, psnr, read_target, tune
from gantrol.project.search import learning_rate_ramp, noise_autocorrelation
from gantrol.project.synthesis import inverse_transform

SIZES: dict[str, Any] = {"z_dim": 8, "w_dim": 8, "mapping_layers": 2}


def lively(generator: Any) -> Model:
    """A model with random weights whose images differ: contrast of about one, and noise where there is any."""
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.05)
            elif name.endswith("affine.weight") and "input" not in name:
                parameter.mul_(3)
        images = generator(torch.randn(16, 8, generator=torch.Generator().manual_seed(0)), *labels(generator))
        colours = generator.synthesis
        if hasattr(colours, "output_scale"):
            colours.output_scale *= float(0.5 / images.std())
        else:
            for block in colours.blocks:
                block.torgb.weight.mul_(0.5 / images.std())
    return Model(generator.eval().requires_grad_(False))


def labels(generator: Any) -> list[torch.Tensor]:
    return [torch.eye(generator.c_dim)[torch.arange(16) % generator.c_dim]] if generator.c_dim else []


def stylegan3(**fields: Any) -> Model:
    torch.manual_seed(0)
    sizes = {"num_layers": 4, "margin_px": 4, "channel_base": 128, "channel_max": 16, **SIZES, **fields}
    return lively(StyleGAN3Config(resolution_px=16, **sizes).build())


def stylegan2(**fields: Any) -> Model:
    torch.manual_seed(0)
    return lively(StyleGAN2Config(resolution_px=16, channel_base=128, channel_max=16, **SIZES, **fields).build())


@pytest.fixture(scope="module")
def model() -> Model:
    return stylegan3()


def own_image(model: Model, seed: int = 5, **options: Any) -> np.ndarray:
    image: np.ndarray = model.generate([seed], output="np", **options)[0]
    return image


def candidate(model: Model, *, seed: int, index: int) -> torch.Tensor:
    """The latent [1, 8] that the search with this seed has at this place among its starts."""
    rows = np.random.RandomState(seed).randn(10_000, model.generator.z_dim)
    return torch.from_numpy(rows[index : index + 1].astype(np.float32))


def quick(model: Model, image: np.ndarray, **options: Any) -> Projection:
    return project(model, image, **{"steps": 80, "features": "pyramid", "starts": 8, **options})


# ----------------------------------------------------------------------------------------------------------------------
# The search


@pytest.mark.parametrize("space", ["w", "w+"])
@pytest.mark.parametrize("kind", [stylegan3, stylegan2])
def test_a_model_finds_its_own_image(kind: Any, space: Any) -> None:
    model = kind()
    target = own_image(model)
    found = quick(model, target, space=space)
    assert found.psnr >= found.psnr_start + 8
    assert found.ws.shape == (1, model.generator.num_ws, 8)
    is_shared = bool((found.ws == found.ws[:, :1]).all())
    assert is_shared == (space == "w")
    image = found.render(model)
    assert found.psnr == psnr(image, torch.from_numpy(target.copy()).permute(2, 0, 1)[None] / 127.5 - 1)
    assert set(found.noise) == {name for name, _ in model.generator.synthesis.named_buffers() if "noise_const" in name}
    assert found.losses.shape == (80, 3)


def test_pose_is_found(model: Model) -> None:
    """A picture that lies elsewhere than the model's own is found where it may be moved, and there only."""
    z = candidate(model, seed=4, index=3)
    with torch.no_grad(), sample.transformed(model.generator, (0.06, -0.04), 8.0):
        target = to_arrays(model.generator(z))[0]
    free = quick(model, target, space="w", seed=4)
    fixed = quick(model, target, space="w", seed=4, pose=False)
    assert fixed.translate == (0.0, 0.0)
    assert fixed.rotate_deg == 0
    assert free.rotate_deg != 0
    assert free.psnr > fixed.psnr + 3


def test_the_pose_is_that_of_generate(model: Model) -> None:
    ws = model.map([3])
    found = dataclasses.replace(quick(model, own_image(model), steps=1), ws=ws, translate=(0.2, -0.1), rotate_deg=25.0)
    expected = model.generate([3], translate=(0.2, -0.1), rotate=25.0, output="pt")
    torch.testing.assert_close(found.render(model), expected, atol=1e-4, rtol=0)
    pose = torch.tensor([0.2, -0.1, np.radians(25.0)], dtype=torch.float64, requires_grad=True)
    wanted = torch.linalg.inv(make_transform((0.2, -0.1), 25.0).double())
    torch.testing.assert_close(inverse_transform(pose), wanted, atol=1e-6, rtol=0)
    assert torch.autograd.gradcheck(inverse_transform, [pose])


def test_conditional_models_take_the_class_and_grey_ones_grey() -> None:
    model = stylegan2(c_dim=3, channels=1)
    target = own_image(model, class_index=2)
    assert target.shape == (16, 16, 1)
    found = quick(model, target, class_index=2)
    assert found.psnr >= found.psnr_start + 8
    assert found.class_index == 2
    with pytest.raises(ConfigError, match="conditional"):
        quick(model, target)


def test_the_seed_decides_and_the_model_stays(model: Model) -> None:
    target = own_image(model)
    before = {name: value.clone() for name, value in model.generator.state_dict().items()}
    random_state = torch.get_rng_state()
    one, same, other = (quick(model, target, steps=5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.ws, same.ws)
    assert one.translate == same.translate
    np.testing.assert_array_equal(one.losses, same.losses)
    assert not torch.equal(one.ws, other.ws)
    assert all(torch.equal(value, before[name]) for name, value in model.generator.state_dict().items())
    assert torch.equal(model.generator.synthesis.input.transform, torch.eye(3))
    assert torch.equal(random_state, torch.get_rng_state())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.generator.parameters())


def test_the_start_is_the_nearest_of_several(model: Model) -> None:
    """The image of a latent that is among the candidates is where the search starts."""
    z = candidate(model, seed=4, index=3)
    with torch.no_grad():
        image = model.generator(z)
    projector = Projector(model, to_arrays(image)[0], seed=4, starts=8, features="pyramid", steps=3)
    assert projector.result().psnr > 40  # before any step
    steps: list[Step] = []
    done: list[tuple[int, int]] = []
    project(
        model,
        to_arrays(image)[0],
        steps=3,
        starts=0,
        features="pyramid",
        observe=steps.append,
        progress=lambda *at: done.append(at),
    )
    assert done == [(1, 3), (2, 3), (3, 3)] == [(step.done, step.total) for step in steps]
    assert steps[0].image.shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "z"}, "space 'z'"),
        ({"steps": 0}, "steps=0"),
        ({"starts": -1}, "starts=-1"),
        ({"seed": -1}, "seed -1"),
        ({"features": "vgg"}, "unknown features 'vgg'"),
        ({"class_index": 1}, "no classes"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(model: Model, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        quick(model, own_image(model), **options)
    assert "\n" not in str(caught.value)


def test_pictures_that_do_not_fit_are_refused(model: Model) -> None:
    with pytest.raises(ConfigError, match=r"\[8, 8, 3\].*\[16, 16, 3\]"):
        quick(model, np.zeros((8, 8, 3), np.uint8))


def test_learning_rate_ramps_as_in_the_paper() -> None:
    rates = [learning_rate_ramp(index / 1000, 1 / 1000) for index in range(1000)]
    assert rates[24] == pytest.approx(25 / 50)  # of 1000 steps, 50 up and 250 down
    assert rates[49] == rates[749] == pytest.approx(1)
    assert rates[875] == pytest.approx(0.5)
    assert 0 < rates[999] < 1e-4


def test_noise_autocorrelation_by_hand() -> None:
    n = torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    small = sum(float((n * n.roll(1, dims=axis)).mean()) ** 2 for axis in (0, 1))
    assert float(noise_autocorrelation([n])) == pytest.approx(small)
    doubled = n.repeat_interleave(2, 0).repeat_interleave(2, 1)  # halves to 2n
    large = sum(float((doubled * doubled.roll(1, dims=axis)).mean()) ** 2 for axis in (0, 1))
    assert float(noise_autocorrelation([doubled, n])) == pytest.approx(large + 16 * small + small)
    assert noise_autocorrelation([]) == 0
    smooth = torch.ones(16, 16)
    assert float(noise_autocorrelation([smooth])) > 100 * float(noise_autocorrelation([torch.randn(64, 64)]))


# ----------------------------------------------------------------------------------------------------------------------
# Keeping it


def test_a_projection_comes_back_from_its_file(tmp_path: Path) -> None:
    model = stylegan2()
    found = quick(model, own_image(model), steps=5)
    found.save(tmp_path / "p.safetensors")
    again = Projection.load(tmp_path / "p.safetensors")
    assert torch.equal(found.render(model), again.render(model))
    assert again.facts() == found.facts()
    assert (again.translate, again.rotate_deg) == (found.translate, found.rotate_deg)
    assert len(again.losses) == 0
    edited = again.render(model, torch.cat([again.ws, model.map([1])]))  # other latents, the same noise
    assert torch.allclose(edited[:1], found.render(model), atol=1e-5)
    with pytest.raises(ConfigError, match="of another generator"):
        again.render(stylegan3())
    checkpoint.save(tmp_path / "other.safetensors", {"ws": again.ws}, {})
    with pytest.raises(CheckpointError, match="is no projection"):
        Projection.load(tmp_path / "other.safetensors")


def test_targets_are_read_as_an_import_reads_them(model: Model, tmp_path: Path) -> None:
    wide = np.zeros((16, 40, 4), np.uint8)
    wide[:, 12:28] = (255, 0, 0, 255)  # the central square is red, the rest transparent
    Image.fromarray(wide).save(tmp_path / "wide.png")
    target = read_target(tmp_path / "wide.png", model)
    assert target.shape == (16, 16, 3)
    assert (target == (255, 0, 0)).all()
    assert read_target(tmp_path / "wide.png", stylegan2(channels=1)).shape == (16, 16, 1)
    with pytest.raises(DataError, match="is not square"):
        read_target(tmp_path / "wide.png", model, crop="none")
    Image.new("RGBA", (30, 30)).save(tmp_path / "empty.png")
    assert (read_target(tmp_path / "empty.png", model) == 255).all()  # over white
    with pytest.raises(DataError, match=r"absent\.png: cannot be read"):
        read_target(tmp_path / "absent.png", model)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match="not a readable image"):
        read_target(tmp_path / "text.png", model)


def test_psnr_of_bytes() -> None:
    black, grey = torch.full((1, 3, 4, 4), -1.0), torch.full((1, 3, 4, 4), 50 / 127.5 - 1)
    assert psnr(black, grey) == pytest.approx(20 * np.log10(255 / 50))
    assert psnr(grey, grey + 1e-4) == 100


# ----------------------------------------------------------------------------------------------------------------------
# Tuning


def test_tuning_draws_the_picture_and_keeps_the_rest(tmp_path: Path) -> None:
    model = stylegan3()
    rng = np.random.default_rng(0)
    target = np.asarray(Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((16, 16)))
    found = quick(model, target, steps=30)
    before = model.generate([1], output="pt")
    tuned = tune(model, found, target, steps=80)
    image = torch.from_numpy(target.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    assert psnr(found.render(tuned), image) > found.psnr + 0.5
    assert torch.equal(before, model.generate([1], output="pt"))  # the model is as it was
    moved = float((tuned.generate([1], output="pt") - before).square().mean())
    assert moved < float((image - before).square().mean()) / 5
    assert all(
        torch.equal(value, model.generator.mapping.state_dict()[name])
        for name, value in tuned.generator.mapping.state_dict().items()
    )
    assert not any(parameter.requires_grad for parameter in tuned.generator.parameters())
    again = Model.from_pretrained(tuned.save_pretrained(tmp_path / "tuned"), device="cpu")
    assert again.training["tuned_steps"] == 80
    assert torch.equal(tune(model, found, target, steps=3).map([0]), model.map([0]))
    with pytest.raises(ConfigError, match="steps=0"):
        tune(model, found, target, steps=0)


# ----------------------------------------------------------------------------------------------------------------------
# The distances


@pytest.mark.parametrize("name", ["pyramid", "efficientnet-lite0"])
@pytest.mark.parametrize("size_px", [16, 40])
def test_distances_are_distances(name: str, size_px: int) -> None:
    if name != "pyramid":
        pytest.importorskip("efficientnet_lite_pytorch")
    embed = perceptual.load_embedding(name)
    noise = torch.Generator().manual_seed(0)
    x = torch.nn.functional.interpolate(torch.randn(2, 3, 4, 4, generator=noise), size=size_px, mode="bilinear") / 2
    near = (x + 0.05 * torch.randn(x.shape, generator=noise)).requires_grad_()
    far = (x + 0.5 * torch.randn(x.shape, generator=noise)).requires_grad_()
    zero, little, much = ((embed(y) - embed(x)).square().sum(dim=1) for y in (x, near, far))
    assert float(zero.max()) == 0
    assert bool((little < much).all())
    assert bool((little > 0).all())
    (gradient,) = torch.autograd.grad(much.sum(), far)
    assert float(gradient.abs().mean()) > 0
    torch.testing.assert_close(embed(x)[:1], embed(x[:1]), atol=1e-5, rtol=1e-3)  # alone as in a batch
    assert embed(x[:, :1]).shape[0] == 2  # grey


def test_the_pyramid_by_hand() -> None:
    """At 4 px there is one scale: pixels, and differences to the right and below, each with its mean square."""
    x = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    distance = float(perceptual.PyramidEmbedding()(x).square().sum())
    by_hand = x.square().mean() + x.diff(dim=3).square().mean() + x.diff(dim=2).square().mean()
    assert distance == pytest.approx(float(by_hand))


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Any:
        from gantrol.errors import MissingExtraError

        raise MissingExtraError("not here")

    monkeypatch.setitem(perceptual._EMBEDDINGS, "efficientnet-lite0", absent)
    assert perceptual.load_embedding("auto").name == "pyramid"
