"""An evaluation leaves no trace: a training that is evaluated goes on as if it had not been."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from torch import nn

from gantrol.model import Model


@contextmanager
def undisturbed(model: Model | None) -> Iterator[None]:
    """While the context lasts, a model is in evaluation mode and CUDA computes in full float32, as trainings do and
    whatever the flags say; afterwards these, and all global random states, are what they were.

    Args:
        model: the one that is evaluated, if there is one.
    """
    device = torch.device("cpu") if model is None else model.device
    modules = [] if model is None else list(cast(nn.Module, model.generator).modules())
    modes = [module.training for module in modules]
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = [] if device.type == "cpu" else [device.index or 0]
    with torch.random.fork_rng(devices, device_type="cuda" if device.type == "cpu" else device.type):
        try:
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
            for module in modules:
                module.training = False
            yield
        finally:
            for module, mode in zip(modules, modes, strict=True):
                module.training = mode
            torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
