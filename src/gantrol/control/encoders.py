"""Control encoders E_k: from the value of an attribute to its part of w (GAN-Control, section 3.3).

In a generator with latent groups the slice w_k decides about attribute k. An encoder answers with the slice that has
the wanted value, and the slice of every layer is replaced by it; all other slices stay bit for bit what they were.
Attributes that no number describes, identity and `other`, are taken from the latent of a seed instead.

N images · D features of z and w · L copies of w · K numbers of a value · s features of one group.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gantrol.control.control_set import ControlSet
from gantrol.controls import Control, seed_control
from gantrol.errors import CheckpointError, ConfigError, nearest
from gantrol.models.controllable import LatentGroup, group_slices
from gantrol.models.layers import FullyConnected

_SEED_HELP = {
    "identity": "who it is: that of the image with this seed",
    "style": "the style of the image with this seed",
    "other": "everything that no control names, as in the image with this seed",
}
_OFFICIAL = "fc_stack."


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """One encoder, and the control that it serves."""

    name: str
    """What the control is called."""
    group: str
    """The latent group that it sets; two controls may set the same one, but not at once."""
    control: Control
    """Unit, range, default and components of the value."""
    hidden: int = 512
    """Width between the layers."""
    layers: int = 4
    """How many layers there are."""
    lr_multiplier: float = 0.01
    """Learning-rate multiplier of the layers."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ConfigError(f"control {self.name!r}: expected a name of letters, digits and _, for example age")
        if self.control.kind != "value":
            raise ConfigError(f"control {self.name!r}: an encoder takes values, not seeds")
        if self.hidden < 1 or self.layers < 1:
            raise ConfigError(f"encoder {self.name}: hidden={self.hidden}, layers={self.layers}: expected 1 or more")

    @property
    def in_dim(self) -> int:
        """K."""
        return self.control.count


@dataclass(frozen=True, kw_only=True)
class EncoderControlsConfig:
    """Everything that defines the controls of a generator with latent groups."""

    kind: ClassVar[str] = "encoders"

    groups: tuple[LatentGroup, ...]
    """Those of the generator, in its order."""
    encoders: tuple[EncoderConfig, ...]
    """The controls by value, in the order in which a user should see them."""
    seeds: tuple[str, ...] = ()
    """Groups that are set by the seed of an image whose part they shall take, for example identity and other."""

    def __post_init__(self) -> None:
        known = [group.name for group in self.groups]
        for name in (*self.seeds, *(encoder.group for encoder in self.encoders)):
            if name not in known:
                raise ConfigError(f"controls: there is no latent group {name!r}; {nearest(name, known)}")
        names = [*(encoder.name for encoder in self.encoders), *self.seeds]
        if len(set(names)) < len(names):
            raise ConfigError(f"controls {', '.join(names)}: each name only once")

    def build(self) -> EncoderControls:
        """The encoders, with random weights from torch's random state."""
        return EncoderControls(self)


class Encoder(nn.Module):
    """E_k: value ↦ w_k; equalised linear layers K → h → … → h → s, each of them, the last too, with lrelu (0.2, √2).

    Values are standardised first, by numbers that are stored with the weights; in an imported encoder they are 0 and 1,
    as GAN-Control has no such scaling. With a single layer GAN-Control ignores s and answers with h numbers.

    Args:
        in_dim: K.
        size: s.
        hidden: h.
        layers: how many layers there are.
        lr_multiplier: of the layers.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, in_dim: int, size: int, *, hidden: int = 512, layers: int = 4, lr_multiplier: float = 0.01
    ) -> None:
        super().__init__()
        widths = [in_dim, *[hidden] * max(layers - 1, 1), *([size] if layers > 1 else [])]
        self.layers = nn.Sequential(
            *(
                FullyConnected(before, after, act="lrelu", lr_multiplier=lr_multiplier)
                for before, after in itertools.pairwise(widths)
            )
        )
        self.register_buffer("mean", torch.zeros(in_dim))
        self.register_buffer("scale", torch.ones(in_dim))

    def forward(self, value: Tensor) -> Tensor:
        """The slice of w [N, s] for values [N, K] in the attribute's unit."""
        return self.layers((value - self.mean) / self.scale)

    @classmethod
    def from_official(cls, tensors: Mapping[str, Tensor], *, lr_multiplier: float = 0.01) -> Encoder:
        """An encoder with the weights of a GAN-Control controller, which also tell its sizes.

        Args:
            tensors: `fc_stack.{i}.{weight, bias}`.
            lr_multiplier: that of the original; 0.01 in all published configurations.

        Raises:
            CheckpointError: names or shapes are not those of a controller.
        """
        count = len(tensors) // 2
        names = {f"{_OFFICIAL}{i}.{part}" for i in range(count) for part in ("weight", "bias")}
        if not count or set(tensors) != names:
            found = ", ".join(sorted(tensors)[:3]) or "nothing"
            raise CheckpointError(f"not a GAN-Control controller: expected fc_stack.0.weight and so on, found {found}")
        shapes = [tuple(tensors[f"{_OFFICIAL}{i}.weight"].shape) for i in range(count)]
        encoder = cls(shapes[0][-1], shapes[-1][0], hidden=shapes[0][0], layers=count, lr_multiplier=lr_multiplier)
        try:
            encoder.layers.load_state_dict({name.removeprefix(_OFFICIAL): tensor for name, tensor in tensors.items()})
        except RuntimeError as error:
            raise CheckpointError(f"not a GAN-Control controller: layers of the shapes {shapes} do not fit") from error
        return encoder


