"""Checkpoints of TransGAN and AutoGAN become models: every layout, what is assumed, left out and refused."""

from __future__ import annotations

import dataclasses
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gantrol
from gantrol.cli.import_checkpoint import ImportCheckpoint, run
from gantrol.convert import import_checkpoint
from gantrol.convert.transgan_names import generator_name, multi_scale_name
from gantrol.errors import CheckpointError
from gantrol.models import (
    TransGANDiscriminatorConfig,
    TransGANScale,
    transgan_v1,
    transgan_v2,
    transgan_v2_discriminator,
)
from gantrol.models.transformer import relative_position_index
from tests.models.golden_models import Golden
from tests.models.golden_transgan import formula_state, golden_discriminator, golden_generator

NO_HEADS = "the file does not say how many heads attention has: taken as 4, as published"
DEAD = "to_rgb.0.bias, to_rgb.0.num_batches_tracked, to_rgb.0.running_mean, to_rgb.0.running_var, to_rgb.0.weight"

State = dict[str, Tensor]


def state_of(name: str) -> State:
    """The official state dict of a fixture: names, shapes and values as the official code has them."""
    golden = Golden(name)
    return formula_state(golden.info) if "state_formula" in golden.info else golden.state


def write(path: Path, g: State, d: State | None = None, *, wrapper: str = "", **others: Any) -> Path:
    """A file like those of the official training code, its averaged generator being `g`."""
    content: dict[str, Any] = {"epoch": 7, "gen_model": "ViT_custom_rp", "dis_model": "ViT_custom_scale2_rp_noise"}
    states = {"avg_gen_state_dict": g, "gen_state_dict": {name: value + 1 for name, value in g.items()}}
    if d is not None:
        states["dis_state_dict"] = d
    for key, state in states.items():
        content[key] = OrderedDict((wrapper + name, value) for name, value in state.items())
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight], lr=1e-4, betas=(0.0, 0.99))
    weight.sum().backward()
    optimizer.step()
    content |= {"gen_optimizer": optimizer.state_dict(), "dis_optimizer": optimizer.state_dict()}
    content |= {"best_fid": np.float64(9.26), "path_helper": {"prefix": "logs/cifar"}, "fixed_z": torch.randn(2, 3)}
    torch.save(content | others, path)
    return path


def official(model: Any, name_of: Callable[[str], str]) -> State:
    """The state dict of a model of ours as the official code of version 2 would save it."""
    state: State = {}
    for name, value in model.state_dict().items():
        if name.endswith("relative_position"):
            value = value.T.contiguous()
            window = (int(value.shape[0] ** 0.5) + 1) // 2
            block = name_of(name).removesuffix("_bias_table")
            state[f"{block}_index"] = relative_position_index(window).long()
        elif name.endswith("positions"):
            value = value[None]
        elif name == "cls":
            value = value[None, None]
        elif name.endswith("to_rgb.weight"):
            value = value[:, :, None, None]
        state[name_of(name)] = value
    return state


def shaken(config: Any) -> Any:
    """A network whose every parameter is random."""
    torch.manual_seed(0)
    model = config.build().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(0, 0.2)
    return model


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)


@pytest.mark.parametrize(
    ("g_name", "d_name"),
    [
        ("transgan_v1_gen_vit", None),
        ("transgan_v1_gen_masked", "transgan_v1_dis"),
        ("transgan_v2_gen_ln", None),
        ("transgan_v2_gen_pn", "transgan_v2_dis"),
    ],
)
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_files_of_the_official_code(g_name: str, d_name: str | None, wrapper: str, tmp_path: Path) -> None:
    """Names, shapes and values of the fixtures come from the official networks, and so do the pictures."""
    d_state = None if d_name is None else state_of(d_name)
    path = write(tmp_path / "official.pth", state_of(g_name), d_state, wrapper=wrapper)
    random = torch.get_rng_state()
    model = import_checkpoint(path, device="cpu")
    assert torch.equal(random, torch.get_rng_state())
    golden, expected = golden_generator(g_name)
    assert model.config == expected.config
    assert same_weights(model.generator, expected)
    last = f".epoch{max(golden.info['epochs'])}" if "v1" in g_name else ""
    golden.check(model.generator(golden["z"]), f"image{last}")
    if d_name is not None:
        golden, expected = golden_discriminator(d_name)
        assert model.discriminator is not None
        assert model.discriminator.config == expected.config
        assert same_weights(model.discriminator, expected)
    assert model.training["format"] == "TransGAN checkpoint"
    assert model.training["weights"] == "avg_gen_state_dict"
    assert model.training["epoch"] == 7
    if "v1" in g_name:
        assert f"{NO_HEADS} (generator)" in model.notes
        assert f"left out, as the generator has no use for them: {DEAD}" in model.notes
    else:
        normalised = "whether latents were normalised (latent_norm): taken as not, as published (generator)"
        assert f"the file does not say {normalised}" in model.notes


