"""Starting from another model: what fits is kept exactly, what does not is named, and a resume does not need it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gantrol
from gantrol import checkpoint
from gantrol.data.loader import Batch
from gantrol.errors import CheckpointError, ConfigError
from gantrol.models import (
    StyleGAN2Config,
    StyleGAN2Discriminator,
    StyleGAN2DiscriminatorConfig,
    StyleGAN3Config,
)
from gantrol.train.config import TrainConfig
from gantrol.train.presets import DataShape, preset
from gantrol.train.run import create_run, read_config
from gantrol.train.state import CHECKPOINTS, TrainState, seed_step
from gantrol.train.steps import Trainer
from gantrol.train.transfer import Source, Transfer, freeze_blocks, start_from, transfer_config
from tests.train.test_training import newest, run, same_weights

SG2 = StyleGAN2Config(
    resolution_px=16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=128, channel_max=8, conv_clamp=None
)
SG3 = StyleGAN3Config(
    resolution_px=16, z_dim=8, w_dim=8, num_layers=4, margin_px=4, channel_base=128, channel_max=8, conv_clamp=None
)
D = StyleGAN2DiscriminatorConfig(resolution_px=16, channel_base=128, channel_max=8, mapping_layers=2)


def stirred(config: Any, seed: int = 0) -> Any:
    """A network whose every tensor has been moved, as training would: also those that start as zeros or ones."""
    torch.manual_seed(seed)
    net = config.build().eval().requires_grad_(False)
    for name, tensor in net.state_dict().items():
        if "freqs" not in name:
            scale = 20.0 if "mapping.layers" in name and name.endswith("bias") else 0.2
            tensor.add_(scale * torch.rand_like(tensor))
    return net


def source_of(g: Any, d: Any | None = D, **training: Any) -> Source:
    return Source(name="M", generator=stirred(g), discriminator=None if d is None else stirred(d, 1), training=training)


def started(config: TrainConfig, g: Any, d: Any, source: Source) -> tuple[TrainState, Transfer]:
    """A training of the networks `g` and `d` that starts from `source`."""
    state = TrainState(replace(config, generator=g, discriminator=d, use_labels=g.c_dim > 0), "cpu")
    return state, start_from(source, state)


def images(net: Any, c: torch.Tensor | None = None, psi: float = 1.0) -> torch.Tensor:
    z = torch.randn(6, net.z_dim, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return net(z, c, noise_mode="const", truncation_psi=psi)


# ----------------------------------------------------------------------------------------------------------------------
# The weights


@pytest.mark.parametrize("g", [SG2, SG3], ids=lambda g: g.kind)
def test_equal_networks_are_copied_whole(config: TrainConfig, g: Any) -> None:
    source = source_of(g)
    state, transfer = started(config, g, D, source)
    for net in (state.g, state.g_ema):
        assert torch.equal(images(net, psi=0.5), images(source.generator, psi=0.5))
    for ours, theirs in ((state.g_ema, source.generator), (state.d, source.discriminator)):
        assert theirs is not None
        assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in ours.state_dict().items())
    for part in (transfer.generator, transfer.discriminator):
        assert part.copied
        assert (part.partly, part.new, part.unused) == ({}, {}, [])
        assert part.values_reused == part.values
    assert transfer.describe().count("100 %") == 2


def test_every_label_begins_as_the_unconditional_source(config: TrainConfig) -> None:
    source = source_of(SG3)
    state, transfer = started(config, replace(SG3, c_dim=3), replace(D, c_dim=3), source)
    expected = images(source.generator, psi=0.7)
    for label in torch.eye(3):
        torch.testing.assert_close(images(state.g_ema, label.expand(6, -1), psi=0.7), expected, rtol=0, atol=2e-5)
    assert list(transfer.generator.partly) == ["mapping.layers.0"]
    assert list(transfer.generator.new) == ["mapping.embed"]
    # The discriminator's mean logit over labels is the source's.
    real = torch.rand(4, 3, 16, 16) * 2 - 1
    assert source.discriminator is not None
    with torch.no_grad():
        logits = torch.stack([state.d(real, label.expand(4, -1)) for label in torch.eye(3)])
        torch.testing.assert_close(logits.mean(dim=0), source.discriminator(real), rtol=1e-4, atol=1e-5)
    assert list(transfer.discriminator.partly) == ["epilogue.out"]
    assert all(name.startswith("mapping") for name in transfer.discriminator.new)
    # Labels can be learnt: their gradients are there from the first step.
    g: Any = state.g
    g.mapping(torch.randn(6, 8), torch.eye(3).repeat(2, 1))[:, 0, 0].sum().backward()
    assert g.mapping.layers[0].weight.grad[:, 8:].abs().max() > 0


def test_an_unconditional_model_from_one_of_a_single_class_is_that_class(config: TrainConfig) -> None:
    """With one class the average label is that label, so that nothing is lost."""
    source = source_of(replace(SG2, c_dim=1), replace(D, c_dim=1))
    state, transfer = started(config, SG2, D, source)
    label = torch.ones(6, 1)
    torch.testing.assert_close(images(state.g), images(source.generator, label), rtol=0, atol=2e-5)
    assert source.discriminator is not None
    real = torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(state.d(real), source.discriminator(real, label[:4]), rtol=1e-4, atol=1e-5)
    assert transfer.generator.unused == ["mapping.embed"]


def test_other_classes_get_new_embeddings(config: TrainConfig) -> None:
    source = source_of(replace(SG3, c_dim=2), replace(D, c_dim=2))
    _, transfer = started(config, replace(SG3, c_dim=3), replace(D, c_dim=3), source)
    assert transfer.generator.new == {"mapping.embed": "weight is 8×2 there and 8×3 here"}
    assert list(transfer.discriminator.new) == ["mapping.embed"]
    assert not transfer.generator.partly


def test_stylegan2_grows_and_shrinks(config: TrainConfig) -> None:
    """The blocks of resolutions that both have are kept, in the generator and, counted the other way, in D."""
    small = source_of(SG2)
    state, transfer = started(config, replace(SG2, resolution_px=32), replace(D, resolution_px=32), small)
    top = [f"synthesis.blocks.3.{name}" for name in ("conv0", "conv1", "torgb")]
    assert sorted(transfer.generator.new) == top
    assert len(transfer.generator.copied) == 2 + 1 + 3 * 3  # mapping, its mean, blocks of 4, 8 and 16 px
    assert sorted(transfer.discriminator.new) == [f"blocks.32px.{n}" for n in ("conv0", "conv1", "from_rgb", "skip")]
    assert transfer.discriminator.unused == ["blocks.16px.from_rgb"]
    d = small.discriminator
    assert isinstance(d, StyleGAN2Discriminator)
    assert isinstance(state.d, StyleGAN2Discriminator)
    assert torch.equal(state.d.state_dict()["blocks.1.conv0.weight"], d.state_dict()["blocks.0.conv0.weight"])
    assert torch.equal(state.d.epilogue.fc.weight, d.epilogue.fc.weight)

    _, transfer = started(config, replace(SG2, resolution_px=8), replace(D, resolution_px=8), small)
    assert not transfer.generator.new
    assert transfer.generator.unused == [f"synthesis.blocks.2.{name}" for name in ("conv0", "conv1", "torgb")]
    assert list(transfer.discriminator.new) == ["blocks.8px.from_rgb"]


def test_stylegan3_of_another_size_keeps_layers_of_equal_shape(config: TrainConfig) -> None:
    source = source_of(SG3)
    state, transfer = started(config, replace(SG3, resolution_px=32), replace(D, resolution_px=32), source)
    theirs = source.generator.state_dict()
    ours = state.g.state_dict()
    layers = {name for name in ours if name.startswith("synthesis.layers")}
    for name in layers:
        layer = ".".join(name.split(".")[:3])
        is_equal = all(ours[n].shape == theirs[n].shape for n in layers if n.startswith(layer + "."))
        assert (layer in transfer.generator.copied) == is_equal
        assert (layer in transfer.generator.new) == (not is_equal)
        assert torch.equal(ours[name], theirs[name]) if is_equal else True
    assert "synthesis.input" in transfer.generator.copied
    assert images(state.g).isfinite().all()


def test_a_layer_is_taken_whole_or_not_at_all(config: TrainConfig) -> None:
    """T into R of equal widths: biases and styles would fit, but not without their kernels."""
    rotation = replace(SG3, conv_kernel=1, use_radial_filters=True)
    source = source_of(SG3)
    state, transfer = started(config, rotation, D, source)
    kernels = [f"synthesis.layers.{index}" for index in range(4)]
    assert list(transfer.generator.new) == kernels
    assert "weight is 8×8×3×3 there and 8×8×1×1 here" in transfer.generator.new.values()
    assert not torch.equal(
        state.g.state_dict()["synthesis.layers.1.affine.weight"],
        source.generator.state_dict()["synthesis.layers.1.affine.weight"],
    )
    assert "weight is" in transfer.describe()


def test_other_widths_leave_the_mapping_and_a_note(config: TrainConfig) -> None:
    wide = replace(SG3, channel_max=16, channel_base=256)
    _, transfer = started(config, wide, replace(D, channel_base=256, channel_max=16), source_of(SG3))
    assert transfer.generator.copied == ["mapping.w_avg", "mapping.layers.0", "mapping.layers.1"]
    reasons = set(transfer.generator.new.values())
    lines = [line for line in transfer.describe().splitlines() if line.startswith("generator new")]
    assert len(lines) == (1 if len(reasons) > 3 else len(reasons))
    assert "note: nothing that draws fits" in transfer.describe()


def test_noise_that_the_source_lacks_is_new_but_silent(config: TrainConfig) -> None:
    source = source_of(replace(SG2, use_noise=False))
    state, transfer = started(config, SG2, D, source)
    assert torch.equal(images(state.g), images(source.generator))  # its strength begins at zero
    assert set(transfer.generator.partly.values()) == {"noise_strength, noise_const new: the source has none"}


def test_another_kind_keeps_the_discriminator(config: TrainConfig) -> None:
    _, transfer = started(config, SG3, D, source_of(SG2))
    assert set(transfer.generator.new.values()) == {"stylegan2 there and stylegan3 here"}
    assert not transfer.generator.values_reused
    assert not transfer.discriminator.new


def test_a_mapping_of_another_depth_is_new(config: TrainConfig) -> None:
    _, transfer = started(config, SG2, D, source_of(replace(SG2, mapping_layers=3)))
    assert all(name.startswith("mapping") for name in transfer.generator.new)
    assert set(transfer.generator.new.values()) == {"3 mapping layers there and 2 here"}


def test_nothing_that_fits_is_an_error(config: TrainConfig) -> None:
    with pytest.raises(ConfigError, match=r"nothing of M \(stylegan2, 16 px\) fits this config \(stylegan3, 16 px\)"):
        started(config, SG3, D, source_of(SG2, None))


def test_the_digest_is_of_the_weights(tmp_path: Path) -> None:
    source = source_of(SG3)
    again = source_of(SG3)
    assert source.sha256 == again.sha256
    again.generator.state_dict()["mapping.w_avg"][0] += 1
    del again.__dict__["sha256"]
    assert source.sha256 != again.sha256
    assert source_of(SG3, None).sha256 != source.sha256


# ----------------------------------------------------------------------------------------------------------------------
# Freeze-D


@pytest.mark.parametrize(
    ("architecture", "layers"), [("resnet", (0, 4, 7, 10)), ("skip", (0, 3, 6, 9)), ("orig", (0, 3, 5, 7))]
)
def test_blocks_and_layers(architecture: str, layers: tuple[int, ...]) -> None:
    """In the resnet, 3 blocks are 10 layers; the official code suggests 10 or 13."""
    d = replace(D, resolution_px=32, architecture=architecture, channel_base=1024)
    frozen = tuple(freeze_blocks(d, count) for count in range(4))
    assert frozen == tuple(replace(d, freeze_layers=count) for count in layers)
    with pytest.raises(ConfigError, match="4 frozen blocks: expected from 0 to 3"):
        freeze_blocks(d, 4)
    with pytest.raises(ConfigError, match="-1 frozen blocks"):
        freeze_blocks(d, -1)


def test_frozen_blocks_stay_while_others_move(config: TrainConfig) -> None:
    source = source_of(SG3)
    config = replace(config, generator=SG3, discriminator=freeze_blocks(D, 1))
    state = TrainState(config, "cpu")
    transfer = start_from(source, state)
    assert transfer.frozen == [f"blocks.16px.{name}" for name in ("from_rgb", "conv0", "conv1", "skip")]
    before = {name: tensor.clone() for name, tensor in state.d.state_dict().items()}
    trainer = Trainer(config, state, batch_share=8)
    for step in range(3):
        seed_step(0, 0, step)
        real = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
        trainer.step(Batch(images=real, labels=torch.zeros(8, 0), indices=()))
    after = state.d.state_dict()
    assert source.discriminator is not None
    for name, tensor in before.items():
        is_frozen = name.startswith("blocks.0.")
        assert torch.equal(after[name], tensor) == is_frozen, name
        assert not is_frozen or torch.equal(after[name], source.discriminator.state_dict()[name])


def test_random_weights_are_not_frozen(config: TrainConfig) -> None:
    with pytest.raises(ConfigError, match=r"cannot freeze blocks.16px.from_rgb .* the source has no discriminator"):
        started(config, SG3, freeze_blocks(D, 1), source_of(SG3, None))
    large = replace(SG3, resolution_px=32), freeze_blocks(replace(D, resolution_px=32), 1)
    with pytest.raises(ConfigError, match=r"cannot freeze blocks.32px.from_rgb .* the source has no such layer"):
        started(config, *large, source_of(SG3))


# ----------------------------------------------------------------------------------------------------------------------
# The config


def test_the_networks_are_the_models_and_the_recipe_the_nearest() -> None:
    shape = DataShape(resolution_px=32, label_dim=4)
    source = source_of(replace(SG3, conv_clamp=100.0, magnitude_ema_beta=0.5), freeze_blocks(D, 1))
    config = transfer_config(source, shape)
    assert (config.preset, config.scale) == ("stylegan3-t", "tiny")
    recipe = preset("stylegan3-t", "tiny", shape)
    generator = config.generator
    assert isinstance(generator, StyleGAN3Config)
    assert generator == replace(
        SG3, resolution_px=32, c_dim=4, conv_clamp=100.0, magnitude_ema_beta=generator.magnitude_ema_beta
    )
    assert generator.magnitude_ema_beta == getattr(recipe.generator, "magnitude_ema_beta")  # noqa: B009
    assert config.discriminator == replace(D, resolution_px=32, c_dim=4)  # what was frozen there is not here
    assert (config.g_adam, config.batch, config.use_labels) == (recipe.g_adam, recipe.batch, True)
    assert (config.init, config.init_sha256) == ("M", source.sha256)
    assert config.augment.ada.adapt_kimg == 100
    assert config.ema_ramp_up is None


@pytest.mark.parametrize("name", ["stylegan2", "stylegan3-t", "stylegan3-r"])
@pytest.mark.parametrize("scale", ["tiny", "paper"])
def test_a_presets_own_networks_lead_back_to_it(name: str, scale: str) -> None:
    shape = DataShape(resolution_px=32)
    whole = preset(name, scale, shape)
    source = Source(name="M", generator=Sized(whole.generator), discriminator=Sized(whole.discriminator))
    config = transfer_config(source, shape)
    assert (config.preset, config.scale) == (name, scale)
    assert (config.generator, config.discriminator) == (whole.generator, whole.discriminator)
    assert config.loss.blur_sigma_px == 0  # the generator is no beginner
    named = Source(name="M", generator=whole.generator.build(), training={"preset": "stylegan2", "scale": "small"})
    assert transfer_config(named, shape, preset_name=name, scale="tiny").generator.resolution_px == 32
    assert transfer_config(named, shape, preset_name=name).scale == "small"


class Sized(torch.nn.Module):
    """A network that is nothing but its config."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config


