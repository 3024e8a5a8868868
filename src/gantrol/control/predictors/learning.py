"""Training of a reader on a labelled dataset.

All heads learn together: numbers by the squared error of standardised labels (a robust loss would read 0 for whatever
is 0 most of the time, as expressions are), directions by the squared angle, choices by cross-entropy with softened
labels (so that probabilities do not saturate and stay differentiable), embeddings by the supervised contrastive loss
(Khosla et al. 2020, equation 2): images of one individual shall be closer than any others of the batch. Batches hold
several images of each individual for that.

A generator under training shows a reader images that no dataset has: blurred, noisy, not quite in place. So training
images are flipped (labels follow the schema's `mirror`), moved by fractions of a pixel, blurred and overlaid with
noise. Colours and brightness stay, for they are labels.

N images of a batch · C channels · S size in pixels · T label columns · D features of an embedding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from gantrol.control.predictors.protocol import Predictor
from gantrol.control.predictors.reader import Reader, ReaderConfig
from gantrol.control.predictors.targets import Labels, Target, choose_targets, encode_labels
from gantrol.data import ImageDataset
from gantrol.errors import ConfigError, DataError

Progress = Callable[[int, int], None]

SHIFT_PX = 3.0
"""Training images of 64 px are moved by up to so much in x and in y."""
BLUR_SIGMA_PX = 1.5
"""A third of the images of 64 px is blurred, with a standard deviation up to this."""
NOISE_SIGMA = 0.15
"""A third gets noise of up to this standard deviation; images lie in [-1, 1]."""
TEMPERATURE = 0.1
"""Of the supervised contrastive loss."""
EMBEDDING_WEIGHT = 0.25
"""Of that loss beside the others."""
LABEL_SOFTENING = 0.1
MIN_IMAGES = 16
WARM_UP = 0.1
"""Share of the training in which the learning rate rises; then it falls as a cosine does."""


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """How a reader is trained."""

    epochs: int = 20
    """Times that each image is seen; without effect if `minutes` are given."""
    minutes: float | None = None
    """Stop after so much time; the learning rate follows the clock, so that such a training is not repeatable."""
    batch: int = 128
    """Images per step; all of them if there are fewer."""
    learning_rate: float = 3e-3
    """Of AdamW at its highest, after the warm-up."""
    weight_decay: float = 0.05
    """Of AdamW."""
    per_group: int = 4
    """Images of one individual that stay together in a batch."""
    seed: int = 0
    """Of the first weights, the order of the images, and what is done to them."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or (self.minutes is not None and not 0 < self.minutes < math.inf):
            raise ConfigError(
                f"epochs={self.epochs}, minutes={self.minutes}: expected 1 epoch or more, or some minutes"
            )
        if self.batch < 2 or self.per_group < 1 or self.learning_rate <= 0:
            raise ConfigError(f"batch={self.batch}: expected 2 images or more, in groups of 1 or more")


@dataclass(frozen=True, kw_only=True)
class Examples:
    """A labelled dataset in memory, in a reader's size."""

    pixels: Tensor
    """uint8 [N, C, S, S]."""
    rows: tuple[dict[str, Any], ...]
    """Labels as the dataset has them."""
    schema: dict[str, Any]
    source: str
    """File, and how it was made."""

    def __len__(self) -> int:
        return len(self.pixels)

    def labels(self, targets: Iterable[Target]) -> Labels:
        """Its labels as columns; DataError if it lacks some."""
        try:
            return encode_labels(tuple(targets), self.rows, self.schema)
        except DataError as error:
            raise DataError(f"{self.source}: {error}") from error


