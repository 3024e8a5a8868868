"""A model on the disk: a folder with `config.json`, a safetensors file for each network, and the card `README.md`.

Runs are read, too: there the networks lie in one checkpoint. `gantrol.model.Model` is what users see of this.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from gantrol import checkpoint
from gantrol.atomic import atomic_folder
from gantrol.config import from_dict
from gantrol.errors import CheckpointError, ConfigError, nearest
from gantrol.hub import CONFIG, FORMAT_VERSION, MODEL_FORMAT, Location
from gantrol.models.rationed import TooLarge, rationed

_GENERATOR, _DISCRIMINATOR, _CONTROLS = "generator.safetensors", "discriminator.safetensors", "controls.safetensors"
_CARD = "README.md"
_TRAINING = ("preset", "scale", "data", "batch", "seed", "init", "init_sha256", "command")
"""What a model remembers of the run it comes from, besides how long that was."""


def read_tensors(location: Location) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Tensors by module, and what is known of the training.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    if location.checkpoint is None:
        folder = location.folder
        training = location.config.get("training") or {}
        if not isinstance(training, dict):
            raise CheckpointError(f"{folder / CONFIG}: training: expected an object with fields")
        parts = {"generator": checkpoint.load(folder / _GENERATOR, allow_plain=True)[0]}
        if location.config.get("controls") is not None:
            parts["controls"] = checkpoint.load(folder / _CONTROLS, allow_plain=True)[0]
        path = folder / _DISCRIMINATOR
        parts["discriminator"] = checkpoint.load(path, allow_plain=True)[0] if path.is_file() else {}
        return parts, training
    tensors, metadata = checkpoint.load(location.checkpoint, prefixes=["g_ema.", "d."])
    training = {name: location.config[name] for name in _TRAINING if location.config.get(name) not in (None, "")}
    training |= {"kimg": metadata.get("n_img", 0) / 1000, "checkpoint": location.checkpoint.name}
    return {
        "generator": _without_prefix(tensors, "g_ema."),
        "discriminator": _without_prefix(tensors, "d."),
    }, training


def _without_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def build(location: Location, role: str, kinds: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    """The module that the config describes, with these weights, in evaluation mode, without gradients.

    Args:
        location: of the model.
        role: the entry of its config.
        kinds: config class of each kind.
        tensors: by name.

    Raises:
        CheckpointError: the config is nonsense, or the weights do not fit it.
    """
    where = location.folder / CONFIG
    description = location.config[role]
    kind = description.get("kind") if isinstance(description, dict) else description
    if not isinstance(kind, str) or kind not in kinds:
        raise CheckpointError(f"{where}: unknown {role} {str(kind)[:40]!r}; {nearest(str(kind), kinds)}")
    try:
        config = from_dict(kinds[kind], description)
    except ConfigError as error:
        raise CheckpointError(f"{where}: {role}: {error}") from error
    try:
        with torch.random.fork_rng(devices=[]), rationed(tensors):  # loading leaves the random state alone
            module = cast(nn.Module, config.build())
    except TooLarge as error:
        raise CheckpointError(f"{where}: {role}: {error}") from error
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        expected = module.state_dict()
        wrong = [
            name
            for name in sorted({*expected, *tensors})
            if name not in expected or name not in tensors or expected[name].shape != tensors[name].shape
        ]
        raise CheckpointError(
            f"{location.name}: the weights of the {role} do not fit its config ({len(wrong)} tensors, first "
            f"{(wrong or ['?'])[0]!r}); fetch or save the model again"
        ) from error
    return module.eval().requires_grad_(False)


def check_target(folder: Path) -> None:
    """Raises `CheckpointError` unless a model can be saved as `folder`: a new, an empty, or a model's folder."""
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"cannot write {folder}: it is a file; choose another name")
    if folder.exists() and any(folder.iterdir()) and not _is_model(folder):
        raise CheckpointError(f"cannot write {folder}: it holds other files; choose a new or an empty folder")


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of a model when the block ends; files that are not ours come along.

    Raises:
        CheckpointError: it cannot be written; what was there stays.
    """
    others = sorted(folder.iterdir()) if folder.exists() else []
    ours = {CONFIG, _GENERATOR, _DISCRIMINATOR, _CONTROLS, _CARD}
    with atomic_folder(folder, CheckpointError) as temporary:
        yield temporary
        for other in others:
            if other.name not in ours:  # a .gitattributes, sample pictures, …
                copy = shutil.copytree if other.is_dir() else shutil.copy2
                copy(other, temporary / other.name)


def write_modules(
    folder: Path, generator: nn.Module, discriminator: nn.Module | None, controls: nn.Module | None
) -> None:
    """Writes the weights of those modules that there are."""
    for file, module in ((_GENERATOR, generator), (_DISCRIMINATOR, discriminator), (_CONTROLS, controls)):
        if module is not None:
            checkpoint.save(folder / file, module.state_dict(), {"format_version": FORMAT_VERSION})


def write_texts(folder: Path, info: Mapping[str, Any], card: str) -> None:
    """Writes the config and the card."""
    (folder / CONFIG).write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    (folder / _CARD).write_text(card, encoding="utf-8")


def _is_model(folder: Path) -> bool:
    try:
        return json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("format") == MODEL_FORMAT
    except (OSError, ValueError, AttributeError):
        return False
