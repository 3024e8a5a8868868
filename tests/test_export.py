"""Exported files make the pictures of their models, without this package."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import gantrol
from gantrol.control.directions import Direction, DirectionsConfig
from gantrol.control.encoders import EncoderConfig, EncoderControlsConfig
from gantrol.controls import Control, seed_control
from gantrol.errors import ConfigError, DataError, MissingExtraError
from gantrol.export import export_model, model_file
from gantrol.export.checking import TOLERANCE, largest_difference
from gantrol.export.files import OnnxRunner, Pt2Runner, write_onnx, write_pt2
from gantrol.export.network import ExportedGenerator, describe_inputs, inverse_motion, settled
from gantrol.export.tracing import example_values, trace
from gantrol.model import Model
from gantrol.models import (
    AutoGANConfig,
    ControllableConfig,
    LadderConfig,
    LatentGroup,
    StyleGAN2Config,
    StyleGAN3Config,
    TransGANConfig,
    TransGANStage,
    WGANGPConfig,
    make_transform,
)

STYLEGAN3: dict[str, Any] = {
    "resolution_px": 8,
    "num_layers": 2,
    "num_critical": 1,
    "first_cutoff": 1.0,
    "first_stopband": 2.0,
    "margin_px": 2,
    "channel_base": 64,
    "channel_max": 4,
    "z_dim": 8,
    "w_dim": 8,
}
LAYOUT: dict[str, Any] = {"resolution_px": 8, "channel_base": 64, "channel_max": 4, "z_dim": 8, "w_dim": 8}
FIRST = TransGANStage(side=4, channels=8, depth=1, upsampling="none")
V1 = (FIRST, TransGANStage(side=8, channels=2, depth=1))
V2 = (FIRST, TransGANStage(side=8, channels=2, depth=1, window=4, upsampling="smooth_pixelshuffle"))
V2_FIELDS: dict[str, Any] = {"norm": "pixel", "relative_position": True, "noise": True, "cross_attention": True}

AGE = Control(unit="years", low=10.0, high=80.0, default=35.0, help="age")
LOOK = Control(unit="weights", low=(0.0, 0.0), high=(1.0, 1.0), default=(0.1, 0.2), help="look", components=("a", "b"))
GROUPS = tuple(LatentGroup(name=name, size=size) for name, size in (("age", 3), ("look", 3), ("other", 2)))

CONFIGS: dict[str, Any] = {
    "stylegan2 with classes": StyleGAN2Config(**LAYOUT, mapping_layers=1, c_dim=2, use_fourier_input=True),
    "ladder": LadderConfig(resolution_px=8, z_dim=8, w_dim=8, channel_base=64, channel_max=4, lrelu_upsampling=1),
    "stylegan3-t": StyleGAN3Config(**STYLEGAN3, c_dim=2),
    "transgan v1": TransGANConfig(resolution_px=8, z_dim=8, stages=V1, heads=2),
    "transgan v2": TransGANConfig(resolution_px=8, z_dim=8, stages=V2, heads=2, c_dim=3, latent_norm=True, **V2_FIELDS),
    "wgan-gp": WGANGPConfig(resolution_px=16, z_dim=8, width=4),
    "autogan": AutoGANConfig(resolution_px=16, z_dim=8, width=4),
    "encoders": ControllableConfig(
        base=StyleGAN3Config(**STYLEGAN3, conv_kernel=1, use_radial_filters=True),
        groups=GROUPS,
        mapping_layers=1,
        hidden_width=4,
        lr_multiplier=1.0,
    ),
    "directions": StyleGAN2Config(**LAYOUT, mapping_layers=1),
}
BOTH = ("stylegan3-t", "encoders", "directions", "transgan v2")
"""The families that are written as ONNX, too: they have all operators of the others."""


def controls_for(name: str, generator: Any) -> Any:
    if name == "encoders":
        pairs = (("age", "age", AGE), ("look", "look", LOOK), ("gaze", "look", LOOK))
        encoders = tuple(
            EncoderConfig(name=control, group=group, control=meaning, hidden=4, layers=2, lr_multiplier=1.0)
            for control, group, meaning in pairs
        )
        return EncoderControlsConfig(groups=GROUPS, encoders=encoders, seeds=("other",)).build()
    if name == "directions":
        found = (
            Direction(name="age", source="pca", control=AGE, is_linear=(True,)),
            Direction(name="look", source="pca", control=LOOK, is_linear=(True, False)),
        )
        config = DirectionsConfig(w_dim=8, num_ws=generator.num_ws, layers=(1, 2), directions=found)
        controls = config.build()
        axes = torch.linalg.qr(torch.randn(8, 3))[0].T  # so that no direction moves another's reading
        controls.weight.copy_(axes * 3)
        controls.direction.copy_(axes / 3)
        controls.weight_others.normal_()
        controls.bias.normal_()
        return controls
    return None


def make(name: str) -> Model:
    """A small model of a family whose running means, noise and biases are not those it was made with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = CONFIGS[name].build().eval().requires_grad_(False)
        for path, tensor in [*generator.named_parameters(), *generator.named_buffers()]:
            if path.endswith(("noise_strength", "bias", "w_avg", "embed.weight")):
                tensor.normal_(0, 0.5)
        return Model(generator, control_set=controls_for(name, generator), training={"license": "apache-2.0"})


