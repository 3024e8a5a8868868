"""Directions: a toy generator whose readings are linear in w, decompositions by hand, and every family untrained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gantrol import checkpoint
from gantrol.config import from_dict, to_dict
from gantrol.control.direction_fit import DirectionFit, fit_directions
from gantrol.control.directions import Direction, DirectionControls, DirectionsConfig
from gantrol.control.factorization import factorized_directions, style_weights
from gantrol.control.pca import principal_axes
from gantrol.control.predictors import Attribute, Predictor, PredictorSet
from gantrol.control.readings import sample_readings
from gantrol.control.ridge import ridge
from gantrol.controls import Control
from gantrol.errors import ConfigError, DataError, GantrolError
from gantrol.models import LadderConfig, StyleGAN2Config, StyleGAN3Config, TransGANConfig, TransGANStage, WGANGPConfig
from gantrol.models.autogan import AutoGANConfig

W_DIM, NUM_WS = 6, 3


class ToyConfig(NamedTuple):
    kind: str = "toy"


class ToyMapping(nn.Module):
    """w = M·z + m: a long cloud of w away from the origin."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(5)
        spread = torch.tensor([4.0, 2.0, 1.0, 1.0, 0.5, 0.25])
        self.matrix = nn.Parameter(torch.linalg.qr(torch.randn(W_DIM, W_DIM, generator=rng))[0] * spread)
        self.mean = nn.Parameter(torch.randn(W_DIM, generator=rng))

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        w = z @ self.matrix.T + self.mean
        return w[:, None].expand(-1, NUM_WS, -1)


class ToySynthesis(nn.Module):
    """A picture of three grey values: one linear function of w each, of all layers alike; the rest is noise in w."""

    def __init__(self) -> None:
        super().__init__()
        self.affine = nn.Linear(W_DIM, 5)
        rng = torch.Generator().manual_seed(6)
        self.readout = nn.Parameter(torch.randn(3, NUM_WS, W_DIM, generator=rng) * 0.02)

    def forward(self, ws: Tensor, *, noise_mode: str = "random") -> Tensor:
        self.affine(ws[:, 1])
        means = torch.einsum("nld,cld->nc", ws, self.readout)
        return means[:, :, None, None].expand(-1, -1, 4, 4)


class ToyGenerator(nn.Module):
    z_dim = w_dim = W_DIM
    num_ws = NUM_WS
    c_dim = 0
    config = ToyConfig()

    def __init__(self) -> None:
        super().__init__()
        self.mapping = ToyMapping()
        self.synthesis = ToySynthesis()


