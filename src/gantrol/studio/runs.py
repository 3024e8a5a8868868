"""The tab Runs: a training while it goes on: its curves, its samples over time, its measurements, and what is wrong.

The page asks again every few seconds. What it shows comes from the files of the run folder alone, read anew only when
one of them has changed, and once for all visitors.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from gantrol.errors import ConfigError, DataError, GantrolError
from gantrol.hub import BEST, CONFIG
from gantrol.report.curves import Chart, log_charts, metric_charts
from gantrol.report.markup import Markup, duration, join, number, tag
from gantrol.report.run_record import RunRecord, read_run
from gantrol.report.samples_section import chosen
from gantrol.report.svg_chart import svg_chart
from gantrol.studio.choosing import tab_opened
from gantrol.studio.engine import Engine
from gantrol.studio.guard import gradio, guarded
from gantrol.train.log import LOG, METRICS

INTERVAL_S = 4.0
"""How often a page looks."""
MAX_MOMENTS = 60
MAX_RUNS = 100
"""Of a folder that holds several."""
_MIN_PICTURE_PX, _MAX_PICTURE_PX = 768, 1280
_MAX_PICTURE_PIXELS = 120_000_000
_NONE = (
    "**No training to watch.** Name run folders when the studio starts, for example "
    "`gantrol studio faces --runs runs/first`."
)


@dataclass(frozen=True, kw_only=True)
class RunView:
    """What the tab shows of a run."""

    state: Markup
    """Its numbers, as a line, and warnings."""
    metrics: Markup
    """Charts of evaluations; empty if there are none."""
    curves: dict[str, Markup]
    """Charts of the log by group."""
    moments: tuple[int, ...]
    """Numbers of images at which there are samples, evenly spread if there are many."""
    fakes: dict[int, Path] = field(repr=False)
    pairs: dict[int, Path] = field(repr=False)
    reals: Path | None = None


def signature(folder: Path) -> tuple[Any, ...]:
    """What changes when there is something new in a run folder."""
    found: list[Any] = []
    for name in (CONFIG, LOG, METRICS, BEST, "samples"):
        try:
            status = os.stat(folder / name)
            found.append((status.st_mtime_ns, status.st_size))
        except OSError:
            found.append(None)
    return tuple(found)


def view(folder: Path) -> RunView:
    """All that the tab shows of a run, in progress or not.

    Raises:
        CheckpointError: there is no run, or nothing in it yet.
    """
    record = read_run(folder)
    groups = log_charts(record)
    moments = chosen(sorted({*record.fakes, *record.pairs}), MAX_MOMENTS)
    return RunView(
        state=_state(record),
        metrics=_charts(metric_charts(record), dots=True),
        curves={title: _charts(charts) for title, charts in groups.items()},
        moments=tuple(moments),
        fakes=record.fakes,
        pairs=record.pairs,
        reals=record.reals,
    )


def picture(path: Path | None) -> Image.Image | None:
    """A grid of samples, enlarged or reduced to what a page has room for; None if there is none.

    Raises:
        DataError: it cannot be read, or is too large.
    """
    if path is None:
        return None
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > _MAX_PICTURE_PIXELS:
                raise DataError(f"{path.name}: {opened.width}×{opened.height} pixels are too many for the page")
            found = opened.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path.name}: cannot be read; the training writes the next one soon") from error
    factor = _MIN_PICTURE_PX // max(found.size)
    if factor > 1:
        return found.resize((found.width * factor, found.height * factor), Image.Resampling.NEAREST)
    found.thumbnail((_MAX_PICTURE_PX, _MAX_PICTURE_PX), Image.Resampling.LANCZOS)
    return found


class Watcher:
    """The runs of a studio, each read again only when its files have changed.

    Args:
        folders: of runs, or folders that hold some.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self.names: dict[str, Path] = {}
        self.find()
        self._lock = threading.Lock()
        self._known: dict[str, tuple[tuple[Any, ...], RunView]] = {}

    def find(self) -> list[str]:
        """The names of the runs that are there now; new ones may have begun."""
        self.names = _names(run_folders(self._folders))
        return list(self.names)

    def look(self, name: str) -> tuple[tuple[Any, ...], RunView]:
        """The run as it is now, with its signature.

        Raises:
            ConfigError: the studio has no such run.
            CheckpointError: there is nothing in it yet.
        """
        if not name and not self.find():
            raise ConfigError("no training has begun in the folders of this studio yet")
        if name not in self.names and name not in self.find():
            raise ConfigError(f"there is no run {name!r} in this studio")
        folder = self.names[name]
        with self._lock:
            now = signature(folder)
            known = self._known.get(name)
            if known is None or known[0] != now:
                known = (now, view(folder))
                self._known[name] = known
            return known


