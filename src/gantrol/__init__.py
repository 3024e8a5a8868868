"""gantrol: alias-free, transformer and controllable GANs in one package.

    import gantrol
    model = gantrol.load("RUN")
    model.generate(seeds=[0, 1, 2])

Importing the package is quick and touches nothing; torch is loaded when one of the names below is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gantrol import convert as convert
    from gantrol import data as data
    from gantrol import metrics as metrics
    from gantrol import models as models
    from gantrol import ops as ops
    from gantrol.model import Control as Control
    from gantrol.model import Model as Model
    from gantrol.model import load as load

__version__ = "0.1.0"

__all__ = ["Control", "Model", "__version__", "convert", "data", "load", "metrics", "models", "ops"]

_FROM_MODEL = {"Control", "Model", "load"}
_PACKAGES = {"convert", "data", "metrics", "models", "ops"}


def __getattr__(name: str) -> Any:
    if name in _FROM_MODEL:
        return getattr(importlib.import_module("gantrol.model"), name)
    if name in _PACKAGES:
        return importlib.import_module(f"gantrol.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
