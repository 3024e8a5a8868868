"""A stranger's config must not decide how much memory is taken: a network is built only as large as its weights are.

    with rationed(tensors):
        network = config.build()

A config is a few numbers, and a wrong one asks for terabytes; the file of weights beside it cannot lie about its size.
So the tensors that are made while the network is built are counted before they are made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gantrol.errors import GantrolError

_MAKERS = {torch.empty, torch.zeros, torch.ones, torch.randn, torch.rand, torch.full, torch.arange, torch.eye}
_EXTRA_NUMBERS = 1 << 26
"""Beyond those of the file: filters, masks and tables, which no file holds."""
_CALLS_PER_TENSOR = 30
_EXTRA_CALLS = 2000


class TooLarge(GantrolError):
    """The network of a config is much larger than the weights that it is to hold."""


class rationed(TorchFunctionMode):
    """While it lasts, tensors can be made until there are far more of them than `tensors` has.

    Args:
        tensors: the weights of the network that is being built.

    Raises:
        TooLarge: from the call that asks for too much.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.numbers = 2 * sum(tensor.numel() for tensor in tensors.values()) + _EXTRA_NUMBERS
        self.calls = _CALLS_PER_TENSOR * len(tensors) + _EXTRA_CALLS

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _MAKERS:
            self.calls -= 1
            self.numbers -= _wanted(args)
            if self.numbers < 0 or self.calls < 0:
                raise TooLarge("the network that it describes is far larger than its weights; use the config they had")
        return func(*args, **(kwargs or {}))


def _wanted(args: Sequence[Any]) -> int:
    """How many numbers a call with these sizes makes; 0 where sizes are not plain."""
    sizes = args[0] if args and isinstance(args[0], list | tuple) else args
    plain = [size for size in sizes if isinstance(size, int) and not isinstance(size, bool)]
    return math.prod(max(size, 0) for size in plain) if plain else 0
