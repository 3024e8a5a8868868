"""The measures of control, on a toy whose errors, correlations and leaks are known by hand."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gantrol.cli import main
from gantrol.config import from_dict, to_dict
from gantrol.control.control_set import ControlSet
from gantrol.control.nearest_sample import NearestSampleConfig, nearest_sample
from gantrol.control.predictors import Attribute, Predictor, PredictorSet
from gantrol.controls import Control, seed_control
from gantrol.data.dataset import ImageDataset
from gantrol.errors import ConfigError
from gantrol.metrics import control as control_module
from gantrol.metrics import evaluate, evaluate_entries, measure_control
from gantrol.metrics.control_observer import Seen, labelled_values
from gantrol.metrics.control_pictures import control_picture
from gantrol.metrics.control_report import ControlReport
from gantrol.metrics.control_requests import Requests, angle_between, correlation
from gantrol.metrics.separability import SET_SIZE, disentanglement, separability_of
from gantrol.model import Model

D = 12
SCALE = 10.0
"""The image holds w divided by this, so that nothing is clamped."""

MEANS = torch.tensor([40.0, 0.0, 0.0, 20.0, 0.5, 0.5, 0.5, 0.5, 0.5])
STEPS = torch.tensor([10.0, 20.0, 30.0, 15.0, 0.1, 0.1, 0.1, 0.1, 0.1])
PLACES = {"age": (0,), "yaw": (1,), "light": (2, 3), "hair_color": (4, 5, 6), "expression": (7, 8), "identity": (9,)}
"""Which features of w, or pixels, show an attribute; the readings are MEANS + STEPS·w. The last two show nothing."""


class Toy(nn.Module):
    """The first pixels are w/10, and w is z."""

    c_dim, z_dim, w_dim, num_ws, resolution_px, channels = 0, D, D, 2, 4, 3

    def __init__(self, slices: Mapping[str, slice] | None = None) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.calls = 0

        class Mapping_(nn.Module):
            def forward(self, z: Tensor, c: None = None, **_: Any) -> Tensor:
                return z[:, None].expand(-1, 2, -1)

        self.mapping = Mapping_()
        if slices is not None:
            self.mapping.slices = slices  # type: ignore[assignment]

    def synthesis(self, ws: Tensor, **_: Any) -> Tensor:
        self.calls += len(ws)
        image = torch.zeros(len(ws), 16)
        image[:, :D] = ws[:, 0] / SCALE
        return image.view(-1, 1, 4, 4).repeat(1, 3, 1, 1)


class Eye(Predictor):
    """Reads the toy's pixels without error."""

    attributes: ClassVar[dict[str, Attribute]] = {  # type: ignore[misc]
        "age": Attribute(unit="years", components=("value",), low=(0,), high=(90,)),
        "yaw": Attribute(unit="degrees", components=("value",), low=(-90,), high=(90,)),
        "light": Attribute(unit="degrees", components=("azimuth", "elevation"), low=(-90, -90), high=(90, 90)),
        "hair_color": Attribute(unit="sRGB", components=("r", "g", "b"), low=(0,) * 3, high=(1,) * 3),
        "expression": Attribute(unit="weight", components=("smile", "sad"), low=(0, 0), high=(1, 1)),
        "identity": Attribute(unit=""),
    }
    calls = 0

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        Eye.calls += len(images)
        w = images[:, 0].flatten(1) * SCALE
        return {name: w[:, list(places)] for name, places in PLACES.items()}

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean(dim=1)

    def read(self, name: str, features: Tensor) -> Tensor:
        places = list(PLACES[name])
        return MEANS[places] + STEPS[places] * features


