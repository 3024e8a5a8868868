"""The options that decide how images look, the same for every command that makes some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from gantrol.errors import ConfigError

if TYPE_CHECKING:
    from gantrol.models.protocols import NoiseMode
    from gantrol.sample import Look


class LookOptions(Protocol):
    """What such a command's options have in common."""

    @property
    def set(self) -> tuple[str, ...]: ...
    @property
    def class_index(self) -> int | None: ...
    @property
    def truncation(self) -> float: ...
    @property
    def truncation_cutoff(self) -> int | None: ...
    @property
    def noise(self) -> NoiseMode: ...
    @property
    def batch(self) -> int: ...


def look_of(options: LookOptions) -> Look:
    """What these options ask for.

    Raises:
        ConfigError: a value that cannot be.
    """
    from gantrol.sample import Look

    return Look(
        controls=parse_controls(options.set),
        class_index=options.class_index,
        truncation_psi=options.truncation,
        truncation_cutoff=options.truncation_cutoff,
        noise_mode=options.noise,
        batch_size=options.batch,
    )


def parse_controls(assignments: tuple[str, ...]) -> dict[str, Any]:
    """`name=value` pairs; a value is a number, several numbers (r,g,b), or text such as smile:0.8."""
    controls: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not (name and equals and text):
            raise ConfigError(f"--set {assignment}: expected name=value, for example age=60")
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            controls[name] = text
        else:
            controls[name] = values[0] if len(values) == 1 else values
    return controls
