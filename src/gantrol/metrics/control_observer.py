"""Images of a controlled model, and of a dataset, as a second set of predictors sees them.

The predictors must not be those that the model was trained, fitted or tabulated with: a generator learns to please its
own judges, and reading with these would flatter it.

N images · D features of z · L copies of w · C channels · H W pixels · K numbers of a reading.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantrol import sample
from gantrol.control.control_set import ControlSet
from gantrol.control.predictors import Attribute, PredictorSet
from gantrol.control.predictors.targets import shows_hair_color
from gantrol.data.dataset import ImageDataset
from gantrol.metrics.sticking import Counter
from gantrol.model import Model


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the predictors make of N images, on the CPU."""

    features: dict[str, Tensor]
    """[N, …] by attribute."""
    readings: dict[str, Tensor]
    """float32 [N, K] by attribute; embeddings have none."""

    def __len__(self) -> int:
        return len(next(iter(self.features.values())))


class Observer:
    """A model and the predictors that watch it; each network runs once per batch.

    Args:
        model: with or without controls; images are made without truncation and with constant noise.
        predictors: the second set.
        batch_size: images at a time; has no influence on what is seen beyond rounding.
        seed: chooses the identities, and the class of each where the model is conditional.
        counter: told of every image.
    """

    def __init__(self, model: Model, predictors: PredictorSet, *, batch_size: int, seed: int, counter: Counter) -> None:
        self.model = model
        self.predictors = predictors.to(model.device)
        self.attributes: dict[str, Attribute] = predictors.attributes
        self.batch_size = batch_size
        self.counter = counter
        self._z = torch.zeros(0, model.generator.z_dim)
        self._identities, self._classes = np.random.SeedSequence(seed).spawn(2)

    @property
    def control_set(self) -> ControlSet | None:
        """What sets the model's attributes."""
        return getattr(self.model, "control_set", None)

    def latents(self, count: int) -> Tensor:
        """z [count, D] of the first identities; more of them begin with the same ones."""
        if len(self._z) < count:  # a seeded stream for each is slow to make, and all measures ask for the same ones
            seeds = [int(value) for value in self._identities.generate_state(count)]
            self._z = sample.latents(seeds, self.model.generator.z_dim)
        return self._z[:count].clone()

    def classes(self, count: int) -> Tensor | None:
        """One-hot labels [count, c_dim] of the first identities; None for a model without classes."""
        c_dim = self.model.generator.c_dim
        if c_dim == 0:
            return None
        drawn = np.random.default_rng(self._classes).integers(c_dim, size=count)
        return torch.nn.functional.one_hot(torch.from_numpy(drawn), c_dim).float()

    def see(self, z: Tensor, values: Mapping[str, Tensor] | None = None, c: Tensor | None = None) -> Seen:
        """Makes the images of z [N, D] with these values [N, K] set, and looks at them."""
        parts: list[dict[str, Tensor]] = []
        for start in range(0, len(z), self.batch_size):
            rows = slice(start, start + self.batch_size)
            wanted = {name: value[rows] for name, value in (values or {}).items()}
            parts.append(self._look(self._images(z[rows], wanted, None if c is None else c[rows])))
            self.counter.add(len(z[rows]))
        return self._seen(parts)

    def see_dataset(self, dataset: ImageDataset, rows: Sequence[int]) -> Seen:
        """Looks at some images of a dataset."""
        parts: list[dict[str, Tensor]] = []
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            pixels = torch.stack([torch.from_numpy(dataset.pixels(row)) for row in batch])
            parts.append(self._look(pixels.to(self.model.device).float() / 127.5 - 1))
            self.counter.add(len(batch))
        return self._seen(parts)

    def distance(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Distances [N] of features of an attribute, by the predictor's own measure."""
        device = self.model.device
        with torch.no_grad():
            return self.predictors.distance(name, a.to(device), b.to(device)).cpu()

    def _images(self, z: Tensor, values: Mapping[str, Tensor], c: Tensor | None) -> Tensor:
        """[N, C, H, W] in [-1, 1]: the steps of `Model.map`, with a value for each image."""
        device = self.model.device
        values = {name: value.to(device) for name, value in values.items()}
        z = z.to(device)
        generator: Any = self.model.generator
        control_set = self.control_set
        with torch.no_grad():
            if values:
                assert control_set is not None
                z = control_set.latents(z, values)
            ws = generator.mapping(z, None if c is None else c.to(device))
            if values:
                assert control_set is not None
                ws = control_set.steer(ws, values)
            return sample.render(generator, ws, (), noise_mode="const", dtype=self.model.dtype)

    def _look(self, images: Tensor) -> dict[str, Tensor]:
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        with torch.no_grad():
            return self.predictors.features(images)

    def _seen(self, parts: Sequence[dict[str, Tensor]]) -> Seen:
        features = {name: torch.cat([part[name] for part in parts]) for name in self.attributes}
        with torch.no_grad():
            readings = {
                name: self.predictors.read(name, features[name]).float().cpu()
                for name, attribute in self.attributes.items()
                if attribute.components
            }
        return Seen(features={name: tensor.cpu() for name, tensor in features.items()}, readings=readings)


def labelled_values(dataset: ImageDataset, rows: Sequence[int], name: str, attribute: Attribute) -> Tensor | None:
    """What the labels of a dataset say of an attribute, in the form of its reading.

    A label of that name counts; without one, labels named after its components are put together: `smile`, … make an
    expression, `light_azimuth` and `light_elevation` a light.

    Returns:
        float32 [rows, K], NaN where an image has no such label, or cannot show it (the hair of a bald head); None if no
        image has one.
    """
    table = torch.full((len(rows), len(attribute.components)), float("nan"))
    for place, row in enumerate(rows):
        labels = dataset.attributes(row)
        if name == "hair_color" and "hair_style" in labels and not shows_hair_color(labels):
            continue
        numbers = _numbers(labels, name, attribute.components)
        if numbers is not None:
            table[place] = torch.tensor(numbers)
    return table if table.isfinite().any() else None


def same_in_dataset(observer: Observer, dataset: ImageDataset, rows: Sequence[int], seen: Seen, name: str) -> float:
    """How far apart images are that share a label, say of the same person, relative to those that do not.

    Returns:
        The mean distance of neighbours of one label, divided by that of neighbours of two; NaN if there are none.
    """
    by_label: dict[Any, list[int]] = {}
    for place, row in enumerate(rows):
        label = dataset.attributes(row).get(name)
        if isinstance(label, int | str):
            by_label.setdefault(label, []).append(place)
    features = seen.features[name]
    same = [pair for places in by_label.values() for pair in pairwise(places)]
    different = list(pairwise(places[0] for places in by_label.values()))
    if not same or not different:
        return float("nan")
    near, far = (
        float(observer.distance(name, *(features[list(side)] for side in zip(*pairs, strict=True))).mean())
        for pairs in (same, different)
    )
    return near / far if far > 0 else float("nan")


def _numbers(labels: Mapping[str, Any], name: str, components: Sequence[str]) -> list[float] | None:
    """The K numbers of an attribute in the labels of one image, if they are there."""
    value = labels.get(name)
    if isinstance(value, str):
        return [float(component == value) for component in components] if value in components else None
    if value is None:
        parts = [labels.get(f"{name}_{part}", labels.get(part)) for part in components]
    elif isinstance(value, Mapping):
        parts = [value.get(part) for part in components]
    else:
        parts = list(value) if isinstance(value, list) else [value]
    numbers = [float(part) for part in parts if isinstance(part, int | float) and math.isfinite(part)]
    return numbers if len(numbers) == len(components) else None