class Knobs(ControlSet):
    """Controls with known faults."""

    def __init__(self, **more: Control) -> None:
        super().__init__()
        self.config = None
        expression = Control("weight", (0.0, 0.0), (1.0, 1.0), (0.0, 0.0), "", components=("smile", "sad"))
        self.controls = {
            "age": Control("years", 20.0, 60.0, 40.0, ""),
            "light": Control("degrees", (-60.0, -20.0), (60.0, 60.0), (0.0, 20.0), "", ("azimuth", "elevation")),
            "hair_color": Control("sRGB", (0.2,) * 3, (0.8,) * 3, (0.4,) * 3, ""),
            "expression": expression,
            **more,
        }

    def steer(self, ws: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        ws = ws.clone()
        for name, value in values.items():
            wanted = value.clone()
            if name == "age":  # three years too old; takes yaw and the person along
                wanted = wanted + 3
                ws[:, :, 1] += 0.5 * (value - 40) / STEPS[1]
                ws[:, :, 9] += 0.1 * (value - 40)
            elif name == "light":  # 10° too high
                wanted[:, 1] += 10
            elif name == "hair_color":  # too red
                wanted[:, 0] += 0.06
            elif name == "expression":  # half the smile
                wanted[:, 0] /= 2
            places = list(PLACES[name])
            ws[:, :, places] = ((wanted - MEANS[places]) / STEPS[places])[:, None]
        return ws


READERS = PredictorSet([Eye()])
PAIR_STEPS = 10 / 3
"""The mean distance of two of nine points in a row, in steps."""


def toy(slices: Mapping[str, slice] | None = None, **more: Control) -> Model:
    return Model(Toy(slices), control_set=Knobs(**more))


@pytest.fixture(scope="module")
def report() -> ControlReport:
    with torch.no_grad():
        return measure_control(toy(), READERS, samples=200)


# ---------------------------------------------------------------------------------------------------------------------
# Precision


def test_errors_are_those_of_the_knobs(report: ControlReport) -> None:
    age, light, hair, expression = (report.scores[name] for name in ("age", "light", "hair_color", "expression"))
    assert age.mae == pytest.approx(3, abs=1e-4)
    assert age.component_bias == pytest.approx((3,), abs=1e-4)
    assert light.mae == pytest.approx(10, abs=1e-3)  # the angle between directions
    assert light.component_mae == pytest.approx((0, 10), abs=1e-3)
    assert hair.component_mae == pytest.approx((0.06, 0, 0), abs=1e-5)
    assert hair.mae == pytest.approx(0.02, abs=1e-5)
    # A smile is asked with a weight uniform in 0 … 1 and half of it comes: 0.25 on average.
    assert expression.component_mae == pytest.approx((0.25, 0), abs=0.04)
    assert 0 < expression.mae < expression.component_mae[0]


def test_a_knob_that_is_exact_but_for_an_offset_correlates_perfectly(report: ControlReport) -> None:
    for name in ("age", "light", "hair_color"):
        assert report.scores[name].correlation == pytest.approx(1, abs=1e-4)


def test_the_identity_line(report: ControlReport) -> None:
    (curve,) = report.scores["age"].curves
    assert curve.asked == tuple(range(20, 61, 5))
    assert curve.mean == pytest.approx([asked + 3 for asked in curve.asked], abs=1e-3)
    assert curve.std == pytest.approx([0] * 9, abs=1e-3)
    assert curve.mae == pytest.approx([3] * 9, abs=1e-3)
    assert [c.sweep for c in report.scores["light"].curves] == ["light.azimuth", "light.elevation"]
    assert [c.component for c in report.scores["hair_color"].curves] == ["r", "g", "b"]
    smile = report.scores["expression"].curves[0]
    assert smile.mean == pytest.approx([asked / 2 for asked in smile.asked], abs=1e-4)


def test_error_bars_are_the_spread_over_identities() -> None:
    class Loose(Knobs):
        def steer(self, ws: Tensor, values: Mapping[str, Tensor]) -> Tensor:
            moved = super().steer(ws, values)
            moved[:, :, 0] += 0.2 * ws[:, :, 11]  # two years of standard deviation, by identity
            return moved

    found = measure_control(Model(Toy(), control_set=Loose()), READERS, samples=1000).scores["age"]
    assert found.curves[0].std == pytest.approx([2] * 9, rel=0.25)
    # Mean of |3 + 2·n| with n normal: σ√(2/π)·exp(−μ²/2σ²) + μ·erf(μ/σ√2).
    expected = 2 * math.sqrt(2 / math.pi) * math.exp(-9 / 8) + 3 * math.erf(3 / (2 * math.sqrt(2)))
    assert found.mae == pytest.approx(expected, rel=0.05)
    assert found.correlation == pytest.approx(1 / math.sqrt(1 + 4 / (1600 / 12)), abs=0.01)


def test_angles_between_directions() -> None:
    a = torch.tensor([[0.0, 0.0], [90.0, 0.0], [37.0, 90.0], [170.0, 0.0], [12.0, 34.0]])
    b = torch.tensor([[30.0, 0.0], [0.0, 0.0], [-120.0, 90.0], [-170.0, 0.0], [12.0, 34.0]])
    assert angle_between(a, b).tolist() == pytest.approx([30, 90, 0, 20, 0], abs=1e-4)


def test_correlation_of_a_constant_is_unknown() -> None:
    x = torch.arange(5.0)
    assert correlation(x, -2 * x + 1) == pytest.approx(-1)
    assert math.isnan(correlation(x, torch.ones(5)))


# ---------------------------------------------------------------------------------------------------------------------
# What is asked


def test_requests_follow_from_name_and_seed_within_the_range() -> None:
    knobs = Knobs().controls
    for name in knobs:
        request = Requests.of(name, knobs[name], Eye.attributes[name])
        values, asked = request.draw(400, seed=3)
        assert torch.equal(values, request.draw(400, seed=3)[0])
        assert not torch.equal(values, request.draw(400, seed=4)[0])
        assert (values >= request.low).all()
        assert (values <= request.high).all()
        if name == "expression":
            assert (asked.sum(dim=1) == 1).all()
            assert (values[~asked] == 0).all()
        else:
            assert asked.all()


def test_colours_are_those_that_occur() -> None:
    request = Requests.of("hair_color", Knobs().controls["hair_color"], Eye.attributes["hair_color"])
    examples = torch.tensor([[0.3, 0.2, 0.2], [0.9, 0.6, 0.4]])
    values, _ = request.draw(50, 0, examples)
    inside = {(0.3, 0.2, 0.2), (0.8, 0.6, 0.4)}  # brought into the range
    assert {tuple(round(x, 4) for x in row) for row in values.tolist()} == inside
    (sweep,) = request.sweeps(3)
    assert sweep.values[:, 0].tolist() == pytest.approx([0.2, 0.5, 0.8])


def test_components_are_matched_by_name() -> None:
    control = Control("weight", (0.0, 0.0), (1.0, 1.0), (0.0, 0.0), "", components=("sad", "smile"))
    request = Requests.of("expression", control, Eye.attributes["expression"])
    assert request.components == ("sad", "smile")
    assert request.pick(torch.tensor([[1.0, 2.0]])).tolist() == [[2.0, 1.0]]


# ---------------------------------------------------------------------------------------------------------------------
# Leakage


def test_leakage_is_in_standard_deviations(report: ControlReport) -> None:
    age = report.scores["age"]
    moved = 5 * PAIR_STEPS  # years between two points of the sweep
    assert age.leakage["yaw"] == pytest.approx(0.5 * moved / report.spread["yaw"][0], rel=1e-3)
    assert report.spread["yaw"] == pytest.approx((20,), rel=0.15)
    assert age.leakage["light"] == pytest.approx(0, abs=1e-4)
    assert age.moves["age"]["age"] == pytest.approx(moved / report.spread["age"][0], rel=1e-3)
    assert age.strongest_leak is not None
    assert age.strongest_leak[0] == "yaw"
    assert "age" not in age.leakage


def test_identity_is_relative_to_different_people(report: ControlReport) -> None:
    z = control_module.Observer(toy(), READERS, batch_size=8, seed=0, counter=control_module.Counter(None, 0)).latents(
        200
    )[:, 9]
    between = float((z - z.roll(1)).abs().mean())
    assert report.scores["age"].leakage["identity"] == pytest.approx(0.1 * 5 * PAIR_STEPS / between, rel=1e-3)
    assert report.scores["light"].leakage["identity"] == pytest.approx(0, abs=1e-4)


def test_the_spread_is_that_of_the_data(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "d.zip", error=0)
    found = measure_control(toy(), READERS, data=path, samples=40)
    readings = torch.tensor([10.0 * w + 40 for w in dataset_w()[:, 0]])
    assert found.spread["age"][0] == pytest.approx(float(readings.std()), rel=0.05)
    assert found.reals == 30


# ---------------------------------------------------------------------------------------------------------------------
# Truth


def dataset_w() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(30, D)).clip(-3, 3)


