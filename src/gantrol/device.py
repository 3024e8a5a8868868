"""Which device to compute on."""

from __future__ import annotations

import torch

from gantrol.errors import ConfigError


def choose_device(device: str) -> torch.device:
    """The torch device that `device` names; "auto" is the best one present.

    Raises:
        ConfigError: there is no such device here.
    """
    has_mps = torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdigit()):
        raise ConfigError(f"device {device!r}: expected auto, cpu, cuda, cuda:N or mps")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(has_mps)}[kind]
    if int(index or 0) >= count:
        raise ConfigError(f"device {device!r} is not present here; use auto or cpu")
    return torch.device(device)
