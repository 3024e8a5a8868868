"""GAN-Control's runs and controllers become models: the official numbers, every layout of folders, what is refused."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import tyro
from torch import Tensor

import gantrol
from gantrol.cli.import_checkpoint import ImportCheckpoint, run
from gantrol.control import EncoderControls
from gantrol.convert import ImportedModel, import_checkpoint
from gantrol.convert.blank_modules import blank
from gantrol.convert.gan_control import mean_latent
from gantrol.convert.gan_control_names import (
    discriminator_name,
    downsampling_filters,
    generator_name,
    upsampling_filters,
)
from gantrol.errors import CheckpointError
from gantrol.models import ControllableConfig, LatentGroup, StyleGAN2Config, StyleGAN2DiscriminatorConfig
from tests.convert.official_gan_control import (
    State,
    controller_state,
    discriminator_state,
    generator_state,
    run_args,
    run_content,
    save,
    save_controller,
    tiny_discriminator_state,
    tiny_state,
)
from tests.models.golden_models import Golden
from tests.reference import assert_close

PLACES = {"id": [0, 8], "orientation": [8, 16], "age": [16, 32], "expression": [32, 36], "other": [36, 40]}
SIZES = {name: end - start for name, (start, end) in PLACES.items()}
TINY = ControllableConfig(
    base=StyleGAN2Config(
        resolution_px=16, z_dim=40, w_dim=40, mapping_layers=3, channel_base=128, channel_max=16, conv_clamp=None
    ),
    groups=tuple(LatentGroup(name=name, size=size) for name, size in SIZES.items()),
    mapping_layers=3,
    hidden_width=12,
)
JUDGE = StyleGAN2DiscriminatorConfig(
    resolution_px=16, channel_base=128, channel_max=16, conv_clamp=None, num_low_precision_res=0
)
MEAN = "the mean of w, for the truncation, is that of 10,000 samples, as the file has none"


def tiny_args(**places: list[int]) -> dict[str, Any]:
    """The `args.json` of the tiny generator."""
    args = run_args(places=PLACES | places)
    args["model_config"] |= {"latent_size": 40}
    return args


def tiny_run(folder: Path, state: State | None = None, args: dict[str, Any] | None = None) -> Path:
    """A run of the tiny generator."""
    state = tiny_state(TINY) if state is None else state
    save(folder / "checkpoint" / "000100.pt", run_content(state), tiny_args() if args is None else args)
    return folder


def load(path: Path, **options: Any) -> ImportedModel:
    return import_checkpoint(path, device="cpu", **options)


# ----------------------------------------------------------------------------------------------------------------------
# The official numbers


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    """The generator with seven groups, and its discriminator, out of a run folder."""
    folder = tmp_path_factory.mktemp("official") / "age015id025exp02hai04ori02gam15"
    save(folder / "checkpoint" / "best_fid.pt", run_content(generator_state(), discriminator_state()), run_args())
    (folder / "graphs").mkdir()
    return load(folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    """The generator with one mapping network, whose file needs no `args.json`."""
    path = tmp_path_factory.mktemp("official") / "plain.pt"
    return load(save(path, run_content(generator_state("ganctl_gen_plain"))))


@pytest.fixture(params=["ganctl_gen", "ganctl_gen_plain"])
def network(request: pytest.FixtureRequest) -> tuple[Golden, Any]:
    """A fixture and the imported generator."""
    model = request.getfixturevalue("grouped" if request.param == "ganctl_gen" else "plain")
    return Golden(request.param), model.generator


def _noise_maps(generator: Any) -> Iterator[Tensor]:
    for block in generator.synthesis.blocks:
        for name in ("conv0", "conv1"):
            if hasattr(block, name):
                yield getattr(block, name).noise_const


def render(generator: Any, golden: Golden, ws: Tensor) -> Tensor:
    """Images with the noise of the fixture, which has maps of its own for each sample."""
    stored = [noise.clone() for noise in _noise_maps(generator)]
    images = []
    for i in range(len(ws)):
        for index, noise in enumerate(_noise_maps(generator)):
            noise.copy_(golden[f"noise.{index}"][i, 0])
        images.append(generator.synthesis(ws[i : i + 1], noise_mode="const"))
    for noise, before in zip(_noise_maps(generator), stored, strict=True):
        noise.copy_(before)
    return torch.cat(images)


def test_images(network: tuple[Golden, Any]) -> None:
    golden, generator = network
    ws = generator.mapping(golden["z"])
    golden.check(ws[:, 0], "w")
    assert ws.shape[1] == int(golden["latents_shape"][1])
    golden.check(render(generator, golden, ws), "image")
    golden.check(generator.synthesis(ws, noise_mode="const"), "image_buffer_noise")

    mixed = torch.cat([ws[:, :3], generator.mapping(golden["z2"])[:, 3:]], dim=1)
    golden.check(render(generator, golden, mixed), "image_mixed")

    mean = generator.mapping.w_avg.clone()
    generator.mapping.w_avg.copy_(golden["truncation_latent"][0])
    golden.check(render(generator, golden, generator.mapping(golden["z"], truncation_psi=0.6)), "image_truncated")
    generator.mapping.w_avg.copy_(mean)


def test_gradients(network: tuple[Golden, Any]) -> None:
    golden, generator = network
    z = golden["z"].clone().requires_grad_()
    images = render(generator, golden, generator.mapping(z))
    (gradient,) = torch.autograd.grad(images.square().mean(), z)
    assert_close(gradient, golden["grad_z"], rtol=golden.tolerance["grad_rtol"], atol_of_max=1e-5)

    ws = generator.mapping(golden["z"]).clone().requires_grad_()
    images = render(generator, golden, ws)
    (gradient,) = torch.autograd.grad((images * golden["pl_noise"]).sum() / images.shape[2], ws)
    lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
    assert_close(lengths, golden["path_lengths"], rtol=golden.tolerance["grad_rtol"])


def test_discriminator(grouped: ImportedModel) -> None:
    golden = Golden("ganctl_dis")
    img = golden["img"].clone().requires_grad_()
    assert grouped.discriminator is not None
    logits = grouped.discriminator(img)
    golden.check(logits, "logits")
    (gradient,) = torch.autograd.grad(logits.sum(), img)
    golden.check_gradient(gradient, "grad.img")
    golden.check_gradient(gradient.square().sum(dim=(1, 2, 3)), "r1")


def test_what_is_known_of_it(grouped: ImportedModel, plain: ImportedModel) -> None:
    groups = {group.name: group.size for group in grouped.config.groups}
    order = Golden("ganctl_gen").info["constructor_options"]["group_order"]
    assert list(groups) == order  # args.json names them in another order
    assert groups == {name: 16 if name == "id" else 8 for name in order}
    assert grouped.notes == [MEAN]
    assert grouped.training["format"] == "GAN-Control checkpoint"
    assert grouped.training["weights"] == "g_ema"
    assert grouped.training["imported_from"] == "best_fid.pt"
    assert plain.config == StyleGAN2Config(
        resolution_px=8,
        z_dim=32,
        w_dim=32,
        mapping_layers=2,
        channel_base=4096,
        conv_clamp=None,
        num_low_precision_res=0,
    )
    assert plain.notes == [MEAN]


def test_names_and_sizes_of_the_published_networks() -> None:
    """512 px, seven groups: the key lists and the numbers of parameters of the specification (sections 1.1 and 5)."""
    sizes = {"id": 128, **dict.fromkeys(["expression", "orientation", "gamma", "age", "hair", "other"], 64)}
    base = StyleGAN2Config(resolution_px=512, conv_clamp=None)
    groups = tuple(LatentGroup(name=name, size=size) for name, size in sizes.items())
    generator = blank(ControllableConfig(base=base, groups=groups))
    modulation = ["conv.weight", "conv.modulation.weight", "conv.modulation.bias"]
    convs = ["conv1", *(f"convs.{i}" for i in range(14))]
    colours = ["to_rgb1", *(f"to_rgbs.{i}" for i in range(7))]
    assert {name for own in generator.state_dict() if (name := generator_name(own))} == {
        "input.input",
        *(f"style.{group}.{i}.{leaf}" for group in sizes for i in range(1, 9) for leaf in ("weight", "bias")),
        *(f"{conv}.{leaf}" for conv in convs for leaf in (*modulation, "noise.weight", "activate.bias")),
        *(f"{colour}.{leaf}" for colour in colours for leaf in (*modulation, "bias")),
        *(f"noises.noise_{i}" for i in range(15)),
    }
    filters = [f"convs.{i}.conv.blur.kernel" for i in range(0, 14, 2)] + [
        f"to_rgbs.{i}.upsample.kernel" for i in range(7)
    ]
    assert sorted(upsampling_filters(8)) == sorted(filters)
    assert sum(parameter.numel() for parameter in generator.parameters()) == 31_203_047

    discriminator = blank(StyleGAN2DiscriminatorConfig(resolution_px=512, conv_clamp=None))
    parts = ["conv1.0.weight", "conv1.1.bias", "conv2.1.weight", "conv2.2.bias", "skip.1.weight"]
    ends = ["final_conv.0.weight", "final_conv.1.bias"]
    ends += [f"final_linear.{i}.{leaf}" for i in (0, 1) for leaf in ("weight", "bias")]
    assert set(map(discriminator_name, discriminator.state_dict())) == {
        "convs.0.0.weight",
        "convs.0.1.bias",
        *(f"convs.{i}.{part}" for i in range(1, 8) for part in parts),
        *ends,
    }
    filters = [f"convs.{i}.{part}.0.kernel" for i in range(1, 8) for part in ("conv2", "skip")]
    assert downsampling_filters(7) == filters
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == 28_982_849


def test_the_mean_of_w(plain: ImportedModel) -> None:
    """It is the same each time, and near the mean of other samples."""
    mapping = plain.generator.mapping
    assert torch.equal(mapping.w_avg, mean_latent(plain.generator))
    w = mapping(torch.randn(10_000, 32, generator=torch.Generator().manual_seed(5)))[:, 0]
    assert ((mapping.w_avg - w.mean(dim=0)).abs() < 6 * w.std(dim=0) / 100).all()
    assert torch.equal(mapping(torch.zeros(1, 32), truncation_psi=0.0)[0, 0], mapping.w_avg)


# ----------------------------------------------------------------------------------------------------------------------
# Folders


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder as the published archive: a generator, and controllers with the weights of the official fixture."""
    folder = tmp_path / "controllers"
    tiny_run(folder / "generator")
    golden = Golden("ganctl_controller")
    for case, name in (("age", "age_loss_2021"), ("pose", "orientation_loss_2021")):
        prefix = f"{case}.state."
        state = {key.removeprefix(prefix): value for key, value in golden.tensors.items() if key.startswith(prefix)}
        save_controller(folder / name, state)
    save_controller(folder / "expression_q_loss_2021", controller_state(8, 4, seed=1), "000500.pt")
    save_controller(folder / "expression_q_loss_2021", controller_state(8, 4, seed=2), "020000.pt")
    save_controller(folder / "expression_loss_2021", controller_state(64, 4, seed=3))
    (folder / "notes").mkdir()
    return folder


