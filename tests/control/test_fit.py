"""Phase two: sampling and fitting on a generator that paints squares, whose colours follow from two latent groups."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gantrol
from gantrol import checkpoint
from gantrol.control import fit as fit_module
from gantrol.control.attribute_samples import AttributeSamples, sample_attributes
from gantrol.control.fit import STATE, ControlFitter, FitConfig, choose_attributes, control_of
from gantrol.control.predictors import Attribute, Predictor, PredictorSet
from gantrol.errors import ConfigError, DataError
from gantrol.model import Model
from gantrol.models import ControllableConfig, LatentGroup, StyleGAN2Config, group_slices
from tests.cli.conftest import Cli, cli

__all__ = ["cli"]

GROUPS = (
    LatentGroup(name="identity", size=4),
    LatentGroup(name="red", size=6),
    LatentGroup(name="tint", size=6),
    LatentGroup(name="other", size=8),
)
BASE = StyleGAN2Config(resolution_px=8, channel_base=64, channel_max=8, z_dim=24, w_dim=24, mapping_layers=2)
QUICK = FitConfig(hidden=32, steps=150, refine_steps=50, check_images=64, lr_multiplier=1.0)


class Paint(nn.Module):
    """Squares of one colour: red follows from its group, green and blue from `tint`, all a little from `other`."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(5)
        slices, mix = group_slices(GROUPS), torch.zeros(3, 24)
        mix[0, slices["red"]] = torch.rand(6, generator=rng)
        mix[1:, slices["tint"]] = torch.rand(2, 6, generator=rng)
        mix[:, slices["other"]] = 0.02 * torch.randn(3, 8, generator=rng)
        self.mix = nn.Parameter(mix)

    def forward(self, ws: Tensor, *, noise_mode: str = "const", dtype: torch.dtype = torch.float32) -> Tensor:
        colours = torch.tanh(ws[:, 0] @ self.mix.T / 4)
        return colours[:, :, None, None].expand(-1, -1, 8, 8)


