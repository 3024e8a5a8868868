"""Pickles built like the official ones, from networks of ours: the same opcodes, names and nesting, no code of theirs.

The functions that official pickles name exist only while one is written, and fail if anything ever calls them.
"""

from __future__ import annotations

import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from gantrol.convert.nvidia_names import official_state
from gantrol.models import (
    StyleGAN2Config,
    StyleGAN2DiscriminatorConfig,
    StyleGAN2Generator,
    StyleGAN3Config,
    StyleGAN3Generator,
    layer_schedule,
)

TINY_T = StyleGAN3Config(
    resolution_px=16,
    z_dim=8,
    w_dim=8,
    num_layers=4,
    margin_px=4,
    channel_base=128,
    channel_max=8,
    magnitude_ema_beta=0.99,
)
TINY_R = StyleGAN3Config(
    resolution_px=32,
    z_dim=8,
    w_dim=8,
    channel_base=512,
    channel_max=16,
    conv_kernel=1,
    use_radial_filters=True,
    conv_clamp=None,
)
TINY_2 = StyleGAN2Config(
    resolution_px=16,
    z_dim=8,
    w_dim=8,
    c_dim=3,
    mapping_layers=3,
    channel_base=64,
    channel_max=8,
    num_low_precision_res=2,
    w_avg_beta=0.995,
)
TINY_D = StyleGAN2DiscriminatorConfig(resolution_px=16, channel_base=64, channel_max=8, num_low_precision_res=2)

SOURCE = "import os\nos.system('touch /tmp/the-source-code-in-a-checkpoint-was-run')\n"


def _reconstruct_persistent_obj(meta: Any) -> Any:
    raise AssertionError("a function named by a pickle was called")


class EasyDict(dict[str, Any]):
    """Pickles by name, as a class that takes no arguments, with its items."""


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
EasyDict.__module__ = "dnnlib.util"


