"""The sheet of controls: what gets a strip, and from where to where it goes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gantrol.control.encoders import EncoderConfig, EncoderControls, EncoderControlsConfig
from gantrol.controls import Control, seed_control, with_parts
from gantrol.errors import ConfigError
from gantrol.model import Model
from gantrol.models import ControllableConfig, LatentGroup, StyleGAN2Config
from gantrol.sample import Look
from gantrol.strips import controls_sheet, strip_names, strip_values

AGE = Control("years", 15.0, 75.0, 40.0, "older")
FACE = Control("0-1", (0.0, 0.0), (1.0, 1.0), (0.0, 0.0), "face", components=("smile", "angry"))
HAIR = Control("sRGB", (0.1,) * 3, (0.9,) * 3, (0.5,) * 3, "hair", components=("r", "g", "b"))


@pytest.fixture(scope="module")
def model() -> Model:
    groups = tuple(LatentGroup(name=name, size=4) for name in ("age", "expression", "identity", "other"))
    base = StyleGAN2Config(resolution_px=8, z_dim=16, w_dim=16, channel_base=64, channel_max=8)
    torch.manual_seed(0)
    encoders = tuple(
        EncoderConfig(name=name, group=name, control=control, hidden=8, layers=2)
        for name, control in (("age", AGE), ("expression", FACE))
    )
    controls = EncoderControlsConfig(groups=groups, encoders=encoders, seeds=("identity",))
    generator = ControllableConfig(base=base, groups=groups, mapping_layers=2, hidden_width=8).build()
    return Model(generator.eval().requires_grad_(False), control_set=EncoderControls(controls))


def test_values_go_from_the_lowest_to_the_highest() -> None:
    assert strip_values(AGE, 4) == [15, 35, 55, 75]
    assert strip_values(FACE, 2) == [(0, 0), (1, 1)]
    assert strip_values(seed_control("who"), 3) == [0, 1, 2]
    with pytest.raises(ConfigError, match="at least 2"):
        strip_values(AGE, 1)


def test_hair_goes_through_natural_colours_within_its_range() -> None:
    colors = np.array(strip_values(HAIR, 6))
    assert colors.min() >= 0.1
    assert colors.max() <= 0.9
    assert len(np.unique(colors, axis=0)) == 6


def test_named_numbers_get_strips_of_their_own() -> None:
    controls = with_parts({"age": AGE, "expression": FACE, "hair_color": HAIR})
    assert strip_names(controls) == ["age", "hair_color", "smile", "angry"]


def test_the_sheet(model: Model) -> None:
    sheet = controls_sheet(model, seeds=(0, 1), steps=3)
    assert sheet.width > 6 * 8
    one = controls_sheet(model, steps=3, names=["age"], look=Look(truncation_psi=0.5))
    assert one.height < sheet.height


def test_what_has_no_strips(model: Model) -> None:
    with pytest.raises(ConfigError, match="this model does not have it"):
        controls_sheet(model, names=["agee"])
    with pytest.raises(ConfigError, match="no controls, so there is nothing to show"):
        controls_sheet(Model(model.generator))
