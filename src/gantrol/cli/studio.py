"""`gantrol studio`: models in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Open models in the browser: explore, mix, look inside, edit a picture of your own, watch a training.

    Example: gantrol studio faces run --runs run
    """

    models: tyro.conf.Positional[tuple[str, ...]] = ()
    """Model folders, runs, bundled models or Hugging Face ids, side by side; none: the bundled faces."""
    port: int = 7860
    """Port to listen on; 0 takes a free one."""
    host: str = "127.0.0.1"
    """Address to listen on; anything but this machine alone needs --auth."""
    auth: str | None = None
    """USER:PASSWORD that is asked for."""
    runs: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """Folder of a training to watch, or one that holds several; may be given again."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""


def run(options: Studio) -> None:
    """Loads the models and serves until Ctrl-C."""
    from gantrol.errors import ConfigError
    from gantrol.studio.access import check_host, parse_auth
    from gantrol.studio.app import serve
    from gantrol.studio.engine import Engine
    from gantrol.studio.guard import gradio

    auth = None if options.auth is None else parse_auth(options.auth)
    check_host(options.host, auth)
    for folder in options.runs:
        if not folder.is_dir():
            raise ConfigError(f"--runs {folder}: there is no such folder")
    gradio()  # says what is missing before anything is loaded
    models = load_models(options.models or ("faces",), options.device)
    with Engine(models, runs=options.runs) as engine:
        serve(engine, host=options.host, port=options.port, auth=auth, ready=_announce)


def load_models(names: Sequence[str], device: str) -> dict[str, Any]:
    """The models by the names that the user wrote.

    Raises:
        ConfigError: a name twice.
        CheckpointError: one that is missing or damaged.
    """
    from gantrol.errors import ConfigError
    from gantrol.model import load

    models: dict[str, Any] = {}
    for name in names:
        if name in models:
            raise ConfigError(f"{name} is given twice; each model only once")
        models[name] = load(name, device=device)
    return models


def _announce(url: str) -> None:
    from rich.console import Console

    Console(soft_wrap=True, highlight=False).print(f"gantrol studio: {url}  (Ctrl-C ends it)")
