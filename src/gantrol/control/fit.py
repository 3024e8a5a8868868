"""Phase two of GAN-Control: encoders that answer a value with the part of w that has it (section 3.3).

First the encoders learn from samples (w, readings): |E_k(y_k) − w_k|, for all attributes side by side. Many w_k belong
to one y_k, so what they learn is a median, and the image made with it need not read exactly y_k. So they are then
refined through the generator, with the loss that the paper's configurations name and switch off: E_k(y_k) is put into
other samples' w, the image is made and read, and |reading − y_k| is lowered, while E_k(y_k) stays near the first answer
and the attributes that were not asked for stay near what they were.

N images of a mini-batch · D features of w · L copies of w · K numbers of a value · s features of one group.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from gantrol import checkpoint
from gantrol.control.attribute_samples import AttributeSamples, read_images, stream
from gantrol.control.encoders import Encoder, EncoderConfig, EncoderControls, EncoderControlsConfig
from gantrol.control.predictors.protocol import Attribute, PredictorSet, are_probabilities
from gantrol.controls import Control
from gantrol.errors import ConfigError, nearest
from gantrol.models.controllable import OTHER, LatentGroup

Progress = Callable[[int, int], None]

SET_BY_SEED = ("identity", "style", OTHER)
"""Groups that may go without a predictor: they are set by a seed."""
STATE = "fit.safetensors"
"""Name of the file in the work folder from which a stopped fit goes on."""

_SAVE_EVERY_S = 20.0
_CHECK_EVERY = 25
_PATIENCE = 8  # checks without a better score, after which refining stops
_BLOCK = 16  # steps whose samples are read together
_FIT, _REFINE, _CHECK, _MEASURE = range(4)  # random streams


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How encoders are trained; where nothing else is said, as in the paper."""

    hidden: int = 256
    """Width of the encoders (paper: 512)."""
    layers: int = 4
    """Layers of the encoders."""
    lr_multiplier: float = 0.1
    """Learning-rate multiplier of their layers (paper: 0.01, with up to 800 000 steps)."""
    loss: Literal["l1", "mse"] = "l1"
    """Of E_k(y_k) and w_k."""
    steps: int = 10_000
    """Steps on the samples."""
    batch: int = 128
    """Samples per step."""
    learning_rate: float = 0.002 * 4 / 5
    """Of Adam with β = (0, 0.99^(4/5)); falls to 0 along a cosine."""
    refine_steps: int = 300
    """At most so many steps through the generator; 0: none."""
    refine_batch: int = 32
    """Images per such step."""
    refine_learning_rate: float = 0.005
    """Of the same Adam in these steps."""
    anchor_weight: float = 0.1
    """Weight of |E_k(y_k) − its first answer|, in standard deviations of w_k, when refining."""
    leak_weight: float = 0.2
    """Weight of |reading − reading before|, in standard deviations, of attributes that were not asked for."""
    check_images: int = 256
    """Held-out images on which precision is measured."""
    seed: int = 0
    """Of weights and mini-batches."""

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "batch", "refine_batch", "check_images"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: expected 1 or more")
        for name in ("steps", "refine_steps", "anchor_weight", "leak_weight", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}: expected 0 or more")
        for name in ("lr_multiplier", "learning_rate", "refine_learning_rate"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)}: expected a positive number")


@dataclass(frozen=True, kw_only=True)
class ControlReport:
    """What is measured of one control on held-out samples; errors are mean absolute ones."""

    control: Control
    """Its range, default and unit."""
    w_error: float
    """|E_k(y) − w_k|."""
    w_error_of_median: float
    """|median of w_k − w_k|: what an encoder that ignores its value would reach."""
    before: tuple[float, ...]
    """|asked − measured| of each component, in the control's unit, before refining."""
    after: tuple[float, ...]
    """The same of the finished encoder."""

    def to_dict(self) -> dict[str, Any]:
        """The report as a JSON-ready object."""
        control = self.control
        return {
            "unit": control.unit,
            "components": list(control.components),
            "low": control.low,
            "high": control.high,
            "default": control.default,
            "w_error": self.w_error,
            "w_error_of_median": self.w_error_of_median,
            "error_before_refining": list(self.before),
            "error": list(self.after),
            "mean_absolute_error": sum(self.after) / len(self.after),
        }


