"""The scripts that `gantrol completion` prints: for bash, zsh and fish, made from the options themselves.

All three know the same: which commands there are, which options a command has, and what may follow an option. The
answers are in the scripts, so that the Tab key never waits for Python.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import NamedTuple

from gantrol.cli import COMMANDS, GLOBAL_OPTIONS
from gantrol.cli.arguments import Argument, arguments_of, options_of

BARE = "-"
"""Stands for the option where a bare word is expected: a MODEL, a dataset."""
_HELP_WIDTH = 70


class Values(NamedTuple):
    """What may follow an option."""

    kind: str
    """words: one of them · list: some, between commas · pairs: WORD=VALUE · files · models: words or files · text."""
    words: tuple[str, ...] = ()
    is_many: bool = False
    """Whether several values may follow."""


def values_of(command: str, arguments: Iterable[Argument]) -> dict[str, Values]:
    """What may follow each option of a command; a flag is not listed, `BARE` is the first bare word."""
    known = _known_words(command)
    found: dict[str, Values] = {}
    for argument in arguments:
        if argument.is_flag:
            continue
        name = BARE if argument.is_positional else argument.name
        if argument.choices:
            value = Values("words", argument.choices)
        elif argument.field in known:
            value = known[argument.field]
        else:
            value = Values("files" if argument.is_path else "text")
        if name not in found:
            found[name] = value._replace(is_many=argument.is_many)
    return found


def _known_words(command: str) -> Mapping[str, Values]:
    """What the text options of a command take, by field."""
    from gantrol.control.predictors.folder import bundled_predictors
    from gantrol.data.faces.channels import CHANNELS
    from gantrol.data.faces.labels import ATTRIBUTES
    from gantrol.data.faces.styles import STYLES
    from gantrol.hub import bundled_models
    from gantrol.metrics.evaluation_request import METRICS
    from gantrol.metrics.features import NETWORKS
    from gantrol.train.config import LOSS_NAMES
    from gantrol.train.presets import DISCRIMINATOR_PRESETS, PRESETS, SCALES

    models = Values("models", tuple(bundled_models()))
    controls, parts = _controls()
    attributes = tuple(ATTRIBUTES)
    common = {
        "model": models,
        "models": models,
        "sources": models,
        "what": models,
        "init": models,
        "run": Values("files"),
        "source": Values("files"),
        "device": Values("words", ("auto", "cpu", "cuda", "mps")),
        "predictors": Values("models", tuple(bundled_predictors())),
        "preset": Values("words", tuple(PRESETS)),
        "scale": Values("words", tuple(SCALES)),
        "d": Values("words", tuple(DISCRIMINATOR_PRESETS)),
        "loss": Values("words", LOSS_NAMES),
        "metrics": Values("list", METRICS),
        "features": Values("models", tuple(NETWORKS)),
        "control": Values("list", controls),
        "attributes": Values("list", controls),
        "only": Values("list", controls),
        "set": Values("pairs", (*controls, *parts)),
        "sweep": Values("pairs", (*controls, *parts, "truncation", "rotate", "translate_x", "translate_y")),
    }
    own: dict[str, dict[str, Values]] = {
        "data faces": {
            "set": Values("pairs", attributes),
            "sweep": Values("pairs", attributes),
            "style": Values("list", (*STYLES, "all")),
            "channels": Values("words", CHANNELS),
            "captions": Values("words", attributes),
            "like": Values("files"),
        },
        "data avatars": {"set": Values("text")},
        "video": {"kind": Values("words", ("interpolate", "translate", "turn", "sweep", "style-mix"))},
        "project": {"features": Values("words", ("auto", "efficientnet-lite0", "pyramid"))},
        "train": {"overrides": Values("text")},
    }
    return common | own.get(command, {})


@cache
def _controls() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the controls of the bundled model, which are those of every portrait model, and of their components."""
    from gantrol.errors import CheckpointError
    from gantrol.model import load

    try:
        controls = load("faces", device="cpu").controls
    except CheckpointError:  # an installation without it
        return (), ()
    return tuple(name for name in controls if not controls[name].part_of), tuple(
        name for name in controls if controls[name].part_of
    )