class Module:
    """An official module: reduces to the call that would execute `source`."""

    def __init__(self, class_name: str, source: str = SOURCE) -> None:
        self.class_name = class_name
        self.source = source
        self.state: dict[str, Any] = {
            "training": False,
            "_parameters": OrderedDict(),
            "_buffers": OrderedDict(),
            "_modules": OrderedDict(),
            "_non_persistent_buffers_set": set(),
            "_forward_hooks": OrderedDict(),
            "_init_args": (),
            "_init_kwargs": EasyDict(),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {
            "type": "class",
            "version": 6,
            "module_src": self.source,
            "class_name": self.class_name,
            "state": self.state,
        }
        return _reconstruct_persistent_obj, (EasyDict(meta),)

    def __getitem__(self, path: str) -> Module:
        part = self
        for name in path.split("."):
            part = part.state["_modules"].setdefault(name, Module("Part", self.source))
        return part


def official(model: Any, *, is_old: bool = False) -> Module:
    """`model` as an official module.

    Args:
        model: a network of ours.
        is_old: write as `stylegan2-ada-pytorch` does: options in groups, and no attributes that tell what is in effect.
    """
    config: Any = model.config
    is_generator = isinstance(model, StyleGAN2Generator | StyleGAN3Generator)
    root = Module("Generator" if is_generator else "Discriminator")
    for name, tensor in official_state(model).items():
        path, _, leaf = name.rpartition(".")
        part = root[path]
        is_parameter = leaf in ("weight", "bias", "const", "noise_strength")
        value = nn.Parameter(tensor.clone(), requires_grad=False) if is_parameter else tensor.clone()
        part.state["_parameters" if is_parameter else "_buffers"][leaf] = value
    options = {"channel_base": config.channel_base, "channel_max": config.channel_max}
    options |= {"conv_clamp": config.conv_clamp, "num_fp16_res": config.num_low_precision_res}
    if isinstance(config, StyleGAN3Config):
        options |= {"magnitude_ema_beta": np.float64(config.magnitude_ema_beta), "num_layers": config.num_layers}
        options |= {"margin_size": config.margin_px, "conv_kernel": config.conv_kernel}
    common = {"c_dim": config.c_dim, "img_resolution": config.resolution_px, "img_channels": config.channels}
    if is_generator and is_old:
        common["synthesis_kwargs"] = EasyDict(options)
    else:
        common |= options
    root.state["_init_kwargs"] = EasyDict(common, mapping_kwargs=EasyDict(num_layers=config.mapping_layers))
    if not is_old:
        _say_what_is_in_effect(root, config)
    return root


def _say_what_is_in_effect(root: Module, config: Any) -> None:
    """The attributes from which the importer prefers to learn the config."""
    layers = dict(_parts(root, ""))
    for path, part in layers.items():
        leaf = path.rpartition(".")[2]
        if leaf.startswith("fc") or leaf in ("affine", "embed", "out"):
            part.state["activation"] = "lrelu" if leaf.startswith("fc") else "linear"
            part.state["bias_gain"] = np.float64(0.01) if path.startswith("mapping.fc") else 1
        elif "weight" in part.state["_parameters"] and path != "synthesis.input":
            part.state["conv_clamp"] = None if leaf == "skip" else config.conv_clamp
    if "mapping" in layers and hasattr(config, "w_avg_beta"):
        layers["mapping"].state["w_avg_beta"] = config.w_avg_beta
    if isinstance(config, StyleGAN3Config):
        layers["synthesis"].state |= {"num_critical": config.num_critical, "output_scale": config.output_scale}
        layers["synthesis.input"].state["size"] = np.array([36, 36])
        for spec in layer_schedule(config):
            part = layers[f"synthesis.L{spec.index}_{spec.out_size_px}_{spec.out_channels}"]
            part.state["use_fp16"] = np.bool_(spec.is_low_precision)
            part.state["magnitude_ema_beta"] = config.magnitude_ema_beta
    else:
        blocks = sorted(int(path.rpartition("b")[2]) for path in layers if path.rpartition("b")[2].isdigit())
        prefix = "synthesis." if "synthesis" in layers else ""
        for index, resolution in enumerate(reversed(blocks)):
            layers[f"{prefix}b{resolution}"].state["use_fp16"] = index < config.num_low_precision_res
    if isinstance(config, StyleGAN2DiscriminatorConfig):
        layers["b4"]["mbstd"].state |= {"group_size": config.mbstd_group_size, "num_channels": config.mbstd_channels}
        layers["b4"].state.pop("use_fp16")


def _parts(part: Module, path: str) -> Iterator[tuple[str, Module]]:
    yield path, part
    for name, child in part.state["_modules"].items():
        yield from _parts(child, f"{path}.{name}".removeprefix("."))


@contextmanager
def official_names() -> Iterator[None]:
    """While it lasts, the modules that official pickles name can be imported."""
    fakes = {name: ModuleType(name) for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util")}
    fakes["torch_utils.persistence"]._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    fakes["dnnlib.util"].EasyDict = EasyDict  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in fakes}
    sys.modules |= fakes
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def dump(value: Any, protocol: int = 4) -> bytes:
    """The pickle of a value that may hold official modules."""
    with official_names():
        return pickle.dumps(value, protocol=protocol)


def snapshot(g_ema: Any, d: Any = None, g: Any = None) -> dict[str, Any]:
    """What the official training loop writes."""
    return {
        "G": official(g if g is not None else g_ema),
        "D": None if d is None else official(d),
        "G_ema": official(g_ema),
        "augment_pipe": None,
        "training_set_kwargs": {"class_name": "training.dataset.ImageFolderDataset", "path": "/home/someone/cats.zip"},
    }


def shaken(config: Any, seed: int = 0) -> Any:
    """A network of ours whose every tensor is random, so that a mix-up shows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = config.build().eval().requires_grad_(False)
        for name, tensor in model.state_dict().items():
            if name.endswith("magnitude_ema"):
                tensor.uniform_(0.6, 1.4)
            elif name.endswith(("bias", "w_avg", "noise_strength", "input.affine.weight")):
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model


def write(path: Path, value: Any, protocol: int = 4) -> Path:
    """`path`, holding the pickle of `value`."""
    path.write_bytes(dump(value, protocol))
    return path
