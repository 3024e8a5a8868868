"""TorchScript and torch.export (`.pt2`) files as networks: programs, run only for those who say that they trust them.

Both formats hold operations that torch carries out, reading and writing of files among them, and torch's authors warn
against loading them from strangers. An ONNX file is data; see `onnx_graph`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gantrol.errors import CheckpointError, ConfigError, nearest

TITLES = {"torchscript": "a TorchScript", "pt2": "a torch.export"}


class TorchProgram(nn.Module):
    """The network of such a file, in evaluation mode; it stays there, since exported programs have no other.

    Args:
        kind: of the file.
        path: the file.
        outputs: which outputs are wanted, by number or, where the network returns a dictionary, by name.
        is_trusted: whether the user has said that the file may be run.

    Attributes:
        input_shape: a number, or None where any will do, for each dimension; None if the file does not state it.

    Raises:
        ConfigError: the file is not trusted.
        CheckpointError: it is missing, damaged or of another kind.
    """

    input_shape: tuple[int | None, ...] | None

    def __init__(
        self, kind: Literal["torchscript", "pt2"], path: Path | str, outputs: Sequence[int | str], *, is_trusted: bool
    ) -> None:
        super().__init__()
        self.path = Path(path)
        self._wanted = list(outputs)
        if not self.path.is_file():
            raise CheckpointError(f"there is no file {self.path}")
        if not is_trusted:
            raise ConfigError(
                f"{self.path} is {TITLES[kind]} program, which can do on this machine what its author wrote: set "
                '"trusted": true if you trust them, or bring the network as ONNX, which is data'
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the age of the format, which is the user's choice
                self.program, self.input_shape = _LOADERS[kind](self.path)
        except Exception as error:  # whatever a damaged archive leads to
            raise CheckpointError(f"cannot load {self.path}: it is damaged, or not {TITLES[kind]} program") from error
        for parameter in self.program.parameters():
            parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> TorchProgram:
        """Leaves the network as it is."""
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The wanted outputs of an input.

        Raises:
            ConfigError: the input does not fit, or there is no such output.
        """
        try:
            result = self.program(x)
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise ConfigError(
                f"{self.path} cannot be run on images of shape {list(x.shape)}: {lines[-1] if lines else error!r}"
            ) from error
        found = _by_name(result)
        for output in self._wanted:
            if not isinstance(found.get(output), Tensor):
                known = nearest(str(output), [str(name) for name, value in found.items() if isinstance(value, Tensor)])
                raise ConfigError(f"output={output!r}: there is none in {self.path}; {known}")
        return tuple(found[output] for output in self._wanted)


def _by_name(result: Any) -> dict[int | str, Any]:
    """What a network returns, by number and, if it is a dictionary, by name."""
    if isinstance(result, Mapping):
        return {**dict(enumerate(result.values())), **result}
    return dict(enumerate(result if isinstance(result, Sequence) else [result]))


def _load_torchscript(path: Path) -> tuple[nn.Module, None]:
    module = torch.jit.load(str(path), map_location="cpu")
    return module.eval().float(), None


def _load_exported(path: Path) -> tuple[nn.Module, tuple[int | None, ...] | None]:
    program = torch.export.load(str(path))
    shape = None
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs:
            shape = tuple(size if isinstance(size, int) else None for size in node.meta["val"].shape)
            break
    return program.module(), shape


_LOADERS: dict[str, Callable[[Path], tuple[nn.Module, tuple[int | None, ...] | None]]] = {
    "torchscript": _load_torchscript,
    "pt2": _load_exported,
}
