"""Phase one's part of the generator's loss: one contrastive term per attribute (GAN-Control, section 3.2), and anchors.

N images of a mini-batch · C channels · H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from gantrol.control.anchors import Anchor, with_border
from gantrol.control.contrastive import contrastive_terms
from gantrol.control.pairs import PairPlan, plan_pairs
from gantrol.control.predictors.protocol import PredictorSet
from gantrol.errors import ConfigError
from gantrol.models.controllable import OTHER
from gantrol.ops.parts import drawn, gathered


@dataclass(frozen=True, kw_only=True)
class ControlTerm:
    """The contrastive loss of one attribute."""

    attribute: str
    """Name of the attribute and of its latent group."""
    weight: float = 0.4
    """Weight of the term beside the adversarial loss."""
    tau_same: float = 0.0
    """τ⁺: up to this distance, pairs that share the sub-vector cost nothing."""
    tau_different: float = 1.0
    """τ⁻: from this distance on, all other pairs cost nothing."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ConfigError(f"control.{self.attribute}: weight={self.weight}: expected 0 or more")
        if not 0 <= self.tau_same < self.tau_different < math.inf:
            raise ConfigError(
                f"control.{self.attribute}: tau_same={self.tau_same}, tau_different={self.tau_different}: expected "
                "0 ≤ tau_same < tau_different"
            )


class ControlObjective:
    """Plans the pairs of a batch and measures how well the images keep to the plan.

    Args:
        terms: of the attributes.
        predictors: that read them; on the device of the images.
        anchors: values that sub-vectors stand for, of some of these attributes.
        contrastive_weight: times the weights of all terms.
        anchor_weight: times the weights of all anchors.
        dtype: in which the predictors may compute.

    Raises:
        ConfigError: an attribute that no predictor reads, or no attribute.
    """

    def __init__(
        self,
        terms: Sequence[ControlTerm],
        predictors: PredictorSet,
        *,
        anchors: Sequence[Anchor] = (),
        contrastive_weight: float = 1.0,
        anchor_weight: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not terms:
            raise ConfigError("no attributes to control: name at least one")
        self.terms = tuple(terms)
        self.anchors = {anchor.attribute: anchor for anchor in anchors if anchor.weight > 0}
        self.predictors = with_border(predictors) if OTHER in self.anchors else predictors
        self.contrastive_weight = contrastive_weight
        self.anchor_weight = anchor_weight
        self.dtype = dtype
        self.predictors.require([*(term.attribute for term in terms), *self.anchors])

    def plan(self, count: int) -> PairPlan:
        """Which pair of `count` images shares which group: each attribute's, and `other`, equally often."""
        return plan_pairs(count, [*(term.attribute for term in self.terms), OTHER])

    def __call__(
        self, images: Tensor, plan: PairPlan, z: Tensor, slices: Mapping[str, slice]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of all terms, and what to log.

        The log has, per attribute, `control/<name>/loss` (not weighted), `/same` and `/different`: mean distances of
        the pairs that share its group, if there are any, and of all others; and `/anchor`, if it has one.

        Args:
            images: [N, C, H, W] in [-1, 1].
            plan: which pairs of the whole batch share which group, see `gantrol.ops.parts`.
            z: the latents [N, D] of the images.
            slices: where the groups lie in z.
        """
        names = list(dict.fromkeys([*(term.attribute for term in self.terms), *self.anchors]))
        use_half = self.dtype != torch.float32
        with torch.autocast(images.device.type, self.dtype) if use_half else nullcontext():
            features = self.predictors.features(images, names)
        z = gathered(z)
        whole = {name: gathered(features[name].float()) for name in names}
        total = torch.zeros([], device=images.device)
        stats: dict[str, Tensor] = {}
        for term in self.terms:
            name = term.attribute
            distances = self.predictors.pairwise(name, whole[name])
            found = contrastive_terms(distances, plan.rows(name), term.tau_same, term.tau_different)
            total = total + found.loss * (term.weight * self.contrastive_weight)
            stats |= {f"control/{name}/loss": found.loss, f"control/{name}/different": found.different}
            if found.same is not None:
                stats[f"control/{name}/same"] = found.same
        for name, anchor in self.anchors.items():
            numbers = anchor.numbers(self.predictors, whole[name])
            error = anchor.loss(numbers, z[:, slices[name]])
            total = total + error * (anchor.weight * self.anchor_weight)
            stats[f"control/{name}/anchor"] = error
        return total, {"loss/control": total, **stats}

    def codes(self, images: Tensor, z_dim: int, slices: Mapping[str, slice]) -> Tensor:
        """Latents [N, D] that stand for what is read from images [N, C, H, W]; the rest of them is drawn at random.

        Args:
            images: real ones, in [-1, 1].
            z_dim: D.
            slices: where the groups lie in z.
        """
        z = drawn(len(images), lambda n: torch.randn(n, z_dim, device=images.device))
        with torch.no_grad():
            features = self.predictors.features(images, list(self.anchors))
            for name, anchor in self.anchors.items():
                place = slices[name]
                numbers = anchor.numbers(self.predictors, features[name])
                z[:, place] = anchor.latents(numbers, place.stop - place.start)
        return z
