"""The same seed, the same bits: what `--deterministic` asks of torch, and what a device says that it cannot give.

Random numbers and the order of the data are functions of the seed and of counters, always (see `state`). What is left
is the arithmetic. On a CPU torch's results depend on the number of threads, which split sums, so that number belongs
to the run. On a GPU some operations add in whatever order their threads finish; for most of them torch has slower ones
that do not, and it names the others when they run.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gantrol.train.config import TrainConfig

_PLEDGE = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def determinism(config: TrainConfig, say: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, torch computes as the config asks: with its number of threads, and in one order.

    Args:
        config: `threads` and `deterministic` of it.
        say: is told, once for each, which operations of this device cannot keep the promise.
    """
    threads = torch.get_num_threads()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    try:
        if config.deterministic:
            with _strict_algorithms(), _told(say):
                yield
        else:
            yield
    finally:
        if config.threads is not None:
            torch.set_num_threads(threads)


@contextmanager
def _strict_algorithms() -> Iterator[None]:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS wants, read at its first call
    was_on, was_lenient = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    cudnn: Any = torch.backends.cudnn
    filling: Any = torch.utils.deterministic  # a module with a property
    fills = filling.fill_uninitialized_memory
    before = (cudnn.benchmark, cudnn.deterministic)
    torch.use_deterministic_algorithms(True, warn_only=True)
    filling.fill_uninitialized_memory = False  # nothing here reads memory that it has not written
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=was_lenient)
        filling.fill_uninitialized_memory = fills
        cudnn.benchmark, cudnn.deterministic = before


@contextmanager
def _told(say: Callable[[str], None]) -> Iterator[None]:
    """Turns torch's warnings into one line per operation; other warnings are shown as ever."""
    told: set[str] = set()
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: object, **more: object) -> None:
            found = _PLEDGE.match(str(message))
            if found is None:
                usual(message, category, *where, **more)  # type: ignore[arg-type]
            elif found[1] not in told:
                told.add(found[1])
                say(f"not deterministic on this device: {found[1]}; a second run may differ in the last bits")

        warnings.showwarning = show
        warnings.filterwarnings("always", message=_PLEDGE.pattern)
        yield
