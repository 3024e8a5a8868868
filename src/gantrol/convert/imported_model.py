"""A model that came from somebody else's file: it knows where from, and its card says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gantrol.control import ControlSet
from gantrol.model import Model


class ImportedModel(Model):
    """A `Model` with `notes`: sentences on what was found in the file it came from."""

    def __init__(
        self,
        generator: Any,
        discriminator: Any | None = None,
        *,
        control_set: ControlSet | None = None,
        training: Mapping[str, Any],
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(generator, discriminator, control_set=control_set, training=training)
        self.notes = list(notes)