def choose_attributes(
    groups: Iterable[LatentGroup], attributes: Mapping[str, Attribute], only: Sequence[str] | None = None
) -> list[str]:
    """The groups that get an encoder: those whose attribute can be read; the others are set by a seed.

    Args:
        groups: of the generator.
        attributes: that the predictors know.
        only: names of groups, if not all of them shall be fitted.

    Raises:
        ConfigError: the generator has no groups, or one is to be fitted that no predictor reads.
    """
    names = [group.name for group in groups]
    if not names:
        raise ConfigError(
            "this model has no latent groups, so no value can be fitted to it: train one with `gantrol train "
            "--control`, or find implicit controls with `gantrol control directions`"
        )
    readable = [name for name in names if name in attributes and attributes[name].components]
    if only is not None:
        for name in only:
            if name not in names:
                raise ConfigError(f"{name!r} is no latent group of this model; {nearest(name, names)}")
            if name not in readable:
                raise ConfigError(f"no predictor reads {name!r} as numbers, only {', '.join(readable) or 'nothing'}")
        return [name for name in names if name in only]
    for name in names:
        if name not in attributes and name not in SET_BY_SEED:
            rest = ",".join(readable) or "the attributes that are read"
            raise ConfigError(
                f"no predictor reads {name!r}, a latent group of this model: give predictors that do, or leave it to "
                f"the seed with --only {rest}"
            )
    if not readable:
        raise ConfigError(f"the predictors read none of the model's groups {', '.join(names)}: give others")
    return readable


def control_of(attribute: Attribute, readings: Tensor) -> Control:
    """A control whose range is the 1st to 99th percentile of what was read, its default the median.

    Weights (unit "0-1") and probabilities of several named things rest at their lowest instead: nothing of each. So
    what is not named does not compete with what is.

    Args:
        attribute: unit, components, limits and help.
        readings: [N, K].

    Raises:
        ConfigError: the readings are all the same.
    """
    limits = torch.tensor([attribute.low, attribute.high], dtype=torch.float64)
    seen = readings.double().quantile(torch.tensor([0.01, 0.5, 0.99], dtype=torch.float64), dim=0)  # [3, K]
    low, middle, high = seen.maximum(limits[0]).minimum(limits[1])
    if bool((high <= low).all()):
        raise ConfigError(f"attribute ({attribute.unit}): the predictors read the same value in every image")
    if are_probabilities(readings) or (attribute.unit == "0-1" and len(attribute.components) > 1):
        middle = low
    rows = [[float(f"{value:.3g}") for value in row] for row in (low, middle, high)]
    rows[2] = [max(high, low + 1e-3 * max(abs(low), 1)) for low, high in zip(rows[0], rows[2], strict=True)]
    rows[1] = [min(max(middle, low), high) for low, middle, high in zip(*rows, strict=True)]
    is_single = len(attribute.components) == 1
    low_, middle_, high_ = (row[0] if is_single else tuple(row) for row in rows)
    components = () if is_single else attribute.components
    return Control(attribute.unit, low_, high_, middle_, attribute.help, components=components)