class Colours(Predictor):
    """Reads red in percent, and the tint as two numbers; `identity` has distances only."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0
        self.attributes = {
            "red": Attribute(unit="%", components=("value",), low=(0.0,), high=(100.0,), help="more red"),
            "tint": Attribute(unit="0-1", components=("green", "blue"), low=(0.0, 0.0), high=(1.0, 1.0), help="tint"),
            "identity": Attribute(unit=""),
        }
        self.register_buffer("gain", torch.ones(1))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        self.passes += 1
        means = (images.mean(dim=(2, 3)) + 1) / 2
        return {"red": means[:, :1], "tint": means[:, 1:], "identity": means}

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean(dim=1)

    def read(self, name: str, features: Tensor) -> Tensor:
        return 100 * features if name == "red" else features


def painter(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    g: Any = ControllableConfig(base=BASE, groups=GROUPS, mapping_layers=2, hidden_width=16, lr_multiplier=1.0).build()
    g.synthesis = Paint()
    return g.eval().requires_grad_(False)


def predictors() -> PredictorSet:
    return PredictorSet([Colours()])


def passes(some: PredictorSet) -> int:
    (colours,) = some.predictors
    assert isinstance(colours, Colours)
    return colours.passes


NAMES = ("red", "tint")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> AttributeSamples:
    return sample_attributes(painter(), predictors(), tmp_path_factory.mktemp("s"), NAMES, 2000, chunk=500)


# ----------------------------------------------------------------------------------------------------------------------
# Sampling


def test_samples_hold_w_and_what_its_image_reads(samples: AttributeSamples) -> None:
    g, p = painter(), predictors()
    rows = torch.tensor([3, 1999, 500, 3])
    w = samples.w(rows)
    assert w.shape == (4, 24)
    features = p.features(g.synthesis(w[:, None]), NAMES)
    for name in NAMES:
        torch.testing.assert_close(samples.readings[name][rows], p.read(name, features[name]))
    assert (len(samples), samples.train_count) == (2000, 1800)
    assert len(torch.unique(samples.readings["red"])) > 1900


def test_a_stopped_sampling_goes_on(tmp_path: Path, samples: AttributeSamples) -> None:
    g, p = painter(), predictors()

    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > 700:
            raise StopError

    def go_on(count: int, progress: Callable[[int, int], None] | None = None) -> AttributeSamples:
        return sample_attributes(g, p, tmp_path, NAMES, count, chunk=500, progress=progress)

    with pytest.raises(StopError):
        go_on(2000, stop)
    assert [path.name for path in sorted(tmp_path.glob("chunk-*"))] == ["chunk-00000.safetensors"]
    (tmp_path / ".chunk-00001.safetensors.abc.tmp").write_bytes(b"half")
    before = passes(p)
    whole = go_on(2000)
    assert passes(p) - before == 3 * 8  # three chunks of 500 in batches of 64
    assert not list(tmp_path.glob(".*"))
    rows = torch.arange(2000)
    assert torch.equal(whole.w(rows), samples.w(rows))
    assert all(torch.equal(whole.readings[name], samples.readings[name]) for name in NAMES)

    before = passes(p)
    assert len(go_on(1200)) == 1200  # fewer: nothing to do
    assert passes(p) == before
    path = tmp_path / "chunk-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-1])  # damaged: made again
    assert torch.equal(go_on(2000).w(rows), samples.w(rows))
    part = sample_attributes(g, p, tmp_path / "more", NAMES, 700, chunk=500)
    assert torch.equal(part.w(rows[:700]), samples.w(rows[:700]))
    more = sample_attributes(g, p, tmp_path / "more", NAMES, 1000, chunk=500)  # a chunk that was short is filled
    assert torch.equal(more.w(rows[:1000]), samples.w(rows[:1000]))


def test_samples_of_different_things_do_not_mix(tmp_path: Path) -> None:
    g, p = painter(), predictors()
    sample_attributes(g, p, tmp_path, NAMES, 100)
    other = predictors()
    other.predictors[0].gain.fill_(2.0)  # type: ignore[operator]
    with pytest.raises(DataError, match="made with another model: choose another work folder"):
        sample_attributes(painter(1), p, tmp_path, NAMES, 100)
    with pytest.raises(DataError, match="other predictors"):
        sample_attributes(g, other, tmp_path, NAMES, 100)
    with pytest.raises(DataError, match="other attributes"):
        sample_attributes(g, p, tmp_path, ["red"], 100)
    with pytest.raises(DataError, match="another seed"):
        sample_attributes(g, p, tmp_path, NAMES, 100, seed=1)
    with pytest.raises(DataError, match="holds 100 samples, 200 are needed"):
        AttributeSamples(tmp_path, 200)
    with pytest.raises(ConfigError, match="expected 100 or more"):
        sample_attributes(g, p, tmp_path, NAMES, 99)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="not of attribute samples"):
        AttributeSamples(tmp_path)


# ----------------------------------------------------------------------------------------------------------------------
# What is fitted


def test_groups_that_can_be_read_are_fitted() -> None:
    attributes = predictors().attributes
    assert choose_attributes(GROUPS, attributes) == ["red", "tint"]
    assert choose_attributes(GROUPS, attributes, ["tint"]) == ["tint"]
    with pytest.raises(ConfigError, match=r"no latent groups.*gantrol train --control.*gantrol control directions"):
        choose_attributes((), attributes)
    with pytest.raises(ConfigError, match=r"no predictor reads 'age', a latent group .* --only red,tint"):
        choose_attributes((*GROUPS, LatentGroup(name="age", size=1)), attributes)
    with pytest.raises(ConfigError, match="no predictor reads 'identity' as numbers"):
        choose_attributes(GROUPS, attributes, ["identity"])
    with pytest.raises(ConfigError, match="'rde' is no latent group of this model; did you mean red"):
        choose_attributes(GROUPS, attributes, ["rde"])
    with pytest.raises(ConfigError, match="read none of the model's groups identity, other"):
        choose_attributes((GROUPS[0], GROUPS[3]), attributes)


def test_ranges_are_percentiles_of_what_is_seen() -> None:
    readings = torch.linspace(-10, 110, 1001)[:, None]
    control = control_of(Attribute(unit="%", components=("value",), low=(0.0,), high=(100.0,), help="x"), readings)
    assert (control.low, control.default, control.high) == (0.0, 50.0, 100.0)
    wide = Attribute(unit="%", components=("value",), low=(-99.0,), high=(999.0,))
    assert control_of(wide, readings).high == pytest.approx(108.8, abs=0.3)
    weights = Attribute(unit="0-1", components=("smile", "angry"), low=(0.0, 0.0), high=(1.0, 1.0))
    control = control_of(weights, torch.cat([readings / 100, torch.zeros_like(readings)], dim=1))
    assert control.components == ("smile", "angry")
    assert control.default == (0.0, 0.0)  # nothing of each
    assert control.high == (1.0, 0.001)  # never seen: nearly no range
    with pytest.raises(ConfigError, match="read the same value in every image"):
        control_of(wide, torch.full_like(readings, 5.0))


# ----------------------------------------------------------------------------------------------------------------------
# Fitting


@pytest.fixture(scope="module")
def fitted(samples: AttributeSamples) -> tuple[Any, dict[str, Any]]:
    fitter = ControlFitter(painter(), predictors(), samples, NAMES, QUICK)
    fitter.fit()
    fitter.refine()
    return fitter.result()


def test_a_fit_answers_with_what_was_asked_for(fitted: tuple[Any, dict[str, Any]]) -> None:
    controls, reports = fitted
    model = Model(painter(), control_set=controls)
    asked = torch.linspace(36, 74, 9)[:, None]
    images = model.generate(range(9), controls={"red": asked}, output="pt")
    red = 50 * (images[:, 0].mean(dim=(1, 2)) + 1)
    assert (red - asked[:, 0]).abs().mean() < 3
    assert set(reports) == {"red", "tint"}
    red_report, tint = reports["red"], reports["tint"]
    assert red_report.w_error < red_report.w_error_of_median
    assert len(tint.after) == 2
    assert sum(red_report.after) < 3
    assert sum(red_report.after) <= sum(red_report.before)
    assert max(tint.after) < 0.06
    assert controls.config.seeds == ("identity", "other")
    content = json.loads(json.dumps(tint.to_dict()))
    assert content["mean_absolute_error"] == pytest.approx(sum(tint.after) / 2)
    assert list(model.controls) == ["red", "tint", "identity", "other", "green", "blue"]


def test_refining_makes_controls_precise(samples: AttributeSamples, fitted: tuple[Any, dict[str, Any]]) -> None:
    _, reports = fitted
    for report in reports.values():
        assert sum(report.after) < 0.7 * sum(report.before)


def test_refining_can_be_left_out(samples: AttributeSamples) -> None:
    config = FitConfig(hidden=16, steps=5, refine_steps=0, check_images=8)
    fitter = ControlFitter(painter(), predictors(), samples, ["red"], config)
    fitter.fit()
    fitter.refine()
    controls, reports = fitter.result()
    assert reports["red"].before == reports["red"].after
    assert controls.config.seeds == ("identity", "tint", "other")


@pytest.mark.parametrize("stop_at", [7, 20, 25, 31, 40])
def test_a_stopped_fit_goes_on_as_if_it_had_not_been(
    samples: AttributeSamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    config = FitConfig(hidden=8, layers=2, steps=20, refine_steps=20, refine_batch=8, check_images=8)
    monkeypatch.setattr(fit_module, "_CHECK_EVERY", 4)
    monkeypatch.setattr(fit_module, "_SAVE_EVERY_S", 0.0)
    g, p = painter(), predictors()

    class StopError(Exception):
        pass

    steps = 0

    def count(done: int, total: int) -> None:
        nonlocal steps
        steps += 1
        if steps == stop_at:
            raise StopError

    def make(progress: Callable[[int, int], None] | None, state: Path | None) -> dict[str, Tensor]:
        fitter = ControlFitter(g, p, samples, NAMES, config, state=state)
        fitter.fit(progress)
        fitter.refine(progress)
        return fitter.result()[0].state_dict()

    whole = make(None, None)
    with pytest.raises(StopError):
        make(count, tmp_path / STATE)
    found = checkpoint.read_metadata(tmp_path / STATE)
    assert sum(found["done"].values()) == stop_at
    again = make(count, tmp_path / STATE)
    assert steps <= 40 + 1
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    # Other settings begin anew, on the same samples.
    other = ControlFitter(g, p, samples, NAMES, FitConfig(hidden=8, steps=1), state=tmp_path / STATE)
    assert other._done == {"fit": 0, "refine": 0}


@pytest.mark.parametrize("change", [{"hidden": 0}, {"steps": -1}, {"learning_rate": 0.0}])
def test_settings_that_cannot_be(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(change))}="):
        FitConfig(**change)


# ----------------------------------------------------------------------------------------------------------------------
# The command


@pytest.fixture
def painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A saved model with latent groups that cannot paint well, and `--predictors toy`."""
    torch.manual_seed(0)
    config = ControllableConfig(base=BASE, groups=GROUPS, mapping_layers=1, hidden_width=16, lr_multiplier=1.0)
    from gantrol.control.predictors import folder

    monkeypatch.setattr(folder, "load_predictors", lambda name: predictors())
    return Model(config.build().eval()).save_pretrained(tmp_path / "run")


