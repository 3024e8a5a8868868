"""What makes a model controllable: a module that turns wanted values into changes of z and w.

`gantrol.Model` holds one of these (or none), saves it as `controls.safetensors` with its config in `config.json`, and
calls it in `Model.map`: first `latents` on z, then the mapping network and the truncation, then `steer` on ws.

N images · D features of z and w · L copies of w · K numbers of a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from gantrol.controls import Control


class ControlSet(nn.Module):
    """Base class of everything that sets attributes by value.

    Attributes:
        config: a frozen dataclass with a class variable `kind` and a method `build()`; listed in
            `gantrol.control.CONTROL_SETS`.
        controls: what can be set, by name, in the order in which a user should see it.
    """

    config: Any
    controls: Mapping[str, Control]

    def check_fits(self, generator: Any) -> None:
        """Raises `ConfigError` unless these controls are made for a generator like this one; by default never."""

    def check_together(self, names: set[str]) -> None:
        """Raises `ConfigError` if these controls cannot be set at once; by default never."""

    def latents(self, z: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """z [N, D] with the sub-vectors replaced that some control takes from a seed; by default z itself.

        Args:
            z: of the images; left as it is.
            values: for each control of the kind "seed" that is set, the latents [N, D] or [1, D] of that seed.
        """
        return z

    def steer(self, ws: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """ws [N, L, D] with the values set; `ws` itself is left as it is.

        Args:
            ws: of the images.
            values: for each control of the kind "value" that is set float32 [N, K] or [1, K], in the control's unit,
                within its range.
        """
        raise NotImplementedError
