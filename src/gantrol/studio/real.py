"""The tab Real picture: a picture that somebody sends, found in the model's latents, then edited with its controls.

The sliders start at what the model's predictors read in the projection. Only what is moved away from there is set, so
the picture stays itself until somebody asks for something else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gantrol.control.predictors import PredictorSet
from gantrol.controls import Value
from gantrol.errors import ConfigError
from gantrol.metrics.control_requests import Requests
from gantrol.model import Model
from gantrol.pictures import enlarge, enlargement_factor, save_image, to_arrays, to_pil
from gantrol.project import Projection, Projector, Tuner, fit_target
from gantrol.report.markup import Markup, tag
from gantrol.studio.access import PICTURE_TYPES, UPLOAD_BYTES, accept_upload
from gantrol.studio.choosing import model_choice, new_visitor, picture_box, seed_of, whole
from gantrol.studio.control import Readers
from gantrol.studio.engine import Engine
from gantrol.studio.explore import label as short_name
from gantrol.studio.guard import gradio, guarded
from gantrol.studio.long_work import SLOW, Desk, Finished, Job
from gantrol.studio.widgets import step_of

MAX_STEPS, MAX_TUNING = 500, 350
MAX_SLIDERS = 24
_SHOWN_PX = 320
_LIFETIME_S = 3600
"""How long the server keeps what a visitor projected."""
_NO_CONTROLS = (
    "**No controls to edit with.** The picture can be projected, but this model has no attribute that takes a value; "
    "`gantrol control directions` finds some in any model."
)


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One slider: one number of one control."""

    control: str
    index: int
    """Of the number within the control's value."""
    label: str
    low: float
    high: float
    default: float

    @property
    def step(self) -> float:
        """Of the slider; where it begins and what it can reach are whole steps above `low`."""
        return step_of(self.low, self.high)


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What the server keeps for a visitor: a projected picture."""

    name: str
    """The model's, in the engine."""
    projection: Projection
    tuned: Model | None
    """The copy that draws the picture more closely, if that was asked for."""
    target: np.ndarray
    """uint8 [H, W, C]."""
    starts: tuple[float, ...]
    """Where the sliders begin."""

    def draw(self, model: Model, settings: Sequence[float]) -> np.ndarray:
        """The picture with the sliders at `settings`: uint8 [H, W, C]; where none has moved, the projection.

        Args:
            model: the engine's; a tuned copy takes its place.
            settings: one number for each of `knobs`.
        """
        own = self.tuned or model
        values = moved_values(own, self.starts, settings)
        ws = self.projection.ws
        if values:
            ws = edited(own, ws, values)
        return to_arrays(self.projection.render(own, ws))[0]


def knobs(model: Model) -> list[Knob]:
    """The sliders of a model: one for each number of each control that takes a value."""
    found = []
    for name, control in model.controls.items():
        if control.part_of or control.kind != "value":
            continue
        limits = (np.atleast_1d(limit) for limit in (control.low, control.high, control.default))
        for index, (low, high, default) in enumerate(zip(*limits, strict=True)):
            part = control.components[index] if control.components else ""
            title = part if part in model.controls else f"{name} {part}".strip()
            unit = f" ({control.unit})" if control.unit else ""
            found.append(
                Knob(
                    control=name, index=index, label=f"{title}{unit}", low=float(low), high=float(high),
                    default=float(default),
                )
            )  # fmt: skip
    return found[:MAX_SLIDERS]


def read_starts(model: Model, image: Tensor, predictors: PredictorSet) -> tuple[float, ...]:
    """Where the sliders begin: what the predictors read in an image, within the range; the default of what they do not.

    Args:
        model: has the controls.
        image: float32 [1, C, H, W] in [−1, 1].
        predictors: what reads; those that the model was fitted with mean the same by a value.
    """
    seen = image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image[:, :3]
    read: dict[str, list[float]] = {}
    watching = predictors.to(image.device)
    for name, control in model.controls.items():
        attribute = watching.attributes.get(name)
        if control.part_of or control.kind != "value" or attribute is None or not attribute.components:
            continue
        try:
            requests = Requests.of(name, control, attribute)
        except ConfigError:
            continue
        with torch.no_grad():
            numbers = watching.read(name, watching.features(seen, [name])[name]).float().cpu()
        read[name] = requests.pick(numbers)[0].tolist()
    starts = []
    for knob in knobs(model):
        value = read[knob.control][knob.index] if knob.control in read else knob.default
        steps = round((min(max(value, knob.low), knob.high) - knob.low) / knob.step)
        starts.append(min(float(f"{knob.low + steps * knob.step:.10g}"), knob.high))
    return tuple(starts)


def moved_values(model: Model, starts: Sequence[float], settings: Sequence[float]) -> dict[str, Value]:
    """The controls of which a slider has moved, each with all of its numbers."""
    by_control: dict[str, list[float]] = {}
    moved: set[str] = set()
    for knob, start, setting in zip(knobs(model), starts, settings, strict=True):
        number = min(max(float(setting), knob.low), knob.high)
        by_control.setdefault(knob.control, []).append(number)
        if abs(number - start) > 0.01 * knob.step:
            moved.add(knob.control)
    found: dict[str, Value] = {}
    for name in moved:
        numbers = by_control[name]
        found[name] = tuple(numbers) if isinstance(model.controls[name].low, tuple) else numbers[0]
    return found


