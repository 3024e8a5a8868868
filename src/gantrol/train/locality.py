"""Locality-aware initialisation: early in a training, tokens attend to near tokens only.

A query may look no further than a half width w, which grows on a schedule and is then dropped, so that the finished
network is one of ordinary full attention:

    images seen   0 ……… u₁ ……… u₂ ………… u₃ ……
    half width      w₁     w₂      w₃     none

The window is a pure function of the images seen: nothing of it is kept in a checkpoint, and a resumed training masks as
one that was never interrupted. What is exported has no mask.

Source: TransGAN (Jiang et al. 2021), section 3.4; the published schedules, in passes over the data, are in our
specification notes, section 1.8, and are told in images here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import nn

from gantrol.errors import ConfigError
from gantrol.models.config_checks import check
from gantrol.models.transformer import LocalityWindow


@dataclass(frozen=True, kw_only=True)
class LocalityConfig:
    """How far the generator's tokens see, by the images shown so far."""

    window: Literal["none", "raster_band", "window_2d"] = "none"
    """Who is near: `window_2d`: tokens within w rows and columns, as the paper says; `raster_band`: tokens within w
    places in reading order, as the official code does; `none`: everyone, always."""
    schedule: tuple[tuple[float, int], ...] = ()
    """Pairs [until, half width w], the first of them that is not over holds; after the last there is no mask."""
    unit: Literal["kimg", "share"] = "kimg"
    """What `until` counts: thousands of images shown, or shares of the training's length (`kimg`)."""

    def __post_init__(self) -> None:
        untils = [until for until, _ in self.schedule]
        is_rising = all(a < b for a, b in zip([0.0, *untils], untils, strict=False))
        check(self, "schedule", is_rising, "pairs [until, half width] with rising, positive `until`")
        check(self, "schedule", all(width >= 0 for _, width in self.schedule), "half widths of 0 or more")
        check(self, "schedule", self.window == "none" or bool(untils), "at least one pair [until, half width]")
        if self.unit == "share":
            check(self, "schedule", all(until <= 1 for until in untils), "shares of the training, at most 1")

    def half_width(self, n_img: int, kimg: float) -> int | None:
        """The half width after `n_img` images of a training of `kimg` thousand; None: no mask."""
        if self.window == "none":
            return None
        scale = 1000 * (kimg if self.unit == "share" else 1)
        return next((width for until, width in self.schedule if n_img < until * scale), None)


@runtime_checkable
class LocalAttention(Protocol):
    """What the schedule asks of a generator's synthesis."""

    def set_locality(self, window: LocalityWindow | None) -> None:
        """Restricts attention to near tokens, or lifts the restriction (None)."""


class LocalitySchedule:
    """Lets generators attend as far as the schedule says.

    Args:
        config: the schedule.
        kimg: length of the training in thousands of images.
        generators: what it acts on.

    Raises:
        ConfigError: there is a schedule, but a generator has no attention.
    """

    def __init__(self, config: LocalityConfig, kimg: float, *generators: nn.Module) -> None:
        self.config = config
        self.kimg = kimg
        self._half_width: int | None = None
        self._targets: list[LocalAttention] = []
        if config.window == "none":
            return
        for g in generators:
            synthesis = g.synthesis
            if not isinstance(synthesis, LocalAttention):
                raise ConfigError(
                    f"locality.window={config.window}: {type(g).__name__} has no attention to mask; set it to none"
                )
            synthesis.set_locality(None)
            self._targets.append(synthesis)

    def follow(self, n_img: int) -> None:
        """Sets the window that holds after `n_img` images."""
        half_width = self.config.half_width(n_img, self.kimg)
        if half_width == self._half_width:
            return
        self._half_width = half_width
        window = None
        if half_width is not None and self.config.window != "none":
            window = LocalityWindow(kind=self.config.window, half_width=half_width)
        for target in self._targets:
            target.set_locality(window)
