"""`export_model`: a model as one file that runs without this package."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import torch

import gantrol
from gantrol.atomic import atomic_file
from gantrol.errors import ConfigError, DataError, nearest, require_extra
from gantrol.export.checking import TOLERANCE, largest_difference
from gantrol.export.files import OUTPUT, OnnxRunner, Pt2Runner, write_onnx, write_pt2
from gantrol.export.network import ExportedGenerator, Input, latent_places
from gantrol.export.tracing import MAX_IMAGES, trace
from gantrol.model import Model, load
from gantrol.models.protocols import NoiseMode

Format = Literal["onnx", "pt2"]

_STEPS = 3  # trace, write, check


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """What `export_model` wrote."""

    path: Path
    """The file."""
    format: Format
    """onnx or pt2."""
    inputs: tuple[Input, ...]
    """What it takes, in this order."""
    output_shape: tuple[int | str, ...]
    """Of the images, float32 in [−1, 1]."""
    size_bytes: int
    """Of the file."""
    difference: float | None
    """The largest difference of any pixel from the model itself, in [−1, 1]; None if it was not checked."""
    why_unchecked: str
    """Why it was not checked; empty if it was."""
    metadata: Mapping[str, Any]
    """The text that the file carries."""


def export_model(
    model: Model | str | Path,
    path: str | Path,
    *,
    format: Format | None = None,
    noise_mode: NoiseMode = "const",
    truncation_psi: float = 1.0,
    dtype: torch.dtype = torch.float32,
    opset: int | None = None,
    check: bool = True,
    overwrite: bool = False,
    command: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> ExportedFile:
    """Writes a model's generator, with mapping, controls and motion, as a file for other programs.

    The file takes float32 tensors for any number N of images and gives `images` [N, C, H, W] in [−1, 1]. Its inputs are
    z [N, z_dim]; c [N, c_dim], one-hot, of a conditional model; truncation_psi []; transform [N, 3, 3] of an alias-free
    model, see `gantrol.models.make_transform`; and each control by its name [N, K], where NaN is *not set*. In an ONNX
    file every input but z and c may be left out, and transform and controls may have one row for all images.

    Args:
        model: a model, or what `gantrol.load` takes.
        path: the file, written whole or not at all.
        format: "onnx", or "pt2" for `torch.export.load`; None takes it from the ending of `path`.
        noise_mode: per-pixel noise of StyleGAN2: "const", the model's own, or "none".
        truncation_psi: ψ that an ONNX file uses where its input is left out.
        dtype: float32, or float16 for the layers that may compute in it; inputs and images stay float32.
        opset: version of ONNX's operators; None is torch's default.
        check: whether the file is run at two batch sizes and compared with the model before it takes its place.
        overwrite: whether a file that is there already may be replaced.
        command: what was typed, for the metadata.
        progress: called with (done, total) steps.

    Returns:
        What was written and how far it is from the model.

    Raises:
        ConfigError: an argument or a model that cannot be exported.
        DataError: the file cannot be written, or its images are not the model's; then there is no file.
        MissingExtraError: ONNX is asked for, and the extra `export` is not installed.
    """
    path = Path(path)
    kind = _format_of(path, format)
    if kind == "onnx":
        require_extra("onnx", "export")
        require_extra("onnxscript", "export")
    elif opset is not None or truncation_psi != 1:
        raise ConfigError("an opset and a default truncation belong to ONNX files; leave them out for format pt2")
    if dtype not in TOLERANCE:
        raise ConfigError(f"dtype={dtype}: expected torch.float32 or torch.float16")
    if not torch.isfinite(torch.tensor(truncation_psi)):
        raise ConfigError(f"truncation_psi={truncation_psi}: expected a finite number")
    if path.exists() and not overwrite:
        raise DataError(f"{path} is there already: choose another name, or say that it may be overwritten")
    update = progress or (lambda done, total: None)
    name = "" if isinstance(model, Model) else str(model)
    found = model if isinstance(model, Model) else load(model, device="cpu")
    network = ExportedGenerator(found, noise_mode=noise_mode, dtype=dtype)
    inputs = network.inputs if kind == "onnx" else tuple(_without_sharing(each) for each in network.inputs)
    about = metadata(found, inputs, name=name, noise_mode=noise_mode, dtype=dtype, command=command)
    update(0, _STEPS)
    program = trace(network)
    update(1, _STEPS)
    difference = None
    with atomic_file(path, DataError) as temporary:
        if kind == "onnx":
            write_onnx(program, temporary, inputs, about, opset=opset, truncation_psi=truncation_psi)
        else:
            write_pt2(program, temporary, about)
        update(2, _STEPS)
        why_unchecked = _why_unchecked(kind, check)
        if not why_unchecked:
            difference = largest_difference(
                found,
                OnnxRunner(temporary) if kind == "onnx" else Pt2Runner(temporary),
                inputs,
                noise_mode=noise_mode,
                truncation_psi=truncation_psi,
                are_optional=kind == "onnx",
            )
            if not difference <= TOLERANCE[dtype]:
                raise DataError(
                    f"{path} was not written: its images differ by up to {difference:.2g} from those of the model "
                    f"(allowed: {TOLERANCE[dtype]:g}); try the other format, or float32"
                )
        size = temporary.stat().st_size
    update(_STEPS, _STEPS)
    return ExportedFile(
        path=path,
        format=kind,
        inputs=inputs,
        output_shape=_output_shape(found),
        size_bytes=size,
        difference=difference,
        why_unchecked=why_unchecked,
        metadata=about,
    )


def metadata(
    model: Model, inputs: tuple[Input, ...], *, name: str, noise_mode: NoiseMode, dtype: torch.dtype, command: str
) -> dict[str, Any]:
    """What a user of the file has to know, as plain JSON."""
    g = model.generator
    about = {
        "gantrol_version": gantrol.__version__,
        "model": name,
        "kind": g.config.kind,
        "licence": model.training.get("license") or "unknown",
        "resolution_px": g.resolution_px,
        "channels": g.channels,
        "noise": noise_mode,
        "dtype": str(dtype).removeprefix("torch."),
        "inputs": [
            {field: value for field, value in dataclasses.asdict(each).items() if value or field == "shape"}
            for each in inputs
        ],
        "output": {"name": OUTPUT, "shape": list(_output_shape(model)), "range": [-1, 1]},
        "latent_groups": {group: list(place) for group, place in latent_places(model).items()},
        "max_images": MAX_IMAGES,
        "command": command,
    }
    plain: dict[str, Any] = json.loads(json.dumps(about))  # lists, as they will be read
    return plain


def _output_shape(model: Model) -> tuple[int | str, ...]:
    g = model.generator
    return "N", g.channels, g.resolution_px, g.resolution_px


def _format_of(path: Path, format: str | None) -> Format:
    """The format asked for, or that of the path's ending."""
    known = get_args(Format)
    wanted = path.suffix.lower().removeprefix(".") if format is None else format
    if wanted not in known:
        raise ConfigError(f"format {wanted!r}: {nearest(wanted, known)}")
    return "onnx" if wanted == "onnx" else "pt2"


def _without_sharing(each: Input) -> Input:
    """An input of a pt2 file: it has a row for every image."""
    return dataclasses.replace(each, shape=tuple("N" if size == "N or 1" else size for size in each.shape))


def _why_unchecked(format: Format, check: bool) -> str:
    if not check:
        return "not asked for"
    if format == "onnx" and find_spec("onnxruntime") is None:
        return "the Python package onnxruntime is not installed"
    return ""
