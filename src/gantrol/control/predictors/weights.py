"""Weight files of published networks: read by path, without running anything, and loaded strictly.

None of these files comes with this package: their licences are their authors' to give, and several state none. Whoever
has one names its path; an error says in one line which file was expected, under which licence, and where to read on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from gantrol import checkpoint
from gantrol.errors import CheckpointError

WRAPPERS = ("weight", "state_dict")
"""Names under which training scripts keep the weights beside other things."""


@dataclass(frozen=True)
class WeightFile:
    """A published file of weights."""

    file: str
    """Its name at its source."""
    source: str
    """Who published it, and where."""
    licence: str
    """As far as it is stated."""
    page: str = "docs/photo-predictors.md"
    """Where the file and its network are described."""

    def __str__(self) -> str:
        return f"{self.file} of {self.source} (licence: {self.licence}), described in {self.page}"


def load_weights(path: Path | str, described: WeightFile) -> dict[str, Tensor]:
    """The tensors of a weight file, by name, on the CPU.

    Reads safetensors, and what `torch.save` wrote if it holds tensors only: nothing in the file is run. Weights kept
    under "weight" or "state_dict" are unwrapped, and the prefix `module.` of data-parallel training is dropped.

    Args:
        path: the file.
        described: what is expected there; named in errors.

    Raises:
        CheckpointError: the file is missing or damaged, or holds anything but named tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}: expected {described}")
    found: object
    if path.suffix == ".safetensors":
        found, _ = checkpoint.load(path, allow_plain=True)
    else:
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
        except Exception as error:  # a pickle that is cut, or that asks for code, can fail in any way
            raise CheckpointError(
                f"cannot read {path}: it is damaged, or needs code to be run, which is refused; expected {described}"
            ) from error
    for name in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{path} does not hold named tensors; expected {described}")
    return {str(name).removeprefix("module."): value.detach() for name, value in found.items()}


def load_strictly(
    module: nn.Module, tensors: Mapping[str, Tensor], path: Path | str, *, unused: tuple[str, ...] = ()
) -> None:
    """Copies tensors into a module; the names and shapes must be the module's.

    Only the counters `num_batches_tracked` may be missing (files of old PyTorch versions have none, and evaluation
    does not need them).

    Args:
        module: the network.
        tensors: by the names of its state dict.
        path: where they come from; named in errors.
        unused: beginnings of names that the file has and the network does not need.

    Raises:
        CheckpointError: a tensor is missing, has no place in the network, or has another shape.
    """
    expected = module.state_dict()
    given = {name: value for name, value in tensors.items() if name in expected or not name.startswith(unused)}
    missing = [name for name in expected if name not in given and not name.endswith("num_batches_tracked")]
    unknown = [name for name in given if name not in expected]
    if missing or unknown:
        problems = {"missing": missing, "not of this network": unknown}
        told = " and ".join(f"{_some(names)} {problem}" for problem, names in problems.items() if names)
        raise CheckpointError(f"{path} does not fit {type(module).__name__}: {told}")
    for name, value in given.items():
        if value.shape != expected[name].shape:
            raise CheckpointError(
                f"{path} does not fit {type(module).__name__}: {name} has shape {list(value.shape)}, "
                f"expected {list(expected[name].shape)}"
            )
    counters = {name: torch.zeros_like(value) for name, value in expected.items() if name not in given}
    module.load_state_dict({**given, **counters})


def _some(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    rest = len(names) - 3
    return ", ".join(names[:3]) + (f" and {rest} more" if rest > 0 else "")
