"""A generator whose latent space is split into named groups, one per attribute (Shoshan et al. 2021, "GAN-Control").

Dimensions: N batch · D features of z and of w · s features of one group · L copies of w.

z ∈ R^D is cut into groups: one for each attribute that shall be controlled, and one, `other`, for everything else.
Each group has a mapping network of its own; their outputs, side by side, are w. So a change of one sub-vector of z
changes the same slice of w, and no other (paper, section 3.1). The synthesis network is that of any generator of this
package and does not know about the groups: StyleGAN2, StyleGAN3 and TransGAN are wrapped alike.

What makes the group named `age` mean age is the training: see `gantrol.control`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gantrol.errors import ConfigError, nearest
from gantrol.models.autogan import AutoGANConfig
from gantrol.models.config_checks import check_layer_count
from gantrol.models.ladder import LadderConfig
from gantrol.models.layers import FullyConnected, check_width, normalize_2nd_moment
from gantrol.models.mapped_generator import MappedGenerator
from gantrol.models.stylegan2 import StyleGAN2Config
from gantrol.models.stylegan3 import StyleGAN3Config
from gantrol.models.transgan import TransGANConfig
from gantrol.models.wgan_gp import WGANGPConfig
from gantrol.ops.parts import move_mean

BaseGeneratorConfig = StyleGAN2Config | LadderConfig | StyleGAN3Config | WGANGPConfig | AutoGANConfig | TransGANConfig
"""The generators that can be wrapped."""

OTHER = "other"
"""The group of everything that no attribute names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentGroup:
    """A named slice of z, and the same slice of w."""

    name: str
    """The attribute that it stands for, or `other`."""
    size: int
    """Its width in z and in w."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ConfigError(f"group {self.name!r}: expected a name of letters, digits and _, for example age")
        if self.size < 1:
            raise ConfigError(f"group {self.name}: size={self.size}: expected 1 or more")


def group_slices(groups: Iterable[LatentGroup]) -> dict[str, slice]:
    """Where each group lies in z and in w: they follow each other in the order given."""
    slices, start = {}, 0
    for group in groups:
        slices[group.name] = slice(start, start + group.size)
        start += group.size
    return slices


def split_evenly(names: Sequence[str], width: int) -> tuple[LatentGroup, ...]:
    """Groups for attributes in a latent space of `width`, in the proportions of the paper.

    Identity gets two shares, every other attribute one, `other` one and what is left over (paper: 128, 64, 64 of 512).

    Args:
        names: of the attributes, without `other`, which is added.
        width: D.

    Raises:
        ConfigError: a name is given twice or is `other`, or the space is too small.
    """
    if OTHER in names:
        raise ConfigError(f"group {OTHER!r} is added by itself: leave it out of the attributes")
    shares = {name: 2 if name == "identity" else 1 for name in names}
    size = width // (sum(shares.values()) + 1)
    if size < 1:
        raise ConfigError(f"{len(names)} attributes do not fit into a latent space of {width}: name fewer")
    sizes = {name: size * share for name, share in shares.items()}
    sizes[OTHER] = width - sum(sizes.values())
    if len(sizes) != len(names) + 1:
        raise ConfigError(f"attributes {', '.join(names)}: name each only once")
    return tuple(LatentGroup(name=name, size=size) for name, size in sizes.items())


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControllableConfig:
    """Everything that defines a generator with named latent groups."""

    kind: ClassVar[str] = "controllable"

    base: BaseGeneratorConfig
    """The generator whose synthesis is used; its z_dim, and w_dim if it has one, are the sum of the groups."""
    groups: tuple[LatentGroup, ...]
    """The groups in the order in which they lie in z and in w."""
    mapping_layers: int = 8
    """Layers of each group's mapping network."""
    hidden_width: int = 256
    """Width between these layers."""
    lr_multiplier: float = 0.01
    """Learning-rate multiplier of these layers."""
    w_avg_beta: float = 0.998
    """Decay of the running mean of w, per pass that updates it."""

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        if len(set(names)) != len(names) or not names:
            raise ConfigError(f"groups {', '.join(names) or '(none)'}: expected at least one, and each name only once")
        total = sum(group.size for group in self.groups)
        for name in ("z_dim", "w_dim"):
            width = getattr(self.base, name, total)
            if width != total:
                sizes = " + ".join(f"{group.name} {group.size}" for group in self.groups)
                raise ConfigError(f"groups {sizes} = {total}, but base.{name}={width}: the sizes must add up to it")
        if self.base.c_dim:
            raise ConfigError(f"base.c_dim={self.base.c_dim}: a generator with groups has no classes; set it to 0")
        check_layer_count(self, "mapping_layers")
        for field in ("mapping_layers", "hidden_width"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field}={getattr(self, field)}: expected 1 or more")

    @property
    def resolution_px(self) -> int:
        """Width and height of the image."""
        return self.base.resolution_px

    @property
    def channels(self) -> int:
        """Image channels."""
        return self.base.channels

    @property
    def z_dim(self) -> int:
        """Width of z."""
        return self.base.z_dim

    @property
    def w_dim(self) -> int:
        """Width of w."""
        return self.base.z_dim

    @property
    def c_dim(self) -> int:
        """Width of the label: there is none."""
        return 0

    @property
    def conv_clamp(self) -> float | None:
        """Limit of the activations' magnitude, if the base has one."""
        return getattr(self.base, "conv_clamp", None)

    def build(self) -> ControllableGenerator:
        """Makes the generator, with random weights from torch's random state."""
        return ControllableGenerator(self)


