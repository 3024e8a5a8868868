"""Official pickles become models: every config, older files, what is left out, and the folder that is written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import gantrol
from gantrol.convert import import_checkpoint
from gantrol.errors import CheckpointError, ConfigError
from tests.convert.official_pickles import (
    TINY_2,
    TINY_D,
    TINY_R,
    TINY_T,
    EasyDict,
    Module,
    official,
    shaken,
    snapshot,
    write,
)

GENERATORS: dict[str, Any] = {
    "t": TINY_T,
    "t-conditional": dataclasses.replace(TINY_T, c_dim=4, z_dim=6, channels=1, num_low_precision_res=1),
    "r": TINY_R,
    "stylegan2-skip": TINY_2,
    "stylegan2-resnet": dataclasses.replace(TINY_2, architecture="resnet", c_dim=0, conv_clamp=None),
    "stylegan2-orig": dataclasses.replace(TINY_2, architecture="orig", use_noise=False, num_low_precision_res=0),
}
DISCRIMINATORS: dict[str, Any] = {
    "resnet": TINY_D,
    "skip": dataclasses.replace(TINY_D, architecture="skip", mbstd_group_size=None),
    "orig": dataclasses.replace(TINY_D, architecture="orig", mbstd_channels=0, num_low_precision_res=0),
    "conditional": dataclasses.replace(TINY_D, c_dim=3, mapping_layers=2, cmap_dim=5, mbstd_group_size=8, channels=1),
}


def same_weights(a: Any, b: Any) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)


def image(generator: Any) -> torch.Tensor:
    z = torch.randn(2, generator.z_dim, generator=torch.Generator().manual_seed(1))
    c = torch.eye(generator.c_dim)[:2] if generator.c_dim else None
    return generator(z, c, truncation_psi=0.7, noise_mode="const")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["t", "stylegan2-skip"])
def test_every_protocol(name: str, protocol: int, tmp_path: Path) -> None:
    g = shaken(GENERATORS[name])
    path = write(tmp_path / "g.pkl", snapshot(g), protocol)
    assert same_weights(import_checkpoint(path, device="cpu").generator, g)


@pytest.mark.parametrize("name", GENERATORS)
def test_generators(name: str, tmp_path: Path) -> None:
    g = shaken(GENERATORS[name])
    path = write(tmp_path / "g.pkl", snapshot(g))
    state = torch.get_rng_state()
    model = import_checkpoint(path, device="cpu")
    assert torch.equal(state, torch.get_rng_state())
    assert model.config == g.config
    assert model.notes == []
    assert same_weights(model.generator, g)
    assert torch.equal(image(model.generator), image(g))
    assert not any(parameter.requires_grad for parameter in model.generator.parameters())
    assert not Path("/tmp/the-source-code-in-a-checkpoint-was-run").exists()


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminators(name: str, tmp_path: Path) -> None:
    g, d = shaken(TINY_T), shaken(DISCRIMINATORS[name])
    model = import_checkpoint(write(tmp_path / "g.pkl", snapshot(g, d)), device="cpu")
    assert model.notes == []
    assert model.discriminator is not None
    assert model.discriminator.config == d.config
    images, c = torch.randn(8, d.channels, 16, 16), torch.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]] if d.c_dim else None
    assert torch.equal(model.discriminator(images, c), d(images, c))
    assert import_checkpoint(tmp_path / "g.pkl", discriminator=False, device="cpu").discriminator is None


@pytest.mark.parametrize("name", ["stylegan2-skip", "stylegan2-resnet", "t"])
def test_older_files_say_less(name: str, tmp_path: Path) -> None:
    """Without attributes the arguments count; without these, the tensors' shapes and the defaults of the time."""
    g = shaken(dataclasses.replace(GENERATORS[name], w_avg_beta=0.998))
    module = official(g, is_old=True)
    assert import_checkpoint(write(tmp_path / "a.pkl", {"G_ema": module}), device="cpu").config == g.config
    module.state["_init_kwargs"] = EasyDict(synthesis_kwargs=EasyDict()) if name != "t" else EasyDict(margin_size=4)
    config = import_checkpoint(write(tmp_path / "b.pkl", {"G_ema": module}), device="cpu").config
    is_t = name == "t"
    assert config.conv_clamp == (256 if is_t else None)
    assert config.num_low_precision_res == (4 if is_t else 0)
    assert torch.equal(image(import_checkpoint(tmp_path / "b.pkl", device="cpu").generator), image(g))


def test_which_generator(tmp_path: Path) -> None:
    ema, raw = shaken(TINY_T, 1), shaken(TINY_T, 2)
    path = write(tmp_path / "both.pkl", snapshot(ema, None, raw))
    assert same_weights(import_checkpoint(path, device="cpu").generator, ema)
    assert same_weights(import_checkpoint(path, weights="raw", device="cpu").generator, raw)
    with pytest.raises(ConfigError, match="weights='best'; known: ema, raw"):
        import_checkpoint(path, weights="best")  # type: ignore[arg-type]

    only_raw = import_checkpoint(write(tmp_path / "raw.pkl", {"G": official(raw)}), device="cpu")
    assert same_weights(only_raw.generator, raw)
    assert only_raw.notes == ["there is no G_ema in the file: the raw weights G are used"]
    alone = write(tmp_path / "alone.pkl", official(ema))
    assert same_weights(import_checkpoint(alone, device="cpu").generator, ema)
    with pytest.raises(CheckpointError, match="holds no G, only"):
        import_checkpoint(alone, weights="raw")


