"""Whether labels are visible in the pixels: a small network learns to read them, and is examined on strangers.

A residual network of about two million values is trained from nothing on one labelled dataset and then reads another,
drawn from another seed, in which no identity of the first occurs. An error far below that of guessing says that the
pixels show the label; it says nothing about how pretty they are.

N images of a batch, C columns of the targets.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from gantrol.control.predictors.errors_table import correlation
from gantrol.control.predictors.targets import shows_hair_color
from gantrol.data import ImageDataset
from gantrol.errors import ConfigError, DataError

FloatArray = NDArray[np.float64]

SCALARS = {"age": "years", "yaw": "degrees", "pitch": "degrees", "roll": "degrees", "smile": "0–1"}
COLUMNS = (*SCALARS, "hair_r", "hair_g", "hair_b", "light_x", "light_y", "light_z")
HAIR, LIGHT = slice(5, 8), slice(8, 11)
# what a left-right flip of the picture does to each column
_FLIP = torch.tensor([-1.0 if name in ("yaw", "roll", "light_x") else 1.0 for name in COLUMNS])
SHIFT_PX = 2
"""Training pictures are moved by up to so much, so that the network cannot learn single pixels by heart."""


def targets(row: Mapping[str, Any]) -> list[float]:
    """The columns [C] of a label row: numbers, the hair's colour, and the unit vector towards the key light."""
    azimuth, elevation = math.radians(row["light_azimuth"]), math.radians(row["light_elevation"])
    across = math.cos(elevation)
    light = [math.sin(azimuth) * across, math.sin(elevation), math.cos(azimuth) * across]
    return [float(row[name]) for name in SCALARS] + [float(part) for part in row["hair_color"]] + light


@dataclass(frozen=True, kw_only=True)
class Examples:
    """A dataset in memory."""

    pixels: Tensor
    """uint8 [N, 3, 64, 64]."""
    targets: Tensor
    """float32 [N, C]."""
    hair_shows: Tensor
    """bool [N]."""
    identities: frozenset[int]
    source: str
    """File, and what it says about how it was made."""


def load(dataset: ImageDataset, count: int) -> Examples:
    """Reads the first `count` images and the labels that are looked at; DataError if there are not so many, or none."""
    if count > len(dataset):
        raise DataError(f"{dataset.path}: has {len(dataset)} images, not {count}; render more or ask for fewer")
    rows = [dataset.attributes(index) for index in range(count)]
    if not rows or "light_azimuth" not in rows[0] or "hair_style" not in rows[0] or dataset.channels != 3:
        raise DataError(f"{dataset.path}: holds no labelled portraits; make them with `gantrol data faces`")
    made = dataset.meta.get("generator"), dataset.meta.get("version"), f"seed {dataset.meta.get('seed')}"
    return Examples(
        pixels=torch.from_numpy(np.stack([dataset.pixels(index) for index in range(count)])),
        targets=torch.tensor([targets(row) for row in rows]),
        hair_shows=torch.tensor([shows_hair_color(row) for row in rows]),
        identities=frozenset(int(row["identity"]) for row in rows),
        source=f"{dataset.path.name} ({', '.join(str(part) for part in made)}), {count} × {dataset.resolution_px} px",
    )


class Residual(nn.Module):
    """Two 3 × 3 convolutions and a shortcut (He et al. 2016, "Deep Residual Learning")."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.body(x))


def make_reader(width: int = 32) -> nn.Sequential:
    """The network: uint8-valued float [N, 3, S, S] → standardised columns [N, C]; S is divisible by 16."""
    stem = [nn.BatchNorm2d(3), nn.Conv2d(3, width, 5, 2, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()]  # S/2
    stages = [Residual(width, width, 1)] + [Residual(width << k, width << (k + 1), 2) for k in range(3)]  # S/16
    # no global average: where something lies in the picture is half of the answer
    head = [
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(16 * (width << 3), 256),
        nn.ReLU(),
        nn.Linear(256, len(COLUMNS)),
    ]
    return nn.Sequential(*stem, *stages, *head)


def train(
    examples: Examples,
    *,
    epochs: int,
    batch: int = 64,
    learning_rate: float = 2e-3,
    seed: int = 0,
    bf16: bool = True,
    progress: Callable[[int, int, float], None] | None = None,
) -> tuple[nn.Sequential, Tensor, Tensor]:
    """Trains a reader: AdamW, one cycle of the learning rate, Huber loss of standardised columns, flips and shifts.

    Where the hair's colour cannot be seen, its columns do not count. Returns (network, mean [C], deviation [C]): labels
    are `network(pixels) * deviation + mean`. `progress` is called with (epoch done, epochs, mean loss of that epoch).
    """
    if epochs < 1 or len(examples.pixels) < batch:
        raise ConfigError(f"{epochs} epochs of {len(examples.pixels)} images: take at least 1 epoch, {batch} images")
    torch.manual_seed(seed)
    mean, deviation = _standard(examples)
    wanted = (examples.targets - mean) / deviation
    weight = torch.ones_like(wanted)
    weight[:, HAIR] = examples.hair_shows[:, None].float()
    network = make_reader().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    steps = len(wanted) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, epochs * steps)
    for epoch in range(epochs):
        order = torch.randperm(len(wanted))
        total = 0.0
        for chosen in order[: steps * batch].split(batch):
            pixels, answer = _augmented(examples.pixels[chosen], wanted[chosen], mean, deviation)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                read = network(pixels)
            loss = (F.smooth_l1_loss(read.float(), answer, reduction="none") * weight[chosen]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        if progress is not None:
            progress(epoch + 1, epochs, total / steps)
    return network.eval(), mean, deviation


def _standard(examples: Examples) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [C] of the columns; the hair's of visible hair."""
    mean, deviation = examples.targets.mean(0), examples.targets.std(0)
    hair = examples.targets[examples.hair_shows][:, HAIR]
    mean[HAIR], deviation[HAIR] = hair.mean(0), hair.std(0)
    return mean, deviation.clamp(min=1e-6)


