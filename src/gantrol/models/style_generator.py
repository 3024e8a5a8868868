"""What all style-based generators share: a learned mapping network before the synthesis."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from gantrol.models.layers import MappingNetwork
from gantrol.models.mapped_generator import ImageConfig, MappedGenerator


class StyleConfig(ImageConfig, Protocol):
    """The fields of a generator's config that do not depend on the kind of synthesis."""

    @property
    def w_dim(self) -> int: ...
    @property
    def mapping_layers(self) -> int: ...
    @property
    def w_avg_beta(self) -> float: ...


class StyleGenerator(MappedGenerator):
    """A mapping network and a synthesis network.

    Args:
        config: widths and sizes.
        synthesis: the network ws [N, num_ws, w_dim] ↦ image.
        num_ws: how many w it takes.
    """

    def __init__(self, config: StyleConfig, synthesis: nn.Module, num_ws: int) -> None:
        mapping = MappingNetwork(
            z_dim=config.z_dim,
            c_dim=config.c_dim,
            w_dim=config.w_dim,
            num_ws=num_ws,
            num_layers=config.mapping_layers,
            w_avg_beta=config.w_avg_beta,
        )
        super().__init__(config, mapping, synthesis, w_dim=config.w_dim, num_ws=num_ws)
