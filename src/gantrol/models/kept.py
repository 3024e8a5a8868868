"""Tensors derived from a parameter, kept while the parameter stays as it is.

A network that generates on the CPU in bfloat16 converts its float32 weights, and expands its tables, at every call,
with the same result each time. `Kept` holds on to the result of one such step.

What it was made of is known by its memory and by torch's count of changes in place, so averages and `load_state_dict`
are noticed. Fused optimisers do not count what they change: a parameter that wants gradients is therefore never kept,
and asking for its result gives up what was kept before. Writing behind torch's back (`parameter.data.add_(…)`, numpy)
goes unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gantrol.ops.paths import is_plain, note_path


class Kept:
    """The last result of one derivation from one parameter.

    Args:
        name: under which `gantrol.ops.paths.record_paths` counts "kept", "made" (to be kept) and "passing" results.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._entry: tuple[Tensor, int, torch.dtype, Tensor] | None = None

    def of(
        self, source: Tensor, dtype: torch.dtype, make: Callable[[Tensor], Tensor], *, is_kept: bool = True
    ) -> Tensor:
        """`make(source)`, or what that gave the last time.

        Args:
            source: the parameter.
            dtype: of the result; a change of it is noticed.
            make: the derivation.
            is_kept: False for a result that will not be asked for again. On other devices than the CPU, under a tracer
                and of a parameter that wants gradients, nothing is kept either.
        """
        # A CUDA graph would go on with what was kept when it was recorded.
        is_fixed = is_plain(source) and not (source.requires_grad or source.is_inference())
        if not (is_kept and source.device.type == "cpu" and is_fixed):
            self.forget()
            note_path(self._name, "passing")
            return make(source)
        # One read: another thread may write. The alias keeps the memory, so that no other tensor can take its address.
        entry = self._entry
        if entry is not None:
            alias, version, kept_dtype, value = entry
            is_same = alias.data_ptr() == source.data_ptr() and alias.shape == source.shape
            if is_same and version == source._version and kept_dtype == dtype:
                note_path(self._name, "kept")
                return value
        self.forget()  # before the new one is made, which would otherwise need room beside it
        note_path(self._name, "made")
        version = source._version
        value = make(source)
        if not value.is_inference():
            self._entry = (source.detach(), version, dtype, value)
        return value

    def forget(self) -> None:
        """Gives the memory back."""
        self._entry = None

    def __deepcopy__(self, memo: object) -> Kept:
        return Kept(self._name)

    def __reduce__(self) -> tuple[type[Kept], tuple[str]]:
        return Kept, (self._name,)