def build(engine: Engine) -> None:
    """The components of the tab, inside the current `gr.Tab`."""
    gr = gradio()
    if not engine.runs:
        gr.Markdown(_NONE, elem_id="runs-note")
        return
    watcher = Watcher(engine.runs)
    on_open = tab_opened()
    seen = gr.State(None)  # the signature of what the page shows
    with gr.Row():
        names = watcher.find()
        run = gr.Dropdown(names, value=next(iter(names), None), label="Training", elem_id="runs-run", scale=2)
        follow = gr.Checkbox(True, label=f"Follow (every {INTERVAL_S:g} s)", elem_id="runs-follow", scale=1)
    state = gr.HTML(elem_id="runs-state")
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            fakes_title = gr.Markdown(elem_id="runs-fakes-caption")
            fakes = _image(gr, "samples", "runs-fakes")
            moment = gr.Slider(
                0, 1, value=1, step=1, label="Moment of the training", elem_id="runs-moment", visible=False
            )
        with gr.Column(scale=2, min_width=240):
            other_title = gr.Markdown(elem_id="runs-other-caption")
            other = _image(gr, "real images or pairs", "runs-other")
            which = gr.Radio(
                ["real images", "pairs"], value="real images", label="Beside them", elem_id="runs-which", visible=False
            )
    metrics = gr.HTML(elem_id="runs-metrics")
    group = gr.Radio([], label="Curves", elem_id="runs-group")
    curves = gr.HTML(elem_id="runs-curves")
    timer = gr.Timer(INTERVAL_S, active=True)
    shown = [fakes_title, fakes, other_title, other]
    everything = [seen, state, *shown, moment, which, metrics, group, curves]

    def show(name: str, moment: Any, which: str, group: str | None, is_new: bool) -> list[Any]:
        """Updates for all components; stays at the newest moment if it was there."""
        try:
            now, found = watcher.look(name)
        except GantrolError as error:
            line = tag("p", {"class": "runs-warning"}, str(error))
            return [None, line, *[gr.update()] * (len(everything) - 2)]
        last = max(len(found.moments) - 1, 0)
        at = last if is_new or moment is None else min(int(moment), last)
        groups = list(found.curves)
        chosen_group = group if group in found.curves else next(iter(groups), None)
        several = [label for label, there in (("real images", found.reals), ("pairs", found.pairs)) if there]
        beside = which if which in several else next(iter(several), "real images")
        return [
            now,
            found.state,
            *_fakes(found, at),
            *_other(found, at, beside),
            gr.update(minimum=0, maximum=max(last, 1), value=at, visible=last > 0),
            gr.update(value=beside, visible=len(several) > 1),
            found.metrics,
            gr.update(choices=groups, value=chosen_group, visible=bool(groups)),
            found.curves.get(chosen_group or "", ""),
        ]

    def opened(name: str | None, which: str, group: str | None) -> list[Any]:
        return show(name or "", None, which, group, True)

    def listed(name: str | None) -> Any:
        names = watcher.find()
        return gr.update(choices=names, value=name if name in names else next(iter(names), None))

    def tick(known: Any, name: str | None, moment: Any, which: str, group: str | None) -> list[Any]:
        try:
            now, found = watcher.look(name or "")
        except GantrolError:
            return [gr.skip()] * len(everything)
        if known is not None and tuple(known) == now:
            return [gr.skip()] * len(everything)
        is_at_end = moment is None or int(moment) >= len(found.moments) - 2
        return show(name or "", moment, which, group, is_at_end)

    def moved(name: str, moment: Any, which: str) -> list[Any]:
        _, found = watcher.look(name)
        at = min(int(moment or 0), max(len(found.moments) - 1, 0))
        return [*_fakes(found, at), *_other(found, at, which)]

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 8}
    run.change(guarded(opened), [run, which, group], everything, **quiet)
    timer.tick(guarded(tick), [seen, run, moment, which, group], everything, **quiet)
    on_open(guarded(listed), run, run, **quiet).then(guarded(opened), [run, which, group], everything, **quiet)
    follow.change(guarded(lambda on: gr.Timer(active=bool(on))), follow, timer, queue=False, **quiet)
    moment.release(guarded(moved), [run, moment, which], shown, trigger_mode="always_last", **quiet)
    which.input(guarded(moved), [run, moment, which], shown, **quiet)
    group.input(guarded(lambda name, title: watcher.look(name)[1].curves.get(title, "")), [run, group], curves, **quiet)