def edited(model: Model, ws: Tensor, values: dict[str, Value]) -> Tensor:
    """ws [1, L, D] with controls set.

    Raises:
        ConfigError: the model has no such control.
    """
    tensors = model.control_values(values, 1)
    assert model.control_set is not None
    with torch.no_grad():
        return model.control_set.steer(ws.to(model.device), tensors)


def find(
    model: Model, picture: Image.Image, name: str, *, space: str, steps: Any, tuning: Any, kind: Any, seed: Any,
    readers: Readers, features: str = "auto", job: Job | None = None,
) -> Found:  # fmt: skip
    """Projects a picture, tunes the generator if asked to, and reads where its sliders begin.

    Args:
        model: any.
        picture: from `accept_upload`.
        name: of the model in the engine.
        space: "w" or "w+".
        steps: of the search, up to `MAX_STEPS`.
        tuning: steps of pivotal tuning, up to `MAX_TUNING`; 0: none.
        kind: the class of a conditional model.
        seed: of the random numbers.
        readers: what reads the attributes.
        features: the perceptual distance, as `gantrol.project.project` takes it.
        job: told of every step, and shown the search.

    Raises:
        ConfigError: a number that cannot be.
    """
    count, more = whole(steps, 10, MAX_STEPS, "steps"), whole(tuning, 0, MAX_TUNING, "tuning")
    target = fit_target(picture, model)
    total = count + more
    projector = Projector(
        model, target, space="w" if space == "w" else "w+", steps=count, seed=seed_of(seed), class_index=kind,
        features=features, progress=None if job is None else lambda done, of: job.progress(0, total),
    )  # fmt: skip
    for step in projector.run():
        if job is not None:
            job.show(step.done, total, to_arrays(step.image.clamp(-1, 1))[0])
    projection, tuned = projector.result(), None
    if more:
        tuner = Tuner(model, projection, target, steps=more, seed=seed_of(seed))
        for step in tuner.run():
            if job is not None:
                job.show(count + step.done, total, to_arrays(step.image.clamp(-1, 1))[0])
        tuned = tuner.result()
    drawn = projection.render(tuned or model)
    starts = read_starts(model, drawn, readers.get()) if knobs(model) else ()
    return Found(name=name, projection=projection, tuned=tuned, target=target, starts=starts)


def likeness(found: Found, pixels: np.ndarray) -> float:
    """Decibels between the target and a picture, both uint8 [H, W, C]; at most 100."""
    error = float(np.square(found.target.astype(np.float64) - pixels).mean())
    return min(100.0, 10 * math.log10(255**2 / error)) if error else 100.0