def test_controllers(published: Path) -> None:
    random = torch.get_rng_state()
    model = load(published)
    assert torch.equal(random, torch.get_rng_state())
    controls = model.control_set
    assert isinstance(controls, EncoderControls)
    assert list(controls.controls) == ["orientation", "age", "expression", "expression_q", "id", "other"]
    assert "of 2 files in expression_q_loss_2021, 020000.pt is taken, the last by name" in model.notes
    assert model.training["controllers"].startswith("age_loss_2021/best_fid.pt, expression_loss_2021/best_fid.pt, ")

    golden = Golden("ganctl_controller")
    for name, case in (("age", "age"), ("orientation", "pose")):
        assert_close(controls.encoders[name](golden[f"{case}.x"]), golden[f"{case}.y"], rtol=1e-5, atol=1e-5)

    before = model.map([3])
    age = model.map([3], controls={"age": 60})
    slices = model.generator.mapping.slices
    assert_close(age[0, 5, slices["age"]], controls.encoders["age"](torch.tensor([[60.0]]))[0], rtol=1e-6)
    for name, place in slices.items():
        assert torch.equal(before[..., place], age[..., place]) == (name != "age")
    assert torch.equal(model.map([3], controls={"yaw": 20}), model.map([3], controls={"orientation": (20, 0, 0)}))
    happy = (0, 1, 0, 0, 0, 0, 0, 0)
    assert torch.equal(
        model.map([3], controls={"expression_q": "happy"}), model.map([3], controls={"expression_q": happy})
    )
    someone_else = model.map([3], controls={"id": 4})
    assert torch.equal(someone_else[..., slices["id"]], model.map([4])[..., slices["id"]])


