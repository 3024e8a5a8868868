"""Feature networks: images in, one vector per image out, and with some networks the probabilities of classes.

A distance between features is only comparable to itself: same network, same resizing, same number of samples. Hence
each network carries the name that its numbers are reported under. FID is the Fréchet distance in the features of one
Inception network; in any other features it is called "FD-" and their title.

Dimensions: N batch · C channels · H W pixels · D features · K classes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gantrol.errors import ConfigError, nearest

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


class Observation(NamedTuple):
    """What a network says about N images, from one pass."""

    features: Tensor
    """float32 [N, D]."""
    probabilities: Tensor | None
    """float32 [N, K], rows of sum 1; None from a network that knows no classes."""


class FeatureNetwork(Protocol):
    """What the metrics ask of a feature network."""

    title: str
    """How its distances are named: "FD-" + title."""
    version: str
    """Changes whenever the numbers change; part of the key of cached statistics."""
    resampling: str
    """How images are brought to its input size, in words."""
    num_features: int
    """D."""
    num_classes: int
    """K; 0 from a network that knows no classes."""
    is_official: bool
    """Whether these are the features of the published metrics, so that the Fréchet distance is called FID."""

    def __call__(self, images: Tensor) -> Tensor:
        """Maps uint8 [N, C, H, W], C = 1 or 3, to float32 [N, D]."""

    def observe(self, images: Tensor) -> Observation:
        """Features and probabilities of the same images, in one pass."""


NETWORKS: dict[str, str] = {
    "efficientnet-lite0": "efficientnet_lite0",
    "inception": "inception",
    "vgg16": "vgg16",
}
"""Name of each feature network, and the module of `gantrol.metrics.networks` that has its `load` and `check`."""

_FILES = (".json", ".toml", ".onnx", ".pt", ".pth", ".pt2")


def distance_name(network: FeatureNetwork) -> str:
    """What the Fréchet distance in the features of `network` is called."""
    return "FID" if network.is_official else f"FD-{network.title}"


def check_features(name_or_path: str | Path) -> None:
    """Checks, without loading or fetching anything, that there is such a feature network.

    Args:
        name_or_path: as `load_features` takes it.

    Raises:
        ConfigError: there is no such network, or its description is wrong.
        CheckpointError: its weights are missing and are not fetched by themselves.
    """
    path = _path_of(name_or_path)
    if path is not None:
        from gantrol.metrics.networks.user_network import check_path

        check_path(path)
    else:
        _module(str(name_or_path)).check()


def load_features(
    name_or_path: str | Path, device: torch.device | str = "cpu", *, progress: Progress | None = None
) -> FeatureNetwork:
    """A feature network, ready on `device`.

    Args:
        name_or_path: one of `NETWORKS`, or the path of the description of a network of the user's (JSON or TOML), or
            of a network's file with a description beside it; docs/feature-networks.md has the format.
        device: where it computes.
        progress: called with (done, total) bytes while weights are fetched, which happens once, for "inception" only.

    Raises:
        ConfigError: there is no such network, or its description is wrong.
        CheckpointError: its weights are missing, cannot be fetched, are damaged, or belong to another network.
        MissingExtraError: its packages are not installed.
    """
    path = _path_of(name_or_path)
    made: Any
    if path is not None:
        from gantrol.metrics.networks.user_network import UserNetwork

        made = UserNetwork(path)
    else:
        made = _module(str(name_or_path)).load(progress)
    network: FeatureNetwork = made.to(device).eval()
    return network


def _path_of(name_or_path: str | Path) -> Path | None:
    """The path that is meant; None if it is the name of a network."""
    if str(name_or_path) in NETWORKS:
        return None
    path = Path(name_or_path).expanduser()
    is_path = isinstance(name_or_path, Path) or len(path.parts) > 1 or path.suffix.lower() in _FILES
    return path if is_path or path.is_file() else None


def _module(name: str) -> Any:
    if name not in NETWORKS:
        raise ConfigError(
            f"unknown features {name!r}; {nearest(name, NETWORKS)}, or the path of a network's description"
        )
    return importlib.import_module(f"gantrol.metrics.networks.{NETWORKS[name]}")
