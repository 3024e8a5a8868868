"""The tab Explore: one seed, every control, the picture at once; several models side by side.

The page keeps what one user does (the settings, the undo history, favourites); the server draws what it is asked for
and forgets it. Each request carries the whole `Shown`, so that a server that was restarted goes on, nobody's settings
reach anybody else, and a thousand visitors leave nothing behind. The browser asks for one step at a time, and for the
newest settings only, so that a dragged slider never piles up requests.

What is shown *is* the download: `save_image`'s bytes travel to the page, and `gantrol generate` writes the same ones.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from gantrol.errors import ConfigError, GantrolError
from gantrol.sample import MAX_SEED, is_movable
from gantrol.studio.engine import Busy, Engine
from gantrol.studio.guard import asset, gradio
from gantrol.studio.state import Shown, drawn_together, start
from gantrol.studio.widgets import describe

_DRAFT_FROM_PX = 256
"""Larger pictures travel as drafts while a slider moves: encoding a PNG of 1024 px takes longer than a step may."""


def build(engine: Engine) -> None:
    """The components of the tab, inside the current `gr.Tab`."""
    draw, read = handlers(engine)
    gradio().HTML(
        value=opening(engine),
        html_template='<div class="gs-explore"></div>',
        js_on_load=asset("explore.js"),
        apply_default_css=False,
        server_functions=[draw, read],
        elem_id="explore",
    )


def opening(engine: Engine) -> dict[str, Any]:
    """What the page has to know to build itself: the models, the widgets, and what to show first."""
    models = {name: engine.model(name) for name in engine.names}
    first = engine.names[0]
    return {
        "models": [
            {
                "name": name,
                "label": label(name),
                "size": model.generator.resolution_px,
                "classes": model.generator.c_dim,
                "movable": is_movable(model.generator),
                "kind": model.config.kind,
            }
            for name, model in models.items()
        ],
        "widgets": describe(models.values()),
        "shown": start(first, models[first]).to_json(),
        "max_seed": MAX_SEED,
    }


def label(name: str) -> str:
    """A model's name without the folders above it, for captions."""
    return name.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1] or name


def handlers(engine: Engine) -> tuple[Callable[[Any], dict[str, Any]], Callable[[Any], dict[str, Any]]]:
    """The two functions that the page may call: `draw` and `read`; errors of users come back as `{"error": line}`."""

    def draw(request: Any) -> dict[str, Any]:
        """The pictures for `{"shown": …, "models": [name, …], "draft": bool}`, each with how to repeat it."""
        return _answer(lambda: pictures(engine, request))

    def read(text: Any) -> dict[str, Any]:
        """What a downloaded JSON file describes, for a model of this studio."""
        return _answer(lambda: {"shown": opened(engine, text).to_json()})

    return draw, read


def pictures(engine: Engine, request: Any) -> dict[str, Any]:
    """One step: what the models that are looked at draw for the settings of a page.

    Args:
        engine: where they compute.
        request: `{"shown": Shown.to_json(), "models": names, "draft": bool}`; `models` is all of them by default. A
            draft may be a JPEG.

    Returns:
        `{"pictures": [{"model", "src", "width", "height", "ms", "shown", "command", "python", "file"}, …]}`, with
        `src` a data URI; `shown` is what the model made of the settings.

    Raises:
        ConfigError: the request is nonsense.
        Busy: too many wait.
    """
    if not isinstance(request, Mapping):
        raise ConfigError("expected an object with the settings to draw")
    shown = Shown.from_json(request.get("shown"))
    names = request.get("models", list(engine.names))
    if not isinstance(names, list) or not 0 < len(names) <= len(engine.names) or len(set(map(str, names))) < len(names):
        raise ConfigError("models: expected some of this studio's models, each once")
    is_draft = request.get("draft") is True
    return {"pictures": [_picture(engine, str(name), shown, is_draft) for name in names]}


def opened(engine: Engine, text: Any) -> Shown:
    """The settings in a JSON file; for a model that is not here, they go to the first one that is.

    Raises:
        ConfigError: it is no such file.
    """
    if not isinstance(text, str):
        raise ConfigError("expected the text of a JSON file")
    shown = Shown.from_json(text)
    name = shown.model if shown.model in engine.names else engine.names[0]
    return shown.fitted(name, engine.model(name))


def png_bytes(picture: Image.Image) -> bytes:
    """The bytes that `gantrol generate` writes for a picture."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _picture(engine: Engine, name: str, settings: Shown, is_draft: bool) -> dict[str, Any]:
    began = time.perf_counter()
    shown = settings.fitted(name, engine.model(name))
    # The last step of a drag is no draft: it is drawn alone, to the bytes that its command line writes.
    picture = engine.together(name, shown, drawn_together) if is_draft else engine.quick(name, shown.picture)
    if is_draft and max(picture.size) > _DRAFT_FROM_PX:
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, format="JPEG", quality=90)
        kind, data = "jpeg", buffer.getvalue()
    else:
        kind, data = "png", png_bytes(picture)
    return {
        "model": name,
        "src": f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}",
        "width": picture.width,
        "height": picture.height,
        "shown": shown.to_json(),
        "command": shown.command(shown.file_name),
        "python": shown.python(),
        "file": shown.file_name,
        "ms": round(1000 * (time.perf_counter() - began), 1),
    }


def _answer(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except GantrolError as error:
        return {"error": " ".join(str(error).split()), "again": isinstance(error, Busy)}
