"""`gantrol export`: a model as one file for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    from gantrol.export import ExportedFile, Input


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a model's generator as an ONNX or pt2 file, which runs without gantrol.

    Example: gantrol export faces --format onnx --out faces.onnx
    """

    model: tyro.conf.Positional[str]
    """Model folder, run, checkpoint of a run, bundled model, or Hugging Face id."""
    out: Path
    """The file to write."""
    format: Literal["onnx", "pt2"] | None = None
    """onnx for onnxruntime, browsers and other languages; pt2 for torch.export.load. Left out: as --out ends."""
    noise: Literal["const", "none"] = "const"
    """Per-pixel noise of StyleGAN2: the model's own, or off."""
    truncation: float = 1.0
    """What an ONNX file uses where its input truncation_psi is left out."""
    dtype: Literal["fp32", "fp16"] = "fp32"
    """fp16: the widest layers compute in half precision, for GPUs."""
    opset: int | None = None
    """Version of ONNX's operators, 18 to 23; by default the one that torch prefers."""
    check: bool = True
    """Run the file at two batch sizes and compare it with the model before it takes its place."""
    overwrite: bool = False
    """Replace a file that is there already."""
    json: Path | None = None
    """Also write what was made, with its inputs and the difference found, to this JSON file."""


def run(options: Export) -> None:
    """Writes the file, whole or not at all, and tells what it takes."""
    import sys

    import torch
    from rich.console import Console
    from rich.markup import escape

    from gantrol.atomic import write_json
    from gantrol.cli.progress import progress_bar
    from gantrol.errors import DataError
    from gantrol.export import export_model

    with progress_bar("exporting") as update:
        made = export_model(
            options.model,
            options.out,
            format=options.format,
            noise_mode=options.noise,
            truncation_psi=options.truncation,
            dtype=torch.float16 if options.dtype == "fp16" else torch.float32,
            opset=options.opset,
            check=options.check,
            overwrite=options.overwrite,
            command=" ".join(["gantrol", *sys.argv[1:]]),
            progress=update,
        )
    if options.json is not None:
        write_json(options.json, _record(made), DataError)
    console = Console(soft_wrap=True, highlight=False)
    shape = " × ".join(map(str, made.output_shape))
    console.print(escape(f"{made.path}: {made.size_bytes / 1e6:.1f} MB, images {shape} in [-1, 1]"))
    for each in made.inputs:
        console.print(escape(f"  {each.name:<{max(len(other.name) for other in made.inputs)}}  {_line(each)}"))
    if made.difference is None:
        console.print(escape(f"not checked: {made.why_unchecked}"))
    else:
        console.print(escape(f"checked: its images differ by at most {made.difference:.1g} from those of the model"))


def _line(each: Input) -> str:
    """Shape, range and meaning of an input."""
    from gantrol.controls import shown

    shape = " × ".join(map(str, each.shape)) or "a number"
    if not each.is_control:
        return f"{shape}: {each.help}"
    unit = f" {each.unit}" if each.unit else ""
    return f"{shape}: {shown(each.low)} to {shown(each.high)}{unit}, typically {shown(each.default)}; NaN: not set"


def _record(made: ExportedFile) -> dict[str, Any]:
    return {
        **made.metadata,
        "file": str(made.path),
        "format": made.format,
        "size_bytes": made.size_bytes,
        "difference": made.difference,
        "difference_unit": "pixel values in [-1, 1]",
        "why_unchecked": made.why_unchecked or None,
    }
