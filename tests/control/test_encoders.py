"""Encoders: parity with GAN-Control's, what they replace and what they leave alone, and models that hold them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gantrol
from gantrol.config import from_dict, to_dict
from gantrol.control import CONTROL_SETS
from gantrol.control.encoders import Encoder, EncoderConfig, EncoderControls, EncoderControlsConfig
from gantrol.controls import Control, ControlWarning, seed_control
from gantrol.errors import CheckpointError, ConfigError
from gantrol.model import Model
from gantrol.models import (
    ControllableConfig,
    ControllableGenerator,
    LatentGroup,
    StyleGAN2Config,
    StyleGAN3Config,
    TransGANConfig,
    TransGANStage,
)
from tests.reference import assert_close, load

GROUPS = (
    LatentGroup(name="identity", size=6),
    LatentGroup(name="age", size=3),
    LatentGroup(name="expression", size=4),
    LatentGroup(name="other", size=3),
)
AGE = Control("years", 15.0, 75.0, 40.0, "older")
FACE = Control("0-1", (0.0, 0.0), (1.0, 1.0), (0.0, 0.0), "face", components=("smile", "angry"))
LOOK = Control("class", (0.0,) * 3, (1.0,) * 3, (0.0,) * 3, "face, as another network sees it")
STAGES = (
    TransGANStage(side=4, channels=16, depth=1, upsampling="none"),
    TransGANStage(side=8, channels=16, depth=1, upsampling="bicubic"),
)
BASES: dict[str, Any] = {
    "stylegan3": StyleGAN3Config(
        resolution_px=16, num_layers=4, margin_px=4, channel_base=128, channel_max=8, z_dim=16, w_dim=16
    ),
    "stylegan2": StyleGAN2Config(resolution_px=8, channel_base=64, channel_max=8, z_dim=16, w_dim=16),
    "transgan": TransGANConfig(resolution_px=8, z_dim=16, stages=STAGES),
}


def encoder_config(name: str, group: str, control: Control) -> EncoderConfig:
    return EncoderConfig(name=name, group=group, control=control, hidden=8, layers=3)


CONFIG = EncoderControlsConfig(
    groups=GROUPS,
    encoders=(
        encoder_config("age", "age", AGE),
        encoder_config("expression", "expression", FACE),
        encoder_config("expression_q", "expression", LOOK),
    ),
    seeds=("identity", "other"),
)


def generator(base: str = "stylegan3", groups: tuple[LatentGroup, ...] = GROUPS) -> ControllableGenerator:
    torch.manual_seed(0)
    config = ControllableConfig(base=BASES[base], groups=groups, mapping_layers=2, hidden_width=8)
    built = config.build().eval().requires_grad_(False)
    built.mapping.w_avg.normal_()
    return built


def control_set() -> EncoderControls:
    torch.manual_seed(1)
    return CONFIG.build()


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(generator(), control_set=control_set(), training={"kimg": 1.0})


def parts(ws: Tensor) -> dict[str, Tensor]:
    """Each group's part of ws [N, L, D]."""
    return dict(zip((group.name for group in GROUPS), ws.split([group.size for group in GROUPS], dim=2), strict=True))


def assert_only(changed: set[str], before: Tensor, after: Tensor) -> None:
    """Every group but those of `changed` is bit for bit the same in all layers; those differ in each image."""
    a, b = parts(before), parts(after)
    for name in a:
        assert torch.equal(a[name], b[name]) == (name not in changed), name


# ----------------------------------------------------------------------------------------------------------------------
# The networks


@pytest.mark.parametrize("case", ["age", "pose", "one_layer"])
def test_encoders_compute_what_gan_control_computes(case: str) -> None:
    info, tensors = load("ganctl_controller")
    prefix = f"{case}.state."
    state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    encoder = Encoder.from_official(state, lr_multiplier=info["options"][case]["lr_mlp"])
    x = tensors[f"{case}.x"].requires_grad_(True)
    y = encoder(x)
    (gradient,) = torch.autograd.grad(y.square().mean(), x)
    tolerance = info["recommended_tolerance"]
    for got, name in ((y, "y"), (gradient, "grad_x")):
        assert_close(got, tensors[f"{case}.{name}"], rtol=tolerance["rtol"], atol=tolerance["atol"], what=name)


def test_the_papers_encoder_has_its_size() -> None:
    assert sum(parameter.numel() for parameter in Encoder(3, 64).parameters()) == 560_192


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"fc_stack.0.weight": torch.zeros(4, 1)},
        {"layers.0.weight": torch.zeros(4, 1), "layers.0.bias": torch.zeros(4)},
        {
            f"fc_stack.{i}.{part}": torch.zeros(4, *rest)
            for i in (0, 1)
            for part, rest in (("weight", [3]), ("bias", []))
        },
    ],
)
def test_other_weights_are_no_controller(tensors: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match="not a GAN-Control controller") as caught:
        Encoder.from_official(tensors)
    assert "\n" not in str(caught.value)


