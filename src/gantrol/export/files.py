"""The two kinds of files: ONNX, which many runtimes read, and pt2, which torch reads without this package.

Both carry what a user of the file needs to know as text: see `gantrol.export.model_file.metadata`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from gantrol.errors import ConfigError, DataError, require_extra
from gantrol.export.network import Input, neutral_values
from gantrol.export.tracing import quiet

OUTPUT = "images"
"""Name of the output in ONNX files."""
OPSETS = range(18, 24)
"""The versions of ONNX's operators that can be asked for."""
METADATA = "about.json"
"""Name of the metadata within pt2 files."""

_MOST_BYTES = 2**31 - 2**20  # a protobuf file ends at 2 GiB


def write_onnx(
    program: ExportedProgram,
    path: Path,
    inputs: tuple[Input, ...],
    metadata: Mapping[str, Any],
    *,
    opset: int | None = None,
    truncation_psi: float = 1.0,
) -> None:
    """Writes one ONNX file; all inputs but z and c may be left out when it is run.

    Args:
        program: as `gantrol.export.tracing.trace` makes it.
        path: the file.
        inputs: those of the program.
        metadata: what goes into the file's metadata, as text or JSON.
        opset: version of ONNX's operators, one of `OPSETS`; None is torch's default.
        truncation_psi: ψ where that input is left out.

    Raises:
        ConfigError: the opset cannot be, or a file cannot hold the model.
        MissingExtraError: the packages of the extra `export` are not installed.
    """
    onnx = require_extra("onnx", "export")
    optimizer = require_extra("onnxscript.optimizer", "export")
    if opset is not None and opset not in OPSETS:
        raise ConfigError(f"opset {opset}: expected {OPSETS.start} to {OPSETS.stop - 1}")
    size = sum(tensor.nbytes for tensor in [*program.state_dict.values(), *program.constants.values()])
    if size > _MOST_BYTES:
        raise ConfigError(f"{size / 2**30:.1f} GiB of weights do not fit into an ONNX file (2 GiB); use format pt2")
    with quiet():
        # Not optimize=True: it takes the 1e-8 that keep divisions finite for zero, and drops them.
        made = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            optimize=False,
            output_names=[OUTPUT],
            opset_version=opset,
            external_data=False,
        )
        assert made is not None
        optimizer.fold_constants(made.model)
        optimizer.remove_unused_nodes(made.model)
    proto = made.model_proto
    if opset is not None and proto.opset_import[0].version != opset:
        raise ConfigError(f"opset {opset}: torch cannot write this model in it; leave the opset out")
    _name_dimensions(proto.graph, inputs)
    _count_latents(proto.graph, inputs)
    for name, value in neutral_values(inputs, truncation_psi).items():
        # An initial value with the name of an input makes that input optional.
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value.numpy()), name))
    _forget_sources(proto.graph)
    for key, value in metadata.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        onnx.helper.set_model_props(proto, {p.key: p.value for p in proto.metadata_props} | {key: text})
    proto.producer_name, proto.producer_version = "gantrol", str(metadata["gantrol_version"])
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def _name_dimensions(graph: Any, inputs: tuple[Input, ...]) -> None:
    """Calls the free dimension N, and that of inputs which one row suffices for N_or_1."""
    is_shared = {each.name for each in inputs if each.shape and each.shape[0] == "N or 1"}
    for value in [*graph.input, *graph.output, *graph.value_info]:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = "N_or_1" if value.name in is_shared else "N"
    # Shapes in between follow from the inputs; recorded ones would claim that all of these have N rows.
    del graph.value_info[:]


def _count_latents(graph: Any, inputs: tuple[Input, ...]) -> None:
    """Reads the number of images from z, where torch reads it from an input that may have one row for all of them."""
    is_shared = {each.name for each in inputs if each.shape and each.shape[0] == "N or 1"}
    for node in graph.node:
        if node.op_type == "Shape" and node.input[0] in is_shared:
            if {attribute.name: attribute.i for attribute in node.attribute} != {"start": 0, "end": 1}:
                raise ConfigError(f"this model cannot be written as ONNX: all of the shape of {node.input[0]} is used")
            node.input[0] = "z"


def _forget_sources(graph: Any) -> None:
    """Leaves out where in the sources each node comes from: paths of this machine, and half of the file's text."""
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*graph.input, *graph.output, *graph.initializer]:
        del value.metadata_props[:]
        value.doc_string = ""


def write_pt2(program: ExportedProgram, path: Path, metadata: Mapping[str, Any]) -> None:
    """Writes what `torch.export.load` reads; the metadata are its extra file `about.json`."""
    text = json.dumps(metadata, indent=2, ensure_ascii=False)
    with quiet(), path.open("wb") as file:
        torch.export.save(program, file, extra_files={METADATA: text})


class OnnxRunner:
    """Runs an ONNX file with onnxruntime, on the CPU.

    Raises:
        DataError: onnxruntime refuses the file.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common class
            reason = str(error).strip().partition("\n")[0]
            raise DataError(f"{path.name}: onnxruntime cannot read what was written: {reason}") from error

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """The images [N, C, H, W] for these inputs; those that are not given are neutral."""
        known = {each.name for each in [*self._session.get_inputs(), *self._session.get_overridable_initializers()]}
        given = {name: value.numpy() for name, value in values.items() if name in known}
        return torch.from_numpy(self._session.run([OUTPUT], given)[0])


class Pt2Runner:
    """Runs a pt2 file with torch, on the CPU."""

    def __init__(self, path: Path) -> None:
        with quiet(), path.open("rb") as file:
            self._program: Any = torch.export.load(file).module()

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """The images [N, C, H, W] for these inputs, all of which must be given."""
        with torch.no_grad():
            images = self._program(**values)
        assert isinstance(images, Tensor)
        return images