class EncoderControls(ControlSet):
    """The controls of a generator with latent groups: an encoder for each value, seeds for the rest.

    State-dict names: `encoders.{control}.layers.{i}.{weight, bias}`, `encoders.{control}.{mean, scale}`.

    Raises:
        ConfigError: an encoder of one layer whose width is not that of its group.
    """

    def __init__(self, config: EncoderControlsConfig) -> None:
        super().__init__()
        self.config: EncoderControlsConfig = config
        self.slices = group_slices(config.groups)
        self.group_of = {encoder.name: encoder.group for encoder in config.encoders}
        sizes = {group.name: group.size for group in config.groups}
        self.encoders = nn.ModuleDict()
        for encoder in config.encoders:
            size = sizes[encoder.group]
            if encoder.layers == 1 and encoder.hidden != size:
                raise ConfigError(f"encoder {encoder.name}: one layer of {encoder.hidden}, but the group has {size}")
            self.encoders[encoder.name] = Encoder(
                encoder.in_dim,
                size,
                hidden=encoder.hidden,
                layers=encoder.layers,
                lr_multiplier=encoder.lr_multiplier,
            )
        self.controls: Mapping[str, Control] = {encoder.name: encoder.control for encoder in config.encoders} | {
            name: seed_control(_SEED_HELP.get(name, f"{name}: that of the image with this seed"))
            for name in config.seeds
        }

    def check_fits(self, generator: Any) -> None:
        """Raises `ConfigError` unless the generator has the groups that these controls set."""
        groups = getattr(generator.config, "groups", ())
        if tuple(groups) != self.config.groups:
            ours, theirs = (
                ", ".join(f"{group.name} {group.size}" for group in some) or "none"
                for some in (self.config.groups, groups)
            )
            raise ConfigError(f"the controls are made for the latent groups {ours}; the generator has {theirs}")

    def check_together(self, names: set[str]) -> None:
        """Raises `ConfigError` if two of these controls set the same group."""
        by_group: dict[str, str] = {}
        for name in self.controls:
            if name in names:
                group = self.group_of.get(name, name)
                if group in by_group:
                    raise ConfigError(
                        f"controls {by_group[group]!r} and {name!r} both set the latent group {group}: give one of them"
                    )
                by_group[group] = name

    def latents(self, z: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """z [N, D] with the sub-vectors of the groups that are set by a seed."""
        set_here = [name for name in self.config.seeds if name in values]
        if not set_here:
            return z
        z = z.clone()
        for name in set_here:
            z[:, self.slices[name]] = values[name].to(z)[:, self.slices[name]]
        return z

    def steer(self, ws: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """ws [N, L, D] with w_k = E_k(value) in all layers; every other slice is copied bit for bit."""
        set_here = [name for name in self.encoders if name in values]
        if not set_here:
            return ws
        ws = ws.clone(memory_format=torch.contiguous_format)
        for name in set_here:
            w = self.encoders[name](values[name].to(ws))  # [N, s] or [1, s]
            ws[:, :, self.slices[self.group_of[name]]] = w[:, None]
        return ws
