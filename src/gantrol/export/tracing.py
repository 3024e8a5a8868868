"""From a network to torch's exported program: one graph of standard operators in which the number of images is free."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from gantrol.errors import ConfigError
from gantrol.export.network import ExportedGenerator, Input, neutral_values
from gantrol.export.standard_operators import with_standard_operators

MAX_IMAGES = 4096
"""The most images at a time that an exported program takes."""

_TRACED_IMAGES = 3  # any number but 0 and 1, which torch would take for constants


def trace(network: ExportedGenerator) -> ExportedProgram:
    """The network as a program of standard operators; its inputs are those of `network.inputs`, by name.

    It is traced twice: as it is, which finds the operators of this package, and after they have been replaced.

    Raises:
        ConfigError: torch cannot trace the network.
    """
    values = example_values(network.inputs, _TRACED_IMAGES)
    count = Dim("images", min=1, max=MAX_IMAGES)
    shapes = {each.name: {0: count} if each.shape else None for each in network.inputs}
    try:
        with torch.no_grad(), quiet():
            rough = torch.export.export(
                network, tuple(values.values()), dynamic_shapes={"values": tuple(shapes.values())}
            )
            plain = with_standard_operators(rough, list(values))
            program = torch.export.export(plain, (), values, dynamic_shapes=shapes)
    except ConfigError:
        raise
    except Exception as error:  # whatever torch's tracer meets: no list of its errors is promised
        kind = network.generator.config.kind
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ConfigError(f"this {kind} model cannot be exported: torch cannot trace it: {reason}") from error
    left = {str(node.target) for node in program.graph.nodes if str(node.target).startswith("gantrol")}
    if left:
        raise ConfigError(f"this model cannot be exported: {', '.join(sorted(left))} would need gantrol to run")
    return program


def example_values(inputs: tuple[Input, ...], count: int, truncation_psi: float = 1.0) -> dict[str, Tensor]:
    """Values of all inputs for `count` images: latents from a fixed seed, class 0, 1, …, everything else neutral."""
    values = neutral_values(inputs, truncation_psi)
    for each in inputs:
        if each.name == "z":
            fixed = torch.Generator().manual_seed(count)
            values["z"] = torch.randn(count, int(each.shape[1]), generator=fixed)
        elif each.name == "c":
            classes = torch.arange(count) % int(each.shape[1])
            values["c"] = torch.nn.functional.one_hot(classes, int(each.shape[1])).float()
        elif each.shape:
            values[each.name] = values[each.name].expand(count, *values[each.name].shape[1:]).clone()
    return {each.name: values[each.name] for each in inputs}


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps torch's exporters from telling of their own affairs, as that torchvision is not installed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