def test_blur_stays_for_a_generator_that_begins_anew() -> None:
    source = Source(name="M", generator=Sized(preset("stylegan3-t", "tiny", DataShape(resolution_px=32)).generator))
    assert transfer_config(source, DataShape(resolution_px=32), preset_name="stylegan3-r").loss.blur_sigma_px > 0


# ----------------------------------------------------------------------------------------------------------------------
# Runs


@pytest.fixture
def first(config: TrainConfig, tmp_path: Path) -> Path:
    """A run to start from."""
    folder = tmp_path / "first"
    run(replace(config, kimg=0.04), folder)
    return folder


def loaded(path: Path) -> Source:
    model = gantrol.load(path, device="cpu")
    return Source(name=str(path), generator=model.generator, discriminator=model.discriminator)


def begin(config: TrainConfig, source: Source) -> TrainConfig:
    return replace(config, init=source.name, init_sha256=source.sha256, seed=7)


def test_a_run_from_a_run_and_its_resume_without_it(config: TrainConfig, first: Path, tmp_path: Path) -> None:
    source = loaded(first)
    config = replace(begin(config, source), kimg=0.064, discriminator=freeze_blocks(config.discriminator, 1))
    recorder = run(config, tmp_path / "whole", source=source)
    assert recorder.messages[0].startswith(f"from {first} (weights SHA-256 {source.sha256[:12]}")
    assert "frozen: blocks.16px.from_rgb" in recorder.messages[0]
    listed = json.loads((tmp_path / "whole" / "init.json").read_text())
    assert (listed["source"], listed["sha256"], len(listed["frozen"])) == (str(first), source.sha256, 4)
    assert read_config(tmp_path / "whole")[0].init == str(first)

    run(replace(config, kimg=0.048), tmp_path / "parts", source=source)
    begun = checkpoint.load(tmp_path / "parts" / CHECKPOINTS / f"{0:09d}.safetensors")[0]
    assert all(torch.equal(begun[f"g.{k}"], v) for k, v in source.generator.state_dict().items())
    shutil.rmtree(first)
    run(config, tmp_path / "parts", is_resumed=True)
    assert same_weights(newest(tmp_path / "whole"), newest(tmp_path / "parts"))
    model = gantrol.load(tmp_path / "whole")
    card = (model.save_pretrained(tmp_path / "model") / "README.md").read_text()
    assert f"| began from | {first} |" in card
    assert model.training["init_sha256"] == source.sha256


