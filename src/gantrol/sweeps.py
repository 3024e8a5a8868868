"""Sweeps that are read back: one attribute from its lowest to its highest value, for several seeds, each picture with
what an independent predictor sees in it.

Dimensions: N seeds · G values · K numbers of a value · C channels · H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from gantrol.control.predictors import PredictorSet
from gantrol.controls import Control, Value, shown
from gantrol.errors import ConfigError
from gantrol.metrics.control_requests import Requests
from gantrol.model import Model
from gantrol.pictures import enlarge_all, enlargement_factor, labelled_grid, over_white, to_arrays, to_uint8
from gantrol.sample import Look
from gantrol.strips import strip_values


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredSweep:
    """One control swept, and read back."""

    name: str
    """Of the control."""
    control: Control
    """Its unit and range."""
    asked: tuple[Value, ...]
    """G values."""
    seeds: tuple[int, ...]
    """N."""
    images: np.ndarray
    """uint8 [N, G, H, W, C]."""
    read: np.ndarray | None
    """float64 [N, G, K]: what the predictors read, in the control's unit; None: they do not read it."""
    off: np.ndarray | None
    """float64 [N, G, K]: reading minus asked value; of azimuths the short way round."""
    note: str = ""
    """Why nothing is read."""

    @property
    def error(self) -> float:
        """The mean absolute error in the control's unit; NaN if nothing is read."""
        return float(np.abs(self.off).mean()) if self.off is not None else float("nan")

    def captions(self) -> list[list[str]]:
        """Two lines for each image, seed by seed: what was asked, and what is read."""
        lines = []
        for i in range(len(self.seeds)):
            for k, asked in enumerate(self.asked):
                lines.append([f"asked {_short(asked)}"])
                if self.read is not None:
                    lines[-1].append(f"read {_short(self.read[i, k])}")
        return lines

    def picture(self, min_side_px: int = 112) -> Image.Image:
        """A row of captioned images for each seed; small images are enlarged."""
        count, steps = self.images.shape[:2]
        factor = enlargement_factor(self.images.shape[2:4], min_side_px)
        flat = self.images.reshape(count * steps, *self.images.shape[2:])
        return labelled_grid(enlarge_all(flat, factor, "lanczos"), self.captions(), columns=steps)


def measured_sweep(
    model: Model,
    name: str,
    seeds: Sequence[int],
    *,
    steps: int = 7,
    predictors: PredictorSet | None = None,
    look: Look | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> MeasuredSweep:
    """Sweeps one control through its range and reads each image.

    Args:
        model: with controls.
        name: of a control, or of a named component of one.
        seeds: N.
        steps: G, from the lowest to the highest value; colours go through those of hair.
        predictors: what reads; not those that the model was fitted with, which it has learned to please. None: nothing
            is read.
        look: truncation, class and other controls, which stay the same.
        progress: called with (done, total) images.

    Raises:
        ConfigError: the model has no such control, or there are no seeds or fewer than two steps.
    """
    look = look or Look()
    if not seeds:
        raise ConfigError("there are no seeds to sweep: give at least one")
    if name not in model.controls:
        model.check_controls({name: 0.0})  # says which there are
    control = model.controls[name]
    asked = strip_values(control, steps)
    reader, note = _reader(model, name, predictors)
    columns, readings = [], []
    for index, value in enumerate(asked):
        arguments: dict[str, Any] = {**look.of_map, "controls": {**look.controls, name: value}}
        images = model.generate(
            seeds, **arguments, noise_mode=look.noise_mode, batch_size=look.batch_size, output="pt"
        )  # [N, C, H, W]
        columns.append(to_arrays(images))
        if reader is not None:
            readings.append(reader(images))
        if progress is not None:
            progress((index + 1) * len(seeds), len(asked) * len(seeds))
    read = off = None
    if reader is not None:
        read = torch.stack(readings, dim=1)  # [N, G, K]
        wanted = torch.tensor([value if isinstance(value, tuple) else (value,) for value in asked])  # [G, K]
        off = read - wanted.to(read)
        if name == "azimuth" or control.components[:1] == ("azimuth",):
            off[..., 0] = (off[..., 0] + 180) % 360 - 180
    return MeasuredSweep(
        name=name,
        control=control,
        asked=tuple(asked),
        seeds=tuple(int(seed) for seed in seeds),
        images=np.stack(columns, axis=1),
        read=None if read is None else read.double().numpy(),
        off=None if off is None else off.double().numpy(),
        note=note,
    )


def _reader(
    model: Model, name: str, predictors: PredictorSet | None
) -> tuple[Callable[[torch.Tensor], torch.Tensor] | None, str]:
    """Images [N, C, H, W] ↦ the numbers of the control [N, K] on the CPU; or None, and why."""
    control = model.controls[name]
    whole = control.part_of or name
    if predictors is None:
        return None, "nothing was asked to read it"
    if control.kind == "seed":
        return None, f"{name} takes a seed, so there is no value to read"
    attribute = predictors.attributes.get(whole)
    if attribute is None or not attribute.components:
        return None, f"the predictors do not read {whole}"
    try:
        requests = Requests.of(whole, model.controls[whole], attribute)
    except ConfigError as error:
        return None, str(error)
    places = [model.controls[whole].components.index(name)] if control.part_of else list(range(len(requests.columns)))
    watching = predictors.to(model.device)

    def read(images: torch.Tensor) -> torch.Tensor:
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        elif images.shape[1] == 4:
            images = over_white(to_uint8(images)).float() / 127.5 - 1
        with torch.no_grad():
            features = watching.features(images, [whole])
            return requests.pick(watching.read(whole, features[whole]).float().cpu())[:, places]

    return read, ""


def _short(value: Any) -> str:
    """A value as a caption has room for."""
    numbers = np.atleast_1d(np.asarray(value, dtype=np.float64))
    return shown([float(f"{number:.3g}" if abs(number) < 1e3 else f"{number:.0f}") for number in numbers])