class ControlFitter:
    """One fit: call `fit`, then `refine`, then `result`. Each goes on from where a stopped one left the state file.

    Args:
        generator: with latent groups, in evaluation mode.
        predictors: that read the attributes, on the same device.
        samples: of this generator, read by these predictors.
        names: groups that get an encoder, see `choose_attributes`.
        config: how.
        state: file in which the work is kept while it goes on; one of other settings is replaced. None: nowhere.

    Raises:
        ConfigError: the readings do not vary.
        CheckpointError: the state file is damaged.
    """

    def __init__(
        self,
        generator: Any,
        predictors: PredictorSet,
        samples: AttributeSamples,
        names: Sequence[str],
        config: FitConfig,
        *,
        state: str | Path | None = None,
    ) -> None:
        self.config, self.names, self.samples = config, tuple(names), samples
        self._generator, self._predictors = generator, predictors
        self._device = next(generator.parameters()).device
        self._state = None if state is None else Path(state)
        self._readings = {name: samples.readings[name].to(self._device) for name in self.names}
        attributes = predictors.attributes
        known = {name: control_of(attributes[name], samples.readings[name]) for name in self.names}
        groups: tuple[LatentGroup, ...] = generator.config.groups
        controls = EncoderControlsConfig(
            groups=groups,
            encoders=tuple(
                EncoderConfig(
                    name=name,
                    group=name,
                    control=known[name],
                    hidden=config.hidden,
                    layers=config.layers,
                    lr_multiplier=config.lr_multiplier,
                )
                for name in self.names
            ),
            seeds=tuple(group.name for group in groups if group.name not in self.names),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.controls = controls.build().to(self._device)
        self._low: dict[str, Tensor] = {}  # [1, K] each
        self._high: dict[str, Tensor] = {}
        self._default: dict[str, Tensor] = {}
        self._spread: dict[str, Tensor] = {}
        for name, reading in self._readings.items():
            control = known[name]
            low, high, default = (
                torch.tensor(value, dtype=torch.float32, device=self._device).reshape(1, -1)
                for value in (control.low, control.high, control.default)
            )
            self._low[name], self._high[name], self._default[name] = low, high, default
            train = reading[: samples.train_count]
            # What hardly ever varies is not blown up by its small deviation.
            self._spread[name] = train.std(dim=0, keepdim=True).maximum(0.1 * (high - low))  # [1, K]
            encoder = self._encoder(name)
            encoder.mean.copy_(train.mean(dim=0))
            encoder.scale.copy_(self._spread[name][0])
        some = samples.w(torch.arange(0, samples.train_count, max(samples.train_count // 5000, 1))).to(self._device)
        self._w_spread = {name: some[:, self.controls.slices[name]].std().clamp_min(1e-6) for name in self.names}
        self._median = some.median(dim=0).values  # [D]
        self._adam = self._new_adam(config.learning_rate)
        self._anchor = copy.deepcopy(self.controls.encoders)
        self._best = {name: value.clone() for name, value in self.controls.state_dict().items()}
        self._done = {"fit": 0, "refine": 0}
        self._best_score, self._since_best = float("inf"), 0
        self._before: dict[str, list[float]] | None = None
        self._saved_at = time.monotonic()
        self._restore()

    # ----------------------------------------------------------------------------------------------------------
    # On the samples

    def fit(self, progress: Progress | None = None) -> None:
        """Trains the encoders on the samples; `progress` is called with (done, total) steps."""
        config = self.config
        for step, rows, w in self._mini_batches(self._done["fit"]):
            self._set_rate(config.learning_rate, step, config.steps)
            losses = []
            for name in self.names:
                found = self._encoder(name)(self._readings[name][rows])  # [N, s]
                error = found - w[:, self.controls.slices[name]]
                losses.append(error.abs().mean() if config.loss == "l1" else error.square().mean())
            self._step(torch.stack(losses).sum())  # the encoders share nothing, so each has its own loss
            self._done["fit"] = step + 1
            self._keep(progress, step + 1, config.steps)
        if not self._done["refine"]:
            self._anchor = copy.deepcopy(self.controls.encoders).requires_grad_(False)
            self._best = {name: value.clone() for name, value in self.controls.state_dict().items()}
            self._save()

    def _mini_batches(self, start: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(step, rows [N], w [N, D]) from a step on, which follow from the seed and the step; the mapped files are
        asked for the rows of several steps at once."""
        config = self.config
        for first in range(start - start % _BLOCK, config.steps, _BLOCK):
            rng = torch.Generator().manual_seed(stream(config.seed, _FIT, first))
            rows = torch.randint(self.samples.train_count, [_BLOCK * config.batch], generator=rng)
            batches = self.samples.w(rows).to(self._device).split(config.batch)
            for step, some, w in zip(
                itertools.count(first), rows.to(self._device).split(config.batch), batches, strict=False
            ):
                if start <= step < config.steps:
                    yield step, some, w

    def held_out_errors(self) -> dict[str, tuple[float, float]]:
        """For each control |E_k(y) − w_k| on the held-out samples, and the same of the median of all w_k."""
        rows = torch.arange(self.samples.train_count, len(self.samples))
        sums = {name: [0.0, 0.0] for name in self.names}
        with torch.no_grad():
            for some in rows.split(1000):
                w = self.samples.w(some).to(self._device)
                for name in self.names:
                    part = w[:, self.controls.slices[name]]
                    found = self._encoder(name)(self._readings[name][some.to(self._device)])
                    for place, answer in enumerate((found, self._median[self.controls.slices[name]])):
                        sums[name][place] += float((answer - part).abs().mean(dim=1).sum())
        return {name: (errors[0] / len(rows), errors[1] / len(rows)) for name, errors in sums.items()}

    # ----------------------------------------------------------------------------------------------------------
    # Through the generator

    def refine(self, progress: Progress | None = None) -> None:
        """Lowers |asked − measured|; stops early when held-out precision gets no better; keeps the best.

        Args:
            progress: called with (done, total) steps.
        """
        config = self.config
        if self._before is None:
            self._before = self.measure()
        if not self._done["refine"]:
            self._adam = self._new_adam(config.refine_learning_rate)
            self._best_score = self._score() if config.refine_steps else 0.0
        for step in range(self._done["refine"], config.refine_steps):
            self._set_rate(config.refine_learning_rate, step, config.refine_steps)
            self._refine_step(step)
            if (step + 1) % _CHECK_EVERY == 0 or step + 1 == config.refine_steps:
                score = self._score()
                self._since_best += 1
                if score < self._best_score:
                    self._best_score, self._since_best = score, 0
                    self._best = {name: value.clone() for name, value in self.controls.state_dict().items()}
            self._done["refine"] = step + 1
            if self._since_best >= _PATIENCE:
                self._done["refine"] = config.refine_steps
            self._keep(progress, self._done["refine"], config.refine_steps)
            if self._since_best >= _PATIENCE:
                break
        self.controls.load_state_dict(self._best)
        self._save()

    def measure(self, progress: Progress | None = None) -> dict[str, list[float]]:
        """|asked − measured| of each component in its unit, one control set at a time on held-out samples.

        Args:
            progress: called with (done, total) images.
        """
        count = self.config.check_images
        rng = torch.Generator().manual_seed(stream(self.config.seed, _MEASURE))
        rows = self._held_out(count, rng)
        errors = {}
        for place, name in enumerate(self.names):
            asked = self._ask(name, count, rng)
            parts = []
            for some, values in zip(
                rows.split(self.config.refine_batch), asked.split(self.config.refine_batch), strict=True
            ):
                with torch.no_grad():
                    w = self._replaced(self.samples.w(some).to(self._device), {name: self._encoder(name)(values)})
                    parts.append((self._read(w, [name])[name] - values).abs())
                if progress is not None:
                    progress(place * count + sum(map(len, parts)), len(self.names) * count)
            errors[name] = torch.cat(parts).mean(dim=0).tolist()
        return errors

    def result(self, progress: Progress | None = None) -> tuple[EncoderControls, dict[str, ControlReport]]:
        """The finished controls, and what is measured of each; `progress` is called with (done, total) images."""
        w_errors = self.held_out_errors()
        after = self.measure(progress)
        before = self._before or after
        reports = {
            name: ControlReport(
                control=self.controls.controls[name],
                w_error=w_errors[name][0],
                w_error_of_median=w_errors[name][1],
                before=tuple(before[name]),
                after=tuple(after[name]),
            )
            for name in self.names
        }
        return self.controls.eval().requires_grad_(False), reports

    def _refine_step(self, step: int) -> None:
        config = self.config
        rng = torch.Generator().manual_seed(stream(config.seed, _REFINE, step))
        rows = torch.randint(self.samples.train_count, [config.refine_batch], generator=rng)
        error, leak, drift = self._errors(rows, rng, is_training=True)
        self._step(error + config.leak_weight * leak + config.anchor_weight * drift)

    def _score(self) -> float:
        """Error and leak on held-out samples, always the same ones."""
        rng = torch.Generator().manual_seed(stream(self.config.seed, _CHECK))
        total = 0.0
        batches = self._held_out(self.config.check_images, rng).split(self.config.refine_batch)
        with torch.no_grad():
            for rows in batches:
                error, leak, _ = self._errors(rows, rng, is_training=False)
                total += len(rows) * float(error + self.config.leak_weight * leak)
        return total / self.config.check_images

    def _errors(self, rows: Tensor, rng: torch.Generator, *, is_training: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Sets a random half of the controls in these samples and looks at the images.

        Returns:
            In standard deviations: how far what was asked for is missed; how far the other attributes move; how far the
            encoders have moved from their first answer (0 unless training).
        """
        count, place = len(rows), {name: i for i, name in enumerate(self.names)}
        is_set = torch.rand(count, len(self.names), generator=rng) < 0.5
        is_set[torch.arange(count), torch.randint(len(self.names), [count], generator=rng)] = True
        is_set = is_set.to(self._device)  # [N, controls]
        asked = {name: self._ask(name, count, rng) for name in self.names}
        answers = {name: self._encoder(name)(asked[name]) for name in self.names}
        w = self.samples.w(rows).to(self._device)
        kept = {name: w[:, self.controls.slices[name]] for name in self.names}
        used = {name: torch.where(is_set[:, place[name], None], answers[name], kept[name]) for name in self.names}
        readings = self._read(self._replaced(w, used), self.names)
        rows = rows.to(self._device)
        wanted = {
            name: torch.where(is_set[:, place[name], None], asked[name], self._readings[name][rows])
            for name in self.names
        }
        missed = torch.stack(
            [((readings[name] - wanted[name]) / self._spread[name]).abs().mean(dim=1) for name in self.names], dim=1
        )  # [N, controls]
        error = (missed * is_set).sum() / is_set.sum()
        leak = (missed * ~is_set).sum() / (~is_set).sum().clamp_min(1)
        drift = missed.new_zeros([])
        if is_training:
            with torch.no_grad():
                first = {name: cast(Encoder, self._anchor[name])(asked[name]) for name in self.names}
            drift = torch.stack(
                [(answers[name] - first[name]).abs().mean() / self._w_spread[name] for name in self.names]
            ).mean()
        return error, leak, drift

    def _ask(self, name: str, count: int, rng: torch.Generator) -> Tensor:
        """Values [count, K] within the range, of three sorts in equal parts: as they occur together in the samples,
        anything in the range, and the default but for one component, which is how people ask."""
        low, high = self._low[name].cpu(), self._high[name].cpu()
        seen = self.samples.readings[name]
        values = seen[torch.randint(len(seen), [count], generator=rng)].maximum(low).minimum(high)  # [count, K]
        anywhere = low + (high - low) * torch.rand(count, low.shape[1], generator=rng)
        is_one = torch.nn.functional.one_hot(torch.randint(low.shape[1], [count], generator=rng), low.shape[1]).bool()
        alone = torch.where(is_one, anywhere, self._default[name].cpu())
        sort = torch.randint(3, [count, 1], generator=rng)
        return torch.where(sort == 0, values, torch.where(sort == 1, anywhere, alone)).to(self._device)

    def _held_out(self, count: int, rng: torch.Generator) -> Tensor:
        first = self.samples.train_count
        return first + torch.randint(len(self.samples) - first, [count], generator=rng)

    def _replaced(self, w: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        """w [N, D] with the slices of some groups replaced."""
        w = w.clone()
        for name, part in parts.items():
            w[:, self.controls.slices[name]] = part
        return w

    def _read(self, w: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Readings [N, K] of the images of w [N, D]."""
        ws = w[:, None].expand(-1, self._generator.num_ws, -1)
        images = self._generator.synthesis(ws, noise_mode="const").clamp(-1, 1)
        return read_images(self._predictors, names, images)

    # ----------------------------------------------------------------------------------------------------------
    # Steps and state

    def _encoder(self, name: str) -> Encoder:
        return cast(Encoder, self.controls.encoders[name])

    def _new_adam(self, rate: float) -> torch.optim.Adam:
        return torch.optim.Adam(self.controls.parameters(), lr=rate, betas=(0.0, 0.99 ** (4 / 5)), fused=True)

    def _set_rate(self, rate: float, step: int, steps: int) -> None:
        share = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / steps)).item())
        for group in self._adam.param_groups:
            group["lr"] = rate * share

    def _step(self, loss: Tensor) -> None:
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        self._adam.step()

    def _keep(self, progress: Progress | None, done: int, total: int) -> None:
        if time.monotonic() - self._saved_at > _SAVE_EVERY_S:
            self._save()
        if progress is not None:
            progress(done, total)

    def _settings(self) -> dict[str, Any]:
        """What a state must agree on with the fit that shall go on from it."""
        return {
            **dataclasses.asdict(self.config),
            "attributes": list(self.names),
            "samples": len(self.samples),
            "generator": self.samples.manifest["generator_sha256"],
            "predictors": self.samples.manifest["predictors_sha256"],
            "samples seed": self.samples.manifest["seed"],
        }

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if self._state is None:
            return
        tensors = {f"controls.{name}": value for name, value in self.controls.state_dict().items()}
        tensors |= {f"anchor.{name}": value for name, value in self._anchor.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        for index, entry in self._adam.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": torch.as_tensor(value) for name, value in entry.items()}
        progress = {
            "settings": self._settings(),
            "done": self._done,
            "best_score": self._best_score if self._best_score < float("inf") else None,
            "since_best": self._since_best,
            "before": self._before,
        }
        checkpoint.save(self._state, tensors, progress)

    def _restore(self) -> None:
        if self._state is None or not self._state.is_file():
            return
        tensors, found = checkpoint.load(self._state)
        if found.get("settings") != self._settings():
            return  # of another fit on the same samples; this one begins anew
        self.controls.load_state_dict(_under("controls.", tensors))
        self._anchor.load_state_dict(_under("anchor.", tensors))
        self._best = {name: value.to(self._device).clone() for name, value in _under("best.", tensors).items()}
        self._done = {name: int(step) for name, step in found["done"].items()}
        score = found["best_score"]
        self._best_score, self._since_best = float("inf") if score is None else score, found["since_best"]
        self._before = found["before"]
        entries: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("adam.", tensors).items():
            index, _, part = name.partition(".")
            entries.setdefault(int(index), {})[part] = value.clone()
        self._adam.load_state_dict({**self._adam.state_dict(), "state": entries})


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
