"""Job 2: the bundled controllable model: phase one for the time there is, then phase two, then its measured table.

Phase one trains for `--minutes`, and goes on from what the last call carried away (see `benchmarks.gpu.training_runs`).
Once the run has seen `--kimg` thousand images, or with `--finish`, phase two fits the controls, and the model and the
bundle are measured alike: FD to people that neither has seen, EQ-T, and controls by predictors that had no part in
either.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.gpu.measuring import Rows, parser  # noqa: E402
from benchmarks.gpu.training_runs import advance, carry_in, carry_out, described  # noqa: E402
from gantrol.checkpoint import sha256_of  # noqa: E402
from gantrol.config import override  # noqa: E402
from gantrol.control.anchors import measure_anchors  # noqa: E402
from gantrol.control.attribute_samples import sample_attributes  # noqa: E402
from gantrol.control.calibration import calibrate, thresholds_from_dict  # noqa: E402
from gantrol.control.fit import STATE, ControlFitter, FitConfig, choose_attributes  # noqa: E402
from gantrol.control.predictors.folder import BUNDLED, load_predictors, read_manifest  # noqa: E402
from gantrol.data.dataset import ImageDataset  # noqa: E402
from gantrol.data.faces import make_dataset  # noqa: E402
from gantrol.errors import DataError  # noqa: E402
from gantrol.metrics import evaluate  # noqa: E402
from gantrol.model import Model, load  # noqa: E402
from gantrol.train.config import TrainConfig  # noqa: E402
from gantrol.train.control import attribute_names, controllable, resolved_name  # noqa: E402
from gantrol.train.presets import DataShape, choose_precision, preset, stable_precision  # noqa: E402

CONTROLS = "identity,age,pose,light,hair_color,expression"
RECIPE = (
    "generator.base.margin_px=5",
    "loss.r1_gamma=1",
    "d_adam.lr=0.003",
    "control.contrastive_weight=0.05",
    "control.anchor_weight=0.2",
    "control.reconstruction.weight=6",
    "control.reconstruction.fade_kimg=100",
)
"""What the trainings on a CPU came to."""
BUNDLE = "faces"


def config_of(options: Namespace) -> TrainConfig:
    """Phase one: alias-free, mirrored, with latent groups, terms and anchors for the attributes."""
    dataset = ImageDataset(options.data)
    shape = DataShape(resolution_px=dataset.resolution_px, channels=dataset.channels)
    batch = 4 if options.smoke else None
    config = preset("stylegan3-t", options.scale, shape, batch=batch, precision=choose_precision(options.device))
    config = replace(config, data=str(options.data), kimg=options.kimg, x_flip=True)
    names = attribute_names(options.control)
    predictors = resolved_name(BUNDLED)
    loaded = load_predictors(predictors)
    loaded.require(names)
    known = thresholds_from_dict(read_manifest(predictors).get("thresholds", {}))
    missing = [name for name in names if name not in known]
    if missing:
        known |= calibrate(loaded, dataset, missing)
    config = controllable(
        config,
        {name: known[name] for name in names},
        predictors=predictors,
        predictors_sha256=sha256_of(loaded.state_dict()),
        anchors=measure_anchors(loaded, dataset, names),
    )
    config = override(config, [*RECIPE, *options.overrides, f"tick_kimg={options.kimg / 40:g}", "sample_ticks=10"])
    return replace(config, precision=stable_precision(config))


def fitted(run: Path, options: Namespace) -> Model:
    """Phase two: the run's model with controls, saved; continues where it was stopped."""
    model = load(str(run), device=options.device)
    predictors = load_predictors(BUNDLED).to(model.device)
    names = choose_attributes(getattr(model.config, "groups", ()), predictors.attributes, None)
    work = run / "controls"
    samples = sample_attributes(model.generator, predictors, work / "samples", names, options.fit_samples)
    settings = FitConfig(hidden=128, steps=options.fit_steps, refine_steps=options.refine_steps)
    fitter = ControlFitter(model.generator, predictors, samples, names, settings, state=work / STATE)
    fitter.fit()
    fitter.refine()
    controls, reports = fitter.result()
    training = {
        **model.training,
        "control_predictors": resolved_name(BUNDLED),
        "control_samples": len(samples),
        "control_errors": {name: report.to_dict() for name, report in reports.items()},
    }
    result = Model(model.generator, control_set=controls, training=training)
    result.save_pretrained(options.out)
    return result


def table(model: str, options: Namespace) -> dict[str, Any]:
    """What decides between two models: the same numbers for both."""
    scores: dict[str, Any] = {}
    asked = ["fid"] if options.smoke else ["fid", "eqt", "control"]
    for metric in asked:
        found = evaluate(model, options.heldout, [metric], samples=options.samples, seed=0, device=options.device)
        scores |= {name: value for name, value in found.items() if value == value}
    return scores


def main() -> None:
    arguments = parser(__doc__.splitlines()[0], "faces.json")
    arguments.add_argument("--data", type=Path, help="portraits to train on")
    arguments.add_argument("--heldout", type=Path, help="portraits of other people, to measure with")
    arguments.add_argument("--runs", type=Path, default=Path("/tmp/gantrol-faces"), help="folder of the training")
    arguments.add_argument("--carried", type=Path, help="folder of a training to go on with; default: beside --json")
    arguments.add_argument("--out", type=Path, help="the model; default: model beside --json")
    arguments.add_argument("--control", default=CONTROLS, help="attributes")
    arguments.add_argument("--scale", default="small", help="of the networks")
    arguments.add_argument("--kimg", type=float, default=5000.0, help="length of phase one")
    arguments.add_argument("--finish", action="store_true", help="phase two with what phase one has come to")
    arguments.add_argument("--samples", type=int, default=2000, help="images per score")
    arguments.add_argument("--fit-samples", type=int, default=10000, help="images that phase two draws and reads")
    arguments.add_argument("--fit-steps", type=int, default=5000)
    arguments.add_argument("--refine-steps", type=int, default=200)
    arguments.add_argument("overrides", nargs="*", metavar="field=value", help="of the config, on top of the recipe")
    options = arguments.parse_args()
    options.out = options.out or options.json.parent / "model"
    place = options.carried or options.json.parent / "carried"
    if options.smoke:
        options.scale, options.kimg, options.samples = "tiny", 0.008, 16
        options.fit_samples, options.fit_steps, options.refine_steps = 100, 2, 1
        options.control = "age,yaw"
        options.data = options.data or Path(tempfile.mkdtemp()) / "portraits.zip"
        options.heldout = options.heldout or options.data
        if not options.data.exists():
            make_dataset(options.data, 48, 32, seed=0)
    if options.data is None or options.heldout is None:
        raise DataError("--data and --heldout are needed: portraits from `gantrol data faces`")
    options.data, options.heldout = options.data.resolve(), options.heldout.resolve()
    rows = Rows(options, options.device)
    name = carry_in(place, options.runs) or "faces"
    run = options.runs / name
    config = config_of(options)
    is_done = advance(run, config, options.device, rows.minutes_left())
    rows.add("phase one", {**described(run), "of_kimg": config.kimg, "recipe": [*RECIPE, *options.overrides]})
    if not (is_done or options.finish):
        carry_out(run, place)
    else:
        if not (options.out / "config.json").exists():
            fitted(run, options)
        rows.ends = float("inf")  # measured whatever the time: it is what the job is for
        rows.measure("this model", partial(table, str(options.out), options))
        rows.measure("the bundle", partial(table, BUNDLE, options))
    rows.print(["kimg", "img_per_s", "peak_gib", "fid", "eqt"])


if __name__ == "__main__":
    main()
