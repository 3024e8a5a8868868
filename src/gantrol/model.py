"""A finished model: load it, make images from seeds, save it, share it.

    model = gantrol.load("RUN")
    model.generate(seeds=[0, 1], truncation_psi=0.7)[0].save("0.png")

A model on the disk is a folder with `config.json`, `generator.safetensors`, perhaps
`discriminator.safetensors` and `controls.safetensors`, and the card `README.md`.

Dimensions: N images · C channels · H W pixels · K numbers of a control's value.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypedDict, Unpack, cast, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import gantrol
from gantrol import sample
from gantrol.config import to_dict
from gantrol.control import CONTROL_SETS, ControlSet
from gantrol.control.picture_values import is_picture, read_pictures
from gantrol.controls import Control, Value, settle, shown, warn_clamped, with_parts
from gantrol.device import choose_device
from gantrol.errors import CheckpointError, ConfigError, nearest
from gantrol.hub import FORMAT_VERSION, MODEL_FORMAT, resolve
from gantrol.model_card import model_card, parameter_count
from gantrol.model_files import build, check_target, read_tensors, replaced_folder, write_modules, write_texts
from gantrol.models import DISCRIMINATORS, GENERATORS
from gantrol.models.protocols import NoiseMode, check_noise_mode
from gantrol.pictures import to_arrays, to_pil
from gantrol.replay import Replays

Output = Literal["pil", "np", "pt"]

_OUTPUTS = ("pil", "np", "pt")
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class _Options(TypedDict, total=False):
    """What `Model.generate` takes besides seeds, controls and output, for type checkers."""

    truncation_psi: float
    truncation_cutoff: int | None
    class_index: int | Sequence[int] | None
    translate: Sequence[float]
    rotate: float
    noise_mode: NoiseMode
    batch_size: int
    progress: Callable[[int, int], None] | None


_Controls = Mapping[str, Any] | None


class Model:
    """A generator with what belongs to it.

    Args:
        generator: a module as described in `gantrol.models.protocols.Generator`; used as it is, in evaluation
            mode.
        discriminator: the one it was trained against, if it is kept.
        control_set: what sets attributes by value, for a controllable model; it is moved to the generator's device.
        training: what is known about the training (`kimg`, `data`, `preset`, …): goes into the config and the
            card.
        dtype: type of the widest layers when images are made.

    Attributes:
        replays: runs the synthesis network; on CUDA by graphs, for shapes that come again (see `gantrol.replay`).
            Set it to None to compute operation by operation, as on other devices.

    Raises:
        ConfigError: the dtype cannot be, or the controls are made for another generator.
    """

    def __init__(
        self,
        generator: Any,
        discriminator: Any | None = None,
        *,
        control_set: ControlSet | None = None,
        training: Mapping[str, Any] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if dtype not in _DTYPES:
            raise ConfigError(f"dtype={dtype}: expected one of {', '.join(map(str, _DTYPES))}")
        if control_set is not None:
            control_set.check_fits(generator)
            control_set = control_set.to(sample.device_of(generator)).eval().requires_grad_(False)
        self.generator = generator
        self.discriminator = discriminator
        self.control_set = control_set
        self.training: dict[str, Any] = dict(training or {})
        self.dtype = dtype
        self.replays: Replays | None = Replays()

    def __repr__(self) -> str:
        g = self.generator
        return f"Model({g.config.kind}, {g.resolution_px} px, {parameter_count(g):,} parameters, {self.device})"

    @property
    def config(self) -> Any:
        """The generator's config."""
        return self.generator.config

    @property
    def device(self) -> torch.device:
        """Where the generator is."""
        return sample.device_of(self.generator)

    @property
    def controls(self) -> Mapping[str, Control]:
        """The attributes that `generate` takes by value, and the named components of those that have several; empty for
        a model that is not controllable."""
        return MappingProxyType(self._controls)

    @cached_property
    def _controls(self) -> dict[str, Control]:
        return {} if self.control_set is None else with_parts(self.control_set.controls)

    @property
    def info(self) -> dict[str, Any]:
        """The content of `config.json`: formats, versions, the configs and what is known of the training."""
        return {
            "format": MODEL_FORMAT,
            "format_version": FORMAT_VERSION,
            "gantrol_version": gantrol.__version__,
            "generator": to_dict(self.generator.config),
            "discriminator": None if self.discriminator is None else to_dict(self.discriminator.config),
            "controls": None if self.control_set is None else to_dict(self.control_set.config),
            "training": dict(self.training),
        }

    # ----------------------------------------------------------------------------------------------------------
    # Images

    @overload
    def generate(
        self,
        seeds: Sequence[int],
        controls: _Controls = None,
        *,
        output: Literal["pil"] = "pil",
        **options: Unpack[_Options],
    ) -> list[Image.Image]: ...
    @overload
    def generate(
        self, seeds: Sequence[int], controls: _Controls = None, *, output: Literal["np"], **options: Unpack[_Options]
    ) -> np.ndarray: ...
    @overload
    def generate(
        self, seeds: Sequence[int], controls: _Controls = None, *, output: Literal["pt"], **options: Unpack[_Options]
    ) -> Tensor: ...
    def generate(
        self,
        seeds: Sequence[int],
        controls: Mapping[str, Any] | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        class_index: int | Sequence[int] | None = None,
        translate: Sequence[float] = (0.0, 0.0),
        rotate: float = 0.0,
        noise_mode: NoiseMode = "const",
        output: Output = "pil",
        batch_size: int = 16,
        progress: Callable[[int, int], None] | None = None,
    ) -> Any:
        """Makes one image per seed; the same seed gives the same image, in any batch.

        Args:
            seeds: N whole numbers from 0 to 2³² − 1; z = numpy.random.RandomState(seed).randn(1, z_dim).
            controls: attribute values by name, see `controls`: numbers, as `gantrol.Control.check` takes them, for all
                images, or a tensor [N, K] for each; or a picture (or its path) whose value is read by the predictors
                that the model was fitted with. What is not set follows from the seeds.
            truncation_psi: 1 is the whole distribution, 0 its average; less is more typical and less varied.
            truncation_cutoff: truncate only the first so many layers.
            class_index: the class of a conditional model, one for all or one per image.
            translate: (x, y) in image widths, right and down; alias-free models only.
            rotate: degrees, counter-clockwise as seen; alias-free models only.
            noise_mode: per-pixel noise of StyleGAN2: "const", "random" (drawn from each seed) or "none".
            output: "pil" for pictures, "np" for uint8 [N, H, W, C], "pt" for float32 [N, C, H, W] in [−1, 1].
            batch_size: images at a time.
            progress: called with (done, total).

        Returns:
            A list of pictures, an array or a tensor on the model's device, as `output` says.

        Warns:
            ControlWarning: a value outside the range of its control; the nearest one is taken.

        Raises:
            ConfigError: a value that cannot be, or a control, class or transform that this model does not
                have.
        """
        if output not in _OUTPUTS:
            raise ConfigError(f"output={output!r}; {nearest(output, _OUTPUTS)}")
        seeds = [int(seed) for seed in seeds]
        if not seeds:
            raise ConfigError("there are no seeds: give at least one")
        check_noise_mode(noise_mode)
        if batch_size < 1:
            raise ConfigError(f"batch size {batch_size}: expected at least 1")
        sample.class_labels(self.generator, class_index, len(seeds))  # refuses classes that do not fit
        classes = [class_index] * len(seeds) if isinstance(class_index, int) else class_index
        values = self.control_values(controls or {}, len(seeds))
        parts: list[Any] = []
        with sample.transformed(self.generator, translate, rotate):
            for start in range(0, len(seeds), batch_size):
                batch = slice(start, start + batch_size)
                ws = self.map(
                    seeds[batch],
                    controls={name: value if len(value) == 1 else value[batch] for name, value in values.items()},
                    class_index=None if classes is None else classes[batch],
                    truncation_psi=truncation_psi,
                    truncation_cutoff=truncation_cutoff,
                )
                images = sample.render(
                    self.generator, ws, seeds[batch], noise_mode=noise_mode, dtype=self.dtype, replays=self.replays
                )
                parts.append(images if output == "pt" else to_arrays(images))
                if progress is not None:
                    progress(start + len(images), len(seeds))
        if output == "pt":
            return torch.cat(parts)
        if output == "np":
            return np.concatenate(parts)
        return [to_pil(image) for part in parts for image in part]

    def map(
        self,
        seeds: Sequence[int] | None = None,
        *,
        z: Tensor | None = None,
        controls: Mapping[str, Any] | None = None,
        class_index: int | Sequence[int] | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Maps seeds, or latents z [N, z_dim], to ws [N, num_ws, w_dim], without gradients.

        All that decides an image, apart from noise and transforms, goes through here: `generate`, films and
        tables take their ws from this method, so that a model with controls has one place to apply them. Controls act
        after the truncation, so that a value means the same whatever ψ is.

        Warns:
            ControlWarning: a value outside the range of its control; the nearest one is taken.

        Raises:
            ConfigError: both or neither of `seeds` and `z` are given, or they, a control, the class or the
                truncation do not fit.
        """
        if (seeds is None) == (z is None):
            raise ConfigError("give either seeds or z")
        values = self.control_values(controls or {}, len(z if z is not None else seeds or ()))
        sample.check_cutoff(self.generator, truncation_cutoff)
        if z is None:
            z = sample.latents([int(seed) for seed in seeds or ()], self.generator.z_dim)
        c = sample.class_labels(self.generator, class_index, len(z))
        z = z.to(self.device, torch.float32)
        with torch.no_grad():
            if self.control_set is not None:
                z = self.control_set.latents(z, self._seed_latents(values))
            ws = self.generator.mapping(
                z,
                None if c is None else c.to(self.device),
                truncation_psi=truncation_psi,
                truncation_cutoff=truncation_cutoff,
            )
            if self.control_set is not None:
                ws = self.control_set.steer(ws, values)
        return cast(Tensor, ws)

    def synthesize(self, ws: Tensor, *, noise_mode: NoiseMode = "const") -> Tensor:
        """Renders ws [N, num_ws, w_dim] as float32 [N, C, H, W] in [−1, 1]; differentiable where `ws` asks
        for it.

        For the output before clamping, call `model.generator.synthesis`.
        """
        check_noise_mode(noise_mode)
        with torch.set_grad_enabled(torch.is_grad_enabled() and ws.requires_grad):
            ws = ws.to(self.device)
            if self.replays is None or torch.is_grad_enabled():
                images = self.generator.synthesis(ws, noise_mode=noise_mode, dtype=self.dtype)
            else:
                images = self.replays(self.generator.synthesis, ws, noise_mode=noise_mode, dtype=self.dtype)
            return cast(Tensor, images.clamp(-1, 1))

    def check_controls(self, values: Mapping[str, Any]) -> dict[str, Value]:
        """The values of controls as numbers, those of components as part of their control.

        Warns:
            ControlWarning: a value outside the range of its control; the nearest one is returned.

        Raises:
            ConfigError: a control is asked for that this model does not have, a value does not fit it, or two controls
                exclude each other.
        """
        self._check_names(values)
        return settle(self.controls, self._with_pictures_read(values))

    def control_values(self, values: Mapping[str, Any], count: int) -> dict[str, Tensor]:
        """The values of controls as tensors on the model's device, as `ControlSet.steer` takes them.

        Args:
            values: by name: numbers as for `check_controls`, the same for all images, or a tensor [count, K].
            count: images.

        Returns:
            By control float32 [1, K] or [count, K]; int64 [1, 1] or [count, 1] where it is a seed.

        Warns:
            ControlWarning: as for `check_controls`.

        Raises:
            ConfigError: as for `check_controls`, or a tensor has the wrong shape.
        """
        self._check_names(values)
        values = self._with_pictures_read(values)
        rows = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        settled = settle(self.controls, {name: value for name, value in values.items() if name not in rows})
        tensors: dict[str, Tensor] = {}
        for name, numbers in settled.items():
            dtype = torch.int64 if self.controls[name].kind == "seed" else torch.float32
            tensors[name] = torch.tensor(numbers, dtype=dtype, device=self.device).reshape(1, -1)
        for name, value in rows.items():
            control = self.controls[name]
            if control.part_of or name in settled:
                whole = control.part_of or name
                raise ConfigError(f"control {name!r}: give a tensor for all of {whole} at once, or numbers")
            if value.ndim != 2 or len(value) not in (1, count) or value.shape[1] != control.count:
                raise ConfigError(
                    f"control {name!r}: expected a tensor [{count}, {control.count}], found one of {list(value.shape)}"
                )
            tensors[name] = self._within(name, value.to(self.device))
        return tensors

    def _check_names(self, values: Mapping[str, Any]) -> None:
        """Raises `ConfigError` unless these controls are there and can be set together."""
        known = self.controls
        for name in values:
            if not known:
                raise ConfigError(f"control {name!r}: this model has no controls; leave it out, or use another model")
            if name not in known:
                raise ConfigError(f"control {name!r}: this model does not have it; {nearest(name, known)}")
        if self.control_set is not None:
            self.control_set.check_together({known[name].part_of or name for name in values})

    def _with_pictures_read(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """`values` with what the model's predictors read in place of pictures."""
        pictures = {name: value for name, value in values.items() if is_picture(value)}
        if not pictures:
            return values
        return {**values, **read_pictures(pictures, self.controls, self.training.get("control_predictors"))}

    def _within(self, name: str, value: Tensor) -> Tensor:
        """Values [N, K] clamped to the range of the control, with a warning if that changes one; seeds as they are."""
        control = self.controls[name]
        if control.kind == "seed":
            return value.to(torch.int64)
        value = value.to(torch.float32)
        low, high = (torch.tensor(limit).reshape(1, -1).to(value) for limit in (control.low, control.high))
        clamped = value.maximum(low).minimum(high)
        outside = (value - clamped).abs() > 1e-5 * (high - low)  # [N, K]
        if bool(outside.any()):
            row = int(outside.any(dim=1).nonzero()[0])
            warn_clamped(name, control, shown(value[row].tolist()), shown(clamped[row].tolist()))
        return clamped

    def _seed_latents(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The latents [N, D] or [1, D] of the seeds among these values."""
        return {
            name: sample.latents([int(seed) for seed in value.flatten()], self.generator.z_dim)
            for name, value in values.items()
            if self.controls[name].kind == "seed"
        }

    # ----------------------------------------------------------------------------------------------------------
    # Loading, saving, sharing

    @classmethod
    def from_pretrained(cls, model: str | Path, *, device: str = "auto", dtype: torch.dtype = torch.float32) -> Model:
        """Loads MODEL: a model folder, a run (its newest intact checkpoint), a bundled name or a Hub id.

        The modules come in evaluation mode, with gradients of their parameters off.

        Args:
            model: see above.
            device: "auto" (CUDA, then Apple's MPS, then the CPU), "cpu", "cuda", "cuda:N" or "mps".
            dtype: type of the widest layers when images are made: float32, bfloat16 or float16.

        Raises:
            CheckpointError: the model is missing, damaged or does not fit its config.
            ConfigError: the device or dtype cannot be.
        """
        target = choose_device(device)
        location = resolve(model)
        tensors, training = read_tensors(location)
        generator = build(location, "generator", GENERATORS, tensors["generator"])
        discriminator = None
        if tensors["discriminator"] and location.config.get("discriminator") is not None:
            discriminator = build(location, "discriminator", DISCRIMINATORS, tensors["discriminator"]).to(target)
        controls = None
        if location.kind == "model" and location.config.get("controls") is not None:
            controls = cast(ControlSet, build(location, "controls", CONTROL_SETS, tensors["controls"]))
        try:
            return cls(generator.to(target), discriminator, control_set=controls, training=training, dtype=dtype)
        except ConfigError as error:
            raise CheckpointError(f"{location.name}: {error}; fetch or save the model again") from error

    def save_pretrained(self, folder: str | Path) -> Path:
        """Writes the model as a folder, whole or not at all; a model that is there already is replaced.

        Raises:
            CheckpointError: the folder holds something else, or cannot be written.
        """
        folder = Path(folder)
        check_target(folder)
        with replaced_folder(folder) as temporary:
            self._write(temporary)
        return folder

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        token: str | None = None,
        message: str = "Upload a gantrol model",
    ) -> str:
        """Uploads the model to the Hugging Face Hub as `user/name`, creating it if needed; returns its
        address.

        Raises:
            CheckpointError: the Hub refuses or cannot be reached.
        """
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        api = huggingface_hub.HfApi(token=token)
        try:
            address = api.create_repo(repo_id, private=private, exist_ok=True)
            with tempfile.TemporaryDirectory() as temporary:
                self._write(Path(temporary), repo_id)
                api.upload_folder(repo_id=repo_id, folder_path=temporary, commit_message=message)
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise CheckpointError(
                f"cannot upload to {repo_id}: {reason}; check the name, then `hf auth login`"
            ) from error
        return str(address)

    def _write(self, folder: Path, name: str | None = None) -> None:
        write_modules(folder, self.generator, self.discriminator, self.control_set)
        controls = {} if self.control_set is None else self.control_set.controls
        card = model_card(self.generator, self.discriminator, self.training, gantrol.__version__, controls, name)
        write_texts(folder, self.info, card)


def load(model: str | Path, device: str = "auto", dtype: torch.dtype = torch.float32) -> Model:
    """Loads MODEL: a model folder, a run, a bundled name or a Hub id; see `Model.from_pretrained`."""
    return Model.from_pretrained(model, device=device, dtype=dtype)