def test_it_survives_being_saved(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model"
    run(tyro.cli(ImportCheckpoint, args=[str(published), "--out", str(out)]))
    printed = capsys.readouterr().out
    assert "GAN-Control checkpoint, g_ema" in printed
    assert "StyleGAN2 (skip), 16 px RGB" in printed
    assert "id 8, orientation 8, age 16, expression 4, other 4" in printed
    assert "orientation, age, expression, expression_q, id, other" in printed
    assert "--truncation 0.7 --set age=60" in printed
    model, again = load(published), gantrol.load(out, device="cpu")
    asked = {"age": 30, "orientation": (10, -5, 0), "other": 9}
    images = [m.generate([1, 2], controls=asked, truncation_psi=0.7, output="pt") for m in (model, again)]
    assert torch.equal(*images)
    assert "imported from `000100.pt`" in (out / "README.md").read_text()


def test_the_command_gives_the_official_images(tmp_path: Path, grouped: ImportedModel) -> None:
    path = save(tmp_path / "run" / "checkpoint" / "best_fid.pt", {"g_ema": generator_state()}, run_args())
    run(tyro.cli(ImportCheckpoint, args=[str(path), "--out", str(tmp_path / "model"), "--no-discriminator"]))
    golden, model = Golden("ganctl_gen"), gantrol.load(tmp_path / "model", device="cpu")
    assert model.controls == {}
    golden.check(model.generator(golden["z"], noise_mode="const"), "image_buffer_noise")
    assert torch.equal(model.generator.mapping.w_avg, grouped.generator.mapping.w_avg)


@pytest.mark.parametrize("given", ["run", "run/checkpoint", "run/checkpoint/000100.pt"])
def test_paths_of_a_run(given: str, tmp_path: Path) -> None:
    tiny_run(tmp_path / "run")
    assert load(tmp_path / given).config.groups == TINY.groups


def test_args_beside_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "best_fid.pt", run_content(tiny_state(TINY)))
    (tmp_path / "args.json").write_text(json.dumps(tiny_args()))
    assert load(path).config.groups == TINY.groups
    assert load(tmp_path).config.groups == TINY.groups


