"""ONNX networks as torch modules: reads the file as data and evaluates its graph with differentiable torch functions.

An ONNX file is a list of nodes (operator, attributes, names of inputs and outputs) in an order in which they can be
computed, and the constants. Loading keeps what the wanted outputs need, computes at once what depends on constants
only, and binds each remaining node to a torch function of `onnx_operators`, `onnx_shapes` or `onnx_spatial`. Nothing
in the file is code.

Floating-point constants are buffers and move with the module; integers and booleans (shapes, axes, indices) stay on the
CPU, where reading them costs no synchronisation, until they meet a tensor on another device. Half precision is computed
in float32.

Source: the ONNX operator specification, operator sets 7 to 26 (https://onnx.ai/onnx/operators).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gantrol.control.predictors import onnx_operators, onnx_shapes, onnx_spatial
from gantrol.control.predictors.onnx_operators import Attributes
from gantrol.errors import CheckpointError, ConfigError, in_brief, nearest, require_extra

OPERATORS = onnx_operators.OPERATORS | onnx_shapes.OPERATORS | onnx_spatial.OPERATORS
"""All that can be computed, by name."""
OLDEST_OPSET = 7
"""Before it, operators did not broadcast as arrays do."""
_STANDARD_DOMAINS = ("", "ai.onnx")


class Step(NamedTuple):
    """One node of a graph, ready to be evaluated."""

    operator: str
    """Its name, for messages."""
    evaluate: Callable[..., Tensor | Sequence[Tensor]]
    """From the inputs to one output or several."""
    inputs: tuple[str, ...]
    """Names of values; empty where an optional input is left out."""
    outputs: tuple[str, ...]
    """Names; empty where nothing uses it."""
    done: tuple[str, ...]
    """Names of values that no later step needs."""


class OnnxGraph(nn.Module):
    """The network of an ONNX file, frozen; differentiable with respect to its input.

    Args:
        path: the file; large constants may lie in files beside it.
        outputs: which outputs are wanted, by name or number, in this order; all of them by default. What only the
            others need is neither checked nor computed.

    Attributes:
        input_shape: as the file states it: a number, or None where any will do, for each dimension; None if not stated.
        output_names: of all outputs of the file.

    Raises:
        CheckpointError: the file is missing or no ONNX network.
        ConfigError: the network has another number of inputs than one, there is no such output, or it uses operators
            that are not supported, all of which are named.
        MissingExtraError: the package `onnx` is not installed.
    """

    input_shape: tuple[int | None, ...] | None
    output_names: tuple[str, ...]

    def __init__(self, path: Path | str, outputs: Sequence[int | str] | None = None) -> None:
        super().__init__()
        self.path = Path(path)
        model = _read(self.path)
        graph = model.graph
        versions = [entry.version for entry in model.opset_import if entry.domain in _STANDARD_DOMAINS]
        opset = versions[0] if versions else 1
        if opset < OLDEST_OPSET:
            raise ConfigError(
                f"{self.path} uses operator set {opset}: expected {OLDEST_OPSET} or later; convert it with "
                "onnx.version_converter"
            )
        constants = {tensor.name: _tensor(tensor, self.path) for tensor in graph.initializer}
        if graph.sparse_initializer:
            raise ConfigError(f"{self.path} has sparse constants, which are not supported")
        inputs = [value for value in graph.input if value.name not in constants]
        if len(inputs) != 1:
            names = ", ".join(value.name for value in inputs) or "none"
            raise ConfigError(f"{self.path} has {len(inputs)} inputs ({names}): expected one, the images")
        self._input = str(inputs[0].name)
        self.input_shape = _stated_shape(inputs[0])
        self.output_names = tuple(value.name for value in graph.output)
        wanted = self.output_names if outputs is None else outputs
        self._wanted = [_chosen(self.path, self.output_names, output) for output in wanted]
        nodes = _needed_nodes(graph.node, self._wanted)
        _check_operators(self.path, nodes)
        steps = [_bind(node, opset, self.path) for node in nodes]
        self._buffer_names: dict[str, str] = {}
        self._host: dict[str, Tensor] = {}
        self._steps = self._fold(steps, constants)

    def _fold(self, steps: Sequence[Step], constants: dict[str, Tensor]) -> list[Step]:
        """Computes the steps that depend on constants only; keeps the constants that the remaining steps need.

        Returns:
            The remaining steps, each with the names of the values that can be forgotten after it.
        """
        remaining: list[Step] = []
        for step in steps:
            if all(name in constants for name in step.inputs if name):
                with torch.no_grad():
                    found = self._results(step, [constants[name] if name else None for name in step.inputs])
                constants |= {name: value for name, value in zip(step.outputs, found, strict=False) if name}
            else:
                remaining.append(step)
        used = {name for step in remaining for name in step.inputs} | set(self._wanted)
        for name in sorted(used & constants.keys()):
            value = constants[name]
            if value.is_floating_point():
                self._buffer_names[name] = f"constant_{len(self._buffer_names)}"
                self.register_buffer(self._buffer_names[name], value.clone(), persistent=False)
            else:
                self._host[name] = value
        # From the end, so that the first step seen to use a value is the last one to need it.
        seen = {*self._wanted, *constants, ""}
        for index in reversed(range(len(remaining))):
            names = {*remaining[index].inputs, *remaining[index].outputs} - seen
            remaining[index] = remaining[index]._replace(done=tuple(names))
            seen |= names
        return remaining

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The wanted outputs of an input in the layout that the file expects.

        Raises:
            ConfigError: the input does not fit.
        """
        values: dict[str, Tensor] = {name: self.get_buffer(buffer) for name, buffer in self._buffer_names.items()}
        values |= self._host
        values[self._input] = x
        for step in self._steps:
            found = self._results(step, [self._value(values, name) if name else None for name in step.inputs])
            values.update(zip(step.outputs, found, strict=False))
            for name in step.done:
                values.pop(name, None)
        return tuple(self._value(values, name) for name in self._wanted)

    def _value(self, values: Mapping[str, Tensor], name: str) -> Tensor:
        """A value that an earlier step has computed."""
        if name not in values:
            raise ConfigError(f"{self.path} uses {name!r}: no node computes it, or as an output that is not supported")
        return values[name]

    def _results(self, step: Step, inputs: list[Tensor | None]) -> Sequence[Tensor]:
        """All outputs of one step."""
        try:
            found = step.evaluate(*inputs)
        except (RuntimeError, ValueError, LookupError, TypeError) as error:
            shapes = ", ".join(str(list(value.shape)) for value in inputs if value is not None)
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ConfigError(
                f"{self.path}: {step.operator} cannot be computed from inputs of shape {shapes}: {reason}"
            ) from error
        return [found] if isinstance(found, Tensor) else found


