"""The folders of GAN-Control: which file of a run counts, where its `args.json` is, and what that says of the groups.

    RUN/                     a run of phase one
        args.json            the whole config
        checkpoint/          000000.pt, 010000.pt, …, best_fid.pt
    CONTROLLERS/             the published form of a controllable generator
        generator/           a run as above
        age_loss_…/          a run of phase two for the group `age`: args.json, checkpoint/
        orientation_loss_…/  …

The last file of a `checkpoint` folder by name counts, as in the official code: `best_fid.pt` comes after all numbers.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from gantrol.errors import CheckpointError
from gantrol.inert_pickle import shown
from gantrol.models import LatentGroup

ARGS = "args.json"

_CHECKPOINTS, _GENERATOR = "checkpoint", "generator"
_MAX_ARGS_BYTES = 1 << 22
_MAX_WIDTH = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFiles:
    """The files of a folder that count."""

    checkpoint: Path
    """The generator's `.pt`."""
    controllers: Mapping[str, Path]
    """The `.pt` of each controller, by the name of its folder."""
    notes: list[str]
    """Which were taken, where there was a choice."""


def find_run(folder: Path) -> RunFiles:
    """The files of a run, or of a folder with a run and its controllers.

    Raises:
        CheckpointError: it is neither.
    """
    notes: list[str] = []
    if not (folder / _GENERATOR).is_dir():
        return RunFiles(checkpoint=_last(folder, notes), controllers={}, notes=notes)
    checkpoint = _last(folder / _GENERATOR, notes)
    others = sorted(path for path in folder.iterdir() if path.is_dir() and path.name != _GENERATOR)
    controllers = {path.name: _last(path, notes) for path in others if (path / _CHECKPOINTS).is_dir()}
    if not controllers:
        notes.append(f"there are no controllers beside {_GENERATOR}/: the model has its groups, but no controls")
    return RunFiles(checkpoint=checkpoint, controllers=controllers, notes=notes)


def _last(run: Path, notes: list[str]) -> Path:
    """The file of a run that counts; `notes` gains which one."""
    inner = run / _CHECKPOINTS
    folder = inner if inner.is_dir() else run
    files = sorted(path for path in folder.glob("*.pt") if path.is_file() and not path.name.startswith("."))
    if not files:
        raise CheckpointError(
            "it is no folder of GAN-Control: expected args.json and checkpoint/*.pt, or generator/ and a folder for "
            f"each controller, but there is no .pt file in {shown(folder.name)}/"
        )
    if len(files) > 1:
        notes.append(f"of {len(files)} files in {shown(run.name)}, {shown(files[-1].name)} is taken, the last by name")
    return files[-1]


def read_args(checkpoint: Path) -> dict[str, Any] | None:
    """The `args.json` beside a checkpoint or in the folder above; None if there is none.

    Raises:
        CheckpointError: it is there, but is no JSON object.
    """
    places = (checkpoint.parent / ARGS, checkpoint.absolute().parent.parent / ARGS)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return None
    try:
        if path.stat().st_size > _MAX_ARGS_BYTES:
            raise CheckpointError(f"its {ARGS} is far too large to be one")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"its {ARGS} cannot be read as JSON: fetch it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"its {ARGS} holds no JSON object: fetch it again")
    return content


def latent_groups(args: Mapping[str, Any]) -> tuple[LatentGroup, ...]:
    """The groups in the order in which they lie in z, from `place_in_latent` of each in `sub_groups_dict`.

    Raises:
        CheckpointError: they are missing, or do not follow each other without gaps.
    """
    found = next((value for key, value in _walk(args) if key == "sub_groups_dict" and isinstance(value, dict)), None)
    if not found:
        raise CheckpointError(f"its {ARGS} names no latent groups: sub_groups_dict is missing")
    places = {name: _place(name, group) for name, group in found.items()}
    groups: list[LatentGroup] = []
    end = 0
    for name, (start, stop) in sorted(places.items(), key=lambda item: item[1]):
        if start != end:
            raise CheckpointError(
                f"its {ARGS} has groups that do not add up: {shown(name)} begins at {start} of z, not at {end}, where "
                "the groups before it end"
            )
        groups.append(LatentGroup(name=name, size=stop - start))
        end = stop
    return tuple(groups)


def _place(name: str, group: Any) -> tuple[int, int]:
    place = group.get("place_in_latent") if isinstance(group, dict) else None
    if not name.isidentifier() or hasattr(nn.ModuleDict(), name):
        raise CheckpointError(f"its {ARGS} has a group {shown(name)}, which is no name for one")
    match place:
        case [int(start), int(end)] if 0 <= start < end <= _MAX_WIDTH:
            return start, end
    raise CheckpointError(f"its {ARGS} gives the group {name} no place_in_latent, such as [0, 128]")


def stated(args: Mapping[str, Any] | None, name: str) -> Any:
    """What `model_config` says of an option; None if it is silent."""
    config = None if args is None else args.get("model_config")
    return config.get(name) if isinstance(config, dict) else None


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """All keys and values of an object and of those within it, outer ones first."""
    level = [value]
    while level:
        pairs = [pair for item in level if isinstance(item, dict) for pair in item.items()]
        yield from pairs
        level = [inner for _, inner in pairs]
