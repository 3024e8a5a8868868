"""Finds directions for any generator: readings of its own images, the spread of w, and its weights.

N images · D features of w · F features of a linear model · K numbers.

1. z ~ N(0, 1) → w → image → readings of the attributes.
2. One ridge regression per number, from w; the normal of its level sets is the direction in which the reading rises
   fastest (Shen et al. 2020, "InterFaceGAN", who take the normal of a classifier's plane).
3. Conditioned: each direction is freed from what it would change of the other readings, as in InterFaceGAN, but for all
   of them at once: D = A⁺, the pseudo-inverse, has a_j·d_k = 0 for j ≠ k.
4. A fifth of the images takes no part and says how far the linear model can be trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gantrol.control.directions import Direction, DirectionControls, DirectionsConfig, Source
from gantrol.control.factorization import factorized_directions
from gantrol.control.pca import Axes, axes_along, covariance_of, principal_axes
from gantrol.control.predictors import Attribute, PredictorSet
from gantrol.control.readings import Samples, check_readable, sample_readings, sample_w
from gantrol.control.ridge import LinearFit, ridge
from gantrol.controls import Control
from gantrol.errors import ConfigError
from gantrol.models.latent_generator import LatentMapping
from gantrol.models.protocols import Generator

Step = Literal["shortest", "likeliest"]
"""Which of the many steps that change a reading is taken: the shortest in w, which is the normal of the reading's level
sets, or the one that is shortest in standard deviations of w, which stays where w usually is."""

_LEAST_SAMPLES = 20
_HELD_OUT = 0.2
_EXTREMES = 0.01  # share of the samples beyond each end of a control's range
_REACH = 3.0  # standard deviations, of the unsupervised controls


class Trust(NamedTuple):
    """How well a linear model tells one number from w, in images that it was not fitted to."""

    attribute: str
    component: str
    """Name of the number."""
    unit: str
    r2: float
    """Share of the variance that is explained; below 0 if the mean would do better."""
    mean_absolute_error: float
    """In the unit."""
    spread: float
    """Standard deviation of the readings, in the unit."""
    is_used: bool
    """Whether the number can be set; it cannot if `r2` is too small."""


class DirectionFit(NamedTuple):
    """Controls, and how far to trust them."""

    controls: DirectionControls
    trust: list[Trust]
    """One for each number of each attribute, those that were left out among them."""


def fit_directions(
    generator: Generator,
    predictors: PredictorSet | None = None,
    attributes: Sequence[str] | None = None,
    *,
    samples: int = 4000,
    pca: int = 0,
    factors: int = 0,
    layers: Sequence[int] | None = None,
    is_conditional: bool = True,
    step: Step = "shortest",
    least_r2: float = 0.1,
    seed: int = 0,
    batch_size: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> DirectionFit:
    """Directions that control a generator, whatever it was trained for.

    Args:
        generator: a `gantrol.models.Generator` in evaluation mode.
        predictors: what reads the attributes, on the generator's device; None for unsupervised directions only.
        attributes: what shall be controlled; by default everything that the predictors read as numbers.
        samples: images to read.
        pca: controls `pca1`, `pca2`, … along so many principal components of w.
        factors: controls `factor1`, … along so many factors of the weights.
        layers: copies of w to move; None for all.
        is_conditional: make each attribute's direction leave the linear readings of the others alone.
        step: "shortest" or "likeliest", see `Step`.
        least_r2: numbers of which the linear model explains less in held-out images cannot be set.
        seed: of the random latents.
        batch_size: images at a time.
        progress: called with (done, total): first of latents, where their spread is needed, then of images.

    Raises:
        ConfigError: an attribute that cannot be read or that w does not tell, more components than w has dimensions,
            layers that are not there, or nothing to fit.
        DataError: a reading is not a finite number.

    Source: Shen et al. 2020 (InterFaceGAN), Härkönen et al. 2020 (GANSpace), Shen & Zhou 2021 (SeFa).
    """
    moved = _checked_layers(generator, layers)
    names = _checked_attributes(predictors, attributes)
    _check_counts(generator, names, samples, pca, factors)
    needs_spread = bool(pca or factors or step == "likeliest")
    w = sample_w(generator, seed, progress) if needs_spread else torch.zeros(1, generator.w_dim)
    parts: list[_Part] = []
    if pca:
        parts += _unsupervised("pca", principal_axes(w, pca), w)
    if factors:
        directions = factorized_directions(generator, factors, layers=moved)
        parts += _unsupervised("factorization", axes_along(directions, w, "factors"), w)
    trust: list[Trust] = []
    if predictors is not None and names:
        sampled = sample_readings(
            generator, predictors, names, samples, layers=moved, seed=seed, batch_size=batch_size, progress=progress
        )
        fit, trust = _fit(sampled, predictors, least_r2)
        metric = torch.eye(generator.w_dim).double() if step == "shortest" else covariance_of(w)
        parts = _supervised(fit, trust, sampled, predictors, metric, is_conditional) + parts
    config = DirectionsConfig(
        w_dim=generator.w_dim,
        num_ws=generator.num_ws,
        layers=tuple(moved),
        is_conditional=is_conditional,
        directions=tuple(part.direction for part in parts),
    )
    controls = config.build()
    with torch.no_grad():
        controls.weight.copy_(torch.cat([part.weight for part in parts]))
        controls.direction.copy_(torch.cat([part.steps for part in parts]))
        controls.bias.copy_(torch.cat([part.bias for part in parts]))
        controls.weight_others.copy_(torch.cat([part.others for part in parts]))
    return DirectionFit(controls.eval().requires_grad_(False), trust)


class _Part(NamedTuple):
    """The rows of one control."""

    direction: Direction
    weight: Tensor
    others: Tensor
    bias: Tensor
    steps: Tensor


def _checked_layers(generator: Generator, layers: Sequence[int] | None) -> list[int]:
    chosen = sorted(set(range(generator.num_ws) if layers is None else layers))
    if not chosen or chosen[0] < 0 or chosen[-1] >= generator.num_ws:
        raise ConfigError(f"layers {chosen}: this model has the layers 0 to {generator.num_ws - 1}")
    return chosen


def _checked_attributes(predictors: PredictorSet | None, attributes: Sequence[str] | None) -> list[str]:
    if predictors is None:
        if attributes:
            raise ConfigError(f"attributes {', '.join(attributes)} need predictors that read them")
        return []
    if attributes is None:
        return [name for name, attribute in predictors.attributes.items() if attribute.components]
    check_readable(predictors, attributes)
    return list(dict.fromkeys(attributes))


def _check_counts(generator: Generator, names: Sequence[str], samples: int, pca: int, factors: int) -> None:
    if not names and not pca and not factors:
        raise ConfigError("there is nothing to fit: give predictors, or a number of principal components or factors")
    if names and samples < _LEAST_SAMPLES:
        raise ConfigError(f"{samples} samples: expected at least {_LEAST_SAMPLES}, better thousands")
    for count, what in ((pca, "principal components"), (factors, "factors")):
        if not 0 <= count <= generator.w_dim:
            raise ConfigError(f"{count} {what}: expected 0 to {generator.w_dim}, the width of w")
    if pca and isinstance(generator.mapping, LatentMapping):
        raise ConfigError(
            f"principal components: w of a {generator.config.kind} model is z itself, which varies alike in all "
            "directions; take factors instead"
        )


# ----------------------------------------------------------------------------------------------------------------------
# Directions from readings


def _fit(sampled: Samples, predictors: PredictorSet, least_r2: float) -> tuple[LinearFit, list[Trust]]:
    """The linear models of all numbers, and how well each does on the samples that were held out."""
    x = sampled.moved if sampled.others is None else torch.cat([sampled.moved, sampled.others], dim=1)  # [N, F]
    y = torch.cat(list(sampled.readings.values()), dim=1).double()  # [N, K]
    held_out = max(round(len(x) * _HELD_OUT), 2)
    fit = ridge(x[:-held_out], y[:-held_out])
    truth = y[-held_out:]
    residual = truth - fit.predict(x[-held_out:])
    variance = (truth - truth.mean(dim=0)).square().mean(dim=0)
    r2 = torch.where(variance > 0, 1 - residual.square().mean(dim=0) / variance, 0.0).tolist()
    error, spread = residual.abs().mean(dim=0).tolist(), y.std(dim=0).tolist()
    trust: list[Trust] = []
    for name in sampled.readings:
        attribute = predictors.attributes[name]
        for component in attribute.components:
            k = len(trust)
            is_used = r2[k] >= least_r2 and bool(fit.weight[k].any())
            trust.append(Trust(name, component, attribute.unit, r2[k], error[k], spread[k], is_used))
    if not any(row.is_used for row in trust):
        best = max(trust, key=lambda row: row.r2)
        raise ConfigError(
            f"w tells none of {', '.join(sampled.readings)} linearly: the best is {best.attribute} with a held-out R² "
            f"of {best.r2:.2f}, below {least_r2:g}; take more samples or other predictors"
        )
    return fit, trust


def _supervised(
    fit: LinearFit,
    trust: Sequence[Trust],
    sampled: Samples,
    predictors: PredictorSet,
    metric: Tensor,
    is_conditional: bool,
) -> list[_Part]:
    width = len(metric)
    weight = fit.weight[:, :width]
    others = fit.weight[:, width:] if sampled.others is not None else torch.zeros_like(weight)
    used = [k for k, row in enumerate(trust) if row.is_used]
    steps = torch.zeros_like(weight)
    steps[used] = _steps(weight[used], metric, is_conditional)
    parts, start = [], 0
    for name, readings in sampled.readings.items():
        rows = slice(start, start + readings.shape[1])
        start = rows.stop
        if any(row.is_used for row in trust[rows]):
            direction = _direction(name, predictors.attributes[name], readings, trust[rows])
            parts.append(_Part(direction, weight[rows], others[rows], fit.bias[rows], steps[rows]))
    return parts


def _steps(weight: Tensor, metric: Tensor, is_conditional: bool) -> Tensor:
    """For each reading A [K, D] the step in w [K, D] that raises it by 1 and is shortest by a metric P [D, D].

    Alone it is P·a/(aᵀ·P·a). Conditioned, with nothing changed of the others, the steps are P·Aᵀ·(A·P·Aᵀ)⁺.
    """
    effect = weight @ metric @ weight.T  # [K, K]
    if not is_conditional:
        return weight @ metric / effect.diagonal()[:, None]
    # Readings differ in unit by orders of magnitude: the inverse is taken of numbers about 1.
    scale = effect.diagonal().rsqrt()
    inverse = torch.linalg.pinv(effect * scale[:, None] * scale, rtol=1e-6) * scale[:, None] * scale
    return inverse @ weight @ metric


def _direction(name: str, attribute: Attribute, readings: Tensor, trust: Sequence[Trust]) -> Direction:
    ends = torch.quantile(readings.double(), torch.tensor([_EXTREMES, 1 - _EXTREMES]).double(), dim=0)
    low, high = ([_rounded(value) for value in row] for row in ends.tolist())
    for k, (lowest, highest) in enumerate(zip(attribute.low, attribute.high, strict=True)):
        low[k], high[k] = max(low[k], lowest), min(high[k], highest)
        if low[k] >= high[k]:  # all readings are alike, or all beyond what is sensible
            low[k], high[k] = lowest, highest
    means = map(_rounded, readings.double().mean(dim=0).tolist())
    default = [min(max(mean, a), b) for mean, a, b in zip(means, low, high, strict=True)]
    is_one = len(trust) == 1
    told = ", ".join(
        f"{'' if is_one else row.component + ' '}R² {row.r2:.2f}, error {row.mean_absolute_error:.2g}" for row in trust
    )
    missing = [row.component for row in trust if not row.is_used]
    note = f"a line in w; held out: {told}" + (f"; not set: {', '.join(missing)}" if missing else "")
    control = Control(
        unit=attribute.unit,
        low=low[0] if is_one else tuple(low),
        high=high[0] if is_one else tuple(high),
        default=default[0] if is_one else tuple(default),
        help=f"{attribute.help} ({note})" if attribute.help else note,
        components=() if is_one else attribute.components,
        is_implicit=True,
    )
    return Direction(
        name=name,
        source="predictor",
        control=control,
        is_linear=tuple(row.is_used for row in trust),
        r2=tuple(row.r2 for row in trust),
        mean_absolute_error=tuple(row.mean_absolute_error for row in trust),
    )


def _rounded(value: float) -> float:
    """To four digits, which is all that a control's range needs."""
    return float(f"{value:.4g}")


# ----------------------------------------------------------------------------------------------------------------------
# Directions without labels


def _unsupervised(source: Source, axes: Axes, w: Tensor) -> list[_Part]:
    """Controls along axes of w, in standard deviations from the mean of the samples w [N, D]."""
    mean = w.double().mean(dim=0)
    prefix, text = {
        "pca": ("pca", "principal component of w"),
        "factorization": ("factor", "factor of the weights that take w"),
    }[source]
    parts = []
    for k, (vector, deviation) in enumerate(zip(axes.directions, axes.deviations, strict=True)):
        weight = (vector / deviation)[None]
        control = Control(
            unit="standard deviations",
            low=-_REACH,
            high=_REACH,
            default=0.0,
            help=f"{text} no. {k + 1} (found without labels: sweep it to see what it means)",
            is_implicit=True,
        )
        direction = Direction(name=f"{prefix}{k + 1}", source=source, control=control, is_linear=(True,))
        parts.append(_Part(direction, weight, torch.zeros_like(weight), -(weight @ mean), (vector * deviation)[None]))
    return parts