def test_a_run_killed_before_its_first_checkpoint_wants_its_model(
    config: TrainConfig, first: Path, tmp_path: Path
) -> None:
    source = loaded(first)
    config = begin(replace(config, kimg=0.008), source)
    create_run(tmp_path / "run", config, "test")
    with pytest.raises(CheckpointError, match="which was not given"):
        run(config, tmp_path / "run", is_resumed=True)
    other = source_of(config.generator)
    with pytest.raises(CheckpointError, match="has changed since"):
        run(config, tmp_path / "run", is_resumed=True, source=other)
    run(config, tmp_path / "run", is_resumed=True, source=source)
    run(config, tmp_path / "new", source=source)
    assert same_weights(newest(tmp_path / "run"), newest(tmp_path / "new"))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs `gantrol train` and returns its status and stderr."""
    from gantrol.cli import main

    def call(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            main(["train", "--device", "cpu", *map(str, arguments)])
        assert isinstance(caught.value.code, int)
        return caught.value.code, capsys.readouterr().err

    return call


def test_the_command(
    command: Callable[..., tuple[int, str]], config: TrainConfig, first: Path, dataset_path: Path, tmp_path: Path
) -> None:
    data = ("--data", dataset_path)
    short = ("--batch", 8, "--kimg", 0.008, "workers=1")
    status, err = command("--init", first, *data, "--out", tmp_path / "a", "--freeze-d", 1, "--augment", "ada", *short)
    assert status == 0, err
    made = read_config(tmp_path / "a")[0]
    assert made.init == str(first)
    assert made.discriminator == freeze_blocks(config.discriminator, 1)
    assert (made.preset, made.scale, made.augment.name, made.augment.ada.adapt_kimg) == (
        "stylegan3-t",
        "tiny",
        "ada",
        100,
    )
    fakes = (tmp_path / "a" / "samples" / "fakes_000000000.png").read_bytes()
    assert fakes == (first / "samples" / "fakes_000000040.png").read_bytes()
    assert command("--resume", tmp_path / "a", "--kimg", 0.016)[0] == 0

    status, err = command("--init", first, *data, "--use-labels", "--out", tmp_path / "b", *short)
    assert status == 0, err
    assert "generator partly: mapping.layers.0: its label part is new and zero" in err

    out = ("--out", tmp_path / "c")
    for arguments, message in {
        ("--init", tmp_path / "none", *data, *out): "no model",
        ("--init", first, *data, *out, "--freeze-d", 9): "9 frozen blocks: expected from 0 to 2",
        ("--init", first, *data, *out, "init=x"): "with --init MODEL",
        ("--preset", "stylegan2", *data, *out, "--freeze-d", 1): "give --init MODEL too",
        ("--resume", first, "--init", first): "--init cannot be changed",
        ("--init", first, *data, *out, "--preset", "stylegan2", "discriminator.channel_max=16"): "nothing of",
    }.items():
        status, err = command(*arguments)
        assert status == 1
        assert len(err.splitlines()) == 1
        assert message in err
        assert not (tmp_path / "c").exists()