def load_examples(dataset: ImageDataset, resolution_px: int = 64, progress: Progress | None = None) -> Examples:
    """Reads a whole dataset, resized to `resolution_px`; `progress` is called with (images done, images).

    Raises:
        DataError: it has no attributes, or an image is damaged.
    """
    rows = tuple(dataset.attributes(index) for index in range(len(dataset)))
    if not rows or not rows[0]:
        raise DataError(
            f"{dataset.path}: has no attributes in dataset.json, from which predictors learn; `gantrol data faces` "
            "makes a labelled dataset"
        )
    pixels = torch.empty(len(dataset), dataset.channels, resolution_px, resolution_px, dtype=torch.uint8)
    for index in range(len(dataset)):
        image = torch.from_numpy(dataset.pixels(index))
        if image.shape[1] != resolution_px:
            size = (resolution_px, resolution_px)
            image = F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0].round().byte()
        pixels[index] = image
        if progress is not None and (index % 64 == 63 or index + 1 == len(dataset)):
            progress(index + 1, len(dataset))
    meta = dataset.meta
    made = [str(meta[key]) for key in ("generator", "version") if key in meta]
    made += [f"seed {meta['seed']}"] if "seed" in meta else []
    notes = ", ".join([*made, f"{len(dataset)} images of {dataset.resolution_px} px"])
    return Examples(pixels=pixels, rows=rows, schema=dict(dataset.schema), source=f"{dataset.path.name} ({notes})")


def split_examples(examples: Examples, share: float = 0.1, seed: int = 0) -> tuple[Examples, Examples]:
    """Parts a dataset in what is trained on and a `share` that is held out; individuals are not torn apart.

    Args:
        examples: the whole.
        share: of the individuals to hold out, at least two if there are enough.
        seed: which.

    Raises:
        DataError: there are not two individuals.
    """
    keys = np.arange(len(examples))
    for name, entry in examples.schema.items():
        if entry.get("kind") == "seed":
            numbers: dict[Any, int] = {}
            found = np.array([numbers.setdefault(row.get(name), len(numbers)) for row in examples.rows])
            if 1 < len(numbers) < len(np.unique(keys)):
                keys = found
    individuals = np.random.default_rng(seed).permutation(np.unique(keys))
    if len(individuals) < 2:
        raise DataError(f"{examples.source}: shows one individual; name another dataset with --held-out")
    held_out = max(2 if len(individuals) > 3 else 1, round(share * len(individuals)))
    is_out = np.isin(keys, individuals[:held_out])
    return _chosen(examples, ~is_out), _chosen(examples, is_out)


def _chosen(examples: Examples, mask: NDArray[np.bool_]) -> Examples:
    indices = np.flatnonzero(mask)
    return Examples(
        pixels=examples.pixels[torch.from_numpy(indices)],
        rows=tuple(examples.rows[index] for index in indices),
        schema=examples.schema,
        source=f"{examples.source}, {len(indices)} of them",
    )