class _Command(NamedTuple):
    """All that a script needs to know of a command."""

    name: str
    summary: str
    options: dict[str, str]  # --name: its help
    values: dict[str, Values]


def _commands() -> list[_Command]:
    commands = []
    for name, command in COMMANDS.items():
        arguments = arguments_of(options_of(name))
        options: dict[str, str] = {}
        for argument in arguments:
            if argument.is_flag and argument.default:  # the other way round it would change nothing
                options[argument.name.replace("--", "--no-", 1)] = f"do not: {_short(argument.help)}"
            elif not argument.is_positional:
                options[argument.name] = _short(argument.help)
        options |= {"--help": "what the command does and takes"} | GLOBAL_OPTIONS
        commands.append(_Command(name, command.summary, options, values_of(name, arguments)))
    return commands


def _groups() -> list[str]:
    """First words of commands that have two, in order."""
    return list(dict.fromkeys(name.split()[0] for name in COMMANDS if " " in name))


def _first_words() -> dict[str, str]:
    """What may follow `gantrol`, and what it does."""
    words: dict[str, str] = {}
    for name, command in COMMANDS.items():
        first, _, second = name.partition(" ")
        words[first] = f"{words[first]}, {second}" if first in words else second or command.summary
    return words | {"--help": "all commands", "--version": "the version"}


def _second_words(group: str) -> dict[str, str]:
    """What may follow `gantrol GROUP`."""
    return {name.split()[1]: command.summary for name, command in COMMANDS.items() if name.startswith(f"{group} ")}


def _short(text: str) -> str:
    """The beginning of a help text."""
    first = text.split("; ")[0].split(". ")[0].rstrip(".")
    return first if len(first) <= _HELP_WIDTH else f"{first[: _HELP_WIDTH - 1].rsplit(' ', 1)[0]}…"


def _described(words: Mapping[str, str]) -> str:
    """Words with what they mean, as zsh's _describe takes them."""
    return " ".join(shlex.quote(f"{word}:{text}") for word, text in words.items())


# ---------------------------------------------------------------------------------------------------------------------
# bash

_BASH = r"""# bash completion for gantrol; made by `gantrol completion bash`

_gantrol_options() {
    case "$1" in
@options@
    esac
}

# What follows an option ("-": a bare word): a kind, with * if several values may follow, and words.
_gantrol_values() {
    case "$1 $2" in
@values@
    esac
}

_gantrol() {
    local IFS=$' \t\n' current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]} first=2 option=- at kind words
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W @first@ -- "$current"))
        return
    fi
    case $command in
@groups@
    esac
    if [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$(_gantrol_options "$command")" -- "$current"))
        return
    fi
    [[ $current == = ]] && previous== current=
    for ((at = COMP_CWORD - 1; at >= first; at--)); do  # the option that this word belongs to
        if [[ ${COMP_WORDS[at]} == --* ]]; then
            option=${COMP_WORDS[at]}
            break
        fi
    done
    read -r kind words <<<"$(_gantrol_values "$command" "$option")"
    if [[ $option != - && $kind != \** ]] && ! ((at == COMP_CWORD - 1)) &&
        ! [[ at -eq COMP_CWORD-2 && $previous == = ]]; then
        option=-  # it has its value
        read -r kind words <<<"$(_gantrol_values "$command" -)"
    elif [[ -z $kind && $option != - ]]; then
        option=-  # a flag
        read -r kind words <<<"$(_gantrol_values "$command" -)"
    fi
    case ${kind#\*} in
    words) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
    list)
        local before=
        [[ $current == *,* ]] && before=${current%,*},
        COMPREPLY=($(compgen -P "$before" -W "$words" -- "${current##*,}"))
        compopt -o nospace 2>/dev/null
        ;;
    pairs)
        [[ $previous == [=:] ]] && return
        COMPREPLY=($(compgen -S = -W "$words" -- "$current"))
        compopt -o nospace 2>/dev/null
        ;;
    files | models)
        IFS=$'\n'
        COMPREPLY=($(compgen -f -- "$current"))
        IFS=$' \t\n'
        COMPREPLY+=($(compgen -W "$words" -- "$current"))
        compopt -o filenames 2>/dev/null
        ;;
    esac
}

complete -F _gantrol gantrol
"""