class Colours(Predictor):
    """Reads red in percent, and green and blue together; there is also an embedding, and something w does not tell."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes = {
            "red": Attribute(unit="percent", components=("value",), low=(-100.0,), high=(100.0,), help="how red"),
            "cold": Attribute(unit="", components=("green", "blue"), low=(-1.0, -1.0), high=(1.0, 1.0)),
            "luck": Attribute(unit="", components=("value",), low=(0.0,), high=(1.0,)),
            "identity": Attribute(unit="embedding"),
        }

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        means = images.mean(dim=(2, 3))
        luck = (means[:, :1] * 1e5).sin() * 0.5 + 0.5
        return {"red": means[:, :1] * 100, "cold": means[:, 1:], "luck": luck, "identity": means}

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean(dim=1)

    def read(self, name: str, features: Tensor) -> Tensor:
        return features


def toy() -> Any:
    torch.manual_seed(0)
    return ToyGenerator().eval().requires_grad_(False)


def readers() -> PredictorSet:
    return PredictorSet([Colours()])


def toy_fit(**options: Any) -> tuple[Any, DirectionFit]:
    generator = toy()
    return generator, fit_directions(generator, readers(), samples=300, batch_size=100, **options)


def readings(generator: Any, ws: Tensor) -> dict[str, Tensor]:
    predictors = readers()
    return predictors.features(generator.synthesis(ws))


def some_ws(generator: Any, count: int = 4) -> Tensor:
    z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(9))
    return generator.mapping(z)


# ----------------------------------------------------------------------------------------------------------------------
# Ridge regression, principal components, factors: by hand


def test_ridge_takes_the_strength_with_the_least_leave_one_out_error() -> None:
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(15, 4)), rng.normal(size=(15, 1))
    y = x @ rng.normal(size=(4, 1)) + 2 + 3 * noise
    fit = ridge(torch.from_numpy(x), torch.from_numpy(y))

    def left_out(strength: float) -> float:
        """Its error, by fitting fifteen times."""
        errors = []
        for i in range(15):
            keep = np.arange(15) != i
            mean, center = x.mean(axis=0), y.mean()  # the strength is told in units of all samples
            rows, values = x[keep], y[keep, 0]
            mean, center = rows.mean(axis=0), values.mean()
            a = np.linalg.solve(
                (rows - mean).T @ (rows - mean) + strength * np.eye(4), (rows - mean).T @ (values - center)
            )
            errors.append((y[i, 0] - center - a @ (x[i] - mean)) ** 2)
        return float(np.mean(errors))

    unit = float(np.mean(np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2))
    chosen = float(fit.strength[0]) * unit
    assert left_out(chosen) <= min(left_out(chosen * factor) for factor in (0.1, 0.5, 2, 10)) * 1.02
    centred = x - x.mean(axis=0)
    expected = np.linalg.solve(centred.T @ centred + chosen * np.eye(4), centred.T @ (y - y.mean()))
    np.testing.assert_allclose(fit.weight.numpy(), expected.T, rtol=1e-9)
    np.testing.assert_allclose(fit.predict(torch.from_numpy(x)).mean(), y.mean())


def test_ridge_with_more_features_than_samples_and_nothing_to_learn() -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(10, 30, generator=rng), torch.randn(10, 2, generator=rng)
    fit = ridge(x, y)
    assert fit.weight.isfinite().all()
    assert not ridge(torch.ones(5, 3), torch.ones(5, 1)).weight.any()


def test_principal_axes_agree_with_numpy() -> None:
    w = np.random.default_rng(1).normal(size=(200, 5)) @ np.diag([3, 2, 1, 0.5, 0.1]) + 7
    axes = principal_axes(torch.from_numpy(w), 3)
    values, vectors = np.linalg.eigh(np.cov(w.T))
    np.testing.assert_allclose(axes.deviations.numpy(), np.sqrt(values[::-1][:3]), rtol=1e-9)
    for found, expected in zip(axes.directions.numpy(), vectors.T[::-1], strict=False):
        np.testing.assert_allclose(np.abs(found @ expected), 1, rtol=1e-9)
        assert found[np.abs(found).argmax()] > 0


def test_flat_directions_are_refused() -> None:
    w = torch.randn(50, 2) @ torch.eye(2, 4)
    with pytest.raises(ConfigError, match="first 2 only"):
        principal_axes(w, 3)


def test_factors_agree_with_numpy() -> None:
    torch.manual_seed(0)
    generator = StyleGAN2Config(resolution_px=8, z_dim=8, w_dim=8, channel_base=64, channel_max=8).build()
    blocks = generator.synthesis.blocks
    first, second = blocks[0], blocks[1]
    affines = [first.conv1, first.torgb, second.conv0, second.conv1, second.torgb]
    weights = np.concatenate([layer.affine.weight.detach().numpy() / math.sqrt(8) for layer in affines])
    values, vectors = np.linalg.eigh((weights.T @ weights).astype(np.float64))
    found = factorized_directions(generator, 3).numpy()
    np.testing.assert_allclose(np.abs((found * vectors.T[::-1][:3]).sum(axis=1)), 1, atol=1e-5)
    assert values[-1] > values[-3]
    # Layer 1 is that of the first colours and of the next block's first convolution.
    some = style_weights(generator, [1]).numpy()
    np.testing.assert_allclose(
        some, np.concatenate([a.affine.weight.detach() for a in affines[1:3]]) / 8**0.5, atol=1e-6
    )


SMALL: dict[str, Any] = {"z_dim": 8, "w_dim": 8}
FAMILIES: dict[str, Any] = {
    "stylegan2": StyleGAN2Config(resolution_px=8, channel_base=64, channel_max=8, **SMALL),
    "stylegan2-classes": StyleGAN2Config(resolution_px=8, channel_base=64, channel_max=8, c_dim=3, **SMALL),
    "stylegan3": StyleGAN3Config(resolution_px=16, channel_base=128, channel_max=8, num_layers=4, margin_px=4, **SMALL),
    "ladder": LadderConfig(resolution_px=16, channel_base=128, channel_max=8, **SMALL),
    "transgan": TransGANConfig(
        resolution_px=8, z_dim=8, heads=2, stages=(TransGANStage(side=8, channels=8, depth=1, upsampling="none"),)
    ),
    "wgan-gp": WGANGPConfig(resolution_px=16, z_dim=8, width=8),
    "autogan": AutoGANConfig(resolution_px=16, z_dim=8, width=8),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_any_generator_gets_controls(family: str) -> None:
    """Also untrained: factors everywhere, components where w is not z, readings where a line tells them."""
    torch.manual_seed(0)
    generator = FAMILIES[family].build().eval().requires_grad_(False)
    pca = 0 if generator.num_ws == 1 else 2
    fit = fit_directions(generator, readers(), ["red"], samples=60, pca=pca, factors=2, batch_size=30, least_r2=-1e9)
    names = list(fit.controls.controls)
    assert names == ["red", *[f"pca{i + 1}" for i in range(pca)], "factor1", "factor2"]
    assert all(control.is_implicit for control in fit.controls.controls.values())
    c = torch.eye(3)[:2] if generator.c_dim else None
    ws = generator.mapping(torch.randn(2, 8), c)
    moved = fit.controls.steer(ws, {"factor1": torch.tensor([[2.0]]), "red": torch.tensor([[1.0], [-1.0]])})
    read = fit.controls.read(moved)
    torch.testing.assert_close(read[:, -2], torch.full([2], 2.0), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(read[:, 0], torch.tensor([1.0, -1.0]), atol=1e-3, rtol=1e-3)
    assert generator.synthesis(moved, noise_mode="const").isfinite().all()


@pytest.mark.parametrize(("family", "rows"), [("transgan", 512), ("wgan-gp", 128), ("autogan", 128)])
def test_factors_of_a_network_without_mapping_come_from_its_first_layer(family: str, rows: int) -> None:
    torch.manual_seed(0)
    generator = FAMILIES[family].build().eval()
    layer = generator.synthesis.input if family == "transgan" else generator.synthesis.linear
    found = style_weights(generator)
    assert found.shape == (rows, 8)
    torch.testing.assert_close(found.float(), layer.weight.detach(), atol=1e-5, rtol=1e-4)


# ----------------------------------------------------------------------------------------------------------------------
# Readings of the toy generator, which are linear


def test_linear_readings_are_recovered() -> None:
    generator, fit = toy_fit(attributes=["red", "cold"])
    truth = generator.synthesis.readout.sum(dim=1)  # every layer gets the same step
    scale = torch.tensor([100.0, 1.0, 1.0])[:, None]
    torch.testing.assert_close(fit.controls.weight, truth * scale, atol=1e-3, rtol=1e-3)
    assert min(row.r2 for row in fit.trust) > 0.999
    assert [(row.attribute, row.component) for row in fit.trust] == [
        ("red", "value"),
        ("cold", "green"),
        ("cold", "blue"),
    ]


def test_a_value_is_met_and_the_others_stay() -> None:
    generator, fit = toy_fit(attributes=["red", "cold"])
    ws = some_ws(generator)
    before = readings(generator, ws)
    moved = fit.controls.steer(ws, {"red": torch.tensor([[12.0]])})
    after = readings(generator, moved)
    torch.testing.assert_close(after["red"], torch.full([4, 1], 12.0), atol=0.02, rtol=0)
    torch.testing.assert_close(after["cold"], before["cold"], atol=2e-4, rtol=0)
    wanted = torch.tensor([[0.1, -0.2], [0.0, 0.0], [0.3, 0.1], [0.2, 0.2]])
    both = readings(generator, fit.controls.steer(ws, {"cold": wanted, "red": torch.tensor([[-5.0]])}))
    torch.testing.assert_close(both["cold"], wanted, atol=2e-4, rtol=0)
    torch.testing.assert_close(both["red"], torch.full([4, 1], -5.0), atol=0.02, rtol=0)
    assert torch.equal(fit.controls.steer(ws, {}), ws)


def test_the_shortest_step_is_the_normal_of_the_level_sets() -> None:
    generator, fit = toy_fit(attributes=["red"])
    ws = some_ws(generator)
    change = (fit.controls.steer(ws, {"red": torch.tensor([[50.0]])}) - ws)[:, 0]
    normal = generator.synthesis.readout[0].sum(dim=0)
    cosine = torch.nn.functional.cosine_similarity(change, normal[None])
    torch.testing.assert_close(cosine.abs(), torch.ones(4), atol=1e-4, rtol=0)
    longest = generator.mapping.matrix @ generator.mapping.matrix.T @ normal
    _, likely = toy_fit(attributes=["red"], step="likeliest")
    change = likely.controls.direction[0]
    assert torch.nn.functional.cosine_similarity(change, longest, dim=0) > 0.99


def test_without_conditioning_the_others_move_but_joint_values_are_met() -> None:
    generator, fit = toy_fit(attributes=["red", "cold"], is_conditional=False)
    ws = some_ws(generator)
    alone = readings(generator, fit.controls.steer(ws, {"red": torch.tensor([[12.0]])}))
    torch.testing.assert_close(alone["red"], torch.full([4, 1], 12.0), atol=0.02, rtol=0)
    assert (alone["cold"] - readings(generator, ws)["cold"]).abs().max() > 1e-3
    values = {"red": torch.tensor([[12.0]]), "cold": torch.tensor([[0.1, 0.2]])}
    joint = readings(generator, fit.controls.steer(ws, values))
    torch.testing.assert_close(joint["cold"], values["cold"].expand(4, 2), atol=2e-4, rtol=0)


def test_only_the_chosen_layers_move_and_the_value_is_still_met() -> None:
    generator, fit = toy_fit(attributes=["red", "cold"], layers=[1])
    ws = some_ws(generator)
    moved = fit.controls.steer(ws, {"red": torch.tensor([[7.0]])})
    assert torch.equal(moved[:, [0, 2]], ws[:, [0, 2]])
    assert not torch.equal(moved[:, 1], ws[:, 1])
    after = readings(generator, moved)
    torch.testing.assert_close(after["red"], torch.full([4, 1], 7.0), atol=0.05, rtol=0)
    torch.testing.assert_close(after["cold"], readings(generator, ws)["cold"], atol=1e-3, rtol=0)


def test_components_and_factors_are_told_in_standard_deviations() -> None:
    generator, fit = toy_fit(attributes=["red"], pca=3, factors=1)
    with torch.no_grad():
        z = torch.randn(20_000, W_DIM, generator=torch.Generator().manual_seed(3))
        read = fit.controls.read(generator.mapping(z))
    torch.testing.assert_close(read[:, 1:].mean(dim=0), torch.zeros(4), atol=0.05, rtol=0)
    torch.testing.assert_close(read[:, 1:].std(dim=0), torch.ones(4), atol=0.05, rtol=0)
    ws = some_ws(generator)
    values = {"pca1": torch.tensor([[2.0]]), "factor1": torch.tensor([[-1.0]]), "red": torch.tensor([[3.0]])}
    read = fit.controls.read(fit.controls.steer(ws, values))
    torch.testing.assert_close(read[:, [0, 1, 4]], torch.tensor([[3.0, 2.0, -1.0]]).expand(4, 3), atol=1e-3, rtol=0)


def test_two_controls_along_one_line_meet_in_the_middle() -> None:
    """What cannot be had at once is not forced: the step stays finite, and both get the same part of what they lack."""
    one = {"source": "pca", "control": Control(unit="", low=-9, high=9, default=0, help=""), "is_linear": (True,)}
    both = tuple(Direction(name=name, **one) for name in ("a", "b"))  # type: ignore[arg-type]
    controls = DirectionsConfig(w_dim=2, num_ws=1, layers=(0,), directions=both).build()
    controls.weight[:] = controls.direction[:] = torch.tensor([1.0, 0.0])
    moved = controls.steer(torch.zeros(1, 1, 2), {"a": torch.tensor([[1.0]]), "b": torch.tensor([[3.0]])})
    torch.testing.assert_close(moved, torch.tensor([[[2.0, 0.0]]]))


def test_what_w_does_not_tell_is_left_out() -> None:
    _, fit = toy_fit(attributes=["red", "luck"])
    assert list(fit.controls.controls) == ["red"]
    luck = fit.trust[1]
    assert luck.attribute == "luck"
    assert not luck.is_used
    with pytest.raises(ConfigError, match="w tells none of luck linearly"):
        toy_fit(attributes=["luck"])


def test_a_number_that_w_does_not_tell_stays_in_its_control_without_effect() -> None:
    config = DirectionsConfig(
        w_dim=2,
        num_ws=1,
        layers=(0,),
        directions=(
            Direction(
                name="mood",
                source="predictor",
                control=Control(unit="", low=(0, 0), high=(1, 1), default=(0, 0), help="", components=("glad", "odd")),
                is_linear=(True, False),
            ),
        ),
    )
    controls = config.build()
    controls.weight.copy_(torch.eye(2))
    controls.direction.copy_(torch.eye(2))
    moved = controls.steer(torch.zeros(1, 1, 2), {"mood": torch.tensor([[0.5, 0.7]])})
    assert moved.tolist() == [[[0.5, 0.0]]]


def test_ranges_come_from_the_samples_and_the_controls_say_what_they_are() -> None:
    generator, fit = toy_fit(attributes=["red", "cold"])
    sampled = sample_readings(generator, readers(), ["red"], 300, seed=0, batch_size=100).readings["red"]
    red, cold = fit.controls.controls["red"], fit.controls.controls["cold"]
    assert isinstance(red.low, float)
    assert isinstance(red.high, float)
    assert sampled.min() <= red.low < red.default < red.high <= sampled.max()
    assert red.unit == "percent"
    assert red.help.startswith("how red (a line in w; held out: R² 1.00")
    assert cold.components == ("green", "blue")
    assert cold.count == 2


def test_the_seed_decides() -> None:
    first, second, third = (toy_fit(attributes=["red"], seed=seed)[1].controls.weight for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_the_batch_changes_nothing() -> None:
    predictors, generator = readers(), FAMILIES["stylegan2-classes"].build().eval()
    one, two = (
        sample_readings(generator, predictors, ["red"], 30, layers=[0], batch_size=size, seed=1) for size in (7, 30)
    )
    assert one.others is not None
    assert two.others is not None
    torch.testing.assert_close(one.moved, two.moved)
    torch.testing.assert_close(one.others, two.others)
    torch.testing.assert_close(one.readings["red"], two.readings["red"], rtol=1e-4, atol=1e-4)
    is_same = (one.others == one.moved).all(dim=1)
    assert is_same[::2].all()
    assert not is_same[1::2].any()


def test_progress_counts_images() -> None:
    calls: list[tuple[int, int]] = []
    toy_fit(attributes=["red"], progress=lambda done, total: calls.append((done, total)))
    assert calls == [(100, 300), (200, 300), (300, 300)]
    calls.clear()
    fit_directions(toy(), pca=1, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1][0] == calls[-1][1] > 1000  # latents, no images


def test_values_are_differentiable_and_ws_may_differ_between_layers() -> None:
    generator, fit = toy_fit(attributes=["red"])
    ws = some_ws(generator).clone().requires_grad_()
    fit.controls.steer(ws, {"red": torch.tensor([[5.0]])}).square().sum().backward()
    assert ws.grad is not None
    assert ws.grad.abs().sum() > 0
    mixed = some_ws(generator).clone()
    mixed[:, 2] = mixed.flip(0)[:, 2]
    moved = fit.controls.steer(mixed, {"red": torch.tensor([[5.0]])})
    steps = moved - mixed
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps))


def test_saved_and_loaded(tmp_path: Path) -> None:
    generator, fit = toy_fit(attributes=["red", "cold"], pca=1, layers=[0, 1])
    path = tmp_path / "controls.safetensors"
    checkpoint.save(path, fit.controls.state_dict(), {})
    config = from_dict(DirectionsConfig, to_dict(fit.controls.config))
    assert config == fit.controls.config
    loaded = config.build()
    loaded.load_state_dict(checkpoint.load(path)[0])
    ws, values = some_ws(generator), {"cold": torch.tensor([[0.1, 0.1]]), "pca1": torch.tensor([[1.0]])}
    assert isinstance(loaded, DirectionControls)
    assert torch.equal(loaded.steer(ws, values), fit.controls.steer(ws, values))
    assert loaded.controls == fit.controls.controls


# ----------------------------------------------------------------------------------------------------------------------
# Mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attributes": ["rad"]}, "no predictor reads 'rad'; did you mean red"),
        ({"attributes": ["identity"]}, "'identity' has distances but no readings"),
        ({"pca": 7}, "7 principal components: expected 0 to 6, the width of w"),
        ({"factors": 7}, "7 factors: expected 0 to 6"),
        ({"layers": [3]}, "this model has the layers 0 to 2"),
        ({"layers": []}, "this model has the layers 0 to 2"),
    ],
)
def test_mistakes_are_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        toy_fit(**options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_mistakes() -> None:
    with pytest.raises(ConfigError, match="there is nothing to fit"):
        fit_directions(toy())
    with pytest.raises(ConfigError, match="red need predictors"):
        fit_directions(toy(), None, ["red"], pca=1)
    with pytest.raises(ConfigError, match="5 samples: expected at least 20"):
        fit_directions(toy(), readers(), samples=5)
    generator = FAMILIES["transgan"].build()
    with pytest.raises(ConfigError, match="w of a transgan model is z itself"):
        fit_directions(generator, pca=1)
    _, fit = toy_fit(attributes=["red"])
    with pytest.raises(ConfigError, match="there is no direction for it; did you mean red"):
        fit.controls.steer(torch.zeros(1, NUM_WS, W_DIM), {"rad": torch.zeros(1, 1)})
    with pytest.raises(ConfigError, match="for ws of 3 × 6 numbers; this transgan takes 1 × 8"):
        fit.controls.check_fits(generator)
    with pytest.raises(ConfigError, match=r"ws has shape \[1, 4, 6\]"):
        fit.controls.steer(torch.zeros(1, 4, W_DIM), {"red": torch.zeros(1, 1)})


def test_readings_that_are_no_numbers_are_refused() -> None:
    class Broken(Colours):
        def read(self, name: str, features: Tensor) -> Tensor:
            return features * math.nan

    with pytest.raises(DataError, match="'red' does not give finite numbers"):
        fit_directions(toy(), PredictorSet([Broken()]), ["red"], samples=20)


def test_a_generator_without_linear_layers_has_no_factors() -> None:
    generator = toy()
    generator.synthesis.affine = nn.Identity()
    with pytest.raises(GantrolError, match="no linear layer of this toy takes w"):
        fit_directions(generator, factors=1)