def test_the_command_writes_a_controllable_model(cli: Cli, painted: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "faces", tmp_path / "t.json"
    arguments = ["control", "fit", painted, "--predictors", "toy", "--out", out, "--samples", 200, "--steps", 20]
    done = cli(*arguments, "--refine", 3, "--hidden", 8, "--batch", 16, "--json", table, "--device", "cpu")
    assert done.status == 0, done.err
    assert "tint.green" in done.out
    assert "2 controls; set by a seed: identity, other; samples are kept in" in done.out
    assert (tmp_path / "faces.work" / "samples" / "chunk-00000.safetensors").exists()
    content = json.loads(table.read_text())
    assert set(content["controls"]) == {"red", "tint"}
    assert content["controls"]["red"]["unit"] == "%"
    assert content["gantrol_version"]
    model = gantrol.load(out)
    assert list(model.controls) == ["red", "tint", "identity", "other", "green", "blue"]
    assert model.training["control_errors"]["red"]["error"] == content["controls"]["red"]["error"]
    assert "## Controls" in (out / "README.md").read_text()
    shown = cli("info", out).out
    assert "identity 4, red 6, tint 6, other 8" in shown
    assert "mean error" in shown

    high = model.controls["red"].high
    made = cli(
        "generate", out, "--seeds", "0-1", "--batch", 1, "--out", tmp_path / "a", "--set", "red=999", "identity=7"
    )
    assert made.status == 0
    assert made.err.splitlines() == [
        f"gantrol: control 'red': 999 is out of its range of {model.controls['red'].low:g} to {high:g} (%); "
        f"{high:g} is taken"
    ]
    expected = np.asarray(model.generate([1], controls={"red": high, "identity": 7})[0]).astype(int)
    got = np.asarray(Image.open(tmp_path / "a" / "seed0001.png")).astype(int)
    assert np.abs(got - expected).max() <= 1
    named = cli("generate", out, "--seeds", 0, "--out", tmp_path / "b", "--set", "tint=green:0.5,blue:0.5", "blue=0.5")
    assert named.status == 0
    assert "did you mean red" in cli("generate", out, "--out", tmp_path / "c", "--set", "rde=1").error


def test_the_command_goes_on_after_ctrl_c(
    cli: Cli, painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["control", "fit", painted, "--predictors", "toy", "--out", tmp_path / "m", "--samples", 100]
    arguments += ["--steps", 5, "--refine", 1, "--hidden", 8, "--device", "cpu", "--work", tmp_path / "w"]

    def interrupted(self: ControlFitter, progress: Any = None) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ControlFitter, "refine", interrupted)
        stopped = cli(*arguments)
    assert stopped.status == 130
    assert stopped.err == f"gantrol: interrupted; the same command goes on from {tmp_path / 'w'}\n"
    assert not (tmp_path / "m").exists()
    assert checkpoint.read_metadata(tmp_path / "w" / STATE)["done"]["fit"] == 5
    assert cli(*arguments).status == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--only", "age"], "'age' is no latent group of this model"),
        (["--only", "identity"], "no predictor reads 'identity' as numbers, only red, tint"),
        (["--samples", 5], "5 samples in batches of 64: expected 100 or more"),
        (["--hidden", 0], "hidden=0: expected 1 or more"),
        (["--batch", 0], "--batch 0: expected at least 1"),
    ],
)
def test_the_command_refuses_in_one_line(
    cli: Cli, painted: Path, tmp_path: Path, more: list[object], message: str
) -> None:
    refused = cli("control", "fit", painted, "--predictors", "toy", "--out", tmp_path / "m", "--device", "cpu", *more)
    assert refused.status == 1
    assert message in refused.error
    assert not (tmp_path / "m").exists()


def test_a_model_without_groups_is_told_what_to_do(cli: Cli, painted: Path, tmp_path: Path) -> None:
    plain = Model(BASE.build()).save_pretrained(tmp_path / "plain")
    refused = cli("control", "fit", plain, "--predictors", "toy", "--out", tmp_path / "m", "--device", "cpu")
    assert "no latent groups" in refused.error
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "x").touch()
    assert "it holds other files" in cli("control", "fit", plain, "--predictors", "toy", "--out", taken).error
