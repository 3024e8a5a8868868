"""A folder of predictors: `predictors.json` names its networks, their weights lie beside it.

    {"format": "gantrol-predictors", "format_version": 1,
     "networks": [{"kind": "reader", "weights": "reader.safetensors", "config": {…}},
                  {"kind": "hopenet", "weights": "/data/hopenet_robust_alpha1.pkl"}],
     "thresholds": {"age": {"same": 0.2, "different": 0.9}}}

Where two networks read one attribute, the first does. Readers of our own (`gantrol control predictors`) keep their
weights as safetensors; the networks of others are described in docs/photo-predictors.md, and their files are named by a
path, relative to the folder or absolute. `thresholds` are those of the contrastive loss, if they have been calibrated.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantrol import checkpoint
from gantrol.atomic import atomic_folder, write_json
from gantrol.config import from_dict, to_dict
from gantrol.control.predictors.errors_table import errors_from_dict, table_lines
from gantrol.control.predictors.protocol import Predictor, PredictorSet
from gantrol.control.predictors.reader import Reader, ReaderConfig
from gantrol.control.predictors.weights import load_strictly
from gantrol.errors import CheckpointError, ConfigError, nearest

MANIFEST = "predictors.json"
FORMAT = "gantrol-predictors"
FORMAT_VERSION = 1

BUNDLED = "portraits"
"""Name of the predictors that come with the package, trained on the built-in portraits at 64 px."""
BUNDLED_SECOND = "portraits-second"
"""Name of a second set with another architecture, data and seed, for measuring what the first was used to train."""

_BUNDLED_FOLDER = Path(__file__).parents[2] / "bundled"
_BUNDLED_PREFIX = "predictors-"

Loader = Callable[[Mapping[str, Any], Path], Predictor]
"""Makes a predictor of its entry in the manifest and of the folder in which that lies."""


def load_predictors(name_or_path: str | Path) -> PredictorSet:
    """The predictors in a folder, or bundled ones by name; frozen, on the CPU, float32.

    Args:
        name_or_path: a folder that holds `predictors.json`, or "portraits" or "portraits-second".

    Raises:
        CheckpointError: there is no such folder; its manifest or weights are damaged or do not fit.
    """
    folder, manifest = _find(name_or_path)
    networks = manifest.get("networks")
    if not isinstance(networks, list) or not networks:
        raise CheckpointError(
            f"{folder / MANIFEST}: `networks` is no list of networks; train some with `gantrol control predictors`"
        )
    predictors = []
    for number, entry in enumerate(networks):
        where = f"{folder / MANIFEST}: networks[{number}]"
        kind = entry.get("kind") if isinstance(entry, dict) else None
        if kind not in PREDICTORS:
            raise CheckpointError(f"{where}: there is no kind {kind!r} of predictors; {nearest(str(kind), PREDICTORS)}")
        try:
            predictors.append(PREDICTORS[kind](entry, folder))
        except (ConfigError, TypeError) as error:
            raise CheckpointError(f"{where} ({kind}): {error}") from error
    return PredictorSet(predictors)


def save_predictors(
    folder: str | Path,
    readers: Sequence[Reader],
    *,
    about: Mapping[str, Any] | None = None,
    thresholds: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes trained readers as a folder: manifest, weights (float16), and a README with the error table.

    Args:
        folder: to make; whole or not at all.
        readers: in order of precedence.
        about: JSON-ready facts for the manifest and the README: "trained_on", "held_out", "command", "errors" (as
            `errors_to_dict` makes them), ….
        thresholds: JSON-ready thresholds of the contrastive loss.
        overwrite: replace a predictors folder of that name.

    Raises:
        CheckpointError: the folder exists, or cannot be written.
    """
    folder = Path(folder)
    check_free(folder, overwrite)
    networks = []
    with atomic_folder(folder, CheckpointError) as temporary:
        for number, reader in enumerate(readers, 1):
            weights = "reader.safetensors" if len(readers) == 1 else f"reader-{number}.safetensors"
            checkpoint.save(temporary / weights, _stored(reader), {"kind": ReaderConfig.kind})
            networks.append({"kind": ReaderConfig.kind, "weights": weights, "config": to_dict(reader.config)})
        manifest: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION, "networks": networks}
        manifest |= {"about": dict(about)} if about else {}
        manifest |= {"thresholds": dict(thresholds)} if thresholds else {}
        write_manifest(temporary, manifest)
        (temporary / "README.md").write_text(_card(folder.name, readers, about or {}), encoding="utf-8")


