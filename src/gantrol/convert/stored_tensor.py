"""Tensors that are still in a file: type and shape are known and checked, the values are read when asked for."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from gantrol.errors import CheckpointError
from gantrol.inert_pickle import Span

_MAX_DIMENSIONS = 8

DTYPES: dict[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""Element type of each class of storage that torch files name."""


@dataclasses.dataclass(slots=True)
class Storage:
    """`numel` values in a row; `span` is where they are, once that is known."""

    dtype: torch.dtype
    numel: int
    span: Span | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class StoredTensor:
    """A view of a storage, by offset and strides in elements; no larger than the storage itself."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        return self.storage.dtype

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize

    def load(self) -> Tensor:
        """Reads the values into a new tensor on the CPU.

        Raises:
            CheckpointError: the file has no data for them.
        """
        span = self.storage.span
        if span is None:
            raise CheckpointError("it is cut short or damaged, fetch it again: a tensor has no data")
        if self.numel == 0:
            return torch.empty(self.shape, dtype=self.dtype)
        item = self.dtype.itemsize
        count = _extent(self.shape, self.strides)
        raw = torch.empty(count * item, dtype=torch.uint8)
        span.part(self.offset * item, count * item).read_into(raw.numpy().data)
        flat = raw != 0 if self.dtype == torch.bool else raw.view(self.dtype)
        return flat.as_strided(self.shape, self.strides).contiguous()


def stored_tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> StoredTensor:
    """A view whose numbers come from a file, checked.

    Raises:
        CheckpointError: they are not numbers, lie outside the storage, or repeat its values.
    """
    valid = isinstance(storage, Storage) and type(offset) is int and type(shape) is tuple and type(strides) is tuple
    valid = valid and len(shape) == len(strides) <= _MAX_DIMENSIONS
    valid = valid and all(type(number) is int and number >= 0 for number in (offset, *shape, *strides))
    if valid:
        tensor = StoredTensor(storage, offset, shape, strides)
        if tensor.numel <= storage.numel and offset + _extent(shape, strides) <= storage.numel:
            return tensor
    raise CheckpointError("it is damaged: a tensor does not lie within its data")


def _extent(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from the first to the last one of a view."""
    if 0 in shape:
        return 0
    return sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + 1
