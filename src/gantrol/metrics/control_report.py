"""The numbers of `gantrol.metrics.control`: as a flat list of named entries, as JSON with every detail, as a table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gantrol.metrics.separability import PERCENTILES, Separability

IDENTITY = "identity"
"""The attribute whose movement says whether the person stays."""
STEPS, DISTANCES = "standard deviations", "of the distance of different samples"
"""Units of leakage: of readings, and of attributes that have only distances."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What was read at each of G values of a sweep: one component of one control."""

    component: str
    """Whose values these are."""
    sweep: str
    """What was swept: `age`, `light.azimuth`."""
    asked: tuple[float, ...]
    """[G]."""
    mean: tuple[float, ...]
    """[G], over identities."""
    std: tuple[float, ...]
    """[G]."""
    mae: tuple[float, ...]
    """[G]."""


@dataclass(frozen=True, kw_only=True)
class ControlScore:
    """How precise one control is, and what else it moves."""

    name: str
    unit: str
    low: tuple[float, ...]
    """Of the range that was asked, K numbers."""
    high: tuple[float, ...]
    components: tuple[str, ...]
    """Names of the K numbers."""
    mae: float
    """Mean absolute error over random requests; of a light the mean angle, of weights that of the one asked."""
    component_mae: tuple[float, ...]
    """Of each number, over the requests that ask for it."""
    component_bias: tuple[float, ...]
    """Mean of reading minus request."""
    component_correlation: tuple[float, ...]
    """Pearson's, over all random requests; NaN where nothing varies."""
    curves: tuple[Curve, ...]
    """The identity lines."""
    moves: Mapping[str, Mapping[str, float]]
    """For each sweep how far every attribute moved, the control's own among them."""
    requests: int
    """Random requests."""

    @property
    def correlation(self) -> float:
        """The mean over the components that have one."""
        return _mean(self.component_correlation)

    @property
    def leakage(self) -> dict[str, float]:
        """How far every other attribute moves, averaged over the sweeps of this control."""
        names = dict.fromkeys(name for move in self.moves.values() for name in move if name != self.name)
        return {name: _mean([move[name] for move in self.moves.values() if name in move]) for name in names}

    @property
    def strongest_leak(self) -> tuple[str, float] | None:
        """The attribute that moves most, identity apart; None if there is no other."""
        others = {name: value for name, value in self.leakage.items() if name != IDENTITY and not math.isnan(value)}
        return max(others.items(), key=lambda pair: pair[1]) if others else None


class OwnError(NamedTuple):
    """How well the second predictors read, on labelled images."""

    value: float
    """Mean absolute error in the attribute's unit; of a light the mean angle."""
    images: int


class Number(NamedTuple):
    """One flat number of a report."""

    value: float
    """NaN where it could not be measured."""
    unit: str
    name: str
    """What it is, for people."""
    samples: int
    """Generated images behind it."""
    reals: int | None = None
    """Images of the dataset behind it."""
    note: str | None = None
    """Why there is no value."""


