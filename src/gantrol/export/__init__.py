"""Export: a generator as one ONNX or pt2 file, which runs without this package.

    gantrol.export.export_model("faces", "faces.onnx")

Latents, truncation, motion and controls are inputs of the file; docs/export.md lists them.

    model_file          `export_model`: all of it, and what the file says about itself
    network             the network that is exported: what its inputs mean
    tracing             from the network to a program of torch
    standard_operators  the operators of this package as ones that every runtime knows
    files               writing and running ONNX and pt2
    checking            whether a file makes the pictures of its model
"""

from gantrol.export.model_file import ExportedFile, export_model
from gantrol.export.network import Input

__all__ = ["ExportedFile", "Input", "export_model"]
