"""Anyone's network as features, described by a small JSON or TOML file:

    {"format": "gantrol-features", "title": "DINOv2-S", "kind": "onnx", "weights": "dinov2-s.onnx",
     "input": {"size": 224, "resize": "bicubic", "antialias": true,
               "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
     "features": 0}

`input` has the fields of a predictor's (`gantrol.control.predictors.external_network.ExternalInput`), and the same
rules hold: ONNX is data and evaluated by torch; TorchScript and torch.export are programs and need `"trusted": true`.

N batch · C channels · H W pixels · D features · K classes.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gantrol.config import from_dict, to_dict
from gantrol.control.predictors.external_network import ExternalInput, ExternalNetwork
from gantrol.errors import CheckpointError, ConfigError
from gantrol.metrics.features import Observation
from gantrol.metrics.networks.in_chunks import ChunkedNetwork
from gantrol.metrics.networks.weight_files import sha256_of
from gantrol.models.config_checks import check

FORMAT = "gantrol-features"
DESCRIPTIONS = (".json", ".toml")
NETWORKS = (".onnx", ".pt", ".pth", ".pt2")
_MAX_BYTES = 1 << 20  # of a description


@dataclass(frozen=True, kw_only=True)
class UserNetworkConfig:
    """A feature network of the user's.

    Raises:
        ConfigError: fields do not fit together.
    """

    format: Literal["gantrol-features"]
    """What the file is."""
    title: str
    """How distances in these features are named: "FD-" + title."""
    kind: Literal["onnx", "torchscript", "pt2"]
    """Kind of the network's file."""
    weights: str
    """That file, relative to the folder of the description or absolute."""
    input: ExternalInput
    """How images are prepared for it."""
    features: int | str = 0
    """The output that holds the features, by number or name."""
    pool: Literal["none", "mean"] = "none"
    """What becomes of an output [N, D, H, W]: "mean" averages over the places, "none" takes D·H·W numbers."""
    probabilities: int | str | None = None
    """The output that says how likely each class is, by number or name; none by default."""
    softmax: bool = True
    """Whether that output holds logits, so that a softmax is taken."""
    trusted: bool = False
    """For TorchScript and pt2: that its author is trusted, for these files are programs. ONNX needs no trust."""

    def __post_init__(self) -> None:
        is_plain = 0 < len(self.title) <= 64 and self.title.isprintable() and self.title == self.title.strip()
        check(self, "title", is_plain and self.title.upper() != "FID", "a name of at most 64 characters, and not FID")
        check(self, "weights", bool(self.weights), "the path of a file")


class UserNetwork(ChunkedNetwork):
    """The network that a description names.

    Args:
        path: the description, JSON or TOML; or an ONNX, TorchScript or torch.export file that has one beside it, with
            the same name but the ending.

    Raises:
        ConfigError: the description is missing or wrong, or does not fit the network.
        CheckpointError: the network's file is missing or damaged.
        MissingExtraError: it is ONNX, and the package `onnx` is not installed.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        path = description_of(Path(path))
        self.config = config = read_description(path)
        self._where = path
        weights = path.parent / Path(config.weights).expanduser()
        outputs: list[int | str] = [config.features]
        outputs += [] if config.probabilities is None else [config.probabilities]
        try:
            self.network = ExternalNetwork(config.kind, weights, config.input, outputs, is_trusted=config.trusted)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
        self.title = config.title
        size = config.input.size
        filtered = ", antialiased" if config.input.antialias else ""
        self.resampling = f"{config.input.resize}{filtered}, to {size} px"
        with torch.inference_mode():
            seen = self._observe(torch.zeros(2, 3, size, size, dtype=torch.uint8))
        self.num_features = seen.features.shape[1]
        self.num_classes = 0 if seen.probabilities is None else seen.probabilities.shape[1]
        self.version = f"user's network, {_digest(config, weights, self.network)}, 1"

    def _observe(self, images: Tensor) -> Observation:
        features, *classes = self.network(images / 127.5 - 1)
        for name, output in (("features", features), ("probabilities", classes[0] if classes else features)):
            if output.ndim < 2 or len(output) != len(images) or not output.is_floating_point():
                raise ConfigError(
                    f"{self._where}: the output of `{name}` has shape {list(output.shape)} for {len(images)} images: "
                    f"expected floats [{len(images)}, …]"
                )
        if self.config.pool == "mean":
            if features.ndim != 4:
                raise ConfigError(
                    f"{self._where}: pool=mean takes an output [N, D, H, W], found {list(features.shape)}"
                )
            features = features.mean(dim=(2, 3))
        if not classes:
            return Observation(features.flatten(1).float(), None)
        known = classes[0].flatten(1).float()
        return Observation(features.flatten(1).float(), known.softmax(1) if self.config.softmax else known)


def description_of(path: Path) -> Path:
    """The description that a path names: itself, or the one beside a network's file.

    Raises:
        ConfigError: there is none.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    if path.suffix.lower() in DESCRIPTIONS:
        return path
    beside = [path.with_suffix(suffix) for suffix in DESCRIPTIONS]
    found = next((candidate for candidate in beside if candidate.is_file()), None)
    if found is None:
        raise ConfigError(
            f"{path}: how are images prepared for it? Write {beside[0].name} beside it (docs/feature-networks.md has "
            "an example), or give the path of such a description"
        )
    return found


def read_description(path: Path) -> UserNetworkConfig:
    """The content of a description.

    Raises:
        ConfigError: it cannot be read, has unknown fields, or values that do not fit.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: is too large for the description of a network")
        text = path.read_text(encoding="utf-8")
        content: Any = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read as {path.suffix[1:].upper()} ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ConfigError(f"{path}: is no description of a feature network (expected an object, format {FORMAT!r})")
    try:
        return from_dict(UserNetworkConfig, content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _digest(config: UserNetworkConfig, weights: Path, network: nn.Module) -> str:
    """A digest of all that the numbers depend on; weights that lie beside an ONNX file are seen in the network."""
    about = {name: value for name, value in to_dict(config).items() if name not in ("title", "weights", "trusted")}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
    digest.update(sha256_of(weights).encode())
    for name, tensor in sorted({**dict(network.named_parameters()), **dict(network.named_buffers())}.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"sha256 {digest.hexdigest()[:16]}"


def check_path(path: Path) -> None:
    """Raises an error if the description that `path` names, or the network's file, is missing or wrong."""
    described = description_of(path)
    weights = described.parent / Path(read_description(described).weights).expanduser()
    if not weights.is_file():
        raise CheckpointError(f"{described}: there is no file {weights}")
