"""Training with latent groups: the terms act, a broken-off run continues, and any model can begin one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gantrol.checkpoint import sha256_of
from gantrol.control.anchors import measure_anchors
from gantrol.control.calibration import Thresholds, calibrate
from gantrol.control.objective import ControlTerm
from gantrol.control.pairs import PairPlan
from gantrol.control.predictors import PredictorSet
from gantrol.control.predictors.folder import load_predictors, save_predictors
from gantrol.control.predictors.reader import ReaderConfig
from gantrol.control.predictors.targets import Target
from gantrol.data.dataset import DatasetWriter, ImageDataset
from gantrol.data.loader import Batch
from gantrol.errors import CheckpointError, ConfigError, DataError
from gantrol.models import ControllableConfig, StyleGAN2Config
from gantrol.train.config import TrainConfig
from gantrol.train.control import (
    ControlConfig,
    ReconstructionConfig,
    attribute_names,
    controllable,
    load_objective,
)
from gantrol.train.state import TrainState
from gantrol.train.steps import Trainer
from gantrol.train.transfer import Source, start_from, transfer_config
from tests.control.toy import MeanColor
from tests.train.test_training import newest, run, same_weights

THRESHOLDS = {"age": Thresholds(same=0.01, different=0.5), "yaw": Thresholds(same=0.02, different=0.6)}


def untrained_readers(folder: Path, seed: int = 0) -> PredictorSet:
    """A folder with a reader of age and yaw that has learnt nothing."""
    torch.manual_seed(seed)
    one = {"kind": "numbers", "components": ("value",), "low": (-1.0,), "high": (1.0,), "mean": (0.0,)}
    targets = tuple(Target(name=name, sources=(name,), deviation=(1.0,), **one) for name in ("age", "yaw"))
    reader = ReaderConfig(targets=targets, resolution_px=16, widths=(4, 4, 8, 8), hidden=8).build().eval()
    save_predictors(folder, [reader], overwrite=True)
    return PredictorSet([reader])


@pytest.fixture
def with_control(config: TrainConfig, tmp_path: Path) -> TrainConfig:
    """The small training, controlled."""
    folder = tmp_path / "readers"
    untrained_readers(folder)
    plain = ControlConfig(predictors=str(folder), terms=(ControlTerm(attribute="age"),))
    objective = load_objective(plain, "cpu", torch.float32)
    assert objective is not None
    return controllable(
        config, THRESHOLDS, predictors=str(folder), predictors_sha256=sha256_of(objective.predictors.state_dict())
    )


def test_any_config_gets_groups(config: TrainConfig) -> None:
    changed = controllable(config, THRESHOLDS, predictors="portraits", predictors_sha256="")
    g = changed.generator
    assert isinstance(g, ControllableConfig)
    assert [group.name for group in g.groups] == ["age", "yaw", "other"]
    assert {group.size for group in g.groups} == {8}
    assert (g.z_dim, g.base.w_dim) == (24, 24)  # type: ignore[union-attr]
    assert [(term.tau_same, term.tau_different) for term in changed.control.terms] == [(0.01, 0.5), (0.02, 0.6)]
    assert [term.weight for term in changed.control.terms] == [0.8, 0.6667]  # each can cost as much as the others


def test_styles_are_not_mixed(config: TrainConfig) -> None:
    g = StyleGAN2Config(resolution_px=16, z_dim=8, w_dim=8, channel_base=128, channel_max=8)
    mixing = replace(config, generator=g, loss=replace(config.loss, style_mixing_prob=0.9))
    assert controllable(mixing, THRESHOLDS, predictors="x", predictors_sha256="").loss.style_mixing_prob == 0


def test_a_run_logs_distances_and_shows_pairs(with_control: TrainConfig, tmp_path: Path) -> None:
    ticks = run(with_control, tmp_path / "run").ticks
    for name in ("age", "yaw"):
        for key in ("same", "different", "loss"):
            assert ticks[-1][f"control/{name}/{key}"] >= 0
    assert ticks[-1]["loss/control"] > 0
    assert len(list((tmp_path / "run" / "samples").glob("pairs_*.png"))) == 3


def test_resume_equals_no_break(with_control: TrainConfig, tmp_path: Path) -> None:
    config = replace(with_control, kimg=0.08)
    run(config, tmp_path / "whole")
    run(replace(config, kimg=0.056), tmp_path / "broken")
    run(config, tmp_path / "broken", is_resumed=True)
    assert same_weights(newest(tmp_path / "whole"), newest(tmp_path / "broken"))


def test_other_predictors_are_refused(with_control: TrainConfig, tmp_path: Path) -> None:
    untrained_readers(tmp_path / "readers", seed=1)
    with pytest.raises(CheckpointError, match="not the predictors that this run began with"):
        run(with_control, tmp_path / "run")


def test_pairs_reach_the_generator(with_control: TrainConfig) -> None:
    trainer = Trainer(with_control, TrainState(with_control, "cpu"), batch_share=8)
    plan = PairPlan(("age", "yaw", "other", "age"))
    fakes = trainer.generate(8, torch.zeros(8, 0), plan=plan)
    slices = trainer.state.g.mapping.slices
    for i, shared in enumerate(plan.shared):
        for name, place in slices.items():  # type: ignore[operator,union-attr]
            is_same = torch.equal(fakes.ws[2 * i, :, place], fakes.ws[2 * i + 1, :, place])
            assert is_same == (name == shared)


def test_terms_reach_the_generator_and_not_the_predictors(with_control: TrainConfig) -> None:
    """A step without adversarial gradient still moves g, and leaves the predictors as they are."""
    objective = load_objective(with_control.control, "cpu", torch.float32)
    state = TrainState(with_control, "cpu")
    trainer = Trainer(with_control, state, batch_share=8, control=objective)
    assert objective is not None
    before = sha256_of(objective.predictors.state_dict())
    with_terms = trainer.g_main(torch.zeros(8, 3, 16, 16), torch.zeros(8, 0))[1]
    assert with_terms["loss/control"].requires_grad
    grads = torch.autograd.grad(with_terms["loss/control"], list(state.g.mapping.parameters()), allow_unused=True)
    assert any(grad is not None and grad.abs().sum() > 0 for grad in grads)
    trainer.step(Batch(images=torch.zeros(8, 3, 16, 16, dtype=torch.uint8), labels=torch.zeros(8, 0), indices=()))
    assert sha256_of(objective.predictors.state_dict()) == before


def test_start_from_a_model_without_groups(config: TrainConfig) -> None:
    """`--init MODEL --control …`: the synthesis network is kept, the mapping is new."""
    torch.manual_seed(1)
    source = Source(name="M", generator=config.generator.build(), discriminator=config.discriminator.build())
    changed = controllable(config, THRESHOLDS, predictors="x", predictors_sha256="", width=8)
    state = TrainState(changed, "cpu")
    transfer = start_from(source, state)
    for name, tensor in source.generator.state_dict().items():
        if name.startswith("synthesis."):
            assert torch.equal(state.g_ema.state_dict()[name], tensor)
    assert all(name.startswith("mapping.") for name in transfer.generator.new)


def test_start_from_a_model_with_groups(config: TrainConfig) -> None:
    changed = controllable(config, THRESHOLDS, predictors="x", predictors_sha256="")
    source = Source(
        name="M",
        generator=changed.generator.build(),
        discriminator=changed.discriminator.build(),
        training={"preset": "stylegan3-t", "scale": "tiny"},
    )
    from gantrol.train.presets import DataShape

    again = transfer_config(source, DataShape(resolution_px=16), batch=8)
    assert isinstance(again.generator, ControllableConfig)
    assert again.generator.groups == changed.generator.groups
    with pytest.raises(ConfigError, match="has the groups age, yaw, other"):
        controllable(again, {"roll": THRESHOLDS["age"]}, predictors="x", predictors_sha256="")


@pytest.fixture
def with_anchors(with_control: TrainConfig) -> TrainConfig:
    """The small training with anchors, which begins with reconstruction alone."""
    predictors = load_predictors(with_control.control.predictors)
    anchors = measure_anchors(predictors, ImageDataset(with_control.data), ["age", "yaw"])
    alone = ReconstructionConfig(weight=10, alone_kimg=0.08, fade_kimg=0.1)
    return replace(with_control, control=replace(with_control.control, anchors=anchors, reconstruction=alone))


def test_the_two_weights_scale_terms_and_anchors(with_anchors: TrainConfig) -> None:
    """The whole loss is the sum of two parts, each in proportion to its weight."""
    z = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    slices = {"age": slice(0, 5), "yaw": slice(5, 10), "other": slice(10, 16)}

    def loss(contrastive: float, anchor: float) -> float:
        config = replace(with_anchors.control, contrastive_weight=contrastive, anchor_weight=anchor)
        objective = load_objective(config, "cpu", torch.float32)
        assert objective is not None
        return objective(images, PairPlan(("age", "yaw", "other", "age")), z, slices)[0].item()

    assert loss(0, 0) == 0
    assert loss(1, 0) > 0
    assert loss(0, 1) > 0
    assert loss(0.5, 3) == pytest.approx(0.5 * loss(1, 0) + 3 * loss(0, 1), rel=1e-5)
    with pytest.raises(ConfigError, match=r"control.anchor_weight=-1"):
        replace(with_anchors.control, anchor_weight=-1)


def test_reconstruction_alone_leaves_the_discriminator_as_it_is(with_anchors: TrainConfig) -> None:
    state = TrainState(with_anchors, "cpu")
    objective = load_objective(with_anchors.control, "cpu", torch.float32)
    trainer = Trainer(with_anchors, state, batch_share=8, control=objective)
    before = sha256_of(state.d.state_dict()), sha256_of(state.g.state_dict())
    batch = Batch(images=torch.zeros(8, 3, 16, 16, dtype=torch.uint8), labels=torch.zeros(8, 0), indices=())
    stats = trainer.step(batch)
    assert set(stats) == {"loss/reconstruction", "loss/coarse", "gradient/replaced_g"}
    assert sha256_of(state.d.state_dict()) == before[0]
    assert sha256_of(state.g.state_dict()) != before[1]
    assert (state.n_img, state.n_step) == (8, 1)
    state.n_img = 80
    assert {"loss/g", "loss/d", "loss/reconstruction", "control/age/anchor"} <= set(trainer.step(batch))
    assert sha256_of(state.d.state_dict()) != before[0]


def test_the_weight_of_reconstruction_fades() -> None:
    config = ReconstructionConfig(weight=10, alone_kimg=2, fade_kimg=4)
    assert [config.weight_at(n) for n in (0, 2000, 4000, 6000, 9000)] == pytest.approx([10, 10, 5.5, 1, 1])
    assert (config.is_alone(1999), config.is_alone(2000)) == (True, False)
    assert not ReconstructionConfig(alone_kimg=2).is_alone(0)


def test_resume_with_anchors_equals_no_break(with_anchors: TrainConfig, tmp_path: Path) -> None:
    config = replace(with_anchors, kimg=0.08)
    run(config, tmp_path / "whole")
    run(replace(config, kimg=0.04), tmp_path / "broken")
    run(config, tmp_path / "broken", is_resumed=True)
    assert same_weights(newest(tmp_path / "whole"), newest(tmp_path / "broken"))


def test_names() -> None:
    assert attribute_names("age,pose, light") == ("age", "yaw", "pitch", "roll", "light")
    with pytest.raises(ConfigError, match="expected names of attributes"):
        attribute_names(" ,")


def test_configs_that_cannot_be(config: TrainConfig) -> None:
    control = ControlConfig(predictors="x", terms=(ControlTerm(attribute="age"),))
    with pytest.raises(ConfigError, match="'age' needs a latent group; the generator has no latent groups"):
        replace(config, control=control)
    changed = controllable(config, THRESHOLDS, predictors="x", predictors_sha256="")
    with pytest.raises(ConfigError, match="breaks the pairs"):
        replace(changed, loss=replace(changed.loss, style_mixing_prob=0.5))
    with pytest.raises(ConfigError, match="train with --anchors"):
        replace(control, reconstruction=ReconstructionConfig(weight=1))
    with pytest.raises(ConfigError, match=r"need control\.predictors"):
        ControlConfig(terms=(ControlTerm(attribute="age"),))


# ----------------------------------------------------------------------------------------------------------------------
# Thresholds


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    """64 plain images: red differs among them, green hardly."""
    path = tmp_path_factory.mktemp("shades") / "shades.zip"
    rng = np.random.default_rng(0)
    with DatasetWriter(path) as writer:
        for _ in range(64):
            writer.add(np.full((16, 16, 3), [rng.integers(0, 255), 100, 50], dtype=np.uint8))
    return ImageDataset(path)


def test_thresholds_are_percentiles(shades: ImageDataset) -> None:
    predictors = PredictorSet([MeanColor()])
    found = calibrate(predictors, shades, ["red"], count=64)["red"]
    reds = np.array([shades.pixels(i)[0].mean() / 127.5 - 1 for i in range(64)])
    distances = np.abs(reds[:, None] - reds)[np.triu_indices(64, 1)]
    assert found.different == pytest.approx(np.median(distances), abs=0.06)
    assert 0 < found.same < 0.02  # only the noise of the second view
    wider = calibrate(predictors, shades, ["red"], count=64, different_percentile=80)["red"]
    assert wider.different > found.different
    assert calibrate(predictors, shades, ["red"], count=64)["red"] == found


def test_what_cannot_be_told_apart(shades: ImageDataset) -> None:
    with pytest.raises(DataError, match="it cannot tell them apart here; leave green out"):
        calibrate(PredictorSet([MeanColor()]), shades, ["green"], count=64)


def test_too_few_images(shades: ImageDataset) -> None:
    with pytest.raises(DataError, match="too few to calibrate"):
        calibrate(PredictorSet([MeanColor()]), shades, count=8)
