"""What the arguments of a command are, read from its options: for the parser and its help, and for shell completion.

A command's options are a frozen dataclass: a field is an argument, its type says what may be written, the text beneath
it is its help. `parser_class` is that dataclass as tyro shall see it: values are called what they are (MODEL, not STR),
and nothing is said of defaults that are empty.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import textwrap
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from gantrol.cli import COMMANDS

_CALLED = {
    "overrides": "FIELD=VALUE",
    "set": "NAME=VALUE",
    "sweep": "NAME=FROM:TO",
    "data": "DATA",
    "init": "MODEL",
    "models": "MODEL",
    "sources": "SOURCE",
}
"""What values are called in the help, where neither their type nor the option's own name says it best."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Argument:
    """One argument of a command."""

    field: str
    """Its name in the dataclass."""
    name: str
    """As it is written: --truncation, or MODEL for a positional one."""
    is_positional: bool
    """Whether it is a bare word."""
    is_required: bool
    """Whether the command needs it."""
    is_flag: bool
    """Whether it is switched on (--name) or off (--no-name)."""
    default: Any
    """What it is where it is not given; None if it has to be."""
    is_many: bool
    """Whether several values may follow."""
    is_path: bool
    """Whether the value is a file or a folder."""
    is_text: bool
    """Whether it may be any text."""
    choices: tuple[str, ...]
    """All values there are, where the type lists them."""
    help: str
    """What it is."""


def options_of(command: str) -> type[Any]:
    """The dataclass of a command, by the name under which `COMMANDS` has it."""
    entry = COMMANDS[command]
    found: type[Any] = getattr(importlib.import_module(f"gantrol.cli.{entry.module}"), entry.options)
    return found


def arguments_of(options: type[Any]) -> list[Argument]:
    """The arguments that fill a dataclass of options, in the order of its help."""
    import tyro

    hints = get_type_hints(options, include_extras=True)
    texts = _field_texts(options)
    arguments = []
    for field in dataclasses.fields(options):
        kind, notes = _plain(hints[field.name])
        renamed = [note.name for note in notes if isinstance(getattr(note, "name", None), str)]
        name = (renamed or [field.name])[0].replace("_", "-")
        is_positional = tyro.conf.Positional in notes
        is_many = get_origin(kind) is tuple
        one = get_args(kind)[0] if is_many else kind
        arguments.append(
            Argument(
                field=field.name,
                name=name.upper() if is_positional else f"--{name}",
                is_positional=is_positional,
                is_required=field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
                is_flag=one is bool,
                default=None if field.default is dataclasses.MISSING else field.default,
                is_many=is_many,
                is_path=one is Path,
                is_text=one is str,
                choices=tuple(map(str, get_args(one))) if get_origin(one) is Literal else (),
                help=texts.get(field.name, ""),
            )
        )
    return arguments


def parser_class(options: type[Any]) -> type[Any]:
    """A subclass of a command's options whose help is to the point; its instances are instances of `options`."""
    import tyro

    hints = get_type_hints(options, include_extras=True)
    annotations: dict[str, Any] = {}
    for argument in arguments_of(options):
        is_named = argument.is_positional or argument.is_text
        called = _CALLED.get(argument.field, argument.name.lstrip("-").upper() if is_named else None)
        annotations[argument.field] = Annotated[hints[argument.field], tyro.conf.arg(help_behavior_hint=_default)]
        if called is not None:
            shown = f"[{called} …]" if argument.is_many else called
            annotations[argument.field] = Annotated[annotations[argument.field], tyro.conf.arg(metavar=shown)]
    body = {"__annotations__": annotations, "__doc__": options.__doc__, "__module__": options.__module__}
    return type(options.__name__, (options,), body)


def _default(label: str) -> str:
    """What the help says of a default; nothing of an empty one."""
    return "" if label in ("None", "", "''") else f"(default: {label})"


def _plain(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without `Annotated` and `| None`, and the notes of the former."""
    notes: tuple[Any, ...] = ()
    while True:
        if get_origin(hint) is Annotated:
            hint, *more = get_args(hint)
            notes += tuple(more)
        elif get_origin(hint) in (Union, UnionType):
            (hint,) = (each for each in get_args(hint) if each is not NoneType)
        else:
            return hint, notes


def _field_texts(options: type[Any]) -> dict[str, str]:
    """The text under each field."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(options))).body
    assert isinstance(tree, ast.ClassDef)
    texts = {}
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            texts[ast.unparse(node.target)] = " ".join(str(after.value.value).split())
    return texts