class GroupMapping(nn.Sequential):
    """The mapping network of one group, s → h → … → h → s; every layer, the last too, is activated (lrelu).

    Its input is scaled to unit second moment by itself, whatever the other groups hold.
    """

    def __init__(self, size: int, *, layers: int, hidden_width: int, lr_multiplier: float) -> None:
        widths = [size, *[hidden_width] * (layers - 1), size]
        super().__init__(
            *(
                FullyConnected(before, after, act="lrelu", lr_multiplier=lr_multiplier)
                for before, after in pairwise(widths)
            )
        )

    def forward(self, z: Tensor) -> Tensor:
        """Maps the group's z [N, s] to its part of w [N, s]."""
        return super().forward(normalize_2nd_moment(z))


class GroupedMapping(nn.Module):
    """z ↦ ws by one mapping network per group; with the running mean of w and the truncation trick.

    Args:
        config: the groups and the size of their networks.
        num_ws: copies of w to return.
    """

    w_avg: Tensor

    def __init__(self, config: ControllableConfig, num_ws: int) -> None:
        super().__init__()
        self.z_dim = config.z_dim
        self.num_ws = num_ws
        self.w_avg_beta = config.w_avg_beta
        self.slices = group_slices(config.groups)
        self.groups = nn.ModuleDict(
            {
                group.name: GroupMapping(
                    group.size,
                    layers=config.mapping_layers,
                    hidden_width=config.hidden_width,
                    lr_multiplier=config.lr_multiplier,
                )
                for group in config.groups
            }
        )
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def slice_of(self, name: str) -> slice:
        """Where the group `name` lies in z and in w; ConfigError if there is none of that name."""
        if name not in self.slices:
            raise ConfigError(f"there is no latent group {name!r}; {nearest(name, self.slices)}")
        return self.slices[name]

    def forward(
        self,
        z: Tensor | None,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
    ) -> Tensor:
        """Maps z [N, D] to ws [N, num_ws, D]; each group is truncated towards its own mean, ψ being common to all.

        Args:
            z: latents.
            c: accepted for the common interface; there are no labels.
            truncation_psi: ψ; w becomes w_avg + ψ·(w − w_avg).
            truncation_cutoff: apply ψ to the first so many copies only; None is all.
            update_emas: move `w_avg` towards the batch mean, before the truncation.

        Raises:
            ConfigError: z has the wrong width, or ψ is not finite.
        """
        z = check_width("z", z, self.z_dim).to(self.w_avg.dtype)
        w = torch.cat([self.groups[name](z[:, place]) for name, place in self.slices.items()], dim=1)  # [N, D]
        if update_emas:
            with torch.no_grad():
                move_mean(self.w_avg, w.mean(dim=0), 1 - self.w_avg_beta)
        if not math.isfinite(truncation_psi):
            raise ConfigError(f"truncation_psi={truncation_psi}: expected a finite number")
        ws = w[:, None].expand(-1, self.num_ws, -1)  # [N, L, D]
        if truncation_psi == 1:
            return ws
        cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
        return torch.cat([self.w_avg.lerp(ws[:, :cutoff], truncation_psi), ws[:, cutoff:]], dim=1)


class ControllableGenerator(MappedGenerator):
    """The synthesis network of another generator behind a `GroupedMapping`; a `gantrol.models.Generator`.

    State-dict names: `mapping.w_avg`, `mapping.groups.{group}.{i}.{weight, bias}`, and `synthesis.*` as in the base.
    """

    mapping: GroupedMapping

    def __init__(self, config: ControllableConfig) -> None:
        base: Any = config.base.build()
        mapping = GroupedMapping(config, base.num_ws)
        super().__init__(config, mapping, base.synthesis, w_dim=config.w_dim, num_ws=base.num_ws)
        self.config = config