# ----------------------------------------------------------------------------------------------------------------------
# Every family


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_the_files_make_the_pictures_of_the_model(name: str, tmp_path: Path) -> None:
    """Written and read again, at two batch sizes, with everything set, against the model itself."""
    model = make(name)
    network = ExportedGenerator(model)
    program = trace(network)
    about = {"gantrol_version": "1", "model": name}
    write_pt2(program, tmp_path / "g.pt2", about)
    difference = largest_difference(model, Pt2Runner(tmp_path / "g.pt2"), network.inputs, are_optional=False)
    assert difference < 1e-4
    if name not in BOTH:
        return
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"ONNX files need {package}: pip install 'gantrol[export,dev]'")
    import onnx

    write_onnx(program, tmp_path / "g.onnx", network.inputs, about, truncation_psi=0.8)
    run = OnnxRunner(tmp_path / "g.onnx")
    assert largest_difference(model, run, network.inputs, truncation_psi=0.8) < 1e-4
    nothing = example_values(network.inputs, 1) | {"z": torch.zeros(1, 8)}  # what is normalised needs its epsilon
    assert (run(nothing) - network(*nothing.values())).abs().max() < 1e-4

    proto = onnx.load(tmp_path / "g.onnx")
    assert {node.domain for node in proto.graph.node} == {""}
    assert {function.domain for function in proto.functions} <= {""}
    assert b"gantrol::" not in (tmp_path / "g.onnx").read_bytes()
    assert str(Path(gantrol.__file__).parent).encode() not in (tmp_path / "g.onnx").read_bytes()
    shapes = {
        each.name: [size.dim_param or size.dim_value for size in each.type.tensor_type.shape.dim]
        for each in [*proto.graph.input, *proto.graph.output]
    }
    expected = {each.name: [str(size).replace(" ", "_") if isinstance(size, str) else size for size in each.shape]
                for each in network.inputs}  # fmt: skip
    g = model.generator
    assert shapes == expected | {"images": ["N", g.channels, g.resolution_px, g.resolution_px]}
    assert {each.key: each.value for each in proto.metadata_props} == about