def test_the_last_file_by_name_counts(tmp_path: Path) -> None:
    """As officially: best_fid.pt comes after all numbers."""
    folder = tiny_run(tmp_path / "run")
    save(folder / "checkpoint" / "009000.pt", run_content(tiny_state(TINY, seed=9)))
    model = load(folder)
    assert model.notes == ["of 2 files in run, 009000.pt is taken, the last by name", MEAN]
    save(folder / "checkpoint" / "best_fid.pt", run_content(tiny_state(TINY, seed=1)))
    model = load(folder)
    assert model.training["imported_from"] == "best_fid.pt"
    alone = load(folder / "checkpoint" / "009000.pt")
    assert alone.notes == [MEAN]
    assert not torch.equal(alone.generate([0], output="pt"), model.generate([0], output="pt"))


def test_which_generator(tmp_path: Path) -> None:
    ema, raw = tiny_state(TINY), tiny_state(TINY, seed=1)
    path = save(tmp_path / "run" / "checkpoint" / "x.pt", run_content(ema, g=raw), tiny_args())
    key = "synthesis.blocks.0.const"
    assert torch.equal(load(path).generator.state_dict()[key], ema["input.input"][0])
    chosen = load(path, weights="raw")
    assert torch.equal(chosen.generator.state_dict()[key], raw["input.input"][0])
    assert chosen.training["weights"] == "g"
    save(path, OrderedDict((f"module.{name}", value) for name, value in ema.items()))
    assert torch.equal(load(path).generator.state_dict()[key], ema["input.input"][0])


def test_a_generator_without_controllers(tmp_path: Path) -> None:
    tiny_run(tmp_path / "generator")
    model = load(tmp_path)
    assert model.control_set is None
    assert any("there are no controllers beside generator/" in note for note in model.notes)