def bash_script() -> str:
    """For bash 3.2 and later; needs no bash-completion package."""
    commands = _commands()
    groups = []
    for group in _groups():
        groups += [
            f"    {group})",
            "        if ((COMP_CWORD == 2)); then",
            f'            COMPREPLY=($(compgen -W {shlex.quote(" ".join(_second_words(group)))} -- "$current"))',
            "            return",
            "        fi",
            '        command+=" ${COMP_WORDS[2]}"',
            "        first=3",
            "        ;;",
        ]
    return _filled(
        _BASH,
        options=[f"    {shlex.quote(each.name)}) echo {shlex.quote(' '.join(each.options))} ;;" for each in commands],
        values=[
            f"    {shlex.quote(f'{each.name} {option}')}) echo {shlex.quote(_line(value))} ;;"
            for each in commands
            for option, value in each.values.items()
        ],
        first=[shlex.quote(" ".join(_first_words()))],
        groups=groups,
    )


def _line(value: Values) -> str:
    """A kind with its words, as the scripts read it."""
    return " ".join([f"*{value.kind}" if value.is_many else value.kind, *value.words])


def _filled(template: str, **parts: list[str]) -> str:
    """The template with its @parts@."""
    for name, lines in parts.items():
        template = template.replace(f"@{name}@", "\n".join(lines))
    return template


# ---------------------------------------------------------------------------------------------------------------------
# zsh

_ZSH = r"""#compdef gantrol
# zsh completion for gantrol; made by `gantrol completion zsh`

_gantrol_values() {
    case "$1 $2" in
@values@
    esac
}

_gantrol() {
    local command=$words[2] first=3 option=- at
    local -a answer known offered
    if ((CURRENT == 2)); then
        known=(@first@)
        _describe -t commands command known
        return
    fi
    case $command in
@groups@
    esac
    if [[ $words[CURRENT] == -* && $words[CURRENT] != --*=* ]]; then
        case $command in
@options@
        esac
        _describe -o -t options option offered
        return
    fi
    for ((at = CURRENT - 1; at >= first; at--)); do  # the option that this word belongs to
        if [[ $words[at] == --* ]]; then
            option=$words[at]
            break
        fi
    done
    if [[ $words[CURRENT] == --*=* ]]; then
        option=${words[CURRENT]%%=*}
        at=$((CURRENT - 1))
        compset -P 1 '*='
    fi
    answer=($(_gantrol_values "$command" "$option"))
    if [[ $option != - && ( -z $answer[1] || ( $answer[1] != \** && $at -lt $((CURRENT - 1)) ) ) ]]; then
        answer=($(_gantrol_values "$command" -))  # a flag, or an option that has its value
    fi
    case ${answer[1]#\*} in
    words) compadd -- ${answer[2,-1]} ;;
    list)
        compset -P '*,'
        compadd -S '' -- ${answer[2,-1]}
        ;;
    pairs) compadd -S = -- ${answer[2,-1]} ;;
    files) _files ;;
    models)
        compadd -- ${answer[2,-1]}
        _files
        ;;
    esac
}

if [[ $funcstack[1] == _gantrol ]]; then  # loaded from $fpath
    _gantrol "$@"
else
    compdef _gantrol gantrol
fi
"""