def _augmented(pixels: Tensor, wanted: Tensor, mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Moves a batch [N, 3, S, S] by a few pixels and flips half of it, labels [N, C] as well."""
    side = pixels.shape[-1]
    padded = F.pad(pixels.float(), [SHIFT_PX] * 4, mode="replicate")
    top, left = torch.randint(0, 2 * SHIFT_PX + 1, (2,)).tolist()
    moved = padded[:, :, top : top + side, left : left + side]
    flipped = torch.rand(len(pixels)) < 0.5
    moved = torch.where(flipped[:, None, None, None], moved.flip(3), moved)
    mirrored = ((wanted * deviation + mean) * _FLIP - mean) / deviation
    answer = torch.where(flipped[:, None], mirrored, wanted)
    return moved.contiguous(memory_format=torch.channels_last), answer


def read(network: nn.Sequential, pixels: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """What the network reads from uint8 pixels [N, 3, S, S]: columns [N, C] in the labels' units."""
    with torch.inference_mode():
        parts = [network(part.float()) for part in pixels.split(256)]
    return torch.cat(parts) * deviation + mean


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How well one label is read from held-out pictures."""

    label: str
    unit: str
    mean_error: float
    """Mean absolute error; for the light the mean angle between the true and the read direction."""
    guessing: float
    """The same error if the training pictures' median (light: their mean direction) is answered every time."""
    correlation: float
    """Pearson's r between label and reading; for colours the mean of the three channels'."""
    images: int
    """Held-out images that count."""


def examine(known: Examples, held_out: Examples, answers: Tensor) -> list[Reading]:
    """Compares readings `answers` [N, C] of the held-out pictures with their labels."""
    truth, found = held_out.targets.double().numpy(), answers.double().numpy()
    learnt = known.targets.double().numpy()
    everyone = np.ones(len(truth), dtype=bool)
    seen = held_out.hair_shows.numpy()
    guesses = np.median(learnt, axis=0)
    guesses[HAIR] = np.median(learnt[known.hair_shows.numpy()][:, HAIR], axis=0)

    def plain(label: str, unit: str, columns: list[int], chosen: NDArray[np.bool_]) -> Reading:
        right, given = truth[chosen][:, columns], found[chosen][:, columns]
        return Reading(
            label=label,
            unit=unit,
            mean_error=float(np.abs(given - right).mean()),
            guessing=float(np.abs(guesses[columns] - right).mean()),
            correlation=float(np.mean([correlation(right[:, k], given[:, k]) for k in range(len(columns))])),
            images=int(chosen.sum()),
        )

    readings = [plain(name, unit, [COLUMNS.index(name)], everyone) for name, unit in SCALARS.items()]
    readings.append(plain("hair_color", "sRGB 0–1", [*range(HAIR.start, HAIR.stop)], seen))
    right, given, typical = truth[:, LIGHT], found[:, LIGHT], learnt[:, LIGHT].mean(0)
    readings.append(
        Reading(
            label="light direction",
            unit="degrees",
            mean_error=float(angles(right, given).mean()),
            guessing=float(angles(right, np.broadcast_to(typical, right.shape)).mean()),
            correlation=float(np.mean([correlation(right[:, k], given[:, k]) for k in range(3)])),
            images=len(right),
        )
    )
    for label, unit_vectors in (("light_azimuth", azimuths), ("light_elevation", elevations)):
        a, b = unit_vectors(right), unit_vectors(given)
        usual = np.median(unit_vectors(learnt[:, LIGHT]))
        readings.append(
            Reading(
                label=label,
                unit="degrees",
                mean_error=float(np.abs(a - b).mean()),
                guessing=float(np.abs(a - usual).mean()),
                correlation=correlation(a, b),
                images=len(a),
            )
        )
    return readings


def angles(a: FloatArray, b: FloatArray) -> FloatArray:
    """Degrees between vectors [N, 3], which need not be of unit length: [N]."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine: FloatArray = (a * b).sum(1) / np.maximum(lengths, 1e-9)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def azimuths(directions: FloatArray) -> FloatArray:
    """Degrees to the image's right of directions [N, 3] (x right, y up, z to the viewer): [N]."""
    return np.degrees(np.arctan2(directions[:, 0], directions[:, 2]))


def elevations(directions: FloatArray) -> FloatArray:
    """Degrees above the horizon of directions [N, 3]: [N]."""
    return np.degrees(np.arctan2(directions[:, 1], np.hypot(directions[:, 0], directions[:, 2])))


def readability(
    known: Examples,
    held_out: Examples,
    *,
    epochs: int,
    seed: int = 0,
    bf16: bool = True,
    progress: Callable[[int, int, float], None] | None = None,
) -> dict[str, Any]:
    """Trains on `known`, reads `held_out`: {"readings": [Reading], "train_s": …, …}; DataError if they share people."""
    shared = known.identities & held_out.identities
    if shared:
        raise DataError(
            f"{len(shared)} identities are in both datasets, for example {min(shared)}: render one with another --seed"
        )
    began = time.perf_counter()
    network, mean, deviation = train(known, epochs=epochs, seed=seed, bf16=bf16, progress=progress)
    train_s = time.perf_counter() - began
    return {
        "readings": examine(known, held_out, read(network, held_out.pixels, mean, deviation)),
        "trained_on": known.source,
        "held_out": held_out.source,
        "epochs": epochs,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "precision": "bf16" if bf16 else "fp32",
        "train_s": round(train_s, 1),
    }
