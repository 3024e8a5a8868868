"""The configuration, what in it is not the preset's own, and how to go on from here."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from gantrol.config import from_dict, to_dict
from gantrol.errors import GantrolError
from gantrol.report.markup import Child, Markup, number, tag
from gantrol.report.page import Section, command, facts, table
from gantrol.report.run_record import RunRecord
from gantrol.train.config import TrainConfig

_AROUND = ("format", "format_version", "gantrol_version", "torch_version", "machine", "command")
_LONGEST = 12  # items of a list that are written out
_OF_THE_USER = ("preset", "scale", "data", "init", "init_sha256", "precision")  # no preset could know them


def config_section(record: RunRecord) -> Section:
    """Every field; those that differ from the preset's are marked and come first as a list of their own."""
    own = flattened({name: value for name, value in record.config.items() if name not in _AROUND})
    defaults = preset_defaults(record.config)
    parts: list[Child] = []
    changed: dict[str, str] = {}
    if defaults is None:
        parts.append(
            tag("p", {"class": "note"}, "The preset is not one of this version, so differences are not marked.")
        )
    else:
        changed = {
            name: defaults.get(name, "–")
            for name, value in own.items()
            if value != defaults.get(name, "–") and name.split(".")[0] not in _OF_THE_USER
        }
        rows: list[list[Child]] = [[tag("code", None, name), own[name], default] for name, default in changed.items()]
        head = ("field", "here", "preset")
        parts.append(table(head, rows, "Not as in the preset") if rows else tag("p", None, "All as in the preset."))
    every = [
        tag(
            "tr",
            {"class": "changed" if name in changed else None},
            tag("th", {"scope": "row"}, tag("code", None, name)),
            tag("td", None, value),
        )
        for name, value in own.items()
    ]
    scroll = {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": "All fields"}
    whole = tag("div", scroll, tag("table", None, tag("tbody", None, every)))
    parts.append(tag("details", None, tag("summary", None, f"All {len(own)} fields"), whole))
    return Section("config", "Configuration", parts)


def machine_section(record: RunRecord) -> Section:
    """Where it ran, with which versions, and the command."""
    config, last = record.config, record.last
    rows: list[tuple[str, Child]] = [
        ("machine", str(config.get("machine", "–"))),
        ("gantrol", str(config.get("gantrol_version", "–"))),
        ("torch", str(config.get("torch_version", "–"))),
        ("precision", str(config.get("precision", "–"))),
        ("most memory", f"{number(_most(record, 'memory_gib'))} GiB"),
    ]
    if "cuda_memory_gib" in last:
        rows.append(("most GPU memory", f"{number(_most(record, 'cuda_memory_gib'))} GiB"))
    parts: list[Child] = [facts(rows)]
    if record.config.get("command"):
        parts += [tag("h3", None, "The command"), command(str(record.config["command"]))]
    parts.append(tag("h3", None, "How to go on"))
    parts += [item for title, text in next_commands(record) for item in (tag("p", None, title), command(text))]
    return Section("machine", "Machine and commands", parts)


def next_commands(record: RunRecord) -> list[tuple[str, str]]:
    """What can be done with this run: titles and command lines, quoted for a shell."""
    folder = shlex.quote(str(record.folder))
    found = []
    if record.is_complete:
        longer = f"{record.planned_kimg * 2:g}"
        found.append(("Train on:", f"gantrol train --resume {folder} --kimg {longer}"))
    else:
        found.append(("Continue:", f"gantrol train --resume {folder}"))
    found.append(("Generate:", f"gantrol generate {folder} --seeds 0-15 --out images --grid grid.png"))
    if record.best_file is not None:
        best = shlex.quote(str(record.best_file))
        found.append(("Generate from the best checkpoint:", f"gantrol generate {best} --seeds 0-15 --out images"))
    found.append(("Measure:", f"gantrol evaluate {folder} --metrics fid --samples 5000"))
    return found


def preset_defaults(config: Mapping[str, Any]) -> dict[str, str] | None:
    """The flattened config of the preset for the same images; None if this version has no such preset or fields."""
    from gantrol.train.presets import DataShape, preset

    try:
        own = from_dict(TrainConfig, {k: v for k, v in config.items() if k not in _AROUND})
        g = own.generator
        shape = DataShape(resolution_px=g.resolution_px, channels=g.channels, label_dim=g.c_dim)
        made = to_dict(preset(own.preset, own.scale, shape, precision=own.precision))
    except (GantrolError, ValueError, TypeError, AttributeError, KeyError):
        return None
    if own.generator.kind == "controllable":  # the preset's generator is the base of it
        blank = {field.name: field.default for field in dataclasses.fields(own.generator)}
        around = {name: value for name, value in blank.items() if value is not dataclasses.MISSING and name != "base"}
        made["generator"] = {"kind": "controllable", "base": made["generator"], **around}
    return flattened(made)


def flattened(value: Any, where: str = "") -> dict[str, str]:
    """Fields by dotted path, as text: an object in a list is one field, and a long list is its size."""
    if isinstance(value, Mapping):
        found: dict[str, str] = {}
        for name, item in value.items():
            found |= flattened(item, f"{where}.{name}" if where else str(name))
        return found
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        return {f"{where}.{index}": _written(item) for index, item in enumerate(value)}
    return {where: _written(value)}


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_written(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        if len(value) > _LONGEST or any(isinstance(item, list | tuple) for item in value):
            return " × ".join(map(str, _shape(value))) + " numbers"
        return "[" + ", ".join(map(_written, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _shape(value: Any) -> list[int]:
    return [len(value), *_shape(value[0])] if isinstance(value, list | tuple) and len(value) else []


def _most(record: RunRecord, name: str) -> float | None:
    values = [tick[name] for tick in record.ticks if isinstance(tick.get(name), int | float)]
    return max(values) if values else None


def warnings_section(record: RunRecord) -> Section | None:
    """What is wrong with the run, if anything is."""
    if not record.warnings:
        return None
    return Section(
        "warnings", "Warnings", tag("ul", {"class": "warnings"}, [tag("li", None, w) for w in record.warnings])
    )


def status(record: RunRecord) -> Markup:
    """How far the training is."""
    if record.is_complete:
        return tag("span", {"class": "status done"}, "complete")
    planned = record.planned_kimg
    share = f" ({100 * record.kimg / planned:.0f} %)" if planned else ""
    return tag("span", {"class": "status"}, f"{record.kimg:g} of {planned:g} kimg{share}")
