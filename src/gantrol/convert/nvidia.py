"""Official StyleGAN2 and StyleGAN3 pickles (`stylegan2-ada-pytorch`, `stylegan3`) to models of ours.

Such a file is a dictionary of `G`, `D` and `G_ema`, the average of G's weights that makes the pictures, with the
description of the training set beside them.
"""

from __future__ import annotations

import re
from typing import Any

from gantrol.convert.allowed_names import ModuleRecord
from gantrol.convert.blank_modules import blank
from gantrol.convert.foreign import Imported, Request
from gantrol.convert.nvidia_configs import discriminator_config, generator_config
from gantrol.convert.nvidia_modules import Official, take_apart
from gantrol.convert.nvidia_names import load_official
from gantrol.errors import CheckpointError

_UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def is_nvidia(content: Any) -> bool:
    """Whether the value of a pickle is such a dictionary, or a generator alone."""
    if isinstance(content, ModuleRecord):
        return True
    return type(content) is dict and any(isinstance(content.get(key), ModuleRecord) for key in ("G_ema", "G"))


def convert_nvidia(content: Any, request: Request) -> Imported:
    """Builds the networks that `request` asks for.

    Raises:
        CheckpointError: the generator is not one of the official code, or its tensors do not fit together.
    """
    networks = {"G_ema": content} if isinstance(content, ModuleRecord) else content
    key = "G_ema" if request.weights == "ema" else "G"
    notes: list[str] = []
    if not isinstance(networks.get(key), ModuleRecord):
        if request.weights == "raw":
            raise CheckpointError("it holds no G, only the averaged weights G_ema: leave out --weights raw")
        key = "G"
        notes.append("there is no G_ema in the file: the raw weights G are used")
    generator, network = _generator(networks[key], request)
    if not _is_upright(network):
        notes.append("the saved generator was moved or turned by its user; the imported one is upright")
    discriminator = None
    if request.discriminator and networks.get("D") is not None:
        try:
            discriminator = _discriminator(networks["D"], request)
        except CheckpointError as error:
            notes.append(f"the discriminator is left out: {error}")
    return Imported(
        generator=generator,
        discriminator=discriminator,
        notes=notes,
        facts={"weights": key, "data": _data_name(networks.get("training_set_kwargs"))},
    )


def _generator(record: ModuleRecord, request: Request) -> tuple[Any, Official]:
    network = take_apart(record, request.size)
    module = blank(generator_config(network))
    load_official(module, network.tensors)
    return module, network


def _discriminator(record: Any, request: Request) -> Any:
    if not isinstance(record, ModuleRecord):
        raise CheckpointError("it is no official module")
    network = take_apart(record, request.size)
    module = blank(discriminator_config(network))
    load_official(module, network.tensors)
    return module


def _is_upright(network: Official) -> bool:
    transform = network.tensors.get("synthesis.input.transform")
    return transform is None or tuple(transform.load().flatten().tolist()) == _UPRIGHT


def _data_name(description: Any) -> str | None:
    """The name, not the place on somebody's disk, of the dataset; harmless in any markup."""
    path = description.get("path") if type(description) is dict else None
    if type(path) is not str:
        return None
    return re.sub(r"[^A-Za-z0-9._-]", "_", re.split(r"[/\\]", path.rstrip("/\\"))[-1][:80]) or None