def test_values_are_standardised_by_stored_numbers() -> None:
    encoder = Encoder(1, 4, hidden=8)
    plain = encoder(torch.tensor([[0.5]]))
    encoder.mean.fill_(40.0)
    encoder.scale.fill_(20.0)
    torch.testing.assert_close(encoder(torch.tensor([[50.0]])), plain)
    assert {"mean", "scale"} <= set(encoder.state_dict())


# ----------------------------------------------------------------------------------------------------------------------
# What is replaced


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("psi", [1.0, 0.7])
def test_a_control_changes_its_group_alone(base: str, psi: float) -> None:
    model = Model(generator(base), control_set=control_set())
    before = model.map([0, 1], truncation_psi=psi)
    after = model.map([0, 1], controls={"age": 60}, truncation_psi=psi)
    assert_only({"age"}, before, after)
    expected = model.control_set.encoders["age"](torch.tensor([[60.0]]))  # type: ignore[union-attr]
    assert torch.equal(parts(after)["age"], expected[:, None].expand(2, model.generator.num_ws, 3))
    assert not torch.equal(model.synthesize(before), model.synthesize(after))


def test_controls_act_after_the_truncation(model: Model) -> None:
    """A value means the same at every ψ, also where only some layers are truncated."""
    for arguments in ({"truncation_psi": 0.0}, {"truncation_psi": 0.5, "truncation_cutoff": 2}):
        after = model.map([0], controls={"age": 60}, **arguments)  # type: ignore[arg-type]
        assert torch.equal(parts(after)["age"], parts(model.map([5], controls={"age": 60}))["age"])
        assert_only({"age"}, model.map([0], **arguments), after)  # type: ignore[arg-type]


def test_a_seed_control_takes_that_seeds_part(model: Model) -> None:
    before, other = model.map([0, 1], truncation_psi=0.7), model.map([7], truncation_psi=0.7)
    after = model.map([0, 1], controls={"identity": 7}, truncation_psi=0.7)
    assert_only({"identity"}, before, after)
    torch.testing.assert_close(parts(after)["identity"], parts(other)["identity"].expand(2, -1, -1))
    both = model.map([0, 1], controls={"identity": 7, "other": 8, "smile": 1})
    assert_only({"identity", "other", "expression"}, model.map([0, 1]), both)


def test_ws_and_z_of_the_caller_are_left_alone(model: Model) -> None:
    controls = model.control_set
    assert controls is not None
    ws, z = model.map([0]), torch.randn(1, 16)
    kept, kept_z = ws.clone(), z.clone()
    controls.steer(ws, {"age": torch.tensor([[30.0]])})
    controls.latents(z, {"identity": torch.zeros(1, 16)})
    assert torch.equal(ws, kept)
    assert torch.equal(z, kept_z)
    assert controls.steer(ws, {}) is ws
    assert controls.latents(z, {}) is z


def test_every_image_may_have_its_own_value(model: Model) -> None:
    ages = torch.tensor([[20.0], [40.0], [60.0]])
    together = model.generate([0, 1, 2], controls={"age": ages, "smile": 0.5}, output="pt", batch_size=2)
    for i in range(3):
        single = model.generate([i], controls={"age": float(ages[i]), "smile": 0.5}, output="pt")
        torch.testing.assert_close(together[i : i + 1], single)
    with pytest.raises(ConfigError, match=r"'age': expected a tensor \[3, 1\], found one of \[2, 1\]"):
        model.generate([0, 1, 2], controls={"age": ages[:2]})
    with pytest.raises(ConfigError, match="'smile': give a tensor for all of expression at once"):
        model.map([0], controls={"smile": torch.ones(1, 1)})
    with pytest.warns(ControlWarning, match="'age': 99 is out of its range of 15 to 75"):
        clamped = model.map([0, 1], controls={"age": torch.tensor([[30.0], [99.0]])})
    torch.testing.assert_close(clamped, model.map([0, 1], controls={"age": torch.tensor([[30.0], [75.0]])}))


