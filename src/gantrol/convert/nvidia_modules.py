"""An official module taken apart: the tree of its parts, its tensors under their names, and questions to both.

`state` of a part is the `__dict__` of the module: `_parameters`, `_buffers` and `_modules`, plain attributes, and
`_init_kwargs`, the arguments it was made with. All of it comes from a file and is checked before it is used.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from gantrol.convert.allowed_names import ModuleRecord
from gantrol.convert.stored_tensor import StoredTensor
from gantrol.errors import CheckpointError
from gantrol.inert_pickle import shown

_MAX_MODULES = 4096
_MAX_TENSORS = 16384
_MAX_DEPTH = 16
_MAX_NAME = 100

_NESTED = ("synthesis_kwargs", "block_kwargs", "epilogue_kwargs")
"""Arguments that are groups of arguments for the parts."""


@dataclasses.dataclass(frozen=True)
class Official:
    """An official module."""

    record: ModuleRecord
    """The module itself."""
    parts: dict[str, ModuleRecord]
    """It and its submodules, by dotted name; its own is ''."""
    tensors: dict[str, StoredTensor]
    """Its state dict."""

    def state(self, path: str) -> Mapping[str, Any]:
        """The attributes of the part at `path`, none if there is no such part."""
        part = self.parts.get(path)
        return {} if part is None else part.state

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """What the network was made with, the groups opened (but for the mapping network's, whose names recur)."""
        arguments: dict[str, Any] = {}
        for path in ("", "synthesis"):
            arguments |= _dictionary(self.state(path), "_init_kwargs")
        for group in _NESTED:
            arguments |= _dictionary(arguments, group)
        return arguments

    def stated(self, path: str, *names: str, default: Any = None) -> Any:
        """The attribute of the part at `path` by the first of `names`, or an argument by any of them, or `default`."""
        state = self.state(path)
        if state.get(names[0]) is not None:
            return state[names[0]]
        return next((self.arguments[name] for name in names if self.arguments.get(name) is not None), default)

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a tensor.

        Raises:
            CheckpointError: there is none, or it has another number of dimensions.
        """
        tensor = self.tensors.get(name)
        if tensor is None or len(tensor.shape) != dimensions:
            raise CheckpointError(f"its network has no {name}, or one of another shape")
        return tensor.shape

    def count(self, pattern: str) -> int:
        """How many tensors have names of this pattern."""
        return sum(re.fullmatch(pattern, name) is not None for name in self.tensors)


def take_apart(record: ModuleRecord, size: int) -> Official:
    """Walks through a module.

    Args:
        record: as it stands in the file.
        size: bytes of the file, which its tensors cannot exceed.

    Raises:
        CheckpointError: it is no tree of modules with tensors, or claims more tensors than the file can hold.
    """
    parts = _parts(record)
    tensors: dict[str, StoredTensor] = {}
    for path, part in parts.items():
        transient = part.state.get("_non_persistent_buffers_set")
        for kind in ("_parameters", "_buffers"):
            for name, value in _dictionary(part.state, kind).items():
                full_name = _joined(path, name)
                if value is None or (isinstance(transient, set) and name in transient):
                    continue
                if not isinstance(value, StoredTensor) or 0 in value.shape or len(tensors) >= _MAX_TENSORS:
                    raise CheckpointError(f"its {shown(full_name)} is no tensor")
                tensors[full_name] = value
    if sum(tensor.nbytes for tensor in tensors.values()) > size:
        raise CheckpointError("it claims more weights than it holds")
    return Official(record, parts, tensors)


def _parts(record: ModuleRecord) -> dict[str, ModuleRecord]:
    """A module and its submodules in the order in which they were registered."""
    parts: dict[str, ModuleRecord] = {}
    waiting = [("", record, 0)]
    while waiting:
        path, part, depth = waiting.pop()
        parts[path] = part
        submodules = _dictionary(part.state, "_modules")
        if len(parts) + len(waiting) + len(submodules) > _MAX_MODULES or depth > _MAX_DEPTH:
            raise CheckpointError("its modules are nested like in no network")
        for name, submodule in reversed(submodules.items()):
            full_name = _joined(path, name)
            if isinstance(submodule, ModuleRecord):
                waiting.append((full_name, submodule, depth + 1))
            elif submodule is not None:
                raise CheckpointError(f"its part {shown(full_name)} is no official module")
    return parts


def _dictionary(state: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = state.get(name)
    return value if type(value) is dict else {}


def _joined(path: str, name: Any) -> str:
    if type(name) is not str or len(name) > _MAX_NAME:
        raise CheckpointError("one of its parts has a name that no network uses")
    return f"{path}.{name}" if path else name