def check_free(folder: Path, overwrite: bool) -> None:
    """CheckpointError if `folder` exists, unless it holds predictors that may be overwritten."""
    if folder.exists() and not (overwrite and (folder / MANIFEST).is_file()):
        hint = "choose another name or --overwrite it" if (folder / MANIFEST).is_file() else "choose another name"
        raise CheckpointError(f"{folder}: exists already: {hint}")


def read_manifest(name_or_path: str | Path) -> dict[str, Any]:
    """The content of `predictors.json` of a folder or of bundled predictors.

    Raises:
        CheckpointError: there is no such folder, or its manifest is damaged or of a later version.
    """
    return _find(name_or_path)[1]


def write_manifest(folder: str | Path, manifest: Mapping[str, Any]) -> None:
    """Writes `predictors.json` of a folder, whole or not at all; what `read_manifest` gave, with changes.

    Raises:
        CheckpointError: it is no manifest, or cannot be written.
    """
    path = Path(folder) / MANIFEST
    _check(manifest, path)
    write_json(path, manifest, CheckpointError)


def bundled_predictors() -> dict[str, Path]:
    """Name and folder of the predictors that come with the package."""
    found = sorted(_BUNDLED_FOLDER.glob(f"{_BUNDLED_PREFIX}*/{MANIFEST}"))
    return {path.parent.name.removeprefix(_BUNDLED_PREFIX): path.parent for path in found}


def _find(name_or_path: str | Path) -> tuple[Path, dict[str, Any]]:
    """The folder and its manifest."""
    folder = Path(name_or_path).expanduser()
    if not (folder / MANIFEST).is_file():
        bundled = bundled_predictors()
        if str(name_or_path) in bundled:
            folder = bundled[str(name_or_path)]
        elif folder.exists():
            raise CheckpointError(f"{folder} holds no {MANIFEST}: give a folder made by `gantrol control predictors`")
        else:
            known = f"bundled predictors ({', '.join(bundled)}) or " if bundled else ""
            raise CheckpointError(
                f"no predictors {str(name_or_path)!r}: expected {known}a folder made by `gantrol control predictors`"
            )
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    _check(manifest, path)
    return folder, manifest


def _check(manifest: Any, path: Path) -> None:
    """CheckpointError unless the manifest says what it is, in a version that is known here."""
    if not isinstance(manifest, Mapping) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path}: is no description of predictors (expected an object with format {FORMAT!r})")
    version = manifest.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise CheckpointError(f"{path}: format_version {version!r} is none")
    if version > FORMAT_VERSION:
        raise CheckpointError(f"{path}: is of format version {version}, made by a later gantrol; upgrade this one")


def _load_reader(entry: Mapping[str, Any], folder: Path) -> Predictor:
    """A reader of our own: a config and a safetensors file in the folder."""
    config = from_dict(ReaderConfig, entry.get("config", {}), where="config")
    path = weights_path(entry, folder)
    if path.suffix != ".safetensors" or not path.is_file():
        raise CheckpointError(f"{path}: there is no such safetensors file, in which the weights of a reader should be")
    tensors, _ = checkpoint.load(path, allow_plain=True)
    reader = config.build()
    load_strictly(reader, {name: tensor.float() for name, tensor in tensors.items()}, path)
    return reader.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def weights_path(entry: Mapping[str, Any], folder: Path) -> Path:
    """Where the weights of an entry of the manifest are: its `weights`, relative to the folder or absolute.

    Raises:
        ConfigError: it names none.
    """
    weights = entry.get("weights")
    if not isinstance(weights, str) or not weights:
        raise ConfigError("`weights` is missing: the path of the file, relative to the folder or absolute")
    return folder / Path(weights).expanduser()


