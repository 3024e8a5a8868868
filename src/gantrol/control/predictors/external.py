"""Anyone's network as a predictor: ONNX, TorchScript or torch.export, described by a few fields of `predictors.json`.

The description says how images are prepared, which numbers of the output belong to which attribute, what they mean, and
how two images are compared. All of it is differentiable with respect to the images, so that a network which was made
to read pictures of dogs can teach a generator of dogs. docs/own-predictors.md has a worked example.

N images · C channels · S input size · D numbers of an attribute in the network's output · K numbers of a reading.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gantrol.config import from_dict
from gantrol.control.predictors.distances import mean_absolute, squared_euclidean
from gantrol.control.predictors.external_network import ExternalInput, ExternalNetwork
from gantrol.control.predictors.protocol import Attribute, Predictor
from gantrol.errors import ConfigError, nearest
from gantrol.models.config_checks import check


@dataclass(frozen=True, kw_only=True)
class ExternalAttribute:
    """What one attribute is in the network's output, and how it is read and compared.

    Raises:
        ConfigError: fields do not fit together.
    """

    unit: str = ""
    """Of a reading, for example "years"."""
    readout: Literal["value", "expectation", "softmax", "sigmoid", "embedding"] = "value"
    """What the numbers are. `value`: they are the reading. `expectation`: logits of bins 0, 1, …, read as the expected
    bin. `softmax`: logits of classes, read as their probabilities. `sigmoid`: logits of yes-or-no questions, likewise.
    `embedding`: only distances make sense."""
    probabilities: bool = False
    """Whether the output holds probabilities already, so that no softmax or sigmoid is taken."""
    output: int | str | None = None
    """The output of the network, by number or name, if it is not the one that all attributes share."""
    slice: tuple[int, int] | None = None
    """The first of the output's numbers, and the one behind the last. None: all."""
    scale: float = 1.0
    """A reading is scale·x + offset."""
    offset: float = 0.0
    """See `scale`."""
    components: tuple[str, ...] = ()
    """Names of the K numbers of a reading; one that stands alone need not be named."""
    low: tuple[float, ...] = ()
    """The lowest sensible reading, K numbers; not needed where bins or probabilities give it."""
    high: tuple[float, ...] = ()
    """The highest."""
    distance: Literal["l1", "squared-l2", "cosine"] = "l1"
    """Of two images: mean |a − b|, Σ(a − b)² or 1 − cos(a, b)."""
    compare: Literal["readings", "features"] = "readings"
    """What is compared: readings, or the network's numbers as they are (as the paper does with logits). Embeddings are
    always compared as they are."""
    spread: float = 1.0
    """What is compared is divided by it: give the standard deviation in the data, and distances of unlike images are
    about 1, whatever the unit."""
    help: str = ""
    """What it is, and which direction is positive."""

    def __post_init__(self) -> None:
        check(self, "slice", self.slice is None or 0 <= self.slice[0] < self.slice[1], "[first, behind the last]")
        check(self, "scale", math.isfinite(self.scale) and self.scale != 0, "a number other than 0")
        check(self, "spread", math.isfinite(self.spread) and self.spread > 0, "a number above 0")
        is_known = self.readout in ("expectation", "softmax", "sigmoid")
        check(self, "probabilities", is_known or not self.probabilities, f"false with readout={self.readout!r}")
        if self.readout == "embedding":
            for field in ("components", "low", "high"):
                check(self, field, not getattr(self, field), "none, for an embedding has no reading")

    def described(self, numbers: int) -> Attribute:
        """What it is to the rest of the package.

        Args:
            numbers: D, how many of the output's numbers belong to it.

        Raises:
            ConfigError: names or limits do not fit the count of its numbers.
        """
        if self.readout == "embedding":
            return Attribute(unit=self.unit, help=self.help)
        count = 1 if self.readout == "expectation" else numbers
        names = self.components or (("value",) if count == 1 else ())
        check(self, "components", len(names) == count, f"{count} names, one for each number of a reading")
        ends = [self.offset, self.scale * (numbers - 1 if self.readout == "expectation" else 1) + self.offset]
        is_bounded = self.readout != "value"
        low, high = (
            given or ((end,) * count if is_bounded else ())
            for given, end in ((self.low, min(ends)), (self.high, max(ends)))
        )
        check(self, "low", len(low) == count, f"{count} numbers, one for each of a reading")
        check(self, "high", len(high) == count, f"{count} numbers, one for each of a reading")
        check(self, "high", all(a < b for a, b in zip(low, high, strict=True)), f"more than low={list(low)}")
        return Attribute(unit=self.unit, components=names, low=low, high=high, help=self.help)

    def read(self, features: Tensor) -> Tensor:
        """[N, D] → [N, K], in its unit."""
        x = features
        if not self.probabilities and self.readout in ("softmax", "expectation"):
            x = x.softmax(1)
        elif not self.probabilities and self.readout == "sigmoid":
            x = x.sigmoid()
        if self.readout == "expectation":
            x = x @ torch.arange(x.shape[1], dtype=x.dtype, device=x.device)[:, None]
        return x * self.scale + self.offset

    def apart(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances [N] of features [N, D] and [N, D]."""
        if self.compare == "readings" and self.readout != "embedding":
            a, b = self.read(a), self.read(b)
        a, b = a / self.spread, b / self.spread
        if self.distance == "cosine":
            return (1 - F.cosine_similarity(a, b, dim=1)).clamp(min=0)
        return mean_absolute(a, b) if self.distance == "l1" else squared_euclidean(a, b)


@dataclass(frozen=True, kw_only=True)
class ExternalConfig:
    """A network of others: its file, what it is given, and what it says about which attributes.

    Raises:
        ConfigError: fields do not fit together.
    """

    kind: Literal["onnx", "torchscript", "pt2"]
    """Kind of the file."""
    weights: str
    """The file, relative to the folder of `predictors.json` or absolute."""
    input: ExternalInput
    """What the network wants to be given."""
    attributes: Mapping[str, ExternalAttribute]
    """What it reads, by name."""
    output: int | str = 0
    """The output that attributes are read from, by number or name."""
    trusted: bool = False
    """For TorchScript and pt2: that its author is trusted, for these files are programs. ONNX needs no trust."""

    def __post_init__(self) -> None:
        check(self, "weights", bool(self.weights), "the path of a file")
        if not self.attributes:
            raise ConfigError("attributes is empty: expected one or more, by name")

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> ExternalConfig:
        """The config of an entry of `predictors.json`.

        Raises:
            ConfigError: a field is unknown, missing, or has a value that does not fit.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in entry:
            if name not in known:
                raise ConfigError(f"there is no field {name!r}; {nearest(name, known)}")
        described = entry.get("attributes", {})
        if not isinstance(described, Mapping):
            raise ConfigError(f"attributes={described!r}: expected an object, by name of the attribute")
        attributes = {}
        for name, fields in described.items():
            try:
                attributes[name] = from_dict(ExternalAttribute, fields)
            except ConfigError as error:
                raise ConfigError(f"attributes.{name}: {error}") from error
        shell = from_dict(_Shell, {key: value for key, value in entry.items() if key != "attributes"})
        return cls(**vars(shell), attributes=attributes)


@dataclass(frozen=True, kw_only=True)
class _Shell:
    """`ExternalConfig` without its attributes, which have names of the user's choice."""

    kind: Literal["onnx", "torchscript", "pt2"]
    weights: str
    input: ExternalInput
    output: int | str = 0
    trusted: bool = False


class External(Predictor):
    """A network of others as a predictor.

    Args:
        config: what it is.
        folder: to which the path of the file is relative.

    Raises:
        ConfigError: the config does not fit the network: the input's size or channels, an output, a slice; or no
            gradient reaches the images.
        CheckpointError: the file is missing or damaged.
        MissingExtraError: it is ONNX, and the package `onnx` is not installed.
    """

    def __init__(self, config: ExternalConfig, folder: Path | str = ".") -> None:
        super().__init__()
        self.config = config
        path = Path(folder) / Path(config.weights).expanduser()
        self._outputs = list(dict.fromkeys(self._output(name) for name in config.attributes))
        self.network = ExternalNetwork(config.kind, path, config.input, self._outputs, is_trusted=config.trusted)
        self.attributes: Mapping[str, Attribute] = self._described(path)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features of each attribute, float32 [N, D], from images [N, C, H, W] in [-1, 1], RGB or grey, of any size."""
        outputs = dict(zip(self._outputs, self.network(images), strict=True))
        found = {}
        for name, attribute in self.config.attributes.items():
            numbers = outputs[self._output(name)].flatten(1).float()
            found[name] = numbers if attribute.slice is None else numbers[:, slice(*attribute.slice)]
        return found

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Distances [N] of features [N, D] and [N, D], as the config says."""
        return self._attribute(name).apart(a, b)

    def read(self, name: str, features: Tensor) -> Tensor:
        """Readings [N, K] in the attribute's unit; nothing is clamped.

        Raises:
            ConfigError: the attribute is an embedding, or there is no such attribute.
        """
        attribute = self._attribute(name)
        if attribute.readout == "embedding":
            raise ConfigError(f"attribute {name!r} has distances but no readings")
        return attribute.read(features)

    def _attribute(self, name: str) -> ExternalAttribute:
        if name not in self.config.attributes:
            raise ConfigError(f"this network reads no {name!r}; {nearest(name, self.config.attributes)}")
        return self.config.attributes[name]

    def _output(self, name: str) -> int | str:
        """The output of the network that an attribute is read from."""
        own = self.config.attributes[name].output
        return self.config.output if own is None else own

    def _described(self, path: Path) -> dict[str, Attribute]:
        """The attributes, once the network has been tried on two blank images."""
        size = self.config.input.size
        images = torch.zeros(2, self.config.input.channels, size, size, requires_grad=True)
        outputs = self.network(images)
        found = {}
        for name, attribute in self.config.attributes.items():
            output = outputs[self._outputs.index(self._output(name))]
            where = f"output {self._output(name)!r} of {path}"
            if output.ndim < 1 or len(output) != len(images):
                raise ConfigError(f"{where} has shape {list(output.shape)} for two images: expected [2, …]")
            if not output.requires_grad:
                raise ConfigError(
                    f"{where} gives no gradient to the image (integers, or an argmax), so nothing can be trained on it"
                )
            available = output[0].numel()
            first, last = attribute.slice or (0, available)
            if last > available:
                raise ConfigError(f"attributes.{name}: slice={[first, last]}: {where} has {available} numbers")
            try:
                found[name] = attribute.described(last - first)
            except ConfigError as error:
                raise ConfigError(f"attributes.{name}: {error}") from error
        return found
