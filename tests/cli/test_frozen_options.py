"""The option names that people type, and the help that they read, frozen: they change on purpose or not at all.

`options.txt` beside this file holds, for each command, its arguments in order: positional ones in capitals, options
with what they take. `help.txt` holds what `gantrol --help`, each group and each command print, 100 columns wide; the
test compares words, not how they are laid out. After a change that is meant, renew both and commit them with it:

    .venv/bin/python -m tests.cli.test_frozen_options
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import os
import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import tyro

from gantrol.cli import COMMANDS, main

SNAPSHOT = Path(__file__).with_name("options.txt")
HELP = Path(__file__).with_name("help.txt")
PAGES = ("", *dict.fromkeys(name.split()[0] for name in COMMANDS if " " in name), *COMMANDS)
"""All that --help can be asked of."""
RENEW = "if this is meant, run: python -m tests.cli.test_frozen_options"


def options_of(name: str) -> type[Any]:
    """The dataclass that a command's arguments fill."""
    command = COMMANDS[name]
    return getattr(importlib.import_module(f"gantrol.cli.{command.module}"), command.options)


def arguments_of(name: str) -> list[str]:
    """A line for each argument of a command, in the order of its help."""
    lines = []
    hints = get_type_hints(options_of(name), include_extras=True)
    for field in dataclasses.fields(options_of(name)):
        annotations = getattr(hints[field.name], "__metadata__", ())
        renamed = [note.name for note in annotations if isinstance(getattr(note, "name", None), str)]
        is_positional = tyro.conf.Positional in annotations or "Positional" in str(hints[field.name])
        option = (renamed or [field.name])[0].replace("_", "-")
        line = option.upper() if is_positional else f"--{option}"
        is_required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        lines.append(line if is_required else f"[{line}]")
    return lines


def describe() -> str:
    """What the snapshot should hold."""
    blocks = ["\n".join([f"gantrol {name}", *(f"    {line}" for line in arguments_of(name))]) for name in COMMANDS]
    return "\n\n".join(blocks) + "\n"


def help_of(page: str) -> str:
    """What `gantrol PAGE --help` prints into a terminal of 100 columns, without colours and frames."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([*page.split(), "--help"])
    text = re.sub(r"\x1b\[[\d;]*m", "", printed.getvalue())
    lines = [re.sub(r"^[│╭╰]─* ?| *─*[│╮╯]$", "", line).rstrip() for line in text.splitlines()]
    return "\n".join(lines).rstrip()


def describe_help() -> str:
    """What `help.txt` should hold."""
    return "\n\n".join(f"$ gantrol {f'{page} ' if page else ''}--help\n{help_of(page)}" for page in PAGES) + "\n"


def _words(text: str) -> dict[str, list[str]]:
    """The words of each page of `help.txt`."""
    parts = re.split(r"^\$ gantrol (.*)$", text, flags=re.MULTILINE)[1:]
    return {page: re.sub(r"-{3,}", " ", content).split() for page, content in zip(parts[::2], parts[1::2], strict=True)}


def test_help_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    found, expected = _words(describe_help()), _words(HELP.read_text(encoding="utf-8"))
    assert found.keys() == expected.keys(), RENEW
    for page, words in found.items():
        assert words == expected[page], f"gantrol {page}: {RENEW}"


def test_help_has_no_words_of_python() -> None:
    """No `{None}|PATH`, no `(default: None)`, no STR: values are called what they are."""
    text = HELP.read_text(encoding="utf-8")
    assert not re.search(r"\bNone\b|\bSTR\b|\(default: \)", text)


def test_option_names_are_frozen() -> None:
    assert describe() == SNAPSHOT.read_text(), RENEW


@pytest.mark.parametrize("name", COMMANDS)
def test_the_snapshot_is_what_the_parser_takes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The names above are found in the help that the parser writes, and the help has no other options."""
    with pytest.raises(SystemExit):
        tyro.cli(options_of(name), args=["--help"], prog=f"gantrol {name}")
    shown = capsys.readouterr().out
    offered = set(re.findall(r"^[│\s]*(?:-\w, )?(--[a-z][a-z-]*)", shown, re.MULTILINE)) - {"--help"}
    frozen = {line.strip("[]") for line in arguments_of(name) if line.strip("[]").startswith("--")}
    assert offered == frozen


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described(name: str) -> None:
    """The text under each field is its help: it ends as a sentence does, and fits on a line of the sources."""
    source = Path(importlib.import_module(f"gantrol.cli.{COMMANDS[name].module}").__file__ or "").read_text()
    for field in dataclasses.fields(options_of(name)):
        found = re.search(rf'^    {field.name}: .*\n    """(.+)"""$', source, re.MULTILINE)
        assert found, f"{name}: {field.name} has no docstring"
        assert found[1].endswith((".", ")", "…")), f"{name}: {field.name}: {found[1]!r}"


def test_promised_options_are_there() -> None:
    """What `gantrol` promises its users, of the commands that exist so far; more options are welcome."""
    promised = {
        "demo": "out",
        "data faces": "count size out seed workers set style like",
        "data import": "SOURCE out size crop max",
        "data info": "DATA",
        "train": "preset data out scale kimg minutes batch devices nodes d loss precision control augment init seed "
        "resume OVERRIDES",
        "control predictors": "data out",
        "control directions": "MODEL predictors out",
        "control fit": "MODEL predictors out",
        "project": "MODEL IMAGE out",
        "import": "FILE out",
        "generate": "MODEL seeds out truncation set translate rotate grid format",
        "video": "MODEL out kind set sweep",
        "mix": "MODEL rows cols layers out",
        "evaluate": "MODEL data metrics samples features json",
        "report": "RUN out",
        "export": "MODEL format out",
        "info": "WHAT",
    }
    for name, arguments in promised.items():
        have = {line.strip("[]-") for line in arguments_of(name)}
        assert set(arguments.split()) <= have, f"{name}: {set(arguments.split()) - have}"


if __name__ == "__main__":
    os.environ["COLUMNS"] = "100"
    SNAPSHOT.write_text(describe())
    HELP.write_text(describe_help(), encoding="utf-8")
