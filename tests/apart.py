"""Functions of a test in processes of their own, which may be killed, or belong to one group."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

import torch

CONTEXT: ForkContext | SpawnContext = (
    multiprocessing.get_context("spawn") if torch.cuda.is_available() else multiprocessing.get_context("fork")
)
"""A fork has everything imported, which takes longer than most of what tests do there; CUDA does not survive one."""


def apart(function: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Starts a function of a module in a process of its own; its status is 0, what `sys.exit` was given, or 1."""
    process = CONTEXT.Process(target=function, args=arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # later Pythons warn of forking beside threads
        process.start()
    return process


def all_end_well(processes: Sequence[BaseProcess], timeout_s: float = 600) -> None:
    """Waits for them; none is left behind."""
    try:
        for process in processes:
            process.join(timeout_s)
        assert [process.exitcode for process in processes] == [0] * len(processes)
    finally:
        for process in processes:
            process.kill()
