"""Modules without weights, to be filled from a checkpoint: building one costs neither memory nor random numbers.

Whatever a file claims about its network, no tensor is made before its values are known to be in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gantrol.errors import CheckpointError
from gantrol.models import DiscriminatorConfig, GeneratorConfig

M = TypeVar("M", bound=nn.Module)

_FACTORIES = (torch.randn, torch.rand, torch.zeros, torch.ones, torch.full, torch.empty)
_DIVISIONS = (torch.Tensor.__truediv__, torch.Tensor.div, torch.Tensor.true_divide)
_RANDOM = {"uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "xavier_uniform_"}
_WRITING = {"ones_", "zeros_", "zero_", "fill_", "erfinv_", "mul_", "add_", "clamp_"}
"""Names of the functions and methods that write initial values into a tensor."""
_SMALL = 1 << 13


class _WithoutMemory(TorchFunctionMode):
    """Large tensors of random numbers or constants get a shape only; computed ones, such as filters, are real.

    Arithmetic on the "meta" device makes torch load its 800 modules of reference operators, which takes seconds. So
    small tensors, of which some models compute others, are real zeros, and a division leaves a shape as it is.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FACTORIES:
            blank = torch.empty(*(args[:1] if func is torch.full else args), device="meta")
            return blank if blank.numel() > _SMALL else torch.zeros(blank.shape)
        if func in _DIVISIONS and args[0].is_meta:
            return args[0]
        name = getattr(func, "__name__", "")
        if name in _RANDOM or name in _WRITING:
            target = args[0] if args else kwargs["tensor"]
            if name in _RANDOM or target.is_meta:
                return target
        return func(*args, **kwargs)


def blank(config: GeneratorConfig | DiscriminatorConfig) -> Any:
    """The module that `config` describes, its weights on torch's "meta" device.

    Raises:
        CheckpointError: no tensor can have the sizes that `config` asks for.
    """
    try:
        with _WithoutMemory():
            return config.build().eval().requires_grad_(False)
    except (RuntimeError, OverflowError, MemoryError) as error:
        raise CheckpointError("its network has impossible sizes") from error


def fill(module: M, tensors: Mapping[str, Tensor]) -> M:
    """Makes `tensors`, named and shaped as in the state dict of `module`, its weights; they are not copied."""
    module.load_state_dict(dict(tensors), assign=True)
    assert not any(tensor.is_meta for tensor in [*module.parameters(), *module.buffers()])
    return module
