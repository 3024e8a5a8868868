"""The tab Mix: style-mixing tables, and films that walk from seed to seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gantrol import films
from gantrol.errors import ConfigError
from gantrol.mixing import coarse_layers, fine_layers, mixing_table, parse_layers
from gantrol.model import Model
from gantrol.pictures import enlarge_all, enlargement_factor, header_table, image_grid, opaque
from gantrol.sample import Look
from gantrol.studio.choosing import (
    look_of,
    model_choice,
    new_visitor,
    picture_box,
    random_seeds,
    seeds_of,
    tab_opened,
    whole,
)
from gantrol.studio.engine import Engine
from gantrol.studio.guard import gradio, guarded
from gantrol.studio.long_work import SLOW, Desk, Finished, Job
from gantrol.video import write_video

MAX_SEEDS = 8
"""Rows and columns of a table."""
MAX_KEYFRAMES = 12
MAX_FRAMES = 240
_TABLE_PX, _MAX_TABLE_PX = 96, 2048
_FILM_PX = 320
_ALL, _COARSE, _FINE = "all layers", "coarse layers", "fine layers"
_ONE_LAYER = (
    "**Nothing to mix.** This model feeds its latent to one layer alone, so no layer can follow another seed. "
    "Films work: see *Film* below."
)


def layers_text(model: Model, which: str) -> str:
    """The layers that a name stands for, as the field for layers takes them; empty for a model with one layer."""
    count = model.generator.num_ws
    if count < 2:
        return ""
    layers = {_COARSE: coarse_layers(count), _FINE: fine_layers(count)}.get(which, list(range(count)))
    return f"{layers[0]}-{layers[-1]}" if len(layers) > 1 else str(layers[0])


def table_picture(
    model: Model, rows: str, columns: str, layers: str, look: Look, job: Job | None = None
) -> Image.Image:
    """A style-mixing table: each row's seed with `layers` of each column's.

    Raises:
        ConfigError: seeds or layers that do not fit, or more than `MAX_SEEDS` of either.
    """
    row_seeds, column_seeds = (seeds_of(text, MAX_SEEDS, what) for text, what in ((rows, "rows"), (columns, "columns")))
    chosen = parse_layers(layers, model.generator.num_ws)
    table = mixing_table(
        model, row_seeds, column_seeds, chosen, look=look, progress=None if job is None else job.progress
    )
    factor = enlargement_factor(table.cells.shape[2:4], _TABLE_PX)
    rows_large, columns_large, cells = (
        enlarge_all(part, factor, "lanczos") for part in (table.rows, table.columns, table.cells)
    )
    picture = header_table(rows_large, columns_large, cells)
    picture.thumbnail((_MAX_TABLE_PX, _MAX_TABLE_PX), Image.Resampling.LANCZOS)
    return opaque(picture)


def keyframe_strip(model: Model, seeds: str, look: Look) -> Image.Image:
    """The keyframes of a film side by side.

    Raises:
        ConfigError: seeds that do not fit, or more than `MAX_KEYFRAMES`.
    """
    images = model.generate(
        seeds_of(seeds, MAX_KEYFRAMES, "keyframes"), **look.of_map, noise_mode=look.noise_mode, output="np"
    )
    large = enlarge_all(images, enlargement_factor(images.shape[1:3], _TABLE_PX), "lanczos")
    picture = image_grid(large, columns=len(large), gap=2)
    picture.thumbnail((_MAX_TABLE_PX, _MAX_TABLE_PX), Image.Resampling.LANCZOS)
    return opaque(picture)


def film(model: Model, seeds: str, layers: str, frames: Any, look: Look) -> films.Film:
    """A loop from keyframe to keyframe.

    Args:
        model: any.
        seeds: the keyframes; with some layers only, the first one gives all others.
        layers: those that move, as text; empty: all.
        frames: of the whole loop, up to `MAX_FRAMES`.
        look: truncation and class.

    Raises:
        ConfigError: an argument that does not fit.
    """
    keys = seeds_of(seeds, MAX_KEYFRAMES, "keyframes")
    count = whole(frames, 2, MAX_FRAMES, "frames")
    every = model.generator.num_ws
    if not (layers or "").strip() or every < 2 or len(parse_layers(layers, every)) == every:
        return films.interpolation(model, films.keyframe_seeds(keys, (1, 1)), count, look=look)
    return films.style_mix(model, np.array([[keys[0]]]), keys, parse_layers(layers, every), count, look=look)


def write_film(made: films.Film, path: Path, fps: Any, job: Job | None = None) -> Path:
    """Writes the frames as mp4, reporting each; returns the path.

    Raises:
        ConfigError: a rate that cannot be.
        MissingExtraError: the extra `video` is not installed.
    """

    def frames() -> Iterator[np.ndarray]:
        for index, frame in enumerate(made):
            if job is not None:
                job.progress(index + 1, len(made))
            yield frame

    write_video(path, frames(), fps=whole(fps, 1, 60, "frames per second"), min_side_px=_FILM_PX)
    return path


def build(engine: Engine) -> None:
    """The components of the tab, inside the current `gr.Tab`."""
    gr = gradio()
    desk = Desk(engine)
    opened = tab_opened()
    visitor = gr.State(new_visitor)
    first = engine.model(engine.names[0])
    with gr.Row():
        model, kind, settled = model_choice(engine, "mix")
        truncation = gr.Slider(0, 1.5, value=0.7, step=0.05, label="Truncation ψ", elem_id="mix-truncation")
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            gr.Markdown("### Style mixing\nEach row's seed, with the chosen layers of each column's seed.")
            note = gr.Markdown(_ONE_LAYER, visible=first.generator.num_ws < 2, elem_id="mix-note")
            with gr.Group(visible=first.generator.num_ws > 1) as table_group:
                rows = gr.Textbox("0-3", label=f"Seeds of the rows (up to {MAX_SEEDS})", elem_id="mix-rows")
                columns = gr.Textbox("4-8", label=f"Seeds of the columns (up to {MAX_SEEDS})", elem_id="mix-columns")
                preset = gr.Radio([_COARSE, _FINE], value=_COARSE, label="Columns give", elem_id="mix-preset")
                layers = gr.Textbox(
                    layers_text(first, _COARSE), label=_layers_label(first), elem_id="mix-layers", max_lines=1
                )
            with gr.Row():
                make = gr.Button("Mix", variant="primary", elem_id="mix-make", visible=first.generator.num_ws > 1)
                cancel = gr.Button("Cancel", elem_id="mix-cancel", min_width=90)
        with gr.Column(scale=2, min_width=320):
            table = picture_box("The rows' seeds at the left, the columns' on top", "mix-table", 500)
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            gr.Markdown("### Film\nA loop through the keyframes, along a smooth curve.")
            with gr.Group():
                keys = gr.Textbox("0,1,2,3", label=f"Keyframes: seeds (2 to {MAX_KEYFRAMES})", elem_id="mix-keyframes")
                moving = gr.Radio([_ALL, _COARSE, _FINE], value=_ALL, label="What moves", elem_id="mix-moving")
                frames = gr.Slider(8, MAX_FRAMES, value=120, step=1, label="Frames of the loop", elem_id="mix-frames")
                fps = gr.Slider(5, 60, value=30, step=1, label="Frames per second", elem_id="mix-fps")
            with gr.Row():
                dice = gr.Button("Random", elem_id="mix-random", min_width=90)
                shoot = gr.Button("Film", variant="primary", elem_id="mix-film", min_width=90)
                stop = gr.Button("Cancel", elem_id="mix-film-cancel", min_width=90)
        with gr.Column(scale=2, min_width=320):
            strip = picture_box("Keyframes", "mix-strip", 130)
            video = gr.Video(
                label="Film (mp4, H.264)",
                autoplay=True,
                loop=True,
                elem_id="mix-video",
                height=360,
                interactive=False,
                buttons=["download"],
            )

    def changed(name: str, which: str) -> Any:
        chosen = engine.model(name)
        several = chosen.generator.num_ws > 1
        return (
            gr.update(visible=not several),
            gr.update(visible=several),
            gr.update(visible=several),
            gr.update(value=layers_text(chosen, which), label=_layers_label(chosen)),
        )

    def make_table(
        who: str,
        name: str,
        kind: Any,
        psi: Any,
        rows: str,
        columns: str,
        layers: str,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> Iterator[Any]:
        look = look_of(psi, kind)
        for news in desk.run(who, name, lambda model, job: table_picture(model, rows, columns, layers, look, job)):
            if isinstance(news, Finished):
                yield news.value
            else:
                progress((news.done, news.total), unit="images")

    def show_keys(name: str, kind: Any, psi: Any, seeds: str) -> Image.Image:
        return engine.quick(name, lambda model: keyframe_strip(model, seeds, look_of(psi, kind)))

    def make_film(
        who: str, name: str, kind: Any, psi: Any, seeds: str, what: str, frames: Any, fps: Any,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> Iterator[Any]:  # fmt: skip
        look = look_of(psi, kind)
        path = engine.new_file("film.mp4")

        def work(model: Model, job: Job) -> Path:
            layers = "" if what == _ALL else layers_text(model, what)
            return write_film(film(model, seeds, layers, frames, look), path, fps, job)

        for news in desk.run(who, name, work):
            if isinstance(news, Finished):
                yield str(news.value)
            else:
                progress((news.done, news.total), unit="frames")

    def other_seeds(seeds: str) -> str:
        try:
            count = min(max(len(seeds_of(seeds, MAX_KEYFRAMES)), 2), MAX_KEYFRAMES)
        except ConfigError:
            count = 4
        return random_seeds(count)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    model.change(guarded(changed), [model, preset], [note, table_group, make, layers], queue=False, **quiet)
    preset.change(
        guarded(lambda name, which: layers_text(engine.model(name), which)),
        [model, preset],
        layers,
        queue=False,
        **quiet,
    )
    make.click(
        guarded(make_table), [visitor, model, kind, truncation, rows, columns, layers], table, **SLOW,
        api_visibility="private",
    )  # fmt: skip
    what = [model, kind, truncation, keys]
    for event in (keys.submit, keys.blur, kind.change, truncation.release, opened):
        event(guarded(show_keys), what, strip, concurrency_limit=8, trigger_mode="always_last", **quiet)
    settled.then(guarded(show_keys), what, strip, concurrency_limit=8, **quiet)
    dice.click(guarded(other_seeds), keys, keys, queue=False, **quiet).then(
        guarded(show_keys), what, strip, concurrency_limit=8, **quiet
    )
    shoot.click(guarded(make_film), [visitor, *what, moving, frames, fps], video, **SLOW, api_visibility="private")
    for button in (cancel, stop):
        button.click(guarded(desk.cancel), visitor, None, queue=False, **quiet)


def _layers_label(model: Model) -> str:
    return f"Layers, of 0 to {model.generator.num_ws - 1}"
