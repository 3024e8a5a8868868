"""A file of anyone's network, as a module that is given images: ONNX, TorchScript or torch.export.

What the predictors and the feature networks of users have in common: how images are prepared, how the network is run on
any number of them, and the check that it takes what it will be given.

N images · C channels · S input size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gantrol.control.predictors.onnx_graph import OnnxGraph
from gantrol.control.predictors.preprocess import centre_crop, to_bgr, to_unit
from gantrol.control.predictors.torch_program import TorchProgram
from gantrol.errors import ConfigError
from gantrol.models.config_checks import check

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601)."""


@dataclass(frozen=True, kw_only=True)
class ExternalInput:
    """What the network wants to be given."""

    size: int
    """S: width and height, in pixels."""
    crop: int | None = None
    """The middle of the image that is used, in pixels of an image 512 wide (of others the same share). None: all."""
    resize: Literal["bilinear", "bicubic"] = "bilinear"
    """Interpolation."""
    align_corners: bool = False
    """Whether corner pixels stay corner pixels, as in some older code."""
    antialias: bool = False
    """Whether larger images are low-pass filtered, as Pillow does and torch by default does not."""
    range: tuple[float, float] = (0.0, 1.0)
    """What black and white become: [0, 1], [0, 255], [-1, 1], …"""
    mean: tuple[float, ...] = ()
    """Subtracted afterwards, one number per channel (in the network's order) or one for all, in units of `range`."""
    std: tuple[float, ...] = ()
    """Divided by then."""
    order: Literal["rgb", "bgr"] = "rgb"
    """Order of the channels."""
    grey: bool = False
    """Whether the network takes one channel of grey."""
    layout: Literal["nchw", "nhwc"] = "nchw"
    """Whether channels come first or last."""

    def __post_init__(self) -> None:
        check(self, "size", self.size >= 1, "a number of pixels")
        check(self, "crop", self.crop is None or 1 <= self.crop <= 512, "1 to 512, or null")
        check(self, "range", self.range[0] != self.range[1], "two different numbers")
        counts = (0, 1) if self.grey else (0, 1, 3)
        wanted = f"{' or '.join(map(str, counts[1:]))} numbers, or none"
        check(self, "mean", len(self.mean) in counts, wanted)
        check(self, "std", len(self.std) in counts and all(self.std), f"{wanted}, and none of them zero")

    @property
    def channels(self) -> int:
        """C of the network."""
        return 1 if self.grey else 3

    def prepare(self, images: Tensor) -> Tensor:
        """What the network is given: images [N, 1 or 3, H, W] in [-1, 1] → [N, C, S, S] or [N, S, S, C]."""
        x = images if self.crop is None else centre_crop(images, self.crop)
        if x.shape[-2:] != (self.size, self.size):
            size = (self.size, self.size)
            x = F.interpolate(x, size, mode=self.resize, align_corners=self.align_corners, antialias=self.antialias)
        if self.grey and x.shape[1] == 3:
            x = (x * x.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)
        elif not self.grey and x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        x = to_bgr(x) if self.order == "bgr" else x
        low, high = self.range
        x = to_unit(x) * (high - low) + low
        x = x - x.new_tensor(self.mean).view(-1, 1, 1) if self.mean else x
        x = x / x.new_tensor(self.std).view(-1, 1, 1) if self.std else x
        return x.permute(0, 2, 3, 1).contiguous() if self.layout == "nhwc" else x


class ExternalNetwork(nn.Module):
    """A network of others, with the preparation that it wants: images [N, 1 or 3, H, W] in [-1, 1] → its outputs.

    A file that was exported for a fixed number of images is applied to that many at a time, all groups at once
    (`torch.func.vmap`).

    Args:
        kind: of the file.
        path: the file.
        prepared: what the network wants to be given.
        outputs: which outputs are wanted, by number or name.
        is_trusted: whether the user has said that a TorchScript or torch.export file may be run.

    Raises:
        ConfigError: the preparation does not fit the network, there is no such output, or the file is not trusted.
        CheckpointError: the file is missing or damaged.
        MissingExtraError: it is ONNX, and the package `onnx` is not installed.
    """

    def __init__(
        self,
        kind: Literal["onnx", "torchscript", "pt2"],
        path: Path,
        prepared: ExternalInput,
        outputs: Sequence[int | str],
        *,
        is_trusted: bool,
    ) -> None:
        super().__init__()
        self.path = path
        self.input = prepared
        self.network: OnnxGraph | TorchProgram
        if kind == "onnx":
            self.network = OnnxGraph(path, outputs)
        else:
            self.network = TorchProgram(kind, path, outputs, is_trusted=is_trusted)
        shape = self.network.input_shape
        self._batch = None if shape is None else shape[0]
        self._check_input(shape)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The wanted outputs [N, …] of images [N, 1 or 3, H, W] in [-1, 1], of any size and number."""
        x = self.input.prepare(images)
        count, fixed = len(x), self._batch
        if fixed is None or fixed == count:
            outputs: tuple[Tensor, ...] = self.network(x)
            return outputs
        groups = math.ceil(count / fixed)
        filled = torch.cat([x, x[-1:].expand(groups * fixed - count, *x.shape[1:])])
        mapped = torch.func.vmap(self.network)(filled.unflatten(0, (groups, fixed)))
        return tuple(output.flatten(0, 1)[:count] for output in mapped)

    def _check_input(self, shape: tuple[int | None, ...] | None) -> None:
        """ConfigError unless what is prepared has the shape that the file states."""
        if shape is None:
            return
        wanted = self.input
        made = (wanted.size, wanted.size)
        made = (wanted.channels, *made) if wanted.layout == "nchw" else (*made, wanted.channels)  # type: ignore[assignment]
        stated = shape[1:]
        if len(stated) != 3 or any(b is not None and a != b for a, b in zip(made, stated, strict=True)):
            expects = " × ".join("any" if size is None else str(size) for size in stated)
            raise ConfigError(
                f"input: images of {' × '.join(map(str, made))} ({wanted.layout}) would be given to {self.path}, which "
                f"expects {expects}; set size, grey and layout"
            )