def test_values_out_of_range_are_clamped(model: Model) -> None:
    with pytest.warns(ControlWarning, match="'age': 130 is out of its range of 15 to 75 \\(years\\); 75 is taken"):
        images = model.generate([0], controls={"age": 130}, output="pt")
    assert torch.equal(images, model.generate([0], controls={"age": 75}, output="pt"))


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ({"aeg": 1}, "'aeg': this model does not have it; did you mean age"),
        ({"expression": "smile", "expression_q": (1, 0, 0)}, "both set the latent group expression: give one of them"),
        ({"smile": 1, "expression_q": (1, 0, 0)}, "'expression' and 'expression_q' both set"),
        ({"identity": 0.5}, "expected a seed"),
        ({"expression": 1}, "expected 2 numbers, or some of smile, angry"),
    ],
)
def test_impossible_controls_are_one_line(model: Model, controls: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        model.map([0], controls=controls)
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------------------------------------------
# Models with controls


def test_controls_are_listed_with_their_components(model: Model) -> None:
    assert list(model.controls) == ["age", "expression", "expression_q", "identity", "other", "smile", "angry"]
    assert model.controls["age"] == AGE
    assert model.controls["smile"].part_of == "expression"
    assert model.controls["identity"].kind == seed_control("").kind
    with pytest.raises(TypeError):
        model.controls["age"] = AGE  # type: ignore[index]


@pytest.mark.parametrize("base", BASES)
def test_a_controllable_model_comes_back(base: str, tmp_path: Path) -> None:
    training = {"command": "gantrol train …", "control_errors": {"age": {"mean_absolute_error": 3.21}}}
    model = Model(generator(base), control_set=control_set(), training=training)
    folder = model.save_pretrained(tmp_path / "m")
    assert sorted(path.name for path in folder.glob("*.safetensors")) == [
        "controls.safetensors",
        "generator.safetensors",
    ]
    assert json.loads((folder / "config.json").read_text())["controls"]["kind"] == "encoders"
    again = gantrol.load(folder)
    assert again.info == model.info
    assert dict(again.controls) == dict(model.controls)
    wanted = {"age": 60, "smile": 0.5, "identity": 3}
    before, after = (some.generate([0, 1], controls=wanted, output="pt") for some in (model, again))
    assert torch.equal(before, after)
    card = (folder / "README.md").read_text()
    assert "| `age` | years | 15 to 75 | 40 | 3.21 | older |" in card
    assert "| `expression` (smile, angry) | 0-1 | 0 to 1, 0 to 1 | 0,0 |  | face |" in card
    assert "gantrol train …" in card
    again.save_pretrained(folder)  # over itself
    assert dict(gantrol.load(folder).controls) == dict(model.controls)
    Model(model.generator).save_pretrained(folder)
    assert not (folder / "controls.safetensors").exists()
    assert not gantrol.load(folder).controls


def test_configs_survive_json() -> None:
    again = from_dict(CONTROL_SETS["encoders"], json.loads(json.dumps(to_dict(CONFIG))))
    assert again == CONFIG


def test_damaged_or_foreign_controls_are_refused(tmp_path: Path, model: Model) -> None:
    folder = model.save_pretrained(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())

    def load_with(controls: dict[str, Any]) -> None:
        (folder / "config.json").write_text(json.dumps({**config, "controls": controls}))
        gantrol.load(folder)

    with pytest.raises(CheckpointError, match="unknown controls 'encodes'; did you mean encoders"):
        load_with({**config["controls"], "kind": "encodes"})
    with pytest.raises(CheckpointError, match="the weights of the controls do not fit"):
        load_with({**config["controls"], "encoders": config["controls"]["encoders"][:1]})
    renamed = [{**group, "name": group["name"].replace("other", "rest")} for group in config["controls"]["groups"]]
    with pytest.raises(CheckpointError, match=r"made for the latent groups identity 6, .*; the generator has"):
        load_with({**config["controls"], "groups": renamed, "seeds": ["identity"]})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "controls.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"controls\.safetensors"):
        gantrol.load(folder)


def test_controls_belong_to_their_generator() -> None:
    with pytest.raises(ConfigError, match=r"made for the latent groups .*; the generator has none"):
        Model(BASES["stylegan2"].build(), control_set=control_set())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": ("id",)}, "no latent group 'id'; known: age, expression, identity, other"),
        ({"seeds": ("age",)}, "each name only once"),
        ({"encoders": (encoder_config("age", "agee", AGE),)}, "no latent group 'agee'"),
    ],
)
def test_configs_must_fit_together(change: dict[str, Any], message: str) -> None:
    fields = {"groups": GROUPS, "encoders": CONFIG.encoders, "seeds": CONFIG.seeds} | change
    with pytest.raises(ConfigError, match=message):
        EncoderControlsConfig(**fields)


def test_single_layers_must_have_the_width_of_their_group() -> None:
    one = EncoderConfig(name="age", group="age", control=AGE, hidden=8, layers=1)
    with pytest.raises(ConfigError, match="one layer of 8, but the group has 3"):
        EncoderControlsConfig(groups=GROUPS, encoders=(one,)).build()
    fitting = EncoderConfig(name="age", group="age", control=AGE, hidden=3, layers=1)
    built = EncoderControlsConfig(groups=GROUPS, encoders=(fitting,)).build()
    assert built.encoders["age"](torch.zeros(2, 1)).shape == (2, 3)
