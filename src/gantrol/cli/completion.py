"""`gantrol completion`: what the Tab key knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Print a script for bash, zsh or fish that completes commands, options and their values: presets, names of
    models, controls, metrics, files.

    Example: gantrol completion bash > ~/.local/share/bash-completion/completions/gantrol

    Example: gantrol completion zsh > ~/.zfunc/_gantrol

    Example: gantrol completion fish > ~/.config/fish/completions/gantrol.fish
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]
    """The shell that shall read it."""
    out: Path | None = None
    """Write it to this file instead."""


def run(options: Completion) -> None:
    """Prints or writes the script."""
    from gantrol.atomic import atomic_file
    from gantrol.cli.completion_scripts import SCRIPTS
    from gantrol.errors import DataError

    script = SCRIPTS[options.shell]()
    if options.out is None:
        print(script, end="")
        return
    with atomic_file(options.out, DataError) as temporary:
        temporary.write_text(script, encoding="utf-8")
    print(f"{options.out}: completion for {options.shell}, from the next shell on")
