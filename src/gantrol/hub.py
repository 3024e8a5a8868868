"""What MODEL may be, wherever it is written: a model folder, a run, a checkpoint of a run, a bundled or a Hub
name.

Nothing here reads a pickle: configs are JSON, weights are safetensors.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, Literal

from gantrol.checkpoint import newest_valid
from gantrol.errors import CheckpointError

MODEL_FORMAT = "gantrol-model"
RUN_FORMAT = "gantrol-run"
FORMAT_VERSION = 1
CONFIG = "config.json"
CHECKPOINTS = "checkpoints"
BEST = "best.safetensors"
"""In a run: the checkpoint that scored best."""
FILES = [CONFIG, "*.safetensors", "README.md"]
"""All that a model on the Hub consists of."""

_BUNDLED = Path(__file__).parent / "bundled"
_FOREIGN = {".pkl", ".pt", ".pth", ".ckpt", ".bin"}
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Location:
    """A model that was found; nothing of it but the config has been read."""

    kind: Literal["model", "run"]
    """A model folder, or the folder of a training."""
    name: str
    """As the user wrote it."""
    folder: Path
    """Where `config.json` is."""
    config: dict[str, Any]
    """Its content."""
    checkpoint: Path | None = None
    """Of a run: the newest intact checkpoint, or the one that was asked for."""
    skipped: tuple[Path, ...] = ()
    """Of a run: newer checkpoints that are damaged."""


def resolve(model: str | Path) -> Location:
    """Finds MODEL; a name that is no path is looked for among the bundled models, then on the Hugging Face
    Hub.

    Raises:
        CheckpointError: there is no such model, it is damaged, or its file may hold code and is not opened.
    """
    name, path = str(model), Path(model).expanduser()
    if path.suffix.lower() in _FOREIGN and not path.is_dir():
        raise CheckpointError(
            f"{name}: {path.suffix} files can carry code and are never loaded; "
            "convert it once with `gantrol import FILE --out MODEL`"
        )
    if (path / CONFIG).is_file():
        return _locate(name, path)
    if path.is_file():
        is_checkpoint = path.suffix == ".safetensors" and (path.parent.parent / CONFIG).is_file()
        if is_checkpoint and path.parent.name == CHECKPOINTS:
            return _locate(name, path.parent.parent, path)
        if path.name == BEST and (path.parent / CONFIG).is_file():
            return _locate(name, path.parent, path)
        raise CheckpointError(f"{name} is a file, not a model: give a model folder or the folder of a run")
    if "/" not in name and (_BUNDLED / name / CONFIG).is_file():
        return _locate(name, _BUNDLED / name)
    if path.is_dir():
        raise CheckpointError(f"{name} holds no {CONFIG}: give a model folder or the folder of a run")
    if name == "faces":
        raise CheckpointError(
            "the bundled model 'faces' is not part of this installation: pip install -U gantrol, or give a folder of "
            "your own (gantrol train --control makes one)"
        )
    if isinstance(model, str) and _HUB_ID.fullmatch(name):
        return _locate(name, _download(name))
    raise CheckpointError(
        f"no model {name!r}: expected a model folder, the folder of a run, or a Hugging Face id like user/name"
    )


def bundled_models() -> dict[str, Path]:
    """Name and folder of the models that come with the package."""
    return {path.parent.name: path.parent for path in sorted(_BUNDLED.glob(f"*/{CONFIG}"))}


def _download(name: str) -> Path:
    """The local copy of a model on the Hub, fetched or refreshed if the network allows."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = huggingface_hub.snapshot_download(name, allow_patterns=FILES)
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{name}: neither a local folder nor in the local cache, and huggingface.co cannot be reached; "
            "check the path or the network"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise CheckpointError(
            f"{name}: neither a local folder nor a model on huggingface.co that you may read; check the name "
            "(private models need `hf auth login`)"
        ) from error
    if not (Path(folder) / CONFIG).is_file():
        raise CheckpointError(f"{name} on huggingface.co is not a gantrol model: it has no {CONFIG}")
    return Path(folder)


def _locate(name: str, folder: Path, checkpoint: Path | None = None) -> Location:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / CONFIG} cannot be read as JSON; fetch or save the model again") from error
    kind = config.get("format") if isinstance(config, dict) else None
    if kind not in (MODEL_FORMAT, RUN_FORMAT):
        raise CheckpointError(f"{folder / CONFIG} is not of gantrol: its format is {kind!r}; check the path")
    version = config.get("format_version", FORMAT_VERSION)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"{name} has format version {version}, this gantrol reads up to {FORMAT_VERSION}: pip install -U gantrol"
        )
    if not isinstance(config.get("generator"), dict):
        raise CheckpointError(f"{folder / CONFIG} describes no generator; fetch or save the model again")
    if kind == MODEL_FORMAT:
        return Location(kind="model", name=name, folder=folder, config=config)
    if checkpoint is not None:
        return Location(kind="run", name=name, folder=folder, config=config, checkpoint=checkpoint)
    newest, skipped = newest_valid(folder / CHECKPOINTS)
    return Location(kind="run", name=name, folder=folder, config=config, checkpoint=newest, skipped=tuple(skipped))
