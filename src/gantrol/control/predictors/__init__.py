"""Networks that read named attributes from images: the protocol, our own, the paper's, and anyone's.

protocol.py          what a predictor is
folder.py            predictors.json and the files beside it
weights.py           files of others, read without running them
preprocess.py        crops, sizes, ranges; distances.py, logits.py: what several networks compare

reader.py            our own network; targets.py: what it learns, learning.py: how, errors_table.py: how well

arcface.py, hopenet.py, dex.py, esr9.py, rnet.py, pspnet.py, style.py, dogfacenet.py, imagenet_class.py
                     the paper's predictors for photographs; resnet.py, vgg.py: what they are made of

external.py          ONNX, TorchScript and pt2 networks; external_network.py: their files
onnx_graph.py        ONNX run by torch: onnx_operators.py, onnx_spatial.py
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gantrol.control.predictors.errors_table import ReadingError, examine
    from gantrol.control.predictors.folder import load_predictors, read_manifest, save_predictors, write_manifest
    from gantrol.control.predictors.learning import (
        Examples,
        LearningConfig,
        load_examples,
        split_examples,
        train_reader,
    )
    from gantrol.control.predictors.protocol import Attribute, Predictor, PredictorSet
    from gantrol.control.predictors.reader import Reader, ReaderConfig
    from gantrol.control.predictors.targets import Target, choose_targets

__all__ = [
    "Attribute",
    "Examples",
    "LearningConfig",
    "Predictor",
    "PredictorSet",
    "Reader",
    "ReaderConfig",
    "ReadingError",
    "Target",
    "choose_targets",
    "examine",
    "load_examples",
    "load_predictors",
    "read_manifest",
    "save_predictors",
    "split_examples",
    "train_reader",
    "write_manifest",
]

# Resolved when first used: a model that is only looked at needs the protocol, and not what training a reader needs.
_HOMES = {
    "Attribute": "protocol",
    "Examples": "learning",
    "LearningConfig": "learning",
    "Predictor": "protocol",
    "PredictorSet": "protocol",
    "Reader": "reader",
    "ReaderConfig": "reader",
    "ReadingError": "errors_table",
    "Target": "targets",
    "choose_targets": "targets",
    "examine": "errors_table",
    "load_examples": "learning",
    "load_predictors": "folder",
    "read_manifest": "folder",
    "save_predictors": "folder",
    "split_examples": "learning",
    "train_reader": "learning",
    "write_manifest": "folder",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