def zsh_script() -> str:
    """For zsh 5 and later; to be sourced, or put into a folder of $fpath as _gantrol."""
    commands = _commands()
    groups = []
    for group in _groups():
        groups += [
            f"    {group})",
            "        if ((CURRENT == 3)); then",
            f"            known=({_described(_second_words(group))})",
            "            _describe -t commands command known",
            "            return",
            "        fi",
            '        command+=" $words[3]"',
            "        first=4",
            "        ;;",
        ]
    return _filled(
        _ZSH,
        options=[f"        {shlex.quote(each.name)}) offered=({_described(each.options)}) ;;" for each in commands],
        values=[
            f"    {shlex.quote(f'{each.name} {option}')}) echo {shlex.quote(_line(value))} ;;"
            for each in commands
            for option, value in each.values.items()
        ],
        first=[_described(_first_words())],
        groups=groups,
    )


# ---------------------------------------------------------------------------------------------------------------------
# fish

_FISH = r"""# fish completion for gantrol; made by `gantrol completion fish`

function __gantrol_is  # whether the command is this one
    set -l words (commandline -opc)[2..]
    test (count $words) -ge (count $argv); and test "$words[1..$(count $argv)]" = "$argv"
end

function __gantrol_begins  # whether nothing but these words is there yet
    set -l words (commandline -opc)[2..]
    test "$words" = "$argv"
end

function __gantrol_fills  # whether the last option is this one
    set -l options (string match -- '--*' (commandline -opc))
    test "$options[-1]" = "$argv[1]"
end

function __gantrol_list  # these words, after what is there already up to the last comma
    set -l typed (string replace -r -- '^--[a-z-]+=' '' (commandline -ct) | string replace -r '[^,]*$' '')
    for word in $argv
        echo $typed$word
    end
end

complete -c gantrol -f
@first@
@groups@
@options@
"""


def fish_script() -> str:
    """For fish 3.4 and later."""
    start = "complete -c gantrol -n "
    first = [
        f"{start}'__gantrol_begins' -a {_fish(word)} -d {_fish(text)}"
        for word, text in _first_words().items()
        if not word.startswith("-")
    ]
    groups = [
        f"{start}'__gantrol_begins {group}' -a {_fish(word)} -d {_fish(text)}"
        for group in _groups()
        for word, text in _second_words(group).items()
    ]
    options = []
    for each in _commands():
        for option, text in each.options.items():
            value = each.values.get(option)
            takes = "" if value is None else f" {_fish_values(value)}"
            options.append(f"{start}'__gantrol_is {each.name}' -l {option[2:]}{takes} -d {_fish(text)}")
            if value is not None and value.is_many:  # the values after the first one
                more = f"'__gantrol_is {each.name}; and __gantrol_fills {option}'"
                options.append(f"{start}{more} {_fish_values(value).replace('-x ', '').replace('-r ', '')}")
        if BARE in each.values:
            words = _fish_values(each.values[BARE]).replace("-x ", "").replace("-r ", "")
            options.append(f"{start}'__gantrol_is {each.name}' {words}")
    return _filled(_FISH, first=first, groups=groups, options=[line.rstrip() for line in options])


def _fish_values(value: Values) -> str:
    """What fish shall offer."""
    words = " ".join(value.words)
    if value.kind == "pairs":
        words = " ".join(f"{word}=" for word in value.words)
    offered = f"'(__gantrol_list {words})'" if value.kind == "list" else _fish(words)
    kinds = {"words": "-x -a", "list": "-x -a", "pairs": "-x -a", "models": "-r -F -a", "files": "-r -F", "text": "-x "}
    return f"{kinds[value.kind]} {offered if value.kind not in ('files', 'text') else ''}".rstrip() + (
        " " if value.kind in ("files", "text") else ""
    )


def _fish(text: str) -> str:
    """A word in single quotes, as fish reads them."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SCRIPTS: dict[str, Callable[[], str]] = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}
"""By shell: makes the script."""
