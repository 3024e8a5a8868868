"""Everything that decides a picture, and the command line and Python that repeat it.

A page holds one `Shown` and draws from it; undo, favourites and downloads are other ones. What comes from a browser is
nonsense until `Shown.from_json` has looked at it: numbers only, so that no text can name a file on the server.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from gantrol import __version__, sample
from gantrol.controls import Control, Value
from gantrol.errors import ConfigError, in_brief, nearest
from gantrol.model import Model
from gantrol.pictures import to_arrays, to_pil
from gantrol.sample import MAX_SEED, is_movable

FORMAT = "gantrol-shown"
"""Says in a JSON file what it is."""

IDENTITY = "identity"
"""The control that takes a seed and decides who it is."""

_MAX_TRUNCATION = 2.0
_MAX_MOVE = 4.0
_MAX_JSON_BYTES = 1 << 16
_MAX_CONTROLS = 64
_MAX_NUMBERS = 256


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Everything that decides a picture.

    Raises:
        ConfigError: a value that cannot be, whatever the model.
    """

    model: str
    """MODEL, as the command line takes it."""
    seed: int = 0
    """Of the latent: 0 to 2³² − 1."""
    truncation: float = 1.0
    """1 is the whole distribution, 0 its average."""
    controls: Mapping[str, Value] = field(default_factory=dict)
    """Attributes set by value, or, those of the kind "seed", taken from another seed; the others follow from `seed`."""
    translate: tuple[float, float] = (0.0, 0.0)
    """In image widths, right and down."""
    rotate: float = 0.0
    """Degrees, counter-clockwise as seen."""
    class_index: int | None = None
    """The class of a conditional model."""

    def __post_init__(self) -> None:
        _check_whole("seed", self.seed, MAX_SEED)
        if not (_is_number(self.truncation) and -_MAX_TRUNCATION <= self.truncation <= _MAX_TRUNCATION):
            raise ConfigError(f"truncation {in_brief(self.truncation)}: expected a number from -2 to 2")
        if len(self.translate) != 2 or not all(_is_number(x) and abs(x) <= _MAX_MOVE for x in self.translate):
            found = in_brief(self.translate)
            raise ConfigError(f"translate {found}: expected two numbers from -4 to 4, in image widths")
        if not (_is_number(self.rotate) and abs(self.rotate) <= 3600):
            raise ConfigError(f"rotate {in_brief(self.rotate)}: expected a number of degrees")
        if self.class_index is not None:
            _check_whole("class", self.class_index, MAX_SEED)
        for name, value in self.controls.items():
            numbers = value if isinstance(value, tuple) else (value,)
            if not (name.isidentifier() and numbers and all(map(_is_number, numbers))):
                raise ConfigError(f"control {name!r}: expected a number or several, found {in_brief(value)}")

    @property
    def identity(self) -> int | None:
        """The seed whose identity is kept, or None if it follows from `seed`."""
        value = self.controls.get(IDENTITY)
        return None if value is None or isinstance(value, tuple) else int(value)

    def with_identity(self, seed: int | None) -> Shown:
        """The same with the identity of a seed, which stays when `seed` changes; None lets it follow again."""
        others = {name: value for name, value in self.controls.items() if name != IDENTITY}
        return dataclasses.replace(self, controls=others if seed is None else {**others, IDENTITY: seed})

    def fitted(self, name: str, model: Model) -> Shown:
        """The nearest that a model can do: without controls and moves that it does not have, values within its ranges.

        So that several models can be shown side by side with the same settings.
        """
        values: dict[str, Value] = {}
        known = model.controls
        for control_name, value in self.controls.items():
            control = known.get(control_name)
            if control is not None and _count(value) == control.count:
                values[control_name] = int(_first(value)) if control.kind == "seed" else control.clamp(value)
        classes = model.generator.c_dim
        return dataclasses.replace(
            self,
            model=name,
            controls=_without_conflicts(values, model),
            translate=self.translate if is_movable(model.generator) else (0.0, 0.0),
            rotate=self.rotate if is_movable(model.generator) else 0.0,
            class_index=min(self.class_index or 0, classes - 1) if classes else None,
        )

    def picture(self, model: Model) -> Image.Image:
        """What the model draws; the same pixels as `command` and `python` make on the same machine.

        Raises:
            ConfigError: the model lacks a control, class or move that is asked for; `fitted` leaves them out.
        """
        images: list[Image.Image] = model.generate([self.seed], self.controls, **self._arguments())
        return images[0]

    def command(self, file: str) -> str:
        """The command line that writes this picture.

        Args:
            file: where to: a PNG, which gets the same bytes as the download.
        """
        parts = ["gantrol", "generate", self.model, "--seeds", str(self.seed), "--grid", file]
        if self.truncation != 1:
            parts.append(f"--truncation={_text(self.truncation)}")
        if self.class_index is not None:
            parts.append(f"--class={self.class_index}")
        if any(self.translate):
            parts.append(f"--translate={','.join(map(_text, self.translate))}")
        if self.rotate:
            parts.append(f"--rotate={_text(self.rotate)}")
        if self.controls:
            parts.append("--set")
            for name, value in self.controls.items():
                parts.append(f"{name}={','.join(map(_text, value if isinstance(value, tuple) else (value,)))}")
        return shlex.join(parts)

    def python(self) -> str:
        """The Python that makes this picture."""
        arguments = {name: value for name, value in self._arguments().items() if value not in (None, (0.0, 0.0))}
        if not self.rotate:
            del arguments["rotate"]
        values = [f"        {name!r}: {value!r}," for name, value in self.controls.items()]
        controls = ["    controls={", *values, "    },"] if values else []
        return "\n".join(
            [
                "import gantrol",
                "",
                f"model = gantrol.load({self.model!r})",
                "image = model.generate(",
                f"    seeds=[{self.seed}],",
                *controls,
                *(f"    {name}={value!r}," for name, value in arguments.items()),
                ")[0]",
                f"image.save({self.file_name!r})",
            ]
        )

    @property
    def file_name(self) -> str:
        """What a download of it is called."""
        return f"seed{self.seed:04d}.png"

    def to_json(self) -> dict[str, Any]:
        """As plain numbers, with the format and the version of gantrol; `from_json` takes it back."""
        return {
            "format": FORMAT,
            "gantrol_version": __version__,
            "model": self.model,
            "seed": self.seed,
            "truncation": self.truncation,
            "controls": {n: list(v) if isinstance(v, tuple) else v for n, v in self.controls.items()},
            "translate": list(self.translate),
            "rotate": self.rotate,
            "class_index": self.class_index,
        }

    @classmethod
    def from_json(cls, data: Any) -> Shown:
        """The state that a page or a file describes.

        Args:
            data: what `to_json` made, decoded or as text; fields that are missing get their default.

        Raises:
            ConfigError: it is no such description, or a value that cannot be.
        """
        if isinstance(data, str | bytes):
            data = _decoded(data)
        if not isinstance(data, Mapping) or not isinstance(data.get("model"), str):
            raise ConfigError(
                "this is no description of a picture: expected a JSON object with model, seed, controls …"
            )
        if data.get("format", FORMAT) != FORMAT:
            raise ConfigError(f"this is a {str(data['format'])[:40]!r}; expected {FORMAT!r}, which Explore downloads")
        known = {entry.name for entry in dataclasses.fields(cls)}
        unknown = sorted(set(map(str, data)) - known - {"format", "gantrol_version", "command", "python"})
        if unknown:
            raise ConfigError(f"a picture has no {unknown[0][:40]!r}; {nearest(unknown[0][:40], known)}")
        fields = {name: data[name] for name in known & set(data)}
        if not isinstance(fields.get("controls", {}), Mapping) or len(fields.get("controls", {})) > _MAX_CONTROLS:
            raise ConfigError("controls: expected an object of names and numbers")
        if "controls" in fields:
            fields["controls"] = {str(name)[:64]: _value(value) for name, value in fields["controls"].items()}
        if "translate" in fields:
            fields["translate"] = _value(fields["translate"])
            if not isinstance(fields["translate"], tuple):
                raise ConfigError(f"translate {in_brief(fields['translate'])}: expected two numbers")
        return cls(**fields)

    def _arguments(self) -> dict[str, Any]:
        return {
            "truncation_psi": self.truncation,
            "class_index": self.class_index,
            "translate": self.translate,
            "rotate": self.rotate,
        }