def write_dataset(path: Path, error: float) -> Path:
    """Images as the toy makes them, labelled with what the eye reads, but for an error in age."""
    rows = []
    with zipfile.ZipFile(path, "w") as archive:
        for index, w in enumerate(dataset_w()):
            pixels = np.full((16,), 128, dtype=np.uint8)
            pixels[:D] = np.round((w / SCALE + 1) * 127.5)
            read = (pixels[:9] / 127.5 - 1) * SCALE * STEPS[:9].numpy() + MEANS[:9].numpy()
            data = BytesIO()
            Image.fromarray(np.repeat(pixels.reshape(4, 4, 1), 3, axis=2)).save(data, "PNG")
            archive.writestr(f"{index:05d}.png", data.getvalue())
            labels: dict[str, Any] = {"age": read[0] + error * (-1) ** index, "hair_color": read[4:7].tolist()}
            labels |= {"light_azimuth": read[2], "light_elevation": read[3], "smile": read[7], "sad": read[8]}
            labels |= {"hair_style": "bald" if index == 0 else "short", "identity": index // 2}
            rows.append([f"{index:05d}.png", labels])
        archive.writestr("dataset.json", json.dumps({"attributes": rows}))
    return path


def test_the_predictors_own_error_stands_beside(tmp_path: Path) -> None:
    found = measure_control(toy(), READERS, data=write_dataset(tmp_path / "d.zip", error=2), samples=20)
    numbers = found.numbers()
    assert numbers["control/age/predictor_mae"].value == pytest.approx(2, abs=1e-3)
    assert numbers["control/light/predictor_mae"].value == pytest.approx(0, abs=1e-3)
    assert numbers["control/light/azimuth/predictor_mae"].reals == 30
    assert numbers["control/hair_color/predictor_mae"].reals == 29  # a bald head shows no colour
    assert numbers["control/age/mae"].value == pytest.approx(3, abs=1e-4)  # not corrected for it


def test_two_pictures_of_one_person_are_the_measure_of_identity(tmp_path: Path) -> None:
    found = measure_control(toy(), READERS, data=write_dataset(tmp_path / "d.zip", error=0), samples=20)
    person = torch.from_numpy(dataset_w()[:, 9])
    same = (person[0::2] - person[1::2]).abs().mean()
    different = (person[0::2][1:] - person[0::2][:-1]).abs().mean()
    assert found.same_in_data["identity"] == pytest.approx(float(same / different), rel=0.05)
    assert found.numbers()["control/identity/same_in_data"].reals == 30


def test_labels_are_put_together(tmp_path: Path) -> None:
    dataset = ImageDataset(write_dataset(tmp_path / "d.zip", error=0))
    light = labelled_values(dataset, [3], "light", Eye.attributes["light"])
    assert light is not None
    assert light[0].tolist() == pytest.approx(
        [dataset.attributes(3)["light_azimuth"], dataset.attributes(3)["light_elevation"]], rel=1e-5
    )
    assert labelled_values(dataset, [3], "yaw", Eye.attributes["yaw"]) is None
    hair = labelled_values(dataset, [0, 1], "hair_color", Eye.attributes["hair_color"])
    assert hair is not None
    assert hair.isnan().all(dim=1).tolist() == [True, False]


# ---------------------------------------------------------------------------------------------------------------------
# Groups


def test_separability_by_hand() -> None:
    first, second = torch.tensor([[0.0], [10.0], [20.0]]), torch.tensor([[1.0], [12.0], [100.0]])
    found = separability_of(lambda a, b: (a - b).abs()[:, 0], first, second)
    # partners 1, 2, 80; strangers of the rows (12, 100), (9, 90), (19, 8): nearest 12, 9, 8
    assert found.same == pytest.approx((1.4, 2, 48.8))
    assert found.nearest == pytest.approx((8.4, 9, 10.8))
    assert found.others[1] == pytest.approx((12 + 19) / 2)
    assert found.score == pytest.approx(4 / 6)


def test_groups_that_decide_and_groups_that_do_not() -> None:
    slices = {"age": slice(0, 1), "yaw": slice(10, 11), "identity": slice(9, 10), "other": slice(11, 12)}
    found = measure_control(toy(slices), READERS, samples=400)
    assert found.separability["age"].score == pytest.approx(1)
    assert found.separability["age"].same == pytest.approx((0, 0, 0), abs=1e-5)
    assert found.separability["yaw"].score == pytest.approx(0.5, abs=0.06)
    assert set(found.separability) == {"age", "yaw", "identity"}
    assert found.numbers()["control/age/separability/same"].samples == 400


def test_disentanglement_by_hand() -> None:
    def seen(yaw: Tensor, identity: Tensor) -> Seen:
        return Seen(features={"yaw": yaw, "identity": identity}, readings={"yaw": yaw})

    ramp = torch.arange(float(SET_SIZE))[:, None]
    everything = seen(ramp, ramp)
    varied = {"pose": seen(ramp, ramp / 4), "identity": seen(ramp / 10, ramp / 2)}
    scores = disentanglement(varied, everything, {"pose": ("yaw",), "identity": ("identity",)})
    assert scores == pytest.approx({"pose": 1 / 0.25, "identity": 0.5 / 0.1})


def test_factors_are_varied_by_control_where_there_are_no_groups(report: ControlReport) -> None:
    assert set(report.disentanglement) == {"expression", "light"}
    assert all(value > 1 for value in report.disentanglement.values())


# ---------------------------------------------------------------------------------------------------------------------
# The whole


def test_nothing_is_dropped_silently() -> None:
    more = {
        "style": Control("", 0.0, 1.0, 0.0, ""),
        "identity": seed_control(""),
        "yaw": Control("degrees", (0.0, 0.0), (1.0, 1.0), (0.0, 0.0), ""),
    }
    entries = evaluate_entries(toy(None, **more), metrics=["control"], samples=20, predictors=READERS)
    for name in more:
        assert math.isnan(entries[f"control/{name}/mae"].value)
        assert entries[f"control/{name}/mae"].note
        assert entries[f"control/{name}/mae"].to_dict()["value"] is None
    assert "smile" not in entries
    assert json.dumps({name: entry.to_dict() for name, entry in entries.items()}, allow_nan=False)


def test_each_network_runs_once_per_image_and_progress_counts_them() -> None:
    model, told = toy({"age": slice(0, 1)}), []
    Eye.calls = 0
    measure_control(model, READERS, samples=40, batch_size=7, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] == Eye.calls == model.generator.calls


def test_the_seed_and_nothing_else_decides(report: ControlReport) -> None:
    again = measure_control(toy(), READERS, samples=200, batch_size=17)
    for name, number in again.numbers().items():
        assert number.value == pytest.approx(report.numbers()[name].value, rel=1e-4, abs=1e-5), name
    other = measure_control(toy(), READERS, samples=200, seed=1)
    assert other.scores["expression"].mae != report.scores["expression"].mae


def test_the_same_requests_for_models_of_other_ranges() -> None:
    narrow = {"age": Control("years", 30.0, 50.0, 40.0, "")}
    found = measure_control(toy(), READERS, samples=20, requests=narrow)
    assert list(found.scores) == ["age"]
    assert found.scores["age"].curves[0].asked[::8] == (30, 50)
    with pytest.raises(ConfigError, match=r"'ages'.*did you mean age"):
        measure_control(toy(), READERS, samples=20, requests={"ages": narrow["age"]})


def test_evaluate_flattens() -> None:
    values = evaluate(toy(), metrics=["control"], samples=20, predictors=READERS)
    assert values["control/age/mae"] == pytest.approx(3, abs=1e-4)
    assert values["control/expression/sad/mae"] == pytest.approx(0, abs=1e-5)
    assert "control/age/leakage/yaw" in values
    entries = evaluate_entries(toy(), metrics=["control"], samples=20, predictors=READERS)
    assert entries["control/age/mae"].unit == "years"


def test_what_cannot_be_measured_is_said_before() -> None:
    with pytest.raises(ConfigError, match="no controls"):
        measure_control(Model(Toy()), READERS)
    with pytest.raises(ConfigError, match="needs 20"):
        evaluate(toy(), metrics=["control"], samples=10, predictors=READERS)


def test_the_picture(report: ControlReport) -> None:
    picture = control_picture(report)
    assert picture.width == 1280
    assert len(picture.getcolors(1 << 20) or []) > 20


def run(arguments: list[str]) -> Any:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return stop.value.code


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = {"about": {"errors": [{"attribute": "age", "unit": "years", "error": 4.5, "guessing": 9.0}]}}
    manifest["about"]["errors"][0] |= {"correlation": 0.9, "images": 77}
    model = toy(style=Control("", 0.0, 1.0, 0.0, ""))
    monkeypatch.setattr("gantrol.metrics.image_sources.load", lambda *_, **__: model)
    monkeypatch.setattr(control_module, "load_predictors", lambda _: READERS)
    monkeypatch.setattr(control_module, "read_manifest", lambda _: manifest)
    record, plot = tmp_path / "r.json", tmp_path / "p.png"
    arguments = [
        "evaluate",
        "toy",
        "--metrics",
        "control",
        "--samples",
        "20",
        "--json",
        str(record),
        "--plot",
        str(plot),
    ]
    assert run(arguments) == 0
    found = json.loads(record.read_text())
    assert found["metrics"]["control/age/mae"]["value"] == pytest.approx(3, abs=1e-4)
    assert found["metrics"]["control/age/predictor_mae"] | {"seed": 0} == found["metrics"]["control/age/predictor_mae"]
    assert found["metrics"]["control/age/predictor_mae"]["value"] == 4.5
    assert found["control"]["leakage"]["matrix"]["age"]["yaw"] > 0
    assert found["control"]["controls"]["age"]["curves"][0]["asked"][0] == 20
    assert plot.is_file()
    shown = capsys.readouterr().out
    assert "light" in shown
    assert "smile" in shown
    assert "not measured" in shown
    assert run(["evaluate", "toy", "--plot", str(plot)]) == 1
    assert "add it to --metrics" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------------
# The look-up


def lookup_table() -> tuple[Tensor, dict[str, Tensor]]:
    w = torch.from_numpy(np.random.default_rng(0).normal(size=(500, D))).float()
    readings = {
        name: MEANS[list(PLACES[name])] + STEPS[list(PLACES[name])] * w[:, list(PLACES[name])]
        for name in ("age", "yaw", "light")
    }
    return w, readings


def test_a_look_up_finds_what_is_there_and_keeps_the_rest_if_it_can() -> None:
    w, readings = lookup_table()
    lookup = nearest_sample(w, readings, Eye.attributes, candidates=10)
    given = torch.from_numpy(np.random.default_rng(1).normal(size=(20, D))).float()
    asked = torch.full((20, 1), 45.0)
    rows = lookup.choose(given, {"age": asked})
    off = (readings["age"][:, 0] - 45).abs()
    assert off[rows].max() <= off.sort().values[9]  # one of the ten closest
    closest = off.topk(10, largest=False).indices
    table = torch.cat([readings["yaw"], readings["light"]], dim=1)
    scale = table.std(dim=0)
    for image, row in zip(given, rows.tolist(), strict=True):
        own = MEANS[1:4] + STEPS[1:4] * image[1:4]  # w tells the readings linearly here
        best = closest[((table[closest] - own) / scale).norm(dim=1).argmin()]
        assert row == int(best)


def test_a_look_up_gives_all_of_w_and_its_own_reading_back() -> None:
    w, readings = lookup_table()
    lookup = nearest_sample(w, readings, Eye.attributes, candidates=1)
    ws = torch.zeros(3, 2, D)
    found = lookup.steer(ws, {name: values[[7, 8, 9]] for name, values in readings.items()})
    assert torch.equal(found, w[[7, 8, 9]][:, None].repeat(1, 2, 1))
    assert lookup.steer(ws, {}) is ws
    assert (ws == 0).all()
    one = lookup.steer(ws, {"age": torch.tensor([[44.0]])})  # one value for all
    assert torch.equal(one[0], one[2])


def test_a_look_up_is_a_baseline_of_the_same_protocol() -> None:
    w, readings = lookup_table()
    lookup = nearest_sample(w, readings, Eye.attributes)
    found = measure_control(Model(Toy(), control_set=lookup), READERS, samples=100)
    assert found.scores["age"].mae < 1.5
    assert found.scores["age"].leakage["identity"] > 0.5  # another person


def test_a_look_up_is_saved_and_made_again() -> None:
    w, readings = lookup_table()
    lookup = nearest_sample(w, readings, Eye.attributes)
    config = from_dict(NearestSampleConfig, json.loads(json.dumps(to_dict(lookup.config))))
    assert config == lookup.config
    again = config.build()
    again.load_state_dict(lookup.state_dict())
    assert torch.equal(
        again.choose(w[:5], {"yaw": torch.tensor([[9.0]])}), lookup.choose(w[:5], {"yaw": torch.tensor([[9.0]])})
    )


def test_look_ups_that_cannot_be() -> None:
    w, readings = lookup_table()
    with pytest.raises(ConfigError, match="one row for each"):
        nearest_sample(w[:4], readings, Eye.attributes)
    with pytest.raises(ConfigError, match="same in every sample"):
        nearest_sample(w, {"age": torch.full((500, 1), 3.0)}, Eye.attributes)
    with pytest.raises(ConfigError, match="candidates=9"):
        NearestSampleConfig(
            w_dim=2, rows=3, columns=nearest_sample(w, readings, Eye.attributes).config.columns, candidates=9
        )
    lookup = nearest_sample(w, readings, Eye.attributes)
    with pytest.raises(ConfigError, match="no such column; did you mean age"):
        lookup.choose(w, {"aged": torch.zeros(1, 1)})
    with pytest.raises(ConfigError, match="this table is for"):
        lookup.choose(torch.zeros(2, 3), {"age": torch.zeros(1, 1)})


# ---------------------------------------------------------------------------------------------------------------------
# The table of explicit control and baselines


def test_the_table(tmp_path: Path) -> None:
    from benchmarks.control_table import compare, markdown

    data = ImageDataset(write_dataset(tmp_path / "d.zip", error=2))
    reports = compare(
        toy(), Model(Toy()), READERS, READERS, data, samples=40, fit_samples=200, bar=lambda _: nullcontext()
    )
    assert list(reports) == ["explicit", "directions", "nearest"]
    assert reports["explicit"].scores["age"].mae == pytest.approx(3, abs=1e-3)
    assert reports["directions"].scores["age"].mae == pytest.approx(0, abs=0.1)  # the toy is linear
    assert reports["directions"].scores["age"].leakage["yaw"] < 0.01
    assert reports["nearest"].scores["age"].leakage["identity"] > 0.5
    for report in reports.values():  # the same was asked of all
        assert report.scores["age"].curves[0].asked == reports["explicit"].scores["age"].curves[0].asked
        assert report.spread == reports["explicit"].spread
    text = markdown(reports)
    (age,) = [line for line in text.splitlines() if line.startswith("| age | years")]
    assert [cell.strip() for cell in age.split("|")][3:7] == ["20 to 60", "8", "2", "3 (r 1.00)"]
    assert "| expression.smile | weight | 0 to 1 | 0.15 |" in text
    assert "| light | degrees |  | 15 |" in text
