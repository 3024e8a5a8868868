"""The only names that checkpoints may ask for, each with an inert stand-in of ours.

Tensors become `StoredTensor`, numpy numbers Python numbers, numpy arrays `Array`, dictionaries of all kinds plain
dictionaries, and the modules of NVIDIA's networks `ModuleRecord`: the class's name and the module's attributes. The
source code of the class, which their pickles carry along, stays a piece of text that nobody reads.
"""

from __future__ import annotations

import dataclasses
import re
import struct
from types import MappingProxyType
from typing import Any

from gantrol.convert.stored_tensor import DTYPES, Storage, StoredTensor, stored_tensor
from gantrol.convert.torch_files import read_torch_file
from gantrol.errors import CheckpointError
from gantrol.inert_pickle import Budget, Function, Names, Refusal, Settable, Span, in_memory

_NUMBER = re.compile(r"[<>=|]?([biuf])([1248])")

TENSORFLOW = (
    "it is a TensorFlow network of the time before PyTorch; convert it once with `python legacy.py --source=OLD.pkl "
    "--dest=NEW.pkl` of the official stylegan3 repository, then import NEW.pkl"
)


@dataclasses.dataclass(frozen=True, slots=True)
class ModuleRecord:
    """A module of an NVIDIA network, as data."""

    class_name: str
    """Name of its class, without the module."""
    state: dict[str, Any]
    """Its attributes; `_parameters`, `_buffers` and `_modules` hold tensors and submodules."""


class NumberType(Settable):
    """numpy.dtype of a plain number; the pickle sets the byte order after it has made it."""

    def __init__(self, kind: str, size: int) -> None:
        self.kind = kind
        self.size = size
        self.is_big_endian = False

    def set_state(self, state: Any) -> None:
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise CheckpointError("it is damaged: a numpy type is none")
        self.is_big_endian = state[1] == ">"

    def decode(self, data: bytes) -> bool | int | float:
        """One number from its bytes."""
        if len(data) != self.size:
            raise CheckpointError("it is damaged: a numpy number has another size than its type")
        order = "big" if self.is_big_endian else "little"
        if self.kind == "b":
            return data != b"\0"
        if self.kind == "f":
            code = {2: "e", 4: "f", 8: "d"}.get(self.size)
            if code is None:
                raise CheckpointError("it is damaged: a numpy type is none")
            return float(struct.unpack((">" if self.is_big_endian else "<") + code, data)[0])
        return int.from_bytes(data, order, signed=self.kind == "i")  # type: ignore[arg-type]


class Array(Settable):
    """numpy.ndarray, whose content no importer needs so far: only the shape is kept."""

    shape: tuple[int, ...] = ()

    def set_state(self, state: Any) -> None:
        if type(state) is not tuple or len(state) != 5 or type(state[1]) is not tuple:
            raise CheckpointError("it is damaged: a numpy array is none")
        self.shape = state[1]


# ----------------------------------------------------------------------------------------------------------------------
# What stands for each function and class; all take the tuple of arguments as it is in the file


def _dictionary(arguments: tuple[Any, ...]) -> dict[str, Any]:
    match arguments:
        case ():
            return {}
        case (list(pairs),) if all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs):
            if all(type(key) is str for key, _ in pairs):
                return {key: value for key, value in pairs}  # noqa: C416  (no call of something from the file)
    raise CheckpointError("it is damaged: a dictionary is none")


def _set(arguments: tuple[Any, ...]) -> set[str]:
    match arguments:
        case ():
            return set()
        case (list(members),) if all(type(member) is str for member in members):
            return set(members)
    raise CheckpointError("it is damaged: a set is none")


