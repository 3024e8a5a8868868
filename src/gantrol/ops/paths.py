"""Which implementation of an operator runs, and a record of it.

`impl` of an operator is one of

    auto       fused kernels where the tensor is on CUDA and they can do it, torch's own operations everywhere else
    triton     fused kernels, or an error of one line that says why not
    torch      torch's own operations
    reference  the readable definition

Whether kernels are possible is asked when an operator runs, so that importing gantrol imports no compiler.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

import torch

from gantrol.errors import ConfigError

IMPLEMENTATIONS = ("auto", "triton", "torch", "reference")
KERNEL_DTYPES = (torch.float16, torch.bfloat16, torch.float32)

_records: list[Counter[str]] = []


@contextmanager
def record_paths() -> Iterator[Counter[str]]:
    """Counts which implementations run, in every thread, while the block lasts.

    Returns:
        A counter of names such as "filtered_lrelu.triton" and "upfirdn2d.torch"; backward passes count as well.
    """
    record: Counter[str] = Counter()
    _records.append(record)
    try:
        yield record
    finally:
        # By identity: equal counters of nested blocks are different ones.
        _records[:] = [other for other in _records if other is not record]


def is_recorded() -> bool:
    """Whether a record is open, so that finding out what ran is worth something."""
    return bool(_records)


def note_path(operator: str, implementation: str) -> None:
    """Enters a run of `operator` into the records that are open."""
    for record in _records:
        record[f"{operator}.{implementation}"] += 1


def is_plain(x: torch.Tensor) -> bool:
    """Whether `x` is an ordinary tensor in an ordinary call, with no gradient to follow: no graph, no tracer, no vmap.

    Then an operator's function may be called by itself. Through torch's registration the first call imports its
    compiler, which takes a cold process longer than all else up to its first image.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # first: what follows cannot be compiled
        return False
    if type(x) not in (torch.Tensor, torch.nn.Parameter) or (torch.is_grad_enabled() and x.requires_grad):
        return False
    return torch._C._len_torch_dispatch_stack() == 0 and not torch._C._are_functorch_transforms_active()


def check_implementation(impl: str) -> None:
    """Raises ConfigError for an unknown `impl`."""
    if impl not in IMPLEMENTATIONS:
        raise ConfigError(f"impl={impl!r}: expected {', '.join(IMPLEMENTATIONS[:-1])} or reference")


def wants_kernels(impl: str, x: torch.Tensor) -> bool:
    """Whether fused kernels are to compute on `x`, as far as device, type and installation decide.

    Raises:
        ConfigError: they are asked for by name and cannot.
    """
    if impl == "auto":
        return x.is_cuda and _obstacle(x) is None
    if impl != "triton":
        return False
    obstacle = _obstacle(x)
    if obstacle is not None:
        raise ConfigError(f"impl='triton': {obstacle}; use impl='auto'")
    return True


def refuse_kernels(impl: str, what: str) -> bool:
    """False: no kernel can do `what`. Raises ConfigError where kernels were asked for by name."""
    if impl == "triton":
        raise ConfigError(f"impl='triton': there is no kernel for {what}; use impl='auto'")
    return False


def is_interpreted() -> bool:
    """Whether Triton runs its kernels in Python, on the CPU: slow, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _obstacle(x: torch.Tensor) -> str | None:
    """Why kernels cannot compute on `x`, or None."""
    if x.dtype not in KERNEL_DTYPES:
        return f"there are kernels for float16, bfloat16 and float32, not for {x.dtype}"
    if not _has_triton():
        return "the package triton is not installed"
    if x.is_cuda:
        return _device_obstacle(x.device.index or 0)
    return None if is_interpreted() and x.device.type == "cpu" else f"kernels run on CUDA tensors, not on {x.device}"


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


@cache
def _device_obstacle(index: int) -> str | None:
    if torch.version.cuda is None:
        return "the kernels are written for NVIDIA's CUDA"
    capability = torch.cuda.get_device_capability(index)
    # bfloat16 and three-pass TF32 products need Ampere's tensor cores.
    return None if capability >= (8, 0) else f"kernels need compute capability 8.0, this device has {capability}"
