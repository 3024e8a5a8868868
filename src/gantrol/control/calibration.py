"""Thresholds of the contrastive loss, measured instead of typed.

Each predictor has its own scale, and each its own noise. Both are seen in real images: *same* distances between two
views of one image, or two images of one identity where the labels name it, tell what a predictor cannot tell apart;
*different* distances between random images tell how far apart images usually are. τ⁺ and τ⁻ of GAN-Control's equation 2
are percentiles of these two distributions. Of a choice, such as a style, random images that show the same one are left
out: else a common choice would make τ⁻ as small as τ⁺. (The paper gives numbers per data set, see its supplement; spec
1.5.)

N images · C channels · H W pixels · P pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gantrol.control.predictors.protocol import PredictorSet, are_probabilities
from gantrol.data.dataset import ImageDataset
from gantrol.errors import ConfigError, DataError

BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """τ⁺ and τ⁻ of one attribute, in units of its predictor's distance."""

    same: float
    """τ⁺: pairs that share the attribute may be so far apart."""
    different: float
    """τ⁻: other pairs shall be at least so far apart."""

    def __post_init__(self) -> None:
        if not 0 <= self.same < self.different:
            raise ConfigError(f"thresholds {self.same:g} (same) and {self.different:g} (different): the first is lower")


def second_views(images: Tensor) -> Tensor:
    """The images [N, C, H, W] seen again: moved by a pixel of 64, a little blurred and noisy, still of the same things.

    Random numbers come from torch's own stream.
    """
    count, _, height, _ = images.shape
    reach = max(round(height / 64), 1)
    padded = F.pad(images, [reach] * 4, mode="replicate")
    moved = torch.empty_like(images)
    for i, (top, left) in enumerate(torch.randint(0, 2 * reach + 1, (count, 2)).tolist()):
        moved[i] = padded[i, :, top : top + height, left : left + images.shape[3]]
    blurred = F.avg_pool2d(F.pad(moved, [1, 1, 1, 1], mode="replicate"), 3, stride=1)
    share = torch.rand(count, 1, 1, 1) * 0.5
    return (moved.lerp(blurred, share) + torch.randn_like(moved) * 0.02).clamp(-1, 1)


def calibrate(
    predictors: PredictorSet,
    dataset: ImageDataset,
    names: Iterable[str] | None = None,
    *,
    count: int = 1000,
    same_percentile: float = 50.0,
    different_percentile: float = 50.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Thresholds]:
    """Thresholds of attributes from percentiles of same and different distances.

    Args:
        predictors: that read them.
        dataset: real images; labels are used for `identity` only, if there are any.
        names: attributes; None: all that the predictors read.
        count: images to look at.
        same_percentile: τ⁺ lies there among distances of images that are the same in this attribute.
        different_percentile: τ⁻ lies there among distances of random images.
        seed: which images, and what their second views look like.
        progress: called with (done, total) images.

    Raises:
        ConfigError: an attribute that no predictor reads, or an impossible percentile.
        DataError: too few images, or a predictor for which same things lie as far apart as different ones.
    """
    for percentile in (same_percentile, different_percentile):
        if not 0 < percentile < 100:
            raise ConfigError(f"percentile {percentile:g}: expected a number between 0 and 100")
    wanted = list(predictors.attributes if names is None else names)
    predictors.require(wanted)
    rng = np.random.default_rng(seed)
    indices = _people_together(dataset, rng)[:count]
    if len(indices) < 16:
        raise DataError(f"{dataset.path}: {len(indices)} images are too few to calibrate thresholds; take at least 16")
    first: dict[str, list[Tensor]] = {name: [] for name in wanted}
    again: dict[str, list[Tensor]] = {name: [] for name in wanted}
    device = _device_of(predictors)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for start in range(0, len(indices), BATCH):
            chosen = indices[start : start + BATCH]
            pixels = np.stack([dataset.pixels(int(index)) for index in chosen])
            images = torch.from_numpy(pixels).float() / 127.5 - 1
            for views, found in ((images, first), (second_views(images), again)):
                for name, features in predictors.features(views.to(device), wanted).items():
                    found[name].append(features.cpu())
            if progress is not None:
                progress(min(start + BATCH, len(indices)), len(indices))
    same_rows = _same_identity(dataset, indices)
    result = {}
    for name in wanted:
        features, seen_again = torch.cat(first[name]), torch.cat(again[name])
        if name == "identity" and len(same_rows):
            same = predictors.distance(name, features[same_rows[:, 0]], features[same_rows[:, 1]])
        else:
            same = predictors.distance(name, features, seen_again)
        left, right = _random_pairs(len(features), 4 * len(features), rng)
        differ = _differ(predictors, name, features, left, right)
        different = predictors.distance(name, features[left[differ]], features[right[differ]])
        low = float(np.percentile(same.numpy(), same_percentile))
        high = float(np.percentile(different.numpy(), different_percentile))
        if not low < high:
            raise DataError(
                f"{dataset.path}: the predictor of {name!r} sees the same things {low:.3g} apart and different ones "
                f"{high:.3g}: it cannot tell them apart here; leave {name} out or train a better predictor"
            )
        result[name] = Thresholds(same=round(low, 5), different=round(high, 5))
    return result


def _device_of(module: torch.nn.Module) -> torch.device:
    return next((tensor.device for tensor in module.parameters()), torch.device("cpu"))


def _label(dataset: ImageDataset, index: int) -> Any:
    return dataset.attributes(index).get("identity")


def _people_together(dataset: ImageDataset, rng: np.random.Generator) -> np.ndarray:
    """All images in random order, but those of one identity behind each other."""
    order = rng.permutation(len(dataset))
    place: dict[Any, int] = {}
    keys = [place.setdefault(_label(dataset, int(i)), rank) for rank, i in enumerate(order)]
    if len(place) == 1:  # no identities
        return order
    return order[np.argsort(keys, kind="stable")]


def _same_identity(dataset: ImageDataset, indices: Sequence[int] | np.ndarray) -> Tensor:
    """int64 [P, 2]: neighbours in the list that show one identity."""
    labels = [_label(dataset, int(index)) for index in indices]
    pairs = [[i, i + 1] for i, label in enumerate(labels[:-1]) if label is not None and label == labels[i + 1]]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


def _differ(predictors: PredictorSet, name: str, features: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """bool [P]: pairs to look at; of a choice those of two choices, as most pairs may show the commonest one."""
    everyone = torch.ones(len(left), dtype=torch.bool)
    if not predictors.attributes[name].components:
        return everyone
    readings = predictors.read(name, features)  # [N, K]
    choices = readings.argmax(dim=1)
    differ = choices[left] != choices[right]
    return differ if are_probabilities(readings) and bool(differ.any()) else everyone


def _random_pairs(count: int, pairs: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Rows of pairs of two different images."""
    left = rng.integers(count, size=pairs)
    right = (left + rng.integers(1, count, size=pairs)) % count
    return torch.from_numpy(left), torch.from_numpy(right)


def thresholds_to_dict(thresholds: Mapping[str, Thresholds]) -> dict[str, dict[str, float]]:
    """As JSON objects."""
    return {name: {"same": each.same, "different": each.different} for name, each in thresholds.items()}


def thresholds_from_dict(data: Mapping[str, Any]) -> dict[str, Thresholds]:
    """From JSON objects; ConfigError if they are none."""
    try:
        return {name: Thresholds(same=float(v["same"]), different=float(v["different"])) for name, v in data.items()}
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ConfigError('thresholds: expected {"age": {"same": 0.1, "different": 0.9}, …}') from error
