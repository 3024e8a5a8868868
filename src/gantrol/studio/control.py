"""The tab Control: sweeps with what is measured under each picture, and the leakage matrix."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any

from PIL import Image

from gantrol.control.predictors import PredictorSet
from gantrol.control.predictors.folder import load_predictors
from gantrol.metrics.control import SECOND, measure_control
from gantrol.metrics.control_report import COLUMNS, ControlReport
from gantrol.model import Model
from gantrol.pictures import opaque
from gantrol.report.markup import Markup, join, number, tag
from gantrol.report.value_table import heat_table, value_table
from gantrol.strips import strip_names
from gantrol.studio.choosing import look_of, model_choice, new_visitor, picture_box, seeds_of, whole
from gantrol.studio.engine import Engine
from gantrol.studio.guard import gradio, guarded
from gantrol.studio.long_work import SLOW, Desk, Finished, Job
from gantrol.sweeps import MeasuredSweep, measured_sweep

MAX_SEEDS, MAX_STEPS = 6, 9
MIN_SAMPLES, MAX_SAMPLES = 20, 300
_MAX_PICTURE_PX = 2048
_NO_CONTROLS = (
    "**No controls.** This model was not made controllable: `gantrol control directions` finds some in any model, and "
    "`gantrol control fit` makes those of a model that was trained for control."
)


class Readers:
    """The predictors that measure, loaded when they are first wanted; not those that models were fitted with.

    Args:
        name: of bundled predictors, or a folder.
    """

    def __init__(self, name: str = SECOND) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._loaded: PredictorSet | None = None

    def get(self) -> PredictorSet:
        """The predictors."""
        with self._lock:
            if self._loaded is None:
                self._loaded = load_predictors(self.name)
            return self._loaded


def control_choices(model: Model) -> list[tuple[str, str]]:
    """The controls that can be swept, with their units; of those with named components, these."""
    found = []
    for name in strip_names(model.controls):
        control = model.controls[name]
        if control.kind == "value":
            found.append((f"{name} ({control.unit})" if control.unit else name, name))
    return found


def sweep_view(
    model: Model, readers: Readers, name: str, seeds: str, steps: Any, psi: Any, kind: Any, job: Job | None = None
) -> tuple[Image.Image, Markup]:
    """A sweep as a picture, and its numbers as text.

    Raises:
        ConfigError: a control that is not there, too many seeds or steps.
    """
    found = measured_sweep(
        model,
        name,
        seeds_of(seeds, MAX_SEEDS),
        steps=whole(steps, 2, MAX_STEPS, "steps"),
        predictors=readers.get(),
        look=look_of(psi, kind),
        progress=None if job is None else job.progress,
    )
    picture = opaque(found.picture()).convert("RGB")
    picture.thumbnail((_MAX_PICTURE_PX, _MAX_PICTURE_PX), Image.Resampling.LANCZOS)
    return picture, _sweep_text(found, readers.name)


def leakage_view(report: ControlReport) -> Markup:
    """The leakage matrix as a heat map, the table of errors, and what they mean."""
    matrix = {sweep: dict(move) for score in report.scores.values() for sweep, move in score.moves.items()}
    own = {sweep: sweep.partition(".")[0] for sweep in matrix}
    text = (
        "Each row is what is swept from its lowest to its highest value, each column how far an attribute moves "
        "meanwhile, in standard deviations of that attribute (identity: as a share of the distance between different "
        "people). The framed cells are meant to move; everything else is leakage."
    )
    return join(
        [
            tag("h4", None, "Leakage"),
            tag("p", None, text),
            heat_table(matrix, corner="swept ↓   moves →", own=own),
            tag("h4", None, "Precision"),
            value_table(COLUMNS, report.rows()),
            tag("ul", None, [tag("li", None, line) for line in report.remarks()]),
        ]
    )


def build(engine: Engine) -> None:
    """The components of the tab, inside the current `gr.Tab`."""
    gr = gradio()
    desk, readers = Desk(engine), Readers()
    visitor = gr.State(new_visitor)
    first = engine.model(engine.names[0])
    choices = control_choices(first)
    with gr.Row():
        model, kind, _ = model_choice(engine, "control")
        psi = gr.Slider(0, 1.5, value=0.7, step=0.05, label="Truncation ψ", elem_id="control-truncation")
    note = gr.Markdown(_NO_CONTROLS, visible=not choices, elem_id="control-note")
    with gr.Column(visible=bool(choices)) as content:
        gr.Markdown(
            "### Sweep\nOne attribute from its lowest to its highest value. Under each picture what was asked, and "
            f"what `{readers.name}` read in it: predictors that had no part in making the bundled models."
        )
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                attribute = gr.Dropdown(
                    choices, value=choices[0][1] if choices else None, label="Attribute", elem_id="control-attribute"
                )
                seeds = gr.Textbox("0-2", label=f"Seeds (up to {MAX_SEEDS})", elem_id="control-seeds", max_lines=1)
                steps = gr.Slider(2, MAX_STEPS, value=7, step=1, label="Steps", elem_id="control-steps")
                with gr.Row():
                    go = gr.Button("Sweep", variant="primary", elem_id="control-sweep", min_width=90)
                    cancel = gr.Button("Cancel", elem_id="control-cancel", min_width=90)
            with gr.Column(scale=3, min_width=320):
                picture = picture_box("A row for each seed", "control-picture")
                numbers = gr.HTML(elem_id="control-error")
        gr.Markdown("### Leakage\nWhat else moves when one control does.")
        with gr.Row():
            samples = gr.Slider(
                MIN_SAMPLES, MAX_SAMPLES, value=40, step=20, label="Samples of each control (more: slower, steadier)",
                elem_id="control-samples",
            )  # fmt: skip
            measure = gr.Button("Measure", variant="primary", elem_id="control-measure")
            stop = gr.Button("Cancel", elem_id="control-measure-cancel")
        matrix = gr.HTML(elem_id="control-leakage", min_height=80)

    def changed(name: str) -> Any:
        found = control_choices(engine.model(name))
        value = found[0][1] if found else None
        return gr.update(visible=not found), gr.update(visible=bool(found)), gr.update(choices=found, value=value), ""

    def make_sweep(
        who: str,
        name: str,
        kind: Any,
        psi: Any,
        attribute: str,
        seeds: str,
        steps: Any,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> Iterator[Any]:
        def work(model: Model, job: Job) -> Any:
            return sweep_view(model, readers, attribute, seeds, steps, psi, kind, job)

        for news in desk.run(who, name, work):
            if isinstance(news, Finished):
                yield news.value
            else:
                progress((news.done, news.total), unit="images")

    def make_matrix(who: str, name: str, samples: Any, progress: Any = gr.Progress()) -> Iterator[Any]:  # noqa: B008
        count = whole(samples, MIN_SAMPLES, MAX_SAMPLES, "samples")

        def work(model: Model, job: Job) -> Markup:
            return leakage_view(measure_control(model, readers.name, samples=count, progress=job.progress))

        for news in desk.run(who, name, work):
            if isinstance(news, Finished):
                yield news.value
            else:
                progress((news.done, news.total), unit="images")

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
    model.change(guarded(changed), model, [note, content, attribute, matrix], **quiet)
    go.click(
        guarded(make_sweep), [visitor, model, kind, psi, attribute, seeds, steps], [picture, numbers], **SLOW,
        api_visibility="private", show_progress_on=[picture],
    )  # fmt: skip
    measure.click(guarded(make_matrix), [visitor, model, samples], matrix, **SLOW, api_visibility="private")
    for button in (cancel, stop):
        button.click(guarded(desk.cancel), visitor, None, **quiet)


def _sweep_text(found: MeasuredSweep, reader: str) -> Markup:
    unit = found.control.unit
    low, high = found.asked[0], found.asked[-1]
    if math.isnan(found.error):
        return tag("p", None, f"{found.name}: not measured; {found.note}.")
    span = (
        f" from {number(float(low))} to {number(float(high))} {unit}"
        if isinstance(low, float) and isinstance(high, float)
        else ""
    )
    return tag(
        "p",
        None,
        f"{found.name}{span}: ",
        tag("b", None, f"{number(round(found.error, 3))} {unit}"),
        f" mean absolute difference between what was asked and what {reader} read, "
        f"over {len(found.seeds) * len(found.asked)} pictures (the predictors' own error included).",
    )
