"""Checkpoints of AutoGAN's training code and of TransGAN's, which grew from it: a dictionary of state dicts.

    gen_state_dict, dis_state_dict    the weights of the last step
    avg_gen_state_dict                the average of the generator's, which makes the pictures
    epoch, gen_optimizer, …           the rest of the training

Such a file has no config: which network it is follows from the names and shapes of its tensors (a `Reading`). Every
tensor of that network must then be there; one that has no place in it is left out, and named.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from gantrol.convert.blank_modules import blank, fill
from gantrol.convert.foreign import Imported, Request
from gantrol.convert.stored_tensor import StoredTensor
from gantrol.errors import CheckpointError, ConfigError
from gantrol.inert_pickle import shown

_AVERAGE, _RAW, _DISCRIMINATOR = "avg_gen_state_dict", "gen_state_dict", "dis_state_dict"
_ALONE = "a state dict alone"

_MAX_TENSORS = 16384
_MAX_NAME = 200
_MAX_EPOCH = 1 << 31
_WRAPPER = "module."
"""What training on several GPUs puts before every name."""


class StateDict:
    """The tensors of one official network, still in the file, with questions to their names and shapes.

    Args:
        tensors: by official name, without what parallel training puts before it.
    """

    def __init__(self, tensors: Mapping[str, StoredTensor]) -> None:
        self.tensors = tensors

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a tensor.

        Raises:
            CheckpointError: there is none, or it has another number of dimensions, or no values.
        """
        tensor = self.tensors.get(name)
        if tensor is None or len(tensor.shape) != dimensions or tensor.numel == 0:
            raise CheckpointError(f"its network has no {name}, or one of another shape")
        return tensor.shape

    def has(self, pattern: str) -> bool:
        """Whether a name begins like this."""
        return any(re.match(pattern, name) for name in self.tensors)

    def count(self, pattern: str) -> int:
        """The length of the list whose indices stand in the group of `pattern`, matched with the start of the names."""
        found = {match[1] for name in self.tensors if (match := re.match(pattern, name))}
        return next(length for length in range(len(found) + 1) if str(length) not in found)


def state_dict(value: Any) -> StateDict | None:
    """`value` as a state dict, or None if it is none."""
    if type(value) is not dict or not 0 < len(value) <= _MAX_TENSORS:
        return None
    for name, tensor in value.items():
        if type(name) is not str or len(name) > _MAX_NAME or not isinstance(tensor, StoredTensor):
            return None
    return StateDict({name.removeprefix(_WRAPPER): tensor for name, tensor in value.items()})


def any_generator(content: Any) -> StateDict | None:
    """The generator in the value of a file: the average, or the weights of the last step, or the value itself."""
    if type(content) is not dict:
        return None
    found = (state_dict(value) for value in (content.get(_AVERAGE), content.get(_RAW), content))
    return next((state for state in found if state is not None), None)


def _unchanged(name: str, value: Tensor) -> Tensor:
    return value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """What a state dict was taken for."""

    config: Any
    """The network's config."""
    official_name: Callable[[str], str]
    """The official name of the tensor that ours of this name comes from."""
    adapt: Callable[[str, Tensor], Tensor] = _unchanged
    """Our tensor of this name from the official one; axes of length 1 need no care."""
    implied: Mapping[str, Callable[[], Tensor]] = dataclasses.field(default_factory=dict)
    """Official tensors that follow from the config: where the file has them, they must have these values."""
    assumed: list[str] = dataclasses.field(default_factory=list)
    """What neither names nor shapes tell, and what was taken instead."""


