"""A traced network without operators of this package: what another program can run.

The alias-free layers call operators that are registered with torch under `gantrol::`. Nothing but this package knows
those, so each of them is replaced by what it computes on a CPU: products with constant banded matrices, see
`gantrol.ops.resample`, and a leaky ReLU between them.

Dimensions: N batch · C channels · H W input pixels · U V upsampled pixels · h w output pixels.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.fx.graph import CodeGen

from gantrol.errors import ConfigError
from gantrol.ops.resample import Resampling, axis_matrices

_OURS = "gantrol"


class Resample(nn.Module):
    """`upfirdn2d` at one image size: Σ M_y x M_xᵀ with constant matrices.

    Args:
        f: the taps, or None.
        resampling: factors, padding and gain.
        size: (H, W) of the input.
        dtype: of the input.
    """

    def __init__(self, f: Tensor | None, resampling: Resampling, size: tuple[int, int], dtype: torch.dtype) -> None:
        super().__init__()
        self.count = 0
        is_identity = f is None and resampling == Resampling(flip_filter=resampling.flip_filter)
        for my, mx in [] if is_identity else axis_matrices(f, resampling, size, dtype, torch.device("cpu")):
            self.register_buffer(f"rows{self.count}", my.contiguous())
            if not torch.equal(my, mx):  # square images and filters need one matrix for both axes
                self.register_buffer(f"columns{self.count}", mx.contiguous())
            self.count += 1

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, C, H, W] to [N, C, h, w]."""
        result: Tensor | None = None
        buffers = dict(self.named_buffers())
        for index in range(self.count):
            my = buffers[f"rows{index}"]
            mx = buffers.get(f"columns{index}", my)
            y = torch.matmul(torch.matmul(my, x), mx.T)
            result = y if result is None else result + y
        return x if result is None else result


class BiasedLeakyReLU(nn.Module):
    """clamp(gain · lrelu(x + b)): `bias_act` where the activation is two straight pieces."""

    def __init__(self, dim: int, slope: float, gain: float, clamp: float) -> None:
        super().__init__()
        self.dim, self.slope, self.gain, self.clamp = dim, slope, gain, clamp

    def forward(self, x: Tensor, b: Tensor | None = None) -> Tensor:
        """Maps x [N, C, …] and b [C] to the shape of x."""
        if b is not None:
            x = x + b.to(x.dtype).reshape([-1 if axis == self.dim % x.ndim else 1 for axis in range(x.ndim)])
        x = F.leaky_relu(x, self.slope) * self.gain
        return x.clamp(-self.clamp, self.clamp) if math.isfinite(self.clamp) else x


class FilteredLeakyReLU(nn.Module):
    """`filtered_lrelu` at one image size: down(clamp(lrelu(up(x + b)))), the gain being part of `up`."""

    def __init__(self, up: Resample, down: Resample, slope: float, clamp: float) -> None:
        super().__init__()
        self.up, self.down = up, down
        self.activation = BiasedLeakyReLU(1, slope, 1.0, clamp)

    def forward(self, x: Tensor, b: Tensor | None = None) -> Tensor:
        """Maps x [N, C, H, W] and b [C] to [N, C, h, w]."""
        if b is not None:
            x = x + b.to(x.dtype)[:, None, None]
        return self.down(self.activation(self.up(x)))  # [N, C, U, V] between


def with_standard_operators(program: ExportedProgram, names: Sequence[str]) -> GraphModule:
    """The traced network as a module in which no operator of this package is left.

    Args:
        program: traced on the CPU, without gradients, from tensors to one tensor; filters are constants, only N varies.
        names: what the arguments of the module are called.

    Raises:
        ConfigError: the network uses an operator of this package that has no replacement here.
    """
    network = program.module(check_guards=False)
    assert isinstance(network, GraphModule)
    for node in list(network.graph.nodes):
        if node.target is torch.ops.aten.randn.generator:
            _draw(network, node)
        if node.op != "call_function" or getattr(node.target, "namespace", "") != _OURS:
            continue
        name = node.target._opname
        if name not in _REPLACEMENTS:
            raise ConfigError(f"{_OURS}::{name} cannot be exported: it has no form in standard operators")
        arguments = _arguments(network, node)
        module, tensors = _REPLACEMENTS[name](arguments)
        place = f"{name}_{node.name}"
        network.add_submodule(place, module)
        with network.graph.inserting_before(node):
            new = network.graph.call_module(place, tuple(tensors))
        for user in list(node.users):
            if user.op == "call_function" and user.target is operator.getitem:
                user.replace_all_uses_with(new)
                network.graph.erase_node(user)
        node.replace_all_uses_with(new)
        network.graph.erase_node(node)
    network.graph.eliminate_dead_code()
    return _flat(network, names)