def test_a_pt2_file_runs_without_this_package(tmp_path: Path) -> None:
    """Another interpreter, in which importing gantrol fails, gets the same picture."""
    model = make("encoders")
    path = tmp_path / "g.pt2"
    made = export_model(model, path, command="gantrol export run --out g.pt2")
    assert made.difference is not None
    assert made.difference < 1e-4
    values = example_values(made.inputs, 2)
    torch.save(values, tmp_path / "values.pt")
    code = """
import json, sys
sys.modules["gantrol"] = None
import torch
extra = {"about.json": ""}
run = torch.export.load("g.pt2", extra_files=extra).module()
torch.save(run(**torch.load("values.pt", weights_only=True)), "images.pt")
print(extra["about.json"])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    images = torch.load(tmp_path / "images.pt", weights_only=True)
    expected = model.synthesize(model.map(z=values["z"]))
    assert (images - expected).abs().max() < 1e-4
    about = json.loads(done.stdout)
    assert about == made.metadata
    assert about["licence"] == "apache-2.0"
    assert about["command"] == "gantrol export run --out g.pt2"
    assert about["resolution_px"] == 8
    names = [each["name"] for each in about["inputs"]]
    assert names == ["z", "truncation_psi", "transform", "age", "look", "gaze"]
    assert about["inputs"][3]["shape"] == ["N", 1]
    assert about["latent_groups"] == {"age": [0, 3], "look": [3, 6], "other": [6, 8]}


# ----------------------------------------------------------------------------------------------------------------------
# What the inputs mean


def test_inputs_of_a_controllable_model() -> None:
    model = make("encoders")
    inputs = {each.name: each for each in ExportedGenerator(model).inputs}
    assert list(inputs) == ["z", "truncation_psi", "transform", "age", "look", "gaze"]  # `other` is a part of z
    assert inputs["age"].shape == ("N or 1", 1)
    assert (inputs["look"].low, inputs["look"].high, inputs["look"].default) == ((0, 0), (1, 1), (0.1, 0.2))
    assert (inputs["age"].unit, inputs["look"].components) == ("years", ("a", "b"))


def test_nan_is_not_set() -> None:
    """All NaN: as z has it; one NaN: its default; beyond the range: the nearest."""
    look = next(each for each in ExportedGenerator(make("encoders")).inputs if each.name == "look")
    nan = torch.nan
    value, is_set = settled(torch.tensor([[nan, nan], [0.5, nan], [7.0, -1.0]]), look)
    assert is_set.flatten().tolist() == [False, True, True]
    assert torch.equal(value[1:], torch.tensor([[0.5, 0.2], [1.0, 0.0]]))


def test_the_network_is_the_model_with_controls_of_one_image_only() -> None:
    """In one batch: nothing set, age set, and a component of a look set."""
    model = make("encoders")
    network = ExportedGenerator(model)
    values = example_values(network.inputs, 3)
    values["age"][1] = 60
    values["look"][2, 0] = 0.9
    images = network(*values.values())
    for row, controls in enumerate(({}, {"age": 60}, {"look": {"a": 0.9}})):
        expected = model.synthesize(model.map(z=values["z"][row : row + 1], controls=controls))
        assert (images[row] - expected[0]).abs().max() < 1e-4


def test_the_inverse_of_a_motion() -> None:
    motions = torch.stack([make_transform((0.2, -0.1), 30), make_transform((0, 0.4), -100), torch.eye(3)])
    torch.testing.assert_close(inverse_motion(motions), torch.linalg.inv(motions))


def test_a_control_may_not_be_called_as_another_input() -> None:
    generator = make("directions").generator
    assert [each.name for each in describe_inputs(generator, {"identity": seed_control("who")})] == [
        "z",
        "truncation_psi",
    ]
    with pytest.raises(ConfigError, match="control 'z' cannot be exported"):
        describe_inputs(generator, {"z": AGE})


# ----------------------------------------------------------------------------------------------------------------------
# Mistakes, and files that are wrong


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "onx"}, "format 'onx': did you mean onnx"),
        ({"path": "g.bin"}, "format 'bin'"),
        ({"noise_mode": "random"}, "noise 'random' cannot be exported"),
        ({"dtype": torch.bfloat16}, "expected torch.float32 or torch.float16"),
        ({"truncation_psi": float("nan"), "path": "g.onnx"}, "expected a finite number"),
        ({"truncation_psi": 0.7}, "belong to ONNX files"),
        ({"opset": 18}, "belong to ONNX files"),
    ],
)
def test_mistakes(fields: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "require_extra", lambda module, extra: None)
    path = tmp_path / fields.pop("path", "g.pt2")
    with pytest.raises(ConfigError, match=message):
        export_model(make("wgan-gp"), path, **fields)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "g.pt2"
    path.write_text("dear")
    with pytest.raises(DataError, match="is there already"):
        export_model(make("wgan-gp"), path)
    assert path.read_text() == "dear"


@pytest.fixture
def traced_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Writes a few bytes instead of a program, where only what follows is of interest."""

    def replace() -> None:
        monkeypatch.setattr(model_file, "trace", lambda network: None)
        monkeypatch.setattr(model_file, "write_pt2", lambda program, path, about: path.write_bytes(b"program"))
        monkeypatch.setattr(model_file, "Pt2Runner", lambda path: None)

    return replace


@pytest.mark.parametrize("difference", [0.5, float("inf"), float("nan")])
def test_a_file_that_fails_its_check_is_not_left(
    difference: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, traced_once: Callable[[], None]
) -> None:
    traced_once()
    monkeypatch.setattr(model_file, "largest_difference", lambda *_, **__: difference)
    with pytest.raises(DataError, match=rf"differ by up to {difference:g} from those of the model \(allowed: 0.001\)"):
        export_model(make("wgan-gp"), tmp_path / "g.pt2")
    assert list(tmp_path.iterdir()) == []
    made = export_model(make("wgan-gp"), tmp_path / "g.pt2", check=False)
    assert (made.difference, made.why_unchecked) == (None, "not asked for")
    assert made.path.read_bytes() == b"program"


def test_the_check_sees_a_wrong_picture() -> None:
    model = make("wgan-gp")
    network = ExportedGenerator(model)

    def wrong(values: Any) -> torch.Tensor:
        images = network(*values.values())
        images[-1, 0, 3, 3] += 0.01
        return images

    assert largest_difference(model, wrong, network.inputs, are_optional=False) == pytest.approx(0.01, abs=1e-5)
    wrong_nan = lambda values: wrong(values) * torch.nan  # noqa: E731
    assert not largest_difference(model, wrong_nan, network.inputs, are_optional=False) <= TOLERANCE[torch.float32]


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gantrol\[export\]'"):
        export_model(make("wgan-gp"), tmp_path / "g.onnx")