def start(name: str, model: Model) -> Shown:
    """What a page opens with: seed 0, a little truncated, nothing set by hand."""
    return Shown(model=name, truncation=0.7, class_index=0 if model.generator.c_dim else None)


def drawn_together(model: Model, many: Sequence[Shown]) -> list[Image.Image]:
    """What a model draws for several people at once: `Shown.picture` of each, up to rounding.

    Args:
        model: whose they are; all are `fitted` to it.
        many: at least one.
    """
    poses = np.array([(*shown.translate, shown.rotate) for shown in many])
    one_for_all = not sample.takes_poses(model.generator) and (poses != poses[0]).any()
    if len(many) == 1 or one_for_all:
        return [shown.picture(model) for shown in many]
    ws = [
        model.map([shown.seed], controls=shown.controls, class_index=shown.class_index, truncation_psi=shown.truncation)
        for shown in many
    ]
    with sample.posed(model.generator, poses):
        return [to_pil(image) for image in to_arrays(model.synthesize(torch.cat(ws)))]


def own_controls(model: Model) -> dict[str, Control]:
    """The controls that stand for themselves, not as a component of another."""
    return {name: control for name, control in model.controls.items() if not control.part_of}


def _without_conflicts(values: dict[str, Value], model: Model) -> dict[str, Value]:
    """`values` less those that cannot be set beside others: of two that exclude each other the later one goes."""
    if model.control_set is None:
        return {}
    known = model.controls
    kept: dict[str, Value] = {}
    for name, value in values.items():
        try:
            model.control_set.check_together({known[other].part_of or other for other in (*kept, name)})
        except ConfigError:
            continue
        kept[name] = value
    return kept


def _decoded(text: str | bytes) -> Any:
    if len(text) > _MAX_JSON_BYTES:
        raise ConfigError("this is too long to be the description of a picture")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError("this cannot be read as JSON; choose a file that Explore downloaded") from error


def _value(value: Any) -> Any:
    """A list of numbers as a tuple of floats, a number as it is; anything else is left to `__post_init__` to refuse."""
    if isinstance(value, list | tuple) and len(value) <= _MAX_NUMBERS:
        return tuple(float(number) if _is_number(number) else number for number in value)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_whole(what: str, value: Any, highest: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= highest:
        raise ConfigError(f"{what} {str(value)[:40]!r}: expected a whole number from 0 to {highest}")


def _count(value: Value) -> int:
    return len(value) if isinstance(value, tuple) else 1


def _first(value: Value) -> float:
    return value[0] if isinstance(value, tuple) else value


def _text(number: float) -> str:
    """A number that reads back as the same one, in as few characters as that takes."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)