def _read(path: Path) -> Any:
    """The parsed file (an `onnx.ModelProto`), functions of its own resolved."""
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    onnx = require_extra("onnx", "predictors")
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf, the file system, and checks of external data each have their own
        raise CheckpointError(f"cannot read {path}: it is damaged, or no ONNX network") from error
    if not model.graph.node:
        raise CheckpointError(f"{path} holds no ONNX network")
    if model.functions:
        require_extra("onnx.inliner", "predictors")
        model = onnx.inliner.inline_local_functions(model)
    return model


def _tensor(proto: Any, path: Path) -> Tensor:
    """A constant of the file; half precision as float32."""
    helper = require_extra("onnx.numpy_helper", "predictors")
    try:
        array = helper.to_array(proto)
    except Exception as error:
        raise CheckpointError(f"{path}: constant {proto.name!r} cannot be read") from error
    is_extension = array.dtype.kind == "V" or array.dtype.name.startswith(("bfloat", "float8", "float4"))
    if is_extension or array.dtype.name == "float16":
        array = array.astype("float32")
    if array.dtype.kind not in "fiub":
        raise ConfigError(f"{path}: constant {proto.name!r} is of type {array.dtype.name}, which is not supported")
    return torch.from_numpy(array.copy())


def _stated_shape(value: Any) -> tuple[int | None, ...] | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(int(dim.dim_value) if dim.dim_value > 0 else None for dim in tensor.shape.dim)


def _chosen(path: Path, names: Sequence[str], output: int | str) -> str:
    """The name of an output that is given by name or number."""
    if isinstance(output, int):
        if not 0 <= output < len(names):
            raise ConfigError(f"output={output}: {path} has outputs 0 to {len(names) - 1} ({', '.join(names)})")
        return names[output]
    if output not in names:
        raise ConfigError(f"output={in_brief(output)}: there is none in {path}; {nearest(output, names)}")
    return output


def _needed_nodes(nodes: Sequence[Any], wanted: Sequence[str]) -> list[Any]:
    """The nodes on which the wanted values depend, in their order."""
    needed, kept = set(wanted), []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    return kept[::-1]


def _check_operators(path: Path, nodes: Sequence[Any]) -> None:
    missing = {
        str(node.op_type) if node.domain in _STANDARD_DOMAINS else f"{node.domain}.{node.op_type}"
        for node in nodes
        if node.domain not in _STANDARD_DOMAINS or node.op_type not in OPERATORS
    }
    if missing:
        raise ConfigError(
            f"{path} uses operators that are not supported: {_listed(missing)}; export the network without them, or as "
            ".pt2"
        )


def _listed(names: set[str]) -> str:
    """Names from a file in one line: as they are where they are words, quoted and cut where they are not."""
    words = (
        name if name.replace(".", "").isidentifier() and len(name) < 64 else in_brief(name) for name in sorted(names)
    )
    return ", ".join(words)


def _bind(node: Any, opset: int, path: Path) -> Step:
    """A node as a function of its inputs."""
    helper = require_extra("onnx.helper", "predictors")
    values: dict[str, Any] = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if hasattr(value, "raw_data"):  # a TensorProto
            value = _tensor(value, path)
        values[attribute.name] = value.decode() if isinstance(value, bytes) else value
    outputs = tuple(node.output)
    while outputs and not outputs[-1]:
        outputs = outputs[:-1]
    attributes = Attributes(node.op_type, opset, len(outputs), values)
    return Step(node.op_type, partial(OPERATORS[node.op_type], attributes), tuple(node.input), outputs, ())