def train_reader(
    examples: Examples,
    config: LearningConfig | None = None,
    *,
    architecture: str = "residual",
    widths: tuple[int, ...] = (),
    attributes: Iterable[str] | None = None,
    init: Predictor | None = None,
    progress: Progress | None = None,
) -> Reader:
    """Trains a reader on CPU; in bfloat16 where the processor multiplies matrices of it, which halves the time.

    The same examples, config and number of threads give the same reader, unless `minutes` are set.

    Args:
        examples: images and labels.
        config: how long, and from which seed; `LearningConfig()` by default.
        architecture: "residual" or "separable".
        widths: of the network's four stages; by default the architecture's.
        attributes: what to learn; by default what `choose_targets` finds.
        init: a reader to begin with: what fits of its weights is taken over, the rest starts anew.
        progress: called with (done, total), images or, with `minutes`, seconds.

    Returns:
        The reader in evaluation mode, frozen, float32 (values of float16, in which it is stored).

    Raises:
        ConfigError: an attribute that the dataset does not have; DataError: there is nothing to learn, or too little.
    """
    config = config or LearningConfig()
    if len(examples) < MIN_IMAGES:
        raise DataError(
            f"{examples.source}: {len(examples)} images are too few to learn from; take {MIN_IMAGES}, better thousands"
        )
    config = replace(config, batch=min(config.batch, len(examples)))
    try:
        targets = choose_targets(examples.rows, examples.schema, attributes)
    except (ConfigError, DataError) as error:
        raise type(error)(f"{examples.source}: {error}") from error
    _, channels, size, _ = examples.pixels.shape
    reader_config = ReaderConfig(
        targets=targets, architecture=architecture, resolution_px=size, channels=channels, widths=widths
    )
    labels = examples.labels(targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        reader = reader_config.build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if init is not None:
            _take_over(reader, init)
        _fit(reader, examples, labels, config, progress)
    return frozen(reader)


def _take_over(reader: Reader, init: Predictor) -> None:
    """Copies those tensors of another reader that have a namesake of the same shape; ConfigError if none of the trunk's
    has."""
    own = reader.state_dict()
    fitting = {
        name: value for name, value in init.state_dict().items() if name in own and value.shape == own[name].shape
    }
    if not any(name.startswith("trunk.") and value.dim() > 1 for name, value in fitting.items()):
        raise ConfigError(f"the predictors to begin with have no network like this one ({reader.config.architecture})")
    reader.load_state_dict(own | fitting)


def frozen(reader: Reader) -> Reader:
    """The reader with its weights rounded to float16 as they are stored, in evaluation mode, without gradients."""
    with torch.no_grad():
        for parameter in reader.parameters():
            parameter.copy_(parameter.half())
    return reader.eval().requires_grad_(False)


def _fit(reader: Reader, examples: Examples, labels: Labels, config: LearningConfig, progress: Progress | None) -> None:
    plain, mirrored = torch.from_numpy(labels.values), torch.from_numpy(labels.mirrored)
    counts = torch.from_numpy(labels.counts).float()
    groups = next((t.sources[0] for t in reader.config.targets if t.kind == "embedding"), None)
    keys = [row[groups] for row in examples.rows] if groups else list(range(len(examples)))
    order = _Order(keys, config)
    steps = len(examples) // config.batch * config.epochs
    optimizer = torch.optim.AdamW(reader.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    bf16 = uses_bfloat16()
    reader.train()
    began, done = time.monotonic(), 0.0
    for step, chosen in enumerate(order.batches(), 1):
        for entry in optimizer.param_groups:
            entry["lr"] = config.learning_rate * _rate(done)
        flips = torch.rand(len(chosen)) < 0.5
        images = augmented(examples.pixels[chosen], flips)
        wanted = torch.where(flips[:, None], mirrored[chosen], plain[chosen])
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            features = reader(images)
        loss = _loss(reader, features, wanted, counts[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds = time.monotonic() - began
        done = step / steps if config.minutes is None else seconds / (config.minutes * 60)
        if progress is not None:
            total = steps * config.batch if config.minutes is None else round(config.minutes * 60)
            progress(min(round(done * total), total), total)
        if done >= 1:
            return


def uses_bfloat16() -> bool:
    """Whether this processor multiplies matrices of bfloat16 (AMX), which halves the time of a training."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16"))


def augmented(pixels: Tensor, flips: Tensor) -> Tensor:
    """Training images float32 [N, C, S, S] in [-1, 1] of pixels uint8 [N, C, S, S]: flipped where `flips` [N] says so,
    moved, and some of them blurred and noisy."""
    count, channels, size, _ = pixels.shape
    unit = size / 64
    images = pixels.float() / 127.5 - 1
    images = torch.where(flips[:, None, None, None], images.flip(3), images)
    shift = (torch.rand(count, 2) * 2 - 1) * SHIFT_PX * unit
    shift = torch.where(torch.rand(count, 1) < 0.5, shift.round(), shift)  # half of them stay as sharp as they are
    theta = torch.eye(2, 3).repeat(count, 1, 1)
    theta[:, :, 2] = shift * 2 / size
    grid = F.affine_grid(theta, [count, channels, size, size], align_corners=False)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    sigma = torch.rand(count) * BLUR_SIGMA_PX * unit
    images = blurred(images, torch.where(torch.rand(count) < 1 / 3, sigma, 0.0))
    strength = torch.where(torch.rand(count) < 1 / 3, torch.rand(count) * NOISE_SIGMA, 0.0)
    return images + torch.randn_like(images) * strength[:, None, None, None]


def blurred(images: Tensor, sigma_px: Tensor) -> Tensor:
    """Images [N, C, H, W], each blurred by a Gaussian of its own standard deviation [N]; 0 leaves it as it is."""
    count, channels, height, width = images.shape
    radius = max(1, math.ceil(3 * float(sigma_px.max())))
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype)
    taps = torch.exp(-0.5 * (offsets / sigma_px[:, None].clamp(min=1e-3)) ** 2)  # [N, 2·radius + 1]
    taps = (taps / taps.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]
    x = images.reshape(1, count * channels, height, width)
    x = F.pad(x, [radius] * 4, mode="replicate")
    x = F.conv2d(x, taps[:, :, None, :], groups=count * channels)
    x = F.conv2d(x, taps[:, :, :, None], groups=count * channels)
    return x.reshape(images.shape)


def _rate(done: float) -> float:
    """Share of the learning rate when a share `done` of the training is over."""
    if done < WARM_UP:
        return 0.04 + 0.96 * done / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * min((done - WARM_UP) / (1 - WARM_UP), 1)))


def _loss(reader: Reader, features: dict[str, Tensor], wanted: Tensor, counts: Tensor) -> Tensor:
    """The loss of a batch: the mean of the targets', each over the images that count.

    Args:
        reader: whose targets they are.
        features: of each target, [N, outputs].
        wanted: labels [N, T].
        counts: [N, targets], 1 where the label can be seen.
    """
    total = wanted.new_zeros(())
    column = 0
    for number, target in enumerate(reader.config.targets):
        found, label = features[target.name], wanted[:, column : column + target.columns]
        column += target.columns
        if target.kind == "embedding":
            total = total + EMBEDDING_WEIGHT * supervised_contrastive(found, label[:, 0].long())
            continue
        if target.kind == "choice":
            each = F.cross_entropy(
                found, label[:, 0].long(), ignore_index=-1, reduction="none", label_smoothing=LABEL_SOFTENING
            )
        elif target.kind == "direction":
            each = reader.distance(target.name, found, label).square()
        else:
            standard = (label - label.new_tensor(target.mean)) / label.new_tensor(target.deviation)
            each = (found - standard).square().sum(1) / 2
        total = total + (each * counts[:, number]).sum() / counts[:, number].sum().clamp(min=1)
    return total / len(reader.config.targets)


def supervised_contrastive(embedding: Tensor, individual: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """The supervised contrastive loss (Khosla et al. 2020, equation 2) of unit vectors; a scalar.

    Args:
        embedding: [N, D], of unit length.
        individual: int64 [N]; images with the same number belong together. Those alone in the batch count only as
            what others are compared with.
        temperature: of the softmax over the batch.
    """
    own = torch.eye(len(embedding), dtype=torch.bool, device=embedding.device)
    logits = (embedding @ embedding.T / temperature).masked_fill(own, -math.inf)
    together = (individual[:, None] == individual[None, :]) & ~own
    share = F.log_softmax(logits, dim=1).masked_fill(~together, 0.0)
    partners = together.sum(1)
    has_partner = (partners > 0).float()
    return -((share.sum(1) / partners.clamp(min=1)) * has_partner).sum() / has_partner.sum().clamp(min=1)


class _Order:
    """Batches in which a few images of each individual are together, for ever, each epoch in another order."""

    def __init__(self, keys: list[Any], config: LearningConfig) -> None:
        numbers: dict[Any, int] = {}
        self._individual = np.array([numbers.setdefault(key, len(numbers)) for key in keys])
        self._config = config
        self._rng = np.random.default_rng(config.seed)

    def batches(self) -> Iterator[Tensor]:
        """int64 [batch]: indices of images."""
        batch = self._config.batch
        while True:
            order = self._epoch()
            for first in range(0, len(order) - batch + 1, batch):
                yield torch.from_numpy(order[first : first + batch])

    def _epoch(self) -> NDArray[np.int64]:
        """All images once: individuals in random order, their images cut into groups."""
        shuffled = self._rng.permutation(len(self._individual))
        by_individual = shuffled[np.argsort(self._individual[shuffled], kind="stable")]
        sorted_keys = self._individual[by_individual]
        starts = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]])
        place = np.arange(len(sorted_keys)) - np.repeat(starts, np.diff(np.r_[starts, len(sorted_keys)]))
        group = np.cumsum(place % self._config.per_group == 0) - 1
        rank = self._rng.permutation(int(group[-1]) + 1)[group]
        return by_individual[np.argsort(rank, kind="stable")]
