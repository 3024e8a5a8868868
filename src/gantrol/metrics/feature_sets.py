"""What a feature network makes of a set of images, from one look at each: all that the metrics in features need.

Dimensions: N images · D features · K classes.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gantrol.errors import CheckpointError
from gantrol.metrics import reference_cache
from gantrol.metrics.features import FeatureNetwork
from gantrol.metrics.image_sources import ImageSource, StoredImages, random_rows
from gantrol.metrics.moments import Moments
from gantrol.metrics.processes import Processes
from gantrol.metrics.sticking import Counter
from gantrol.pictures import over_white

MAX_KEPT = 1_000_000
"""So many feature vectors are kept at most, of random images; the official KID looks at no more."""


class Needs(NamedTuple):
    """Which parts of a `FeatureSet` are wanted."""

    moments: bool = False
    features: bool = False
    probabilities: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """N images as a feature network sees them, on the CPU; what nobody needs is None."""

    count: int
    """N."""
    moments: Moments | None = None
    """Mean and covariance of all N."""
    features: Tensor | None = None
    """float32 [N, D], in the order of the images; of no more than `MAX_KEPT` random ones of them."""
    probabilities: Tensor | None = None
    """float32 [N, K], in the order of the images."""


def observe_all(
    images: ImageSource,
    network: FeatureNetwork,
    needs: Needs,
    *,
    device: torch.device,
    batch_size: int,
    seed: int,
    processes: Processes,
    counter: Counter,
) -> FeatureSet | None:
    """Looks at all images, each process at its share of them.

    Args:
        images: N of them.
        network: what looks.
        needs: what is kept of it.
        device: where the network is.
        batch_size: images at a time.
        seed: chooses whose features are kept, where N is above `MAX_KEPT`.
        processes: which share the work.
        counter: told of every image, those of the other processes included.

    Returns:
        What was seen, in the first process; None in the others.
    """
    share = processes.share(len(images))
    parts = processes.gather(
        lambda: _observe(images, share, network, needs, device, batch_size, seed, processes, counter)
    )
    if not processes.is_first:
        return None
    moments = parts[0].moments
    if moments is not None:
        for part in parts[1:]:
            assert part.moments is not None
            moments.merge(part.moments)
    return FeatureSet(
        count=len(images),
        moments=moments,
        features=_joined([part.features for part in parts]),
        probabilities=_joined([part.probabilities for part in parts]),
    )


def _observe(
    images: ImageSource,
    rows: range,
    network: FeatureNetwork,
    needs: Needs,
    device: torch.device,
    batch_size: int,
    seed: int,
    processes: Processes,
    counter: Counter,
) -> FeatureSet:
    """One process's share."""
    moments = Moments(network.num_features) if needs.moments else None
    features: list[Tensor] = []
    probabilities: list[Tensor] = []
    kept = np.zeros(len(images), dtype=bool)
    kept[random_rows(len(images), MAX_KEPT, seed)] = True
    row = rows.start
    for batch in images.batches(rows, batch_size):
        batch = over_white(batch.to(device))
        if needs.probabilities:
            seen = network.observe(batch)
            found = seen.features
            assert seen.probabilities is not None
            probabilities.append(seen.probabilities.float().cpu())
        else:
            found = network(batch)
        if moments is not None:
            moments.update(found)
        if needs.features:
            features.append(found.float().cpu()[torch.from_numpy(kept[row : row + len(batch)])])
        row += len(batch)
        counter.add(len(batch) * processes.count)
    width = network.num_features
    return FeatureSet(
        count=len(rows),
        moments=moments,
        features=torch.cat([torch.zeros(0, width), *features]) if needs.features else None,
        probabilities=torch.cat([torch.zeros(0, network.num_classes), *probabilities]) if needs.probabilities else None,
    )


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if known else None


# ----------------------------------------------------------------------------------------------------------------------
# Real images, whose sets are kept from one evaluation to the next


class Known:
    """The set of real images, as far as an earlier evaluation has kept it.

    Args:
        images: the real ones.
        network: what looks at them.
        limit: how many of the dataset's images were chosen, None for all.
        seed: of that choice, and of those whose features are kept.
        needs: which parts of the set are wanted.
    """

    def __init__(
        self, images: StoredImages, network: FeatureNetwork, limit: int | None, seed: int, needs: Needs
    ) -> None:
        self.images, self.network, self.needs = images, network, needs
        is_drawn = len(images) > MAX_KEPT or (limit is not None and limit < len(images.dataset))
        self._draws = [limit, seed] if is_drawn else None
        self._key: dict[str, Any] = {}
        self.found: FeatureSet | None = None

    def look_up(self) -> bool:
        """Whether the set was kept with all that is wanted; it is in `found` then.

        Raises:
            DataError: the dataset cannot be read.
        """
        self._key = {  # all that the set depends on
            "format": 2,
            "dataset": reference_cache.dataset_digest(self.images.dataset),
            "network": self.network.version,
            "x_flip": self.images.x_flip,
            "draws": self._draws,
        }
        count, width = len(self.images), self.network.num_features
        moments: Moments | None = None
        features: Tensor | None = None
        if self.needs.moments:
            state = self._load("moments")
            try:
                moments = None if state is None else Moments.from_state(state)
            except CheckpointError:  # of another version
                moments = None
            if moments is None or (moments.count, moments.num_features) != (count, width):
                return False
        if self.needs.features:
            features = (self._load("features") or {}).get("features")
            if features is None or features.shape != (min(count, MAX_KEPT), width):
                return False
        self.found = FeatureSet(count=count, moments=moments, features=features)
        return True

    def keep(self, found: FeatureSet | None) -> None:
        """Takes the set, and keeps it for the next time as far as there is a place; None in all but one process."""
        self.found = found
        if found is not None and found.moments is not None:
            reference_cache.keep_statistics({**self._key, "what": "moments"}, found.moments.state())
        if found is not None and found.features is not None:
            reference_cache.keep_statistics({**self._key, "what": "features"}, {"features": found.features})

    def _load(self, what: str) -> dict[str, Tensor] | None:
        return reference_cache.load_statistics({**self._key, "what": what})