def test_a_group_that_no_published_control_has(tmp_path: Path) -> None:
    """Its numbers are taken as they come, and that is said."""
    groups = tuple(LatentGroup(name=name, size=20) for name in ("glasses", "other"))
    places = {"glasses": [0, 20], "other": [20, 40]}
    args = run_args(places=places)
    args["model_config"] |= {"latent_size": 40}
    config = ControllableConfig(base=TINY.base, groups=groups, mapping_layers=3, hidden_width=12)
    tiny_run(tmp_path / "generator", tiny_state(config), args)
    save_controller(tmp_path / "glasses_1", controller_state(2, 20))
    model = load(tmp_path)
    assert model.controls["glasses"].count == 2
    assert "no file says what the 2 numbers of the control glasses are" in model.notes


# ----------------------------------------------------------------------------------------------------------------------
# What is refused


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith("cannot import ")
    assert message.endswith("(nothing in it was run)")
    assert "\n" not in message
    return message


def _without(state: State, *names: str) -> State:
    return {name: value for name, value in state.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"conv9.weight\n": torch.ones(1)}, r"none of the official code: it also has conv9.weight\n"),
        (lambda s: s | {"style.age.4.weight": torch.ones(16, 16)}, "style.age.4.bias"),
        (lambda s: _without(s, "conv1.noise.weight"), "not complete: conv1.noise.weight is missing"),
        (lambda s: _without(s, "style.id.1.weight"), "its network has no style.id.1.weight"),
        (lambda s: s | {"conv1.activate.bias": torch.ones(3)}, "its conv1.activate.bias has shape [3]"),
        (
            lambda s: s | {"to_rgbs.0.upsample.kernel": torch.ones(4, 4)},
            "its to_rgbs.0.upsample.kernel does not follow",
        ),
        (lambda s: s | {"input.input": torch.ones(1, 4, 4, 4)}, "4 channels wide at 4 px, which no channel_multiplier"),
        (lambda s: s | {"conv1.conv.modulation.weight": torch.ones(16, 9000)}, "9000 wide, more than any network"),
    ],
)
def test_generators(change: Callable[[State], State], message: str, tmp_path: Path) -> None:
    assert message in refusal(tiny_run(tmp_path / "run", change(tiny_state(TINY))))


