"""Training for control: what the config of phase one holds, and how any preset becomes one with latent groups.

The adversarial training stays as it is. The generator gets one mapping network per group, its mini-batches
are made of pairs, and `gantrol.control.ControlObjective` adds one contrastive term per attribute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gantrol.checkpoint import sha256_of
from gantrol.control.anchors import Anchor
from gantrol.control.calibration import Thresholds
from gantrol.control.objective import ControlObjective, ControlTerm
from gantrol.control.predictors.border import Border
from gantrol.control.predictors.protocol import PredictorSet
from gantrol.errors import CheckpointError, ConfigError
from gantrol.models.controllable import OTHER, ControllableConfig, split_evenly

if TYPE_CHECKING:
    from gantrol.train.config import TrainConfig

ALIASES = {"pose": ("yaw", "pitch", "roll")}
"""Names that stand for several attributes."""

MIN_SHARE = 8
"""Small presets get a wider latent space, so that each attribute has at least so many numbers."""

TERM_WEIGHT = 0.4
"""Weight of each term times its τ⁻: the most that it can cost. In the paper's configurations this is 0.08 to 0.55."""


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig:
    """Real images drawn again from latents that stand for what is read from them; needs anchors. Ours."""

    weight: float = 0.0
    """Weight of the mean absolute difference, at full and at a quarter of the resolution; 0 turns it off."""
    alone_kimg: float = 0.0
    """For so many thousands of images the generator learns from this alone, and the discriminator rests."""
    fade_kimg: float = 20.0
    """After as many more the weight has fallen linearly to a tenth, where it stays."""

    def __post_init__(self) -> None:
        for name in ("weight", "alone_kimg", "fade_kimg"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"control.reconstruction.{name}={getattr(self, name)}: expected 0 or more")

    def weight_at(self, n_img: int) -> float:
        """The weight after `n_img` images."""
        faded = (n_img / 1000 - self.alone_kimg) / max(self.fade_kimg, 1e-8)
        return self.weight * (1 - 0.9 * min(max(faded, 0.0), 1.0))

    def is_alone(self, n_img: int) -> bool:
        """Whether the generator learns from reconstruction alone."""
        return self.weight > 0 and n_img < self.alone_kimg * 1000


@dataclass(frozen=True, kw_only=True)
class ControlConfig:
    """Phase one of GAN-Control; without terms an ordinary training."""

    predictors: str = ""
    """Predictors folder, or the name of bundled ones."""
    predictors_sha256: str = ""
    """Of all their numbers: a resumed run refuses others."""
    terms: tuple[ControlTerm, ...] = ()
    """The contrastive losses, one per attribute."""
    anchors: tuple[Anchor, ...] = ()
    """Values that sub-vectors stand for; none in the paper's training."""
    contrastive_weight: float = 1.0
    """Times the weights of all terms: lower it where the samples please the predictors and look like nothing."""
    anchor_weight: float = 1.0
    """Times the weights of all anchors."""
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    """Learning from real images through the anchors; off in the paper's training."""

    def __post_init__(self) -> None:
        for weight in ("contrastive_weight", "anchor_weight"):
            if not 0 <= getattr(self, weight) < math.inf:
                raise ConfigError(f"control.{weight}={getattr(self, weight)}: expected 0 or more")
        names = [term.attribute for term in self.terms]
        if len(set(names)) != len(names):
            raise ConfigError(f"control.terms: {', '.join(names)}: each attribute only once")
        if self.terms and not self.predictors:
            raise ConfigError("control.terms need control.predictors: a folder of `gantrol control predictors`")
        for anchor in self.anchors:
            if anchor.attribute not in (*names, OTHER):
                raise ConfigError(f"control.anchors: {anchor.attribute!r} is none of the terms' {', '.join(names)}")
        if self.reconstruction.weight > 0 and not self.anchors:
            raise ConfigError("control.reconstruction draws images from anchors: train with --anchors")


def attribute_names(text: str) -> tuple[str, ...]:
    """The attributes that `age,pose,light` stands for, each once: age, yaw, pitch, roll, light.

    Raises:
        ConfigError: there is none.
    """
    names = [name for part in text.split(",") if part.strip() for name in ALIASES.get(part.strip(), (part.strip(),))]
    if not names:
        raise ConfigError(f"control {text!r}: expected names of attributes, for example age,pose,hair_color")
    return tuple(dict.fromkeys(names))