def _draw(network: GraphModule, node: Node) -> None:
    """Puts a constant in the place of numbers that are drawn from a generator with a seed of its own."""
    source = node.kwargs["generator"]
    assert isinstance(source, Node)
    seed = _attribute(network, str(source.target)).initial_seed()
    shape = tuple(node.meta["val"].shape)
    network.register_buffer(f"drawn_{node.name}", torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
    with network.graph.inserting_before(node):
        node.replace_all_uses_with(network.graph.get_attr(f"drawn_{node.name}"))
    network.graph.erase_node(node)


def _flat(network: GraphModule, names: Sequence[str]) -> GraphModule:
    """The same graph as a function of tensors with these names, which returns its one tensor."""
    graph = network.graph
    graph.set_codegen(CodeGen())
    for node, name in zip(graph.find_nodes(op="placeholder"), names, strict=True):
        node.name = node.target = name
    output = graph.output_node()
    while isinstance(output.args[0], tuple | list):
        (output.args,) = [tuple(output.args[0])]
    return GraphModule(network, graph)  # a new one: the old one checks how it is called


# ----------------------------------------------------------------------------------------------------------------------
# Each operator's replacement, and the tensors that it takes

_Replacement = tuple[nn.Module, list[Node]]


def _arguments(network: GraphModule, node: Node) -> dict[str, Any]:
    """The arguments of a call by name; filters as tensors, all other tensors as nodes."""
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    given = dict(zip((argument.name for argument in schema), node.args, strict=False)) | dict(node.kwargs)
    named = {argument.name: given.get(argument.name, argument.default_value) for argument in schema}
    for name in ("f", "fu", "fd"):
        source = named.get(name)
        if isinstance(source, Node):
            if source.op != "get_attr":
                raise ConfigError(f"{node.target}: a filter that is not a constant cannot be exported")
            named[name] = _attribute(network, str(source.target)).detach()
    return named


def _attribute(module: Any, path: str) -> Any:
    for step in path.split("."):
        module = getattr(module, step)
    return module


def _size(x: Node) -> tuple[int, int]:
    h, w = x.meta["val"].shape[2:]
    return int(h), int(w)


def _tensors(a: dict[str, Any]) -> list[Node]:
    return [a["x"]] if a.get("b") is None else [a["x"], a["b"]]


def _upfirdn2d(a: dict[str, Any]) -> _Replacement:
    resampling = Resampling.unpack(a["packed"], a["gain"])
    return Resample(a["f"], resampling, _size(a["x"]), a["x"].meta["val"].dtype), _tensors(a)


def _filtered_lrelu(a: dict[str, Any]) -> _Replacement:
    x: Node = a["x"]
    dtype, size = x.meta["val"].dtype, _size(x)
    first = Resampling.unpack(a["packed_up"], a["up_gain"])
    second = Resampling.unpack(a["packed_down"], a["down_gain"])
    up = Resample(a["fu"], first, size, dtype)
    middle = first.output_size(size, (1, 1) if a["fu"] is None else (a["fu"].shape[0], a["fu"].shape[-1]))
    return FilteredLeakyReLU(up, Resample(a["fd"], second, middle, dtype), a["slope"], a["clamp"]), _tensors(a)


def _bias_act(a: dict[str, Any]) -> _Replacement:
    return BiasedLeakyReLU(a["dim"], a["slope"], a["gain"], a["clamp"]), _tensors(a)


_REPLACEMENTS: dict[str, Callable[[dict[str, Any]], _Replacement]] = {
    "upfirdn2d": _upfirdn2d,
    "filtered_lrelu": _filtered_lrelu,
    "bias_act": _bias_act,
}