def published(module: str, cls: str) -> Loader:
    """A loader of a network of others: the other fields of its entry are arguments of its class's `from_file`.

    Args:
        module: in this package; imported when the first such entry is loaded.
        cls: the class in it.
    """

    def load(entry: Mapping[str, Any], folder: Path) -> Predictor:
        predictor = getattr(importlib.import_module(f"gantrol.control.predictors.{module}"), cls)
        options = {key: value for key, value in entry.items() if key not in ("kind", "weights")}
        found = predictor.from_file(weights_path(entry, folder), **options)
        assert isinstance(found, Predictor)
        return found

    return load


def _load_external(entry: Mapping[str, Any], folder: Path) -> Predictor:
    """Anyone's network: the entry itself is its config."""
    from gantrol.control.predictors.external import External, ExternalConfig

    return External(ExternalConfig.from_entry(entry), folder)


PREDICTORS: dict[str, Loader] = {
    ReaderConfig.kind: _load_reader,
    "arcface": published("arcface", "ArcFace"),
    "dogfacenet": published("dogfacenet", "DogFaceNet"),
    "esr9": published("esr9", "ESR9"),
    "rnet": published("rnet", "RNet"),
    "hopenet": published("hopenet", "Hopenet"),
    "dex": published("dex", "DEX"),
    "pspnet-hair": published("pspnet", "HairColour"),
    "vgg-style": published("style", "Style"),
    "resnet18-class": published("imagenet_class", "ImageNetClass"),
    "onnx": _load_external,
    "torchscript": _load_external,
    "pt2": _load_external,
}
"""Kinds of predictors that a folder may list, and what makes one of its entry."""


def _stored(reader: Reader) -> dict[str, Tensor]:
    """The state of a reader in the types in which it is stored: parameters in float16, statistics in float32."""
    parameters = {name for name, _ in reader.named_parameters()}
    return {
        name: tensor.half() if name in parameters else tensor
        for name, tensor in reader.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def _card(name: str, readers: Sequence[Reader], about: Mapping[str, Any]) -> str:
    """README.md of a predictors folder."""
    lines = [f"# {name}: predictors of attributes in images", ""]
    for reader in readers:
        config = reader.config
        size = sum(parameter.numel() for parameter in reader.parameters())
        lines.append(
            f"A network of {size:,} values (`{config.architecture}`, {config.resolution_px} px) that reads "
            f"{', '.join(target.name for target in config.targets)}. Images of any size are resized."
        )
    facts = {key: value for key, value in about.items() if key not in ("errors", "command")}
    lines += ["", *(f"- {key.replace('_', ' ')}: {value}" for key, value in facts.items())]
    if about.get("command"):
        lines += ["", "## Made with", "", "```", str(about["command"]), "```"]
    if about.get("errors"):
        heading, *rows = table_lines(errors_from_dict(about["errors"]))
        lines += [
            "",
            "## Errors on held-out images",
            "",
            _row(heading),
            "|---|---" + "|---:" * (len(heading) - 2) + "|",
        ]
        lines += [_row(row) for row in rows]
        lines += ["", _EXPLANATION]
    return "\n".join(lines) + "\n"


_EXPLANATION = """\
Errors are mean absolute ones in the attribute's unit; of a direction the mean angle, of a choice the share of wrong
answers, of identity the share of mistaken pairs of images (half of them of one individual), where r is the area under
the ROC curve. Guessing answers the same for every image. The last columns are the errors on disturbed images: a
Gaussian blur of 1 px, noise of 0.1 (of -1 to 1), moved by 2 px, and half the resolution (all at 64 px)."""


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