def build(engine: Engine) -> None:
    """The components of the tab, inside the current `gr.Tab`."""
    gr = gradio()
    desk = Desk(engine)
    visitor = gr.State(new_visitor)
    kept = gr.State(None, time_to_live=_LIFETIME_S)  # Found
    first = engine.model(engine.names[0])
    with gr.Row():
        model, kind, _ = model_choice(engine, "real")
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            upload = gr.File(
                label=f"A picture, up to {UPLOAD_BYTES >> 20} MiB (PNG, JPEG, WebP …)", file_count="single",
                file_types=list(PICTURE_TYPES), type="filepath", elem_id="real-upload", height=130,
            )  # fmt: skip
            space = gr.Radio(
                [("w+: closer to the picture", "w+"), ("w: better to edit", "w")], value="w+", label="Search in",
                elem_id="real-space",
            )  # fmt: skip
            steps = gr.Slider(10, MAX_STEPS, value=150, step=10, label="Steps of the search", elem_id="real-steps")
            tuning = gr.Slider(
                0, MAX_TUNING, value=0, step=10, label="Steps of pivotal tuning (closer still; 0: none)",
                elem_id="real-tuning",
            )  # fmt: skip
            with gr.Row():
                go = gr.Button("Project", variant="primary", elem_id="real-project")
                cancel = gr.Button("Cancel", elem_id="real-cancel")
        with gr.Column(scale=1, min_width=240):
            target = picture_box("The picture, in the model's size", "real-target", 340)
        with gr.Column(scale=1, min_width=240):
            result = picture_box("Drawn by the model", "real-result", 340)
            facts = gr.HTML(elem_id="real-facts")
    note = gr.Markdown(_NO_CONTROLS, visible=not knobs(first), elem_id="real-note")
    with gr.Column(visible=False) as editor:
        gr.Markdown(
            "### Edit\nThe sliders begin at what is read in the projection; what you move is set, the rest stays."
        )
        sliders = []
        for start in range(0, MAX_SLIDERS, 4):
            with gr.Row():
                for index in range(start, start + 4):
                    sliders.append(
                        gr.Slider(0, 1, value=0, visible=False, elem_id=f"real-slider-{index}", min_width=160)
                    )
        with gr.Row():
            reset = gr.Button("Back to the projection", elem_id="real-reset")
            files = gr.Button("Files to download", elem_id="real-files")
        download = gr.File(label="Files", file_count="multiple", elem_id="real-download", visible=False)

    def received(path: str | None, name: str) -> Any:
        if path is None:
            return None
        return _large(fit_target(accept_upload(path), engine.model(name)))

    def project(
        who: str, path: str | None, name: str, kind: Any, space: str, steps: Any, tuning: Any,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> Iterator[Any]:  # fmt: skip
        if path is None:
            raise ConfigError("there is no picture yet: drop one into the field at the left")
        picture = accept_upload(path)
        readers = Readers(engine.model(name).training.get("control_predictors") or Readers().name)

        def work(model: Model, job: Job) -> Found:
            return find(
                model, picture, name, space=space, steps=steps, tuning=tuning, kind=kind, seed=0, readers=readers,
                job=job,
            )  # fmt: skip

        others = [gr.skip()] * (3 + len(sliders))
        for news in desk.run(who, name, work):
            if not isinstance(news, Finished):
                progress((news.done, news.total), unit="steps")
                if news.picture is not None:
                    line = tag("p", None, f"step {news.done} of {news.total}")
                    yield [gr.skip(), _large(news.picture), line, *others[2:]]
                continue
            found = news.value
            pixels = engine.quick(name, partial(_unmoved, found))
            updates = _slider_updates(gr, engine.model(name), found.starts)
            yield [found, _large(pixels), _facts(found, pixels), gr.update(visible=bool(found.starts)), *updates]

    def edit(found: Found | None, *settings: float) -> Any:
        if found is None:
            return gr.skip(), gr.skip()
        used = settings[: len(found.starts)]
        pixels = engine.quick(found.name, lambda model: found.draw(model, used))
        return _large(pixels), _facts(found, pixels)

    def back(found: Found | None) -> Any:
        if found is None:
            return [gr.skip()] * (2 + len(sliders))
        pixels = engine.quick(found.name, partial(_unmoved, found))
        return [
            _large(pixels), _facts(found, pixels), *_slider_updates(gr, engine.model(found.name), found.starts)
        ]  # fmt: skip

    def to_files(found: Found | None, *settings: float) -> Any:
        if found is None:
            raise ConfigError("there is nothing to download yet: project a picture first")
        used = settings[: len(found.starts)]
        pixels = engine.quick(found.name, lambda model: found.draw(model, used))
        latent: Path = engine.new_file("projection.safetensors")
        found.projection.save(latent)
        made = [save_image(engine.new_file("picture.png"), pixels), latent]
        return gr.update(value=[str(path) for path in made], visible=True)

    def changed(name: str, path: str | None) -> Any:
        has_controls = bool(knobs(engine.model(name)))
        return None, None, "", gr.update(visible=False), gr.update(visible=not has_controls), received(path, name)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    upload.change(guarded(received), [upload, model], target, concurrency_limit=8, **quiet)
    model.change(guarded(changed), [model, upload], [kept, result, facts, editor, note, target], queue=False, **quiet)
    go.click(
        guarded(project), [visitor, upload, model, kind, space, steps, tuning],
        [kept, result, facts, editor, *sliders], **SLOW, api_visibility="private", show_progress_on=[facts],
    )  # fmt: skip
    cancel.click(guarded(desk.cancel), visitor, None, queue=False, **quiet)
    for slider in sliders:
        slider.input(
            guarded(edit), [kept, *sliders], [result, facts], concurrency_limit=8, trigger_mode="always_last", **quiet
        )
    reset.click(guarded(back), kept, [result, facts, *sliders], concurrency_limit=8, **quiet)
    files.click(guarded(to_files), [kept, *sliders], download, concurrency_limit=8, **quiet)


def _unmoved(found: Found, model: Model) -> np.ndarray:
    return found.draw(model, found.starts)


def _slider_updates(gr: Any, model: Model, starts: Sequence[float]) -> list[Any]:
    updates = []
    for knob, start in zip(knobs(model), starts, strict=True):
        limits = {"minimum": knob.low, "maximum": knob.high, "step": knob.step}
        updates.append(gr.update(value=start, label=knob.label, visible=True, **limits))
    return updates + [gr.update(visible=False)] * (MAX_SLIDERS - len(updates))


def _facts(found: Found, pixels: np.ndarray) -> Markup:
    p = found.projection
    parts = [
        f"{likeness(found, pixels):.1f} dB like the picture (the mean of w: {p.psnr_start:.1f} dB)",
        f"{short_name(found.name)}, space {p.space}" + (", tuned" if found.tuned is not None else ""),
        f"distance by {p.features}",
    ]
    if any((*p.translate, p.rotate_deg)):
        x, y = p.translate
        parts.append(f"found at x {x:+.3f}, y {y:+.3f} image widths, turned by {p.rotate_deg:+.1f}°")
    return tag("p", None, " · ".join(parts))


def _large(pixels: np.ndarray) -> Image.Image:
    picture = to_pil(pixels)
    return enlarge(picture, enlargement_factor(picture.size, _SHOWN_PX), "lanczos")
