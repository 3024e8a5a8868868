"""What the paper's predictors say, from given outputs of their networks, against the reference."""

from __future__ import annotations

import torch
from torch import nn

from gantrol.control.predictors.dex import DEX
from gantrol.control.predictors.hopenet import Hopenet, degrees
from gantrol.control.predictors.logits import expected_bin
from gantrol.control.predictors.pspnet import colour_under
from gantrol.control.predictors.rnet import HEADS, READS, RNet
from gantrol.control.predictors.style import gram_matrix
from tests import reference

INFO, TENSORS = reference.load("ganctl_decoding")
TOLERANCE = {key: INFO["recommended_tolerance"][key] for key in ("rtol", "atol")}


def test_age_is_the_expectation_over_years() -> None:
    reference.assert_close(expected_bin(TENSORS["age_logits"]), TENSORS["age"], **TOLERANCE)
    dex = DEX.__new__(DEX)
    reference.assert_close(dex.read("age", TENSORS["age_logits"])[:, 0], TENSORS["age"], **TOLERANCE)


def test_pose_is_in_degrees() -> None:
    hopenet, logits, expected = Hopenet.__new__(Hopenet), TENSORS["pose_logits"], TENSORS["pose_yaw_pitch_roll"]
    reference.assert_close(hopenet.read("orientation", logits), expected, **TOLERANCE)
    for i, name in enumerate(("yaw", "pitch", "roll")):
        reference.assert_close(hopenet.read(name, logits[:, i])[:, 0], expected[:, i], **TOLERANCE)


def test_certain_logits_are_their_bin_however_large() -> None:
    """The reference's softmax does not subtract the maximum, and overflows where ours does not."""
    certain = 1000.0 * torch.eye(66)
    assert torch.equal(degrees(certain), 3.0 * torch.arange(66) - 99)


def test_hair_colour_is_the_mean_under_the_mask() -> None:
    masked, mask = TENSORS["hair_features"].split([3, 1], dim=1)
    colour = colour_under(masked, mask)
    reference.assert_close(colour[:, :3], TENSORS["hair_colour"], **TOLERANCE)
    assert torch.equal(colour[:, 3], mask.mean((1, 2, 3)))


def test_3d_coefficients_are_slices() -> None:
    parts = dict(zip(HEADS, TENSORS["recon_vector"].split(list(HEADS.values()), dim=1), strict=True))
    names = {
        "id": "id",
        "ex": "expression",
        "tex": "texture",
        "angles": "angles",
        "gamma": "gamma",
        "xy": "xy",
        "z": "z",
    }
    for head, name in names.items():
        assert torch.equal(parts[head], TENSORS[f"recon.{name}"]), head
    assert {READS["light"], READS["expression3d"], READS["pose3d"]} == {"gamma", "ex", "angles"}
    rnet = RNet.__new__(RNet)
    nn.Module.__init__(rnet)
    pitch, yaw, roll = TENSORS["recon.angles"].unbind(1)
    expected = torch.stack([-pitch, yaw, roll], dim=1).rad2deg()
    reference.assert_close(rnet.read("pose3d", TENSORS["recon.angles"]), expected, **TOLERANCE)
    assert torch.equal(rnet.read("light", TENSORS["recon.gamma"]), TENSORS["recon.gamma"])


def test_gram_matrices() -> None:
    reference.assert_close(gram_matrix(TENSORS["feature_map"]), TENSORS["gram"], **TOLERANCE)
