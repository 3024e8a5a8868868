"""Checks that configs share: each raises one line that names the field, its value and what was expected."""

from __future__ import annotations

from typing import Any

from gantrol.errors import ConfigError

MAX_LAYERS = 1000
"""So that a stranger's config cannot keep a loop going."""


def check(config: Any, field: str, is_valid: bool, expected: str) -> None:
    """Raises `ConfigError` for `field` of `config` unless `is_valid`."""
    if not is_valid:
        raise ConfigError(f"{field}={getattr(config, field)!r}: expected {expected}")


def check_at_least(config: Any, minimum: int, *fields: str) -> None:
    """Raises `ConfigError` for the first of `fields` that lies below `minimum`."""
    for field in fields:
        check(config, field, getattr(config, field) >= minimum, f"at least {minimum}")


def check_at_most(config: Any, maximum: int, *fields: str) -> None:
    """Raises `ConfigError` for the first of `fields` that lies above `maximum`."""
    for field in fields:
        check(config, field, getattr(config, field) <= maximum, f"at most {maximum}")


def check_layer_count(config: Any, *fields: str) -> None:
    """Raises `ConfigError` for the first of `fields` that is more layers than a network can have."""
    check_at_most(config, MAX_LAYERS, *fields)


def check_power_of_two(config: Any, field: str, minimum: int) -> None:
    """Raises `ConfigError` unless `field` is a power of two that is at least `minimum`."""
    value = getattr(config, field)
    is_power = value >= 1 and value & (value - 1) == 0
    check(config, field, is_power and value >= minimum, f"a power of two, at least {minimum}")


def check_unit_interval(config: Any, *fields: str) -> None:
    """Raises `ConfigError` for the first of `fields` that is not in [0, 1]."""
    for field in fields:
        check(config, field, 0 <= getattr(config, field) <= 1, "a number from 0 to 1")


def check_clamp(config: Any) -> None:
    """Raises `ConfigError` unless `conv_clamp` is None or positive."""
    clamp = config.conv_clamp
    check(config, "conv_clamp", clamp is None or clamp > 0, "a positive number, or null for no clamp")