@dataclass(frozen=True, kw_only=True)
class ControlReport:
    """What `measure_control` finds."""

    scores: Mapping[str, ControlScore]
    """By control."""
    not_measured: Mapping[str, str]
    """Controls and latent groups that were not, and why."""
    predictor_errors: Mapping[str, OwnError]
    """The second predictors' own errors, by `age` or `light.azimuth`."""
    truth: str
    """On what these were measured."""
    same_in_data: Mapping[str, float]
    """Of embeddings that the dataset labels: the mean distance of two images with the same label (two pictures of one
    person), as a share of that of different ones. No sweep can be asked to move the identity less."""
    separability: Mapping[str, Separability]
    """By latent group."""
    disentanglement: Mapping[str, float]
    """DS_i by factor."""
    spread: Mapping[str, tuple[float, ...]]
    """Standard deviation of each reading: what leakage is measured in."""
    units: Mapping[str, str]
    """Of the attributes."""
    samples: int
    """Random requests per control."""
    identities: int
    """Of each sweep."""
    reals: int | None
    """Images of the dataset, if there is one."""
    predictors: str
    """The second set."""
    seed: int

    def numbers(self) -> dict[str, Number]:
        """All numbers by name, for example `control/age/mae` and `control/age/leakage/yaw`."""
        found: dict[str, Number] = {}
        for score in self.scores.values():
            found |= self._of_control(score)
        for name, reason in self.not_measured.items():
            found[f"control/{name}/mae"] = Number(math.nan, "", f"{name}: not measured", 0, note=reason)
        for name, value in self.same_in_data.items():
            title = f"{name}: distance of real images that share it"
            found[f"control/{name}/same_in_data"] = Number(value, DISTANCES, title, 0, self.reals)
        for name, result in self.separability.items():
            key, count = f"control/{name}/separability", 2 * result.pairs
            found[key] = Number(result.score, "share", f"{name}: separability", count)
            middle = PERCENTILES.index(50)
            for kind, values in (("same", result.same), ("nearest", result.nearest), ("others", result.others)):
                title = f"{name}: median distance, {kind}"
                found[f"{key}/{kind}"] = Number(values[middle], "predictor's distance", title, count)
        for factor, value in self.disentanglement.items():
            title = f"{factor}: disentanglement score"
            found[f"control/ds/{factor}"] = Number(value, "ratio", title, self.samples, self.reals)
        return found

    def _of_control(self, score: ControlScore) -> dict[str, Number]:
        key, unit, count = f"control/{score.name}", score.unit or "1", score.requests
        found = {
            f"{key}/mae": Number(score.mae, unit, f"{score.name}: mean absolute error", count),
            f"{key}/correlation": Number(score.correlation, "Pearson r", f"{score.name}: correlation", count),
        }
        several = score.components if len(score.components) > 1 else ()
        for k, part in enumerate(several):
            title = f"{score.name}, {part}"
            found[f"{key}/{part}/mae"] = Number(score.component_mae[k], unit, f"{title}: mean absolute error", count)
            r = score.component_correlation[k]
            found[f"{key}/{part}/correlation"] = Number(r, "Pearson r", f"{title}: correlation", count)
        for title in (score.name, *(f"{score.name}.{part}" for part in several)):
            if title in self.predictor_errors:
                own = self.predictor_errors[title]
                name = f"{title.replace('.', ', ')}: the predictor's own error"
                place = f"control/{title.replace('.', '/')}"
                found[f"{place}/predictor_mae"] = Number(own.value, unit, name, 0, own.images)
        for name, value in score.leakage.items():
            steps = STEPS if name in self.spread else DISTANCES
            images = self.identities * sum(len(curve.asked) for curve in _one_per_sweep(score.curves))
            title = f"{score.name}: leakage to {name}"
            found[f"{key}/leakage/{name}"] = Number(value, steps, title, images, self.reals)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Everything, JSON-ready: curves, the matrix of movements, percentiles, units; what is missing is null."""
        matrix = {sweep: dict(move) for score in self.scores.values() for sweep, move in score.moves.items()}
        record = {
            "predictors": self.predictors,
            "samples": self.samples,
            "sweep_identities": self.identities,
            "reals": self.reals,
            "seed": self.seed,
            "controls": {name: _without(dataclasses.asdict(score), "moves") for name, score in self.scores.items()},
            "leakage": {"rows": "what is swept", "columns": "what moves", "matrix": matrix},
            "spread": self.spread,
            "attribute_units": self.units,
            "predictor_errors": {name: own._asdict() for name, own in self.predictor_errors.items()},
            "predictor_errors_on": self.truth,
            "same_in_data": self.same_in_data,
            "separability": {
                name: dataclasses.asdict(result) | {"percentiles": PERCENTILES}
                for name, result in self.separability.items()
            },
            "disentanglement": self.disentanglement,
            "not_measured": self.not_measured,
        }
        plain: dict[str, Any] = _plain(record)
        return plain

    def rows(self) -> list[tuple[str, ...]]:
        """The table: `COLUMNS` for each control that was measured, and for each component."""
        found: list[tuple[str, ...]] = []
        for score in self.scores.values():
            found.append(self._row(score))
            if len(score.components) > 1:
                for k, part in enumerate(score.components):
                    found.append(
                        (
                            f"  {part}",
                            f"{score.low[k]:.2g} to {score.high[k]:.2g}",
                            _shown(score.component_mae[k]),
                            self._own(f"{score.name}.{part}"),
                            _shown(score.component_correlation[k]),
                            "",
                            "",
                        )
                    )
        return found

    def remarks(self) -> list[str]:
        """What the table needs to be read, and the numbers of latent groups, as lines of text."""
        whose = f"{self.reals:,} images of the dataset" if self.reals else f"{self.samples:,} uncontrolled samples"
        lines = [
            f"error: mean absolute, of {self.samples:,} requests of each control, read by {self.predictors}",
            f"strongest leak: the attribute that moves most along a sweep, in standard deviations over {whose}",
            "identity: how far it moves along a sweep, as a share of the distance between different samples",
        ]
        if self.predictor_errors:
            lines.append(f"reader's: its own mean absolute error on {self.truth}")
        if IDENTITY in self.same_in_data:
            share = self.same_in_data[IDENTITY]
            lines.append(f"for comparison, two images of one person in the dataset: identity {share:.3g}")
        lines += [f"not measured: {name}: {reason}" for name, reason in self.not_measured.items()]
        if self.separability:
            shares = ", ".join(f"{name} {result.score:.2f}" for name, result in self.separability.items())
            lines.append(f"separability of the latent groups (1 best, 0.5 chance): {shares}")
        if self.disentanglement:
            shares = ", ".join(f"{name} {value:.3g}" for name, value in self.disentanglement.items())
            lines.append(f"disentanglement scores: {shares}")
        return lines

    def _own(self, title: str) -> str:
        return _shown(self.predictor_errors[title].value) if title in self.predictor_errors else ""

    def _row(self, score: ControlScore) -> tuple[str, ...]:
        asked = "" if len(score.components) > 1 else f"{score.low[0]:.2g} to {score.high[0]:.2g}"
        leak = score.strongest_leak
        return (
            score.name,
            " ".join(filter(None, [asked, score.unit])),
            _shown(score.mae),
            self._own(score.name),
            _shown(score.correlation),
            f"{leak[0]} {leak[1]:.2f}" if leak else "",
            _shown(score.leakage.get(IDENTITY, math.nan)),
        )


COLUMNS = ("control", "asked", "error", "reader's", "r", "strongest leak", "identity")
"""Of `ControlReport.rows`."""


def _one_per_sweep(curves: Sequence[Curve]) -> list[Curve]:
    return list({curve.sweep: curve for curve in curves}.values())


def _shown(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"


def _mean(values: Sequence[float]) -> float:
    """The mean of what is known; NaN if nothing is."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _without(record: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != name}


def _plain(value: Any) -> Any:
    """JSON-ready: NaN and infinities are null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
