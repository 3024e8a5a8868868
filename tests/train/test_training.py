"""The training itself: it learns, resumes bit for bit, survives kills, and says what is wrong."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import time
import zipfile
from dataclasses import replace
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric

from gantrol import checkpoint
from gantrol.config import override
from gantrol.data.loader import Batch
from gantrol.errors import CheckpointError, ConfigError, TrainingError
from gantrol.models import StyleGAN2Config
from gantrol.train import loop
from gantrol.train.config import LossConfig, TrainConfig
from gantrol.train.log import read_log
from gantrol.train.loop import train
from gantrol.train.presets import PRESETS, SCALES, DataShape, preset
from gantrol.train.presets_transgan import LAYOUTS
from gantrol.train.run import create_run, read_config, samples_over_time
from gantrol.train.state import CHECKPOINTS, TrainState, seed_step
from gantrol.train.steps import Trainer
from tests.apart import CONTEXT, all_end_well, apart


class Recorder:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.ticks: list[dict[str, Any]] = []

    def step(self, n_img: int, total_img: int, img_per_s: float) -> None:
        return None

    def tick(self, tick: dict[str, Any]) -> None:
        self.ticks.append(tick)

    def message(self, text: str) -> None:
        self.messages.append(text)


def run(config: TrainConfig, folder: Path, **options: Any) -> Recorder:
    """Trains in `folder`, new or resumed."""
    recorder = Recorder()
    if not options.get("is_resumed"):
        create_run(folder, config, "test")
    fabric = Fabric(accelerator="cpu", devices=1)
    train(config, folder, fabric, recorder, **options)
    return recorder


def newest(folder: Path) -> Path:
    return checkpoint.newest_valid(folder / CHECKPOINTS).path


def same_weights(a: Path, b: Path) -> bool:
    """Whether two checkpoints hold the same tensors, bit for bit."""
    left, right = checkpoint.load(a)[0], checkpoint.load(b)[0]
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_a_run_leaves_everything(config: TrainConfig, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    recorder = run(config, folder)
    assert [tick["n_img"] for tick in recorder.ticks] == [40, 80, 120, 160]
    assert [tick["n_img"] for tick in read_log(folder)] == [40, 80, 120, 160]
    for key in ("loss/g", "loss/d", "penalty/r1", "img_per_s", "outside_share", "memory_gib"):
        assert key in recorder.ticks[-1]
    assert (folder / "samples" / "reals.png").exists()
    assert len(list((folder / CHECKPOINTS).glob("*"))) == config.keep_checkpoints
    assert newest(folder).stem == "000000160"
    assert samples_over_time(folder).width > 100
    assert read_config(folder) == (config, "test")
    with pytest.raises(ConfigError, match="--resume"):
        create_run(folder, config, "test")


@pytest.mark.parametrize(
    "kind", ["stylegan3-r", "stylegan2", "conditional", "relativistic", "micro-batches", "ada", "diffaugment"]
)
def test_resume_equals_no_break(kind: str, config: TrainConfig, tmp_path: Path) -> None:
    """N steps = k steps + resume + N−k steps, bit for bit."""
    if kind == "stylegan3-r":
        config = override(
            config, ["generator.conv_kernel=1", "generator.use_radial_filters=true", "loss.blur_sigma_px=3"]
        )
        config = override(config, ["loss.blur_fade_kimg=0.1"])
    elif kind == "stylegan2":
        g = StyleGAN2Config(resolution_px=16, z_dim=8, w_dim=8, channel_base=128, channel_max=8)
        config = replace(config, generator=g, loss=LossConfig(pl_weight=2, pl_interval=2, style_mixing_prob=0.9))
    elif kind == "conditional":
        config = override(config, ["use_labels=true", "x_flip=true"])
        networks = {
            "generator": replace(config.generator, c_dim=2),
            "discriminator": replace(config.discriminator, c_dim=2),
        }
        config = replace(config, **networks)
    elif kind == "relativistic":
        config = replace(config, loss=LossConfig(name="relativistic", r1_gamma=0.1, r2_gamma=0.1, r_interval=1))
    elif kind == "ada":  # the break falls between two updates of the strength
        config = override(config, ["augment.name=ada", "augment.ada.adapt_kimg=0.3", "augment.ada.target=-0.9"])
        config = override(config, ["augment.ada.noise=1", "augment.ada.cutout=1"])
    elif kind == "diffaugment":
        config = override(config, ["augment.name=diffaugment"])
    else:
        config = replace(config, micro_batch=4)
    config = replace(config, kimg=0.08)
    run(config, tmp_path / "whole")
    run(replace(config, kimg=0.056), tmp_path / "parts")  # stops between two ticks
    run(config, tmp_path / "parts", is_resumed=True)
    assert same_weights(newest(tmp_path / "whole"), newest(tmp_path / "parts"))
    assert [tick["n_img"] for tick in read_log(tmp_path / "parts")][-1] == 80


def test_it_learns(config: TrainConfig) -> None:
    """The discriminator tells noise from discs, and a generator against a fixed one lowers its loss."""
    state = TrainState(config, "cpu")
    trainer = Trainer(config, state, batch_share=8)
    dataset = loop.open_dataset(config)
    images = torch.stack([dataset[i][0] for i in range(8)])
    first: dict[str, torch.Tensor] = {}
    for step in range(60):
        seed_step(0, 0, step)
        stats = trainer.step(Batch(images=images, labels=torch.zeros(8, 0), indices=()))
        first = first or stats
    assert stats["loss/d"] < first["loss/d"]
    assert stats["scores/real"] > stats["scores/fake"]


def test_micro_batches_equal_one_batch(config: TrainConfig) -> None:
    """Accumulated gradients equal those of the whole batch (without the layers that see the batch as a whole)."""
    config = replace(config, discriminator=replace(config.discriminator, mbstd_channels=0))
    state = TrainState(config, "cpu")
    real, labels = torch.rand(8, 3, 16, 16) * 2 - 1, torch.zeros(8, 0)
    gradients = []
    for micro_batch in (8, 2):
        trainer = Trainer(replace(config, micro_batch=micro_batch), state, batch_share=8)
        state.d_opt.step = lambda *_: None  # type: ignore[method-assign,assignment,misc,return-value]
        trainer._optimise(state.d_opt, trainer.d_reg, real, labels, {})
        gradients.append([p.grad.clone() for p in state.d.parameters() if p.grad is not None])
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-6)


def test_frozen_layers_stay(config: TrainConfig) -> None:
    config = replace(config, discriminator=replace(config.discriminator, freeze_layers=3))
    state = TrainState(config, "cpu")
    # Frozen layers are buffers under the names of their parameters.
    frozen = {name: b.clone() for name, b in state.d.named_buffers() if name.endswith((".weight", ".bias"))}
    assert len(frozen) == 6  # from_rgb, conv0 and conv1 of the first block
    trainer = Trainer(config, state, batch_share=8)
    trainer.step(
        Batch(images=torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8), labels=torch.zeros(8, 0), indices=())
    )
    for name, value in state.d.state_dict().items():
        if name in frozen:
            assert torch.equal(value, frozen[name])


def test_damaged_checkpoint_falls_back(config: TrainConfig, tmp_path: Path) -> None:
    config = replace(config, kimg=0.08)
    run(config, tmp_path / "run")
    run(config, tmp_path / "other")
    path = newest(tmp_path / "run")
    path.write_bytes(path.read_bytes()[:-100])
    recorder = run(config, tmp_path / "run", is_resumed=True)
    assert any("damaged" in message for message in recorder.messages)
    assert same_weights(newest(tmp_path / "run"), newest(tmp_path / "other"))


def test_left_out_images_stay_out_after_a_resume(config: TrainConfig, dataset_path: Path, tmp_path: Path) -> None:
    """Which images are damaged decides the order of the others, so the choice to skip them belongs to the run."""
    with zipfile.ZipFile(dataset_path) as archive:
        archive.extractall(tmp_path / "images")
    (tmp_path / "images" / "dataset.json").unlink()
    damaged = tmp_path / "images" / "00000" / "img00000003.png"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    config = replace(config, data=str(tmp_path / "images"), skip_bad=True, kimg=0.08)
    run(config, tmp_path / "whole")
    run(replace(config, kimg=0.04), tmp_path / "parts")
    assert read_config(tmp_path / "parts")[0].skip_bad
    recorder = run(config, tmp_path / "parts", is_resumed=True)
    assert any("img00000003.png" in message for message in recorder.messages)
    assert same_weights(newest(tmp_path / "whole"), newest(tmp_path / "parts"))


def test_nothing_to_resume(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no run"):
        read_config(tmp_path)
    create_run(tmp_path / "run", config, "test")  # killed before its first checkpoint: begins from the start
    run(replace(config, kimg=0.016), tmp_path / "run", is_resumed=True)
    assert newest(tmp_path / "run").stem == "000000016"
    newest(tmp_path / "run").write_bytes(b"")
    for path in (tmp_path / "run" / CHECKPOINTS).glob("*"):
        path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(CheckpointError, match="no intact checkpoint"):
        run(config, tmp_path / "run", is_resumed=True)


def test_nan_stops_at_the_last_good_checkpoint(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer.g_main

    def poisoned(self: Trainer, real: torch.Tensor, labels: torch.Tensor) -> Any:
        value, stats = original(self, real, labels)
        if self.state.n_img >= 64:
            value = value * float("nan")
        return value, stats | {"loss/g": value}

    monkeypatch.setattr(Trainer, "g_main", poisoned)
    with pytest.raises(TrainingError, match=r"loss/g is not finite near 0\.07 kimg.*000000040"):
        run(config, tmp_path / "run")
    assert newest(tmp_path / "run").stem == "000000040"


def test_full_disk_keeps_the_previous_checkpoint(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real_fsync = os.fsync

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if any((tmp_path / "run" / CHECKPOINTS).glob("*000000080*")):
            raise OSError(errno.ENOSPC, "No space left on device")
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="disk is full"):
        run(config, tmp_path / "run")
    monkeypatch.undo()
    assert newest(tmp_path / "run").stem == "000000040"
    assert not list((tmp_path / "run" / CHECKPOINTS).glob(".*"))


def test_time_limit(config: TrainConfig, tmp_path: Path) -> None:
    run(replace(config, kimg=1000), tmp_path / "run", max_minutes=1e-6)
    assert newest(tmp_path / "run").stem == "000000008"


def test_data_must_fit(config: TrainConfig) -> None:
    wrong = replace(config.generator, resolution_px=32), replace(config.discriminator, resolution_px=32)
    with pytest.raises(ConfigError, match="16 px"):
        loop.open_dataset(replace(config, generator=wrong[0], discriminator=wrong[1]))
    with pytest.raises(ConfigError, match="resolution_px"):
        replace(config, generator=wrong[0])


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("scale", list(SCALES))
def test_presets_build(name: str, scale: str) -> None:
    """Every preset at every scale gives networks that run; large ones are only constructed without memory."""
    config = preset(name, scale, DataShape(resolution_px=LAYOUTS[name][1] if name in LAYOUTS else 32))
    with torch.device("meta" if scale != "tiny" else "cpu"):
        g, d = config.generator.build(), config.discriminator.build()
    assert sum(p.numel() for p in g.parameters()) > 1e4
    if scale == "tiny" and config.generator.resolution_px == 32:  # larger ones: tests/train/test_any_pair.py
        assert d(g(torch.randn(2, g.z_dim))).shape == (2, 1)


def test_preset_errors_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match="stylegan3-t"):
        preset("stylegan3t", "tiny", DataShape(resolution_px=32))
    with pytest.raises(ConfigError, match="tiny"):
        preset("stylegan3-t", "tinny", DataShape(resolution_px=32))
    config = preset("stylegan3-t", "tiny", DataShape(resolution_px=32))
    with pytest.raises(ConfigError, match="channel_max"):
        override(config, ["generator.chanel_max=3"])
    with pytest.raises(ConfigError, match=r"batch='many'"):
        override(config, ["batch=many"])
    with pytest.raises(ConfigError, match="resolution_px"):
        preset("stylegan2", "tiny", DataShape(resolution_px=33))


def train_on(folder: Path, is_begun: Event) -> None:
    """What a process does that may be killed: begins the run in the folder, or resumes it."""
    torch.set_num_threads(1)
    config, _ = read_config(folder)
    is_resumed = any((folder / CHECKPOINTS).glob("0*.safetensors"))
    is_begun.set()
    train(config, folder, Fabric(accelerator="cpu", devices=1), Recorder(), is_resumed=is_resumed)


def test_sigkill_at_random_moments(config: TrainConfig, tmp_path: Path) -> None:
    """Killed four times wherever it happens to be, resumed each time: the same weights as an unbroken run.

    `make faults` does this hundreds of times to every kind of training.
    """
    config = replace(config, kimg=0.4, tick_kimg=0.04, sample_ticks=50)
    for name in ("killed", "whole"):
        create_run(tmp_path / name, config, "test")

    def start(name: str) -> BaseProcess:
        is_begun = CONTEXT.Event()
        process = apart(train_on, tmp_path / name, is_begun)
        assert is_begun.wait(300)
        return process

    chance = random.Random(0)
    for _ in range(4):
        process = start("killed")
        time.sleep(chance.uniform(0.05, 0.35))
        process.kill()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, "the run ended before it was killed four times; make it longer"
    all_end_well([start("killed")])
    all_end_well([start("whole")])
    assert newest(tmp_path / "killed").stem == "000000400"
    assert same_weights(newest(tmp_path / "killed"), newest(tmp_path / "whole"))
    ticks = [json.loads(line)["n_img"] for line in (tmp_path / "killed" / "log.jsonl").read_text().splitlines()]
    assert ticks == sorted(set(ticks))
    assert ticks[-1] == 400
