"""Checkpoints that are a dictionary of state dicts: what TransGAN's, AutoGAN's and GAN-Control's training codes write.

    AutoGAN, TransGAN     GAN-Control
    gen_state_dict        g                  the generator's weights of the last step
    avg_gen_state_dict    g_ema              their average, which makes the pictures
    dis_state_dict        d                  the discriminator's weights
    gen_optimizer, …      g_optim, …         the rest of the training

Such a file has no config: which network it is follows from the names and shapes of its tensors (a `Reading`). Every
tensor of that network must then be there; one that has no place in it is left out, and named, or refused.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gantrol.convert.blank_modules import blank, fill
from gantrol.convert.foreign import Imported, Request
from gantrol.convert.stored_tensor import StoredTensor
from gantrol.errors import CheckpointError, ConfigError
from gantrol.inert_pickle import shown

_ALONE = "a state dict alone"

_MAX_TENSORS = 16384
_MAX_NAME = 200
_MAX_EPOCH = 1 << 31
_WRAPPER = "module."
"""What training on several GPUs puts before every name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Keys:
    """What a training code calls its state dicts."""

    average: str
    """The generator's averaged weights."""
    raw: str
    """Its weights of the last step."""
    discriminator: str
    """The discriminator's weights."""


AUTOGAN_KEYS = Keys(average="avg_gen_state_dict", raw="gen_state_dict", discriminator="dis_state_dict")


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


def any_generator(content: Any, keys: Keys = AUTOGAN_KEYS) -> StateDict | None:
    """The generator in the value of a file: the average, or the weights of the last step, or the value itself."""
    if type(content) is not dict:
        return None
    found = (state_dict(value) for value in (content.get(keys.average), content.get(keys.raw), content))
    return next((state for state in found if state is not None), None)


def _unchanged(name: str, value: Tensor) -> Tensor:
    return value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """What a state dict was taken for."""

    config: Any
    """The network's config."""
    official_name: Callable[[str], str | None]
    """The official name of the tensor that ours of this name comes from; None if files lack it, which makes it zero."""
    adapt: Callable[[str, Tensor], Tensor] = _unchanged
    """Our tensor of this name from the official one; axes of length 1 need no care."""
    implied: Mapping[str, Callable[[], Tensor]] = dataclasses.field(default_factory=dict)
    """Official tensors that follow from the config: where the file has them, they must have these values."""
    assumed: list[str] = dataclasses.field(default_factory=list)
    """What neither names nor shapes tell, and what was taken instead."""
    is_strict: bool = False
    """Whether a tensor without a place in the network is refused, as a sign of another network, or left out."""


def convert_state_dicts(
    content: dict[str, Any],
    request: Request,
    *,
    read_generator: Callable[[StateDict], Reading],
    read_discriminator: Callable[[StateDict, Any], Reading],
    keys: Keys = AUTOGAN_KEYS,
) -> Imported:
    """Builds the networks that `request` asks for.

    Args:
        content: the value of the file, in which `any_generator` found one.
        request: what is wanted.
        read_generator: what network a generator's state dict is.
        read_discriminator: the same for the discriminator's, given the generator's config.
        keys: what the state dicts are called.

    Raises:
        CheckpointError: the generator is missing, incomplete, or none of the official code.
    """
    notes: list[str] = []
    key, state = _chosen(content, request, keys, notes)
    generator = _network("generator", state, read_generator, request, notes)
    discriminator = None
    if request.discriminator and content.get(keys.discriminator) is not None:
        try:
            judge = state_dict(content[keys.discriminator])
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


def _chosen(content: dict[str, Any], request: Request, keys: Keys, notes: list[str]) -> tuple[str, StateDict]:
    """The generator's state dict that is asked for, and what it is called."""
    for key in (keys.average, keys.raw) if request.weights == "ema" else (keys.raw,):
        state = state_dict(content.get(key))
        if state is not None:
            if key == keys.raw and request.weights == "ema":
                notes.append(f"there is no {keys.average} in the file: the raw weights {keys.raw} are used")
            return key, state
    alone = state_dict(content)
    if alone is None:
        raise CheckpointError(f"it holds no {keys.raw}, only the averaged weights: leave out --weights raw")
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
    if unused and reading.is_strict:
        raise CheckpointError(f"its {what} is none of the official code: it also has {_listed(unused)}")
    if unused:
        notes.append(f"left out, as the {what} has no use for them: {_listed(unused)}")
    return module


def _load(module: nn.Module, state: StateDict, reading: Reading) -> list[str]:
    """Fills `module`, and returns the official names that found no place."""
    own = module.state_dict()
    official = {name: reading.official_name(name) for name in own}
    wanted = {name for name in official.values() if name is not None}
    missing = sorted(wanted - state.tensors.keys())
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise CheckpointError(f"its network is not complete: {missing[0]} is missing{more}")
    for name, value_of in reading.implied.items():
        if name in state and not _is_equal(state.tensors[name], value_of()):
            raise CheckpointError(f"its {name} does not follow from the other tensors' shapes, as it should")
    tensors: dict[str, Tensor] = {}
    for name, ours in own.items():
        source = official[name]
        if source is None:
            tensors[name] = torch.zeros(ours.shape, dtype=ours.dtype)
            continue
        stored = state.tensors[source]
        value = reading.adapt(name, stored.load())
        if _without_ones(value.shape) != _without_ones(ours.shape):
            raise CheckpointError(f"its {source} has shape {list(stored.shape)}, which does not fit the others")
        tensors[name] = value.reshape(ours.shape).to(ours.dtype).contiguous()
    fill(module, tensors)
    return sorted(state.tensors.keys() - wanted - reading.implied.keys())


def _is_equal(stored: StoredTensor, value: Tensor) -> bool:
    return stored.shape == tuple(value.shape) and bool((stored.load() == value).all())


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape if size != 1]


def _listed(names: list[str], most: int = 6) -> str:
    """Some names, safe to print."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown(name) for name in names[:most]) + more