def _tuple(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    match arguments:
        case (tuple(values) | list(values),):
            return tuple(values)
    raise CheckpointError("it is damaged: a size is none")


def _device(arguments: tuple[Any, ...]) -> str:
    return "device"


def _latin_1(arguments: tuple[Any, ...]) -> Span:
    """Bytes, which Python 2's pickle protocol writes as text."""
    match arguments:
        case (str(text), "latin1" | "latin-1"):
            return in_memory(text.encode("latin-1"))
        case ():
            return in_memory(b"")
    raise CheckpointError("it is damaged: bytes are none")


def _tensor(arguments: tuple[Any, ...]) -> StoredTensor:
    if not 4 <= len(arguments) <= 7:
        raise CheckpointError("it is damaged: a tensor is none")
    storage, offset, shape, strides = arguments[:4]
    return stored_tensor(storage, offset, shape, strides)


def _parameter(arguments: tuple[Any, ...]) -> StoredTensor:
    if not (arguments and isinstance(arguments[0], StoredTensor)):
        raise CheckpointError("it is damaged: a parameter is no tensor")
    return arguments[0]


def _number_type(arguments: tuple[Any, ...]) -> NumberType:
    match = _NUMBER.fullmatch(arguments[0]) if arguments and type(arguments[0]) is str else None
    if match is None:
        raise CheckpointError("it holds numpy values of a type that no network needs")
    return NumberType(match[1], int(match[2]))


def _number(arguments: tuple[Any, ...]) -> bool | int | float:
    match arguments:
        case (NumberType() as kind, Span() as data):
            return kind.decode(data.read(8))
    raise CheckpointError("it is damaged: a numpy number is none")


def _array(arguments: tuple[Any, ...]) -> Array:
    return Array()


def _array_from_bytes(arguments: tuple[Any, ...]) -> Array:
    array = Array()
    if len(arguments) > 2 and type(arguments[2]) is tuple:
        array.shape = arguments[2]
    return array


def _module_record(arguments: tuple[Any, ...]) -> ModuleRecord:
    match arguments:
        case ({"type": "class", "class_name": str(class_name), "state": dict(state)},):
            return ModuleRecord(class_name, state)
    raise CheckpointError("it is damaged: a module is none")


def torch_names() -> Names:
    """What files of `torch.save` may ask for: tensors, their storages, types, and dictionaries."""
    names: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): Function(_dictionary),
        ("torch._utils", "_rebuild_tensor"): Function(_tensor),
        ("torch._utils", "_rebuild_tensor_v2"): Function(_tensor),
        ("torch._utils", "_rebuild_parameter"): Function(_parameter),
        ("torch._utils", "_rebuild_parameter_with_state"): Function(_parameter),
        ("torch", "Size"): Function(_tuple),
        ("torch", "device"): Function(_device),
        ("_codecs", "encode"): Function(_latin_1),
    }
    for module in ("builtins", "__builtin__"):
        names[module, "set"] = Function(_set)
        names[module, "bytes"] = Function(_latin_1)
    for name, dtype in DTYPES.items():
        names["torch", name] = dtype
        names["torch", str(dtype).removeprefix("torch.")] = dtype
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        names[module, "scalar"] = Function(_number)
        names[module, "_reconstruct"] = Function(_array)
    for module in ("numpy.core.numeric", "numpy._core.numeric"):
        names[module, "_frombuffer"] = Function(_array_from_bytes)
    names["numpy", "ndarray"] = "numpy.ndarray"
    names["numpy", "dtype"] = Function(_number_type)
    return MappingProxyType(names)


def pickle_names(budget: Budget) -> Names:
    """What pickles may ask for: the same, NVIDIA's modules, and storages that `torch.save` wrote into byte strings.

    Args:
        budget: shared with the pickles inside these byte strings.
    """
    inner = torch_names()

    def storage(arguments: tuple[Any, ...]) -> Storage:
        match arguments:
            case (Span() as data,):
                value = read_torch_file(data, inner, budget)
                if isinstance(value, Storage):
                    return value
        raise CheckpointError("it is damaged: a tensor's data is none")

    refusals = {
        (module, "Network"): Refusal(TENSORFLOW)
        for module in ("dnnlib.tflib.network", "tfutil", "dnnlib.tflib", "network")
    }
    return MappingProxyType(
        {
            **inner,
            **refusals,
            ("torch.storage", "_load_from_bytes"): Function(storage),
            ("torch_utils.persistence", "_reconstruct_persistent_obj"): Function(_module_record),
            ("dnnlib.util", "EasyDict"): Function(_dictionary),
            ("dnnlib", "EasyDict"): Function(_dictionary),
        }
    )
