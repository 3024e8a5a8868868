"""The tab Look inside: feature maps with their spectra, attention, the bands of the layers, and the sticking test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from gantrol.errors import ConfigError
from gantrol.inside import (
    as_rgb,
    attention_blocks,
    attention_map,
    attention_sheet,
    feature_maps,
    has_filters,
    layer_bands,
    layer_modules,
    principal_components,
    translation_slice,
    with_ordinary_filters,
)
from gantrol.inside.layer_bands import COLUMNS, UNITS, band_rows
from gantrol.metrics.spectra_pictures import filled_contours
from gantrol.metrics.sticking import AVERAGED, MIN_SAMPLES, STRIP_FRAMES, sticking, sticking_pictures
from gantrol.model import Model
from gantrol.models.protocols import Generator
from gantrol.pictures import opaque, to_arrays, to_pil
from gantrol.report.markup import Markup, join, number, tag
from gantrol.report.svg_chart import svg_chart
from gantrol.report.value_table import value_table
from gantrol.sample import class_labels, is_movable
from gantrol.studio.choosing import (
    look_of,
    model_choice,
    new_visitor,
    numbers_of,
    picture_box,
    seed_of,
    tab_opened,
    whole,
)
from gantrol.studio.engine import Engine
from gantrol.studio.explore import label as short_name
from gantrol.studio.guard import gradio, guarded
from gantrol.studio.long_work import SLOW, Desk, Finished, Job

MAX_SAMPLES = 240
"""Images of a sticking test."""
_SHOWN_PX, _THUMB_PX, _SHEET_PX = 384, 112, 160
_MAX_SHEET_PX = 1600
_SPAN_PX, _STEPS = 4.0, 96
_COLUMNS = 9  # of the overview
_NO_ATTENTION = (
    "**No attention to show.** This model is not made of transformer blocks; open a TransGAN to see where it looks."
)
_NO_BANDS = (
    "**No cutoffs to show.** The layers of this model have no low-pass filters of their own; StyleGAN3 models, and the "
    "ladder's from step D on, have."
)
SAME_WEIGHTS = "the same weights with ordinary filters"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What the tab shows of one layer."""

    picture: Image.Image
    heat: Image.Image | None
    spectrum: Markup
    facts: Markup


def ws_of(model: Model, seed: Any, psi: Any, kind: Any) -> Tensor:
    """ws [1, L, D] of a seed."""
    return model.map([seed_of(seed)], **look_of(psi, kind).of_map)


def overview(model: Model, seed: Any, psi: Any, kind: Any) -> list[tuple[Image.Image, str]]:
    """A thumbnail and a caption of every layer, and of the image."""
    ws = ws_of(model, seed, psi, kind)
    found = [
        (_enlarged(to_pil(as_rgb(made.canvas)), _THUMB_PX), name) for name, made in feature_maps(model, ws).items()
    ]
    image = to_pil(to_arrays(model.synthesize(ws))[0])
    return [*found, (_enlarged(opaque(image).convert("RGB"), _THUMB_PX), "image")]


def one_layer(model: Model, layer: str, channels: str, seed: Any, psi: Any, kind: Any) -> Layer:
    """One layer: its map, its spectrum and its facts.

    Args:
        model: any.
        layer: its name.
        channels: one or three numbers; empty: principal components.
        seed, psi, kind: seed, truncation and class of the image.

    Raises:
        ConfigError: a layer or channels that are not there.
    """
    made = feature_maps(model, ws_of(model, seed, psi, kind), [layer])[layer]
    chosen = numbers_of(channels, "channels") or None
    x = made.canvas
    facts = [
        ("channels", f"{x.shape[0]}"),
        ("samples", f"{x.shape[1]} per image width"),
        ("margin", f"{made.margin_px} px on each side (not shown)"),
    ]
    if made.cutoff is not None:
        facts.append(("cutoff", f"f_c = {made.cutoff:.3g} cycles per image"))
    if chosen is None:
        shares = ", ".join(f"{share:.0%}" for share in principal_components(x).shares)
        facts.append(("shown", f"three strongest components: {shares} of the variance"))
    else:
        facts.append(("shown", f"channels {', '.join(map(str, chosen))}, each on its own scale"))
    facts.append(("strength", f"root mean square {number(float(x.square().mean().sqrt()))}"))
    picture = _enlarged(to_pil(as_rgb(x, chosen)), _SHOWN_PX)
    try:
        spectrum = made.spectrum()
    except ConfigError as error:
        return Layer(picture=picture, heat=None, spectrum=tag("p", None, str(error)), facts=_facts(facts))
    frequencies, levels = spectrum.slice("radial")
    across, flat = spectrum.slice(0.0)
    chart = {
        "title": "Power by frequency",
        "unit": "dB; 0 dB is white noise as strong as the map",
        "x": frequencies.tolist(),
        "lines": [
            {"name": "all directions", "y": levels.tolist()},
            {"name": "along x", "y": np.interp(frequencies, across, flat).tolist()},
        ],
        "verticals": [] if made.cutoff is None else [{"x": min(made.cutoff, frequencies[-1]), "label": "f_c"}],
    }
    return Layer(
        picture=picture,
        heat=filled_contours(spectrum.heat_map(), 240),
        spectrum=svg_chart(chart, x_label="cycles per image"),
        facts=_facts(facts),
    )