def test_the_networks_of_256_pixels(tmp_path: Path) -> None:
    """Cross-attention, noise, bicubic stages, smoothing; a discriminator with overlapping patches and windows."""
    path = write(tmp_path / "celeba.pth", state_of("transgan_256_gen"), state_of("transgan_256_dis"))
    model = import_checkpoint(path, device="cpu")
    golden, expected = golden_generator("transgan_256_gen")
    assert model.config == expected.config
    assert same_weights(model.generator, expected)
    with torch.no_grad():  # the stage of one feature is too sensitive to compare other than exactly
        assert torch.equal(*(g(golden["z"], noise_mode="none") for g in (model.generator, expected)))
    assert any("blocks_2.block.0.cross_attention.noise_strength_1" in note for note in model.notes)
    assert "the discriminator is left out: it judges images of 64 px" in model.notes  # as the fixtures' sizes are

    state = official(shaken(transgan_v2("64", width_divisor=16)), generator_name("levels"))
    path = write(tmp_path / "64.pth", state, state_of("transgan_256_dis"))
    model = import_checkpoint(path, device="cpu")
    golden, judge = golden_discriminator("transgan_256_dis")
    assert model.discriminator is not None
    assert dataclasses.replace(judge.config, heads=4) == model.discriminator.config
    assert same_weights(model.discriminator, judge)
    assert (
        "the file does not say how large the windows of blocks_1 are: taken as 4×4, as published (discriminator)"
        in (model.notes)
    )