def convert_state_dicts(
    content: dict[str, Any],
    request: Request,
    *,
    read_generator: Callable[[StateDict], Reading],
    read_discriminator: Callable[[StateDict, Any], Reading],
) -> Imported:
    """Builds the networks that `request` asks for.

    Args:
        content: the value of the file, in which `any_generator` found one.
        request: what is wanted.
        read_generator: what network a generator's state dict is.
        read_discriminator: the same for the discriminator's, given the generator's config.

    Raises:
        CheckpointError: the generator is missing, incomplete, or none of the official code.
    """
    notes: list[str] = []
    key, state = _chosen(content, request, notes)
    generator = _network("generator", state, read_generator, request, notes)
    discriminator = None
    if request.discriminator and content.get(_DISCRIMINATOR) is not None:
        try:
            judge = state_dict(content[_DISCRIMINATOR])
            if judge is None:
                raise CheckpointError("it is no state dict")
            discriminator = _network(
                "discriminator", judge, lambda state: read_discriminator(state, generator.config), request, notes
            )
        except CheckpointError as error:
            notes.append(f"the discriminator is left out: {error}")
    epoch = content.get("epoch")
    is_epoch = type(epoch) is int and 0 <= epoch < _MAX_EPOCH
    return Imported(
        generator=generator,
        discriminator=discriminator,
        notes=notes,
        facts={"weights": key, "epoch": epoch if is_epoch else None},
    )


def _chosen(content: dict[str, Any], request: Request, notes: list[str]) -> tuple[str, StateDict]:
    """The generator's state dict that is asked for, and what it is called."""
    for key in (_AVERAGE, _RAW) if request.weights == "ema" else (_RAW,):
        state = state_dict(content.get(key))
        if state is not None:
            if key == _RAW and request.weights == "ema":
                notes.append(f"there is no {_AVERAGE} in the file: the raw weights {_RAW} are used")
            return key, state
    alone = state_dict(content)
    if alone is None:
        raise CheckpointError(f"it holds no {_RAW}, only the averaged weights: leave out --weights raw")
    return _ALONE, alone


def _network(
    what: str, state: StateDict, read: Callable[[StateDict], Reading], request: Request, notes: list[str]
) -> Any:
    """The network in a state dict; `notes` gains what was assumed and left out."""
    if sum(tensor.nbytes for tensor in state.tensors.values()) > request.size:
        raise CheckpointError("it claims more weights than it holds")
    try:
        reading = read(state)
    except ConfigError as error:
        raise CheckpointError(f"its {what} cannot be: {error}") from error
    module = blank(reading.config)
    unused = _load(module, state, reading)
    notes += [f"the file does not say {fact} ({what})" for fact in reading.assumed]
    if unused:
        notes.append(f"left out, as the {what} has no use for them: {_listed(unused)}")
    return module


def _load(module: nn.Module, state: StateDict, reading: Reading) -> list[str]:
    """Fills `module`, and returns the official names that found no place."""
    own = module.state_dict()
    official = {name: reading.official_name(name) for name in own}
    missing = sorted(set(official.values()) - state.tensors.keys())
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise CheckpointError(f"its network is not complete: {missing[0]} is missing{more}")
    for name, value_of in reading.implied.items():
        if name in state and not _is_equal(state.tensors[name], value_of()):
            raise CheckpointError(f"its {name} does not follow from the other tensors' shapes, as it should")
    tensors: dict[str, Tensor] = {}
    for name, ours in own.items():
        stored = state.tensors[official[name]]
        value = reading.adapt(name, stored.load())
        if _without_ones(value.shape) != _without_ones(ours.shape):
            raise CheckpointError(f"its {official[name]} has shape {list(stored.shape)}, which does not fit the others")
        tensors[name] = value.reshape(ours.shape).to(ours.dtype).contiguous()
    fill(module, tensors)
    return sorted(state.tensors.keys() - set(official.values()) - reading.implied.keys())


def _is_equal(stored: StoredTensor, value: Tensor) -> bool:
    return stored.shape == tuple(value.shape) and bool((stored.load() == value).all())


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape if size != 1]


def _listed(names: list[str], most: int = 6) -> str:
    """Some names, safe to print."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown(name) for name in names[:most]) + more