def attention_view(
    model: Model, block: str, row: Any, column: Any, seed: Any, psi: Any, kind: Any
) -> tuple[Image.Image, Markup]:
    """The heads of a block for one query, and their numbers."""
    side = attention_blocks(model.generator).get(block, 1)
    query = (whole(row, 0, max(side - 1, 0), "row"), whole(column, 0, max(side - 1, 0), "column"))
    ws = ws_of(model, seed, psi, kind)
    found = attention_map(model, ws, block, query)
    sheet = attention_sheet(found, to_arrays(model.synthesize(ws))[0], _SHEET_PX)
    sheet.thumbnail((_MAX_SHEET_PX, _MAX_SHEET_PX), Image.Resampling.LANCZOS)
    rows = [
        (f"head {index}", f"{reach:.1f}", f"{spread:.1f}", f"{float(head.max()):.2%}")
        for index, (head, reach, spread) in enumerate(zip(found.heads, found.reach, found.spread, strict=True))
    ]
    columns = ("", "mean distance", "shared among", "largest weight")
    return sheet, value_table(columns, rows, ("", "tokens", "tokens (2^entropy)", "of 100%"))


def bands_view(model: Model) -> Markup:
    """The layers' rates, cutoffs and stopbands as a chart and a table; empty for models without."""
    bands = layer_bands(model.generator)
    if not bands:
        return Markup()
    chart = {
        "title": "What each layer may use",
        "unit": "cycles per image",
        "x": list(range(len(bands))),
        "lines": [
            {"name": "half the sampling rate s/2", "y": [band.nyquist for band in bands]},
            {"name": "stopband f_t", "y": [band.stopband for band in bands]},
            {"name": "cutoff f_c", "y": [band.cutoff for band in bands]},
        ],
        "log": True,
    }
    text = (
        "Up to the cutoff f_c a layer's filters let everything pass, from the stopband f_t on next to nothing. As "
        "long as f_t stays within s/2, nothing folds back: no aliasing. The last layers are critical, f_c = s/2, to "
        "be as sharp as pixels can be."
    )
    figure = svg_chart(chart, x_label="layer", width_px=620, height_px=260, dots=True)
    return join([tag("p", None, text), figure, value_table(COLUMNS, band_rows(bands), UNITS)])


def motion_view(
    model: Model, seed: Any, psi: Any, kind: Any, job: Job | None = None
) -> tuple[Image.Image | None, Markup]:
    """The picture moved by `_SPAN_PX` pixels: the slice, and how exactly it moves; for models that can be moved."""
    if not is_movable(model.generator):
        line = f"A {model.config.kind} model cannot be moved from inside; compare the walks below."
        return None, tag("p", None, line)
    found = translation_slice(
        model, ws_of(model, seed, psi, kind), span_px=_SPAN_PX, steps=_STEPS,
        progress=None if job is None else job.progress,
    )  # fmt: skip
    picture = opaque(to_pil(found.rows)).convert("RGB")
    factor = max(1, round(_SHOWN_PX / picture.width))
    picture = picture.resize((picture.width * factor, _STEPS * 3), Image.Resampling.NEAREST)
    meaning = (
        f": likeness of each step to the first picture, moved by exactly as much ({_SPAN_PX:g} px in {_STEPS} steps, "
        f"row {found.row}). More is better."
    )
    return picture, tag("p", None, tag("b", None, f"{found.mean_psnr:.1f} dB"), meaning)