def _stated(**options: Any) -> dict[str, Any]:
    args = tiny_args()
    args["model_config"] |= options
    return args


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (tiny_args(age=[17, 32]), "age begins at 17 of z, not at 16"),
        (tiny_args(age=[12, 32]), "age begins at 12 of z, not at 16"),
        (tiny_args(other=[36, 44]), "do not add up: to 44, where w has 40 numbers"),
        (tiny_args(age=[16, 30], expression=[30, 36]), "the group age is 14 wide there, its mapping network 16"),
        (tiny_args(age=[16]), "gives the group age no place_in_latent"),
        (tiny_args(hair=[40, 48]), "it names the groups age, expression, hair, id, orientation, other"),
        (tiny_args(**{"to be": [40, 48]}), "has a group to be, which is no name"),
        (tiny_args(keys=[40, 48]), "has a group keys, which is no name"),
        ({"model_config": {}}, "names no latent groups: sub_groups_dict is missing"),
        (_stated(size=512), "belongs to another run: size is 512, in the weights 16"),
        (_stated(n_mlp=8), "belongs to another run: n_mlp is 8, in the weights 3"),
        (_stated(conv_transpose=False), "says conv_transpose=false"),
    ],
)
def test_layouts(args: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert message in refusal(tiny_run(tmp_path / "run", args=args))


def test_args_that_cannot_be_read(tmp_path: Path) -> None:
    folder = tiny_run(tmp_path / "run")
    for text, message in (
        ("[]", "holds no JSON object"),
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        (" " * (1 << 23), "far too large"),
    ):
        (folder / "args.json").write_text(text)
        assert message in refusal(folder)
    (folder / "args.json").unlink()
    assert "but their order stands in args.json, which is missing: put that of the run beside the file" in refusal(
        folder
    )


def test_folders_of_something_else(tmp_path: Path) -> None:
    assert "expected args.json and checkpoint/*.pt, or generator/" in refusal(tmp_path)
    path = save(tmp_path / "run" / "checkpoint" / "x.pt", {"state_dict": {"conv.weight": torch.ones(2)}})
    assert "it can be read, but comes from none of the codes" in refusal(path)
    state = {"l1.weight": torch.ones(8, 2), "pos_embed_1": torch.ones(1, 4, 2)}
    save(path, {"gen_state_dict": state})
    assert "its file is a TransGAN checkpoint, import that alone" in refusal(tmp_path / "run")
    assert refusal(tmp_path / "run").startswith("cannot import run: ")


@pytest.mark.parametrize(
    ("name", "state", "message"),
    [
        ("age_loss", controller_state(1, 14), "it makes 14 numbers, the latent group age has 16"),
        ("age_loss", controller_state(2, 16), "it takes 2 numbers, not 1 (age)"),
        ("expression_q", controller_state(7, 4), "it takes 7 numbers, not 64 (expression) or 8 (expression_q)"),
        ("hair_loss", controller_state(3, 8), "begins with no latent group; there are id, orientation, age,"),
        ("ages", controller_state(1, 16), "begins with no latent group"),
        ("age_2", {"fc.0.weight": torch.ones(1)}, "other layers than fc_stack.0"),
        (
            "age_2",
            controller_state(1, 16) | {"fc_stack.1.weight": torch.ones(3, 4)},
            "fc_stack.1 does not fit the others",
        ),
        ("age_2", controller_state(1, 16) | {"fc_stack.1.bias": torch.ones(3)}, "fc_stack.1 does not fit the others"),
        ("age_2", {"fc_stack.0.weight": torch.zeros(9, 0), "fc_stack.0.bias": torch.zeros(9)}, "no fc_stack.0.weight"),
    ],
)
def test_controllers_that_do_not_fit(name: str, state: State, message: str, tmp_path: Path) -> None:
    tiny_run(tmp_path / "generator")
    save_controller(tmp_path / name, state)
    found = refusal(tmp_path)
    assert f"its controller {name} does not fit: " in found
    assert message in found


def test_controllers_in_the_wrong_place(published: Path, tmp_path: Path) -> None:
    path = published / "age_loss_2021" / "checkpoint" / "best_fid.pt"
    assert "it holds a controller, which is of no use without its generator" in refusal(path)
    save_controller(published / "age_again", controller_state(1, 16))
    assert "a second folder for the control age" in refusal(published)
    save(published / "age_again" / "checkpoint" / "best_fid.pt", run_content(tiny_state(TINY)))
    assert "best_fid.pt holds no controller" in refusal(published)
    save_controller(tmp_path / "p" / "age", controller_state(1, 16))
    save(tmp_path / "p" / "generator" / "x.pt", run_content(generator_state("ganctl_gen_plain")))
    assert "its generator has no latent groups" in refusal(tmp_path / "p")


class _Program:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch the-code-was-run",)


def test_nothing_is_run(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    controller = published / "age_loss_2021" / "checkpoint" / "best_fid.pt"
    whole = controller.read_bytes()
    save(controller, {"controller": controller_state(1, 16), "args": _Program()})
    assert "its controller age_loss_2021 does not fit: it asks for posix.system, which no network" in refusal(published)
    for length in (0, 10, len(whole) // 2, len(whole) - 100):
        controller.write_bytes(whole[:length])
        assert "its controller age_loss_2021 does not fit: " in refusal(published)
    generator = published / "generator" / "checkpoint" / "000100.pt"
    save(generator, run_content(tiny_state(TINY)) | {"args": _Program()})
    assert "it asks for posix.system, which no network needs" in refusal(published)
    assert not (tmp_path / "the-code-was-run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"extra": torch.ones(1)}, "its discriminator is none of the official code: it also has extra"),
        (lambda s: s | {"convs.1.skip.0.kernel": torch.ones(4, 4)}, "its convs.1.skip.0.kernel does not follow"),
        (lambda s: _without(s, "final_linear.1.bias"), "its network is not complete: final_linear.1.bias is missing"),
        (lambda s: _without(s, "convs.2.conv2.1.weight"), "it judges images of 8 px"),
    ],
)
def test_a_discriminator_of_something_else_is_left_out(
    change: Callable[[State], State], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    d = tiny_discriminator_state(JUDGE)
    save(folder / "checkpoint" / "x.pt", run_content(tiny_state(TINY), d), tiny_args())
    judge = load(folder).discriminator
    assert judge is not None
    assert judge.config == JUDGE
    save(folder / "checkpoint" / "x.pt", run_content(tiny_state(TINY), change(d)))
    model = load(folder)
    assert model.discriminator is None
    assert any(note.startswith(f"the discriminator is left out: {message}") for note in model.notes)
    assert not any("discriminator" in note for note in load(folder, discriminator=False).notes)
