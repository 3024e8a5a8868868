"""What an importer gets and gives, for every origin of checkpoints.

A new origin is a `ForeignFormat` in the table of `gantrol.convert.importer`: how to recognise the value that the file
holds, once it has been read as data, and how to make networks from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from gantrol.control import ControlSet

Weights = Literal["ema", "raw"]
Container = Literal["pickle", "torch"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is wanted of a checkpoint."""

    weights: Weights
    """The generator's averaged weights ("ema"), or those of the last step ("raw")."""
    discriminator: bool
    """Whether the discriminator is wanted, if there is one."""
    size: int
    """Bytes of the file, which no network in it can exceed."""
    path: Path
    """The file, for what lies beside it."""
    controllers: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    """Files with further networks that belong to the generator, by the name of their folder."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imported:
    """What came out of a checkpoint."""

    generator: Any
    discriminator: Any | None
    notes: list[str]
    """Sentences that the user should read."""
    facts: dict[str, Any]
    """What is known of the training, for the model's config and card."""
    control_set: ControlSet | None = None
    """What sets the generator's attributes by value, if there is something."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForeignFormat:
    """One origin of checkpoints."""

    name: str
    """What the file is called in messages and on the card."""
    container: Container
    """Written by `pickle.dump` or by `torch.save`."""
    recognises: Callable[[Any], bool]
    """Whether this is the origin of the file's value."""
    convert: Callable[[Any, Request], Imported]
    """Builds the networks; raises `CheckpointError` if they are not those of the origin's code."""
