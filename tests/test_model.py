"""Model: images from seeds, the folder on the disk, and everything that may be written where MODEL is expected."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gantrol
from gantrol import checkpoint, hub
from gantrol.config import to_dict
from gantrol.control import ControlSet
from gantrol.controls import ControlWarning
from gantrol.device import choose_device
from gantrol.errors import CheckpointError, ConfigError
from gantrol.model import Model
from gantrol.models import StyleGAN2Config, StyleGAN2DiscriminatorConfig, StyleGAN3Config, make_transform
from gantrol.pictures import to_arrays


def tiny_stylegan3(c_dim: int = 0) -> Model:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"num_layers": 4, "channel_base": 256, "channel_max": 8, "z_dim": 8, "w_dim": 8}
    g = StyleGAN3Config(resolution_px=32, c_dim=c_dim, **sizes).build().eval().requires_grad_(False)
    g.mapping.w_avg.normal_()
    d = StyleGAN2DiscriminatorConfig(resolution_px=32, channel_base=256, channel_max=8, c_dim=c_dim).build()
    return Model(g, d, training={"kimg": 12.5, "data": "faces.zip"})


def tiny_stylegan2() -> Model:
    torch.manual_seed(0)
    config = StyleGAN2Config(resolution_px=16, channel_base=128, channel_max=16, z_dim=8, w_dim=8, mapping_layers=2)
    g = config.build().eval().requires_grad_(False)
    for name, parameter in g.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.5)
    return Model(g)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_stylegan3()


def write_run(folder: Path, model: Model, n_img: int = 4000) -> Path:
    """A run as the trainer writes it: config.json and one checkpoint."""
    config = {
        "format": "gantrol-run",
        "format_version": 1,
        "preset": "stylegan3-t",
        "data": "faces.zip",
        "generator": to_dict(model.generator.config),
        "discriminator": to_dict(model.discriminator.config),
    }
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {"pl_mean": torch.zeros([])}
    for prefix, module in (("g", model.generator), ("g_ema", model.generator), ("d", model.discriminator)):
        tensors |= {f"{prefix}.{name}": value for name, value in module.state_dict().items()}
    path = folder / "checkpoints" / f"{n_img:09d}.safetensors"
    checkpoint.save(path, tensors, {"n_img": n_img})
    return path


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, gantrol; assert 'torch' not in sys.modules; assert callable(gantrol.load)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert gantrol.load.__module__ == "gantrol.model"
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        gantrol.lod  # noqa: B018


# --------------------------------------------------------------------------------------------------------------
# Images


def test_latents_follow_the_rule_of_the_field(model: Model) -> None:
    z = np.random.RandomState(7).randn(1, 8).astype(np.float32)
    torch.testing.assert_close(model.map(seeds=[7]), model.map(z=torch.from_numpy(z)), rtol=0, atol=0)


def test_outputs_are_the_same_images_in_three_forms(model: Model) -> None:
    tensors = model.generate([0, 1, 2], output="pt")
    arrays = model.generate([0, 1, 2], output="np")
    pictures = model.generate([0, 1, 2])
    assert tensors.shape == (3, 3, 32, 32)
    assert tensors.min() >= -1
    assert tensors.max() <= 1
    assert arrays.shape == (3, 32, 32, 3)
    assert arrays.dtype == np.uint8
    np.testing.assert_array_equal(arrays, to_arrays(tensors))
    np.testing.assert_array_equal(arrays, np.stack([np.asarray(picture) for picture in pictures]))
    assert arrays.std() > 5


def test_an_image_belongs_to_its_seed_alone(model: Model) -> None:
    together = model.generate(range(7), output="pt", batch_size=4)
    torch.rand(3)  # the global random state plays no part
    for seed in (0, 5, 6):
        torch.testing.assert_close(together[seed : seed + 1], model.generate([seed], output="pt"))


def test_random_noise_is_drawn_from_the_seed() -> None:
    model = tiny_stylegan2()
    state = torch.get_rng_state()
    first = model.generate([3, 4], noise_mode="random", output="pt")
    second = model.generate([9, 4], noise_mode="random", output="pt", batch_size=1)
    torch.testing.assert_close(first[1], second[1])
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.allclose(first[1], model.generate([4], output="pt")[0], atol=1e-2)
    fresh = model.synthesize(model.map([4]), noise_mode="random")
    assert not torch.allclose(fresh, model.synthesize(model.map([4]), noise_mode="random"), atol=1e-2)


def test_generate_is_map_then_synthesize(model: Model) -> None:
    ws = model.map(seeds=[0, 1], truncation_psi=0.7, truncation_cutoff=3)
    assert ws.shape == (2, model.generator.num_ws, 8)
    images = model.generate([0, 1], truncation_psi=0.7, truncation_cutoff=3, output="pt")
    torch.testing.assert_close(model.synthesize(ws), images)
    assert not torch.equal(images, model.generate([0, 1], output="pt"))


def test_synthesize_is_differentiable_where_asked(model: Model) -> None:
    ws = model.map([0])
    assert not model.synthesize(ws).requires_grad
    ws.requires_grad_(True)
    (gradient,) = torch.autograd.grad(model.synthesize(ws).sum(), ws)
    assert gradient.abs().sum() > 0


def test_translation_and_rotation_leave_no_trace(model: Model) -> None:
    before = model.generate([0], output="pt")
    moved = model.generate([0], translate=(0.25, 0.0), output="pt")
    # A quarter of 32 px to the right; the border is new, and the finite filters leave a small error.
    inner = (slice(None), slice(None), slice(None), slice(10, 32))
    shifted = before.roll(8, dims=3)
    error = (moved[inner] - shifted[inner]).square().mean().sqrt()
    assert error < 0.1 * before.std()
    turned = model.generate([0], rotate=15.0, output="pt")
    assert not torch.allclose(turned, before, atol=1e-2)
    torch.testing.assert_close(model.generate([0], output="pt"), before, rtol=0, atol=0)

    model.generator.synthesis.input.set_transform(make_transform((0.1, 0.0), 5.0))
    kept = model.generator.synthesis.input.transform.clone()
    with pytest.raises(ConfigError):
        model.generate([0], rotate=3.0, noise_mode="wrong")  # type: ignore[arg-type]
    assert torch.equal(model.generator.synthesis.input.transform, kept)
    model.generator.synthesis.input.set_transform(None)


def test_conditional_models_need_a_class() -> None:
    model = tiny_stylegan3(c_dim=3)
    one_class = model.generate([0, 1], class_index=2, output="pt")
    per_image = model.generate([0, 1], class_index=[0, 2], output="pt")
    torch.testing.assert_close(one_class[1], per_image[1])
    assert not torch.allclose(one_class[0], per_image[0], atol=1e-3)
    with pytest.raises(ConfigError, match="choose a class from 0 to 2"):
        model.generate([0])
    with pytest.raises(ConfigError, match="class 3: this model has the classes 0 to 2"):
        model.generate([0], class_index=3)
    with pytest.raises(ConfigError, match="2 classes for 1 images"):
        model.generate([0], class_index=[0, 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": []}, "no seeds"),
        ({"seeds": [-1]}, "seed -1"),
        ({"seeds": [2**32]}, "seed 4294967296"),
        ({"seeds": [0], "output": "pill"}, "did you mean pil"),
        ({"seeds": [0], "controls": {"age": 60}}, "'age': this model has no controls"),
        ({"seeds": [0], "class_index": 1}, "no classes"),
        ({"seeds": [0], "noise_mode": "constant"}, "did you mean const"),
        ({"seeds": [0], "batch_size": 0}, "batch size 0"),
        ({"seeds": [0], "rotate": float("nan")}, "finite"),
    ],
)
def test_impossible_requests_are_one_line(model: Model, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        model.generate(**arguments)
    assert "\n" not in str(caught.value)


def test_stylegan2_cannot_be_moved() -> None:
    with pytest.raises(ConfigError, match="stylegan2 model cannot be translated"):
        tiny_stylegan2().generate([0], translate=(0.1, 0.0))


def test_map_takes_seeds_or_z(model: Model) -> None:
    with pytest.raises(ConfigError, match="either seeds or z"):
        model.map()
    with pytest.raises(ConfigError, match="either seeds or z"):
        model.map([0], z=torch.zeros(1, 8))


def test_controls_are_a_read_only_mapping(model: Model) -> None:
    assert dict(model.controls) == {}
    with pytest.raises(TypeError):
        model.controls["age"] = 1  # type: ignore[index]


class Steering(ControlSet):
    """One control, which moves the first feature of every w."""

    config = None
    controls = {"age": gantrol.Control("years", 0.0, 100.0, 30.0, "older")}  # noqa: RUF012

    def steer(self, ws: torch.Tensor, values: Any) -> torch.Tensor:
        ws = ws.clone()
        ws[:, :, 0] += values["age"] / 10 - 3 if "age" in values else 0
        return ws


def test_a_model_applies_its_controls_in_map(model: Model) -> None:
    steered = Model(model.generator, control_set=Steering())
    before = model.generate([0, 1], output="pt")
    torch.testing.assert_close(steered.generate([0, 1], output="pt"), before)
    older = steered.generate([0, 1], controls={"age": 80}, output="pt", batch_size=1)
    torch.testing.assert_close(steered.synthesize(steered.map([0, 1], controls={"age": 80})), older)
    assert not torch.allclose(older, before, atol=1e-2)
    with pytest.warns(ControlWarning, match="'age': 130 is out of its range of 0 to 100 \\(years\\); 100 is taken"):
        steered.generate([0], controls={"age": 130})
    with pytest.raises(ConfigError, match="did you mean age"):
        steered.generate([0], controls={"aeg": 1})


# --------------------------------------------------------------------------------------------------------------
# Model folders


def test_a_saved_model_comes_back(tmp_path: Path, model: Model) -> None:
    folder = model.save_pretrained(tmp_path / "faces")
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["README.md", "config.json", "discriminator.safetensors", "generator.safetensors"]
    state = torch.get_rng_state()
    again = gantrol.load(folder)
    assert torch.equal(state, torch.get_rng_state())
    assert again.info == model.info
    torch.testing.assert_close(again.generate([5], output="pt"), model.generate([5], output="pt"), rtol=0, atol=0)
    assert not again.generator.training
    assert not any(parameter.requires_grad for parameter in again.generator.parameters())
    logits = again.discriminator(torch.zeros(4, 3, 32, 32))
    torch.testing.assert_close(logits, model.discriminator.eval()(torch.zeros(4, 3, 32, 32)))


def test_the_card_says_what_the_model_is(tmp_path: Path, model: Model) -> None:
    card = (model.save_pretrained(tmp_path / "m") / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: gantrol\n")
    for fact in ("StyleGAN3", "32 px", "12.5 thousand images", "faces.zip", "2,967 parameters", "gantrol.load("):
        assert fact in card


def test_saving_replaces_a_model_but_nothing_else(tmp_path: Path, model: Model) -> None:
    folder = model.save_pretrained(tmp_path / "m")
    (folder / ".gitattributes").write_text("kept")
    Model(model.generator).save_pretrained(folder)
    files = sorted(path.name for path in folder.iterdir())
    assert files == [".gitattributes", "README.md", "config.json", "generator.safetensors"]
    assert gantrol.load(folder).discriminator is None
    assert [path.name for path in tmp_path.iterdir()] == ["m"]

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    with pytest.raises(CheckpointError, match="holds other files"):
        model.save_pretrained(tmp_path / "photos")
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="it is a file"):
        model.save_pretrained(tmp_path / "file")


def test_a_failed_save_keeps_the_old_model(tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model.save_pretrained(tmp_path / "m")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gantrol.model.model_card", full)
    with pytest.raises(CheckpointError, match="disk is full"):
        model.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("damage", ["weights", "missing weights", "config", "version", "kind", "field", "shape"])
def test_damage_is_one_line_and_never_half_loaded(tmp_path: Path, model: Model, damage: str) -> None:
    folder = model.save_pretrained(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    weights = folder / "generator.safetensors"
    if damage == "weights":
        weights.write_bytes(weights.read_bytes()[:-4])
    elif damage == "missing weights":
        weights.unlink()
    elif damage == "version":
        config["format_version"] = 2
    elif damage == "kind":
        config["generator"]["kind"] = "stylegan4"
    elif damage == "field":
        config["generator"]["channel_mux"] = 3
    elif damage == "shape":
        config["generator"]["channel_max"] = 4
    text = "{" if damage == "config" else json.dumps(config)
    (folder / "config.json").write_text(text)
    expected = {
        "weights": "damaged",
        "missing weights": "No such file",
        "config": "cannot be read as JSON",
        "version": "pip install -U gantrol",
        "kind": "did you mean",
        "field": "did you mean channel_max",
        "shape": "do not fit its config",
    }[damage]
    with pytest.raises(CheckpointError, match=rf"^[^\n]*{expected}[^\n]*$"):
        gantrol.load(folder)


def test_devices_and_dtypes_are_checked(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="expected auto, cpu, cuda"):
        choose_device("gpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match="'cuda:1' is not present"):
        choose_device("cuda:1")
    with pytest.raises(ConfigError, match=r"dtype=torch\.int8"):
        Model(model.generator, dtype=torch.int8)


# --------------------------------------------------------------------------------------------------------------
# What MODEL may be


def test_a_run_is_a_model(tmp_path: Path, model: Model) -> None:
    write_run(tmp_path / "run", model, 2000)
    newest = write_run(tmp_path / "run", model, 4000)
    loaded = gantrol.load(tmp_path / "run")
    torch.testing.assert_close(loaded.generate([5], output="pt"), model.generate([5], output="pt"))
    assert loaded.discriminator is not None
    assert loaded.training["kimg"] == 4
    assert loaded.training["preset"] == "stylegan3-t"

    newest.write_bytes(newest.read_bytes()[:-1])
    assert gantrol.load(tmp_path / "run").training["kimg"] == 2
    assert hub.resolve(tmp_path / "run").skipped == (newest,)
    with pytest.raises(CheckpointError, match="damaged"):
        gantrol.load(newest)
    older = tmp_path / "run" / "checkpoints" / "000002000.safetensors"
    assert gantrol.load(older).training["checkpoint"] == older.name
    newest.unlink()
    older.unlink()
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        gantrol.load(tmp_path / "run")


@pytest.mark.parametrize("name", ["official.pkl", "net.pt", "net.pth", "last.ckpt"])
def test_pickles_are_never_opened(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("opened a pickle"))
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(CheckpointError, match="gantrol import"):
        gantrol.load(tmp_path / name)


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "data.zip").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "bert"}')
    for name, message in {
        "images": r"holds no config\.json",
        "data.zip": "is a file, not a model",
        "other": "is not of gantrol",
        "absent": "no model",
    }.items():
        with pytest.raises(CheckpointError, match=message):
            gantrol.load(tmp_path / name)


def test_an_installation_without_the_bundled_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_BUNDLED", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="'faces' is not part of this installation: pip install -U gantrol"):
        gantrol.load("faces")


def test_a_bundled_name_is_found(tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_BUNDLED", tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    model.save_pretrained(tmp_path / "faces")
    assert gantrol.load("faces").config == model.config


def test_hub_models_are_downloaded_without_pickles(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}
    folder = model.save_pretrained(tmp_path / "snapshot")

    def download(repo_id: str, allow_patterns: list[str]) -> str:
        asked.update(repo_id=repo_id, patterns=allow_patterns)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert gantrol.load("user/name").config == model.config
    assert asked == {"repo_id": "user/name", "patterns": ["config.json", "*.safetensors", "README.md"]}


def test_an_unreachable_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fail(*_: object, **__: object) -> None:
        raise LocalEntryNotFoundError("no\nnetwork")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(CheckpointError, match=r"^user/name: [^\n]*cannot be reached[^\n]*$"):
        gantrol.load("user/name")


def test_a_model_is_pushed_as_a_folder(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded: list[str] = []

    class Api:
        def __init__(self, token: str | None) -> None: ...

        def create_repo(self, repo_id: str, **_: object) -> str:
            return f"https://huggingface.co/{repo_id}"

        def upload_folder(self, folder_path: str, **_: object) -> None:
            uploaded.extend(sorted(path.name for path in Path(folder_path).iterdir()))

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert model.push_to_hub("user/name") == "https://huggingface.co/user/name"
    assert uploaded == ["README.md", "config.json", "discriminator.safetensors", "generator.safetensors"]