def sticking_view(
    generator: Generator, seed: Any, samples: Any, kind: Any, job: Job | None = None
) -> tuple[Image.Image, Image.Image, Markup]:
    """The sticking test of one generator: average and strip as pictures, both numbers as text.

    Raises:
        ConfigError: too few or too many samples.
    """
    count = whole(samples, MIN_SAMPLES, MAX_SAMPLES, "samples")
    first, total = seed_of(seed), count + 1 + AVERAGED + STRIP_FRAMES
    labels = class_labels(generator, kind, count)
    found = sticking(
        generator, samples=count, seed=first, c=labels,
        progress=None if job is None else lambda done, _: job.progress(done, total),
    )  # fmt: skip
    average, strip = sticking_pictures(
        generator, found.angle, seed=first, c=None if labels is None else labels[:1],
        progress=None if job is None else lambda done, _: job.progress(count + done, total),
    )  # fmt: skip
    rows = [
        ("average", f"{found.average:.2f}", "of the fine detail survives averaging over a small neighbourhood"),
        ("strip", f"{found.strip:.2f}", "of the strip's gradient lies along y: streaks instead of waves"),
    ]
    numbers = tag("p", None, [[tag("b", None, f"{name} {value}"), f" {meaning}. "] for name, value, meaning in rows])
    return _enlarged(_rgb(average), 192), _stretched(_rgb(strip)), numbers


def build(engine: Engine) -> None:
    """The components of the tab, inside the current `gr.Tab`."""
    gr = gradio()
    first = engine.model(engine.names[0])
    opened = tab_opened()
    with gr.Row():
        model, kind, settled = model_choice(engine, "inside")
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="inside-seed")
        psi = gr.Slider(0, 1.5, value=0.7, step=0.05, label="Truncation ψ", elem_id="inside-truncation")
    what = [seed, psi, kind]
    with gr.Tabs(elem_id="inside-parts"):
        with gr.Tab("Feature maps", id="maps", elem_id="inside-tab-maps"):
            _maps(engine, model, what, first, opened, settled)
        with gr.Tab("Attention", id="attention", elem_id="inside-tab-attention"):
            _attention(engine, model, what, first, settled)
        with gr.Tab("Cutoffs", id="cutoffs", elem_id="inside-tab-cutoffs"):
            note = gr.Markdown(_NO_BANDS, visible=not layer_bands(first.generator), elem_id="inside-cutoffs-note")
            bands = gr.HTML(bands_view(first), elem_id="inside-cutoffs")

            def rebanded(name: str) -> Any:
                shown = bands_view(engine.model(name))
                return gr.update(visible=not shown), shown

            model.change(
                guarded(rebanded), model, [note, bands], queue=False, show_progress="hidden", api_visibility="private"
            )
        with gr.Tab("Sticking", id="sticking", elem_id="inside-tab-sticking"):
            _sticking(engine, model, what)


