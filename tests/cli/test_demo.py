"""`gantrol demo` with a small model in place of `faces`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

import gantrol
from gantrol.cli import main
from gantrol.control.encoders import EncoderConfig, EncoderControls, EncoderControlsConfig
from gantrol.controls import Control
from gantrol.model import Model
from gantrol.models import ControllableConfig, LatentGroup, StyleGAN2Config


def controllable(name: str) -> Model:
    """An untrained model with one control."""
    groups = (LatentGroup(name=name, size=4), LatentGroup(name="other", size=4))
    base = StyleGAN2Config(resolution_px=16, z_dim=8, w_dim=8, channel_base=64, channel_max=8)
    torch.manual_seed(0)
    generator = ControllableConfig(base=base, groups=groups, mapping_layers=2, hidden_width=8).build()
    control = Control("degrees", -30.0, 30.0, 0.0, "turns the face")
    encoder = EncoderConfig(name=name, group=name, control=control, hidden=8, layers=2)
    controls = EncoderControls(EncoderControlsConfig(groups=groups, encoders=(encoder,), seeds=("other",)))
    return Model(generator.eval().requires_grad_(False), control_set=controls)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return int(end.value.code or 0)


def test_three_files_and_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    controllable("yaw").save_pretrained(tmp_path / "model")
    assert run("demo", "--model", str(tmp_path / "model"), "--out", str(tmp_path / "demo"), "--device", "cpu") == 0
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {"grid.png", "controls.png", "turn.mp4"}
    with Image.open(tmp_path / "demo" / "controls.png") as sheet:
        assert sheet.height > 2 * 48  # a strip for yaw, a strip for the seed of `other`
    said = capsys.readouterr().err
    assert "gantrol video" in said
    assert "--sweep yaw=-30:30" in said
    assert "To go on" in said


def test_a_model_that_cannot_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    controllable("age").save_pretrained(tmp_path / "model")
    assert run("demo", "--model", str(tmp_path / "model"), "--out", str(tmp_path / "demo")) == 1
    assert "has no control 'yaw'" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_the_bundled_model_has_the_promised_controls() -> None:
    model = gantrol.load("faces", device="cpu")
    assert {"age", "yaw", "pitch", "roll", "hair_color", "light", "expression", "smile", "identity"} <= set(
        model.controls
    )
    pictures = model.generate([0, 1], controls={"age": 60, "yaw": -20}, truncation_psi=0.7)
    assert [picture.size for picture in pictures] == [(32, 32)] * 2
    assert (
        pictures[0].tobytes() != model.generate([0], controls={"age": 20, "yaw": 20}, truncation_psi=0.7)[0].tobytes()
    )