def test_a_transform_is_not_kept_but_told(tmp_path: Path) -> None:
    module = official(shaken(TINY_T))
    module["synthesis.input"].state["_buffers"]["transform"] = torch.eye(3) * 0.5
    model = import_checkpoint(write(tmp_path / "g.pkl", {"G_ema": module}), device="cpu")
    assert model.notes == ["the saved generator was moved or turned by its user; the imported one is upright"]


def test_a_strange_discriminator_is_left_out(tmp_path: Path) -> None:
    content = snapshot(shaken(TINY_T)) | {"D": Module("ProjectedDiscriminator")}
    model = import_checkpoint(write(tmp_path / "g.pkl", content), device="cpu")
    assert model.discriminator is None
    assert model.notes == [
        "the discriminator is left out: its ProjectedDiscriminator is no discriminator of the official code"
    ]


def test_half_precision_weights_become_full(tmp_path: Path) -> None:
    g = shaken(TINY_T)
    module = official(g)
    weight = module["mapping.fc0"].state["_parameters"]["weight"].half()
    module["mapping.fc0"].state["_parameters"]["weight"] = weight
    model = import_checkpoint(write(tmp_path / "g.pkl", {"G_ema": module}), device="cpu")
    assert torch.equal(model.generator.mapping.layers[0].weight, weight.float())


def _changed(path: str, changes: dict[str, Any]) -> Module:
    module = official(shaken(TINY_2))
    module[path].state.update(changes)
    return module


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_changed("mapping.fc0", {"activation": "relu"}), "layer mapping.fc0 has another activation: relu"),
        (_changed("mapping.fc0", {"activation": [[["x"]]]}), "another activation: list"),
        (_changed("mapping.fc1", {"bias_gain": 0.1}), "mapping.fc1 has another learning-rate multiplier: 0.1"),
        (_changed("synthesis.b8.conv0", {"conv_clamp": 3}), "different limits of their activations"),
        (_changed("synthesis", {"_init_kwargs": {"use_magic": True}}), "made with the option use_magic"),
        (_changed("synthesis", {"_init_kwargs": {"channel_base": 10**9}}), "cannot be|do not fit"),
        (_changed("synthesis", {"_init_kwargs": {"channel_max": 2**60}}), "channel_max=1152921504606846976, which"),
        (_changed("synthesis.b8", {"_modules": {}}), "no synthesis.b8.conv1.weight|do not fit"),
        (_changed("synthesis.b8", {"_modules": {"conv0": {"no": "module"}}}), "b8.conv0 is no official module"),
        (_changed("mapping", {"_buffers": {"w_avg": [1, 2]}}), "mapping.w_avg is no tensor"),
        (_changed("mapping", {"_buffers": {"w_avg": torch.zeros(0)}}), "mapping.w_avg is no tensor"),
        (_changed("mapping", {"_buffers": {"w_avg": torch.zeros(9)}}), r"w_avg has shape \[9\], expected \[8\]"),
        (_changed("mapping", {"_buffers": {"w_avg": torch.zeros(8), "w_std": torch.zeros(8)}}), "w_std is unknown"),
        (_changed("mapping", {"w_avg_beta": "0.9"}), "w_avg_beta"),
        (_changed("mapping", {"w_avg_beta": float("nan")}), "w_avg_beta=nan, which cannot be"),
        (Module("Generator"), "its Generator is neither a StyleGAN2 nor a StyleGAN3 generator"),
        ({"G_ema": None, "D": None}, "comes from none of the codes that can be imported"),
        ([1, 2, 3], "comes from none of the codes"),
    ],
)
def test_other_networks_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "g.pkl", {"G_ema": content} if isinstance(content, Module) else content)
    with pytest.raises(CheckpointError, match=message) as caught:
        import_checkpoint(path)
    assert str(caught.value).startswith("cannot import g.pkl: ")
    assert str(caught.value).endswith("(nothing in it was run)")
    assert "\n" not in str(caught.value)


def test_modules_in_circles_end(tmp_path: Path) -> None:
    module = official(shaken(TINY_2))
    state = module["mapping"].state
    state["_modules"] = {f"m{i}": Module("Many") for i in range(3)}
    for child in state["_modules"].values():
        child.state["_modules"] = state["_modules"]  # a pickle can say so, with two dictionaries that hold each other
    with pytest.raises(CheckpointError, match="nested like in no network"):
        import_checkpoint(write(tmp_path / "g.pkl", {"G_ema": module}))


def test_the_written_model_is_a_model(tmp_path: Path) -> None:
    g, d = shaken(TINY_2), shaken(dataclasses.replace(TINY_D, c_dim=3))
    path = write(tmp_path / "cats, the `best`.pkl", snapshot(g, d))
    seen: list[tuple[int, int]] = []
    model = import_checkpoint(path, device="cpu", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)
    folder = model.save_pretrained(tmp_path / "model")
    assert {file.name for file in folder.iterdir()} == {
        "config.json",
        "generator.safetensors",
        "discriminator.safetensors",
        "README.md",
    }
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    training = json.loads((folder / "config.json").read_text())["training"]
    assert training == {
        "license": "other",
        "weights": "G_ema",
        "data": "cats.zip",
        "imported_from": "cats_ the _best_.pkl",
        "format": "NVIDIA StyleGAN pickle",
        "sha256": digest,
    }
    card = (folder / "README.md").read_text()
    assert "license: other" in card
    assert digest in card
    assert "keep the licence they were published under" in card
    assert "/home/someone" not in card
    again = gantrol.load(folder, device="cpu")
    assert again.config == g.config
    assert torch.equal(image(again.generator), image(g))
    assert again.training == training


def test_the_package_offers_it() -> None:
    assert gantrol.convert.import_checkpoint is import_checkpoint
