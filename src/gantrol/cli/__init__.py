"""The command line: `gantrol COMMAND …`.

Each command is a module with a frozen dataclass of options (its docstring is the help, with an example) and a function
`run(options)`. Modules are imported when their command is called, so that help and mistakes answer at once.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gantrol import __version__
from gantrol.cli.thumbnails import without_pictures
from gantrol.errors import ConfigError, GantrolError, nearest

WRONG_USAGE = 2
"""Exit status after arguments that cannot be read."""
GLOBAL_OPTIONS = {
    "--debug": "show the traceback of an error",
    "--no-pictures": "keep pictures out of the terminal",
}
"""What may stand anywhere in any command."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


@dataclass(frozen=True)
class Command:
    """Where a command lives and what it does in a few words."""

    module: str
    options: str
    summary: str


COMMANDS = {
    "demo": Command("demo", "Demo", "people, their controls and a film, from the model that comes along"),
    "data faces": Command("data_faces", "DataFaces", "render labelled portraits into a dataset"),
    "data avatars": Command("data_avatars", "DataAvatars", "draw labelled avatars (illustrated people) into a dataset"),
    "data import": Command("data_import", "DataImport", "turn a folder or zip of images into a dataset"),
    "data info": Command("data_info", "DataInfo", "what a dataset holds"),
    "train": Command("train", "Train", "train a model, or resume a training"),
    "control predictors": Command("control_predictors", "ControlPredictors", "train readers of attributes on labels"),
    "control calibrate": Command("control_calibrate", "ControlCalibrate", "thresholds for training with control"),
    "control fit": Command("control_fit", "ControlFit", "from values to latents: the controls of a trained model"),
    "control directions": Command("control_directions", "ControlDirections", "implicit controls for any model"),
    "presets": Command("presets", "Presets", "every preset, what it reproduces and what it costs"),
    "generate": Command("generate", "Generate", "images from a model"),
    "video": Command("video", "Video", "a video from a model"),
    "mix": Command("mix", "Mix", "a style-mixing table from a model"),
    "project": Command("project", "Project", "the latent of a picture, and a model tuned to draw it"),
    "evaluate": Command("evaluate", "Evaluate", "quality metrics of a model"),
    "report": Command("report", "Report", "one HTML page about a run: samples over time, curves, metrics, config"),
    "spectra": Command("spectra", "Spectra", "average power spectra of datasets and models, as a picture"),
    "import": Command("import_checkpoint", "ImportCheckpoint", "turn an official checkpoint into a model of ours"),
    "export": Command("export", "Export", "a model as one ONNX or pt2 file, which runs without gantrol"),
    "info": Command("info", "Info", "what a model, run or dataset is"),
    "studio": Command("studio", "Studio", "models in the browser: sliders, mixing, a look inside, trainings"),
    "completion": Command("completion", "Completion", "a script that completes commands and options in your shell"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command and exits: 0 if it did what it names, 1 on an error, 2 on wrong usage, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    is_debug, is_plain = "--debug" in arguments, "--no-pictures" in arguments
    arguments = [argument for argument in arguments if argument not in GLOBAL_OPTIONS]
    try:
        with _warnings_in_one_line(), without_pictures(is_plain):
            status = _dispatch(arguments)
    except KeyboardInterrupt as interruption:  # a command may say what it has kept
        kept = str(interruption) or "nothing is half-written"
        status = _fail(f"interrupted; {kept}", INTERRUPTED, is_debug)
    except GantrolError as error:
        status = _fail(str(error), 1, is_debug)
    except BrokenPipeError:  # the reader of our output has gone, which is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        status = _fail(f"{where}{error.strerror or error}", 1, is_debug)
    sys.exit(status)


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Tells of each value out of range once, in a line on stderr; other warnings are shown as ever."""
    from gantrol.controls import ControlWarning

    told: set[str] = set()
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: object, **more: object) -> None:
            if not issubclass(category, ControlWarning):
                usual(message, category, *where, **more)  # type: ignore[arg-type]
            elif str(message) not in told:
                told.add(str(message))
                print(f"gantrol: {message}", file=sys.stderr)

        warnings.showwarning = show
        warnings.simplefilter("always", ControlWarning)
        yield


def _fail(message: str, status: int, is_debug: bool) -> int:
    if is_debug:
        traceback.print_exc()
    print(f"gantrol: {' '.join(message.split())}", file=sys.stderr)
    return status


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        print(f"gantrol {__version__}")
        return 0
    name = arguments[0]
    groups = {command.split()[0] for command in COMMANDS if " " in command}
    rest = arguments[1:]
    if name in groups:
        known = [command.split()[1] for command in COMMANDS if command.startswith(f"{name} ")]
        if not rest or rest[0] in ("-h", "--help"):
            print(_help(f"{name} "))
            return 0
        if rest[0] not in known:
            raise ConfigError(f"there is no command 'gantrol {name} {rest[0]}'; {nearest(rest[0], known)}")
        name, rest = f"{name} {rest[0]}", rest[1:]
    if name not in COMMANDS:
        raise ConfigError(f"there is no command {name!r}; {nearest(name, {c.split()[0] for c in COMMANDS})}")
    import tyro

    from gantrol.cli.arguments import parser_class

    command = COMMANDS[name]
    module = importlib.import_module(f"gantrol.cli.{command.module}")
    arrange = getattr(module, "arrange", None)  # a module may put its arguments in the order that the parser wants
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = tyro.cli(
                parser_class(getattr(module, command.options)),
                args=arrange(rest) if arrange is not None else rest,
                prog=f"gantrol {name}",
                config=(tyro.conf.DisallowNone,),  # what is not wanted is left out
            )
    except SystemExit as end:
        if not end.code:  # --help
            raise
        return _fail(f"{_unframed(said.getvalue())}; see gantrol {name} --help", WRONG_USAGE, False)
    status = module.run(options)
    return int(status or 0)


def _unframed(message: str) -> str:
    """What tyro's framed message says, in one line: its first paragraph, and the option that was meant."""
    text = re.sub(r"\x1b\[[\d;]*m|[─│╭╮╰╯]|-{3,}", "", "\n".join(message.splitlines()[1:]))
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip())]
    meant = re.search(r"Perhaps you meant: (\S+)", " ".join(paragraphs))
    return paragraphs[0].rstrip(".") + (f"; did you mean {meant[1]}?" if meant else "")


def _help(prefix: str = "") -> str:
    commands = {name: command for name, command in COMMANDS.items() if name.startswith(prefix)}
    width = max(map(len, commands))
    lines = [f"usage: gantrol {prefix}COMMAND [options]      (gantrol {prefix}COMMAND --help tells its options)", ""]
    lines += [f"  {name:<{width}}  {command.summary}" for name, command in commands.items()]
    lines += ["", "--debug shows the traceback of an error, --no-pictures keeps pictures out of the terminal,"]
    lines += ["--version shows the version."]
    if not prefix:
        lines += ["example: gantrol demo"]
    return "\n".join(lines)