def _maps(engine: Engine, model: Any, what: list[Any], first: Model, opened: Any, settled: Any) -> None:
    gr = gradio()
    names = list(layer_modules(first.generator))
    gr.Markdown(
        "What each layer computes on the way to the image, its strongest three components as red, green and blue. "
        "Click one to see it large, with its spectrum."
    )
    gallery = gr.Gallery(
        show_label=False, columns=_COLUMNS, height=145, object_fit="contain", format="png", allow_preview=False,
        buttons=[], elem_id="inside-layers", interactive=False,
    )  # fmt: skip
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            # A request from before the model changed may name a layer of the other one: `one` knows what to do.
            layer = gr.Dropdown(names, value=names[-1], label="Layer", elem_id="inside-layer", allow_custom_value=True)
            channels = gr.Textbox(
                "", label="Channels: one or three numbers; empty for principal components", elem_id="inside-channels",
                max_lines=1, placeholder="0,1,2",
            )  # fmt: skip
            facts = gr.HTML(elem_id="inside-facts")
        with gr.Column(scale=2, min_width=280):
            picture = picture_box("Feature map", "inside-map", 380)
        with gr.Column(scale=2, min_width=280):
            heat = picture_box("Spectrum: frequency 0 in the middle; 5 dB a colour, −40 to 20 dB", "inside-heat", 260)
            spectrum = gr.HTML(elem_id="inside-spectrum")

    def all_layers(name: str, seed: Any, psi: Any, kind: Any) -> Any:
        found = engine.quick(name, lambda model: overview(model, seed, psi, kind))
        rows = min(-(-len(found) // _COLUMNS), 2)
        return gr.update(value=found, height=20 + 125 * rows)

    def one(name: str, layer: str, channels: str, seed: Any, psi: Any, kind: Any) -> Any:
        known = layer_modules(engine.model(name).generator)
        chosen = layer if layer in known else list(known)[-1]  # the model has just been changed
        made = engine.quick(name, lambda model: one_layer(model, chosen, channels, seed, psi, kind))
        return made.picture, gr.update(value=made.heat, visible=made.heat is not None), made.spectrum, made.facts

    def relayered(name: str) -> Any:
        known = list(layer_modules(engine.model(name).generator))
        return gr.update(choices=known, value=known[-1])

    def picked(name: str, event: Any) -> Any:
        known = list(layer_modules(engine.model(name).generator))
        return known[min(int(event.index), len(known) - 1)]

    picked.__annotations__["event"] = gr.SelectData
    quick: dict[str, Any] = {
        "show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 8, "trigger_mode": "always_last"
    }  # fmt: skip
    large = [picture, heat, spectrum, facts]
    chosen = [model, layer, channels, *what]
    after = {name: value for name, value in quick.items() if name != "trigger_mode"}
    settled.then(guarded(relayered), model, layer, **after).then(
        guarded(all_layers), [model, *what], gallery, **after
    ).then(guarded(one), chosen, large, **after)
    gallery.select(guarded(picked), model, layer, **quick)
    for event in (*_changes(what), opened):
        event(guarded(all_layers), [model, *what], gallery, **quick)
        event(guarded(one), chosen, large, **quick)
    for event in (layer.change, channels.submit, channels.blur):
        event(guarded(one), chosen, large, **quick)


def _attention(engine: Engine, model: Any, what: list[Any], first: Model, settled: Any) -> None:
    gr = gradio()
    blocks = attention_blocks(first.generator)
    note = gr.Markdown(_NO_ATTENTION, visible=not blocks, elem_id="inside-attention-note")
    with gr.Column(visible=bool(blocks)) as group:
        with gr.Row():
            block = gr.Dropdown(
                _block_choices(blocks),
                value=next(iter(blocks), None),
                label="Block",
                elem_id="inside-block",
                allow_custom_value=True,
            )
            row = gr.Number(0, label="Row of the query (tokens)", precision=0, minimum=0, elem_id="inside-row")
            column = gr.Number(0, label="Column of the query (tokens)", precision=0, minimum=0, elem_id="inside-column")
        heads = picture_box(
            "A picture for each head, relative to its largest weight; the query is framed. Click to choose another.",
            "inside-heads",
        )
        numbers = gr.HTML(elem_id="inside-attention")

    def shown(name: str, block: str, row: Any, column: Any, seed: Any, psi: Any, kind: Any) -> Any:
        known = attention_blocks(engine.model(name).generator)
        if not known:
            return None, ""
        chosen = block if block in known else next(iter(known))
        last = known[chosen] - 1
        place = (min(int(row or 0), last), min(int(column or 0), last))
        return engine.quick(name, lambda model: attention_view(model, chosen, *place, seed, psi, kind))

    def changed(name: str) -> Any:
        known = attention_blocks(engine.model(name).generator)
        choices = gr.update(choices=_block_choices(known), value=next(iter(known), None))
        return gr.update(visible=not known), gr.update(visible=bool(known)), choices

    def clicked(name: str, block: str, event: Any) -> Any:
        side = attention_blocks(engine.model(name).generator).get(block, 1)
        x, y = event.index
        across = (x % (_SHEET_PX + 8)) / _SHEET_PX
        return min(int(y / _SHEET_PX * side), side - 1), min(int(across * side), side - 1)

    clicked.__annotations__["event"] = gr.SelectData
    quick: dict[str, Any] = {
        "show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 8, "trigger_mode": "always_last"
    }  # fmt: skip
    chosen = [model, block, row, column, *what]
    after = {name: value for name, value in quick.items() if name != "trigger_mode"}
    settled.then(guarded(changed), model, [note, group, block], **after).then(
        guarded(shown), chosen, [heads, numbers], **after
    )
    heads.select(guarded(clicked), [model, block], [row, column], **quick)
    for event in (block.change, row.change, column.change, *_changes(what), tab_opened()):
        event(guarded(shown), chosen, [heads, numbers], **quick)


def _sticking(engine: Engine, model: Any, what: list[Any]) -> None:
    gr = gradio()
    desk = Desk(engine)
    visitor = gr.State(new_visitor)
    others = [(SAME_WEIGHTS, SAME_WEIGHTS), *((short_name(name), name) for name in engine.names)]
    start = engine.names[1] if len(engine.names) > 1 else SAME_WEIGHTS
    gr.Markdown(
        "Does fine detail move with the object, or does it stick to the pixels? Two networks, asked the same. "
        "*Moving*: the picture moves by four pixels in steps far below one, and one row of its pixels is followed: "
        "details that move draw slanted lines, details that stick draw vertical ones and jump. *Walking*: the mean of "
        "a small neighbourhood of latents beside the picture itself (what stays sharp, sticks), and a column of pixels "
        "over a walk through the latents (streaks stick, waves move)."
    )
    with gr.Row():
        other = gr.Dropdown(others, value=start, label="Beside it", elem_id="inside-other", scale=2)
        samples = gr.Slider(
            MIN_SAMPLES,
            MAX_SAMPLES,
            value=90,
            step=30,
            label="Images for the numbers",
            elem_id="inside-samples",
            scale=2,
        )
        go = gr.Button("Test both", variant="primary", elem_id="inside-test", min_width=110)
        cancel = gr.Button("Cancel", elem_id="inside-cancel", min_width=90)
    parts: dict[str, list[Any]] = {"a": [], "b": []}
    with gr.Row():
        for side, title in (("a", "The model"), ("b", "Beside it")):
            with gr.Column(min_width=300):
                parts[side].append(gr.Markdown(f"#### {title}", elem_id=f"inside-{side}-name"))
                parts[side].append(
                    picture_box("Moving: one row of pixels, time from top to bottom", f"inside-{side}-motion", 300)
                )
    for make in (_figures("psnr"), _walk("average"), _walk("strip"), _figures("sticking")):
        with gr.Row():  # a row for each, so that both sides stay level
            for side in parts:
                with gr.Column(min_width=300):
                    parts[side].append(make(side))
    sides = [*parts["a"], *parts["b"]]

    def test(
        who: str,
        name: str,
        other: str,
        samples: Any,
        seed: Any,
        psi: Any,
        kind: Any,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> Iterator[Any]:
        found: list[Any] = []
        for which in (name, other):
            is_twin = which == SAME_WEIGHTS
            source = name if is_twin else which
            classes = engine.model(source).generator.c_dim
            source_kind = (kind if isinstance(kind, int) and kind < classes else 0) if classes else None
            title = f"{short_name(source)}, ordinary filters" if is_twin else short_name(source)
            if is_twin and not has_filters(engine.model(source).generator):
                raise ConfigError(f"{short_name(source)} has no filters to replace: choose another model beside it")

            def work(model: Model, job: Job, is_twin: bool = is_twin, kind: Any = source_kind) -> list[Any]:
                tested = with_ordinary_filters(model) if is_twin else model
                moved = motion_view(tested, seed, psi, kind, job)
                return [*moved, *sticking_view(tested.generator, seed, samples, kind, job)]

            for news in desk.run(who, source, work):
                if isinstance(news, Finished):
                    found += [f"#### {title}", *news.value]
                    yield [*found, *[gr.skip()] * (len(sides) - len(found))]
                else:
                    progress((news.done, news.total), desc=title, unit="images")

    go.click(
        guarded(test), [visitor, model, other, samples, *what], sides, **SLOW, api_visibility="private",
        show_progress_on=[sides[1]],
    )  # fmt: skip
    cancel.click(guarded(desk.cancel), visitor, None, queue=False, show_progress="hidden", api_visibility="private")


_CAPTIONS = {
    "average": "Walking: the picture, and the mean of 64 neighbours",
    "strip": "Walking: one column of pixels, time from left to right",
}


def _walk(what: str) -> Callable[[str], Any]:
    return lambda side: picture_box(_CAPTIONS[what], f"inside-{side}-{what}", 210)


def _figures(what: str) -> Callable[[str], Any]:
    return lambda side: gradio().HTML(elem_id=f"inside-{side}-{what}")


def _changes(components: list[Any]) -> list[Any]:
    """The events by which seed, truncation and class say that they have changed."""
    seed, psi, kind = components
    return [seed.change, psi.release, kind.change]


def _block_choices(blocks: dict[str, int]) -> list[tuple[str, str]]:
    return [(f"{name} · {side}×{side} tokens", name) for name, side in blocks.items()]


def _facts(rows: list[tuple[str, str]]) -> Markup:
    return join([tag("div", None, tag("b", None, name), f" {value}") for name, value in rows])


def _rgb(pixels: np.ndarray) -> Image.Image:
    return opaque(to_pil(pixels)).convert("RGB")


def _enlarged(picture: Image.Image, side_px: int) -> Image.Image:
    """The picture at about a height, without smoothing where it grows."""
    factor = side_px / picture.height
    method = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS
    size = (round(picture.width * factor), side_px) if factor < 1 else tuple(
        side * max(1, round(factor)) for side in picture.size
    )  # fmt: skip
    return picture.resize((int(size[0]), int(size[1])), method)


def _stretched(strip: Image.Image) -> Image.Image:
    """A strip with as many pixels to a frame as to a pixel."""
    factor = max(1, round(192 / strip.height))
    return strip.resize((strip.width * factor, strip.height * factor), Image.Resampling.NEAREST)