def controllable(
    config: TrainConfig,
    thresholds: Mapping[str, Thresholds],
    *,
    predictors: str,
    predictors_sha256: str,
    anchors: Sequence[Anchor] = (),
    width: int | None = None,
) -> TrainConfig:
    """`config` with latent groups and contrastive terms for the attributes that have thresholds.

    Args:
        config: of an ordinary training, or of one that is controllable already, whose groups then stay.
        thresholds: by attribute, in the order of the groups.
        predictors: folder or name.
        predictors_sha256: of these.
        anchors: of some of the attributes, and of `other`; new mapping networks then learn at the full rate.
        width: of z and w; None: that of the config, or more where an attribute would get too small a share.

    Raises:
        ConfigError: the generator has classes, or its groups are of other attributes.
    """
    g = config.generator
    names = tuple(thresholds)
    if isinstance(g, ControllableConfig):
        groups = [group.name for group in g.groups]
        for name in names:
            if name not in groups:
                raise ConfigError(f"control {name!r}: the model has the groups {', '.join(groups)}; control only these")
        generator = g
    else:
        shares = len(names) + 1 + ("identity" in names)
        width = width or max(g.z_dim, MIN_SHARE * shares)
        widths: dict[str, Any] = {name: width for name in ("z_dim", "w_dim") if hasattr(g, name)}
        base = replace(g, **widths)
        generator = ControllableConfig(
            base=base,
            groups=split_evenly(names, width),
            mapping_layers=getattr(g, "mapping_layers", 2),
            hidden_width=min(g.z_dim, 256),
            lr_multiplier=1.0 if anchors else 0.01,  # what an anchor prescribes is for the mapping networks to learn
        )
    terms = tuple(
        ControlTerm(
            attribute=name,
            weight=round(TERM_WEIGHT / each.different, 4),
            tau_same=each.same,
            tau_different=each.different,
        )
        for name, each in thresholds.items()
    )
    return replace(
        config,
        generator=generator,
        loss=replace(config.loss, style_mixing_prob=0.0),  # a second latent would break the pairs (paper: off)
        control=ControlConfig(
            predictors=predictors, predictors_sha256=predictors_sha256, terms=terms, anchors=tuple(anchors)
        ),
    )


def load_objective(config: ControlConfig, device: torch.device | str, dtype: torch.dtype) -> ControlObjective | None:
    """The objective of a training, None without control.

    Args:
        config: of the control.
        device: of the training.
        dtype: in which the predictors may compute.

    Raises:
        CheckpointError: the predictors cannot be read, or are not those that the run began with; or the run's anchors
            are laid out as an older gantrol did.
    """
    if not config.terms:
        return None
    from gantrol.control.predictors.folder import load_predictors

    predictors = load_predictors(config.predictors)
    if config.predictors_sha256 and sha256_of(predictors.state_dict()) != config.predictors_sha256:
        raise CheckpointError(
            f"{config.predictors}: these are not the predictors that this run began with; put those back, or start a "
            "new run with --init"
        )
    predictors.require([term.attribute for term in config.terms])
    _check_anchors(config.anchors, predictors)
    return ControlObjective(
        config.terms,
        predictors.to(device),
        anchors=config.anchors,
        contrastive_weight=config.contrastive_weight,
        anchor_weight=config.anchor_weight,
        dtype=dtype,
    )


def _check_anchors(anchors: Sequence[Anchor], predictors: PredictorSet) -> None:
    """Raises `CheckpointError` unless as many numbers are anchored as are read."""
    for anchor in anchors:
        readers: list[PredictorSet | Border] = [predictors]
        if anchor.attribute not in predictors.attributes:  # then it is the edge, in grey, RGB or RGBA
            readers = [Border(channels) for channels in (1, 3, 4)]
        counts = {len(reader.attributes[anchor.attribute].components) for reader in readers}
        if not anchor.axes and len(anchor.quantiles) not in counts:
            raise CheckpointError(
                f"control.anchors: {anchor.attribute!r} is anchored in {len(anchor.quantiles)} numbers, but this "
                f"gantrol reads {' or '.join(map(str, sorted(counts)))}: the run is of an older version and cannot go "
                "on; begin a new one with --anchors and --init RUN, which keeps the weights"
            )


def resolved_name(predictors: str | Path) -> str:
    """A predictors folder as an absolute path; a bundled name as it is."""
    path = Path(predictors).expanduser()
    return str(path.resolve()) if path.exists() else str(predictors)