def _image(gr: Any, label: str, elem_id: str) -> Any:
    return gr.Image(
        label=label, show_label=False, type="pil", format="webp", interactive=False, elem_id=elem_id, alt_text=label,
        buttons=["download", "fullscreen"],
    )  # fmt: skip


def _fakes(found: RunView, at: int) -> tuple[str, Image.Image | None]:
    """Caption and picture of the samples at a moment."""
    if not found.moments:
        return "Samples: none yet", None
    n_img = found.moments[at]
    return f"**Samples** after {n_img / 1000:g} kimg, of the same latents each time", picture(found.fakes.get(n_img))


def _other(found: RunView, at: int, which: str) -> tuple[str, Image.Image | None]:
    """Caption and picture of what stands beside them."""
    if which == "pairs" and found.pairs:
        n_img = found.moments[at]
        caption = f"**Pairs** after {n_img / 1000:g} kimg: the images of a row share one attribute and nothing else"
        return caption, picture(found.pairs.get(n_img))
    return "**Real images** of the dataset", picture(found.reals)


def _state(record: RunRecord) -> Markup:
    """The run in a line, and its warnings."""
    elapsed = float(record.last.get("elapsed_s", 0) or 0)
    planned = record.planned_kimg
    facts = [f"{record.kimg:g} of {planned:g} kimg" if planned else f"{record.kimg:g} kimg"]
    if planned and record.kimg:
        facts[0] += f" ({min(record.kimg / planned, 1):.0%})"
    facts.append(f"{number(record.last.get('n_step'))} steps")
    facts.append(f"{number(record.last.get('img_per_s'))} images/s")
    facts.append(f"{duration(elapsed)} so far")
    rate = record.last.get("img_per_s")
    if record.is_complete:
        facts.append("complete")
    elif isinstance(rate, int | float) and rate > 0 and planned > record.kimg:
        facts.append(f"about {duration((planned - record.kimg) * 1000 / rate)} left")
    if record.best is not None:
        facts.append(f"best {record.best.metric} {number(record.best.value)} at {record.best.kimg:g} kimg")
    line = tag("p", {"id": "runs-facts"}, tag("b", None, record.name), " · ", " · ".join(facts))
    share = min(record.kimg / planned, 1.0) if planned else 0.0
    done = tag("div", {"style": f"width:{share:.2%};height:100%;background:#0d9488;border-radius:3px"})
    track = "height:6px;background:rgba(128,128,128,.25);border-radius:3px"
    bar = tag("div", {"style": track, "role": "progressbar", "aria-valuenow": round(100 * share)}, done)
    warnings = [tag("p", {"class": "runs-warning", "style": "color:#c2410c"}, f"⚠ {text}") for text in record.warnings]
    return join([line, bar, *warnings])


def _charts(charts: list[Chart], *, dots: bool = False) -> Markup:
    """Charts side by side, as many as there is room for."""
    if not charts:
        return Markup()
    style = "display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,460px));gap:14px"
    return tag("div", {"style": style}, [svg_chart(chart, dots=dots) for chart in charts])


def run_folders(folders: Sequence[Path]) -> list[Path]:
    """The runs among folders: those that are one, and those that one which is none holds, by name."""
    found: list[Path] = []
    for folder in folders:
        if (folder / CONFIG).is_file():
            found.append(folder)
        elif folder.is_dir():
            found += sorted(child for child in folder.iterdir() if (child / CONFIG).is_file())[:MAX_RUNS]
    return found


def _names(runs: Sequence[Path]) -> dict[str, Path]:
    """Folders by their names; with the folder above it where two share one."""
    found: dict[str, Path] = {}
    for run in runs:
        name = run.resolve().name
        if name in found and found[name] != run:
            name = f"{run.resolve().parent.name}/{name}"
        while name in found and found[name] != run:
            name += "'"
        found[name] = run
    return found