@pytest.mark.parametrize("layout", ["cifar10", "stl10", "church-256"])
def test_layouts_of_version_2(layout: str, tmp_path: Path) -> None:
    """All stages, windows and groups of blocks, at small widths; the tables of indices are left out silently."""
    config = transgan_v2(layout, width_divisor=16)
    if layout == "church-256":  # at a quarter of the size
        sides = {stage.side: stage.side // 4 for stage in config.stages}
        stages = tuple(
            dataclasses.replace(s, side=sides[s.side], depth=1, window=s.window and s.window // 4)
            for s in config.stages
        )
        config = dataclasses.replace(config, resolution_px=64, stages=stages)
    else:
        config = dataclasses.replace(
            config, stages=tuple(dataclasses.replace(stage, depth=2) for stage in config.stages)
        )
    g = shaken(config)
    if layout == "church-256":
        scales = (
            TransGANScale(patch_px=4, channels=12, depth=2, window=4, global_depth=1),
            TransGANScale(patch_px=8, channels=4, global_depth=2),
            TransGANScale(patch_px=16, channels=8, global_depth=1),
        )
        judge = TransGANDiscriminatorConfig(resolution_px=64, scales=scales, relative_position=True)
        first_groups = [2, 2, 1]
    else:
        judge = transgan_v2_discriminator(layout, width_divisor=24)
        first_groups = [3, 3]
    d = shaken(judge)
    naming = generator_name("levels" if layout == "church-256" else "grouped")
    path = write(tmp_path / "v2.pth", official(g, naming), official(d, multi_scale_name(first_groups)))
    model = import_checkpoint(path, device="cpu")
    assert model.config == g.config
    assert same_weights(model.generator, g)
    assert model.discriminator is not None
    assert model.discriminator.config == d.config
    assert same_weights(model.discriminator, d)
    z, img = torch.randn(2, g.z_dim), torch.randn(2, 3, g.resolution_px, g.resolution_px)
    assert torch.equal(model.generator(z, noise_mode="const"), g(z, noise_mode="const"))
    assert torch.equal(model.discriminator(img), d(img))
    assert not any("left out" in note for note in model.notes)


@pytest.mark.parametrize("px", [32, 48, 64])
def test_layouts_of_version_1(px: int, tmp_path: Path) -> None:
    g = shaken(transgan_v1("l" if px == 48 else "xl", resolution_px=px, width_divisor=16))
    state = official(g, generator_name("plain"))
    model = import_checkpoint(write(tmp_path / "v1.pth", state), device="cpu")
    assert model.config == g.config
    assert same_weights(model.generator, g)
    assert model.notes == [f"{NO_HEADS} (generator)"]


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_autogan(name: str, tmp_path: Path) -> None:
    """The fixture is architecture A; B and C have a shortcut and a norm more."""
    state = state_of("autogan_gen")
    if name == "b":
        state |= {f"cell3.c_sc.{leaf}": state[f"cell2.c_sc.{leaf}"] for leaf in ("weight", "bias")}
    if name == "c":
        norm = {leaf: state[f"to_rgb.0.{leaf}"] for leaf in ("weight", "bias", "running_mean", "running_var")}
        state |= {f"cell1.{n}.{leaf}": value for n in ("n1", "n2") for leaf, value in norm.items()}
    model = import_checkpoint(write(tmp_path / "a.pth", state, state_of("autogan_dis")), device="cpu")
    assert model.config.architecture == name
    assert model.training["format"] == "AutoGAN checkpoint"
    assert any(f"taken as in architecture {name.upper()}" in note for note in model.notes)
    golden = Golden("autogan_gen")
    close = torch.allclose(model.generator(golden["z"]), golden["image"], rtol=1e-4, atol=1e-5)
    assert close == (name == "a")
    golden = Golden("autogan_dis")
    assert model.discriminator is not None
    torch.testing.assert_close(model.discriminator(golden["img"]), golden["logits"], rtol=1e-4, atol=1e-4)


def test_autogan_that_is_not_ours(tmp_path: Path) -> None:
    plain = {name.removesuffix("_orig"): value for name, value in state_of("autogan_dis").items()}
    model = import_checkpoint(write(tmp_path / "a.pth", state_of("autogan_gen"), plain), device="cpu")
    assert model.discriminator is None
    assert any("has no spectral normalisation" in note for note in model.notes)
    state = state_of("autogan_gen")
    state["l1.weight"] = state["l1.weight"][:-1]
    with pytest.raises(CheckpointError, match="its first layer makes 255 numbers"):
        import_checkpoint(write(tmp_path / "b.pth", state), device="cpu")


def test_which_generator(tmp_path: Path) -> None:
    state = state_of("transgan_v2_gen_ln")
    both = write(tmp_path / "both.pth", state)
    raw = import_checkpoint(both, weights="raw", device="cpu")
    assert raw.training["weights"] == "gen_state_dict"
    ema = import_checkpoint(both, device="cpu")
    weight = "synthesis.input.weight"
    assert torch.equal(raw.generator.state_dict()[weight], ema.generator.state_dict()[weight] + 1)

    only_raw = import_checkpoint(write(tmp_path / "raw.pth", state, avg_gen_state_dict=None), device="cpu")
    assert same_weights(only_raw.generator, raw.generator)
    assert only_raw.notes[0] == "there is no avg_gen_state_dict in the file: the raw weights gen_state_dict are used"
    with pytest.raises(CheckpointError, match="holds no gen_state_dict, only the averaged weights"):
        import_checkpoint(write(tmp_path / "ema.pth", state, gen_state_dict=None), weights="raw", device="cpu")

    torch.save(OrderedDict(state), tmp_path / "alone.pth", _use_new_zipfile_serialization=False)
    alone = import_checkpoint(tmp_path / "alone.pth", device="cpu")
    assert same_weights(alone.generator, ema.generator)
    assert alone.training["weights"] == "a state dict alone"
    assert "epoch" not in alone.training


def test_unknown_tensors_are_named(tmp_path: Path) -> None:
    state = state_of("transgan_v2_gen_ln") | {f"extra.{i}\n": torch.ones(1) for i in range(8)}
    model = import_checkpoint(write(tmp_path / "x.pth", state), device="cpu")
    expected = ", ".join(rf"extra.{i}\n" for i in range(6))
    assert f"left out, as the generator has no use for them: {expected} and 2 more" in model.notes


def _without(state: State, *names: str) -> State:
    return {name: value for name, value in state.items() if name not in names}


TABLE = "blocks.block.0.attn.relative_position_bias_table"
INDEX = "blocks.block.0.attn.relative_position_index"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: _without(s, "l1.bias", "blocks.block.1.mlp.fc2.bias"),
            r"blocks\.block\.1\.mlp\.fc2\.bias is missing \(and 1",
        ),
        (lambda s: _without(s, "deconv.0.weight"), r"has no deconv\.0\.weight"),
        (lambda s: {k: v for k, v in s.items() if "block" not in k}, "no encoder blocks"),
        (lambda s: s | {"pos_embed_1": s["pos_embed_1"][:, :-1]}, "15 positions are no square grid"),
        (lambda s: s | {"pos_embed_2": s["pos_embed_2"][:, :, :-1]}, "expected 16 at side 8"),
        (lambda s: s | {TABLE: s[TABLE][:-1]}, "has 48 rows, which fits no window"),
        (lambda s: s | {TABLE: s[TABLE][:9]}, "windows of several sizes"),
        (lambda s: s | {INDEX: relative_position_index(4) + 1}, "does not follow from the other tensors' shapes"),
        (lambda s: s | {"l1.bias": s["l1.bias"][:-1]}, r"its l1\.bias has shape \[1023\]"),
        (lambda s: s | {"l1.weight": torch.zeros(1024, 0)}, r"no l1\.weight, or one of another shape"),
    ],
)
def test_refusals(change: Callable[[State], State], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.pth", change(state_of("transgan_v2_gen_ln")))
    with pytest.raises(CheckpointError, match=message) as caught:
        import_checkpoint(path, device="cpu")
    assert str(caught.value).startswith("cannot import bad.pth: ")
    assert "\n" not in str(caught.value)


def test_a_damaged_discriminator_is_left_out(tmp_path: Path) -> None:
    d = _without(state_of("transgan_v2_dis"), "head.bias")
    model = import_checkpoint(write(tmp_path / "x.pth", state_of("transgan_v2_gen_pn"), d), device="cpu")
    assert model.discriminator is None
    assert model.notes[-1] == "the discriminator is left out: its network is not complete: head.bias is missing"
    model = import_checkpoint(tmp_path / "x.pth", device="cpu", discriminator=False)
    assert not any("discriminator" in note for note in model.notes)


def test_windows_that_no_memory_holds(tmp_path: Path) -> None:
    """Indices of all pairs of tokens grow with W⁴: the file's few bytes must not decide about gigabytes."""
    state = state_of("transgan_v2_gen_ln")
    sides = {"pos_embed_1": (96, 64), "pos_embed_2": (192, 16), "pos_embed_3": (384, 4)}
    state |= {name: torch.zeros(1, side**2, width) for name, (side, width) in sides.items()}
    state |= {name: torch.zeros(191**2, 4) for name in state if name.endswith("bias_table")}
    with pytest.raises(CheckpointError, match=r"windows are larger than those of any network"):
        import_checkpoint(write(tmp_path / "bad.pth", state), device="cpu")


class _Program:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch the-code-was-run",)


def test_programs_and_fragments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = state_of("transgan_v2_gen_ln")
    with pytest.raises(CheckpointError, match=r"asks for posix\.system, which no network needs"):
        import_checkpoint(write(tmp_path / "evil.pth", state, args=_Program()), device="cpu")
    assert not (tmp_path / "the-code-was-run").exists()
    whole = write(tmp_path / "whole.pth", state).read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 100):
        (tmp_path / "part.pth").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"cannot import part\.pth"):
            import_checkpoint(tmp_path / "part.pth", device="cpu")
    torch.save({"state_dict": {"conv.weight": torch.ones(2)}}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match=r"none of the codes.*TransGAN checkpoint, AutoGAN checkpoint"):
        import_checkpoint(tmp_path / "resnet.pth", device="cpu")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "cifar.pth", state_of("transgan_v2_gen_pn"), state_of("transgan_v2_dis"))
    run(ImportCheckpoint(file=path, out=tmp_path / "cifar"))
    printed = capsys.readouterr().out
    assert "TransGAN checkpoint, avg_gen_state_dict" in printed
    assert "TransGAN (C 64, blocks 2, 1, 1), 32 px RGB" in printed
    assert "--truncation" not in printed
    model = gantrol.load(tmp_path / "cifar")
    golden = Golden("transgan_v2_gen_pn")
    golden.check(model.generator(golden["z"]), "image")
    assert "imported from `cifar.pth`" in (tmp_path / "cifar" / "README.md").read_text()

    path = write(tmp_path / "autogan.pth", state_of("autogan_gen"))
    run(ImportCheckpoint(file=path, out=tmp_path / "autogan"))
    assert "AutoGAN A, 32 px RGB" in capsys.readouterr().out
